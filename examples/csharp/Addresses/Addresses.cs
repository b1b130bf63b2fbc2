// Talk with a peer with whom addresses are exchanged by hand, or by whatever means there are.
//
//   addresses --tcp | --udp [--server HOST:PORT | --stun HOST:PORT] --id ID | --unauthenticated
//
// Says where we are, and expects the peer's addresses as the first line on stdin, separated by commas; both sides have to
// get them within a few seconds. Then lines from stdin go to the peer. On stdout:
//
//   local <endpoint>,<endpoint>...
//   public <endpoint>               if somebody was asked for it and has answered
//   connected <endpoint>
//   peer: <text>
//   closed                          by the peer
//
// Exit status: 0 at the end of input, or if the peer closes; 1 if the peer was not reached or the connection failed; 2 for
// wrong usage.

using System;
using System.Collections.Generic;
using System.Linq;
using System.Net;
using System.Text;
using System.Threading;
using HolePunch;

internal static class Addresses
{
    private static void Main(string[] args)
    {
        Console.InputEncoding = Console.OutputEncoding = new UTF8Encoding(false);
        // Where Main returns, Mono sometimes waits long for an idle thread of its pool.
        Environment.Exit(Run(args));
    }

    private static int Run(string[] args)
    {
        var options = new AddressConnectionOptions();
        Transport? transport = null;
        string id = null;
        bool unauthenticated = false;
        for (int at = 0; at < args.Length; at++)
        {
            string value = at + 1 < args.Length ? args[at + 1] : null;
            if (args[at] == "--tcp" || args[at] == "--udp")
            {
                transport = args[at] == "--tcp" ? Transport.Tcp : Transport.Udp;
                continue;
            }
            if (args[at] == "--unauthenticated")
            {
                unauthenticated = true;
                continue;
            }
            if (args[at] == "--server")
                options.AddressServer = value;
            else if (args[at] == "--stun")
                options.StunServer = value;
            else if (args[at] == "--id")
                id = value;
            else
                return Usage();
            if (value == null)
                return Usage();
            at++;
        }
        if (transport == null || unauthenticated == (id != null))
            return Usage();
        try
        {
            using (AddressConnection connection = unauthenticated
                ? AddressConnection.CreateUnauthenticated(transport.Value, options)
                : new AddressConnection(transport.Value, id, options))
                return Talk(connection);
        }
        catch (Exception error) when (error is HolePunchException || error is ArgumentException || error is FormatException
            || error is OperationCanceledException)
        {
            Console.Error.WriteLine("addresses: " + error.Message.Split('\n')[0]);
            return 1;
        }
    }

    private static int Usage()
    {
        Console.Error.WriteLine(
            "usage: addresses --tcp | --udp [--server HOST:PORT | --stun HOST:PORT] --id ID | --unauthenticated\n"
            + "  --server           a server of libholepunch's, which tells our public address\n"
            + "  --stun             a STUN server, which does\n"
            + "  --id               1 to " + SessionId.MaxLength + " bytes that both sides share and prove to each other\n"
            + "  --unauthenticated  whoever is at the peer's addresses is the peer");
        return 2;
    }

    private static int Talk(AddressConnection connection)
    {
        Console.CancelKeyPress += (sender, e) =>
        {
            e.Cancel = true;
            connection.Disconnect();
        };
        Console.WriteLine("local " + string.Join(",", connection.LocalEndPoints));
        ShowPublic(connection);
        string line = Console.ReadLine();
        if (line == null)
            return 0;
        connection.Connect(line.Split(',').Select(each => Parse(each.Trim())).ToArray());
        Console.WriteLine("connected " + connection.RemoteEndPoint);
        new Thread(() => SendLines(connection)) { IsBackground = true }.Start();
        var lines = new Lines();
        foreach (byte[] data in connection.ReceiveAll())
        {
            foreach (string text in lines.Add(data))
                Console.WriteLine("peer: " + text);
        }
        if (connection.End.Reason == ConnectionEnd.ClosedByPeer)
            Console.WriteLine("closed");
        return 0;
    }

    // In one network it works without.
    private static void ShowPublic(AddressConnection connection)
    {
        try
        {
            IPEndPoint found = connection.GetPublicEndPoint();
            if (found != null)
                Console.WriteLine("public " + found);
        }
        catch (HolePunchException error)
        {
            Console.Error.WriteLine("addresses: our public address: " + error.Message);
        }
    }

    // Older ones than .NET Core 3 have no IPEndPoint.Parse.
    private static IPEndPoint Parse(string text)
    {
        int colon = text.LastIndexOf(':');
        IPAddress address;
        ushort port;
        if (colon < 0 || !IPAddress.TryParse(text.Substring(0, colon), out address)
            || !ushort.TryParse(text.Substring(colon + 1), out port))
            throw new FormatException("not ADDRESS:PORT: " + text);
        return new IPEndPoint(address, port);
    }

    private static void SendLines(AddressConnection connection)
    {
        try
        {
            string line;
            while ((line = Console.ReadLine()) != null)
                connection.Send(Encoding.UTF8.GetBytes(line + "\n"));
            connection.Disconnect();
        }
        catch (Exception error) when (error is HolePunchException || error is ArgumentException)
        {
            Console.Error.WriteLine("addresses: sending: " + error.Message.Split('\n')[0]);
        }
        catch (ObjectDisposedException)
        {
            // The peer has closed meanwhile.
        }
    }

    /// <summary>Puts lines together: over TCP they come in any pieces. One that is too long becomes several.</summary>
    private sealed class Lines
    {
        private const int MaxLength = 65536;

        private readonly List<byte> rest = new List<byte>();

        internal IEnumerable<string> Add(byte[] data)
        {
            foreach (byte each in data)
            {
                if (each != '\n')
                    rest.Add(each);
                if (each != '\n' && rest.Count < MaxLength)
                    continue;
                yield return Encoding.UTF8.GetString(rest.ToArray());
                rest.Clear();
            }
        }
    }
}

// Chat with every peer that shares an ID, also behind NATs.
//
//   chat [--dialect auto|native|plain] [--timeout MS] RENDEZVOUS ID NUM_PEERS
//
// Lines from stdin go to every peer; the chats in C and Go and the existing Go chat understand each other and this one.
// On stdout, for scripts:
//
//   peer <i> <endpoint> <path> <rtt ms>      one line per peer
//   connected <n> <ms since start>
//   <i>: <text>                              one line per message
//
// Exit status: 0 at the end of input, 1 if the peers were not reached, 2 for wrong usage.

using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Net.Sockets;
using System.Text;
using System.Threading;
using System.Threading.Tasks;
using HolePunch;

internal static class Chat
{
    // Fits into every path's datagrams; longer lines are cut.
    private const int MaxMessage = 1200;
    // After the end of input, so that the peers' last messages are not missed.
    private static readonly TimeSpan linger = TimeSpan.FromMilliseconds(200);
    // NATs close holes that have been silent for half a minute.
    private static readonly TimeSpan keepAlive = TimeSpan.FromSeconds(20);

    // As bytes, so that nobody's text is changed.
    private static readonly Stream output = Console.OpenStandardOutput();

    private static void Main(string[] args)
    {
        // Where Main returns, Mono sometimes waits long for an idle thread of its pool.
        Environment.Exit(Run(args));
    }

    private static int Run(string[] args)
    {
        Stopwatch start = Stopwatch.StartNew();
        Settings settings = Settings.Parse(args);
        if (settings == null)
        {
            Console.Error.WriteLine("usage: chat [--dialect auto|native|plain] [--timeout MS] RENDEZVOUS ID NUM_PEERS\n"
                + "  RENDEZVOUS  host:port of the server\n"
                + "  ID          1 to " + SessionId.MaxLength + " bytes that all participants share\n"
                + "  NUM_PEERS   how many others take part, 1 to " + HolePunchClient.MaxPeers + "\n"
                + "  --timeout   total time to connect in milliseconds, default 40000; negative: for ever");
            return 2;
        }
        try
        {
            Talk(settings, start).GetAwaiter().GetResult();
            return 0;
        }
        catch (HolePunchException error)
        {
            Console.Error.WriteLine("chat: " + error.Message + " (" + error.Code + ")");
        }
        catch (OperationCanceledException)
        {
            Console.Error.WriteLine("chat: cancelled");
        }
        catch (ArgumentException error)
        {
            Console.Error.WriteLine("chat: " + error.Message.Split('\n')[0]);
        }
        return 1;
    }

    private static async Task Talk(Settings settings, Stopwatch start)
    {
        var room = new List<Participant>();
        using (var client = new HolePunchClient(settings.Server, settings.Options))
        {
            IReadOnlyList<Peer> peers = await Connect(client, settings);
            foreach (Peer peer in peers)
            {
                string rtt = peer.RoundTripTime?.TotalMilliseconds.ToString("0.000", CultureInfo.InvariantCulture) ?? "-";
                Print("peer " + room.Count + " " + peer.EndPoint + " " + peer.PathName + " " + rtt);
                room.Add(new Participant { Peer = peer, Socket = client.TakeSocket(peer) });
            }
            Print("connected " + room.Count + " " + start.ElapsedMilliseconds);
        }
        foreach (HoleSocket socket in room.Select(each => each.Socket).Distinct())
            Listen(socket, room);
        using (new Timer(_ => Send(room, new byte[0], 0), null, keepAlive, keepAlive))
        {
            SendLines(Console.OpenStandardInput(), room);
            await Task.Delay(linger);
        }
        foreach (Participant each in room)
            each.Socket.Dispose();
    }

    // An interrupt ends the waiting; later ones simply end the program.
    private static async Task<IReadOnlyList<Peer>> Connect(HolePunchClient client, Settings settings)
    {
        using (var interrupt = new CancellationTokenSource())
        {
            ConsoleCancelEventHandler handler = (sender, e) =>
            {
                e.Cancel = true;
                interrupt.Cancel();
            };
            Console.CancelKeyPress += handler;
            try
            {
                return await client.ConnectAsync(settings.Id, settings.Peers, interrupt.Token);
            }
            finally
            {
                Console.CancelKeyPress -= handler;
            }
        }
    }

    private static async void Listen(HoleSocket socket, List<Participant> room)
    {
        try
        {
            for (;;)
            {
                Datagram message = await socket.ReceiveAsync();
                int number = room.FindIndex(each => each.Peer.EndPoint.Equals(message.From));
                Print(number + ": ", message.Data);
            }
        }
        catch (ObjectDisposedException)
        {
        }
        catch (SocketException error)
        {
            Console.Error.WriteLine("chat: receiving: " + error.Message);
        }
    }

    private static void SendLines(Stream input, List<Participant> room)
    {
        var line = new byte[MaxMessage];
        int length = 0, next;
        using (var buffered = new BufferedStream(input))
        {
            while ((next = buffered.ReadByte()) >= 0)
            {
                if (next != '\n')
                    line[length++] = (byte)next;
                if ((next == '\n' && length > 0) || length == MaxMessage)
                {
                    Send(room, line, length);
                    length = 0;
                }
            }
        }
        if (length > 0)
            Send(room, line, length);
    }

    private static void Send(List<Participant> room, byte[] text, int length)
    {
        foreach (Participant each in room)
        {
            try
            {
                each.Socket.Send(text, 0, length, each.Peer.EndPoint);
            }
            catch (SocketException error)
            {
                Console.Error.WriteLine("chat: sending: " + error.Message);
            }
        }
    }

    private static void Print(string line, byte[] text = null)
    {
        byte[] all = Encoding.UTF8.GetBytes(line).Concat(text ?? new byte[0]).Concat(new[] { (byte)'\n' }).ToArray();
        lock (output)
        {
            output.Write(all, 0, all.Length);
            output.Flush();
        }
    }

    private sealed class Participant
    {
        internal Peer Peer;
        internal HoleSocket Socket;
    }

    private sealed class Settings
    {
        internal string Server, Id;
        internal int Peers;
        internal readonly HolePunchClientOptions Options = new HolePunchClientOptions();

        // Null for wrong usage.
        internal static Settings Parse(string[] args)
        {
            var settings = new Settings();
            int at = 0;
            for (; at + 1 < args.Length && args[at].StartsWith("--", StringComparison.Ordinal); at += 2)
            {
                if (!settings.ParseOption(args[at], args[at + 1]))
                    return null;
            }
            if (args.Length - at != 3 || !ParseNumber(args[at + 2], 1, HolePunchClient.MaxPeers, out settings.Peers))
                return null;
            settings.Server = args[at];
            settings.Id = args[at + 1];
            return settings;
        }

        private bool ParseOption(string option, string value)
        {
            if (option == "--timeout" && ParseNumber(value, -1, 1000000000, out int milliseconds))
            {
                Options.Timeout = TimeSpan.FromMilliseconds(milliseconds);
                return true;
            }
            var dialects = new Dictionary<string, Dialect>
            {
                { "auto", Dialect.Auto }, { "native", Dialect.Native }, { "plain", Dialect.Plain },
            };
            if (option != "--dialect" || !dialects.TryGetValue(value, out Dialect dialect))
                return false;
            Options.Dialect = dialect;
            return true;
        }

        private static bool ParseNumber(string text, int min, int max, out int number)
        {
            return int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out number)
                && number >= min && number <= max;
        }
    }
}

// Talk with everybody who shares an ID, for as long as they stay, encrypted from end to end.
//
//   room [--key FILE] [--plain] RENDEZVOUS ID
//
// Lines from stdin go to everybody who is there. On stdout, members are called by the first digits of their names:
//
//   we are <name>, key <fingerprint>
//   <name> joined, at <endpoint>, <path>, key <fingerprint>     or "not encrypted" in place of the key
//   <name> moved to <endpoint>, <path>
//   <name>: <text>
//   <name> left, <reason>
//
// Exit status: 0 at the end of input, 1 if the session could not be joined or went on no more, 2 for wrong usage.

using System;
using System.IO;
using System.Text;
using System.Threading;
using HolePunch;

internal static class Room
{
    // After the end of input, so that the last lines still get there.
    private static readonly TimeSpan linger = TimeSpan.FromMilliseconds(500);

    private static void Main(string[] args)
    {
        Console.InputEncoding = Console.OutputEncoding = new UTF8Encoding(false);
        // Where Main returns, Mono sometimes waits long for an idle thread of its pool.
        Environment.Exit(Run(args));
    }

    private static int Run(string[] args)
    {
        var options = new SessionOptions();
        string keyFile = null;
        int at = 0;
        for (; at < args.Length && args[at].StartsWith("--", StringComparison.Ordinal); at++)
        {
            if (args[at] == "--plain")
                options.PlainPeers = true;
            else if (args[at] == "--key" && at + 1 < args.Length)
                keyFile = args[++at];
            else
                return Usage();
        }
        if (args.Length - at != 2)
            return Usage();
        try
        {
            if (keyFile != null)
                options.Identity = Load(keyFile);
            using (Session session = Session.Join(args[at], args[at + 1], options))
                return Talk(session);
        }
        catch (Exception error) when (error is HolePunchException || error is ArgumentException || error is IOException
            || error is UnauthorizedAccessException)
        {
            Console.Error.WriteLine("room: " + error.Message.Split('\n')[0]);
            return 1;
        }
    }

    private static int Usage()
    {
        Console.Error.WriteLine("usage: room [--key FILE] [--plain] RENDEZVOUS ID\n"
            + "  RENDEZVOUS  host:port of the server\n"
            + "  ID          1 to " + SessionId.MaxLength + " bytes that all members share\n"
            + "  --key       keeps our private key there, by which the others know us again\n"
            + "  --plain     lets existing plain tools in, with whom nothing is encrypted");
        return 2;
    }

    // The key that is there, or a fresh one. Who may read the file is the umask's business.
    private static Identity Load(string file)
    {
        if (File.Exists(file))
            return new Identity(File.ReadAllBytes(file));
        Identity fresh = Identity.Generate();
        File.WriteAllBytes(file, fresh.ToByteArray());
        return fresh;
    }

    private static int Talk(Session session)
    {
        Console.WriteLine("we are " + Short(session.LocalId) + ", key " + session.PublicKey);
        Console.CancelKeyPress += (sender, e) =>
        {
            e.Cancel = true;
            session.Leave();
        };
        new Thread(() => SendLines(session)) { IsBackground = true }.Start();
        int status = 0;
        foreach (SessionEvent each in session.Events())
        {
            Show(each);
            if (each is SessionEvent.Failed)
                status = 1;
        }
        return status;
    }

    private static void Show(SessionEvent each)
    {
        string name = each is SessionEvent.OfPeer about ? Short(about.Peer) : "";
        if (each is SessionEvent.Connected connected)
            Console.WriteLine(name + " joined, at " + Place(connected)
                + (connected.Key == null ? ", not encrypted" : ", key " + connected.Key));
        else if (each is SessionEvent.PathChanged changed)
            Console.WriteLine(name + " moved to " + Place(changed));
        else if (each is SessionEvent.Message message)
            Console.WriteLine(name + ": " + Encoding.UTF8.GetString(message.Data));
        else if (each is SessionEvent.Left left)
            ShowLeft(name, left);
        else if (each is SessionEvent.ServerLost)
            Console.Error.WriteLine("room: the server does not answer any more");
        else if (each is SessionEvent.ServerRegained)
            Console.Error.WriteLine("room: the server answers again");
        else if (each is SessionEvent.Refused refused)
            Console.Error.WriteLine("room: the server does not take us: " + refused.Reason);
        else if (each is SessionEvent.Failed failed)
            Console.Error.WriteLine("room: it cannot go on: error " + failed.NativeErrorCode);
    }

    private static void ShowLeft(string name, SessionEvent.Left left)
    {
        if (left.Reason != Departure.WeLeft)
            Console.WriteLine(name + " left, " + left.Reason);
        if (left.Undelivered.Count > 0)
            Console.Error.WriteLine("room: " + name + " may not have got our last lines: " + left.Undelivered.Count);
    }

    private static string Place(SessionEvent.OfPath path)
    {
        return path.EndPoint + ", " + path.Path;
    }

    private static string Short(PeerId id)
    {
        return id.ToString().Substring(0, 8);
    }

    private static void SendLines(Session session)
    {
        try
        {
            string line;
            while ((line = Console.ReadLine()) != null)
                Send(session, line);
            Thread.Sleep(linger);
            session.Leave();
        }
        catch (InvalidOperationException)
        {
            // The session was left meanwhile.
        }
    }

    private static void Send(Session session, string line)
    {
        try
        {
            session.SendToAll(Encoding.UTF8.GetBytes(line));
        }
        catch (Exception error) when (error is HolePunchException || error is ArgumentException)
        {
            Console.Error.WriteLine("room: sending: " + error.Message.Split('\n')[0]);
        }
    }
}

using System;
using System.Threading;

namespace HolePunch.Tests
{
    /// <summary>What needs a process of its own, started as Tests.exe --child NAME.</summary>
    internal static class Children
    {
        internal static int Run(string name)
        {
            switch (name)
            {
                case "version": return Version();
                case "end": return EndDuringCall();
            }
            return 2;
        }

        private static int Version()
        {
            try
            {
                // Whatever comes first meets the check.
                using (new HolePunchClient("127.0.0.1:5000"))
                    Console.WriteLine("version " + Library.Version);
                return 0;
            }
            catch (HolePunchException error)
            {
                Console.WriteLine(error.Code + ": " + error.Message);
                return 1;
            }
        }

        // Nothing is disposed, a call runs, a datagram is awaited, lines are logged.
        private static int EndDuringCall()
        {
            int lines = 0;
            HolePunchLog.SetHandler(LogLevel.Trace, (level, source, message) => lines++);
            var service = new Service();
            service.Meet().SocketA.ReceiveAsync();
            Session[] sessions = service.Join(2);
            sessions[0].Start();
            new Thread(() => sessions[1].NextEvent()) { IsBackground = true }.Start();
            var pair = new AddressPair(Transport.Tcp);
            pair.A.SendAsync(new byte[32 << 20]);
            pair.A.ReceiveAsync();
            new Thread(() => pair.A.Receive()) { IsBackground = true }.Start();
            int registered = service.Server.Endpoints.Count;
            var options = new HolePunchClientOptions { Timeout = Timeout.InfiniteTimeSpan };
            service.Client(options).ConnectAsync("nobody", 1);
            Check.Eventually("it connects", () => service.Server.Endpoints.Count > registered);
            Console.WriteLine(lines > 0 ? "end" : "nothing was logged");
            return 3;
        }
    }
}

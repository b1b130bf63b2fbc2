using System;
using System.Collections.Generic;
using System.Linq;
using System.Net;
using System.Text;
using System.Threading.Tasks;

namespace HolePunch.Tests
{
    /// <summary>A running server, clients of it, and pairs of them.</summary>
    internal sealed class Service : IDisposable
    {
        private readonly Task running;

        internal Service(HolePunchServerOptions options = null)
        {
            options = options ?? new HolePunchServerOptions();
            options.Address = "127.0.0.1:0";
            Server = new HolePunchServer(options);
            running = Server.RunAsync();
        }

        internal HolePunchServer Server { get; }

        internal string Address => Server.LocalEndPoint.ToString();

        internal HolePunchClient Client(HolePunchClientOptions options = null)
        {
            return new HolePunchClient(Address, options ?? Quick());
        }

        internal static HolePunchClientOptions Quick(Dialect dialect = Dialect.Auto)
        {
            return new HolePunchClientOptions { Timeout = TimeSpan.FromSeconds(15), Dialect = dialect };
        }

        /// <summary>Two clients that have met.</summary>
        internal Pair Meet(HolePunchClientOptions first = null, HolePunchClientOptions second = null)
        {
            return new Pair(Client(first), Client(second), NewId());
        }

        internal static byte[] NewId()
        {
            return Encoding.UTF8.GetBytes(SessionId.Generate());
        }

        public void Dispose()
        {
            Server.Dispose();
            running.Wait();
        }
    }

    internal sealed class Pair : IDisposable
    {
        internal Pair(HolePunchClient a, HolePunchClient b, byte[] id)
        {
            A = a;
            B = b;
            Task<IReadOnlyList<Peer>> other = b.ConnectAsync(id, 1);
            ToB = a.Connect(id, 1).Single();
            ToA = other.Result.Single();
            SocketA = a.TakeSocket(ToB);
            SocketB = b.TakeSocket(ToA);
        }

        internal HolePunchClient A { get; }
        internal HolePunchClient B { get; }
        internal Peer ToA { get; }
        internal Peer ToB { get; }
        internal HoleSocket SocketA { get; }
        internal HoleSocket SocketB { get; }

        /// <summary>Says something each way.</summary>
        internal void Talk()
        {
            Say("hello B", SocketA, ToB.EndPoint, SocketB, ToA.EndPoint);
            Say("hello A", SocketB, ToA.EndPoint, SocketA, ToB.EndPoint);
        }

        private static void Say(string text, HoleSocket from, IPEndPoint to, HoleSocket at, IPEndPoint source)
        {
            at.ReceiveTimeout = TimeSpan.FromSeconds(10);
            from.Send(Encoding.UTF8.GetBytes(text), to);
            Datagram got = at.Receive();
            Check.Equal(text, Encoding.UTF8.GetString(got.Data));
            Check.Equal(source, got.From, "source");
        }

        public void Dispose()
        {
            SocketA.Dispose();
            SocketB.Dispose();
            A.Dispose();
            B.Dispose();
        }
    }
}

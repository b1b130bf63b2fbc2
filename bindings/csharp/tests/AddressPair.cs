using System;
using System.Collections.Generic;
using System.Linq;
using System.Net;
using System.Threading.Tasks;

namespace HolePunch.Tests
{
    /// <summary>Connections from addresses, on loopback, and pairs of them.</summary>
    internal sealed class AddressPair : IDisposable
    {
        internal const string Id = "what both sides know";
        internal static readonly Transport[] Both = { Transport.Udp, Transport.Tcp };

        internal AddressPair(Transport transport, bool isAuthenticated = true, Func<AddressConnectionOptions> options = null)
        {
            options = options ?? Options;
            A = isAuthenticated ? Open(transport, options()) : AddressConnection.CreateUnauthenticated(transport, options());
            B = isAuthenticated ? Open(transport, options()) : AddressConnection.CreateUnauthenticated(transport, options());
            Task.WaitAll(A.ConnectAsync(B.LocalEndPoints), B.ConnectAsync(A.LocalEndPoints));
        }

        internal AddressConnection A { get; }
        internal AddressConnection B { get; }

        internal static AddressConnectionOptions Options()
        {
            return new AddressConnectionOptions { LocalEndPoint = new IPEndPoint(IPAddress.Loopback, 0) };
        }

        /// <summary>Gives up soon.</summary>
        internal static AddressConnectionOptions Impatient()
        {
            AddressConnectionOptions options = Options();
            options.AttemptTimeout = TimeSpan.FromMilliseconds(300);
            options.Attempts = 2;
            return options;
        }

        /// <summary>Looks for the peer for long.</summary>
        internal static AddressConnectionOptions Patient()
        {
            AddressConnectionOptions options = Options();
            options.AttemptTimeout = TimeSpan.FromMinutes(5);
            return options;
        }

        internal static AddressConnectionOptions Taking()
        {
            AddressConnectionOptions options = Options();
            options.TakesSocket = true;
            return options;
        }

        internal static AddressConnection Open(Transport transport, AddressConnectionOptions options = null)
        {
            return new AddressConnection(transport, Id, options ?? Options());
        }

        /// <summary>An address where nobody is.</summary>
        internal static IPEndPoint[] Nowhere()
        {
            using (var socket = Sockets.Bound())
                return new[] { (IPEndPoint)socket.LocalEndPoint };
        }

        /// <summary>So many bytes, however they come.</summary>
        internal static byte[] Receive(AddressConnection connection, int count)
        {
            var all = new List<byte>();
            while (all.Count < count)
            {
                byte[] data = connection.Receive();
                Check.True(data != null, "there is more after " + all.Count + " bytes");
                all.AddRange(data);
            }
            Check.Equal(count, all.Count, "bytes");
            return all.ToArray();
        }

        /// <summary>Bytes that look like no others.</summary>
        internal static byte[] Noise(int count)
        {
            var noise = new byte[count];
            new Random(count).NextBytes(noise);
            return noise;
        }

        /// <summary>Has one say something to the other.</summary>
        internal static void Say(AddressConnection from, AddressConnection to)
        {
            byte[] said = Noise(100);
            from.Send(said);
            Check.True(said.SequenceEqual(Receive(to, said.Length)), "what was said is heard");
        }

        /// <summary>Has each say something to the other.</summary>
        internal void Talk()
        {
            Say(A, B);
            Say(B, A);
        }

        public void Dispose()
        {
            A.Dispose();
            B.Dispose();
        }
    }
}

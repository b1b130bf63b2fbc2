using System;
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Threading;
using System.Threading.Tasks;

namespace HolePunch.Tests
{
    /// <summary>How a connection from addresses learns our public one.</summary>
    internal static class AddressPublicTests
    {
        private static AddressConnectionOptions Asking(string stun)
        {
            AddressConnectionOptions options = AddressPair.Options();
            options.StunServer = stun;
            return options;
        }

        [Test]
        private static void The_public_address_is_what_others_see()
        {
            using (var service = new Service())
            using (var stun = new StunServer())
            {
                AddressConnectionOptions ours = AddressPair.Options();
                ours.AddressServer = service.Address;
                string named = stun.Address.Replace("127.0.0.1", "localhost");
                Finds(Transport.Udp, ours);
                Finds(Transport.Udp, Asking(stun.Address));
                Finds(Transport.Tcp, Asking(stun.Address));
                Finds(Transport.Tcp, Asking(named));
            }
        }

        private static void Finds(Transport transport, AddressConnectionOptions options)
        {
            using (AddressConnection asks = AddressPair.Open(transport, options), peer = AddressPair.Open(transport))
            {
                // Nothing is between us and the server.
                IPEndPoint found = asks.GetPublicEndPointAsync().Result;
                Check.Equal(asks.LocalEndPoints[0], found, "address");
                Check.Equal(found, asks.GetPublicEndPoint(), "address");
                Task.WaitAll(peer.ConnectAsync(new[] { found }), asks.ConnectAsync(peer.LocalEndPoints));
                Check.Equal(found, asks.GetPublicEndPoint(), "address");
                AddressPair.Say(asks, peer);
            }
        }

        [Test]
        private static void A_known_public_address_is_told_at_once_and_without_a_source_there_is_none()
        {
            AddressConnectionOptions options = AddressPair.Options();
            options.PublicAddress = IPAddress.Parse("203.0.113.5");
            using (AddressConnection known = AddressPair.Open(Transport.Tcp, options), unknown = AddressPair.Open(Transport.Tcp))
            {
                var expected = new IPEndPoint(options.PublicAddress, known.LocalEndPoints[0].Port);
                Check.Equal(expected, known.GetPublicEndPoint(), "address");
                Check.Equal(expected, known.GetPublicEndPointAsync().Result, "address");
                Check.True(unknown.GetPublicEndPoint() == null && unknown.GetPublicEndPointAsync().Result == null, "there is none");
            }
        }

        [Test(Limit = 60)]
        private static void An_address_that_nobody_tells_is_an_error_and_stops_nothing()
        {
            using (var silent = Sockets.Bound())
            using (var stun = new StunServer())
            {
                // Nobody is there over TCP.
                string address = silent.LocalEndPoint.ToString();
                Fails(Transport.Udp, Asking(address), HolePunchError.ServerSilent);
                Fails(Transport.Tcp, Asking(address), HolePunchError.ServerUnreachable);
                Fails(Transport.Udp, Asking("no-such-host.invalid:1"), HolePunchError.ServerNotFound);
                // It is none of ours.
                AddressConnectionOptions options = AddressPair.Options();
                options.AddressServer = stun.Address;
                Fails(Transport.Tcp, options, HolePunchError.ServerRefused);
            }
        }

        private static void Fails(Transport transport, AddressConnectionOptions options, HolePunchError code)
        {
            using (AddressConnection asks = AddressPair.Open(transport, options), peer = AddressPair.Open(transport))
            {
                Check.Fails(code, asks.GetPublicEndPointAsync());
                Check.Fails(code, () => asks.GetPublicEndPoint());
                Task.WaitAll(peer.ConnectAsync(asks.LocalEndPoints), asks.ConnectAsync(peer.LocalEndPoints));
                AddressPair.Say(asks, peer);
            }
        }

        [Test]
        private static void Waiting_for_it_can_be_ended_in_all_ways()
        {
            using (var silent = Sockets.Bound())
            {
                string address = silent.LocalEndPoint.ToString();
                using (AddressConnection connection = AddressPair.Open(Transport.Udp, Asking(address)))
                using (var source = new CancellationTokenSource())
                {
                    Task waiting = connection.GetPublicEndPointAsync(source.Token);
                    source.CancelAfter(50);
                    Check.Equal(source.Token, Check.Throws<OperationCanceledException>(waiting).CancellationToken, "token");
                    Check.Throws<OperationCanceledException>(() => connection.GetPublicEndPoint(source.Token));
                    // The connection goes on.
                    waiting = connection.GetPublicEndPointAsync();
                    connection.Disconnect();
                    Check.Throws<OperationCanceledException>(waiting);
                }
                AddressConnection other = AddressPair.Open(Transport.Udp, Asking(address));
                Task[] both = { other.GetPublicEndPointAsync(), Task.Run(() => other.GetPublicEndPoint()) };
                Check.True(!Task.WaitAll(both, 100), "they wait");
                other.Dispose();
                foreach (Task each in both)
                    Check.Throws<ObjectDisposedException>(each);
            }
        }
    }
}

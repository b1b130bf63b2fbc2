using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Net.Sockets;
using System.Threading;
using System.Threading.Tasks;

namespace HolePunch.Tests
{
    /// <summary>Calls that meet over TCP.</summary>
    internal static class TransportTests
    {
        private static Service Server(RelayOptions relay = null)
        {
            return new Service(new HolePunchServerOptions { Tcp = new TcpOptions(), Relay = relay });
        }

        private static HolePunchClientOptions Over(Transport transport, int seconds = 15)
        {
            return new HolePunchClientOptions { Timeout = TimeSpan.FromSeconds(seconds), Transport = transport };
        }

        private static void Meet(Service service, IEnumerable<HolePunchClientOptions> options,
            Action<HolePunchClient[], Peer[][]> test)
        {
            byte[] id = Service.NewId();
            HolePunchClient[] clients = options.Select(service.Client).ToArray();
            try
            {
                var calls = clients.Select(client => client.ConnectAsync(id, clients.Length - 1)).ToArray();
                test(clients, calls.Select(call => call.Result.ToArray()).ToArray());
            }
            finally
            {
                foreach (HolePunchClient client in clients)
                    client.Dispose();
            }
        }

        private static void Meet(Service service, Transport first, Transport second, Action<HolePunchClient[], Peer[]> test)
        {
            Meet(service, new[] { Over(first), Over(second) }, (clients, peers) =>
                test(clients, peers.Select(each => each.Single()).ToArray()));
        }

        private static void Say(string text, Stream from, Stream to)
        {
            byte[] said = text.Bytes(), heard = new byte[said.Length];
            from.Write(said, 0, said.Length);
            for (int at = 0; at < heard.Length;)
            {
                Task<int> reading = to.ReadAsync(heard, at, heard.Length - at);
                Check.True(reading.Wait(Sessions.Patience) && reading.Result > 0, "there is more after " + at + " bytes");
                at += reading.Result;
            }
            Check.True(said.SequenceEqual(heard), "what was said is heard");
        }

        // They take their connections, which outlive them, and talk.
        private static void Talk(HolePunchClient[] clients, Peer[] peers)
        {
            foreach (Peer peer in peers)
            {
                Check.Equal(Transport.Tcp, peer.Transport, "transport");
                Check.True(peer.Connected && peer.Authenticated && peer.RoundTripTime != null, "connected: " + peer);
            }
            Check.True(clients[0].ExportKey(peers[0], "x").SequenceEqual(clients[1].ExportKey(peers[1], "x")), "the same key");
            using (HoleStream a = clients[0].TakeStream(peers[0]), b = clients[1].TakeStream(peers[1]))
            {
                Check.Equal(peers[0].EndPoint, a.RemoteEndPoint, "endpoint");
                foreach (HolePunchClient client in clients)
                    client.Dispose();
                Say("over the hole", a, b);
                Say("and back", b, a);
                a.Dispose();
                Check.Equal(0, b.Read(new byte[1], 0, 1), "bytes at the end");
            }
        }

        [Test]
        private static void Two_who_use_TCP_meet_and_talk()
        {
            using (Service service = Server())
                Meet(service, Transport.Tcp, Transport.Tcp, (clients, peers) =>
                {
                    Check.True(peers.All(peer => peer.Path != PathKind.Relayed), "direct paths");
                    Talk(clients, peers);
                });
        }

        [Test]
        private static void Who_may_use_either_uses_UDP_if_both_can()
        {
            using (Service service = Server())
                Meet(service, Transport.Either, Transport.Either, (clients, peers) =>
                {
                    Check.True(peers.All(peer => peer.Transport == Transport.Udp), "over UDP");
                    foreach (int at in new[] { 0, 1 })
                        Check.Contains("TakeSocket", Check.Throws<InvalidOperationException>(
                            () => clients[at].TakeStream(peers[at])).Message);
                    using (HoleSocket a = clients[0].TakeSocket(peers[0]), b = clients[1].TakeSocket(peers[1]))
                    {
                        a.Send("hello".Bytes(), peers[0].EndPoint);
                        b.ReceiveTimeout = Sessions.Patience;
                        Check.True("hello".Bytes().SequenceEqual(b.Receive().Data), "the same");
                    }
                });
        }

        [Test]
        private static void Who_may_use_either_meets_who_has_TCP_only()
        {
            using (Service service = Server())
                Meet(service, Transport.Either, Transport.Tcp, Talk);
        }

        [Test]
        private static void Several_meet_each_over_a_connection_of_its_own()
        {
            var transports = new[] { Transport.Tcp, Transport.Either, Transport.Tcp, Transport.Either };
            using (Service service = Server())
                Meet(service, transports.Select(each => Over(each)), (clients, peers) =>
                {
                    for (int at = 0; at < clients.Length; at++)
                    {
                        // Two of them have UDP.
                        Check.Equal(at % 2, peers[at].Count(peer => peer.Transport == Transport.Udp), "peers over UDP");
                        foreach (Peer peer in peers[at])
                        {
                            if (peer.Transport == Transport.Udp)
                                clients[at].TakeSocket(peer).Dispose();
                            else
                                using (HoleStream stream = clients[at].TakeStream(peer))
                                    Check.Equal(peer.EndPoint, stream.RemoteEndPoint, "endpoint");
                        }
                    }
                });
        }

        [Test]
        private static void A_server_forwards_connections_if_it_is_to()
        {
            HolePunchClientOptions[] options = { Over(Transport.Tcp), Over(Transport.Tcp) };
            foreach (HolePunchClientOptions each in options)
                each.PathPolicy = PathPolicy.RelayOnly;
            using (Service service = Server(new RelayOptions { Ports = 2 }))
                Meet(service, options, (clients, peers) =>
                {
                    Check.True(peers.All(each => each.Single().Path == PathKind.Relayed), "relayed paths");
                    Talk(clients, peers.Select(each => each.Single()).ToArray());
                });
        }

        [Test]
        private static void A_stream_is_taken_once_and_not_as_a_socket()
        {
            using (Service service = Server())
                Meet(service, Transport.Tcp, Transport.Tcp, (clients, peers) =>
                {
                    Check.Throws<ArgumentNullException>(() => clients[0].TakeStream(null));
                    Check.Contains("TakeStream", Check.Throws<InvalidOperationException>(
                        () => clients[0].TakeSocket(peers[0])).Message);
                    clients[0].TakeStream(peers[0]).Dispose();
                    Check.Fails(HolePunchError.NotFound, () => clients[0].TakeStream(peers[0]));
                    clients[1].Timeout = TimeSpan.FromMilliseconds(50);
                    Check.Throws<HolePunchException>(() => clients[1].Connect("nobody", 1));
                    Check.Fails(HolePunchError.NotFound, () => clients[1].TakeStream(peers[1]));
                    clients[1].Dispose();
                    Check.Throws<ObjectDisposedException>(() => clients[1].TakeStream(peers[1]));
                });
        }

        [Test]
        private static void Streams_that_nobody_takes_are_closed_with_the_client()
        {
            using (Service service = Server())
                Meet(service, Transport.Tcp, Transport.Tcp, (clients, peers) =>
                {
                    using (HoleStream stream = clients[0].TakeStream(peers[0]))
                    {
                        clients[1].Dispose();
                        Task<int> reading = stream.ReadAsync(new byte[1], 0, 1);
                        Check.True(reading.Wait(Sessions.Patience), "it is over");
                        Check.Equal(0, reading.Result, "bytes at the end");
                    }
                });
        }

        [Test]
        private static void Who_uses_UDP_only_is_told_why_nothing_comes_of_it()
        {
            byte[] id = Service.NewId();
            using (Service service = Server())
            using (HolePunchClient udp = service.Client(Over(Transport.Udp, 2)), tcp = service.Client(Over(Transport.Tcp, 2)))
            {
                HolePunchClient[] clients = { udp, tcp };
                var calls = clients.Select(client => client.ConnectAsync(id, 1)).ToArray();
                for (int at = 0; at < clients.Length; at++)
                {
                    Peer peer = Check.Fails(HolePunchError.TimedOutPunching, calls[at]).Peers.Single();
                    Check.Equal(Cause.NoTcp, peer.Cause, "cause");
                    Check.Equal(Transport.Tcp, peer.Transport, "transport");
                    Check.Fails(HolePunchError.NotFound, () => clients[at].TakeStream(peer));
                }
            }
        }

        [Test]
        private static void A_server_without_TCP_is_told_from_a_silent_one()
        {
            using (var service = new Service())
            using (HolePunchClient client = service.Client(Over(Transport.Tcp, 5)))
                Check.Fails(HolePunchError.ServerPortClosed, () => client.Connect(Service.NewId(), 1));
        }

        [Test]
        private static void What_does_not_go_with_TCP_is_refused()
        {
            using (Socket mine = Sockets.Bound())
            {
                foreach (Transport transport in new[] { Transport.Tcp, Transport.Either })
                {
                    HolePunchClientOptions plain = Over(transport), given = Over(transport);
                    plain.Dialect = Dialect.Plain;
                    given.Socket = mine;
                    Check.Contains("plain dialect", Refusal(plain));
                    Check.Contains("socket of one's own", Refusal(given));
                    HolePunchClientOptions datagrams = Over(transport);
                    Check.Contains("TakeStream", Check.Throws<ArgumentException>(
                        () => HoleConnection.Connect("127.0.0.1:5000", "x", datagrams)).Message);
                    Check.Throws<ArgumentException>(HoleConnection.ConnectAsync("127.0.0.1:5000", "x", datagrams));
                }
                // It is still the caller's.
                Check.True(mine.LocalEndPoint != null, "it is open");
            }
        }

        private static string Refusal(HolePunchClientOptions options)
        {
            var error = Check.Throws<ArgumentException>(() => new HolePunchClient("127.0.0.1:5000", options));
            Check.Equal("Transport", error.ParamName, "option");
            return error.Message;
        }

        [Test]
        private static void A_call_over_TCP_can_be_cancelled_and_another_one_made()
        {
            using (Service service = Server())
            using (HolePunchClient a = service.Client(Over(Transport.Tcp)), b = service.Client(Over(Transport.Tcp)))
            using (var source = new CancellationTokenSource(200))
            {
                Check.Throws<OperationCanceledException>(() => a.Connect(Service.NewId(), 1, source.Token));
                byte[] id = Service.NewId();
                Task<IReadOnlyList<Peer>> other = b.ConnectAsync(id, 1);
                Peer peer = a.Connect(id, 1).Single();
                Talk(new[] { a, b }, new[] { peer, other.Result.Single() });
            }
        }
    }
}

using System;
using System.Collections.Generic;
using System.Linq;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Threading.Tasks;

namespace HolePunch.Tests
{
    internal static class ConnectTests
    {
        [Test]
        private static void Peers_of_the_last_call_have_keys_that_nobody_else_knows()
        {
            using (var service = new Service())
            using (Pair pair = service.Meet())
            {
                byte[] key = pair.A.ExportKey(pair.ToB, "QUIC");
                Check.Equal(32, key.Length, "length");
                Check.True(key.SequenceEqual(pair.B.ExportKey(pair.ToA, Encoding.ASCII.GetBytes("QUIC"))), "the same key");
                Check.True(!key.SequenceEqual(pair.A.ExportKey(pair.ToB, "TURN")), "another key");
                Check.Throws<ArgumentNullException>(() => pair.A.ExportKey(pair.ToB, (byte[])null));
                Check.Throws<ArgumentNullException>(() => pair.A.ExportKey(null, "QUIC"));
                Check.Fails(HolePunchError.NotFound, () => pair.A.ExportKey(pair.ToA, "QUIC"));
                pair.A.Timeout = TimeSpan.FromMilliseconds(50);
                Check.Throws<HolePunchException>(() => pair.A.Connect("nobody", 1));
                Check.Fails(HolePunchError.NotFound, () => pair.A.ExportKey(pair.ToB, "QUIC"));
                pair.A.Dispose();
                Check.Throws<ObjectDisposedException>(() => pair.A.ExportKey(pair.ToB, "QUIC"));
            }
            using (var service = new Service())
            using (Pair pair = service.Meet(Service.Quick(Dialect.Plain), Service.Quick(Dialect.Plain)))
                Check.Fails(HolePunchError.NotFound, () => pair.A.ExportKey(pair.ToB, "QUIC"));
        }

        [Test]
        private static void Two_meet_and_talk_in_every_dialect()
        {
            using (var service = new Service())
            {
                foreach (Dialect dialect in new[] { Dialect.Auto, Dialect.Native, Dialect.Plain })
                {
                    using (Pair pair = service.Meet(Service.Quick(dialect), Service.Quick(dialect)))
                    {
                        bool native = dialect != Dialect.Plain;
                        Check.True(pair.ToB.Connected, "connected");
                        Check.Equal(native, pair.ToB.Authenticated, dialect + ": authenticated");
                        Check.Equal(native, pair.ToB.RoundTripTime > TimeSpan.Zero, dialect + ": measured");
                        Check.Equal(IPAddress.Loopback, pair.ToB.EndPoint.Address);
                        Check.Equal(pair.SocketB.LocalEndPoint.Port, pair.ToB.EndPoint.Port, "port");
                        Check.True(pair.A.Counters.ProbesSent > 0, "it has counted");
                        pair.Talk();
                    }
                }
            }
        }

        [Test]
        private static void Peers_say_how_they_were_found()
        {
            using (var service = new Service())
            using (Pair pair = service.Meet())
            {
                Check.True(Enum.IsDefined(typeof(PathKind), pair.ToB.Path), "a known path");
                Check.True(new[] { "host", "reflexive", "peer-reflexive" }.Contains(pair.ToB.PathName), pair.ToB.PathName);
                Check.Equal(pair.ToB.EndPoint + " (" + pair.ToB.PathName + ")", pair.ToB.ToString());
            }
        }

        [Test]
        private static void IDs_as_text_and_as_bytes_are_the_same()
        {
            using (var service = new Service())
            using (HolePunchClient a = service.Client(), b = service.Client())
            {
                const string id = "Schlüssel 漢字";
                Task<IReadOnlyList<Peer>> text = a.ConnectAsync(id, 1);
                b.Connect(Encoding.UTF8.GetBytes(id), 1);
                Check.Equal(1, text.Result.Count);
                Task<IReadOnlyList<Peer>> bytes = a.ConnectAsync(Encoding.UTF8.GetBytes(id), 1);
                b.Connect(id, 1);
                Check.Equal(1, bytes.Result.Count);
            }
        }

        [Test]
        private static void Four_meet_at_once()
        {
            using (var service = new Service())
            {
                byte[] id = Service.NewId();
                HolePunchClient[] clients = Enumerable.Range(0, 4).Select(_ => service.Client()).ToArray();
                var calls = clients.Select(client => client.ConnectAsync(id, 3)).ToArray();
                HoleSocket[] sockets = clients.Select((client, i) => client.TakeSocket(calls[i].Result[0])).ToArray();
                for (int i = 0; i < 4; i++)
                {
                    Check.Equal(3, calls[i].Result.Count, "peers");
                    foreach (Peer peer in calls[i].Result)
                    {
                        Check.True(clients[i].TakeSocket(peer) == sockets[i], "peers share a socket");
                        sockets[i].Send(new[] { (byte)i }, peer.EndPoint);
                    }
                }
                for (int i = 0; i < 4; i++)
                {
                    sockets[i].ReceiveTimeout = TimeSpan.FromSeconds(10);
                    var heard = Enumerable.Range(0, 3).Select(_ => (int)sockets[i].Receive().Data.Single()).ToArray();
                    Check.SameItems(Enumerable.Range(0, 4).Where(other => other != i), heard, "heard by " + i);
                    sockets[i].Dispose();
                    clients[i].Dispose();
                }
            }
        }

        [Test]
        private static void Peers_at_known_addresses_meet_without_the_server()
        {
            byte[] id = Service.NewId();
            using (Socket first = Sockets.Bound(), second = Sockets.Bound())
            using (var a = new HolePunchClient("127.0.0.1:9", new HolePunchClientOptions { Socket = first }))
            using (var b = new HolePunchClient("127.0.0.1:9", new HolePunchClientOptions { Socket = second }))
            {
                Task<IReadOnlyList<Peer>> other = b.ConnectPeersAsync(id, new[] { (IPEndPoint)first.LocalEndPoint });
                Peer peer = a.ConnectPeers(id, new[] { (IPEndPoint)second.LocalEndPoint }).Single();
                Check.Equal(second.LocalEndPoint, peer.EndPoint);
                Check.Equal(first.LocalEndPoint, other.Result.Single().EndPoint);
            }
        }

        [Test]
        private static void A_timed_out_call_hands_back_its_peers_and_ConnectPeers_goes_on_with_them()
        {
            using (var service = new Service())
            {
                byte[] id = Service.NewId();
                HolePunchClientOptions options = Service.Quick();
                options.Timeout = TimeSpan.FromMilliseconds(600);
                using (HolePunchClient a = service.Client(options), b = service.Client(options))
                {
                    Task<IReadOnlyList<Peer>> other = b.ConnectAsync(id, 2);
                    var error = Check.Fails(HolePunchError.TimedOutWaiting, () => a.Connect(id, 2));
                    Check.True(error.IsTimeout && error.InnerException is TimeoutException, "a timeout");
                    var others = Check.Fails(HolePunchError.TimedOutWaiting, other).Peers;
                    Check.Equal(1, error.Peers.Count, "peers of A");
                    Check.Equal(1, others.Count, "peers of B");
                    a.Timeout = b.Timeout = TimeSpan.FromSeconds(15);
                    Check.Equal(TimeSpan.FromSeconds(15), a.Timeout);
                    other = b.ConnectPeersAsync(id, others.Select(peer => peer.EndPoint));
                    Check.True(a.ConnectPeers(id, error.Peers.Select(peer => peer.EndPoint)).Single().Connected, "connected");
                    Check.True(other.Result.Single().Connected, "connected");
                }
            }
        }

        [Test]
        private static void Failures_have_their_codes()
        {
            HolePunchClientOptions brief = new HolePunchClientOptions { Timeout = TimeSpan.FromMilliseconds(300) };
            byte[] id = Service.NewId();
            using (Socket silent = Sockets.Bound())
            using (var client = new HolePunchClient(silent.LocalEndPoint.ToString(), brief))
            {
                var error = Check.Fails(HolePunchError.ServerSilent, () => client.Connect(id, 1));
                Check.True(error.InnerException is TimeoutException && error.Peers.Count == 0, "a timeout without peers");
                Check.Equal(0, client.ReadEarlyDatagrams().Count);
            }
            using (var client = new HolePunchClient("127.0.0.1:1", brief))
                Check.Equal(null, Check.Fails(HolePunchError.ServerPortClosed, client.ConnectAsync(id, 1)).InnerException);
            using (var client = new HolePunchClient("no-such-host.invalid:5000", brief))
                Check.Fails(HolePunchError.ServerNotFound, () => client.Connect(id, 1));
            brief.LocalEndPoint = new IPEndPoint(IPAddress.Parse("192.0.2.1"), 0);
            using (var client = new HolePunchClient("127.0.0.1:5000", brief))
                Check.Equal(99, Check.Fails(HolePunchError.Socket, () => client.Connect(id, 1)).NativeErrorCode, "errno");
            using (var service = new Service(new HolePunchServerOptions { Dialect = Dialect.Plain }))
            using (HolePunchClient client = service.Client(Service.Quick(Dialect.Native)))
                Check.Fails(HolePunchError.DialectMismatch, () => client.Connect(id, 1));
        }

        [Test]
        private static void The_local_address_is_used()
        {
            using (var service = new Service())
            {
                HolePunchClientOptions options = Service.Quick();
                using (Socket free = Sockets.Bound())
                    options.LocalEndPoint = (IPEndPoint)free.LocalEndPoint;
                using (Pair pair = service.Meet(options))
                {
                    Check.Equal(options.LocalEndPoint, pair.SocketA.LocalEndPoint);
                    Check.Equal(options.LocalEndPoint, pair.ToA.EndPoint);
                }
            }
        }

        [Test]
        private static void Wrong_arguments_are_refused()
        {
            Check.Throws<ArgumentNullException>(() => new HolePunchClient(null));
            foreach (string server in new[] { "", "nowhere", "a:b", "host:5000\0", "127.0.0.1:99999" })
                Check.Equal("server", Check.Throws<ArgumentException>(() => new HolePunchClient(server)).ParamName, server);
            Refused("ServerRetry", new HolePunchClientOptions { ServerRetry = TimeSpan.Zero });
            Refused("ServerRetry", new HolePunchClientOptions { ServerRetry = TimeSpan.FromMilliseconds(-1) });
            Refused("PeerRetry", new HolePunchClientOptions { PeerRetry = TimeSpan.FromSeconds(11) });
            Refused("Dialect", new HolePunchClientOptions { Dialect = (Dialect)3 });
            using (var client = new HolePunchClient("127.0.0.1:5000"))
            {
                byte[] id = { 1 };
                Check.Throws<ArgumentNullException>(() => client.Connect((byte[])null, 1));
                Check.Throws<ArgumentNullException>(() => client.Connect((string)null, 1));
                Check.Throws<ArgumentException>(() => client.Connect("", 1));
                Check.Throws<ArgumentException>(() => client.ConnectAsync(new byte[1001], 1));
                foreach (int peers in new[] { -1, 0, 65 })
                    Check.Throws<ArgumentOutOfRangeException>(() => client.Connect(id, peers));
                Check.Throws<ArgumentNullException>(() => client.ConnectPeers(id, null));
                Check.Throws<ArgumentNullException>(() => client.ConnectPeers(id, new IPEndPoint[1]));
                Check.Throws<ArgumentOutOfRangeException>(() => client.ConnectPeers(id, new IPEndPoint[0]));
                Check.Throws<ArgumentNullException>(() => client.TakeSocket(null));
            }
        }

        private static void Refused(string option, HolePunchClientOptions options)
        {
            var error = Check.Throws<ArgumentOutOfRangeException>(() => new HolePunchClient("127.0.0.1:5000", options));
            Check.Equal(option, error.ParamName);
        }

        [Test]
        private static void Session_IDs_are_fresh_and_control_packets_are_told_apart()
        {
            string id = SessionId.Generate();
            Check.Equal(32, id.Length);
            Check.True(id.All(Uri.IsHexDigit) && id != SessionId.Generate(), id);
            foreach (string control in new[] { "", "SYN", "ACK" })
                Check.True(ControlPacket.Is(Encoding.ASCII.GetBytes(control)), control);
            byte[] text = Encoding.ASCII.GetBytes("xSYNx");
            Check.True(!ControlPacket.Is(text) && ControlPacket.Is(text, 1, 3) && ControlPacket.Is(text, 5, 0), "parts");
            Check.True(!ControlPacket.Is(new ReadOnlySpan<byte>(text)) && ControlPacket.Is(new ReadOnlySpan<byte>(text, 1, 3))
                && ControlPacket.Is(new ReadOnlySpan<byte>()), "spans");
            Check.Throws<ArgumentNullException>(() => ControlPacket.Is(null));
            Check.Throws<ArgumentOutOfRangeException>(() => ControlPacket.Is(text, 6, 0));
            Check.Throws<ArgumentOutOfRangeException>(() => ControlPacket.Is(text, 1, 5));
            Check.True(Library.Version.StartsWith("0."), Library.Version);
        }
    }
}

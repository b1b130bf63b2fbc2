using System;
using System.Collections.Generic;
using System.Linq;
using System.Net;
using System.Text;
using System.Text.RegularExpressions;
using System.Threading;
using System.Threading.Tasks;

namespace HolePunch.Tests
{
    internal static class SessionTests
    {
        [Test]
        private static void Three_meet_talk_and_leave()
        {
            using (var service = new Service())
            {
                Session[] all = service.Join(3);
                foreach (Session session in all)
                {
                    Check.SameItems(all.Where(each => each != session).Select(each => each.LocalId),
                        session.Peers.Select(peer => peer.Id), "peers");
                    Check.Equal(1ul, session.SendToAll(("I am " + session.LocalId).Bytes()), "number");
                }
                foreach (Session session in all)
                {
                    // Two messages, and that ours has come twice, in any order.
                    SessionEvent[] told = Enumerable.Range(0, 4)
                        .Select(_ => session.Next(each => each is SessionEvent.Message || each is SessionEvent.Delivered)).ToArray();
                    foreach (var message in told.OfType<SessionEvent.Message>())
                    {
                        Check.Equal("I am " + message.Peer, message.Text());
                        Check.True(message.Encrypted, "it is encrypted");
                    }
                    var others = all.Where(each => each != session).Select(each => each.LocalId + " 1");
                    Check.SameItems(others, told.OfType<SessionEvent.Delivered>().Select(each => each.Peer + " " + each.Number),
                        "delivered");
                }
                Check.Equal(2ul, all[0].Send(all[1].LocalId, new byte[0]), "number");
                Check.Equal(0, all[1].Next<SessionEvent.Message>().Data.Length, "length");
                var delivered = all[0].Next<SessionEvent.Delivered>();
                Check.Equal(all[1].LocalId + " 2", delivered.Peer + " " + delivered.Number);
                all[2].Dispose();
                var left = all[0].Next<SessionEvent.Left>();
                Check.Equal(all[2].LocalId, left.Peer, "peer");
                Check.Equal(Departure.Goodbye, left.Reason, "reason");
                Check.True(left.Key == null && left.Undelivered.Count == 0, "nothing else is told of it");
                Check.Equal(1, all[0].Peers.Count, "peers");
                Check.True(all[0].FindPeer(all[2].LocalId) == null, "it is not found");
                all.Dispose();
            }
        }

        [Test]
        private static void A_session_is_joined_without_a_client()
        {
            using (var service = new Service())
            using (Session a = Session.Join(service.Address, "an ID"))
            using (Session b = Session.JoinAsync(service.Address, "an ID").Result)
            {
                Check.Equal(b.LocalId, a.Next<SessionEvent.Connected>().Peer, "peer");
                Check.Equal(a.LocalId, b.Next<SessionEvent.Connected>().Peer, "peer");
            }
        }

        [Test]
        private static void Events_and_peers_say_where_a_peer_is_and_who()
        {
            using (var service = new Service())
            {
                byte[] id = Service.NewId();
                using (Session a = service.Join(id))
                {
                    var registered = a.Next<SessionEvent.Registered>();
                    Check.Equal(IPAddress.Loopback, registered.EndPoint.Address, "address");
                    using (Session b = service.Join(id))
                    {
                        Check.Equal("Joined " + b.LocalId, a.Next<SessionEvent.Joined>().ToString());
                        var connected = a.Next<SessionEvent.Connected>();
                        Check.Equal(b.LocalId, connected.Peer, "peer");
                        Check.Equal(b.PublicKey, connected.Key.Value, "key");
                        Check.Equal(IPAddress.Loopback, connected.EndPoint.Address, "address");
                        Check.True(Enum.IsDefined(typeof(PathKind), connected.Path), "path " + connected.Path);
                        SessionPeer peer = a.FindPeer(b.LocalId);
                        Check.Equal(b.LocalId, peer.Id, "ID");
                        Check.Equal(b.PublicKey, peer.Key.Value, "key");
                        Check.Equal(IPAddress.Loopback, peer.EndPoint.Address, "address");
                        Check.True(peer.Connected && peer.Encrypted && peer.Path != null, "all is known of it");
                        Check.Equal(b.LocalId + " at " + peer.EndPoint, peer.ToString());
                        Check.Equal(0ul, a.Counters.Forged + a.Counters.Replayed + a.Counters.Malformed, "dropped");
                    }
                }
            }
        }

        [Test]
        private static void Keys_are_the_same_on_both_sides_and_differ_by_label()
        {
            using (var service = new Service())
            {
                Session[] both = service.Join(2);
                byte[] key = both[0].ExportKey(both[1].LocalId, "QUIC"), other = both[0].ExportKey(both[1].LocalId, "TURN");
                Check.True(key.SequenceEqual(both[1].ExportKey(both[0].LocalId, "QUIC".Bytes())), "the same key");
                Check.Equal(32, key.Length, "length");
                Check.True(!key.SequenceEqual(other), "another key");
                Check.Fails(HolePunchError.NotFound, () => both[0].ExportKey(both[0].LocalId, "QUIC"));
                both.Dispose();
            }
        }

        [Test]
        private static void Only_pinned_keys_are_let_in()
        {
            Identity friend = Identity.Generate();
            using (var service = new Service())
            {
                byte[] id = Service.NewId();
                using (Session strict = service.Join(id, new SessionOptions { PinnedKeys = new[] { friend.PublicKey } }))
                using (Session stranger = service.Join(id))
                {
                    var left = strict.Next<SessionEvent.Left>();
                    Check.Equal(Departure.WrongKey, left.Reason, "reason");
                    Check.Equal(stranger.PublicKey, left.Key.Value, "key");
                    using (Session known = service.Join(id, new SessionOptions { Identity = friend }))
                    {
                        Check.Equal(friend.PublicKey, known.PublicKey, "key");
                        var connected = strict.Next<SessionEvent.Connected>();
                        Check.Equal(known.LocalId, connected.Peer, "peer");
                        Check.Equal(friend.PublicKey, connected.Key.Value, "key");
                    }
                }
            }
        }

        [Test]
        private static void Plain_peers_are_let_in_if_wanted_and_marked()
        {
            using (var service = new Service())
            {
                byte[] id = Service.NewId();
                using (Session session = service.Join(id, new SessionOptions { PlainPeers = true }))
                using (HolePunchClient plain = service.Client(Service.Quick(Dialect.Plain)))
                {
                    Peer peer = plain.Connect(id, 1)[0];
                    using (HoleSocket socket = plain.TakeSocket(peer))
                    {
                        var connected = session.Next<SessionEvent.Connected>();
                        Check.True(!connected.Encrypted && connected.Key == null, "it is not encrypted");
                        socket.Send("hello".Bytes(), peer.EndPoint);
                        var message = session.Next<SessionEvent.Message>();
                        Check.Equal("hello", message.Text());
                        Check.True(!message.Encrypted, "it is not encrypted");
                        Check.Throws<ArgumentException>(
                            () => session.Send(message.Peer, new byte[Session.MaxPlainMessageLength + 1]));
                        Check.Fails(HolePunchError.NotFound, () => session.ExportKey(message.Peer, "x"));
                        socket.ReceiveTimeout = Sessions.Patience;
                        session.Send(message.Peer, "hello yourself".Bytes());
                        Check.Equal("hello yourself", Encoding.UTF8.GetString(socket.Receive().Data));
                    }
                }
            }
        }

        [Test]
        private static void A_server_without_the_native_dialect_refuses()
        {
            using (var service = new Service(new HolePunchServerOptions { Dialect = Dialect.Plain }))
            using (Session session = service.Join(Service.NewId()))
                Check.Equal(SessionRefusal.Dialect, session.Next<SessionEvent.Refused>().Reason, "reason");
        }

        [Test(Limit = 90)]
        private static void A_slow_receiver_holds_the_sender_up_and_loses_nothing()
        {
            const int count = 150;
            using (var service = new Service())
            {
                byte[] id = Service.NewId();
                var little = new SessionOptions { MaxUnacknowledged = 1000000, MaxUnfetched = 200000 };
                using (Session from = service.Join(id, little), to = service.Join(id, little))
                {
                    from.Next<SessionEvent.Connected>();
                    to.Next<SessionEvent.Connected>();
                    int refused = 0;
                    Task sending = Task.Run(() =>
                    {
                        for (int i = 0; i < count; i++)
                        {
                            var message = new byte[Session.MaxMessageLength];
                            message[0] = (byte)i;
                            ulong number;
                            while (!(i % 2 == 0 ? from.TrySend(to.LocalId, message, out number)
                                : HasSent(from, to.LocalId, message, out number)))
                            {
                                refused++;
                                Check.Equal(0ul, number, "number");
                                from.Next<SessionEvent.Delivered>();
                            }
                            Check.Equal((ulong)i + 1, number, "number");
                        }
                    });
                    Check.True(!sending.Wait(1000), "the sender waits");
                    for (int i = 0; i < count; i++)
                    {
                        byte[] data = to.Next<SessionEvent.Message>().Data;
                        Check.Equal(Session.MaxMessageLength, data.Length, "length");
                        Check.Equal((byte)i, data[0], "message");
                    }
                    Check.True(sending.Wait(Sessions.Patience), "all is sent");
                    Check.True(refused > 0, "too much waited");
                }
            }
        }

        private static bool HasSent(Session from, PeerId to, byte[] message, out ulong number)
        {
            number = 0;
            try
            {
                number = from.Send(to, message);
                return true;
            }
            catch (HolePunchException error) when (error.Code == HolePunchError.Full)
            {
                return false;
            }
        }

        [Test]
        private static void What_cannot_be_sent_says_why()
        {
            using (var service = new Service())
            {
                Session[] both = service.Join(2);
                PeerId other = both[1].LocalId;
                Check.Throws<ArgumentNullException>(() => both[0].Send(other, null));
                Check.Throws<ArgumentNullException>(() => both[0].SendToAll(null));
                Check.Contains("at most 65536", Check.Throws<ArgumentException>(
                    () => both[0].Send(other, new byte[Session.MaxMessageLength + 1])).Message);
                Check.Fails(HolePunchError.NotFound, () => both[0].Send(new PeerId(new byte[16]), new byte[1]));
                both[0].Leave();
                Check.Contains("left", Check.Throws<InvalidOperationException>(() => both[0].Send(other, new byte[1])).Message);
                both.Dispose();
                Check.Throws<ObjectDisposedException>(() => both[0].Send(other, new byte[1]));
                Check.Throws<ObjectDisposedException>(() => both[0].Peers.ToString());
                Check.Throws<ObjectDisposedException>(() => both[0].FindPeer(other));
                Check.Throws<ObjectDisposedException>(() => both[0].ExportKey(other, "x"));
                Check.Throws<ObjectDisposedException>(() => both[0].Counters.ToString());
                Check.Throws<ObjectDisposedException>(() => both[0].Leave());
                Check.Throws<ObjectDisposedException>(() => both[0].Start());
                Check.True(other == both[1].LocalId && both[0].PublicKey != both[1].PublicKey, "names and keys stay known");
                both[0].DisposeAsync().AsTask().Wait();
            }
        }

        [Test]
        private static void What_cannot_be_joined_says_why()
        {
            byte[] id = Service.NewId();
            using (var service = new Service())
            using (HolePunchClient client = service.Client())
            using (var nowhere = new HolePunchClient("nowhere.invalid:5000"))
            {
                Check.Throws<ArgumentException>(() => client.Join(new byte[0]));
                Check.Throws<ArgumentException>(() => client.Join(new byte[SessionId.MaxLength + 1]));
                Check.Throws<ArgumentNullException>(() => client.Join((string)null));
                Check.Throws<ArgumentOutOfRangeException>(() => client.Join(id, new SessionOptions { MaxUnfetched = 2047 }));
                Check.Throws<ArgumentOutOfRangeException>(() => client.Join(id, new SessionOptions { MaxUnacknowledged = -1 }));
                Check.Throws<ArgumentException>(() => client.Join(id, new SessionOptions { PinnedKeys = new PublicKey[0] }));
                Check.Throws<OperationCanceledException>(() => client.Join(id, null, new CancellationToken(true)));
                Check.Throws<OperationCanceledException>(client.JoinAsync(id, null, new CancellationToken(true)));
                Check.Fails(HolePunchError.ServerNotFound, () => nowhere.Join(id));
                Check.Fails(HolePunchError.ServerNotFound, nowhere.JoinAsync(id));
                client.Dispose();
                Check.Throws<ObjectDisposedException>(client.JoinAsync(id));
            }
        }

        [Test]
        private static void A_given_socket_becomes_the_sessions()
        {
            using (var service = new Service())
            using (var socket = Sockets.Bound())
            using (HolePunchClient client = service.Client(new HolePunchClientOptions { Socket = socket }))
            {
                byte[] id = Service.NewId();
                using (Session session = client.Join(id))
                {
                    EndPoint seen = session.Next<SessionEvent.Registered>().EndPoint;
                    Check.Equal(socket.LocalEndPoint, seen, "endpoint");
                    // The client makes another one then.
                    using (HolePunchClient other = service.Client())
                    {
                        byte[] next = Service.NewId();
                        Task<IReadOnlyList<Peer>> connecting = other.ConnectAsync(next, 1);
                        using (HoleSocket taken = client.TakeSocket(client.Connect(next, 1)[0]))
                            Check.True(!taken.LocalEndPoint.Equals(seen), "another socket");
                        connecting.Wait();
                    }
                }
            }
        }

        [Test]
        private static void Names_and_keys_are_values()
        {
            var bytes = Enumerable.Range(0, 32).Select(i => (byte)i).ToArray();
            var id = new PeerId(bytes.Take(16).ToArray());
            Check.Equal("000102030405060708090a0b0c0d0e0f", id.ToString());
            Check.True(id.Equals((object)new PeerId(id.ToByteArray())) && !id.Equals("x"), "it is the same");
            Check.True(id.CompareTo(default(PeerId)) > 0 && id.CompareTo(id) == 0 && id != default(PeerId), "they have an order");
            Check.Throws<ArgumentException>(() => new PeerId(bytes));
            Check.Throws<ArgumentNullException>(() => new PeerId(null));
            var key = new PublicKey(bytes);
            Check.True(key.ToByteArray().SequenceEqual(bytes), "bytes");
            Check.True(key.Equals((object)new PublicKey(bytes)) && key != default(PublicKey) && !key.Equals("x"), "it is the same");
            Check.True(Regex.IsMatch(key.Fingerprint, "^([0-9a-f]{4} ){7}[0-9a-f]{4}$"), key.Fingerprint);
            Check.Equal(key.Fingerprint, key.ToString());
            Check.Throws<ArgumentException>(() => new PublicKey(new byte[31]));
            Check.Throws<ArgumentException>(() => new Identity(new byte[33]));
            Identity identity = Identity.Generate();
            Check.Equal(identity.PublicKey, new Identity(identity.ToByteArray()).PublicKey, "public key");
            Check.True(identity.PublicKey != Identity.Generate().PublicKey, "it is random");
        }
    }
}

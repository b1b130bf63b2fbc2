using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Net;
using System.Net.Sockets;
using System.Threading;
using System.Threading.Tasks;

namespace HolePunch.Tests
{
    internal static class AddressConnectionTests
    {
        [Test(Limit = 60)]
        private static void Both_ends_connect_talk_and_part()
        {
            foreach (Transport transport in AddressPair.Both)
            {
                foreach (bool authenticated in new[] { true, false })
                {
                    using (var pair = new AddressPair(transport, authenticated))
                    {
                        AddressConnection a = pair.A, b = pair.B;
                        Check.Equal(a.LocalEndPoint, b.RemoteEndPoint, "endpoint");
                        Check.Equal(b.LocalEndPoint, a.RemoteEndPoint, "endpoint");
                        Check.True(a.Path == PathKind.Reflexive || a.Path == PathKind.PeerReflexive, "path " + a.Path);
                        Check.True(a.RoundTripTime == null || a.RoundTripTime < Sessions.Patience, "time " + a.RoundTripTime);
                        Check.Equal(authenticated, a.IsAuthenticated && b.IsAuthenticated, "authenticated");
                        Check.True(a.End == null, "it is not over");
                        pair.Talk();
                        if (authenticated)
                            CheckKeys(a, b);
                        else
                            Check.Fails(HolePunchError.NotFound, () => a.ExportKey("x"));
                        a.Disconnect();
                        a.Disconnect();
                        Check.True(a.Receive() == null && a.ReceiveAsync().Result == null, "it is over");
                        Check.Equal("Closed", a.End.ToString());
                        Check.Fails(HolePunchError.NotConnected, () => a.Send(new byte[1]));
                        // Nobody who proves nothing can say over UDP that it has gone.
                        if (authenticated || transport == Transport.Tcp)
                        {
                            Check.True(b.Receive() == null, "the other one hears of it");
                            Check.Equal(ConnectionEnd.ClosedByPeer, b.End.Reason, "reason");
                            Check.True(b.End.Error == null, "it is no error");
                        }
                    }
                }
            }
        }

        private static void CheckKeys(AddressConnection a, AddressConnection b)
        {
            byte[] key = a.ExportKey("QUIC");
            Check.Equal(32, key.Length, "length");
            Check.True(key.SequenceEqual(b.ExportKey("QUIC".Bytes())), "the same key");
            Check.True(!key.SequenceEqual(a.ExportKey("TURN")), "another key");
        }

        [Test]
        private static void It_is_enough_that_one_side_knows_the_others_address()
        {
            foreach (Transport transport in AddressPair.Both)
            {
                using (AddressConnection waits = AddressPair.Open(transport), dials = AddressPair.Open(transport))
                {
                    Task waiting = waits.ConnectAsync(new IPEndPoint[0]);
                    dials.Connect(AddressPair.Nowhere().Concat(waits.LocalEndPoints));
                    waiting.Wait();
                    Check.Equal(waits.LocalEndPoints[0], dials.RemoteEndPoint, "endpoint");
                    Check.Equal(PathKind.PeerReflexive, waits.Path.Value, "path");
                    Check.Equal(PathKind.Reflexive, dials.Path.Value, "path");
                }
            }
        }

        [Test]
        private static void Without_options_it_binds_to_all_addresses()
        {
            using (var a = new AddressConnection(Transport.Udp, AddressPair.Id.Bytes()))
            using (var b = new AddressConnection(Transport.Udp, AddressPair.Id.Bytes()))
            {
                Check.True(a.LocalEndPoints.Count > 0 && a.LocalEndPoints.All(each => each.Port > 0), "addresses");
                Check.True(a.RemoteEndPoint == null && a.LocalEndPoint == null && a.Path == null && !a.IsAuthenticated,
                    "nothing is known of the peer");
                Task.WaitAll(a.ConnectAsync(b.LocalEndPoints), b.ConnectAsync(a.LocalEndPoints));
                AddressPair.Say(a, b);
            }
        }

        [Test(Limit = 90)]
        private static void Much_arrives_whole_and_whoever_does_not_receive_makes_the_other_wait()
        {
            byte[] much = AddressPair.Noise(24 << 20);
            using (var pair = new AddressPair(Transport.Tcp))
            {
                Task sending = pair.A.SendAsync(much);
                Check.True(!sending.Wait(500), "it waits");
                // What others send comes after it, and not into each other's.
                byte[] ones = Enumerable.Repeat((byte)1, 1000).ToArray(), twos = Enumerable.Repeat((byte)2, 1000).ToArray();
                Task others = Task.WhenAll(pair.A.SendAsync(ones), Task.Run(() => pair.A.Send(twos)));
                Check.True(!others.Wait(50), "they wait, too");
                byte[] heard = AddressPair.Receive(pair.B, much.Length + 2000);
                Check.True(sending.Wait(Sessions.Patience) && others.Wait(Sessions.Patience), "all is sent");
                Check.True(much.SequenceEqual(heard.Take(much.Length)), "it is the same");
                byte[] rest = heard.Skip(much.Length).ToArray();
                Check.True(rest.SequenceEqual(ones.Concat(twos)) || rest.SequenceEqual(twos.Concat(ones)), "so are the others");
            }
        }

        [Test]
        private static void A_datagram_is_received_as_it_was_sent_up_to_the_longest()
        {
            using (var pair = new AddressPair(Transport.Udp))
            {
                foreach (int length in new[] { 1, 1500, AddressConnection.MaxDatagramLength })
                {
                    byte[] datagram = AddressPair.Noise(length);
                    pair.A.SendAsync(datagram).Wait();
                    Check.True(datagram.SequenceEqual(pair.B.Receive()), length + " bytes");
                }
                Check.Contains("65,507", Check.Throws<ArgumentException>(
                    () => pair.A.Send(new byte[AddressConnection.MaxDatagramLength + 1])).Message);
                pair.Talk();
            }
        }

        [Test]
        private static void A_program_that_knows_nothing_of_us_can_be_the_other_side_over_TCP()
        {
            using (AddressConnection connection = AddressConnection.CreateUnauthenticated(Transport.Tcp, AddressPair.Options()))
            using (var client = new TcpClient())
            {
                Task connecting = connection.ConnectAsync(new IPEndPoint[0]);
                client.Connect(connection.LocalEndPoints[0]);
                connecting.Wait();
                Check.Equal(client.Client.LocalEndPoint, connection.RemoteEndPoint, "endpoint");
                TalkWith(connection, client.GetStream());
                client.Close();
                Check.True(connection.Receive() == null, "it is over");
                Check.Equal(ConnectionEnd.ClosedByPeer, connection.End.Reason, "reason");
            }
            var listener = new TcpListener(IPAddress.Loopback, 0);
            listener.Start();
            using (AddressConnection connection = AddressConnection.CreateUnauthenticated(Transport.Tcp, AddressPair.Options()))
            {
                Task connecting = connection.ConnectAsync(new[] { (IPEndPoint)listener.LocalEndpoint });
                using (TcpClient client = listener.AcceptTcpClient())
                {
                    connecting.Wait();
                    TalkWith(connection, client.GetStream());
                    Sockets.Break(client.Client);
                    HolePunchException error = Check.Fails(HolePunchError.Socket, connection.ReceiveAsync());
                    Check.Equal(104, error.NativeErrorCode, "ECONNRESET");
                    Check.Fails(HolePunchError.Socket, () => connection.Receive());
                    Check.Equal(ConnectionEnd.Failed, connection.End.Reason, "reason");
                    Check.Contains("Failed: ", connection.End.ToString());
                }
            }
            listener.Stop();
        }

        private static void TalkWith(AddressConnection connection, Stream stream)
        {
            connection.Send("hello".Bytes());
            var buffer = new byte[5];
            for (int length = 0; length < buffer.Length;)
                length += stream.Read(buffer, length, buffer.Length - length);
            Check.True("hello".Bytes().SequenceEqual(buffer), "and nothing before");
            stream.Write(buffer, 0, buffer.Length);
            Check.True(buffer.SequenceEqual(AddressPair.Receive(connection, buffer.Length)), "the same");
        }

        [Test]
        private static void A_program_that_knows_nothing_of_us_can_be_the_other_side_over_UDP()
        {
            using (AddressConnection connection = AddressConnection.CreateUnauthenticated(Transport.Udp, AddressPair.Options()))
            using (var client = new UdpClient(new IPEndPoint(IPAddress.Loopback, 0)))
            {
                Task connecting = connection.ConnectAsync(new[] { (IPEndPoint)client.Client.LocalEndPoint });
                byte[] data = "hello".Bytes();
                client.Send(data, data.Length, connection.LocalEndPoints[0]);
                connecting.Wait();
                Check.True(data.SequenceEqual(connection.Receive()), "what came first");
                connection.Send("hello yourself".Bytes());
                IPEndPoint from = null;
                byte[] heard;
                do
                    heard = client.Receive(ref from);
                while (ControlPacket.Is(heard));
                Check.True("hello yourself".Bytes().SequenceEqual(heard), "the same");
            }
        }

        [Test]
        private static void Whoever_knows_another_ID_is_a_stranger()
        {
            using (AddressConnection a = AddressPair.Open(Transport.Tcp, AddressPair.Impatient()))
            using (var b = new AddressConnection(Transport.Tcp, "something else", AddressPair.Impatient()))
            {
                Task[] both = { a.ConnectAsync(b.LocalEndPoints), b.ConnectAsync(a.LocalEndPoints) };
                foreach (Task each in both)
                    Check.True(!Check.Fails(HolePunchError.Stranger, each).IsTimeout, "time is not what it lacked");
                Check.Equal(ConnectionEnd.NotReached, a.End.Reason, "reason");
                Check.Equal(HolePunchError.Stranger, a.End.Error.Code, "code");
                Check.Contains(a.End.Error.Message, a.End.ToString());
                Check.Fails(HolePunchError.NotConnected, () => a.Receive());
            }
        }

        [Test(Limit = 60)]
        private static void Nobody_there_is_one_clear_error()
        {
            foreach (Transport transport in AddressPair.Both)
            {
                using (AddressConnection connection = AddressPair.Open(transport, AddressPair.Impatient()))
                using (var other = AddressConnection.CreateUnauthenticated(transport, AddressPair.Impatient()))
                {
                    Stopwatch took = Stopwatch.StartNew();
                    foreach (AddressConnection each in new[] { connection, other })
                    {
                        var error = Check.Fails(HolePunchError.TimedOutPunching, () => each.Connect(AddressPair.Nowhere()));
                        Check.True(error.IsTimeout && error.InnerException is TimeoutException, "time is up");
                        Check.Equal(ConnectionEnd.NotReached, each.End.Reason, "reason");
                        Check.Fails(HolePunchError.AlreadyAttempted, each.ConnectAsync(AddressPair.Nowhere()));
                    }
                    Check.True(took.Elapsed.TotalSeconds >= 1, "it took what it may: " + took.Elapsed);
                }
            }
        }

        [Test]
        private static void What_makes_no_sense_is_refused()
        {
            byte[] id = AddressPair.Id.Bytes();
            Refuses<ArgumentOutOfRangeException>(options => options.AttemptTimeout = TimeSpan.Zero);
            Refuses<ArgumentOutOfRangeException>(options => options.AttemptTimeout = Timeout.InfiniteTimeSpan);
            Refuses<ArgumentOutOfRangeException>(options => options.AttemptTimeout = TimeSpan.FromMilliseconds(3600001));
            Refuses<ArgumentOutOfRangeException>(options => options.Attempts = 0);
            Refuses<ArgumentOutOfRangeException>(options => options.Attempts = 1001);
            Refuses<ArgumentException>(options => options.StunServer = "nonsense");
            Refuses<ArgumentException>(options => options.AddressServer = "a\0:1");
            Refuses<ArgumentException>(options => options.AddressServer = options.StunServer = "127.0.0.1:1");
            Refuses<ArgumentException>(options => options.PublicAddress = IPAddress.IPv6Loopback);
            Refuses<HolePunchException>(options => options.LocalEndPoint = new IPEndPoint(IPAddress.Parse("192.0.2.1"), 0));
            Check.Throws<ArgumentOutOfRangeException>(() => new AddressConnection(0, id));
            Check.Throws<ArgumentOutOfRangeException>(() => new AddressConnection(Transport.Either, id));
            Check.Throws<ArgumentNullException>(() => new AddressConnection(Transport.Tcp, (string)null));
            Check.Throws<ArgumentNullException>(() => new AddressConnection(Transport.Tcp, (byte[])null));
            Check.Throws<ArgumentException>(() => new AddressConnection(Transport.Tcp, ""));
            Check.Throws<ArgumentException>(() => new AddressConnection(Transport.Tcp, new byte[SessionId.MaxLength + 1]));
            foreach (int milliseconds in new[] { 1, 3600000 })
            {
                AddressConnectionOptions options = AddressPair.Options();
                options.AttemptTimeout = TimeSpan.FromMilliseconds(milliseconds);
                options.Attempts = milliseconds == 1 ? 1 : 1000;
                new AddressConnection(Transport.Udp, new byte[SessionId.MaxLength], options).Dispose();
            }
            using (AddressConnection connection = AddressPair.Open(Transport.Udp))
            {
                IPEndPoint somewhere = AddressPair.Nowhere()[0];
                Check.Throws<ArgumentNullException>(() => connection.Connect(null));
                Check.Throws<ArgumentNullException>(() => connection.Connect(new IPEndPoint[] { null }));
                Check.Throws<ArgumentException>(() => connection.Connect(new[] { new IPEndPoint(IPAddress.Loopback, 0) }));
                Check.Throws<ArgumentException>(() => connection.Connect(new[] { new IPEndPoint(IPAddress.Any, 1) }));
                Check.Contains("at most 16", Check.Throws<ArgumentException>(connection.ConnectAsync(
                    Enumerable.Repeat(somewhere, AddressConnection.MaxAddresses + 1))).Message);
                Check.Fails(HolePunchError.NotConnected, () => connection.Receive());
                Check.Fails(HolePunchError.NotConnected, connection.ReceiveAsync());
                Check.Fails(HolePunchError.NotConnected, () => connection.Send(new byte[1]));
                Check.Fails(HolePunchError.NotConnected, () => connection.Start());
                Check.Fails(HolePunchError.NotFound, () => connection.ExportKey("x"));
                Check.Throws<ArgumentNullException>(() => connection.ExportKey((byte[])null));
                Check.Throws<ArgumentNullException>(() => connection.Send(null));
                Check.Throws<ArgumentNullException>(() => connection.SendAsync(null));
                Check.Throws<ArgumentOutOfRangeException>(() => connection.Send(new byte[1], 1, 1));
            }
        }

        private static void Refuses<T>(Action<AddressConnectionOptions> change) where T : Exception
        {
            AddressConnectionOptions options = AddressPair.Options();
            change(options);
            Check.Throws<T>(() => AddressPair.Open(Transport.Tcp, options));
        }

        [Test]
        private static void Blocking_calls_of_it_need_no_thread_of_the_pool()
        {
            ThreadPool.GetMaxThreads(out int workers, out int ports);
            ThreadPool.GetMinThreads(out int least, out int leastPorts);
            using (var done = new ManualResetEvent(false))
            using (AddressConnection a = AddressPair.Open(Transport.Tcp), b = AddressPair.Open(Transport.Tcp))
            {
                try
                {
                    Check.True(ThreadPool.SetMinThreads(1, 1) && ThreadPool.SetMaxThreads(least, ports), "limited");
                    for (int i = 0; i < 4 * least; i++)
                        ThreadPool.QueueUserWorkItem(_ => done.WaitOne());
                    var other = new Thread(() =>
                    {
                        b.Connect(a.LocalEndPoints);
                        b.Send(new byte[] { 1 });
                    });
                    other.Start();
                    a.Connect(b.LocalEndPoints);
                    Check.Equal(1, a.Receive().Length, "length");
                    other.Join();
                }
                finally
                {
                    done.Set();
                    ThreadPool.SetMaxThreads(workers, ports);
                    ThreadPool.SetMinThreads(least, leastPorts);
                }
            }
        }
    }
}

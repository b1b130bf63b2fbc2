using System;
using System.Diagnostics;
using System.Linq;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Threading;
using System.Threading.Tasks;

namespace HolePunch.Tests
{
    internal static class SocketTests
    {
        private static void WithPair(Action<Pair> test)
        {
            using (var service = new Service())
            using (Pair pair = service.Meet())
                test(pair);
        }

        [Test]
        private static void It_outlives_its_client()
        {
            WithPair(pair =>
            {
                pair.A.Dispose();
                pair.B.Dispose();
                GC.Collect();
                pair.Talk();
            });
        }

        [Test]
        private static void It_sends_and_receives_without_blocking()
        {
            WithPair(pair =>
            {
                Task<Datagram> waiting = pair.SocketB.ReceiveAsync();
                Check.True(!waiting.Wait(50), "nothing is there yet");
                byte[] buffer = Encoding.ASCII.GetBytes("xx some words xx");
                pair.SocketA.SendAsync(buffer, 3, 10, pair.ToB.EndPoint).Wait();
                Check.Equal("some words", Encoding.ASCII.GetString(waiting.Result.Data));
                pair.SocketA.SendAsync(buffer, pair.ToB.EndPoint).Wait();
                Check.Equal(buffer.Length, pair.SocketB.ReceiveAsync().Result.Data.Length);
            });
        }

        [Test]
        private static void It_receives_into_a_buffer()
        {
            WithPair(pair =>
            {
                pair.SocketA.Send(Encoding.ASCII.GetBytes("12345"), pair.ToB.EndPoint);
                byte[] buffer = Encoding.ASCII.GetBytes("......");
                Check.Equal(3, pair.SocketB.Receive(buffer, 2, 3, out IPEndPoint from));
                Check.Equal("..123.", Encoding.ASCII.GetString(buffer));
                Check.Equal(pair.ToA.EndPoint, from);
            });
        }

        [Test]
        private static void Large_datagrams_pass_and_too_large_ones_are_refused()
        {
            WithPair(pair =>
            {
                byte[] large = Enumerable.Range(0, 65507).Select(i => (byte)i).ToArray();
                pair.SocketA.Send(large, pair.ToB.EndPoint);
                Check.True(large.SequenceEqual(pair.SocketB.Receive().Data), "as it was sent");
                var error = Check.Throws<SocketException>(() => pair.SocketA.Send(new byte[65508], pair.ToB.EndPoint));
                Check.Equal(SocketError.MessageSize, error.SocketErrorCode);
            });
        }

        [Test]
        private static void Control_packets_and_strangers_are_dropped()
        {
            WithPair(pair =>
            {
                IPEndPoint to = pair.ToB.EndPoint;
                using (Socket stranger = Sockets.Bound())
                {
                    foreach (string control in new[] { "", "SYN", "ACK" })
                        pair.SocketA.Send(Encoding.ASCII.GetBytes(control), to);
                    stranger.SendTo(Encoding.ASCII.GetBytes("spam"), to);
                    pair.SocketA.Send(Encoding.ASCII.GetBytes("words"), to);
                    Check.Equal("words", Encoding.ASCII.GetString(pair.SocketB.Receive().Data));
                    pair.SocketB.AcceptsStrangers = true;
                    stranger.SendTo(Encoding.ASCII.GetBytes("more spam"), to);
                    Datagram spam = pair.SocketB.Receive();
                    Check.Equal("more spam", Encoding.ASCII.GetString(spam.Data));
                    Check.Equal(stranger.LocalEndPoint, spam.From);
                }
            });
        }

        [Test]
        private static void Receiving_times_out_although_control_packets_come()
        {
            WithPair(pair =>
            {
                Check.Equal(Timeout.InfiniteTimeSpan, pair.SocketB.ReceiveTimeout);
                pair.SocketB.ReceiveTimeout = TimeSpan.FromMilliseconds(120);
                using (var sending = new CancellationTokenSource())
                {
                    Task keepAlive = Task.Run(() =>
                    {
                        while (!sending.Token.WaitHandle.WaitOne(20))
                            pair.SocketA.Send(new byte[0], pair.ToB.EndPoint);
                    });
                    Stopwatch took = Stopwatch.StartNew();
                    Check.Throws<TimeoutException>(() => pair.SocketB.Receive());
                    took.Stop();
                    sending.Cancel();
                    keepAlive.Wait();
                    Check.True(took.ElapsedMilliseconds >= 119 && took.ElapsedMilliseconds < 5000, took.Elapsed.ToString());
                }
                pair.SocketB.ReceiveTimeout = TimeSpan.Zero;
                Check.Throws<TimeoutException>(pair.SocketB.ReceiveAsync());
                pair.SocketB.ReceiveTimeout = Timeout.InfiniteTimeSpan;
                pair.Talk();
            });
        }

        [Test]
        private static void Receiving_can_be_cancelled_and_loses_nothing()
        {
            WithPair(pair =>
            {
                Check.Within(50, () =>
                {
                    using (var source = new CancellationTokenSource())
                    {
                        Task<Datagram> waiting = pair.SocketB.ReceiveAsync(source.Token);
                        Check.True(!waiting.Wait(20), "it waits");
                        Stopwatch took = Stopwatch.StartNew();
                        source.Cancel();
                        var error = Check.Throws<TaskCanceledException>(waiting);
                        took.Stop();
                        Check.Equal(source.Token, error.CancellationToken, "token");
                        return took.Elapsed;
                    }
                });
                pair.Talk();
                Check.Throws<OperationCanceledException>(pair.SocketB.ReceiveAsync(new CancellationToken(true)));
            });
        }

        [Test]
        private static void Disposing_ends_all_receiving_and_frees_the_port()
        {
            WithPair(pair =>
            {
                IPEndPoint local = pair.SocketB.LocalEndPoint;
                var waiting = Enumerable.Range(0, 5).Select(_ => pair.SocketB.ReceiveAsync()).ToArray();
                Check.True(!Task.WaitAll(waiting, 20), "they wait");
                pair.SocketB.Dispose();
                using (var next = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp))
                    next.Bind(local);
                foreach (Task<Datagram> each in waiting)
                    Check.Throws<ObjectDisposedException>(each);
                pair.SocketB.Dispose();
                Check.Throws<ObjectDisposedException>(() => pair.SocketB.Receive());
                Check.Throws<ObjectDisposedException>(() => pair.SocketB.Send(new byte[1], pair.ToA.EndPoint));
                Check.Throws<ObjectDisposedException>(() => pair.SocketB.LocalEndPoint.ToString());
                Check.Throws<ObjectDisposedException>(() => pair.SocketB.TakeDescriptor());
            });
        }

        [Test]
        private static void Many_wait_at_once_and_each_gets_one()
        {
            WithPair(pair =>
            {
                const int count = 200;
                var waiting = Enumerable.Range(0, count).Select(_ => pair.SocketB.ReceiveAsync()).ToArray();
                for (int i = 0; i < count; i++)
                    pair.SocketA.Send(BitConverter.GetBytes(i), pair.ToB.EndPoint);
                Check.SameItems(Enumerable.Range(0, count), waiting.Select(each => BitConverter.ToInt32(each.Result.Data, 0)),
                    "datagrams");
            });
        }

        [Test]
        private static void Blocking_calls_need_no_thread_of_the_pool()
        {
            WithPair(pair =>
            {
                ThreadPool.GetMaxThreads(out int workers, out int ports);
                ThreadPool.GetMinThreads(out int least, out int leastPorts);
                using (var done = new ManualResetEvent(false))
                {
                    try
                    {
                        Check.True(ThreadPool.SetMinThreads(1, 1) && ThreadPool.SetMaxThreads(least, ports), "limited");
                        for (int i = 0; i < 4 * least; i++)
                            ThreadPool.QueueUserWorkItem(_ => done.WaitOne());
                        var sender = new Thread(() =>
                        {
                            Thread.Sleep(100);
                            pair.SocketA.Send(new byte[] { 1 }, pair.ToB.EndPoint);
                        });
                        sender.Start();
                        pair.SocketB.ReceiveTimeout = TimeSpan.FromSeconds(5);
                        Check.Equal(1, pair.SocketB.Receive().Data.Length);
                        Check.Equal(0, pair.A.ReadEarlyDatagrams().Count);
                        sender.Join();
                    }
                    finally
                    {
                        done.Set();
                        ThreadPool.SetMaxThreads(workers, ports);
                        ThreadPool.SetMinThreads(least, leastPorts);
                    }
                }
            });
        }

        [Test]
        private static void Times_beyond_all_bounds_are_taken()
        {
            WithPair(pair =>
            {
                foreach (TimeSpan time in new[] { TimeSpan.MaxValue, TimeSpan.FromDays(365), TimeSpan.MinValue })
                {
                    pair.A.Timeout = pair.B.Timeout = pair.SocketB.ReceiveTimeout = time;
                    Check.Equal(time, pair.A.Timeout);
                    Task<Datagram> waiting = pair.SocketB.ReceiveAsync();
                    Check.True(!waiting.Wait(10), "it waits");
                    pair.SocketA.Send(new byte[] { 1 }, pair.ToB.EndPoint);
                    Check.Equal(1, waiting.Result.Data.Length);
                    byte[] id = Service.NewId();
                    Task other = pair.B.ConnectAsync(id, 1);
                    pair.A.Connect(id, 1);
                    other.Wait();
                }
            });
        }

        [Test]
        private static void Wrong_arguments_are_refused()
        {
            WithPair(pair =>
            {
                IPEndPoint to = pair.ToB.EndPoint;
                Check.Throws<ArgumentNullException>(() => pair.SocketA.Send(null, to));
                Check.Throws<ArgumentNullException>(() => pair.SocketA.Send(new byte[1], null));
                Check.Throws<ArgumentOutOfRangeException>(() => pair.SocketA.Send(new byte[1], 2, 0, to));
                Check.Throws<ArgumentOutOfRangeException>(() => pair.SocketA.Send(new byte[1], 0, 2, to));
                Check.Throws<ArgumentNullException>(() => pair.SocketA.Receive(null, 0, 0, out to));
                Check.Throws<OperationCanceledException>(
                    pair.SocketA.SendAsync(new byte[1], pair.ToB.EndPoint, new CancellationToken(true)));
            });
        }

        [Test]
        private static void The_descriptor_can_be_taken()
        {
            WithPair(pair =>
            {
                var descriptor = (int)pair.SocketA.TakeDescriptor();
                Check.True(Files.Descriptors().Contains(descriptor), "it is open");
                Check.Throws<ObjectDisposedException>(() => pair.SocketA.Receive());
                pair.SocketA.Dispose();
                Check.True(Files.Descriptors().Contains(descriptor), "it is still open");
                Files.Close(descriptor);
            });
        }

        private static HolePunchClient WithEarlyDatagrams(Service service, out Peer first, out Peer second)
        {
            byte[] id = Service.NewId();
            HolePunchClient a = service.Client();
            using (HolePunchClient b = service.Client(), c = service.Client())
            {
                var call = a.ConnectAsync(id, 2);
                Peer toA = b.Connect(id, 1).Single();
                using (HoleSocket socket = b.TakeSocket(toA))
                {
                    foreach (string text in new[] { "one", "two" })
                        socket.Send(Encoding.ASCII.GetBytes(text), toA.EndPoint);
                    Thread.Sleep(50);
                    var last = c.ConnectAsync(id, 2);
                    Check.Equal(2, call.Result.Count, "peers");
                    int port = socket.LocalEndPoint.Port;
                    first = call.Result.Single(peer => peer.EndPoint.Port == port);
                    second = call.Result.Single(peer => peer.EndPoint.Port != port);
                    socket.Send(Encoding.ASCII.GetBytes("three"), toA.EndPoint);
                    c.Cancel();
                    Task.WaitAny(last);
                }
            }
            return a;
        }

        [Test]
        private static void What_came_early_is_received_first()
        {
            using (var service = new Service())
            using (HolePunchClient a = WithEarlyDatagrams(service, out Peer first, out Peer second))
            using (HoleSocket socket = a.TakeSocket(second))
            {
                foreach (string text in new[] { "one", "two", "three" })
                {
                    Datagram got = socket.Receive();
                    Check.Equal(text, Encoding.ASCII.GetString(got.Data));
                    Check.Equal(first.EndPoint, got.From);
                }
                Check.Equal(0, a.ReadEarlyDatagrams().Count, "left over");
            }
        }

        [Test]
        private static void What_came_early_can_be_read_without_the_socket()
        {
            using (var service = new Service())
            using (HolePunchClient a = WithEarlyDatagrams(service, out Peer first, out Peer second))
            {
                var early = a.ReadEarlyDatagrams();
                Check.Equal("one two", string.Join(" ", early.Select(each => Encoding.ASCII.GetString(each.Data))));
                Check.Equal(first.EndPoint, early[0].From);
                Check.Equal(0, a.ReadEarlyDatagrams().Count, "left over");
                using (HoleSocket socket = a.TakeSocket(second))
                    Check.Equal("three", Encoding.ASCII.GetString(socket.Receive().Data));
            }
        }

        [Test]
        private static void Only_peers_of_the_last_call_have_sockets()
        {
            using (var service = new Service())
            using (Pair pair = service.Meet())
            {
                Check.True(pair.A.TakeSocket(pair.ToB) == pair.SocketA, "the same one");
                byte[] id = Service.NewId();
                var other = pair.B.ConnectAsync(id, 1);
                Peer peer = pair.A.Connect(id, 1).Single();
                other.Wait();
                Check.Fails(HolePunchError.NotFound, () => pair.A.TakeSocket(pair.ToB));
                using (HoleSocket fresh = pair.A.TakeSocket(peer))
                    Check.True(fresh != pair.SocketA && !fresh.LocalEndPoint.Equals(pair.SocketA.LocalEndPoint), "another one");
            }
        }

        [Test]
        private static void A_socket_of_the_callers_is_used_and_stays_his()
        {
            using (var service = new Service())
            using (Socket mine = Sockets.Bound())
            {
                HolePunchClientOptions options = Service.Quick();
                options.Socket = mine;
                IPEndPoint local;
                using (Pair pair = service.Meet(options))
                {
                    local = pair.ToA.EndPoint;
                    Check.Equal(mine.LocalEndPoint, local);
                    Check.Equal(mine.LocalEndPoint, pair.SocketA.LocalEndPoint);
                    pair.Talk();
                    byte[] id = Service.NewId();
                    var again = pair.B.ConnectAsync(id, 1);
                    pair.A.Connect(id, 1);
                    Check.Equal(local, again.Result.Single().EndPoint, "used again");
                }
                using (Socket other = Sockets.Bound())
                {
                    other.SendTo(new byte[] { 7 }, local);
                    mine.ReceiveTimeout = 5000;
                    var buffer = new byte[100];
                    EndPoint from = new IPEndPoint(IPAddress.Any, 0);
                    // The other side's last words may be in it, too.
                    do
                        mine.ReceiveFrom(buffer, ref from);
                    while (!from.Equals(other.LocalEndPoint));
                    Check.Equal(7, (int)buffer[0]);
                }
            }
        }

        [Test]
        private static void Sockets_that_cannot_be_used_are_refused()
        {
            using (var unbound = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp))
            using (Socket connected = Sockets.Bound())
            {
                connected.Connect(IPAddress.Loopback, 9);
                Socket closed = Sockets.Bound();
                closed.Close();
                foreach (Socket socket in new[] { unbound, connected })
                    Check.Equal("Socket", Check.Throws<ArgumentException>(() => Client(socket)).ParamName);
                Check.Throws<ObjectDisposedException>(() => Client(closed));
            }
        }

        private static HolePunchClient Client(Socket socket)
        {
            return new HolePunchClient("127.0.0.1:5000", new HolePunchClientOptions { Socket = socket });
        }
    }
}

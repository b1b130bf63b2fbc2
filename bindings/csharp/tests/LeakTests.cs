using System;
using System.IO;
using System.Linq;
using System.Runtime.CompilerServices;
using System.Threading;
using System.Threading.Tasks;

namespace HolePunch.Tests
{
    internal static class LeakTests
    {
        private static void Collect()
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }

        /// <summary>
        /// After an action there are no more descriptors than before it, but for some that a collector may still see
        /// somewhere on a stack.
        /// </summary>
        private static void LeavesNothing(Action action, int overlooked = 0)
        {
            action();
            Collect();
            int before = Files.Descriptors().Length;
            action();
            Check.Eventually("as many descriptors as before", () =>
            {
                Collect();
                return Files.Descriptors().Length <= before + overlooked;
            });
        }

        [Test(Limit = 120)]
        private static void A_thousand_connections_leave_nothing_behind()
        {
            using (var service = new Service())
            {
                var collecting = new CancellationTokenSource();
                Task collector = Task.Run(() =>
                {
                    while (!collecting.IsCancellationRequested)
                    {
                        GC.Collect();
                        Thread.Sleep(5);
                    }
                });
                int before = 0;
                for (int i = 0; i < 500; i++)
                {
                    using (Pair pair = service.Meet())
                    {
                        if (i % 10 == 0)
                            pair.Talk();
                    }
                    if (i == 20)
                        before = Files.Descriptors().Length;
                }
                collecting.Cancel();
                collector.Wait();
                int after = Files.Descriptors().Length;
                Check.True(after <= before + 2, "descriptors: " + before + " before, " + after + " after");
            }
        }

        [Test]
        private static void Calls_over_TCP_leave_nothing_behind()
        {
            var options = new HolePunchClientOptions { Timeout = TimeSpan.FromSeconds(15), Transport = Transport.Tcp };
            using (var service = new Service(new HolePunchServerOptions { Tcp = new TcpOptions() }))
                LeavesNothing(() =>
                {
                    for (int i = 0; i < 5; i++)
                    {
                        byte[] id = Service.NewId();
                        using (HolePunchClient a = service.Client(options), b = service.Client(options))
                        {
                            Task other = b.ConnectAsync(id, 1);
                            Peer peer = a.Connect(id, 1).Single();
                            other.Wait();
                            // The other side's connection is left to its client.
                            a.TakeStream(peer).Dispose();
                        }
                    }
                });
        }

        [Test]
        private static void NAT_checks_leave_nothing_behind()
        {
            using (var service = new Service())
            using (HolePunchClient client = service.Client())
                LeavesNothing(() =>
                {
                    client.CheckNat();
                    for (int i = 0; i < 20; i++)
                    {
                        using (var source = new CancellationTokenSource(i))
                        {
                            Task check = client.CheckNatAsync(TimeSpan.FromMinutes(5), source.Token);
                            Check.Throws<OperationCanceledException>(check);
                        }
                    }
                });
        }

        [Test]
        private static void What_nobody_disposes_is_finalized()
        {
            using (var service = new Service())
                LeavesNothing(() =>
                {
                    for (int i = 0; i < 20; i++)
                        Abandon(service);
                }, overlooked: 20);
        }

        [Test(Limit = 60)]
        private static void Sessions_leave_nothing_behind()
        {
            using (var service = new Service())
                LeavesNothing(() =>
                {
                    for (int i = 0; i < 30; i++)
                    {
                        Session[] both = service.Join(2);
                        var source = new CancellationTokenSource();
                        Task cancelled = both[0].NextEventAsync(source.Token), waiting = both[1].NextEventAsync();
                        both[0].Start();
                        source.Cancel();
                        both.Dispose();
                        Task.WhenAll(cancelled, waiting).ContinueWith(_ => { }).Wait();
                    }
                    for (int i = 0; i < 30; i++)
                    {
                        // A name that has to be looked up, so that some are cancelled.
                        using (var client = new HolePunchClient("localhost:" + service.Server.LocalEndPoint.Port))
                        using (var source = new CancellationTokenSource())
                        {
                            Task<Session> joining = client.JoinAsync("x", null, source.Token);
                            source.CancelAfter(i % 3);
                            joining.ContinueWith(each => each.IsCanceled ? null : each.Result).Result?.Dispose();
                        }
                    }
                });
        }

        [Test(Limit = 90)]
        private static void Connections_from_addresses_leave_nothing_behind()
        {
            using (var silent = Sockets.Bound())
            {
                LeavesNothing(() =>
                {
                    for (int i = 0; i < 40; i++)
                    {
                        Transport transport = AddressPair.Both[i % 2];
                        using (var pair = new AddressPair(transport, i % 4 < 2))
                        using (var source = new CancellationTokenSource())
                        {
                            Task cancelled = pair.A.ReceiveAsync(source.Token), waiting = pair.A.ReceiveAsync();
                            pair.B.Start();
                            source.Cancel();
                            pair.A.SendAsync(new byte[100]);
                            pair.Dispose();
                            Task.WhenAll(cancelled, waiting).ContinueWith(_ => { }).Wait();
                        }
                        using (var pair = new AddressPair(transport, true, AddressPair.Taking))
                        {
                            if (transport == Transport.Udp)
                                pair.A.TakeSocket().Dispose();
                            else
                                pair.A.TakeStream().Dispose();
                        }
                        AddressConnectionOptions options = AddressPair.Patient();
                        options.StunServer = silent.LocalEndPoint.ToString();
                        using (AddressConnection connection = AddressPair.Open(transport, options))
                        using (var source = new CancellationTokenSource())
                        {
                            Task asking = connection.GetPublicEndPointAsync();
                            Task attempt = connection.ConnectAsync(AddressPair.Nowhere(), source.Token);
                            source.CancelAfter(i % 5);
                            Task.WhenAll(asking, attempt).ContinueWith(_ => { }).Wait();
                        }
                        Check.Throws<HolePunchException>(() => AddressPair.Open(transport, new AddressConnectionOptions
                        {
                            LocalEndPoint = new System.Net.IPEndPoint(System.Net.IPAddress.Parse("192.0.2.1"), 0),
                        }));
                    }
                });
            }
            Check.Eventually("no thread is left", () => !IsThread("hp-conn"));
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void Abandon(Service service)
        {
            service.Meet();
            service.Join(2);
            new AddressPair(Transport.Udp);
            new AddressPair(Transport.Tcp);
            new HolePunchServer(new HolePunchServerOptions { Address = "127.0.0.1:0" }).Counters.ToString();
        }

        [Test]
        private static void Failures_leave_nothing_behind()
        {
            using (var service = new Service())
            {
                string address = service.Address;
                LeavesNothing(() =>
                {
                    for (int i = 0; i < 20; i++)
                    {
                        Check.Throws<ArgumentException>(() => new HolePunchClient("nowhere"));
                        Check.Fails(HolePunchError.Socket,
                            () => new HolePunchServer(new HolePunchServerOptions { Address = address }));
                        using (HolePunchClient client = service.Client())
                        {
                            client.Timeout = TimeSpan.FromMilliseconds(50);
                            Check.True(Check.Throws<HolePunchException>(() => client.Connect("nobody", 1)).IsTimeout, "time is up");
                            Check.Throws<OperationCanceledException>(
                                client.ConnectAsync("nobody", 1, new CancellationToken(true)));
                        }
                        using (var socket = Sockets.Bound())
                        {
                            socket.Connect(service.Server.LocalEndPoint);
                            Check.Throws<ArgumentException>(
                                () => service.Client(new HolePunchClientOptions { Socket = socket }));
                        }
                    }
                });
            }
        }

        [Test]
        private static void Cancelled_and_disposed_calls_leave_nothing_behind()
        {
            var random = new Random(2);
            using (var service = new Service())
                LeavesNothing(() =>
                {
                    var ends = Enumerable.Range(0, 50).Select(i => Task.Run(() =>
                    {
                        HolePunchClient client = service.Client();
                        Task call = client.ConnectAsync("nobody " + i, 1);
                        int pause;
                        lock (random)
                            pause = random.Next(5);
                        Thread.Sleep(pause);
                        client.Dispose();
                        Check.Throws<ObjectDisposedException>(call);
                    }));
                    Task.WaitAll(ends.ToArray());
                });
        }

        [Test]
        private static void The_waiting_thread_ends_when_there_is_nothing_to_wait_for()
        {
            using (var service = new Service())
            using (Pair pair = service.Meet())
            {
                pair.SocketA.ReceiveAsync();
                Check.Eventually("a thread waits", () => IsThread("HolePunch"));
            }
            Check.Eventually("no thread is left", () => !IsThread("HolePunch"));
        }

        private static bool IsThread(string name)
        {
            return Directory.GetDirectories("/proc/self/task").Any(task => NameOf(task) == name);
        }

        private static string NameOf(string task)
        {
            try
            {
                return File.ReadAllText(Path.Combine(task, "comm")).Trim();
            }
            catch (IOException)
            {
                return "it has ended";
            }
        }
    }
}

using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;

namespace HolePunch.Tests
{
    internal static class CancelTests
    {
        private static HolePunchClientOptions Endless()
        {
            return new HolePunchClientOptions { Timeout = Timeout.InfiniteTimeSpan };
        }

        /// <summary>A call that waits for somebody who will not come.</summary>
        private static Task<IReadOnlyList<Peer>> Waiting(Service service, HolePunchClient client, CancellationToken token)
        {
            Task<IReadOnlyList<Peer>> call = client.ConnectAsync(Service.NewId(), 1, token);
            Check.Eventually("it is registered", () => service.Server.Endpoints.Count > 0);
            return call;
        }

        [Test]
        private static void A_token_ends_an_asynchronous_call_within_50_ms()
        {
            using (var service = new Service())
            using (HolePunchClient client = service.Client(Endless()))
            {
                Check.Within(50, () =>
                {
                    var source = new CancellationTokenSource();
                    Task call = Waiting(service, client, source.Token);
                    Stopwatch took = Stopwatch.StartNew();
                    source.Cancel();
                    var error = Check.Throws<OperationCanceledException>(call);
                    took.Stop();
                    Check.Equal(source.Token, error.CancellationToken, "token");
                    Check.True(call.IsCanceled, "the task is cancelled");
                    return took.Elapsed;
                });
            }
        }

        [Test]
        private static void A_token_ends_a_blocking_call()
        {
            using (var service = new Service())
            using (HolePunchClient client = service.Client(Endless()))
            using (var source = new CancellationTokenSource(100))
            {
                var error = Check.Throws<OperationCanceledException>(() => client.Connect("x", 1, source.Token));
                Check.Equal(source.Token, error.CancellationToken, "token");
            }
        }

        [Test]
        private static void Cancel_ends_the_running_call_and_no_other()
        {
            using (var service = new Service())
            using (HolePunchClient client = service.Client(Endless()), other = service.Client())
            {
                client.Cancel();
                Task call = Waiting(service, client, CancellationToken.None);
                byte[] id = Service.NewId();
                Task<IReadOnlyList<Peer>> next = client.ConnectAsync(id, 1);
                client.Cancel();
                var error = Check.Throws<OperationCanceledException>(call);
                Check.Equal(CancellationToken.None, error.CancellationToken, "token");
                other.Connect(id, 1);
                Check.Equal(1, next.Result.Count, "the next call's peers");
            }
        }

        [Test]
        private static void A_cancelled_token_ends_a_call_before_it_begins()
        {
            var cancelled = new CancellationToken(true);
            using (var service = new Service())
            using (HolePunchClient client = service.Client())
            {
                Check.Throws<OperationCanceledException>(() => client.Connect("x", 1, cancelled));
                Check.Throws<OperationCanceledException>(client.ConnectAsync("x", 1, cancelled));
                Check.Equal(0ul, service.Server.Counters.Received, "datagrams");
            }
        }

        [Test]
        private static void A_call_that_waits_for_its_turn_can_be_cancelled()
        {
            using (var service = new Service())
            using (HolePunchClient client = service.Client(Endless()))
            using (var source = new CancellationTokenSource())
            {
                Task running = Waiting(service, client, CancellationToken.None);
                Task queued = client.ConnectAsync(Service.NewId(), 1, source.Token);
                source.Cancel();
                Check.Throws<OperationCanceledException>(queued);
                Check.True(!running.IsCompleted, "the first one goes on");
                client.Cancel();
                Check.Throws<OperationCanceledException>(running);
            }
        }

        [Test]
        private static void A_token_cancelled_at_any_moment_ends_one_call_only()
        {
            var random = new Random(1);
            int met = 0, cancelled = 0;
            using (var service = new Service())
            using (HolePunchClient a = service.Client(), b = service.Client())
            {
                for (int i = 0; i < 60; i++)
                {
                    byte[] id = Service.NewId();
                    using (var source = new CancellationTokenSource())
                    using (var both = new CancellationTokenSource())
                    {
                        Task<IReadOnlyList<Peer>> other = b.ConnectAsync(id, 1, both.Token);
                        Task<IReadOnlyList<Peer>> call = a.ConnectAsync(id, 1, source.Token);
                        Thread.Sleep(TimeSpan.FromTicks(random.Next(60000)));
                        source.Cancel();
                        try
                        {
                            call.Wait();
                            met++;
                        }
                        catch (AggregateException error) when (error.InnerException is OperationCanceledException)
                        {
                            cancelled++;
                            both.Cancel();
                        }
                        Check.True(Task.WaitAny(new Task[] { other }, 10000) == 0, "the other one ends");
                    }
                }
                byte[] last = Service.NewId();
                Task<IReadOnlyList<Peer>> final = b.ConnectAsync(last, 1);
                a.Connect(last, 1);
                Check.Equal(1, final.Result.Count);
            }
            Check.True(met > 0 && cancelled > 0, met + " met, " + cancelled + " were cancelled");
        }

        [Test]
        private static void Disposing_ends_running_and_waiting_calls_within_50_ms()
        {
            using (var service = new Service())
            {
                Check.Within(50, () =>
                {
                    HolePunchClient client = service.Client(Endless());
                    Task running = Waiting(service, client, CancellationToken.None);
                    Task queued = client.ConnectAsync(Service.NewId(), 1);
                    Stopwatch took = Stopwatch.StartNew();
                    client.Dispose();
                    took.Stop();
                    Check.Throws<ObjectDisposedException>(running);
                    Check.Throws<ObjectDisposedException>(queued);
                    Check.Eventually("it has left", () => service.Server.Endpoints.Count == 0);
                    return took.Elapsed;
                });
            }
        }

        [Test]
        private static void Disposing_asynchronously_does_the_same()
        {
            using (var service = new Service())
            {
                HolePunchClient client = service.Client(Endless());
                Task running = Waiting(service, client, CancellationToken.None);
                client.DisposeAsync().AsTask().Wait();
                Check.Throws<ObjectDisposedException>(running);
                Check.Throws<ObjectDisposedException>(() => client.ReadEarlyDatagrams());
                client.DisposeAsync().AsTask().Wait();
                var server = new HolePunchServer(new HolePunchServerOptions { Address = "127.0.0.1:0" });
                Task serving = server.RunAsync();
                server.DisposeAsync().AsTask().Wait();
                serving.Wait();
                server.DisposeAsync().AsTask().Wait();
            }
        }

        [Test]
        private static void A_disposed_client_refuses_everything()
        {
            using (var service = new Service())
            {
                Pair pair = service.Meet();
                pair.Dispose();
                pair.Dispose();
                HolePunchClient client = pair.A;
                Check.Throws<ObjectDisposedException>(() => client.Connect("x", 1));
                Check.Throws<ObjectDisposedException>(client.ConnectAsync("x", 1));
                Check.Throws<ObjectDisposedException>(() => client.ConnectPeers(new byte[1], new[] { pair.ToB.EndPoint }));
                Check.Throws<ObjectDisposedException>(() => client.TakeSocket(pair.ToB));
                Check.Throws<ObjectDisposedException>(() => client.ReadEarlyDatagrams());
                Check.Throws<ObjectDisposedException>(() => client.Counters.ToString());
                client.Cancel();
            }
        }

        [Test]
        private static void Many_threads_use_one_client()
        {
            using (var service = new Service())
            using (HolePunchClient client = service.Client(new HolePunchClientOptions { Timeout = TimeSpan.FromMilliseconds(5) }))
            {
                Task[] all = Enumerable.Range(0, 16).Select(i => Task.Run(() =>
                {
                    for (int j = 0; j < 10; j++)
                    {
                        if (i % 4 == 0)
                            client.Counters.ToString();
                        else if (i % 4 == 1)
                            client.Cancel();
                        else
                            Ends(client);
                    }
                })).ToArray();
                Task.WaitAll(all);
            }
        }

        private static void Ends(HolePunchClient client)
        {
            try
            {
                client.Connect("nobody else", 1);
            }
            catch (HolePunchException error) when (error.IsTimeout)
            {
            }
            catch (OperationCanceledException)
            {
            }
        }
    }
}

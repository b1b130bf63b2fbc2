using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using System.Net;
using System.Net.Sockets;
using System.Threading;
using System.Threading.Tasks;

namespace HolePunch.Tests
{
    /// <summary>How waiting for a connection from addresses, and on it, is ended.</summary>
    internal static class AddressCancelTests
    {
        private static readonly TimeSpan soon = TimeSpan.FromSeconds(5);

        // What the caller waits for is ended, and nobody waits long.
        private static T Ends<T>(Task waiting, Action end) where T : Exception
        {
            Check.True(!waiting.Wait(100), "it waits");
            Stopwatch took = Stopwatch.StartNew();
            end();
            T error = Check.Throws<T>(waiting);
            Check.True(took.Elapsed < soon, "took " + took.Elapsed);
            return error;
        }

        [Test]
        private static void A_token_ends_connecting_and_the_connection()
        {
            foreach (Transport transport in AddressPair.Both)
            {
                using (AddressConnection connection = AddressPair.Open(transport, AddressPair.Patient()))
                using (var source = new CancellationTokenSource())
                {
                    Task connecting = connection.ConnectAsync(AddressPair.Nowhere(), source.Token);
                    var error = Ends<TaskCanceledException>(connecting, source.Cancel);
                    Check.Equal(source.Token, error.CancellationToken, "token");
                    Check.Fails(HolePunchError.AlreadyAttempted, () => connection.Connect(AddressPair.Nowhere()));
                }
                using (AddressConnection connection = AddressPair.Open(transport, AddressPair.Patient()))
                using (var source = new CancellationTokenSource(100))
                    Check.Throws<TaskCanceledException>(() => connection.Connect(AddressPair.Nowhere(), source.Token));
            }
        }

        [Test]
        private static void A_token_that_was_cancelled_before_ends_nothing_else()
        {
            var cancelled = new CancellationToken(true);
            foreach (Transport transport in AddressPair.Both)
            {
                using (AddressConnection a = AddressPair.Open(transport), b = AddressPair.Open(transport))
                {
                    Check.Throws<OperationCanceledException>(() => a.Connect(b.LocalEndPoints, cancelled));
                    Check.Throws<OperationCanceledException>(a.ConnectAsync(b.LocalEndPoints, cancelled));
                    Check.Throws<OperationCanceledException>(() => a.GetPublicEndPoint(cancelled));
                    Check.Throws<OperationCanceledException>(a.GetPublicEndPointAsync(cancelled));
                    Task.WaitAll(a.ConnectAsync(b.LocalEndPoints), b.ConnectAsync(a.LocalEndPoints));
                    Check.Throws<OperationCanceledException>(a.ReceiveAsync(cancelled));
                    Check.True(Task.WhenAny(a.SendAsync(new byte[1], cancelled)).Result.IsCanceled, "it is cancelled");
                    AddressPair.Say(a, b);
                    AddressPair.Say(b, a);
                }
            }
        }

        [Test]
        private static void A_token_ends_receiving_and_loses_nothing()
        {
            foreach (Transport transport in AddressPair.Both)
            {
                using (var pair = new AddressPair(transport))
                using (var source = new CancellationTokenSource())
                {
                    var error = Ends<TaskCanceledException>(pair.A.ReceiveAsync(source.Token), source.Cancel);
                    Check.Equal(source.Token, error.CancellationToken, "token");
                    pair.Talk();
                }
            }
        }

        [Test]
        private static void A_token_ends_sending()
        {
            using (var pair = new AddressPair(Transport.Tcp))
            using (var source = new CancellationTokenSource())
            using (var other = new CancellationTokenSource())
            {
                Task sending = pair.A.SendAsync(new byte[32 << 20], source.Token);
                var error = Ends<OperationCanceledException>(pair.A.SendAsync(new byte[1], other.Token), other.Cancel);
                Check.Equal(other.Token, error.CancellationToken, "token");
                error = Ends<OperationCanceledException>(sending, source.Cancel);
                Check.Equal(source.Token, error.CancellationToken, "token");
            }
        }

        [Test]
        private static void Disposing_ends_all_that_waits()
        {
            foreach (Transport transport in AddressPair.Both)
            {
                AddressConnection connection = AddressPair.Open(transport, AddressPair.Patient());
                Ends<ObjectDisposedException>(connection.ConnectAsync(AddressPair.Nowhere()), connection.Dispose);
                connection = AddressPair.Open(transport, AddressPair.Patient());
                Ends<ObjectDisposedException>(Task.Run(() => connection.Connect(AddressPair.Nowhere())), connection.Dispose);
                using (var pair = new AddressPair(transport))
                {
                    Task[] waiting = { pair.A.ReceiveAsync(), Task.Run(() => pair.A.Receive()),
                        Task.Run(() => pair.A.ReceiveAll().Count()) };
                    Check.True(!Task.WaitAll(waiting, 100), "they wait");
                    pair.A.Dispose();
                    foreach (Task each in waiting)
                        Check.Throws<ObjectDisposedException>(each);
                }
            }
            using (var pair = new AddressPair(Transport.Tcp))
            {
                Task[] waiting = { pair.A.SendAsync(new byte[32 << 20]), pair.A.SendAsync(new byte[1]),
                    Task.Run(() => pair.A.Send(new byte[1])) };
                Check.True(!Task.WaitAll(waiting, 100), "they wait");
                pair.A.Dispose();
                foreach (Task each in waiting)
                    Check.Throws<ObjectDisposedException>(each);
            }
        }

        [Test]
        private static void Disconnecting_ends_all_that_waits_as_the_end_of_what_comes()
        {
            foreach (Transport transport in AddressPair.Both)
            {
                using (AddressConnection connection = AddressPair.Open(transport, AddressPair.Patient()))
                {
                    Ends<OperationCanceledException>(connection.ConnectAsync(AddressPair.Nowhere()), connection.Disconnect);
                    Check.Equal(ConnectionEnd.Closed, connection.End.Reason, "reason");
                }
                using (AddressConnection connection = AddressPair.Open(transport))
                {
                    connection.Disconnect();
                    Check.Throws<OperationCanceledException>(() => connection.Connect(AddressPair.Nowhere()));
                }
                using (var pair = new AddressPair(transport))
                {
                    Task<byte[]>[] waiting = { pair.A.ReceiveAsync(), Task.Run(() => pair.A.Receive()) };
                    Check.True(!Task.WaitAll(waiting, 100), "they wait");
                    pair.A.Disconnect();
                    Check.True(Task.WaitAll(waiting, soon) && waiting.All(each => each.Result == null), "nothing more comes");
                }
            }
            using (var pair = new AddressPair(Transport.Tcp))
                Check.Equal(HolePunchError.NotConnected,
                    Ends<HolePunchException>(pair.A.SendAsync(new byte[32 << 20]), pair.A.Disconnect).Code, "code");
        }

        [Test]
        private static void What_is_disposed_says_so_and_can_be_disposed_again()
        {
            foreach (Transport transport in AddressPair.Both)
            {
                using (var pair = new AddressPair(transport))
                {
                    AddressConnection a = pair.A;
                    a.Dispose();
                    a.Dispose();
                    a.DisposeAsync().AsTask().Wait();
                    Check.Throws<ObjectDisposedException>(() => a.Connect(AddressPair.Nowhere()));
                    Check.Throws<ObjectDisposedException>(a.ConnectAsync(AddressPair.Nowhere()));
                    Check.Throws<ObjectDisposedException>(() => a.GetPublicEndPoint());
                    Check.Throws<ObjectDisposedException>(a.GetPublicEndPointAsync());
                    Check.Throws<ObjectDisposedException>(() => a.Send(new byte[1]));
                    Check.Throws<ObjectDisposedException>(a.SendAsync(new byte[1]));
                    Check.Throws<ObjectDisposedException>(() => a.Receive());
                    Check.Throws<ObjectDisposedException>(a.ReceiveAsync());
                    Check.Throws<ObjectDisposedException>(() => a.Start());
                    Check.Throws<ObjectDisposedException>(() => a.ExportKey("x"));
                    Check.Throws<ObjectDisposedException>(() => a.Disconnect());
                    Check.Throws<ObjectDisposedException>(() => a.TakeSocket());
                    Check.Throws<ObjectDisposedException>(() => a.TakeStream());
                    Check.True(a.LocalEndPoints.Count > 0 && a.RemoteEndPoint != null, "addresses stay known");
                    Check.True(pair.B.Receive() == null, "the other one hears of it");
                    pair.B.DisposeAsync().AsTask().Wait();
                    Check.Throws<ObjectDisposedException>(() => pair.B.Receive());
                }
            }
        }

        [Test(Limit = 60)]
        private static void Tokens_and_disposing_at_any_moment_end_it_in_one_clear_way()
        {
            var random = new Random(4);
            var ends = new List<string>();
            for (int i = 0; i < 60; i++)
            {
                Transport transport = AddressPair.Both[i % 2];
                using (AddressConnection a = AddressPair.Open(transport), b = AddressPair.Open(transport))
                using (var source = new CancellationTokenSource())
                {
                    Task first = a.ConnectAsync(b.LocalEndPoints, source.Token), second = b.ConnectAsync(a.LocalEndPoints);
                    Thread.Sleep(random.Next(4));
                    if (i % 4 < 2)
                        source.Cancel();
                    else
                        a.Dispose();
                    try
                    {
                        first.Wait();
                        ends.Add("connected");
                    }
                    catch (AggregateException error)
                    {
                        ends.Add(error.InnerException.GetType().Name);
                    }
                    b.Dispose();
                    second.ContinueWith(_ => { }).Wait();
                }
            }
            string[] expected = { "connected", nameof(TaskCanceledException), nameof(OperationCanceledException),
                nameof(ObjectDisposedException) };
            Check.Equal("", string.Join(", ", ends.Except(expected)), "other ends");
            Check.True(ends.Any(each => each != "connected"), "some were ended");
        }
    }
}

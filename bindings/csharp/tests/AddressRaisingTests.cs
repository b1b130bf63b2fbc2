using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;

namespace HolePunch.Tests
{
    /// <summary>The ways to be told what comes over a connection from addresses.</summary>
    internal static class AddressRaisingTests
    {
        [Test]
        private static void Data_and_the_end_are_raised_one_at_a_time_where_they_are_wanted()
        {
            foreach (Transport transport in AddressPair.Both)
            {
                var context = new Context();
                var heard = new List<byte>();
                var ends = new List<ConnectionEnded>();
                int thread = Thread.CurrentThread.ManagedThreadId;
                using (var pair = new AddressPair(transport))
                {
                    pair.B.DataReceived += (sender, data) =>
                    {
                        Check.True(sender == pair.B && Thread.CurrentThread.ManagedThreadId == thread, "sender and thread");
                        Check.Equal(0, context.Count, "further events");
                        heard.AddRange(data);
                    };
                    pair.B.Ended += (sender, ended) => ends.Add(ended);
                    // What comes before waits.
                    pair.A.Send("one".Bytes());
                    pair.B.Start(context);
                    Check.Throws<InvalidOperationException>(() => pair.B.Start(context));
                    pair.A.Send("two".Bytes());
                    context.RunUntil(() => heard.Count == 6);
                    Check.True("onetwo".Bytes().SequenceEqual(heard), "the same");
                    pair.A.Dispose();
                    context.RunUntil(() => ends.Count > 0);
                    Check.Equal(ConnectionEnd.ClosedByPeer, ends.Single().Reason, "reason");
                    Check.True(ends[0] == pair.B.End && pair.B.Receive() == null, "everybody is told");
                    Thread.Sleep(50);
                    Check.Equal(0, context.Count, "further events");
                }
            }
        }

        [Test]
        private static void Nothing_is_raised_after_disposing_within_a_handler_of_it()
        {
            int heard = 0, ended = 0;
            using (var pair = new AddressPair(Transport.Udp))
            {
                pair.B.DataReceived += (sender, data) =>
                {
                    Interlocked.Increment(ref heard);
                    ((AddressConnection)sender).Dispose();
                };
                pair.B.Ended += (sender, end) => Interlocked.Increment(ref ended);
                pair.A.Send("one".Bytes());
                pair.A.Send("two".Bytes());
                pair.B.Start();
                Check.True(pair.A.Receive() == null, "the other one hears of it");
                Thread.Sleep(50);
                Check.Equal("1 0", heard + " " + ended);
            }
        }

        [Test]
        private static void Our_own_disconnecting_is_raised_without_handlers_of_data()
        {
            using (var pair = new AddressPair(Transport.Tcp))
            using (var told = new ManualResetEvent(false))
            {
                pair.B.Ended += (sender, ended) =>
                {
                    if (ended.Reason == ConnectionEnd.Closed && ended.Error == null)
                        told.Set();
                };
                pair.B.Start();
                pair.A.Send("who hears?".Bytes());
                pair.B.Disconnect();
                Check.True(told.WaitOne(Sessions.Patience), "it is raised");
            }
        }

        [Test]
        private static void Loops_end_with_the_connection()
        {
            using (var pair = new AddressPair(Transport.Udp))
            {
                var said = new[] { "one", "two", "three" };
                foreach (string each in said)
                    pair.A.Send(each.Bytes());
                pair.A.Dispose();
                var heard = pair.B.ReceiveAll().Select(each => System.Text.Encoding.UTF8.GetString(each));
                Check.Equal("one, two, three", string.Join(", ", heard));
            }
            using (var pair = new AddressPair(Transport.Tcp))
            using (var source = new CancellationTokenSource())
            {
                pair.A.Send(new byte[] { 1 });
                // Mono's compiler has no loop for it.
                IAsyncEnumerator<byte[]> all = pair.B.ReceiveAllAsync().GetAsyncEnumerator(source.Token);
                Check.True(all.MoveNextAsync().AsTask().Result && all.Current.Single() == 1, "something comes");
                Task<bool> next = all.MoveNextAsync().AsTask();
                source.Cancel();
                Check.Equal(source.Token, Check.Throws<TaskCanceledException>(next).CancellationToken, "token");
                all = pair.B.ReceiveAllAsync().GetAsyncEnumerator();
                next = all.MoveNextAsync().AsTask();
                pair.A.Disconnect();
                Check.True(!next.Result && all.Current == null, "it ends");
                all.DisposeAsync().AsTask().Wait();
            }
        }
    }
}

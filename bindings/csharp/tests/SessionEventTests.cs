using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;

namespace HolePunch.Tests
{
    /// <summary>The ways to be told of events.</summary>
    internal static class SessionEventTests
    {
        /// <summary>A session in which nothing happens.</summary>
        private static Session Quiet(Service service)
        {
            Session session = service.Join(Service.NewId());
            session.Next<SessionEvent.Registered>();
            session.Drain();
            return session;
        }

        [Test]
        private static void Waiting_ends_when_time_is_up_or_the_session_was_left()
        {
            using (var service = new Service())
            using (Session session = Quiet(service))
            {
                Check.True(session.NextEvent(TimeSpan.Zero) == null, "nothing happens");
                Check.True(session.NextEvent(TimeSpan.FromMilliseconds(20)) == null, "nothing happens");
                Check.True(!session.HasEnded, "it goes on");
                Task<SessionEvent> asked = session.NextEventAsync(), blocked = Task.Run(() => session.NextEvent());
                session.Leave();
                Check.True(Task.WaitAll(new Task[] { asked, blocked }, Sessions.Patience), "they end");
                Check.True(asked.Result == null && blocked.Result == null && session.HasEnded, "it has ended");
                Check.True(session.NextEvent() == null && session.NextEventAsync().Result == null, "it stays so");
            }
        }

        [Test]
        private static void What_came_before_the_end_is_told_and_then_no_more()
        {
            using (var service = new Service())
            {
                Session[] both = service.Join(2);
                both[0].SendToAll("last words".Bytes());
                both[0].Next<SessionEvent.Delivered>();
                both[1].Leave();
                SessionEvent[] rest = both[1].Events().ToArray();
                Check.Equal("last words", rest.OfType<SessionEvent.Message>().Single().Text());
                Check.Equal("Left " + both[0].LocalId, rest.Last().ToString());
                Check.True(both[1].HasEnded, "it has ended");
                both.Dispose();
            }
        }

        [Test]
        private static void A_loop_that_blocks_ends_when_the_session_is_left()
        {
            using (var service = new Service())
            {
                Session[] both = service.Join(2);
                both[0].SendToAll("one".Bytes());
                both[0].SendToAll("end".Bytes());
                var heard = new List<string>();
                foreach (SessionEvent each in both[1].Events())
                {
                    if (each is SessionEvent.Message message)
                        heard.Add(message.Text());
                    if (heard.Contains("end"))
                        both[1].Leave();
                }
                Check.Equal("one, end", string.Join(", ", heard));
                both.Dispose();
            }
        }

        [Test]
        private static void A_loop_that_awaits_ends_by_its_token_or_when_the_session_is_left()
        {
            using (var service = new Service())
            using (var source = new CancellationTokenSource())
            {
                Session[] both = service.Join(2);
                both[0].SendToAll("one".Bytes());
                // Mono's compiler has no loop for it.
                IAsyncEnumerator<SessionEvent> events = both[1].EventsAsync().GetAsyncEnumerator(source.Token);
                do
                    Check.True(events.MoveNextAsync().AsTask().Result, "there is more");
                while (!(events.Current is SessionEvent.Message));
                Task<bool> next = events.MoveNextAsync().AsTask();
                source.Cancel();
                Check.Equal(source.Token, Check.Throws<TaskCanceledException>(next).CancellationToken, "token");
                events = both[1].EventsAsync(source.Token).GetAsyncEnumerator();
                Check.Throws<OperationCanceledException>(events.MoveNextAsync().AsTask());
                events = both[1].EventsAsync().GetAsyncEnumerator();
                next = events.MoveNextAsync().AsTask();
                both[1].Leave();
                Check.True(next.Result, "there is one more");
                Check.Equal(Departure.WeLeft, ((SessionEvent.Left)events.Current).Reason, "reason");
                Check.True(!events.MoveNextAsync().AsTask().Result && events.Current == null, "it ends");
                events.DisposeAsync().AsTask().Wait();
                both.Dispose();
            }
        }

        [Test]
        private static void A_token_ends_waiting_within_50_ms_and_loses_nothing()
        {
            using (var service = new Service())
            {
                Session[] both = service.Join(2);
                both[1].Drain();
                Check.Within(50, () =>
                {
                    var source = new CancellationTokenSource();
                    Task<SessionEvent> waiting = both[1].NextEventAsync(source.Token);
                    Thread.Sleep(50);
                    Stopwatch took = Stopwatch.StartNew();
                    source.Cancel();
                    var error = Check.Throws<TaskCanceledException>(waiting);
                    took.Stop();
                    Check.Equal(source.Token, error.CancellationToken, "token");
                    return took.Elapsed;
                });
                Check.Throws<OperationCanceledException>(both[1].NextEventAsync(new CancellationToken(true)));
                both.Dispose();
            }
        }

        [Test(Limit = 60)]
        private static void A_token_cancelled_at_any_moment_loses_no_event()
        {
            var random = new Random(3);
            int cancelled = 0, heard = 0;
            const int count = 300;
            using (var service = new Service())
            {
                Session[] both = service.Join(2);
                Task sending = Task.Run(() =>
                {
                    for (int i = 0; i < count; i++)
                    {
                        both[0].SendToAll(BitConverter.GetBytes(i));
                        Thread.Sleep(1);
                    }
                });
                while (heard < count)
                {
                    using (var source = new CancellationTokenSource())
                    {
                        Task<SessionEvent> next = both[1].NextEventAsync(source.Token);
                        source.CancelAfter(random.Next(3));
                        try
                        {
                            if (next.GetAwaiter().GetResult() is SessionEvent.Message message)
                                Check.Equal(heard++, BitConverter.ToInt32(message.Data, 0), "message");
                        }
                        catch (OperationCanceledException)
                        {
                            cancelled++;
                        }
                    }
                }
                sending.Wait();
                both.Dispose();
            }
            Check.True(cancelled > 0, "some were cancelled");
        }

        [Test]
        private static void Disposing_ends_waiting_within_50_ms()
        {
            using (var service = new Service())
            {
                Check.Within(50, () =>
                {
                    Session session = Quiet(service);
                    Task asked = session.NextEventAsync(), blocked = Task.Run(() => session.NextEvent());
                    Thread.Sleep(50);
                    Stopwatch took = Stopwatch.StartNew();
                    session.Dispose();
                    took.Stop();
                    Check.Equal("Session", Check.Throws<ObjectDisposedException>(asked).ObjectName, "name");
                    Check.Throws<ObjectDisposedException>(blocked);
                    session.Dispose();
                    return took.Elapsed;
                });
            }
        }

        [Test]
        private static void Disposing_does_not_spoil_an_event_that_another_thread_fetches()
        {
            byte[] sent = AddressPair.Noise(Session.MaxMessageLength);
            using (var service = new Service())
            {
                for (int round = 0; round < 10; round++)
                {
                    Session[] both = service.Join(2);
                    while (both[0].TrySend(both[1].LocalId, sent, out ulong number))
                    {
                    }
                    int heard = 0;
                    Task listening = Task.Run(() =>
                    {
                        for (;;)
                        {
                            if (both[1].NextEvent() is SessionEvent.Message message)
                            {
                                Check.True(sent.SequenceEqual(message.Data), "as it was sent");
                                Interlocked.Increment(ref heard);
                            }
                        }
                    });
                    Check.Eventually("messages come", () => Volatile.Read(ref heard) > round);
                    both[1].Dispose();
                    Check.Throws<ObjectDisposedException>(listening);
                    both.Dispose();
                }
            }
        }

        [Test]
        private static void Each_event_is_told_to_one_of_many_that_wait()
        {
            const int count = 400;
            using (var service = new Service())
            {
                Session[] both = service.Join(2);
                Task<int[]>[] listeners = Enumerable.Range(0, 8).Select(i => Task.Run(() =>
                    (i % 2 == 0 ? both[1].Events() : Awaited(both[1])).OfType<SessionEvent.Message>()
                        .Select(message => BitConverter.ToInt32(message.Data, 0)).ToArray())).ToArray();
                for (int i = 0; i < count; i++)
                    both[0].SendToAll(BitConverter.GetBytes(i));
                for (int i = 0; i < count; i++)
                    both[0].Next<SessionEvent.Delivered>();
                both[1].Leave();
                Check.True(Task.WaitAll(listeners, Sessions.Patience), "they end");
                int[] heard = listeners.SelectMany(each => each.Result).ToArray();
                Check.Equal(count, heard.Length, "messages");
                Check.SameItems(Enumerable.Range(0, count), heard, "messages");
                both.Dispose();
            }
        }

        private static IEnumerable<SessionEvent> Awaited(Session session)
        {
            SessionEvent next;
            while ((next = session.NextEventAsync().GetAwaiter().GetResult()) != null)
                yield return next;
        }

        [Test]
        private static void Events_are_raised_one_at_a_time_where_they_are_wanted()
        {
            var context = new Context();
            var raised = new List<string>();
            using (var service = new Service())
            {
                byte[] id = Service.NewId();
                Session session = service.Join(id), other = null;
                int thread = Thread.CurrentThread.ManagedThreadId;
                Action<object, SessionEvent> add = (sender, each) =>
                {
                    Check.True(sender == session && Thread.CurrentThread.ManagedThreadId == thread, "sender and thread");
                    Check.Equal(0, context.Count, "further events");
                    raised.Add(each.GetType().Name);
                };
                session.Registered += (sender, each) => add(sender, each);
                session.PeerJoined += (sender, each) => add(sender, each);
                session.PeerConnected += (sender, each) =>
                {
                    add(sender, each);
                    session.Send(each.Peer, "hello".Bytes());
                };
                session.MessageDelivered += (sender, each) => add(sender, each);
                session.MessageReceived += (sender, each) => add(sender, each);
                session.PeerLeft += (sender, each) => add(sender, each);
                session.Start(context);
                Check.Throws<InvalidOperationException>(() => session.Start(context));
                context.RunUntil(() => raised.Count > 0);
                other = service.Join(id);
                context.RunUntil(() => raised.Contains("Delivered"));
                other.SendToAll("hello yourself".Bytes());
                context.RunUntil(() => raised.Contains("Message"));
                other.Dispose();
                context.RunUntil(() => raised.Contains("Left"));
                Check.Equal("Registered, Joined, Connected, Delivered, Message, Left", string.Join(", ", raised.Distinct()));
                session.Dispose();
            }
        }

        [Test]
        private static void A_handlers_exception_is_its_contexts_and_the_next_event_comes()
        {
            var context = new Context();
            int heard = 0;
            using (var service = new Service())
            {
                Session[] both = service.Join(2);
                both[1].MessageReceived += (sender, message) =>
                {
                    heard++;
                    throw new FailedException(message.Text());
                };
                both[1].Start(context);
                both[0].SendToAll("one".Bytes());
                both[0].SendToAll("two".Bytes());
                Check.Equal("one", Check.Throws<FailedException>(() => context.RunUntil(() => false)).Message);
                Check.Equal("two", Check.Throws<FailedException>(() => context.RunUntil(() => false)).Message);
                Check.Equal(2, heard, "messages");
                both.Dispose();
            }
        }

        [Test]
        private static void Nothing_is_raised_after_disposing_within_a_handler()
        {
            int heard = 0;
            using (var service = new Service())
            {
                Session[] both = service.Join(2);
                both[1].MessageReceived += (sender, message) =>
                {
                    Check.Equal(1, Interlocked.Increment(ref heard), "messages");
                    Check.True(SynchronizationContext.Current == null, "it is on the thread pool");
                    ((Session)sender).Dispose();
                };
                both[0].SendToAll("one".Bytes());
                both[0].SendToAll("two".Bytes());
                both[1].Start();
                Check.Equal(both[1].LocalId, both[0].Next<SessionEvent.Left>().Peer, "peer");
                Thread.Sleep(50);
                Check.Equal(1, heard, "messages");
                both.Dispose();
            }
        }
    }
}

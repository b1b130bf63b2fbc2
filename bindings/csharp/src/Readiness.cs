using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using System.Runtime.InteropServices;
using System.Threading;
using System.Threading.Tasks;

namespace HolePunch.Native
{
    /// <summary>
    /// Waits for descriptors, any number of them in one thread, which ends when there has been nothing to wait for some
    /// seconds.
    /// </summary>
    internal static class Readiness
    {
        private const int IdleMilliseconds = 5000;

        private static readonly object gate = new object();
        private static readonly List<Waiter> waiters = new List<Waiter>();
        private static readonly Stopwatch clock = Stopwatch.StartNew();
        private static Thread thread;
        private static int wakeReading = -1, wakeWriting = -1;
        // Whether a byte is in the pipe, where one is enough.
        private static bool woken;
        private static Waiter[] polled = new Waiter[0];
        private static long rounds;

        private sealed class Waiter : TaskCompletionSource<bool>
        {
            internal Waiter() : base(TaskCreationOptions.RunContinuationsAsynchronously)
            {
            }

            internal SafeHandle Descriptor;
            internal string Owner;
            internal short Events;
            internal long Deadline;
        }

        /// <summary>
        /// Becomes true when the descriptor is ready, false when time is up; if it is closed, the exception names its owner.
        /// </summary>
        internal static Task<bool> WhenReady(SafeHandle descriptor, string owner, short events, TimeSpan timeout,
            CancellationToken token)
        {
            if (token.IsCancellationRequested)
                return Task.FromCanceled<bool>(token);
            long ms = Interop.Milliseconds(timeout);
            var waiter = new Waiter { Descriptor = descriptor, Owner = owner, Events = events };
            lock (gate)
            {
                // Once it is closed, its number may be somebody else's.
                if (descriptor.IsClosed)
                    throw new ObjectDisposedException(owner);
                waiter.Deadline = ms < 0 ? long.MaxValue : clock.ElapsedMilliseconds + ms;
                waiters.Add(waiter);
                Wake();
            }
            return token.CanBeCanceled ? Cancellable(waiter, token) : waiter.Task;
        }

        private static async Task<bool> Cancellable(Waiter waiter, CancellationToken token)
        {
            using (token.Register(() => Cancel(waiter, token)))
                return await waiter.Task.ConfigureAwait(false);
        }

        private static void Cancel(Waiter waiter, CancellationToken token)
        {
            lock (gate)
                waiters.Remove(waiter);
            waiter.TrySetCanceled(token);
        }

        /// <summary>Closes a descriptor, for which nobody waits then any more.</summary>
        internal static void Close(SafeHandle descriptor)
        {
            lock (gate)
            {
                descriptor.Dispose();
                Abandon(descriptor);
                // As long as it is polled, the system keeps the socket and its port.
                long before = rounds;
                while (polled.Any(each => each.Descriptor == descriptor) && rounds == before)
                {
                    Wake();
                    Monitor.Wait(gate);
                }
            }
        }

        /// <summary>Takes a descriptor away from its handle, without closing it.</summary>
        internal static IntPtr Detach(SafeHandle descriptor, string owner)
        {
            lock (gate)
            {
                if (descriptor.IsClosed)
                    throw new ObjectDisposedException(owner);
                IntPtr number = descriptor.DangerousGetHandle();
                descriptor.SetHandleAsInvalid();
                Abandon(descriptor);
                return number;
            }
        }

        private static void Abandon(SafeHandle descriptor)
        {
            foreach (Waiter waiter in waiters.Where(each => each.Descriptor == descriptor))
                waiter.TrySetException(new ObjectDisposedException(waiter.Owner));
            waiters.RemoveAll(each => each.Descriptor == descriptor);
        }

        // With the lock held.
        private static void Wake()
        {
            if (wakeReading < 0)
                Unix.Pipe(out wakeReading, out wakeWriting);
            if (thread == null)
            {
                thread = new Thread(Run) { IsBackground = true, Name = "HolePunch" };
                thread.Start();
            }
            if (!woken)
                Unix.WriteByte(wakeWriting);
            woken = true;
        }

        private static void Run()
        {
            Monitor.Enter(gate);
            for (;;)
            {
                polled = waiters.ToArray();
                Unix.PollDescriptor[] descriptors = Descriptors();
                int timeout = PollTimeout();
                Monitor.Exit(gate);
                Unix.Poll(descriptors, timeout);
                Monitor.Enter(gate);
                rounds++;
                Monitor.PulseAll(gate);
                bool wasWoken = descriptors[0].Returned != 0;
                if (wasWoken)
                {
                    Unix.ReadByte(wakeReading);
                    woken = false;
                }
                Finish(descriptors);
                if (polled.Length == 0 && waiters.Count == 0 && !wasWoken && !woken)
                    break;
            }
            thread = null;
            Monitor.Exit(gate);
        }

        // The pipe's first, then those of whom is waited for.
        private static Unix.PollDescriptor[] Descriptors()
        {
            var descriptors = new Unix.PollDescriptor[polled.Length + 1];
            descriptors[0] = new Unix.PollDescriptor { Descriptor = wakeReading, Events = Unix.POLLIN };
            for (int i = 0; i < polled.Length; i++)
            {
                descriptors[i + 1] = new Unix.PollDescriptor
                {
                    Descriptor = (int)polled[i].Descriptor.DangerousGetHandle(),
                    Events = polled[i].Events,
                };
            }
            return descriptors;
        }

        private static int PollTimeout()
        {
            if (polled.Length == 0)
                return IdleMilliseconds;
            long first = polled.Min(each => each.Deadline);
            if (first == long.MaxValue)
                return -1;
            return (int)Math.Max(0, Math.Min(first - clock.ElapsedMilliseconds, int.MaxValue));
        }

        private static void Finish(Unix.PollDescriptor[] descriptors)
        {
            long now = clock.ElapsedMilliseconds;
            for (int i = 0; i < polled.Length; i++)
            {
                bool ready = descriptors[i + 1].Returned != 0;
                if (!ready && now < polled[i].Deadline)
                    continue;
                waiters.Remove(polled[i]);
                polled[i].TrySetResult(ready);
            }
        }
    }
}

using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Threading;
using System.Threading.Tasks;
using HolePunch.Native;

namespace HolePunch
{
    public sealed partial class Session
    {
        // Readable while there are events.
        private readonly EventDescriptor descriptor;
        // The library lets one thread at a time ask for events.
        private readonly object asking = new object();
        private volatile bool ended;

        /// <summary>Whether the session was left, and all that has happened in it was fetched.</summary>
        public bool HasEnded => ended;

        /// <summary>
        /// What happens next. Each event is told once, whoever asks. Nothing is fetched before somebody asks for it.
        /// </summary>
        /// <param name="timeout">How long to wait for it; null, the default, is for ever.</param>
        /// <returns>
        /// The event; null if nothing has happened in that time, or if nothing more will, as <see cref="HasEnded"/> tells.
        /// </returns>
        /// <exception cref="ObjectDisposedException">The session is disposed, or was meanwhile.</exception>
        public SessionEvent NextEvent(TimeSpan? timeout = null)
        {
            TimeSpan left = timeout ?? Timeout.InfiniteTimeSpan;
            Stopwatch waited = Stopwatch.StartNew();
            SessionEvent next;
            // Not by way of NextEventAsync, which takes three threads and the time to change between them.
            while (!TryNext(out next))
            {
                if (timeout >= TimeSpan.Zero)
                    left = timeout.Value > waited.Elapsed ? timeout.Value - waited.Elapsed : TimeSpan.Zero;
                if (left == TimeSpan.Zero)
                    return null;
                WaitUntilReady(left);
            }
            return next;
        }

        // Or something interrupts it.
        private void WaitUntilReady(TimeSpan timeout)
        {
            bool held = false;
            try
            {
                // The session keeps the descriptor open meanwhile.
                handle.DangerousAddRef(ref held);
                var polled = new Unix.PollDescriptor
                {
                    Descriptor = (int)descriptor.DangerousGetHandle(),
                    Events = Unix.POLLIN,
                };
                Unix.Poll(new[] { polled }, (int)Math.Min(Interop.Milliseconds(timeout), int.MaxValue));
            }
            finally
            {
                if (held)
                    handle.DangerousRelease();
            }
        }

        /// <summary>What happens next, without blocking the thread: see <see cref="NextEvent"/>.</summary>
        /// <returns>The event; null if nothing more will happen.</returns>
        /// <exception cref="OperationCanceledException">It was cancelled; nothing is lost.</exception>
        /// <exception cref="ObjectDisposedException">The session is disposed, or was meanwhile.</exception>
        public async Task<SessionEvent> NextEventAsync(CancellationToken cancellationToken = default(CancellationToken))
        {
            cancellationToken.ThrowIfCancellationRequested();
            SessionEvent next;
            while (!TryNext(out next))
                await Readiness.WhenReady(descriptor, nameof(Session), Unix.POLLIN, Timeout.InfiniteTimeSpan,
                    cancellationToken).ConfigureAwait(false);
            return next;
        }

        // True with null: nothing more will happen.
        private bool TryNext(out SessionEvent next)
        {
            bool held = false;
            lock (asking)
            {
                try
                {
                    ThrowIfDisposed();
                    // What an event leads to lives as long as the session.
                    handle.DangerousAddRef(ref held);
                    return TryAsk(out next);
                }
                finally
                {
                    if (held)
                        handle.DangerousRelease();
                }
            }
        }

        private unsafe bool TryAsk(out SessionEvent next)
        {
            hp_session_event native = default(hp_session_event);
            native.struct_size = (uint)sizeof(hp_session_event);
            next = null;
            while (next == null)
            {
                ThrowIfDisposed();
                hp_status status = NativeMethods.hp_session_next_event(handle, 0, &native);
                if (status == hp_status.HP_STATUS_NOTHING)
                    return false;
                if (status == hp_status.HP_STATUS_CANCELLED)
                {
                    // Disposing leaves, too.
                    ThrowIfDisposed();
                    return ended = true;
                }
                Interop.Check(status);
                next = SessionEvent.From(&native);
            }
            return true;
        }

        /// <summary>
        /// What happens, until the session is left: for a loop of <c>foreach</c>, which blocks the thread until something does.
        /// </summary>
        /// <exception cref="ObjectDisposedException">The session is disposed, or was meanwhile.</exception>
        public IEnumerable<SessionEvent> Events()
        {
            SessionEvent next;
            while ((next = NextEvent()) != null)
                yield return next;
        }

#if NETSTANDARD2_1_OR_GREATER || NET5_0_OR_GREATER
        /// <summary>
        /// What happens, until the session is left: for a loop of <c>await foreach</c>, which does not block the thread.
        /// </summary>
        /// <param name="cancellationToken">
        /// Ends the loop with an <see cref="OperationCanceledException"/>; nothing is lost.
        /// </param>
        /// <exception cref="ObjectDisposedException">The session is disposed, or was meanwhile.</exception>
        public IAsyncEnumerable<SessionEvent> EventsAsync(CancellationToken cancellationToken = default(CancellationToken))
        {
            return new AsyncSequence<SessionEvent>(NextEventAsync, cancellationToken);
        }
#endif
    }
}

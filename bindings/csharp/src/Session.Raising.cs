using System;
using System.Threading;
using System.Threading.Tasks;

namespace HolePunch
{
    public sealed partial class Session
    {
        private int started;

        /// <summary>See <see cref="SessionEvent.Registered"/>.</summary>
        public event EventHandler<SessionEvent.Registered> Registered;

        /// <summary>See <see cref="SessionEvent.ServerLost"/>.</summary>
        public event EventHandler<SessionEvent.ServerLost> ServerLost;

        /// <summary>See <see cref="SessionEvent.ServerRegained"/>.</summary>
        public event EventHandler<SessionEvent.ServerRegained> ServerRegained;

        /// <summary>See <see cref="SessionEvent.Refused"/>.</summary>
        public event EventHandler<SessionEvent.Refused> Refused;

        /// <summary>See <see cref="SessionEvent.Failed"/>.</summary>
        public event EventHandler<SessionEvent.Failed> Failed;

        /// <summary>See <see cref="SessionEvent.Joined"/>.</summary>
        public event EventHandler<SessionEvent.Joined> PeerJoined;

        /// <summary>See <see cref="SessionEvent.Connected"/>.</summary>
        public event EventHandler<SessionEvent.Connected> PeerConnected;

        /// <summary>See <see cref="SessionEvent.PathChanged"/>.</summary>
        public event EventHandler<SessionEvent.PathChanged> PathChanged;

        /// <summary>See <see cref="SessionEvent.Message"/>.</summary>
        public event EventHandler<SessionEvent.Message> MessageReceived;

        /// <summary>See <see cref="SessionEvent.Delivered"/>.</summary>
        public event EventHandler<SessionEvent.Delivered> MessageDelivered;

        /// <summary>See <see cref="SessionEvent.Untaken"/>.</summary>
        public event EventHandler<SessionEvent.Untaken> MessageUntaken;

        /// <summary>See <see cref="SessionEvent.Left"/>.</summary>
        public event EventHandler<SessionEvent.Left> PeerLeft;

        /// <summary>See <see cref="SessionEvent.Untold"/>.</summary>
        public event EventHandler<SessionEvent.Untold> Untold;

        /// <summary>
        /// From now on .NET's events are raised, one at a time, until the session is left or disposed: the next one when the
        /// handlers of the one before have returned, so that slow handlers make senders wait. An exception that a handler
        /// throws is the context's, and without one it ends the program. Add the handlers before.
        /// </summary>
        /// <param name="context">
        /// Where: <see cref="SynchronizationContext.Current"/> for the thread of a user interface or a game. Null, the
        /// default, for the thread pool.
        /// </param>
        /// <exception cref="InvalidOperationException">It was called before.</exception>
        public void Start(SynchronizationContext context = null)
        {
            ThrowIfDisposed();
            if (Interlocked.Exchange(ref started, 1) != 0)
                throw new InvalidOperationException("The session was started before.");
            Raising.All(context ?? new SynchronizationContext(), NextRaising);
        }

        private async Task<Action> NextRaising()
        {
            SessionEvent next = await NextEventAsync().ConfigureAwait(false);
            if (next == null)
                return null;
            return () =>
            {
                if (!descriptor.IsClosed)
                    Raise(next);
            };
        }

        private void Raise(SessionEvent next)
        {
            Raise(Registered, next);
            Raise(ServerLost, next);
            Raise(ServerRegained, next);
            Raise(Refused, next);
            Raise(Failed, next);
            Raise(PeerJoined, next);
            Raise(PeerConnected, next);
            Raise(PathChanged, next);
            Raise(MessageReceived, next);
            Raise(MessageDelivered, next);
            Raise(MessageUntaken, next);
            Raise(PeerLeft, next);
            Raise(Untold, next);
        }

        private void Raise<T>(EventHandler<T> handlers, SessionEvent next) where T : SessionEvent
        {
            if (next is T it)
                handlers?.Invoke(this, it);
        }
    }
}

using System;
using System.Collections.Generic;
using System.Net;
using HolePunch.Native;

namespace HolePunch
{
    /// <summary>What has happened in a session: one of the classes within this one.</summary>
    public abstract class SessionEvent
    {
        private SessionEvent()
        {
        }

        /// <summary>Null for what only later versions of the library know.</summary>
        internal static unsafe SessionEvent From(hp_session_event* native)
        {
            switch (native->kind)
            {
                case NativeMethods.HP_EVENT_REGISTERED: return new Registered(native);
                case NativeMethods.HP_EVENT_SERVER_LOST: return new ServerLost();
                case NativeMethods.HP_EVENT_SERVER_REGAINED: return new ServerRegained();
                case NativeMethods.HP_EVENT_REFUSED: return new Refused(native);
                case NativeMethods.HP_EVENT_FAILED: return new Failed(native);
                case NativeMethods.HP_EVENT_JOINED: return new Joined(native);
                case NativeMethods.HP_EVENT_CONNECTED: return new Connected(native);
                case NativeMethods.HP_EVENT_PATH_CHANGED: return new PathChanged(native);
                case NativeMethods.HP_EVENT_MESSAGE: return new Message(native);
                case NativeMethods.HP_EVENT_DELIVERED: return new Delivered(native);
                case NativeMethods.HP_EVENT_UNTAKEN: return new Untaken(native);
                case NativeMethods.HP_EVENT_LEFT: return new Left(native);
                case NativeMethods.HP_EVENT_UNTOLD: return new Untold(native);
                default: return null;
            }
        }

        /// <summary>The event's name and whom it is about, for people to read.</summary>
        public override string ToString()
        {
            return GetType().Name;
        }

        /// <summary>The server keeps us, for the first time or again.</summary>
        public sealed class Registered : SessionEvent
        {
            internal unsafe Registered(hp_session_event* native)
            {
                EndPoint = Interop.EndPoint(&native->endpoint);
            }

            /// <summary>Where the server sees us.</summary>
            public IPEndPoint EndPoint { get; }
        }

        /// <summary>The server does not answer any more. Peers that are connected stay so.</summary>
        public sealed class ServerLost : SessionEvent
        {
            internal ServerLost()
            {
            }
        }

        /// <summary>The server answers again.</summary>
        public sealed class ServerRegained : SessionEvent
        {
            internal ServerRegained()
            {
            }
        }

        /// <summary>The server does not take us; it is asked again.</summary>
        public sealed class Refused : SessionEvent
        {
            internal unsafe Refused(hp_session_event* native)
            {
                Reason = (SessionRefusal)native->reason;
            }

            /// <summary>Why.</summary>
            public SessionRefusal Reason { get; }
        }

        /// <summary>The session cannot go on and was left.</summary>
        public sealed class Failed : SessionEvent
        {
            internal unsafe Failed(hp_session_event* native)
            {
                NativeErrorCode = native->reason;
            }

            /// <summary>The operating system's error number (errno).</summary>
            public int NativeErrorCode { get; }
        }

        /// <summary>An event about a peer.</summary>
        public abstract class OfPeer : SessionEvent
        {
            internal unsafe OfPeer(hp_session_event* native)
            {
                Peer = new PeerId(native->peer);
                Encrypted = native->encrypted != 0;
            }

            /// <summary>About whom.</summary>
            public PeerId Peer { get; }

            /// <summary>
            /// Whether what the peer says and hears is encrypted and authenticated; otherwise it speaks the plain dialect, and
            /// anyone on the way may read, forge and drop what is said.
            /// </summary>
            public bool Encrypted { get; }

            /// <summary>The event's name and whom it is about, for people to read.</summary>
            public override string ToString()
            {
                return base.ToString() + " " + Peer;
            }
        }

        /// <summary>An event about the way to a peer.</summary>
        public abstract class OfPath : OfPeer
        {
            internal unsafe OfPath(hp_session_event* native) : base(native)
            {
                EndPoint = Interop.EndPoint(&native->endpoint);
                Path = (PathKind)native->path;
                RoundTripTime = Interop.RoundTripTime(native->rtt_us);
            }

            /// <summary>Where the peer is reached.</summary>
            public IPEndPoint EndPoint { get; }

            /// <summary>How <see cref="EndPoint"/> was learned.</summary>
            public PathKind Path { get; }

            /// <summary>The round-trip time; null if it is not known.</summary>
            public TimeSpan? RoundTripTime { get; }
        }

        /// <summary>A peer is there, and is being reached.</summary>
        public sealed class Joined : OfPeer
        {
            internal unsafe Joined(hp_session_event* native) : base(native)
            {
            }
        }

        /// <summary>Messages flow to and from a peer.</summary>
        public sealed class Connected : OfPath
        {
            internal unsafe Connected(hp_session_event* native) : base(native)
            {
                Key = PublicKey.OrNull(native->key);
            }

            /// <summary>The peer's public key; null if it is not encrypted.</summary>
            public PublicKey? Key { get; }
        }

        /// <summary>Messages flow over another path.</summary>
        public sealed class PathChanged : OfPath
        {
            internal unsafe PathChanged(hp_session_event* native) : base(native)
            {
            }
        }

        /// <summary>A peer says something.</summary>
        public sealed class Message : OfPeer
        {
            internal unsafe Message(hp_session_event* native) : base(native)
            {
                Data = Interop.Bytes(native->data, (int)native->data_len);
            }

            /// <summary>What it says, which may be nothing.</summary>
            public byte[] Data { get; }
        }

        /// <summary>A peer has got one of our messages.</summary>
        public sealed class Delivered : OfPeer
        {
            internal unsafe Delivered(hp_session_event* native) : base(native)
            {
                Number = native->number;
            }

            /// <summary>What <see cref="Session.Send(PeerId, byte[])"/> has returned.</summary>
            public ulong Number { get; }
        }

        /// <summary>A message to all was not taken for a peer for whom too much waits already.</summary>
        public sealed class Untaken : OfPeer
        {
            internal unsafe Untaken(hp_session_event* native) : base(native)
            {
                Number = native->number;
            }

            /// <summary>What <see cref="Session.SendToAll(byte[])"/> has returned.</summary>
            public ulong Number { get; }
        }

        /// <summary>A peer is gone.</summary>
        public sealed class Left : OfPeer
        {
            internal unsafe Left(hp_session_event* native) : base(native)
            {
                Reason = (Departure)native->reason;
                Key = PublicKey.OrNull(native->key);
                var undelivered = new ulong[(int)native->undelivered_count];
                for (int i = 0; i < undelivered.Length; i++)
                    undelivered[i] = native->undelivered[i];
                Undelivered = Array.AsReadOnly(undelivered);
            }

            /// <summary>Why.</summary>
            public Departure Reason { get; }

            /// <summary>The key that is not allowed; null for other reasons.</summary>
            public PublicKey? Key { get; }

            /// <summary>The numbers of our messages that it has not got, as far as is known.</summary>
            public IReadOnlyList<ulong> Undelivered { get; }
        }

        /// <summary>
        /// Events that nobody asked for were not kept. Messages are among them only if they are of peers that are not
        /// encrypted, or beyond 16 MiB of peers who have left.
        /// </summary>
        public sealed class Untold : SessionEvent
        {
            internal unsafe Untold(hp_session_event* native)
            {
                Count = native->number;
            }

            /// <summary>How many.</summary>
            public ulong Count { get; }
        }
    }

    /// <summary>Why a peer is gone.</summary>
    public enum Departure
    {
        /// <summary>It said goodbye.</summary>
        Goodbye = NativeMethods.HP_LEFT_GOODBYE,

        /// <summary>The server has not heard of it for long, and neither have we.</summary>
        TimedOut = NativeMethods.HP_LEFT_TIMED_OUT,

        /// <summary>It may be there, but nothing comes through any more.</summary>
        Unreachable = NativeMethods.HP_LEFT_UNREACHABLE,

        /// <summary>It holds a key that is not among <see cref="SessionOptions.PinnedKeys"/>.</summary>
        WrongKey = NativeMethods.HP_LEFT_WRONG_KEY,

        /// <summary>It was we who left the session.</summary>
        WeLeft = NativeMethods.HP_LEFT_WE_LEFT,
    }

    /// <summary>Why the server does not take us into a session.</summary>
    public enum SessionRefusal
    {
        /// <summary>The session has as many members as the server allows.</summary>
        SessionFull = NativeMethods.HP_REFUSED_SESSION_FULL,

        /// <summary>The server has as many registrations as it can hold.</summary>
        ServerFull = NativeMethods.HP_REFUSED_SERVER_FULL,

        /// <summary>The server does not speak the native dialect, and sessions need it.</summary>
        Dialect = NativeMethods.HP_REFUSED_DIALECT,

        /// <summary>Another reason.</summary>
        Other = NativeMethods.HP_REFUSED_OTHER,
    }
}

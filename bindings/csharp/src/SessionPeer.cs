using System;
using System.Net;
using HolePunch.Native;

namespace HolePunch
{
    /// <summary>A member of a session, as it was known when it was asked for.</summary>
    public sealed class SessionPeer
    {
        internal unsafe SessionPeer(hp_session_peer* native)
        {
            Id = new PeerId(native->peer);
            Encrypted = native->encrypted != 0;
            Undelivered = (int)native->undelivered;
            Connected = native->connected != 0;
            EndPoint = Interop.EndPoint(&native->endpoint);
            if (Connected)
                Path = (PathKind)native->path;
            RoundTripTime = Interop.RoundTripTime(native->rtt_us);
            Key = PublicKey.OrNull(native->key);
        }

        /// <summary>Its name.</summary>
        public PeerId Id { get; }

        /// <summary>See <see cref="SessionEvent.OfPeer.Encrypted"/>.</summary>
        public bool Encrypted { get; }

        /// <summary>How many messages of ours it is not known to have got.</summary>
        public int Undelivered { get; }

        /// <summary>Whether messages flow.</summary>
        public bool Connected { get; }

        /// <summary>Where it is reached; null if it is not connected.</summary>
        public IPEndPoint EndPoint { get; }

        /// <summary>How <see cref="EndPoint"/> was learned; null if it is not connected.</summary>
        public PathKind? Path { get; }

        /// <summary>The round-trip time; null if it is not known.</summary>
        public TimeSpan? RoundTripTime { get; }

        /// <summary>Its public key; null if it is not connected, or not encrypted.</summary>
        public PublicKey? Key { get; }

        /// <summary>Its name and where it is, for people to read.</summary>
        public override string ToString()
        {
            return Id + (Connected ? " at " + EndPoint : "");
        }
    }
}

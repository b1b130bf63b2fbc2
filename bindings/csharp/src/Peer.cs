using System;
using System.Collections.Generic;
using System.Net;
using HolePunch.Native;

namespace HolePunch
{
    /// <summary>Another participant that a call has found.</summary>
    public sealed class Peer
    {
        internal unsafe Peer(hp_peer* native, int call, Cause cause, IReadOnlyList<PathAttempt> attempts)
        {
            EndPoint = Interop.EndPoint(&native->endpoint);
            Path = (PathKind)native->path;
            RoundTripTime = Interop.RoundTripTime(native->rtt_us);
            Connected = native->connected != 0;
            Authenticated = native->authenticated != 0;
            Transport = (Transport)native->transport;
            SocketIndex = native->socket;
            Call = call;
            Cause = cause;
            Attempts = attempts;
            Guesses = native->guesses;
            RelayRefused = (RelayRefusal)native->relay_refused;
        }

        /// <summary>Where the peer is reached: the other end of the hole.</summary>
        public IPEndPoint EndPoint { get; }

        /// <summary>How <see cref="EndPoint"/> was learned.</summary>
        public PathKind Path { get; }

        /// <summary>The name of <see cref="Path"/> in the words of RFC 8445, such as "peer-reflexive".</summary>
        public unsafe string PathName => Interop.Text(NativeMethods.hp_path_name((int)Path));

        /// <summary>The round-trip time over the hole; null if it was not measured (the plain dialect has no means).</summary>
        public TimeSpan? RoundTripTime { get; }

        /// <summary>
        /// Whether the hole is confirmed in both directions. Always true for the peers of a call that succeeded.
        /// </summary>
        public bool Connected { get; }

        /// <summary>
        /// Whether the peer proved that it knows the session ID, or merely spoke from a listed address (plain dialect).
        /// </summary>
        public bool Authenticated { get; }

        /// <summary>
        /// What carries the hole, <see cref="Transport.Udp"/> or <see cref="Transport.Tcp"/>: whether it is to be taken with
        /// <see cref="HolePunchClient.TakeSocket"/> or with <see cref="HolePunchClient.TakeStream"/>.
        /// </summary>
        public Transport Transport { get; }

        /// <summary>
        /// What probably kept the peer from being reached; <see cref="Cause.Unknown"/> if nothing did, or too little is
        /// known to say.
        /// </summary>
        /// <example>
        /// This prints why peers were not reached, and where they were looked for:
        /// <code>
        /// try
        /// {
        ///     client.Connect(id, 3);
        /// }
        /// catch (HolePunchException error)
        /// {
        ///     foreach (Peer peer in error.Peers.Where(each => !each.Connected))
        ///     {
        ///         Console.Error.WriteLine(peer + ": " + peer.CauseText);
        ///         foreach (PathAttempt attempt in peer.Attempts)
        ///             Console.Error.WriteLine("  " + attempt);
        ///     }
        /// }
        /// </code>
        /// </example>
        public Cause Cause { get; }

        /// <summary><see cref="Cause"/> and what helps, in English, in a sentence or two.</summary>
        public unsafe string CauseText => Interop.Text(NativeMethods.hp_cause_text((int)Cause));

        /// <summary>
        /// The addresses at which the peer was looked for, also if it was reached; none of a peer that speaks the plain
        /// dialect.
        /// </summary>
        public IReadOnlyList<PathAttempt> Attempts { get; }

        /// <summary>The probes to ports that were merely guessed; they are among no attempt's.</summary>
        public uint Guesses { get; }

        /// <summary>
        /// Why the server did not forward to the peer when it was asked to; <see cref="RelayRefusal.None"/> if it was not
        /// asked, or agreed.
        /// </summary>
        public RelayRefusal RelayRefused { get; }

        /// <summary>The name of <see cref="RelayRefused"/>, such as "not-offered", or "none".</summary>
        public unsafe string RelayRefusedName => Interop.Text(NativeMethods.hp_refusal_name((int)RelayRefused));

        internal uint SocketIndex { get; }

        /// <summary>Which of its client's calls has found it.</summary>
        internal int Call { get; }

        /// <summary>The endpoint and the path, for people to read.</summary>
        public override string ToString()
        {
            return EndPoint + " (" + PathName + ")";
        }
    }

    /// <summary>How a peer's address was learned, in the words of RFC 8445.</summary>
    public enum PathKind
    {
        /// <summary>An address of the peer's own interface; nothing stands between.</summary>
        Host = NativeMethods.HP_PATH_HOST,

        /// <summary>The peer's address as the rendezvous server sees it.</summary>
        Reflexive = NativeMethods.HP_PATH_REFLEXIVE,

        /// <summary>A port that the peer's router was asked to open.</summary>
        Mapped = NativeMethods.HP_PATH_MAPPED,

        /// <summary>Learned from the peer's own authenticated probe.</summary>
        PeerReflexive = NativeMethods.HP_PATH_PEER_REFLEXIVE,

        /// <summary>Guessed from a symmetric NAT's pattern.</summary>
        Predicted = NativeMethods.HP_PATH_PREDICTED,

        /// <summary>Forwarded by the server.</summary>
        Relayed = NativeMethods.HP_PATH_RELAYED,
    }

    /// <summary>Which protocols a client or server may speak.</summary>
    public enum Dialect
    {
        /// <summary>Native where the other side understands it, else plain.</summary>
        Auto = NativeMethods.HP_DIALECT_AUTO,

        /// <summary>Every peer is authenticated, and the server never sees the session ID.</summary>
        Native = NativeMethods.HP_DIALECT_NATIVE,

        /// <summary>What the existing Go hole-punching tools speak. Nothing is authenticated.</summary>
        Plain = NativeMethods.HP_DIALECT_PLAIN,
    }
}

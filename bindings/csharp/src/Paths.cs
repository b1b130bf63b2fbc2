using System;
using System.Net;
using HolePunch.Native;

namespace HolePunch
{
    /// <summary>Which paths to a peer are good enough.</summary>
    public enum PathPolicy
    {
        /// <summary>
        /// Direct ones; where there is none for two seconds, or can be none, the server forwards, if it offers that.
        /// </summary>
        DirectPreferred = NativeMethods.HP_PATHS_DIRECT_PREFERRED,

        /// <summary>Direct ones only.</summary>
        DirectOnly = NativeMethods.HP_PATHS_DIRECT_ONLY,

        /// <summary>Only what the server forwards; the peer's own addresses are sent nothing.</summary>
        RelayOnly = NativeMethods.HP_PATHS_RELAY_ONLY,
    }

    /// <summary>What may be done to get through NATs beside probing known addresses.</summary>
    [Flags]
    public enum Techniques
    {
        /// <summary>Nothing.</summary>
        None = 0,

        /// <summary>
        /// Find out what our own NAT does, and tell the peers; <see cref="Prediction"/> and <see cref="ManySockets"/> need
        /// it.
        /// </summary>
        Diagnosis = (int)NativeMethods.HP_TECHNIQUE_DIAGNOSIS,

        /// <summary>
        /// Send the first probes with a low TTL, so that they open our NAT and do not reach the peer's before it is open.
        /// </summary>
        LowTtl = (int)NativeMethods.HP_TECHNIQUE_LOW_TTL,

        /// <summary>Where a NAT counts, probe the ports that come next.</summary>
        Prediction = (int)NativeMethods.HP_TECHNIQUE_PREDICTION,

        /// <summary>
        /// Where a NAT chooses ports at random, use up to 256 sockets on one side and 1024 probes from the other.
        /// </summary>
        ManySockets = (int)NativeMethods.HP_TECHNIQUE_MANY_SOCKETS,

        /// <summary>Where that could help, have our router open a port (PCP, NAT-PMP, UPnP-IGD).</summary>
        PortMapping = (int)NativeMethods.HP_TECHNIQUE_PORT_MAPPING,

        /// <summary>
        /// Where ordinary NATs do not connect as they should, probe from a further socket, whose mapping nothing has spoiled.
        /// </summary>
        FreshSocket = (int)NativeMethods.HP_TECHNIQUE_FRESH_SOCKET,

        /// <summary>All of them.</summary>
        All = (int)NativeMethods.HP_TECHNIQUES_ALL,
    }

    /// <summary>What probably kept a peer from being reached; <see cref="Peer.CauseText"/> says what helps.</summary>
    public enum Cause
    {
        /// <summary>Nothing did, or too little is known to say.</summary>
        Unknown = NativeMethods.HP_CAUSE_UNKNOWN,

        /// <summary>The peer left before a hole was open.</summary>
        PeerLeft = NativeMethods.HP_CAUSE_PEER_LEFT,

        /// <summary>Both NATs give each peer another port.</summary>
        BothSymmetric = NativeMethods.HP_CAUSE_BOTH_SYMMETRIC,

        /// <summary>Nothing of the peer's came through, although both NATs would let it.</summary>
        NothingHeard = NativeMethods.HP_CAUSE_NOTHING_HEARD,

        /// <summary>The peer's probes come through, ours or its answers do not.</summary>
        OneWay = NativeMethods.HP_CAUSE_ONE_WAY,

        /// <summary>The two sides insist on different kinds of paths or dialects.</summary>
        Policy = NativeMethods.HP_CAUSE_POLICY,

        /// <summary>The call ended before enough could be tried.</summary>
        TooShort = NativeMethods.HP_CAUSE_TOO_SHORT,

        /// <summary>One NAT gives each peer another port, and the right one was not found.</summary>
        NotFound = NativeMethods.HP_CAUSE_NOT_FOUND,

        /// <summary>The server hears one of the two sides over TCP only, and the other one does not use TCP.</summary>
        NoTcp = NativeMethods.HP_CAUSE_NO_TCP,

        /// <summary>Nobody answered over TCP.</summary>
        TcpUnanswered = NativeMethods.HP_CAUSE_TCP_UNANSWERED,

        /// <summary>Attempts over TCP were refused; a router answers in the peer's name.</summary>
        TcpRefused = NativeMethods.HP_CAUSE_TCP_REFUSED,

        /// <summary>Over TCP somebody else was there, or nothing was said.</summary>
        TcpStranger = NativeMethods.HP_CAUSE_TCP_STRANGER,
    }

    /// <summary>Why a server does not forward to a peer.</summary>
    public enum RelayRefusal
    {
        /// <summary>The server was not asked to forward, or agreed.</summary>
        None = NativeMethods.HP_REFUSAL_NONE,

        /// <summary>The server forwards nothing.</summary>
        NotOffered = NativeMethods.HP_REFUSAL_NOT_OFFERED,

        /// <summary>The server knows no such native peer, or not any more.</summary>
        UnknownPeer = NativeMethods.HP_REFUSAL_UNKNOWN_PEER,

        /// <summary>The server forwards as much as it allows, in all or for this client.</summary>
        Full = NativeMethods.HP_REFUSAL_FULL,
    }

    /// <summary>One address at which a peer was looked for.</summary>
    public sealed class PathAttempt
    {
        internal unsafe PathAttempt(hp_attempt* native)
        {
            EndPoint = Interop.EndPoint(&native->endpoint);
            Path = (PathKind)native->path;
            ProbesSent = native->probes_sent;
            ProbesReceived = native->probes_received;
        }

        /// <summary>Where.</summary>
        public IPEndPoint EndPoint { get; }

        /// <summary>How <see cref="EndPoint"/> was learned.</summary>
        public PathKind Path { get; }

        /// <summary>The probes sent there.</summary>
        public uint ProbesSent { get; }

        /// <summary>The authentic probes that came from there.</summary>
        public uint ProbesReceived { get; }

        /// <summary>The endpoint, the path and both counts, for people to read.</summary>
        public override unsafe string ToString()
        {
            return EndPoint + " (" + Interop.Text(NativeMethods.hp_path_name((int)Path)) + "): " + ProbesSent
                + " probes sent, " + ProbesReceived + " received";
        }
    }
}

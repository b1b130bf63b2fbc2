using HolePunch.Native;

namespace HolePunch
{
    /// <summary>What a client's last call has counted.</summary>
    public sealed class ClientCounters
    {
        internal ClientCounters(hp_counters native)
        {
            ProbesSent = native.probes_sent;
            Forged = native.forged;
            Replayed = native.replayed;
            Misdirected = native.misdirected;
            Malformed = native.malformed;
            Strangers = native.strangers;
            ServerDropped = native.server_dropped;
            OverLimit = native.over_limit;
        }

        /// <summary>Datagrams sent to peers.</summary>
        public ulong ProbesSent { get; }

        /// <summary>Probes of someone who does not know the session ID.</summary>
        public ulong Forged { get; }

        /// <summary>Authentic probes that were seen before or are too old.</summary>
        public ulong Replayed { get; }

        /// <summary>Authentic probes of our own, or for someone else.</summary>
        public ulong Misdirected { get; }

        /// <summary>Malformed datagrams in the native dialect.</summary>
        public ulong Malformed { get; }

        /// <summary>Datagrams from sources that are neither the server nor a peer.</summary>
        public ulong Strangers { get; }

        /// <summary>Datagrams from the server's address that made no sense.</summary>
        public ulong ServerDropped { get; }

        /// <summary>Peers and addresses beyond the limits.</summary>
        public ulong OverLimit { get; }
    }

    /// <summary>What a session has dropped.</summary>
    public sealed class SessionCounters
    {
        internal SessionCounters(hp_session_counters native)
        {
            Strangers = native.strangers;
            Forged = native.forged;
            Replayed = native.replayed;
            Malformed = native.malformed;
        }

        /// <summary>Datagrams of nobody who is known here, or that make no sense.</summary>
        public ulong Strangers { get; }

        /// <summary>Sealed datagrams and handshakes that are not authentic.</summary>
        public ulong Forged { get; }

        /// <summary>Sealed datagrams that had come before, or are too old to tell.</summary>
        public ulong Replayed { get; }

        /// <summary>Authentic datagrams without sense.</summary>
        public ulong Malformed { get; }
    }

    /// <summary>What a server has counted since it was made.</summary>
    public sealed class ServerCounters
    {
        internal ServerCounters(hp_server_counters native)
        {
            Received = native.received;
            Sent = native.sent;
            Dropped = native.dropped;
            Challenged = native.challenged;
            SendFailed = native.send_failed;
            Endpoints = native.endpoints;
            Sessions = native.sessions;
            NativeJoined = native.native_joined;
            PlainJoined = native.plain_joined;
            Left = native.left;
            Expired = native.expired;
            Refused = native.refused;
            RelayPairs = native.relay_pairs;
            RelayGranted = native.relay_granted;
            RelayRefused = native.relay_refused;
            RelayForwarded = native.relay_forwarded;
            RelayForwardedBytes = native.relay_forwarded_bytes;
            RelayOverLimit = native.relay_over_limit;
            RelayDropped = native.relay_dropped;
        }

        /// <summary>Datagrams received.</summary>
        public ulong Received { get; }

        /// <summary>Datagrams sent.</summary>
        public ulong Sent { get; }

        /// <summary>Received datagrams that were nothing the server answers.</summary>
        public ulong Dropped { get; }

        /// <summary>Registrations that had to prove their address first.</summary>
        public ulong Challenged { get; }

        /// <summary>Datagrams that the system did not take.</summary>
        public ulong SendFailed { get; }

        /// <summary>Registrations now.</summary>
        public ulong Endpoints { get; }

        /// <summary>Sessions now.</summary>
        public ulong Sessions { get; }

        /// <summary>Native clients that registered.</summary>
        public ulong NativeJoined { get; }

        /// <summary>Plain clients that registered.</summary>
        public ulong PlainJoined { get; }

        /// <summary>Clients that said goodbye or were replaced.</summary>
        public ulong Left { get; }

        /// <summary>Clients that fell silent.</summary>
        public ulong Expired { get; }

        /// <summary>Registrations refused for a limit.</summary>
        public ulong Refused { get; }

        /// <summary>Pairs of clients that the server forwards between now.</summary>
        public ulong RelayPairs { get; }

        /// <summary>Pairs that were granted, those that have ended included.</summary>
        public ulong RelayGranted { get; }

        /// <summary>
        /// Requests to be forwarded that were refused: for a limit, an unknown peer, or because the server does not forward.
        /// </summary>
        public ulong RelayRefused { get; }

        /// <summary>
        /// Datagrams that were forwarded. They are among <see cref="Received"/> and <see cref="Sent"/>, too.
        /// </summary>
        public ulong RelayForwarded { get; }

        /// <summary>The payload in bytes of <see cref="RelayForwarded"/>.</summary>
        public ulong RelayForwardedBytes { get; }

        /// <summary>Datagrams that were not forwarded because their pair had used up what it is allowed.</summary>
        public ulong RelayOverLimit { get; }

        /// <summary>
        /// Other datagrams at the relay's ports that were not forwarded: nobody's, or for one who has not come yet.
        /// </summary>
        public ulong RelayDropped { get; }
    }
}

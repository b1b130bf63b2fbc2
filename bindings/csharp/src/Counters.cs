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
            TcpConnections = native.tcp_connections;
            TcpAccepted = native.tcp_accepted;
            TcpOverLimit = native.tcp_over_limit;
            TcpAcceptFailed = native.tcp_accept_failed;
            TcpMalformed = native.tcp_malformed;
            TcpSilent = native.tcp_silent;
            TcpSlow = native.tcp_slow;
            TcpReceived = native.tcp_received;
            TcpSent = native.tcp_sent;
            TcpUnsent = native.tcp_unsent;
            TcpRelayPairs = native.tcp_relay_pairs;
            TcpRelayGranted = native.tcp_relay_granted;
            TcpRelayRefused = native.tcp_relay_refused;
            TcpRelayJoined = native.tcp_relay_joined;
            TcpRelayBytes = native.tcp_relay_bytes;
            TcpRelayUnknown = native.tcp_relay_unknown;
            TcpRelayAlone = native.tcp_relay_alone;
            KernelDropped = native.kernel_dropped;
            RateLimited = native.rate_limited;
            Shed = native.shed;
            PlainWithheld = native.plain_withheld;
            Memory = native.memory;
            Overloaded = native.overloaded != 0;
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

        /// <summary>Connections over TCP now.</summary>
        public ulong TcpConnections { get; }

        /// <summary>Connections that were taken, those that have ended included.</summary>
        public ulong TcpAccepted { get; }

        /// <summary>
        /// Connections that were closed at once, because there were as many as there may be, in all or from that address.
        /// </summary>
        public ulong TcpOverLimit { get; }

        /// <summary>How often the system had no room for another connection; it waits until there is some.</summary>
        public ulong TcpAcceptFailed { get; }

        /// <summary>
        /// Connections that were closed because what came was no message in a frame, or none that the server understands.
        /// </summary>
        public ulong TcpMalformed { get; }

        /// <summary>Connections that were closed because nothing came for too long.</summary>
        public ulong TcpSilent { get; }

        /// <summary>Connections that were closed because more than 64 KiB waited for them to be read.</summary>
        public ulong TcpSlow { get; }

        /// <summary>Messages received over connections.</summary>
        public ulong TcpReceived { get; }

        /// <summary>Messages sent over connections.</summary>
        public ulong TcpSent { get; }

        /// <summary>Messages that were not sent: their receiver's connection was gone, or too many waited.</summary>
        public ulong TcpUnsent { get; }

        /// <summary>Pairs of clients whose connections the server forwards now.</summary>
        public ulong TcpRelayPairs { get; }

        /// <summary>Such pairs that were granted, those that have ended included.</summary>
        public ulong TcpRelayGranted { get; }

        /// <summary>Requests for that that were refused for a limit; others are in <see cref="RelayRefused"/>.</summary>
        public ulong TcpRelayRefused { get; }

        /// <summary>How often both connections of a pair had come.</summary>
        public ulong TcpRelayJoined { get; }

        /// <summary>Bytes that were taken from them to be forwarded.</summary>
        public ulong TcpRelayBytes { get; }

        /// <summary>Connections that showed a ticket of nobody's, or of a pair whose both connections are there.</summary>
        public ulong TcpRelayUnknown { get; }

        /// <summary>Connections that waited in vain for the other one.</summary>
        public ulong TcpRelayAlone { get; }

        /// <summary>Datagrams that the system dropped because the server's receive buffers were full.</summary>
        public ulong KernelDropped { get; }

        /// <summary>Datagrams that were dropped because too many came from their prefix.</summary>
        public ulong RateLimited { get; }

        /// <summary>
        /// Requests of clients that were not registered yet, dropped because the server could not keep up.
        /// </summary>
        public ulong Shed { get; }

        /// <summary>Answers that plain clients did not get, since too little had come from there.</summary>
        public ulong PlainWithheld { get; }

        /// <summary>How many bytes registrations take now.</summary>
        public ulong Memory { get; }

        /// <summary>Whether the server cannot keep up now.</summary>
        public bool Overloaded { get; }
    }
}

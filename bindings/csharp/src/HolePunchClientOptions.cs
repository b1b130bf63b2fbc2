using System;
using System.Net;
using System.Net.Sockets;

namespace HolePunch
{
    /// <summary>How a client is to connect. The defaults are fine.</summary>
    public sealed class HolePunchClientOptions
    {
        /// <summary>
        /// The time that a call has in total, 40 seconds by default; <see cref="System.Threading.Timeout.InfiniteTimeSpan"/>
        /// is for ever.
        /// </summary>
        public TimeSpan Timeout { get; set; } = TimeSpan.FromSeconds(40);

        /// <summary>
        /// The longest pause between two unanswered requests to the server, 1 ms to 10 s, 100 ms by default.
        /// </summary>
        public TimeSpan ServerRetry { get; set; } = TimeSpan.FromMilliseconds(100);

        /// <summary>
        /// The longest pause between two probes of a peer's address, 1 ms to 10 s, 100 ms by default. The first probes
        /// follow each other faster.
        /// </summary>
        public TimeSpan PeerRetry { get; set; } = TimeSpan.FromMilliseconds(100);

        /// <summary>Which dialects may be spoken, <see cref="Dialect.Auto"/> by default.</summary>
        public Dialect Dialect { get; set; } = Dialect.Auto;

        /// <summary>Which paths are good enough, <see cref="PathPolicy.DirectPreferred"/> by default.</summary>
        public PathPolicy PathPolicy { get; set; } = PathPolicy.DirectPreferred;

        /// <summary>
        /// What may be done to get through beside probing known addresses, <see cref="Techniques.All"/> by default.
        /// </summary>
        public Techniques Techniques { get; set; } = Techniques.All;

        /// <summary>
        /// What may carry holes, <see cref="Transport.Udp"/> by default. With <see cref="Transport.Either"/> the server is
        /// asked over TCP as well once it has been silent over UDP for a second. Over TCP the server must take connections
        /// (<see cref="HolePunchServerOptions.Tcp"/>) and speak native, so that <see cref="Dialect.Plain"/> does not go with
        /// it. Sessions, and <see cref="HolePunchClient.ConnectPeers"/>, use UDP whatever is set here.
        /// </summary>
        public Transport Transport { get; set; } = Transport.Udp;

        /// <summary>
        /// The local address to bind to, which also fixes the address family; with port 0 the system chooses the port.
        /// Null, the default, leaves all to the system.
        /// </summary>
        public IPEndPoint LocalEndPoint { get; set; }

        /// <summary>
        /// A UDP socket of the caller's, bound and unconnected, that the client uses instead of making its own. It stays
        /// the caller's to close. As long as a call runs, or a session that was joined with it, nobody else may read from it.
        /// Only where <see cref="Transport"/> is <see cref="Transport.Udp"/>, and not on Windows.
        /// </summary>
        public Socket Socket { get; set; }
    }
}

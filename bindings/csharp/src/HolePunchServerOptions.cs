using System;
using System.Net;

namespace HolePunch
{
    /// <summary>How a server is to serve. The defaults are fine.</summary>
    public sealed class HolePunchServerOptions
    {
        /// <summary>
        /// Where to listen: "host:port", or ":port" for all addresses of IPv6 and IPv4. Null, the default, is ":5000"; with
        /// port 0 the system chooses one.
        /// </summary>
        public string Address { get; set; }

        /// <summary>Which clients are served, all of them by default.</summary>
        public Dialect Dialect { get; set; } = Dialect.Auto;

        /// <summary>How many threads serve, 1 to 64; null, the default, is one per core, at most 4.</summary>
        public int? Workers { get; set; }

        /// <summary>The most registrations at a time, at least 256; null, the default, is 1048576.</summary>
        public long? MaxEndpoints { get; set; }

        /// <summary>What clients may take; null, the default, is <c>new ServerLimits()</c>.</summary>
        public ServerLimits Limits { get; set; }

        /// <summary>
        /// After how much silence a plain client is forgotten, 40 seconds by default;
        /// <see cref="System.Threading.Timeout.InfiniteTimeSpan"/> is never.
        /// </summary>
        public TimeSpan PlainExpiry { get; set; } = TimeSpan.FromSeconds(40);

        /// <summary>The longest session ID that a plain client may use, 1 to 1024 bytes, 1024 by default.</summary>
        public int MaxPlainIdLength { get; set; } = 1024;

        /// <summary>
        /// On how many of the ports after its own, 0 to 4, the server tells native clients which source it sees, so that
        /// they learn what their NATs do; one more answers from. 3 by default. Ports that are taken are done without.
        /// </summary>
        public int AlternatePorts { get; set; } = 3;

        /// <summary>
        /// Another address of this host for the same purpose, of a family that the server listens on; null, the default, if
        /// there is none. The server is not made if it cannot be used.
        /// </summary>
        public IPAddress OtherAddress { get; set; }

        /// <summary>
        /// What the server allows when it forwards between native clients that find no direct way; null, the default, if it
        /// does not forward. <c>new RelayOptions()</c> has it forward within the usual limits.
        /// </summary>
        public RelayOptions Relay { get; set; }

        /// <summary>
        /// What the server allows when it takes connections over TCP, too, at the same address and on the same port numbers, and
        /// forwards between connections if it forwards at all; null, the default, if it does not. <c>new TcpOptions()</c> has it
        /// take them within the usual limits.
        /// </summary>
        public TcpOptions Tcp { get; set; }
    }
}

using System;

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

        /// <summary>
        /// After how much silence a plain client is forgotten, 40 seconds by default;
        /// <see cref="System.Threading.Timeout.InfiniteTimeSpan"/> is never.
        /// </summary>
        public TimeSpan PlainExpiry { get; set; } = TimeSpan.FromSeconds(40);

        /// <summary>The longest session ID that a plain client may use, 1 to 1024 bytes, 1024 by default.</summary>
        public int MaxPlainIdLength { get; set; } = 1024;
    }
}

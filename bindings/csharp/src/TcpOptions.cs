using System;
using HolePunch.Native;

namespace HolePunch
{
    /// <summary>What a server that takes connections over TCP allows. The defaults are fine.</summary>
    public sealed class TcpOptions
    {
        /// <summary>
        /// The most connections at a time, 1 to 65536, 4096 by default. Each takes a descriptor, and a forwarded pair takes two.
        /// </summary>
        public int MaxConnections { get; set; } = 4096;

        /// <summary>
        /// The most connections at a time from one IPv4 address, or one IPv6 network of 64 bits, 1 to 65536, 256 by default.
        /// </summary>
        public int MaxConnectionsPerAddress { get; set; } = 256;

        /// <summary>Has a server take connections.</summary>
        internal unsafe void Apply(ServerHandle server)
        {
            // One after the other, beginning with what is in range, so as to tell which one is not.
            var native = new hp_tcp_options
            {
                struct_size = (uint)sizeof(hp_tcp_options),
                max_connections = (uint)Math.Max(0, MaxConnections),
                max_connections_per_address = 1,
            };
            Set(server, native, nameof(MaxConnections), MaxConnections);
            native.max_connections_per_address = (uint)Math.Max(0, MaxConnectionsPerAddress);
            Set(server, native, nameof(MaxConnectionsPerAddress), MaxConnectionsPerAddress);
        }

        private static unsafe void Set(ServerHandle server, hp_tcp_options options, string name, object value)
        {
            Arguments.CheckSetting(NativeMethods.hp_server_set_tcp(server, &options), name, value, "1 to 65536");
        }
    }
}

using System;
using HolePunch.Native;

namespace HolePunch
{
    /// <summary>What a server that forwards between clients allows. The defaults are fine.</summary>
    public sealed class RelayOptions
    {
        /// <summary>
        /// How many ports are used for it, 1 to 64, 8 by default: from the tenth after the server's own on, or any where the
        /// system chose that one, too. One client can have so many pairs.
        /// </summary>
        public int Ports { get; set; } = 8;

        /// <summary>The most pairs at a time, of datagrams and of TCP connections each, at least 1, 1000 by default.</summary>
        public int MaxPairs { get; set; } = 1000;

        /// <summary>
        /// The payload in bytes a second of one pair, both ways together, at least 2048, 1048576 by default; null for no
        /// limit.
        /// </summary>
        public long? BytesPerSecond { get; set; } = 1048576;

        /// <summary>After so long without a datagram a pair ends, at least 1 ms, 60 seconds by default.</summary>
        public TimeSpan Idle { get; set; } = TimeSpan.FromSeconds(60);

        /// <summary>After so long every pair ends, at least 1 ms, 12 hours by default.</summary>
        public TimeSpan Lifetime { get; set; } = TimeSpan.FromHours(12);

        /// <summary>Has a server forward.</summary>
        internal unsafe void Apply(ServerHandle server)
        {
            // One after the other, beginning with what is in range, so as to tell which one is not.
            var native = new hp_relay_options
            {
                struct_size = (uint)sizeof(hp_relay_options),
                ports = (uint)Math.Max(0, Ports),
                max_pairs = 1,
                idle_ms = 1,
                lifetime_ms = 1,
            };
            Set(server, native, nameof(Ports), Ports, "1 to 64");
            native.max_pairs = (uint)Math.Max(0, MaxPairs);
            Set(server, native, nameof(MaxPairs), MaxPairs, "at least 1");
            // 0 is no limit there.
            native.bytes_per_second = BytesPerSecond == null ? 0 : (ulong)Math.Max(1, BytesPerSecond.Value);
            Set(server, native, nameof(BytesPerSecond), BytesPerSecond, "at least 2048, or null");
            native.idle_ms = Milliseconds(Idle);
            Set(server, native, nameof(Idle), Idle, "at least 1 ms");
            native.lifetime_ms = Milliseconds(Lifetime);
            Set(server, native, nameof(Lifetime), Lifetime, "at least 1 ms");
        }

        // 0, which is out of range, for what is negative.
        private static ulong Milliseconds(TimeSpan time)
        {
            return (ulong)Math.Max(0, Interop.Milliseconds(time));
        }

        private static unsafe void Set(ServerHandle server, hp_relay_options options, string name, object value, string range)
        {
            Arguments.CheckSetting(NativeMethods.hp_server_set_relay(server, &options), name, value, range);
        }
    }
}

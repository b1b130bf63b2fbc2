using System;
using HolePunch.Native;

namespace HolePunch
{
    /// <summary>
    /// What clients may take of a server. The defaults are fine. A prefix is one IPv4 address, or the first 56 bits of an IPv6
    /// address, which is what one customer is given.
    /// </summary>
    public sealed class ServerLimits
    {
        /// <summary>The most registrations of one session, 2 to 257, 257 by default.</summary>
        public int EndpointsPerSession { get; set; } = 257;

        /// <summary>The most registrations, and so sessions, from one prefix, at least 2, 8192 by default.</summary>
        public int EndpointsPerPrefix { get; set; } = 8192;

        /// <summary>
        /// How many datagrams a second are heard from one prefix, two seconds' worth at once, at least 10, 2000 by default; null
        /// for no limit.
        /// </summary>
        public int? DatagramsPerSecond { get; set; } = 2000;

        /// <summary>
        /// How many times what came from a plain client, which proves no address, it is sent at most, IP and UDP headers included,
        /// at least 1, 3 by default; null for no limit.
        /// </summary>
        public int? PlainAmplification { get; set; } = 3;

        /// <summary>The most bytes that registrations may take, at least 1 MiB, 256 MiB by default.</summary>
        public long Memory { get; set; } = 268435456;

        /// <summary>Has a server heed them.</summary>
        internal unsafe void Apply(ServerHandle server)
        {
            // Told apart here, and not by the library one after the other, so that a server that runs changes once or not at all.
            InRange(EndpointsPerSession, 2, 257, nameof(EndpointsPerSession), "2 to 257");
            InRange(EndpointsPerPrefix, 2, int.MaxValue, nameof(EndpointsPerPrefix), "at least 2");
            InRange(DatagramsPerSecond ?? int.MaxValue, 10, int.MaxValue, nameof(DatagramsPerSecond), "at least 10, or null");
            InRange(PlainAmplification ?? int.MaxValue, 1, int.MaxValue, nameof(PlainAmplification), "at least 1, or null");
            InRange(Memory, 1 << 20, long.MaxValue, nameof(Memory), "at least 1048576");
            var native = new hp_server_limits
            {
                struct_size = (uint)sizeof(hp_server_limits),
                endpoints_per_session = (uint)EndpointsPerSession,
                endpoints_per_prefix = (uint)EndpointsPerPrefix,
                datagrams_per_second = (uint)(DatagramsPerSecond ?? 0),
                plain_amplification = (uint)(PlainAmplification ?? 0),
                memory = (ulong)Memory,
            };
            Interop.Check(NativeMethods.hp_server_set_limits(server, &native));
        }

        private static void InRange(long value, long least, long most, string name, string range)
        {
            if (value < least || value > most)
                throw new ArgumentOutOfRangeException(name, value, "It must be " + range + ".");
        }
    }
}

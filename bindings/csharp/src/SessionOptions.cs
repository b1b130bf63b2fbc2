using System;
using System.Collections.Generic;
using System.Linq;
using HolePunch.Native;

namespace HolePunch
{
    /// <summary>What a session is joined with. The defaults are fine.</summary>
    public sealed class SessionOptions
    {
        /// <summary>
        /// Whether existing plain tools that the server names are let in, false by default. Nothing is encrypted,
        /// authenticated or repeated between them and us, as <see cref="SessionEvent.OfPeer.Encrypted"/> of every event
        /// about them says.
        /// </summary>
        public bool PlainPeers { get; set; }

        /// <summary>By whose public key the peers know us again; null, the default, for a fresh one.</summary>
        public Identity Identity { get; set; }

        /// <summary>The only keys that peers may hold; null, the default, for any.</summary>
        public IEnumerable<PublicKey> PinnedKeys { get; set; }

        /// <summary>
        /// Bytes of messages to one peer that may wait until it has got them, and 64 for each of their parts of 1154 bytes,
        /// 4194304 by default.
        /// </summary>
        public long MaxUnacknowledged { get; set; } = 4194304;

        /// <summary>
        /// Bytes of messages from one peer that may wait to be fetched, and 64 for each; then it waits. At least 2048,
        /// 2097152 by default.
        /// </summary>
        public long MaxUnfetched { get; set; } = 2097152;

        /// <summary>What they are in C, but for the pointers.</summary>
        internal unsafe hp_session_options ToNative()
        {
            Check(nameof(MaxUnacknowledged), MaxUnacknowledged, 0);
            Check(nameof(MaxUnfetched), MaxUnfetched, 2048);
            return new hp_session_options
            {
                struct_size = (uint)sizeof(hp_session_options),
                plain_peers = PlainPeers ? 1 : 0,
                max_unacknowledged = (ulong)MaxUnacknowledged,
                max_unfetched = (ulong)MaxUnfetched,
            };
        }

        private static void Check(string name, long value, long least)
        {
            if (value < least)
                throw new ArgumentOutOfRangeException(name, value, "It must be at least " + least + ".");
        }

        /// <summary>The pinned keys one after the other; null if any will do.</summary>
        internal byte[] PinnedBytes()
        {
            byte[] keys = PinnedKeys?.SelectMany(key => key.ToByteArray()).ToArray();
            if (keys != null && keys.Length == 0)
                throw new ArgumentException("It must be null, or there must be a key.", nameof(PinnedKeys));
            return keys;
        }
    }
}

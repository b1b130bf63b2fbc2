using System;
using System.Linq;
using System.Threading;
using HolePunch.Native;

namespace HolePunch
{
    public sealed partial class HolePunchClient
    {
        /// <summary>
        /// A key for a protocol that is run over the hole to a peer, 32 bytes: the same on both sides, different for each label,
        /// known to nobody else, and forward secret. Another one after each call.
        /// </summary>
        /// <param name="peer">A peer of the last call.</param>
        /// <param name="label">What the key is for.</param>
        /// <exception cref="HolePunchException">
        /// There is no such peer, as when it is of an earlier call, or it is not connected and authenticated, as in the plain
        /// dialect (<see cref="HolePunchError.NotFound"/>).
        /// </exception>
        public unsafe byte[] ExportKey(Peer peer, byte[] label)
        {
            if (peer == null)
                throw new ArgumentNullException(nameof(peer));
            Enter(CancellationToken.None);
            try
            {
                // Not found, it is beyond the list for the library, too.
                var index = (uint)found.ToList().IndexOf(peer);
                return Interop.ExportKey(label, (start, length, key) =>
                    NativeMethods.hp_peer_export_key(handle, index, start, length, key));
            }
            finally
            {
                turn.Release();
            }
        }

        /// <summary>
        /// A key for a protocol that is run over the hole to a peer, whose label is taken as UTF-8: see
        /// <see cref="ExportKey(Peer, byte[])"/>.
        /// </summary>
        public byte[] ExportKey(Peer peer, string label)
        {
            return ExportKey(peer, Arguments.Utf8(label, nameof(label)));
        }
    }
}

using System.Net;

namespace HolePunch
{
    /// <summary>A datagram that was received.</summary>
    public sealed class Datagram
    {
        internal Datagram(IPEndPoint from, byte[] data)
        {
            From = from;
            Data = data;
        }

        /// <summary>Who sent it.</summary>
        public IPEndPoint From { get; }

        /// <summary>What was sent.</summary>
        public byte[] Data { get; }
    }

    /// <summary>Tells the library's own datagrams apart, for programs that read a bare socket.</summary>
    public static class ControlPacket
    {
        /// <summary>
        /// Whether a datagram is the library's own and to be dropped: a peer may go on sending some for a moment. An
        /// application's protocol must not use an empty datagram, "SYN" or "ACK" as whole datagrams, which are control
        /// packets of the plain dialect.
        /// </summary>
        public static bool Is(byte[] datagram)
        {
            if (datagram == null)
                throw new System.ArgumentNullException(nameof(datagram));
            return Is(datagram, 0, datagram.Length);
        }

        /// <summary>Whether a part of a buffer is a datagram of the library's own: see <see cref="Is(byte[])"/>.</summary>
        public static unsafe bool Is(byte[] buffer, int offset, int count)
        {
            Arguments.CheckRange(buffer, offset, count);
            Library.EnsureUsable();
            fixed (byte* start = buffer)
                return Is(count == 0 ? null : start + offset, count);
        }

#if NETSTANDARD2_1_OR_GREATER || NET5_0_OR_GREATER
        /// <summary>Whether a datagram is the library's own: see <see cref="Is(byte[])"/>.</summary>
        public static unsafe bool Is(System.ReadOnlySpan<byte> datagram)
        {
            Library.EnsureUsable();
            fixed (byte* start = &System.Runtime.InteropServices.MemoryMarshal.GetReference(datagram))
                return Is(start, datagram.Length);
        }
#endif

        internal static unsafe bool Is(byte* datagram, int length)
        {
            return Native.NativeMethods.hp_is_control_packet(datagram, (System.UIntPtr)length) != 0;
        }
    }
}

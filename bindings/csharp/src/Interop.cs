using System;
using System.Collections.Generic;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Text;

namespace HolePunch.Native
{
    /// <summary>Turns what the C ABI speaks of into what .NET speaks of, and back.</summary>
    internal static unsafe class Interop
    {
        /// <summary>A NUL-terminated UTF-8 string.</summary>
        internal static string Text(byte* text, int capacity = int.MaxValue)
        {
            int length = 0;
            while (length < capacity && text[length] != 0)
                length++;
            return Encoding.UTF8.GetString(Bytes(text, length));
        }

        /// <summary>A copy; the start may be null if there are none.</summary>
        internal static byte[] Bytes(byte* start, int length)
        {
            var bytes = new byte[length];
            if (length > 0)
                Marshal.Copy((IntPtr)start, bytes, 0, length);
            return bytes;
        }

        internal static string Hexadecimal(byte[] bytes)
        {
            return BitConverter.ToString(bytes).Replace("-", "").ToLowerInvariant();
        }

        /// <summary>UTF-8 with a NUL at its end; an argument with a NUL inside would be cut there.</summary>
        internal static byte[] NulTerminated(string text, string parameter)
        {
            if (text.IndexOf('\0') >= 0)
                throw new ArgumentException("It must not contain a NUL character.", parameter);
            return Encoding.UTF8.GetBytes(text + "\0");
        }

        /// <summary>Rounded up, so that a wait is never shorter than asked for; -1 for what is negative.</summary>
        internal static long Milliseconds(TimeSpan time)
        {
            if (time < TimeSpan.Zero)
                return -1;
            long rest = time.Ticks % TimeSpan.TicksPerMillisecond;
            return time.Ticks / TimeSpan.TicksPerMillisecond + (rest > 0 ? 1 : 0);
        }

        /// <summary>Null if it is not known.</summary>
        internal static TimeSpan? RoundTripTime(uint microseconds)
        {
            if (microseconds == NativeMethods.HP_RTT_UNKNOWN)
                return null;
            return TimeSpan.FromTicks(microseconds * (TimeSpan.TicksPerMillisecond / 1000));
        }

        internal static TimeSpan Time(ulong milliseconds)
        {
            const ulong most = (ulong)(long.MaxValue / TimeSpan.TicksPerMillisecond);
            return TimeSpan.FromTicks((long)Math.Min(milliseconds, most) * TimeSpan.TicksPerMillisecond);
        }

        internal static hp_addr Address(IPEndPoint endPoint)
        {
            hp_addr address = default(hp_addr);
            IPAddress ip = endPoint.Address;
            if (ip.IsIPv4MappedToIPv6)
                ip = ip.MapToIPv4();
            bool v4 = ip.AddressFamily == AddressFamily.InterNetwork;
            address.family = v4 ? NativeMethods.HP_FAMILY_IPV4 : NativeMethods.HP_FAMILY_IPV6;
            address.port = (ushort)endPoint.Port;
            address.scope = v4 ? 0 : (uint)ip.ScopeId;
            byte[] bytes = ip.GetAddressBytes();
            for (int i = 0; i < bytes.Length; i++)
                address.ip[i] = bytes[i];
            return address;
        }

        /// <summary>Null for an address of no family.</summary>
        internal static IPEndPoint EndPoint(hp_addr* address)
        {
            if (address->family == NativeMethods.HP_FAMILY_NONE)
                return null;
            byte[] bytes = Bytes(address->ip, address->family == NativeMethods.HP_FAMILY_IPV4 ? 4 : 16);
            IPAddress ip = bytes.Length == 4 ? new IPAddress(bytes) : new IPAddress(bytes, address->scope);
            return new IPEndPoint(ip, address->port);
        }

        internal delegate hp_status KeyExport(byte* label, UIntPtr length, byte* key);

        /// <summary>The key for a label.</summary>
        internal static byte[] ExportKey(byte[] label, KeyExport export)
        {
            if (label == null)
                throw new ArgumentNullException(nameof(label));
            var key = new byte[NativeMethods.HP_KEY_LEN];
            fixed (byte* start = label, into = key)
                Check(export(start, (UIntPtr)label.Length, into));
            return key;
        }

        internal static hp_error Detail()
        {
            hp_error detail = default(hp_error);
            detail.struct_size = (uint)sizeof(hp_error);
            return detail;
        }

        /// <summary>The exception for a status that is not success.</summary>
        internal static HolePunchException Failure(hp_status status, IReadOnlyList<Peer> peers = null)
        {
            string message = Text(NativeMethods.hp_status_message((int)status));
            return new HolePunchException((HolePunchError)status, message, 0, peers);
        }

        /// <summary>The exception for a status that is not success, in the call's own words.</summary>
        internal static HolePunchException Failure(hp_status status, hp_error* detail, IReadOnlyList<Peer> peers = null)
        {
            if (detail->status != (int)status)
                return Failure(status, peers);
            string message = Text(detail->message, NativeMethods.HP_ERROR_MESSAGE_LEN);
            return new HolePunchException((HolePunchError)status, message, detail->os_error, peers);
        }

        internal static void Check(hp_status status)
        {
            if (status != hp_status.HP_STATUS_OK)
                throw Failure(status);
        }
    }
}

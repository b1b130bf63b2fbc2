using System;
using System.Net;
using System.Net.Sockets;
using System.Text;
using HolePunch.Native;

namespace HolePunch
{
    /// <summary>Checks of arguments, which throw what .NET's own methods throw.</summary>
    internal static class Arguments
    {
        internal static void CheckRange(byte[] buffer, int offset, int count)
        {
            if (buffer == null)
                throw new ArgumentNullException(nameof(buffer));
            if (offset < 0 || offset > buffer.Length)
                throw new ArgumentOutOfRangeException(nameof(offset));
            if (count < 0 || count > buffer.Length - offset)
                throw new ArgumentOutOfRangeException(nameof(count));
        }

        internal static void CheckLength(byte[] bytes, int length, string parameter)
        {
            if (bytes == null)
                throw new ArgumentNullException(parameter);
            if (bytes.Length != length)
                throw new ArgumentException("It has " + length + " bytes.", parameter);
        }

        internal static void CheckSessionId(byte[] id)
        {
            if (id == null)
                throw new ArgumentNullException(nameof(id));
            if (id.Length < 1 || id.Length > SessionId.MaxLength)
                throw new ArgumentException("A session ID has 1 to " + SessionId.MaxLength + " bytes.", nameof(id));
        }

        internal static byte[] SessionIdBytes(string id)
        {
            return Utf8(id, nameof(id));
        }

        internal static byte[] Utf8(string text, string parameter)
        {
            if (text == null)
                throw new ArgumentNullException(parameter);
            return Encoding.UTF8.GetBytes(text);
        }

        internal static int CheckPeerCount(int count, string parameter)
        {
            if (count < 1 || count > HolePunchClient.MaxPeers)
                throw new ArgumentOutOfRangeException(parameter, count,
                    "It must be 1 to " + HolePunchClient.MaxPeers + ".");
            return count;
        }

        internal static IPEndPoint CheckEndPoint(IPEndPoint endPoint, string parameter)
        {
            if (endPoint == null)
                throw new ArgumentNullException(parameter);
            AddressFamily family = endPoint.AddressFamily;
            if (family != AddressFamily.InterNetwork && family != AddressFamily.InterNetworkV6)
                throw new ArgumentException("It must be of IPv4 or IPv6.", parameter);
            return endPoint;
        }

        internal static Dialect CheckDialect(Dialect dialect, string parameter)
        {
            if (dialect < Dialect.Auto || dialect > Dialect.Plain)
                throw new ArgumentOutOfRangeException(parameter, dialect, "There is no such dialect.");
            return dialect;
        }

        /// <summary>A setting that the library was asked to take.</summary>
        internal static void CheckSetting(hp_status status, string name, object value, string range)
        {
            if (status == hp_status.HP_STATUS_INVALID_ARGUMENT)
                throw new ArgumentOutOfRangeException(name, value, "It must be " + range + ".");
            Interop.Check(status);
        }
    }
}

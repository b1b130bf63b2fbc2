using System.Net;
using System.Net.Sockets;

namespace HolePunch.Tests
{
    internal static class Sockets
    {
        /// <summary>A UDP socket on loopback.</summary>
        internal static Socket Bound()
        {
            var socket = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
            socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
            return socket;
        }
    }
}

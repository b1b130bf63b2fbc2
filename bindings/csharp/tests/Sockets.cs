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

        /// <summary>Closes a connection as if it had failed, with an RST.</summary>
        internal static void Break(Socket socket)
        {
            socket.LingerState = new LingerOption(true, 0);
            socket.Close();
        }
    }
}

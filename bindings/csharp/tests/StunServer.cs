using System;
using System.Linq;
using System.Net;
using System.Net.Sockets;
using System.Threading;
using System.Threading.Tasks;

namespace HolePunch.Tests
{
    /// <summary>Answers STUN questions on loopback (RFC 8489), over UDP and TCP, with MAPPED-ADDRESS.</summary>
    internal sealed class StunServer : IDisposable
    {
        private readonly TcpListener listener;
        private readonly UdpClient socket;

        internal StunServer()
        {
            listener = new TcpListener(IPAddress.Loopback, 0);
            listener.Start();
            socket = new UdpClient((IPEndPoint)listener.LocalEndpoint);
            Start(AnswerDatagrams);
            Start(AnswerStreams);
        }

        internal string Address => listener.LocalEndpoint.ToString();

        private static byte[] Answer(byte[] request, EndPoint source)
        {
            var client = (IPEndPoint)source;
            byte[] head = { 1, 1, 0, 12 }, attribute = { 0, 1, 0, 8, 0, 1, (byte)(client.Port >> 8), (byte)client.Port };
            return head.Concat(request.Skip(4).Take(16)).Concat(attribute).Concat(client.Address.GetAddressBytes()).ToArray();
        }

        // Until the sockets are closed.
        private static void Start(Action answer)
        {
            new Thread(() =>
            {
                try
                {
                    answer();
                }
                catch (Exception error) when (error is SocketException || error is ObjectDisposedException)
                {
                }
            }) { IsBackground = true }.Start();
        }

        private void AnswerDatagrams()
        {
            for (;;)
            {
                IPEndPoint source = null;
                byte[] answer = Answer(socket.Receive(ref source), source);
                socket.Send(answer, answer.Length, source);
            }
        }

        private void AnswerStreams()
        {
            for (;;)
            {
                TcpClient client = listener.AcceptTcpClient();
                Task.Run(() =>
                {
                    using (client)
                    {
                        var buffer = new byte[20];
                        int length = 0, more = 1;
                        for (; length < buffer.Length && more > 0; length += more)
                            more = client.GetStream().Read(buffer, length, buffer.Length - length);
                        byte[] answer = Answer(buffer, client.Client.RemoteEndPoint);
                        client.GetStream().Write(answer, 0, answer.Length);
                        // Until the other side has gone.
                        client.GetStream().Read(buffer, 0, buffer.Length);
                    }
                });
            }
        }

        public void Dispose()
        {
            listener.Stop();
            socket.Close();
        }
    }
}

using System;
using System.Net;
using System.Threading;
using System.Threading.Tasks;

namespace HolePunch
{
    /// <summary>
    /// A connection to one peer that carries datagrams: they may be lost, doubled or reordered, and nothing is encrypted.
    /// What the peer sent early comes first; the library's own datagrams and those of others are dropped. Something should
    /// be sent at least every 25 seconds, so that NATs keep it open. All members may be used from any thread.
    /// </summary>
    public sealed class HoleConnection : IDisposable
    {
        // It knows the keys.
        private readonly HolePunchClient client;

        private HoleConnection(HolePunchClient client, Peer peer)
        {
            this.client = client;
            Peer = peer;
            Socket = client.TakeSocket(peer);
            Socket.KeepOnly(peer.EndPoint);
        }

        private static HolePunchClient Client(string server, HolePunchClientOptions options)
        {
            if (options != null && options.Transport != Transport.Udp)
                throw new ArgumentException("A HoleConnection carries datagrams, over UDP only: for TCP there is "
                    + nameof(HolePunchClient) + "." + nameof(HolePunchClient.TakeStream) + ".", nameof(options));
            return new HolePunchClient(server, options);
        }

        /// <summary>
        /// Meets the one other program that connects with the same server and ID, and returns a connection to it. Blocks
        /// until the hole is open, time is up or the call is cancelled.
        /// </summary>
        /// <param name="server">The rendezvous server as "host:port".</param>
        /// <param name="id">The session ID, 1 to 1000 bytes; the same for both.</param>
        /// <param name="options">How to connect; null for the defaults. Its transport must be UDP.</param>
        /// <param name="cancellationToken">Ends the call at once.</param>
        /// <exception cref="HolePunchException">It failed.</exception>
        /// <exception cref="ArgumentException">An option makes no sense, or the transport is not UDP alone.</exception>
        /// <exception cref="OperationCanceledException">It was cancelled.</exception>
        public static HoleConnection Connect(string server, byte[] id, HolePunchClientOptions options = null,
            CancellationToken cancellationToken = default(CancellationToken))
        {
            HolePunchClient client = Client(server, options);
            try
            {
                return new HoleConnection(client, client.Connect(id, 1, cancellationToken)[0]);
            }
            catch
            {
                client.Dispose();
                throw;
            }
        }

        /// <summary>
        /// Meets the one other program with the same ID, which is sent as UTF-8: see
        /// <see cref="Connect(string, byte[], HolePunchClientOptions, CancellationToken)"/>.
        /// </summary>
        public static HoleConnection Connect(string server, string id, HolePunchClientOptions options = null,
            CancellationToken cancellationToken = default(CancellationToken))
        {
            return Connect(server, Arguments.SessionIdBytes(id), options, cancellationToken);
        }

        /// <summary>
        /// Meets the one other program with the same ID without blocking the thread: see
        /// <see cref="Connect(string, byte[], HolePunchClientOptions, CancellationToken)"/>.
        /// </summary>
        public static async Task<HoleConnection> ConnectAsync(string server, byte[] id, HolePunchClientOptions options = null,
            CancellationToken cancellationToken = default(CancellationToken))
        {
            HolePunchClient client = Client(server, options);
            try
            {
                var peers = await client.ConnectAsync(id, 1, cancellationToken).ConfigureAwait(false);
                return new HoleConnection(client, peers[0]);
            }
            catch
            {
                client.Dispose();
                throw;
            }
        }

        /// <summary>
        /// Meets the one other program with the same ID, which is sent as UTF-8, without blocking the thread: see
        /// <see cref="Connect(string, byte[], HolePunchClientOptions, CancellationToken)"/>.
        /// </summary>
        public static Task<HoleConnection> ConnectAsync(string server, string id, HolePunchClientOptions options = null,
            CancellationToken cancellationToken = default(CancellationToken))
        {
            return ConnectAsync(server, Arguments.SessionIdBytes(id), options, cancellationToken);
        }

        /// <summary>What is known of the other side.</summary>
        public Peer Peer { get; }

        /// <summary>The socket, which is closed together with this object.</summary>
        public HoleSocket Socket { get; }

        /// <summary>How long receiving waits: see <see cref="HoleSocket.ReceiveTimeout"/>.</summary>
        public TimeSpan ReceiveTimeout
        {
            get { return Socket.ReceiveTimeout; }
            set { Socket.ReceiveTimeout = value; }
        }

        /// <summary>The address that the socket is bound to.</summary>
        public IPEndPoint LocalEndPoint => Socket.LocalEndPoint;

        /// <summary>The peer's address.</summary>
        public IPEndPoint RemoteEndPoint => Peer.EndPoint;

        /// <summary>
        /// A key for a protocol of one's own over the connection, 32 bytes: see
        /// <see cref="HolePunchClient.ExportKey(Peer, byte[])"/>.
        /// </summary>
        public byte[] ExportKey(byte[] label)
        {
            return client.ExportKey(Peer, label);
        }

        /// <summary>
        /// A key for a protocol of one's own over the connection, whose label is taken as UTF-8: see
        /// <see cref="HolePunchClient.ExportKey(Peer, byte[])"/>.
        /// </summary>
        public byte[] ExportKey(string label)
        {
            return client.ExportKey(Peer, label);
        }

        /// <summary>Sends one datagram to the peer.</summary>
        public void Send(byte[] datagram)
        {
            Socket.Send(datagram, Peer.EndPoint);
        }

        /// <summary>Sends a part of a buffer to the peer as one datagram.</summary>
        public void Send(byte[] buffer, int offset, int count)
        {
            Socket.Send(buffer, offset, count, Peer.EndPoint);
        }

        /// <summary>Sends one datagram to the peer without blocking the thread.</summary>
        public Task SendAsync(byte[] datagram, CancellationToken cancellationToken = default(CancellationToken))
        {
            return Socket.SendAsync(datagram, Peer.EndPoint, cancellationToken);
        }

        /// <summary>Sends a part of a buffer to the peer as one datagram without blocking the thread.</summary>
        public Task SendAsync(byte[] buffer, int offset, int count,
            CancellationToken cancellationToken = default(CancellationToken))
        {
            return Socket.SendAsync(buffer, offset, count, Peer.EndPoint, cancellationToken);
        }

        /// <summary>Receives one datagram of the peer's.</summary>
        /// <exception cref="TimeoutException"><see cref="ReceiveTimeout"/> is over.</exception>
        /// <exception cref="ObjectDisposedException">It is closed, or was meanwhile.</exception>
        public byte[] Receive()
        {
            return Socket.Receive().Data;
        }

        /// <summary>Receives one datagram of the peer's without blocking the thread.</summary>
        /// <exception cref="TimeoutException"><see cref="ReceiveTimeout"/> is over.</exception>
        /// <exception cref="OperationCanceledException">It was cancelled; nothing is lost.</exception>
        /// <exception cref="ObjectDisposedException">It is closed, or was meanwhile.</exception>
        public async Task<byte[]> ReceiveAsync(CancellationToken cancellationToken = default(CancellationToken))
        {
            return (await Socket.ReceiveAsync(cancellationToken).ConfigureAwait(false)).Data;
        }

        /// <summary>Closes the socket. Whoever waits for a datagram gets an <see cref="ObjectDisposedException"/>.</summary>
        public void Dispose()
        {
            Socket.Dispose();
            client.Dispose();
        }
    }
}

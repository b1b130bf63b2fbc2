using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Threading;
using System.Threading.Tasks;
using HolePunch.Native;

namespace HolePunch
{
    /// <summary>
    /// A UDP socket with holes to one or more peers, which <see cref="HolePunchClient.TakeSocket"/> or
    /// <see cref="AddressConnection.TakeSocket"/> has moved to the caller. What peers sent early comes first; the library's
    /// own datagrams and those of strangers are dropped. Datagrams may be lost, doubled or reordered, and nothing is
    /// encrypted. Something should be sent to each peer at least every 25 seconds, so that NATs keep the holes open. All
    /// members may be used from any thread.
    /// </summary>
    public sealed class HoleSocket : IDisposable
    {
        private const int MaxDatagram = 65535;
        [ThreadStatic] private static byte[] scratch;

        private readonly SafeHandle descriptor;
        private readonly Queue<Datagram> early;
        private readonly HashSet<IPEndPoint> peers;
        private long receiveTimeout = Timeout.InfiniteTimeSpan.Ticks;

        internal HoleSocket(SafeHandle descriptor, Socket given, IEnumerable<IPEndPoint> peers, Queue<Datagram> early)
        {
            this.descriptor = descriptor;
            this.peers = new HashSet<IPEndPoint>(peers);
            this.early = early;
#if NET5_0_OR_GREATER
            this.given = given;
#endif
        }

        /// <summary>Makes all but one of the peers strangers, before anybody uses the socket.</summary>
        internal void KeepOnly(IPEndPoint peer)
        {
            peers.IntersectWith(new[] { peer });
            Datagram[] all = early.ToArray();
            early.Clear();
            foreach (Datagram datagram in all)
            {
                if (datagram.From.Equals(peer))
                    early.Enqueue(datagram);
            }
        }

        /// <summary>
        /// How long receiving waits before it throws a <see cref="TimeoutException"/>;
        /// <see cref="Timeout.InfiniteTimeSpan"/>, the default, is for ever.
        /// </summary>
        public TimeSpan ReceiveTimeout
        {
            get { return TimeSpan.FromTicks(Interlocked.Read(ref receiveTimeout)); }
            set { Interlocked.Exchange(ref receiveTimeout, value.Ticks); }
        }

        /// <summary>
        /// Whether to receive from others than the peers to whom this socket has a hole, as when a peer's address may change.
        /// Among them is the server, in the plain dialect.
        /// </summary>
        public bool AcceptsStrangers { get; set; }

        /// <summary>The address that the socket is bound to.</summary>
        public IPEndPoint LocalEndPoint
        {
            get
            {
                ThrowIfClosed();
                return Unix.LocalEndPoint(descriptor);
            }
        }

        /// <summary>Sends one datagram.</summary>
        /// <exception cref="SocketException">The system has refused it.</exception>
        public void Send(byte[] datagram, IPEndPoint to)
        {
            if (datagram == null)
                throw new ArgumentNullException(nameof(datagram));
            Send(datagram, 0, datagram.Length, to);
        }

        /// <summary>Sends a part of a buffer as one datagram.</summary>
        /// <exception cref="SocketException">The system has refused it.</exception>
        public void Send(byte[] buffer, int offset, int count, IPEndPoint to)
        {
            Arguments.CheckRange(buffer, offset, count);
            Arguments.CheckEndPoint(to, nameof(to));
            while (!TrySend(buffer, offset, count, to))
                WhenWritable(CancellationToken.None).GetAwaiter().GetResult();
        }

        /// <summary>Sends one datagram without blocking the thread.</summary>
        /// <exception cref="SocketException">The system has refused it.</exception>
        public Task SendAsync(byte[] datagram, IPEndPoint to,
            CancellationToken cancellationToken = default(CancellationToken))
        {
            if (datagram == null)
                throw new ArgumentNullException(nameof(datagram));
            return SendAsync(datagram, 0, datagram.Length, to, cancellationToken);
        }

        /// <summary>Sends a part of a buffer as one datagram without blocking the thread.</summary>
        /// <exception cref="SocketException">The system has refused it.</exception>
        public Task SendAsync(byte[] buffer, int offset, int count, IPEndPoint to,
            CancellationToken cancellationToken = default(CancellationToken))
        {
            Arguments.CheckRange(buffer, offset, count);
            Arguments.CheckEndPoint(to, nameof(to));
            return SendWhenReady(buffer, offset, count, to, cancellationToken);
        }

        private async Task SendWhenReady(byte[] buffer, int offset, int count, IPEndPoint to, CancellationToken token)
        {
            token.ThrowIfCancellationRequested();
            while (!TrySend(buffer, offset, count, to))
                await WhenWritable(token).ConfigureAwait(false);
        }

        private bool TrySend(byte[] buffer, int offset, int count, IPEndPoint to)
        {
            ThrowIfClosed();
            return Unix.TrySend(descriptor, buffer, offset, count, to);
        }

        private Task WhenWritable(CancellationToken token)
        {
            return Readiness.WhenReady(descriptor, nameof(HoleSocket), Unix.POLLOUT, Timeout.InfiniteTimeSpan, token);
        }

        /// <summary>Receives one datagram.</summary>
        /// <exception cref="TimeoutException"><see cref="ReceiveTimeout"/> is over.</exception>
        /// <exception cref="ObjectDisposedException">The socket is closed, or was meanwhile.</exception>
        public Datagram Receive()
        {
            Stopwatch waited = Stopwatch.StartNew();
            Datagram datagram;
            // Not by way of ReceiveAsync, which needs a thread of the pool to go on.
            while (!TryReceive(out datagram))
                CheckTime(WhenReadable(waited, CancellationToken.None).GetAwaiter().GetResult());
            return datagram;
        }

        /// <summary>Receives one datagram into a buffer. What does not fit is lost.</summary>
        /// <returns>How many bytes are in the buffer.</returns>
        /// <exception cref="TimeoutException"><see cref="ReceiveTimeout"/> is over.</exception>
        /// <exception cref="ObjectDisposedException">The socket is closed, or was meanwhile.</exception>
        public int Receive(byte[] buffer, int offset, int count, out IPEndPoint from)
        {
            Arguments.CheckRange(buffer, offset, count);
            Datagram datagram = Receive();
            from = datagram.From;
            int length = Math.Min(count, datagram.Data.Length);
            Buffer.BlockCopy(datagram.Data, 0, buffer, offset, length);
            return length;
        }

        /// <summary>Receives one datagram without blocking the thread.</summary>
        /// <exception cref="TimeoutException"><see cref="ReceiveTimeout"/> is over.</exception>
        /// <exception cref="OperationCanceledException">It was cancelled; nothing is lost.</exception>
        /// <exception cref="ObjectDisposedException">The socket is closed, or was meanwhile.</exception>
        public async Task<Datagram> ReceiveAsync(CancellationToken cancellationToken = default(CancellationToken))
        {
            cancellationToken.ThrowIfCancellationRequested();
            Stopwatch waited = Stopwatch.StartNew();
            Datagram datagram;
            while (!TryReceive(out datagram))
                CheckTime(await WhenReadable(waited, cancellationToken).ConfigureAwait(false));
            return datagram;
        }

        // Datagrams that are dropped make the socket ready, too, so that there may be several waits.
        private Task<bool> WhenReadable(Stopwatch waited, CancellationToken token)
        {
            TimeSpan left = ReceiveTimeout;
            if (left >= TimeSpan.Zero)
                left = left > waited.Elapsed ? left - waited.Elapsed : TimeSpan.Zero;
            return Readiness.WhenReady(descriptor, nameof(HoleSocket), Unix.POLLIN, left, token);
        }

        private static void CheckTime(bool isReady)
        {
            if (!isReady)
                throw new TimeoutException("No datagram has come in time.");
        }

        private bool TryReceive(out Datagram datagram)
        {
            ThrowIfClosed();
            lock (early)
            {
                if (early.Count > 0)
                {
                    datagram = early.Dequeue();
                    return true;
                }
            }
            scratch = scratch ?? new byte[MaxDatagram];
            IPEndPoint from;
            int length;
            while ((length = Unix.TryReceive(descriptor, scratch, out from)) >= 0)
            {
                if (!AcceptsStrangers && !peers.Contains(from))
                    continue;
                var data = new byte[length];
                Buffer.BlockCopy(scratch, 0, data, 0, length);
                datagram = new Datagram(from, data);
                return true;
            }
            datagram = null;
            return false;
        }

#if NET5_0_OR_GREATER
        private readonly Socket given;
        private Socket socket;

        /// <summary>
        /// The socket as .NET's own, unconnected; the one that was given by <see cref="HolePunchClientOptions.Socket"/>,
        /// if one was. Otherwise, closing either closes both. Whoever reads from it drops what <see cref="ControlPacket"/>
        /// tells apart; what peers sent early comes from <see cref="Receive()"/> only, or from
        /// <see cref="HolePunchClient.ReadEarlyDatagrams"/> before the socket is taken.
        /// </summary>
        public Socket Socket
        {
            get
            {
                lock (early)
                {
                    ThrowIfClosed();
                    return given ?? socket ?? (socket = new Socket((SafeSocketHandle)descriptor));
                }
            }
        }
#endif

        /// <summary>
        /// Moves the descriptor to the caller, who is to close it, for use with other native libraries. This object is
        /// closed then.
        /// </summary>
        public IntPtr TakeDescriptor()
        {
#if NET5_0_OR_GREATER
            lock (early)
            {
                if (socket != null)
                    throw new InvalidOperationException("The socket is in use as .NET's own.");
            }
#endif
            return Readiness.Detach(descriptor, nameof(HoleSocket));
        }

        /// <summary>
        /// Closes the socket. Whoever waits for a datagram gets an <see cref="ObjectDisposedException"/>. One that was
        /// given by <see cref="HolePunchClientOptions.Socket"/> stays open.
        /// </summary>
        public void Dispose()
        {
#if NET5_0_OR_GREATER
            lock (early)
                socket?.Dispose();
#endif
            Readiness.Close(descriptor);
        }

        private void ThrowIfClosed()
        {
            if (descriptor.IsClosed)
                throw new ObjectDisposedException(nameof(HoleSocket));
        }
    }
}

using System;
using System.IO;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Threading;
using System.Threading.Tasks;
using HolePunch.Native;

namespace HolePunch
{
    /// <summary>
    /// A TCP connection that <see cref="HolePunchClient.TakeStream"/> or <see cref="AddressConnection.TakeStream"/> has moved
    /// to the caller. Nothing is encrypted. One thread may read while another one writes.
    /// </summary>
    public sealed class HoleStream : Stream
    {
        private readonly SafeHandle descriptor;

        internal HoleStream(SafeHandle descriptor, IPEndPoint remote)
        {
            this.descriptor = descriptor;
            LocalEndPoint = Unix.LocalEndPoint(descriptor);
            RemoteEndPoint = remote;
        }

        /// <summary>Our own end.</summary>
        public IPEndPoint LocalEndPoint { get; }

        /// <summary>The peer's.</summary>
        public IPEndPoint RemoteEndPoint { get; }

        /// <summary>True until it is closed.</summary>
        public override bool CanRead => !descriptor.IsClosed;

        /// <summary>True until it is closed.</summary>
        public override bool CanWrite => !descriptor.IsClosed;

        /// <summary>False.</summary>
        public override bool CanSeek => false;

        /// <summary>Not supported.</summary>
        public override long Length => throw new NotSupportedException();

        /// <summary>Not supported.</summary>
        public override long Position
        {
            get { throw new NotSupportedException(); }
            set { throw new NotSupportedException(); }
        }

        /// <summary>Not supported.</summary>
        public override long Seek(long offset, SeekOrigin origin)
        {
            throw new NotSupportedException();
        }

        /// <summary>Not supported.</summary>
        public override void SetLength(long value)
        {
            throw new NotSupportedException();
        }

        /// <summary>Does nothing: what is written is sent at once.</summary>
        public override void Flush()
        {
        }

        /// <summary>Reads what has come, at most so many bytes, and blocks until something has.</summary>
        /// <returns>How many bytes were read; 0 if the peer has closed the connection.</returns>
        /// <exception cref="IOException">The connection has failed; the inner exception says why.</exception>
        /// <exception cref="ObjectDisposedException">The stream is closed, or was meanwhile.</exception>
        public override int Read(byte[] buffer, int offset, int count)
        {
            Arguments.CheckRange(buffer, offset, count);
            int length;
            while ((length = Try(Unix.TryReceive, buffer, offset, count)) < 0)
                WhenReady(Unix.POLLIN, CancellationToken.None).GetAwaiter().GetResult();
            return length;
        }

        /// <summary>
        /// Reads what has come without blocking the thread: see <see cref="Read(byte[], int, int)"/>. Nothing is lost if it
        /// is cancelled.
        /// </summary>
        public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken)
        {
            Arguments.CheckRange(buffer, offset, count);
            return ReadWhenReady(buffer, offset, count, cancellationToken);
        }

        private async Task<int> ReadWhenReady(byte[] buffer, int offset, int count, CancellationToken token)
        {
            token.ThrowIfCancellationRequested();
            int length;
            while ((length = Try(Unix.TryReceive, buffer, offset, count)) < 0)
                await WhenReady(Unix.POLLIN, token).ConfigureAwait(false);
            return length;
        }

        /// <summary>Writes bytes, and blocks until the system has taken all of them.</summary>
        /// <exception cref="IOException">The connection has failed; the inner exception says why.</exception>
        /// <exception cref="ObjectDisposedException">The stream is closed, or was meanwhile.</exception>
        public override void Write(byte[] buffer, int offset, int count)
        {
            Arguments.CheckRange(buffer, offset, count);
            for (int sent = 0; sent < count;)
            {
                int more = Try(Unix.TrySend, buffer, offset + sent, count - sent);
                if (more < 0)
                    WhenReady(Unix.POLLOUT, CancellationToken.None).GetAwaiter().GetResult();
                else
                    sent += more;
            }
        }

        /// <summary>
        /// Writes bytes without blocking the thread: see <see cref="Write(byte[], int, int)"/>. If it is cancelled, a part
        /// may have been sent.
        /// </summary>
        public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken)
        {
            Arguments.CheckRange(buffer, offset, count);
            return WriteWhenReady(buffer, offset, count, cancellationToken);
        }

        private async Task WriteWhenReady(byte[] buffer, int offset, int count, CancellationToken token)
        {
            token.ThrowIfCancellationRequested();
            for (int sent = 0; sent < count;)
            {
                int more = Try(Unix.TrySend, buffer, offset + sent, count - sent);
                if (more < 0)
                    await WhenReady(Unix.POLLOUT, token).ConfigureAwait(false);
                else
                    sent += more;
            }
        }

        private delegate int Transfer(SafeHandle stream, byte[] buffer, int offset, int count);

        private int Try(Transfer transfer, byte[] buffer, int offset, int count)
        {
            if (descriptor.IsClosed)
                throw new ObjectDisposedException(nameof(HoleStream));
            try
            {
                return transfer(descriptor, buffer, offset, count);
            }
            catch (SocketException error)
            {
                throw new IOException(error.Message, error);
            }
        }

        private Task WhenReady(short events, CancellationToken token)
        {
            return Readiness.WhenReady(descriptor, nameof(HoleStream), events, Timeout.InfiniteTimeSpan, token);
        }

#if NET5_0_OR_GREATER
        private readonly object gate = new object();
        private Socket socket;

        /// <summary>The socket as .NET's own, connected. Closing either closes both.</summary>
        public Socket Socket
        {
            get
            {
                lock (gate)
                {
                    if (descriptor.IsClosed)
                        throw new ObjectDisposedException(nameof(HoleStream));
                    return socket ?? (socket = new Socket((SafeSocketHandle)descriptor));
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
            lock (gate)
            {
                if (socket != null)
                    throw new InvalidOperationException("The socket is in use as .NET's own.");
            }
#endif
            return Readiness.Detach(descriptor, nameof(HoleStream));
        }

        /// <summary>
        /// Closes the connection. Whoever waits for it gets an <see cref="ObjectDisposedException"/>.
        /// </summary>
        protected override void Dispose(bool disposing)
        {
            if (disposing)
            {
#if NET5_0_OR_GREATER
                lock (gate)
                    socket?.Dispose();
#endif
                Readiness.Close(descriptor);
            }
            base.Dispose(disposing);
        }
    }
}

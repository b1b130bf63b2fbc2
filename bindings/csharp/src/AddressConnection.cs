using System;
using System.Collections.Generic;
using System.Net;
using System.Threading;
using System.Threading.Tasks;
using HolePunch.Native;

namespace HolePunch
{
    /// <summary>
    /// A connection between two programs that tell each other their addresses by means of their own: bind, tell the peer
    /// <see cref="LocalEndPoints"/> and the public address, connect to what it tells, talk. Over UDP, what is sent may be
    /// lost, doubled or reordered; nothing is encrypted. All members may be used from any thread.
    /// </summary>
    public sealed partial class AddressConnection : IDisposable
#if NETSTANDARD2_1_OR_GREATER || NET5_0_OR_GREATER
        , IAsyncDisposable
#endif
    {
        /// <summary>The most addresses that a peer may be looked for at.</summary>
        public const int MaxAddresses = NativeMethods.HP_CONN_MAX_ADDRESSES;

        /// <summary>The longest datagram in bytes.</summary>
        public const int MaxDatagramLength = NativeMethods.HP_CONN_MAX_DATAGRAM_LEN;

        private readonly ConnectionHandle handle;
        // Readable while there are events.
        private readonly EventDescriptor descriptor;
        private readonly Transport transport;
        private readonly bool isAuthenticating, asksForAddress, takesSocket;
        private int disposed;

        /// <summary>
        /// Binds to a port and, if somebody is to be asked for our public address, asks. Nobody is let in, and nothing is
        /// sent to a peer, before it is connected.
        /// </summary>
        /// <param name="transport">
        /// What carries the connection, <see cref="Transport.Udp"/> or <see cref="Transport.Tcp"/>.
        /// </param>
        /// <param name="id">
        /// What both sides share, 1 to 1000 bytes, and prove to each other. Whoever knows it is the peer.
        /// </param>
        /// <param name="options">What else to connect with; null for the defaults.</param>
        /// <exception cref="ArgumentException">An option makes no sense.</exception>
        /// <exception cref="HolePunchException">It failed.</exception>
        public AddressConnection(Transport transport, byte[] id, AddressConnectionOptions options = null)
            : this(transport, options, Checked(id))
        {
        }

        /// <summary>
        /// Binds to a port, for a peer that knows the same ID, which is taken as UTF-8: see
        /// <see cref="AddressConnection(Transport, byte[], AddressConnectionOptions)"/>.
        /// </summary>
        public AddressConnection(Transport transport, string id, AddressConnectionOptions options = null)
            : this(transport, Arguments.SessionIdBytes(id), options)
        {
        }

        // Without an ID, nobody proves anything.
        private unsafe AddressConnection(Transport transport, AddressConnectionOptions options, byte[] id)
        {
            options = options ?? new AddressConnectionOptions();
            hp_conn_options native = options.ToNative(transport);
            byte[] server = options.ServerText();
            Library.EnsureUsable();
            hp_error detail = Interop.Detail();
            IntPtr connection, events;
            hp_status status;
            fixed (byte* secret = id, text = server)
            {
                native.id = secret;
                native.id_len = (UIntPtr)(id?.Length ?? 0);
                native.unauthenticated = id == null ? 1 : 0;
                native.address_server = text;
                status = NativeMethods.hp_conn_new(&native, out connection, &detail);
            }
            if (status == hp_status.HP_STATUS_INVALID_SERVER || status == hp_status.HP_STATUS_INVALID_ARGUMENT)
                throw new ArgumentException(Interop.Failure(status, &detail).Message, nameof(options));
            if (status != hp_status.HP_STATUS_OK)
                throw Interop.Failure(status, &detail);
            handle = new ConnectionHandle(connection);
            Interop.Check(NativeMethods.hp_conn_event_fd(handle, &events));
            descriptor = new EventDescriptor(events);
            this.transport = transport;
            isAuthenticating = id != null;
            asksForAddress = server != null;
            takesSocket = options.TakesSocket;
            LocalEndPoints = ReadLocalEndPoints();
        }

        private static byte[] Checked(byte[] id)
        {
            Arguments.CheckSessionId(id);
            return id;
        }

        /// <summary>
        /// Binds to a port, for a connection where nobody proves anything: whoever is at the peer's addresses is the peer.
        /// Over TCP nothing of the library's is sent, so that programs that know nothing of it can be the other side. See
        /// <see cref="AddressConnection(Transport, byte[], AddressConnectionOptions)"/>.
        /// </summary>
        public static AddressConnection CreateUnauthenticated(Transport transport, AddressConnectionOptions options = null)
        {
            return new AddressConnection(transport, options, null);
        }

        /// <summary>
        /// Our own addresses, for peers in the same network: of each address family the one that leads elsewhere first.
        /// </summary>
        public IReadOnlyList<IPEndPoint> LocalEndPoints { get; }

        private unsafe IReadOnlyList<IPEndPoint> ReadLocalEndPoints()
        {
            const int capacity = 8;
            hp_addr* addresses = stackalloc hp_addr[capacity];
            UIntPtr count;
            Interop.Check(NativeMethods.hp_conn_local_addresses(handle, addresses, (UIntPtr)capacity, &count));
            var endPoints = new IPEndPoint[(int)count];
            for (int i = 0; i < endPoints.Length; i++)
                endPoints[i] = Interop.EndPoint(&addresses[i]);
            return Array.AsReadOnly(endPoints);
        }

        /// <summary>
        /// Our address as others see it. Blocks until there is an answer, which takes 3 seconds at most, and the look-up of
        /// the server's name. Until it connects, it is asked for again every 15 seconds; what was found last is returned.
        /// </summary>
        /// <returns>The address; null if nobody was to be asked.</returns>
        /// <exception cref="HolePunchException">
        /// There is no answer, or none that tells it. Peers may be connected to all the same.
        /// </exception>
        /// <exception cref="OperationCanceledException">It was cancelled, or the connection ended meanwhile.</exception>
        /// <exception cref="ObjectDisposedException">It is disposed, or was meanwhile.</exception>
        public IPEndPoint GetPublicEndPoint(CancellationToken cancellationToken = default(CancellationToken))
        {
            cancellationToken.ThrowIfCancellationRequested();
            IPEndPoint found = null;
            Retry(wait => TryGetPublicEndPoint(wait, out found), cancellationToken);
            return found;
        }

        /// <summary>
        /// Our address as others see it, without blocking the thread: see <see cref="GetPublicEndPoint"/>.
        /// </summary>
        public async Task<IPEndPoint> GetPublicEndPointAsync(
            CancellationToken cancellationToken = default(CancellationToken))
        {
            cancellationToken.ThrowIfCancellationRequested();
            IPEndPoint found = null;
            await RetryAsync(wait => TryGetPublicEndPoint(wait, out found), cancellationToken).ConfigureAwait(false);
            return found;
        }

        // False if there is no answer in that time.
        private unsafe bool TryGetPublicEndPoint(long milliseconds, out IPEndPoint found)
        {
            found = null;
            ThrowIfDisposed();
            hp_addr address;
            hp_error detail = Interop.Detail();
            hp_status status = NativeMethods.hp_conn_public_address(handle, milliseconds, &address, &detail);
            switch (status)
            {
                case hp_status.HP_STATUS_OK:
                    found = Interop.EndPoint(&address);
                    return true;
                case hp_status.HP_STATUS_NOTHING:
                    return !asksForAddress;
                case hp_status.HP_STATUS_CANCELLED:
                    ThrowIfDisposed();
                    throw new OperationCanceledException("The connection is over.");
                default:
                    throw Interop.Failure(status, &detail);
            }
        }

        // How long a native call may block that cannot be cancelled by itself.
        private const long MomentMilliseconds = 50;

        // Tries until it succeeds, for a moment each time.
        private static void Retry(Func<long, bool> attempt, CancellationToken token)
        {
            while (!attempt(MomentMilliseconds))
            {
                token.ThrowIfCancellationRequested();
                ProcessEnd.Token.ThrowIfCancellationRequested();
            }
        }

        // Tries at once, and then in a thread of its own: it may take long, which the thread pool is not made for.
        private static Task RetryAsync(Func<long, bool> attempt, CancellationToken token)
        {
            if (attempt(0))
                return Task.CompletedTask;
            return Task.Factory.StartNew(() => Retry(attempt, token), CancellationToken.None,
                TaskCreationOptions.LongRunning | TaskCreationOptions.DenyChildAttach, TaskScheduler.Default);
        }

        /// <summary>
        /// A key for a protocol that is run over the connection, 32 bytes: the same on both sides, different for each
        /// label, known to nobody else, and forward secret. Not after the socket was taken.
        /// </summary>
        /// <param name="label">What the key is for.</param>
        /// <exception cref="HolePunchException">
        /// There is no authenticated connection, or not any more (<see cref="HolePunchError.NotFound"/>).
        /// </exception>
        public unsafe byte[] ExportKey(byte[] label)
        {
            ThrowIfDisposed();
            return Interop.ExportKey(label, (start, length, key) =>
                NativeMethods.hp_conn_export_key(handle, start, length, key));
        }

        /// <summary>
        /// A key for a protocol that is run over the connection, whose label is taken as UTF-8: see
        /// <see cref="ExportKey(byte[])"/>.
        /// </summary>
        public byte[] ExportKey(string label)
        {
            return ExportKey(Arguments.Utf8(label, nameof(label)));
        }

        /// <summary>
        /// Ends the attempt, or the connection, which the peer is told. What has come can still be received; nothing more
        /// will come then. Any number of times.
        /// </summary>
        public void Disconnect()
        {
            ThrowIfDisposed();
            NativeMethods.hp_conn_close(handle);
        }

        /// <summary>
        /// Ends the attempt, or the connection. Whoever waits for something gets an <see cref="ObjectDisposedException"/>,
        /// and no .NET event is raised any more. A socket that was taken stays open. Not to be called from a log handler.
        /// </summary>
        public void Dispose()
        {
            if (Interlocked.Exchange(ref disposed, 1) != 0)
                return;
            Readiness.Close(descriptor);
            // Calls that run in other threads, and keep the connection open, find out.
            NativeMethods.hp_conn_close(handle);
            handle.Dispose();
        }

#if NETSTANDARD2_1_OR_GREATER || NET5_0_OR_GREATER
        /// <summary>Does what <see cref="Dispose"/> does, without blocking the thread.</summary>
        public ValueTask DisposeAsync()
        {
            return new ValueTask(Task.Run(() => Dispose()));
        }
#endif

        private void ThrowIfDisposed()
        {
            if (descriptor.IsClosed)
                throw new ObjectDisposedException(nameof(AddressConnection));
        }
    }
}

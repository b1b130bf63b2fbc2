using System;
using System.Collections.Generic;
using System.Net;
using System.Threading;
using System.Threading.Tasks;
using HolePunch.Native;

namespace HolePunch
{
    /// <summary>
    /// A rendezvous server within this process, the same that the program hp-server runs. All members may be used from any
    /// thread.
    /// </summary>
    public sealed class HolePunchServer : IDisposable
#if NETSTANDARD2_1_OR_GREATER || NET5_0_OR_GREATER
        , IAsyncDisposable
#endif
    {
        /// <summary>Where servers listen unless told otherwise.</summary>
        public const int DefaultPort = 5000;

        private readonly ServerHandle handle;
        // Held while the server runs.
        private readonly SemaphoreSlim running = new SemaphoreSlim(1, 1);
        private int hasRun;
        private int disposed;

        /// <summary>
        /// Makes a server on port 5000 of all addresses: see <see cref="HolePunchServer(HolePunchServerOptions)"/>.
        /// </summary>
        public HolePunchServer() : this(null)
        {
        }

        /// <summary>Makes a server and binds its address. Clients wait until it runs.</summary>
        /// <param name="options">How to serve; null for the defaults. Later changes to it have no effect.</param>
        /// <exception cref="ArgumentException">An option is out of its range.</exception>
        /// <exception cref="HolePunchException">The address cannot be bound.</exception>
        public unsafe HolePunchServer(HolePunchServerOptions options)
        {
            options = options ?? new HolePunchServerOptions();
            Library.EnsureUsable();
            hp_error detail = Interop.Detail();
            IntPtr server;
            hp_status status;
            byte[] address = options.Address == null
                ? null : Interop.NulTerminated(options.Address, nameof(options.Address));
            fixed (byte* text = address)
                status = NativeMethods.hp_server_new(text, out server, &detail);
            if (status == hp_status.HP_STATUS_INVALID_SERVER)
                throw new ArgumentException(Interop.Failure(status, &detail).Message, nameof(options.Address));
            if (status != hp_status.HP_STATUS_OK)
                throw Interop.Failure(status, &detail);
            handle = new ServerHandle(server);
            try
            {
                Configure(options);
                status = NativeMethods.hp_server_bind(handle, &detail);
                if (status != hp_status.HP_STATUS_OK)
                    throw Interop.Failure(status, &detail);
                hp_addr local;
                Interop.Check(NativeMethods.hp_server_local_addr(handle, &local));
                LocalEndPoint = Interop.EndPoint(&local);
            }
            catch
            {
                handle.Dispose();
                throw;
            }
        }

        private void Configure(HolePunchServerOptions options)
        {
            Arguments.CheckDialect(options.Dialect, nameof(options.Dialect));
            Interop.Check(NativeMethods.hp_server_set_dialect(handle, (int)options.Dialect));
            if (options.Workers != null)
                Arguments.CheckSetting(
                    NativeMethods.hp_server_set_workers(handle, (uint)Math.Max(0, options.Workers.Value)),
                    nameof(options.Workers), options.Workers, "1 to 64");
            if (options.MaxEndpoints != null)
                Arguments.CheckSetting(
                    NativeMethods.hp_server_set_max_endpoints(handle, (ulong)Math.Max(0, options.MaxEndpoints.Value)),
                    nameof(options.MaxEndpoints), options.MaxEndpoints, "at least 256");
            options.Limits?.Apply(handle);
            SetPlainExpiry(options.PlainExpiry);
            SetMaxPlainIdLength(options.MaxPlainIdLength);
            Arguments.CheckSetting(
                NativeMethods.hp_server_set_alternate_ports(handle, (uint)options.AlternatePorts),
                nameof(options.AlternatePorts), options.AlternatePorts, "0 to 4");
            if (options.OtherAddress != null)
                SetOtherAddress(options.OtherAddress);
            options.Relay?.Apply(handle);
            options.Tcp?.Apply(handle);
        }

        private unsafe void SetOtherAddress(IPAddress address)
        {
            hp_status status;
            if (address.IsIPv4MappedToIPv6)
                address = address.MapToIPv4();
            fixed (byte* text = Interop.NulTerminated(address.ToString(), nameof(HolePunchServerOptions.OtherAddress)))
                status = NativeMethods.hp_server_set_other_address(handle, text);
            Arguments.CheckSetting(status, nameof(HolePunchServerOptions.OtherAddress), address,
                "another one of this host's addresses, of a family that the server listens on, with alternate ports");
        }

        /// <summary>The address that the server listens on.</summary>
        public IPEndPoint LocalEndPoint { get; }

        /// <summary>
        /// Serves until the server is disposed, which ends it without an exception, or the call is cancelled. A server runs
        /// once.
        /// </summary>
        /// <exception cref="OperationCanceledException">It was cancelled.</exception>
        /// <exception cref="InvalidOperationException">The server runs or has run already.</exception>
        public void Run(CancellationToken cancellationToken = default(CancellationToken))
        {
            Start();
            try
            {
                Serve(cancellationToken);
            }
            finally
            {
                running.Release();
            }
        }

        /// <summary>Serves without blocking the thread: see <see cref="Run"/>.</summary>
        public async Task RunAsync(CancellationToken cancellationToken = default(CancellationToken))
        {
            Start();
            try
            {
                await Task.Factory.StartNew(() => Serve(cancellationToken), CancellationToken.None,
                    TaskCreationOptions.LongRunning | TaskCreationOptions.DenyChildAttach, TaskScheduler.Default)
                    .ConfigureAwait(false);
            }
            finally
            {
                running.Release();
            }
        }

        private void Start()
        {
            ThrowIfDisposed();
            if (Interlocked.Exchange(ref hasRun, 1) != 0)
                throw new InvalidOperationException("The server runs or has run already.");
            running.Wait();
            if (disposed == 0)
                return;
            running.Release();
            ThrowIfDisposed();
        }

        private unsafe void Serve(CancellationToken token)
        {
            hp_error detail = Interop.Detail();
            hp_status status;
            Action stop = () => NativeMethods.hp_server_stop(handle);
            using (ProcessEnd.Token.Register(stop))
            using (token.Register(stop))
                status = NativeMethods.hp_server_run(handle, &detail);
            if (status != hp_status.HP_STATUS_OK)
                throw Interop.Failure(status, &detail);
            token.ThrowIfCancellationRequested();
        }

        /// <summary>
        /// Changes after how much silence a plain client is forgotten, for present clients, too;
        /// <see cref="Timeout.InfiniteTimeSpan"/> is never.
        /// </summary>
        public void SetPlainExpiry(TimeSpan expiry)
        {
            ThrowIfDisposed();
            Interop.Check(NativeMethods.hp_server_set_plain_expiry_ms(handle, Interop.Milliseconds(expiry)));
        }

        /// <summary>
        /// Changes what clients may take. Who is registered stays, even where there is no longer room for as many.
        /// </summary>
        /// <exception cref="ArgumentOutOfRangeException">One of them is out of its range; then all stay as they were.</exception>
        public void SetLimits(ServerLimits limits)
        {
            ThrowIfDisposed();
            if (limits == null)
                throw new ArgumentNullException(nameof(limits));
            limits.Apply(handle);
        }

        /// <summary>Changes the longest session ID that a plain client may use, 1 to 1024 bytes.</summary>
        public void SetMaxPlainIdLength(int length)
        {
            ThrowIfDisposed();
            Arguments.CheckSetting(NativeMethods.hp_server_set_max_plain_id_len(handle, (uint)Math.Max(0, length)),
                nameof(length), length, "1 to 1024");
        }

        /// <summary>The addresses of all clients that are registered now, in no order.</summary>
        public unsafe IReadOnlyList<IPEndPoint> Endpoints
        {
            get
            {
                ThrowIfDisposed();
                var native = new hp_addr[64];
                for (;;)
                {
                    UIntPtr count;
                    hp_status status;
                    fixed (hp_addr* first = native)
                        status = NativeMethods.hp_server_endpoints(handle, first, (UIntPtr)native.Length, &count);
                    if (status == hp_status.HP_STATUS_BUFFER_TOO_SMALL)
                    {
                        // With room for those that join meanwhile.
                        native = new hp_addr[(int)count + (int)count / 8 + 64];
                        continue;
                    }
                    Interop.Check(status);
                    var endPoints = new IPEndPoint[(int)count];
                    fixed (hp_addr* first = native)
                    {
                        for (int i = 0; i < endPoints.Length; i++)
                            endPoints[i] = Interop.EndPoint(first + i);
                    }
                    return endPoints;
                }
            }
        }

        /// <summary>What the server has counted.</summary>
        public unsafe ServerCounters Counters
        {
            get
            {
                ThrowIfDisposed();
                hp_server_counters native = default(hp_server_counters);
                native.struct_size = (uint)sizeof(hp_server_counters);
                Interop.Check(NativeMethods.hp_server_get_counters(handle, &native));
                return new ServerCounters(native);
            }
        }

        /// <summary>Ends <see cref="Run"/>, waits for it and frees the address. Not to be called from a log handler.</summary>
        public void Dispose()
        {
            if (Interlocked.Exchange(ref disposed, 1) != 0)
                return;
            NativeMethods.hp_server_stop(handle);
            running.Wait();
            handle.Dispose();
            running.Release();
        }

#if NETSTANDARD2_1_OR_GREATER || NET5_0_OR_GREATER
        /// <summary>Does what <see cref="Dispose"/> does, without blocking the thread.</summary>
        public ValueTask DisposeAsync()
        {
            return new ValueTask(CloseAsync());
        }

        private async Task CloseAsync()
        {
            if (Interlocked.Exchange(ref disposed, 1) != 0)
                return;
            NativeMethods.hp_server_stop(handle);
            await running.WaitAsync().ConfigureAwait(false);
            handle.Dispose();
            running.Release();
        }
#endif

        private void ThrowIfDisposed()
        {
            if (disposed != 0)
                throw new ObjectDisposedException(nameof(HolePunchServer));
        }
    }
}

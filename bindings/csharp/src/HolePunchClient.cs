using System;
using System.Collections.Generic;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Threading;
using System.Threading.Tasks;
using HolePunch.Native;

namespace HolePunch
{
    /// <summary>
    /// Opens holes to peers by way of a rendezvous server. All members may be used from any thread; calls wait for each
    /// other.
    /// </summary>
    public sealed partial class HolePunchClient : IDisposable
#if NETSTANDARD2_1_OR_GREATER || NET5_0_OR_GREATER
        , IAsyncDisposable
#endif
    {
        /// <summary>The most peers that one call connects to.</summary>
        public const int MaxPeers = (int)NativeMethods.HP_MAX_PEERS;

        private static readonly Peer[] nobody = new Peer[0];

        private readonly ClientHandle handle;
        // Null once a session has it.
        private Socket given;
        // Held by whoever uses the handle; the library does not let two threads do so.
        private readonly SemaphoreSlim turn = new SemaphoreSlim(1, 1);
        private readonly CancellationTokenSource closing = new CancellationTokenSource();
        private readonly object gate = new object();
        private CancellationTokenSource running;
        private long timeout;
        private int disposed;

        // What the last call has left.
        private int calls;
        private IReadOnlyList<Peer> found = nobody;
        private Dictionary<uint, HoleSocket> taken = new Dictionary<uint, HoleSocket>();
        private List<EarlyDatagram> early = new List<EarlyDatagram>();

        /// <summary>Makes a client with the default options.</summary>
        /// <param name="server">
        /// The rendezvous server as "host:port": a name, which each call looks up, an IPv4 address, or an IPv6 address in
        /// brackets.
        /// </param>
        public HolePunchClient(string server) : this(server, null)
        {
        }

        /// <summary>Makes a client.</summary>
        /// <param name="server">
        /// The rendezvous server as "host:port": a name, which each call looks up, an IPv4 address, or an IPv6 address in
        /// brackets.
        /// </param>
        /// <param name="options">How to connect; null for the defaults. Later changes to it have no effect.</param>
        /// <exception cref="ArgumentException">The server is not host:port, or an option is out of its range.</exception>
        public unsafe HolePunchClient(string server, HolePunchClientOptions options)
        {
            if (server == null)
                throw new ArgumentNullException(nameof(server));
            options = options ?? new HolePunchClientOptions();
            Library.EnsureUsable();
            hp_error detail = Interop.Detail();
            IntPtr client;
            hp_status status;
            fixed (byte* text = Interop.NulTerminated(server, nameof(server)))
                status = NativeMethods.hp_client_new(text, out client, &detail);
            if (status == hp_status.HP_STATUS_INVALID_SERVER)
                throw new ArgumentException(Interop.Failure(status, &detail).Message, nameof(server));
            if (status != hp_status.HP_STATUS_OK)
                throw Interop.Failure(status, &detail);
            handle = new ClientHandle(client);
            given = options.Socket;
            Timeout = options.Timeout;
            try
            {
                Configure(options);
            }
            catch
            {
                handle.Dispose();
                throw;
            }
        }

        private unsafe void Configure(HolePunchClientOptions options)
        {
            const string range = "1 ms to 10 s";
            Arguments.CheckSetting(NativeMethods.hp_client_set_server_retry_ms(handle, Pause(options.ServerRetry)),
                nameof(options.ServerRetry), options.ServerRetry, range);
            Arguments.CheckSetting(NativeMethods.hp_client_set_peer_retry_ms(handle, Pause(options.PeerRetry)),
                nameof(options.PeerRetry), options.PeerRetry, range);
            Arguments.CheckDialect(options.Dialect, nameof(options.Dialect));
            Interop.Check(NativeMethods.hp_client_set_dialect(handle, (int)options.Dialect));
            Arguments.CheckSetting(NativeMethods.hp_client_set_path_policy(handle, (int)options.PathPolicy),
                nameof(options.PathPolicy), options.PathPolicy, "a value of PathPolicy");
            Arguments.CheckSetting(NativeMethods.hp_client_set_techniques(handle, (uint)options.Techniques),
                nameof(options.Techniques), options.Techniques, "a combination of Techniques");
            Arguments.CheckSetting(NativeMethods.hp_client_set_transport(handle, (int)options.Transport),
                nameof(options.Transport), options.Transport, "a value of Transport");
            if (options.Transport != Transport.Udp)
                CheckTcp(options);
            if (options.LocalEndPoint != null)
            {
                Arguments.CheckEndPoint(options.LocalEndPoint, nameof(options.LocalEndPoint));
                hp_addr local = Interop.Address(options.LocalEndPoint);
                Interop.Check(NativeMethods.hp_client_set_local_addr(handle, &local));
            }
            if (given != null)
                Give();
        }

        // What does not go with TCP.
        private static void CheckTcp(HolePunchClientOptions options)
        {
            if (options.Dialect == Dialect.Plain)
                throw new ArgumentException("The plain dialect knows no TCP.", nameof(options.Transport));
            // A call that needs no UDP socket closes it.
            if (options.Socket != null)
                throw new ArgumentException("With a socket of one's own there is UDP only.", nameof(options.Transport));
        }

        // 0, which is out of range, for whatever does not fit.
        private static uint Pause(TimeSpan pause)
        {
            long ms = Interop.Milliseconds(pause);
            return ms > 0 && ms < uint.MaxValue ? (uint)ms : 0;
        }

        // The library gets a duplicate: the descriptor itself belongs to the Socket, which will close it.
        private void Give()
        {
            using (SafeHandle duplicate = Unix.Duplicate(given))
            {
                hp_status status = NativeMethods.hp_client_give_socket(handle, duplicate.DangerousGetHandle());
                if (status == hp_status.HP_STATUS_INVALID_ARGUMENT)
                    throw new ArgumentException("The socket must be of UDP, bound and unconnected.",
                        nameof(HolePunchClientOptions.Socket));
                Interop.Check(status);
                duplicate.SetHandleAsInvalid();
            }
        }

        /// <summary>
        /// The time that a call has in total, from the next one on;
        /// <see cref="System.Threading.Timeout.InfiniteTimeSpan"/> is for ever.
        /// </summary>
        public TimeSpan Timeout
        {
            get { return TimeSpan.FromTicks(Interlocked.Read(ref timeout)); }
            set { Interlocked.Exchange(ref timeout, value.Ticks); }
        }

        /// <summary>
        /// Ends the call that is running, which then throws an <see cref="OperationCanceledException"/>. Does nothing if
        /// there is none.
        /// </summary>
        public void Cancel()
        {
            lock (gate)
                running?.Cancel();
        }

        /// <summary>What the last call has counted.</summary>
        public unsafe ClientCounters Counters
        {
            get
            {
                Enter(CancellationToken.None);
                try
                {
                    hp_counters native = default(hp_counters);
                    native.struct_size = (uint)sizeof(hp_counters);
                    Interop.Check(NativeMethods.hp_client_counters(handle, &native));
                    return new ClientCounters(native);
                }
                finally
                {
                    turn.Release();
                }
            }
        }

        /// <summary>
        /// Ends a running call, waits for that, and closes the sockets that were not taken. Not to be called from a log
        /// handler.
        /// </summary>
        public void Dispose()
        {
            if (Interlocked.Exchange(ref disposed, 1) != 0)
                return;
            closing.Cancel();
            turn.Wait();
            handle.Dispose();
            turn.Release();
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
            closing.Cancel();
            await turn.WaitAsync().ConfigureAwait(false);
            handle.Dispose();
            turn.Release();
        }
#endif

        // Waits for its turn, which is to be released afterwards.
        private void Enter(CancellationToken token)
        {
            using (CancellationTokenSource either = CancellationTokenSource.CreateLinkedTokenSource(token, closing.Token))
            {
                try
                {
                    turn.Wait(either.Token);
                }
                catch (OperationCanceledException)
                {
                    throw Ended(token);
                }
            }
        }

        private async Task EnterAsync(CancellationToken token)
        {
            using (CancellationTokenSource either = CancellationTokenSource.CreateLinkedTokenSource(token, closing.Token))
            {
                try
                {
                    await turn.WaitAsync(either.Token).ConfigureAwait(false);
                }
                catch (OperationCanceledException)
                {
                    throw Ended(token);
                }
            }
        }

        // Why a call was ended before its time.
        private Exception Ended(CancellationToken token)
        {
            if (token.IsCancellationRequested)
                return new OperationCanceledException(token);
            if (closing.IsCancellationRequested)
                return new ObjectDisposedException(nameof(HolePunchClient));
            return new OperationCanceledException();
        }
    }
}

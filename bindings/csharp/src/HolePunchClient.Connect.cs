using System;
using System.Collections.Generic;
using System.Linq;
using System.Net;
using System.Threading;
using System.Threading.Tasks;
using HolePunch.Native;

namespace HolePunch
{
    public sealed partial class HolePunchClient
    {
        private unsafe delegate hp_status NativeCall(hp_error* detail);

        /// <summary>
        /// Meets others that connect with the same ID, and opens a hole to each. Blocks until holes to at least that many
        /// peers are open, time is up or the call is cancelled.
        /// </summary>
        /// <param name="id">The session ID, 1 to 1000 bytes; the same for all.</param>
        /// <param name="peers">How many others are expected, 1 to <see cref="MaxPeers"/>; more are no error.</param>
        /// <param name="cancellationToken">Ends the call at once.</param>
        /// <returns>The connected peers.</returns>
        /// <exception cref="HolePunchException">
        /// It failed; <see cref="HolePunchException.Peers"/> are the peers that were found so far.
        /// </exception>
        /// <exception cref="OperationCanceledException">It was cancelled.</exception>
        /// <exception cref="ObjectDisposedException">The client is disposed, or was meanwhile.</exception>
        public IReadOnlyList<Peer> Connect(byte[] id, int peers,
            CancellationToken cancellationToken = default(CancellationToken))
        {
            return Run(Connecting(id, peers), cancellationToken);
        }

        /// <summary>
        /// Meets others that connect with the same ID, which is sent as UTF-8: see
        /// <see cref="Connect(byte[], int, CancellationToken)"/>.
        /// </summary>
        public IReadOnlyList<Peer> Connect(string id, int peers,
            CancellationToken cancellationToken = default(CancellationToken))
        {
            return Connect(Arguments.SessionIdBytes(id), peers, cancellationToken);
        }

        /// <summary>
        /// Meets others that connect with the same ID without blocking the thread: see
        /// <see cref="Connect(byte[], int, CancellationToken)"/>.
        /// </summary>
        public Task<IReadOnlyList<Peer>> ConnectAsync(byte[] id, int peers,
            CancellationToken cancellationToken = default(CancellationToken))
        {
            return RunAsync(Connecting(id, peers), cancellationToken);
        }

        /// <summary>
        /// Meets others that connect with the same ID, which is sent as UTF-8, without blocking the thread: see
        /// <see cref="Connect(byte[], int, CancellationToken)"/>.
        /// </summary>
        public Task<IReadOnlyList<Peer>> ConnectAsync(string id, int peers,
            CancellationToken cancellationToken = default(CancellationToken))
        {
            return ConnectAsync(Arguments.SessionIdBytes(id), peers, cancellationToken);
        }

        /// <summary>
        /// Opens holes to peers at known addresses, without the server: it goes on after a <see cref="HolePunchException"/>
        /// with its <see cref="HolePunchException.Peers"/>, or serves programs with signalling of their own. Both sides
        /// must call it. Blocks until holes to all of them are open, time is up or the call is cancelled.
        /// </summary>
        /// <param name="id">The session ID, 1 to 1000 bytes; the same for all.</param>
        /// <param name="endPoints">Where the peers are, 1 to <see cref="MaxPeers"/> addresses.</param>
        /// <param name="cancellationToken">Ends the call at once.</param>
        /// <returns>The connected peers.</returns>
        /// <exception cref="HolePunchException">
        /// It failed; <see cref="HolePunchException.Peers"/> are all peers, connected or not.
        /// </exception>
        /// <exception cref="OperationCanceledException">It was cancelled.</exception>
        /// <exception cref="ObjectDisposedException">The client is disposed, or was meanwhile.</exception>
        public IReadOnlyList<Peer> ConnectPeers(byte[] id, IEnumerable<IPEndPoint> endPoints,
            CancellationToken cancellationToken = default(CancellationToken))
        {
            return Run(ConnectingPeers(id, endPoints), cancellationToken);
        }

        /// <summary>
        /// Opens holes to peers at known addresses without blocking the thread: see
        /// <see cref="ConnectPeers(byte[], IEnumerable{IPEndPoint}, CancellationToken)"/>.
        /// </summary>
        public Task<IReadOnlyList<Peer>> ConnectPeersAsync(byte[] id, IEnumerable<IPEndPoint> endPoints,
            CancellationToken cancellationToken = default(CancellationToken))
        {
            return RunAsync(ConnectingPeers(id, endPoints), cancellationToken);
        }

        private unsafe NativeCall Connecting(byte[] id, int peers)
        {
            Arguments.CheckSessionId(id);
            uint count = (uint)Arguments.CheckPeerCount(peers, nameof(peers));
            return detail =>
            {
                fixed (byte* start = id)
                    return NativeMethods.hp_connect(handle, start, (UIntPtr)id.Length, count, detail);
            };
        }

        private unsafe NativeCall ConnectingPeers(byte[] id, IEnumerable<IPEndPoint> endPoints)
        {
            Arguments.CheckSessionId(id);
            if (endPoints == null)
                throw new ArgumentNullException(nameof(endPoints));
            hp_addr[] addresses = endPoints.Select(each =>
                Interop.Address(Arguments.CheckEndPoint(each, nameof(endPoints)))).ToArray();
            Arguments.CheckPeerCount(addresses.Length, nameof(endPoints));
            return detail =>
            {
                fixed (byte* start = id)
                fixed (hp_addr* first = addresses)
                {
                    var count = (UIntPtr)addresses.Length;
                    return NativeMethods.hp_connect_peers(handle, start, (UIntPtr)id.Length, first, count, detail);
                }
            };
        }

        private IReadOnlyList<Peer> Run(NativeCall call, CancellationToken token)
        {
            Enter(token);
            try
            {
                return RunInTurn(call, token);
            }
            finally
            {
                turn.Release();
            }
        }

        private async Task<IReadOnlyList<Peer>> RunAsync(NativeCall call, CancellationToken token)
        {
            await EnterAsync(token).ConfigureAwait(false);
            try
            {
                // A thread of its own: the call may take minutes, which the thread pool is not made for.
                return await Task.Factory.StartNew(() => RunInTurn(call, token), CancellationToken.None,
                    TaskCreationOptions.LongRunning | TaskCreationOptions.DenyChildAttach, TaskScheduler.Default)
                    .ConfigureAwait(false);
            }
            finally
            {
                turn.Release();
            }
        }

        private unsafe IReadOnlyList<Peer> RunInTurn(NativeCall call, CancellationToken token)
        {
            Interop.Check(NativeMethods.hp_client_set_timeout_ms(handle, Interop.Milliseconds(Timeout)));
            taken = new Dictionary<uint, HoleSocket>();
            early = new List<EarlyDatagram>();
            calls++;
            hp_error detail = Interop.Detail();
            hp_status status;
            using (var cancelled = CancellationTokenSource.CreateLinkedTokenSource(token, closing.Token, ProcessEnd.Token))
            {
                lock (gate)
                    running = cancelled;
                try
                {
                    using (cancelled.Token.Register(() => NativeMethods.hp_cancel(handle)))
                        status = call(&detail);
                }
                finally
                {
                    lock (gate)
                        running = null;
                }
            }
            // The call may have ended just before it was cancelled.
            NativeMethods.hp_cancel_clear(handle);

            IReadOnlyList<Peer> peers = found = ReadPeers();
            if (status == hp_status.HP_STATUS_OK)
                return peers;
            if (status != hp_status.HP_STATUS_CANCELLED)
                throw Interop.Failure(status, &detail, peers);
            throw Ended(token);
        }

        private unsafe IReadOnlyList<Peer> ReadPeers()
        {
            var peers = new Peer[NativeMethods.hp_peer_count(handle)];
            for (uint i = 0; i < peers.Length; i++)
            {
                hp_peer native = default(hp_peer);
                native.struct_size = (uint)sizeof(hp_peer);
                Interop.Check(NativeMethods.hp_peer_get(handle, i, &native));
                peers[i] = new Peer(&native, calls);
            }
            return peers;
        }
    }
}

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
        /// <summary>
        /// Meets others that connect with the same ID, and opens a hole to each. Blocks until holes to at least that many
        /// peers are open, time is up or the call is cancelled.
        /// </summary>
        /// <param name="id">The session ID, 1 to 1000 bytes; the same for all.</param>
        /// <param name="peers">How many others are expected, 1 to <see cref="MaxPeers"/>; more are no error.</param>
        /// <param name="cancellationToken">Ends the call at once.</param>
        /// <returns>The connected peers.</returns>
        /// <exception cref="HolePunchException">
        /// It failed; <see cref="HolePunchException.Peers"/> are the peers that were found so far, and
        /// <see cref="Peer.CauseText"/> says what probably kept each of them from being reached.
        /// </exception>
        /// <exception cref="OperationCanceledException">It was cancelled.</exception>
        /// <exception cref="ObjectDisposedException">The client is disposed, or was meanwhile.</exception>
        public IReadOnlyList<Peer> Connect(byte[] id, int peers,
            CancellationToken cancellationToken = default(CancellationToken))
        {
            NativeCall call = Connecting(id, peers);
            return Run(() => Meet(call, cancellationToken), cancellationToken);
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
            NativeCall call = Connecting(id, peers);
            return RunAsync(() => Meet(call, cancellationToken), cancellationToken);
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
            NativeCall call = ConnectingPeers(id, endPoints);
            return Run(() => Meet(call, cancellationToken), cancellationToken);
        }

        /// <summary>
        /// Opens holes to peers at known addresses without blocking the thread: see
        /// <see cref="ConnectPeers(byte[], IEnumerable{IPEndPoint}, CancellationToken)"/>.
        /// </summary>
        public Task<IReadOnlyList<Peer>> ConnectPeersAsync(byte[] id, IEnumerable<IPEndPoint> endPoints,
            CancellationToken cancellationToken = default(CancellationToken))
        {
            NativeCall call = ConnectingPeers(id, endPoints);
            return RunAsync(() => Meet(call, cancellationToken), cancellationToken);
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

        private unsafe IReadOnlyList<Peer> Meet(NativeCall call, CancellationToken token)
        {
            Forget();
            hp_error detail = Interop.Detail();
            hp_status status = Call(call, &detail, token);
            IReadOnlyList<Peer> peers = found = ReadPeers();
            if (status == hp_status.HP_STATUS_OK)
                return peers;
            if (status != hp_status.HP_STATUS_CANCELLED)
                throw Interop.Failure(status, &detail, peers);
            throw Ended(token);
        }

        // What the last call has left.
        private void Forget()
        {
            taken = new Dictionary<uint, HoleSocket>();
            early = new List<EarlyDatagram>();
            calls++;
            found = nobody;
        }

        private unsafe IReadOnlyList<Peer> ReadPeers()
        {
            var peers = new Peer[NativeMethods.hp_peer_count(handle)];
            for (uint i = 0; i < peers.Length; i++)
            {
                hp_peer native = default(hp_peer);
                native.struct_size = (uint)sizeof(hp_peer);
                Interop.Check(NativeMethods.hp_peer_get(handle, i, &native));
                peers[i] = new Peer(&native, calls, (Cause)NativeMethods.hp_peer_cause(handle, i), ReadAttempts(i));
            }
            return peers;
        }

        private unsafe IReadOnlyList<PathAttempt> ReadAttempts(uint peer)
        {
            var attempts = new PathAttempt[NativeMethods.hp_peer_attempt_count(handle, peer)];
            for (uint i = 0; i < attempts.Length; i++)
            {
                hp_attempt native = default(hp_attempt);
                native.struct_size = (uint)sizeof(hp_attempt);
                Interop.Check(NativeMethods.hp_peer_attempt_get(handle, peer, i, &native));
                attempts[i] = new PathAttempt(&native);
            }
            return Array.AsReadOnly(attempts);
        }
    }
}

using System;
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;
using HolePunch.Native;

namespace HolePunch
{
    /// <summary>
    /// A session that we are in: everybody who shares an ID, for as long as one stays. Members come, go and move, and every
    /// message is delivered, encrypted from end to end, or known not to be. What happens is told by <see cref="NextEvent"/>,
    /// by <see cref="Events"/>, or by .NET's events after <see cref="Start"/>. Messages that nobody asks for make their
    /// senders wait; nothing is lost. All members may be used from any thread.
    /// </summary>
    public sealed partial class Session : IDisposable
#if NETSTANDARD2_1_OR_GREATER || NET5_0_OR_GREATER
        , IAsyncDisposable
#endif
    {
        /// <summary>The most members of a session, ourselves not counted.</summary>
        public const int MaxPeers = NativeMethods.HP_SESSION_MAX_PEERS;

        /// <summary>The longest message in bytes.</summary>
        public const int MaxMessageLength = NativeMethods.HP_SESSION_MAX_MESSAGE_LEN;

        /// <summary>The longest message in bytes to a peer that is not encrypted.</summary>
        public const int MaxPlainMessageLength = NativeMethods.HP_SESSION_MAX_PLAIN_MESSAGE_LEN;

        private readonly SessionHandle handle;
        private int disposed;

        internal unsafe Session(SessionHandle handle)
        {
            this.handle = handle;
            IntPtr events;
            Interop.Check(NativeMethods.hp_session_event_fd(handle, &events));
            descriptor = new EventDescriptor(events);
            hp_peer_id id;
            Interop.Check(NativeMethods.hp_session_local_id(handle, &id));
            LocalId = new PeerId(id);
            byte* key = stackalloc byte[HolePunch.PublicKey.Length];
            Interop.Check(NativeMethods.hp_session_public_key(handle, key));
            PublicKey = new PublicKey(key);
        }

        /// <summary>
        /// Joins the session of those who share the ID, by way of a server: see
        /// <see cref="HolePunchClient.Join(byte[], SessionOptions, CancellationToken)"/>.
        /// </summary>
        public static Session Join(string server, string id, SessionOptions options = null,
            CancellationToken cancellationToken = default(CancellationToken))
        {
            using (var client = new HolePunchClient(server))
                return client.Join(id, options, cancellationToken);
        }

        /// <summary>
        /// Joins the session of those who share the ID, by way of a server, without blocking the thread: see
        /// <see cref="HolePunchClient.Join(byte[], SessionOptions, CancellationToken)"/>.
        /// </summary>
        public static async Task<Session> JoinAsync(string server, string id, SessionOptions options = null,
            CancellationToken cancellationToken = default(CancellationToken))
        {
            using (var client = new HolePunchClient(server))
                return await client.JoinAsync(id, options, cancellationToken).ConfigureAwait(false);
        }

        /// <summary>Our own name in the session.</summary>
        public PeerId LocalId { get; }

        /// <summary>Our own public key.</summary>
        public PublicKey PublicKey { get; }

        /// <summary>
        /// Sends a message to a peer, who gets it once and in order with the others of ours, or is gone:
        /// <see cref="SessionEvent.Delivered"/> or <see cref="SessionEvent.Left"/> tell which. A peer that is not connected
        /// yet gets it when it is. To a peer that is not encrypted it goes once, in one datagram, and nothing is told.
        /// </summary>
        /// <param name="to">Whom.</param>
        /// <param name="message">
        /// At most <see cref="MaxMessageLength"/> bytes; <see cref="MaxPlainMessageLength"/> to a peer that is not encrypted,
        /// and then nothing for which <see cref="ControlPacket"/> holds.
        /// </param>
        /// <returns>What events will call the message: 1, 2, 3 and so on, whomever it is for.</returns>
        /// <exception cref="HolePunchException">
        /// There is no such peer (<see cref="HolePunchError.NotFound"/>), or too much waits already
        /// (<see cref="HolePunchError.Full"/>): try again after a <see cref="SessionEvent.Delivered"/>.
        /// </exception>
        /// <exception cref="ArgumentException">The message is too long, or one of the plain dialect's own.</exception>
        /// <exception cref="InvalidOperationException">The session was left.</exception>
        public unsafe ulong Send(PeerId to, byte[] message)
        {
            hp_peer_id id = to.Native;
            return Send(&id, message, true).Value;
        }

        /// <summary>
        /// Sends a message to a peer if it is taken at once, for who sends more than gets through: see
        /// <see cref="Send(PeerId, byte[])"/>.
        /// </summary>
        /// <returns>False if too much waits already: try again after a <see cref="SessionEvent.Delivered"/>.</returns>
        public unsafe bool TrySend(PeerId to, byte[] message, out ulong number)
        {
            hp_peer_id id = to.Native;
            ulong? sent = Send(&id, message, false);
            number = sent.GetValueOrDefault();
            return sent != null;
        }

        /// <summary>
        /// Sends a message to everybody who is there, which may be nobody: see <see cref="Send(PeerId, byte[])"/>. If it is
        /// not taken for some, for whom too much waits, <see cref="SessionEvent.Untaken"/> tells so.
        /// </summary>
        public unsafe ulong SendToAll(byte[] message)
        {
            return Send(null, message, true).Value;
        }

        // Null if too much waits and that is no failure.
        private unsafe ulong? Send(hp_peer_id* to, byte[] message, bool isFullFailure)
        {
            if (message == null)
                throw new ArgumentNullException(nameof(message));
            ThrowIfDisposed();
            hp_error detail = Interop.Detail();
            ulong number;
            hp_status status;
            fixed (byte* start = message)
                status = NativeMethods.hp_session_send(handle, to, start, (UIntPtr)message.Length, &number, &detail);
            if (status == hp_status.HP_STATUS_OK)
                return number;
            if (status == hp_status.HP_STATUS_FULL && !isFullFailure)
                return null;
            HolePunchException failure = Interop.Failure(status, &detail);
            if (status == hp_status.HP_STATUS_INVALID_ARGUMENT)
                throw new ArgumentException(failure.Message, nameof(message));
            if (status == hp_status.HP_STATUS_CANCELLED)
                throw new InvalidOperationException(failure.Message);
            throw failure;
        }

        /// <summary>Who is there.</summary>
        public unsafe IReadOnlyList<SessionPeer> Peers
        {
            get
            {
                ThrowIfDisposed();
                hp_peer_id* ids = stackalloc hp_peer_id[MaxPeers];
                UIntPtr count;
                Interop.Check(NativeMethods.hp_session_peers(handle, ids, (UIntPtr)MaxPeers, &count));
                var peers = new List<SessionPeer>((int)count);
                for (int i = 0; i < (int)count; i++)
                {
                    // Whoever has left meanwhile is left out.
                    SessionPeer peer = FindPeer(ids[i]);
                    if (peer != null)
                        peers.Add(peer);
                }
                return peers.AsReadOnly();
            }
        }

        /// <summary>A peer, as it is known now; null if there is no such peer.</summary>
        public SessionPeer FindPeer(PeerId id)
        {
            ThrowIfDisposed();
            return FindPeer(id.Native);
        }

        private unsafe SessionPeer FindPeer(hp_peer_id id)
        {
            hp_session_peer native = default(hp_session_peer);
            native.struct_size = (uint)sizeof(hp_session_peer);
            hp_status status = NativeMethods.hp_session_peer_get(handle, &id, &native);
            if (status == hp_status.HP_STATUS_NOT_FOUND)
                return null;
            Interop.Check(status);
            return new SessionPeer(&native);
        }

        /// <summary>
        /// A key for another protocol between us and a peer, 32 bytes: the same on both sides, different for each label,
        /// known to nobody else, and forward secret. Another one each time the peer joins.
        /// </summary>
        /// <param name="peer">Whom.</param>
        /// <param name="label">What the key is for.</param>
        /// <exception cref="HolePunchException">
        /// There is no such peer, it is not connected, or it is not encrypted (<see cref="HolePunchError.NotFound"/>).
        /// </exception>
        public unsafe byte[] ExportKey(PeerId peer, byte[] label)
        {
            ThrowIfDisposed();
            hp_peer_id id = peer.Native;
            hp_peer_id* to = &id;
            return Interop.ExportKey(label, (start, length, key) =>
                NativeMethods.hp_session_export_key(handle, to, start, length, key));
        }

        /// <summary>
        /// A key for another protocol between us and a peer, whose label is taken as UTF-8: see
        /// <see cref="ExportKey(PeerId, byte[])"/>.
        /// </summary>
        public byte[] ExportKey(PeerId peer, string label)
        {
            return ExportKey(peer, Arguments.Utf8(label, nameof(label)));
        }

        /// <summary>What the session has dropped.</summary>
        public unsafe SessionCounters Counters
        {
            get
            {
                ThrowIfDisposed();
                hp_session_counters native = default(hp_session_counters);
                native.struct_size = (uint)sizeof(hp_session_counters);
                Interop.Check(NativeMethods.hp_session_get_counters(handle, &native));
                return new SessionCounters(native);
            }
        }

        /// <summary>
        /// Says goodbye to everybody, who are told at once. What has come can still be fetched, and a
        /// <see cref="SessionEvent.Left"/> of each peer, with the messages that it has not got; nothing more will happen then.
        /// </summary>
        public void Leave()
        {
            ThrowIfDisposed();
            NativeMethods.hp_session_leave(handle);
        }

        /// <summary>
        /// Leaves the session. Whoever waits for an event gets an <see cref="ObjectDisposedException"/>, and no .NET event is
        /// raised any more. Not to be called from a log handler.
        /// </summary>
        public void Dispose()
        {
            if (Interlocked.Exchange(ref disposed, 1) != 0)
                return;
            Readiness.Close(descriptor);
            // Those who wait in NextEvent, and keep the session open, find out.
            NativeMethods.hp_session_leave(handle);
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
                throw new ObjectDisposedException(nameof(Session));
        }
    }
}

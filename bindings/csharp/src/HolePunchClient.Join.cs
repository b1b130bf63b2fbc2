using System;
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;
using HolePunch.Native;

namespace HolePunch
{
    public sealed partial class HolePunchClient
    {
        /// <summary>
        /// Joins the session of those who share the ID, by way of the client's server and with its settings; the dialect's is
        /// of no account, since the server must speak native and never sees the ID. Looks up the server, within the client's
        /// time, and returns; who is there, and whether the server answers, are the session's events. Sockets that the client
        /// holds become the session's, a given one, too; the client may be used for something else or disposed.
        /// </summary>
        /// <param name="id">The session ID, 1 to 1000 bytes; the same for all.</param>
        /// <param name="options">What to join with; null for the defaults.</param>
        /// <param name="cancellationToken">Ends the call at once; the session, once there, has nothing to do with it.</param>
        /// <exception cref="HolePunchException">It failed.</exception>
        /// <exception cref="OperationCanceledException">It was cancelled.</exception>
        /// <exception cref="ObjectDisposedException">The client is disposed, or was meanwhile.</exception>
        public Session Join(byte[] id, SessionOptions options = null,
            CancellationToken cancellationToken = default(CancellationToken))
        {
            return Run(Joining(id, options, cancellationToken), cancellationToken);
        }

        /// <summary>
        /// Joins the session of those who share the ID, which is taken as UTF-8: see
        /// <see cref="Join(byte[], SessionOptions, CancellationToken)"/>.
        /// </summary>
        public Session Join(string id, SessionOptions options = null,
            CancellationToken cancellationToken = default(CancellationToken))
        {
            return Join(Arguments.SessionIdBytes(id), options, cancellationToken);
        }

        /// <summary>
        /// Joins the session of those who share the ID, without blocking the thread: see
        /// <see cref="Join(byte[], SessionOptions, CancellationToken)"/>.
        /// </summary>
        public Task<Session> JoinAsync(byte[] id, SessionOptions options = null,
            CancellationToken cancellationToken = default(CancellationToken))
        {
            return RunAsync(Joining(id, options, cancellationToken), cancellationToken);
        }

        /// <summary>
        /// Joins the session of those who share the ID, which is taken as UTF-8, without blocking the thread: see
        /// <see cref="Join(byte[], SessionOptions, CancellationToken)"/>.
        /// </summary>
        public Task<Session> JoinAsync(string id, SessionOptions options = null,
            CancellationToken cancellationToken = default(CancellationToken))
        {
            return JoinAsync(Arguments.SessionIdBytes(id), options, cancellationToken);
        }

        private unsafe Func<Session> Joining(byte[] id, SessionOptions options, CancellationToken token)
        {
            Arguments.CheckSessionId(id);
            options = options ?? new SessionOptions();
            hp_session_options native = options.ToNative();
            byte[] identity = options.Identity?.ToByteArray(), pinned = options.PinnedBytes();
            return () =>
            {
                Forget();
                IntPtr session = IntPtr.Zero;
                hp_error detail = Interop.Detail();
                hp_status status = Call(error =>
                {
                    fixed (byte* start = id, secret = identity, keys = pinned)
                    {
                        hp_session_options with = native;
                        with.identity = secret;
                        with.pinned = keys;
                        with.pinned_count = (UIntPtr)((pinned?.Length ?? 0) / PublicKey.Length);
                        return NativeMethods.hp_session_join(handle, start, (UIntPtr)id.Length, &with, out session, error);
                    }
                }, &detail, token);
                if (status == hp_status.HP_STATUS_OK)
                {
                    given = null;
                    return new Session(new SessionHandle(session));
                }
                if (status != hp_status.HP_STATUS_CANCELLED)
                    throw Interop.Failure(status, &detail);
                throw Ended(token);
            };
        }
    }
}

using System;
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;
using HolePunch.Native;

namespace HolePunch
{
    public sealed partial class AddressConnection
    {
        // Held by whoever sends, so that what others send over a stream does not get in between.
        private readonly SemaphoreSlim turn = new SemaphoreSlim(1, 1);

        /// <summary>
        /// Sends data to the peer. Over UDP it is one datagram, which is sent at once or lost. Over TCP it blocks until the
        /// system has taken all of it.
        /// </summary>
        /// <param name="data">
        /// Over UDP at most <see cref="MaxDatagramLength"/> bytes, and nothing for which <see cref="ControlPacket"/> holds,
        /// which the peer would not receive.
        /// </param>
        /// <exception cref="HolePunchException">
        /// There is no connection, or not any more (<see cref="HolePunchError.NotConnected"/>), the system has no room for
        /// a datagram (<see cref="HolePunchError.Full"/>), or it fails (<see cref="HolePunchError.Socket"/>).
        /// </exception>
        /// <exception cref="ObjectDisposedException">It is disposed, or was meanwhile.</exception>
        public void Send(byte[] data)
        {
            Send(data, 0, CheckedLength(data));
        }

        /// <summary>Sends a part of a buffer to the peer: see <see cref="Send(byte[])"/>.</summary>
        public void Send(byte[] buffer, int offset, int count)
        {
            Func<long, bool> send = Sending(buffer, offset, count);
            turn.Wait();
            try
            {
                Retry(send, CancellationToken.None);
            }
            finally
            {
                turn.Release();
            }
        }

        /// <summary>
        /// Sends data to the peer without blocking the thread: see <see cref="Send(byte[])"/>. If it is cancelled over TCP,
        /// a part may have been sent.
        /// </summary>
        public Task SendAsync(byte[] data, CancellationToken cancellationToken = default(CancellationToken))
        {
            return SendAsync(data, 0, CheckedLength(data), cancellationToken);
        }

        /// <summary>
        /// Sends a part of a buffer to the peer without blocking the thread: see
        /// <see cref="SendAsync(byte[], CancellationToken)"/>.
        /// </summary>
        public Task SendAsync(byte[] buffer, int offset, int count,
            CancellationToken cancellationToken = default(CancellationToken))
        {
            return SendInTurn(Sending(buffer, offset, count), cancellationToken);
        }

        private async Task SendInTurn(Func<long, bool> send, CancellationToken token)
        {
            await turn.WaitAsync(token).ConfigureAwait(false);
            try
            {
                token.ThrowIfCancellationRequested();
                await RetryAsync(send, token).ConfigureAwait(false);
            }
            finally
            {
                turn.Release();
            }
        }

        private static int CheckedLength(byte[] data)
        {
            if (data == null)
                throw new ArgumentNullException(nameof(data));
            return data.Length;
        }

        // Sends what is left for so many milliseconds; true once nothing is.
        private Func<long, bool> Sending(byte[] buffer, int offset, int count)
        {
            Arguments.CheckRange(buffer, offset, count);
            int sent = 0;
            return wait => (sent += SendSome(buffer, offset + sent, count - sent, wait)) == count;
        }

        private unsafe int SendSome(byte[] buffer, int offset, int count, long milliseconds)
        {
            ThrowIfDisposed();
            hp_error detail = Interop.Detail();
            UIntPtr written;
            hp_status status;
            fixed (byte* start = buffer)
                status = NativeMethods.hp_conn_write(handle, count == 0 ? null : start + offset, (UIntPtr)count,
                    milliseconds, &written, &detail);
            if (status == hp_status.HP_STATUS_OK)
                return (int)written;
            if (status == hp_status.HP_STATUS_FULL && transport == Transport.Tcp)
                return 0;
            ThrowIfDisposed();
            HolePunchException failure = Interop.Failure(status, &detail);
            if (status == hp_status.HP_STATUS_INVALID_ARGUMENT)
                throw new ArgumentException(failure.Message);
            throw failure;
        }

        /// <summary>
        /// Receives what the peer has sent: over UDP a datagram, over TCP what has come. Nothing is fetched before somebody
        /// asks for it; over TCP the peer waits then, once 1 MiB does here, and over UDP the system drops what comes.
        /// </summary>
        /// <returns>
        /// What has come, at least one byte; null if nothing more will, because one of both sides has closed it, as
        /// <see cref="End"/> tells.
        /// </returns>
        /// <exception cref="HolePunchException">
        /// There is no connection yet (<see cref="HolePunchError.NotConnected"/>), or it has failed, as <see cref="End"/>
        /// tells.
        /// </exception>
        /// <exception cref="InvalidOperationException">
        /// The socket is to be taken: see <see cref="AddressConnectionOptions.TakesSocket"/>.
        /// </exception>
        /// <exception cref="ObjectDisposedException">It is disposed, or was meanwhile.</exception>
        public byte[] Receive()
        {
            byte[] data;
            while (!TryReceive(out data))
                WhenSomethingHappens(CancellationToken.None).GetAwaiter().GetResult();
            return data;
        }

        /// <summary>Receives what the peer has sent, without blocking the thread: see <see cref="Receive"/>.</summary>
        /// <exception cref="OperationCanceledException">It was cancelled; nothing is lost.</exception>
        public async Task<byte[]> ReceiveAsync(CancellationToken cancellationToken = default(CancellationToken))
        {
            cancellationToken.ThrowIfCancellationRequested();
            byte[] data;
            while (!TryReceive(out data))
                await WhenSomethingHappens(cancellationToken).ConfigureAwait(false);
            return data;
        }

        // True with null: nothing more will come.
        private bool TryReceive(out byte[] data)
        {
            CheckReceiving();
            switch (Next(out data))
            {
                case Happening.Data: return true;
                case Happening.Nothing: return false;
            }
            if (end?.Error != null)
                throw Again(end.Error);
            return true;
        }

        private void CheckReceiving()
        {
            ThrowIfDisposed();
            if (takesSocket)
                throw new InvalidOperationException("What comes is read from the socket that is taken.");
            if (!isConnected)
                throw Interop.Failure(hp_status.HP_STATUS_NOT_CONNECTED);
        }

        /// <summary>
        /// What the peer sends, until it is over: for a loop of <c>foreach</c>, which blocks the thread until something
        /// comes. See <see cref="Receive"/>.
        /// </summary>
        public IEnumerable<byte[]> ReceiveAll()
        {
            byte[] data;
            while ((data = Receive()) != null)
                yield return data;
        }

#if NETSTANDARD2_1_OR_GREATER || NET5_0_OR_GREATER
        /// <summary>
        /// What the peer sends, until it is over: for a loop of <c>await foreach</c>, which does not block the thread. See
        /// <see cref="ReceiveAsync"/>.
        /// </summary>
        public IAsyncEnumerable<byte[]> ReceiveAllAsync(CancellationToken cancellationToken = default(CancellationToken))
        {
            return new AsyncSequence<byte[]>(ReceiveAsync, cancellationToken);
        }
#endif

        private int started;

        /// <summary>What the peer has sent, as <see cref="Receive"/> returns it.</summary>
        public event EventHandler<byte[]> DataReceived;

        /// <summary>It is over: raised once, after everything else. Not after <see cref="Dispose"/>.</summary>
        public event EventHandler<ConnectionEnded> Ended;

        /// <summary>
        /// From now on, once it is connected, .NET's events are raised, one at a time, until it is over: the next one when
        /// the handlers of the one before have returned. An exception that a handler throws is the context's, and without
        /// one it ends the program. Add the handlers before.
        /// </summary>
        /// <param name="context">
        /// Where: <see cref="SynchronizationContext.Current"/> for the thread of a user interface or a game. Null, the
        /// default, for the thread pool.
        /// </param>
        /// <exception cref="HolePunchException">
        /// There is no connection yet (<see cref="HolePunchError.NotConnected"/>).
        /// </exception>
        /// <exception cref="InvalidOperationException">It was called before, or the socket is to be taken.</exception>
        public void Start(SynchronizationContext context = null)
        {
            CheckReceiving();
            if (Interlocked.Exchange(ref started, 1) != 0)
                throw new InvalidOperationException("The connection was started before.");
            Raising.All(context ?? new SynchronizationContext(), NextRaising);
        }

        private bool hasRaisedEnd;

        private async Task<Action> NextRaising()
        {
            if (hasRaisedEnd)
                return null;
            byte[] data = null;
            Happening happening;
            while ((happening = Next(out data)) == Happening.Nothing)
                await WhenSomethingHappens(CancellationToken.None).ConfigureAwait(false);
            hasRaisedEnd = happening == Happening.Over;
            return () =>
            {
                if (descriptor.IsClosed)
                    return;
                if (data == null)
                    Ended?.Invoke(this, end);
                else
                    DataReceived?.Invoke(this, data);
            };
        }
    }
}

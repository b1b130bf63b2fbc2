using System;
using System.Collections.Generic;
using System.Linq;
using System.Net;
using System.Threading;
using System.Threading.Tasks;
using HolePunch.Native;

namespace HolePunch
{
    public sealed partial class AddressConnection
    {
        // The library lets one thread at a time ask for events.
        private readonly object asking = new object();
        private volatile bool isConnected;
        private volatile ConnectionEnded end;

        private enum Happening
        {
            Nothing,
            Connected,
            Data,
            Over,
        }

        /// <summary>The peer's address; null before it is connected.</summary>
        public IPEndPoint RemoteEndPoint { get; private set; }

        /// <summary>Our own end; null before it is connected, or if it ended at the same moment.</summary>
        public IPEndPoint LocalEndPoint { get; private set; }

        /// <summary>
        /// How <see cref="RemoteEndPoint"/> was learned: <see cref="PathKind.Reflexive"/> if it was given,
        /// <see cref="PathKind.PeerReflexive"/> if the peer came from there; null where <see cref="LocalEndPoint"/> is.
        /// </summary>
        public PathKind? Path { get; private set; }

        /// <summary>The round-trip time; null if it is not known.</summary>
        public TimeSpan? RoundTripTime { get; private set; }

        /// <summary>Whether it was connected and the peer has proven that it knows the ID.</summary>
        public bool IsAuthenticated => isConnected && isAuthenticating;

        /// <summary>Why it is over; null before all that has come was received.</summary>
        public ConnectionEnded End => end;

        /// <summary>
        /// Looks for the peer at these addresses, all at the same time, and lets it in if it comes to ours; without any,
        /// the latter only. Blocks until it is connected, time is up or the call is cancelled. The other side must do the
        /// same within the time that the options give. Once per object, whatever comes of it.
        /// </summary>
        /// <param name="endPoints">What the peer has told, at most <see cref="MaxAddresses"/>.</param>
        /// <param name="cancellationToken">Ends the attempt at once, and with it the connection.</param>
        /// <exception cref="HolePunchException">
        /// The peer was not reached: there is nobody (<see cref="HolePunchError.TimedOutPunching"/>) or somebody who does
        /// not know the ID (<see cref="HolePunchError.Stranger"/>). Or it was called before
        /// (<see cref="HolePunchError.AlreadyAttempted"/>).
        /// </exception>
        /// <exception cref="ArgumentException">
        /// An address has no port, stands for no host, or there are too many.
        /// </exception>
        /// <exception cref="OperationCanceledException">It was cancelled, or disconnected meanwhile.</exception>
        /// <exception cref="ObjectDisposedException">It is disposed, or was meanwhile.</exception>
        public void Connect(IEnumerable<IPEndPoint> endPoints,
            CancellationToken cancellationToken = default(CancellationToken))
        {
            Attempt(Addresses(endPoints), cancellationToken);
            try
            {
                // Not by way of ConnectAsync, which needs a thread of the pool to go on.
                while (!HasConnected())
                    WhenSomethingHappens(cancellationToken).GetAwaiter().GetResult();
            }
            catch (OperationCanceledException)
            {
                NativeMethods.hp_conn_close(handle);
                throw;
            }
        }

        /// <summary>
        /// Connects to the peer at one of these addresses without blocking the thread: see
        /// <see cref="Connect(IEnumerable{IPEndPoint}, CancellationToken)"/>.
        /// </summary>
        public Task ConnectAsync(IEnumerable<IPEndPoint> endPoints,
            CancellationToken cancellationToken = default(CancellationToken))
        {
            return ConnectAsync(Addresses(endPoints), cancellationToken);
        }

        private async Task ConnectAsync(hp_addr[] addresses, CancellationToken token)
        {
            Attempt(addresses, token);
            try
            {
                while (!HasConnected())
                    await WhenSomethingHappens(token).ConfigureAwait(false);
            }
            catch (OperationCanceledException)
            {
                NativeMethods.hp_conn_close(handle);
                throw;
            }
        }

        private static hp_addr[] Addresses(IEnumerable<IPEndPoint> endPoints)
        {
            if (endPoints == null)
                throw new ArgumentNullException(nameof(endPoints));
            return endPoints.Select(each =>
                Interop.Address(Arguments.CheckEndPoint(each, nameof(endPoints)))).ToArray();
        }

        // False while it is being attempted.
        private bool HasConnected()
        {
            byte[] data;
            switch (Next(out data))
            {
                case Happening.Nothing: return false;
                case Happening.Connected: return true;
            }
            if (end?.Error != null)
                throw Again(end.Error);
            throw new OperationCanceledException("The connection was ended.");
        }

        private unsafe void Attempt(hp_addr[] addresses, CancellationToken token)
        {
            token.ThrowIfCancellationRequested();
            ThrowIfDisposed();
            hp_error detail = Interop.Detail();
            hp_status status;
            fixed (hp_addr* first = addresses)
                status = NativeMethods.hp_conn_attempt(handle, first, (UIntPtr)addresses.Length, &detail);
            if (status == hp_status.HP_STATUS_INVALID_ARGUMENT)
                throw new ArgumentException(addresses.Length > MaxAddresses
                    ? "There may be at most " + MaxAddresses + " addresses."
                    : Interop.Failure(status, &detail).Message, "endPoints");
            if (status != hp_status.HP_STATUS_OK)
                throw Interop.Failure(status, &detail);
        }

        private Task WhenSomethingHappens(CancellationToken token)
        {
            return Readiness.WhenReady(descriptor, nameof(AddressConnection), Unix.POLLIN, Timeout.InfiniteTimeSpan, token);
        }

        // What happens next. Once it is over, it stays so.
        private Happening Next(out byte[] data)
        {
            bool isHeld = false;
            lock (asking)
            {
                try
                {
                    ThrowIfDisposed();
                    // What an event leads to lives as long as the connection.
                    handle.DangerousAddRef(ref isHeld);
                    Happening happening = Ask(out data);
                    if (happening == Happening.Over)
                        ThrowIfDisposed();
                    return happening;
                }
                finally
                {
                    if (isHeld)
                        handle.DangerousRelease();
                }
            }
        }

        private unsafe Happening Ask(out byte[] data)
        {
            data = null;
            hp_conn_event native = default(hp_conn_event);
            native.struct_size = (uint)sizeof(hp_conn_event);
            for (;;)
            {
                hp_status status = NativeMethods.hp_conn_next_event(handle, 0, &native);
                if (status == hp_status.HP_STATUS_NOTHING)
                    return Happening.Nothing;
                if (status == hp_status.HP_STATUS_CANCELLED)
                    return Happening.Over;
                Interop.Check(status);
                switch (native.kind)
                {
                    case NativeMethods.HP_CONN_CONNECTED:
                        RemoteEndPoint = Interop.EndPoint(&native.endpoint);
                        ReadInfo();
                        isConnected = true;
                        return Happening.Connected;
                    case NativeMethods.HP_CONN_DATA:
                        data = Interop.Bytes(native.data, (int)native.data_len);
                        return Happening.Data;
                    case NativeMethods.HP_CONN_ENDED:
                        end = new ConnectionEnded(&native);
                        return Happening.Over;
                }
            }
        }

        // It may have ended already.
        private unsafe void ReadInfo()
        {
            hp_conn_info info = default(hp_conn_info);
            info.struct_size = (uint)sizeof(hp_conn_info);
            if (NativeMethods.hp_conn_get_info(handle, &info) != hp_status.HP_STATUS_OK)
                return;
            LocalEndPoint = Interop.EndPoint(&info.local);
            Path = (PathKind)info.path;
            RoundTripTime = Interop.RoundTripTime(info.rtt_us);
        }

        // An exception that was thrown before keeps the place where it was.
        private static HolePunchException Again(HolePunchException error)
        {
            return new HolePunchException(error.Code, error.Message, error.NativeErrorCode);
        }
    }
}

using System;
using System.Threading;
using System.Threading.Tasks;
using HolePunch.Native;

namespace HolePunch
{
    public sealed partial class HolePunchClient
    {
        /// <summary>
        /// Asks the server, from fresh sockets, what the NAT in the way does. Blocks for a second or two, until time is up
        /// or the call is cancelled. What earlier calls left is not touched.
        /// </summary>
        /// <param name="cancellationToken">Ends the call at once.</param>
        /// <exception cref="HolePunchException">It failed.</exception>
        /// <exception cref="OperationCanceledException">It was cancelled.</exception>
        /// <exception cref="ObjectDisposedException">The client is disposed, or was meanwhile.</exception>
        public NatReport CheckNat(CancellationToken cancellationToken = default(CancellationToken))
        {
            return CheckNat(TimeSpan.Zero, cancellationToken);
        }

        /// <summary>
        /// Asks the server what the NAT in the way does, and waits to see how long it keeps an unused mapping: see
        /// <see cref="CheckNat(CancellationToken)"/>.
        /// </summary>
        /// <param name="longestLifetime">
        /// How long to wait for that at most, 10 seconds to 5 minutes; the call takes so much longer, and has so much more
        /// time. <see cref="TimeSpan.Zero"/> is not to look.
        /// </param>
        /// <param name="cancellationToken">Ends the call at once.</param>
        /// <exception cref="HolePunchException">It failed.</exception>
        /// <exception cref="OperationCanceledException">It was cancelled.</exception>
        /// <exception cref="ObjectDisposedException">The client is disposed, or was meanwhile.</exception>
        public NatReport CheckNat(TimeSpan longestLifetime,
            CancellationToken cancellationToken = default(CancellationToken))
        {
            uint longest = Lifetime(longestLifetime);
            return Run(() => Check(longest, cancellationToken), cancellationToken);
        }

        /// <summary>
        /// Asks the server what the NAT in the way does, without blocking the thread: see
        /// <see cref="CheckNat(CancellationToken)"/>.
        /// </summary>
        public Task<NatReport> CheckNatAsync(CancellationToken cancellationToken = default(CancellationToken))
        {
            return CheckNatAsync(TimeSpan.Zero, cancellationToken);
        }

        /// <summary>
        /// Asks the server what the NAT in the way does, and how long it keeps an unused mapping, without blocking the
        /// thread: see <see cref="CheckNat(TimeSpan, CancellationToken)"/>.
        /// </summary>
        public Task<NatReport> CheckNatAsync(TimeSpan longestLifetime,
            CancellationToken cancellationToken = default(CancellationToken))
        {
            uint longest = Lifetime(longestLifetime);
            return RunAsync(() => Check(longest, cancellationToken), cancellationToken);
        }

        private static uint Lifetime(TimeSpan longest)
        {
            long ms = Interop.Milliseconds(longest);
            if (ms < 0 || ms > uint.MaxValue)
                throw new ArgumentOutOfRangeException("longestLifetime", longest, "It must be 0 to 49 days.");
            return (uint)ms;
        }

        private unsafe NatReport Check(uint longestLifetime, CancellationToken token)
        {
            hp_nat_report native = default(hp_nat_report);
            native.struct_size = (uint)sizeof(hp_nat_report);
            hp_nat_report* into = &native;
            hp_error detail = Interop.Detail();
            hp_status status = Call(error => NativeMethods.hp_client_check_nat(handle, longestLifetime, into, error),
                &detail, token);
            if (status == hp_status.HP_STATUS_OK)
                return new NatReport(into);
            if (status != hp_status.HP_STATUS_CANCELLED)
                throw Interop.Failure(status, &detail);
            throw Ended(token);
        }
    }
}

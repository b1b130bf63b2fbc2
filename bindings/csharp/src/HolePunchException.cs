using System;
using System.Collections.Generic;

namespace HolePunch
{
    /// <summary>
    /// What a failing call throws. If time was up, <see cref="Exception.InnerException"/> is a <see cref="TimeoutException"/>.
    /// </summary>
    public sealed class HolePunchException : Exception
    {
        private static readonly Peer[] nobody = new Peer[0];

        internal HolePunchException(HolePunchError code, string message, int nativeErrorCode = 0,
            IReadOnlyList<Peer> peers = null, Exception cause = null)
            : base(message, cause ?? (IsTimeoutCode(code) ? new TimeoutException(message) : null))
        {
            Code = code;
            NativeErrorCode = nativeErrorCode;
            Peers = peers ?? nobody;
        }

        /// <summary>Why the call failed.</summary>
        public HolePunchError Code { get; }

        /// <summary>The operating system's error number (errno), or 0.</summary>
        public int NativeErrorCode { get; }

        /// <summary>
        /// The peers that were found before the call failed; <see cref="HolePunchClient.ConnectPeersAsync"/> can go on with
        /// them. <see cref="Peer.CauseText"/> says what probably kept one from being reached, and
        /// <see cref="Peer.Attempts"/> where it was looked for.
        /// </summary>
        public IReadOnlyList<Peer> Peers { get; }

        /// <summary>Whether the call failed because time was up.</summary>
        public bool IsTimeout => IsTimeoutCode(Code);

        private static bool IsTimeoutCode(HolePunchError code)
        {
            return code == HolePunchError.ServerSilent || code == HolePunchError.TimedOutWaiting
                || code == HolePunchError.TimedOutPunching;
        }
    }
}

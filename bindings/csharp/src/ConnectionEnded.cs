using HolePunch.Native;

namespace HolePunch
{
    /// <summary>Why a connection is over.</summary>
    public enum ConnectionEnd
    {
        /// <summary>We have closed it.</summary>
        Closed = NativeMethods.HP_END_CLOSED,

        /// <summary>The peer has.</summary>
        ClosedByPeer = NativeMethods.HP_END_CLOSED_BY_PEER,

        /// <summary>Nothing has come from the peer for 30 seconds; only over UDP, where it is authenticated.</summary>
        Silent = NativeMethods.HP_END_SILENT,

        /// <summary>It has failed.</summary>
        Failed = NativeMethods.HP_END_FAILED,

        /// <summary>The peer was not reached.</summary>
        NotReached = NativeMethods.HP_END_NOT_REACHED,
    }

    /// <summary>That a connection is over, and why.</summary>
    public sealed class ConnectionEnded
    {
        internal unsafe ConnectionEnded(hp_conn_event* native)
        {
            Reason = (ConnectionEnd)native->reason;
            switch (Reason)
            {
                case ConnectionEnd.Silent:
                    Error = new HolePunchException(HolePunchError.NotConnected,
                        "nothing has come from the peer for 30 seconds");
                    break;
                case ConnectionEnd.Failed:
                    Error = new HolePunchException(HolePunchError.Socket,
                        "the connection has failed: error " + native->os_error, native->os_error);
                    break;
                case ConnectionEnd.NotReached:
                    string message = Interop.Text(native->message);
                    Error = new HolePunchException((HolePunchError)native->status, message, native->os_error);
                    break;
            }
        }

        /// <summary>Why.</summary>
        public ConnectionEnd Reason { get; }

        /// <summary>What went wrong; null if one of both sides has closed it.</summary>
        public HolePunchException Error { get; }

        /// <summary>The reason, and what went wrong, for people to read.</summary>
        public override string ToString()
        {
            return Error == null ? Reason.ToString() : Reason + ": " + Error.Message;
        }
    }
}

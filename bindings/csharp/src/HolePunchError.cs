namespace HolePunch
{
    /// <summary>Why something failed. Negative numbers are the native library's own and never change.</summary>
    public enum HolePunchError
    {
        /// <summary>The native library cannot be found or loaded.</summary>
        LibraryNotFound = 1,

        /// <summary>The native library has another binary interface than this assembly needs.</summary>
        LibraryMismatch = 2,

        /// <summary>A value is out of its range.</summary>
        InvalidArgument = -1,

        /// <summary>Another call is running.</summary>
        Busy = -3,

        /// <summary>A bug in the library; the object can only be disposed.</summary>
        Panic = -4,

        /// <summary>An earlier call on this object met a bug; it can only be disposed.</summary>
        Poisoned = -5,

        /// <summary>The session ID is empty or longer than 1000 bytes.</summary>
        InvalidSessionId = -10,

        /// <summary>The server is not given as host:port.</summary>
        InvalidServer = -11,

        /// <summary>The server's name has no address.</summary>
        ServerNotFound = -12,

        /// <summary>
        /// A local socket could not be made, bound or used; see <see cref="HolePunchException.NativeErrorCode"/>.
        /// </summary>
        Socket = -13,

        /// <summary>Time is up, and the server never answered.</summary>
        ServerSilent = -20,

        /// <summary>The network says that the server cannot be reached.</summary>
        ServerUnreachable = -21,

        /// <summary>The server's host says that nothing listens on that port.</summary>
        ServerPortClosed = -22,

        /// <summary>The server is full, or the session is.</summary>
        ServerRefused = -23,

        /// <summary>The server speaks only a dialect that the client was told not to speak.</summary>
        DialectMismatch = -24,

        /// <summary>The server's host answers over TCP, but not over UDP, which seems to be blocked on the way.</summary>
        UdpBlocked = -25,

        /// <summary>
        /// Time is up, and the server has named too few peers; <see cref="HolePunchException.Peers"/> are those it has named.
        /// </summary>
        TimedOutWaiting = -30,

        /// <summary>
        /// Time is up, and too few of the named peers were reached; <see cref="HolePunchException.Peers"/> are all of them.
        /// </summary>
        TimedOutPunching = -31,

        /// <summary>Somebody else is at the peer's addresses, who does not know the ID.</summary>
        Stranger = -33,

        /// <summary>There is no such peer or socket, or it has been taken.</summary>
        NotFound = -40,

        /// <summary>So much waits already that nothing more is taken; later there is room.</summary>
        Full = -42,

        /// <summary>There is no connection, or not any more.</summary>
        NotConnected = -43,

        /// <summary>What can be done once has been done.</summary>
        AlreadyAttempted = -44,

        /// <summary>Not possible here.</summary>
        Unsupported = -50,
    }
}

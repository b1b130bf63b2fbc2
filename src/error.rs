//! What can go wrong, and what was found before it did.

use std::fmt;
use std::io;

use crate::client::Peer;

/// Why a call failed. Each kind is one status of the C ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument or a setting is out of its range.
    InvalidArgument,
    /// The session ID has 0 or more than 1000 bytes.
    InvalidSessionId,
    /// The server's text is not `host:port`.
    InvalidServer,
    /// The server's name has no address.
    ServerNotFound,
    /// A local socket could not be made, bound or used.
    Socket,
    /// Time is up, and the server never answered.
    ServerSilent,
    /// The network says that the server cannot be reached.
    ServerUnreachable,
    /// The server's host says that nothing listens on that port.
    ServerPortClosed,
    /// The server's host answers over TCP, but not over UDP, which seems to be blocked on the way.
    UdpBlocked,
    /// The server is full, or the session is.
    ServerRefused,
    /// The server speaks only a dialect that the policy rules out.
    DialectMismatch,
    /// Time is up, and the server has named too few peers.
    TimedOutWaiting,
    /// Time is up, and too few of the named peers were reached.
    TimedOutPunching,
    /// Somebody else is at the peer's endpoints, who does not know the ID.
    Stranger,
    /// There is no such peer in the session, or not any more.
    NoSuchPeer,
    /// So much waits already that nothing more is taken; later there is room.
    Full,
    /// There is no connection, or not any more.
    NotConnected,
    /// What can be done once has been done.
    AlreadyAttempted,
    /// `cancel` was called.
    Cancelled,
}

/// A failed call.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    os_error: Option<i32>,
    peers: Vec<Peer>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), os_error: None, peers: Vec::new() }
    }

    pub(crate) fn from_io(kind: ErrorKind, doing: &str, error: &io::Error) -> Self {
        Self { os_error: error.raw_os_error(), ..Self::new(kind, format!("{doing}: {error}")) }
    }

    pub(crate) fn with_peers(self, peers: Vec<Peer>) -> Self {
        Self { peers, ..self }
    }

    /// Why the call failed.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The operating system's error number, where it had one.
    pub fn os_error(&self) -> Option<i32> {
        self.os_error
    }

    /// The peers that were found before the call failed; some may be connected.
    pub fn peers(&self) -> &[Peer] {
        &self.peers
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

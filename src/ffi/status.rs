//! Status codes.

use std::ffi::{CStr, c_char};

use super::guard::guard_or;
use crate::ErrorKind;

/// What a call came to. 0 is success, errors are negative; numbers are never reused and the same on every system.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum hp_status {
    /// Success.
    HP_STATUS_OK = 0,
    /// A pointer is NULL where it must not be, or a value is out of its range.
    HP_STATUS_INVALID_ARGUMENT = -1,
    /// The buffer is too small; the required size has been written.
    HP_STATUS_BUFFER_TOO_SMALL = -2,
    /// Another call is running on this handle.
    HP_STATUS_BUSY = -3,
    /// A bug in the library; the handle can only be freed.
    HP_STATUS_PANIC = -4,
    /// An earlier call on this handle met a bug; it can only be freed.
    HP_STATUS_POISONED = -5,
    /// The session ID is empty or longer than 1000 bytes.
    HP_STATUS_INVALID_SESSION_ID = -10,
    /// The server is not given as host:port.
    HP_STATUS_INVALID_SERVER = -11,
    /// The server's name has no address.
    HP_STATUS_SERVER_NOT_FOUND = -12,
    /// A local socket could not be made, bound or used; see os_error.
    HP_STATUS_SOCKET = -13,
    /// Time is up, and the server never answered.
    HP_STATUS_SERVER_SILENT = -20,
    /// The network says that the server cannot be reached.
    HP_STATUS_SERVER_UNREACHABLE = -21,
    /// The server's host says that nothing listens on that port.
    HP_STATUS_SERVER_PORT_CLOSED = -22,
    /// The server is full, or the session is.
    HP_STATUS_SERVER_REFUSED = -23,
    /// The server speaks only a dialect that the client was told not to speak.
    HP_STATUS_DIALECT_MISMATCH = -24,
    /// The server's host answers over TCP, but not over UDP, which seems to be blocked on the way.
    HP_STATUS_UDP_BLOCKED = -25,
    /// Time is up, and the server has named too few peers; those it has named are listed.
    HP_STATUS_TIMED_OUT_WAITING = -30,
    /// Time is up, and too few of the named peers were reached; all are listed.
    HP_STATUS_TIMED_OUT_PUNCHING = -31,
    /// hp_cancel or hp_client_free was called.
    HP_STATUS_CANCELLED = -32,
    /// Somebody else is at the peer's addresses, who does not know the ID.
    HP_STATUS_STRANGER = -33,
    /// There is no such peer or socket, or the socket has been taken.
    HP_STATUS_NOT_FOUND = -40,
    /// There is nothing (more) to read.
    HP_STATUS_NOTHING = -41,
    /// So much waits already that nothing more is taken; later there is room.
    HP_STATUS_FULL = -42,
    /// There is no connection, or not any more.
    HP_STATUS_NOT_CONNECTED = -43,
    /// What can be done once has been done.
    HP_STATUS_ALREADY_ATTEMPTED = -44,
    /// Not possible here: the process logs through Rust already, or the call comes from within a callback.
    HP_STATUS_UNSUPPORTED = -50,
}

use hp_status::*;

const ALL: [(hp_status, &CStr, &CStr); 26] = [
    (HP_STATUS_OK, c"HP_STATUS_OK", c"success"),
    (HP_STATUS_INVALID_ARGUMENT, c"HP_STATUS_INVALID_ARGUMENT", c"an argument is NULL or out of its range"),
    (HP_STATUS_BUFFER_TOO_SMALL, c"HP_STATUS_BUFFER_TOO_SMALL", c"the buffer is too small"),
    (HP_STATUS_BUSY, c"HP_STATUS_BUSY", c"another call is running on this handle"),
    (HP_STATUS_PANIC, c"HP_STATUS_PANIC", c"a bug in the library; free the handle"),
    (HP_STATUS_POISONED, c"HP_STATUS_POISONED", c"an earlier call met a bug; free the handle"),
    (HP_STATUS_INVALID_SESSION_ID, c"HP_STATUS_INVALID_SESSION_ID", c"a session ID has 1 to 1000 bytes"),
    (HP_STATUS_INVALID_SERVER, c"HP_STATUS_INVALID_SERVER", c"the server is not given as host:port"),
    (HP_STATUS_SERVER_NOT_FOUND, c"HP_STATUS_SERVER_NOT_FOUND", c"the server's name has no address"),
    (HP_STATUS_SOCKET, c"HP_STATUS_SOCKET", c"a local socket could not be made, bound or used"),
    (HP_STATUS_SERVER_SILENT, c"HP_STATUS_SERVER_SILENT", c"timed out: the server never answered"),
    (HP_STATUS_SERVER_UNREACHABLE, c"HP_STATUS_SERVER_UNREACHABLE", c"the server cannot be reached"),
    (HP_STATUS_SERVER_PORT_CLOSED, c"HP_STATUS_SERVER_PORT_CLOSED", c"nothing listens on the server's port"),
    (HP_STATUS_SERVER_REFUSED, c"HP_STATUS_SERVER_REFUSED", c"the server or the session is full"),
    (
        HP_STATUS_DIALECT_MISMATCH,
        c"HP_STATUS_DIALECT_MISMATCH",
        c"the server speaks no dialect that is allowed",
    ),
    (HP_STATUS_UDP_BLOCKED, c"HP_STATUS_UDP_BLOCKED", c"UDP to the server seems to be blocked"),
    (HP_STATUS_TIMED_OUT_WAITING, c"HP_STATUS_TIMED_OUT_WAITING", c"timed out while waiting for peers"),
    (HP_STATUS_TIMED_OUT_PUNCHING, c"HP_STATUS_TIMED_OUT_PUNCHING", c"timed out while punching"),
    (HP_STATUS_CANCELLED, c"HP_STATUS_CANCELLED", c"cancelled"),
    (HP_STATUS_STRANGER, c"HP_STATUS_STRANGER", c"somebody else is at the peer's addresses"),
    (HP_STATUS_NOT_FOUND, c"HP_STATUS_NOT_FOUND", c"no such peer or socket"),
    (HP_STATUS_NOTHING, c"HP_STATUS_NOTHING", c"nothing to read"),
    (HP_STATUS_FULL, c"HP_STATUS_FULL", c"too much waits already"),
    (HP_STATUS_NOT_CONNECTED, c"HP_STATUS_NOT_CONNECTED", c"there is no connection"),
    (HP_STATUS_ALREADY_ATTEMPTED, c"HP_STATUS_ALREADY_ATTEMPTED", c"that can be done once only"),
    (HP_STATUS_UNSUPPORTED, c"HP_STATUS_UNSUPPORTED", c"not possible here"),
];

impl From<ErrorKind> for hp_status {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::InvalidArgument => HP_STATUS_INVALID_ARGUMENT,
            ErrorKind::InvalidSessionId => HP_STATUS_INVALID_SESSION_ID,
            ErrorKind::InvalidServer => HP_STATUS_INVALID_SERVER,
            ErrorKind::ServerNotFound => HP_STATUS_SERVER_NOT_FOUND,
            ErrorKind::Socket => HP_STATUS_SOCKET,
            ErrorKind::ServerSilent => HP_STATUS_SERVER_SILENT,
            ErrorKind::ServerUnreachable => HP_STATUS_SERVER_UNREACHABLE,
            ErrorKind::ServerPortClosed => HP_STATUS_SERVER_PORT_CLOSED,
            ErrorKind::ServerRefused => HP_STATUS_SERVER_REFUSED,
            ErrorKind::DialectMismatch => HP_STATUS_DIALECT_MISMATCH,
            ErrorKind::UdpBlocked => HP_STATUS_UDP_BLOCKED,
            ErrorKind::TimedOutWaiting => HP_STATUS_TIMED_OUT_WAITING,
            ErrorKind::TimedOutPunching => HP_STATUS_TIMED_OUT_PUNCHING,
            ErrorKind::Stranger => HP_STATUS_STRANGER,
            ErrorKind::NoSuchPeer => HP_STATUS_NOT_FOUND,
            ErrorKind::Full => HP_STATUS_FULL,
            ErrorKind::NotConnected => HP_STATUS_NOT_CONNECTED,
            ErrorKind::AlreadyAttempted => HP_STATUS_ALREADY_ATTEMPTED,
            ErrorKind::Cancelled => HP_STATUS_CANCELLED,
        }
    }
}

fn find(status: i32) -> Option<&'static (hp_status, &'static CStr, &'static CStr)> {
    ALL.iter().find(|(known, ..)| *known as i32 == status)
}

/// The status' message, for errors that have none of their own.
pub(super) fn message_of(status: hp_status) -> &'static str {
    find(status as i32).and_then(|(.., message)| message.to_str().ok()).unwrap_or_default()
}

/// A status' name, such as "HP_STATUS_OK"; "HP_STATUS_UNKNOWN" for any other number.
/// The string is static. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn hp_status_name(status: i32) -> *const c_char {
    guard_or(c"".as_ptr(), || find(status).map_or(c"HP_STATUS_UNKNOWN", |(_, name, _)| name).as_ptr())
}

/// What a status means, in English, without a full stop; "unknown status" for any other number.
/// The string is static. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn hp_status_message(status: i32) -> *const c_char {
    guard_or(c"".as_ptr(), || find(status).map_or(c"unknown status", |(.., message)| message).as_ptr())
}

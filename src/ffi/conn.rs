//! Connections from plain addresses: bind, tell, attempt, talk.

use std::collections::VecDeque;
use std::ffi::CString;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;

use super::address::hp_addr;
use super::client::{HP_INVALID_SOCKET, hp_socket_t};
use super::conn_types::{hp_conn_event, hp_conn_info, hp_conn_options};
use super::error::{Failure, guard_with, hp_error, is_valid, report};
use super::guard::{bytes, clear_sized, guard, guard_or, is_struct_size_of, write_sized};
use super::key::export;
use super::status::hp_status::{self, *};
use crate::shared::wait_until_alone;
use crate::{Conn, ConnEnd, ConnEvent, TakenSocket};

/// Most addresses that a peer may be tried at.
pub const HP_CONN_MAX_ADDRESSES: usize = 16;
/// Longest datagram that hp_conn_write sends.
pub const HP_CONN_MAX_DATAGRAM_LEN: usize = 65507;

/// A connection between two programs that tell each other their addresses by means of their own.
pub struct hp_conn {
    inner: Arc<Inner>,
}

struct Inner {
    conn: Conn,
    /// The event that the caller's pointers lead into; locked while somebody asks for one.
    told: Mutex<Option<(ConnEvent, Option<CString>)>>,
    /// What came before the socket was taken and was not read.
    early: Mutex<VecDeque<Vec<u8>>>,
}

fn duration(timeout_ms: i64) -> Option<Duration> {
    u64::try_from(timeout_ms).ok().map(Duration::from_millis)
}

/// Runs `body` on a connection; its own reference, so that a free in another thread can wait for it.
///
/// # Safety
/// `conn` is NULL or live, and `error` NULL or an hp_error.
unsafe fn with_conn(
    conn: *const hp_conn,
    error: *mut hp_error,
    body: impl FnOnce(&Inner) -> Result<(), Failure>,
) -> hp_status {
    // SAFETY: as the caller promises.
    unsafe {
        guard_with(error, || {
            if !is_valid(error) {
                return HP_STATUS_INVALID_ARGUMENT;
            }
            let result = match conn.as_ref() {
                Some(conn) => body(&Arc::clone(&conn.inner)),
                None => Err(HP_STATUS_INVALID_ARGUMENT.into()),
            };
            report(error, result)
        })
    }
}

/// Binds to a port and, if somebody is to be asked for our public address, asks. Nobody is let in, and nothing is sent to a peer, before
/// hp_conn_attempt.
///
/// options: copied. out: the connection, to be freed with hp_conn_free; NULL on failure. error: NULL or details.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_INVALID_SESSION_ID, HP_STATUS_INVALID_SERVER, HP_STATUS_SERVER_UNREACHABLE
/// (it has no address of the local address' family), HP_STATUS_SOCKET, HP_STATUS_PANIC. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_conn_new(
    options: *const hp_conn_options,
    out: *mut *mut hp_conn,
    error: *mut hp_error,
) -> hp_status {
    // SAFETY: the caller's promises about the pointers are those of the functions called.
    unsafe {
        if let Some(out) = out.as_mut() {
            *out = std::ptr::null_mut();
        }
        guard_with(error, || {
            if !is_valid(error) {
                return HP_STATUS_INVALID_ARGUMENT;
            }
            let result = (|| {
                let given = options.as_ref().ok_or(HP_STATUS_INVALID_ARGUMENT)?;
                let out = out.as_mut().ok_or(HP_STATUS_INVALID_ARGUMENT)?;
                if !is_struct_size_of::<hp_conn_options>(given.struct_size) {
                    return Err(HP_STATUS_INVALID_ARGUMENT.into());
                }
                let conn = Conn::new(given.to_options()?)?;
                let inner = Inner { conn, told: Mutex::new(None), early: Mutex::default() };
                *out = Box::into_raw(Box::new(hp_conn { inner: Arc::new(inner) }));
                Ok(())
            })();
            report(error, result)
        })
    }
}

/// Frees a connection: closes it, as hp_conn_close does, has calls that run in other threads return, and waits until they and the
/// connection's own thread have ended. NULL is a no-op. No other call may begin on the connection once this one has. Any thread. Since
/// 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_conn_free(conn: *mut hp_conn) {
    guard_or((), || {
        if conn.is_null() {
            return;
        }
        // SAFETY: made by hp_conn_new and freed once, by the caller's promise.
        let conn = unsafe { Box::from_raw(conn) };
        conn.inner.conn.close();
        wait_until_alone(&conn.inner);
    });
}

/// Ends it: attempts end, a connection is closed, and HP_CONN_ENDED comes, unless it has. NULL is a no-op. Any thread, any number of
/// times. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_conn_close(conn: *const hp_conn) {
    guard_or((), || {
        // SAFETY: NULL or live by the caller's promise.
        if let Some(conn) = unsafe { conn.as_ref() } {
            Arc::clone(&conn.inner).conn.close();
        }
    });
}

/// Our own addresses, for peers in the same network: of each address family the one that leads elsewhere first.
///
/// addresses: room for capacity of them (8 always suffice); NULL with 0. count: set to how many there are, also if they do not fit.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUFFER_TOO_SMALL (as many as fit were written), HP_STATUS_PANIC. Any
/// thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_conn_local_addresses(
    conn: *const hp_conn,
    addresses: *mut hp_addr,
    capacity: usize,
    count: *mut usize,
) -> hp_status {
    // SAFETY: the caller promises that the connection is NULL or live, count NULL or writable, and addresses room for `capacity`.
    unsafe {
        let Some(count) = count.as_mut() else { return HP_STATUS_INVALID_ARGUMENT };
        *count = 0;
        if addresses.is_null() && capacity > 0 {
            return HP_STATUS_INVALID_ARGUMENT;
        }
        with_conn(conn, std::ptr::null_mut(), |inner| {
            let local = inner.conn.local_addresses();
            *count = local.len();
            for (at, address) in local.iter().take(capacity).enumerate() {
                addresses.add(at).write((*address).into());
            }
            if local.len() > capacity { Err(HP_STATUS_BUFFER_TOO_SMALL.into()) } else { Ok(()) }
        })
    }
}

/// Our address as others see it, waited for timeout_ms milliseconds (negative: however long it takes, which is 3 s at most, and the
/// look-up of the server's name).
///
/// out: zeroed on failure. error: NULL or details.
/// Returns HP_STATUS_OK, HP_STATUS_NOTHING (nobody was to be asked, or there is no answer yet), HP_STATUS_INVALID_ARGUMENT,
/// HP_STATUS_SERVER_NOT_FOUND, HP_STATUS_SERVER_UNREACHABLE, HP_STATUS_SERVER_SILENT (or hp_conn_attempt was faster),
/// HP_STATUS_SERVER_REFUSED (it answers something else),
/// HP_STATUS_CANCELLED (it is over), HP_STATUS_PANIC. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_conn_public_address(
    conn: *const hp_conn,
    timeout_ms: i64,
    out: *mut hp_addr,
    error: *mut hp_error,
) -> hp_status {
    // SAFETY: the caller promises that the connection is NULL or live, and the pointers NULL or as documented.
    unsafe {
        let Some(out) = out.as_mut() else { return HP_STATUS_INVALID_ARGUMENT };
        *out = hp_addr::default();
        with_conn(conn, error, |inner| {
            let found = inner.conn.public_address(duration(timeout_ms))?;
            *out = found.ok_or(HP_STATUS_NOTHING)?.into();
            Ok(())
        })
    }
}

/// Looks for the peer at these addresses, all at the same time, and lets it in if it comes to ours; with none, the latter only. Once.
/// The other side must do the same, within the time that the options give. What comes of it is an event.
///
/// addresses: count of them, at most HP_CONN_MAX_ADDRESSES; NULL with 0. error: NULL or details.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_ALREADY_ATTEMPTED, HP_STATUS_PANIC. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_conn_attempt(
    conn: *const hp_conn,
    addresses: *const hp_addr,
    count: usize,
    error: *mut hp_error,
) -> hp_status {
    // SAFETY: the caller promises that the connection is NULL or live, and addresses as many as it says.
    unsafe {
        with_conn(conn, error, |inner| {
            if addresses.is_null() && count > 0 || count > HP_CONN_MAX_ADDRESSES {
                return Err(HP_STATUS_INVALID_ARGUMENT.into());
            }
            let addresses: Option<Vec<SocketAddr>> =
                (0..count).map(|at| addresses.add(at).read().to_socket_addr()).collect();
            Ok(inner.conn.attempt(&addresses.ok_or(HP_STATUS_INVALID_ARGUMENT)?)?)
        })
    }
}

/// The next event: at once, or within timeout_ms milliseconds (negative: however long it takes). Data that is not asked for makes the
/// peer wait, over TCP, once 1 MiB waits; over UDP the system drops what comes then.
///
/// event: its struct_size is set by the caller (HP_CONN_EVENT_INIT); the rest is zeroed on entry and written on success. What it points
/// to is valid until the next call of this function or hp_conn_free.
/// Returns HP_STATUS_OK, HP_STATUS_NOTHING (nothing happened in that time), HP_STATUS_CANCELLED (it is over, and nothing more will
/// happen), HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUSY, HP_STATUS_POISONED, HP_STATUS_PANIC. One thread at a time per connection.
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_conn_next_event(
    conn: *const hp_conn,
    timeout_ms: i64,
    event: *mut hp_conn_event,
) -> hp_status {
    // SAFETY: the caller promises that the connection is NULL or live, and event NULL or a struct of the size that it says.
    guard(|| unsafe {
        let Some(size) = clear_sized(event) else { return HP_STATUS_INVALID_ARGUMENT };
        let Some(conn) = conn.as_ref() else { return HP_STATUS_INVALID_ARGUMENT };
        let inner = Arc::clone(&conn.inner);
        let mut told = match inner.told.try_lock() {
            Ok(told) => told,
            Err(TryLockError::WouldBlock) => return HP_STATUS_BUSY,
            Err(TryLockError::Poisoned(_)) => return HP_STATUS_POISONED,
        };
        *told = inner.conn.next_event(duration(timeout_ms)).map(|event| {
            let message = match &event {
                ConnEvent::PublicAddress(Err(error)) | ConnEvent::Ended(ConnEnd::NotReached(error)) => {
                    CString::new(error.to_string()).ok()
                }
                _ => None,
            };
            (event, message)
        });
        match &*told {
            Some((happened, message)) => {
                write_sized(&hp_conn_event::new(happened, message.as_deref(), size), event, size);
                HP_STATUS_OK
            }
            None if inner.conn.is_over() => HP_STATUS_CANCELLED,
            None => HP_STATUS_NOTHING,
        }
    })
}

/// A descriptor that poll(2) and the like find readable while hp_conn_next_event has something to say, and once it is over. Borrowed:
/// neither read from it nor close it. fd: HP_INVALID_SOCKET on failure.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_PANIC. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_conn_event_fd(conn: *const hp_conn, fd: *mut hp_socket_t) -> hp_status {
    // SAFETY: the caller promises that the connection is NULL or live, and fd NULL or writable.
    unsafe {
        let Some(fd) = fd.as_mut() else { return HP_STATUS_INVALID_ARGUMENT };
        *fd = HP_INVALID_SOCKET;
        with_conn(conn, std::ptr::null_mut(), |inner| {
            *fd = inner.conn.event_fd().as_raw_fd() as hp_socket_t;
            Ok(())
        })
    }
}

/// The connection, while it is there. out: its struct_size is set by the caller (HP_CONN_INFO_INIT); the rest is zeroed on entry and
/// written on success.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_NOT_CONNECTED, HP_STATUS_PANIC. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_conn_get_info(conn: *const hp_conn, out: *mut hp_conn_info) -> hp_status {
    // SAFETY: the caller promises that the connection is NULL or live, and out NULL or a struct of the size that it says.
    unsafe {
        let Some(size) = clear_sized(out) else { return HP_STATUS_INVALID_ARGUMENT };
        with_conn(conn, std::ptr::null_mut(), |inner| {
            let connected = inner.conn.connected().ok_or(HP_STATUS_NOT_CONNECTED)?;
            write_sized(&hp_conn_info::new(&connected, size), out, size);
            Ok(())
        })
    }
}

/// Sends bytes to the peer. Over UDP they are one datagram, which is sent at once or lost. Over TCP it is waited until the system has
/// taken all of them, for timeout_ms milliseconds (negative: however long it takes).
///
/// data: len bytes; over UDP at most HP_CONN_MAX_DATAGRAM_LEN. written: NULL, or set to how many the system has taken, which are less than
/// len only if time was up; 0 on failure. error: NULL or details.
/// Returns HP_STATUS_OK, HP_STATUS_FULL (the system takes none in that time), HP_STATUS_INVALID_ARGUMENT, HP_STATUS_NOT_CONNECTED,
/// HP_STATUS_SOCKET, HP_STATUS_PANIC. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_conn_write(
    conn: *const hp_conn,
    data: *const u8,
    len: usize,
    timeout_ms: i64,
    written: *mut usize,
    error: *mut hp_error,
) -> hp_status {
    // SAFETY: the caller promises that the connection is NULL or live, and the pointers NULL or as long as documented.
    unsafe {
        if let Some(written) = written.as_mut() {
            *written = 0;
        }
        with_conn(conn, error, |inner| {
            let data = bytes(data, len).ok_or(HP_STATUS_INVALID_ARGUMENT)?;
            let taken = inner.conn.write(data, duration(timeout_ms))?;
            if let Some(written) = written.as_mut() {
                *written = taken;
            }
            Ok(())
        })
    }
}

/// Reads what comes from the peer, if data_events is 0: over UDP one datagram, of which what does not fit is lost. Waits for timeout_ms
/// milliseconds (negative: however long it takes). After hp_conn_take, datagrams that had come before are still read, and no others.
///
/// data: capacity bytes, at least 1. len: set to how many were read; 0 over TCP: the peer has closed the connection. error: NULL or
/// details.
/// Returns HP_STATUS_OK, HP_STATUS_TIMED_OUT_WAITING, HP_STATUS_INVALID_ARGUMENT (or data_events is 1), HP_STATUS_NOT_CONNECTED,
/// HP_STATUS_SOCKET, HP_STATUS_PANIC. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_conn_read(
    conn: *const hp_conn,
    data: *mut u8,
    capacity: usize,
    timeout_ms: i64,
    len: *mut usize,
    error: *mut hp_error,
) -> hp_status {
    // SAFETY: the caller promises that the connection is NULL or live, and the pointers NULL or as long as documented.
    unsafe {
        let Some(len) = len.as_mut() else { return HP_STATUS_INVALID_ARGUMENT };
        *len = 0;
        with_conn(conn, error, |inner| {
            if data.is_null() || capacity == 0 || capacity > isize::MAX as usize {
                return Err(HP_STATUS_INVALID_ARGUMENT.into());
            }
            let buffer = std::slice::from_raw_parts_mut(data, capacity);
            let early = inner.early.lock().map_err(|_| HP_STATUS_POISONED)?.pop_front();
            *len = match early {
                Some(early) => {
                    let fits = early.len().min(capacity);
                    buffer[..fits].copy_from_slice(&early[..fits]);
                    fits
                }
                None => inner.conn.read(buffer, duration(timeout_ms))?,
            };
            Ok(())
        })
    }
}

/// A key for a protocol that is run over the connection: the same on both sides, different for each label, known to nobody else, and
/// forward secret.
///
/// label: label_len bytes that say what the key is for. key: HP_KEY_LEN bytes, zeroed on failure.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_NOT_FOUND (there is no authenticated connection), HP_STATUS_PANIC. Any
/// thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_conn_export_key(
    conn: *const hp_conn,
    label: *const u8,
    label_len: usize,
    key: *mut u8,
) -> hp_status {
    // SAFETY: the caller promises that the connection is NULL or live, and the pointers NULL or as long as documented.
    guard(|| unsafe {
        export(label, label_len, key, |label| {
            let conn = conn.as_ref().ok_or(HP_STATUS_INVALID_ARGUMENT)?;
            Ok(Arc::clone(&conn.inner).conn.export_key(label))
        })
    })
}

/// Moves the connection's socket to the caller for good: a connected TCP stream, or an unconnected UDP socket to be used towards the
/// peer's endpoint (hp_conn_get_info before); blocking, close-on-exec. Nothing of the library's touches it any more, and no further events
/// come; those that had come are still told. Calls in other threads that wait for the connection return. On a UDP socket, datagrams for
/// which hp_is_control_packet holds may still come and are to be ignored.
///
/// socket: HP_INVALID_SOCKET on failure. error: NULL or details.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_NOT_CONNECTED, HP_STATUS_PANIC. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_conn_take(
    conn: *const hp_conn,
    socket: *mut hp_socket_t,
    error: *mut hp_error,
) -> hp_status {
    // SAFETY: the caller promises that the connection is NULL or live, and the pointers NULL or writable.
    unsafe {
        let Some(socket) = socket.as_mut() else { return HP_STATUS_INVALID_ARGUMENT };
        *socket = HP_INVALID_SOCKET;
        with_conn(conn, error, |inner| {
            let fd = match inner.conn.take()? {
                TakenSocket::Tcp(stream) => stream.into_raw_fd(),
                TakenSocket::Udp { socket, early, .. } => {
                    inner.early.lock().map_err(|_| HP_STATUS_POISONED)?.extend(early);
                    socket.into_raw_fd()
                }
            };
            *socket = fd as hp_socket_t;
            Ok(())
        })
    }
}

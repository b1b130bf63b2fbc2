//! Clients: connect, look at the peers, take the socket.

use std::ffi::{CStr, c_char};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use super::address::hp_addr;
use super::error::{Failure, guard_with, hp_error, is_valid, report, status_of};
use super::guard::{bytes, clear_sized, guard, guard_or, write_sized};
use super::peer::{hp_counters, hp_peer, path_name};
use super::status::hp_status::{self, *};
use crate::shared::wait_until_alone;
use crate::{Canceller, Client, DialectPolicy, Error, Peer};

/// A socket: a file descriptor.
pub type hp_socket_t = libc::intptr_t;
/// No socket.
pub const HP_INVALID_SOCKET: hp_socket_t = -1;

/// Dialect policy: native where the other side understands it, else plain. The default.
pub const HP_DIALECT_AUTO: i32 = 0;
/// Dialect policy: native only; every peer is authenticated, and the server never sees the session ID.
pub const HP_DIALECT_NATIVE: i32 = 1;
/// Dialect policy: plain only, as the existing Go tools speak it; nothing is authenticated.
pub const HP_DIALECT_PLAIN: i32 = 2;
/// Most peers that one call connects to.
pub const HP_MAX_PEERS: u32 = 64;
/// Longest session ID in bytes.
pub const HP_MAX_SESSION_ID_LEN: usize = 1000;

/// What an HP_DIALECT_* number stands for.
pub(super) fn policy_of(dialect: i32) -> Option<DialectPolicy> {
    match dialect {
        HP_DIALECT_AUTO => Some(DialectPolicy::Auto),
        HP_DIALECT_NATIVE => Some(DialectPolicy::Native),
        HP_DIALECT_PLAIN => Some(DialectPolicy::Plain),
        _ => None,
    }
}

/// A client of one rendezvous server.
pub struct hp_client {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    canceller: Canceller,
}

pub(super) struct State {
    pub(super) client: Client,
    pub(super) peers: Vec<Peer>,
}

impl hp_client {
    /// The client's state, unless a call is running or has met a bug.
    fn try_state(&self) -> Result<MutexGuard<'_, State>, hp_status> {
        self.inner.try_state()
    }
}

impl Inner {
    fn try_state(&self) -> Result<MutexGuard<'_, State>, hp_status> {
        self.state.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => HP_STATUS_BUSY,
            TryLockError::Poisoned(_) => HP_STATUS_POISONED,
        })
    }
}

/// Runs `body` on a client that is not busy.
///
/// # Safety
/// `client` is NULL or a live client.
pub(super) unsafe fn with_state(
    client: *const hp_client,
    body: impl FnOnce(&mut State) -> Result<(), Failure>,
) -> Result<(), Failure> {
    // SAFETY: NULL or live by the caller's promise.
    let client = unsafe { client.as_ref() }.ok_or(HP_STATUS_INVALID_ARGUMENT)?;
    body(&mut *client.try_state()?)
}

/// Makes a client.
///
/// server: "host:port" of the rendezvous server, UTF-8, NUL-terminated; a name, an IPv4 address or an IPv6 address in
/// brackets. A name is looked up by each hp_connect. out: the client, to be freed with hp_client_free; NULL on failure.
/// error: NULL or details.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_INVALID_SERVER, HP_STATUS_SOCKET, HP_STATUS_PANIC.
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_client_new(
    server: *const c_char,
    out: *mut *mut hp_client,
    error: *mut hp_error,
) -> hp_status {
    // SAFETY: the caller's promises about the pointers are those of the functions called.
    unsafe {
        guard_with(error, || {
            if let Some(out) = out.as_mut() {
                *out = std::ptr::null_mut();
            }
            if !is_valid(error) {
                return HP_STATUS_INVALID_ARGUMENT;
            }
            let result = (|| {
                if server.is_null() || out.is_null() {
                    return Err(HP_STATUS_INVALID_ARGUMENT.into());
                }
                let server = CStr::from_ptr(server).to_str().map_err(|_| HP_STATUS_INVALID_SERVER)?;
                let client = Client::new(server)?;
                let canceller = client.canceller();
                let state = Mutex::new(State { client, peers: Vec::new() });
                *out = Box::into_raw(Box::new(hp_client { inner: Arc::new(Inner { state, canceller }) }));
                Ok(())
            })();
            report(error, result)
        })
    }
}

/// Frees a client: cancels a call that runs on it in another thread, waits until that call has returned, and closes the
/// sockets that were not taken. NULL is a no-op. No other call may begin on the client once this one has.
/// Any thread, but not from within a callback. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_client_free(client: *mut hp_client) {
    guard_or((), || {
        if client.is_null() {
            return;
        }
        // SAFETY: made by hp_client_new and freed once, by the caller's promise.
        let client = unsafe { Box::from_raw(client) };
        let inner = client.inner;
        inner.canceller.cancel();
        drop(inner.state.lock().unwrap_or_else(PoisonError::into_inner));
        wait_until_alone(&inner);
    });
}

/// Sets the time that a call has in total, in milliseconds: 40000 at first; negative for ever; 0 returns at once.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT (client is NULL), HP_STATUS_BUSY, HP_STATUS_POISONED, HP_STATUS_PANIC.
/// One thread at a time per client. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_client_set_timeout_ms(client: *mut hp_client, timeout_ms: i64) -> hp_status {
    // SAFETY: the caller promises that the client is NULL or live.
    guard(|| unsafe {
        status_of(with_state(client, |state| {
            state.client.set_timeout(u64::try_from(timeout_ms).ok().map(Duration::from_millis));
            Ok(())
        }))
    })
}

/// Sets the longest pause between two unanswered requests to the server, in milliseconds: 100 at first, 1 to 10000.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUSY, HP_STATUS_POISONED, HP_STATUS_PANIC.
/// One thread at a time per client. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_client_set_server_retry_ms(client: *mut hp_client, pause_ms: u32) -> hp_status {
    // SAFETY: the caller promises that the client is NULL or live.
    guard(|| unsafe {
        status_of(with_state(client, |state| {
            Ok(state.client.set_server_retry(Duration::from_millis(pause_ms.into()))?)
        }))
    })
}

/// Sets the longest pause between two probes of a peer's endpoint, in milliseconds: 100 at first, 1 to 10000. The first
/// probes follow each other faster; plain ones come half as long again apart, so that the existing tools get a word in.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUSY, HP_STATUS_POISONED, HP_STATUS_PANIC.
/// One thread at a time per client. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_client_set_peer_retry_ms(client: *mut hp_client, pause_ms: u32) -> hp_status {
    // SAFETY: the caller promises that the client is NULL or live.
    guard(|| unsafe {
        status_of(with_state(client, |state| {
            Ok(state.client.set_peer_retry(Duration::from_millis(pause_ms.into()))?)
        }))
    })
}

/// Sets the local address to bind to, which also fixes the address family. local: copied; NULL, the default, lets the system
/// choose; port 0 lets it choose the port.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT (client is NULL, or local is of no family), HP_STATUS_BUSY,
/// HP_STATUS_POISONED, HP_STATUS_PANIC. One thread at a time per client. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_client_set_local_addr(
    client: *mut hp_client,
    local: *const hp_addr,
) -> hp_status {
    // SAFETY: the caller promises that the client is NULL or live, and local NULL or readable.
    guard(|| unsafe {
        status_of(with_state(client, |state| {
            let local = match local.as_ref() {
                Some(local) => Some(local.to_socket_addr().ok_or(HP_STATUS_INVALID_ARGUMENT)?),
                None => None,
            };
            state.client.set_local_address(local);
            Ok(())
        }))
    })
}

/// Sets which dialects may be spoken: HP_DIALECT_AUTO (the default), HP_DIALECT_NATIVE or HP_DIALECT_PLAIN.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUSY, HP_STATUS_POISONED, HP_STATUS_PANIC.
/// One thread at a time per client. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_client_set_dialect(client: *mut hp_client, dialect: i32) -> hp_status {
    // SAFETY: the caller promises that the client is NULL or live.
    guard(|| unsafe {
        status_of(with_state(client, |state| {
            state.client.set_dialect(policy_of(dialect).ok_or(HP_STATUS_INVALID_ARGUMENT)?);
            Ok(())
        }))
    })
}

/// Runs a call that a session ID is given to, on a client that is not busy.
///
/// # Safety
/// `client` is NULL or live, `id` NULL or `id_len` readable bytes, `error` NULL or an hp_error.
pub(super) unsafe fn with_state_and_id(
    client: *mut hp_client,
    id: *const u8,
    id_len: usize,
    error: *mut hp_error,
    body: impl FnOnce(&mut State, &[u8]) -> Result<(), Failure>,
) -> hp_status {
    // SAFETY: as the caller promises. The call holds its own reference to the client's inner part, so that a free in another
    // thread can wait for it.
    unsafe {
        guard_with(error, || {
            if !is_valid(error) {
                return HP_STATUS_INVALID_ARGUMENT;
            }
            let Some(client) = client.as_ref() else {
                return report(error, Err(HP_STATUS_INVALID_ARGUMENT.into()));
            };
            let inner = Arc::clone(&client.inner);
            let mut state = match inner.try_state() {
                Ok(state) => state,
                Err(status) => return report(error, Err(status.into())),
            };
            state.peers.clear();
            let result = match bytes(id, id_len) {
                None => Err(HP_STATUS_INVALID_ARGUMENT.into()),
                Some(id) => body(&mut state, id),
            };
            // While the client is still locked: once a free in another thread gets through, the caller's memory is his own.
            let status = report(error, result);
            drop(state);
            status
        })
    }
}

/// Runs a connecting call; its list of peers stays with the client.
///
/// # Safety
/// As for [`with_state_and_id`].
unsafe fn connect(
    client: *mut hp_client,
    id: *const u8,
    id_len: usize,
    error: *mut hp_error,
    call: impl FnOnce(&mut Client, &[u8]) -> Result<Vec<Peer>, Error>,
) -> hp_status {
    // SAFETY: as the caller promises.
    unsafe {
        with_state_and_id(client, id, id_len, error, |state, id| match call(&mut state.client, id) {
            Ok(peers) => {
                state.peers = peers;
                Ok(())
            }
            Err(error) => {
                state.peers = error.peers().to_vec();
                Err(error.into())
            }
        })
    }
}

/// Meets others that call this with the same session ID and opens a hole to each. Blocks until holes to at least that many
/// peers are open, time is up, or hp_cancel. All I/O happens within this call: none is left when it returns, but for a
/// thread that may still be asking the system's resolver for the server's name, which knows no cancelling.
///
/// id: id_len bytes, 1 to HP_MAX_SESSION_ID_LEN; the same for all. peers: how many others are expected, 1 to HP_MAX_PEERS;
/// more are no error. error: NULL or details.
/// Afterwards hp_peer_get lists the peers: on success the connected ones, on failure all that were found. A socket that an
/// earlier call left and that was not taken is used again.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_INVALID_SESSION_ID, HP_STATUS_SERVER_NOT_FOUND,
/// HP_STATUS_SOCKET, HP_STATUS_SERVER_SILENT, HP_STATUS_SERVER_UNREACHABLE, HP_STATUS_SERVER_PORT_CLOSED,
/// HP_STATUS_UDP_BLOCKED, HP_STATUS_SERVER_REFUSED, HP_STATUS_DIALECT_MISMATCH, HP_STATUS_TIMED_OUT_WAITING,
/// HP_STATUS_TIMED_OUT_PUNCHING, HP_STATUS_CANCELLED, HP_STATUS_BUSY, HP_STATUS_POISONED, HP_STATUS_PANIC.
/// One thread at a time per client. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_connect(
    client: *mut hp_client,
    id: *const u8,
    id_len: usize,
    peers: u32,
    error: *mut hp_error,
) -> hp_status {
    // SAFETY: the caller's promises are those of `connect`.
    unsafe { connect(client, id, id_len, error, |client, id| client.connect(id, peers as usize)) }
}

/// Opens holes to peers at known endpoints, without the server: goes on after hp_connect timed out, or serves callers with
/// signalling of their own. Both sides must call it. Blocks until holes to all of them are open, time is up, or hp_cancel.
///
/// id: as for hp_connect. endpoints: count of them, 1 to HP_MAX_PEERS. error: NULL or details.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_INVALID_SESSION_ID, HP_STATUS_SOCKET,
/// HP_STATUS_TIMED_OUT_PUNCHING, HP_STATUS_CANCELLED, HP_STATUS_BUSY, HP_STATUS_POISONED, HP_STATUS_PANIC.
/// One thread at a time per client. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_connect_peers(
    client: *mut hp_client,
    id: *const u8,
    id_len: usize,
    endpoints: *const hp_addr,
    count: usize,
    error: *mut hp_error,
) -> hp_status {
    let listed = guard_or(None, || {
        if endpoints.is_null() || count > HP_MAX_PEERS as usize {
            return None;
        }
        // SAFETY: not NULL, and the caller promises `count` endpoints, of which there are few.
        let endpoints = unsafe { std::slice::from_raw_parts(endpoints, count) };
        endpoints.iter().map(|endpoint| endpoint.to_socket_addr()).collect::<Option<Vec<_>>>()
    });
    // An empty list is refused by the call itself.
    let listed = listed.unwrap_or_default();
    // SAFETY: the caller's promises are those of `connect`.
    unsafe { connect(client, id, id_len, error, |client, id| client.connect_peers(id, &listed)) }
}

/// Has the running hp_connect, hp_connect_peers or hp_client_check_nat return HP_STATUS_CANCELLED at once; if none runs, the
/// next one does.
/// NULL is a no-op. Any thread, any number of times. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_cancel(client: *const hp_client) {
    guard_or((), || {
        // SAFETY: NULL or live by the caller's promise.
        if let Some(client) = unsafe { client.as_ref() } {
            client.inner.canceller.cancel();
        }
    });
}

/// Takes back an hp_cancel that no call has spent yet, as when the call that it was meant for had just ended. NULL is a no-op.
/// Any thread; an hp_cancel at the same time may be taken back, too. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_cancel_clear(client: *const hp_client) {
    guard_or((), || {
        // SAFETY: NULL or live by the caller's promise.
        if let Some(client) = unsafe { client.as_ref() } {
            client.inner.canceller.clear();
        }
    });
}

/// How many peers the last call has found; 0 for NULL or a busy client. One thread at a time per client. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_peer_count(client: *const hp_client) -> u32 {
    guard_or(0, || {
        // SAFETY: NULL or live by the caller's promise.
        let client = unsafe { client.as_ref() };
        client.and_then(|client| client.try_state().ok()).map_or(0, |state| state.peers.len() as u32)
    })
}

/// Describes peer number index (from 0) of the last call; connected ones come first.
///
/// out: its struct_size is set by the caller (HP_PEER_INIT); the rest is zeroed on entry and written on success.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_NOT_FOUND, HP_STATUS_BUSY, HP_STATUS_POISONED,
/// HP_STATUS_PANIC. One thread at a time per client. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_peer_get(client: *const hp_client, index: u32, out: *mut hp_peer) -> hp_status {
    // SAFETY: the caller promises that the client is NULL or live, and out NULL or writable.
    guard(|| unsafe {
        let Some(size) = clear_sized(out) else { return HP_STATUS_INVALID_ARGUMENT };
        status_of(with_state(client, |state| {
            let peer = state.peers.get(index as usize).ok_or(HP_STATUS_NOT_FOUND)?;
            write_sized(&hp_peer::new(peer, size), out, size);
            Ok(())
        }))
    })
}

/// The name of an HP_PATH_* number, such as "reflexive"; "unknown" for any other. The string is static. Any thread.
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn hp_path_name(path: i32) -> *const c_char {
    guard_or(c"".as_ptr(), || path_name(path).unwrap_or(c"unknown").as_ptr())
}

/// What the last call has counted.
///
/// out: its struct_size is set by the caller (HP_COUNTERS_INIT); the rest is zeroed on entry and written on success.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUSY, HP_STATUS_POISONED, HP_STATUS_PANIC.
/// One thread at a time per client. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_client_counters(client: *const hp_client, out: *mut hp_counters) -> hp_status {
    // SAFETY: the caller promises that the client is NULL or live, and out NULL or writable.
    guard(|| unsafe {
        let Some(size) = clear_sized(out) else { return HP_STATUS_INVALID_ARGUMENT };
        status_of(with_state(client, |state| {
            let counters = state.client.counters();
            let value = hp_counters {
                struct_size: size,
                reserved: 0,
                probes_sent: counters.punch.sent,
                forged: counters.punch.forged,
                replayed: counters.punch.replayed,
                misdirected: counters.punch.misdirected,
                malformed: counters.malformed,
                strangers: counters.strangers,
                server_dropped: counters.server_dropped,
                over_limit: counters.punch.over_limit,
            };
            write_sized(&value, out, size);
            Ok(())
        }))
    })
}

/// Lends a socket: it stays the client's and closes with it. Not to be used while a call is running.
///
/// index: hp_peer.socket; 0 is the first peer's. out: the descriptor, or HP_INVALID_SOCKET.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_NOT_FOUND (no such socket, or taken), HP_STATUS_BUSY,
/// HP_STATUS_POISONED, HP_STATUS_PANIC. One thread at a time per client. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_socket_fd(
    client: *const hp_client,
    index: u32,
    out: *mut hp_socket_t,
) -> hp_status {
    // SAFETY: the caller promises that the client is NULL or live, and out NULL or writable.
    guard(|| unsafe {
        if out.is_null() {
            return HP_STATUS_INVALID_ARGUMENT;
        }
        *out = HP_INVALID_SOCKET;
        status_of(with_state(client, |state| {
            *out = state.client.socket_fd(index as usize).ok_or(HP_STATUS_NOT_FOUND)? as hp_socket_t;
            Ok(())
        }))
    })
}

/// Takes a socket: it is the caller's for good, to be closed with close(). Nothing of the library touches it any more. It is
/// a UDP socket, unconnected, blocking, close-on-exec; an IPv6 one takes no IPv4. Read the early datagrams first
/// (hp_early_receive), and ignore those for which hp_is_control_packet holds. Of a peer whose transport is HP_TRANSPORT_TCP it is a
/// connected stream, blocking, close-on-exec, in which nothing of the library's comes.
///
/// index, out, result, threads: as for hp_socket_fd. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_socket_take(
    client: *mut hp_client,
    index: u32,
    out: *mut hp_socket_t,
) -> hp_status {
    // SAFETY: the caller promises that the client is NULL or live, and out NULL or writable.
    guard(|| unsafe {
        if out.is_null() {
            return HP_STATUS_INVALID_ARGUMENT;
        }
        *out = HP_INVALID_SOCKET;
        status_of(with_state(client, |state| {
            use std::os::fd::IntoRawFd;
            let index = index as usize;
            let datagrams = state.client.take_socket(index).map(IntoRawFd::into_raw_fd);
            let stream = || state.client.take_stream(index).map(IntoRawFd::into_raw_fd);
            *out = datagrams.or_else(stream).ok_or(HP_STATUS_NOT_FOUND)? as hp_socket_t;
            Ok(())
        }))
    })
}

/// Gives the client a socket of the caller's to use instead of its own, from the next call on until hp_socket_take moves it
/// back; the client closes it otherwise. The client's other sockets are closed. It must be a UDP socket, bound and
/// unconnected; an IPv6 one that takes IPv4, too, serves both. Its O_NONBLOCK stays as it is; its IP_RECVERR ends up off.
///
/// socket: on failure it stays the caller's. A duplicate (dup) does as well, as long as nobody reads it during calls.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUSY, HP_STATUS_POISONED, HP_STATUS_PANIC.
/// One thread at a time per client. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_client_give_socket(client: *mut hp_client, socket: hp_socket_t) -> hp_status {
    // SAFETY: the caller promises that the client is NULL or live and, if it is a descriptor at all, that the socket is
    // his to give; it goes back to him untouched unless the client has taken it.
    guard(|| unsafe {
        status_of(with_state(client, |state| {
            use std::os::fd::{FromRawFd, IntoRawFd, RawFd};
            // What the client has is not the caller's to give.
            let fd = RawFd::try_from(socket).ok().filter(|fd| *fd >= 0 && !state.client.has_socket(*fd));
            let fd = fd.ok_or(HP_STATUS_INVALID_ARGUMENT)?;
            state.client.give_socket(std::net::UdpSocket::from_raw_fd(fd)).map_err(|(error, socket)| {
                let _ = socket.into_raw_fd();
                Failure::from(error)
            })?;
            state.peers.clear();
            Ok(())
        }))
    })
}

/// Gives the next datagram that a peer's application sent before hp_connect returned: while this client was still connecting to
/// others, or waiting for that peer's last word. They came before those in the socket.
///
/// buffer: capacity bytes. len: set to the datagram's length, also if it does not fit; it then stays. source: NULL, or set
/// to the peer's endpoint. socket: NULL, or set to the socket's index.
/// Returns HP_STATUS_OK, HP_STATUS_NOTHING (no more), HP_STATUS_BUFFER_TOO_SMALL, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUSY,
/// HP_STATUS_POISONED, HP_STATUS_PANIC. One thread at a time per client. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_early_receive(
    client: *mut hp_client,
    buffer: *mut u8,
    capacity: usize,
    len: *mut usize,
    source: *mut hp_addr,
    socket: *mut u32,
) -> hp_status {
    // SAFETY: the caller promises that the client is NULL or live and that the other pointers are NULL or writable, buffer
    // for `capacity` bytes.
    guard(|| unsafe {
        if let Some(len) = len.as_mut() {
            *len = 0;
        }
        if let Some(source) = source.as_mut() {
            *source = hp_addr::default();
        }
        if let Some(socket) = socket.as_mut() {
            *socket = 0;
        }
        if len.is_null() || (buffer.is_null() && capacity > 0) {
            return HP_STATUS_INVALID_ARGUMENT;
        }
        status_of(with_state(client, |state| {
            let waiting = state.client.peek_early_datagram().ok_or(HP_STATUS_NOTHING)?;
            *len = waiting.payload.len();
            if capacity < waiting.payload.len() {
                return Err(HP_STATUS_BUFFER_TOO_SMALL.into());
            }
            if !waiting.payload.is_empty() {
                std::ptr::copy_nonoverlapping(waiting.payload.as_ptr(), buffer, waiting.payload.len());
            }
            if let Some(source) = source.as_mut() {
                *source = waiting.source.into();
            }
            if let Some(socket) = socket.as_mut() {
                *socket = waiting.socket as u32;
            }
            drop(state.client.pop_early_datagram());
            Ok(())
        }))
    })
}

/// Panics within a call, as a bug would; with it the tests show that no panic crosses the ABI.
///
/// # Safety
/// `client` is NULL or live.
#[cfg(feature = "test-panic")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_test_panic(client: *mut hp_client) -> hp_status {
    // SAFETY: as the caller promises.
    guard(|| unsafe { status_of(with_state(client, |_| panic!("injected by a test"))) })
}

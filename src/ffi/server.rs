//! The rendezvous server, embedded.

use std::ffi::{CStr, c_char};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use super::address::hp_addr;
use super::client::policy_of;
use super::error::{Failure, guard_with, hp_error, is_valid, report, status_of};
use super::guard::{clear_sized, guard, guard_or, write_sized};
use super::status::hp_status::{self, *};
use crate::server::{Limits, ServerHandle, parse_address};
use crate::shared::wait_until_alone;
use crate::{Server, ServerConfig};

/// A rendezvous server.
pub struct hp_server {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    /// Held by hp_server_run as long as it runs.
    running: Mutex<()>,
}

pub(super) struct State {
    pub(super) config: ServerConfig,
    /// Bound, and not running yet.
    bound: Option<Server>,
    /// From binding on.
    pub(super) handle: Option<ServerHandle>,
    local: hp_addr,
    stopped: bool,
}

impl State {
    fn bind(&mut self) -> Result<(), Failure> {
        if self.handle.is_none() {
            let server = Server::bind(&self.config)?;
            self.local = server.local_address()?.into();
            self.handle = Some(server.handle());
            self.bound = Some(server);
        }
        Ok(())
    }

    /// The settings, as long as they can be changed.
    pub(super) fn unbound_config(&mut self) -> Result<&mut ServerConfig, Failure> {
        if self.handle.is_some() { Err(HP_STATUS_BUSY.into()) } else { Ok(&mut self.config) }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        let mut state = self.state();
        state.stopped = true;
        if let Some(handle) = &state.handle {
            handle.stop();
        }
    }
}

/// What a server has counted. The caller sets struct_size (HP_SERVER_COUNTERS_INIT does).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hp_server_counters {
    /// sizeof(hp_server_counters), set by the caller.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// Datagrams received.
    pub received: u64,
    /// Datagrams sent.
    pub sent: u64,
    /// Received datagrams that were nothing the server answers, and messages over TCP that name no registration of their sender's.
    pub dropped: u64,
    /// Registrations that had to show a cookie first.
    pub challenged: u64,
    /// Datagrams that the kernel did not take.
    pub send_failed: u64,
    /// Registrations now.
    pub endpoints: u64,
    /// Sessions now.
    pub sessions: u64,
    /// Native clients that registered.
    pub native_joined: u64,
    /// Plain clients that registered.
    pub plain_joined: u64,
    /// Clients that said goodbye or were replaced.
    pub left: u64,
    /// Clients that fell silent.
    pub expired: u64,
    /// Registrations refused for a limit or a taken peer ID.
    pub refused: u64,
    /// Pairs of clients that the server forwards between now.
    pub relay_pairs: u64,
    /// Pairs that were granted, those that have ended included.
    pub relay_granted: u64,
    /// Requests to be forwarded that were refused: for a limit, an unknown peer, or because the server does not forward.
    pub relay_refused: u64,
    /// Datagrams that were forwarded. They are among received and sent, too.
    pub relay_forwarded: u64,
    /// Their payload in bytes.
    pub relay_forwarded_bytes: u64,
    /// Datagrams that were not forwarded because their pair had used up what it is allowed.
    pub relay_over_limit: u64,
    /// Other datagrams at the relay's ports that were not forwarded: nobody's, or for one who has not come yet.
    pub relay_dropped: u64,
    /// Connections over TCP now.
    pub tcp_connections: u64,
    /// Connections that were taken, those that have ended included.
    pub tcp_accepted: u64,
    /// Connections that were closed at once, because there were as many as there may be, in all or from that address.
    pub tcp_over_limit: u64,
    /// How often the system had no room for another connection; it waits until there is some.
    pub tcp_accept_failed: u64,
    /// Connections that were closed because what came was no message in a frame, or none that the server understands.
    pub tcp_malformed: u64,
    /// Connections that were closed because nothing came for too long.
    pub tcp_silent: u64,
    /// Connections that were closed because more than 64 KiB waited for them to be read.
    pub tcp_slow: u64,
    /// Messages received over connections.
    pub tcp_received: u64,
    /// Messages sent over connections.
    pub tcp_sent: u64,
    /// Messages that were not sent: their receiver's connection was gone, or too many waited.
    pub tcp_unsent: u64,
    /// Pairs of clients whose connections the server forwards now.
    pub tcp_relay_pairs: u64,
    /// Such pairs that were granted, those that have ended included.
    pub tcp_relay_granted: u64,
    /// Requests for that that were refused for a limit; others are in relay_refused.
    pub tcp_relay_refused: u64,
    /// How often both connections of a pair had come.
    pub tcp_relay_joined: u64,
    /// Bytes that were taken from them to be forwarded.
    pub tcp_relay_bytes: u64,
    /// Connections that showed a ticket of nobody's, or of a pair whose both connections are there.
    pub tcp_relay_unknown: u64,
    /// Connections that waited in vain for the other one.
    pub tcp_relay_alone: u64,
    /// Datagrams that the kernel dropped because the server's receive buffers were full.
    pub kernel_dropped: u64,
    /// Datagrams that were dropped because too many came from their prefix.
    pub rate_limited: u64,
    /// Requests of clients that were not registered yet, dropped because the server could not keep up.
    pub shed: u64,
    /// Answers that plain clients did not get, since too little had come from there.
    pub plain_withheld: u64,
    /// Bytes that registrations take now.
    pub memory: u64,
    /// 1 if the server cannot keep up now, else 0.
    pub overloaded: u64,
}

/// Runs `body` on a server.
///
/// # Safety
/// `server` is NULL or a live server.
pub(super) unsafe fn with_state(
    server: *const hp_server,
    body: impl FnOnce(&mut State) -> Result<(), Failure>,
) -> hp_status {
    // SAFETY: NULL or live by the caller's promise.
    guard(|| match unsafe { server.as_ref() } {
        Some(server) => status_of(body(&mut server.inner.state())),
        None => HP_STATUS_INVALID_ARGUMENT,
    })
}

/// Makes a server, which does nothing before hp_server_run.
///
/// address: where to listen, UTF-8, NUL-terminated: "host:port", or ":port" or "port" for all addresses of IPv6 and IPv4;
/// NULL is ":5000"; with port 0 the system chooses one. A name is looked up, which takes its time. out: the server, to be
/// freed with hp_server_free; NULL on failure. error: NULL or details.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_INVALID_SERVER, HP_STATUS_PANIC. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_server_new(
    address: *const c_char,
    out: *mut *mut hp_server,
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
                if out.is_null() {
                    return Err(HP_STATUS_INVALID_ARGUMENT.into());
                }
                let mut config = ServerConfig::default();
                if !address.is_null() {
                    let text = CStr::from_ptr(address).to_str().map_err(|_| HP_STATUS_INVALID_SERVER)?;
                    config.address = parse_address(text)?;
                }
                let local = hp_addr::default();
                let state = State { config, bound: None, handle: None, local, stopped: false };
                let inner = Inner { state: Mutex::new(state), running: Mutex::new(()) };
                *out = Box::into_raw(Box::new(hp_server { inner: Arc::new(inner) }));
                Ok(())
            })();
            report(error, result)
        })
    }
}

/// Frees a server: stops it, waits until an hp_server_run in another thread has returned, and closes its sockets. NULL is a
/// no-op. No other call may begin on the server once this one has. Any thread, but not from within a callback. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_server_free(server: *mut hp_server) {
    guard_or((), || {
        if server.is_null() {
            return;
        }
        // SAFETY: made by hp_server_new and freed once, by the caller's promise.
        let server = unsafe { Box::from_raw(server) };
        let inner = server.inner;
        inner.stop();
        drop(inner.running.lock().unwrap_or_else(PoisonError::into_inner));
        wait_until_alone(&inner);
    });
}

/// Sets which dialects are served: HP_DIALECT_AUTO (both, the default), HP_DIALECT_NATIVE or HP_DIALECT_PLAIN.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUSY (it is bound already), HP_STATUS_PANIC.
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_server_set_dialect(server: *mut hp_server, dialect: i32) -> hp_status {
    let Some(policy) = policy_of(dialect) else { return HP_STATUS_INVALID_ARGUMENT };
    // SAFETY: the caller promises that the server is NULL or live.
    unsafe {
        with_state(server, |state| {
            state.unbound_config()?.policy = policy;
            Ok(())
        })
    }
}

/// Sets how many threads serve, 1 to 64: one per core, at most 4, at first.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUSY (it is bound already), HP_STATUS_PANIC.
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_server_set_workers(server: *mut hp_server, workers: u32) -> hp_status {
    // SAFETY: the caller promises that the server is NULL or live.
    unsafe {
        with_state(server, |state| {
            let config = state.unbound_config()?;
            *config = ServerConfig { workers: workers as usize, ..config.clone() }.checked()?;
            Ok(())
        })
    }
}

/// Sets the most registrations at a time, at least 256: 1048576 at first.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUSY (it is bound already), HP_STATUS_PANIC.
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_server_set_max_endpoints(server: *mut hp_server, endpoints: u64) -> hp_status {
    // SAFETY: the caller promises that the server is NULL or live.
    unsafe {
        with_state(server, |state| {
            let config = state.unbound_config()?;
            let max_endpoints = usize::try_from(endpoints).unwrap_or(usize::MAX);
            let limits = Limits { max_endpoints, ..config.limits.clone() };
            *config = ServerConfig { limits, ..config.clone() }.checked()?;
            Ok(())
        })
    }
}

/// Sets after how much silence a plain client is forgotten, in milliseconds: 40000 at first; negative: never. Also while the
/// server runs, for present clients, too.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT (server is NULL), HP_STATUS_PANIC. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_server_set_plain_expiry_ms(server: *mut hp_server, expiry_ms: i64) -> hp_status {
    let expiry = u64::try_from(expiry_ms).ok().map(Duration::from_millis);
    // SAFETY: the caller promises that the server is NULL or live.
    unsafe {
        with_state(server, |state| {
            state.config.plain_expiry = expiry;
            if let Some(handle) = &state.handle {
                handle.set_plain_expiry(expiry);
            }
            Ok(())
        })
    }
}

/// Sets the longest session ID that a plain client may use, 1 to 1024 bytes: 1024 at first. Also while the server runs.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_PANIC. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_server_set_max_plain_id_len(server: *mut hp_server, len: u32) -> hp_status {
    // SAFETY: the caller promises that the server is NULL or live.
    unsafe {
        with_state(server, |state| {
            let max_plain_id_len = len as usize;
            state.config = ServerConfig { max_plain_id_len, ..state.config.clone() }.checked()?;
            match &state.handle {
                Some(handle) => Ok(handle.set_max_plain_id_len(max_plain_id_len)?),
                None => Ok(()),
            }
        })
    }
}

/// Binds the sockets, so that errors show and the port is known before hp_server_run, which otherwise does it. Clients'
/// datagrams wait in them. Does nothing on a server that is bound already. error: NULL or details.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_SOCKET, HP_STATUS_PANIC. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_server_bind(server: *mut hp_server, error: *mut hp_error) -> hp_status {
    // SAFETY: the caller promises that the server is NULL or live, and error NULL or an hp_error.
    unsafe {
        guard_with(error, || {
            if !is_valid(error) {
                return HP_STATUS_INVALID_ARGUMENT;
            }
            let result = match server.as_ref() {
                Some(server) => server.inner.state().bind(),
                None => Err(HP_STATUS_INVALID_ARGUMENT.into()),
            };
            report(error, result)
        })
    }
}

/// The address that a bound server listens on. out: written on success, else zeroed.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_NOT_FOUND (it is not bound yet), HP_STATUS_PANIC.
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_server_local_addr(server: *const hp_server, out: *mut hp_addr) -> hp_status {
    // SAFETY: the caller promises that the server is NULL or live, and out NULL or writable.
    unsafe {
        let Some(out) = out.as_mut() else { return HP_STATUS_INVALID_ARGUMENT };
        *out = hp_addr::default();
        with_state(server, |state| {
            if state.handle.is_none() {
                return Err(HP_STATUS_NOT_FOUND.into());
            }
            *out = state.local;
            Ok(())
        })
    }
}

/// Serves, in this thread and others that it starts and ends, until hp_server_stop. A server that was stopped stays stopped:
/// running it again returns HP_STATUS_OK at once. error: NULL or details.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_SOCKET, HP_STATUS_BUSY (it is running), HP_STATUS_POISONED,
/// HP_STATUS_PANIC. One thread at a time per server. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_server_run(server: *mut hp_server, error: *mut hp_error) -> hp_status {
    // SAFETY: the caller promises that the server is NULL or live, and error NULL or an hp_error. The run holds its own
    // reference to the server's inner part, so that a free in another thread can wait for it.
    unsafe {
        guard_with(error, || {
            if !is_valid(error) {
                return HP_STATUS_INVALID_ARGUMENT;
            }
            let Some(server) = server.as_ref() else {
                return report(error, Err(HP_STATUS_INVALID_ARGUMENT.into()));
            };
            let inner = Arc::clone(&server.inner);
            let running = match inner.running.try_lock() {
                Ok(running) => running,
                Err(TryLockError::WouldBlock) => return report(error, Err(HP_STATUS_BUSY.into())),
                Err(TryLockError::Poisoned(_)) => return report(error, Err(HP_STATUS_POISONED.into())),
            };
            let status = report(error, run(&inner));
            drop(running);
            status
        })
    }
}

fn run(inner: &Inner) -> Result<(), Failure> {
    let server = {
        let mut state = inner.state();
        if state.stopped {
            return Ok(());
        }
        state.bind()?;
        state.bound.take()
    };
    // Without one, it has ended for an error already.
    match server {
        Some(server) => Ok(server.run()?),
        None => Ok(()),
    }
}

/// Has hp_server_run return within 50 ms; before it, it will return at once. NULL is a no-op. Any thread, any number of times.
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_server_stop(server: *const hp_server) {
    guard_or((), || {
        // SAFETY: NULL or live by the caller's promise.
        if let Some(server) = unsafe { server.as_ref() } {
            server.inner.stop();
        }
    });
}

/// What a server has counted since it was bound.
///
/// out: its struct_size is set by the caller (HP_SERVER_COUNTERS_INIT); the rest is zeroed on entry and written on success.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_NOT_FOUND (it is not bound yet), HP_STATUS_PANIC.
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_server_get_counters(
    server: *const hp_server,
    out: *mut hp_server_counters,
) -> hp_status {
    // SAFETY: the caller promises that the server is NULL or live, and out NULL or writable.
    unsafe {
        let Some(size) = clear_sized(out) else { return HP_STATUS_INVALID_ARGUMENT };
        with_state(server, |state| {
            let counted = state.handle.as_ref().ok_or(HP_STATUS_NOT_FOUND)?.counters();
            let value = hp_server_counters {
                struct_size: size,
                reserved: 0,
                received: counted.received,
                sent: counted.sent,
                dropped: counted.dropped,
                challenged: counted.challenged,
                send_failed: counted.send_failed,
                endpoints: counted.endpoints,
                sessions: counted.sessions,
                native_joined: counted.registry.native_joined,
                plain_joined: counted.registry.plain_joined,
                left: counted.registry.left,
                expired: counted.registry.expired,
                refused: counted.registry.refused,
                relay_pairs: counted.relay.pairs,
                relay_granted: counted.relay.granted,
                relay_refused: counted.relay.refused,
                relay_forwarded: counted.relay.forwarded,
                relay_forwarded_bytes: counted.relay.forwarded_bytes,
                relay_over_limit: counted.relay.over_limit,
                relay_dropped: counted.relay.dropped,
                tcp_connections: counted.tcp.connections,
                tcp_accepted: counted.tcp.accepted,
                tcp_over_limit: counted.tcp.over_limit,
                tcp_accept_failed: counted.tcp.accept_failed,
                tcp_malformed: counted.tcp.malformed,
                tcp_silent: counted.tcp.silent,
                tcp_slow: counted.tcp.slow,
                tcp_received: counted.tcp.received,
                tcp_sent: counted.tcp.sent,
                tcp_unsent: counted.tcp.unsent,
                tcp_relay_pairs: counted.tcp.relay.pairs,
                tcp_relay_granted: counted.tcp.relay.granted,
                tcp_relay_refused: counted.tcp.relay.refused,
                tcp_relay_joined: counted.tcp.relay.joined,
                tcp_relay_bytes: counted.tcp.relay.forwarded_bytes,
                tcp_relay_unknown: counted.tcp.relay.unknown,
                tcp_relay_alone: counted.tcp.relay.alone,
                kernel_dropped: counted.kernel_dropped,
                rate_limited: counted.rate_limited,
                shed: counted.shed,
                plain_withheld: counted.registry.plain_withheld,
                memory: counted.memory,
                overloaded: counted.overloaded.into(),
            };
            write_sized(&value, out, size);
            Ok(())
        })
    }
}

/// The endpoints of all present registrations, in no order.
///
/// out: room for capacity of them; NULL with 0. count: set to how many there are, also if they do not fit.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUFFER_TOO_SMALL (as many as fit were written),
/// HP_STATUS_NOT_FOUND (it is not bound yet), HP_STATUS_PANIC. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_server_endpoints(
    server: *const hp_server,
    out: *mut hp_addr,
    capacity: usize,
    count: *mut usize,
) -> hp_status {
    // SAFETY: the caller promises that the server is NULL or live, count NULL or writable, and out room for `capacity`.
    unsafe {
        let Some(count) = count.as_mut() else { return HP_STATUS_INVALID_ARGUMENT };
        *count = 0;
        if out.is_null() && capacity > 0 {
            return HP_STATUS_INVALID_ARGUMENT;
        }
        with_state(server, |state| {
            let endpoints = state.handle.as_ref().ok_or(HP_STATUS_NOT_FOUND)?.endpoints();
            *count = endpoints.len();
            for (at, endpoint) in endpoints.iter().take(capacity).enumerate() {
                out.add(at).write((*endpoint).into());
            }
            if endpoints.len() > capacity { Err(HP_STATUS_BUFFER_TOO_SMALL.into()) } else { Ok(()) }
        })
    }
}

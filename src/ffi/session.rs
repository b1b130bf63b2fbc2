//! Sessions: join, hear, talk, leave.

use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;

use super::client::{hp_client, hp_socket_t, with_state_and_id};
use super::error::{Failure, guard_with, hp_error, is_valid, report, status_of};
use super::guard::{bytes, clear_sized, guard, guard_or, is_struct_size_of, write_sized};
use super::key::{HP_KEY_LEN, export};
use super::session_types::{hp_peer_id, hp_session_counters, hp_session_event, hp_session_peer};
use super::status::hp_status::{self, *};
use crate::shared::wait_until_alone;
use crate::{PeerId, PublicKey, Session, SessionEvent, SessionOptions};

/// Most members of a session, ourselves not counted.
pub const HP_SESSION_MAX_PEERS: usize = 256;
/// Longest message in bytes.
pub const HP_SESSION_MAX_MESSAGE_LEN: usize = 65536;
/// Longest message to a peer that is not encrypted.
pub const HP_SESSION_MAX_PLAIN_MESSAGE_LEN: usize = 1200;

/// A session that we are in: everybody who shares an ID, for as long as one stays.
pub struct hp_session {
    inner: Arc<Inner>,
}

struct Inner {
    session: Session,
    /// The event that the caller's pointers lead into; locked while somebody asks for one.
    told: Mutex<Option<SessionEvent>>,
}

/// What a session is joined with. HP_SESSION_OPTIONS_INIT sets struct_size and the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hp_session_options {
    /// sizeof(hp_session_options), set by the caller.
    pub struct_size: u32,
    /// 1: existing plain tools that the server names are let in. Nothing is encrypted, authenticated or repeated between them
    /// and us, as every event about them says. 0.
    pub plain_peers: i32,
    /// Our private key (X25519): HP_KEY_LEN random bytes, by whose public key the peers know us again; copied. NULL: a fresh one.
    pub identity: *const u8,
    /// If not NULL, the only public keys that peers may hold: pinned_count times HP_KEY_LEN bytes, copied. NULL.
    pub pinned: *const u8,
    /// How many: at least 1 if pinned is not NULL. 0.
    pub pinned_count: usize,
    /// Bytes of messages to one peer that may wait until it has got them, and 64 for each of their parts of 1154 bytes. 4194304.
    pub max_unacknowledged: u64,
    /// Bytes of messages from one peer that may wait to be fetched, and 64 for each; then it waits. 2097152; at least 2048.
    pub max_unfetched: u64,
}

impl hp_session_options {
    /// # Safety
    /// The pointers lead to as many readable bytes as documented, or are NULL.
    unsafe fn to_options(self) -> Result<SessionOptions, hp_status> {
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let len = self.pinned_count.checked_mul(HP_KEY_LEN).ok_or(HP_STATUS_INVALID_ARGUMENT)?;
        let pins_nobody = !self.pinned.is_null() && self.pinned_count == 0;
        if !(0..=1).contains(&self.plain_peers) || self.max_unfetched < 2048 || pins_nobody {
            return Err(HP_STATUS_INVALID_ARGUMENT);
        }
        let mut options = SessionOptions { plain_peers: self.plain_peers == 1, ..SessionOptions::default() };
        // SAFETY: as the caller promises.
        unsafe {
            options.identity = self.identity.cast::<[u8; HP_KEY_LEN]>().as_ref().copied();
            let pinned = bytes(self.pinned, len).ok_or(HP_STATUS_INVALID_ARGUMENT)?;
            options.pinned = pinned.as_chunks().0.iter().map(|key| PublicKey(*key)).collect();
        }
        options.delivery.max_unacknowledged = size(self.max_unacknowledged);
        options.delivery.max_unfetched = size(self.max_unfetched);
        Ok(options)
    }
}

/// Runs `body` on a session.
///
/// # Safety
/// `session` is NULL or live.
unsafe fn with_session(
    session: *const hp_session,
    body: impl FnOnce(&Session) -> Result<(), Failure>,
) -> hp_status {
    guard(|| {
        // SAFETY: NULL or live by the caller's promise.
        match unsafe { session.as_ref() } {
            Some(session) => status_of(body(&session.inner.session)),
            None => HP_STATUS_INVALID_ARGUMENT,
        }
    })
}

/// Joins the session of those who share the ID, by way of the client's server and with its settings; the dialect's is of no
/// account, since the server must speak native and never sees the ID. Looks up the server, within the client's timeout, and
/// returns; who is there, and whether the server answers, are events.
///
/// client: may be used for something else or freed afterwards; a socket that it holds becomes the session's. id: id_len bytes,
/// 1 to HP_MAX_SESSION_ID_LEN; the same for all. options: NULL for the defaults. out: the session, to be freed with
/// hp_session_free; NULL on failure. error: NULL or details.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_INVALID_SESSION_ID, HP_STATUS_SERVER_NOT_FOUND,
/// HP_STATUS_SERVER_SILENT (the look-up took too long), HP_STATUS_SERVER_UNREACHABLE, HP_STATUS_SOCKET, HP_STATUS_CANCELLED,
/// HP_STATUS_BUSY, HP_STATUS_POISONED, HP_STATUS_PANIC. One thread at a time per client. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_session_join(
    client: *mut hp_client,
    id: *const u8,
    id_len: usize,
    options: *const hp_session_options,
    out: *mut *mut hp_session,
    error: *mut hp_error,
) -> hp_status {
    // SAFETY: the caller's promises about the pointers are those of the functions called.
    unsafe {
        if let Some(out) = out.as_mut() {
            *out = std::ptr::null_mut();
        }
        with_state_and_id(client, id, id_len, error, |state, id| {
            let options = match options.as_ref() {
                Some(given) if is_struct_size_of::<hp_session_options>(given.struct_size) => {
                    given.to_options()?
                }
                Some(_) => return Err(HP_STATUS_INVALID_ARGUMENT.into()),
                None => SessionOptions::default(),
            };
            let out = out.as_mut().ok_or(HP_STATUS_INVALID_ARGUMENT)?;
            let inner =
                Inner { session: Session::join(&mut state.client, id, options)?, told: Mutex::new(None) };
            *out = Box::into_raw(Box::new(hp_session { inner: Arc::new(inner) }));
            Ok(())
        })
    }
}

/// Frees a session: leaves it, as hp_session_leave does, has an hp_session_next_event that runs in another thread return, and
/// waits until that and the session's own thread have ended. NULL is a no-op. No other call may begin on the session once this
/// one has. Any thread, but not from within a callback. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_session_free(session: *mut hp_session) {
    guard_or((), || {
        if session.is_null() {
            return;
        }
        // SAFETY: made by hp_session_join and freed once, by the caller's promise.
        let session = unsafe { Box::from_raw(session) };
        session.inner.session.leave();
        wait_until_alone(&session.inner);
    });
}

/// Says goodbye to everybody, who are told at once. What has come can still be fetched, and HP_EVENT_LEFT of each peer, with the
/// messages that it has not got, as far as is known. NULL is a no-op. Any thread, any number of times. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_session_leave(session: *const hp_session) {
    guard_or((), || {
        // SAFETY: NULL or live by the caller's promise.
        if let Some(session) = unsafe { session.as_ref() } {
            session.inner.session.leave();
        }
    });
}

/// Our own name in the session. out: zeroed on failure.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_PANIC. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_session_local_id(session: *const hp_session, out: *mut hp_peer_id) -> hp_status {
    // SAFETY: the caller promises that the session is NULL or live, and out NULL or writable.
    unsafe {
        let Some(out) = out.as_mut() else { return HP_STATUS_INVALID_ARGUMENT };
        *out = hp_peer_id::default();
        with_session(session, |session| {
            *out = session.local().into();
            Ok(())
        })
    }
}

/// Our own public key. key: HP_KEY_LEN bytes, zeroed on failure.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_PANIC. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_session_public_key(session: *const hp_session, key: *mut u8) -> hp_status {
    // SAFETY: the caller promises that the session is NULL or live, and key NULL or HP_KEY_LEN writable bytes.
    unsafe {
        let Some(key) = key.cast::<[u8; HP_KEY_LEN]>().as_mut() else { return HP_STATUS_INVALID_ARGUMENT };
        *key = [0; HP_KEY_LEN];
        with_session(session, |session| {
            *key = session.public_key().0;
            Ok(())
        })
    }
}

/// Sends a message to a peer or, with NULL, to everybody who is there. Each gets it once and in order with the others of ours,
/// or is gone: HP_EVENT_DELIVERED or HP_EVENT_LEFT tell which. A peer that is not connected yet gets it when it is. To a peer
/// that is not encrypted it goes once, in one datagram, and nothing is told.
///
/// to: NULL, or whom. data: len bytes, at most HP_SESSION_MAX_MESSAGE_LEN, copied; HP_SESSION_MAX_PLAIN_MESSAGE_LEN to a peer that
/// is not encrypted, and then nothing for which hp_is_control_packet holds. number: NULL, or set to what events will call the
/// message: 1, 2, 3 ...; 0 on failure. error: NULL or details.
/// Returns HP_STATUS_OK (for everybody: also if there is nobody, or if only some have room, which HP_EVENT_UNTAKEN tells),
/// HP_STATUS_INVALID_ARGUMENT, HP_STATUS_NOT_FOUND (there is no such peer), HP_STATUS_FULL (too much waits for all of them, or
/// 8192 events to be fetched; try again after some have been), HP_STATUS_CANCELLED (the session was left), HP_STATUS_PANIC.
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_session_send(
    session: *const hp_session,
    to: *const hp_peer_id,
    data: *const u8,
    len: usize,
    number: *mut u64,
    error: *mut hp_error,
) -> hp_status {
    // SAFETY: the caller's promises about the pointers are those of the functions called.
    unsafe {
        guard_with(error, || {
            if let Some(number) = number.as_mut() {
                *number = 0;
            }
            if !is_valid(error) {
                return HP_STATUS_INVALID_ARGUMENT;
            }
            let result = (|| {
                let session = session.as_ref().ok_or(HP_STATUS_INVALID_ARGUMENT)?;
                let data = bytes(data, len).ok_or(HP_STATUS_INVALID_ARGUMENT)?;
                let session = &session.inner.session;
                let sent = match to.as_ref() {
                    Some(to) => session.send(PeerId(to.bytes), data)?,
                    None => session.send_to_all(data)?,
                };
                if let Some(number) = number.as_mut() {
                    *number = sent;
                }
                Ok(())
            })();
            report(error, result)
        })
    }
}

/// The next event: at once, or within timeout_ms milliseconds (negative: however long it takes). Messages that are not asked
/// for make their senders wait; nothing is lost. Of other events 16384 are kept, and then counted: HP_EVENT_UNTOLD.
///
/// event: its struct_size is set by the caller (HP_SESSION_EVENT_INIT); the rest is zeroed on entry and written on success.
/// What it points to is valid until the next call of this function or hp_session_free.
/// Returns HP_STATUS_OK, HP_STATUS_NOTHING (nothing happened in that time), HP_STATUS_CANCELLED (the session was left, and
/// nothing more will happen), HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUSY, HP_STATUS_POISONED, HP_STATUS_PANIC. One thread at a
/// time per session. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_session_next_event(
    session: *const hp_session,
    timeout_ms: i64,
    event: *mut hp_session_event,
) -> hp_status {
    // SAFETY: the caller promises that the session is NULL or live, and event NULL or a struct of the size that it says.
    guard(|| unsafe {
        let Some(size) = clear_sized(event) else { return HP_STATUS_INVALID_ARGUMENT };
        let Some(session) = session.as_ref() else { return HP_STATUS_INVALID_ARGUMENT };
        // Its own reference, so that a free in another thread can wait for it.
        let inner = Arc::clone(&session.inner);
        let mut told = match inner.told.try_lock() {
            Ok(told) => told,
            Err(TryLockError::WouldBlock) => return HP_STATUS_BUSY,
            Err(TryLockError::Poisoned(_)) => return HP_STATUS_POISONED,
        };
        *told = inner.session.next_event(u64::try_from(timeout_ms).ok().map(Duration::from_millis));
        match &*told {
            Some(happened) => {
                write_sized(&hp_session_event::new(happened, size), event, size);
                HP_STATUS_OK
            }
            None if inner.session.has_left() => HP_STATUS_CANCELLED,
            None => HP_STATUS_NOTHING,
        }
    })
}

/// A descriptor that poll(2) and the like find readable while hp_session_next_event has something to say. Borrowed: neither
/// read from it nor close it. fd: HP_INVALID_SOCKET on failure.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_PANIC. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_session_event_fd(session: *const hp_session, fd: *mut hp_socket_t) -> hp_status {
    // SAFETY: the caller promises that the session is NULL or live, and fd NULL or writable.
    unsafe {
        let Some(fd) = fd.as_mut() else { return HP_STATUS_INVALID_ARGUMENT };
        *fd = super::client::HP_INVALID_SOCKET;
        with_session(session, |session| {
            *fd = session.event_fd().as_raw_fd() as hp_socket_t;
            Ok(())
        })
    }
}

/// Who is there: their names. ids: room for capacity of them (HP_SESSION_MAX_PEERS always suffice); NULL with 0. count: set to
/// how many there are, also if they do not fit.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUFFER_TOO_SMALL (as many as fit were written),
/// HP_STATUS_PANIC. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_session_peers(
    session: *const hp_session,
    ids: *mut hp_peer_id,
    capacity: usize,
    count: *mut usize,
) -> hp_status {
    // SAFETY: the caller promises that the session is NULL or live, count NULL or writable, and ids room for `capacity`.
    unsafe {
        let Some(count) = count.as_mut() else { return HP_STATUS_INVALID_ARGUMENT };
        *count = 0;
        if ids.is_null() && capacity > 0 {
            return HP_STATUS_INVALID_ARGUMENT;
        }
        with_session(session, |session| {
            let peers = session.peers();
            *count = peers.len();
            for (at, peer) in peers.iter().take(capacity).enumerate() {
                ids.add(at).write(peer.member.id.into());
            }
            if peers.len() > capacity { Err(HP_STATUS_BUFFER_TOO_SMALL.into()) } else { Ok(()) }
        })
    }
}

/// A peer of the session, as it is known now. id: whose name. out: its struct_size is set by the caller (HP_SESSION_PEER_INIT); the
/// rest is zeroed on entry and written on success.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_NOT_FOUND, HP_STATUS_PANIC. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_session_peer_get(
    session: *const hp_session,
    id: *const hp_peer_id,
    out: *mut hp_session_peer,
) -> hp_status {
    // SAFETY: the caller promises that the session is NULL or live, id NULL or readable, and out NULL or writable.
    unsafe {
        let Some(size) = clear_sized(out) else { return HP_STATUS_INVALID_ARGUMENT };
        with_session(session, |session| {
            let id = PeerId(id.as_ref().ok_or(HP_STATUS_INVALID_ARGUMENT)?.bytes);
            let peer = session.peer(id).ok_or(HP_STATUS_NOT_FOUND)?;
            write_sized(&hp_session_peer::new(&peer, size), out, size);
            Ok(())
        })
    }
}

/// A key for another protocol between us and a peer: the same on both sides, different for each label, known to nobody else, and
/// forward secret. Another one each time the peer joins.
///
/// id: whose name. label: label_len bytes that say what the key is for. key: HP_KEY_LEN bytes, zeroed on failure.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_NOT_FOUND (there is no such peer, it is not connected, or it is
/// not encrypted), HP_STATUS_PANIC. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_session_export_key(
    session: *const hp_session,
    id: *const hp_peer_id,
    label: *const u8,
    label_len: usize,
    key: *mut u8,
) -> hp_status {
    // SAFETY: the caller promises that the session is NULL or live, and the pointers NULL or as long as documented.
    guard(|| unsafe {
        export(label, label_len, key, |label| {
            let id = PeerId(id.as_ref().ok_or(HP_STATUS_INVALID_ARGUMENT)?.bytes);
            let session = session.as_ref().ok_or(HP_STATUS_INVALID_ARGUMENT)?;
            Ok(session.inner.session.export_key(id, label))
        })
    })
}

/// What the session has dropped. out: its struct_size is set by the caller (HP_SESSION_COUNTERS_INIT); the rest is zeroed on
/// entry and written on success.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_PANIC. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_session_get_counters(
    session: *const hp_session,
    out: *mut hp_session_counters,
) -> hp_status {
    // SAFETY: the caller promises that the session is NULL or live, and out NULL or writable.
    unsafe {
        let Some(size) = clear_sized(out) else { return HP_STATUS_INVALID_ARGUMENT };
        with_session(session, |session| {
            let counted = session.counters();
            let value = hp_session_counters {
                struct_size: size,
                reserved: 0,
                strangers: counted.strangers,
                forged: counted.forged,
                replayed: counted.replayed,
                malformed: counted.malformed,
            };
            write_sized(&value, out, size);
            Ok(())
        })
    }
}

//! Keys: who somebody is, and what two peers alone know.

use std::ffi::c_char;

use super::client::{hp_client, with_state};
use super::error::{Failure, status_of};
use super::guard::{bytes, clear_text, guard, write_text};
use super::status::hp_status::{self, *};
use crate::PublicKey;

/// Size of a key, public or private.
pub const HP_KEY_LEN: usize = 32;
/// Size of a buffer that holds any fingerprint with its terminating NUL.
pub const HP_FINGERPRINT_TEXT_LEN: usize = 40;

/// Gives the caller the key that `find` finds for a label.
///
/// # Safety
/// `label` is NULL or `label_len` readable bytes, `key` NULL or HP_KEY_LEN writable ones.
pub(super) unsafe fn export(
    label: *const u8,
    label_len: usize,
    key: *mut u8,
    find: impl FnOnce(&[u8]) -> Result<Option<[u8; HP_KEY_LEN]>, Failure>,
) -> hp_status {
    // SAFETY: as the caller promises.
    unsafe {
        let Some(key) = key.cast::<[u8; HP_KEY_LEN]>().as_mut() else { return HP_STATUS_INVALID_ARGUMENT };
        *key = [0; HP_KEY_LEN];
        let Some(label) = bytes(label, label_len) else { return HP_STATUS_INVALID_ARGUMENT };
        status_of(find(label).and_then(|found| {
            *key = found.ok_or(HP_STATUS_NOT_FOUND)?;
            Ok(())
        }))
    }
}

/// A key for a protocol that is run over the hole to a peer of the last call: the same on both sides, different for each label,
/// known to nobody else, and forward secret. Another one after each call.
///
/// index: as for hp_peer_get. label: label_len bytes that say what the key is for. key: HP_KEY_LEN bytes, zeroed on failure.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_NOT_FOUND (there is no such peer, or it is not connected and
/// authenticated), HP_STATUS_BUSY, HP_STATUS_POISONED, HP_STATUS_PANIC. One thread at a time per client. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_peer_export_key(
    client: *const hp_client,
    index: u32,
    label: *const u8,
    label_len: usize,
    key: *mut u8,
) -> hp_status {
    // SAFETY: the caller promises that the client is NULL or live, and the pointers NULL or as long as documented.
    guard(|| unsafe {
        export(label, label_len, key, |label| {
            let mut found = None;
            with_state(client, |state| {
                let peer = state.peers.get(index as usize).ok_or(HP_STATUS_NOT_FOUND)?;
                found = peer.export_key(label);
                Ok(())
            })?;
            Ok(found)
        })
    })
}

/// What people compare of a public key: 32 hexadecimal digits in groups of four, NUL-terminated.
///
/// key: HP_KEY_LEN bytes. buffer: capacity bytes; HP_FINGERPRINT_TEXT_LEN suffice. needed: NULL, or set to the size required.
/// Returns HP_STATUS_OK, HP_STATUS_BUFFER_TOO_SMALL, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_PANIC. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_key_fingerprint(
    key: *const u8,
    buffer: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> hp_status {
    // SAFETY: the caller promises HP_KEY_LEN readable and `capacity` writable bytes, or NULL.
    guard(|| unsafe {
        clear_text(buffer.cast(), capacity, needed);
        match key.cast::<[u8; HP_KEY_LEN]>().as_ref() {
            Some(key) => write_text(&PublicKey(*key).fingerprint(), buffer.cast(), capacity, needed),
            None => HP_STATUS_INVALID_ARGUMENT,
        }
    })
}

/// The public key of an identity. identity, key: HP_KEY_LEN bytes.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_PANIC. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_identity_public_key(identity: *const u8, key: *mut u8) -> hp_status {
    // SAFETY: the caller promises HP_KEY_LEN readable and as many writable bytes, or NULL.
    guard(|| unsafe {
        let Some(key) = key.cast::<[u8; HP_KEY_LEN]>().as_mut() else { return HP_STATUS_INVALID_ARGUMENT };
        *key = [0; HP_KEY_LEN];
        let Some(identity) = identity.cast::<[u8; HP_KEY_LEN]>().as_ref() else {
            return HP_STATUS_INVALID_ARGUMENT;
        };
        *key = crate::public_key(identity).0;
        HP_STATUS_OK
    })
}

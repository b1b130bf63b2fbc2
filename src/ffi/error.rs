//! Error details.

use std::ffi::c_char;

use super::guard::{guard, is_struct_size_of, write_sized};
use super::status::{hp_status, message_of};
use crate::Error;

/// Size of hp_error.message.
pub const HP_ERROR_MESSAGE_LEN: usize = 256;

/// Details of a failed call. The caller owns it, sets struct_size (HP_ERROR_INIT does) and passes it as the last argument,
/// or NULL. It is overwritten by every call that is given it, on success with status 0 and an empty message.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hp_error {
    /// sizeof(hp_error), set by the caller.
    pub struct_size: u32,
    /// The hp_status that the call returns.
    pub status: i32,
    /// The operating system's error number (errno), or 0.
    pub os_error: i32,
    /// A sentence in English, UTF-8, NUL-terminated, cut if it is too long.
    pub message: [c_char; HP_ERROR_MESSAGE_LEN],
}

/// Whether an error argument is NULL or a struct of this or a later version.
///
/// # Safety
/// `error` is NULL or points to an `hp_error`.
pub(super) unsafe fn is_valid(error: *const hp_error) -> bool {
    // SAFETY: not NULL, so an hp_error by the caller's promise; only its size is read.
    error.is_null() || is_struct_size_of::<hp_error>(unsafe { (*error).struct_size })
}

/// Fills an error argument.
///
/// # Safety
/// `error` is NULL or a valid `hp_error` as [`is_valid`] checks.
pub(super) unsafe fn fill(error: *mut hp_error, status: hp_status, os_error: i32, message: &str) {
    if error.is_null() {
        return;
    }
    let mut end = message.len().min(HP_ERROR_MESSAGE_LEN - 1);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    let mut text = [0; HP_ERROR_MESSAGE_LEN];
    for (to, from) in text.iter_mut().zip(&message.as_bytes()[..end]) {
        *to = *from as c_char;
    }
    // SAFETY: valid by the caller's promise.
    let struct_size = unsafe { (*error).struct_size };
    let value = hp_error { struct_size, status: status as i32, os_error, message: text };
    // SAFETY: the struct holds `struct_size` bytes, as it says itself; what a later version adds is zeroed.
    unsafe {
        error.cast::<u8>().write_bytes(0, struct_size as usize);
        write_sized(&value, error, struct_size);
    }
}

/// Runs an export's body in the guard; should it panic, the error argument says so.
///
/// # Safety
/// `error` is NULL or points to an `hp_error`.
pub(super) unsafe fn guard_with(error: *mut hp_error, body: impl FnOnce() -> hp_status) -> hp_status {
    let status = guard(body);
    // SAFETY: as the caller promises; filled only if it is valid.
    unsafe {
        if status == hp_status::HP_STATUS_PANIC && is_valid(error) {
            fill(error, status, 0, message_of(status));
        }
    }
    status
}

/// Turns a result into a status and fills the error argument.
///
/// # Safety
/// As for [`fill`].
pub(super) unsafe fn report(error: *mut hp_error, result: Result<(), Failure>) -> hp_status {
    let (status, os_error, message) = match result {
        Ok(()) => (hp_status::HP_STATUS_OK, 0, String::new()),
        Err(Failure::Status(status)) => (status, 0, message_of(status).to_owned()),
        Err(Failure::Library(error)) => {
            (error.kind().into(), error.os_error().unwrap_or_default(), error.to_string())
        }
    };
    // SAFETY: as the caller promises.
    unsafe { fill(error, status, os_error, &message) };
    status
}

/// The status alone, for exports without an error argument.
pub(super) fn status_of(result: Result<(), Failure>) -> hp_status {
    match result {
        Ok(()) => hp_status::HP_STATUS_OK,
        Err(Failure::Status(status)) => status,
        Err(Failure::Library(error)) => error.kind().into(),
    }
}

/// Why an export failed.
pub(super) enum Failure {
    /// The ABI's own checks.
    Status(hp_status),
    /// The library.
    Library(Error),
}

impl From<hp_status> for Failure {
    fn from(status: hp_status) -> Self {
        Self::Status(status)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

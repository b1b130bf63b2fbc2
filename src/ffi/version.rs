//! Versions, and telling the library's datagrams apart.

use std::ffi::{CStr, c_char};

use super::guard::{bytes, clear_text, guard, guard_or, write_text};
use super::status::hp_status;

/// Version of this header. hp_version() tells the library's.
pub const HP_VERSION_MAJOR: u32 = 0;
/// Minor version of this header.
pub const HP_VERSION_MINOR: u32 = 1;
/// Patch version of this header.
pub const HP_VERSION_PATCH: u32 = 0;
/// Version of the binary interface; a library with another one cannot be used with this header.
pub const HP_ABI_VERSION: u32 = 1;
/// Size of a buffer that holds any generated session ID with its terminating NUL.
pub const HP_SESSION_ID_TEXT_LEN: usize = 33;

const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => panic!("a version has no NUL inside"),
};

/// The library's version, such as "0.1.0". The string is static. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn hp_version() -> *const c_char {
    VERSION.as_ptr()
}

/// The library's HP_ABI_VERSION; compare it with the header's. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn hp_abi_version() -> u32 {
    HP_ABI_VERSION
}

/// Whether a datagram read from a taken or lent socket is the library's own and to be ignored: 1 or 0.
///
/// A peer that has not handed over yet may go on sending for a moment. True for every datagram of the native dialect and,
/// because of the plain dialect, for an empty one and for exactly "SYN" or "ACK"; so an application's protocol must not use
/// these three as whole datagrams. NULL data is 1 (empty) with len 0, else 0. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_is_control_packet(data: *const u8, len: usize) -> i32 {
    guard_or(0, || {
        // SAFETY: the caller promises `len` readable bytes.
        let datagram = unsafe { bytes(data, len) };
        i32::from(datagram.is_some_and(crate::is_control_packet))
    })
}

/// Writes a fresh session ID of 128 random bits as 32 hexadecimal digits and a NUL: a secret that no server can guess.
///
/// buffer: HP_SESSION_ID_TEXT_LEN bytes. needed: NULL, or set to that number.
/// Returns HP_STATUS_OK, HP_STATUS_BUFFER_TOO_SMALL, HP_STATUS_SOCKET (no randomness), HP_STATUS_PANIC.
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_session_id_generate(
    buffer: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> hp_status {
    // SAFETY: the caller promises `capacity` writable bytes and a writable or NULL `needed`.
    guard(|| unsafe {
        clear_text(buffer.cast(), capacity, needed);
        match crate::generate_session_id() {
            Ok(id) => write_text(&id, buffer.cast(), capacity, needed),
            Err(error) => error.kind().into(),
        }
    })
}

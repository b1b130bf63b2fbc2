//! What stands between C and Rust: panics, pointers, buffers.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::status::hp_status;

/// Runs an export's body; a panic becomes a status and never unwinds into C.
pub(super) fn guard(body: impl FnOnce() -> hp_status) -> hp_status {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(hp_status::HP_STATUS_PANIC)
}

/// The same for exports that return something else.
pub(super) fn guard_or<T>(fallback: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(fallback)
}

/// A C array as a slice; `None` for NULL with a length, or a length that no object can have.
///
/// # Safety
/// `data` is NULL or points to `len` readable bytes that nobody writes as long as the slice lives.
pub(super) unsafe fn bytes<'a>(data: *const u8, len: usize) -> Option<&'a [u8]> {
    match (data.is_null(), len) {
        (true, 0) => Some(&[]),
        (true, _) => None,
        (false, _) if len > isize::MAX as usize => None,
        // SAFETY: not NULL, and the caller promises `len` readable bytes.
        (false, _) => Some(unsafe { std::slice::from_raw_parts(data, len) }),
    }
}

/// Makes a C buffer an empty string and the size that it would need 0: outputs are zeroed on entry.
///
/// # Safety
/// As for [`write_text`].
pub(super) unsafe fn clear_text(buffer: *mut u8, capacity: usize, needed: *mut usize) {
    // SAFETY: NULL or writable by the caller's promise.
    unsafe {
        if !buffer.is_null() && capacity > 0 {
            *buffer = 0;
        }
        if !needed.is_null() {
            *needed = 0;
        }
    }
}

/// Copies `text` and a terminating NUL into a C buffer, and tells how large the buffer must be.
///
/// # Safety
/// `buffer` is NULL or points to `capacity` writable bytes; `needed` is NULL or writable.
pub(super) unsafe fn write_text(
    text: &str,
    buffer: *mut u8,
    capacity: usize,
    needed: *mut usize,
) -> hp_status {
    let size = text.len() + 1;
    if !needed.is_null() {
        // SAFETY: not NULL, so writable by the caller's promise.
        unsafe { *needed = size };
    }
    if buffer.is_null() || capacity < size {
        return hp_status::HP_STATUS_BUFFER_TOO_SMALL;
    }
    // SAFETY: the buffer has room for the text and its terminator, and cannot overlap Rust's string.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr(), buffer, text.len());
        *buffer.add(text.len()) = 0;
    }
    hp_status::HP_STATUS_OK
}

/// No version of any struct is larger: a size beyond is one that the caller forgot to set.
const MAX_STRUCT_SIZE: u32 = 4096;

/// Whether a caller's `struct_size` is that of this version of `T` or of a later one.
pub(super) fn is_struct_size_of<T>(size: u32) -> bool {
    size as usize >= size_of::<T>() && size <= MAX_STRUCT_SIZE
}

/// Writes as much of `value` as the caller's version of the struct holds.
///
/// # Safety
/// `out` points to a struct of `size` writable bytes whose first field is that size; `T` is `repr(C)` plain data.
pub(super) unsafe fn write_sized<T: Copy>(value: &T, out: *mut T, size: u32) {
    let len = size_of::<T>().min(size as usize);
    // SAFETY: both sides hold at least `len` bytes, and they are different objects.
    unsafe { std::ptr::copy_nonoverlapping(std::ptr::from_ref(value).cast::<u8>(), out.cast::<u8>(), len) };
}

/// Zeroes all of a caller's struct but its size, as outputs are on entry; the size, or `None` for no struct of `T`'s kind.
///
/// # Safety
/// `out` is NULL or points to a struct whose first field is its size in bytes, all of which can be written.
pub(super) unsafe fn clear_sized<T>(out: *mut T) -> Option<u32> {
    if out.is_null() {
        return None;
    }
    // SAFETY: not NULL, so a struct that begins with its size, by the caller's promise; nothing beyond that is written.
    unsafe {
        let size = out.cast::<u32>().read();
        if !is_struct_size_of::<T>(size) {
            return None;
        }
        out.cast::<u8>().add(size_of::<u32>()).write_bytes(0, size as usize - size_of::<u32>());
        Some(size)
    }
}

//! The log callback.

use std::cell::Cell;
use std::ffi::{CString, c_char, c_void};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::guard::guard;
use super::status::hp_status::{self, *};

/// Log level: a bug, or lost service.
pub const HP_LOG_ERROR: i32 = 1;
/// Log level: something to look at.
pub const HP_LOG_WARN: i32 = 2;
/// Log level: what the library does.
pub const HP_LOG_INFO: i32 = 3;
/// Log level: details, with addresses and peer IDs.
pub const HP_LOG_DEBUG: i32 = 4;
/// Log level: every step.
pub const HP_LOG_TRACE: i32 = 5;

/// Takes a log line: its HP_LOG_* level, its source such as "holepunch::client", and its text. Both strings are UTF-8 and
/// the library's; they are gone when the callback returns.
pub type hp_log_fn = Option<
    unsafe extern "C" fn(level: i32, target: *const c_char, message: *const c_char, user_data: *mut c_void),
>;

/// Frees a callback's user_data.
pub type hp_free_fn = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

struct Callback {
    function: unsafe extern "C" fn(i32, *const c_char, *const c_char, *mut c_void),
    max_level: log::LevelFilter,
    user_data: *mut c_void,
    free_user_data: hp_free_fn,
}

// SAFETY: the header says that the callback is called from any thread, one at a time; the caller vouches for its data.
unsafe impl Send for Callback {}

impl Drop for Callback {
    fn drop(&mut self) {
        if let Some(free) = self.free_user_data {
            // SAFETY: called once, with the pointer that it was given for, after the last call of the callback.
            unsafe { free(self.user_data) };
        }
    }
}

struct CallbackLogger {
    callback: Mutex<Option<Box<Callback>>>,
}

thread_local! {
    /// Whether this thread is inside the callback, where logging and changing the callback would wait for itself.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

impl log::Log for CallbackLogger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::max_level() && !INSIDE.get()
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = |text: String| CString::new(text.replace('\0', "")).unwrap_or_default();
        let (target, message) = (text(record.target().to_owned()), text(record.args().to_string()));
        let callback = self.callback.lock().unwrap_or_else(PoisonError::into_inner);
        // A line that was made for the callback before may be beyond this one's level.
        if let Some(callback) = callback.as_ref().filter(|callback| record.level() <= callback.max_level) {
            INSIDE.set(true);
            // SAFETY: the function and its data are the caller's, set together; the lock keeps calls from overlapping.
            unsafe {
                (callback.function)(
                    record.level() as i32,
                    target.as_ptr(),
                    message.as_ptr(),
                    callback.user_data,
                );
            }
            INSIDE.set(false);
        }
    }

    fn flush(&self) {}
}

static LOGGER: CallbackLogger = CallbackLogger { callback: Mutex::new(None) };
static INSTALLED: OnceLock<bool> = OnceLock::new();

/// Sends the library's log lines to a callback; without one the library is silent.
///
/// callback: called from any thread, never two calls at a time; it must not call hp_set_log_callback. NULL ends logging;
/// when the call returns, the former callback is not running and will not be called again.
/// max_level: HP_LOG_ERROR to HP_LOG_TRACE; lines beyond it are not made.
/// user_data: passed to the callback; may be NULL. free_user_data: called with user_data when the callback is replaced or the
/// call fails; may be NULL.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT (max_level), HP_STATUS_UNSUPPORTED (called from the callback, or the
/// process has another logger of Rust's), HP_STATUS_PANIC. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_set_log_callback(
    callback: hp_log_fn,
    max_level: i32,
    user_data: *mut c_void,
    free_user_data: hp_free_fn,
) -> hp_status {
    guard(|| {
        let max_level = match max_level {
            HP_LOG_ERROR => log::LevelFilter::Error,
            HP_LOG_WARN => log::LevelFilter::Warn,
            HP_LOG_INFO => log::LevelFilter::Info,
            HP_LOG_DEBUG => log::LevelFilter::Debug,
            HP_LOG_TRACE => log::LevelFilter::Trace,
            _ => log::LevelFilter::Off,
        };
        let replacement =
            callback.map(|function| Box::new(Callback { function, max_level, user_data, free_user_data }));
        if callback.is_none()
            && let Some(free) = free_user_data
        {
            // SAFETY: the caller gave the function for this pointer; nobody else will use it.
            unsafe { free(user_data) };
        }
        if callback.is_some() && max_level == log::LevelFilter::Off {
            return HP_STATUS_INVALID_ARGUMENT;
        }
        if INSIDE.get() || !*INSTALLED.get_or_init(|| log::set_logger(&LOGGER).is_ok()) {
            return HP_STATUS_UNSUPPORTED;
        }
        let former = {
            let mut current = LOGGER.callback.lock().unwrap_or_else(PoisonError::into_inner);
            log::set_max_level(if callback.is_some() { max_level } else { log::LevelFilter::Off });
            std::mem::replace(&mut *current, replacement)
        };
        drop(former);
        HP_STATUS_OK
    })
}

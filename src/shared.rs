//! Objects that several threads share.

use std::sync::Arc;

/// Waits for a call in another thread, which has ended its work, to let go of an object that is about to be freed or moved.
pub(crate) fn wait_until_alone<T>(object: &Arc<T>) {
    while Arc::strong_count(object) > 1 {
        std::thread::yield_now();
    }
}

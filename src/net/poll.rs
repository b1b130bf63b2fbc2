//! `poll(2)` on a handful of descriptors.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    Readable,
    Writable,
}

/// Waits until one of `fds` is readable (or has an error to tell) or `until` is reached; says which are.
pub(crate) fn wait_readable(fds: &[BorrowedFd<'_>], until: Option<Instant>) -> io::Result<Vec<bool>> {
    let polled = fds.iter().map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    wait(polled.collect(), until)
}

/// The same with an interest for each.
pub(crate) fn wait_ready(
    fds: &[(BorrowedFd<'_>, Interest)],
    until: Option<Instant>,
) -> io::Result<Vec<bool>> {
    let polled = fds.iter().map(|(fd, interest)| {
        let events = match interest {
            Interest::Readable => libc::POLLIN,
            Interest::Writable => libc::POLLOUT,
        };
        libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 }
    });
    wait(polled.collect(), until)
}

fn wait(mut polled: Vec<libc::pollfd>, until: Option<Instant>) -> io::Result<Vec<bool>> {
    let timeout = until.map_or(-1, |until| {
        let rest = until.saturating_duration_since(Instant::now());
        // Rounded up: waking too early would only spin.
        let rounded = rest + Duration::from_nanos(999_999);
        i32::try_from(rounded.as_millis()).unwrap_or(i32::MAX)
    });
    // SAFETY: `polled` is an array of as many initialised pollfds as its length says.
    let ready = unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, timeout) };
    if ready < 0 {
        let error = io::Error::last_os_error();
        // A signal ends the wait early; the caller looks at the clock anyway.
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
        return Ok(vec![false; polled.len()]);
    }
    Ok(polled.iter().map(|fd| fd.revents != 0).collect())
}

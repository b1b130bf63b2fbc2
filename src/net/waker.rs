//! Wakes a thread that waits in `poll`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;

/// A pollable flag that any thread can raise.
#[derive(Debug)]
pub(crate) struct Waker {
    sender: UnixDatagram,
    receiver: UnixDatagram,
}

impl Waker {
    pub(crate) fn new() -> io::Result<Self> {
        let (sender, receiver) = UnixDatagram::pair()?;
        sender.set_nonblocking(true)?;
        receiver.set_nonblocking(true)?;
        Ok(Self { sender, receiver })
    }

    /// Makes [`Self::fd`] readable. A full pipe is as good as one more datagram in it.
    pub(crate) fn wake(&self) {
        let _ = self.sender.send(&[1]);
    }

    /// Lowers the flag.
    pub(crate) fn clear(&self) {
        let mut byte = [0; 1];
        while self.receiver.recv(&mut byte).is_ok() {}
    }

    /// Readable while the flag is raised.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}

//! One connection: what it reads and what waits to be sent, without ever waiting itself.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use socket2::SockRef;

/// Bytes that may wait to be sent to one who does not read them.
pub(super) const MAX_WAITING: usize = 64 << 10;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing has come yet; at the server's own port, or at another one.
    Fresh { is_main: bool },
    /// It carries messages.
    Messages { is_main: bool },
    /// It waits for the other side of its pair.
    Waiting,
    /// It is forwarded to that one.
    Forwarded(u64),
}

/// What reading has brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    Bytes(usize),
    /// Nothing more for now.
    Nothing,
    /// Nothing more, ever.
    End,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) remote: SocketAddr,
    pub(super) stage: Stage,
    /// Until when something must have come; counts as long as it carries messages.
    pub(super) deadline: Instant,
    /// The beginning of a frame; what is to be forwarded as soon as the other side is there.
    pub(super) incoming: Vec<u8>,
    /// Whether it is in the queue of those for whom there may be something to do.
    pub(super) is_queued: bool,
    /// Whether the system says that it is broken.
    pub(super) is_broken: bool,
    /// Whether the system may have something to read, or room to write: it tells when that changes, once.
    readable: bool,
    writable: bool,
    /// The other side has said all it had to say; so have we.
    has_ended: bool,
    is_shut: bool,
    waiting: Vec<u8>,
    /// How many of those are sent already.
    sent: usize,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, remote: SocketAddr, is_main: bool, deadline: Instant) -> Self {
        let socket = SockRef::from(&stream);
        // Neither is needed for the connection to work. The kernel shall not keep much more than we do for one who does not read.
        let _ = socket.set_tcp_nodelay(true);
        #[cfg(target_os = "linux")]
        let _ = socket.set_tcp_notsent_lowat(MAX_WAITING as u32);
        Self {
            stream,
            remote,
            stage: Stage::Fresh { is_main },
            deadline,
            incoming: Vec::new(),
            is_queued: false,
            is_broken: false,
            readable: true,
            writable: true,
            has_ended: false,
            is_shut: false,
            waiting: Vec::new(),
            sent: 0,
        }
    }

    /// The system says that there is something to read, or room to write.
    pub(super) fn set_ready(&mut self, readable: bool, writable: bool) {
        self.readable |= readable;
        self.writable |= writable;
    }

    pub(super) fn may_read(&self) -> bool {
        self.readable && !self.has_ended
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Read> {
        if !self.may_read() || buffer.is_empty() {
            return Ok(Read::Nothing);
        }
        match retried(|| self.stream.read(buffer)) {
            Ok(0) => {
                self.has_ended = true;
                Ok(Read::End)
            }
            Ok(len) => Ok(Read::Bytes(len)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(Read::Nothing)
            }
            Err(error) => Err(error),
        }
    }

    /// Sends this behind what waits; what the system does not take, waits.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.flush()?;
        let taken = if self.waiting.is_empty() { self.write(bytes)? } else { 0 };
        self.waiting.extend_from_slice(&bytes[taken..]);
        Ok(())
    }

    /// Sends what waits, as far as the system takes it; returns how many bytes that were.
    pub(super) fn flush(&mut self) -> io::Result<usize> {
        let waiting = std::mem::take(&mut self.waiting);
        let taken = self.write(&waiting[self.sent..])?;
        self.sent += taken;
        if self.sent < waiting.len() {
            self.waiting = waiting;
        } else {
            // Its memory is given back: most connections need none most of the time.
            self.sent = 0;
        }
        Ok(taken)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut taken = 0;
        while self.writable && taken < bytes.len() {
            match retried(|| self.stream.write(&bytes[taken..])) {
                Ok(len) => taken += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }

    /// How many bytes wait to be sent.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len() - self.sent
    }

    /// Says that nothing more will come.
    pub(super) fn shut(&mut self) -> io::Result<()> {
        if !self.is_shut {
            self.is_shut = true;
            self.stream.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    pub(super) fn is_shut(&self) -> bool {
        self.is_shut
    }

    /// Closes it so that the other side does not take it for an end of what it was to be sent.
    pub(super) fn reset(self) {
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }
}

fn retried(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

//! One HTTP request and its answer, without ever blocking.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::net::poll::Interest;
use crate::proto::portmap::HttpRequest;
use crate::proto::portmap::upnp::http;

/// Connecting, sending and receiving take at most this long together.
const PATIENCE: Duration = Duration::from_secs(2);

/// A connection to the router.
#[derive(Debug)]
pub(super) struct Exchange {
    stream: TcpStream,
    request: Vec<u8>,
    sent: usize,
    answer: Vec<u8>,
    deadline: Instant,
}

impl Exchange {
    /// Starts connecting from our own address.
    pub(super) fn start(request: HttpRequest, own: Ipv4Addr, now: Instant) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.bind(&SocketAddr::from(SocketAddrV4::new(own, 0)).into())?;
        match socket.connect(&SocketAddr::from(request.address).into()) {
            Err(error)
                if error.raw_os_error() != Some(libc::EINPROGRESS)
                    && error.kind() != ErrorKind::WouldBlock =>
            {
                return Err(error);
            }
            _ => {}
        }
        Ok(Self {
            stream: socket.into(),
            request: request.bytes,
            sent: 0,
            answer: Vec::new(),
            deadline: now + PATIENCE,
        })
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What to wait for.
    pub(super) fn interest(&self) -> (BorrowedFd<'_>, Interest) {
        let all_sent = self.sent == self.request.len();
        (self.stream.as_fd(), if all_sent { Interest::Readable } else { Interest::Writable })
    }

    /// Goes on as far as it can. `Ok(None)`: more is to come.
    pub(super) fn proceed(&mut self) -> io::Result<Option<&[u8]>> {
        while self.sent < self.request.len() {
            match self.stream.write(&self.request[self.sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(sent) => self.sent += sent,
                Err(error) if is_temporary(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(Some(&self.answer)),
                Ok(len) => self.answer.extend_from_slice(&buffer[..len]),
                Err(error) if is_temporary(&error) => return Ok(None),
                // A router that resets the connection has often said everything before.
                Err(_) if !self.answer.is_empty() => return Ok(Some(&self.answer)),
                Err(error) => return Err(error),
            }
            if http::is_complete(&self.answer) {
                return Ok(Some(&self.answer));
            }
        }
    }
}

fn is_temporary(error: &io::Error) -> bool {
    // A connection that is still being made is not connected yet.
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::NotConnected)
}

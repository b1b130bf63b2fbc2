//! TCP sockets as holes need them: many connections from one port, on which others are waited for at the same time.
//!
//! All of them carry `SO_REUSEADDR` and `SO_REUSEPORT`. They are non-blocking and without delay (`TCP_NODELAY`) until they are handed over;
//! then they are like any other.

use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::udp::canonical;
use crate::proto::stream::DialFailure;

/// Connections that wait to be taken.
const BACKLOG: i32 = 64;

fn socket_at(local: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(local);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&local.into())?;
    Ok(socket)
}

/// A port that connections come to and go out from.
#[derive(Debug)]
pub(crate) struct TcpPort {
    listener: Socket,
    local: SocketAddr,
}

impl TcpPort {
    /// Binds to `local`; port 0 is the system's choice.
    pub(crate) fn bind(local: SocketAddr) -> io::Result<Self> {
        let listener = socket_at(local)?;
        listener.listen(BACKLOG)?;
        let local = listener.local_addr()?.as_socket().ok_or(ErrorKind::Unsupported)?;
        Ok(Self { listener, local })
    }

    /// Listens anew on the same port; who had begun to connect, and has not got as far as [`Self::accept`], has to begin again.
    pub(crate) fn relisten(&mut self) -> io::Result<()> {
        *self = Self::bind(self.local)?;
        Ok(())
    }

    /// What it is bound to.
    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Readable while somebody waits to be let in.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// The next connection that has come; `None` if there is none. One that has ended already is passed over.
    pub(crate) fn accept(&self) -> Option<(TcpConnection, SocketAddr)> {
        loop {
            match self.listener.accept() {
                Ok((socket, remote)) => {
                    let remote = remote.as_socket().map(canonical)?;
                    if socket.set_nonblocking(true).is_ok() && socket.set_tcp_nodelay(true).is_ok() {
                        return Some((TcpConnection { socket }, remote));
                    }
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
                Err(_) => return None,
            }
        }
    }

    /// Begins to connect from here; what comes of it [`TcpConnection::dialled`] tells once the connection is writable.
    pub(crate) fn dial(&self, remote: SocketAddr) -> Result<TcpConnection, DialFailure> {
        TcpConnection::dial(self.local, remote)
    }
}

/// What came of a read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// So many bytes.
    Bytes(usize),
    /// Nothing yet.
    Nothing,
    /// The end; with the system's error number, if it was none in peace.
    End(Option<i32>),
}

/// A connection, or one that is being made.
#[derive(Debug)]
pub(crate) struct TcpConnection {
    socket: Socket,
}

impl TcpConnection {
    /// Begins to connect from `local`, whose port may be 0.
    pub(crate) fn dial(local: SocketAddr, remote: SocketAddr) -> Result<Self, DialFailure> {
        let socket = socket_at(local).map_err(|error| failure(&error))?;
        match socket.connect(&remote.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(error) => return Err(failure(&error)),
        }
        Ok(Self { socket })
    }

    /// What came of the attempt; `None` as long as it goes on.
    pub(crate) fn dialled(&self) -> Option<Result<(), DialFailure>> {
        match self.socket.take_error() {
            Ok(Some(error)) | Err(error) => Some(Err(failure(&error))),
            Ok(None) => self.socket.peer_addr().is_ok().then_some(Ok(())),
        }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Our own end.
    pub(crate) fn local(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()?.as_socket().map(canonical).ok_or_else(|| ErrorKind::Unsupported.into())
    }

    /// Sends what the kernel takes at once, which may be nothing.
    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.socket.send_with_flags(bytes, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
                sent => return sent,
            }
        }
    }

    /// Reads what is there.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Came {
        self.receive_with(buffer, 0)
    }

    /// Whether something is there, or the end.
    pub(crate) fn look(&self) -> Came {
        self.receive_with(&mut [0], libc::MSG_PEEK)
    }

    fn receive_with(&self, buffer: &mut [u8], flags: i32) -> Came {
        // SAFETY: `u8` and `MaybeUninit<u8>` have the same layout, and the kernel writes initialised bytes only.
        let uninit = unsafe { &mut *(std::ptr::from_mut::<[u8]>(buffer) as *mut [MaybeUninit<u8>]) };
        loop {
            match self.socket.recv_with_flags(uninit, flags | libc::MSG_DONTWAIT) {
                Ok(0) => return Came::End(None),
                Ok(len) => return Came::Bytes(len),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Came::Nothing,
                Err(error) => return Came::End(Some(error.raw_os_error().unwrap_or_default())),
            }
        }
    }

    /// Closes it at once: the other side is told that nothing of it counts, and the pair of endpoints is free for the next attempt.
    pub(crate) fn abort(self) {
        let _ = self.socket.set_linger(Some(Duration::ZERO));
    }

    /// The socket as the caller gets it: blocking, without anything that was set on the way.
    pub(crate) fn into_std(self) -> std::net::TcpStream {
        let _ = self.socket.set_nonblocking(false);
        let _ = self.socket.set_tcp_nodelay(false);
        self.socket.into()
    }
}

fn failure(error: &io::Error) -> DialFailure {
    match error.raw_os_error().unwrap_or_default() {
        libc::ECONNREFUSED | libc::ECONNRESET => DialFailure::Refused,
        libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN | libc::EHOSTDOWN => DialFailure::Unreachable,
        libc::ETIMEDOUT => DialFailure::TimedOut,
        libc::EADDRINUSE | libc::EADDRNOTAVAIL => DialFailure::Taken,
        other => DialFailure::Local(other),
    }
}

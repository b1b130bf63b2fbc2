//! Listening, at the same address and port number as for datagrams.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};

use crate::error::{Error, ErrorKind};
use crate::net::batch::ServerSocket;
use crate::server::TICK;

/// Connections that the kernel keeps for us to take.
const BACKLOG: i32 = 1024;
/// How many ports of the system's choice are tried until one is free for both.
const ATTEMPTS: usize = 32;
/// When the system had no room for another connection: after so long it is asked again.
const PAUSE: Duration = Duration::from_millis(100);

/// What could not be bound, and why.
#[derive(Debug)]
pub(in crate::server) struct BindError {
    protocol: &'static str,
    address: SocketAddr,
    error: io::Error,
}

impl BindError {
    /// In the words of the library's errors.
    pub(in crate::server) fn into_error(self, what: &str) -> Error {
        let doing = format!("binding {what}to {} over {}", self.address, self.protocol);
        Error::from_io(ErrorKind::Socket, &doing, &self.error)
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} over {}: {}", self.address, self.protocol, self.error)
    }
}

/// A socket and, if wanted, a listener on the same port.
pub(in crate::server) fn bind_both(
    address: SocketAddr,
    with_tcp: bool,
) -> Result<(ServerSocket, Option<TcpListener>), BindError> {
    let bind = || {
        let socket = ServerSocket::bind(address, TICK, true)?;
        let bound = socket.local_address()?;
        Ok((socket, bound))
    };
    let mut attempts = 0;
    loop {
        let (socket, bound) = bind().map_err(|error| BindError { protocol: "UDP", address, error })?;
        if !with_tcp {
            return Ok((socket, None));
        }
        attempts += 1;
        match listen(bound) {
            Ok(listener) => return Ok((socket, Some(listener))),
            // The system has chosen what is free for datagrams.
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse && address.port() == 0 && attempts < ATTEMPTS => {
            }
            Err(error) => return Err(BindError { protocol: "TCP", address: bound, error }),
        }
    }
}

/// An IPv6 wildcard takes IPv4, too, as it does for datagrams.
pub(in crate::server) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // Connections of an earlier run may linger; another listener has the port for itself all the same.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Whose connections are counted together: an IPv4 address', or an IPv6 network's, since one host may well have all of that.
pub(super) fn counted_as(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => {
            let network = v6.to_bits() & (u128::MAX << 64);
            Ipv6Addr::from_bits(network).into()
        }
    }
}

/// One listener.
#[derive(Debug)]
pub(super) struct Listener {
    listener: mio::net::TcpListener,
    /// Whether it is the server's own port; on others NAT diagnosis alone is answered.
    pub(super) is_main: bool,
    ready: bool,
    /// Until when the system is not asked, because it had no room.
    paused: Option<Instant>,
}

/// What asking a listener has brought.
pub(super) enum Accepted {
    Connection(mio::net::TcpStream, SocketAddr),
    /// There is none now.
    Nothing,
    /// There may be one, for which there is no room.
    NoRoom,
}

impl Listener {
    pub(super) fn new(listener: TcpListener, is_main: bool) -> Self {
        let listener = mio::net::TcpListener::from_std(listener);
        Self { listener, is_main, ready: true, paused: None }
    }

    pub(super) fn register(&mut self, registry: &Registry, number: usize) -> io::Result<()> {
        registry.register(&mut self.listener, Token(number), Interest::READABLE)
    }

    pub(super) fn set_ready(&mut self) {
        self.ready = true;
    }

    /// Whether it is worth asking.
    pub(super) fn is_ready(&self, now: Instant) -> bool {
        self.ready && self.paused.is_none_or(|until| now >= until)
    }

    pub(super) fn accept(&mut self, now: Instant) -> Accepted {
        self.paused = None;
        loop {
            match self.listener.accept() {
                Ok((stream, remote)) => return Accepted::Connection(stream, remote),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.ready = false;
                    return Accepted::Nothing;
                }
                // That one is gone again; the next one may be there.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                    ) => {}
                // The connection stays in the kernel's queue, and nothing tells when there is room: out of descriptors or memory.
                Err(error) => {
                    log::debug!("cannot take a connection now: {error}");
                    self.paused = Some(now + PAUSE);
                    return Accepted::NoRoom;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_is_counted_by_network() {
        let counted = |ip: &str| counted_as(ip.parse().unwrap()).to_string();
        assert_eq!(counted("192.0.2.7"), "192.0.2.7");
        assert_eq!(counted("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(counted("2001:db8:1:3:3:4:5:6"), "2001:db8:1:3::");
    }

    #[test]
    fn port_of_the_systems_choice_is_free_for_both() {
        for _ in 0..20 {
            let (socket, listener) = bind_both("127.0.0.1:0".parse().unwrap(), true).unwrap();
            let listener = listener.unwrap();
            assert_eq!(socket.local_address().unwrap(), listener.local_addr().unwrap());
            let error = bind_both(listener.local_addr().unwrap(), true).unwrap_err();
            assert_eq!(error.error.kind(), io::ErrorKind::AddrInUse);
        }
    }
}

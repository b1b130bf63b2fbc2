//! Whether a host answers TCP, which tells a network without UDP from a host that is not there.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

/// A TCP connection that is being tried, for the answer's sake only.
#[derive(Debug)]
struct TcpLook {
    socket: Socket,
    refused: bool,
}

impl TcpLook {
    /// Tries; nothing waits.
    fn start(host: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(host), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        let refused = match socket.connect(&host.into()) {
            Ok(()) => false,
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => false,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => true,
            Err(error) => return Err(error),
        };
        Ok(Self { socket, refused })
    }

    /// Whether the host has answered by now: accepting or refusing is the same here.
    fn is_answered(&mut self) -> bool {
        if let Ok(Some(error)) = self.socket.take_error() {
            self.refused |= error.kind() == io::ErrorKind::ConnectionRefused;
        }
        self.refused || self.socket.peer_addr().is_ok()
    }
}

/// How long a server's silence is nothing to wonder at; then its host is asked over TCP.
const SILENCE_PATIENCE: Duration = Duration::from_secs(1);

/// Tells a network without UDP from a server that is not there.
#[derive(Debug)]
pub(crate) struct SilenceWatch {
    started: Instant,
    look: Option<TcpLook>,
}

impl SilenceWatch {
    /// The server is asked from now on.
    pub(crate) fn start() -> Self {
        Self { started: Instant::now(), look: None }
    }

    /// Whether the host of a server that has not answered so far does answer TCP.
    pub(crate) fn is_udp_blocked(&mut self, silent_server: Option<SocketAddr>) -> bool {
        let silent = silent_server.filter(|_| self.started.elapsed() >= SILENCE_PATIENCE);
        let Some(server) = silent else {
            self.look = None;
            return false;
        };
        if self.look.is_none() {
            self.look = TcpLook::start(server).ok();
        }
        self.look.as_mut().is_some_and(TcpLook::is_answered)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn is_answered_soon(host: SocketAddr) -> bool {
        let mut look = TcpLook::start(host).unwrap();
        let until = Instant::now() + Duration::from_secs(5);
        while !look.is_answered() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        look.is_answered()
    }

    #[test]
    fn accepting_and_refusing_are_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert!(is_answered_soon(address));
        drop(listener);
        assert!(is_answered_soon(address));
    }

    #[test]
    fn silence_is_none() {
        // A queue of no length that is full drops further attempts.
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let _full: Vec<_> = (0..2).map(|_| TcpLook::start(address).unwrap()).collect();
        std::thread::sleep(Duration::from_millis(50));
        let mut look = TcpLook::start(address).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        assert!(!look.is_answered());
    }
}

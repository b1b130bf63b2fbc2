//! Sockets that systemd, or whoever else starts us, has bound already.

use std::net::{TcpListener, UdpSocket};
use std::os::fd::{FromRawFd as _, OwnedFd};

use holepunch::server::Inherited;
use socket2::{Domain, Socket, Type};

/// What was handed over, if anything was. Must be called once at most, before anything else is opened.
pub fn inherited() -> Result<Option<Inherited>, String> {
    let failed = |error| format!("the sockets that were handed over (LISTEN_FDS) cannot be taken: {error}");
    let mut inherited = Inherited::default();
    for (number, fd) in sd_notify::listen_fds().map_err(failed)?.enumerate() {
        // SAFETY: `listen_fds` has found the descriptor open, and by its protocol this process owns it; nobody else here takes it.
        let socket = Socket::from(unsafe { OwnedFd::from_raw_fd(fd) });
        let described = |error| failed(std::io::Error::other(format!("number {}: {error}", number + 1)));
        let domain = socket.domain().map_err(described)?;
        let kind = socket.r#type().map_err(described)?;
        match kind {
            _ if domain != Domain::IPV4 && domain != Domain::IPV6 => {
                return Err(described(std::io::Error::other("it is neither IPv4 nor IPv6")));
            }
            Type::DGRAM => inherited.sockets.push(UdpSocket::from(socket)),
            Type::STREAM if inherited.listener.is_none() => {
                inherited.listener = Some(TcpListener::from(socket))
            }
            _ => {
                return Err(described(std::io::Error::other(
                    "at most one TCP socket, and else UDP, is of use",
                )));
            }
        }
    }
    let any = !inherited.sockets.is_empty() || inherited.listener.is_some();
    Ok(any.then_some(inherited))
}

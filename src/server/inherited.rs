//! A server whose sockets were bound by whoever has started the process.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use socket2::{Socket, Type};

use super::tcp::listen::listen;
use super::{MAX_WORKERS, Server, ServerConfig, TICK, invalid};
use crate::error::{Error, ErrorKind};
use crate::net::batch::ServerSocket;

/// Sockets that were bound already.
#[derive(Debug, Default)]
pub struct Inherited {
    /// For datagrams, one at least, all bound to one address.
    pub sockets: Vec<UdpSocket>,
    /// For connections, on the same port; without it the server binds its own if it is to take connections.
    pub listener: Option<TcpListener>,
}

impl Server {
    /// Like [`Server::bind`], with sockets that are bound already in place of [`ServerConfig::address`]. There are as many workers as
    /// sockets, or as many as asked for, if that is more: those then share sockets. What else the server needs, it binds next to them.
    pub fn bind_inherited(config: &ServerConfig, inherited: Inherited) -> Result<Self, Error> {
        let (address, sockets) = checked(inherited.sockets)?;
        let config = ServerConfig { address, ..config.clone() };
        Self::bind_with(&config, |config| {
            let failed = |error: io::Error| {
                Error::from_io(ErrorKind::Socket, "preparing the sockets that were handed over", &error)
            };
            let listener = match (inherited.listener, config.tcp.is_some()) {
                (Some(_), false) => {
                    return Err(invalid(
                        "a TCP socket was handed over, and the server is to take no connections".into(),
                    ));
                }
                (Some(listener), true) => Some(checked_listener(listener, address)?),
                (None, true) => Some(listen(address).map_err(failed)?),
                (None, false) => None,
            };
            let workers = config.workers.max(sockets.len());
            let shared = sockets.iter().cycle().take(workers - sockets.len()).map(Socket::try_clone);
            let shared = shared.collect::<io::Result<Vec<_>>>().map_err(failed)?;
            let sockets =
                sockets.into_iter().chain(shared).map(|socket| ServerSocket::from_inherited(socket, TICK));
            Ok((sockets.collect::<io::Result<_>>().map_err(failed)?, listener))
        })
    }
}

/// The sockets and their common address, if they are what they should be.
fn checked(sockets: Vec<UdpSocket>) -> Result<(SocketAddr, Vec<Socket>), Error> {
    let wrong =
        |number: usize, why: &str| invalid(format!("UDP socket {} that was handed over {why}", number + 1));
    if sockets.is_empty() || sockets.len() > MAX_WORKERS {
        return Err(invalid(format!(
            "1 to {MAX_WORKERS} UDP sockets must be handed over, not {}",
            sockets.len()
        )));
    }
    let mut common = None;
    let sockets: Vec<Socket> = sockets.into_iter().map(Socket::from).collect();
    for (number, socket) in sockets.iter().enumerate() {
        if socket.r#type().ok() != Some(Type::DGRAM) {
            return Err(wrong(number, "is none"));
        }
        let address = socket.local_addr().ok().and_then(|address| address.as_socket());
        let Some(address) = address.filter(|address| address.port() > 0) else {
            return Err(wrong(number, "is not bound"));
        };
        let first = *common.get_or_insert(address);
        if address != first {
            return Err(wrong(number, &format!("is bound to {address}, and the first one to {first}")));
        }
    }
    let address = common.ok_or_else(|| wrong(0, "is not there"))?;
    Ok((address, sockets))
}

fn checked_listener(listener: TcpListener, address: SocketAddr) -> Result<TcpListener, Error> {
    let failed = |error: io::Error| {
        Error::from_io(ErrorKind::Socket, "looking at the TCP socket that was handed over", &error)
    };
    let bound = listener.local_addr().map_err(failed)?;
    if bound != address {
        return Err(invalid(format!(
            "the TCP socket that was handed over is bound to {bound}, and that for UDP to {address}"
        )));
    }
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(workers: usize) -> ServerConfig {
        ServerConfig { workers, alternate_ports: 0, ..ServerConfig::default() }
    }

    fn bound() -> UdpSocket {
        UdpSocket::bind("127.0.0.1:0").unwrap()
    }

    #[test]
    fn workers_share_sockets_where_there_are_fewer() {
        let socket = bound();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let inherited = Inherited { sockets: vec![socket], listener: None };
        let server = Server::bind_inherited(&config(3), inherited).unwrap();
        assert_eq!((server.local_address().unwrap(), server.workers()), (address, 3));
        let socket = bound();
        let sockets = vec![socket.try_clone().unwrap(), socket];
        let server = Server::bind_inherited(&config(1), Inherited { sockets, listener: None }).unwrap();
        assert_eq!(server.workers(), 2);
    }

    #[test]
    fn what_is_of_no_use_is_refused() {
        let refused = |sockets: Vec<UdpSocket>, listener: Option<TcpListener>, tcp: bool| {
            let config = ServerConfig { tcp: tcp.then(Default::default), ..config(1) };
            let error = Server::bind_inherited(&config, Inherited { sockets, listener }).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
            error.to_string()
        };
        assert!(refused(vec![], None, false).contains("not 0"));
        assert!(refused(vec![bound(), bound()], None, false).contains("socket 2"));
        let unbound = Socket::new(socket2::Domain::IPV4, Type::DGRAM, None).unwrap();
        assert!(refused(vec![unbound.into()], None, false).contains("is not bound"));
        let stream = Socket::new(socket2::Domain::IPV4, Type::STREAM, None).unwrap();
        assert!(refused(vec![stream.into()], None, false).contains("is none"));
        let listener = || TcpListener::bind("127.0.0.1:0").ok();
        assert!(refused(vec![bound()], listener(), false).contains("no connections"));
        assert!(refused(vec![bound()], listener(), true).contains("is bound to"));
    }
}

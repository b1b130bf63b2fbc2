//! The client's sockets: its own, one per address family, or one that the caller gave it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use super::{Client, Peer};
use crate::error::{Error, ErrorKind};
use crate::net::tcp::TcpConnection;
use crate::net::udp::UdpEndpoint;
use crate::proto::{LocalSockets, SocketIndex, Transport};

impl Client {
    /// The sockets that carry the holes, as [`super::Peer::socket`] counts them; those that were taken are `None`. Lends
    /// them: they close with the client.
    pub fn socket(&self, index: usize) -> Option<BorrowedFd<'_>> {
        match index.checked_sub(self.sockets.len()) {
            None => self.sockets.get(index)?.as_ref().map(UdpEndpoint::fd),
            Some(at) => self.streams.get(at)?.as_ref().map(TcpConnection::fd),
        }
    }

    /// The same as a bare number.
    pub fn socket_fd(&self, index: usize) -> Option<RawFd> {
        self.socket(index).map(|fd| fd.as_raw_fd())
    }

    /// Moves a peer's TCP connection to the caller for good: blocking, close-on-exec. What the peer sends may already wait in it.
    pub fn take_stream(&mut self, index: usize) -> Option<TcpStream> {
        let at = index.checked_sub(self.sockets.len())?;
        self.streams.get_mut(at)?.take().map(TcpConnection::into_std)
    }

    /// Peers' connections count on where the other sockets end.
    pub(super) fn place_streams(&self, found: &mut [Peer]) {
        for peer in found.iter_mut().filter(|peer| peer.transport == Transport::Tcp) {
            // Who was not reached has none.
            let at = if peer.connected { peer.socket } else { self.streams.len() };
            peer.socket = self.sockets.len() + at;
        }
    }

    /// Whether one of the sockets has this number.
    pub(crate) fn has_socket(&self, fd: RawFd) -> bool {
        let streams = self.streams.iter().flatten().map(TcpConnection::fd);
        self.sockets
            .iter()
            .flatten()
            .map(UdpEndpoint::fd)
            .chain(streams)
            .any(|socket| socket.as_raw_fd() == fd)
    }

    /// The same for the library's own use.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = &UdpEndpoint> {
        self.sockets.iter().flatten()
    }

    /// The same, moved.
    pub(crate) fn take_endpoint(&mut self, index: usize) -> Option<UdpEndpoint> {
        self.sockets.get_mut(index)?.take()
    }

    /// Moves a socket to the caller for good: unconnected, close-on-exec, and blocking unless it was given as
    /// non-blocking. Nothing of the library touches it any more. Datagrams for which [`crate::is_control_packet`] holds
    /// may still arrive on it and are to be ignored.
    pub fn take_socket(&mut self, index: usize) -> Option<UdpSocket> {
        self.sockets.get_mut(index)?.take().map(UdpEndpoint::into_std)
    }

    /// Has the client use a socket of the caller's instead of making its own, until it is taken back. It must be bound
    /// and unconnected; an IPv6 socket that takes IPv4, too, serves both. Sockets of earlier calls are closed. A socket
    /// that cannot be used comes back with the error.
    pub fn give_socket(&mut self, socket: UdpSocket) -> Result<(), (Error, UdpSocket)> {
        let endpoint = UdpEndpoint::adopt(socket).map_err(|(error, socket)| {
            let message = format!("the socket must be a bound, unconnected UDP socket: {error}");
            (Error::new(ErrorKind::InvalidArgument, message), socket)
        })?;
        self.open_holes.clear();
        self.early.clear();
        self.sockets = vec![Some(endpoint)];
        Ok(())
    }

    /// Makes sure that there is a socket for each address family among `remotes`; one that is there is used again.
    pub(crate) fn open_sockets(&mut self, remotes: &[SocketAddr]) -> Result<(), Error> {
        if self.sockets.iter().any(Option::is_none) {
            // The places of the others change, and the holes that were noted with them.
            self.open_holes.clear();
            self.sockets.retain(Option::is_some);
        }
        if self.sockets.iter().flatten().any(UdpEndpoint::is_given) {
            return Ok(());
        }
        let families: Vec<SocketAddr> = match self.local {
            Some(local) => vec![local],
            None => {
                let any = |ipv6| remotes.iter().any(|remote| remote.is_ipv6() == ipv6);
                let ipv4 = any(false).then(|| (Ipv4Addr::UNSPECIFIED, 0).into());
                let ipv6 = any(true).then(|| (Ipv6Addr::UNSPECIFIED, 0).into());
                ipv4.into_iter().chain(ipv6).collect()
            }
        };
        let mut failure = None;
        for address in families {
            let present = self.local_sockets().towards(address).is_some_and(|socket| {
                let bound = self.sockets[usize::from(socket.0)].as_ref().and_then(|s| s.local_address().ok());
                self.local.is_none_or(|local| bound.is_some_and(|bound| is_bound_as(bound, local)))
            });
            if present {
                continue;
            }
            let before = self.sockets.len();
            self.sockets.retain(|socket| {
                socket
                    .as_ref()
                    .and_then(|s| s.local_address().ok())
                    .is_some_and(|a| a.is_ipv4() != address.is_ipv4())
            });
            if self.sockets.len() < before {
                self.open_holes.clear();
            }
            match UdpEndpoint::bind(address) {
                Ok(socket) => self.sockets.push(Some(socket)),
                Err(error) => {
                    failure =
                        Some(Error::from_io(ErrorKind::Socket, &format!("binding to {address}"), &error));
                }
            }
        }
        // A host without IPv6 still reaches the server's IPv4 address.
        match failure {
            Some(failure) if self.sockets.is_empty() => Err(failure),
            _ => Ok(()),
        }
    }

    /// After success only the sockets that carry a hole stay, the first peer's first.
    pub(super) fn keep_used_sockets(&mut self, mut peers: Vec<Peer>) -> Vec<Peer> {
        peers.retain(|peer| peer.connected);
        let mut order: Vec<usize> = Vec::new();
        for peer in peers.iter_mut().filter(|peer| peer.transport == Transport::Udp) {
            let place = order.iter().position(|used| *used == peer.socket).unwrap_or_else(|| {
                order.push(peer.socket);
                order.len() - 1
            });
            peer.socket = place;
        }
        self.keep_sockets(&order);
        peers
    }

    /// Keeps these sockets in this order, and what came early on them.
    fn keep_sockets(&mut self, order: &[usize]) {
        self.early.retain_mut(|early| {
            let place = order.iter().position(|kept| *kept == early.socket);
            early.socket = place.unwrap_or_default();
            place.is_some()
        });
        let mut sockets = std::mem::take(&mut self.sockets);
        self.sockets = order.iter().map(|index| sockets[*index].take()).collect();
    }

    /// After a failure the sockets stay that were there before, and those further ones that carry a hole.
    pub(super) fn close_spare_sockets(&mut self, own: usize, found: &mut [Peer]) {
        let carries_hole = |at: &usize| self.open_holes.iter().any(|hole| usize::from(hole.socket.0) == *at);
        let order: Vec<usize> = (0..own).chain((own..self.sockets.len()).filter(carries_hole)).collect();
        let place_of = |socket: usize| order.iter().position(|kept| *kept == socket);
        for peer in found.iter_mut().filter(|peer| peer.transport == Transport::Udp) {
            peer.socket = place_of(peer.socket).unwrap_or_default();
        }
        for hole in &mut self.open_holes {
            hole.socket = SocketIndex(place_of(hole.socket.0.into()).unwrap_or_default() as u16);
        }
        self.keep_sockets(&order);
    }

    /// Which socket serves which address family.
    pub(super) fn local_sockets(&self) -> LocalSockets {
        let mut sockets = LocalSockets::default();
        for (index, socket) in self.sockets.iter().enumerate() {
            let Some(socket) = socket else { continue };
            // The first ones: those after them were opened for one hole each.
            let index = SocketIndex(index as u16);
            if socket.takes_ipv4() {
                sockets.ipv4.get_or_insert(index);
            }
            if socket.takes_ipv6() {
                sockets.ipv6.get_or_insert(index);
            }
        }
        sockets
    }
}

/// Whether a socket bound to `bound` is what a caller who asks for `local` wants.
fn is_bound_as(bound: SocketAddr, local: SocketAddr) -> bool {
    bound.ip() == local.ip() && (local.port() == 0 || bound.port() == local.port())
}

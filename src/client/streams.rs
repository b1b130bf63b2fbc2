//! TCP's part of a run: the ports, the connections to the server and to peers.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::time::Instant;

use crate::error::{Error, ErrorKind};
use crate::net::interfaces::{address_towards, host_addresses};
use crate::net::poll::Interest;
use crate::net::server_stream::{ServerStream, ServerStreamEvent};
use crate::net::streams::StreamSockets;
use crate::net::tcp::{TcpConnection, TcpPort};
use crate::proto::connect::Unreachable;
use crate::proto::stream::DialFailure;
use crate::proto::{Connect, SocketIndex, Transmit};

/// The sockets of one run.
pub(super) struct RunStreams {
    peers: StreamSockets,
    servers: Vec<ServerStream>,
    /// What a server that refuses TCP means: that UDP is blocked, if that was tried before.
    refusal: Unreachable,
    /// Peers' connections, in the order in which they were established.
    pub established: Vec<TcpConnection>,
}

impl RunStreams {
    /// Binds a port of each address family that a server has.
    pub fn bind(local: Option<SocketAddr>, servers: &[SocketAddr], udp_too: bool) -> Result<Self, Error> {
        let any = |ipv6| servers.iter().any(|server| server.is_ipv6() == ipv6);
        let ipv4 = any(false).then(|| (Ipv4Addr::UNSPECIFIED, 0).into());
        let ipv6 = any(true).then(|| (Ipv6Addr::UNSPECIFIED, 0).into());
        let wanted = local.map_or_else(|| ipv4.into_iter().chain(ipv6).collect(), |local| vec![local]);
        let (mut ports, mut failure) = (Vec::new(), None);
        for address in wanted {
            match TcpPort::bind(address) {
                Ok(port) => ports.push(port),
                Err(error) => {
                    failure =
                        Some(Error::from_io(ErrorKind::Socket, &format!("binding to {address}"), &error));
                }
            }
        }
        if let Some(failure) = failure.filter(|_| ports.is_empty()) {
            return Err(failure);
        }
        let refusal = if udp_too { Unreachable::NoUdp } else { Unreachable::PortClosed };
        let peers = StreamSockets::new(ports);
        Ok(Self { peers, servers: Vec::new(), refusal, established: Vec::new() })
    }

    /// Our own endpoints, for peers in the same network.
    pub fn hosts(&self, servers: &[SocketAddr]) -> Vec<SocketAddr> {
        let mut hosts: Vec<SocketAddr> = Vec::new();
        for server in servers {
            let Some(bound) = self.peers.port_towards(*server).map(TcpPort::local) else { continue };
            let addresses = match bound.ip() {
                ip if ip.is_unspecified() => address_towards(*server).map(host_addresses).unwrap_or_default(),
                ip => vec![ip],
            };
            let endpoints = addresses.into_iter().map(|ip| SocketAddr::new(ip, bound.port()));
            hosts.extend(endpoints.filter(|endpoint| !hosts.contains(endpoint)).collect::<Vec<_>>());
        }
        hosts
    }

    /// Sends what a machine wants sent to the server.
    pub fn transmit(&mut self, connect: &mut Connect, transmit: &Transmit) {
        let server = transmit.destination;
        let at = match self.servers.iter().position(|stream| stream.server() == server) {
            Some(at) => at,
            None => {
                self.servers.push(ServerStream::new(server));
                self.servers.len() - 1
            }
        };
        let failed = self.servers[at].send(self.peers.port_towards(server), &transmit.payload);
        self.note(connect, at, failed);
    }

    /// What to wait for.
    pub fn interests(&self, connect: &mut Connect) -> Vec<(BorrowedFd<'_>, Interest)> {
        let peers = connect.streams().map(|punch| self.peers.interests(punch)).unwrap_or_default();
        peers.into_iter().chain(self.servers.iter().filter_map(ServerStream::interest)).collect()
    }

    /// Looks after those for which the wait has ended; `ready` as [`Self::interests`] was, with nothing in between.
    pub fn handle_ready(&mut self, connect: &mut Connect, ready: &[bool]) {
        let now = Instant::now();
        let mut of_peers = 0;
        if let Some(punch) = connect.streams() {
            of_peers = self.peers.interests(punch).len();
            self.peers.handle_ready(punch, now, &ready[..of_peers]);
        }
        connect.note_streams(now);
        let waited: Vec<_> =
            (0..self.servers.len()).filter(|at| self.servers[*at].interest().is_some()).collect();
        for (at, _) in waited.into_iter().zip(&ready[of_peers..]).filter(|(_, ready)| **ready) {
            let events = self.servers[at].handle_ready();
            self.note(connect, at, events);
        }
    }

    fn note(
        &mut self,
        connect: &mut Connect,
        at: usize,
        events: impl IntoIterator<Item = ServerStreamEvent>,
    ) {
        let (now, server) = (Instant::now(), self.servers[at].server());
        for event in events {
            match event {
                ServerStreamEvent::Open(took) => connect.handle_server_stream(now, took),
                ServerStreamEvent::Message(message) => {
                    connect.handle_datagram(now, SocketIndex::SERVER_STREAM, server, &message);
                }
                ServerStreamEvent::Failed(DialFailure::Refused) => {
                    connect.handle_unreachable(now, server, self.refusal);
                }
                ServerStreamEvent::Failed(DialFailure::Unreachable) => {
                    connect.handle_unreachable(now, server, Unreachable::NoRoute);
                }
                ServerStreamEvent::Failed(_) => {}
            }
        }
    }

    /// Does what TCP's machine wants done, and keeps what it has established; after what is to be sent to the server has been.
    pub fn execute(&mut self, connect: &mut Connect) {
        let now = Instant::now();
        self.servers.iter_mut().for_each(ServerStream::begin);
        if let Some(punch) = connect.streams() {
            self.peers.execute(punch, now);
        }
        connect.note_streams(now);
        while let Some(id) = connect.poll_established() {
            self.established.extend(self.peers.take(id));
        }
    }
}

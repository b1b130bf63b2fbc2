//! Further ports, and if there is one another address, at which clients learn what their NATs do (RFC 5780's method).
//!
//! Mapping: whoever asks there is told which source was seen, in no more bytes than it sent. Filtering: a client that has
//! proven its endpoint with a cookie is answered from a port, and an address, that it has not sent to.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::tcp::listen::bind_both;
use super::{Registry, ServerConfig, TICK};
use crate::error::{Error, ErrorKind};
use crate::net::batch::{ReceiveBatch, SendBatch, ServerSocket};
use crate::net::poll::wait_readable;
use crate::proto::wire::codec::Writer;
use crate::proto::wire::{self, FilterProbe, FilterReply, MAX_DATAGRAM};
use crate::proto::{DialectPolicy, Route};

/// The sockets on further ports.
#[derive(Debug)]
pub(super) struct Alternates {
    /// Tell who asks which source they see.
    mapping: Vec<ServerSocket>,
    /// Nobody is told of its port, so that nobody sends to it.
    filtering: Option<ServerSocket>,
    /// The same at another address; where one socket serves all addresses, that one is told which to use.
    elsewhere: Option<Elsewhere>,
    announced: wire::Alternates,
}

#[derive(Debug)]
enum Elsewhere {
    Socket(ServerSocket),
    SameSocket(IpAddr),
}

impl Alternates {
    /// Binds the ports that follow the server's own, `main`, and listens there if it takes connections. What is taken, over one or the
    /// other, is done without, but not another address: who has given one counts on it.
    pub(super) fn bind(config: &ServerConfig, main: SocketAddr) -> Result<(Self, Vec<TcpListener>), Error> {
        let mut listeners = Vec::new();
        let mut alternates = Self {
            mapping: Vec::new(),
            filtering: None,
            elsewhere: None,
            announced: wire::Alternates::default(),
        };
        if config.alternate_ports == 0 || config.policy == DialectPolicy::Plain {
            return Ok((alternates, listeners));
        }
        let with_tcp = config.tcp.is_some();
        // A server on a port of the system's choice has such for these, too.
        let port_after = |after: u16| match config.address.port() {
            0 => Some(0),
            port => port.checked_add(after),
        };
        let bind = |port: Option<u16>, with_tcp: bool| {
            let port = port?;
            bind_both(SocketAddr::new(main.ip(), port), with_tcp)
                .inspect_err(|error| log::warn!("a port is not there for NAT diagnosis: {error}"))
                .ok()
        };
        let count = config.alternate_ports;
        for (socket, listener) in (1..=count).filter_map(|after| bind(port_after(after), with_tcp)) {
            alternates.mapping.push(socket);
            listeners.extend(listener);
        }
        alternates.filtering = bind(port_after(count + 1), false).map(|(socket, _)| socket);
        let ports: Vec<u16> = alternates.mapping.iter().filter_map(port_of).collect();
        let other = config.other_address.map(|ip| SocketAddr::new(ip, main.port()));
        if let Some(other) = other {
            listeners.extend(alternates.bind_other(main, other, port_after(count + 1), with_tcp)?);
        }
        alternates.announced = wire::Alternates::new(&ports, other);
        Ok((alternates, listeners))
    }

    fn bind_other(
        &mut self,
        main: SocketAddr,
        other: SocketAddr,
        port: Option<u16>,
        with_tcp: bool,
    ) -> Result<Option<TcpListener>, Error> {
        let failed = |error| {
            Error::from_io(ErrorKind::Socket, &format!("binding to the other address, {other}"), &error)
        };
        if main.ip().is_unspecified() {
            // Only to see whether this host has the address.
            UdpSocket::bind((other.ip(), 0)).map_err(failed)?;
            self.elsewhere = Some(Elsewhere::SameSocket(other.ip()));
            return Ok(None);
        }
        let (socket, listener) =
            bind_both(other, with_tcp).map_err(|error| error.into_error("the other address "))?;
        self.mapping.push(socket);
        let port = port.ok_or(io::ErrorKind::AddrNotAvailable.into()).map_err(failed)?;
        let socket = ServerSocket::bind(SocketAddr::new(other.ip(), port), TICK, true).map_err(failed)?;
        self.elsewhere = Some(Elsewhere::Socket(socket));
        Ok(listener)
    }

    /// Whether there are none to serve.
    pub(super) fn is_empty(&self) -> bool {
        self.mapping.is_empty() && self.filtering.is_none()
    }

    /// What clients are told.
    pub(super) fn announced(&self) -> wire::Alternates {
        self.announced
    }

    /// Answers a client that wants to know whom its NAT lets in.
    pub(super) fn answer(&self, registry: &Registry, client: Route, probe: &FilterProbe) {
        let send = |socket: &ServerSocket, route: Route, other_address: bool| {
            let mut buffer = [0; MAX_DATAGRAM];
            let mut reply = Writer::new(&mut buffer);
            FilterReply { token: probe.token, sequence: probe.sequence, other_address }.write(&mut reply);
            let mut outgoing = SendBatch::default();
            outgoing.push(route, reply.as_slice());
            registry.totals.sent.fetch_add(1, Ordering::Relaxed);
            registry.totals.send_failed.fetch_add(socket.send(&mut outgoing) as u64, Ordering::Relaxed);
        };
        let Some(filtering) = &self.filtering else { return };
        send(filtering, client, false);
        match &self.elsewhere {
            Some(Elsewhere::Socket(socket)) => send(socket, Route::from(client.remote), true),
            Some(Elsewhere::SameSocket(ip)) if ip.is_ipv4() == client.remote.is_ipv4() => {
                send(filtering, Route { local: Some(*ip), ..client }, true);
            }
            _ => {}
        }
    }

    /// Tells who asks which source it is seen as, until the registry says stop.
    pub(super) fn run(&self, registry: &Registry) -> io::Result<()> {
        // What comes to the ports that only answer from elsewhere is read, too: nothing may pile up.
        let elsewhere = match &self.elsewhere {
            Some(Elsewhere::Socket(socket)) => Some(socket),
            _ => None,
        };
        let silent = self.filtering.iter().chain(elsewhere);
        let sockets: Vec<_> =
            self.mapping.iter().map(|socket| (socket, true)).chain(silent.map(|s| (s, false))).collect();
        let fds: Vec<_> = sockets.iter().map(|(socket, _)| socket.fd()).collect();
        let mut incoming = ReceiveBatch::new();
        let mut outgoing = SendBatch::default();
        while !registry.stop.load(Ordering::Acquire) {
            let ready = wait_readable(&fds, Some(Instant::now() + TICK))?;
            for ((socket, answers), _) in sockets.iter().zip(ready).filter(|(_, ready)| *ready) {
                socket.receive(&mut incoming)?;
                for index in 0..incoming.len() {
                    let datagram = incoming.get(index);
                    let mut buffer = [0; MAX_DATAGRAM];
                    let mut reply = Writer::new(&mut buffer);
                    let payload = incoming.payload(&datagram);
                    if *answers
                        && registry.gate.judge_at_alternate(datagram.route.remote, payload, &mut reply)
                    {
                        outgoing.push(datagram.route, reply.as_slice());
                    } else {
                        registry.totals.dropped.fetch_add(1, Ordering::Relaxed);
                    }
                }
                registry.totals.received.fetch_add(incoming.len() as u64, Ordering::Relaxed);
                registry.totals.sent.fetch_add(outgoing.len() as u64, Ordering::Relaxed);
                registry.totals.send_failed.fetch_add(socket.send(&mut outgoing) as u64, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

fn port_of(socket: &ServerSocket) -> Option<u16> {
    socket.local_address().ok().map(|address| address.port())
}

//! Drives a [`Mapper`] over real sockets.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use socket2::SockRef;

use super::exchange::Exchange;
use crate::net::poll::{Interest, wait_ready};
use crate::proto::portmap::{CONTROL_PORT, Mapper, Protocol, Transmit, search_endpoints};

/// Datagrams that are read from one socket before the others get their turn.
const MAX_READS_PER_TURN: usize = 16;
/// Longer datagrams are cut; none that matters is.
const RECEIVE_LEN: usize = 2048;

/// Where the router is reached.
#[derive(Clone, Debug)]
pub(super) struct Endpoints {
    pub(super) gateway: Ipv4Addr,
    pub(super) control: SocketAddrV4,
    pub(super) searches: Vec<SocketAddrV4>,
}

impl Endpoints {
    pub(super) fn of(gateway: Ipv4Addr) -> Self {
        Self {
            gateway,
            control: SocketAddrV4::new(gateway, CONTROL_PORT),
            searches: search_endpoints(gateway),
        }
    }
}

/// What a caller wants to be asked after each turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    GoOn,
    /// End the mappings, then finish.
    Release,
    /// Finish now.
    Stop,
}

/// The sockets of one mapper.
pub(super) struct Driver {
    own: Ipv4Addr,
    endpoints: Endpoints,
    control: Vec<(Protocol, UdpSocket)>,
    search: Option<UdpSocket>,
    exchange: Option<Exchange>,
}

impl Driver {
    /// Opens sockets at our address `own` for those of `protocols` that can work here.
    pub(super) fn open(own: Ipv4Addr, endpoints: Endpoints, protocols: &[Protocol]) -> io::Result<Self> {
        let mut control = Vec::new();
        for protocol in [Protocol::Pcp, Protocol::NatPmp] {
            if protocols.contains(&protocol) {
                let socket = bind(own)?;
                // Thereby only the router's datagrams arrive (RFC 6887 section 8.3, RFC 6886 section 3.1).
                socket.connect(endpoints.control)?;
                control.push((protocol, socket));
            }
        }
        let search = if protocols.contains(&Protocol::Upnp) {
            let socket = bind(own)?;
            SockRef::from(&socket).set_multicast_if_v4(&own)?;
            Some(socket)
        } else {
            None
        };
        Ok(Self { own, endpoints, control, search, exchange: None })
    }

    /// Runs until the mapper has finished, or until `consult`, which is asked after each turn, ends it. `consult` is called
    /// again when `wake` becomes readable or its time has come.
    pub(super) fn run(
        &mut self,
        mapper: &mut Mapper,
        wake: BorrowedFd<'_>,
        consult: &mut dyn FnMut(&mut Mapper) -> (Verdict, Option<Instant>),
    ) -> io::Result<()> {
        let mut releasing = false;
        loop {
            self.transmit(mapper);
            let (verdict, consult_at) = consult(mapper);
            match verdict {
                Verdict::Stop => return Ok(()),
                Verdict::Release if !releasing => {
                    releasing = true;
                    mapper.release(Instant::now());
                    continue;
                }
                _ if mapper.is_finished() => return Ok(()),
                _ => {}
            }
            if !mapper.is_searching() {
                self.search = None;
            }
            let deadline = self.exchange.as_ref().map(Exchange::deadline);
            let until = [mapper.poll_timeout(), consult_at, deadline].into_iter().flatten().min();
            self.wait(mapper, wake, until)?;
            let now = Instant::now();
            if mapper.poll_timeout().is_some_and(|due| due <= now) {
                mapper.handle_timeout(now);
            }
            if self.exchange.as_ref().is_some_and(|exchange| exchange.deadline() <= now) {
                self.exchange = None;
                mapper.handle_http(None, now);
            }
        }
    }

    fn wait(&mut self, mapper: &mut Mapper, wake: BorrowedFd<'_>, until: Option<Instant>) -> io::Result<()> {
        let mut fds = vec![(wake, Interest::Readable)];
        fds.extend(self.control.iter().map(|(_, socket)| (socket.as_fd(), Interest::Readable)));
        fds.extend(self.search.iter().map(|socket| (socket.as_fd(), Interest::Readable)));
        fds.extend(self.exchange.iter().map(Exchange::interest));
        let ready = wait_ready(&fds, until)?;
        let mut ready = ready.into_iter().skip(1);
        let mut next = || ready.next().unwrap_or(false);
        let mut buffer = [0; RECEIVE_LEN];
        for (protocol, socket) in &self.control {
            if next() {
                read_control(mapper, *protocol, socket, &mut buffer);
            }
        }
        if let Some(socket) = &self.search
            && next()
        {
            read_search(mapper, socket, &mut buffer);
        }
        if self.exchange.is_some() && next() {
            self.proceed(mapper);
        }
        Ok(())
    }

    fn proceed(&mut self, mapper: &mut Mapper) {
        let Some(exchange) = &mut self.exchange else { return };
        let now = Instant::now();
        match exchange.proceed() {
            Ok(None) => return,
            Ok(answer) => mapper.handle_http(answer, now),
            Err(error) => {
                log::debug!(target: "holepunch::portmap", "asking the router: {error}");
                mapper.handle_http(None, now);
            }
        }
        self.exchange = None;
    }

    fn transmit(&mut self, mapper: &mut Mapper) {
        while let Some(transmit) = mapper.poll_transmit() {
            let result = match transmit {
                Transmit::Control(protocol, datagram) => {
                    let socket = self.control.iter().find(|(of, _)| *of == protocol);
                    socket.map_or(Ok(0), |(_, socket)| socket.send(&datagram))
                }
                Transmit::Search(datagram) => {
                    let socket = self.search.as_ref();
                    let to = self.endpoints.searches.iter();
                    socket.map_or(Ok(0), |socket| {
                        to.map(|to| socket.send_to(&datagram, to)).fold(Ok(0), io::Result::and)
                    })
                }
                Transmit::Http(request) => match Exchange::start(request, self.own, Instant::now()) {
                    Ok(exchange) => {
                        self.exchange = Some(exchange);
                        Ok(0)
                    }
                    Err(error) => {
                        mapper.handle_http(None, Instant::now());
                        Err(error)
                    }
                },
            };
            if let Err(error) = result {
                // Repetitions follow; what the router's host has against us is seen when reading.
                log::debug!(target: "holepunch::portmap", "sending to {}: {error}", self.endpoints.gateway);
            }
        }
    }
}

fn bind(own: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((own, 0))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn read_control(mapper: &mut Mapper, protocol: Protocol, socket: &UdpSocket, buffer: &mut [u8]) {
    for _ in 0..MAX_READS_PER_TURN {
        match socket.recv(buffer) {
            Ok(len) => mapper.handle_control(protocol, Some(&buffer[..len]), Instant::now()),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                mapper.handle_control(protocol, None, Instant::now());
            }
            Err(_) => return,
        }
    }
}

fn read_search(mapper: &mut Mapper, socket: &UdpSocket, buffer: &mut [u8]) {
    for _ in 0..MAX_READS_PER_TURN {
        match socket.recv_from(buffer) {
            Ok((len, SocketAddr::V4(source))) => {
                mapper.handle_search_answer(&buffer[..len], *source.ip());
            }
            Ok(_) => {}
            // The unicast search may have met a closed port.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(_) => return,
        }
    }
}

//! A connection's own thread: finds out our address, looks for the peer, hears it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use super::address::Asker;
use super::attempt::attempt;
use super::events::{ConnEnd, ConnEvent};
use super::options::{AddressSource, ConnOptions};
use super::peer::{Arrival, CONSENT, KEEP_ALIVE, Peer};
use super::state::{PublicAddress, Shared};
use crate::client::{Client, random_bytes};
use crate::error::{Error, ErrorKind};
use crate::net::interfaces::own_addresses;
use crate::net::poll::{Interest, wait_ready};
use crate::net::streams::StreamSockets;
use crate::net::tcp::TcpPort;
use crate::proto::{Rng, SessionId, Transport};
use crate::shared::wait_until_alone;

/// Most that is read at once.
const CHUNK: usize = 65_536;
/// Reads before others have their turn.
const MAX_READS_PER_TURN: usize = 16;

/// What the connection is made from.
pub enum Endpoint {
    Streams(StreamSockets),
    Datagrams(Box<Client>),
}

impl Endpoint {
    fn bind(options: &ConnOptions) -> Result<Self, Error> {
        let any = [(Ipv4Addr::UNSPECIFIED, 0).into(), (Ipv6Addr::UNSPECIFIED, 0).into()];
        if options.transport == Transport::Udp {
            let mut client = Client::without_server()?;
            client.set_local_address(options.local);
            client.open_sockets(&any)?;
            return Ok(Self::Datagrams(Box::new(client)));
        }
        let wanted = options.local.map_or(any.to_vec(), |local| vec![local]);
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
        // A host without IPv6 has IPv4 all the same.
        match failure {
            Some(failure) if ports.is_empty() => Err(failure),
            _ => Ok(Self::Streams(StreamSockets::new(ports))),
        }
    }

    /// What it is bound to, one of each address family at most.
    fn bound(&self) -> Vec<SocketAddr> {
        match self {
            Self::Streams(sockets) => sockets.bound().collect(),
            Self::Datagrams(client) => {
                client.endpoints().filter_map(|endpoint| endpoint.local_address().ok()).collect()
            }
        }
    }

    /// Whether `remote` can be reached from it.
    pub fn serves(&self, remote: SocketAddr) -> bool {
        self.bound().iter().any(|bound| bound.is_ipv4() == remote.is_ipv4())
    }

    /// Sends a datagram, if that is what it sends.
    pub fn send(&self, datagram: &[u8], remote: SocketAddr) {
        if let Self::Datagrams(client) = self {
            let towards = client.endpoints().find(|endpoint| match remote {
                SocketAddr::V4(_) => endpoint.takes_ipv4(),
                SocketAddr::V6(_) => endpoint.takes_ipv6(),
            });
            let _ = towards.map(|endpoint| endpoint.send(datagram, remote));
        }
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        let of = |bound: SocketAddr| -> Vec<IpAddr> {
            match bound.ip() {
                ip if ip.is_unspecified() => own_addresses(ip.is_ipv4()),
                ip => vec![ip],
            }
        };
        let bound = self.bound();
        let with_ports = |bound: &SocketAddr| {
            let port = bound.port();
            of(*bound).into_iter().map(move |ip| SocketAddr::new(ip, port)).collect::<Vec<_>>()
        };
        let all: Vec<_> = bound.iter().flat_map(with_ports).collect();
        // Loopback stands for "nothing else", which one family may have.
        let elsewhere: Vec<_> = all.iter().copied().filter(|address| !address.ip().is_loopback()).collect();
        if elsewhere.is_empty() { all } else { elsewhere }
    }
}

pub struct Driver {
    shared: Arc<Shared>,
    options: ConnOptions,
    id: Option<SessionId>,
    endpoint: Endpoint,
    asker: Option<Asker>,
}

impl Driver {
    /// Binds, and begins to ask for our public address.
    pub fn prepare(options: ConnOptions, id: Option<SessionId>) -> Result<(Arc<Shared>, Self), Error> {
        let endpoint = Endpoint::bind(&options)?;
        let canceller = match &endpoint {
            Endpoint::Datagrams(client) => Some(client.canceller()),
            Endpoint::Streams(_) => None,
        };
        let shared = Arc::new(Shared::new(canceller)?);
        let rng = Rng::new(random_bytes()?);
        let asker = Asker::start(&options.public, options.transport, rng, &shared.driver, &endpoint)?;
        match options.public {
            AddressSource::Known(ip) => {
                let port = endpoint
                    .bound()
                    .iter()
                    .find(|bound| bound.is_ipv4() == ip.is_ipv4())
                    .map(SocketAddr::port);
                let Some(port) = port else {
                    let message = "the public address is of another family than the local one";
                    return Err(Error::new(ErrorKind::InvalidArgument, message));
                };
                shared.set_public(PublicAddress::Known(SocketAddr::new(ip, port)));
            }
            _ if asker.is_some() => shared.set_public(PublicAddress::Asked),
            _ => {}
        }
        let driver = Self { shared: Arc::clone(&shared), options, id, endpoint, asker };
        Ok((shared, driver))
    }

    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.endpoint.addresses()
    }

    /// Until it is over.
    pub fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let end = match self.wait_for_attempt() {
            Ok(addresses) => self.connect(&addresses),
            Err(end) => Some(end),
        };
        shared.finish(end);
    }

    /// Asks for our public address, until the peer is to be looked for.
    fn wait_for_attempt(&mut self) -> Result<Vec<SocketAddr>, ConnEnd> {
        loop {
            self.shared.driver.clear();
            {
                let mut state = self.shared.state.lock();
                if state.close {
                    return Err(ConnEnd::Closed);
                }
                if let Some(addresses) = state.wanted.take() {
                    return Ok(addresses);
                }
            }
            self.ask();
            let mut polled = vec![(self.shared.driver.fd(), Interest::Readable)];
            if let Endpoint::Datagrams(client) = &self.endpoint {
                polled.extend(client.endpoints().map(|endpoint| (endpoint.fd(), Interest::Readable)));
            }
            polled.extend(self.asker.as_ref().and_then(Asker::interest));
            let due = self.asker.as_ref().and_then(Asker::timeout);
            if let Err(error) = wait_ready(&polled, due) {
                return Err(ConnEnd::Failed(error.raw_os_error().unwrap_or_default()));
            }
        }
    }

    fn ask(&mut self) {
        if let Endpoint::Datagrams(client) = &self.endpoint {
            let mut buffer = [0; 2048];
            for endpoint in client.endpoints() {
                // What a peer sends too early it will send again.
                while let Ok(Some((datagram, source))) = endpoint.receive(&mut buffer) {
                    if let Some(asker) = &mut self.asker {
                        asker.handle_datagram(source, datagram);
                    }
                }
            }
        }
        let found = self.asker.as_mut().and_then(|asker| asker.step(Instant::now(), &self.endpoint));
        let Some(found) = found else { return };
        let public = match &found {
            Ok(address) => PublicAddress::Known(*address),
            Err(error) => PublicAddress::Unknown(error.kind(), error.to_string()),
        };
        let known = |state: &PublicAddress| matches!((state, &found), (PublicAddress::Known(old), Ok(new)) if old == new);
        if !known(&self.shared.state.lock().public) {
            self.shared.set_public(public);
            self.shared.push_event(ConnEvent::PublicAddress(found));
        }
    }

    /// Looks for the peer and hears it; returns why it is over, or nothing where the socket was taken.
    fn connect(self, addresses: &[SocketAddr]) -> Option<ConnEnd> {
        let Self { shared, options, id, endpoint, asker } = self;
        if matches!(shared.state.lock().public, PublicAddress::Asked) {
            let (kind, message) = (ErrorKind::ServerSilent, "there was no answer before the attempt");
            shared.set_public(PublicAddress::Unknown(kind, message.into()));
            shared.push_event(ConnEvent::PublicAddress(Err(Error::new(kind, message))));
        }
        let attempted = attempt(&shared, endpoint, &options, id, addresses);
        drop(asker);
        let peer = match attempted {
            Ok(peer) => Arc::new(peer),
            Err(end) => return Some(end),
        };
        shared.state.lock().peer = Some(Arc::clone(&peer));
        shared.push_event(ConnEvent::Connected(peer.connected.clone()));
        let end = hear(&shared, &peer, &options);
        let mut state = shared.state.lock();
        state.peer = None;
        shared.over.wake();
        let taken = state.take && matches!(end, ConnEnd::Closed);
        drop(state);
        if !taken {
            peer.say_goodbye();
            return Some(end);
        }
        wait_until_alone(&peer);
        shared.state.lock().taken = Arc::into_inner(peer).map(Peer::into_taken);
        None
    }
}

/// Reads what comes, if that becomes events, and keeps the hole open.
fn hear(shared: &Shared, peer: &Peer, options: &ConnOptions) -> ConnEnd {
    let over_udp = options.transport == Transport::Udp;
    if options.data_events {
        for datagram in peer.early.lock().drain(..) {
            shared.push_event(ConnEvent::Data(datagram));
        }
    }
    let mut buffer = vec![0; CHUNK];
    let mut heard = Instant::now();
    let mut keep_alive = heard + KEEP_ALIVE;
    loop {
        shared.driver.clear();
        let reads = {
            let mut state = shared.state.lock();
            if state.close {
                return ConnEnd::Closed;
            }
            if let Some(end) = state.ended.take() {
                return end;
            }
            state.full = options.data_events && !state.has_room();
            options.data_events && !state.full
        };
        if reads {
            for _ in 0..MAX_READS_PER_TURN {
                match peer.receive(&mut buffer) {
                    Arrival::Data(len) => {
                        heard = Instant::now();
                        shared.push_event(ConnEvent::Data(buffer[..len].to_vec()));
                    }
                    Arrival::Control => heard = Instant::now(),
                    Arrival::Foreign => {}
                    Arrival::Nothing => break,
                    Arrival::End(end) => return end,
                }
                if !shared.state.lock().has_room() {
                    break;
                }
            }
        }
        let now = Instant::now();
        if over_udp && now >= keep_alive {
            peer.keep_alive();
            keep_alive = now + KEEP_ALIVE;
        }
        // Who is not read is not known to be silent.
        let watched = over_udp && reads && peer.connected.authenticated;
        if !watched {
            heard = now;
        } else if now >= heard + CONSENT {
            return ConnEnd::Silent;
        }
        let due = over_udp.then(|| if watched { keep_alive.min(heard + CONSENT) } else { keep_alive });
        let mut polled = vec![(shared.driver.fd(), Interest::Readable)];
        polled.extend(reads.then(|| (peer.fd(), Interest::Readable)));
        if let Err(error) = wait_ready(&polled, due) {
            return ConnEnd::Failed(error.raw_os_error().unwrap_or_default());
        }
    }
}

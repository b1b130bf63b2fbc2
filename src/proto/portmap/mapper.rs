//! All protocols at once, for one local port.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use super::control::ControlClient;
use super::upnp::{HttpRequest, UpnpClient};
use super::{Event, Mapped, Protocol};
use crate::proto::Rng;

/// All protocols look for the router at once; one that might only repeat another's mapping leaves that other this
/// much time to get it, so that a router that speaks all three is not filled with three mappings for one socket.
const NAT_PMP_HEAD_START: Duration = Duration::from_millis(250);
const UPNP_HEAD_START: Duration = Duration::from_millis(500);

/// What to map, and by what.
#[derive(Clone, Debug)]
pub struct MapperConfig {
    /// Our socket as the router sees it.
    pub internal: SocketAddrV4,
    /// The router.
    pub gateway: Ipv4Addr,
    /// How long the mapping is to last; the router may grant less, or more.
    pub lifetime: Duration,
    /// By what to ask.
    pub protocols: Vec<Protocol>,
    /// Whether a UPnP mapping may be one that never ends, if the router knows no others.
    pub allow_permanent: bool,
    /// Whether to ask for mappings at all. Without it NAT-PMP and UPnP only tell the external address; PCP, which cannot,
    /// makes a mapping anyway.
    pub map: bool,
}

/// What to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transmit {
    /// A datagram to the router's PCP and NAT-PMP port, from a socket of this protocol's own.
    Control(Protocol, Vec<u8>),
    /// A datagram to SSDP's multicast group and to the router's SSDP port.
    Search(Vec<u8>),
    /// An HTTP request, whose end [`Mapper::handle_http`] must be told before another comes.
    Http(HttpRequest),
}

/// Gets a mapping and keeps it, as a machine that is fed answers and time.
///
/// After any call poll for what to send, for events and for the next time-out.
#[derive(Debug)]
pub struct Mapper {
    started: Instant,
    map: bool,
    /// The best first.
    control: Vec<ControlClient>,
    upnp: Option<UpnpClient>,
    releasing: bool,
    events: VecDeque<Event>,
}

impl Mapper {
    /// Starts asking.
    pub fn new(config: &MapperConfig, seed: [u8; 32], now: Instant) -> Self {
        let mut rng = Rng::new(seed);
        let nonce = rng.bytes();
        let mut control = Vec::new();
        for protocol in [Protocol::Pcp, Protocol::NatPmp] {
            if config.protocols.contains(&protocol) {
                control.push(ControlClient::new(protocol, config.internal, config.lifetime, nonce, now));
            }
        }
        let upnp = UpnpClient::new(config, rng, now);
        let events = VecDeque::new();
        let mut mapper = Self { started: now, map: config.map, control, upnp, releasing: false, events };
        mapper.steer(now);
        mapper
    }

    /// The mappings that are held, the best protocol's first.
    pub fn mapped(&self) -> impl Iterator<Item = &Mapped> {
        let control = self.control.iter().filter_map(ControlClient::mapped);
        control.chain(self.upnp.as_ref().and_then(UpnpClient::mapped))
    }

    /// Whether nothing is held and nothing more will come.
    pub fn is_finished(&self) -> bool {
        self.control.iter().all(ControlClient::has_ended)
            && self.upnp.as_ref().is_none_or(UpnpClient::has_ended)
    }

    /// Whether answers to searches are of interest.
    pub fn is_searching(&self) -> bool {
        self.upnp.as_ref().is_some_and(UpnpClient::is_searching)
    }

    /// Has the router end all mappings; the machine finishes when it has, or after [`super::RELEASE_TIME`].
    pub fn release(&mut self, now: Instant) {
        self.releasing = true;
        for client in &mut self.control {
            client.release(now);
        }
        if let Some(upnp) = &mut self.upnp {
            upnp.release(now);
        }
    }

    /// Takes a datagram from the router's control port on this protocol's socket. `None`: the router's host says that
    /// nothing listens there.
    pub fn handle_control(&mut self, protocol: Protocol, datagram: Option<&[u8]>, now: Instant) {
        for client in &mut self.control {
            if client.protocol() == protocol {
                match datagram {
                    Some(datagram) => client.handle_datagram(datagram, now),
                    None => client.handle_port_closed(now),
                }
            }
        }
        self.steer(now);
    }

    /// Takes an answer to a search.
    pub fn handle_search_answer(&mut self, datagram: &[u8], source: Ipv4Addr) {
        if let Some(upnp) = &mut self.upnp {
            upnp.handle_search_answer(datagram, source);
        }
    }

    /// Takes the answer to the HTTP request; `None` if none came.
    pub fn handle_http(&mut self, answer: Option<&[u8]>, now: Instant) {
        if let Some(upnp) = &mut self.upnp {
            upnp.handle_http(answer, now);
        }
        self.steer(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        for client in &mut self.control {
            client.handle_timeout(now);
        }
        if let Some(upnp) = &mut self.upnp {
            upnp.handle_timeout(now);
        }
        self.steer(now);
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let mut earliest = None;
        let mut note = |at: Option<Instant>| earliest = earliest.into_iter().chain(at).min();
        for client in &self.control {
            note(client.poll_timeout());
            note(self.head_start(client.protocol()).filter(|_| self.holds_back(client)));
        }
        if let Some(upnp) = &self.upnp {
            note(upnp.poll_timeout());
            let waits = self.steers() && !upnp.has_ended() && !upnp.wants_mapping();
            note(self.head_start(Protocol::Upnp).filter(|_| waits));
        }
        earliest
    }

    /// The next thing to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        for client in &mut self.control {
            if let Some(datagram) = client.poll_transmit() {
                return Some(Transmit::Control(client.protocol(), datagram));
            }
        }
        let upnp = self.upnp.as_mut()?;
        upnp.poll_search().map(Transmit::Search).or_else(|| upnp.poll_http().map(Transmit::Http))
    }

    /// The next thing to tell.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn steers(&self) -> bool {
        self.map && !self.releasing
    }

    fn holds_back(&self, client: &ControlClient) -> bool {
        self.steers() && !client.has_ended() && !client.wants_mapping()
    }

    /// When a protocol may ask for a mapping at the latest.
    fn head_start(&self, protocol: Protocol) -> Option<Instant> {
        match protocol {
            Protocol::Pcp => None,
            Protocol::NatPmp => Some(self.started + NAT_PMP_HEAD_START),
            Protocol::Upnp => Some(self.started + UPNP_HEAD_START),
        }
    }

    /// Collects events and decides who goes on.
    fn steer(&mut self, now: Instant) {
        for client in &mut self.control {
            self.events.extend(client.take_events());
        }
        if let Some(upnp) = &mut self.upnp {
            self.events.extend(upnp.take_events());
        }
        if !self.steers() {
            return;
        }
        let has_public = self.mapped().any(Mapped::is_public);
        let passed = now.saturating_duration_since(self.started);
        let mut all_decided = true;
        for client in &mut self.control {
            if !client.wants_mapping() {
                if has_public {
                    client.stop();
                } else if all_decided || passed >= NAT_PMP_HEAD_START {
                    client.map(now);
                }
            }
            // A mapping to a private address leaves the others their chance.
            all_decided &= client.has_ended() || client.mapped().is_some();
        }
        if let Some(upnp) = &mut self.upnp
            && !upnp.wants_mapping()
        {
            if has_public {
                upnp.stop();
            } else if all_decided || passed >= UPNP_HEAD_START {
                upnp.map();
            }
        }
    }
}

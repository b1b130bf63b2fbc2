//! PCP and NAT-PMP: requests and responses of one datagram each, with the router's control port.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use super::timing::{Epoch, Lease, Retry};
use super::{Event, Failure, Mapped, Protocol, RELEASE_TIME, SEARCH_TIME, nat_pmp, pcp};

/// A lifetime as both protocols carry it; 0 would end the mapping.
fn seconds(lifetime: Duration) -> u32 {
    lifetime.as_secs().clamp(1, u32::MAX.into()) as u32
}

#[derive(Debug)]
enum Phase {
    /// Nothing is outstanding: a mapping is held, or may not be asked for yet.
    Idle,
    Asking(Retry),
    Deleting(Retry),
    Ended,
}

/// A client of one of the two protocols.
#[derive(Debug)]
pub struct ControlClient {
    protocol: Protocol,
    internal: SocketAddrV4,
    lifetime: u32,
    nonce: [u8; pcp::NONCE_LEN],
    phase: Phase,
    /// NAT-PMP tells address and mapping apart; these are the answers of the present round.
    address: Option<Ipv4Addr>,
    granted: Option<(u16, u32)>,
    wants_mapping: bool,
    /// Whether the router may have made a mapping.
    has_asked: bool,
    lease: Option<Lease>,
    epoch: Epoch,
    transmits: Vec<Vec<u8>>,
    events: Vec<Event>,
}

impl ControlClient {
    /// Asks at once: by PCP for a mapping, since nothing less tells the external address; by NAT-PMP for the address, and
    /// for a mapping only after [`Self::map`].
    pub fn new(
        protocol: Protocol,
        internal: SocketAddrV4,
        lifetime: Duration,
        nonce: [u8; pcp::NONCE_LEN],
        now: Instant,
    ) -> Self {
        let mut client = Self {
            protocol,
            internal,
            lifetime: seconds(lifetime),
            nonce,
            phase: Phase::Idle,
            address: None,
            granted: None,
            wants_mapping: protocol == Protocol::Pcp,
            has_asked: false,
            lease: None,
            epoch: Epoch::default(),
            transmits: Vec::new(),
            events: Vec::new(),
        };
        client.ask(now);
        client
    }

    /// Asks for a mapping, if that has not been done before.
    pub fn map(&mut self, now: Instant) {
        if !self.wants_mapping && !self.has_ended() {
            self.wants_mapping = true;
            self.ask(now);
        }
    }

    /// Whether a mapping was asked for.
    pub fn wants_mapping(&self) -> bool {
        self.wants_mapping
    }

    /// The mapping that is held.
    pub fn mapped(&self) -> Option<&Mapped> {
        self.lease.as_ref().map(|lease| &lease.mapped)
    }

    /// Whether nothing more will come of it.
    pub fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    /// Ends quietly.
    pub fn stop(&mut self) {
        self.phase = Phase::Ended;
        self.transmits.clear();
    }

    /// Has the router end the mapping.
    pub fn release(&mut self, now: Instant) {
        if self.has_asked && !self.has_ended() {
            self.phase = Phase::Deleting(Retry::new(now, RELEASE_TIME));
            self.transmits.clear();
            self.send();
        } else {
            self.stop();
        }
    }

    /// Takes a datagram from the router's control port.
    pub fn handle_datagram(&mut self, datagram: &[u8], now: Instant) {
        match self.protocol {
            Protocol::Pcp => self.handle_pcp(datagram, now),
            _ => self.handle_nat_pmp(datagram, now),
        }
    }

    fn handle_pcp(&mut self, datagram: &[u8], now: Instant) {
        match pcp::Response::parse(datagram) {
            Some(pcp::Response::OtherVersion) => self.fail(Failure::Unsupported, now),
            Some(pcp::Response::Map(map))
                if map.nonce == self.nonce && map.internal_port == self.internal.port() =>
            {
                self.note_epoch(map.epoch, now);
                match (&self.phase, map.result, map.external.ip()) {
                    (Phase::Deleting(_), pcp::SUCCESS, _) if map.lifetime == 0 => self.forget(),
                    (Phase::Asking(_), pcp::SUCCESS, IpAddr::V4(address)) if map.lifetime > 0 => {
                        self.address = Some(address);
                        self.granted = Some((map.external.port(), map.lifetime));
                        self.settle(now);
                    }
                    (Phase::Asking(_), pcp::SUCCESS, _) => self.fail(Failure::Malformed, now),
                    (_, pcp::UNSUPPORTED_OPCODE, _) => self.fail(Failure::Unsupported, now),
                    (_, result, _) if result != pcp::SUCCESS => {
                        self.fail(Failure::Refused(result.into()), now)
                    }
                    // A repetition of what is known.
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn handle_nat_pmp(&mut self, datagram: &[u8], now: Instant) {
        use nat_pmp::Response;
        let Some(response) = Response::parse(datagram) else { return };
        match (&self.phase, response) {
            (_, Response::OtherVersion | Response::Refused { result: nat_pmp::UNSUPPORTED_OPCODE, .. }) => {
                self.fail(Failure::Unsupported, now);
            }
            (Phase::Deleting(_), Response::Map { internal_port, lifetime: 0, .. })
                if internal_port == self.internal.port() =>
            {
                self.forget();
            }
            (Phase::Deleting(_), Response::Refused { map: true, .. }) => self.stop(),
            (Phase::Asking(_), Response::Address { epoch, address }) => {
                self.note_epoch(epoch, now);
                if self.address.replace(address).is_none() && self.lease.is_none() {
                    self.events.push(Event::Address(self.protocol, address.into()));
                }
                self.settle(now);
            }
            (Phase::Asking(_), Response::Map { epoch, internal_port, external_port, lifetime })
                if internal_port == self.internal.port() && lifetime > 0 && external_port > 0 =>
            {
                self.note_epoch(epoch, now);
                self.granted = Some((external_port, lifetime));
                self.settle(now);
            }
            (_, Response::Refused { result, .. }) => self.fail(Failure::Refused(result), now),
            _ => {}
        }
    }

    /// The router's host says that nothing listens on the control port.
    pub fn handle_port_closed(&mut self, now: Instant) {
        self.fail(Failure::Unsupported, now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.lease.as_ref().is_some_and(|lease| lease.is_expired(now)) {
            self.lease = None;
            self.events.push(Event::Lost(self.protocol));
            self.stop();
        }
        match &mut self.phase {
            Phase::Asking(retry) if retry.is_over(now) => self.fail(Failure::Silent, now),
            Phase::Deleting(retry) if retry.is_over(now) => self.stop(),
            Phase::Asking(retry) | Phase::Deleting(retry) => {
                if retry.is_due(now) {
                    self.send();
                }
            }
            Phase::Idle if self.lease.as_ref().is_some_and(|lease| lease.is_due(now)) => {
                (self.address, self.granted) = (None, None);
                self.ask(now);
            }
            Phase::Idle | Phase::Ended => {}
        }
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let lease = || self.lease.as_ref().and_then(Lease::timeout);
        match &self.phase {
            Phase::Asking(retry) | Phase::Deleting(retry) => Some(retry.timeout()),
            Phase::Idle => lease(),
            Phase::Ended => None,
        }
    }

    /// What it speaks.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The next datagram for the control port. Their order does not matter.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.transmits.pop()
    }

    /// All that is new.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    fn ask(&mut self, now: Instant) {
        self.phase = Phase::Asking(Retry::new(now, SEARCH_TIME));
        self.send();
    }

    /// Sends whatever has no answer yet.
    fn send(&mut self) {
        let deleting = matches!(self.phase, Phase::Deleting(_));
        let lifetime = if deleting { 0 } else { self.lifetime };
        if self.protocol == Protocol::NatPmp && !deleting && self.address.is_none() {
            self.transmits.push(nat_pmp::ADDRESS_REQUEST.to_vec());
        }
        if !deleting && (!self.wants_mapping || self.granted.is_some()) {
            return;
        }
        self.has_asked = true;
        let held = self.mapped().filter(|_| !deleting).map(|mapped| mapped.external);
        self.transmits.push(if self.protocol == Protocol::Pcp {
            let request = pcp::MapRequest {
                client: IpAddr::V4(*self.internal.ip()),
                nonce: self.nonce,
                internal_port: self.internal.port(),
                suggested: held.unwrap_or(match deleting {
                    true => pcp::ANY_IPV4,
                    false => SocketAddr::new(pcp::ANY_IPV4.ip(), self.internal.port()),
                }),
                lifetime,
            };
            request.encode().to_vec()
        } else {
            let suggested_port = match (deleting, held) {
                (true, _) => 0,
                (false, Some(held)) => held.port(),
                (false, None) => self.internal.port(),
            };
            let internal_port = self.internal.port();
            nat_pmp::MapRequest { internal_port, suggested_port, lifetime }.encode().to_vec()
        });
    }

    /// All answers of the round may be there.
    fn settle(&mut self, now: Instant) {
        let Some(address) = self.address else { return };
        if !self.wants_mapping {
            self.phase = Phase::Idle;
            return;
        }
        let Some((port, lifetime)) = self.granted else { return };
        self.phase = Phase::Idle;
        let mapped = Mapped {
            protocol: self.protocol,
            external: SocketAddr::new(address.into(), port),
            lifetime: Some(Duration::from_secs(lifetime.into())),
        };
        if self.mapped().is_none_or(|held| held.external != mapped.external) {
            self.events.push(Event::Mapped(mapped));
        }
        self.lease = Some(Lease::new(mapped, now));
    }

    /// The mapping is known to be gone.
    fn forget(&mut self) {
        self.lease = None;
        self.stop();
    }

    fn fail(&mut self, failure: Failure, now: Instant) {
        match (&self.phase, &mut self.lease) {
            (Phase::Ended, _) => {}
            (Phase::Deleting(_), _) => self.stop(),
            // What the router has promised holds until it ends.
            (Phase::Asking(_), Some(lease)) => {
                lease.postpone(now);
                self.phase = Phase::Idle;
            }
            (Phase::Idle, Some(_)) => {}
            (_, None) => {
                self.events.push(Event::Failed(self.protocol, failure));
                self.stop();
            }
        }
    }

    /// Nothing need be done about a restarted router beyond what is being done: every answer belongs to a request for
    /// all that we have there.
    fn note_epoch(&mut self, epoch: u32, now: Instant) {
        if !self.epoch.observe(epoch, now) {
            log::debug!(target: "holepunch::portmap", "{}: the router has lost its state", self.protocol);
        }
    }
}

//! UPnP-IGD: search the router, read its description, call its connection service.
//!
//! Only the default gateway is believed, and only as to itself: answers of others, and URLs that lead elsewhere, are
//! ignored.

pub mod description;
pub mod http;
pub mod soap;
pub mod ssdp;
#[cfg(test)]
mod tests;
pub mod xml;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use description::Service;
use http::{Response, Url};
use soap::{Action, Answer};

use super::timing::{Lease, Retry};
use super::{Event, Failure, Mapped, MapperConfig, Protocol, RELEASE_TIME, SEARCH_TIME};
use crate::proto::Rng;

/// Descriptions that are read at most.
const MAX_DESCRIPTIONS: usize = 4;
/// Other external ports that are tried if somebody has ours.
const MAX_OTHER_PORTS: u8 = 3;
/// Longest lease (UPnP WANIPConnection:2, section 2.3.16).
const MAX_LEASE: Duration = Duration::from_secs(604_800);

/// Where searches for the device at `gateway` go.
pub(crate) fn search_endpoints(gateway: Ipv4Addr) -> Vec<SocketAddrV4> {
    vec![ssdp::MULTICAST, SocketAddrV4::new(gateway, ssdp::PORT)]
}

/// A request to be sent over a connection of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// Where to connect to.
    pub address: SocketAddrV4,
    /// What to send; the answer is all that comes until [`http::is_complete`] or the connection ends.
    pub bytes: Vec<u8>,
}

/// One AddPortMapping, until it succeeds or nothing is left to try.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    any: bool,
    external_port: u16,
    lease: u32,
    other_ports: u8,
}

#[derive(Debug)]
enum Step {
    Searching,
    /// In these an HTTP request is outstanding.
    Describing(Url),
    Addressing(Service),
    Adding(Service, Attempt),
    Deleting,
    /// The address is known, and a mapping may be asked for.
    Ready(Service),
    /// The mapping is held.
    Holding(Service),
    Ended,
}

/// A client of the router's connection service.
#[derive(Debug)]
pub struct UpnpClient {
    internal: SocketAddrV4,
    gateway: Ipv4Addr,
    lifetime: u32,
    allow_permanent: bool,
    rng: Rng,
    step: Step,
    retry: Retry,
    wants_mapping: bool,
    releasing: bool,
    seen: Vec<Url>,
    locations: Vec<Url>,
    /// The best is the last.
    services: Vec<Service>,
    address: Ipv4Addr,
    lease: Option<Lease>,
    failure: Failure,
    searches: Vec<Vec<u8>>,
    request: Option<HttpRequest>,
    events: Vec<Event>,
}

impl UpnpClient {
    /// Searches at once, and asks for a mapping only after [`Self::map`].
    /// `None` if the configuration has no place for it.
    pub fn new(config: &MapperConfig, rng: Rng, now: Instant) -> Option<Self> {
        config.protocols.contains(&Protocol::Upnp).then(|| Self {
            internal: config.internal,
            gateway: config.gateway,
            lifetime: config.lifetime.clamp(Duration::from_secs(1), MAX_LEASE).as_secs() as u32,
            allow_permanent: config.allow_permanent,
            rng,
            step: Step::Searching,
            retry: Retry::new(now, SEARCH_TIME),
            wants_mapping: false,
            releasing: false,
            seen: Vec::new(),
            locations: Vec::new(),
            services: Vec::new(),
            address: Ipv4Addr::UNSPECIFIED,
            lease: None,
            failure: Failure::Silent,
            searches: ssdp::searches(),
            request: None,
            events: Vec::new(),
        })
    }

    /// Asks for a mapping as soon as a service is found, if that has not been done before.
    pub fn map(&mut self) {
        self.wants_mapping = true;
        if let Step::Ready(service) = &self.step {
            let service = service.clone();
            self.add(service);
        }
    }

    /// Whether a mapping may be asked for.
    pub fn wants_mapping(&self) -> bool {
        self.wants_mapping
    }

    /// The mapping that is held.
    pub fn mapped(&self) -> Option<&Mapped> {
        self.lease.as_ref().map(|lease| &lease.mapped)
    }

    /// Whether nothing more will come of it.
    pub fn has_ended(&self) -> bool {
        matches!(self.step, Step::Ended)
    }

    /// Whether answers to searches are of interest.
    pub fn is_searching(&self) -> bool {
        self.lease.is_none() && !self.releasing && !self.has_ended()
    }

    /// Ends quietly.
    pub fn stop(&mut self) {
        self.step = Step::Ended;
        self.request = None;
        self.searches.clear();
    }

    /// Has the router end the mapping.
    pub fn release(&mut self, now: Instant) {
        self.releasing = true;
        self.retry = Retry::new(now, RELEASE_TIME);
        match &self.step {
            Step::Holding(service) => {
                let service = service.clone();
                self.delete(&service);
            }
            // The answer will tell what there is to delete.
            Step::Addressing(_) if self.lease.is_some() => {}
            Step::Adding(..) => {}
            _ => self.stop(),
        }
    }

    /// Takes an answer to a search.
    pub fn handle_search_answer(&mut self, datagram: &[u8], source: Ipv4Addr) {
        if source != self.gateway || !self.is_searching() || self.seen.len() >= MAX_DESCRIPTIONS {
            return;
        }
        let Some(location) = ssdp::parse_answer(datagram, source) else { return };
        if !self.seen.contains(&location) {
            self.seen.push(location.clone());
            self.locations.push(location);
        }
        if matches!(self.step, Step::Searching) {
            self.try_next();
        }
    }

    /// Takes the answer to the outstanding HTTP request; `None` if none came.
    pub fn handle_http(&mut self, answer: Option<&[u8]>, now: Instant) {
        let response = answer.and_then(Response::parse);
        let failure = if answer.is_some() { Failure::Malformed } else { Failure::Silent };
        let read = response.as_ref().map(Answer::read);
        match std::mem::replace(&mut self.step, Step::Searching) {
            Step::Describing(location) => {
                match response {
                    Some(Response { status: 200, body }) => {
                        self.services = description::services(&body, &location);
                        self.failure = Failure::Unsupported;
                    }
                    Some(Response { status, .. }) => self.failure = Failure::Refused(status),
                    None => self.failure = failure,
                }
                self.try_next();
            }
            Step::Addressing(service) => match read {
                Some(Answer::Done { address, .. }) => {
                    self.address = address.unwrap_or(Ipv4Addr::UNSPECIFIED);
                    if self.lease.is_none() {
                        self.events.push(Event::Address(Protocol::Upnp, self.address.into()));
                    }
                    self.proceed(service);
                }
                read => self.fail_with(service, read, failure, now),
            },
            Step::Adding(service, attempt) => {
                self.failure = failure;
                self.handle_added(service, attempt, read, now);
            }
            Step::Deleting => {
                if matches!(read, Some(Answer::Done { .. } | Answer::Refused(soap::NO_SUCH_ENTRY))) {
                    self.lease = None;
                }
                self.stop();
            }
            step => self.step = step,
        }
    }

    fn handle_added(&mut self, service: Service, attempt: Attempt, answer: Option<Answer>, now: Instant) {
        let again = match answer {
            Some(Answer::Done { port, .. }) => {
                let external_port = port.filter(|port| *port != 0).unwrap_or(attempt.external_port);
                self.hold(&service, external_port, attempt.lease, now);
                return;
            }
            Some(Answer::Refused(soap::ONLY_PERMANENT)) if attempt.lease != 0 => {
                if !self.allow_permanent {
                    self.failure = Failure::OnlyPermanent;
                    self.fail_here(service, now);
                    return;
                }
                Attempt { lease: 0, ..attempt }
            }
            // Routers that claim version 2 may lack what is new in it.
            Some(Answer::Refused(_)) if attempt.any => Attempt { any: false, ..attempt },
            Some(Answer::Refused(soap::CONFLICT)) if attempt.other_ports < MAX_OTHER_PORTS => {
                // From the dynamic ports (RFC 6335 section 6).
                let external_port = 49_152 + (self.rng.u32() % 16_384) as u16;
                Attempt { external_port, other_ports: attempt.other_ports + 1, ..attempt }
            }
            answer => {
                self.fail_with(service, answer, self.failure, now);
                return;
            }
        };
        if self.releasing {
            self.delete(&service);
        } else {
            self.send_add(service, again);
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.lease.as_ref().is_some_and(|lease| lease.is_expired(now)) {
            self.lease = None;
            self.events.push(Event::Lost(Protocol::Upnp));
            self.stop();
        }
        match &self.step {
            Step::Ended | Step::Ready(_) => {}
            Step::Holding(service) if self.lease.as_ref().is_some_and(|lease| lease.is_due(now)) => {
                let service = service.clone();
                self.ask_address(service);
            }
            _ if self.releasing && self.retry.is_over(now) => self.stop(),
            // A renewal's requests come to their end by themselves.
            _ if self.lease.is_some() || self.releasing => {}
            _ if self.retry.is_over(now) => self.fail_finally(),
            Step::Searching if self.retry.is_due(now) => self.searches = ssdp::searches(),
            _ => {}
        }
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let lease = || self.lease.as_ref().and_then(Lease::timeout);
        match &self.step {
            Step::Ended | Step::Ready(_) => None,
            _ if self.releasing => Some(self.retry.until()),
            Step::Searching => Some(self.retry.timeout()),
            Step::Holding(_) => lease(),
            _ if self.lease.is_some() => None,
            _ => Some(self.retry.until()),
        }
    }

    /// The next datagram for the multicast group and for the router's own SSDP port.
    pub fn poll_search(&mut self) -> Option<Vec<u8>> {
        self.searches.pop()
    }

    /// The next HTTP request. There is only one at a time: [`Self::handle_http`] must follow.
    pub fn poll_http(&mut self) -> Option<HttpRequest> {
        self.request.take()
    }

    /// All that is new.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// The next service, or the next description, or nothing is left.
    fn try_next(&mut self) {
        if let Some(service) = self.services.pop() {
            self.ask_address(service);
        } else if let Some(location) = self.locations.pop() {
            self.request = Some(HttpRequest { address: location.address, bytes: http::get(&location) });
            self.step = Step::Describing(location);
        } else {
            self.fail_finally();
        }
    }

    fn ask_address(&mut self, service: Service) {
        self.call(&service, Action::Address);
        self.step = Step::Addressing(service);
    }

    /// The address is known: on to the mapping, its renewal or its end.
    fn proceed(&mut self, service: Service) {
        if self.releasing {
            self.delete(&service);
        } else if self.wants_mapping {
            self.add(service);
        } else {
            self.step = Step::Ready(service);
        }
    }

    fn add(&mut self, service: Service) {
        let held = self.mapped().map(|mapped| mapped.external.port());
        let attempt = Attempt {
            any: held.is_none() && service.kind == description::ServiceKind::Ip2,
            external_port: held.unwrap_or(self.internal.port()),
            lease: self.lifetime,
            other_ports: 0,
        };
        self.send_add(service, attempt);
    }

    fn send_add(&mut self, service: Service, attempt: Attempt) {
        let Attempt { any, external_port, lease, .. } = attempt;
        self.call(&service, Action::Add { any, external_port, internal: self.internal, lease });
        self.step = Step::Adding(service, attempt);
    }

    fn hold(&mut self, service: &Service, external_port: u16, lease: u32, now: Instant) {
        let mapped = Mapped {
            protocol: Protocol::Upnp,
            external: SocketAddr::new(self.address.into(), external_port),
            lifetime: (lease != 0).then(|| Duration::from_secs(lease.into())),
        };
        if self.mapped().is_none_or(|held| held.external != mapped.external) {
            self.events.push(Event::Mapped(mapped));
        }
        self.lease = Some(Lease::new(mapped, now));
        self.step = Step::Holding(service.clone());
        if self.releasing {
            self.delete(service);
        }
    }

    fn delete(&mut self, service: &Service) {
        match self.mapped().map(|mapped| mapped.external.port()) {
            Some(external_port) => {
                self.call(service, Action::Delete { external_port });
                self.step = Step::Deleting;
            }
            None => self.stop(),
        }
    }

    fn call(&mut self, service: &Service, action: Action) {
        self.request = Some(HttpRequest { address: service.control.address, bytes: action.request(service) });
    }

    fn fail_with(&mut self, service: Service, answer: Option<Answer>, otherwise: Failure, now: Instant) {
        self.failure = match answer {
            Some(Answer::Refused(code)) => Failure::Refused(code),
            _ => otherwise,
        };
        self.fail_here(service, now);
    }

    /// This service does not serve; what it has promised holds until it ends.
    fn fail_here(&mut self, service: Service, now: Instant) {
        match &mut self.lease {
            _ if self.releasing => self.proceed(service),
            Some(lease) => {
                lease.postpone(now);
                self.step = Step::Holding(service);
            }
            None => self.try_next(),
        }
    }

    fn fail_finally(&mut self) {
        if !self.has_ended() {
            self.events.push(Event::Failed(Protocol::Upnp, self.failure));
            self.stop();
        }
    }
}

//! What the NAT between a host and the server does, without any peer: for people who want to know what to expect.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::cookie::Cookie;
use super::discovery::{Discovery, DiscoveryConfig};
use super::nat::{Mapping, NatBehaviour};
use super::types::{PeerId, SocketIndex, Transmit};
use super::wire::{
    Attributes, Challenge, FilterProbe, MappingProbe, Message, RefusedReason, Register, is_native,
};
use super::{LookupKey, Rng};

/// The pause between two unanswered requests.
const RETRY: Duration = Duration::from_millis(100);
/// How long an answer is waited for that may well never come, over IPv6 or by hairpin, or to a mapping that has ended.
const PATIENCE: Duration = Duration::from_millis(600);
/// What the questions by hairpin are numbered with.
const HAIRPIN: u32 = 0x200;

/// What a check asks from, and whom.
#[derive(Clone, Debug)]
pub struct CheckConfig {
    /// The server's addresses, at most one of each family, with the sockets that reach them.
    pub servers: Vec<(SocketIndex, SocketAddr)>,
    /// The IPv4 socket's own endpoint, where that is known.
    pub local: Option<SocketAddr>,
    /// Another IPv4 socket: asks itself by way of the NAT.
    pub hairpin: SocketIndex,
    /// Further IPv4 sockets, each of which is silent for so long, to see whether the NAT still lets the server in.
    pub silences: Vec<(SocketIndex, Duration)>,
}

/// What has been found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckResult {
    /// Our IPv4 endpoint as the server sees it.
    pub observed: Option<SocketAddr>,
    /// Our IPv6 endpoint as the server sees it.
    pub observed_ipv6: Option<SocketAddr>,
    /// What the NAT does.
    pub nat: NatBehaviour,
    /// Whether the NAT lets hosts behind it reach each other by their outside endpoints.
    pub hairpin: Option<bool>,
    /// Routers with private addresses on the way, where they told.
    pub inner_routers: Option<u8>,
    /// How long a mapping lives at least and at most, as far as that was looked at.
    pub lifetime: Option<(Duration, Option<Duration>)>,
}

#[derive(Clone, Copy, Debug)]
enum Silence {
    /// The server is asked what it sees.
    Asking,
    /// Nothing is sent until then.
    Silent { until: Instant, observed: SocketAddr, cookie: Cookie },
    /// The server has been asked to send something.
    Calling { since: Instant, observed: SocketAddr, cookie: Cookie },
    /// It came, or it did not.
    Over { survived: bool },
}

/// One check.
#[derive(Debug)]
pub struct Check {
    config: CheckConfig,
    token: u64,
    question: Vec<u8>,
    /// For each of the server's addresses, how it sees us.
    challenges: Vec<Option<(SocketAddr, Cookie)>>,
    answered_at: Option<Instant>,
    plain_answer: bool,
    discovery: Option<Discovery>,
    /// Since when the NAT is asked to turn a datagram round, and whether it has.
    hairpin: Option<(Instant, bool)>,
    /// The other socket's outside endpoint.
    hairpin_seen: Option<SocketAddr>,
    silences: Vec<Silence>,
    next: Instant,
    transmits: VecDeque<Transmit>,
}

impl Check {
    /// Asks at `now`.
    pub fn new(config: CheckConfig, mut rng: Rng, now: Instant) -> Self {
        let token = rng.u64();
        let question = Register {
            token,
            sequence: 1,
            lookup: LookupKey(rng.bytes()),
            peer: PeerId(rng.bytes()),
            cookie: [0; 16],
            instance: 0,
            revision: 0,
            attributes: Attributes::NONE,
        };
        let mut check = Self {
            token,
            question: question.encode(),
            challenges: vec![None; config.servers.len()],
            answered_at: None,
            plain_answer: false,
            discovery: None,
            hairpin: None,
            hairpin_seen: None,
            silences: vec![Silence::Asking; config.silences.len()],
            config,
            next: now,
            transmits: VecDeque::new(),
        };
        check.handle_timeout(now);
        check
    }

    /// Whether the server has answered in the native dialect.
    pub fn is_answered(&self) -> bool {
        self.answered_at.is_some()
    }

    /// One of the server's addresses.
    pub fn server_address(&self) -> Option<SocketAddr> {
        self.config.servers.first().map(|(_, address)| *address)
    }

    /// Whether the server has refused the native dialect, or sent something that is not native.
    pub fn met_plain_server(&self) -> bool {
        self.plain_answer
    }

    /// Takes a datagram.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        socket: SocketIndex,
        source: SocketAddr,
        datagram: &[u8],
    ) {
        let server = self.config.servers.iter().position(|(_, server)| *server == source);
        if !is_native(datagram) {
            self.plain_answer |= server.is_some();
            return;
        }
        match Message::parse(datagram) {
            Ok(Message::Challenge(challenge)) if challenge.token == self.token => {
                let Some(server) = server else { return };
                self.handle_challenge(now, socket, server, &challenge);
            }
            Ok(Message::MappingReply(reply)) => {
                if let Some(discovery) = &mut self.discovery {
                    discovery.handle_mapping(now, source, &reply);
                }
            }
            Ok(Message::FilterReply(reply)) => {
                let silence = self.config.silences.iter().position(|(silent, _)| *silent == socket);
                match (silence, &mut self.discovery) {
                    (Some(silence), _) if reply.token == self.token => {
                        self.silences[silence] = Silence::Over { survived: true };
                    }
                    (None, Some(discovery)) => drop(discovery.handle_filter(now, source, &reply)),
                    _ => {}
                }
            }
            Ok(Message::Refused(refused))
                if refused.token == self.token && refused.reason == Some(RefusedReason::DialectRefused) =>
            {
                self.plain_answer |= server.is_some();
            }
            // Our own question, come round.
            Ok(Message::MappingProbe(probe)) if (probe.token, probe.sequence) == (self.token, HAIRPIN) => {
                if let Some((_, came)) = &mut self.hairpin {
                    *came = true;
                }
            }
            _ => {}
        }
        self.handle_timeout(now);
    }

    fn handle_challenge(&mut self, now: Instant, socket: SocketIndex, server: usize, challenge: &Challenge) {
        if let Some(silence) = self.config.silences.iter().position(|(silent, _)| *silent == socket) {
            if let Silence::Asking = self.silences[silence] {
                let until = now + self.config.silences[silence].1;
                let (observed, cookie) = (challenge.observed, challenge.cookie);
                self.silences[silence] = Silence::Silent { until, observed, cookie };
            }
            return;
        }
        if socket == self.config.hairpin {
            self.hairpin_seen = Some(challenge.observed);
        }
        if self.config.servers[server].0 != socket {
            return;
        }
        self.answered_at.get_or_insert(now);
        self.challenges[server] = Some((challenge.observed, challenge.cookie));
        if challenge.observed.is_ipv4() && self.discovery.is_none() {
            let config = DiscoveryConfig {
                socket,
                local: self.config.local,
                server: self.config.servers[server].1,
                observed: challenge.observed,
                alternates: challenge.alternates,
                cookie: challenge.cookie,
                token: self.token,
                thorough: true,
            };
            self.discovery = Some(Discovery::new(config, now));
        }
    }

    /// A router says that a datagram of ours went no further.
    pub fn handle_time_exceeded(&mut self, router: std::net::IpAddr, payload: &[u8]) {
        if let Some(discovery) = &mut self.discovery {
            discovery.handle_time_exceeded(router, payload);
        }
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(discovery) = &mut self.discovery {
            discovery.handle_timeout(now);
        }
        if now < self.next {
            return;
        }
        self.next = now + RETRY;
        for (server, (socket, destination)) in self.config.servers.iter().enumerate() {
            if self.challenges[server].is_none() {
                self.transmits.push_back(datagram(*socket, *destination, self.question.clone()));
            }
        }
        self.ask_by_hairpin(now);
        self.mind_silences(now);
    }

    fn ask_by_hairpin(&mut self, now: Instant) {
        let Some(discovery) = self.discovery.as_ref().filter(|discovery| discovery.is_done()) else { return };
        let (since, came) = *self.hairpin.get_or_insert((now, false));
        let nat = !matches!(discovery.mapping(), Mapping::None | Mapping::Unknown);
        if !nat || came || now >= since + PATIENCE {
            return;
        }
        let server = self.config.servers.iter().find(|(_, server)| server.is_ipv4());
        let (Some((main, server)), Some((observed, _))) = (server.copied(), self.ipv4()) else { return };
        let Some(other) = self.hairpin_seen else {
            self.transmits.push_back(datagram(self.config.hairpin, server, self.question.clone()));
            return;
        };
        // Strict filters let in only whom one has sent to.
        let probe = |sequence| MappingProbe { token: self.token, sequence }.encode();
        self.transmits.push_back(datagram(main, other, probe(HAIRPIN + 1)));
        self.transmits.push_back(datagram(self.config.hairpin, observed, probe(HAIRPIN)));
    }

    fn ipv4(&self) -> Option<(SocketAddr, Cookie)> {
        self.challenges.iter().flatten().find(|(observed, _)| observed.is_ipv4()).copied()
    }

    fn mind_silences(&mut self, now: Instant) {
        let ipv4 = self.config.servers.iter().find(|(_, server)| server.is_ipv4());
        let Some((main, server)) = ipv4.copied() else { return };
        for (silence, (socket, _)) in self.silences.iter_mut().zip(&self.config.silences) {
            match *silence {
                Silence::Asking => {
                    self.transmits.push_back(datagram(*socket, server, self.question.clone()));
                }
                Silence::Silent { until, observed, cookie } if now >= until => {
                    *silence = Silence::Calling { since: now, observed, cookie };
                }
                Silence::Calling { since, .. } if now >= since + PATIENCE => {
                    *silence = Silence::Over { survived: false };
                }
                Silence::Silent { .. } | Silence::Calling { .. } | Silence::Over { .. } => {}
            }
            if let Silence::Calling { observed, cookie, .. } = *silence {
                let probe = FilterProbe { token: self.token, sequence: 1, cookie, target: Some(observed) };
                self.transmits.push_back(datagram(main, server, probe.encode()));
            }
        }
    }

    /// What has been found, once there is nothing more to find.
    pub fn result(&self, now: Instant) -> Option<CheckResult> {
        let answered = self.answered_at?;
        let waits_for_other_family = self.challenges.iter().any(Option::is_none) && now < answered + PATIENCE;
        let discovering = self.discovery.as_ref().is_some_and(|discovery| !discovery.is_done());
        let has_ipv4 = self.discovery.is_some();
        let hairpinning =
            has_ipv4 && self.hairpin.is_none_or(|(since, came)| !came && now < since + PATIENCE);
        let is_over = |silence: &Silence| matches!(silence, Silence::Over { .. });
        let silent = has_ipv4 && !self.silences.iter().all(is_over);
        if waits_for_other_family || discovering || hairpinning || silent {
            return None;
        }
        let observed_ipv6 = self.challenges.iter().flatten().find(|(observed, _)| observed.is_ipv6());
        let nat = self.discovery.as_ref().map(Discovery::behaviour).unwrap_or_default();
        let translated = !matches!(nat.mapping, Mapping::None | Mapping::Unknown);
        Some(CheckResult {
            observed: self.ipv4().map(|(observed, _)| observed),
            observed_ipv6: observed_ipv6.map(|(observed, _)| *observed),
            nat,
            hairpin: self.hairpin.filter(|_| translated).map(|(_, came)| came),
            inner_routers: self.discovery.as_ref().and_then(Discovery::safe_ttl).map(|ttl| ttl - 1),
            lifetime: self.lifetime(),
        })
    }

    fn lifetime(&self) -> Option<(Duration, Option<Duration>)> {
        let over = |survived: bool| {
            let silences = self.silences.iter().zip(&self.config.silences);
            silences.filter_map(move |(silence, (_, time))| match silence {
                Silence::Over { survived: it } if *it == survived => Some(*time),
                _ => None,
            })
        };
        let ended = over(false).min();
        // What survived longer than the first that did not says that a datagram was lost.
        let lived = over(true).filter(|time| ended.is_none_or(|ended| *time < ended)).max();
        (!self.silences.is_empty()).then(|| (lived.unwrap_or_default(), ended))
    }

    /// The next datagram to send; to be asked for after every call that takes `&mut self`.
    #[must_use]
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front().or_else(|| self.discovery.as_mut().and_then(Discovery::poll_transmit))
    }

    /// When to call `handle_timeout`; to be asked for after every call that takes `&mut self`.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        let discovery = self.discovery.as_ref().and_then(Discovery::poll_timeout);
        discovery.map_or(self.next, |discovery| discovery.min(self.next))
    }
}

fn datagram(socket: SocketIndex, destination: SocketAddr, payload: Vec<u8>) -> Transmit {
    Transmit { socket, destination, payload, ttl: None }
}

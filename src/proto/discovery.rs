//! Finds out what the client's NAT does, by the answers that a server with several ports gives (RFC 5780's method).
//!
//! Runs beside the registration and delays nothing: it begins with the server's challenge and ends with a [`NatBehaviour`]
//! some hundred milliseconds later, which the client then adds to what it says of itself.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::cookie::Cookie;
use super::nat::{Filtering, Mapping, NatBehaviour, allocation_of, mapping_of};
use super::types::{SocketIndex, Transmit};
use super::wire::{Alternates, FilterProbe, FilterReply, MappingProbe, MappingReply, Message};

/// Pauses between repetitions of the questions; then they are given up.
const PAUSES_MS: [u64; 6] = [20, 30, 50, 100, 200, 300];
/// So many answers the NAT must have kept out before that counts as filtering.
const REFUSED_AFTER: usize = 3;
/// And so long after the last of them at least, beside two round trips.
const REFUSED_PAUSE: Duration = Duration::from_millis(40);

/// How far the routers on the way are looked at, by datagrams to the server that get no further.
const HOPS: u8 = 4;
/// The questions that these datagrams carry are numbered from here.
const HOP_SEQUENCE: u32 = 0x100;

/// What a discovery starts from: the server's challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveryConfig {
    /// The socket that asks.
    pub socket: SocketIndex,
    /// That socket's own endpoint, where it is known.
    pub local: Option<SocketAddr>,
    /// The server's endpoint.
    pub server: SocketAddr,
    /// Our endpoint as seen there.
    pub observed: SocketAddr,
    /// Where else to ask.
    pub alternates: Alternates,
    /// Proves our endpoint.
    pub cookie: Cookie,
    /// Random; known to us and the server only.
    pub token: u64,
    /// Whether to ask at the other address only when filtering is known: a question there lets its answers in, so that
    /// it can no longer be told whether they would have come in anyway. Takes a round trip more.
    pub thorough: bool,
}

#[derive(Clone, Copy, Debug)]
struct Question {
    asked: SocketAddr,
    seen: Option<SocketAddr>,
}

/// One run of questions.
#[derive(Debug)]
pub struct Discovery {
    config: DiscoveryConfig,
    /// In the order in which the NAT gets to see them.
    questions: Vec<Question>,
    elsewhere: Option<Question>,
    asked_elsewhere: bool,
    started: Instant,
    rtt: Option<Duration>,
    rounds: usize,
    filter_rounds: usize,
    filter_asked: Instant,
    next: Option<Instant>,
    let_in: Option<Filtering>,
    /// For each of the first routers on the way whether it has a private address: then a NAT may follow.
    hops: [Option<bool>; HOPS as usize],
    transmits: VecDeque<Transmit>,
}

impl Discovery {
    /// Asks at `now`.
    pub fn new(config: DiscoveryConfig, now: Instant) -> Self {
        let question = |asked| Question { asked, seen: None };
        let questions =
            config.alternates.ports().map(|port| question(SocketAddr::new(config.server.ip(), port)));
        let mut discovery = Self {
            questions: questions.collect(),
            elsewhere: config.alternates.other.map(question),
            asked_elsewhere: !config.thorough,
            config,
            started: now,
            rtt: None,
            rounds: 0,
            filter_rounds: 0,
            filter_asked: now,
            next: Some(now),
            let_in: None,
            hops: [None; HOPS as usize],
            transmits: VecDeque::new(),
        };
        discovery.handle_timeout(now);
        discovery
    }

    /// Takes a router's word that a datagram of ours went no further; `false` if it is none of these here.
    pub fn handle_time_exceeded(&mut self, router: IpAddr, payload: &[u8]) -> bool {
        let Ok(Message::MappingProbe(probe)) = Message::parse(payload) else { return false };
        let hop = probe.sequence.wrapping_sub(HOP_SEQUENCE + 1) as usize;
        match self.hops.get_mut(hop) {
            Some(known) if probe.token == self.config.token => *known = Some(is_inside(router)),
            _ => return false,
        }
        true
    }

    /// How many routers a datagram may pass so that it gets through all NATs of ours and no further than needed, as far as
    /// the routers have told: it dies at the first one with a public address, or at the first one that keeps silent.
    pub fn safe_ttl(&self) -> Option<u8> {
        self.hops[0]?;
        let first_public = self.hops.iter().position(|inside| *inside == Some(false));
        let first_outside = first_public.or_else(|| self.hops.iter().position(Option::is_none));
        first_outside.map(|hop| hop as u8 + 1)
    }

    /// Looks at the routers that have not told yet; they answer only so many datagrams a second.
    fn look_at_hops(&mut self) {
        for (hop, ttl) in (0..HOPS as usize).zip(1..=HOPS) {
            if self.hops[hop].is_none() && !self.hops[..hop].contains(&Some(false)) {
                let (token, sequence) = (self.config.token, HOP_SEQUENCE + u32::from(ttl));
                let payload = MappingProbe { token, sequence }.encode();
                let (socket, destination) = (self.config.socket, self.config.server);
                self.transmits.push_back(Transmit { socket, destination, payload, ttl: Some(ttl) });
            }
        }
    }

    /// Takes what a server says about the mapping; `false` if it answers no question of ours.
    pub fn handle_mapping(&mut self, now: Instant, source: SocketAddr, reply: &MappingReply) -> bool {
        let known = self.questions.iter_mut().chain(&mut self.elsewhere);
        let Some(question) = known.into_iter().find(|question| question.asked == source) else {
            return false;
        };
        if reply.token != self.config.token {
            return false;
        }
        question.seen = Some(reply.observed);
        self.rtt.get_or_insert(now.saturating_duration_since(self.started));
        self.settle(now);
        true
    }

    /// Takes an answer from elsewhere: the NAT has let it in.
    pub fn handle_filter(&mut self, now: Instant, source: SocketAddr, reply: &FilterReply) -> bool {
        if reply.token != self.config.token || source == self.config.server {
            return false;
        }
        let from_other_address = source.ip() != self.config.server.ip();
        if from_other_address && self.asked_elsewhere {
            return true;
        }
        let let_in = match (from_other_address, self.elsewhere.is_some()) {
            (true, _) => Filtering::EndpointIndependent,
            (false, true) => Filtering::AddressDependent,
            (false, false) => Filtering::NotPortDependent,
        };
        if self.let_in != Some(Filtering::EndpointIndependent) {
            self.let_in = Some(let_in);
        }
        self.settle(now);
        true
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.next.is_none_or(|next| now < next) {
            return;
        }
        self.settle(now);
        if self.next.is_none() {
            return;
        }
        let Some(pause) = PAUSES_MS.get(self.rounds) else {
            self.next = None;
            return;
        };
        if matches!(self.rounds, 0 | 2) {
            self.look_at_hops();
        }
        self.rounds += 1;
        self.next = Some(now + Duration::from_millis(*pause));
        if !self.knows_filtering(now) && self.filter_rounds < REFUSED_AFTER {
            self.filter_rounds += 1;
            self.filter_asked = now;
            let (token, sequence) = (self.config.token, self.rounds as u32);
            let probe = FilterProbe { token, sequence, cookie: self.config.cookie, target: None };
            self.send(self.config.server, probe.encode());
        }
        self.ask();
    }

    /// Asks what has not been answered.
    fn ask(&mut self) {
        let elsewhere = self.elsewhere.filter(|_| self.asked_elsewhere);
        let open = self.questions.iter().chain(&elsewhere).filter(|question| question.seen.is_none());
        let asked: Vec<_> = open.map(|question| question.asked).collect();
        for endpoint in asked {
            let probe = MappingProbe { token: self.config.token, sequence: self.rounds as u32 };
            self.send(endpoint, probe.encode());
        }
    }

    fn send(&mut self, destination: SocketAddr, payload: Vec<u8>) {
        self.transmits.push_back(Transmit { socket: self.config.socket, destination, payload, ttl: None });
    }

    /// When silence is an answer.
    fn refused_at(&self) -> Option<Instant> {
        let pause = REFUSED_PAUSE.max(self.rtt? * 2);
        (self.filter_rounds >= REFUSED_AFTER).then(|| self.filter_asked + pause)
    }

    fn knows_filtering(&self, now: Instant) -> bool {
        let more_may_come = self.config.thorough
            && self.elsewhere.is_some()
            && self.let_in != Some(Filtering::EndpointIndependent);
        self.let_in.is_some() && !more_may_come || self.refused_at().is_some_and(|at| now >= at)
    }

    /// Ends the questions once all are answered, and sees to it that what is due is not slept over.
    fn settle(&mut self, now: Instant) {
        if !self.questions.iter().all(|question| question.seen.is_some()) {
            return;
        }
        if self.knows_filtering(now) {
            match &self.elsewhere {
                Some(question) if question.seen.is_none() => {
                    if !std::mem::replace(&mut self.asked_elsewhere, true) {
                        self.ask();
                    }
                }
                _ => self.next = None,
            }
        } else if let (Some(next), Some(refused)) = (self.next, self.refused_at()) {
            self.next = Some(next.min(refused));
        }
    }

    /// Whether nothing more is to be learned.
    pub fn is_done(&self) -> bool {
        self.next.is_none()
    }

    /// The mapping, as far as it is known by now: whether the peer will see us elsewhere than the server does.
    pub fn mapping(&self) -> Mapping {
        mapping_of(self.config.local, &self.seen())
    }

    fn seen(&self) -> Vec<(SocketAddr, SocketAddr)> {
        let first = (self.config.server, self.config.observed);
        let answers = self.questions.iter().chain(&self.elsewhere);
        std::iter::once(first)
            .chain(answers.filter_map(|question| Some((question.asked, question.seen?))))
            .collect()
    }

    /// What has been found.
    pub fn behaviour(&self) -> NatBehaviour {
        let seen = self.seen();
        let mapping = mapping_of(self.config.local, &seen);
        let ports: Vec<u16> = seen.iter().map(|(_, source)| source.port()).collect();
        let allocation = match mapping {
            Mapping::AddressAndPortDependent => allocation_of(&ports),
            // Two addresses show two ports at most, which is no pattern yet.
            _ => super::nat::Allocation::Unknown,
        };
        // Silence says something only of a NAT through which other answers came.
        let answered = seen.len() > 1;
        let refused = if answered { Filtering::AddressAndPortDependent } else { Filtering::Unknown };
        NatBehaviour { mapping, filtering: self.let_in.unwrap_or(refused), allocation }
    }

    /// The next datagram to send; to be asked for after every call that takes `&mut self`.
    #[must_use]
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// When to call `handle_timeout`; to be asked for after every call that takes `&mut self`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }
}

/// Whether a router has an address of a network behind a NAT: private, a carrier's shared one, or link-local.
fn is_inside(router: IpAddr) -> bool {
    match router {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_private() || ip.is_link_local() || (a == 100 && b & 0xC0 == 64)
        }
        IpAddr::V6(_) => false,
    }
}

//! One call of `connect`: rendezvous and punching together, until enough holes are open or time is up.

mod fresh;
mod paths;
mod types;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use self::fresh::FreshSocket;
use crate::proto::discovery::Discovery;
use crate::proto::punch::{PeerStatus, Progress, PunchConfig, Puncher};
use crate::proto::relayed::RelayedPairs;
use crate::proto::rendezvous::{RendezvousClient, RendezvousConfig, RendezvousEvent};
use crate::proto::types::{
    Candidate, CandidateKind, DialectPolicy, PathPolicy, PeerDialect, PeerId, SocketIndex, Transmit,
};
use crate::proto::wire::attributes::RELAY_ONLY;
use crate::proto::wire::plain::Signal;
use crate::proto::wire::{Message, Profile, RefusedReason, is_native};
use crate::proto::{Rng, SessionKeys};

pub use self::types::{ConnectConfig, ConnectCounters, ConnectEvent, Disposition, Outcome, Unreachable};

/// With enough holes open, how long the server's list is waited for, which hints may have been faster than.
const LIST_GRACE: Duration = Duration::from_millis(250);
/// With enough holes open, how long others that are known are waited for: they may count on us, too.
const SILENT_GRACE: Duration = Duration::from_millis(80);
/// And how much longer those of them that have been heard.
const STRAGGLER_GRACE: Duration = Duration::from_millis(100);
/// How long signs that the server is no good are not believed: it may be starting, and such signs can be forged.
const NO_SERVICE_PATIENCE: Duration = Duration::from_secs(2);

/// Whom a call with enough open holes waits for.
#[derive(Clone, Copy, Debug)]
enum Stragglers {
    /// Not enough holes are open.
    NotYet,
    /// All that the server will name.
    Unnamed { until: Instant },
    /// All that are known, whether they were heard or not.
    Known { until: Instant },
    /// Those that were heard.
    Heard { until: Instant },
}

/// One call of `connect`.
#[derive(Debug)]
pub struct Connect {
    expected: usize,
    policy: DialectPolicy,
    deadline: Option<Instant>,
    rendezvous: Option<RendezvousClient>,
    puncher: Puncher,
    /// What is told to native peers beside the reflexive endpoint.
    profile: Profile,
    /// Whether our NAT is to be looked at, and how that goes.
    diagnosis: bool,
    discovery: Option<Discovery>,
    /// Whether our router has been asked to open a port; `None` if it must not be.
    port_mapping: Option<bool>,
    /// Which paths are good enough, and those that the server forwards on.
    paths: PathPolicy,
    relayed: RelayedPairs,
    /// Where a pair that should connect does not; `None` if that must not be tried.
    fresh: Option<FreshSocket>,
    stragglers: Stragglers,
    /// What the first signs say is wrong with the server, as long as it has not answered.
    no_service: Option<(Outcome, Instant)>,
    outcome: Option<Outcome>,
    counters: ConnectCounters,
    questions: VecDeque<Transmit>,
    events: VecDeque<ConnectEvent>,
}

impl Connect {
    /// Starts at `now`; everything random in it comes from `seed`.
    pub fn new(config: ConnectConfig, seed: [u8; 32], now: Instant) -> Self {
        let mut rng = Rng::new(seed);
        let keys = SessionKeys::derive(&config.id);
        let local = PeerId(rng.bytes());
        let punch = PunchConfig {
            local,
            key: keys.probe,
            retry: config.peer_retry,
            policy: config.policy,
            sockets: config.sockets,
            techniques: config.techniques,
            // Without a server nobody forwards.
            paths: if config.servers.is_empty() { PathPolicy::DirectOnly } else { config.paths },
            safe_ttl: None,
        };
        let mut puncher = Puncher::new(punch, rng.fork());
        for status in &config.resumed {
            puncher.resume_peer(now, status.clone());
        }
        for peer in &config.peers {
            let candidate = Candidate { kind: CandidateKind::Reflexive, endpoint: *peer };
            puncher.add_peer(now, PeerId::UNKNOWN, PeerDialect::Unknown, &[candidate]);
        }
        let candidates = config
            .host_candidates
            .iter()
            .map(|endpoint| Candidate { kind: CandidateKind::Host, endpoint: *endpoint })
            .collect();
        let capabilities = if config.paths == PathPolicy::RelayOnly { RELAY_ONLY } else { 0 };
        let profile = Profile { candidates, capabilities, ..Profile::default() };
        let reachable = |server: &SocketAddr| config.sockets.towards(*server).map(|socket| (socket, *server));
        let rendezvous = (!config.servers.is_empty()).then(|| {
            let socket_config = RendezvousConfig {
                lookup: keys.lookup,
                id: config.id.as_bytes().to_vec(),
                peer: local,
                profile: profile.clone(),
                policy: config.policy,
                servers: config.servers.iter().filter_map(reachable).collect(),
                retry: config.server_retry,
                enough: config.expected,
            };
            RendezvousClient::new(socket_config, &mut rng, now)
        });
        let mut connect = Self {
            expected: config.expected,
            policy: config.policy,
            deadline: config.timeout.and_then(|timeout| now.checked_add(timeout)),
            rendezvous,
            puncher,
            profile,
            diagnosis: config.techniques.diagnosis,
            discovery: None,
            port_mapping: (config.techniques.port_mapping && config.paths != PathPolicy::RelayOnly)
                .then_some(false),
            paths: config.paths,
            relayed: RelayedPairs::new(config.sockets),
            fresh: config.techniques.fresh_socket.then(|| FreshSocket::new(rng.u64())),
            stragglers: Stragglers::NotYet,
            no_service: None,
            outcome: None,
            counters: ConnectCounters::default(),
            questions: VecDeque::new(),
            events: VecDeque::new(),
        };
        connect.handle_timeout(now);
        connect
    }

    /// How the call ended, once it has. Nothing is sent afterwards but what `poll_transmit` still holds.
    pub fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    /// Every peer that is known, in the order in which they became known; then those that left without being reached.
    pub fn peers(&self, now: Instant) -> impl Iterator<Item = PeerStatus> {
        self.puncher.peers(now).chain(self.puncher.unreached().iter().cloned())
    }

    /// What has been counted.
    pub fn counters(&self) -> ConnectCounters {
        let server_dropped = self.rendezvous.as_ref().map_or(0, RendezvousClient::dropped);
        ConnectCounters { punch: self.puncher.counters(), server_dropped, ..self.counters }
    }

    /// Takes a datagram and says whose it was.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        socket: SocketIndex,
        source: SocketAddr,
        datagram: &[u8],
    ) -> Disposition {
        if self.outcome.is_some() {
            return Disposition::Stranger;
        }
        let disposition = self.dispatch(now, socket, source, datagram);
        if disposition == Disposition::Stranger {
            self.counters.strangers += 1;
        }
        self.progress(now);
        disposition
    }

    fn dispatch(
        &mut self,
        now: Instant,
        socket: SocketIndex,
        source: SocketAddr,
        datagram: &[u8],
    ) -> Disposition {
        if let Some(rendezvous) = &mut self.rendezvous
            && rendezvous.is_server(socket, source)
        {
            rendezvous.handle_datagram(now, socket, source, datagram);
            if self.policy == DialectPolicy::Native && !is_native(datagram) {
                self.note_no_service(now, Outcome::DialectMismatch);
            }
            self.drain_rendezvous(now);
            return Disposition::Control;
        }
        if is_native(datagram) {
            match Message::parse(datagram) {
                Ok(Message::Probe(_))
                    if self.paths == PathPolicy::RelayOnly && !self.relayed.is_relay(source) =>
                {
                    self.counters.strangers += 1;
                }
                Ok(Message::Probe(signed)) => self.puncher.handle_probe(now, socket, source, &signed),
                Ok(Message::MappingReply(reply)) if self.use_fresh_socket(now, source, &reply) => {}
                Ok(message) if self.discover(now, source, &message) => {}
                Ok(message) if self.handle_relay_port(now, source, &message) => {}
                Ok(_) | Err(_) => self.counters.malformed += 1,
            }
            return Disposition::Control;
        }
        if let Some(signal) = Signal::parse(datagram)
            && self.puncher.handle_signal(now, socket, source, signal)
        {
            return Disposition::Control;
        }
        if self.puncher.handle_data(now, socket, source) { Disposition::Data } else { Disposition::Stranger }
    }

    fn drain_rendezvous(&mut self, now: Instant) {
        while let Some(event) = self.rendezvous.as_mut().and_then(RendezvousClient::poll_event) {
            match event {
                RendezvousEvent::Registered { observed } => {
                    self.events.push_back(ConnectEvent::Registered(observed));
                }
                RendezvousEvent::Challenged(config) => self.begin_discovery(now, config),
                RendezvousEvent::RelayGranted { peer, endpoint, ticket } => {
                    self.relayed.handle_granted(now, peer, endpoint, ticket);
                }
                RendezvousEvent::RelayRefused { peer, reason } => self.relayed.handle_refused(peer, reason),
                RendezvousEvent::Joined { peer, dialect, candidates, nat, relay_only } => {
                    self.events.push_back(ConnectEvent::Found(peer));
                    self.puncher.add_peer(now, peer, dialect, &candidates);
                    self.puncher.set_peer_says(peer, nat, relay_only);
                }
                RendezvousEvent::Hinted { peer, endpoint, early } if self.paths != PathPolicy::RelayOnly => {
                    self.puncher.add_hint(now, peer, endpoint, early);
                }
                RendezvousEvent::Hinted { .. } => {}
                RendezvousEvent::Left { peer, .. } => {
                    self.events.push_back(ConnectEvent::Gone(peer));
                    self.puncher.note_gone(now, peer);
                    self.relayed.remove(peer);
                }
                RendezvousEvent::PlainListForged => self.puncher.forget_plain_list(),
                RendezvousEvent::PlainList(list) => {
                    self.events.push_back(ConnectEvent::PlainList(list.len()));
                    self.puncher.retain_plain_list(now, &list);
                    for endpoint in list {
                        let candidate = Candidate { kind: CandidateKind::Reflexive, endpoint };
                        self.puncher.add_peer(now, PeerId::UNKNOWN, PeerDialect::Unknown, &[candidate]);
                    }
                }
                RendezvousEvent::Refused(RefusedReason::DialectRefused) => {
                    self.finish(Outcome::DialectMismatch)
                }
                RendezvousEvent::Refused(reason) => self.finish(Outcome::ServerRefused(reason)),
            }
        }
        // What has just become known is probed now, not at the next tick.
        self.puncher.handle_timeout(now);
        self.relay(now);
    }

    /// The server's address, if no word of it has come.
    pub fn silent_server(&self) -> Option<SocketAddr> {
        self.rendezvous.as_ref().filter(|rendezvous| !rendezvous.server_answered())?.server_address()
    }

    /// The network says that nobody is at `destination`.
    pub fn handle_unreachable(&mut self, now: Instant, destination: SocketAddr, how: Unreachable) {
        if self.rendezvous.as_ref().is_some_and(|rendezvous| rendezvous.is_server_address(destination)) {
            self.note_no_service(now, Outcome::ServerUnreachable(how));
        }
    }

    fn note_no_service(&mut self, now: Instant, sign: Outcome) {
        if self.server_answered() {
            return;
        }
        // The first sign is the plainest one.
        let (sign, since) = *self.no_service.get_or_insert((sign, now));
        if now.saturating_duration_since(since) >= NO_SERVICE_PATIENCE {
            self.finish(sign);
        }
    }

    fn server_answered(&self) -> bool {
        self.rendezvous.as_ref().is_none_or(RendezvousClient::server_answered)
    }

    /// Does all that is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.outcome.is_some() {
            return;
        }
        if let Some(rendezvous) = &mut self.rendezvous {
            rendezvous.handle_timeout(now);
        }
        if let Some(discovery) = self.discovery.as_mut().filter(|discovery| !discovery.is_done()) {
            discovery.handle_timeout(now);
            if discovery.is_done() {
                self.note_nat(now);
            }
        }
        self.puncher.handle_timeout(now);
        self.look_for_spoiled(now);
        self.relay(now);
        self.progress(now);
        if self.outcome.is_none() && self.deadline.is_some_and(|deadline| now >= deadline) {
            self.time_is_up(now);
        }
    }

    fn time_is_up(&mut self, now: Instant) {
        let found = self.puncher.count(now, Progress::Known) + self.puncher.unreached().len();
        let outcome = if found >= self.expected {
            Outcome::TimedOutPunching
        } else if self.server_answered() {
            Outcome::TimedOutWaiting
        } else {
            self.no_service.map_or(Outcome::ServerSilent, |(sign, _)| sign)
        };
        self.finish(outcome);
    }

    fn progress(&mut self, now: Instant) {
        if self.outcome.is_some() || self.puncher.count(now, Progress::Done) < self.expected {
            return;
        }
        let named_all = self.rendezvous.as_ref().is_none_or(RendezvousClient::has_named_all);
        self.stragglers = match self.stragglers {
            Stragglers::NotYet => Stragglers::Unnamed { until: now + LIST_GRACE },
            waiting => waiting,
        };
        self.stragglers = match self.stragglers {
            Stragglers::Unnamed { until } if named_all || now >= until => {
                Stragglers::Known { until: now + SILENT_GRACE }
            }
            Stragglers::Known { until } if now >= until => {
                Stragglers::Heard { until: until + STRAGGLER_GRACE }
            }
            waiting => waiting,
        };
        let done = self.puncher.count(now, Progress::Done);
        let nobody_follows = match self.stragglers {
            Stragglers::Heard { until } => now >= until || self.puncher.count(now, Progress::Heard) == done,
            Stragglers::NotYet | Stragglers::Unnamed { .. } => false,
            Stragglers::Known { .. } => self.puncher.count(now, Progress::Known) == done,
        };
        if nobody_follows {
            self.finish(Outcome::Complete);
        }
    }

    /// Ends the call at the caller's wish; the server is told, so that the peers are.
    pub fn cancel(&mut self) {
        if self.outcome.is_none() {
            self.say_goodbye();
        }
    }

    fn finish(&mut self, outcome: Outcome) {
        if self.outcome.is_none() {
            self.outcome = Some(outcome);
            self.events.push_back(ConnectEvent::Finished(outcome));
            self.say_goodbye();
        }
    }

    fn say_goodbye(&mut self) {
        if let Some(rendezvous) = &mut self.rendezvous {
            rendezvous.close();
        }
    }

    /// The next datagram to send; to be asked for after every call that takes `&mut self`.
    #[must_use]
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        // Probes first: they are what the other side waits for.
        self.puncher
            .poll_transmit()
            .or_else(|| self.rendezvous.as_mut().and_then(RendezvousClient::poll_transmit))
            .or_else(|| self.relayed.poll_transmit())
            .or_else(|| self.discovery.as_mut().and_then(Discovery::poll_transmit))
            .or_else(|| self.questions.pop_front())
    }

    /// The next event; to be asked for after every call that takes `&mut self`.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<ConnectEvent> {
        self.events.pop_front()
    }

    /// When to call `handle_timeout`; to be asked for after every call that takes `&mut self`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.outcome.is_some() {
            return None;
        }
        let rendezvous = self.rendezvous.as_ref().and_then(RendezvousClient::poll_timeout);
        let stragglers = match self.stragglers {
            Stragglers::NotYet => None,
            Stragglers::Unnamed { until } | Stragglers::Known { until } | Stragglers::Heard { until } => {
                Some(until)
            }
        };
        let discovery = self.discovery.as_ref().and_then(Discovery::poll_timeout);
        let fresh = self.fresh.as_ref().and_then(FreshSocket::poll_timeout);
        let spoiled = self.fresh.as_ref().filter(|fresh| fresh.is_unneeded());
        let spoiled = spoiled.and_then(|_| self.puncher.spoiled_at());
        let paths = [discovery, self.relayed.poll_timeout(), self.puncher.poll_timeout(), fresh, spoiled];
        let own = paths.into_iter().chain([rendezvous, self.deadline, stragglers]);
        own.flatten().min()
    }
}

//! One call of `connect`: rendezvous and punching together, until enough holes are open or time is up.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::discovery::Discovery;
use super::punch::{PeerStatus, Progress, PunchConfig, PunchCounters, Puncher};
use super::rendezvous::{RendezvousClient, RendezvousConfig, RendezvousEvent};
use super::types::{
    Candidate, CandidateKind, DialectPolicy, LocalSockets, PeerDialect, PeerId, SocketIndex, Techniques,
    Transmit,
};
use super::wire::plain::Signal;
use super::wire::{Message, Profile, RefusedReason, is_native};
use super::{NatBehaviour, Rng, SessionId, SessionKeys};

/// With enough holes open, how long others that are known are waited for: they may count on us, too.
const SILENT_GRACE: Duration = Duration::from_millis(80);
/// And how much longer those of them that have been heard.
const STRAGGLER_GRACE: Duration = Duration::from_millis(100);
/// How long signs that the server is no good are not believed: it may be starting, and such signs can be forged.
const NO_SERVICE_PATIENCE: Duration = Duration::from_secs(2);

/// What a [`Connect`] needs to know.
#[derive(Clone, Debug)]
pub struct ConnectConfig {
    /// What the peers share.
    pub id: SessionId,
    /// How many holes are wanted, at least 1.
    pub expected: usize,
    /// Which dialects may be spoken.
    pub policy: DialectPolicy,
    /// Longest pause between two unanswered requests to the server.
    pub server_retry: Duration,
    /// Longest pause between two probes of a path; half as much again where the peer may be an existing plain tool.
    pub peer_retry: Duration,
    /// In total; `None` for ever.
    pub timeout: Option<Duration>,
    /// What is sent from.
    pub sockets: LocalSockets,
    /// Addresses of the one server. Empty: punch `peers` only.
    pub servers: Vec<SocketAddr>,
    /// Endpoints of peers that are known already.
    pub peers: Vec<SocketAddr>,
    /// Peers whose holes an earlier call on the same sockets has opened, as [`Connect::peers`] described them then.
    pub resumed: Vec<PeerStatus>,
    /// Our own addresses, told to native peers.
    pub host_candidates: Vec<SocketAddr>,
    /// What may be done beside probing known endpoints.
    pub techniques: Techniques,
}

/// How the network says that nobody is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// The host is there, but nothing listens on the port.
    PortClosed,
    /// The host or its network cannot be reached.
    NoRoute,
}

/// How the call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Enough holes are open.
    Complete,
    /// Time is up and the server never answered.
    ServerSilent,
    /// The network says that there is no such server.
    ServerUnreachable(Unreachable),
    /// The server does not take us.
    ServerRefused(RefusedReason),
    /// The server answers in a dialect that the policy rules out.
    DialectMismatch,
    /// Time is up and the server named too few peers.
    TimedOutWaiting,
    /// Time is up and too few of the peers were reached.
    TimedOutPunching,
}

/// What happened, for those who watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectEvent {
    /// The server keeps us under this endpoint of ours.
    Registered(SocketAddr),
    /// What our NAT does has been found out.
    NatKnown(NatBehaviour),
    /// A peer became known.
    Found(PeerId),
    /// A plain server's list.
    PlainList(usize),
    /// A peer said goodbye or fell silent.
    Gone(PeerId),
    /// The call is over.
    Finished(Outcome),
}

/// Whose a datagram was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The library's own; it has been dealt with.
    Control,
    /// The application's, from a peer: it belongs to the caller.
    Data,
    /// Nobody's: counted, to be dropped.
    Stranger,
}

/// What has been dropped or counted otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectCounters {
    /// About probes.
    pub punch: PunchCounters,
    /// Datagrams from the server's address that made no sense.
    pub server_dropped: u64,
    /// Native datagrams from elsewhere that are malformed or no probes.
    pub malformed: u64,
    /// Datagrams from sources that are no peer's.
    pub strangers: u64,
}

/// Whom a call with enough open holes waits for.
#[derive(Clone, Copy, Debug)]
enum Stragglers {
    /// Not enough holes are open.
    NotYet,
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
    stragglers: Stragglers,
    /// What the first signs say is wrong with the server, as long as it has not answered.
    no_service: Option<(Outcome, Instant)>,
    outcome: Option<Outcome>,
    counters: ConnectCounters,
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
        let profile = Profile { candidates, ..Profile::default() };
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
            stragglers: Stragglers::NotYet,
            no_service: None,
            outcome: None,
            counters: ConnectCounters::default(),
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
                Ok(Message::Probe(signed)) => self.puncher.handle_probe(now, socket, source, &signed),
                Ok(message) if self.discover(now, source, &message) => {}
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

    /// Takes what the server's further ports say of our NAT.
    fn discover(&mut self, now: Instant, source: SocketAddr, message: &Message<'_>) -> bool {
        let Some(discovery) = self.discovery.as_mut().filter(|discovery| !discovery.is_done()) else {
            // Late repetitions of answers that have been counted.
            return matches!(message, Message::MappingReply(_) | Message::FilterReply(_))
                && self.discovery.is_some();
        };
        let understood = match message {
            Message::MappingReply(reply) => discovery.handle_mapping(now, source, reply),
            Message::FilterReply(reply) => discovery.handle_filter(now, source, reply),
            _ => false,
        };
        if understood {
            self.note_nat(now);
        }
        understood
    }

    /// Uses what is known of our NAT by now, and tells the others once that is all.
    fn note_nat(&mut self, now: Instant) {
        let Some(discovery) = &self.discovery else { return };
        let nat = discovery.behaviour();
        let is_final = discovery.is_done();
        self.puncher.set_nat(now, nat, is_final);
        if is_final && let Some(rendezvous) = &mut self.rendezvous {
            self.events.push_back(ConnectEvent::NatKnown(nat));
            self.profile.nat = Some(nat);
            rendezvous.set_profile(now, self.profile.clone());
            rendezvous.handle_timeout(now);
        }
    }

    fn drain_rendezvous(&mut self, now: Instant) {
        while let Some(event) = self.rendezvous.as_mut().and_then(RendezvousClient::poll_event) {
            match event {
                RendezvousEvent::Registered { observed } => {
                    self.events.push_back(ConnectEvent::Registered(observed));
                }
                RendezvousEvent::Challenged(mut config) => {
                    let useful = config.server.is_ipv4() && config.alternates.ports().next().is_some();
                    if useful && self.diagnosis && self.discovery.is_none() {
                        let hosts = self.profile.candidates.iter().map(|candidate| candidate.endpoint);
                        config.local = hosts.into_iter().find(SocketAddr::is_ipv4);
                        self.discovery = Some(Discovery::new(config, now));
                    }
                }
                RendezvousEvent::Joined { peer, dialect, candidates, nat } => {
                    self.events.push_back(ConnectEvent::Found(peer));
                    self.puncher.add_peer(now, peer, dialect, &candidates);
                    self.puncher.set_peer_nat(peer, nat);
                }
                RendezvousEvent::Left { peer, .. } => {
                    self.events.push_back(ConnectEvent::Gone(peer));
                    self.puncher.note_gone(now, peer);
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
    }

    /// The network says that nobody is at `destination`.
    pub fn handle_unreachable(&mut self, now: Instant, destination: SocketAddr, how: Unreachable) {
        if self.rendezvous.as_ref().is_some_and(|rendezvous| rendezvous.is_server_address(destination)) {
            self.note_no_service(now, Outcome::ServerUnreachable(how));
        }
    }

    /// A router says that a datagram of ours had passed as many others as it was allowed to.
    pub fn handle_time_exceeded(&mut self, router: IpAddr, payload: &[u8]) {
        let Some(discovery) = &mut self.discovery else { return };
        if discovery.handle_time_exceeded(router, payload) {
            self.puncher.set_safe_ttl(discovery.safe_ttl());
        }
    }

    fn note_no_service(&mut self, now: Instant, sign: Outcome) {
        if self.server_answered() {
            return;
        }
        let (_, since) = *self.no_service.get_or_insert((sign, now));
        self.no_service = Some((sign, since));
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
        self.stragglers = match self.stragglers {
            Stragglers::NotYet => Stragglers::Known { until: now + SILENT_GRACE },
            Stragglers::Known { until } if now >= until => {
                Stragglers::Heard { until: until + STRAGGLER_GRACE }
            }
            waiting => waiting,
        };
        let done = self.puncher.count(now, Progress::Done);
        let nobody_follows = match self.stragglers {
            Stragglers::Heard { until } => now >= until || self.puncher.count(now, Progress::Heard) == done,
            Stragglers::NotYet | Stragglers::Known { .. } => self.puncher.count(now, Progress::Known) == done,
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

    /// How many further IPv4 sockets are wanted, on ports of the system's choice; to be asked for after every call that
    /// takes `&mut self`, and to be answered by [`Self::give_sockets`].
    #[must_use]
    pub fn wants_sockets(&self) -> Option<usize> {
        self.puncher.wants_sockets().filter(|_| self.outcome.is_none())
    }

    /// As many of the sockets that were wanted as could be opened.
    pub fn give_sockets(&mut self, now: Instant, sockets: &[SocketIndex]) {
        self.puncher.give_sockets(now, sockets);
    }

    /// The next of those sockets that is to be closed.
    #[must_use]
    pub fn poll_released(&mut self) -> Option<SocketIndex> {
        self.puncher.poll_released()
    }

    /// The next datagram to send; to be asked for after every call that takes `&mut self`.
    #[must_use]
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        // Probes first: they are what the other side waits for.
        self.puncher
            .poll_transmit()
            .or_else(|| self.rendezvous.as_mut().and_then(RendezvousClient::poll_transmit))
            .or_else(|| self.discovery.as_mut().and_then(Discovery::poll_transmit))
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
            Stragglers::Known { until } | Stragglers::Heard { until } => Some(until),
        };
        let discovery = self.discovery.as_ref().and_then(Discovery::poll_timeout);
        let own = [rendezvous, discovery, self.puncher.poll_timeout(), self.deadline, stragglers];
        own.into_iter().flatten().min()
    }
}

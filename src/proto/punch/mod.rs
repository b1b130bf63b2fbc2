//! Punching: opening holes to peers and agreeing on them.

mod elsewhere;
mod gone;
mod hard;
mod known;
mod path;
mod peer;
mod plain;
mod replay;
mod report;
mod schedule;
mod strategy;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::hard::HardPunch;
use self::known::{Hinted, NATIVE_HEAD_START, Peer};
pub use self::known::{PeerStatus, Progress, StreamHole};
use self::path::Path;
use self::peer::{Local, NativePunch};
use self::plain::PlainPunch;
pub use self::report::{Attempt, Cause, PunchReport};
use self::schedule::Tempo;
use self::strategy::soft_until;
use super::keys::ProbeKey;
use super::secure::Exchange;
use super::types::{
    Candidate, CandidateKind, DialectPolicy, LocalSockets, PathPolicy, PeerDialect, PeerId, SocketIndex,
    Techniques, Transmit, Transport,
};
use super::wire::plain::Signal;
use super::wire::probe::SignedProbe;
use super::wire::{Probe, ProbeKind};
use super::{MAX_ENDPOINTS_PER_PEER, NatBehaviour, Rng};

/// Most peers that are punched at the same time; further ones are dropped and counted.
pub const MAX_PEERS: usize = 256;

/// Native probes that follow a plain signal of a peer that was not heard in the native dialect. An existing plain tool
/// ignores them as long as it punches, which is 100 ms after our first `ACK` at the least; these take 20 ms.
const PROBES_AFTER_PLAIN: u32 = 4;
/// Most peers at the same time of which only an early hint of the server's is known; how many endpoints and probes each
/// gets, and how long it is waited for. A hint need not be true.
const MAX_RUMOURS: usize = 8;
const MAX_RUMOURED_ENDPOINTS: usize = 2;
const PROBES_AFTER_HINT: u32 = 12;
const OPENER_BEFORE_PROBES: Duration = Duration::from_millis(5);
const RUMOUR_LIFE: Duration = Duration::from_secs(2);
/// What a [`Puncher`] needs to know.
#[derive(Clone, Debug)]
pub struct PunchConfig {
    /// Our name.
    pub local: PeerId,
    /// Authenticates probes.
    pub key: ProbeKey,
    /// Our side of the secret that is agreed upon with each peer.
    pub exchange: Arc<Exchange>,
    /// Longest pause between two probes of a path; half as much again where the peer may be an existing plain tool.
    pub retry: Duration,
    /// Which dialects may be spoken.
    pub policy: DialectPolicy,
    /// What probes are sent from.
    pub sockets: LocalSockets,
    /// What may be done beside probing known endpoints.
    pub techniques: Techniques,
    /// Which paths are good enough.
    pub paths: PathPolicy,
    /// Whether somebody else keeps agreed paths alive, and probing in vain becomes rare after a while: it may go on for days.
    pub lasting: bool,
    /// Which TTL passes our own NATs and no more, once that is known.
    pub safe_ttl: Option<u8>,
}

impl PunchConfig {
    fn side(&self, tempo: Tempo) -> Local<'_> {
        let low_ttl = self.techniques.low_ttl && tempo == Tempo::Native;
        let (id, key, retry) = (self.local, &self.key, self.retry);
        let exchange = &*self.exchange;
        Local { id, key, exchange, retry, tempo, low_ttl, safe_ttl: self.safe_ttl, lasting: self.lasting }
    }
}

/// What has been counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PunchCounters {
    /// Probes whose tag is wrong: made by someone who does not know the session ID.
    pub forged: u64,
    /// Authentic probes that were seen before or are too old.
    pub replayed: u64,
    /// Authentic probes of our own, or for someone else.
    pub misdirected: u64,
    /// Peers and endpoints beyond the limits.
    pub over_limit: u64,
    /// Datagrams sent by this machine.
    pub sent: u64,
}

/// Opens holes to any number of peers.
#[derive(Debug)]
pub struct Puncher {
    config: PunchConfig,
    rng: Rng,
    peers: Vec<Peer>,
    /// Peers that left before they were reached.
    unreached: Vec<PeerStatus>,
    transmits: VecDeque<Transmit>,
    counters: PunchCounters,
    /// What our own NAT does, as far as it is known by now, and whether that is all that can be known.
    nat: NatBehaviour,
    nat_is_final: bool,
    /// The attempt that is under way; one at a time.
    hard: Option<HardPunch>,
    /// Sockets that were opened for such attempts.
    spares: Vec<SocketIndex>,
    /// Those of them that are of no more use.
    released: Vec<SocketIndex>,
    /// Whose hole was agreed upon of late.
    reached: VecDeque<PeerId>,
    /// Who was removed of late.
    removed: VecDeque<PeerId>,
}

impl Puncher {
    /// Knows nobody yet.
    pub fn new(config: PunchConfig, rng: Rng) -> Self {
        Self {
            config,
            rng,
            peers: Vec::new(),
            unreached: Vec::new(),
            transmits: VecDeque::new(),
            counters: PunchCounters::default(),
            nat: NatBehaviour::default(),
            nat_is_final: false,
            hard: None,
            spares: Vec::new(),
            released: Vec::new(),
            reached: VecDeque::new(),
            removed: VecDeque::new(),
        }
    }

    /// What has been counted.
    pub fn counters(&self) -> PunchCounters {
        self.counters
    }

    /// Adds a peer, or further candidates of one that is known.
    pub fn add_peer(&mut self, now: Instant, id: PeerId, dialect: PeerDialect, candidates: &[Candidate]) {
        let speaks_native = dialect != PeerDialect::Plain && self.config.policy != DialectPolicy::Plain;
        let relay_only = self.config.paths == PathPolicy::RelayOnly;
        let may_speak_plain = dialect != PeerDialect::Native && self.config.policy != DialectPolicy::Native;
        let speaks_plain = may_speak_plain && !relay_only;
        if !speaks_native && !speaks_plain {
            return;
        }
        if dialect == PeerDialect::Plain && self.position_heard_at_first(candidates).is_some() {
            // The server knows as plain who has spoken native to us: see `upgrade`.
            return;
        }
        if self.position_by_id(id).is_some_and(|at| self.peers[at].transport == Transport::Tcp) {
            return;
        }
        let known = if id == PeerId::UNKNOWN {
            // Its probe may have been faster than the list that names it.
            let listed = self.peers.iter().position(|peer| peer.candidates.first() == candidates.first());
            listed.or_else(|| self.position_heard_at_first(candidates))
        } else {
            self.position_by_id(id).or_else(|| {
                let position = self.position_heard_at_first(candidates)?;
                self.supersede(now, position, id);
                Some(position)
            })
        };
        self.removed.retain(|removed| *removed != id);
        let position = match known {
            Some(position) => position,
            None if self.peers.len() >= MAX_PEERS => {
                self.counters.over_limit += 1;
                return;
            }
            None => {
                let native = speaks_native.then(|| NativePunch::new(id));
                let plain_listed = id == PeerId::UNKNOWN;
                self.peers.push(Peer { plain_listed, ..Peer::new(now, id, native) });
                self.peers.len() - 1
            }
        };
        let peer = &mut self.peers[position];
        if let Some(hinted) = peer.hinted.take()
            && !peer.is_heard_natively()
        {
            peer.known_since = now;
            peer.candidates.retain(|hint| candidates.iter().any(|known| known.endpoint == hint.endpoint));
            let named = |path: &Path| candidates.iter().any(|known| known.endpoint == path.remote);
            peer.native.iter_mut().for_each(|native| native.begin(now, named, hinted == Hinted::Opener));
        }
        if self.config.lasting
            && candidates.first().is_some_and(|first| first.kind == CandidateKind::Reflexive)
        {
            // The server's whole list; over the days a peer is in many places.
            peer.candidates.retain(|old| old.kind == CandidateKind::Relayed || candidates.contains(old));
        }
        for candidate in candidates {
            if !is_reachable_kind(candidate.endpoint) || peer.candidates.contains(candidate) {
                continue;
            }
            if peer.candidates.len() >= MAX_ENDPOINTS_PER_PEER {
                self.counters.over_limit += 1;
                break;
            }
            peer.candidates.push(*candidate);
            if relay_only && candidate.kind != CandidateKind::Relayed {
                continue;
            }
            let Some(socket) = self.config.sockets.towards(candidate.endpoint) else { continue };
            if let Some(native) = &mut peer.native {
                let path = Path::new(socket, candidate.endpoint, candidate.kind, self.rng.u64(), now);
                if native.add_path(path).is_none() {
                    self.counters.over_limit += 1;
                }
            }
            if speaks_plain && peer.plain.is_none() {
                peer.plain = Some((socket, candidate.endpoint, PlainPunch::new(now)));
            }
        }
    }

    /// Probes somebody a little who is about to become a peer, by the server's hint. It counts as a peer when it is heard,
    /// or when [`Self::add_peer`] names it. Unless it is `early`, it is not to hear of us before: only our own NATs are opened.
    pub fn add_hint(&mut self, now: Instant, id: PeerId, endpoint: SocketAddr, early: bool) {
        // Anyone can ask in a peer's name; the list will say where it really is.
        let candidate = Candidate { kind: CandidateKind::PeerReflexive, endpoint };
        let hinted = if early { Hinted::Probes } else { Hinted::Opener };
        match self.position_by_id(id) {
            Some(position) => {
                let peer = &mut self.peers[position];
                let full = peer.candidates.len() >= MAX_RUMOURED_ENDPOINTS;
                if !peer.is_rumour() || full || peer.candidates.contains(&candidate) {
                    return;
                }
                // It stays a rumour.
                peer.hinted = None;
            }
            None if self.peers.iter().filter(|peer| peer.is_rumour()).count() >= MAX_RUMOURS => return,
            None => {}
        }
        self.add_peer(now, id, PeerDialect::Native, &[candidate]);
        if let Some(position) = self.position_by_id(id) {
            self.peers[position].hinted = Some(hinted);
        }
    }

    /// Adds a peer whose hole an earlier call on the same sockets has opened. It counts as done, and is answered should it
    /// still ask.
    pub fn resume_peer(&mut self, now: Instant, status: PeerStatus) {
        let mut path = Path::new(status.socket, status.endpoint, status.kind, self.rng.u64(), now);
        path.next = None;
        let mut native = NativePunch::new(PeerId::UNKNOWN);
        native.add_path(path);
        self.peers.push(Peer {
            plain_listed: true,
            candidates: vec![Candidate { kind: status.kind, endpoint: status.endpoint }],
            resumed: Some(status),
            ..Peer::new(now, PeerId::UNKNOWN, Some(native))
        });
    }

    /// A plain server's list is the full list: others that came from an earlier one and were not heard are forgotten.
    pub fn retain_plain_list(&mut self, now: Instant, list: &[SocketAddr]) {
        self.peers.retain(|peer| {
            !peer.plain_listed
                || peer.progress(now) > Progress::Known
                || peer.candidates.first().is_some_and(|candidate| list.contains(&candidate.endpoint))
        });
    }

    /// The plain list was a forgery: whoever came from it and has not authenticated itself is forgotten.
    pub fn forget_plain_list(&mut self) {
        self.peers.retain(|peer| !peer.plain_listed || peer.is_heard_natively());
    }

    fn position_by_id(&self, id: PeerId) -> Option<usize> {
        self.peers.iter().position(|peer| {
            peer.listed_id == id || peer.native.as_ref().is_some_and(|native| native.id == id)
        })
    }

    /// Takes a probe from anyone.
    pub fn handle_probe(
        &mut self,
        now: Instant,
        socket: SocketIndex,
        source: SocketAddr,
        signed: &SignedProbe<'_>,
    ) {
        if self.config.policy == DialectPolicy::Plain {
            return;
        }
        let Some(probe) = signed.verify(&self.config.key) else {
            self.counters.forged += 1;
            return;
        };
        let for_us = probe.receiver == self.config.local || probe.receiver == PeerId::UNKNOWN;
        if !for_us || probe.sender == self.config.local {
            self.counters.misdirected += 1;
            return;
        }
        let Some(position) = self.sender_position(now, socket, source, &probe) else {
            self.counters.over_limit += 1;
            return;
        };
        let local = self.config.side(Tempo::Native);
        let Some(native) = &mut self.peers[position].native else { return };
        let before = self.transmits.len();
        let predicted = |hard: &HardPunch| hard.peer == native.id && hard.looks_at(source);
        let kind = match &self.hard {
            Some(hard) if predicted(hard) => CandidateKind::Predicted,
            _ => CandidateKind::PeerReflexive,
        };
        let learned = Path::new(socket, source, kind, self.rng.u64(), now);
        if !native.handle_probe(now, &local, &probe, learned, &mut self.transmits) {
            self.counters.replayed += 1;
        }
        self.counters.sent += (self.transmits.len() - before) as u64;
        match self.hard {
            Some(_) => self.handle_timeout(now),
            // The others have nothing to do with it, and they may be hundreds.
            None => self.advance_peer(now, position),
        }
    }

    /// Whose probe this is: a known peer's, one's that a plain list named, or a new one's that heard of us first.
    fn sender_position(
        &mut self,
        now: Instant,
        socket: SocketIndex,
        source: SocketAddr,
        probe: &Probe,
    ) -> Option<usize> {
        if let Some(position) = self.position_by_id(probe.sender) {
            return Some(position);
        }
        let nameless = self.peers.iter().position(|peer| {
            peer.native.as_ref().is_some_and(|native| {
                native.id == PeerId::UNKNOWN && native.path_at(socket, source).is_some()
            })
        });
        if nameless.is_some() || probe.kind == ProbeKind::Response {
            return nameless;
        }
        if let Some(position) = self.position_heard_at((socket, source)) {
            self.supersede(now, position, probe.sender);
            return Some(position);
        }
        if let Some(position) = self.upgrade((socket, source), probe.sender) {
            return Some(position);
        }
        if self.peers.len() >= MAX_PEERS || self.removed.contains(&probe.sender) {
            return None;
        }
        self.peers.push(Peer::new(now, probe.sender, Some(NativePunch::new(probe.sender))));
        Some(self.peers.len() - 1)
    }

    /// A peer that was heard from an endpoint and now goes by another ID has started a new call from the same socket: its
    /// hole is opened anew, and it is still one peer.
    fn supersede(&mut self, now: Instant, position: usize, id: PeerId) {
        let peer = &mut self.peers[position];
        peer.listed_id = id;
        let mut native = NativePunch::new(id);
        for candidate in &peer.candidates {
            if let Some(socket) = self.config.sockets.towards(candidate.endpoint) {
                native.add_path(Path::new(socket, candidate.endpoint, candidate.kind, self.rng.u64(), now));
            }
        }
        peer.native = Some(native);
    }

    fn position_heard_at(&self, (socket, source): (SocketIndex, SocketAddr)) -> Option<usize> {
        self.peers.iter().position(|peer| {
            peer.native.as_ref().is_some_and(|native| {
                native.path_at(socket, source).is_some_and(|index| native.paths[index].heard)
            })
        })
    }

    /// The peer that was heard from the first of these candidates, which is the server's own word.
    fn position_heard_at_first(&self, candidates: &[Candidate]) -> Option<usize> {
        let endpoint = candidates.first()?.endpoint;
        self.position_heard_at((self.config.sockets.towards(endpoint)?, endpoint))
    }

    /// A peer that the server knows as a plain one turns out to speak native: it has met a plain server before.
    fn upgrade(&mut self, (socket, source): (SocketIndex, SocketAddr), id: PeerId) -> Option<usize> {
        let position = self.peers.iter().position(|peer| {
            let endpoint = peer.plain.as_ref().map(|(socket, endpoint, _)| (*socket, *endpoint));
            peer.native.is_none() && endpoint == Some((socket, source))
        })?;
        self.peers[position].native = Some(NativePunch::new(id));
        Some(position)
    }

    /// Takes a plain signal; `false` if its source is nobody that may speak plain.
    pub fn handle_signal(
        &mut self,
        now: Instant,
        socket: SocketIndex,
        source: SocketAddr,
        signal: Signal,
    ) -> bool {
        let found = self.peers.iter_mut().find_map(|peer| match &mut peer.plain {
            Some((via, endpoint, plain)) if (*via, *endpoint) == (socket, source) => {
                Some((plain, &mut peer.plain_open_since, &mut peer.native))
            }
            _ => None,
        });
        let Some((plain, open_since, native)) = found else { return false };
        let heard_before = plain.is_heard();
        let answer = plain.handle_signal(now, signal, self.config.retry);
        if plain.is_open() {
            open_since.get_or_insert(now);
        }
        if !heard_before
            && plain.is_heard()
            && let Some(native) = native
        {
            native.restart(now);
        }
        if let Some(answer) = answer {
            self.counters.sent += 1;
            self.transmits.push_back(signal_to(socket, source, answer));
        }
        true
    }

    /// Takes a datagram of the application's; `true` if it came from a peer and so belongs to the caller.
    ///
    /// A plain peer that sends such is through with punching. Of a native one it proves nothing, for anyone can forge a
    /// source address: its own authenticated word is waited for.
    pub fn handle_data(&mut self, now: Instant, socket: SocketIndex, source: SocketAddr) -> bool {
        if self.position_heard_at((socket, source)).is_some() {
            return true;
        }
        for peer in &mut self.peers {
            if let Some((via, endpoint, plain)) = &mut peer.plain
                && (*via, *endpoint) == (socket, source)
            {
                plain.handle_data();
                peer.plain_open_since = now.checked_sub(NATIVE_HEAD_START);
                self.handle_timeout(now);
                return true;
            }
        }
        false
    }

    /// Does all that is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.forget_hopeless(now);
        let before = self.transmits.len();
        self.punch_hard(now);
        self.counters.sent += (self.transmits.len() - before) as u64;
        (0..self.peers.len()).for_each(|position| self.advance_peer(now, position));
    }

    /// Does what is due at `now` about one peer.
    fn advance_peer(&mut self, now: Instant, position: usize) {
        let before = self.transmits.len();
        let Some(peer) = self.peers.get_mut(position) else { return };
        let plain_heard = peer.plain.as_ref().is_some_and(|(.., plain)| plain.is_heard());
        if let Some(native) = &mut peer.native {
            let may_be_plain = peer.plain.is_some() && !plain_heard && !native.is_heard();
            let tempo = if may_be_plain { Tempo::Plain } else { Tempo::Native };
            let limit = match peer.hinted {
                Some(_) => Some(PROBES_AFTER_HINT),
                None => plain_heard.then_some(PROBES_AFTER_PLAIN),
            };
            let opener = peer.hinted.map(|hinted| match hinted {
                Hinted::Opener => peer.known_since + RUMOUR_LIFE,
                Hinted::Probes => peer.known_since + OPENER_BEFORE_PROBES,
            });
            let held_until = opener.max(soft_until(&self.nat, peer.nat, peer.known_since));
            native.paths.iter_mut().for_each(|path| path.soft_until = held_until);
            native.handle_timeout(now, &self.config.side(tempo), limit, &mut self.transmits);
            if native.take_reached() {
                self.reached.push_back(native.id);
            }
        }
        if let Some((socket, endpoint, plain)) = &mut peer.plain {
            if let Some(signal) = plain.handle_timeout(now, self.config.retry) {
                self.transmits.push_back(signal_to(*socket, *endpoint, signal));
            }
            // One that may speak native still has to show who it is.
            if plain.take_reached() && peer.native.is_none() {
                self.reached.push_back(peer.listed_id);
            }
        }
        self.counters.sent += (self.transmits.len() - before) as u64;
    }

    /// The next peer whose hole was agreed upon; to be asked for after every call that takes `&mut self`.
    #[must_use]
    pub fn poll_reached(&mut self, now: Instant) -> Option<PeerStatus> {
        while let Some(id) = self.reached.pop_front() {
            if let Some(position) = self.position_by_id(id) {
                let peer = &self.peers[position];
                return Some(peer.status(now, self.report(peer, now)));
            }
        }
        None
    }

    /// Every peer, in the order in which they became known.
    pub fn peers(&self, now: Instant) -> impl Iterator<Item = PeerStatus> {
        let known = self.peers.iter().filter(|peer| !peer.is_rumour());
        known.map(move |peer| peer.status(now, self.report(peer, now)))
    }

    /// Peers that left although they had been punched for a while: known once, never reached.
    pub fn unreached(&self) -> &[PeerStatus] {
        &self.unreached
    }

    /// How many peers have got at least so far.
    pub fn count(&self, now: Instant, progress: Progress) -> usize {
        self.peers.iter().filter(|peer| !peer.is_rumour() && peer.progress(now) >= progress).count()
    }

    /// The next datagram to send; to be asked for after every call that takes `&mut self`.
    #[must_use]
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// When to call `handle_timeout`; to be asked for after every call that takes `&mut self`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.peers
            .iter()
            .flat_map(|peer| {
                let native = peer.native.as_ref().and_then(NativePunch::poll_timeout);
                let plain = peer.plain.as_ref().and_then(|(.., plain)| plain.poll_timeout());
                native.into_iter().chain(plain)
            })
            .chain(self.hard.as_ref().and_then(HardPunch::poll_timeout))
            .chain(self.peers.iter().filter_map(|peer| self.relay_due(peer)))
            .chain(self.hard_due())
            .min()
    }
}

fn signal_to(socket: SocketIndex, destination: SocketAddr, signal: Signal) -> Transmit {
    Transmit { socket, destination, payload: signal.as_bytes().to_vec(), ttl: None }
}

/// Never probe what cannot be a peer: a forged list must not make us send to multicast, broadcast or port 0.
fn is_reachable_kind(endpoint: SocketAddr) -> bool {
    let ip = endpoint.ip();
    let broadcast = matches!(ip, std::net::IpAddr::V4(v4) if v4.is_broadcast());
    endpoint.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}

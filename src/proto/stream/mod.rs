//! TCP holes: connections from one port to every endpoint of a peer, and connections that come to that port, until one of them is proven
//! to be the peer's on both sides.
//!
//! Two NATs let a connection through that both sides begin at the same time (RFC 5382 section 4.1, RFC 793 section 3.4); on one LAN, or
//! where one side has no NAT, one of them listens and the other one dials. All of that is tried at once.

mod connection;
pub mod handshake;
mod target;
#[cfg(test)]
mod tests;
mod types;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use self::connection::{Connection, Stage};
use self::handshake::{Handshake, Step};
use self::target::Target;
pub use self::types::{
    DialFailure, Established, Forwarding, StreamCause, StreamCommand, StreamConfig, StreamCounters,
    StreamEvent, StreamId, StreamReport,
};
use crate::proto::Rng;
use crate::proto::secure::Exporter;
use crate::proto::types::{Candidate, CandidateKind, MAX_ENDPOINTS_PER_PEER, PeerId};

/// Peers that are looked for at the same time.
pub const MAX_PEERS: usize = 256;
/// Connections that have come and on which nobody has proven anything yet; the oldest one gives way.
pub const MAX_ACCEPTED: usize = 32;
/// Where nobody proves anything: how long the first connection has to stay open before it is the one, at least and at most. The other
/// side may have another one, and closes those that it does not want.
const SETTLE: [Duration; 2] = [Duration::from_millis(150), Duration::from_millis(400)];

/// Where the two sides do not start together: the pauses between two attempts at an endpoint, in milliseconds and at random, so that two
/// that have to meet on the way do, sooner or later; and those after so much time, or where somebody else was met.
const PAUSES_MS: Range<u64> = 50..250;
const LATER_PAUSES_MS: Range<u64> = 500..1000;
const LATER: Duration = Duration::from_secs(10);

/// So often in a row a connection is there already that never comes to anything.
const STUCK_AFTER: u8 = 2;

/// How the driver is to read from a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// So many bytes at most: what follows is the application's.
    Bytes(usize),
    /// Not at all; only whether something has come, or the end: see [`StreamPunch::handle_data_waiting`].
    Look,
    /// It is not there, or not open yet.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Looking,
    /// Time is up; what is open already may still come to something.
    Ending,
    Established,
    Failed,
}

impl Progress {
    fn is_open(self) -> bool {
        matches!(self, Self::Looking | Self::Ending)
    }
}

#[derive(Debug)]
struct Peer {
    /// All zeros as long as that is not known.
    id: PeerId,
    targets: Vec<Target>,
    give_up: Option<Instant>,
    progress: Progress,
    report: StreamReport,
}

/// Connections to some peers.
#[derive(Debug)]
pub struct StreamPunch {
    config: StreamConfig,
    rng: Rng,
    peers: Vec<Peer>,
    connections: Vec<Connection>,
    next_id: u32,
    /// Where nobody proves anything: when the first one that is still open is the one.
    settled: Option<Instant>,
    counters: StreamCounters,
    commands: VecDeque<StreamCommand>,
    events: VecDeque<StreamEvent>,
}

impl StreamPunch {
    /// Looks for nobody yet.
    pub fn new(config: StreamConfig, rng: Rng) -> Self {
        Self {
            config,
            rng,
            peers: Vec::new(),
            connections: Vec::new(),
            next_id: 0,
            settled: None,
            counters: StreamCounters::default(),
            commands: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Looks for a peer at these endpoints, too, from `start` on. [`PeerId::UNKNOWN`] stands for whoever proves itself there.
    pub fn add_peer(&mut self, now: Instant, id: PeerId, candidates: &[Candidate], start: Instant) {
        let Some(at) = self.position_or_new(id, start) else { return };
        for candidate in candidates {
            self.add_target(at, Target::new(*candidate, None, start));
        }
        self.handle_timeout(now);
    }

    /// Looks for a peer by way of a server that forwards, too.
    pub fn add_forwarding(&mut self, now: Instant, id: PeerId, forwarding: Forwarding) {
        let Some(at) = self.position_or_new(id, now) else { return };
        let candidate = Candidate { kind: CandidateKind::Relayed, endpoint: forwarding.server };
        self.peers[at].targets.retain(|target| target.forwarding.is_none() || target.current.is_some());
        self.add_target(at, Target::new(candidate, Some(forwarding), now));
        self.handle_timeout(now);
    }

    fn position_or_new(&mut self, id: PeerId, start: Instant) -> Option<usize> {
        if let Some(known) = self.peers.iter().position(|peer| peer.id == id) {
            return Some(known);
        }
        if self.peers.len() >= MAX_PEERS {
            self.counters.over_limit += 1;
            return None;
        }
        let give_up = self
            .config
            .attempts
            .and_then(|attempts| start.checked_add(self.config.attempt_timeout.checked_mul(attempts)?));
        let (progress, report) = (Progress::Looking, StreamReport::default());
        self.peers.push(Peer { id, targets: Vec::new(), give_up, progress, report });
        Some(self.peers.len() - 1)
    }

    fn add_target(&mut self, at: usize, target: Target) {
        let peer = &mut self.peers[at];
        let known = peer.targets.iter().any(|known| {
            (known.candidate.endpoint, known.forwarding) == (target.candidate.endpoint, target.forwarding)
        });
        let endpoint = target.candidate.endpoint;
        let reachable =
            endpoint.port() != 0 && !endpoint.ip().is_unspecified() && !endpoint.ip().is_multicast();
        if known || !reachable || peer.progress != Progress::Looking {
            return;
        }
        if peer.targets.len() >= MAX_ENDPOINTS_PER_PEER {
            self.counters.over_limit += 1;
            return;
        }
        peer.targets.push(target);
    }

    /// Begins no more attempts at a peer; what is open already may still come to something. Whether there is such.
    pub fn stop_dialling(&mut self, id: PeerId) -> bool {
        let Some(owner) = self.peers.iter().position(|peer| peer.id == id) else { return false };
        self.peers[owner].targets.clear();
        while let Some(at) = self.connections.iter().position(|connection| {
            connection.owner == Some(owner) && matches!(connection.stage, Stage::Dialling)
        }) {
            self.close(at);
        }
        let open = self.peers[owner].progress.is_open();
        open && self.connections.iter().any(|connection| connection.owner.is_none_or(|other| other == owner))
    }

    /// Looks for a peer no longer.
    pub fn remove(&mut self, id: PeerId) {
        if let Some(at) = self.peers.iter().position(|peer| peer.id == id) {
            self.close_all_of(at);
            // The others keep their places.
            self.peers[at].progress = Progress::Failed;
            self.peers[at].targets.clear();
        }
    }

    /// Whether anybody is still looked for.
    pub fn is_looking(&self) -> bool {
        self.peers.iter().any(|peer| peer.progress.is_open())
    }

    /// What was tried to reach a peer.
    pub fn report(&self, id: PeerId) -> Option<StreamReport> {
        self.peers.iter().find(|peer| peer.id == id).map(|peer| peer.report)
    }

    /// What has been dropped.
    pub fn counters(&self) -> StreamCounters {
        self.counters
    }

    /// How to read from a connection now; changes with every call about it.
    pub fn reading(&self, id: StreamId) -> Reading {
        match self.connections.iter().find(|connection| connection.id == id).map(|c| &c.stage) {
            Some(Stage::Open { .. }) => Reading::Look,
            Some(stage) => match stage.wanted() {
                0 => Reading::Nothing,
                wanted => Reading::Bytes(wanted),
            },
            None => Reading::Nothing,
        }
    }

    /// An attempt has come to an end.
    pub fn handle_dialled(&mut self, now: Instant, id: StreamId, result: Result<(), DialFailure>) {
        let Some(at) = self.position(id) else { return };
        if !matches!(self.connections[at].stage, Stage::Dialling) {
            return;
        }
        match result {
            Ok(()) => self.begin(now, at),
            Err(failure) => {
                let taken = failure == DialFailure::Taken;
                let mut stuck = false;
                for target in self.targets_of(at) {
                    target.taken = if taken { target.taken + 1 } else { 0 };
                    stuck |= target.taken >= STUCK_AFTER;
                    target.taken %= STUCK_AFTER;
                }
                if stuck {
                    self.commands.push_back(StreamCommand::Relisten);
                }
                let owner = self.forget(at).owner;
                if let Some(peer) = owner.and_then(|owner| self.peers.get_mut(owner)) {
                    peer.report.note(failure);
                }
            }
        }
        self.handle_timeout(now);
    }

    /// Somebody has connected to our port. `None`: to be closed.
    pub fn handle_accepted(&mut self, now: Instant, remote: SocketAddr) -> Option<StreamId> {
        if self.config.credentials.is_none() && !self.is_looking() {
            return None;
        }
        let accepted = |connection: &Connection| connection.owner.is_none();
        if self.connections.iter().filter(|connection| accepted(connection)).count() >= MAX_ACCEPTED {
            let oldest = self.connections.iter().position(accepted)?;
            self.counters.over_limit += 1;
            self.close(oldest);
        }
        let id = self.new_id();
        // Where nobody proves anything there is one peer, and this is it.
        let kind = CandidateKind::PeerReflexive;
        self.connections.push(Connection::new(id, remote, kind, None, now + self.config.attempt_timeout));
        self.begin(now, self.connections.len() - 1);
        self.handle_timeout(now);
        Some(id)
    }

    /// Bytes have come, not more than [`Self::reading`] has said.
    pub fn handle_bytes(&mut self, now: Instant, id: StreamId, bytes: &[u8]) {
        let Some(at) = self.position(id) else { return };
        let step = match &mut self.connections[at].stage {
            Stage::Binding { .. } => match self.connections[at].stage.handle_bound(bytes) {
                Ok(true) => return self.shake_hands(now, at),
                Ok(false) => Ok(Step::Wait),
                Err(stranger) => Err(stranger),
            },
            Stage::Handshake { handshake, .. } => handshake.handle_bytes(bytes),
            Stage::Dialling | Stage::Open { .. } => return,
        };
        match step {
            Ok(Step::Wait) => {}
            Ok(Step::Await(peer)) => self.note_claim(at, peer),
            Ok(Step::Prove(peer, proof)) => {
                self.connections[at].asked = now;
                self.commands.push_back(StreamCommand::Send(id, proof.to_vec()));
                self.note_claim(at, peer);
            }
            Ok(Step::Proven | Step::Chosen) => self.establish_proven(now, at),
            Err(_) => {
                self.counters.strangers += 1;
                let later = now + self.pause(LATER_PAUSES_MS);
                self.targets_of(at).for_each(|target| target.put_off(later));
                if let Some(report) = self.report_of(at) {
                    report.strangers += 1;
                }
                self.close(at);
            }
        }
        self.handle_timeout(now);
    }

    /// Who has its connection already, or is not looked for any more, needs no further one.
    fn note_claim(&mut self, at: usize, peer: PeerId) {
        let known = self.peers.iter().find(|known| known.id == peer);
        if known.is_some_and(|known| !known.progress.is_open()) {
            self.close(at);
        }
    }

    /// Where nobody proves anything: bytes of the peer's application wait in the connection. So the other side has chosen it.
    pub fn handle_data_waiting(&mut self, now: Instant, id: StreamId) {
        if let Some(at) = self.position(id)
            && self.connections[at].is_unproven()
        {
            self.establish(now, at, 0, PeerId::UNKNOWN, None);
        }
    }

    /// The other side has closed a connection, or it has failed.
    pub fn handle_ended(&mut self, now: Instant, id: StreamId) {
        let Some(at) = self.position(id) else { return };
        self.note_silent(at);
        self.close(at);
        if !self.connections.iter().any(Connection::is_unproven) {
            self.settled = None;
        }
        self.handle_timeout(now);
    }

    fn note_silent(&mut self, at: usize) {
        self.counters.silent += 1;
        if let Some(report) = self.report_of(at) {
            report.silent += 1;
        }
    }

    /// Of the peer to which a connection belongs: for one that has come, of the only peer, if there is one only.
    fn report_of(&mut self, at: usize) -> Option<&mut StreamReport> {
        let owner = self.connections[at].owner.or((self.peers.len() == 1).then_some(0))?;
        self.peers.get_mut(owner).map(|peer| &mut peer.report)
    }

    fn pause(&mut self, range_ms: Range<u64>) -> Duration {
        Duration::from_millis(range_ms.start + self.rng.u64() % (range_ms.end - range_ms.start))
    }

    /// The endpoint that a connection was dialled to.
    fn targets_of(&mut self, at: usize) -> impl Iterator<Item = &mut Target> {
        let Connection { id, owner, .. } = self.connections[at];
        let peer = owner.and_then(|owner| self.peers.get_mut(owner));
        let targets = peer.map(|peer| &mut peer.targets[..]).unwrap_or_default();
        targets.iter_mut().filter(move |target| target.current == Some(id))
    }

    fn position(&self, id: StreamId) -> Option<usize> {
        self.connections.iter().position(|connection| connection.id == id)
    }

    fn new_id(&mut self) -> StreamId {
        self.next_id = self.next_id.wrapping_add(1);
        StreamId(self.next_id)
    }

    /// A connection is open: what comes first is said.
    fn begin(&mut self, now: Instant, at: usize) {
        let connection = &mut self.connections[at];
        if let Some(forwarding) = connection.forwarding {
            let (stage, word) = Stage::binding(forwarding.ticket);
            connection.stage = stage;
            self.commands.push_back(StreamCommand::Send(connection.id, word));
        } else {
            self.shake_hands(now, at);
        }
    }

    fn shake_hands(&mut self, now: Instant, at: usize) {
        let connection = &mut self.connections[at];
        let took = now.saturating_duration_since(std::mem::replace(&mut connection.asked, now));
        match &self.config.credentials {
            Some(credentials) => {
                let handshake = Box::new(Handshake::new(credentials.clone(), self.rng.bytes()));
                self.commands.push_back(StreamCommand::Send(connection.id, handshake.hello().to_vec()));
                connection.deadline = now + self.config.attempt_timeout;
                connection.stage = Stage::Handshake { handshake };
            }
            None => {
                connection.stage = Stage::Open { took };
                let [least, most] = SETTLE;
                let more = u64::try_from((most - least).as_millis()).unwrap_or(1);
                let wait = least + Duration::from_millis(self.rng.u64() % more);
                self.settled.get_or_insert(now + wait);
            }
        }
    }

    fn establish_proven(&mut self, now: Instant, at: usize) {
        let connection = &self.connections[at];
        let Stage::Handshake { handshake } = &connection.stage else { return };
        let (Some(peer), exporter) = (handshake.peer(), handshake.exporter()) else { return };
        let choice = handshake.choose();
        let id = connection.id;
        let unnamed = |known: &Peer| known.id == PeerId::UNKNOWN && known.progress.is_open();
        let known = self.peers.iter().position(|known| known.id == peer);
        let owner = match known.or_else(|| self.peers.iter().position(unnamed)) {
            Some(owner) => owner,
            // It has been faster than the list that names it.
            None => match self.position_or_new(peer, now) {
                Some(owner) => owner,
                None => return self.close(at),
            },
        };
        if !self.peers[owner].progress.is_open() {
            return self.close(at);
        }
        self.peers[owner].id = peer;
        if let Some(choice) = choice {
            self.commands.push_back(StreamCommand::Send(id, choice.to_vec()));
        }
        self.establish(now, at, owner, peer, exporter);
    }

    /// This connection is the peer's, and no other one.
    fn establish(&mut self, now: Instant, at: usize, owner: usize, peer: PeerId, exporter: Option<Exporter>) {
        let connection = self.forget(at);
        let rtt = match connection.stage {
            Stage::Open { took } => took,
            _ => now.saturating_duration_since(connection.asked),
        };
        if let Some(known) = self.peers.get_mut(owner) {
            known.progress = Progress::Established;
            known.targets.clear();
        }
        let Connection { id, remote, kind, .. } = connection;
        self.events.push_back(StreamEvent::Established(Established {
            peer,
            id,
            remote,
            kind,
            rtt,
            exporter,
        }));
        self.close_all_of(owner);
        self.settled = None;
    }

    /// Closes what belongs to a peer, and, if nobody else is looked for and nobody could prove anything, what belongs to nobody.
    fn close_all_of(&mut self, owner: usize) {
        let id = self.peers.get(owner).map(|peer| peer.id);
        let raw = self.config.credentials.is_none();
        while let Some(at) = self.connections.iter().position(|connection| {
            let claims = connection.claimed().is_some_and(|claimed| Some(claimed) == id);
            connection.owner == Some(owner) || claims || raw
        }) {
            self.close(at);
        }
    }

    fn close(&mut self, at: usize) {
        let connection = self.forget(at);
        self.commands.push_back(StreamCommand::Close(connection.id));
    }

    fn forget(&mut self, at: usize) -> Connection {
        let connection = self.connections.remove(at);
        if let Some(peer) = connection.owner.and_then(|owner| self.peers.get_mut(owner)) {
            for target in &mut peer.targets {
                target.current.take_if(|current| *current == connection.id);
            }
        }
        connection
    }

    /// Does all that is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(at) = self.connections.iter().position(|connection| connection.is_late(now)) {
            match self.connections[at].stage {
                Stage::Dialling => {
                    if let Some(report) = self.report_of(at) {
                        report.note(DialFailure::TimedOut);
                    }
                }
                _ => self.note_silent(at),
            }
            self.close(at);
        }
        if self.settled.is_some_and(|settled| now >= settled) {
            self.settled = None;
            if let Some(first) = self.connections.iter().position(Connection::is_unproven) {
                self.establish(now, first, 0, PeerId::UNKNOWN, None);
            }
        }
        for owner in 0..self.peers.len() {
            self.look_for(now, owner);
        }
    }

    fn look_for(&mut self, now: Instant, owner: usize) {
        match self.peers[owner].progress {
            Progress::Looking if self.peers[owner].give_up.is_some_and(|give_up| now >= give_up) => {
                return self.give_up(owner);
            }
            Progress::Looking => {}
            Progress::Ending => return self.end(owner),
            Progress::Established | Progress::Failed => return,
        }
        // Where nobody proves anything one open connection is enough, unless it ends.
        if self.settled.is_some() {
            return;
        }
        for target in 0..self.peers[owner].targets.len() {
            if self.peers[owner].targets[target].due().is_none_or(|due| due > now) {
                continue;
            }
            let id = self.new_id();
            // Who is looked for as long as anybody likes was named to both sides at once.
            let early = now < self.peers[owner].targets[target].start() + LATER;
            let pause = self.pause(if early { PAUSES_MS } else { LATER_PAUSES_MS });
            let pause = self.config.attempts.map(|_| pause);
            let peer = &mut self.peers[owner];
            peer.report.attempts += 1;
            let target = &mut peer.targets[target];
            target.begin(now, id, pause);
            let Candidate { kind, endpoint: remote } = target.candidate;
            let deadline = now + self.config.attempt_timeout;
            let mut connection = Connection::new(id, remote, kind, Some(owner), deadline);
            (connection.forwarding, connection.asked) = (target.forwarding, now);
            let from_port = target.forwarding.is_none();
            self.connections.push(connection);
            self.commands.push_back(StreamCommand::Dial { id, remote, from_port });
        }
    }

    /// Time is up: attempts end; who is shaking hands may end that.
    fn give_up(&mut self, owner: usize) {
        self.peers[owner].targets.clear();
        self.peers[owner].progress = Progress::Ending;
        let begun = |connection: &Connection| {
            connection.owner == Some(owner)
                && matches!(connection.stage, Stage::Dialling | Stage::Binding { .. })
        };
        while let Some(at) = self.connections.iter().position(begun) {
            self.peers[owner].report.note(DialFailure::TimedOut);
            self.close(at);
        }
        self.end(owner);
    }

    fn end(&mut self, owner: usize) {
        let busy = |connection: &Connection| connection.owner.is_none_or(|other| other == owner);
        if !self.connections.iter().any(busy) {
            let peer = &mut self.peers[owner];
            peer.progress = Progress::Failed;
            self.events.push_back(StreamEvent::Failed(peer.id, peer.report));
        }
    }

    /// Closes everything that is not established.
    pub fn close_everything(&mut self) {
        while !self.connections.is_empty() {
            self.close(0);
        }
        for peer in &mut self.peers {
            peer.targets.clear();
        }
    }

    /// The next thing that the driver is to do; to be asked for after every call that takes `&mut self`.
    #[must_use]
    pub fn poll_command(&mut self) -> Option<StreamCommand> {
        self.commands.pop_front()
    }

    /// The next event, once there are no commands; to be asked for after every call that takes `&mut self`.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<StreamEvent> {
        self.events.pop_front()
    }

    /// When to call `handle_timeout`; to be asked for after every call that takes `&mut self`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deadlines = self.connections.iter().filter_map(Connection::deadline);
        let looking = self.peers.iter().filter(|peer| peer.progress == Progress::Looking);
        let peers = looking.flat_map(|peer| {
            // Where nobody proves anything no attempts begin while a connection is open.
            let targets = peer.targets.iter().filter(|_| self.settled.is_none());
            targets.filter_map(Target::due).chain(peer.give_up)
        });
        deadlines.chain(peers).chain(self.settled).min()
    }
}

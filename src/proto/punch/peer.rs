//! One peer's hole in the native dialect: which paths are tried, confirmed, agreed upon.
//!
//! Both sides probe all paths and confirm for themselves: a path is confirmed once a request of ours was answered over
//! it. The side with the larger peer ID is controlling; it nominates one path that it has confirmed. A side is done
//! when it has confirmed the nominated path and knows that the other side has, too. The last to know sends its
//! knowledge redundantly, because nobody answers after the hand-over; should all of that be lost, the other side goes
//! ahead after a bounded time, for its own confirmation is proof that the hole works both ways.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::path::Path;
use super::replay::ReplayWindow;
use super::schedule::Tempo;
use crate::proto::keys::ProbeKey;
use crate::proto::secure::{Exchange, Exporter};
use crate::proto::types::{CandidateKind, MAX_ENDPOINTS_PER_PEER, PeerId, SocketIndex, Transmit};
use crate::proto::wire::{Probe, ProbeFlags, ProbeKind};

/// How long a side that has confirmed waits at least to hear that the other has, too.
pub const MIN_LINGER: Duration = Duration::from_millis(300);
/// And at most.
pub const MAX_LINGER: Duration = Duration::from_secs(2);
/// Copies of the last word; and where the other side has not said yet that the hole works for it, too.
const FINAL_COPIES: usize = 4;
const SOLE_FINAL_COPIES: usize = 8;
/// So many answers to the peer, with the last word, are as good as the peer's word that it has got one: at 20 % loss all
/// of them are lost once in 200 million times, at 40 % once in 60,000.
const ENOUGH_ANSWERS: u32 = 4;
/// How long a confirmed path waits for a better one that may be about to be confirmed.
const BETTER_PATH_GRACE: Duration = Duration::from_millis(10);
/// How often an agreed path is kept alive while other peers are still being punched.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// A peer that has gone away but was heard before is probed for so long: it may have handed over already.
const GONE_PATIENCE: Duration = Duration::from_secs(2);

/// What every function here needs to know of our side.
#[derive(Debug)]
pub struct Local<'a> {
    pub id: PeerId,
    pub key: &'a ProbeKey,
    pub exchange: &'a Exchange,
    pub retry: Duration,
    pub tempo: Tempo,
    /// Whether first requests carry a low TTL. A peer that may be a plain one is sent its signals without such care anyway.
    pub low_ttl: bool,
    /// Which TTL passes our own NATs and no more, where that is known.
    pub safe_ttl: Option<u8>,
    /// See [`super::PunchConfig::lasting`].
    pub lasting: bool,
}

impl Local<'_> {
    /// When an agreed path is to be probed again.
    fn keep_alive(&self, now: Instant) -> Option<Instant> {
        (!self.lasting).then(|| now + KEEP_ALIVE)
    }
}

/// What one probe carries beside what its path says.
#[derive(Clone, Copy, Debug)]
struct Packet {
    kind: ProbeKind,
    transaction: u64,
    echo: u32,
    ttl: Option<u8>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// No path is confirmed.
    Probing,
    /// A path is confirmed; the other side may not know yet.
    Agreeing { since: Instant, nominate_at: Option<Instant>, nominated: Option<usize> },
    /// Path number `path` is it.
    Done { path: usize, confirmed_by_peer: bool },
}

/// One peer's hole in the native dialect.
#[derive(Debug)]
pub struct NativePunch {
    /// The peer's name; unknown while it is known from a plain list only.
    pub id: PeerId,
    pub paths: Vec<Path>,
    /// Requests to where the peer was only guessed to be.
    pub blind: u32,
    phase: Phase,
    sequence: u32,
    replay: ReplayWindow,
    gone: Option<Instant>,
    /// A path was agreed upon, and nobody was told yet.
    reached: bool,
    /// The secret that was agreed upon besides.
    pub exporter: Option<Exporter>,
}

impl NativePunch {
    /// Knows no path yet.
    pub fn new(id: PeerId) -> Self {
        Self {
            id,
            paths: Vec::new(),
            blind: 0,
            phase: Phase::Probing,
            sequence: 0,
            replay: ReplayWindow::default(),
            gone: None,
            reached: false,
            exporter: None,
        }
    }

    /// Where the path is in `paths`.
    pub fn path_at(&self, socket: SocketIndex, remote: SocketAddr) -> Option<usize> {
        self.paths.iter().position(|path| path.socket == socket && path.remote == remote)
    }

    /// Adds a path unless it is known or there are too many; returns where it is.
    pub fn add_path(&mut self, path: Path) -> Option<usize> {
        if let Some(index) = self.path_at(path.socket, path.remote) {
            let known = &mut self.paths[index];
            // The same endpoint by two names goes by the better one, and by the peer's own word rather than by guess.
            let better = known.kind == CandidateKind::PeerReflexive || path.kind.rank() < known.kind.rank();
            if better && path.kind != CandidateKind::PeerReflexive {
                known.kind = path.kind;
            }
            return Some(index);
        }
        if self.paths.len() >= MAX_ENDPOINTS_PER_PEER {
            return None;
        }
        self.paths.push(path);
        Some(self.paths.len() - 1)
    }

    /// Starts probing every path from the dense beginning of the schedule, unless the peer was heard.
    pub fn restart(&mut self, now: Instant) {
        if !self.is_heard() {
            self.paths.iter_mut().for_each(|path| path.restart(now));
        }
    }

    /// Starts in earnest with a peer that was only hinted at and not heard, over paths that are `named` now; `anew`: as if
    /// nothing had been sent.
    pub fn begin(&mut self, now: Instant, named: impl Fn(&Path) -> bool, anew: bool) {
        self.paths.retain(named);
        for path in &mut self.paths {
            path.restart(now);
            path.soft = if anew { 0 } else { path.soft };
        }
    }

    /// Begins anew, over the paths that are `named` or have worked: the agreed one does not work any more. What was seen of the
    /// peer's numbers stays seen.
    pub fn reopen(&mut self, now: Instant, named: impl Fn(&Path) -> bool) {
        self.phase = Phase::Probing;
        self.gone = None;
        self.paths.retain(|path| path.heard || path.kind == CandidateKind::Relayed || named(path));
        self.paths.iter_mut().for_each(|path| path.reopen(now));
    }

    /// Whether a path has been agreed upon since this was asked last.
    pub fn take_reached(&mut self) -> bool {
        std::mem::take(&mut self.reached)
    }

    /// Whether an authenticated probe of the peer's came.
    pub fn is_heard(&self) -> bool {
        self.paths.iter().any(|path| path.heard)
    }

    /// Whether some path is confirmed.
    pub fn is_confirmed(&self) -> bool {
        !matches!(self.phase, Phase::Probing)
    }

    /// The agreed path, once there is one.
    pub fn agreed(&self) -> Option<&Path> {
        match self.phase {
            Phase::Done { path, .. } => Some(&self.paths[path]),
            _ => None,
        }
    }

    /// The agreed path, or the best confirmed one.
    pub fn best(&self) -> Option<&Path> {
        self.agreed().or_else(|| self.best_confirmed().map(|index| &self.paths[index]))
    }

    fn best_confirmed(&self) -> Option<usize> {
        (0..self.paths.len())
            .filter(|index| self.paths[*index].confirmed.is_some())
            .min_by_key(|index| self.paths[*index].preference())
    }

    /// The server says that the peer is gone.
    pub fn note_gone(&mut self, now: Instant) {
        self.gone.get_or_insert(now);
    }

    /// Whether the server has said so.
    pub fn is_gone(&self) -> bool {
        self.gone.is_some()
    }

    /// Whether nothing can come of this peer any more.
    pub fn is_hopeless(&self, now: Instant) -> bool {
        let patience = if self.is_heard() { GONE_PATIENCE } else { Duration::ZERO };
        !self.is_confirmed() && self.gone.is_some_and(|gone| now.saturating_duration_since(gone) >= patience)
    }

    /// Takes a probe that is authentic, from this peer and for us, and came over the path `learned`, if that is a new one;
    /// `false` if it was seen before.
    pub fn handle_probe(
        &mut self,
        now: Instant,
        local: &Local<'_>,
        probe: &Probe,
        learned: Path,
        out: &mut impl Extend<Transmit>,
    ) -> bool {
        if !self.replay.accept(probe.sequence) {
            return false;
        }
        self.id = probe.sender;
        let Some(index) = self.add_path(learned) else { return true };
        let path = &mut self.paths[index];
        path.heard = true;
        path.traffic.received += 1;
        // Only what is confirmed can be nominated, so a nomination says both.
        path.peer_nominated |= probe.flags.has(ProbeFlags::NOMINATED);
        path.peer_settled |= probe.flags.has(ProbeFlags::SETTLED);
        path.peer_confirmed |= path.peer_nominated || probe.flags.has(ProbeFlags::CONFIRMED);
        match probe.kind {
            ProbeKind::Request => {
                path.last_request = Some((probe.transaction, probe.sequence));
                if path.confirmed.is_none() {
                    // The request came through, so the way back is open from now on at the latest.
                    path.restart(now);
                }
                self.respond(local, index, out);
            }
            ProbeKind::Response if path.transaction == probe.transaction => {
                path.note_response(now, probe.echo);
                if self.exporter.is_none() && !local.lasting {
                    self.exporter = local.exchange.agree(local.id, probe.sender, &probe.exchange);
                }
                self.confirm(now, index);
            }
            // Answered from another endpoint than the one we asked: that endpoint is now a path and is asked itself.
            ProbeKind::Response => {}
        }
        self.settle(now, local, out);
        true
    }

    fn confirm(&mut self, now: Instant, index: usize) {
        if self.paths[index].confirmed.is_some() {
            return;
        }
        self.paths[index].confirmed = Some(now);
        if matches!(self.phase, Phase::Probing) {
            self.phase = Phase::Agreeing { since: now, nominate_at: None, nominated: None };
        }
        if matches!(self.phase, Phase::Agreeing { .. }) {
            // Tell the peer at once, and densely, that this path works.
            self.paths[index].restart(now);
        }
    }

    fn is_controlling(&self, local: &Local<'_>) -> bool {
        local.id > self.id
    }

    /// Moves on as far as what is known allows.
    fn settle(&mut self, now: Instant, local: &Local<'_>, out: &mut impl Extend<Transmit>) {
        let Phase::Agreeing { since, mut nominate_at, mut nominated } = self.phase else { return };
        if self.is_controlling(local) && nominated.is_none() {
            let due = *nominate_at.get_or_insert_with(|| now + self.grace());
            if now >= due
                && let Some(index) = self.best_confirmed()
            {
                nominated = Some(index);
                self.paths[index].restart(now);
            }
        }
        self.phase = Phase::Agreeing { since, nominate_at, nominated };

        let agreed = if self.is_controlling(local) {
            nominated.filter(|index| self.paths[*index].peer_confirmed)
        } else {
            self.paths.iter().position(|path| path.peer_nominated && path.confirmed.is_some())
        };
        let settled = self.paths.iter().position(|path| path.peer_settled && path.confirmed.is_some());
        let agreed = settled.or(agreed);
        let copies = if agreed.is_some() { FINAL_COPIES } else { SOLE_FINAL_COPIES };
        let agreed = agreed.or_else(|| self.only_choice());
        let outlasted = now >= since + self.linger();
        if let Some(path) =
            agreed.or_else(|| outlasted.then(|| nominated.or(self.best_confirmed())).flatten())
        {
            self.phase = Phase::Done { path, confirmed_by_peer: agreed.is_some() };
            self.reached = true;
            self.paths.iter_mut().for_each(|path| path.next = None);
            self.paths[path].next = local.keep_alive(now);
            for _ in 0..copies {
                self.last_word(local, path, out);
            }
        }
    }

    /// The path that the other side must end up with, too, as soon as it works for us: the server named both ends of it, no
    /// other has shown a sign of life, and so many answers of ours are on their way that one of them arrives. On long ways
    /// this saves half a round trip; on short ones the other side's word comes before.
    fn only_choice(&self) -> Option<usize> {
        let mut heard = (0..self.paths.len()).filter(|index| self.paths[*index].heard);
        let (only, None) = (heard.next()?, heard.next()) else { return None };
        let path = &self.paths[only];
        let sure = path.kind == CandidateKind::Reflexive && path.answered >= ENOUGH_ANSWERS;
        (sure && path.confirmed.is_some()).then_some(only)
    }

    /// A better path is worth waiting for only where it has shown a sign of life.
    fn grace(&self) -> Duration {
        let best = self.best_confirmed().map_or(u8::MAX, |index| self.paths[index].kind.rank());
        let better_may_come = self.paths.iter().any(|path| path.heard && path.kind.rank() < best);
        if better_may_come { BETTER_PATH_GRACE } else { Duration::ZERO }
    }

    fn linger(&self) -> Duration {
        let rtt = self.paths.iter().filter_map(|path| path.rtt).max().unwrap_or_default();
        (rtt * 6).clamp(MIN_LINGER, MAX_LINGER)
    }

    /// Does what is due at `now`. With `limit`, no path is asked more often than that until the peer is heard.
    pub fn handle_timeout(
        &mut self,
        now: Instant,
        local: &Local<'_>,
        limit: Option<u32>,
        out: &mut impl Extend<Transmit>,
    ) {
        self.settle(now, local, out);
        let silent = !self.is_heard();
        for index in 0..self.paths.len() {
            let path = &mut self.paths[index];
            if path.next.is_none_or(|next| now < next) {
                continue;
            }
            if silent && limit.is_some_and(|limit| path.sent + path.soft >= limit) {
                path.next = None;
                continue;
            }
            self.request(now, local, index, out);
            if matches!(self.phase, Phase::Done { .. }) {
                self.paths[index].next = local.keep_alive(now);
            }
        }
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Agreeing { since, nominate_at, nominated } => {
                let nominate_at = nominate_at.filter(|_| nominated.is_none());
                Some(nominate_at.map_or(since + self.linger(), |at| at.min(since + self.linger())))
            }
            Phase::Probing => self.gone.map(|gone| gone + GONE_PATIENCE),
            Phase::Done { .. } => None,
        };
        self.paths.iter().filter_map(|path| path.next).chain(phase).min()
    }

    fn flags(&self, local: &Local<'_>, index: usize) -> ProbeFlags {
        let nominated = match self.phase {
            Phase::Agreeing { nominated, .. } => nominated,
            Phase::Done { path, .. } => Some(path),
            Phase::Probing => None,
        };
        let mut flags = 0;
        if self.paths[index].confirmed.is_some() {
            flags |= ProbeFlags::CONFIRMED;
            if matches!(self.phase, Phase::Done { path, .. } if path == index) {
                flags |= ProbeFlags::SETTLED;
            }
            if nominated == Some(index) && self.is_controlling(local) {
                flags |= ProbeFlags::NOMINATED;
            }
        }
        ProbeFlags(flags)
    }

    fn request(&mut self, now: Instant, local: &Local<'_>, index: usize, out: &mut impl Extend<Transmit>) {
        let path = &self.paths[index];
        let ttl = path.ttl(now, local.safe_ttl).filter(|_| local.low_ttl);
        let packet = Packet { kind: ProbeKind::Request, transaction: path.transaction, echo: 0, ttl };
        let sequence = self.send(local, index, packet, out);
        let path = &mut self.paths[index];
        match ttl {
            Some(_) => path.note_soft_request(now, sequence),
            None => path.note_request(now, sequence, |sent| match local.lasting {
                true => local.tempo.lasting_pause(sent, local.retry),
                false => local.tempo.pause(sent, local.retry),
            }),
        };
    }

    fn respond(&mut self, local: &Local<'_>, index: usize, out: &mut impl Extend<Transmit>) {
        if let Some((transaction, echo)) = self.paths[index].last_request {
            self.paths[index].answered += 1;
            let packet = Packet { kind: ProbeKind::Response, transaction, echo, ttl: None };
            self.send(local, index, packet, out);
        }
    }

    fn last_word(&mut self, local: &Local<'_>, index: usize, out: &mut impl Extend<Transmit>) {
        match self.paths[index].last_request {
            Some(_) => self.respond(local, index, out),
            None => {
                let transaction = self.paths[index].transaction;
                let packet = Packet { kind: ProbeKind::Request, transaction, echo: 0, ttl: None };
                self.send(local, index, packet, out);
            }
        }
    }

    fn send(
        &mut self,
        local: &Local<'_>,
        index: usize,
        packet: Packet,
        out: &mut impl Extend<Transmit>,
    ) -> u32 {
        let path = &self.paths[index];
        let observed = if path.heard { path.remote } else { Probe::UNOBSERVED };
        let (socket, destination, flags) = (path.socket, path.remote, self.flags(local, index));
        self.paths[index].traffic.sent += 1;
        self.emit(local, (socket, destination), flags, observed, packet, out)
    }

    /// A request over what is no path as long as nobody answers.
    pub fn request_blindly(
        &mut self,
        local: &Local<'_>,
        over: (SocketIndex, SocketAddr),
        transaction: u64,
        ttl: Option<u8>,
        out: &mut impl Extend<Transmit>,
    ) {
        let packet = Packet { kind: ProbeKind::Request, transaction, echo: 0, ttl };
        self.blind += 1;
        self.emit(local, over, ProbeFlags(0), Probe::UNOBSERVED, packet, out);
    }

    fn emit(
        &mut self,
        local: &Local<'_>,
        (socket, destination): (SocketIndex, SocketAddr),
        flags: ProbeFlags,
        observed: SocketAddr,
        Packet { kind, transaction, echo, ttl }: Packet,
        out: &mut impl Extend<Transmit>,
    ) -> u32 {
        self.sequence += 1;
        let probe = Probe {
            sender: local.id,
            receiver: self.id,
            kind,
            flags,
            sequence: self.sequence,
            transaction,
            echo,
            observed,
            exchange: if kind == ProbeKind::Response { local.exchange.public() } else { [0; 32] },
        };
        out.extend([Transmit { socket, destination, payload: probe.encode(local.key), ttl }]);
        self.sequence
    }

    /// Whether the peer itself said that the hole is open (and we did not merely outlast its silence).
    pub fn is_confirmed_by_peer(&self) -> bool {
        matches!(self.phase, Phase::Done { confirmed_by_peer: true, .. })
    }
}

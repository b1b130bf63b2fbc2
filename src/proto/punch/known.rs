//! One peer as the puncher knows it: its hole in either dialect, and how far that is.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::peer::NativePunch;
use super::plain::PlainPunch;
use super::report::{Cause, PunchReport};
use crate::proto::NatBehaviour;
use crate::proto::secure::Exporter;
use crate::proto::types::{Candidate, CandidateKind, PeerId, SocketIndex, Transport};
use crate::proto::wire::{Probe, RelayRefusal};

/// How long a hole that the plain dialect has opened waits for the native one to authenticate it.
pub(super) const NATIVE_HEAD_START: Duration = Duration::from_millis(150);

/// How far a peer's hole is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// Known, nothing heard.
    Known,
    /// Heard from.
    Heard,
    /// We know that the hole works both ways.
    Confirmed,
    /// Both sides agree on it, or we have done all we can that they do.
    Done,
}

/// A peer and its hole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The peer's ID; [`PeerId::UNKNOWN`] for a plain peer of a plain server.
    pub id: PeerId,
    /// How far the hole is.
    pub progress: Progress,
    /// The agreed endpoint, or the best one so far.
    pub endpoint: SocketAddr,
    /// What carries the hole.
    pub transport: Transport,
    /// The socket that reaches it; over TCP, the number of its connection among those that were established.
    pub socket: SocketIndex,
    /// How the endpoint was learned.
    pub kind: CandidateKind,
    /// Round-trip time, where it was measured (the plain dialect has no means).
    pub rtt: Option<Duration>,
    /// Whether the peer proved that it knows the session ID.
    pub authenticated: bool,
    /// Whether the peer itself said that the hole is open, rather than we outlasted its silence.
    pub confirmed_by_peer: bool,
    /// What was tried, and what probably kept it from working.
    pub report: PunchReport,
    /// The secret that was agreed upon with it.
    pub exporter: Option<Exporter>,
}

/// A peer's TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamHole {
    /// The other end.
    pub remote: SocketAddr,
    /// How that was learned.
    pub kind: CandidateKind,
    /// How long an answer took.
    pub rtt: Duration,
    /// The number of the connection.
    pub socket: SocketIndex,
    /// The secret that was agreed upon over it.
    pub exporter: Option<Exporter>,
}

/// What a hint lets us send before the server's list has named the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hinted {
    /// What opens our own NATs and gets no further.
    Opener,
    /// A few probes.
    Probes,
}

#[derive(Debug)]
pub(super) struct Peer {
    pub known_since: Instant,
    pub listed_id: PeerId,
    /// The server's hint is all that speaks for it.
    pub hinted: Option<Hinted>,
    /// Named by a plain server's list (and so gone with it).
    pub plain_listed: bool,
    pub candidates: Vec<Candidate>,
    /// What its NAT does, as far as it says.
    pub nat: NatBehaviour,
    /// It sends and takes only what the server forwards.
    pub relay_only: bool,
    /// Until when no more than probing its known endpoints is tried; `None`: nothing else has been yet.
    pub rest_until: Option<Instant>,
    /// Its hole was open once and is opened anew.
    pub reopened: bool,
    /// The server has been asked to forward.
    pub relay_asked: bool,
    pub relay_refused: Option<RelayRefusal>,
    pub native: Option<NativePunch>,
    pub plain: Option<(SocketIndex, SocketAddr, PlainPunch)>,
    pub plain_open_since: Option<Instant>,
    /// Over which transport it is reached; over TCP somebody else looks for it.
    pub transport: Transport,
    /// What that has found.
    pub stream: Option<StreamHole>,
    /// What that has tried.
    pub stream_cause: Option<Cause>,
    /// The hole as an earlier call on the same socket left it, agreed upon by both sides.
    pub resumed: Option<PeerStatus>,
}

impl Peer {
    /// Nothing is known but who it is.
    pub fn new(now: Instant, id: PeerId, native: Option<NativePunch>) -> Self {
        Self {
            known_since: now,
            listed_id: id,
            hinted: None,
            plain_listed: false,
            candidates: Vec::new(),
            nat: NatBehaviour::default(),
            relay_only: false,
            rest_until: None,
            reopened: false,
            relay_asked: false,
            relay_refused: None,
            native,
            plain: None,
            plain_open_since: None,
            transport: Transport::Udp,
            stream: None,
            stream_cause: None,
            resumed: None,
        }
    }

    /// Whether nothing but an early hint of the server's speaks for it.
    pub fn is_rumour(&self) -> bool {
        self.hinted.is_some() && !self.is_heard_natively()
    }

    /// Whether it has been heard in the native dialect.
    pub fn is_heard_natively(&self) -> bool {
        self.native.as_ref().is_some_and(NativePunch::is_heard)
    }

    /// Whether a request of ours was answered in the native dialect.
    pub fn is_confirmed_natively(&self) -> bool {
        self.native.as_ref().is_some_and(NativePunch::is_confirmed)
    }

    /// Whether the server says that it is gone.
    pub fn is_gone(&self) -> bool {
        self.native.as_ref().is_some_and(NativePunch::is_gone)
    }

    /// Where the server sees it.
    pub fn reflexive(&self) -> Option<SocketAddr> {
        let reflexive = |candidate: &&Candidate| candidate.kind == CandidateKind::Reflexive;
        self.candidates.iter().find(reflexive).map(|candidate| candidate.endpoint)
    }

    fn plain_is_done(&self, now: Instant) -> bool {
        let head_start = if self.native.is_some() { NATIVE_HEAD_START } else { Duration::ZERO };
        let waited = self.plain_open_since.is_some_and(|since| now >= since + head_start);
        waited && self.plain.as_ref().is_some_and(|(.., plain)| plain.is_done())
    }

    pub fn progress(&self, now: Instant) -> Progress {
        if self.resumed.is_some() || self.stream.is_some() {
            return Progress::Done;
        }
        let native = self.native.as_ref().map_or(Progress::Known, |native| {
            if native.agreed().is_some() {
                Progress::Done
            } else if native.is_confirmed() {
                Progress::Confirmed
            } else if native.is_heard() {
                Progress::Heard
            } else {
                Progress::Known
            }
        });
        let plain = match &self.plain {
            Some(_) if self.plain_is_done(now) => Progress::Done,
            Some((.., plain)) if plain.is_open() => Progress::Confirmed,
            Some((.., plain)) if plain.is_heard() => Progress::Heard,
            _ => Progress::Known,
        };
        native.max(plain)
    }

    pub fn status(&self, now: Instant, report: PunchReport) -> PeerStatus {
        if let Some(status) = &self.resumed {
            return status.clone();
        }
        let progress = self.progress(now);
        if let Some(hole) = self.stream {
            return PeerStatus {
                id: self.listed_id,
                progress,
                endpoint: hole.remote,
                transport: Transport::Tcp,
                socket: hole.socket,
                kind: hole.kind,
                rtt: Some(hole.rtt),
                authenticated: true,
                confirmed_by_peer: true,
                report,
                exporter: hole.exporter,
            };
        }
        let best = self.native.as_ref().and_then(NativePunch::best);
        let id = self.native.as_ref().map_or(self.listed_id, |native| native.id);
        let confirmed_by_peer = self.native.as_ref().is_some_and(NativePunch::is_confirmed_by_peer);
        match (best, &self.plain) {
            (Some(path), _) => PeerStatus {
                id,
                progress,
                endpoint: path.remote,
                transport: Transport::Udp,
                socket: path.socket,
                kind: path.kind,
                rtt: path.rtt,
                authenticated: true,
                confirmed_by_peer,
                report,
                exporter: self.native.as_ref().and_then(|native| native.exporter),
            },
            (None, plain) => {
                let listed = self.candidates.first().map(|candidate| candidate.endpoint);
                let heard =
                    self.native.as_ref().and_then(|native| native.paths.first()).map(|path| path.remote);
                let (socket, endpoint) = match plain {
                    Some((socket, endpoint, _)) => (*socket, Some(*endpoint)),
                    None => (SocketIndex::default(), listed.or(heard)),
                };
                PeerStatus {
                    id,
                    progress,
                    endpoint: endpoint.unwrap_or(Probe::UNOBSERVED),
                    transport: self.transport,
                    socket,
                    kind: self.candidates.first().map_or(CandidateKind::PeerReflexive, |first| first.kind),
                    rtt: None,
                    authenticated: false,
                    confirmed_by_peer: progress >= Progress::Confirmed,
                    report,
                    exporter: None,
                }
            }
        }
    }
}

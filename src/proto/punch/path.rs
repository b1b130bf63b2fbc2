//! One path to a peer: a (local socket, remote endpoint) pair and what is known about it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::proto::types::{CandidateKind, SocketIndex};

/// How many requests in flight are remembered for measuring the round-trip time.
const REMEMBERED_REQUESTS: usize = 32;

/// One path to a peer.
#[derive(Clone, Debug)]
pub struct Path {
    /// Our socket.
    pub socket: SocketIndex,
    /// The peer's endpoint.
    pub remote: SocketAddr,
    /// How we learned of the endpoint.
    pub kind: CandidateKind,
    /// Random; a response must repeat it.
    pub transaction: u64,
    /// Requests sent since the last restart of the schedule.
    pub sent: u32,
    /// When the next request is due.
    pub next: Option<Instant>,
    /// An authenticated probe came over this path.
    pub heard: bool,
    /// A request of ours was answered over this path.
    pub confirmed: Option<Instant>,
    /// The peer says that it has confirmed this path.
    pub peer_confirmed: bool,
    /// The controlling peer has chosen this path.
    pub peer_nominated: bool,
    /// Round-trip time of the latest answered request.
    pub rtt: Option<Duration>,
    /// Transaction and sequence of the peer's latest request over this path.
    pub last_request: Option<(u64, u32)>,
    requests: [Option<(u32, Instant)>; REMEMBERED_REQUESTS],
}

impl Path {
    /// A path whose first probe is due at `now`.
    pub fn new(
        socket: SocketIndex,
        remote: SocketAddr,
        kind: CandidateKind,
        transaction: u64,
        now: Instant,
    ) -> Self {
        Self {
            socket,
            remote,
            kind,
            transaction,
            sent: 0,
            next: Some(now),
            heard: false,
            confirmed: None,
            peer_confirmed: false,
            peer_nominated: false,
            rtt: None,
            last_request: None,
            requests: [None; REMEMBERED_REQUESTS],
        }
    }

    /// Notes that request `sequence` leaves now and when the next is due.
    pub fn note_request(&mut self, now: Instant, sequence: u32, pause: impl Fn(u32) -> Duration) {
        self.sent = self.sent.saturating_add(1);
        self.next = Some(now + pause(self.sent));
        self.requests[sequence as usize % REMEMBERED_REQUESTS] = Some((sequence, now));
    }

    /// Notes the answer to request `echo`.
    pub fn note_response(&mut self, now: Instant, echo: u32) {
        if let Some((sequence, sent)) = self.requests[echo as usize % REMEMBERED_REQUESTS]
            && sequence == echo
        {
            self.rtt = Some(now.saturating_duration_since(sent));
        }
    }

    /// Starts the schedule again from its dense beginning.
    pub fn restart(&mut self, now: Instant) {
        self.sent = 0;
        self.next = Some(now);
    }

    /// The better of two confirmed paths is the one with the lower value.
    pub fn preference(&self) -> (u8, Option<Instant>) {
        (self.kind.rank(), self.confirmed)
    }
}

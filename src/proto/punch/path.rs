//! One path to a peer: a (local socket, remote endpoint) pair and what is known about it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::proto::types::{CandidateKind, SocketIndex};

/// How many requests in flight are remembered for measuring the round-trip time.
const REMEMBERED_REQUESTS: usize = 32;

/// Requests with a low TTL that come first.
const SOFT_REQUESTS: u32 = 3;
/// The pause after each of them.
const SOFT_PAUSE: Duration = Duration::from_millis(2);
/// The pause between further ones.
const SOFT_REFRESH: Duration = Duration::from_millis(50);
/// Where it is not known how many routers of ours there are: one at first, then two, three, each after so many requests.
const GUESS_AFTER: u32 = 6;

/// Probes over a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Sent.
    pub sent: u32,
    /// Received, and authentic.
    pub received: u32,
}

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
    /// Datagrams that were sent and received over this path in all.
    pub traffic: Traffic,
    /// Requests that were sent with a low TTL.
    pub soft: u32,
    /// Until then only such are sent, unless the peer is heard.
    pub soft_until: Option<Instant>,
    /// The same, for this path alone.
    pub quiet_until: Option<Instant>,
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
    /// The peer has made this path its hole.
    pub peer_settled: bool,
    /// How many requests of the peer's were answered over this path.
    pub answered: u32,
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
            traffic: Traffic::default(),
            soft: 0,
            soft_until: None,
            quiet_until: None,
            next: Some(now),
            heard: false,
            confirmed: None,
            peer_confirmed: false,
            peer_nominated: false,
            peer_settled: false,
            answered: 0,
            rtt: None,
            last_request: None,
            requests: [None; REMEMBERED_REQUESTS],
        }
    }

    /// How far the next request may go. The first ones pass our own NATs and die before the peer's: a router there that
    /// accepts input would take them for its own, as long as the peer has not sent, and spoil the peer's mapping.
    pub fn ttl(&self, now: Instant, safe: Option<u8>) -> Option<u8> {
        if self.heard || self.remote.is_ipv6() || self.kind == CandidateKind::Relayed {
            return None;
        }
        let held = self.soft_until.max(self.quiet_until).is_some_and(|until| now < until);
        let guess = |held: bool| match held {
            // In a hurry every depth gets its packet; there is time to go further step by step otherwise.
            false => 2 + self.soft.min(2) as u8,
            true => 2 + (self.soft / GUESS_AFTER).min(2) as u8,
        };
        (held || self.soft < SOFT_REQUESTS).then(|| safe.unwrap_or_else(|| guess(held)))
    }

    /// Notes that request `sequence` leaves now, with a low TTL. On a short way it arrives.
    pub fn note_soft_request(&mut self, now: Instant, sequence: u32) {
        self.requests[sequence as usize % REMEMBERED_REQUESTS] = Some((sequence, now));
        self.soft = self.soft.saturating_add(1);
        let first = self.soft <= SOFT_REQUESTS;
        self.next = Some(now + if first { SOFT_PAUSE } else { SOFT_REFRESH });
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

    /// Forgets that the path has ever worked.
    pub fn reopen(&mut self, now: Instant) {
        let (socket, remote, kind, traffic) = (self.socket, self.remote, self.kind, self.traffic);
        *self = Self { traffic, ..Self::new(socket, remote, kind, self.transaction, now) };
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

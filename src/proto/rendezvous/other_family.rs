//! Our endpoint in the address family that the rendezvous does not use.
//!
//! A host with IPv4 and IPv6 is registered over one of them; which one is chance. For peers that chance put on the other
//! one, the server's address of that family is asked, too, in the same words: its challenge tells our endpoint there,
//! which then goes into the registration as a further candidate.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How often the address is asked before it has answered; it may well not be reachable.
const MAX_UNANSWERED: u32 = 5;
/// How often it is asked again afterwards, so that the NAT keeps the mapping: half of the shortest lifetime in use, 30 s.
const REFRESH: Duration = Duration::from_secs(15);

/// What is known about the other family.
#[derive(Debug)]
pub(super) struct OtherFamily {
    /// Which of the server's addresses is asked.
    pub(super) server: usize,
    /// Our endpoint as seen there.
    pub(super) observed: Option<SocketAddr>,
    unanswered: u32,
    next: Instant,
}

impl OtherFamily {
    /// The first of `servers` that is of another family than the chosen one, if any.
    pub(super) fn of(servers: &[SocketAddr], chosen: usize, now: Instant, retry: Duration) -> Option<Self> {
        let server = servers.iter().position(|server| server.is_ipv4() != servers[chosen].is_ipv4())?;
        // It has just been asked along with the chosen one.
        Some(Self { server, observed: None, unanswered: 1, next: now + retry })
    }

    /// Notes an answer; `true` if it tells something new.
    pub(super) fn note_answer(&mut self, now: Instant, observed: SocketAddr) -> bool {
        self.unanswered = 0;
        self.next = now + REFRESH;
        self.observed.replace(observed) != Some(observed)
    }

    /// Whether to ask now.
    pub(super) fn is_due(&mut self, now: Instant, retry: Duration) -> bool {
        if self.poll_timeout().is_none_or(|next| now < next) {
            return false;
        }
        self.unanswered += 1;
        self.next = now + retry;
        true
    }

    /// When to ask next.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        (self.unanswered < MAX_UNANSWERED).then_some(self.next)
    }
}

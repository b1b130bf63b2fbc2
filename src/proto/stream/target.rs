//! An endpoint at which a peer may take a connection, and when it is tried.

use std::time::{Duration, Instant};

use super::types::{Forwarding, StreamId};
use crate::proto::types::Candidate;

/// When an endpoint is tried, after the start; then every [`PERIOD`]. Sides that start together go on together: where a router
/// answers in its own name whoever comes too early, only attempts that meet on the way succeed. Sides that do not are helped by chance.
const OFFSETS_MS: [u64; 6] = [0, 100, 250, 450, 700, 1000];
const PERIOD: Duration = Duration::from_millis(500);

/// One endpoint of a peer.
#[derive(Debug)]
pub struct Target {
    pub candidate: Candidate,
    /// Where the connection has to begin with a word to a server that forwards.
    pub forwarding: Option<Forwarding>,
    start: Instant,
    /// When it is tried next, where the other side does not know.
    next: Option<Instant>,
    tries: u32,
    /// How often in a row our own system had such a connection already.
    pub taken: u8,
    /// The attempt, or the connection, that there is.
    pub current: Option<StreamId>,
}

impl Target {
    pub fn new(candidate: Candidate, forwarding: Option<Forwarding>, start: Instant) -> Self {
        Self { candidate, forwarding, start, next: None, tries: 0, taken: 0, current: None }
    }

    /// When it is tried (again); `None` as long as an attempt is under way.
    pub fn due(&self) -> Option<Instant> {
        if self.current.is_some() || self.next.is_some() {
            return self.next.filter(|_| self.current.is_none());
        }
        let number = self.tries as usize;
        let last = OFFSETS_MS.len() - 1;
        let offset = Duration::from_millis(OFFSETS_MS[number.min(last)]);
        let periods = u32::try_from(number.saturating_sub(last)).unwrap_or(u32::MAX);
        Some(self.start + offset + PERIOD.saturating_mul(periods))
    }

    /// An attempt begins; times that have passed are not made up for. The next one begins after `pause`, if there is one, rather than when
    /// both sides know.
    pub fn begin(&mut self, now: Instant, id: StreamId, pause: Option<Duration>) {
        self.next = None;
        while self.due().is_some_and(|due| due <= now) {
            self.tries += 1;
        }
        self.next = pause.map(|pause| now + pause);
        self.current = Some(id);
    }

    /// The next attempt does not begin before then.
    pub fn put_off(&mut self, until: Instant) {
        self.next = Some(until);
    }

    /// Since when it is tried.
    pub fn start(&self) -> Instant {
        self.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::types::CandidateKind;

    #[test]
    fn endpoint_is_tried_at_times_that_both_sides_know() {
        let start = Instant::now();
        let endpoint = "192.0.2.1:1".parse().unwrap();
        let mut target = Target::new(Candidate { kind: CandidateKind::Host, endpoint }, None, start);
        let mut times = Vec::new();
        for _ in 0..8 {
            let due = target.due().unwrap();
            times.push((due - start).as_millis());
            target.begin(due, StreamId(1), None);
            assert_eq!(target.due(), None);
            target.current = None;
        }
        assert_eq!(times, [0, 100, 250, 450, 700, 1000, 1500, 2000]);
        // An attempt that took long.
        target.begin(start + Duration::from_millis(5200), StreamId(2), None);
        target.current = None;
        assert_eq!(target.due(), Some(start + Duration::from_millis(5500)));
        target.begin(start + Duration::from_millis(5500), StreamId(2), Some(Duration::from_millis(30)));
        assert_eq!(target.due(), None);
        target.current = None;
        assert_eq!(target.due(), Some(start + Duration::from_millis(5530)));
    }
}

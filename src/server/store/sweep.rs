//! Which sessions are compared with the store, and when: all of them every minute and whenever something was missed, a few at a time;
//! single ones once more a little later, where what was under way may explain a difference.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::proto::rendezvous::SessionKey;
use crate::server::SHARDS;

/// How often all are compared.
const PERIOD: Duration = Duration::from_secs(60);
/// When a single one is compared once more.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
/// Sessions that are compared at once.
const BATCH: usize = 128;
/// Single sessions that are remembered; what is more waits for the next minute.
const MAX_AGAIN: usize = 1 << 16;

/// What is to be compared.
pub(super) struct Sweep {
    /// The shard whose sessions are taken next; [`SHARDS`] when all were.
    shard: usize,
    keys: Vec<SessionKey>,
    all_due: Instant,
    again: VecDeque<(Instant, SessionKey)>,
}

impl Sweep {
    /// All are due.
    pub(super) fn new(now: Instant) -> Self {
        Self { shard: 0, keys: Vec::new(), all_due: now + PERIOD, again: VecDeque::new() }
    }

    /// All are due, whatever was compared before.
    pub(super) fn all(&mut self, now: Instant) {
        self.shard = 0;
        self.keys.clear();
        self.all_due = now + PERIOD;
    }

    /// One is due a little later.
    pub(super) fn again(&mut self, now: Instant, key: SessionKey) {
        if self.again.len() < MAX_AGAIN {
            self.again.push_back((now + AGAIN_AFTER, key));
        }
    }

    /// Whether there is something to compare now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        !self.keys.is_empty()
            || self.shard < SHARDS
            || now >= self.all_due
            || self.again.front().is_some_and(|(due, _)| *due <= now)
    }

    /// Some that are due; `keys_of` lists a shard's sessions.
    pub(super) fn next(
        &mut self,
        now: Instant,
        keys_of: impl Fn(usize) -> Vec<SessionKey>,
    ) -> Vec<SessionKey> {
        if now >= self.all_due {
            self.all(now);
        }
        let mut next = Vec::new();
        while next.len() < BATCH
            && let Some((due, key)) = self.again.front().copied()
            && due <= now
        {
            self.again.pop_front();
            next.push(key);
        }
        while self.keys.is_empty() && self.shard < SHARDS && next.len() < BATCH {
            self.keys = keys_of(self.shard);
            self.shard += 1;
        }
        let room = self.keys.len().min(BATCH - next.len());
        next.extend(self.keys.drain(self.keys.len() - room..));
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> SessionKey {
        SessionKey((number as u128).to_be_bytes())
    }

    /// Shard 3 has 300 sessions, shard 63 has one.
    fn keys_of(shard: usize) -> Vec<SessionKey> {
        match shard {
            3 => (0..300).map(key).collect(),
            63 => vec![key(1000)],
            _ => Vec::new(),
        }
    }

    fn take_all(sweep: &mut Sweep, now: Instant) -> Vec<SessionKey> {
        let mut all = Vec::new();
        while sweep.is_due(now) {
            let next = sweep.next(now, keys_of);
            assert!(next.len() <= BATCH);
            all.extend(next);
        }
        all.sort_unstable_by_key(|key| key.0);
        all
    }

    #[test]
    fn all_sessions_come_once_in_small_parts_and_again_after_a_minute() {
        let now = Instant::now();
        let mut sweep = Sweep::new(now);
        let everything: Vec<_> = (0..300).map(key).chain([key(1000)]).collect();
        assert_eq!(take_all(&mut sweep, now), everything);
        assert!(!sweep.is_due(now + PERIOD - Duration::from_millis(1)));
        assert_eq!(take_all(&mut sweep, now + PERIOD), everything);
        sweep.all(now);
        sweep.next(now, keys_of);
        sweep.all(now);
        assert_eq!(take_all(&mut sweep, now), everything, "from the start");
    }

    #[test]
    fn single_sessions_come_again_when_they_are_due_and_no_more_than_can_be_remembered() {
        let now = Instant::now();
        let mut sweep = Sweep::new(now);
        take_all(&mut sweep, now);
        for number in 0..MAX_AGAIN + 5 {
            sweep.again(now, key(number));
        }
        assert!(!sweep.is_due(now + AGAIN_AFTER / 2));
        assert_eq!(take_all(&mut sweep, now + AGAIN_AFTER).len(), MAX_AGAIN);
    }
}

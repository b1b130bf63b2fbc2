//! How much each source prefix takes: datagrams a second, and registrations.
//!
//! Both are kept in tables of fixed size, whoever sends from wherever. A prefix has a counter in each of two rows, which it shares with
//! whoever else falls there, and the smaller one holds: one flooded counter does not shut a stranger out.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Instant;

use ahash::RandomState;

use super::limits::Limits;
use crate::proto::Rng;
use crate::proto::rendezvous::Movement;

/// Counters in each row.
const COUNTERS: usize = 1 << 16;
/// Of how much time the datagrams may come at once, in microseconds.
const BURST: u32 = 2_000_000;

/// What all prefixes take.
#[derive(Debug)]
pub(super) struct Prefixes {
    /// Who sends chooses where it comes from, so the counters are chosen by a keyed hash.
    hasher: RandomState,
    epoch: Instant,
    /// Microseconds that one datagram takes of its prefix's time; 0 for no limit.
    pause: AtomicU32,
    /// Up to when each counter's time is taken, in microseconds: the generic cell rate algorithm (ITU-T I.371).
    taken: [Box<[AtomicU32]>; 2],
    max_endpoints: AtomicUsize,
    endpoints: [Box<[AtomicU32]>; 2],
}

impl Prefixes {
    pub(super) fn new(limits: &Limits, rng: &mut Rng, now: Instant) -> Self {
        let row = || (0..COUNTERS).map(|_| AtomicU32::new(0)).collect();
        let prefixes = Self {
            hasher: RandomState::with_seeds(rng.u64(), rng.u64(), rng.u64(), rng.u64()),
            epoch: now,
            pause: AtomicU32::new(0),
            taken: [row(), row()],
            max_endpoints: AtomicUsize::new(0),
            endpoints: [row(), row()],
        };
        prefixes.set_limits(limits);
        prefixes
    }

    pub(super) fn set_limits(&self, limits: &Limits) {
        let pause = limits.datagrams_per_second.map_or(0, |rate| (1_000_000 / rate).max(1));
        self.pause.store(pause, Ordering::Relaxed);
        self.max_endpoints.store(limits.max_endpoints_per_prefix, Ordering::Relaxed);
    }

    /// The prefix's place in both rows.
    fn places(&self, ip: IpAddr) -> [usize; 2] {
        let prefix = match ip {
            IpAddr::V4(v4) => u64::from(u32::from(v4)),
            IpAddr::V6(v6) => 1 << 63 | (u128::from(v6) >> 72) as u64,
        };
        let hash = self.hasher.hash_one(prefix);
        [hash as usize % COUNTERS, (hash >> 32) as usize % COUNTERS]
    }

    /// Whether a datagram from there is to be heard; it then counts.
    pub(super) fn hears(&self, now: Instant, ip: IpAddr) -> bool {
        let pause = self.pause.load(Ordering::Relaxed);
        if pause == 0 {
            return true;
        }
        let since = now.saturating_duration_since(self.epoch);
        let now = (since.as_secs() * 1_000_000 + u64::from(since.subsec_micros())) as u32;
        let places = self.places(ip);
        let counters = [&self.taken[0][places[0]], &self.taken[1][places[1]]];
        let ahead = counters.map(|counter| {
            let ahead = counter.load(Ordering::Relaxed).wrapping_sub(now);
            // What lies further ahead is a time long past.
            if ahead > BURST { 0 } else { ahead }
        });
        if ahead[0].min(ahead[1]) + pause > BURST {
            return false;
        }
        // Two workers at once may lose a count, which costs less than to keep them apart.
        for (counter, ahead) in counters.iter().zip(ahead) {
            counter.store(now.wrapping_add((ahead + pause).min(BURST)), Ordering::Relaxed);
        }
        true
    }

    /// Whether one more registration from there is too many.
    pub(super) fn is_full(&self, ip: IpAddr) -> bool {
        let places = self.places(ip);
        let counts = [0, 1].map(|row| self.endpoints[row][places[row]].load(Ordering::Relaxed) as usize);
        counts[0].min(counts[1]) >= self.max_endpoints.load(Ordering::Relaxed)
    }

    /// Counts who came and went.
    pub(super) fn note(&self, movement: Movement) {
        let (Movement::Came(ip) | Movement::Went(ip)) = movement;
        for (row, place) in self.endpoints.iter().zip(self.places(ip)) {
            match movement {
                Movement::Came(_) => row[place].fetch_add(1, Ordering::Relaxed),
                Movement::Went(_) => row[place].fetch_sub(1, Ordering::Relaxed),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn prefixes(limits: Limits) -> (Prefixes, Instant) {
        let now = Instant::now();
        (Prefixes::new(&limits, &mut Rng::new([5; 32]), now), now)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_prefix_is_heard_at_its_rate_with_two_seconds_at_once_and_others_are_not_held_up() {
        let limits = Limits { datagrams_per_second: Some(100), ..Limits::default() };
        let (prefixes, now) = prefixes(limits);
        let heard = |at, count, from: &str| (0..count).filter(|_| prefixes.hears(at, ip(from))).count();
        assert_eq!(heard(now, 1000, "192.0.2.1"), 200);
        assert_eq!(heard(now, 10, "192.0.2.2"), 10);
        assert_eq!(heard(now + Duration::from_millis(500), 1000, "192.0.2.1"), 50);
        // The first 56 bits count.
        assert_eq!(heard(now, 200, "2001:db8:0:1100::1"), 200);
        assert_eq!(heard(now, 10, "2001:db8:0:11ff:1::9"), 0);
        assert_eq!(heard(now, 10, "2001:db8:0:1200::1"), 10);
        assert_eq!(heard(now + Duration::from_secs(3600), 1000, "192.0.2.1"), 200);
    }

    #[test]
    fn without_a_limit_everything_is_heard_and_it_can_be_changed() {
        let (prefixes, now) = prefixes(Limits { datagrams_per_second: None, ..Limits::default() });
        assert!((0..100_000).all(|_| prefixes.hears(now, ip("192.0.2.1"))));
        prefixes.set_limits(&Limits { datagrams_per_second: Some(10), ..Limits::default() });
        assert_eq!((0..100).filter(|_| prefixes.hears(now, ip("192.0.2.1"))).count(), 20);
    }

    #[test]
    fn registrations_of_a_prefix_are_counted_until_they_go() {
        let (prefixes, _) = prefixes(Limits { max_endpoints_per_prefix: 3, ..Limits::default() });
        let home = ip("198.51.100.7");
        for _ in 0..3 {
            assert!(!prefixes.is_full(home));
            prefixes.note(Movement::Came(home));
        }
        assert!(prefixes.is_full(home) && !prefixes.is_full(ip("198.51.100.8")));
        prefixes.note(Movement::Went(home));
        assert!(!prefixes.is_full(home));
    }
}

//! When to ask again: for an answer that does not come, and for a mapping that is about to end.

use std::time::{Duration, Instant};

use super::Mapped;

/// The pause before the first repetition (RFC 6886 section 3.1). RFC 6887 section 8.1.1 would wait 3 s, which suits a
/// carrier's server; the router is one hop away, and the caller is about to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The pause doubles up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// Renewals are never closer together (RFC 6887 section 11.2.1).
const SHORTEST_RENEWAL: Duration = Duration::from_secs(4);
/// Longer lifetimes are taken for this (RFC 6887 section 15): the router may be replaced meanwhile.
const LONGEST_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Repetitions of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retry {
    due: Instant,
    pause: Duration,
    until: Instant,
}

impl Retry {
    /// The request has just been sent, and is given up after `patience`.
    pub(super) fn new(now: Instant, patience: Duration) -> Self {
        Self { due: now + FIRST_PAUSE, pause: FIRST_PAUSE, until: now + patience }
    }

    /// When something is to be done.
    pub(super) fn timeout(&self) -> Instant {
        self.due.min(self.until)
    }

    /// When it is given up.
    #[cfg(feature = "upnp")]
    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// Whether time is up.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        now >= self.until
    }

    /// Whether to send again now.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let due = now >= self.due;
        if due {
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            self.due = now + self.pause;
        }
        due
    }
}

/// A mapping that is held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) mapped: Mapped,
    /// When it ends and when to renew it; `None` if it does not end.
    times: Option<(Instant, Instant)>,
}

impl Lease {
    pub(super) fn new(mapped: Mapped, now: Instant) -> Self {
        let times = mapped.lifetime.map(|lifetime| {
            let expires = now + lifetime.min(LONGEST_LIFETIME);
            (expires, half_way(now, expires))
        });
        Self { mapped, times }
    }

    /// When to renew it, or when it ends.
    pub(super) fn timeout(&self) -> Option<Instant> {
        self.times.map(|(expires, renewal)| expires.min(renewal))
    }

    pub(super) fn is_expired(&self, now: Instant) -> bool {
        self.times.is_some_and(|(expires, _)| now >= expires)
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.times.is_some_and(|(_, renewal)| now >= renewal)
    }

    /// A renewal has failed: again after half of what is left.
    pub(super) fn postpone(&mut self, now: Instant) {
        if let Some((expires, renewal)) = &mut self.times {
            *renewal = half_way(now, *expires);
        }
    }
}

fn half_way(now: Instant, expires: Instant) -> Instant {
    now + (expires.saturating_duration_since(now) / 2).max(SHORTEST_RENEWAL)
}

/// The router's clock, which starts anew when it has lost its mappings (RFC 6887 section 8.5, RFC 6886 section 3.6).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Epoch(Option<(u32, Instant)>);

impl Epoch {
    /// Whether the router still has the state that it had at the last observation.
    pub(super) fn observe(&mut self, epoch: u32, now: Instant) -> bool {
        let Some((then, at)) = self.0.replace((epoch, now)) else { return true };
        if epoch < then.saturating_sub(1) {
            return false;
        }
        // Two clocks may drift apart by a sixteenth, and 2 s for rounding.
        let own = now.saturating_duration_since(at).as_secs();
        let its = u64::from(epoch.saturating_sub(then));
        own + 2 >= its - its / 16 && its + 2 >= own - own / 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::portmap::Protocol;

    #[test]
    fn requests_are_repeated_ever_less_often_and_then_given_up() {
        let start = Instant::now();
        let mut retry = Retry::new(start, Duration::from_secs(10));
        let mut at = Vec::new();
        loop {
            let now = retry.timeout();
            if retry.is_over(now) {
                break;
            }
            assert!(retry.is_due(now) && !retry.is_due(now));
            at.push((now - start).as_millis());
        }
        assert_eq!(at, [250, 750, 1750, 3750, 7750]);
    }

    #[test]
    fn mapping_is_renewed_at_half_of_what_is_left_but_never_too_often() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mapped = |lifetime| Mapped {
            protocol: Protocol::Pcp,
            external: "203.0.113.1:1".parse().unwrap(),
            lifetime,
        };
        let mut lease = Lease::new(mapped(Some(Duration::from_secs(100))), start);
        assert!(!lease.is_due(at(49)) && lease.is_due(at(50)));
        lease.postpone(at(50));
        assert_eq!(lease.timeout(), Some(at(75)));
        lease.postpone(at(98));
        assert_eq!(lease.timeout(), Some(at(100)));
        assert!(!lease.is_expired(at(99)) && lease.is_expired(at(100)));
        let endless = Lease::new(mapped(Some(Duration::MAX)), start);
        assert_eq!(endless.timeout(), Some(at(12 * 3600)));
        assert_eq!(Lease::new(mapped(None), start).timeout(), None);
    }

    #[test]
    fn epoch_shows_a_restarted_router() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let observed = |epoch, now| {
            let mut clock = Epoch::default();
            assert!(clock.observe(1000, start));
            clock.observe(epoch, now)
        };
        assert!(
            observed(1000, at(0))
                && observed(999, at(0))
                && observed(1100, at(100))
                && observed(1106, at(100))
        );
        assert!(!observed(998, at(0)), "went backwards");
        assert!(!observed(1000, at(100)), "stood still");
        assert!(!observed(1200, at(100)), "ran ahead");
        assert!(!observed(0, at(7200)) && !observed(u32::MAX, at(1)));
    }
}

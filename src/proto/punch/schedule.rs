//! When to probe: at once, then densely, then ever less often.

use std::time::Duration;

/// Pauses after the first probes of a path, in milliseconds. Dense at first, because both sides start within one
/// one-way delay of each other and only the first probe may die at the other side's filter; then backing off.
const NATIVE_PAUSES_MS: [u16; 12] = [4, 6, 10, 15, 20, 25, 30, 40, 50, 60, 80, 100];

/// The same for the plain dialect. Only a lost signal needs the dense beginning: the peer's own first one opens the hole.
const PLAIN_PAUSES_MS: [u16; 3] = [10, 20, 30];

/// Whom the pauses suit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tempo {
    /// A peer that answers at once.
    Native,
    /// A peer that may be an existing plain tool. It speaks only after a pause (100 ms) in which it has heard nothing, not
    /// even probes that mean nothing to it, so that two that talk all the time would never hear it.
    Plain,
}

impl Tempo {
    /// The pause after probe number `sent` (counted from 1). `retry` is the longest one among those who answer at once.
    pub fn pause(self, sent: u32, retry: Duration) -> Duration {
        let (pauses, longest) = match self {
            Self::Native => (&NATIVE_PAUSES_MS[..], retry),
            Self::Plain => (&PLAIN_PAUSES_MS[..], retry * 3 / 2),
        };
        let index = sent.max(1) as usize - 1;
        pauses.get(index).map_or(longest, |ms| Duration::from_millis((*ms).into()).min(longest))
    }

    /// The same for one that may be probed for days: ten times as long after some ten seconds, a hundred times after some minutes.
    pub fn lasting_pause(self, sent: u32, retry: Duration) -> Duration {
        self.pause(sent, retry)
            * match sent {
                0..=100 => 1,
                101..=300 => 10,
                _ => 100,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_a_few_milliseconds_to_the_configured_period() {
        let retry = Duration::from_millis(150);
        let pauses: Vec<_> = (1..=14).map(|sent| Tempo::Native.pause(sent, retry)).collect();
        assert_eq!(pauses[0], Duration::from_millis(4));
        assert!(pauses.is_sorted());
        assert_eq!(pauses[12..], [retry; 2]);
        assert_eq!(Tempo::Native.pause(9, Duration::from_millis(7)), Duration::from_millis(7));
    }

    #[test]
    fn lasting_probing_becomes_rare() {
        let retry = Duration::from_millis(100);
        let pauses = [1, 100, 101, 300, 301].map(|sent| Tempo::Native.lasting_pause(sent, retry).as_millis());
        assert_eq!(pauses, [4, 100, 1000, 1000, 10_000]);
    }

    #[test]
    fn a_plain_tool_with_the_same_period_gets_a_word_in() {
        let retry = Duration::from_millis(100);
        assert_eq!(Tempo::Plain.pause(1, retry), Duration::from_millis(10));
        for sent in 4..20 {
            assert_eq!(Tempo::Plain.pause(sent, retry), Duration::from_millis(150));
        }
    }
}

//! When to probe: at once, then densely, then ever less often.

use std::time::Duration;

/// Pauses after the first probes of a path, in milliseconds. Dense at first, because both sides start within one
/// one-way delay of each other and only the first probe may die at the other side's filter; then backing off.
const NATIVE_PAUSES_MS: [u16; 12] = [4, 6, 10, 15, 20, 25, 30, 40, 50, 60, 80, 100];

/// The same for the plain dialect, whose peers learn of each other up to one poll (100 ms) apart.
const PLAIN_PAUSES_MS: [u16; 8] = [10, 20, 20, 20, 20, 20, 20, 20];

/// The pause after native probe number `sent` (counted from 1), never more than `longest`.
pub fn native_pause(sent: u32, longest: Duration) -> Duration {
    pause(&NATIVE_PAUSES_MS, sent, longest)
}

/// The pause after plain signal number `sent` (counted from 1), never more than `longest`.
pub fn plain_pause(sent: u32, longest: Duration) -> Duration {
    pause(&PLAIN_PAUSES_MS, sent, longest)
}

fn pause(pauses: &[u16], sent: u32, longest: Duration) -> Duration {
    let index = sent.max(1) as usize - 1;
    pauses.get(index).map_or(longest, |ms| Duration::from_millis((*ms).into()).min(longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_a_few_milliseconds_to_the_configured_period() {
        let longest = Duration::from_millis(150);
        let pauses: Vec<_> = (1..=14).map(|sent| native_pause(sent, longest)).collect();
        assert_eq!(pauses[0], Duration::from_millis(4));
        assert!(pauses.is_sorted());
        assert_eq!(pauses[12..], [longest; 2]);
        assert_eq!(native_pause(9, Duration::from_millis(7)), Duration::from_millis(7));
        assert_eq!(plain_pause(9, longest), longest);
    }
}

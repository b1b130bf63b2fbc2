//! Which counters of a channel were seen: a sliding window as in RFC 6479.

/// Bits in one block; the window moves by whole blocks.
const BLOCK_BITS: u64 = 64;
/// Blocks, of which one is always being filled.
const BLOCKS: u64 = 33;
/// So far may a datagram be overtaken and still be taken.
pub const WINDOW: u64 = (BLOCKS - 1) * BLOCK_BITS;

/// The latest counters. Looking and noting are apart, for only what proved authentic may move the window.
#[derive(Clone, Debug)]
pub struct CounterWindow {
    /// One more than the highest that was noted.
    next: u64,
    blocks: [u64; BLOCKS as usize],
}

impl Default for CounterWindow {
    fn default() -> Self {
        Self { next: 0, blocks: [0; BLOCKS as usize] }
    }
}

impl CounterWindow {
    /// Whether `counter` is neither known nor too old to tell.
    pub fn is_new(&self, counter: u64) -> bool {
        if counter >= self.next {
            return true;
        }
        self.next - counter <= WINDOW && self.blocks[block_of(counter)] & bit_of(counter) == 0
    }

    /// Notes `counter`, which is new and came in an authentic datagram.
    pub fn note(&mut self, counter: u64) {
        if counter >= self.next {
            let (latest, new) = (self.next.saturating_sub(1) / BLOCK_BITS, counter / BLOCK_BITS);
            let entered = if self.next == 0 { BLOCKS } else { (new - latest).min(BLOCKS) };
            for block in 0..entered {
                self.blocks[((new - block) % BLOCKS) as usize] = 0;
                if new == block {
                    break;
                }
            }
            self.next = counter.saturating_add(1);
        }
        self.blocks[block_of(counter)] |= bit_of(counter);
    }
}

fn block_of(counter: u64) -> usize {
    (counter / BLOCK_BITS % BLOCKS) as usize
}

fn bit_of(counter: u64) -> u64 {
    1 << (counter % BLOCK_BITS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::proto::Rng;

    fn accept(window: &mut CounterWindow, counter: u64) -> bool {
        let new = window.is_new(counter);
        if new {
            window.note(counter);
        }
        new
    }

    #[test]
    fn each_counter_passes_once_and_the_window_has_its_width() {
        let mut window = CounterWindow::default();
        for counter in [0, 5, 4, 1, 63, 64, 65, 2047] {
            assert!(accept(&mut window, counter), "{counter}");
            assert!(!accept(&mut window, counter), "{counter}");
        }
        assert!(accept(&mut window, 2048));
        assert!(!accept(&mut window, 0), "fell out");
        assert!(accept(&mut window, 2));
        assert!(accept(&mut window, 1 << 40));
        assert!(!accept(&mut window, 2048));
        assert!(accept(&mut window, (1 << 40) - WINDOW + 1));
        assert!(!window.is_new((1 << 40) - WINDOW));
        assert!(accept(&mut window, u64::MAX - 1));
        assert!(!accept(&mut window, 1 << 40));
    }

    #[test]
    fn it_does_what_a_set_of_all_counters_would() {
        let mut rng = Rng::new([9; 32]);
        for _ in 0..50 {
            let (mut window, mut seen, mut highest) = (CounterWindow::default(), BTreeSet::new(), 0);
            for _ in 0..3000 {
                let step = u64::from(rng.u32() % 6000);
                let counter = (highest + u64::from(rng.u32() % 100)).saturating_sub(step);
                let wanted = !seen.contains(&counter) && (seen.is_empty() || counter + WINDOW > highest);
                assert_eq!(accept(&mut window, counter), wanted, "{counter} with {highest}");
                seen.insert(counter);
                highest = highest.max(counter);
            }
        }
    }
}

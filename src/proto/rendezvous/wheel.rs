//! One timer for each member, in a hierarchical timing wheel: arming, disarming and firing cost the same however many there are.
//!
//! Time is a count of milliseconds. Each level has 64 slots, which each cover as much time as all of the level below. An entry lies
//! on the level where its time and the present differ first, and moves down as that slot begins (Varghese and Lauck 1987).

use super::chunks::Chunks;

/// No entry.
const NONE: u32 = u32::MAX;
/// Marks what stands before the first entry of a slot: the slot's number.
const SLOT: u32 = 1 << 31;
const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;
const LEVELS: usize = 5;
/// Longest time that the levels have room for, 12 days, wherever in a slot of the highest the present is. Later entries are fired early,
/// and armed again by who looks at them.
const HORIZON: u64 = (1 << (BITS * LEVELS as u32)) - (1 << (BITS * (LEVELS as u32 - 1))) - 1;

#[derive(Clone, Copy, Debug)]
struct Link {
    /// The entry before, or [`SLOT`] and the slot's number, or [`NONE`] if the entry is not armed.
    previous: u32,
    next: u32,
    /// The lower bits of when it is due, which are enough within the horizon.
    due: u32,
}

const IDLE: Link = Link { previous: NONE, next: NONE, due: 0 };

/// Timers of entries, which are named by their numbers: one each.
#[derive(Debug)]
pub struct Wheel {
    /// All that was due before has been fired.
    now: u64,
    slots: Box<[u32; SLOTS * LEVELS]>,
    /// Which slots have entries, a bit each.
    occupied: [u64; LEVELS],
    links: Chunks<Link>,
}

impl Default for Wheel {
    fn default() -> Self {
        Self {
            now: 0,
            slots: Box::new([NONE; SLOTS * LEVELS]),
            occupied: [0; LEVELS],
            links: Chunks::default(),
        }
    }
}

impl Wheel {
    /// Bytes for each entry.
    pub const ENTRY_BYTES: usize = size_of::<Link>();

    /// Arms the timer of an entry, anew if it was armed. What is due already fires next.
    pub fn arm(&mut self, entry: u32, due: u64) {
        let at = entry as usize;
        while at >= self.links.len() {
            self.links.push(IDLE);
        }
        self.disarm(entry);
        let due = due.clamp(self.now, self.now + HORIZON);
        self.links[at].due = due as u32;
        self.link(entry, due);
    }

    /// Disarms the timer of an entry, if it is armed.
    pub fn disarm(&mut self, entry: u32) {
        let Some(link) = self.links.get_mut(entry as usize).filter(|link| link.previous != NONE) else {
            return;
        };
        let Link { previous, next, .. } = std::mem::replace(link, IDLE);
        if previous & SLOT == 0 {
            self.links[previous as usize].next = next;
        } else {
            let slot = (previous ^ SLOT) as usize;
            self.slots[slot] = next;
            if next == NONE {
                self.occupied[slot / SLOTS] &= !(1 << (slot % SLOTS));
            }
        }
        if next != NONE {
            self.links[next as usize].previous = previous;
        }
    }

    /// Gives back the memory of entries, none of which is armed.
    pub fn shrink(&mut self) {
        if self.occupied == [0; LEVELS] && self.links.len() > 1024 {
            self.links = Chunks::default();
        }
    }

    /// When an entry's timer ends, if it is armed.
    pub fn due(&self, entry: u32) -> Option<u64> {
        let link = self.links.get(entry as usize).filter(|link| link.previous != NONE)?;
        Some(self.full(link.due))
    }

    /// A time not before which the next entry is due, and by which to call [`Self::pop`].
    pub fn next(&self) -> Option<u64> {
        self.next_slot().map(|(_, begin)| begin)
    }

    /// Takes an entry that is due at `now`, earlier ones first; its timer is not armed any more.
    pub fn pop(&mut self, now: u64) -> Option<u32> {
        while let Some((slot, begin)) = self.next_slot()
            && begin <= now
        {
            self.now = begin.max(self.now);
            if slot < SLOTS {
                let entry = self.slots[slot];
                self.disarm(entry);
                return Some(entry);
            }
            // Its entries move to lower levels.
            let mut entry = std::mem::replace(&mut self.slots[slot], NONE);
            self.occupied[slot / SLOTS] &= !(1 << (slot % SLOTS));
            while entry != NONE {
                let Link { next, due, .. } = self.links[entry as usize];
                let due = self.full(due);
                self.link(entry, due);
                entry = next;
            }
        }
        self.now = self.now.max(now);
        None
    }

    fn full(&self, due: u32) -> u64 {
        self.now + u64::from(due.wrapping_sub(self.now as u32))
    }

    /// The first slot that has entries, and when it begins; slots of lower levels begin before those of higher ones.
    fn next_slot(&self) -> Option<(usize, u64)> {
        let level = self.occupied.iter().position(|slots| *slots != 0)?;
        let shift = BITS * level as u32;
        let present = self.now >> shift;
        let ahead = self.occupied[level].rotate_right((present % SLOTS as u64) as u32).trailing_zeros();
        let begin = present + u64::from(ahead);
        Some((level * SLOTS + (begin % SLOTS as u64) as usize, (begin << shift).max(self.now)))
    }

    fn link(&mut self, entry: u32, due: u64) {
        let differs = (due ^ self.now) | (SLOTS as u64 - 1);
        let level = ((63 - differs.leading_zeros()) / BITS).min(LEVELS as u32 - 1);
        let slot = level as usize * SLOTS + ((due >> (BITS * level)) % SLOTS as u64) as usize;
        let next = std::mem::replace(&mut self.slots[slot], entry);
        if next != NONE {
            self.links[next as usize].previous = entry;
        }
        let link = &mut self.links[entry as usize];
        (link.previous, link.next) = (SLOT | slot as u32, next);
        self.occupied[level as usize] |= 1 << (slot % SLOTS);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::proto::Rng;

    fn pop_all(wheel: &mut Wheel, now: u64) -> Vec<u32> {
        let mut entries: Vec<u32> = std::iter::from_fn(|| wheel.pop(now)).collect();
        entries.sort_unstable();
        entries
    }

    #[test]
    fn entries_fire_when_they_are_due_and_not_a_millisecond_before() {
        let dues = [0, 1, 63, 64, 65, 4095, 4096, 4097, 15_000, 40_000, 262_143, 262_144, 262_145, HORIZON];
        for start in [0, 1, 63, 64, 4095, 4096, u64::from(u32::MAX) - 5, 1 << 40] {
            for due in dues {
                let mut wheel = Wheel::default();
                assert_eq!(wheel.pop(start), None);
                wheel.arm(7, start + due);
                assert_eq!(wheel.due(7), Some(start + due));
                assert!(wheel.next().is_some_and(|next| next <= start + due));
                if due > 0 {
                    assert_eq!(wheel.pop(start + due - 1), None, "{start} + {due}");
                }
                assert_eq!(wheel.pop(start + due), Some(7), "{start} + {due}");
                assert_eq!((wheel.next(), wheel.due(7), wheel.pop(u64::MAX / 2)), (None, None, None));
            }
        }
    }

    #[test]
    fn later_than_the_horizon_is_fired_at_it() {
        let mut wheel = Wheel::default();
        wheel.arm(0, u64::MAX);
        assert_eq!((wheel.pop(HORIZON - 1), wheel.pop(HORIZON)), (None, Some(0)));
    }

    #[test]
    fn any_order_of_calls_fires_like_a_sorted_map() {
        for seed in 0..50 {
            let mut rng = Rng::new([seed; 32]);
            let (mut wheel, mut expected) = (Wheel::default(), BTreeMap::<u32, u64>::new());
            let mut now = u64::from(rng.u32()) * 3;
            wheel.pop(now);
            for _ in 0..2000 {
                let entry = rng.u32() % 60;
                match rng.u32() % 8 {
                    0 => {
                        wheel.disarm(entry);
                        expected.remove(&entry);
                    }
                    1..=4 => {
                        let due =
                            now + u64::from(rng.u32() % [2, 100, 5000, 300_000][rng.u32() as usize % 4]);
                        wheel.arm(entry, due);
                        expected.insert(entry, due);
                    }
                    _ => {
                        now += u64::from(rng.u32() % [2, 70, 4500, 200_000][rng.u32() as usize % 4]);
                        let due: Vec<u32> = expected
                            .iter()
                            .filter(|(_, due)| **due <= now)
                            .map(|(entry, _)| *entry)
                            .collect();
                        assert_eq!(pop_all(&mut wheel, now), due, "seed {seed}");
                        expected.retain(|_, due| *due > now);
                    }
                }
                for (entry, due) in &expected {
                    assert_eq!(wheel.due(*entry), Some(*due), "seed {seed}");
                }
                let first = expected.values().min().copied();
                assert_eq!(wheel.next().is_some(), first.is_some(), "seed {seed}");
                assert!(wheel.next() <= first.or(Some(0)), "seed {seed}");
            }
        }
    }

    #[test]
    fn sleeping_until_the_next_slot_fires_all_in_few_wakings() {
        let mut wheel = Wheel::default();
        wheel.arm(1, 15_000);
        wheel.arm(2, 40_001);
        let (mut fired, mut wakings) = (Vec::new(), 0);
        while let Some(next) = wheel.next() {
            wakings += 1;
            while let Some(entry) = wheel.pop(next) {
                fired.push((entry, next));
            }
        }
        assert_eq!(fired, [(1, 15_000), (2, 40_001)]);
        assert!(wakings <= 2 * LEVELS, "{wakings}");
    }
}

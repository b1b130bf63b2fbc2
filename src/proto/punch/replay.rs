//! Which of a peer's sequence numbers were seen (a sliding window as in RFC 6479, one word wide).

/// Remembers the last 64 sequence numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplayWindow {
    highest: u32,
    seen: u64,
}

impl ReplayWindow {
    /// Notes `sequence`; `false` if it was seen before or is too old to tell. 0 is never a valid number.
    pub fn accept(&mut self, sequence: u32) -> bool {
        if sequence == 0 {
            return false;
        }
        if sequence > self.highest {
            let shift = sequence - self.highest;
            self.seen = self.seen.checked_shl(shift).unwrap_or(0) | 1;
            self.highest = sequence;
            return true;
        }
        let age = self.highest - sequence;
        let bit = 1u64.checked_shl(age).unwrap_or(0);
        if bit == 0 || self.seen & bit != 0 {
            return false;
        }
        self.seen |= bit;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::ReplayWindow;

    #[test]
    fn each_number_passes_once_and_reordering_within_the_window_is_fine() {
        let mut window = ReplayWindow::default();
        assert!(!window.accept(0));
        assert!(window.accept(1));
        assert!(!window.accept(1));
        assert!(window.accept(64));
        assert!(window.accept(2));
        assert!(!window.accept(2));
        assert!(!window.accept(1), "still within the window of 64, and seen");
        assert!(window.accept(65));
        assert!(!window.accept(1), "fell out of the window");
        assert!(window.accept(u32::MAX));
        assert!(!window.accept(65));
        assert!(window.accept(u32::MAX - 63));
        assert!(!window.accept(u32::MAX - 64));
    }
}

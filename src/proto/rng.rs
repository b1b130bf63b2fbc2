//! The core's one source of randomness: a stream expanded from a seed.

/// A cryptographically strong generator, deterministic in its seed (BLAKE3 as an extendable-output function).
#[derive(Clone)]
pub struct Rng {
    stream: blake3::OutputReader,
}

impl Rng {
    /// Starts the stream of `seed`; drivers take it from the operating system, tests from a printed number.
    pub fn new(seed: [u8; 32]) -> Self {
        Self { stream: blake3::Hasher::new_keyed(&seed).finalize_xof() }
    }

    /// A generator with a stream of its own, so that what one machine draws never shifts another's numbers.
    pub fn fork(&mut self) -> Self {
        Self::new(self.bytes())
    }

    /// The next `N` bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.stream.fill(&mut bytes);
        bytes
    }

    /// The next 32 bits.
    pub fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.bytes())
    }

    /// The next 64 bits.
    pub fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.bytes())
    }
}

impl std::fmt::Debug for Rng {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rng")
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    #[test]
    fn same_seed_gives_the_same_stream_and_forks_differ() {
        let (mut a, mut b) = (Rng::new([7; 32]), Rng::new([7; 32]));
        assert_eq!(a.u64(), b.u64());
        let (mut fork_a, mut fork_b) = (a.fork(), b.fork());
        assert_eq!(fork_a.u32(), fork_b.u32());
        assert_ne!(a.u64(), fork_a.u64());
        assert_ne!(Rng::new([8; 32]).u64(), Rng::new([7; 32]).u64());
    }
}

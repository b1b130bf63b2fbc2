//! A list that grows without moving what it holds: no pause to copy a large one, and no memory left over from smaller ones.

use std::ops::{Index, IndexMut};

/// Elements that are made room for at once.
const CHUNK: usize = 256;

/// Elements by their numbers, from 0.
#[derive(Debug)]
pub struct Chunks<T> {
    chunks: Vec<Vec<T>>,
    len: usize,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }
}

impl<T> Chunks<T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Adds one at the end.
    pub fn push(&mut self, value: T) {
        if self.len.is_multiple_of(CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        self.chunks[self.len / CHUNK].push(value);
        self.len += 1;
    }

    /// The element of that number, if there is one.
    pub fn get(&self, at: usize) -> Option<&T> {
        self.chunks.get(at / CHUNK)?.get(at % CHUNK)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.chunks.get_mut(at / CHUNK)?.get_mut(at % CHUNK)
    }

    /// All of them in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }
}

impl<T> Index<usize> for Chunks<T> {
    type Output = T;

    fn index(&self, at: usize) -> &T {
        &self.chunks[at / CHUNK][at % CHUNK]
    }
}

impl<T> IndexMut<usize> for Chunks<T> {
    fn index_mut(&mut self, at: usize) -> &mut T {
        &mut self.chunks[at / CHUNK][at % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_keep_their_numbers_across_chunks() {
        let mut chunks = Chunks::default();
        (0..3 * CHUNK + 1).for_each(|value| chunks.push(value));
        assert_eq!((chunks.len(), chunks.get(3 * CHUNK + 1)), (3 * CHUNK + 1, None));
        assert!(chunks.iter().copied().eq(0..3 * CHUNK + 1));
        chunks[CHUNK] = 7;
        *chunks.get_mut(CHUNK + 1).unwrap() = 8;
        assert_eq!([chunks[CHUNK - 1], chunks[CHUNK], chunks[CHUNK + 1]], [CHUNK - 1, 7, 8]);
    }
}

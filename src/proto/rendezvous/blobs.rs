//! Short byte strings of members, side by side without gaps: a general allocator's overhead would be as large as most of them.
//!
//! Strings of like length lie in one row. Where one goes, the last of its row takes its place, so that memory is always given back;
//! its owner then has to be told.

/// Lengths are rounded up to a multiple of this.
const STEP: usize = 8;

#[derive(Debug, Default)]
struct Row {
    bytes: Vec<u8>,
    owners: Vec<u32>,
}

/// The strings of one shard's members.
#[derive(Debug, Default)]
pub struct Blobs {
    /// By length, in steps.
    rows: Vec<Row>,
    bytes: usize,
}

impl Blobs {
    /// Keeps a string that consists of these parts, and says at which place of its length's row.
    pub fn insert(&mut self, owner: u32, parts: [&[u8]; 2]) -> u32 {
        let len = parts[0].len() + parts[1].len();
        if len == 0 {
            return 0;
        }
        let class = class_of(len);
        if class >= self.rows.len() {
            self.rows.resize_with(class + 1, Row::default);
        }
        let row = &mut self.rows[class];
        parts.iter().for_each(|part| row.bytes.extend_from_slice(part));
        row.owners.push(owner);
        row.bytes.resize(row.owners.len() * class * STEP, 0);
        self.bytes += Self::cost(len);
        row.owners.len() as u32 - 1
    }

    /// A string of that length at that place.
    pub fn get(&self, place: u32, len: usize) -> &[u8] {
        if len == 0 {
            return &[];
        }
        let class = class_of(len);
        &self.rows[class].bytes[place as usize * class * STEP..][..len]
    }

    /// Forgets a string. Another one of the same length's row may have come to its place: then that one's owner is returned.
    #[must_use]
    pub fn remove(&mut self, place: u32, len: usize) -> Option<u32> {
        if len == 0 {
            return None;
        }
        let (class, place) = (class_of(len), place as usize);
        let (row, size) = (&mut self.rows[class], class * STEP);
        let last = row.owners.len() - 1;
        row.owners.swap_remove(place);
        row.bytes.copy_within(last * size.., place * size);
        row.bytes.truncate(last * size);
        if row.owners.capacity() > 64 && last < row.owners.capacity() / 4 {
            row.owners.shrink_to(last * 2);
            row.bytes.shrink_to(last * 2 * size);
        }
        self.bytes -= Self::cost(len);
        row.owners.get(place).copied()
    }

    /// Bytes that all strings take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that one of that length takes.
    pub fn cost(len: usize) -> usize {
        if len == 0 { 0 } else { class_of(len) * STEP + size_of::<u32>() }
    }
}

fn class_of(len: usize) -> usize {
    len.div_ceil(STEP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Rng;

    #[test]
    fn strings_stay_whole_whatever_comes_and_goes_and_memory_is_given_back() {
        let mut rng = Rng::new([3; 32]);
        let mut blobs = Blobs::default();
        let mut kept: Vec<Option<(u32, Vec<u8>)>> = vec![None; 300];
        for round in 0..20_000 {
            let owner = rng.u32() % 300;
            match kept[owner as usize].take() {
                Some((place, bytes)) => {
                    assert_eq!(blobs.get(place, bytes.len()), bytes);
                    if let Some(moved) = blobs.remove(place, bytes.len()) {
                        kept[moved as usize].as_mut().expect("it has a string").0 = place;
                    }
                }
                None => {
                    let len = [0, 1, 8, 9, 29, 512, 528][rng.u32() as usize % 7];
                    let bytes: Vec<u8> = (0..len).map(|at| (at as u32 * 31 + round) as u8).collect();
                    let place = blobs.insert(owner, [&bytes[..len / 3], &bytes[len / 3..]]);
                    kept[owner as usize] = Some((place, bytes));
                }
            }
        }
        let costs: usize = kept.iter().flatten().map(|(_, bytes)| Blobs::cost(bytes.len())).sum();
        assert_eq!(blobs.bytes(), costs);
        for owner in 0..300 {
            if let Some((place, bytes)) = kept[owner].take() {
                assert_eq!(blobs.get(place, bytes.len()), bytes);
                if let Some(moved) = blobs.remove(place, bytes.len()) {
                    kept[moved as usize].as_mut().expect("it has a string").0 = place;
                }
            }
        }
        assert_eq!(blobs.bytes(), 0);
        assert!(blobs.rows.iter().all(|row| row.owners.capacity() <= 256), "memory is given back");
    }
}

//! The receiving side: puts parts in order and messages together.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::frame::{Ack, FIRST, LAST, MAX_AHEAD, MAX_PART, Part};
use super::{MAX_MESSAGE, PART_COST};

/// How long an acknowledgement waits for another part to be acknowledged with it.
const ACK_DELAY: Duration = Duration::from_millis(5);
/// So many parts are acknowledged at once.
const ACK_EVERY: u32 = 2;

/// Parts that have come, and messages that are whole.
#[derive(Debug)]
pub(super) struct Receiver {
    /// The first part that is missing.
    next: u64,
    ahead: BTreeMap<u64, (u8, Vec<u8>)>,
    /// The beginning of a message.
    assembling: Option<Vec<u8>>,
    ready: VecDeque<Vec<u8>>,
    ready_bytes: usize,
    max_ready_bytes: usize,
    /// The highest limit that was ever told.
    limit: u64,
    unacknowledged: u32,
    ack_due: Option<Instant>,
}

impl Receiver {
    pub fn new(max_ready_bytes: usize) -> Self {
        Self {
            next: 0,
            ahead: BTreeMap::new(),
            assembling: None,
            ready: VecDeque::new(),
            ready_bytes: 0,
            max_ready_bytes,
            limit: 1,
            unacknowledged: 0,
            ack_due: None,
        }
    }

    /// Takes a part; `false` if there is no such message, which only a peer that breaks the rules sends.
    pub fn take(&mut self, now: Instant, part: &Part<'_>) -> bool {
        self.unacknowledged += 1;
        let in_order = part.number == self.next;
        let at_once = !in_order || !self.ahead.is_empty() || self.unacknowledged >= ACK_EVERY;
        let due = if at_once { now } else { now + ACK_DELAY };
        self.ack_due = Some(self.ack_due.map_or(due, |known| known.min(due)));
        // What is beyond the limit was sent to ask for it.
        if part.number < self.next || part.number >= self.limit().max(self.limit) {
            return true;
        }
        self.ahead.entry(part.number).or_insert_with(|| (part.flags, part.bytes.to_vec()));
        let mut sound = true;
        while let Some((flags, bytes)) = self.ahead.remove(&self.next) {
            self.next += 1;
            sound &= self.append(flags, bytes);
        }
        sound
    }

    fn append(&mut self, flags: u8, bytes: Vec<u8>) -> bool {
        let begins = flags & FIRST != 0;
        let mut message = match self.assembling.take() {
            None if begins => bytes,
            Some(mut message) if !begins => {
                message.extend(bytes);
                message
            }
            _ => return false,
        };
        if message.len() > MAX_MESSAGE {
            return false;
        }
        if flags & LAST == 0 {
            self.assembling = Some(message);
        } else {
            message.shrink_to_fit();
            self.ready_bytes += message.len() + PART_COST;
            self.ready.push_back(message);
        }
        true
    }

    /// The next whole message.
    pub fn pop(&mut self, now: Instant) -> Option<Vec<u8>> {
        let was_full = self.room() == 0;
        let message = self.ready.pop_front()?;
        self.ready_bytes -= message.len() + PART_COST;
        if was_full && self.room() > 0 {
            // The sender waits to hear of it.
            self.ack_due = Some(now);
        }
        Some(message)
    }

    /// Whether a message is whole.
    pub fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// For how many more parts there is room.
    fn room(&self) -> u64 {
        let free = self.max_ready_bytes.saturating_sub(self.ready_bytes);
        // A message that has begun may end, whatever its length.
        (free / MAX_PART) as u64
    }

    fn limit(&self) -> u64 {
        self.next + self.room().min(MAX_AHEAD)
    }

    /// What is to be told now, if anything is.
    pub fn poll_ack(&mut self, now: Instant) -> Option<Ack> {
        self.ack_due.take_if(|due| now >= *due)?;
        Some(self.ack())
    }

    /// What could still be told, early.
    pub fn poll_last_ack(&mut self) -> Option<Ack> {
        self.ack_due.take()?;
        Some(self.ack())
    }

    fn ack(&mut self) -> Ack {
        self.unacknowledged = 0;
        self.limit = self.limit.max(self.limit());
        let mut ahead = Vec::new();
        for number in self.ahead.keys() {
            let at = (number - self.next - 1) as usize;
            ahead.resize(ahead.len().max(at / 8 + 1), 0);
            ahead[at / 8] |= 1 << (at % 8);
        }
        Ack { next: self.next, limit: self.limit, ahead }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.ack_due
    }
}

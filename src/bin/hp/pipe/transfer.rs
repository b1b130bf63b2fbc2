//! What flows between the two ends: as much as the other side has room for, each way by itself, until both have all.

use std::collections::VecDeque;

use super::frame::{Frame, MAX_DATA};

/// So much may be under way that the other side has not written yet.
pub const WINDOW: u64 = 8 << 20;
/// The other side is told of room that has become free in such pieces.
const LIMIT_STEP: u64 = WINDOW / 8;
/// How a message counts beside its bytes, so that many short ones do not fill memory.
const MESSAGE_COST: u64 = 64;

/// Both ways of a pipe that has its two ends.
#[derive(Debug)]
pub struct Transfer {
    /// What was read and not sent, as messages.
    waiting: VecDeque<Vec<u8>>,
    /// Bytes that were sent.
    sent: u64,
    /// What they and their messages count, and may count in all.
    spent: u64,
    limit: u64,
    input_ended: bool,
    end_sent: bool,
    /// The other side has written all that we have sent.
    confirmed: bool,
    /// Bytes that have come.
    received: u64,
    /// What they and their messages count, what of it was written, and what it may count in all.
    used: u64,
    written: u64,
    granted: u64,
    their_end: bool,
    /// The message that tells the other side that we have written all, and whether it has come.
    done: Option<u64>,
    done_delivered: bool,
}

/// The other side does not keep to the rules.
#[derive(Debug, PartialEq, Eq)]
pub struct Violation;

impl Transfer {
    /// Nothing has flowed yet.
    pub fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            sent: 0,
            spent: 0,
            limit: WINDOW,
            input_ended: false,
            end_sent: false,
            confirmed: false,
            received: 0,
            used: 0,
            written: 0,
            granted: WINDOW,
            their_end: false,
            done: None,
            done_delivered: false,
        }
    }

    /// Bytes that were sent.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Bytes that have come.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Whether nothing more will come.
    pub fn has_their_end(&self) -> bool {
        self.their_end
    }

    /// Whether both sides have all, and the other side knows that we do.
    pub fn is_finished(&self) -> bool {
        self.confirmed && self.done_delivered
    }

    /// The other side is gone. If both had all by then it was told so, and there was nothing else to leave for.
    pub fn is_finished_without_them(&mut self) -> bool {
        self.done_delivered |= self.done.is_some();
        self.is_finished()
    }

    /// A message with data was read; one without any is the end of input.
    pub fn push_input(&mut self, message: Vec<u8>) {
        if message.len() > 1 {
            self.waiting.push_back(message);
        } else {
            self.input_ended = true;
        }
    }

    /// The next of the messages that have come was written: so many bytes.
    pub fn note_written(&mut self, bytes: usize) {
        self.written += cost(bytes);
    }

    /// The other side has got a message of ours.
    pub fn note_delivered(&mut self, number: u64) {
        self.done_delivered |= self.done == Some(number);
    }

    /// Takes a message; gives it back if its data are to be written.
    pub fn take(&mut self, message: Vec<u8>) -> Result<Option<Vec<u8>>, Violation> {
        match Frame::read(&message) {
            Some(Frame::Data(data)) if !self.their_end && self.used + cost(data.len()) <= self.granted => {
                self.received += data.len() as u64;
                self.used += cost(data.len());
                return Ok(Some(message));
            }
            Some(Frame::Limit(limit)) if limit >= self.limit && limit <= self.spent + WINDOW => {
                self.limit = limit;
            }
            Some(Frame::End) if !self.their_end => self.their_end = true,
            Some(Frame::Done) if self.end_sent => self.confirmed = true,
            _ => return Err(Violation),
        }
        Ok(None)
    }

    /// Sends what can be sent. `send` gives the number of the message, if it was taken; `sent` gets those back that are done with.
    pub fn pump(&mut self, send: impl Fn(&[u8]) -> Option<u64>, mut sent: impl FnMut(Vec<u8>)) {
        let granted = self.written + WINDOW;
        if granted - self.granted >= LIMIT_STEP
            && !self.their_end
            && send(&Frame::Limit(granted).encode()).is_some()
        {
            self.granted = granted;
        }
        while let Some(message) = self.waiting.front() {
            let len = message.len() - 1;
            if self.spent + cost(len) > self.limit || send(message).is_none() {
                break;
            }
            self.sent += len as u64;
            self.spent += cost(len);
            self.waiting.pop_front().into_iter().for_each(&mut sent);
        }
        if self.input_ended && self.waiting.is_empty() && !self.end_sent {
            self.end_sent = send(&Frame::End.encode()).is_some();
        }
        if self.their_end && self.written == self.used && self.done.is_none() {
            self.done = send(&Frame::Done.encode());
        }
    }
}

/// What a message with so many bytes counts.
const fn cost(len: usize) -> u64 {
    len as u64 + MESSAGE_COST
}

// Else what waits for room would wait for ever.
const _: () = assert!(WINDOW - LIMIT_STEP >= cost(MAX_DATA));

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Sends all that can be sent, from one to the other; gives what is to be written there.
    fn flow(from: &mut Transfer, to: &mut Transfer) -> Vec<Vec<u8>> {
        let messages = RefCell::new(Vec::new());
        let send = |message: &[u8]| {
            messages.borrow_mut().push(message.to_vec());
            Some(messages.borrow().len() as u64)
        };
        from.pump(send, drop);
        let messages = messages.into_inner();
        (1..=messages.len() as u64).for_each(|number| from.note_delivered(number));
        messages.into_iter().filter_map(|message| to.take(message).unwrap()).collect()
    }

    fn data(len: usize) -> Vec<u8> {
        Frame::Data(&vec![7; len]).encode()
    }

    #[test]
    fn who_does_not_write_is_sent_no_more_than_the_window() {
        let (mut a, mut b) = (Transfer::new(), Transfer::new());
        let room = (WINDOW / cost(MAX_DATA)) as usize;
        (0..2 * room).for_each(|_| a.push_input(data(MAX_DATA)));
        let first = flow(&mut a, &mut b);
        assert_eq!(first.len(), room);
        assert!(flow(&mut a, &mut b).is_empty());
        // The other way still goes.
        b.push_input(data(3));
        assert_eq!(flow(&mut b, &mut a), [data(3)]);
        let mut come = first.len();
        first.iter().for_each(|message| b.note_written(message.len() - 1));
        assert!(flow(&mut b, &mut a).is_empty());
        come += flow(&mut a, &mut b).len();
        assert!(come > first.len() && a.sent() == (come * MAX_DATA) as u64);
    }

    #[test]
    fn each_way_ends_by_itself_and_both_must_have_been_written() {
        let (mut a, mut b) = (Transfer::new(), Transfer::new());
        a.push_input(data(10));
        a.push_input(data(0));
        assert_eq!(flow(&mut a, &mut b).len(), 1);
        assert!(b.has_their_end() && flow(&mut b, &mut a).is_empty());
        b.push_input(data(5));
        assert_eq!(flow(&mut b, &mut a).len(), 1);
        b.push_input(data(0));
        b.note_written(10);
        a.note_written(5);
        assert!(flow(&mut b, &mut a).is_empty());
        assert!(a.confirmed && !a.is_finished_without_them() && !b.is_finished_without_them());
        flow(&mut a, &mut b);
        assert!(a.is_finished() && b.is_finished());
    }

    #[test]
    fn short_messages_count_more_than_their_bytes() {
        let (mut a, mut b) = (Transfer::new(), Transfer::new());
        (0..WINDOW / MESSAGE_COST).for_each(|_| a.push_input(data(1)));
        assert_eq!(flow(&mut a, &mut b).len() as u64, WINDOW / cost(1));
    }

    #[test]
    fn what_is_not_taken_is_sent_later() {
        let (mut a, mut b) = (Transfer::new(), Transfer::new());
        a.push_input(data(1));
        a.push_input(data(0));
        a.pump(|_| None, |_| panic!("nothing was sent"));
        assert_eq!(flow(&mut a, &mut b), [data(1)]);
        assert!(b.has_their_end());
    }

    #[test]
    fn rules_are_kept() {
        let beyond = Frame::Limit(WINDOW + 1).encode();
        for wrong in [beyond, Frame::Limit(0).encode(), Frame::Done.encode(), Frame::Offer.encode(), vec![]] {
            assert_eq!(Transfer::new().take(wrong.clone()), Err(Violation), "{wrong:?}");
        }
        let mut full = Transfer::new();
        full.used = WINDOW - MESSAGE_COST;
        assert_eq!(full.take(data(1)), Err(Violation));
        let mut ended = Transfer::new();
        assert_eq!(ended.take(Frame::End.encode()), Ok(None));
        assert_eq!(ended.take(data(1)), Err(Violation));
    }
}

//! Messages to one peer and from it, each once, whole and in order, over datagrams that may be lost, repeated and overtake each
//! other; and word of each that it has come. Lies within the secure channel, which keeps strangers out.

mod frame;
mod rate;
mod receiver;
mod sender;
#[cfg(test)]
mod tests;

use std::time::Instant;

use self::frame::{ACK, Ack, PART, Part};
use self::receiver::Receiver;
use self::sender::Sender;

/// Longest message.
pub const MAX_MESSAGE: usize = 64 << 10;

/// How a part of a message that waits is counted beside its bytes, on either side.
const PART_COST: usize = 64;

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// It is longer than [`MAX_MESSAGE`].
    TooLong,
    /// Too much waits already; later there is room.
    Full,
}

/// What may wait on either side.
#[derive(Clone, Copy, Debug)]
pub struct DeliveryConfig {
    /// Bytes of messages that the peer has not acknowledged, and 64 for each of their parts of 1154 bytes. A single message is
    /// taken all the same.
    pub max_unacknowledged: usize,
    /// Bytes of messages that came and were not fetched, and 64 for each message; the peer then waits. At least as long as one datagram.
    pub max_unfetched: usize,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self { max_unacknowledged: 4 << 20, max_unfetched: 2 << 20 }
    }
}

/// Delivery to one peer and from it.
#[derive(Debug)]
pub struct Delivery {
    config: DeliveryConfig,
    sender: Sender,
    receiver: Receiver,
    malformed: u64,
}

impl Delivery {
    /// Nothing was sent yet.
    pub fn new(config: DeliveryConfig, now: Instant) -> Self {
        Self { config, sender: Sender::new(now), receiver: Receiver::new(config.max_unfetched), malformed: 0 }
    }

    /// Takes a message; by this number [`Self::poll_delivered`] will tell that it has come.
    pub fn send(&mut self, number: u64, message: &[u8]) -> Result<(), Rejected> {
        if message.len() > MAX_MESSAGE {
            return Err(Rejected::TooLong);
        }
        let waiting = self.sender.queued_bytes();
        if waiting > 0 && waiting + sender::cost(message) > self.config.max_unacknowledged {
            return Err(Rejected::Full);
        }
        self.sender.push(number, message);
        Ok(())
    }

    /// Whether a frame is delivery's.
    pub fn is_frame(frame: &[u8]) -> bool {
        matches!(frame.first(), Some(&(PART | ACK)))
    }

    /// Takes a frame of the peer's.
    pub fn handle_frame(&mut self, now: Instant, frame: &[u8]) {
        let sound = match frame.split_first() {
            Some((&PART, rest)) => Part::read(rest).is_ok_and(|part| self.receiver.take(now, &part)),
            Some((&ACK, rest)) => Ack::read(rest).map(|ack| self.sender.handle_ack(now, &ack)).is_ok(),
            _ => false,
        };
        self.malformed += u64::from(!sound);
    }

    /// Frames that made no sense, and messages that had no beginning or no end.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Messages that are not known to have come.
    pub fn undelivered(&self) -> impl Iterator<Item = u64> {
        self.sender.undelivered()
    }

    /// The next frame to send; to be asked for after every call that takes `&mut self`, and when [`Self::poll_timeout`] says.
    #[must_use]
    pub fn poll_frame(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.receiver.poll_ack(now).map(|ack| ack.encode()).or_else(|| self.sender.poll_frame(now))
    }

    /// What the peer is still to be told, before the end.
    #[must_use]
    pub fn poll_last_ack(&mut self) -> Option<Vec<u8>> {
        self.receiver.poll_last_ack().map(|ack| ack.encode())
    }

    /// The next message that has come.
    #[must_use]
    pub fn poll_message(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.receiver.pop(now)
    }

    /// Whether [`Self::poll_message`] has something to give.
    pub fn has_message(&self) -> bool {
        self.receiver.is_ready()
    }

    /// The next message of ours of which the peer says that it has come.
    #[must_use]
    pub fn poll_delivered(&mut self) -> Option<u64> {
        self.sender.pop_delivered()
    }

    /// When to ask for frames again.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.sender.poll_timeout().into_iter().chain(self.receiver.poll_timeout()).min()
    }
}

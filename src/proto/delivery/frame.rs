//! What delivery says, within sealed datagrams: parts of messages, and what has come of them.

use crate::proto::secure::MAX_SEALED_TEXT;
use crate::proto::wire::codec::{Malformed, Reader, Writer};

/// First byte of a part, and of an acknowledgement.
pub const PART: u8 = 0x10;
pub const ACK: u8 = 0x11;

const PART_HEADER_LEN: usize = 1 + 8 + 1;
/// Most bytes of a message in one part.
pub const MAX_PART: usize = MAX_SEALED_TEXT - PART_HEADER_LEN;
/// Parts that can be acknowledged beyond the first missing one.
pub const MAX_AHEAD: u64 = 1024;
/// A part begins a message, or ends one.
pub const FIRST: u8 = 1;
pub const LAST: u8 = 2;

/// A piece of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// Numbers the sender's parts from 0.
    pub number: u64,
    /// [`FIRST`] and [`LAST`].
    pub flags: u8,
    /// At most [`MAX_PART`] bytes.
    pub bytes: &'a [u8],
}

impl<'a> Part<'a> {
    /// The frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut frame = Vec::with_capacity(PART_HEADER_LEN + self.bytes.len());
        frame.push(PART);
        frame.extend(self.number.to_be_bytes());
        frame.push(self.flags);
        frame.extend(self.bytes);
        frame
    }

    /// Reads what follows the first byte.
    pub fn read(frame: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(frame);
        let part = Self { number: reader.u64()?, flags: reader.u8()?, bytes: reader.rest() };
        if part.bytes.len() > MAX_PART { Err(Malformed::Length) } else { Ok(part) }
    }
}

/// What has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// All parts before this one.
    pub next: u64,
    /// Parts before this one will be taken.
    pub limit: u64,
    /// A bit for each part after `next`, the lowest bit of the first byte for the one that follows it.
    pub ahead: Vec<u8>,
}

impl Ack {
    /// The frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut buffer = [0; 1 + 16 + (MAX_AHEAD / 8) as usize];
        let mut writer = Writer::new(&mut buffer);
        writer.u8(ACK);
        writer.u64(self.next);
        writer.u64(self.limit);
        writer.slice(&self.ahead[..self.ahead.len().min((MAX_AHEAD / 8) as usize)]);
        writer.as_slice().to_vec()
    }

    /// Reads what follows the first byte.
    pub fn read(frame: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(frame);
        let ack = Self { next: reader.u64()?, limit: reader.u64()?, ahead: reader.rest().to_vec() };
        if ack.ahead.len() as u64 > MAX_AHEAD / 8 { Err(Malformed::Length) } else { Ok(ack) }
    }

    /// The parts that have come, beside those before `next`.
    pub fn beyond(&self) -> impl Iterator<Item = u64> {
        let bit = |at: usize| self.ahead[at / 8] >> (at % 8) & 1 == 1;
        (0..self.ahead.len() * 8).filter(move |at| bit(*at)).map(|at| self.next + 1 + at as u64)
    }
}

//! The secure channel on the wire: three messages of a handshake, then sealed datagrams. Each side names its end of a channel
//! by a number of its own, so that a channel survives a change of endpoints; it tells the number within its first Noise message.

use super::codec::{Malformed, Reader};
use super::message::{encode, kind};
use super::{HEADER_LEN, MAX_DATAGRAM};
use crate::proto::types::PeerId;

/// Bytes of a sealed datagram before what is sealed.
pub const SEALED_HEADER_LEN: usize = HEADER_LEN + 4 + 8;
/// Bytes that sealing adds at the end.
const TAG_LEN: usize = 16;
/// Longest text that fits into one sealed datagram.
pub const MAX_SEALED_TEXT: usize = MAX_DATAGRAM - SEALED_HEADER_LEN - TAG_LEN;

/// "Let us talk in private."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeBegin<'a> {
    /// Who sends it.
    pub sender: PeerId,
    /// For whom.
    pub receiver: PeerId,
    /// Noise's first message.
    pub noise: &'a [u8],
}

impl<'a> HandshakeBegin<'a> {
    /// The datagram.
    pub fn encode(&self) -> Vec<u8> {
        encode(kind::HANDSHAKE_BEGIN, |writer| {
            writer.slice(&self.sender.0);
            writer.slice(&self.receiver.0);
            writer.slice(self.noise);
        })
    }

    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let (sender, receiver) = (PeerId(reader.array()?), PeerId(reader.array()?));
        Ok(Self { sender, receiver, noise: reader.rest() })
    }
}

/// "Agreed, and this is who I am."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeAnswer<'a> {
    /// How the receiver named its end.
    pub to: u32,
    /// Noise's second message.
    pub noise: &'a [u8],
}

impl<'a> HandshakeAnswer<'a> {
    /// The datagram.
    pub fn encode(&self) -> Vec<u8> {
        encode(kind::HANDSHAKE_ANSWER, |writer| {
            writer.u32(self.to);
            writer.slice(self.noise);
        })
    }

    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self { to: reader.u32()?, noise: reader.rest() })
    }
}

/// "And this is who I am."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeEnd<'a> {
    /// How the receiver named its end.
    pub to: u32,
    /// Noise's third message.
    pub noise: &'a [u8],
}

impl<'a> HandshakeEnd<'a> {
    /// The datagram.
    pub fn encode(&self) -> Vec<u8> {
        encode(kind::HANDSHAKE_END, |writer| {
            writer.u32(self.to);
            writer.slice(self.noise);
        })
    }

    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self { to: reader.u32()?, noise: reader.rest() })
    }
}

/// A datagram that only the other end can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed<'a> {
    /// How the receiver names its end.
    pub to: u32,
    /// Numbers the sender's sealed datagrams from 0; never used twice under one key.
    pub counter: u64,
    /// What is sealed, and its tag.
    pub text: &'a [u8],
}

impl<'a> Sealed<'a> {
    /// The datagram.
    pub fn encode(&self) -> Vec<u8> {
        encode(kind::SEALED, |writer| {
            writer.u32(self.to);
            writer.u64(self.counter);
            writer.slice(self.text);
        })
    }

    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let sealed = Self { to: reader.u32()?, counter: reader.u64()?, text: reader.rest() };
        if sealed.text.len() < TAG_LEN { Err(Malformed::Length) } else { Ok(sealed) }
    }
}

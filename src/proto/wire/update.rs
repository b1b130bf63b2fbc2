//! Update blocks: who joined and who left, as numbered revisions of a session.
//!
//! A block says "from revision a to revision b, this changed". A client that has everything up to `a` or later applies
//! it and acknowledges `b`; one that misses something before `a` drops it. Blocks are therefore idempotent, may come in
//! any order, and a retransmission is built afresh from what the client acknowledged last.

use std::net::SocketAddr;

use super::attributes::Attributes;
use super::codec::{Malformed, Reader, Writer, endpoint_len};
use super::message::{header, kind};
use crate::proto::types::{PeerDialect, PeerId, Transport};

const JOINED: u8 = 1;
const LEFT: u8 = 2;
const PLAIN_MEMBER: u8 = 1;
const TCP_MEMBER: u8 = 2;

/// Bytes of an update block before its entries.
pub const BLOCK_HEAD_LEN: usize = 4 * 4 + 1;

/// Why a member is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum LeaveReason {
    /// It said so.
    Goodbye = 1,
    /// It fell silent.
    Expired = 2,
}

/// One change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A member is there, or what is known of it changed.
    Joined {
        /// Its ID.
        peer: PeerId,
        /// Which dialect it registered in.
        dialect: PeerDialect,
        /// Its endpoint as the server sees it.
        reflexive: SocketAddr,
        /// Over which transport the server sees it there.
        transport: Transport,
        /// What it says of itself.
        attributes: Attributes<'a>,
    },
    /// A member is gone.
    Left {
        /// Its ID.
        peer: PeerId,
        /// Why; `None` for a reason that a later version may know.
        reason: Option<LeaveReason>,
    },
}

/// A row of changes, checked to be whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpdateBlock<'a> {
    /// Random number of this session's life on the server; revisions of different instances do not compare.
    pub instance: u32,
    /// The client must have everything up to here; 0 also means: forget what you knew.
    pub from: u32,
    /// With these entries it has everything up to here.
    pub to: u32,
    /// The session's latest revision; further blocks follow as long as `to` is less.
    pub latest: u32,
    count: u8,
    entries: &'a [u8],
}

impl<'a> UpdateBlock<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let (instance, from, to, latest) = (reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?);
        let count = reader.u8()?;
        if instance == 0 || from > to || to > latest {
            return Err(Malformed::Field);
        }
        let block = Self { instance, from, to, latest, count, entries: reader.rest() };
        let mut entries = Reader::new(block.entries);
        for _ in 0..count {
            read_entry(&mut entries)?;
        }
        Ok(block)
    }

    /// The changes, oldest first; kinds of change that a later version may know are left out.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        let mut reader = Reader::new(self.entries);
        (0..self.count).map_while(move |_| read_entry(&mut reader).ok()).flatten()
    }
}

fn read_entry<'a>(reader: &mut Reader<'a>) -> Result<Option<Entry<'a>>, Malformed> {
    let action = reader.u8()?;
    let len = reader.u16()?;
    let mut body = Reader::new(reader.slice(len.into())?);
    Ok(match action {
        JOINED => {
            let (peer, flags) = (PeerId(body.array()?), body.u8()?);
            Some(Entry::Joined {
                peer,
                dialect: if flags & PLAIN_MEMBER != 0 { PeerDialect::Plain } else { PeerDialect::Native },
                reflexive: body.endpoint()?,
                transport: if flags & TCP_MEMBER != 0 { Transport::Tcp } else { Transport::Udp },
                attributes: Attributes::parse(body.rest())?,
            })
        }
        LEFT => {
            let peer = PeerId(body.array()?);
            let code = body.u8()?;
            let reason = [LeaveReason::Goodbye, LeaveReason::Expired].into_iter().find(|r| *r as u8 == code);
            Some(Entry::Left { peer, reason })
        }
        _ => None,
    })
}

/// Writes an update block entry by entry, as long as there is room.
#[derive(Debug)]
pub struct UpdateBuilder<'a, 'b> {
    writer: &'b mut Writer<'a>,
    to_at: usize,
    count_at: usize,
    count: u8,
}

impl<'a, 'b> UpdateBuilder<'a, 'b> {
    /// Writes the head of an `Update` message, for [`Self::block`] to follow.
    pub fn message_head(writer: &mut Writer<'_>, token: u64) {
        header(writer, kind::UPDATE);
        writer.u64(token);
    }

    /// Starts a block.
    pub fn block(writer: &'b mut Writer<'a>, instance: u32, from: u32, latest: u32) -> Self {
        writer.u32(instance);
        writer.u32(from);
        let to_at = writer.written();
        writer.u32(from);
        writer.u32(latest);
        let count_at = writer.written();
        writer.u8(0);
        Self { writer, to_at, count_at, count: 0 }
    }

    /// Adds an entry; `false` if it does not fit any more.
    #[must_use]
    pub fn push(&mut self, entry: &Entry<'_>) -> bool {
        let len = match entry {
            Entry::Joined { reflexive, attributes, .. } => {
                16 + 1 + endpoint_len(*reflexive) + attributes.as_bytes().len()
            }
            Entry::Left { .. } => 16 + 1,
        };
        if self.writer.remaining() < 3 + len || self.count == u8::MAX {
            return false;
        }
        let action = match entry {
            Entry::Joined { .. } => JOINED,
            Entry::Left { .. } => LEFT,
        };
        self.writer.u8(action);
        self.writer.u16(len as u16);
        match entry {
            Entry::Joined { peer, dialect, reflexive, transport, attributes } => {
                self.writer.slice(&peer.0);
                let plain = if *dialect == PeerDialect::Plain { PLAIN_MEMBER } else { 0 };
                let tcp = if *transport == Transport::Tcp { TCP_MEMBER } else { 0 };
                self.writer.u8(plain | tcp);
                self.writer.endpoint(*reflexive);
                self.writer.slice(attributes.as_bytes());
            }
            Entry::Left { peer, reason } => {
                self.writer.slice(&peer.0);
                self.writer.u8(reason.map_or(0, |reason| reason as u8));
            }
        }
        self.count += 1;
        true
    }

    /// Ends the block: with it the client has everything up to `to`.
    pub fn finish(self, to: u32) {
        self.writer.patch_u32(self.to_at, to);
        self.writer.patch_u8(self.count_at, self.count);
    }
}

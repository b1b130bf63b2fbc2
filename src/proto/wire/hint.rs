//! Hints: who else is registering in a session, told before anybody's endpoint is proven. They save a round trip: both
//! sides begin to probe with the challenge already. Nothing depends on them, and nobody answers them.

use std::net::SocketAddr;

use super::codec::{Malformed, Reader, Writer, endpoint_len};
use super::message::{header, kind};
use crate::proto::types::PeerId;

/// Most hints in one challenge.
pub const MAX_HINTS: usize = 4;

const HINT: u8 = 0x08;
const PEER_ID_LEN: usize = size_of::<PeerId>();

/// Somebody who asked to be registered in the same session, or is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hint {
    /// Its name.
    pub peer: PeerId,
    /// Its endpoint as the server sees it, which need not be proven.
    pub endpoint: SocketAddr,
}

impl Hint {
    /// Bytes of the datagram that [`Self::write`] writes.
    pub fn datagram_len(&self) -> usize {
        super::HEADER_LEN + 8 + PEER_ID_LEN + endpoint_len(self.endpoint)
    }

    /// Writes the datagram for the client with this token.
    pub fn write(&self, writer: &mut Writer<'_>, token: u64) {
        header(writer, kind::HINT);
        writer.u64(token);
        self.write_body(writer);
    }

    fn write_body(&self, writer: &mut Writer<'_>) {
        writer.slice(&self.peer.0);
        writer.endpoint(self.endpoint);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { peer: PeerId(reader.array()?), endpoint: reader.endpoint()? })
    }

    /// Bytes of the attribute that [`Self::write_attribute`] writes.
    pub fn attribute_len(&self) -> usize {
        2 + PEER_ID_LEN + endpoint_len(self.endpoint)
    }

    /// Writes an attribute of a challenge.
    pub fn write_attribute(&self, writer: &mut Writer<'_>) {
        writer.u8(HINT);
        writer.u8((self.attribute_len() - 2) as u8);
        self.write_body(writer);
    }
}

/// The hints of one challenge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints([Option<Hint>; MAX_HINTS]);

impl Hints {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = Hint> {
        self.0.into_iter().flatten()
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        self.iter().for_each(|hint| hint.write_attribute(writer));
    }

    /// Reads as many as there may be; malformed ones count for nothing.
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut hints = Self::default();
        let mut free = hints.0.iter_mut();
        while let Ok((kind, value)) = super::attributes::next(reader) {
            if kind == HINT
                && let Ok(hint) = Hint::read(&mut Reader::new(value))
                && let Some(place) = free.next()
            {
                *place = Some(hint);
            }
        }
        hints
    }
}

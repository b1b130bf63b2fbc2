//! Forwarding for pairs that find no direct way: asked of the server, bound at one of its relay ports.

use super::codec::{Malformed, Reader, Writer};
use super::message::{encode, header, kind};
use crate::proto::types::{PeerId, Transport};

/// The attribute that says that connections are to be forwarded.
const OVER_TCP: [u8; 3] = [0x0C, 1, 1];

/// Lets its owner, and nobody else, say where one side of a pair is.
pub type Ticket = [u8; 16];

/// "Forward between me and that member of my session."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayRequest {
    /// The client's token.
    pub token: u64,
    /// From [`super::Registered`].
    pub handle: u64,
    /// The other side of the pair.
    pub peer: PeerId,
    /// What is to be forwarded: datagrams, or the bytes of two connections.
    pub transport: Transport,
}

impl RelayRequest {
    /// The datagram.
    pub fn encode(&self) -> Vec<u8> {
        encode(kind::RELAY_REQUEST, |writer| {
            writer.u64(self.token);
            writer.u64(self.handle);
            writer.slice(&self.peer.0);
            if self.transport == Transport::Tcp {
                writer.slice(&OVER_TCP);
            }
        })
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (token, handle, peer) = (reader.u64()?, reader.u64()?, PeerId(reader.array()?));
        let over_tcp = reader.rest().starts_with(&OVER_TCP);
        Ok(Self { token, handle, peer, transport: if over_tcp { Transport::Tcp } else { Transport::Udp } })
    }
}

/// "Show this ticket at that port of mine."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayGranted {
    /// The client's token, echoed.
    pub token: u64,
    /// The other side of the pair, echoed.
    pub peer: PeerId,
    /// At the address that the client asked.
    pub port: u16,
    /// This side's ticket.
    pub ticket: Ticket,
}

impl RelayGranted {
    /// Writes the datagram.
    pub fn write(&self, writer: &mut Writer<'_>) {
        header(writer, kind::RELAY_GRANTED);
        writer.u64(self.token);
        writer.slice(&self.peer.0);
        writer.u16(self.port);
        writer.slice(&self.ticket);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let granted = Self {
            token: reader.u64()?,
            peer: PeerId(reader.array()?),
            port: reader.u16()?,
            ticket: reader.array()?,
        };
        if granted.port == 0 { Err(Malformed::Field) } else { Ok(granted) }
    }
}

/// Why the server does not forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RelayRefusal {
    /// The server forwards nothing.
    NotOffered = 1,
    /// No such native member in the session.
    UnknownPeer = 2,
    /// As many pairs are forwarded as the server allows, in all or for this client.
    Full = 3,
}

/// "No."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayRefused {
    /// The client's token, echoed.
    pub token: u64,
    /// The other side of the pair, echoed.
    pub peer: PeerId,
    /// Why; `None` for a reason that a later version may know.
    pub reason: Option<RelayRefusal>,
}

impl RelayRefused {
    /// Writes the datagram.
    pub fn write(writer: &mut Writer<'_>, token: u64, peer: PeerId, reason: RelayRefusal) {
        header(writer, kind::RELAY_REFUSED);
        writer.u64(token);
        writer.slice(&peer.0);
        writer.u8(reason as u8);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (token, peer, code) = (reader.u64()?, PeerId(reader.array()?), reader.u8()?);
        use RelayRefusal::*;
        let reason = [NotOffered, UnknownPeer, Full].into_iter().find(|reason| *reason as u8 == code);
        Ok(Self { token, peer, reason })
    }
}

/// "I am the one with this ticket, and here I am": to a relay port, from where the client wants to be reached.
pub fn encode_relay_bind(ticket: &Ticket) -> Vec<u8> {
    encode(kind::RELAY_BIND, |writer| writer.slice(ticket))
}

/// "So be it", with the same ticket.
pub fn write_relay_bound(writer: &mut Writer<'_>, ticket: &Ticket) {
    header(writer, kind::RELAY_BOUND);
    writer.slice(ticket);
}

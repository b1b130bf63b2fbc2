//! The messages between a client and the rendezvous server, and the parser for every native datagram.

use std::net::SocketAddr;
use std::time::Duration;

use super::attributes::Attributes;
use super::codec::{Malformed, Reader, Writer};
use super::hint::{Hint, Hints};
use super::mapping::{Alternates, FilterProbe, FilterReply, MappingProbe, MappingReply};
use super::probe::SignedProbe;
use super::relay::{RelayGranted, RelayRefused, RelayRequest, Ticket};
use super::secure::{HandshakeAnswer, HandshakeBegin, HandshakeEnd, Sealed};
use super::update::UpdateBlock;
use super::{MAGIC, MAX_DATAGRAM, VERSION};
use crate::proto::cookie::Cookie;
use crate::proto::keys::LookupKey;
use crate::proto::types::PeerId;

pub(super) mod kind {
    pub const REGISTER: u8 = 0x01;
    pub const CHALLENGE: u8 = 0x02;
    pub const REGISTERED: u8 = 0x03;
    pub const UPDATE: u8 = 0x04;
    pub const PRESENCE: u8 = 0x05;
    pub const PRESENCE_ACK: u8 = 0x06;
    pub const LEAVE: u8 = 0x07;
    pub const LEFT: u8 = 0x08;
    pub const REFUSED: u8 = 0x09;
    pub const HINT: u8 = 0x0A;
    pub const MAPPING_PROBE: u8 = 0x10;
    pub const MAPPING_REPLY: u8 = 0x11;
    pub const FILTER_PROBE: u8 = 0x12;
    pub const FILTER_REPLY: u8 = 0x13;
    pub const RELAY_REQUEST: u8 = 0x14;
    pub const RELAY_GRANTED: u8 = 0x15;
    pub const RELAY_REFUSED: u8 = 0x16;
    pub const RELAY_BIND: u8 = 0x17;
    pub const RELAY_BOUND: u8 = 0x18;
    pub const PROBE: u8 = 0x20;
    pub const GOODBYE: u8 = 0x21;
    pub const HANDSHAKE_BEGIN: u8 = 0x30;
    pub const HANDSHAKE_ANSWER: u8 = 0x31;
    pub const HANDSHAKE_END: u8 = 0x32;
    pub const SEALED: u8 = 0x33;
    pub const STREAM_HELLO: u8 = 0x40;
    pub const STREAM_PROOF: u8 = 0x41;
}

/// A native datagram, parsed. Slices point into the datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// Client to server.
    Register(Register<'a>),
    /// Server to client.
    Challenge(Challenge),
    /// Server to client.
    Registered(Registered<'a>),
    /// Server to client.
    Update {
        /// The client's token, echoed.
        token: u64,
        /// What changed.
        block: UpdateBlock<'a>,
    },
    /// Client to server.
    Presence(Presence),
    /// Server to client.
    PresenceAck(PresenceAck),
    /// Client to server.
    Leave(Leave),
    /// Server to client.
    Left(Left),
    /// Server to client.
    Refused(Refused),
    /// Server to client.
    Hint {
        /// The client's token, echoed.
        token: u64,
        /// Who else is there.
        hint: Hint,
    },
    /// Client to server.
    MappingProbe(MappingProbe),
    /// Server to client.
    MappingReply(MappingReply),
    /// Client to server.
    FilterProbe(FilterProbe),
    /// Server to client.
    FilterReply(FilterReply),
    /// Client to server.
    RelayRequest(RelayRequest),
    /// Server to client.
    RelayGranted(RelayGranted),
    /// Server to client.
    RelayRefused(RelayRefused),
    /// Client to a relay port.
    RelayBind(Ticket),
    /// Relay port to client.
    RelayBound(Ticket),
    /// Peer to peer.
    Probe(SignedProbe<'a>),
    /// Peer to peer: "that was all", with what only the other side of this hole knows.
    Goodbye([u8; 16]),
    /// Peer to peer.
    HandshakeBegin(HandshakeBegin<'a>),
    /// Peer to peer.
    HandshakeAnswer(HandshakeAnswer<'a>),
    /// Peer to peer.
    HandshakeEnd(HandshakeEnd<'a>),
    /// Peer to peer.
    Sealed(Sealed<'a>),
}

impl<'a> Message<'a> {
    /// Parses a datagram. Bytes after a fixed-length body are attributes of a later version and are skipped.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Malformed> {
        if !super::is_native(datagram) {
            return Err(Malformed::NotNative);
        }
        if datagram.len() > MAX_DATAGRAM {
            return Err(Malformed::Length);
        }
        let mut reader = Reader::new(&datagram[MAGIC.len()..]);
        let version = reader.u8()?;
        if version != VERSION {
            return Err(Malformed::Version(version));
        }
        let kind = reader.u8()?;
        Ok(match kind {
            kind::REGISTER => Self::Register(Register::read(&mut reader)?),
            kind::CHALLENGE => Self::Challenge(Challenge::read(&mut reader)?),
            kind::REGISTERED => Self::Registered(Registered::read(&mut reader)?),
            kind::UPDATE => Self::Update { token: reader.u64()?, block: UpdateBlock::read(&mut reader)? },
            kind::PRESENCE => Self::Presence(Presence::read(&mut reader)?),
            kind::PRESENCE_ACK => Self::PresenceAck(PresenceAck::read(&mut reader)?),
            kind::LEAVE => Self::Leave(Leave::read(&mut reader)?),
            kind::LEFT => Self::Left(Left { token: reader.u64()?, sequence: reader.u32()? }),
            kind::REFUSED => Self::Refused(Refused::read(&mut reader)?),
            kind::HINT => Self::Hint { token: reader.u64()?, hint: Hint::read(&mut reader)? },
            kind::MAPPING_PROBE => Self::MappingProbe(MappingProbe::read(&mut reader)?),
            kind::MAPPING_REPLY => Self::MappingReply(MappingReply::read(&mut reader)?),
            kind::FILTER_PROBE => Self::FilterProbe(FilterProbe::read(&mut reader)?),
            kind::FILTER_REPLY => Self::FilterReply(FilterReply::read(&mut reader)?),
            kind::RELAY_REQUEST => Self::RelayRequest(RelayRequest::read(&mut reader)?),
            kind::RELAY_GRANTED => Self::RelayGranted(RelayGranted::read(&mut reader)?),
            kind::RELAY_REFUSED => Self::RelayRefused(RelayRefused::read(&mut reader)?),
            kind::RELAY_BIND => Self::RelayBind(reader.array()?),
            kind::RELAY_BOUND => Self::RelayBound(reader.array()?),
            kind::PROBE => Self::Probe(SignedProbe::read(datagram, reader)?),
            kind::GOODBYE => Self::Goodbye(reader.array()?),
            kind::HANDSHAKE_BEGIN => Self::HandshakeBegin(HandshakeBegin::read(&mut reader)?),
            kind::HANDSHAKE_ANSWER => Self::HandshakeAnswer(HandshakeAnswer::read(&mut reader)?),
            kind::HANDSHAKE_END => Self::HandshakeEnd(HandshakeEnd::read(&mut reader)?),
            kind::SEALED => Self::Sealed(Sealed::read(&mut reader)?),
            other => return Err(Malformed::Type(other)),
        })
    }
}

/// Writes the header of a message.
pub(super) fn header(writer: &mut Writer<'_>, kind: u8) {
    writer.slice(&MAGIC);
    writer.u8(VERSION);
    writer.u8(kind);
}

/// Encodes a message of less than [`MAX_DATAGRAM`] bytes.
pub(super) fn encode(kind: u8, body: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut buffer = [0; MAX_DATAGRAM];
    let mut writer = Writer::new(&mut buffer);
    header(&mut writer, kind);
    body(&mut writer);
    writer.as_slice().to_vec()
}

/// "That was all."
pub fn encode_goodbye(word: &[u8; 16]) -> Vec<u8> {
    encode(kind::GOODBYE, |writer| writer.slice(word))
}

/// "I am here under this lookup key." Also renews a registration whose source endpoint changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register<'a> {
    /// Random, known to this client and the server only; echoed in all that the server sends to this client.
    pub token: u64,
    /// Numbers this client's requests; echoed in the reply.
    pub sequence: u32,
    /// Names the session.
    pub lookup: LookupKey,
    /// Names this client to its peers.
    pub peer: PeerId,
    /// From a [`Challenge`]; all zero as long as there was none.
    pub cookie: Cookie,
    /// Which session instance the client knows; 0 for none.
    pub instance: u32,
    /// Up to which revision of that instance the client has all changes.
    pub revision: u32,
    /// What the client says of itself.
    pub attributes: Attributes<'a>,
}

impl<'a> Register<'a> {
    /// The datagram.
    pub fn encode(&self) -> Vec<u8> {
        encode(kind::REGISTER, |writer| {
            writer.u64(self.token);
            writer.u32(self.sequence);
            writer.slice(&self.lookup.0);
            writer.slice(&self.peer.0);
            writer.slice(&self.cookie);
            writer.u32(self.instance);
            writer.u32(self.revision);
            writer.slice(self.attributes.as_bytes());
        })
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let register = Self {
            token: reader.u64()?,
            sequence: reader.u32()?,
            lookup: LookupKey(reader.array()?),
            peer: PeerId(reader.array()?),
            cookie: reader.array()?,
            instance: reader.u32()?,
            revision: reader.u32()?,
            attributes: Attributes::parse(reader.rest())?,
        };
        if register.peer == PeerId::UNKNOWN {
            return Err(Malformed::Field);
        }
        Ok(register)
    }
}

/// "Show me this cookie": the answer to a registration that proves no endpoint. Never longer than that: without hints it is
/// shorter than any [`Register`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The client's token, echoed.
    pub token: u64,
    /// The request's number, echoed.
    pub sequence: u32,
    /// To be shown in the next registration.
    pub cookie: Cookie,
    /// The client's endpoint as the server sees it.
    pub observed: SocketAddr,
    /// Where else the client can ask which source the server sees.
    pub alternates: Alternates,
    /// Who else is there.
    pub hints: Hints,
}

impl Challenge {
    /// Writes the datagram.
    pub fn write(&self, writer: &mut Writer<'_>) {
        header(writer, kind::CHALLENGE);
        writer.u64(self.token);
        writer.u32(self.sequence);
        writer.slice(&self.cookie);
        writer.endpoint(self.observed);
        self.alternates.write(writer, self.observed);
        self.hints.write(writer);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (token, sequence) = (reader.u64()?, reader.u32()?);
        let (cookie, observed) = (reader.array()?, reader.endpoint()?);
        let attributes = reader.rest();
        let alternates = Alternates::read(&mut Reader::new(attributes));
        let hints = Hints::read(&mut Reader::new(attributes));
        Ok(Self { token, sequence, cookie, observed, alternates, hints })
    }
}

/// "You are registered, seen at this endpoint; this is what happened since what you know."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registered<'a> {
    /// The client's token, echoed.
    pub token: u64,
    /// The request's number, echoed.
    pub sequence: u32,
    /// The client's endpoint as the server sees it.
    pub observed: SocketAddr,
    /// Names the registration in [`Presence`] and [`Leave`].
    pub handle: u64,
    /// How often the client shall say that it is there, in milliseconds.
    pub heartbeat_ms: u16,
    /// After how much silence the server forgets the client, in milliseconds.
    pub expiry_ms: u16,
    /// The changes.
    pub block: UpdateBlock<'a>,
}

impl<'a> Registered<'a> {
    /// Writes the datagram up to the update block, which an [`super::UpdateBuilder`] adds.
    pub fn write_head(
        writer: &mut Writer<'_>,
        token: u64,
        sequence: u32,
        observed: SocketAddr,
        handle: u64,
        [heartbeat, expiry]: [Duration; 2],
    ) {
        let millis = |duration: Duration| u16::try_from(duration.as_millis()).unwrap_or(u16::MAX);
        header(writer, kind::REGISTERED);
        writer.u64(token);
        writer.u32(sequence);
        writer.endpoint(observed);
        writer.u64(handle);
        writer.u16(millis(heartbeat));
        writer.u16(millis(expiry));
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self {
            token: reader.u64()?,
            sequence: reader.u32()?,
            observed: reader.endpoint()?,
            handle: reader.u64()?,
            heartbeat_ms: reader.u16()?,
            expiry_ms: reader.u16()?,
            block: UpdateBlock::read(reader)?,
        })
    }
}

/// "I am still here and have all changes up to this revision": heartbeat and acknowledgement of updates in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    /// The client's token.
    pub token: u64,
    /// From [`Registered`].
    pub handle: u64,
    /// Numbers this client's requests.
    pub sequence: u32,
    /// The session instance that the client knows.
    pub instance: u32,
    /// Up to which revision it has all changes.
    pub revision: u32,
    /// Whether the client wants a [`PresenceAck`].
    pub wants_reply: bool,
}

impl Presence {
    /// The datagram.
    pub fn encode(&self) -> Vec<u8> {
        encode(kind::PRESENCE, |writer| {
            writer.u64(self.token);
            writer.u64(self.handle);
            writer.u32(self.sequence);
            writer.u32(self.instance);
            writer.u32(self.revision);
            writer.u8(u8::from(self.wants_reply));
        })
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            token: reader.u64()?,
            handle: reader.u64()?,
            sequence: reader.u32()?,
            instance: reader.u32()?,
            revision: reader.u32()?,
            wants_reply: reader.u8()? & 1 != 0,
        })
    }
}

/// "I know that you are here."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresenceAck {
    /// The client's token, echoed.
    pub token: u64,
    /// The request's number, echoed.
    pub sequence: u32,
}

impl PresenceAck {
    /// Writes the datagram.
    pub fn write(&self, writer: &mut Writer<'_>) {
        header(writer, kind::PRESENCE_ACK);
        writer.u64(self.token);
        writer.u32(self.sequence);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { token: reader.u64()?, sequence: reader.u32()? })
    }
}

/// "I go."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leave {
    /// The client's token.
    pub token: u64,
    /// From [`Registered`].
    pub handle: u64,
    /// Numbers this client's requests.
    pub sequence: u32,
}

impl Leave {
    /// The datagram.
    pub fn encode(&self) -> Vec<u8> {
        encode(kind::LEAVE, |writer| {
            writer.u64(self.token);
            writer.u64(self.handle);
            writer.u32(self.sequence);
        })
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { token: reader.u64()?, handle: reader.u64()?, sequence: reader.u32()? })
    }
}

/// "You are gone" (or were before).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// The client's token, echoed.
    pub token: u64,
    /// The request's number, echoed.
    pub sequence: u32,
}

impl Left {
    /// Writes the datagram.
    pub fn write(&self, writer: &mut Writer<'_>) {
        header(writer, kind::LEFT);
        writer.u64(self.token);
        writer.u32(self.sequence);
    }
}

/// Why the server does not do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RefusedReason {
    /// No such registration, or it moved: register again.
    UnknownRegistration = 1,
    /// The session has as many members as the server allows.
    SessionFull = 2,
    /// The server has as many registrations as it can hold.
    ServerFull = 3,
    /// Someone else registered under this peer ID.
    PeerIdTaken = 4,
    /// The server does not serve the native dialect.
    DialectRefused = 5,
}

/// "No."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The client's token, echoed.
    pub token: u64,
    /// The request's number, echoed.
    pub sequence: u32,
    /// Why; `None` for a reason that a later version may know.
    pub reason: Option<RefusedReason>,
}

impl Refused {
    /// Writes the datagram.
    pub fn write(writer: &mut Writer<'_>, token: u64, sequence: u32, reason: RefusedReason) {
        header(writer, kind::REFUSED);
        writer.u64(token);
        writer.u32(sequence);
        writer.u8(reason as u8);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        use RefusedReason::*;
        let (token, sequence) = (reader.u64()?, reader.u32()?);
        let code = reader.u8()?;
        let reason = [UnknownRegistration, SessionFull, ServerFull, PeerIdTaken, DialectRefused]
            .into_iter()
            .find(|reason| *reason as u8 == code);
        Ok(Self { token, sequence, reason })
    }
}

//! The native dialect on the wire (`docs/protocol.md` is the normative text) and the plain one.

pub mod attributes;
pub mod codec;
pub mod hint;
pub mod mapping;
pub mod message;
pub mod plain;
pub mod probe;
pub mod relay;
pub mod secure;
pub mod stream;
pub mod stun;
#[cfg(test)]
mod tests;
pub mod update;

pub use attributes::{Attributes, Profile};
pub use codec::Malformed;
pub use hint::{Hint, Hints};
pub use mapping::{Alternates, FilterProbe, FilterReply, MappingProbe, MappingReply};
pub use message::{
    Challenge, Leave, Left, Message, Presence, PresenceAck, Refused, RefusedReason, Register, Registered,
};
pub use probe::{Probe, ProbeFlags, ProbeKind};
pub use relay::{RelayGranted, RelayRefusal, RelayRefused, RelayRequest};
pub use secure::{HandshakeAnswer, HandshakeBegin, HandshakeEnd, Sealed};
pub use update::{Entry, LeaveReason, UpdateBlock, UpdateBuilder};

/// Every native datagram starts with these bytes. The first lies in 4..=15, which RFC 9443 section 3 leaves
/// unassigned, so STUN, ZRTP, DTLS, TURN, RTP and QUIC on the same socket never start like this.
pub const MAGIC: [u8; 6] = [0x0E, b'h', b'o', b'l', b'e', b'p'];

/// Version of the native dialect, the byte after the magic.
pub const VERSION: u8 = 1;

/// Bytes before a message's body: magic, version, type.
pub const HEADER_LEN: usize = MAGIC.len() + 2;

/// No native datagram is longer: fits IPv6's minimum MTU of 1280 bytes with room for a tunnel's header.
pub const MAX_DATAGRAM: usize = 1200;

/// Whether a datagram is the library's own, in either dialect. A program that shares the socket drops these.
///
/// True for every native datagram of any version and, for the plain dialect, for an empty datagram (keep-alive) and
/// for exactly `SYN` or `ACK`.
pub fn is_control_packet(datagram: &[u8]) -> bool {
    is_native(datagram) || plain::Signal::parse(datagram).is_some()
}

/// Whether a datagram is a native one, of any version.
pub fn is_native(datagram: &[u8]) -> bool {
    datagram.len() >= HEADER_LEN && datagram[..MAGIC.len()] == MAGIC
}

//! The NAT Port Mapping Protocol (RFC 6886): the external address, and mappings for UDP.

use std::net::Ipv4Addr;

use crate::proto::wire::codec::{Reader, Writer};

/// Result code of success (RFC 6886 section 3.5).
pub const SUCCESS: u16 = 0;
/// Result code "Unsupported Version".
pub const UNSUPPORTED_VERSION: u16 = 1;
/// Result code "Unsupported opcode".
pub const UNSUPPORTED_OPCODE: u16 = 5;

/// Bytes of a mapping request (RFC 6886 section 3.3).
pub const MAP_LEN: usize = 12;

/// Asks for the external address (RFC 6886 section 3.2).
pub const ADDRESS_REQUEST: [u8; 2] = [VERSION, OPCODE_ADDRESS];

const VERSION: u8 = 0;
const OPCODE_ADDRESS: u8 = 0;
const OPCODE_MAP_UDP: u8 = 1;
const RESPONSE: u8 = 0x80;

/// Asks for a mapping, its renewal, or, with lifetime 0 and external port 0, its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapRequest {
    /// The socket's own port.
    pub internal_port: u16,
    /// The external port that would be liked; 0 leaves the choice to the router.
    pub suggested_port: u16,
    /// Seconds.
    pub lifetime: u32,
}

impl MapRequest {
    /// The datagram.
    pub fn encode(&self) -> [u8; MAP_LEN] {
        let mut datagram = [0; MAP_LEN];
        let mut writer = Writer::new(&mut datagram);
        writer.slice(&[VERSION, OPCODE_MAP_UDP, 0, 0]);
        writer.u16(self.internal_port);
        writer.u16(self.suggested_port);
        writer.u32(self.lifetime);
        datagram
    }
}

/// What came from the router's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// The external address.
    Address {
        /// Seconds since the router lost its state.
        epoch: u32,
        /// 0.0.0.0 while the router has none.
        address: Ipv4Addr,
    },
    /// A mapping, or the end of one.
    Map {
        /// Seconds since the router lost its state.
        epoch: u32,
        /// That of the request.
        internal_port: u16,
        /// Where the mapping leads in from.
        external_port: u16,
        /// Seconds; 0 says that the mapping has ended.
        lifetime: u32,
    },
    /// The request, the mapping's if `map`, is refused with this result code.
    Refused {
        /// Whether the request was one for a mapping.
        map: bool,
        /// Why.
        result: u16,
    },
    /// The router speaks another version, or PCP only (RFC 6887 appendix A).
    OtherVersion,
}

impl Response {
    /// Reads a datagram; `None` if it is none of these.
    pub fn parse(datagram: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(datagram);
        let (version, opcode) = (reader.u8().ok()?, reader.u8().ok()?);
        let result = reader.u16().ok()?;
        if opcode & RESPONSE == 0 {
            return None;
        }
        // PCP has its result in the lower one of the two bytes.
        if result & 0xFF == UNSUPPORTED_VERSION {
            return Some(Self::OtherVersion);
        }
        if version != VERSION {
            return None;
        }
        let map = match opcode & !RESPONSE {
            OPCODE_ADDRESS => false,
            OPCODE_MAP_UDP => true,
            _ => return None,
        };
        if result != SUCCESS {
            return Some(Self::Refused { map, result });
        }
        let epoch = reader.u32().ok()?;
        Some(if map {
            let internal_port = reader.u16().ok()?;
            let external_port = reader.u16().ok()?;
            Self::Map { epoch, internal_port, external_port, lifetime: reader.u32().ok()? }
        } else {
            Self::Address { epoch, address: Ipv4Addr::from(reader.array::<4>().ok()?) }
        })
    }
}

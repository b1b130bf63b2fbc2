//! The Port Control Protocol, version 2 (RFC 6887): MAP requests for UDP and their responses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::proto::wire::codec::{Reader, Writer};

/// The version that is spoken here.
pub const VERSION: u8 = 2;
/// Bytes of a MAP request or response without options (RFC 6887 sections 7.1 and 11.1).
pub const MAP_LEN: usize = 60;
/// Longest PCP message (RFC 6887 section 7).
pub const MAX_LEN: usize = 1100;
/// Bytes of a mapping nonce.
pub const NONCE_LEN: usize = 12;

/// Result code SUCCESS (RFC 6887 section 7.4).
pub const SUCCESS: u8 = 0;
/// Result code UNSUPP_VERSION.
pub const UNSUPPORTED_VERSION: u8 = 1;
/// Result code UNSUPP_OPCODE.
pub const UNSUPPORTED_OPCODE: u8 = 4;

const OPCODE_MAP: u8 = 1;
const RESPONSE: u8 = 0x80;
/// IANA's protocol number of UDP.
const UDP: u8 = 17;

/// Asks for a mapping, its renewal, or, with lifetime 0, its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapRequest {
    /// The address that the request is sent from; the server refuses any other (RFC 6887 section 8.1).
    pub client: IpAddr,
    /// Names the mapping's owner: renewing and ending it takes the same nonce.
    pub nonce: [u8; NONCE_LEN],
    /// The socket's own port.
    pub internal_port: u16,
    /// The external endpoint that would be liked: the one so far, or an unspecified address.
    pub suggested: SocketAddr,
    /// Seconds.
    pub lifetime: u32,
}

impl MapRequest {
    /// The datagram.
    pub fn encode(&self) -> [u8; MAP_LEN] {
        let mut datagram = [0; MAP_LEN];
        let mut writer = Writer::new(&mut datagram);
        writer.u8(VERSION);
        writer.u8(OPCODE_MAP);
        writer.u16(0);
        writer.u32(self.lifetime);
        writer.slice(&on_the_wire(self.client));
        writer.slice(&self.nonce);
        writer.slice(&[UDP, 0, 0, 0]);
        writer.u16(self.internal_port);
        writer.u16(self.suggested.port());
        writer.slice(&on_the_wire(self.suggested.ip()));
        datagram
    }
}

/// IPv4 addresses travel in their IPv4-mapped form (RFC 6887 section 5).
fn on_the_wire(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// An external endpoint that leaves the choice to the server.
pub const ANY_IPV4: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The server's answer to a MAP request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapResponse {
    /// [`SUCCESS`], or why there is no mapping.
    pub result: u8,
    /// Seconds that the mapping lasts, or the error.
    pub lifetime: u32,
    /// Seconds since the server lost its state.
    pub epoch: u32,
    /// That of the request.
    pub nonce: [u8; NONCE_LEN],
    /// That of the request.
    pub internal_port: u16,
    /// Where the mapping leads in from. Means nothing unless the result is [`SUCCESS`].
    pub external: SocketAddr,
}

/// What came from the server's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// An answer to a MAP request for UDP.
    Map(MapResponse),
    /// The server speaks another version, or NAT-PMP only (RFC 6887 section 9).
    OtherVersion,
}

impl Response {
    /// Reads a datagram; `None` if it is none of these. Options are not looked at, as the requests carry none.
    pub fn parse(datagram: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(datagram);
        let (version, opcode) = (reader.u8().ok()?, reader.u8().ok()?);
        if opcode & RESPONSE == 0 || datagram.len() > MAX_LEN {
            return None;
        }
        if version != VERSION {
            // The result stands at the same place in all versions, with 16 bits in NAT-PMP.
            return (datagram.get(3) == Some(&UNSUPPORTED_VERSION)).then_some(Self::OtherVersion);
        }
        let (_reserved, result) = (reader.u8().ok()?, reader.u8().ok()?);
        if result == UNSUPPORTED_VERSION {
            return Some(Self::OtherVersion);
        }
        if opcode != RESPONSE | OPCODE_MAP || !datagram.len().is_multiple_of(4) {
            return None;
        }
        let (lifetime, epoch) = (reader.u32().ok()?, reader.u32().ok()?);
        reader.slice(12).ok()?;
        let nonce = reader.array().ok()?;
        let [protocol, ..] = reader.array::<4>().ok()?;
        let internal_port = reader.u16().ok()?;
        let external_port = reader.u16().ok()?;
        let address = Ipv6Addr::from(reader.array::<16>().ok()?).to_canonical();
        let external = SocketAddr::new(address, external_port);
        (protocol == UDP).then_some(Self::Map(MapResponse {
            result,
            lifetime,
            epoch,
            nonce,
            internal_port,
            external,
        }))
    }
}

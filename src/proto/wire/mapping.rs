//! How a client learns what its NAT does: the server tells which source it sees at each of several ports and addresses
//! (mapping), and answers from a port that it was not asked at (filtering). See RFC 5780 for the method.

use std::net::SocketAddr;

use super::codec::{MAX_ENDPOINT_LEN, Malformed, Reader, Writer, endpoint_len};
use super::message::{encode, header, kind};
use crate::proto::cookie::Cookie;

/// Most further ports that a server names.
pub const MAX_ALTERNATE_PORTS: usize = 4;

const PORTS: u8 = 0x06;
const OTHER_ADDRESS: u8 = 0x07;

/// Where else the server can be asked which source it sees; attributes of a challenge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alternates {
    ports: [u16; MAX_ALTERNATE_PORTS],
    /// At another address of the server's.
    pub other: Option<SocketAddr>,
}

impl Alternates {
    /// At these ports of the address that was asked (as many as there is room for), and at another address.
    pub fn new(ports: &[u16], other: Option<SocketAddr>) -> Self {
        let mut known = [0; MAX_ALTERNATE_PORTS];
        known.iter_mut().zip(ports).for_each(|(known, port)| *known = *port);
        Self { ports: known, other }
    }

    /// The ports at the address that was asked.
    pub fn ports(&self) -> impl Iterator<Item = u16> {
        self.ports.into_iter().filter(|port| *port != 0)
    }

    /// Writes the attributes for a client in the address family of `source`.
    pub(super) fn write(&self, writer: &mut Writer<'_>, source: SocketAddr) {
        let count = self.ports().count();
        if count > 0 {
            writer.u8(PORTS);
            writer.u8(2 * count as u8);
            self.ports().for_each(|port| writer.u16(port));
        }
        if let Some(other) = self.other.filter(|other| other.is_ipv4() == source.is_ipv4()) {
            writer.u8(OTHER_ADDRESS);
            writer.u8(endpoint_len(other) as u8);
            writer.endpoint(other);
        }
    }

    /// Reads what is known here of the attributes; the rest is a later version's.
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut alternates = Self::default();
        while let Ok((kind, value)) = super::attributes::next(reader) {
            let mut value = Reader::new(value);
            match kind {
                PORTS => alternates.ports.iter_mut().for_each(|port| *port = value.u16().unwrap_or(0)),
                OTHER_ADDRESS => alternates.other = value.endpoint().ok(),
                _ => {}
            }
        }
        alternates
    }
}

/// "Which source do you see?" Filled up so that the answer is never longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappingProbe {
    /// The client's token.
    pub token: u64,
    /// Tells the client's questions apart.
    pub sequence: u32,
}

impl MappingProbe {
    /// The datagram.
    pub fn encode(&self) -> Vec<u8> {
        encode(kind::MAPPING_PROBE, |writer| {
            writer.u64(self.token);
            writer.u32(self.sequence);
            writer.slice(&[0; MAX_ENDPOINT_LEN]);
        })
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let probe = Self { token: reader.u64()?, sequence: reader.u32()? };
        reader.slice(MAX_ENDPOINT_LEN)?;
        Ok(probe)
    }
}

/// "This one."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappingReply {
    /// The client's token, echoed.
    pub token: u64,
    /// The question's number, echoed.
    pub sequence: u32,
    /// The client's endpoint as seen where it asked.
    pub observed: SocketAddr,
}

impl MappingReply {
    /// Writes the datagram.
    pub fn write(&self, writer: &mut Writer<'_>) {
        header(writer, kind::MAPPING_REPLY);
        writer.u64(self.token);
        writer.u32(self.sequence);
        writer.endpoint(self.observed);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { token: reader.u64()?, sequence: reader.u32()?, observed: reader.endpoint()? })
    }
}

/// "Answer me from a port, and an address, that I have not sent to." The cookie proves that the source wants it. With a
/// target: "Send something from your own port to that endpoint, which is mine, as its cookie proves."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterProbe {
    /// The client's token.
    pub token: u64,
    /// Tells the client's questions apart.
    pub sequence: u32,
    /// From a challenge to the source, or to the target.
    pub cookie: Cookie,
    /// Another endpoint of the client's.
    pub target: Option<SocketAddr>,
}

impl FilterProbe {
    /// The datagram.
    pub fn encode(&self) -> Vec<u8> {
        encode(kind::FILTER_PROBE, |writer| {
            writer.u64(self.token);
            writer.u32(self.sequence);
            writer.slice(&self.cookie);
            if let Some(target) = self.target {
                writer.endpoint(target);
            }
        })
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (token, sequence, cookie) = (reader.u64()?, reader.u32()?, reader.array()?);
        let target = if reader.rest().is_empty() { None } else { Some(reader.endpoint()?) };
        Ok(Self { token, sequence, cookie, target })
    }
}

/// "You let me in."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterReply {
    /// The client's token, echoed.
    pub token: u64,
    /// The question's number, echoed.
    pub sequence: u32,
    /// Whether it comes from another address, too, and not only from another port.
    pub other_address: bool,
}

impl FilterReply {
    /// Writes the datagram.
    pub fn write(&self, writer: &mut Writer<'_>) {
        header(writer, kind::FILTER_REPLY);
        writer.u64(self.token);
        writer.u32(self.sequence);
        writer.u8(self.other_address.into());
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { token: reader.u64()?, sequence: reader.u32()?, other_address: reader.u8()? & 1 != 0 })
    }
}

//! Attributes: the extensible part of a message. Type (1 byte), length (1 byte), value; unknown types are skipped.

use super::codec::{Malformed, Reader, Writer, endpoint_len};
use crate::proto::nat::NatBehaviour;
use crate::proto::types::{Candidate, CandidateKind, MAX_ENDPOINTS_PER_PEER};

/// Most bytes of attributes that a registration may carry.
pub const MAX_ATTRIBUTES_LEN: usize = 512;

const CANDIDATE: u8 = 0x01;
const CAPABILITIES: u8 = 0x03;
const LEAVING: u8 = 0x04;
const NAT: u8 = 0x05;
const PADDING: u8 = 0x09;
const STREAM_CANDIDATE: u8 = 0x0A;
const SERVER_RTT: u8 = 0x0B;

/// Attributes as they stand in a datagram, checked to be whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes<'a> {
    bytes: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// No attributes.
    pub const NONE: Attributes<'static> = Attributes { bytes: &[] };

    /// Makes a registration a goodbye: from a client that has not read yet how its registration is called.
    pub const GOODBYE: Attributes<'static> = Attributes { bytes: &[LEAVING, 0] };

    /// Checks that `bytes` are a row of whole attributes within the limit, and that those known here are valid.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        if bytes.len() > MAX_ATTRIBUTES_LEN {
            return Err(Malformed::Length);
        }
        let mut reader = Reader::new(bytes);
        while !reader.rest().is_empty() {
            let (kind, value) = next(&mut reader)?;
            match kind {
                CANDIDATE | STREAM_CANDIDATE => drop(read_candidate(value)?),
                SERVER_RTT if value.len() != 2 => return Err(Malformed::Field),
                CAPABILITIES if value.len() != 4 => return Err(Malformed::Field),
                LEAVING if !value.is_empty() => return Err(Malformed::Field),
                NAT if value.len() != 7 => return Err(Malformed::Field),
                _ => {}
            }
        }
        Ok(Self { bytes })
    }

    /// The bytes, ready to be sent on.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Attributes that were parsed before.
    pub(crate) fn checked_before(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The bytes without what fills them up at their end.
    pub fn without_padding(&self) -> &'a [u8] {
        let mut reader = Reader::new(self.bytes);
        let mut len = 0;
        while let Ok((kind, _)) = next(&mut reader) {
            if kind != PADDING {
                len = self.bytes.len() - reader.rest().len();
            }
        }
        &self.bytes[..len]
    }

    /// Whether they make a registration a goodbye.
    pub fn is_goodbye(&self) -> bool {
        self.has(LEAVING)
    }

    /// Whether they fill a registration up so that hints may come back.
    pub fn is_padded(&self) -> bool {
        self.has(PADDING)
    }

    fn has(&self, wanted: u8) -> bool {
        let mut reader = Reader::new(self.bytes);
        std::iter::from_fn(|| next(&mut reader).ok()).any(|(kind, _)| kind == wanted)
    }

    /// What the attributes say, with at most [`MAX_ENDPOINTS_PER_PEER`] candidates.
    pub fn profile(&self) -> Profile {
        let mut profile = Profile::default();
        let mut reader = Reader::new(self.bytes);
        while let Ok((kind, value)) = next(&mut reader) {
            match kind {
                CANDIDATE => push_candidate(&mut profile.candidates, value),
                STREAM_CANDIDATE => push_candidate(&mut profile.streams, value),
                SERVER_RTT => {
                    profile.server_rtt_ms = value.try_into().map(u16::from_be_bytes).unwrap_or_default();
                }
                NAT => profile.nat = value.try_into().ok().map(NatBehaviour::from_wire),
                CAPABILITIES => {
                    profile.capabilities = value.try_into().map(u32::from_be_bytes).unwrap_or_default();
                }
                _ => {}
            }
        }
        profile
    }
}

/// Fills a row of attributes up to `len` bytes, or a little more.
pub fn pad(attributes: &mut Vec<u8>, len: usize) {
    let missing = len.saturating_sub(attributes.len() + 2).min(u8::MAX.into());
    attributes.extend([PADDING, missing as u8]);
    attributes.resize(attributes.len() + missing, 0);
}

/// The peer sends and takes only what the server forwards.
pub const RELAY_ONLY: u32 = 1;

pub(super) fn next<'a>(reader: &mut Reader<'a>) -> Result<(u8, &'a [u8]), Malformed> {
    let kind = reader.u8()?;
    let len = reader.u8()?;
    Ok((kind, reader.slice(len.into())?))
}

fn push_candidate(candidates: &mut Vec<Candidate>, value: &[u8]) {
    if let Ok(Some(candidate)) = read_candidate(value)
        && candidates.len() < MAX_ENDPOINTS_PER_PEER
    {
        candidates.push(candidate);
    }
}

/// `None` for a kind that a later version may know.
fn read_candidate(value: &[u8]) -> Result<Option<Candidate>, Malformed> {
    let mut reader = Reader::new(value);
    let kind = CandidateKind::from_wire(reader.u8()?);
    let endpoint = reader.endpoint()?;
    if !reader.rest().is_empty() {
        return Err(Malformed::Field);
    }
    Ok(kind.map(|kind| Candidate { kind, endpoint }))
}

/// What a peer says of itself in its registration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Further endpoints, besides the reflexive one that the server adds.
    pub candidates: Vec<Candidate>,
    /// Endpoints that take TCP connections.
    pub streams: Vec<Candidate>,
    /// How long the server's answers take over TCP, in milliseconds; 0 if that is not known.
    pub server_rtt_ms: u16,
    /// What it can do or insists on, a bit each: [`RELAY_ONLY`].
    pub capabilities: u32,
    /// What its NAT does, as far as it knows.
    pub nat: Option<NatBehaviour>,
}

impl Profile {
    /// Writes the profile as attributes; candidates that no longer fit are left out.
    pub fn encode(&self) -> Vec<u8> {
        let mut buffer = [0; MAX_ATTRIBUTES_LEN];
        let mut writer = Writer::new(&mut buffer);
        if self.capabilities != 0 {
            writer.u8(CAPABILITIES);
            writer.u8(4);
            writer.u32(self.capabilities);
        }
        if let Some(nat) = self.nat {
            let wire = nat.to_wire();
            writer.u8(NAT);
            writer.u8(wire.len() as u8);
            writer.slice(&wire);
        }
        if self.server_rtt_ms != 0 {
            writer.u8(SERVER_RTT);
            writer.u8(2);
            writer.u16(self.server_rtt_ms);
        }
        let of_kind = |kind, list: &'_ [Candidate]| -> Vec<(u8, Candidate)> {
            list.iter().take(MAX_ENDPOINTS_PER_PEER).map(|candidate| (kind, *candidate)).collect()
        };
        // Connections come first: who needs one has no other way.
        let streams = of_kind(STREAM_CANDIDATE, &self.streams);
        for (kind, candidate) in streams.into_iter().chain(of_kind(CANDIDATE, &self.candidates)) {
            let len = 1 + endpoint_len(candidate.endpoint);
            if writer.remaining() < 2 + len {
                break;
            }
            writer.u8(kind);
            writer.u8(len as u8);
            writer.u8(candidate.kind as u8);
            writer.endpoint(candidate.endpoint);
        }
        writer.as_slice().to_vec()
    }
}

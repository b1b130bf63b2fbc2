//! Probes: what peers send each other to open and confirm a hole. Authenticated under the session secret.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::codec::{Malformed, Reader};
use super::message::{encode, kind};
use crate::proto::keys::ProbeKey;
use crate::proto::types::PeerId;

/// Whether a probe asks or answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ProbeKind {
    /// Wants a response.
    Request = 0,
    /// Answers a request and repeats its transaction.
    Response = 1,
}

/// What the sender knows about the path that the probe travels on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ProbeFlags(pub u8);

impl ProbeFlags {
    /// The sender has confirmed this path: a request of its own was answered over it.
    pub const CONFIRMED: u8 = 1;
    /// The controlling side has chosen this path; it has confirmed it, too.
    pub const NOMINATED: u8 = 2;
    /// The sender has made this path its hole and sends no more probes; the receiver is to do the same.
    pub const SETTLED: u8 = 4;

    /// Whether `flag` is set.
    pub fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }
}

/// One probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Who sends it.
    pub sender: PeerId,
    /// For whom; [`PeerId::UNKNOWN`] as long as the sender does not know.
    pub receiver: PeerId,
    /// Request or response.
    pub kind: ProbeKind,
    /// What the sender knows about this path.
    pub flags: ProbeFlags,
    /// Numbers the sender's probes to this receiver, across all paths; never repeated.
    pub sequence: u32,
    /// Random per path, chosen by the requesting side; a response repeats the request's.
    pub transaction: u64,
    /// In a response the request's sequence, else 0.
    pub echo: u32,
    /// The endpoint at which the sender sees the receiver; all zero (`[::]:0`) as long as it has not heard from it.
    pub observed: SocketAddr,
    /// In a response the sender's public part of the secret that the two agree upon, else zero.
    pub exchange: [u8; 32],
}

impl Probe {
    /// What `observed` says when there is nothing to say.
    pub const UNOBSERVED: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);

    /// The datagram, authenticated with `key`.
    pub fn encode(&self, key: &ProbeKey) -> Vec<u8> {
        let mut datagram = encode(kind::PROBE, |writer| {
            writer.slice(&self.sender.0);
            writer.slice(&self.receiver.0);
            writer.u8(self.kind as u8);
            writer.u8(self.flags.0);
            writer.u32(self.sequence);
            writer.u64(self.transaction);
            writer.u32(self.echo);
            writer.endpoint(self.observed);
            if self.kind == ProbeKind::Response {
                writer.slice(&self.exchange);
            }
        });
        let tag = key.tag(&datagram);
        datagram.extend_from_slice(&tag);
        datagram
    }
}

/// A probe whose tag has not been checked yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedProbe<'a> {
    probe: Probe,
    signed: &'a [u8],
    tag: [u8; ProbeKey::TAG_LEN],
}

impl<'a> SignedProbe<'a> {
    pub(super) fn read(datagram: &'a [u8], mut reader: Reader<'a>) -> Result<Self, Malformed> {
        let mut probe = Probe {
            sender: PeerId(reader.array()?),
            receiver: PeerId(reader.array()?),
            kind: match reader.u8()? {
                0 => ProbeKind::Request,
                1 => ProbeKind::Response,
                _ => return Err(Malformed::Field),
            },
            flags: ProbeFlags(reader.u8()?),
            sequence: reader.u32()?,
            transaction: reader.u64()?,
            echo: reader.u32()?,
            observed: reader.endpoint()?,
            exchange: [0; 32],
        };
        if probe.kind == ProbeKind::Response {
            probe.exchange = reader.array()?;
        }
        if reader.rest().len() < ProbeKey::TAG_LEN {
            return Err(Malformed::Length);
        }
        // The tag is the last field: attributes of a later version stand before it and are authenticated with it.
        let (signed, tag) = datagram.split_last_chunk().ok_or(Malformed::Length)?;
        if probe.sender == PeerId::UNKNOWN {
            return Err(Malformed::Field);
        }
        Ok(Self { probe, signed, tag: *tag })
    }

    /// The probe, if it was made by someone who knows the session's secret.
    pub fn verify(&self, key: &ProbeKey) -> Option<Probe> {
        key.verify(self.signed, &self.tag).then_some(self.probe)
    }
}

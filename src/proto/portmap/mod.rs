//! Port mapping: asking the router for an external endpoint that leads to one of our UDP ports.
//!
//! Three protocols do that: PCP (RFC 6887), NAT-PMP (RFC 6886) and UPnP-IGD. [`Mapper`] asks by all of them at once and
//! keeps what it got; like every machine here it does no I/O of its own.

pub mod control;
pub mod mapper;
pub mod nat_pmp;
pub mod pcp;
#[cfg(test)]
mod tests;
mod timing;
#[cfg(feature = "upnp")]
pub mod upnp;
#[cfg(not(feature = "upnp"))]
#[path = "no_upnp.rs"]
mod upnp;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

pub use mapper::{Mapper, MapperConfig, Transmit};
pub use upnp::HttpRequest;
pub(crate) use upnp::search_endpoints;

/// The UDP port of PCP and NAT-PMP servers (RFC 6887 section 19.1).
pub const CONTROL_PORT: u16 = 5351;
/// How long a mapping is asked for unless the caller says otherwise (RFC 6886 section 3.3).
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(7200);
/// Whoever has not got a mapping by then does without.
pub const SEARCH_TIME: Duration = Duration::from_secs(10);
/// How long the router is asked to end mappings.
pub const RELEASE_TIME: Duration = Duration::from_secs(1);

/// How to ask a router for a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Protocol {
    /// The Port Control Protocol, RFC 6887.
    Pcp,
    /// The NAT Port Mapping Protocol, RFC 6886.
    NatPmp,
    /// The UPnP Internet Gateway Device, versions 1 and 2. Only in a build with the feature `upnp`; without it nothing is
    /// asked this way.
    Upnp,
}

impl Protocol {
    /// All of them, the best first.
    pub const ALL: [Self; 3] = [Self::Pcp, Self::NatPmp, Self::Upnp];
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pcp => "PCP",
            Self::NatPmp => "NAT-PMP",
            Self::Upnp => "UPnP-IGD",
        })
    }
}

/// A mapping that the router has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// What it was asked by.
    pub protocol: Protocol,
    /// What leads to our port from outside, as far as the router knows: see [`Mapped::is_public`].
    pub external: SocketAddr,
    /// For how long, counted from the router's answer. `None`: until somebody deletes it.
    pub lifetime: Option<Duration>,
}

impl Mapped {
    /// Whether the external address is worth telling a peer. It is not if the router has no address, or one behind
    /// another NAT: a packet from the internet never gets as far as to the mapping.
    pub fn is_public(&self) -> bool {
        match self.external.ip() {
            IpAddr::V4(v4) => is_public(v4),
            // PCP maps IPv6 by making a hole in a firewall, and never to another prefix.
            IpAddr::V6(v6) => v6.segments()[0] & 0xE000 == 0x2000,
        }
    }
}

/// Whether an address may be somebody's place on the internet (RFC 6890). The blocks for documentation count: nobody is
/// there, but nobody is behind a NAT there either.
pub fn is_public(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let shared = a == 100 && b & 0xC0 == 64;
    let protocol_assignments = [a, b, c] == [192, 0, 0];
    let benchmarking = a == 198 && b & 0xFE == 18;
    !(a == 0
        || a >= 224
        || shared
        || protocol_assignments
        || benchmarking
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local())
}

/// Why a protocol gave no mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// No answer in time.
    Silent,
    /// The router says that it does not speak the protocol.
    Unsupported,
    /// The router refused, with the protocol's own result code (RFC 6887 section 7.4, RFC 6886 section 3.5) or UPnP's
    /// error code.
    Refused(u16),
    /// The router grants only mappings that never end, which was not allowed.
    OnlyPermanent,
    /// The router's answers make no sense.
    Malformed,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("no answer"),
            Self::Unsupported => f.write_str("not supported"),
            Self::Refused(code) => write!(f, "refused with code {code}"),
            Self::OnlyPermanent => f.write_str("only permanent mappings are granted"),
            Self::Malformed => f.write_str("the answer makes no sense"),
        }
    }
}

/// What there is to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The router's external address as the protocol tells it, before anything was mapped; unspecified if it has none.
    Address(Protocol, IpAddr),
    /// A mapping is there, or one has changed: it takes the place of this protocol's earlier one.
    Mapped(Mapped),
    /// This protocol's mapping has ended, and could not be renewed.
    Lost(Protocol),
    /// This protocol gives none.
    Failed(Protocol, Failure),
}

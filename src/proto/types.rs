//! Words that every part of the core shares.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// How many endpoints of one peer are tried at most; more are dropped and counted.
pub const MAX_ENDPOINTS_PER_PEER: usize = 16;

/// Names one participant of a session for the time of one call; random, and no secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub [u8; 16]);

impl PeerId {
    /// Stands in a probe for a receiver whose ID the sender does not know (it learned the endpoint from a plain list).
    pub const UNKNOWN: PeerId = PeerId([0; 16]);
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in &self.0[..4] {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// Which of the caller's sockets a datagram came in on or goes out from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct SocketIndex(pub u16);

impl SocketIndex {
    /// The connection to a server; what is sent there and comes from there stands in frames.
    pub const SERVER_STREAM: Self = Self(u16::MAX);
}

/// The caller's sockets, one per address family at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LocalSockets {
    /// Sends to and receives from IPv4 endpoints.
    pub ipv4: Option<SocketIndex>,
    /// Sends to and receives from IPv6 endpoints.
    pub ipv6: Option<SocketIndex>,
}

impl LocalSockets {
    /// The socket that reaches `endpoint`, if there is one.
    pub fn towards(&self, endpoint: SocketAddr) -> Option<SocketIndex> {
        if endpoint.is_ipv4() { self.ipv4 } else { self.ipv6 }
    }
}

/// What kind of address a [`Candidate`] is (RFC 8445 section 5.1.1, and the kinds that RFC does not know).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CandidateKind {
    /// An address of the peer's own interface.
    Host = 1,
    /// The peer's endpoint as the rendezvous server sees it.
    Reflexive = 2,
    /// Opened on the peer's router by UPnP-IGD, NAT-PMP or PCP.
    Mapped = 3,
    /// Learned from an authenticated packet of the peer's.
    PeerReflexive = 4,
    /// Guessed from the allocation pattern of a symmetric NAT.
    Predicted = 5,
    /// Forwarded by the rendezvous server.
    Relayed = 6,
}

impl CandidateKind {
    /// Reads the wire's number.
    pub fn from_wire(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::Host,
            2 => Self::Reflexive,
            3 => Self::Mapped,
            4 => Self::PeerReflexive,
            5 => Self::Predicted,
            6 => Self::Relayed,
            _ => return None,
        })
    }

    /// Lower is better; kinds with the same rank are equally good and the first one that works wins.
    pub fn rank(self) -> u8 {
        match self {
            Self::Host => 0,
            Self::Reflexive | Self::Mapped | Self::PeerReflexive => 1,
            Self::Predicted => 2,
            Self::Relayed => 3,
        }
    }

    /// The kind's name in the words of RFC 8445, as the programs print it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Reflexive => "reflexive",
            Self::Mapped => "mapped",
            Self::PeerReflexive => "peer-reflexive",
            Self::Predicted => "predicted",
            Self::Relayed => "relayed",
        }
    }
}

/// An endpoint at which a peer may be reachable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// How the endpoint was learned.
    pub kind: CandidateKind,
    /// Address and port.
    pub endpoint: SocketAddr,
}

/// Which dialects this side may speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DialectPolicy {
    /// Native where the other side understands it, else plain.
    #[default]
    Auto,
    /// Native only: a plain server is an error, plain peers are ignored.
    Native,
    /// Plain only, as the existing Go tools speak it. The server sees the session ID and nothing is authenticated.
    Plain,
}

/// Which dialect a peer was met in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerDialect {
    /// Came from a plain server's list: may understand either.
    Unknown,
    /// Registered or probed in the native dialect: probes are authenticated.
    Native,
    /// Speaks the plain dialect: nothing is authenticated.
    Plain,
}

/// What carries a hole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Datagrams.
    #[default]
    Udp,
    /// A byte stream.
    Tcp,
}

/// What may carry holes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransportPolicy {
    /// Datagrams only.
    #[default]
    Udp,
    /// Connections only.
    Tcp,
    /// Datagrams, and connections to those of whom, as of ourselves, the server has heard over TCP only.
    Either,
}

/// Which paths to a peer are good enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathPolicy {
    /// Direct ones; where there is none for two seconds, or can be none, the server forwards, if it offers that.
    #[default]
    DirectPreferred,
    /// Direct ones only.
    DirectOnly,
    /// Only what the server forwards: the peer's own endpoints are sent nothing, and nothing from them is answered.
    RelayOnly,
}

/// What may be done to get through, beside probing known endpoints; all of it by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Techniques {
    /// Find out what our own NAT does, and tell the peers; prediction and many sockets need it.
    pub diagnosis: bool,
    /// Send the first probes with a low TTL, so that they open our NAT and do not reach the peer's before it is open.
    pub low_ttl: bool,
    /// Where a NAT counts, probe the ports that come next.
    pub prediction: bool,
    /// Where a NAT chooses ports at random, open up to 256 sockets on one side and probe up to 1024 ports from the other.
    pub many_sockets: bool,
    /// Where that could help, have our router open a port for us (PCP, NAT-PMP, UPnP-IGD).
    pub port_mapping: bool,
    /// Where ordinary NATs do not connect as they should, probe from a further socket, whose mapping nothing has spoiled.
    pub fresh_socket: bool,
}

impl Default for Techniques {
    fn default() -> Self {
        Self {
            diagnosis: true,
            low_ttl: true,
            prediction: true,
            many_sockets: true,
            port_mapping: true,
            fresh_socket: true,
        }
    }
}

/// A datagram to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The socket to send it from.
    pub socket: SocketIndex,
    /// Where to.
    pub destination: SocketAddr,
    /// Its payload.
    pub payload: Vec<u8>,
    /// How many routers it may pass; `None` for the system's own choice.
    pub ttl: Option<u8>,
}

/// Where a datagram came from and which of our own addresses it was sent to; an answer goes the same way back, since a
/// client believes only the address that it asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The other side.
    pub remote: SocketAddr,
    /// Our address; `None` leaves the choice to the system.
    pub local: Option<IpAddr>,
    /// Whether it came in a datagram or over a connection.
    pub transport: Transport,
}

impl Route {
    /// The connection to this remote endpoint.
    pub fn stream(remote: SocketAddr) -> Self {
        Self { remote, local: None, transport: Transport::Tcp }
    }

    /// Whether the other side is the same, whichever of our addresses it talks to.
    pub fn is_same_remote(&self, other: &Self) -> bool {
        (self.remote, self.transport) == (other.remote, other.transport)
    }
}

impl From<SocketAddr> for Route {
    fn from(remote: SocketAddr) -> Self {
        Self { remote, local: None, transport: Transport::Udp }
    }
}

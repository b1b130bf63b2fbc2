//! What the client's side of rendezvous is told, and what it tells.

use std::net::SocketAddr;
use std::time::Duration;

use crate::proto::discovery::DiscoveryConfig;
use crate::proto::types::{Candidate, DialectPolicy, PeerDialect, PeerId, SocketIndex};
use crate::proto::wire::relay::Ticket;
use crate::proto::wire::{LeaveReason, Profile, RefusedReason, RelayRefusal};
use crate::proto::{LookupKey, NatBehaviour};

/// What a [`super::RendezvousClient`] needs to know.
#[derive(Clone, Debug)]
pub struct RendezvousConfig {
    /// Names the session to a native server.
    pub lookup: LookupKey,
    /// The session ID, which only a plain server is shown.
    pub id: Vec<u8>,
    /// This client's name among its peers.
    pub peer: PeerId,
    /// What this client says of itself.
    pub profile: Profile,
    /// Which dialects may be spoken.
    pub policy: DialectPolicy,
    /// Addresses of the one server; the first that answers is kept.
    pub servers: Vec<(SocketIndex, SocketAddr)>,
    /// Further ones, that are asked as well once all of those have been silent for a second.
    pub fallback: Vec<(SocketIndex, SocketAddr)>,
    /// Longest time between two unanswered requests.
    pub retry: Duration,
    /// With so many peers on a plain server's list it is asked less often.
    pub enough: usize,
}

/// What a [`super::RendezvousClient`] has learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RendezvousEvent {
    /// The server wants our endpoint proven, and says where else it can be asked about it.
    Challenged(DiscoveryConfig),
    /// The server keeps us under this endpoint of ours.
    Registered {
        /// Our endpoint as the server sees it.
        observed: SocketAddr,
    },
    /// A member is there, or more is known of it.
    Joined {
        /// Its ID.
        peer: PeerId,
        /// The dialect it registered in.
        dialect: PeerDialect,
        /// Where it may be reachable with datagrams.
        candidates: Vec<Candidate>,
        /// Where it may be reachable with a TCP connection.
        streams: Vec<Candidate>,
        /// What its NAT does, as far as it says.
        nat: NatBehaviour,
        /// Whether it sends and takes only what the server forwards.
        relay_only: bool,
        /// How long the server's answers to it take, as far as it says.
        server_rtt: Duration,
    },
    /// Somebody asked to be registered in the session, or is; more is to come if that is so.
    Hinted {
        /// Its ID.
        peer: PeerId,
        /// Its endpoint as the server sees it, which need not be proven.
        endpoint: SocketAddr,
        /// Whether much time is saved by probing it now.
        early: bool,
    },
    /// A member is gone.
    Left {
        /// Its ID.
        peer: PeerId,
        /// Why, where the server knew.
        reason: Option<LeaveReason>,
    },
    /// A plain server's full list of the others.
    PlainList(Vec<SocketAddr>),
    /// The server speaks native after all: what a plain list named was forged.
    PlainListForged,
    /// The server forwards between us and a member, for who shows the ticket there.
    RelayGranted {
        /// The member.
        peer: PeerId,
        /// The server's port for this pair.
        endpoint: SocketAddr,
        /// To be shown there.
        ticket: Ticket,
    },
    /// The server does not forward between us and a member.
    RelayRefused {
        /// The member.
        peer: PeerId,
        /// Why, where that is known here.
        reason: Option<RelayRefusal>,
    },
    /// The server does not take us.
    Refused(RefusedReason),
}

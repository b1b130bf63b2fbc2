//! What a meeting is told, and what it tells.

use std::net::SocketAddr;
use std::time::Duration;

use crate::proto::punch::{PeerStatus, PunchCounters};
use crate::proto::types::{
    Candidate, DialectPolicy, LocalSockets, PathPolicy, PeerDialect, PeerId, Techniques, TransportPolicy,
};
use crate::proto::wire::{LeaveReason, RefusedReason, RelayRefusal};
use crate::proto::{NatBehaviour, SessionId};

/// What a [`super::Meeting`] needs to know.
#[derive(Clone, Debug)]
pub struct MeetingConfig {
    /// What the peers share.
    pub id: SessionId,
    /// How many peers are wanted, at least 1. A plain server that has named so many is asked less often.
    pub wanted: usize,
    /// Which dialects may be spoken.
    pub policy: DialectPolicy,
    /// Whether existing plain tools that the server names are peers, too, although the server must speak native.
    pub plain_peers: bool,
    /// Longest pause between two unanswered requests to the server.
    pub server_retry: Duration,
    /// Longest pause between two probes of a path; half as much again where the peer may be an existing plain tool.
    pub peer_retry: Duration,
    /// What is sent from.
    pub sockets: LocalSockets,
    /// Addresses of the one server. Empty: punch `peers` only.
    pub servers: Vec<SocketAddr>,
    /// What may carry holes.
    pub transport: TransportPolicy,
    /// Our own endpoints for TCP connections, told to native peers.
    pub stream_hosts: Vec<SocketAddr>,
    /// Peers that are known already, each by the endpoints at which it may be.
    pub peers: Vec<Vec<SocketAddr>>,
    /// Peers whose holes an earlier call on the same sockets has opened, as [`super::Meeting::peers`] described them then.
    pub resumed: Vec<PeerStatus>,
    /// Our own addresses, told to native peers.
    pub host_candidates: Vec<SocketAddr>,
    /// What may be done beside probing known endpoints.
    pub techniques: Techniques,
    /// Which paths are good enough.
    pub paths: PathPolicy,
    /// Whether it may last for days, and somebody else keeps the holes alive.
    pub lasting: bool,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MeetingEvent {
    /// The server keeps us under this endpoint of ours.
    Registered(SocketAddr),
    /// What our NAT does has been found out.
    NatKnown(NatBehaviour),
    /// A peer became known, or more is known of it: the dialect that it has registered in, and where it may be reached.
    Found(PeerId, PeerDialect, Vec<Candidate>),
    /// A peer's hole was agreed upon: for the first time, or again.
    Reached(PeerStatus),
    /// A plain server's list.
    PlainList(usize),
    /// The server forwards between us and a peer, from that endpoint.
    Relayed(PeerId, SocketAddr),
    /// The server does not forward between us and a peer.
    NotRelayed(PeerId, Option<RelayRefusal>),
    /// The server says that a peer is gone, and why, where it knows.
    Gone(PeerId, Option<LeaveReason>),
    /// The server does not take us.
    Refused(RefusedReason),
    /// The server answers in the plain dialect, which must not be spoken.
    ForeignDialect,
}

/// Whose a datagram was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The library's own; it has been dealt with.
    Control,
    /// The application's, from a peer: it belongs to the caller.
    Data,
    /// Nobody's: counted, to be dropped.
    Stranger,
}

/// What has been dropped or counted otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MeetingCounters {
    /// About probes.
    pub punch: PunchCounters,
    /// Datagrams from the server's address that made no sense.
    pub server_dropped: u64,
    /// Native datagrams from elsewhere that are malformed or no probes.
    pub malformed: u64,
    /// Datagrams from sources that are no peer's.
    pub strangers: u64,
}

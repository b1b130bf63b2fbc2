//! What happens to a connection.

use std::net::SocketAddr;
use std::time::Duration;

use crate::error::Error;
use crate::proto::{CandidateKind, Transport};

/// A connection that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Connected {
    /// What carries it.
    pub transport: Transport,
    /// Our own end.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
    /// How that was learned: [`CandidateKind::Reflexive`] if it was given, [`CandidateKind::PeerReflexive`] if the peer came from there.
    pub path: CandidateKind,
    /// How long an answer took, where one was awaited.
    pub rtt: Option<Duration>,
    /// Whether the peer has proven that it knows the ID.
    pub authenticated: bool,
}

/// Why a connection is over.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnEnd {
    /// We have closed it.
    Closed,
    /// The peer has.
    ClosedByPeer,
    /// Nothing has come from the peer for 30 s (RFC 7675 section 5.1); authenticated UDP only.
    Silent,
    /// It has failed; the system's error number.
    Failed(i32),
    /// The peer was not reached, and why.
    NotReached(Error),
}

/// What happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnEvent {
    /// Our public address became known, or another one; or why it cannot be.
    PublicAddress(Result<SocketAddr, Error>),
    /// The connection is there. Once at most.
    Connected(Connected),
    /// Bytes from the peer: over UDP a datagram, over TCP what has come.
    Data(Vec<u8>),
    /// It is over. Once, and the last event.
    Ended(ConnEnd),
}

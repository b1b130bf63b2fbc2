//! The protocol without sockets: machines that are fed datagrams and time, and drained of datagrams and events.
//!
//! Nothing in here opens a socket, reads a clock, starts a thread or asks the operating system for randomness:
//! `now` is a parameter of every call and randomness comes from one seed. The same seed and the same inputs give the
//! same outputs, which is what lets the tests run ten thousand sessions over a simulated internet in seconds.
//!
//! The wire format is specified in `docs/protocol.md`. This module is public for those who bring their own I/O; its
//! API may change between minor versions until 1.0.
#![forbid(unsafe_code)]
// The tests may take a starting point for virtual time from the clock.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

pub mod check;
pub mod connect;
pub mod cookie;
pub mod delivery;
pub mod discovery;
pub mod keys;
pub mod meeting;
pub mod nat;
pub mod portmap;
pub mod punch;
pub mod reflexive;
pub mod relay;
pub mod relay_streams;
pub mod relayed;
pub mod rendezvous;
pub mod rng;
pub mod secure;
pub mod session;
pub mod stream;
pub mod types;
pub mod wire;

pub use connect::{Connect, ConnectConfig, ConnectEvent, Outcome};
pub use keys::{LookupKey, SessionId, SessionIdError, SessionKeys};
pub use meeting::{Disposition, Meeting, MeetingConfig, MeetingEvent};
pub use nat::NatBehaviour;
pub use rng::Rng;
pub use types::{
    Candidate, CandidateKind, DialectPolicy, LocalSockets, MAX_ENDPOINTS_PER_PEER, PathPolicy, PeerDialect,
    PeerId, Route, SocketIndex, Techniques, Transmit, Transport, TransportPolicy,
};

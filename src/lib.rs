//! Opens UDP holes between peers behind NATs that share a session ID, and hands over the raw, working socket.
//!
//! ```no_run
//! let mut client = holepunch::Client::new("rendezvous.example.org:5000")?;
//! let peers = client.connect(b"a session ID that both sides know", 1)?;
//! let socket = client.take_socket(peers[0].socket).expect("a connected peer has a socket");
//! socket.send_to(b"hello", peers[0].endpoint)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The caller owns the socket and runs any protocol on it; it drops datagrams for which [`is_control_packet`] holds. The
//! same library is used from C by way of `include/holepunch.h`, whose functions live in [`ffi`].

pub mod client;
pub mod conn;
mod error;
pub mod ffi;
mod net;
pub mod proto;
pub mod server;
pub mod session;
mod shared;

pub use client::{Canceller, Client, EarlyDatagram, NatCheck, NatReport, Peer, generate_session_id};
pub use conn::{AddressSource, Conn, ConnEnd, ConnEvent, ConnOptions, Connected, TakenSocket};
pub use error::{Error, ErrorKind};
pub use net::portmap;
pub use proto::nat::{Allocation, Filtering, Mapping, NatBehaviour};
pub use proto::punch::{Attempt, Cause, PunchReport};
pub use proto::secure::{PublicKey, public_key};
pub use proto::session::{Departure, MemberId, PeerPath, SessionCounters, SessionEvent, SessionPeer};
pub use proto::wire::is_control_packet;
pub use proto::{CandidateKind, DialectPolicy, PathPolicy, PeerId, Techniques, Transport, TransportPolicy};
pub use server::{Server, ServerConfig};
pub use session::{Session, SessionOptions};

/// The README's Rust snippets are documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

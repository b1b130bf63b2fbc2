//! Rendezvous: clients register under a session's lookup key and are told who else is there.

pub mod client;
mod counters;
mod early;
pub mod events;
pub mod gate;
mod members;
mod other_family;
mod roster;
pub mod shard;

pub use client::RendezvousClient;
pub use counters::ShardCounters;
pub use events::{RendezvousConfig, RendezvousEvent};
pub use gate::{EarlyRegister, Gate, Request, Verdict};
pub use shard::{Shard, ShardConfig};

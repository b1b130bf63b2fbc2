//! Rendezvous: clients register under a session's lookup key and are told who else is there.

mod blobs;
mod chunks;
pub mod client;
mod counters;
mod early;
pub mod events;
pub mod gate;
mod members;
mod other_family;
mod plain;
mod pushes;
mod roster;
mod session;
pub mod shard;
pub mod sharing;
mod wheel;

pub use client::RendezvousClient;
pub use counters::ShardCounters;
pub use events::{RendezvousConfig, RendezvousEvent};
pub use gate::{EarlyRegister, Gate, Request, Verdict};
pub use pushes::{PUSH_BURST, PUSHES_PER_MILLISECOND};
pub use session::SessionKey;
pub use shard::{Movement, Newcomers, Shard, ShardConfig, ShardLimits};
pub use sharing::{Change, Reconciled, Record, Share};

//! What several servers share: each tells a common store of its members, and the others that have members in the same sessions.
//!
//! The store is nobody's master. A server that loses it goes on with the members that it knows, and makes good what it missed once the
//! store is back; a server that dies is noticed by the others, who forget its members.

#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
mod sweep;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::{Registry, invalid};
use crate::error::Error;
use crate::net::batch::ServerSocket;
use crate::proto::Rng;
use crate::proto::rendezvous::{Shard, Share};

/// Changes that may wait for the store; what is more is found when all sessions are compared with it.
const MAX_WAITING: usize = 1 << 16;

/// Where servers keep what they share.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreConfig {
    url: String,
}

impl StoreConfig {
    /// A Redis server, or what speaks its protocol: `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`.
    pub fn new(url: &str) -> Result<Self, Error> {
        #[cfg(feature = "redis")]
        {
            // The error may quote the URL, and with it the password.
            ::redis::Client::open(url).map_err(|_| {
                invalid("the store must be given as redis://[USER:PASSWORD@]HOST[:PORT]".into())
            })?;
            Ok(Self { url: url.into() })
        }
        #[cfg(not(feature = "redis"))]
        Err(invalid(format!("a library without the feature `redis` has no store ({} bytes)", url.len())))
    }
}

impl fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A password must not reach a log by way of `{:?}`.
        write!(f, "StoreConfig({} bytes)", self.url.len())
    }
}

/// What a server has counted of its store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreCounters {
    /// Whether there is a store.
    pub configured: bool,
    /// Whether it can be reached now.
    pub connected: bool,
    /// Members of other servers that are listed here now.
    pub elsewhere: u64,
    /// Other servers that are known now.
    pub servers: u64,
    /// Changes that were told to the store.
    pub told: u64,
    /// Changes that other servers have told.
    pub heard: u64,
    /// What stood in the store or came from it and was no record.
    pub malformed: u64,
    /// Changes that the store was not told at once, because it was too slow or not there.
    pub late: u64,
    /// How often the store could not be reached any more.
    pub failures: u64,
}

#[derive(Debug, Default)]
struct StoreTotals {
    connected: AtomicBool,
    servers: AtomicU64,
    told: AtomicU64,
    heard: AtomicU64,
    malformed: AtomicU64,
    late: AtomicU64,
    failures: AtomicU64,
}

/// What the workers know of the store.
#[derive(Debug)]
pub(super) struct Store {
    /// How this server is called among the others; another one after each start.
    pub(super) server: u64,
    waiting: SyncSender<Share>,
    /// Something was missed: all sessions are to be compared with the store.
    behind: AtomicBool,
    totals: StoreTotals,
}

/// What runs beside the workers and talks to the store.
#[derive(Debug)]
pub(super) struct StoreThreads {
    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "only Redis is a store"))]
    config: StoreConfig,
    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "only Redis is a store"))]
    waiting: Receiver<Share>,
}

impl Store {
    pub(super) fn new(config: &StoreConfig, rng: &mut Rng) -> (Self, StoreThreads) {
        let (sender, waiting) = sync_channel(MAX_WAITING);
        let store = Self {
            server: rng.u64(),
            waiting: sender,
            behind: AtomicBool::new(false),
            totals: StoreTotals::default(),
        };
        (store, StoreThreads { config: config.clone(), waiting })
    }

    /// Has the store told of what changed in a shard.
    pub(super) fn tell(&self, shard: &mut Shard) {
        for share in shard.take_shares() {
            if self.waiting.try_send(share).is_err() {
                self.totals.late.fetch_add(1, Ordering::Relaxed);
                self.behind.store(true, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn counters(&self) -> StoreCounters {
        let totals = &self.totals;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StoreCounters {
            configured: true,
            connected: totals.connected.load(Ordering::Relaxed),
            elsewhere: 0,
            servers: read(&totals.servers),
            told: read(&totals.told),
            heard: read(&totals.heard),
            malformed: read(&totals.malformed),
            late: read(&totals.late),
            failures: read(&totals.failures),
        }
    }
}

impl StoreThreads {
    /// Serves until the registry says stop. What the members here are to be told leaves by `socket`.
    #[cfg(feature = "redis")]
    pub(super) fn run(self, registry: &Registry, store: &Store, socket: &ServerSocket) {
        std::thread::scope(|scope| {
            let reader = redis::Reader::new(registry, store, socket, &self.config);
            let spawned = std::thread::Builder::new()
                .name("hp-store-in".into())
                .spawn_scoped(scope, move || reader.run());
            if let Err(error) = spawned {
                log::error!("what other servers say cannot be heard: starting a thread: {error}");
            }
            redis::Writer::new(registry, store, socket, &self.config, self.waiting).run();
        });
    }

    #[cfg(not(feature = "redis"))]
    pub(super) fn run(self, _: &Registry, _: &Store, _: &ServerSocket) {}
}

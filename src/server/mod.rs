//! The rendezvous server: worker threads around a sharded registry.
//!
//! Each worker has a socket of its own on the shared address and takes and sends datagrams in batches. What a datagram
//! asks for is judged without any state first ([`crate::proto::rendezvous::Gate`]); only then its session's shard is
//! locked. There is no thread, timer or allocation per session or packet beyond a member's own record.

mod worker;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::client::random_bytes;
use crate::error::{Error, ErrorKind};
use crate::net::batch::{self, ServerSocket};
use crate::proto::rendezvous::{Gate, Shard, ShardConfig, ShardCounters};
use crate::proto::{DialectPolicy, Rng};

/// Port that servers and clients agree on unless told otherwise.
pub const DEFAULT_PORT: u16 = 5000;
/// Most registrations, unless it was set.
pub const DEFAULT_MAX_ENDPOINTS: usize = 1 << 20;
/// Most worker threads.
pub const MAX_WORKERS: usize = 64;
/// A registry's shards; a handle has eight bits for their number.
const SHARDS: usize = 64;
/// Longest that an idle worker sleeps; bounds how late a stop is noticed.
const TICK: Duration = Duration::from_millis(20);

/// A server's settings.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where to listen. The default is port 5000 on all addresses, IPv6 and IPv4.
    pub address: SocketAddr,
    /// Which dialects are served; both by default.
    pub policy: DialectPolicy,
    /// Worker threads, 1 to [`MAX_WORKERS`]; one per core (at most 4) by default.
    pub workers: usize,
    /// Most registrations at a time. Each shard holds its even share, so that refusals start a little earlier.
    pub max_endpoints: usize,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            address: batch::default_address(DEFAULT_PORT),
            policy: DialectPolicy::Auto,
            workers: std::thread::available_parallelism().map_or(1, usize::from).min(4),
            max_endpoints: DEFAULT_MAX_ENDPOINTS,
        }
    }
}

/// What a server has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerCounters {
    /// Datagrams received.
    pub received: u64,
    /// Datagrams sent.
    pub sent: u64,
    /// Received datagrams that were nothing the server answers.
    pub dropped: u64,
    /// Registrations that had to show a cookie first.
    pub challenged: u64,
    /// Datagrams that the kernel did not take.
    pub send_failed: u64,
    /// Registrations now.
    pub endpoints: u64,
    /// Sessions now.
    pub sessions: u64,
    /// What the shards have counted.
    pub registry: ShardCounters,
}

#[derive(Debug, Default)]
struct Totals {
    received: AtomicU64,
    sent: AtomicU64,
    dropped: AtomicU64,
    challenged: AtomicU64,
    send_failed: AtomicU64,
}

#[derive(Debug)]
struct Registry {
    gate: Gate,
    shards: Vec<Mutex<Shard>>,
    totals: Totals,
    stop: AtomicBool,
}

/// Ends a running server from any thread, and shows its counters.
#[derive(Clone, Debug)]
pub struct ServerHandle {
    registry: Arc<Registry>,
}

impl ServerHandle {
    /// Has [`Server::run`] return soon.
    pub fn stop(&self) {
        self.registry.stop.store(true, Ordering::Release);
    }

    /// What has been counted so far.
    pub fn counters(&self) -> ServerCounters {
        let totals = &self.registry.totals;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut counters = ServerCounters {
            received: read(&totals.received),
            sent: read(&totals.sent),
            dropped: read(&totals.dropped),
            challenged: read(&totals.challenged),
            send_failed: read(&totals.send_failed),
            ..ServerCounters::default()
        };
        for shard in &self.registry.shards {
            let shard = shard.lock();
            let (endpoints, sessions) = shard.population();
            counters.endpoints += endpoints as u64;
            counters.sessions += sessions as u64;
            counters.registry += shard.counters();
        }
        counters
    }
}

/// A rendezvous server, bound and ready to run.
#[derive(Debug)]
pub struct Server {
    sockets: Vec<ServerSocket>,
    registry: Arc<Registry>,
}

impl Server {
    /// Binds the sockets. Clients' datagrams wait in them until [`Self::run`].
    pub fn bind(config: &ServerConfig) -> Result<Self, Error> {
        if !(1..=MAX_WORKERS).contains(&config.workers) {
            let message = format!("the number of workers must be 1 to {MAX_WORKERS}");
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        if config.max_endpoints < SHARDS {
            let message = format!("the number of endpoints must be at least {SHARDS}");
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        let mut rng = Rng::new(random_bytes()?);
        let mut sockets: Vec<ServerSocket> = Vec::new();
        for number in 0..config.workers {
            // With port 0 the first worker's socket gets a port, and the others join it there.
            let address = sockets.first().map_or(Ok(config.address), ServerSocket::local_address);
            let bound = address.and_then(|address| ServerSocket::bind(address, TICK, number == 0));
            sockets.push(bound.map_err(|error| {
                Error::from_io(ErrorKind::Socket, &format!("binding to {}", config.address), &error)
            })?);
        }
        let shards = (0..SHARDS)
            .map(|number| {
                let config = ShardConfig {
                    number: number as u8,
                    max_members: config.max_endpoints / SHARDS,
                    ..ShardConfig::default()
                };
                Mutex::new(Shard::new(config, rng.fork()))
            })
            .collect();
        let gate = Gate::new(config.policy, &mut rng, Instant::now());
        let registry = Registry { gate, shards, totals: Totals::default(), stop: AtomicBool::new(false) };
        Ok(Self { sockets, registry: Arc::new(registry) })
    }

    /// The address that the server listens on.
    pub fn local_address(&self) -> Result<SocketAddr, Error> {
        self.sockets[0]
            .local_address()
            .map_err(|error| Error::from_io(ErrorKind::Socket, "asking for the local address", &error))
    }

    /// To stop the server and to read its counters while it runs.
    pub fn handle(&self) -> ServerHandle {
        ServerHandle { registry: Arc::clone(&self.registry) }
    }

    /// Serves until [`ServerHandle::stop`]; then all threads and sockets are gone.
    pub fn run(self) -> Result<(), Error> {
        let workers = self.sockets.len();
        let registry = &self.registry;
        std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .sockets
                .iter()
                .enumerate()
                .map(|(number, socket)| {
                    scope.spawn(move || {
                        let result = worker::run(registry, socket, number, workers);
                        // One worker's end is the end of all: a server that serves half its clients helps nobody.
                        registry.stop.store(true, Ordering::Release);
                        result
                    })
                })
                .collect();
            threads.into_iter().try_for_each(|thread| match thread.join() {
                Ok(result) => result.map_err(|error| Error::from_io(ErrorKind::Socket, "receiving", &error)),
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })
    }
}

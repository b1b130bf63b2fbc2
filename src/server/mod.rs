//! The rendezvous server: worker threads around a sharded registry.
//!
//! Each worker has a socket of its own on the shared address and takes and sends datagrams in batches. What a datagram
//! asks for is judged without any state first ([`crate::proto::rendezvous::Gate`]); only then its session's shard is
//! locked. There is no thread, timer or allocation per session or packet beyond a member's own record. If asked to, one more thread
//! takes connections.

mod alternates;
mod handle;
mod inherited;
mod limits;
mod outgoing;
mod prefixes;
mod relay;
mod store;
mod tcp;
mod worker;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use self::alternates::Alternates;
pub use self::inherited::Inherited;
pub use self::limits::{
    DEFAULT_MAX_ENDPOINTS, Limits, MAX_ENDPOINTS_PER_SESSION, MIN_DATAGRAMS_PER_SECOND, MIN_MEMORY,
};
use self::prefixes::Prefixes;
use self::relay::{Relay, RelaySockets};
use self::store::{Store, StoreThreads};
pub use self::store::{StoreConfig, StoreCounters};
use self::tcp::listen::bind_both;
pub use self::tcp::{MAX_TCP_CONNECTIONS, TcpConfig, TcpCounters};
use self::tcp::{Tcp, TcpServer};
use crate::client::random_bytes;
use crate::error::{Error, ErrorKind};
use crate::net::batch::{self, ServerSocket};
use crate::proto::relay::RelayCounters;
use crate::proto::rendezvous::{Gate, Shard, ShardConfig, ShardCounters, ShardLimits};
use crate::proto::wire::mapping::MAX_ALTERNATE_PORTS;
use crate::proto::wire::plain;
use crate::proto::{DialectPolicy, Rng};

/// Port that servers and clients agree on unless told otherwise.
pub const DEFAULT_PORT: u16 = 5000;
/// Ports after the server's own on which it tells clients which source it sees, unless it was set.
pub const DEFAULT_ALTERNATE_PORTS: u16 = 3;
/// Most ports that a server forwards on.
pub const MAX_RELAY_PORTS: u16 = 64;
/// Least payload a second that a relayed pair must be allowed.
pub const MIN_RELAY_RATE: u64 = 2048;
/// Most worker threads.
pub const MAX_WORKERS: usize = 64;
/// A registry's shards; a handle has eight bits for their number.
const SHARDS: usize = 64;
/// Longest that an idle worker sleeps; bounds how late a stop is noticed.
const TICK: Duration = Duration::from_millis(20);

/// Longest expiry, which the clock has room for; longer ones are as good.
const MAX_EXPIRY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// A session lives in one shard, of whose room plain clients get half; with less, two could not meet.
const MIN_ENDPOINTS: usize = 4 * SHARDS;

/// A server's settings.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where to listen. The default is port 5000 on all addresses, IPv6 and IPv4.
    pub address: SocketAddr,
    /// Which dialects are served; both by default.
    pub policy: DialectPolicy,
    /// Worker threads, 1 to [`MAX_WORKERS`]; one per core (at most 4) by default.
    pub workers: usize,
    /// What clients may take.
    pub limits: Limits,
    /// After how much silence a plain client is forgotten, 40 s by default; `None`: never.
    pub plain_expiry: Option<Duration>,
    /// Longest session ID that a plain client may use, 1 to 1024 bytes; 1024 by default.
    pub max_plain_id_len: usize,
    /// On how many of the ports after its own, 0 to 4, the server tells clients which source it sees, so that they learn
    /// how their NATs choose ports; it takes one more to answer from. 3 by default; native clients only.
    pub alternate_ports: u16,
    /// Another address of this host, for the same purpose: it tells apart what depends on the remote address only. It must
    /// be of a family that `address` serves, and it needs alternate ports. A server that cannot use it does not start.
    pub other_address: Option<IpAddr>,
    /// Whether, and how much, to forward between native clients that find no direct way; not at all by default.
    pub relay: Option<RelayConfig>,
    /// Whether, and how many, connections to take from native clients over TCP, at the same address and on the same port numbers as
    /// datagrams; not at all by default. A server that cannot have its own port over TCP, too, does not start. Clients that are
    /// forwarded to each other may then have connections forwarded, too.
    pub tcp: Option<TcpConfig>,
    /// Where sessions are shared with other servers; they are not by default. A store that cannot be reached keeps nobody from being
    /// served.
    pub store: Option<StoreConfig>,
}

/// What a server that forwards allows.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// Ports, 1 to [`MAX_RELAY_PORTS`], from the tenth after the server's own; one client can have so many pairs. 8 by default.
    pub ports: u16,
    /// Most pairs at a time, of datagrams and of connections each; 1000 by default.
    pub max_pairs: usize,
    /// Payload that one pair may have forwarded, both ways together; 1 MiB a second by default, `None` for no limit.
    pub bytes_per_second: Option<u64>,
    /// After so long without a datagram a pair ends; 60 s by default.
    pub idle: Duration,
    /// After so long every pair ends; 12 hours by default.
    pub lifetime: Duration,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            ports: 8,
            max_pairs: 1000,
            bytes_per_second: Some(1 << 20),
            idle: Duration::from_secs(60),
            lifetime: Duration::from_secs(12 * 3600),
        }
    }
}

impl RelayConfig {
    fn check(&self) -> Result<(), Error> {
        if !(1..=MAX_RELAY_PORTS).contains(&self.ports) {
            return Err(invalid(format!("the number of relay ports must be 1 to {MAX_RELAY_PORTS}")));
        }
        if self.max_pairs == 0 || self.idle.is_zero() || self.lifetime.is_zero() {
            return Err(invalid("a relay must allow pairs, and some time for them".into()));
        }
        // A pair that could not have the longest datagram forwarded would be forwarded nothing, sooner or later.
        if self.bytes_per_second.is_some_and(|rate| rate < MIN_RELAY_RATE) {
            return Err(invalid(format!("a relayed pair must be allowed {MIN_RELAY_RATE} bytes a second")));
        }
        Ok(())
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            address: batch::default_address(DEFAULT_PORT),
            policy: DialectPolicy::Auto,
            workers: std::thread::available_parallelism().map_or(1, usize::from).min(4),
            limits: Limits::default(),
            plain_expiry: ShardConfig::default().plain_expiry,
            max_plain_id_len: plain::MAX_ID_LEN,
            alternate_ports: DEFAULT_ALTERNATE_PORTS,
            other_address: None,
            relay: None,
            tcp: None,
            store: None,
        }
    }
}

impl ServerConfig {
    /// The same settings, or what is wrong with them.
    pub fn checked(self) -> Result<Self, Error> {
        if !(1..=MAX_WORKERS).contains(&self.workers) {
            return Err(invalid(format!("the number of workers must be 1 to {MAX_WORKERS}")));
        }
        self.limits.check()?;
        check_plain_id_len(self.max_plain_id_len)?;
        if usize::from(self.alternate_ports) > MAX_ALTERNATE_PORTS {
            return Err(invalid(format!("there can be at most {MAX_ALTERNATE_PORTS} alternate ports")));
        }
        if let Some(other) = self.other_address {
            self.check_other_address(other)?;
        }
        self.relay.as_ref().map_or(Ok(()), RelayConfig::check)?;
        self.tcp.as_ref().map_or(Ok(()), TcpConfig::check)?;
        Ok(self)
    }

    /// What can be known before it is bound.
    fn check_other_address(&self, other: IpAddr) -> Result<(), Error> {
        let main = self.address.ip();
        let why = match other {
            _ if other.is_unspecified() || other.is_multicast() => "is no single host's",
            IpAddr::V4(ip) if ip.is_broadcast() => "is no single host's",
            IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => "is to be written as IPv4",
            IpAddr::V6(ip) if ip.is_unicast_link_local() => "is of use on one link only",
            _ if other == main.to_canonical() => "is the server's own",
            // An IPv6 wildcard takes IPv4, too.
            IpAddr::V4(_) if main.is_ipv6() && !main.is_unspecified() => {
                "is IPv4, and the server's own is not"
            }
            IpAddr::V6(_) if main.is_ipv4() => "is IPv6, and the server's own is not",
            _ if self.alternate_ports == 0 => "is of no use without alternate ports",
            // A server on a port of the system's choice has such for these, too.
            _ if self.address.port() > u16::MAX - self.alternate_ports - 1 => {
                "needs ports that there are not after the server's own"
            }
            _ => return Ok(()),
        };
        Err(invalid(format!("the other address, {other}, {why}")))
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}

/// Reads where to listen: `ADDRESS:PORT`, `NAME:PORT`, or `:PORT` or `PORT` for all addresses.
pub fn parse_address(text: &str) -> Result<SocketAddr, Error> {
    if let Ok(port) = text.strip_prefix(':').unwrap_or(text).parse::<u16>() {
        return Ok(batch::default_address(port));
    }
    let invalid = |why: &str| {
        Error::new(
            ErrorKind::InvalidServer,
            format!("cannot listen at {text:?}: {why}; expected ADDRESS:PORT"),
        )
    };
    let mut addresses = text.to_socket_addrs().map_err(|error| invalid(&error.to_string()))?;
    addresses.next().ok_or_else(|| invalid("the name has no address"))
}

/// What a server has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerCounters {
    /// Datagrams received.
    pub received: u64,
    /// Datagrams sent.
    pub sent: u64,
    /// Received messages that were nothing the server answers: all of that in datagrams, and over connections what names no
    /// registration of its sender's.
    pub dropped: u64,
    /// Registrations that had to show a cookie first.
    pub challenged: u64,
    /// Datagrams that the kernel did not take.
    pub send_failed: u64,
    /// Datagrams that the kernel dropped because the server's receive buffers were full.
    pub kernel_dropped: u64,
    /// Datagrams that were dropped because too many came from their prefix.
    pub rate_limited: u64,
    /// Requests of clients that were not registered yet, dropped because the server could not keep up.
    pub shed: u64,
    /// Whether the server cannot keep up now.
    pub overloaded: bool,
    /// Bytes that registrations take now.
    pub memory: u64,
    /// Registrations now.
    pub endpoints: u64,
    /// Sessions now.
    pub sessions: u64,
    /// What the shards have counted.
    pub registry: ShardCounters,
    /// What the relay has counted; without one, what was refused.
    pub relay: RelayCounters,
    /// What was counted of connections.
    pub tcp: TcpCounters,
    /// What was counted of the store.
    pub store: StoreCounters,
}

#[derive(Debug, Default)]
struct Totals {
    received: AtomicU64,
    sent: AtomicU64,
    dropped: AtomicU64,
    challenged: AtomicU64,
    send_failed: AtomicU64,
    kernel_dropped: AtomicU64,
    rate_limited: AtomicU64,
    /// Requests of newcomers that never came to a shard.
    shed: AtomicU64,
    /// Workers that cannot keep up now.
    overloaded: AtomicUsize,
    /// Requests that never came to the relay.
    relay_refused: AtomicU64,
}

#[derive(Debug)]
struct Registry {
    gate: Gate,
    prefixes: Prefixes,
    shards: Vec<Mutex<Shard>>,
    relay: Option<Relay>,
    tcp: Option<Tcp>,
    store: Option<Store>,
    totals: Totals,
    limits: Mutex<Limits>,
    draining: AtomicBool,
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

    /// Changes [`ServerConfig::plain_expiry`], for present registrations, too.
    pub fn set_plain_expiry(&self, expiry: Option<Duration>) {
        let expiry = expiry.map(|expiry| expiry.min(MAX_EXPIRY));
        for shard in &self.registry.shards {
            shard.lock().set_plain_expiry(expiry, Instant::now());
        }
    }

    /// Changes [`ServerConfig::max_plain_id_len`].
    pub fn set_max_plain_id_len(&self, len: usize) -> Result<(), Error> {
        self.registry.gate.set_max_plain_id_len(check_plain_id_len(len)?);
        Ok(())
    }

    /// What clients may take now.
    pub fn limits(&self) -> Limits {
        self.registry.limits.lock().clone()
    }

    /// Changes [`ServerConfig::limits`]. Who is registered stays, even where there is no longer room for as many.
    pub fn set_limits(&self, limits: &Limits) -> Result<(), Error> {
        limits.check()?;
        *self.registry.limits.lock() = limits.clone();
        self.registry.prefixes.set_limits(limits);
        for shard in &self.registry.shards {
            shard.lock().set_limits(shard_limits(limits));
        }
        Ok(())
    }

    /// Takes no further clients from now on; those that are registered are served.
    pub fn drain(&self) {
        self.registry.draining.store(true, Ordering::Release);
    }

    /// Whether [`Self::drain`] was called.
    pub fn is_draining(&self) -> bool {
        self.registry.draining.load(Ordering::Acquire)
    }

    /// Whether nobody is in the middle of anything: every member has been told all there is, and nothing is forwarded.
    pub fn is_quiet(&self) -> bool {
        let now = Instant::now();
        let counters = self.counters();
        let forwards = counters.relay.pairs > 0 || counters.tcp.relay.pairs > 0;
        !forwards && self.registry.shards.iter().all(|shard| shard.lock().is_quiet(now))
    }

    /// The endpoints of all present registrations, in no order.
    pub fn endpoints(&self) -> Vec<SocketAddr> {
        self.registry.shards.iter().flat_map(|shard| shard.lock().endpoints().collect::<Vec<_>>()).collect()
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
            kernel_dropped: read(&totals.kernel_dropped),
            rate_limited: read(&totals.rate_limited),
            shed: read(&totals.shed),
            overloaded: totals.overloaded.load(Ordering::Relaxed) > 0,
            ..ServerCounters::default()
        };
        counters.relay = self.registry.relay.as_ref().map(Relay::counters).unwrap_or_default();
        counters.relay.refused += read(&totals.relay_refused);
        counters.store = self.registry.store.as_ref().map(Store::counters).unwrap_or_default();
        counters.tcp = self.registry.tcp.as_ref().map(Tcp::counters).unwrap_or_default();
        for shard in &self.registry.shards {
            let shard = shard.lock();
            let (endpoints, sessions) = shard.population();
            counters.endpoints += endpoints as u64;
            counters.sessions += sessions as u64;
            counters.memory += shard.memory() as u64;
            counters.store.elsewhere += shard.elsewhere() as u64;
            counters.registry += shard.counters();
        }
        counters.shed += counters.registry.shed;
        counters
    }
}

/// A rendezvous server, bound and ready to run.
#[derive(Debug)]
pub struct Server {
    sockets: Vec<ServerSocket>,
    alternates: Alternates,
    relay_sockets: RelaySockets,
    tcp: Option<TcpServer>,
    store: Option<StoreThreads>,
    registry: Arc<Registry>,
}

impl Server {
    /// Binds the sockets. Clients' datagrams wait in them until [`Self::run`].
    pub fn bind(config: &ServerConfig) -> Result<Self, Error> {
        Self::bind_with(config, bind_workers)
    }

    /// The same with sockets for the workers from elsewhere.
    fn bind_with(
        config: &ServerConfig,
        workers: impl FnOnce(&ServerConfig) -> Result<(Vec<ServerSocket>, Option<TcpListener>), Error>,
    ) -> Result<Self, Error> {
        let mut config = config.clone().checked()?;
        if config.policy == DialectPolicy::Plain {
            // Neither is anything to plain clients.
            (config.relay, config.tcp) = (None, None);
        }
        let mut rng = Rng::new(random_bytes()?);
        let now = Instant::now();
        let (sockets, listener) = workers(&config)?;
        let (store, store_threads) = config.store.as_ref().map(|store| Store::new(store, &mut rng)).unzip();
        let server = store.as_ref().map(|store| store.server);
        let shards = (0..SHARDS)
            .map(|number| {
                let config = ShardConfig {
                    number: number as u8,
                    limits: shard_limits(&config.limits),
                    server,
                    ..ShardConfig::default()
                };
                Mutex::new(Shard::new(config, rng.fork(), now))
            })
            .collect();
        let main = sockets[0]
            .local_address()
            .map_err(|error| Error::from_io(ErrorKind::Socket, "asking for the local address", &error))?;
        let (alternates, alternate_listeners) = Alternates::bind(&config, main)?;
        let gate = Gate::new(config.policy, alternates.announced(), &mut rng, now);
        let prefixes = Prefixes::new(&config.limits, &mut rng, now);
        let (relay, relay_sockets) = match &config.relay {
            Some(relay) => {
                let system_port = config.address.port() == 0;
                let bound = Relay::bind(relay, main, system_port, rng.fork());
                let (relay, sockets) =
                    bound.map_err(|error| Error::from_io(ErrorKind::Socket, "binding the relay", &error))?;
                (Some(relay), sockets)
            }
            None => (None, RelaySockets::default()),
        };
        let (tcp, tcp_server) = match (&config.tcp, listener) {
            (Some(limits), Some(listener)) => {
                let relay = config.relay.as_ref().map(relay::limits_of);
                let ready =
                    TcpServer::new(limits, relay, main.port(), listener, alternate_listeners, rng.fork());
                let (tcp, server) =
                    ready.map_err(|error| Error::from_io(ErrorKind::Socket, "preparing for TCP", &error))?;
                (Some(tcp), Some(server))
            }
            _ => (None, None),
        };
        let registry = Registry {
            gate,
            prefixes,
            shards,
            relay,
            tcp,
            store,
            totals: Totals::default(),
            limits: Mutex::new(config.limits.clone()),
            draining: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        };
        let server = Self {
            sockets,
            alternates,
            relay_sockets,
            tcp: tcp_server,
            store: store_threads,
            registry: Arc::new(registry),
        };
        server.handle().set_plain_expiry(config.plain_expiry);
        server.handle().set_max_plain_id_len(config.max_plain_id_len)?;
        Ok(server)
    }

    /// The address that the server listens on.
    pub fn local_address(&self) -> Result<SocketAddr, Error> {
        self.sockets[0]
            .local_address()
            .map_err(|error| Error::from_io(ErrorKind::Socket, "asking for the local address", &error))
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.sockets.len()
    }

    /// To stop the server and to read its counters while it runs.
    pub fn handle(&self) -> ServerHandle {
        ServerHandle { registry: Arc::clone(&self.registry) }
    }

    /// Serves until [`ServerHandle::stop`]; then all threads and sockets are gone.
    pub fn run(mut self) -> Result<(), Error> {
        let tcp = self.tcp.take();
        let store = self.store.take();
        let workers = self.sockets.len();
        let (registry, alternates) = (&self.registry, &self.alternates);
        // One thread's end is the end of all: a server that serves half its clients helps nobody.
        let ending = |result| {
            registry.stop.store(true, Ordering::Release);
            result
        };
        std::thread::scope(|scope| {
            let mut threads = Vec::new();
            if let (Some(server), Some(tcp)) = (tcp, &registry.tcp) {
                let socket = &self.sockets[0];
                let serve = move || ending(server.run(registry, tcp, alternates, socket));
                let thread = std::thread::Builder::new().name("hp-tcp".into()).spawn_scoped(scope, serve);
                threads.push(thread.map_err(|error| {
                    Error::from_io(ErrorKind::Socket, "starting a thread for TCP", &error)
                })?);
            }
            if let (Some(threads), Some(store)) = (store, &registry.store) {
                let socket = &self.sockets[0];
                let spawned = std::thread::Builder::new()
                    .name("hp-store".into())
                    .spawn_scoped(scope, move || threads.run(registry, store, socket));
                spawned.map_err(|error| {
                    Error::from_io(ErrorKind::Socket, "starting a thread for the store", &error)
                })?;
            }
            threads.extend(self.sockets.iter().enumerate().map(|(number, socket)| {
                scope.spawn(move || ending(worker::run(registry, alternates, socket, number, workers)))
            }));
            if !alternates.is_empty() {
                threads.push(scope.spawn(move || ending(alternates.run(registry))));
            }
            if let Some(relay) = &registry.relay {
                let count = self.relay_sockets.threads(workers);
                let sockets = &self.relay_sockets;
                threads.extend(
                    (0..count).map(|number| {
                        scope.spawn(move || ending(sockets.run(registry, relay, number, count)))
                    }),
                );
            }
            threads.into_iter().try_for_each(|thread| match thread.join() {
                Ok(result) => result.map_err(|error| Error::from_io(ErrorKind::Socket, "receiving", &error)),
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })
    }
}

/// A socket for each worker, and a listener if connections are to be taken. With port 0 the first one gets a port, and the others join
/// it there.
fn bind_workers(config: &ServerConfig) -> Result<(Vec<ServerSocket>, Option<TcpListener>), Error> {
    let (first, listener) =
        bind_both(config.address, config.tcp.is_some()).map_err(|error| error.into_error(""))?;
    let join = || {
        let address = first.local_address()?;
        (1..config.workers).map(|_| ServerSocket::bind(address, TICK, false)).collect::<io::Result<Vec<_>>>()
    };
    let others = join().map_err(|error| {
        Error::from_io(ErrorKind::Socket, &format!("binding to {}", config.address), &error)
    })?;
    let sockets = std::iter::once(first).chain(others).collect();
    Ok((sockets, listener))
}

/// A shard's share of what clients may take.
fn shard_limits(limits: &Limits) -> ShardLimits {
    ShardLimits {
        max_members_per_session: limits.max_endpoints_per_session,
        max_members: limits.max_endpoints / SHARDS,
        max_memory: limits.max_memory / SHARDS,
        plain_amplification: limits.plain_amplification,
    }
}

fn check_plain_id_len(len: usize) -> Result<usize, Error> {
    if (1..=plain::MAX_ID_LEN).contains(&len) {
        return Ok(len);
    }
    Err(invalid(format!("the longest plain session ID must have 1 to {} bytes", plain::MAX_ID_LEN)))
}

//! Connections of native clients: the same messages as in datagrams, in frames; and forwarding between two connections.
//!
//! One thread serves them all and never waits for one of them. What the shards have to say to a member that came over TCP is posted to
//! it; what it has to say to others leaves by one of the server's sockets.

mod connection;
mod driver;
mod forward;
pub(super) mod listen;

use std::io;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ahash::RandomState;
use parking_lot::Mutex;

use self::driver::{Driver, WAKER};
use self::listen::Listener;
use super::alternates::Alternates;
use super::outgoing::Frames;
use super::{Registry, invalid};
use crate::error::Error;
use crate::net::batch::ServerSocket;
use crate::proto::Rng;
use crate::proto::relay::RelayLimits;
use crate::proto::relay_streams::{RelayStreamCounters, RelayStreams};

/// Most connections that a server can be told to take at a time.
pub const MAX_TCP_CONNECTIONS: usize = 1 << 16;
/// Bytes that may wait for the thread; what is more is lost, as datagrams are, and repeated as those are.
const MAX_POSTED: usize = 1 << 20;

/// What a server that takes connections allows.
#[derive(Clone, Debug)]
pub struct TcpConfig {
    /// Most connections at a time, 1 to [`MAX_TCP_CONNECTIONS`]; 4096 by default. A pair that is forwarded to each other takes two.
    /// Each takes a descriptor of the process.
    pub max_connections: usize,
    /// Most connections at a time from one IPv4 address or one IPv6 network of 64 bits, 1 to [`MAX_TCP_CONNECTIONS`]; 256 by default.
    pub max_connections_per_address: usize,
    /// A connection on which no message has come within so long is closed; 10 s by default.
    pub first_message: Duration,
    /// A connection that says nothing more for so long is closed, unless it is forwarded; 45 s by default.
    pub silence: Duration,
    /// A connection that is to be forwarded waits so long for the other side; 30 s by default.
    pub relay_wait: Duration,
    /// Two connections that are forwarded to each other may be silent for so long; 30 minutes by default. Programs that talk over
    /// connections expect them to last.
    pub relay_silence: Duration,
}

impl Default for TcpConfig {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            max_connections_per_address: 256,
            first_message: Duration::from_secs(10),
            silence: Duration::from_secs(45),
            relay_wait: Duration::from_secs(30),
            relay_silence: Duration::from_secs(30 * 60),
        }
    }
}

impl TcpConfig {
    pub(super) fn check(&self) -> Result<(), Error> {
        for (limit, of) in [(self.max_connections, ""), (self.max_connections_per_address, " of one address")]
        {
            if !(1..=MAX_TCP_CONNECTIONS).contains(&limit) {
                return Err(invalid(format!(
                    "the number of TCP connections{of} must be 1 to {MAX_TCP_CONNECTIONS}"
                )));
            }
        }
        if [self.first_message, self.silence, self.relay_wait, self.relay_silence]
            .iter()
            .any(Duration::is_zero)
        {
            return Err(invalid("TCP connections must be given some time".into()));
        }
        Ok(())
    }
}

/// What a server has counted of connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpCounters {
    /// Connections now.
    pub connections: u64,
    /// Connections that were taken, those that have ended included.
    pub accepted: u64,
    /// Connections that were closed at once, because there were as many as there may be, in all or from that address.
    pub over_limit: u64,
    /// How often the system had no room for another connection; it waits until there is some.
    pub accept_failed: u64,
    /// Connections that were closed because what came was no message in a frame, or none that the server understands.
    pub malformed: u64,
    /// Connections that were closed because nothing came for too long.
    pub silent: u64,
    /// Connections that were closed because more than 64 KiB waited for them to be read.
    pub slow: u64,
    /// Messages received.
    pub received: u64,
    /// Messages sent.
    pub sent: u64,
    /// Messages that were not sent: their receiver's connection was gone, or too many waited.
    pub unsent: u64,
    /// What was counted of connections that are forwarded to each other; requests that never came to that are among
    /// [`super::ServerCounters::relay`]'s.
    pub relay: RelayStreamCounters,
}

#[derive(Debug, Default)]
struct TcpTotals {
    connections: AtomicU64,
    accepted: AtomicU64,
    over_limit: AtomicU64,
    accept_failed: AtomicU64,
    malformed: AtomicU64,
    silent: AtomicU64,
    slow: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    unsent: AtomicU64,
}

/// Counts one more.
fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What the workers know of the connections.
#[derive(Debug)]
pub(super) struct Tcp {
    /// Where connections are taken.
    pub(super) port: u16,
    /// Whose connections are forwarded to each other, if the server forwards.
    pub(super) relay: Option<Mutex<RelayStreams>>,
    posted: Mutex<Frames>,
    waker: mio::Waker,
    totals: TcpTotals,
}

impl Tcp {
    /// Has the thread send these, and takes them away.
    pub(super) fn post(&self, frames: &mut Frames) {
        if frames.len() == 0 {
            return;
        }
        let mut posted = self.posted.lock();
        let first = posted.len() == 0;
        if posted.bytes() + frames.bytes() <= MAX_POSTED {
            posted.extend(frames);
        } else {
            self.totals.unsent.fetch_add(frames.len() as u64, Ordering::Relaxed);
        }
        drop(posted);
        frames.clear();
        // Whoever posted the first one has woken the thread.
        if first && let Err(error) = self.waker.wake() {
            log::error!("the thread for TCP cannot be woken: {error}");
        }
    }

    /// Takes what was posted; `frames` has none.
    fn take_posted(&self, frames: &mut Frames) {
        std::mem::swap(&mut *self.posted.lock(), frames);
    }

    pub(super) fn counters(&self) -> TcpCounters {
        let totals = &self.totals;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TcpCounters {
            connections: read(&totals.connections),
            accepted: read(&totals.accepted),
            over_limit: read(&totals.over_limit),
            accept_failed: read(&totals.accept_failed),
            malformed: read(&totals.malformed),
            silent: read(&totals.silent),
            slow: read(&totals.slow),
            received: read(&totals.received),
            sent: read(&totals.sent),
            unsent: read(&totals.unsent),
            relay: self.relay.as_ref().map(|relay| relay.lock().counters()).unwrap_or_default(),
        }
    }
}

/// What listens, ready to run.
#[derive(Debug)]
pub(super) struct TcpServer {
    config: TcpConfig,
    poll: mio::Poll,
    /// Clients choose where they come from, so the tables are keyed.
    hasher: RandomState,
    listeners: Vec<Listener>,
}

impl TcpServer {
    /// Makes ready to serve on the server's own port, `port`, and on the alternate ones; to forward within these limits, if there are
    /// any.
    pub(super) fn new(
        config: &TcpConfig,
        relay: Option<RelayLimits>,
        port: u16,
        main: TcpListener,
        alternates: Vec<TcpListener>,
        mut rng: Rng,
    ) -> io::Result<(Tcp, Self)> {
        let poll = mio::Poll::new()?;
        let hasher = RandomState::with_seeds(rng.u64(), rng.u64(), rng.u64(), rng.u64());
        let mut listeners = vec![Listener::new(main, true)];
        listeners.extend(alternates.into_iter().map(|listener| Listener::new(listener, false)));
        for (number, listener) in listeners.iter_mut().enumerate() {
            listener.register(poll.registry(), number)?;
        }
        let waker = mio::Waker::new(poll.registry(), WAKER)?;
        let relay = relay.map(|limits| {
            Mutex::new(RelayStreams::new(limits, config.relay_wait, config.relay_silence, rng))
        });
        let tcp = Tcp { port, relay, posted: Mutex::default(), waker, totals: TcpTotals::default() };
        Ok((tcp, Self { config: config.clone(), poll, hasher, listeners }))
    }

    /// Serves until the registry says stop; then all connections are closed.
    pub(super) fn run(
        self,
        registry: &Registry,
        tcp: &Tcp,
        alternates: &Alternates,
        socket: &ServerSocket,
    ) -> io::Result<()> {
        Driver::new(self, registry, tcp, alternates, socket).run()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn what_is_posted_and_not_taken_is_bounded() {
        const MESSAGE: [u8; 1022] = [7; 1022];
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let config = TcpConfig::default();
        let (tcp, _server) =
            TcpServer::new(&config, None, 1, listener, Vec::new(), Rng::new([1; 32])).unwrap();
        let remote = |port: u16| SocketAddr::from(([192, 0, 2, 1], port));
        let post = |port: u16| {
            let mut frames = Frames::default();
            frames.push(remote(port), &MESSAGE);
            tcp.post(&mut frames);
            assert_eq!((frames.len(), frames.bytes()), (0, 0), "they are taken away in any case");
        };
        // With its length each has 1024 bytes.
        (1..=1024).for_each(post);
        assert_eq!(tcp.counters().unsent, 0);
        post(1025);
        assert_eq!(tcp.counters().unsent, 1);
        let mut taken = Frames::default();
        tcp.take_posted(&mut taken);
        assert_eq!((taken.len(), taken.bytes()), (1024, MAX_POSTED));
        let framed = [&1022u16.to_be_bytes()[..], &MESSAGE].concat();
        assert!(taken.iter().zip(1..).all(|(each, port)| each == (remote(port), &framed[..])));
        post(1026);
        assert_eq!((tcp.counters().unsent, tcp.posted.lock().len()), (1, 1));
    }
}

//! One shot: a session ID and a number of peers in, that many confirmed holes and the raw socket out.

mod check;
pub(crate) mod driver;
mod failure;
mod sockets;
mod streams;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub use self::check::{NatCheck, NatReport};
use self::driver::{Ended, Run};
use self::streams::RunStreams;
use crate::error::{Error, ErrorKind};
use crate::net::resolve::{self, Resolution};
use crate::net::tcp::TcpConnection;
use crate::net::udp::UdpEndpoint;
use crate::net::waker::Waker;
use crate::proto::connect::Outcome;
use crate::proto::meeting::MeetingCounters;
use crate::proto::punch::{PeerStatus, Progress, PunchReport};
use crate::proto::secure::Exporter;
use crate::proto::{
    CandidateKind, Connect, ConnectConfig, DialectPolicy, LocalSockets, MeetingConfig, PathPolicy, SessionId,
    SessionIdError, Techniques, Transport, TransportPolicy,
};

/// Most peers that one call connects to.
pub const MAX_PEERS: usize = 64;
/// Time that a call has in total, unless it was set.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(40);
/// Longest pause between two unanswered requests to the server, unless it was set.
pub const DEFAULT_SERVER_RETRY: Duration = Duration::from_millis(100);
/// Longest pause between two probes of a peer's endpoint, unless it was set; half as much again in the plain dialect.
pub const DEFAULT_PEER_RETRY: Duration = Duration::from_millis(100);
/// Range of both pauses.
pub const RETRY_RANGE: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(10);
/// Most addresses of the server that are asked at the same time.
const MAX_SERVER_ADDRESSES: usize = 8;
/// Most bytes of early datagrams that are kept for the caller.
const MAX_EARLY_BYTES: usize = 1 << 20;
/// How an early datagram's memory is counted beside its payload.
const EARLY_OVERHEAD: usize = 128;

/// A peer that a call has found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// Where the peer is reached: the other end of the hole.
    pub endpoint: SocketAddr,
    /// How this endpoint was learned.
    pub path: CandidateKind,
    /// Round-trip time over the hole; `None` where it was not measured (the plain dialect has no means).
    pub rtt: Option<Duration>,
    /// Whether the hole is confirmed in both directions. Always, after a call that succeeded.
    pub connected: bool,
    /// Whether the peer proved that it knows the session ID (native dialect), or merely spoke from a listed endpoint.
    pub authenticated: bool,
    /// What carries the hole.
    pub transport: Transport,
    /// Which of the client's sockets the hole belongs to; over TCP it is the hole.
    pub socket: usize,
    /// What was tried to reach the peer, and what probably kept it from working.
    pub report: PunchReport,
    pub(crate) exporter: Option<Exporter>,
}

impl Peer {
    /// A key for a protocol that is run over the hole: the same on both sides, different for each label, known to nobody else,
    /// and forward secret. Another one after each call. `None` unless the peer is connected and authenticated.
    pub fn export_key(&self, label: &[u8]) -> Option<[u8; 32]> {
        self.exporter.filter(|_| self.connected).map(|exporter| exporter.key(label))
    }
}

/// A datagram of a peer's application that came before the call returned.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EarlyDatagram {
    /// The socket it came in on.
    pub socket: usize,
    /// The peer's endpoint.
    pub source: SocketAddr,
    /// What the peer sent.
    pub payload: Vec<u8>,
}

/// Ends a running call from any thread.
#[derive(Clone, Debug)]
pub struct Canceller {
    shared: Arc<Shared>,
}

impl Canceller {
    /// The running call returns [`ErrorKind::Cancelled`] at once; if none runs, the next one does.
    pub fn cancel(&self) {
        self.shared.cancelled.store(true, Ordering::Release);
        self.shared.waker.wake();
    }

    /// Takes back a cancellation that no call has spent, as when the call that it was meant for had just ended.
    pub fn clear(&self) {
        self.shared.cancelled.store(false, Ordering::Release);
    }
}

#[derive(Debug)]
struct Shared {
    cancelled: AtomicBool,
    waker: Arc<Waker>,
}

impl Shared {
    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }
}

/// Opens holes to peers that share a session ID. One call at a time; `Canceller` ends it from any thread.
///
/// All I/O happens within [`Client::connect`] and in its thread, so none is left when it returns. Two things are done in threads
/// of their own, meanwhile: the server's *name* is looked up, which a call that ends does not wait for; and where a peer is
/// missed, the router is asked to open a port, by the thread `hp-portmap`, which is gone when the call returns. A port that
/// was opened stays so, for the router's lifetime of two hours or what it has granted, if a hole is open, since that may lead
/// through it; nobody renews it (a [`crate::portmap::PortMapper`] of the caller's would). Else it is closed.
#[derive(Debug)]
pub struct Client {
    server: String,
    timeout: Option<Duration>,
    server_retry: Duration,
    peer_retry: Duration,
    local: Option<SocketAddr>,
    policy: DialectPolicy,
    techniques: Techniques,
    paths: PathPolicy,
    transport: TransportPolicy,
    shared: Arc<Shared>,
    sockets: Vec<Option<UdpEndpoint>>,
    /// Peers' connections; they count on where the others end.
    streams: Vec<Option<TcpConnection>>,
    early: VecDeque<EarlyDatagram>,
    counters: MeetingCounters,
    /// Holes that the last call opened, if it failed for want of others.
    open_holes: Vec<PeerStatus>,
}

impl Client {
    /// A client of the rendezvous server `host:port`: a name, an IPv4 address or an IPv6 address in brackets. The name is
    /// looked up by each call of [`Self::connect`].
    pub fn new(server: &str) -> Result<Self, Error> {
        if !resolve::is_well_formed(server) {
            return Err(Error::new(ErrorKind::InvalidServer, "the server must be given as host:port"));
        }
        Self::of(server)
    }

    /// One for [`Self::connect_one`] alone.
    pub(crate) fn without_server() -> Result<Self, Error> {
        let mut client = Self::of("")?;
        // Nobody could be told of such.
        client.techniques.port_mapping = false;
        Ok(client)
    }

    fn of(server: &str) -> Result<Self, Error> {
        let waker =
            Waker::new().map_err(|error| Error::from_io(ErrorKind::Socket, "making a waker", &error))?;
        Ok(Self {
            server: server.to_owned(),
            timeout: Some(DEFAULT_TIMEOUT),
            server_retry: DEFAULT_SERVER_RETRY,
            peer_retry: DEFAULT_PEER_RETRY,
            local: None,
            policy: DialectPolicy::Auto,
            techniques: Techniques::default(),
            paths: PathPolicy::default(),
            transport: TransportPolicy::default(),
            shared: Arc::new(Shared { cancelled: AtomicBool::new(false), waker: Arc::new(waker) }),
            sockets: Vec::new(),
            streams: Vec::new(),
            early: VecDeque::new(),
            counters: MeetingCounters::default(),
            open_holes: Vec::new(),
        })
    }

    /// Time that a call has in total, [`DEFAULT_TIMEOUT`] at first; `None`: for ever.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// Longest pause between two unanswered requests to the server; within [`RETRY_RANGE`].
    pub fn set_server_retry(&mut self, pause: Duration) -> Result<(), Error> {
        self.server_retry = check_retry(pause)?;
        Ok(())
    }

    /// Longest pause between two probes of a peer's endpoint; within [`RETRY_RANGE`].
    pub fn set_peer_retry(&mut self, pause: Duration) -> Result<(), Error> {
        self.peer_retry = check_retry(pause)?;
        Ok(())
    }

    /// The address to bind the socket to; `None`, the default, lets the system choose. Fixes the address family, too.
    pub fn set_local_address(&mut self, local: Option<SocketAddr>) {
        self.local = local;
    }

    /// Which dialects may be spoken; [`DialectPolicy::Auto`] by default.
    pub fn set_dialect(&mut self, policy: DialectPolicy) {
        self.policy = policy;
    }

    /// What may be done to get through beside probing known endpoints; everything by default.
    pub fn set_techniques(&mut self, techniques: Techniques) {
        self.techniques = techniques;
    }

    /// Which paths are good enough; [`PathPolicy::DirectPreferred`] by default.
    pub fn set_path_policy(&mut self, paths: PathPolicy) {
        self.paths = paths;
    }

    /// What may carry holes: [`TransportPolicy::Udp`] by default. Over TCP the server must have been started with `--tcp` and
    /// speak native, each peer has a connection, and so a socket, of its own, and the relay forwards bytes. Sessions, and
    /// [`Self::connect_peers`], use UDP whatever is set here. A socket that was given is closed where it is of no use.
    pub fn set_transport(&mut self, transport: TransportPolicy) {
        self.transport = transport;
    }

    /// Ends a running call from any thread.
    pub fn canceller(&self) -> Canceller {
        Canceller { shared: Arc::clone(&self.shared) }
    }

    /// Meets `peers` others that call this with the same `id`, and opens a hole to each. Blocks until at least that many
    /// are open, time is up, or [`Canceller::cancel`].
    ///
    /// On success the list holds connected peers only. On failure [`Error::peers`] holds what was found; the sockets stay
    /// with the client, so that [`Self::connect_peers`] can go on.
    pub fn connect(&mut self, id: &[u8], peers: usize) -> Result<Vec<Peer>, Error> {
        let id = check_id(id)?;
        check_count(peers)?;
        let deadline = self.deadline();
        self.spend_cancellation(|client| client.meet(id, peers, deadline))
    }

    fn meet(&mut self, id: SessionId, peers: usize, deadline: Option<Instant>) -> Result<Vec<Peer>, Error> {
        if self.transport != TransportPolicy::Udp && self.policy == DialectPolicy::Plain {
            let message = "the plain dialect knows no TCP";
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        let servers = self.prepare(deadline, self.transport)?;
        let host_candidates = host_candidates(&self.sockets, self.local_sockets(), &servers);
        self.open_holes.clear();
        self.run(id, peers, servers, Vec::new(), host_candidates, deadline)
    }

    /// Looks up the server and opens what reaches it.
    fn prepare(
        &mut self,
        deadline: Option<Instant>,
        transport: TransportPolicy,
    ) -> Result<Vec<SocketAddr>, Error> {
        let servers = self.look_up(deadline)?;
        self.streams.clear();
        if transport == TransportPolicy::Tcp {
            self.sockets.clear();
        } else {
            self.open_sockets(&servers)?;
        }
        let (sockets, local) = (self.local_sockets(), self.local);
        let of_local_family =
            |server: &SocketAddr| local.is_none_or(|local| local.is_ipv4() == server.is_ipv4());
        let servers: Vec<_> = servers
            .into_iter()
            .filter(|server| match transport {
                TransportPolicy::Tcp => of_local_family(server),
                TransportPolicy::Udp | TransportPolicy::Either => sockets.towards(*server).is_some(),
            })
            .take(MAX_SERVER_ADDRESSES)
            .collect();
        if servers.is_empty() {
            let message = "the server has no address of the local address's family";
            return Err(Error::new(ErrorKind::ServerUnreachable, message));
        }
        Ok(servers)
    }

    /// What a session begins with: what is to be reached and how, and the sockets, which are the session's from now on.
    pub(crate) fn begin_session(
        &mut self,
        id: &[u8],
        plain_peers: bool,
    ) -> Result<(MeetingConfig, Vec<Option<UdpEndpoint>>), Error> {
        let id = check_id(id)?;
        let deadline = self.deadline();
        let servers = self.spend_cancellation(|client| client.prepare(deadline, TransportPolicy::Udp))?;
        let sockets = self.local_sockets();
        let meeting = MeetingConfig {
            id,
            wanted: usize::MAX,
            // The server never sees a session's ID.
            policy: DialectPolicy::Native,
            plain_peers,
            server_retry: self.server_retry,
            peer_retry: self.peer_retry,
            sockets,
            host_candidates: host_candidates(&self.sockets, sockets, &servers),
            servers,
            peers: Vec::new(),
            resumed: Vec::new(),
            techniques: self.techniques,
            paths: self.paths,
            lasting: true,
            transport: TransportPolicy::Udp,
            stream_hosts: Vec::new(),
        };
        Ok((meeting, std::mem::take(&mut self.sockets)))
    }

    /// Opens holes to peers at these endpoints, which an earlier call or the caller's own means found, without the server.
    /// Those that the call just before has opened stay open. Blocks until all of them are open, time is up, or [`Canceller::cancel`]. Both sides must call it.
    pub fn connect_peers(&mut self, id: &[u8], endpoints: &[SocketAddr]) -> Result<Vec<Peer>, Error> {
        let id = check_id(id)?;
        check_count(endpoints.len())?;
        if endpoints.iter().any(|endpoint| endpoint.port() == 0 || endpoint.ip().is_unspecified()) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "a peer's endpoint needs an address and a port",
            ));
        }
        let deadline = self.deadline();
        self.spend_cancellation(|client| {
            client.open_sockets(endpoints)?;
            client.run(id, endpoints.len(), Vec::new(), endpoints.to_vec(), Vec::new(), deadline)
        })
    }

    /// Opens a hole to one peer that is at one of these endpoints, on the sockets that are there.
    pub(crate) fn connect_one(&mut self, id: SessionId, endpoints: &[SocketAddr]) -> Result<Peer, Error> {
        let deadline = self.deadline();
        let peers = self.spend_cancellation(|client| {
            client.run(id, 1, Vec::new(), endpoints.to_vec(), Vec::new(), deadline)
        })?;
        Ok(peers.into_iter().next().expect("a call that succeeds has as many peers as were wanted"))
    }

    /// The next datagram of a peer's application that came while other holes were still being opened. To be read before
    /// the socket is.
    pub fn pop_early_datagram(&mut self) -> Option<EarlyDatagram> {
        self.early.pop_front()
    }

    /// The datagram that [`Self::pop_early_datagram`] would give.
    pub fn peek_early_datagram(&self) -> Option<&EarlyDatagram> {
        self.early.front()
    }

    /// What the last call has counted.
    pub fn counters(&self) -> MeetingCounters {
        self.counters
    }

    fn deadline(&self) -> Option<Instant> {
        self.timeout.and_then(|timeout| Instant::now().checked_add(timeout))
    }

    /// Runs a call; a cancellation that came before its end is spent, whatever became of the call.
    fn spend_cancellation<T>(
        &mut self,
        call: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let result = call(self);
        self.shared.cancelled.store(false, Ordering::Release);
        self.shared.waker.clear();
        result
    }

    fn look_up(&self, deadline: Option<Instant>) -> Result<Vec<SocketAddr>, Error> {
        let not_found = |error: &std::io::Error| {
            Error::from_io(ErrorKind::ServerNotFound, &format!("looking up {}", self.server), error)
        };
        let resolution =
            resolve::start(&self.server, &self.shared.waker).map_err(|error| not_found(&error))?;
        let pending = match resolution {
            Resolution::Done(addresses) => return Ok(addresses),
            Resolution::Pending(pending) => pending,
        };
        loop {
            self.shared.waker.clear();
            if self.shared.is_cancelled() {
                return Err(cancelled());
            }
            match pending.try_recv() {
                Ok(Ok(addresses)) if !addresses.is_empty() => return Ok(addresses),
                Ok(Ok(_)) => {
                    return Err(Error::new(
                        ErrorKind::ServerNotFound,
                        format!("{} has no address", self.server),
                    ));
                }
                Ok(Err(error)) => return Err(not_found(&error)),
                Err(_) if deadline.is_some_and(|deadline| Instant::now() >= deadline) => {
                    let message = format!("looking up {} took too long", self.server);
                    return Err(Error::new(ErrorKind::ServerSilent, message));
                }
                Err(_) => {}
            }
            crate::net::poll::wait_readable(&[self.shared.waker.fd()], deadline)
                .map_err(|error| socket_error(&error))?;
        }
    }

    fn run(
        &mut self,
        id: SessionId,
        expected: usize,
        servers: Vec<SocketAddr>,
        peers: Vec<SocketAddr>,
        host_candidates: Vec<SocketAddr>,
        deadline: Option<Instant>,
    ) -> Result<Vec<Peer>, Error> {
        let seed = random_bytes()?;
        let now = Instant::now();
        let (resumed, peers) = self.split_resumed(peers);
        let transport = if servers.is_empty() { TransportPolicy::Udp } else { self.transport };
        let streams = match transport {
            TransportPolicy::Udp => None,
            _ => Some(RunStreams::bind(self.local, &servers, transport == TransportPolicy::Either)?),
        };
        let stream_hosts = streams.as_ref().map(|streams| streams.hosts(&servers)).unwrap_or_default();
        let peers = match expected {
            // All of them are one and the same peer's, which the plain dialect cannot tell.
            1 if servers.is_empty() && !peers.is_empty() && self.policy != DialectPolicy::Plain => {
                vec![peers]
            }
            _ => peers.into_iter().map(|endpoint| vec![endpoint]).collect(),
        };
        let meeting = MeetingConfig {
            id,
            wanted: expected,
            policy: self.policy,
            plain_peers: false,
            server_retry: self.server_retry,
            peer_retry: self.peer_retry,
            sockets: self.local_sockets(),
            servers,
            peers,
            resumed,
            host_candidates,
            techniques: self.techniques,
            paths: self.paths,
            lasting: false,
            transport,
            stream_hosts,
        };
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(now));
        self.early.clear();
        let own_sockets = self.sockets.len();
        let mut connect = Connect::new(ConnectConfig { meeting, timeout }, seed, now);
        let mut run = Run::new(&mut self.sockets, &self.shared, streams);
        let ended = run.until_ended(&mut connect);
        run.end_mapping(connect.peers(Instant::now()).any(|status| status.progress == Progress::Done));
        let established;
        (self.early, established) = run.into_parts();
        self.streams = established.into_iter().map(Some).collect();
        self.counters = connect.counters();
        let ended = ended.map_err(|error| {
            self.sockets.truncate(own_sockets);
            socket_error(&error)
        })?;
        for socket in self.sockets.iter().flatten() {
            socket.prepare_hand_over(crate::is_control_packet);
        }
        let now = Instant::now();
        let mut found = found_peers(&connect, now);
        self.open_holes = match ended {
            Ended::With(Outcome::Complete) => Vec::new(),
            _ => connect.peers(now).filter(is_resumable).collect(),
        };
        if !matches!(ended, Ended::With(Outcome::Complete)) {
            self.close_spare_sockets(own_sockets, &mut found);
        }
        if matches!(ended, Ended::With(Outcome::Complete)) {
            found = self.keep_used_sockets(found);
        }
        self.place_streams(&mut found);
        match ended {
            Ended::Cancelled => Err(cancelled().with_peers(found)),
            Ended::With(Outcome::Complete) => Ok(found),
            Ended::With(outcome) => Err(self.describe(outcome, expected, &found).with_peers(found)),
        }
    }

    /// Those among `endpoints` whose holes the last call has opened, on sockets that are still there; and the rest.
    fn split_resumed(&mut self, endpoints: Vec<SocketAddr>) -> (Vec<PeerStatus>, Vec<SocketAddr>) {
        let mut resumed = std::mem::take(&mut self.open_holes);
        resumed.retain(|hole| {
            let socket = self.sockets.get(usize::from(hole.socket.0));
            endpoints.contains(&hole.endpoint) && socket.is_some_and(Option::is_some)
        });
        let is_rest = |endpoint: &SocketAddr| !resumed.iter().any(|hole| hole.endpoint == *endpoint);
        let rest = endpoints.into_iter().filter(is_rest).collect();
        (resumed, rest)
    }
}

/// Whether a later call can go on with a hole as it is.
fn is_resumable(status: &PeerStatus) -> bool {
    status.progress == Progress::Done && status.transport == Transport::Udp
}

/// Under which addresses of its own this host may be reached at its sockets.
pub(crate) fn host_candidates(
    sockets: &[Option<UdpEndpoint>],
    local: LocalSockets,
    servers: &[SocketAddr],
) -> Vec<SocketAddr> {
    let mut candidates: Vec<SocketAddr> = Vec::new();
    for server in servers {
        let socket = local.towards(*server).and_then(|at| sockets[usize::from(at.0)].as_ref());
        for candidate in socket.map(|socket| socket.host_candidates(*server)).unwrap_or_default() {
            if !candidates.contains(&candidate) {
                candidates.push(candidate);
            }
        }
    }
    candidates
}

/// A fresh session ID of 128 random bits, as 32 hexadecimal digits: a secret that no server can guess.
pub fn generate_session_id() -> Result<String, Error> {
    Ok(random_bytes::<16>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Bytes from the operating system's generator.
pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        Error::new(ErrorKind::Socket, format!("asking the system for randomness: {error}"))
    })?;
    Ok(bytes)
}

pub(crate) fn check_id(id: &[u8]) -> Result<SessionId, Error> {
    SessionId::new(id).map_err(|error| {
        let message = match error {
            SessionIdError::Empty => "the session ID is empty".to_owned(),
            SessionIdError::TooLong => format!("the session ID is longer than {} bytes", SessionId::MAX_LEN),
        };
        Error::new(ErrorKind::InvalidSessionId, message)
    })
}

fn check_count(peers: usize) -> Result<(), Error> {
    if (1..=MAX_PEERS).contains(&peers) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidArgument, format!("the number of peers must be 1 to {MAX_PEERS}")))
}

fn check_retry(pause: Duration) -> Result<Duration, Error> {
    if RETRY_RANGE.contains(&pause) {
        return Ok(pause);
    }
    Err(Error::new(ErrorKind::InvalidArgument, "a retry pause must be 1 ms to 10 s"))
}

fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "cancelled")
}

fn socket_error(error: &std::io::Error) -> Error {
    Error::from_io(ErrorKind::Socket, "using the socket", error)
}

fn found_peers(connect: &Connect, now: Instant) -> Vec<Peer> {
    let mut peers: Vec<_> = connect
        .peers(now)
        .map(|status| Peer {
            endpoint: status.endpoint,
            path: status.kind,
            rtt: status.rtt,
            connected: status.progress >= Progress::Confirmed,
            authenticated: status.authenticated,
            transport: status.transport,
            socket: status.socket.0.into(),
            report: status.report,
            exporter: status.exporter,
        })
        .collect();
    peers.sort_by_key(|peer| !peer.connected);
    peers
}

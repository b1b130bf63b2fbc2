//! What the NAT does between this host and the server, without any peer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Client, random_bytes};
use crate::error::{Error, ErrorKind};
use crate::net::poll::wait_readable;
use crate::net::portmap::{self, ProbeAnswer};
use crate::net::tcp_look::SilenceWatch;
#[cfg(target_os = "linux")]
use crate::net::udp::Report;
use crate::net::udp::UdpEndpoint;
use crate::net::waker::Waker;
use crate::proto::check::{Check, CheckConfig, CheckResult};
use crate::proto::connect::{NO_SERVICE_PATIENCE, Outcome, Unreachable};
use crate::proto::wire::MAX_DATAGRAM;
use crate::proto::{NatBehaviour, Rng, SocketIndex};

/// Datagrams that are read from one socket before the others get their turn.
const MAX_READS_PER_TURN: usize = 64;

/// What to find out beyond what takes a second or so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NatCheck {
    /// How long an unused mapping lives: waits for so long at most. `None`, the default, does not look.
    pub longest_lifetime: Option<Duration>,
}

/// What stands between this host and the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NatReport {
    /// The host's own endpoint, over IPv4.
    pub local: Option<SocketAddr>,
    /// The same as the server sees it.
    pub observed: Option<SocketAddr>,
    /// What the NAT does.
    pub nat: NatBehaviour,
    /// Whether two hosts behind the NAT reach each other by their outside endpoints.
    pub hairpin: Option<bool>,
    /// Routers on the way that have private addresses, where they said so: the NATs are among them.
    pub inner_routers: Option<u8>,
    /// How long an unused mapping lives at least, and at most, as far as that was waited for.
    pub lifetime: Option<(Duration, Option<Duration>)>,
    /// The host's endpoint over IPv6 as the server sees it, if the server has IPv6 and was reached there.
    pub observed_ipv6: Option<SocketAddr>,
    /// By which protocols the router was asked to open ports, and what it said.
    pub port_mapping: Vec<ProbeAnswer>,
}

/// The times for which sockets are silent to see how long a mapping lives.
const SILENCES: [u64; 10] = [10, 20, 30, 45, 60, 90, 120, 180, 240, 300];
/// Longest that a mapping's life is looked at.
pub const LONGEST_LIFETIME: Duration = Duration::from_secs(300);
/// How long routers are given to say by what they can be asked to open ports.
const PORT_MAPPING_PATIENCE: Duration = Duration::from_millis(1500);

impl Client {
    /// Asks the server, from fresh sockets, what the NAT on the way does. Takes a second or two, within the client's timeout;
    /// [`Client::canceller`] ends it. Holes and sockets of earlier calls are not touched.
    pub fn check_nat(&mut self, check: NatCheck) -> Result<NatReport, Error> {
        let deadline = self.deadline();
        self.spend_cancellation(|client| client.check(check, deadline))
    }

    fn check(&mut self, check: NatCheck, deadline: Option<Instant>) -> Result<NatReport, Error> {
        let longest = check.longest_lifetime.map_or(Duration::ZERO, |longest| longest.min(LONGEST_LIFETIME));
        let deadline = deadline.and_then(|deadline| deadline.checked_add(longest));
        let servers = self.look_up(deadline)?;
        let mut run = CheckRun {
            sockets: Vec::new(),
            unreachable: None,
            silence: SilenceWatch::start(),
            started: Instant::now(),
            local: self.local.map(|local| local.ip()),
        };
        let config = run.prepare(&servers, longest)?;
        let local = config.local;
        let routers = Routers::ask(&self.shared.waker)?;
        let mut machine = Check::new(config, Rng::new(random_bytes()?), Instant::now());
        let (result, port_mapping) = self.drive(&mut run, &mut machine, &routers, deadline)?;
        Ok(NatReport {
            local,
            observed: result.observed,
            nat: result.nat,
            hairpin: result.hairpin,
            inner_routers: result.inner_routers,
            lifetime: result.lifetime,
            observed_ipv6: result.observed_ipv6,
            port_mapping,
        })
    }

    fn drive(
        &self,
        run: &mut CheckRun,
        machine: &mut Check,
        routers: &Routers,
        deadline: Option<Instant>,
    ) -> Result<(CheckResult, Vec<ProbeAnswer>), Error> {
        let mut answers = None;
        loop {
            run.transmit(machine);
            let now = Instant::now();
            self.shared.waker.clear();
            if self.shared.is_cancelled() {
                return Err(super::cancelled());
            }
            match routers.told.try_recv() {
                Ok(told) => answers = Some(told),
                Err(TryRecvError::Disconnected) => drop(answers.get_or_insert_default()),
                Err(TryRecvError::Empty) => {}
            }
            if let Some(result) = machine.result(now)
                && let Some(answers) = answers.take()
            {
                return Ok((result, answers));
            }
            let silent = !machine.is_answered() && run.unreachable.is_none();
            if run.silence.is_udp_blocked(machine.server_address().filter(|_| silent)) {
                run.unreachable = Some(Unreachable::NoUdp);
            }
            let time_is_up = deadline.is_some_and(|deadline| now >= deadline);
            if let Some(error) = self.check_failure(run, machine, time_is_up) {
                return Err(error);
            }
            let until =
                deadline.map_or(machine.poll_timeout(), |deadline| deadline.min(machine.poll_timeout()));
            let fds: Vec<_> =
                run.sockets.iter().map(UdpEndpoint::fd).chain([self.shared.waker.fd()]).collect();
            let ready = wait_readable(&fds, Some(until)).map_err(|error| super::socket_error(&error))?;
            for at in (0..run.sockets.len()).filter(|at| ready[*at]) {
                run.read(machine, at);
            }
            machine.handle_timeout(Instant::now());
        }
    }

    /// Why there is nothing more to wait for: time is up, or the server is no good. One that seems so at first may be starting.
    fn check_failure(&self, run: &CheckRun, machine: &Check, time_is_up: bool) -> Option<Error> {
        let given_up = run.started.elapsed() >= NO_SERVICE_PATIENCE && !machine.is_answered();
        match run.unreachable.filter(|_| !machine.is_answered()) {
            _ if (given_up || time_is_up) && machine.met_plain_server() && !machine.is_answered() => {
                Some(Error::new(
                    ErrorKind::DialectMismatch,
                    format!("{} is a plain server, which tells nothing about NATs", self.server),
                ))
            }
            Some(how) if given_up || time_is_up => {
                Some(self.describe(Outcome::ServerUnreachable(how), 0, &[]))
            }
            _ if time_is_up && machine.is_answered() => {
                let message = format!("time is up; {} has answered, but not to all questions", self.server);
                Some(Error::new(ErrorKind::TimedOutWaiting, message))
            }
            _ => time_is_up.then(|| self.describe(Outcome::ServerSilent, 0, &[])),
        }
    }
}

/// The routers, which are asked meanwhile in a thread of their own. It ends with this.
struct Routers {
    stop: Arc<portmap::Stop>,
    told: Receiver<Vec<ProbeAnswer>>,
    thread: Option<JoinHandle<()>>,
}

impl Routers {
    fn ask(waker: &Arc<Waker>) -> Result<Self, Error> {
        let stop = Arc::new(portmap::Stop::new().map_err(|error| super::socket_error(&error))?);
        let (tell, told) = mpsc::channel();
        let (waker, theirs) = (Arc::clone(waker), Arc::clone(&stop));
        let asking = std::thread::Builder::new().name("hp-portmap".into()).spawn(move || {
            // Without a gateway nobody can be asked.
            let report = portmap::probe_until_stopped(None, PORT_MAPPING_PATIENCE, &theirs);
            let _ = tell.send(report.map(|report| report.answers).unwrap_or_default());
            waker.wake();
        });
        Ok(Self { stop, told, thread: asking.ok() })
    }
}

impl Drop for Routers {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The sockets of one check.
struct CheckRun {
    sockets: Vec<UdpEndpoint>,
    /// What the network says is wrong with the server.
    unreachable: Option<Unreachable>,
    silence: SilenceWatch,
    started: Instant,
    /// The address to ask from, where the caller wants a certain one.
    local: Option<IpAddr>,
}

impl CheckRun {
    fn open(&mut self, any: SocketAddr) -> Result<SocketIndex, Error> {
        let socket = UdpEndpoint::bind(any).map_err(|error| super::socket_error(&error))?;
        #[cfg(target_os = "linux")]
        socket.report_unreachable(true);
        self.sockets.push(socket);
        Ok(SocketIndex(self.sockets.len() as u16 - 1))
    }

    fn prepare(&mut self, servers: &[SocketAddr], longest: Duration) -> Result<CheckConfig, Error> {
        let allowed =
            |server: &&SocketAddr| self.local.is_none_or(|local| local.is_ipv4() == server.is_ipv4());
        let ipv4 = servers.iter().filter(allowed).find(|server| server.is_ipv4());
        let ipv6 = servers.iter().filter(allowed).find(|server| server.is_ipv6());
        if ipv4.or(ipv6).is_none() {
            let message = "the server has no address of the local address's family";
            return Err(Error::new(ErrorKind::ServerUnreachable, message));
        }
        let any = SocketAddr::new(self.local.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), 0);
        let mut config = CheckConfig {
            servers: Vec::new(),
            local: None,
            hairpin: SocketIndex::default(),
            silences: Vec::new(),
        };
        if let Some(server) = ipv4 {
            let socket = self.open(any)?;
            config.servers.push((socket, *server));
            config.local = self.sockets[usize::from(socket.0)].host_candidate(*server);
            config.hairpin = self.open(any)?;
            for seconds in SILENCES.map(Duration::from_secs).into_iter().filter(|silence| *silence <= longest)
            {
                config.silences.push((self.open(any)?, seconds));
            }
        }
        if let Some(server) = ipv6 {
            match self.open(SocketAddr::new(self.local.unwrap_or(Ipv6Addr::UNSPECIFIED.into()), 0)) {
                Ok(socket) => config.servers.push((socket, *server)),
                // A host without IPv6 has IPv4 to talk of.
                Err(error) if config.servers.is_empty() => return Err(error),
                Err(_) => {}
            }
        }
        Ok(config)
    }

    fn transmit(&self, machine: &mut Check) {
        while let Some(transmit) = machine.poll_transmit() {
            let socket = &self.sockets[usize::from(transmit.socket.0)];
            if let Err(error) = socket.transmit(&transmit) {
                log::debug!(target: "holepunch::client", "sending to {}: {error}", transmit.destination);
            }
        }
    }

    fn read(&mut self, machine: &mut Check, at: usize) {
        let mut buffer = [0; MAX_DATAGRAM];
        let socket = &self.sockets[at];
        for _ in 0..MAX_READS_PER_TURN {
            match socket.peek(&mut buffer) {
                Ok(Some((payload, source))) => {
                    machine.handle_datagram(Instant::now(), SocketIndex(at as u16), source, payload);
                    socket.discard();
                    self.transmit(machine);
                }
                Ok(None) => break,
                // What the network reports is read below.
                Err(_) => {}
            }
        }
        #[cfg(target_os = "linux")]
        while let Some(report) = socket.next_report() {
            match report {
                Report::TimeExceeded { router, payload } => machine.handle_time_exceeded(router, &payload),
                Report::Unreachable(_, how) => self.unreachable = how.or(self.unreachable),
            }
        }
    }
}

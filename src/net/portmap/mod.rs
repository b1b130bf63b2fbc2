//! Port mapping: an external endpoint on the router for one of our UDP ports.
//!
//! [`PortMapper`] asks the default gateway by PCP (RFC 6887), NAT-PMP (RFC 6886) and UPnP-IGD at once, in a thread of its
//! own, tells what it got and keeps it. [`probe`] only finds out what the router speaks. IPv4 only; the default gateway is
//! known on Linux only, elsewhere it must be given.
//!
//! ```no_run
//! use holepunch::portmap::{Event, Options, PortMapper};
//! use std::time::Duration;
//!
//! let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
//! let mapper = PortMapper::start(&Options::new(socket.local_addr()?))?;
//! while let Some(event) = mapper.recv_timeout(Duration::from_secs(1)) {
//!     if let Event::Mapped(mapped) = event && mapped.is_public() {
//!         println!("peers may send to {}", mapped.external);
//!     }
//! }
//! mapper.release(Duration::from_secs(1));
//! # Ok::<(), std::io::Error>(())
//! ```

mod driver;
#[cfg(feature = "upnp")]
mod exchange;
#[cfg(not(feature = "upnp"))]
#[path = "no_exchange.rs"]
mod exchange;
mod gateway;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use self::driver::{Driver, Endpoints, Verdict};
use super::poll::wait_readable;
use super::waker::Waker;
pub use crate::proto::portmap::{
    DEFAULT_LIFETIME, Event, Failure, Mapped, Protocol, RELEASE_TIME, SEARCH_TIME,
};
use crate::proto::portmap::{Mapper, MapperConfig};

/// How long [`probe`]'s own mapping lasts at most, should its end get lost.
const PROBE_LIFETIME: Duration = Duration::from_secs(60);

/// How long the end of the thread is waited for, which takes a moment unless the log's receiver blocks.
const END_PATIENCE: Duration = Duration::from_secs(1);
/// How often it is looked for.
const END_TICK: Duration = Duration::from_millis(10);

/// Events that wait for somebody to receive them; the oldest give way.
const MAX_EVENTS: usize = 64;

/// What to map, and how.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// What the socket is bound to. An unspecified address stands for the one that faces the router.
    pub local: SocketAddr,
    /// How long a mapping is to last unless it is renewed; [`DEFAULT_LIFETIME`]. The router may grant less, or more.
    pub lifetime: Duration,
    /// The router; `None` is the default gateway.
    pub gateway: Option<Ipv4Addr>,
    /// By what to ask; all.
    pub protocols: Vec<Protocol>,
    /// Whether UPnP may make a mapping that never ends, on routers that know no others; no. Such a mapping stays until
    /// [`PortMapper::release`], or until somebody deletes it at the router.
    pub allow_permanent: bool,
}

impl Options {
    /// The defaults for a socket that is bound to `local`.
    pub fn new(local: SocketAddr) -> Self {
        Self {
            local,
            lifetime: DEFAULT_LIFETIME,
            gateway: None,
            protocols: Protocol::ALL.to_vec(),
            allow_permanent: false,
        }
    }

    fn gateway(&self) -> io::Result<Ipv4Addr> {
        let found = self.gateway.or_else(gateway::default_gateway);
        found.ok_or_else(|| io::Error::new(ErrorKind::NotFound, "there is no default gateway"))
    }
}

/// What the thread and its handle share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Wakes the thread.
    waker: Waker,
    /// Wakes whoever waits for the thread.
    news: Waker,
}

#[derive(Debug)]
struct State {
    events: VecDeque<Event>,
    verdict: Verdict,
    finished: bool,
    /// Whether mappings were still held when the thread ended.
    left_mappings: bool,
}

/// Gets a mapping for one UDP port and renews it for as long as this handle lives.
///
/// The work is done by one thread, `hp-portmap`. It ends by itself when there is nothing to renew: at the latest half a
/// second after [`SEARCH_TIME`] if the router grants nothing, or when a mapping is lost. When the handle is dropped it ends
/// at once, which the drop waits for, and mappings stay for what is left of their lifetime, which suits a program that goes
/// on using the socket without the library. [`PortMapper::release`] ends the mappings, too.
#[derive(Debug)]
pub struct PortMapper {
    shared: Arc<Shared>,
    /// `None`: it ends by itself.
    thread: Option<JoinHandle<()>>,
}

impl PortMapper {
    /// Starts asking, without waiting for anything. Fails if there is no gateway, `local` is not an IPv4 endpoint with a
    /// port, or the system gives no sockets or thread.
    pub fn start(options: &Options) -> io::Result<Self> {
        Self::start_waking(options, None)
    }

    /// The same; `waker` is woken whenever [`Self::try_recv`] has something new.
    pub(crate) fn start_waking(options: &Options, waker: Option<Arc<Waker>>) -> io::Result<Self> {
        #[cfg(test)]
        if let Some(router) = tests::router_of_this_thread() {
            return Self::start_with(options, router, waker).inspect(tests::note);
        }
        Self::start_with(options, Endpoints::of(options.gateway()?), waker)
    }

    fn start_with(options: &Options, endpoints: Endpoints, waker: Option<Arc<Waker>>) -> io::Result<Self> {
        let (mut driver, mut mapper) = prepare(options, endpoints, true)?;
        let state =
            State { events: VecDeque::new(), verdict: Verdict::GoOn, finished: false, left_mappings: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), waker: Waker::new()?, news: Waker::new()? });
        let ours = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("hp-portmap".into()).spawn(move || {
            let tell = || {
                ours.news.wake();
                if let Some(waker) = &waker {
                    waker.wake();
                }
            };
            let result = driver.run(&mut mapper, ours.waker.fd(), &mut |mapper| {
                ours.waker.clear();
                let mut state = ours.state.lock();
                let (mut news, verdict) = (false, state.verdict);
                while let Some(event) = mapper.poll_event() {
                    log_event(&event);
                    if state.events.len() == MAX_EVENTS {
                        state.events.pop_front();
                    }
                    state.events.push_back(event);
                    news = true;
                }
                drop(state);
                if news {
                    tell();
                }
                (verdict, None)
            });
            if let Err(error) = result {
                log::warn!(target: "holepunch::portmap", "port mapping ends: {error}");
            }
            let mut state = ours.state.lock();
            state.finished = true;
            state.left_mappings = mapper.mapped().next().is_some();
            drop(state);
            tell();
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// The next thing to tell, if there is one already.
    pub fn try_recv(&self) -> Option<Event> {
        self.shared.state.lock().events.pop_front()
    }

    /// The next thing to tell; `None` if there is none within `patience` or will be none any more.
    pub fn recv_timeout(&self, patience: Duration) -> Option<Event> {
        let until = Instant::now() + patience;
        loop {
            self.shared.news.clear();
            let mut state = self.shared.state.lock();
            let event = state.events.pop_front();
            if event.is_some() || state.finished || Instant::now() >= until {
                return event;
            }
            drop(state);
            wait_readable(&[self.shared.news.fd()], Some(until)).ok()?;
        }
    }

    /// Whether the thread has ended; there may still be something to receive.
    pub fn is_finished(&self) -> bool {
        self.shared.state.lock().finished
    }

    /// Has the router end the mappings, and waits for that at most for `patience`; [`RELEASE_TIME`] is enough for every
    /// case. Says whether nothing is left, as far as one knows. If not, the thread goes on trying.
    pub fn release(mut self, patience: Duration) -> bool {
        let released = self.try_release(patience);
        if released.is_none() {
            self.thread = None;
        }
        released.unwrap_or(false)
    }

    /// The same, but the thread is gone afterwards: who gives it no more time has asked the router at least once.
    pub(crate) fn release_and_end(self, patience: Duration) {
        if self.try_release(patience).is_none() {
            log::debug!(target: "holepunch::portmap", "the router has not said that it ends the mapping");
        }
    }

    /// Whether nothing is left; `None` if that cannot be said within `patience`.
    fn try_release(&self, patience: Duration) -> Option<bool> {
        let until = Instant::now() + patience;
        self.shared.state.lock().verdict = Verdict::Release;
        self.shared.waker.wake();
        loop {
            self.shared.news.clear();
            let state = self.shared.state.lock();
            if state.finished {
                return Some(!state.left_mappings);
            }
            drop(state);
            let waited = wait_readable(&[self.shared.news.fd()], Some(until));
            if waited.is_err() || Instant::now() >= until {
                return None;
            }
        }
    }
}

impl Drop for PortMapper {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.shared.state.lock().verdict = Verdict::Stop;
        self.shared.waker.wake();
        // It waits for nothing but its `poll`, which the waker ends. Only who logs may keep it, but not us for ever.
        let until = Instant::now() + END_PATIENCE;
        while !thread.is_finished() && !self.shared.state.lock().finished {
            if Instant::now() >= until {
                log::warn!(target: "holepunch::portmap", "port mapping's thread does not end");
                return;
            }
            let soon = Instant::now() + END_TICK;
            let _ = wait_readable(&[self.shared.news.fd()], Some(soon));
            self.shared.news.clear();
        }
        // A panic, which has been reported, is not ours.
        let _ = thread.join();
    }
}

/// What a router has to say of port mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProbeReport {
    /// The router.
    pub gateway: Ipv4Addr,
    /// One for each protocol, the best first.
    pub answers: Vec<ProbeAnswer>,
}

/// What a router has to say by one protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProbeAnswer {
    /// The protocol.
    pub protocol: Protocol,
    /// The external address that the router tells, unspecified if it has none; or why it tells none.
    pub external: Result<IpAddr, Failure>,
}

/// Finds out by which protocols a router maps ports, and which external address each of them tells. Blocks until all have
/// answered, for at most `patience`. `gateway` is the default one if `None`.
///
/// UPnP and NAT-PMP are asked for the address only. PCP cannot be (RFC 6887 section 11.6); there a port of this function's
/// own is mapped for a moment.
pub fn probe(gateway: Option<Ipv4Addr>, patience: Duration) -> io::Result<ProbeReport> {
    probe_until_stopped(gateway, patience, &Stop::new()?)
}

/// The same, but for who loses interest.
pub(crate) fn probe_until_stopped(
    gateway: Option<Ipv4Addr>,
    patience: Duration,
    stop: &Stop,
) -> io::Result<ProbeReport> {
    let mut options = Options::new((Ipv4Addr::UNSPECIFIED, 0).into());
    options.gateway = gateway;
    let endpoints = Endpoints::of(options.gateway()?);
    probe_with(options, endpoints, patience, stop)
}

/// Ends a probe from another thread, at once.
#[derive(Debug)]
pub(crate) struct Stop {
    stopped: AtomicBool,
    waker: Waker,
}

impl Stop {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { stopped: AtomicBool::new(false), waker: Waker::new()? })
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.waker.wake();
    }
}

fn probe_with(
    mut options: Options,
    endpoints: Endpoints,
    patience: Duration,
    stop: &Stop,
) -> io::Result<ProbeReport> {
    let until = Instant::now() + patience;
    let own = std::net::UdpSocket::bind(options.local)?;
    options.local = own.local_addr()?;
    options.lifetime = PROBE_LIFETIME;
    let gateway = endpoints.gateway;
    let (mut driver, mut mapper) = prepare(&options, endpoints, false)?;
    // One that cannot be asked here need not be waited for.
    let usable = usable(&options.protocols, gateway);
    let unusable = |protocol| (!usable.contains(&protocol)).then_some(Err(Failure::Unsupported));
    let mut answers: Vec<_> =
        options.protocols.iter().map(|protocol| (*protocol, unusable(*protocol))).collect();
    let mut released = false;
    driver.run(&mut mapper, stop.waker.fd(), &mut |mapper| {
        if stop.stopped.load(Ordering::Acquire) {
            return (Verdict::Stop, None);
        }
        while let Some(event) = mapper.poll_event() {
            let (protocol, external) = match event {
                Event::Address(protocol, address) => (protocol, Ok(address)),
                Event::Mapped(mapped) => (mapped.protocol, Ok(mapped.external.ip())),
                Event::Failed(protocol, failure) => (protocol, Err(failure)),
                Event::Lost(_) => continue,
            };
            if let Some((_, answer)) = answers.iter_mut().find(|(of, _)| *of == protocol) {
                answer.get_or_insert(external);
            }
        }
        let is_late = Instant::now() >= until;
        if is_late && released {
            // The router has been told that the mapping is not needed any more; there is no time to hear its answer.
            return (Verdict::Stop, None);
        }
        released |= is_late || answers.iter().all(|(_, answer)| answer.is_some());
        (if released { Verdict::Release } else { Verdict::GoOn }, Some(until))
    })?;
    let report = |(protocol, external): (_, Option<_>)| ProbeAnswer {
        protocol,
        external: external.unwrap_or(Err(Failure::Silent)),
    };
    Ok(ProbeReport { gateway, answers: answers.into_iter().map(report).collect() })
}

/// Those of `protocols` that `gateway` may be asked by. UPnP is a home network's protocol: a stranger on the internet shall
/// not be asked, let alone believed.
fn usable(protocols: &[Protocol], gateway: Ipv4Addr) -> Vec<Protocol> {
    let is_near = gateway.is_private() || gateway.is_link_local() || gateway.is_loopback();
    let has_upnp = cfg!(feature = "upnp") && is_near;
    protocols.iter().copied().filter(|protocol| *protocol != Protocol::Upnp || has_upnp).collect()
}

/// The machine and its sockets.
fn prepare(options: &Options, endpoints: Endpoints, map: bool) -> io::Result<(Driver, Mapper)> {
    let local = match options.local {
        SocketAddr::V4(local) if local.port() != 0 => local,
        _ => return Err(io::Error::new(ErrorKind::InvalidInput, "only an IPv4 port can be mapped")),
    };
    let own = match *local.ip() {
        unspecified if unspecified.is_unspecified() => gateway::own_address_towards(endpoints.control)?,
        own => own,
    };
    let gateway = endpoints.gateway;
    let protocols = usable(&options.protocols, gateway);
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| io::Error::other(error.to_string()))?;
    let driver = Driver::open(own, endpoints, &protocols)?;
    let config = MapperConfig {
        internal: SocketAddrV4::new(own, local.port()),
        gateway,
        lifetime: options.lifetime,
        protocols,
        allow_permanent: options.allow_permanent,
        map,
    };
    Ok((driver, Mapper::new(&config, seed, Instant::now())))
}

fn log_event(event: &Event) {
    match event {
        Event::Mapped(mapped) => {
            log::debug!(target: "holepunch::portmap", "{}: mapped to {}", mapped.protocol, mapped.external);
        }
        Event::Failed(protocol, failure) => {
            log::debug!(target: "holepunch::portmap", "{protocol}: {failure}");
        }
        Event::Address(..) | Event::Lost(_) => {}
    }
}

//! Drives a [`Connect`] machine over real sockets in the caller's thread.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::streams::RunStreams;
use super::{EARLY_OVERHEAD, EarlyDatagram, MAX_EARLY_BYTES, Shared};
use crate::net::poll::{Interest, wait_ready};
use crate::net::portmap::{self, PortMapper};
use crate::net::tcp::TcpConnection;
use crate::net::tcp_look::SilenceWatch;
#[cfg(target_os = "linux")]
use crate::net::udp::Report;
use crate::net::udp::{UdpEndpoint, unreachable_kind};
use crate::proto::connect::{Outcome, Unreachable};
use crate::proto::{Connect, ConnectEvent, Disposition, MeetingEvent, SocketIndex};

/// Datagrams that are read from one socket before time and the other sockets get their turn.
const MAX_READS_PER_TURN: usize = 64;
/// How long a router that has not answered yet may take to hear that nothing is wanted any more.
const RELEASE_PATIENCE: Duration = Duration::from_millis(20);
/// How long one may take to close what it has opened for nothing; UPnP needs a connection for that.
const MAPPED_RELEASE_PATIENCE: Duration = Duration::from_millis(100);
/// Largest UDP payload.
const MAX_UDP_PAYLOAD: usize = 65_535;

/// How a run ended.
pub(super) enum Ended {
    /// The machine came to its end.
    With(Outcome),
    /// The caller wished it so.
    Cancelled,
}

/// One run of a machine.
pub(super) struct Run<'a> {
    sockets: &'a mut Vec<Option<UdpEndpoint>>,
    shared: &'a Shared,
    buffer: Vec<u8>,
    early: VecDeque<EarlyDatagram>,
    early_bytes: usize,
    mapper: Option<PortMapper>,
    /// Whether the router has opened a port.
    is_mapped: bool,
    silence: SilenceWatch,
    streams: Option<RunStreams>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        sockets: &'a mut Vec<Option<UdpEndpoint>>,
        shared: &'a Shared,
        streams: Option<RunStreams>,
    ) -> Self {
        Self {
            sockets,
            shared,
            buffer: vec![0; MAX_UDP_PAYLOAD],
            early: VecDeque::new(),
            early_bytes: 0,
            mapper: None,
            is_mapped: false,
            silence: SilenceWatch::start(),
            streams,
        }
    }

    /// What the router has opened stays open if a hole is, for it may lead through there: the router closes it when its
    /// lifetime is over, and nobody renews it. Else it is closed, as far as that takes little time. No thread is left.
    pub(super) fn end_mapping(&mut self, keep: bool) {
        match self.mapper.take() {
            // Dropping it ends the thread, and leaves the mapping.
            Some(mapper) if keep => drop(mapper),
            Some(mapper) if self.is_mapped => mapper.release_and_end(MAPPED_RELEASE_PATIENCE),
            Some(mapper) => mapper.release_and_end(RELEASE_PATIENCE),
            None => {}
        }
    }

    /// Datagrams of the application's that came too early, and peers' connections.
    pub(super) fn into_parts(self) -> (VecDeque<EarlyDatagram>, Vec<TcpConnection>) {
        (self.early, self.streams.map(|streams| streams.established).unwrap_or_default())
    }

    /// recv → handle → transmit → sleep, until the machine has an outcome or the caller cancels.
    pub(super) fn until_ended(&mut self, connect: &mut Connect) -> io::Result<Ended> {
        #[cfg(target_os = "linux")]
        self.sockets.iter().flatten().for_each(|socket| socket.report_unreachable(true));
        loop {
            self.provide_sockets(connect);
            self.provide_mapping(connect);
            if self.streams.is_none()
                && let Some(server) = connect.silent_server()
                && self.silence.is_udp_blocked(Some(server))
            {
                connect.handle_unreachable(Instant::now(), server, Unreachable::NoUdp);
            }
            self.transmit(connect);
            while let Some(event) = connect.poll_event() {
                log_event(&event);
            }
            let outcome = connect.outcome();
            // An open hole is not given up for a cancellation that came with it; any other end yields to it.
            if self.shared.is_cancelled() && outcome != Some(Outcome::Complete) {
                connect.cancel();
                self.transmit(connect);
                return Ok(Ended::Cancelled);
            }
            if let Some(outcome) = outcome {
                return Ok(Ended::With(outcome));
            }
            let open = || self.sockets.iter().enumerate().filter_map(|(at, s)| s.as_ref().map(|s| (at, s)));
            let readable = |fd| (fd, Interest::Readable);
            let fds = [self.shared.waker.fd()].into_iter().chain(open().map(|(_, socket)| socket.fd()));
            let mut polled: Vec<_> = fds.map(readable).collect();
            if let Some(streams) = &self.streams {
                polled.extend(streams.interests(connect));
            }
            let ready = wait_ready(&polled, connect.poll_timeout())?;
            if ready[0] {
                self.shared.waker.clear();
            }
            let (of_sockets, of_streams) = ready[1..].split_at(open().count());
            // First, since what is read from the sockets may change what is waited for.
            if let Some(streams) = &mut self.streams {
                streams.handle_ready(connect, of_streams);
            }
            let readable: Vec<_> =
                open().zip(of_sockets).filter(|(_, ready)| **ready).map(|((at, _), _)| at).collect();
            for at in readable {
                self.read(connect, at);
            }
            let now = Instant::now();
            if connect.poll_timeout().is_some_and(|due| due <= now) {
                connect.handle_timeout(now);
            }
        }
    }

    /// Opens the sockets that the machine wants, as many as the system allows, and closes those that it gives back.
    fn provide_sockets(&mut self, connect: &mut Connect) {
        while let Some(wanted) = connect.wants_sockets() {
            let opened = open_further(self.sockets, wanted);
            log::debug!(target: "holepunch::client", "opened {} sockets of {wanted} wanted", opened.len());
            connect.give_sockets(Instant::now(), &opened);
        }
        while let Some(socket) = connect.poll_released() {
            self.sockets[usize::from(socket.0)] = None;
        }
    }

    /// Has the router open a port, where the machine wants that, and says which it is.
    fn provide_mapping(&mut self, connect: &mut Connect) {
        if connect.wants_port_mapping(Instant::now()) {
            let options = mapping_options(self.sockets);
            let started = options
                .map(|options| PortMapper::start_waking(&options, Some(Arc::clone(&self.shared.waker))));
            match started {
                Some(Ok(mapper)) => self.mapper = Some(mapper),
                Some(Err(error)) => log::debug!(target: "holepunch::client", "no port mapping: {error}"),
                None => {}
            }
        }
        let Some(mapper) = &self.mapper else { return };
        while let Some(event) = mapper.try_recv() {
            log::debug!(target: "holepunch::client", "port mapping: {event:?}");
            let portmap::Event::Mapped(mapped) = event else { continue };
            self.is_mapped = true;
            if mapped.is_public() {
                connect.add_mapped(Instant::now(), mapped.external);
            }
        }
    }

    fn transmit(&mut self, connect: &mut Connect) {
        while let Some(transmit) = connect.poll_transmit() {
            if transmit.socket == SocketIndex::SERVER_STREAM {
                if let Some(streams) = &mut self.streams {
                    streams.transmit(connect, &transmit);
                }
                continue;
            }
            let Some(Some(socket)) = self.sockets.get(usize::from(transmit.socket.0)) else { continue };
            let Err(error) = socket.transmit(&transmit) else { continue };
            // An ICMP error about an earlier datagram is reported by whatever comes next; that has not been sent then.
            if self.read_unreachable(connect, socket) && socket.transmit(&transmit).is_ok() {
                continue;
            }
            log::debug!(target: "holepunch::client", "sending to {}: {error}", transmit.destination);
            if let Some(how) = error.raw_os_error().and_then(unreachable_kind) {
                connect.handle_unreachable(Instant::now(), transmit.destination, how);
            }
        }
        if let Some(streams) = &mut self.streams {
            streams.execute(connect);
        }
    }

    #[cfg(target_os = "linux")]
    fn read_unreachable(&self, connect: &mut Connect, socket: &UdpEndpoint) -> bool {
        let mut any = false;
        while let Some(report) = socket.next_report() {
            any = true;
            match report {
                Report::Unreachable(Some(destination), Some(how)) => {
                    connect.handle_unreachable(Instant::now(), destination, how);
                }
                Report::Unreachable(..) => {}
                Report::TimeExceeded { router, payload } => connect.handle_time_exceeded(router, &payload),
            }
        }
        any
    }

    #[cfg(not(target_os = "linux"))]
    fn read_unreachable(&self, _connect: &mut Connect, _socket: &UdpEndpoint) -> bool {
        false
    }

    /// Reads what has arrived. Each datagram is looked at first and consumed afterwards: the one that tells us that the
    /// peer's application has started, and so ends the run, stays in the socket for the caller.
    fn read(&mut self, connect: &mut Connect, at: usize) {
        for _ in 0..MAX_READS_PER_TURN {
            let Some(socket) = &self.sockets[at] else { return };
            let (payload, source) = match socket.peek(&mut self.buffer) {
                Ok(Some(datagram)) => datagram,
                Ok(None) => break,
                Err(error) => {
                    if !self.read_unreachable(connect, socket) {
                        log::debug!(target: "holepunch::client", "receiving: {error}");
                    }
                    continue;
                }
            };
            let len = payload.len();
            let disposition =
                connect.handle_datagram(Instant::now(), SocketIndex(at as u16), source, payload);
            if disposition == Disposition::Data {
                if connect.outcome() == Some(Outcome::Complete) && self.early.is_empty() {
                    return;
                }
                let place = Place { socket: at, source };
                keep_early(&mut self.early, &mut self.early_bytes, place, &self.buffer[..len]);
            }
            socket.discard();
            if connect.outcome().is_some() {
                return;
            }
            self.transmit(connect);
        }
        if let Some(socket) = &self.sockets[at] {
            self.read_unreachable(connect, socket);
        }
    }
}

/// Opens further IPv4 sockets like those that are there, as many as the system allows. Places of closed ones are used again: who
/// stays for long makes many attempts.
pub(crate) fn open_further(sockets: &mut Vec<Option<UdpEndpoint>>, wanted: usize) -> Vec<SocketIndex> {
    let mut opened = Vec::new();
    for _ in 0..wanted {
        let template = sockets.iter().flatten().find(|socket| socket.takes_ipv4());
        let Some(Ok(socket)) = template.map(UdpEndpoint::another_ipv4) else { break };
        let place = sockets.iter().position(Option::is_none).unwrap_or(sockets.len());
        sockets.resize_with(sockets.len().max(place + 1), || None);
        sockets[place] = Some(socket);
        opened.push(SocketIndex(place as u16));
    }
    opened
}

/// What a router is to be asked for: the port of the socket that takes IPv4.
pub(crate) fn mapping_options(sockets: &[Option<UdpEndpoint>]) -> Option<portmap::Options> {
    let socket = sockets.iter().flatten().find(|socket| socket.takes_ipv4())?;
    Some(match socket.local_address().ok()? {
        local @ SocketAddr::V4(_) => portmap::Options::new(local),
        SocketAddr::V6(local) => portmap::Options::new((Ipv4Addr::UNSPECIFIED, local.port()).into()),
    })
}

/// Where an early datagram came in, and whence.
struct Place {
    socket: usize,
    source: SocketAddr,
}

fn keep_early(early: &mut VecDeque<EarlyDatagram>, bytes: &mut usize, place: Place, payload: &[u8]) {
    if *bytes + payload.len() + EARLY_OVERHEAD > MAX_EARLY_BYTES {
        log::debug!(target: "holepunch::client", "an early datagram is lost: too many are waiting");
        return;
    }
    *bytes += payload.len() + EARLY_OVERHEAD;
    early.push_back(EarlyDatagram { socket: place.socket, source: place.source, payload: payload.to_vec() });
}

fn log_event(event: &ConnectEvent) {
    match event {
        ConnectEvent::Meeting(event) => log_meeting(event),
        ConnectEvent::Finished(outcome) => log::info!(target: "holepunch::client", "ended: {outcome:?}"),
    }
}

fn log_meeting(event: &MeetingEvent) {
    match event {
        MeetingEvent::Registered(observed) => {
            log::debug!(target: "holepunch::client", "registered; the server sees us at {observed}");
        }
        MeetingEvent::NatKnown(nat) => log::debug!(target: "holepunch::client", "our NAT: {nat:?}"),
        MeetingEvent::Found(peer, ..) => log::debug!(target: "holepunch::client", "peer {peer:?} is there"),
        MeetingEvent::Reached(status) => {
            log::debug!(target: "holepunch::client", "peer {:?} is reached", status.id);
        }
        MeetingEvent::PlainList(len) => {
            log::debug!(target: "holepunch::client", "a plain server lists {len} peers");
        }
        MeetingEvent::Relayed(peer, endpoint) => {
            log::debug!(target: "holepunch::client", "the server forwards to peer {peer:?} at {endpoint}");
        }
        MeetingEvent::NotRelayed(peer, reason) => {
            log::debug!(target: "holepunch::client", "the server does not forward to peer {peer:?}: {reason:?}");
        }
        MeetingEvent::Gone(peer, reason) => {
            log::debug!(target: "holepunch::client", "peer {peer:?} left: {reason:?}");
        }
        MeetingEvent::Refused(reason) => log::debug!(target: "holepunch::client", "refused: {reason:?}"),
        MeetingEvent::ForeignDialect => {
            log::debug!(target: "holepunch::client", "the server speaks the plain dialect only");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;
    use std::thread::JoinHandle;

    use super::*;
    use crate::net::portmap::tests::{FakeControl, started_and_left};
    use crate::server::ServerHandle;
    use crate::{Client, ErrorKind, PathPolicy, Server, ServerConfig};

    /// A server on loopback that stops when it is dropped.
    struct Service(String, ServerHandle, Option<JoinHandle<()>>);

    impl Service {
        fn start() -> Self {
            let address = (Ipv4Addr::LOCALHOST, 0).into();
            let server =
                Server::bind(&ServerConfig { address, workers: 1, ..ServerConfig::default() }).unwrap();
            let (address, handle) = (server.local_address().unwrap().to_string(), server.handle());
            Self(address, handle, Some(std::thread::spawn(move || server.run().unwrap())))
        }

        fn client(&self, paths: PathPolicy) -> Client {
            let mut client = Client::new(&self.0).unwrap();
            client.set_timeout(Some(Duration::from_secs(10)));
            client.set_path_policy(paths);
            client
        }

        /// Someone who is there, and insists on a relay that is not, until the router has been asked because of that.
        fn start_unreachable(&self, router: &FakeControl) -> JoinHandle<Client> {
            let mut client = self.client(PathPolicy::RelayOnly);
            let (canceller, requests) = (client.canceller(), Arc::clone(&router.requests));
            std::thread::spawn(move || {
                let ending = std::thread::spawn(move || {
                    while requests.load(Ordering::Relaxed) == 0 {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    std::thread::sleep(Duration::from_millis(50));
                    canceller.cancel();
                });
                assert_eq!(client.connect(ID, 1).unwrap_err().kind(), ErrorKind::Cancelled);
                ending.join().unwrap();
                client
            })
        }
    }

    impl Drop for Service {
        fn drop(&mut self) {
            self.1.stop();
            self.2.take().unwrap().join().unwrap();
        }
    }

    const ID: &[u8] = b"they meet in vain at first";

    #[test]
    fn places_of_closed_sockets_are_used_again() {
        let mut sockets = vec![Some(UdpEndpoint::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap())];
        let places = |indices: &[u16]| indices.iter().map(|index| SocketIndex(*index)).collect::<Vec<_>>();
        let port = |socket: &Option<UdpEndpoint>| socket.as_ref().unwrap().local_address().unwrap().port();
        assert_eq!(open_further(&mut sockets, 4), places(&[1, 2, 3, 4]));
        let kept = [0, 1, 3].map(|at| port(&sockets[at]));
        sockets[4] = None;
        sockets[2] = None;
        // The lowest first, and further ones only when there are none left.
        assert_eq!(open_further(&mut sockets, 1), places(&[2]));
        sockets[2] = None;
        assert_eq!(open_further(&mut sockets, 3), places(&[2, 4, 5]));
        assert_eq!(sockets.len(), 6);
        assert_eq!([0, 1, 3].map(|at| port(&sockets[at])), kept, "the others are what they were");
        let mut ports: Vec<u16> = sockets.iter().map(port).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 6);
        // Without one to follow there are none, and no place is made for any.
        sockets.fill_with(|| None);
        assert_eq!(open_further(&mut sockets, 2), []);
        assert_eq!(sockets.len(), 6);
    }

    #[test]
    fn call_that_fails_leaves_no_mapping_and_no_thread() {
        for (grants, cancels) in [(true, false), (false, false), (true, true), (false, true)] {
            let (router, service) = (FakeControl::start_for_calls(grants), Service::start());
            let other = service.start_unreachable(&router);
            let mut client = service.client(PathPolicy::DirectOnly);
            let (canceller, requests) = (client.canceller(), Arc::clone(&router.requests));
            let cancelling = cancels.then(|| {
                std::thread::spawn(move || {
                    while requests.load(Ordering::Relaxed) == 0 {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    canceller.cancel();
                    Instant::now()
                })
            });
            client.set_timeout(Some(Duration::from_millis(if cancels { 10_000 } else { 1500 })));
            let before = started_and_left().0;
            let error = client.connect(ID, 1).unwrap_err();
            assert_eq!(started_and_left(), (before + 1, 0), "grants: {grants}, cancels: {cancels}");
            if let Some(cancelled) = cancelling {
                assert_eq!(error.kind(), ErrorKind::Cancelled);
                assert!(cancelled.join().unwrap().elapsed() < Duration::from_millis(500));
            }
            other.join().unwrap();
            // What was sent to the router may still wait there.
            let since = Instant::now();
            while router.deletions.load(Ordering::Relaxed) == 0 {
                assert!(since.elapsed() < Duration::from_secs(5), "grants: {grants}, cancels: {cancels}");
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn call_that_succeeds_leaves_its_mapping_and_no_thread() {
        let (router, service) = (FakeControl::start_for_calls(true), Service::start());
        let other = service.start_unreachable(&router);
        let meeting = std::thread::spawn(move || {
            let mut client = other.join().unwrap();
            client.set_path_policy(PathPolicy::DirectOnly);
            client.connect(ID, 1).unwrap();
        });
        let mut client = service.client(PathPolicy::DirectOnly);
        let peers = client.connect(ID, 1).unwrap();
        assert!(peers[0].connected);
        assert_eq!(started_and_left(), (1, 0));
        meeting.join().unwrap();
        assert!(router.requests.load(Ordering::Relaxed) > 0);
        assert_eq!(router.deletions.load(Ordering::Relaxed), 0, "the hole may lead through it");
    }
}

//! Drives a [`Session`] over real sockets in a thread of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Shared;
use crate::client::driver::{mapping_options, open_further};
use crate::client::host_candidates;
use crate::net::poll::wait_readable;
use crate::net::portmap::{self, PortMapper};
#[cfg(target_os = "linux")]
use crate::net::udp::Report;
use crate::net::udp::UdpEndpoint;
use crate::proto::session::Session;
use crate::proto::{LocalSockets, SocketIndex};

/// Datagrams that are read from one socket before time and the other sockets get their turn.
const MAX_READS_PER_TURN: usize = 64;
/// How often this host's addresses are looked at.
const ADDRESSES_PERIOD: Duration = Duration::from_secs(1);
/// No native datagram is longer; of longer ones of others nothing is wanted.
const BUFFER_LEN: usize = 2048;

pub(super) struct Driver {
    shared: Arc<Shared>,
    sockets: Vec<Option<UdpEndpoint>>,
    local_sockets: LocalSockets,
    servers: Vec<SocketAddr>,
    addresses: Vec<SocketAddr>,
    addresses_due: Instant,
    mapper: Option<PortMapper>,
}

impl Driver {
    pub fn new(
        shared: Arc<Shared>,
        sockets: Vec<Option<UdpEndpoint>>,
        local_sockets: LocalSockets,
        servers: Vec<SocketAddr>,
    ) -> Self {
        let addresses = host_candidates(&sockets, local_sockets, &servers);
        let addresses_due = Instant::now() + ADDRESSES_PERIOD;
        Self { shared, sockets, local_sockets, servers, addresses, addresses_due, mapper: None }
    }

    /// recv → handle → transmit → sleep, until the room was left.
    pub fn run(mut self) {
        #[cfg(target_os = "linux")]
        self.sockets.iter().flatten().for_each(|socket| socket.report_unreachable(true));
        let shared = Arc::clone(&self.shared);
        let mut ready = vec![true; self.sockets.len()];
        loop {
            let due = {
                let mut session = shared.session.lock();
                for at in (0..self.sockets.len()).filter(|at| ready.get(*at) == Some(&true)) {
                    self.read(&mut session, at);
                }
                let now = Instant::now();
                if session.poll_timeout().is_some_and(|due| due <= now) {
                    session.handle_timeout(now);
                }
                self.look_at_addresses(&mut session, now);
                self.provide(&mut session);
                self.transmit(&mut session);
                shared.flag_events(&session);
                if session.has_left() {
                    break;
                }
                session.poll_timeout().map_or(self.addresses_due, |due| due.min(self.addresses_due))
            };
            let fds: Vec<_> = self.sockets.iter().flatten().map(UdpEndpoint::fd).collect();
            let fds: Vec<_> = fds.into_iter().chain([shared.driver.fd()]).collect();
            let polled = match wait_readable(&fds, Some(due)) {
                Ok(polled) => polled,
                Err(error) => {
                    let mut session = shared.session.lock();
                    session.fail(Instant::now(), error.raw_os_error().unwrap_or_default());
                    shared.flag_events(&session);
                    break;
                }
            };
            shared.driver.clear();
            let mut polled = polled.into_iter();
            ready =
                self.sockets.iter().map(|socket| socket.is_some() && polled.next() == Some(true)).collect();
        }
    }

    fn read(&self, session: &mut Session, at: usize) {
        let Some(socket) = &self.sockets[at] else { return };
        let mut buffer = [0; BUFFER_LEN];
        for _ in 0..MAX_READS_PER_TURN {
            match socket.receive(&mut buffer) {
                Ok(Some((payload, source))) => {
                    session.handle_datagram(Instant::now(), SocketIndex(at as u16), source, payload);
                }
                Ok(None) => break,
                // What the network reports is read below.
                Err(_) => {}
            }
        }
        #[cfg(target_os = "linux")]
        while let Some(report) = socket.next_report() {
            if let Report::TimeExceeded { router, payload } = report {
                session.handle_time_exceeded(router, &payload);
            }
        }
    }

    fn look_at_addresses(&mut self, session: &mut Session, now: Instant) {
        if now < self.addresses_due {
            return;
        }
        self.addresses_due = now + ADDRESSES_PERIOD;
        let addresses = host_candidates(&self.sockets, self.local_sockets, &self.servers);
        if addresses != self.addresses {
            log::debug!(target: "holepunch::room", "our addresses have changed: {addresses:?}");
            session.change_network(now, &addresses);
            self.addresses = addresses;
        }
    }

    /// Opens and closes what the machine wants.
    fn provide(&mut self, session: &mut Session) {
        let now = Instant::now();
        while let Some(wanted) = session.wants_sockets() {
            let opened = open_further(&mut self.sockets, wanted);
            session.give_sockets(now, &opened);
        }
        while let Some(socket) = session.poll_released() {
            self.sockets[usize::from(socket.0)] = None;
        }
        if session.wants_port_mapping(now) {
            let options = mapping_options(&self.sockets);
            self.mapper = options.and_then(|options| PortMapper::start_waking(&options, None).ok());
        }
        while let Some(event) = self.mapper.as_ref().and_then(PortMapper::try_recv) {
            if let portmap::Event::Mapped(mapped) = event
                && mapped.is_public()
            {
                session.add_mapped(now, mapped.external);
            }
        }
    }

    fn transmit(&self, session: &mut Session) {
        while let Some(transmit) = session.poll_transmit() {
            let Some(Some(socket)) = self.sockets.get(usize::from(transmit.socket.0)) else { continue };
            // An error may be about an earlier datagram; what is lost comes again.
            if socket.transmit(&transmit).is_err() {
                let _ = socket.transmit(&transmit);
            }
        }
    }
}

//! Drives a session's machine over real sockets in a thread of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Shared;
use crate::client::driver::{mapping_options, open_further};
use crate::client::host_candidates;
use crate::net::batch::{BATCH, ReceiveBatch, SendBatch};
use crate::net::poll::wait_readable;
use crate::net::portmap::{self, PortMapper};
#[cfg(target_os = "linux")]
use crate::net::udp::Report;
use crate::net::udp::UdpEndpoint;
use crate::proto::session::Session as Machine;
use crate::proto::{LocalSockets, SocketIndex, Transmit};

/// Batches that are read from one socket before time and the other sockets get their turn.
const MAX_READS_PER_TURN: usize = 2;
/// How often this host's addresses are looked at.
const ADDRESSES_PERIOD: Duration = Duration::from_secs(1);

pub(super) struct Driver {
    shared: Arc<Shared>,
    sockets: Vec<Option<UdpEndpoint>>,
    local_sockets: LocalSockets,
    servers: Vec<SocketAddr>,
    addresses: Vec<SocketAddr>,
    addresses_due: Instant,
    mapper: Option<PortMapper>,
    incoming: ReceiveBatch,
    outbox: Vec<Transmit>,
    outgoing: SendBatch,
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
        sockets.iter().flatten().for_each(UdpEndpoint::widen);
        Self {
            shared,
            sockets,
            local_sockets,
            servers,
            addresses,
            addresses_due,
            mapper: None,
            incoming: ReceiveBatch::new(),
            outbox: Vec::new(),
            outgoing: SendBatch::default(),
        }
    }

    /// recv → handle → transmit → sleep, until the session was left.
    pub fn run(mut self) {
        #[cfg(target_os = "linux")]
        self.sockets.iter().flatten().for_each(|socket| socket.report_unreachable(true));
        let shared = Arc::clone(&self.shared);
        let mut ready = vec![true; self.sockets.len()];
        loop {
            let addresses = self.look_at_addresses();
            let (due, left) = {
                let mut state = shared.state.lock();
                shared.note_awake(&mut state);
                let session = &mut state.session;
                for at in (0..self.sockets.len()).filter(|at| ready.get(*at) == Some(&true)) {
                    self.read(session, at);
                }
                let now = Instant::now();
                if session.poll_timeout().is_some_and(|due| due <= now) {
                    session.handle_timeout(now);
                }
                if let Some(addresses) = addresses {
                    session.change_network(now, &addresses);
                }
                self.provide(session);
                self.outbox.extend(std::iter::from_fn(|| session.poll_transmit()));
                shared.flag_events(&mut state);
                let due = state.session.poll_timeout();
                (due.map_or(self.addresses_due, |due| due.min(self.addresses_due)), state.session.has_left())
            };
            // System calls that nobody else has to wait for.
            self.transmit();
            if left {
                break;
            }
            let fds: Vec<_> = self.sockets.iter().flatten().map(UdpEndpoint::fd).collect();
            let fds: Vec<_> = fds.into_iter().chain([shared.driver.fd()]).collect();
            let polled = match wait_readable(&fds, Some(due)) {
                Ok(polled) => polled,
                Err(error) => {
                    let mut state = shared.state.lock();
                    state.session.fail(Instant::now(), error.raw_os_error().unwrap_or_default());
                    shared.flag_events(&mut state);
                    break;
                }
            };
            let mut polled = polled.into_iter();
            ready =
                self.sockets.iter().map(|socket| socket.is_some() && polled.next() == Some(true)).collect();
        }
    }

    fn read(&mut self, session: &mut Machine, at: usize) {
        let Some(socket) = &self.sockets[at] else { return };
        for _ in 0..MAX_READS_PER_TURN {
            // What the network reports is read below.
            let Ok(received) = socket.receive_batch(&mut self.incoming).map(<[_]>::len) else { continue };
            let now = Instant::now();
            for index in 0..received {
                let datagram = self.incoming.get(index);
                let payload = self.incoming.payload(&datagram);
                session.handle_datagram(now, SocketIndex(at as u16), datagram.route.remote, payload);
            }
            if received < BATCH {
                break;
            }
        }
        #[cfg(target_os = "linux")]
        while let Some(report) = socket.next_report() {
            if let Report::TimeExceeded { router, payload } = report {
                session.handle_time_exceeded(router, &payload);
            }
        }
    }

    /// Our addresses, if it was time to look at them and they have changed.
    fn look_at_addresses(&mut self) -> Option<Vec<SocketAddr>> {
        let now = Instant::now();
        if now < self.addresses_due {
            return None;
        }
        self.addresses_due = now + ADDRESSES_PERIOD;
        let addresses = host_candidates(&self.sockets, self.local_sockets, &self.servers);
        if addresses == self.addresses {
            return None;
        }
        log::debug!(target: "holepunch::session", "our addresses have changed: {addresses:?}");
        self.addresses.clone_from(&addresses);
        Some(addresses)
    }

    /// Opens and closes what the machine wants.
    fn provide(&mut self, session: &mut Machine) {
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

    fn transmit(&mut self) {
        let mut through = None;
        for transmit in std::mem::take(&mut self.outbox) {
            if through != Some(transmit.socket) || self.outgoing.len() == BATCH {
                self.send_out(through);
                through = Some(transmit.socket);
            }
            if transmit.ttl.is_none() {
                self.outgoing.push(transmit.destination.into(), &transmit.payload);
            } else if let Some(Some(socket)) = self.sockets.get(usize::from(transmit.socket.0)) {
                let _ = socket.transmit(&transmit);
            }
        }
        self.send_out(through);
    }

    fn send_out(&mut self, through: Option<SocketIndex>) {
        let socket = through.and_then(|through| self.sockets.get(usize::from(through.0))?.as_ref());
        match socket {
            Some(socket) => socket.send_batch(&mut self.outgoing),
            None => self.outgoing.clear(),
        }
    }
}

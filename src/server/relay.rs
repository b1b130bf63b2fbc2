//! Forwards between pairs that find no direct way, on ports of its own.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Registry, RelayConfig, TICK};
use crate::net::batch::{ReceiveBatch, SendBatch, ServerSocket};
use crate::net::poll::wait_readable;
use crate::proto::relay::{Party, RelayCounters, RelayLimits, RelayTable, RelayVerdict};
use crate::proto::wire::codec::Writer;
use crate::proto::wire::relay::Ticket;
use crate::proto::wire::{MAX_DATAGRAM, RelayGranted, RelayRefusal, RelayRefused, RelayRequest};
use crate::proto::{Rng, Route};

/// Ports that lie between the server's own and the first relay port; the alternate ports are among them.
const FIRST_PORT_AFTER: u16 = 10;
/// How often pairs that have ended are looked for.
const EXPIRY_PERIOD: Duration = Duration::from_secs(1);

/// What the workers know of the relay.
#[derive(Debug)]
pub(super) struct Relay {
    table: Mutex<RelayTable>,
    ports: Vec<u16>,
}

/// The sockets that datagrams are forwarded through.
#[derive(Debug, Default)]
pub(super) struct RelaySockets {
    sockets: Vec<ServerSocket>,
}

/// The limits of datagrams' pairs, and of connections', which are counted by themselves.
pub(super) fn limits_of(config: &RelayConfig) -> RelayLimits {
    RelayLimits {
        ports: config.ports.into(),
        max_pairs: config.max_pairs,
        bytes_per_second: config.bytes_per_second,
        idle: config.idle,
        lifetime: config.lifetime,
    }
}

impl Relay {
    /// Binds the relay ports that follow `main`; unlike diagnosis, a relay that was asked for must be there.
    pub(super) fn bind(
        config: &RelayConfig,
        main: SocketAddr,
        system_port: bool,
        rng: Rng,
    ) -> io::Result<(Self, RelaySockets)> {
        let sockets: Vec<ServerSocket> = (0..config.ports)
            .map(|number| {
                let port = match system_port {
                    true => 0,
                    false => main
                        .port()
                        .checked_add(FIRST_PORT_AFTER + number)
                        .ok_or_else(|| io::Error::other("there are no ports after the server's own"))?,
                };
                ServerSocket::bind(SocketAddr::new(main.ip(), port), TICK, true)
                    .map_err(|error| io::Error::new(error.kind(), format!("relay port {port}: {error}")))
            })
            .collect::<io::Result<_>>()?;
        let ports = sockets.iter().map(|socket| Ok(socket.local_address()?.port()));
        let ports = ports.collect::<io::Result<_>>()?;
        let relay = Self { table: Mutex::new(RelayTable::new(limits_of(config), rng)), ports };
        Ok((relay, RelaySockets { sockets }))
    }

    pub(super) fn counters(&self) -> RelayCounters {
        self.table.lock().counters()
    }

    /// Writes the answer to a member who wants to be forwarded to another one.
    pub(super) fn answer(
        &self,
        now: Instant,
        request: &RelayRequest,
        session: u32,
        [us, other]: [Party; 2],
        reply: &mut Writer<'_>,
    ) {
        let granted = self.table.lock().grant(now, session, us, other);
        write_answer(request, granted.map(|(port, ticket)| (self.ports[port], ticket)), reply);
    }
}

/// Writes the answer of a table: a port and a ticket, or why there is none.
pub(super) fn write_answer(
    request: &RelayRequest,
    granted: Result<(u16, Ticket), RelayRefusal>,
    reply: &mut Writer<'_>,
) {
    let (token, peer) = (request.token, request.peer);
    match granted {
        Ok((port, ticket)) => RelayGranted { token, peer, port, ticket }.write(reply),
        Err(reason) => RelayRefused::write(reply, token, peer, reason),
    }
}

/// Writes the answer to one who cannot be helped.
pub(super) fn refuse(
    registry: &Registry,
    request: &RelayRequest,
    reason: RelayRefusal,
    reply: &mut Writer<'_>,
) {
    registry.totals.relay_refused.fetch_add(1, Ordering::Relaxed);
    RelayRefused::write(reply, request.token, request.peer, reason);
}

impl RelaySockets {
    /// How many threads have something to do.
    pub(super) fn threads(&self, workers: usize) -> usize {
        self.sockets.len().min(workers)
    }

    /// Thread `number` of `threads` serves its share of the ports until the registry says stop.
    pub(super) fn run(
        &self,
        registry: &Registry,
        relay: &Relay,
        number: usize,
        threads: usize,
    ) -> io::Result<()> {
        let mine: Vec<_> = self.sockets.iter().enumerate().skip(number).step_by(threads).collect();
        let fds: Vec<_> = mine.iter().map(|(_, socket)| socket.fd()).collect();
        let mut incoming = ReceiveBatch::new();
        let mut outgoing: Vec<SendBatch> = self.sockets.iter().map(|_| SendBatch::default()).collect();
        let mut expire_at = Instant::now();
        while !registry.stop.load(Ordering::Acquire) {
            let ready = wait_readable(&fds, Some(Instant::now() + TICK))?;
            let now = Instant::now();
            for ((port, socket), _) in mine.iter().zip(ready).filter(|(_, ready)| *ready) {
                socket.receive(&mut incoming)?;
                relay.forward(now, *port, &incoming, &mut outgoing);
                let totals = &registry.totals;
                totals.received.fetch_add(incoming.len() as u64, Ordering::Relaxed);
                for (socket, outgoing) in self.sockets.iter().zip(&mut outgoing) {
                    if outgoing.len() > 0 {
                        totals.sent.fetch_add(outgoing.len() as u64, Ordering::Relaxed);
                        totals.send_failed.fetch_add(socket.send(outgoing) as u64, Ordering::Relaxed);
                    }
                }
            }
            if number == 0 && now >= expire_at {
                expire_at = now + EXPIRY_PERIOD;
                relay.table.lock().handle_timeout(now);
            }
        }
        Ok(())
    }
}

impl Relay {
    /// Looks at a whole batch under one lock.
    fn forward(&self, now: Instant, port: usize, incoming: &ReceiveBatch, outgoing: &mut [SendBatch]) {
        let mut table = self.table.lock();
        for index in 0..incoming.len() {
            let datagram = incoming.get(index);
            let payload = incoming.payload(&datagram);
            let mut buffer = [0; MAX_DATAGRAM];
            let mut reply = Writer::new(&mut buffer);
            let source: Route = datagram.route;
            match table.handle_datagram(now, port, source, payload, &mut reply) {
                RelayVerdict::Reply => outgoing[port].push(source, reply.as_slice()),
                RelayVerdict::Forward(port, destination) => outgoing[port].push(destination, payload),
                RelayVerdict::Drop => {}
            }
        }
    }
}

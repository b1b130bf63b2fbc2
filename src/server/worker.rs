//! One worker: receive a batch, judge and handle each datagram, send the answers as a batch.

use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Registry;
use super::alternates::Alternates;
use super::handle::{drain, handle};
use super::outgoing::Outgoing;
use crate::net::batch::{ReceiveBatch, ServerSocket};

/// How often a worker looks after its shards' timers under load.
const TIMER_PERIOD: Duration = Duration::from_millis(5);

/// Serves until the registry says stop. Worker `number` of `workers` minds the timers of its share of the shards.
pub(super) fn run(
    registry: &Registry,
    alternates: &Alternates,
    socket: &ServerSocket,
    number: usize,
    workers: usize,
) -> io::Result<()> {
    let mut incoming = ReceiveBatch::new();
    let mut outgoing = Outgoing::default();
    let mut timers_due = Instant::now();
    while !registry.stop.load(Ordering::Acquire) {
        socket.receive(&mut incoming)?;
        let now = Instant::now();
        for index in 0..incoming.len() {
            let datagram = incoming.get(index);
            let payload = incoming.payload(&datagram);
            if !handle(registry, alternates, now, datagram.route, payload, &mut outgoing) {
                registry.totals.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        if now >= timers_due {
            timers_due = now + TIMER_PERIOD;
            for shard in registry.shards.iter().skip(number).step_by(workers) {
                let mut shard = shard.lock();
                if shard.poll_timeout().is_some_and(|due| due <= now) {
                    shard.handle_timeout(now);
                    drain(&mut shard, &mut outgoing);
                }
            }
        }
        registry.totals.received.fetch_add(incoming.len() as u64, Ordering::Relaxed);
        outgoing.send_datagrams(registry, socket);
        if let Some(tcp) = &registry.tcp {
            tcp.post(&mut outgoing.frames);
        }
    }
    Ok(())
}

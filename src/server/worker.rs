//! One worker: receive a batch, judge and handle each datagram, send the answers as a batch.

use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;

use super::Registry;
use super::alternates::Alternates;
use super::handle::{Desk, drain};
use super::outgoing::Outgoing;
use crate::net::batch::{BATCH, ReceiveBatch, ServerSocket};

/// How often a worker looks after its shards' timers, and at what the kernel has dropped, under load.
const TIMER_PERIOD: Duration = Duration::from_millis(5);
/// For so long after the kernel has dropped something that a busy worker did not take in time newcomers are turned away.
const OVERLOAD: Duration = Duration::from_millis(250);
/// Who did not run for so long, where it should have in any case, was stopped: by a debugger, or by a host without time for us.
const STALL: Duration = Duration::from_secs(1);

/// Whether a worker keeps up with what comes.
struct Load {
    dropped: u32,
    /// As much has come at once as can be taken at once, since the last look: it is the worker that is slow, not the buffer small.
    busy: bool,
    overloaded_until: Option<Instant>,
}

impl Load {
    /// Looks at what the kernel has dropped since the last time.
    fn update(&mut self, registry: &Registry, socket: &ServerSocket, now: Instant) {
        let totals = &registry.totals;
        let dropped = socket.dropped();
        let lost = dropped.wrapping_sub(self.dropped);
        self.dropped = dropped;
        totals.kernel_dropped.fetch_add(lost.into(), Ordering::Relaxed);
        if lost > 0 && std::mem::take(&mut self.busy) {
            if self.overloaded_until.replace(now + OVERLOAD).is_none() {
                totals.overloaded.fetch_add(1, Ordering::Relaxed);
            }
        } else if self.overloaded_until.is_some_and(|until| until <= now) {
            self.overloaded_until = None;
            totals.overloaded.fetch_sub(1, Ordering::Relaxed);
        }
        self.busy = false;
    }
}

/// Serves until the registry says stop. Worker `number` of `workers` minds the timers of its share of the shards.
pub(super) fn run(
    registry: &Registry,
    alternates: &Alternates,
    socket: &ServerSocket,
    number: usize,
    workers: usize,
) -> io::Result<()> {
    let totals = &registry.totals;
    let mut incoming = ReceiveBatch::new();
    let mut outgoing = Outgoing::default();
    let mut load = Load { dropped: socket.dropped(), busy: false, overloaded_until: None };
    let mut last = Instant::now();
    let mut timers_due = last;
    while !registry.stop.load(Ordering::Acquire) {
        socket.receive(&mut incoming)?;
        let now = Instant::now();
        let stalled = now.saturating_duration_since(last) > STALL;
        last = now;
        let desk = Desk { registry, alternates, overloaded: load.overloaded_until.is_some() };
        let (mut dropped, mut rate_limited) = (0, 0);
        for index in 0..incoming.len() {
            let datagram = incoming.get(index);
            if !registry.prefixes.hears(now, datagram.route.remote.ip()) {
                rate_limited += 1;
                continue;
            }
            let payload = incoming.payload(&datagram);
            let understood = desk.handle(now, datagram.route, payload, &mut outgoing);
            dropped += u64::from(!understood);
        }
        if now >= timers_due || stalled {
            timers_due = now + TIMER_PERIOD;
            load.update(registry, socket, now);
            for shard in registry.shards.iter().skip(number).step_by(workers) {
                let mut shard = shard.lock();
                if stalled {
                    shard.excuse_silence(now);
                }
                while shard.poll_timeout().is_some_and(|due| due <= now) {
                    shard.handle_timeout(now);
                    drain(registry, &mut shard, &mut outgoing);
                    if outgoing.is_enough() {
                        MutexGuard::unlocked(&mut shard, || outgoing.send(registry, socket));
                    }
                }
            }
        }
        let unread = incoming.unread() as u64;
        load.busy |= incoming.len() == BATCH;
        totals.received.fetch_add(incoming.len() as u64 + unread, Ordering::Relaxed);
        totals.dropped.fetch_add(dropped + unread, Ordering::Relaxed);
        totals.rate_limited.fetch_add(rate_limited, Ordering::Relaxed);
        outgoing.send(registry, socket);
    }
    Ok(())
}

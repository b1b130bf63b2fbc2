//! One worker: receive a batch, judge and handle each datagram, send the answers as a batch.

use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::alternates::Alternates;
use super::{Registry, SHARDS};
use crate::net::batch::{ReceiveBatch, SendBatch, ServerSocket};
use crate::proto::rendezvous::{Request, Shard, Verdict};
use crate::proto::wire::codec::Writer;
use crate::proto::wire::{MAX_DATAGRAM, RelayRefusal};
use crate::proto::{LookupKey, Route};

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
    let mut outgoing = SendBatch::default();
    let mut timers_due = Instant::now();
    while !registry.stop.load(Ordering::Acquire) {
        socket.receive(&mut incoming)?;
        let now = Instant::now();
        for index in 0..incoming.len() {
            handle(registry, alternates, now, &incoming, index, &mut outgoing);
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
        let totals = &registry.totals;
        totals.received.fetch_add(incoming.len() as u64, Ordering::Relaxed);
        if outgoing.len() > 0 {
            totals.sent.fetch_add(outgoing.len() as u64, Ordering::Relaxed);
            let refused = socket.send(&mut outgoing);
            totals.send_failed.fetch_add(refused as u64, Ordering::Relaxed);
        }
    }
    Ok(())
}

fn handle(
    registry: &Registry,
    alternates: &Alternates,
    now: Instant,
    incoming: &ReceiveBatch,
    index: usize,
    outgoing: &mut SendBatch,
) {
    let datagram = incoming.get(index);
    let mut buffer = [0; MAX_DATAGRAM];
    let mut reply = Writer::new(&mut buffer);
    match registry.gate.judge(now, datagram.route, incoming.payload(&datagram), &mut reply) {
        Verdict::Admit(Request::Relay(request)) => {
            let shard = registry.shards.get(usize::from(Shard::number_in(request.handle)));
            let parties = shard.and_then(|s| s.lock().relay_parties(datagram.route, &request));
            let Some((session, us, other)) = parties else {
                registry.totals.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            };
            match (&registry.relay, other) {
                (Some(relay), Some(other)) => relay.answer(now, &request, session, [us, other], &mut reply),
                (None, _) => super::relay::refuse(registry, &request, RelayRefusal::NotOffered, &mut reply),
                (_, None) => super::relay::refuse(registry, &request, RelayRefusal::UnknownPeer, &mut reply),
            }
            outgoing.push(datagram.route, reply.as_slice());
        }
        Verdict::Admit(request) => {
            let Some(shard) = registry.shards.get(shard_of(&request)) else {
                registry.totals.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            };
            let mut shard = shard.lock();
            shard.handle_request(now, datagram.route, &request);
            drain(&mut shard, outgoing);
        }
        Verdict::Reply => {
            registry.totals.challenged.fetch_add(1, Ordering::Relaxed);
            outgoing.push(datagram.route, reply.as_slice());
        }
        Verdict::Challenge(early) => {
            registry.totals.challenged.fetch_add(1, Ordering::Relaxed);
            let mut shard = registry.shards[shard_of_key(&early.lookup)].lock();
            shard.hint(now, datagram.route, &early, &mut reply);
            outgoing.push(datagram.route, reply.as_slice());
            drain(&mut shard, outgoing);
        }
        Verdict::ReplyTo(remote) => {
            outgoing.push(Route { remote, ..datagram.route }, reply.as_slice());
        }
        Verdict::AnswerFromElsewhere(probe) => alternates.answer(registry, datagram.route, &probe),
        Verdict::Drop => {
            registry.totals.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn drain(shard: &mut Shard, outgoing: &mut SendBatch) {
    while let Some((destination, payload)) = shard.poll_transmit() {
        outgoing.push(destination, payload);
    }
}

fn shard_of_key(key: &LookupKey) -> usize {
    usize::from(key.0[0]) % SHARDS
}

/// Which shard keeps the session: by its lookup key, or as the handle says that was given out for it.
fn shard_of(request: &Request<'_>) -> usize {
    match request {
        Request::Register(register) => shard_of_key(&register.lookup),
        Request::Plain(key) => shard_of_key(key),
        Request::Presence(presence) => Shard::number_in(presence.handle).into(),
        Request::Leave(leave) => Shard::number_in(leave.handle).into(),
        Request::Relay(request) => Shard::number_in(request.handle).into(),
    }
}

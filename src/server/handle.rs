//! What the server does with one message, whichever way it came: judge it without any state, and give it to its session's shard.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::alternates::Alternates;
use super::outgoing::Outgoing;
use super::{Registry, SHARDS, relay};
use crate::proto::rendezvous::{Newcomers, Request, Shard, Verdict};
use crate::proto::wire::codec::Writer;
use crate::proto::wire::{MAX_DATAGRAM, RelayRefusal, RelayRequest};
use crate::proto::{LookupKey, Route, Transport};

/// What handles messages, on behalf of a thread.
#[derive(Clone, Copy)]
pub(super) struct Desk<'a> {
    pub(super) registry: &'a Registry,
    pub(super) alternates: &'a Alternates,
    /// The server cannot keep up: only those are served who are registered.
    pub(super) overloaded: bool,
}

impl Desk<'_> {
    /// Handles a message from there; what it leads to is in `outgoing` afterwards. `false`: it was nothing that the server understands.
    pub(super) fn handle(
        &self,
        now: Instant,
        source: Route,
        message: &[u8],
        outgoing: &mut Outgoing,
    ) -> bool {
        let mut scratch = std::mem::take(&mut outgoing.scratch);
        scratch.resize(MAX_DATAGRAM, 0);
        let understood = self.serve(now, source, message, &mut Writer::new(&mut scratch), outgoing);
        outgoing.scratch = scratch;
        understood
    }

    fn serve(
        &self,
        now: Instant,
        source: Route,
        message: &[u8],
        reply: &mut Writer<'_>,
        outgoing: &mut Outgoing,
    ) -> bool {
        let Self { registry, alternates, overloaded } = *self;
        match registry.gate.judge(now, source, message, reply) {
            Verdict::Admit(Request::Relay(request)) => {
                if answer_relay_request(registry, now, source, &request, reply) {
                    outgoing.push(source, reply.as_slice());
                } else {
                    registry.totals.dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
            Verdict::Admit(request) => {
                let Some(shard) = registry.shards.get(shard_of(&request)) else {
                    registry.totals.dropped.fetch_add(1, Ordering::Relaxed);
                    return true;
                };
                let mut shard = shard.lock();
                shard.handle_request(now, source, &request, || newcomers(registry, &source, overloaded));
                drain(registry, &mut shard, outgoing);
            }
            Verdict::Challenge(_) if overloaded => {
                registry.totals.shed.fetch_add(1, Ordering::Relaxed);
            }
            Verdict::Reply => {
                registry.totals.challenged.fetch_add(1, Ordering::Relaxed);
                outgoing.push(source, reply.as_slice());
            }
            Verdict::Challenge(early) => {
                registry.totals.challenged.fetch_add(1, Ordering::Relaxed);
                let mut shard = registry.shards[shard_of_key(&early.lookup)].lock();
                shard.hint(now, source, &early, reply);
                outgoing.push(source, reply.as_slice());
                drain(registry, &mut shard, outgoing);
            }
            Verdict::ReplyTo(remote) => {
                outgoing.push(Route { remote, ..source }, reply.as_slice());
            }
            Verdict::AnswerFromElsewhere(probe) => alternates.answer(registry, source, &probe),
            Verdict::Drop => return false,
        }
        true
    }
}

/// Writes the answer to who wants to be forwarded; `false`: it is nobody whom the server knows.
fn answer_relay_request(
    registry: &Registry,
    now: Instant,
    source: Route,
    request: &RelayRequest,
    reply: &mut Writer<'_>,
) -> bool {
    let shard = registry.shards.get(usize::from(Shard::number_in(request.handle)));
    let Some((session, us, other)) = shard.and_then(|shard| shard.lock().relay_parties(source, request))
    else {
        return false;
    };
    let connections = registry.tcp.as_ref().and_then(|tcp| Some((tcp, tcp.relay.as_ref()?)));
    match (request.transport, &registry.relay, connections, other) {
        (Transport::Udp, Some(relay), _, Some(other)) => {
            relay.answer(now, request, session, [us, other], reply);
        }
        (Transport::Tcp, _, Some((tcp, relay)), Some(other)) => {
            let granted = relay.lock().grant(now, session, us, other);
            relay::write_answer(request, granted.map(|ticket| (tcp.port, ticket)), reply);
        }
        (Transport::Udp, Some(_), _, None) | (Transport::Tcp, _, Some(_), None) => {
            relay::refuse(registry, request, RelayRefusal::UnknownPeer, reply);
        }
        _ => relay::refuse(registry, request, RelayRefusal::NotOffered, reply),
    }
    true
}

/// What becomes of a client from there if it is not registered yet.
fn newcomers(registry: &Registry, source: &Route, overloaded: bool) -> Newcomers {
    if registry.draining.load(Ordering::Relaxed) || registry.prefixes.is_full(source.remote.ip()) {
        Newcomers::Refused
    } else if overloaded {
        Newcomers::Ignored
    } else {
        Newcomers::Welcome
    }
}

/// Takes what a shard wants sent, counts who has come and gone, and has other servers told.
pub(super) fn drain(registry: &Registry, shard: &mut Shard, outgoing: &mut Outgoing) {
    shard.take_movements().for_each(|movement| registry.prefixes.note(movement));
    if let Some(store) = &registry.store {
        store.tell(shard);
    }
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
        Request::Plain { key, .. } => shard_of_key(key),
        Request::Presence(presence) => Shard::number_in(presence.handle).into(),
        Request::Leave(leave) => Shard::number_in(leave.handle).into(),
        Request::Relay(request) => Shard::number_in(request.handle).into(),
    }
}

//! The server's stateless front: tells dialects apart, checks cookies, and lets only proven requests through.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::proto::cookie::CookieJar;
use crate::proto::wire::codec::Writer;
use crate::proto::wire::{
    self, Alternates, Challenge, FilterProbe, FilterReply, Hints, Leave, MappingProbe, MappingReply, Message,
    Presence, Refused, RefusedReason, Register, RelayRequest, plain,
};
use crate::proto::{DialectPolicy, LookupKey, PeerId, Rng, Route, Transport};

/// A request that may touch state.
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    /// A registration from a proven endpoint.
    Register(Register<'a>),
    /// A heartbeat or acknowledgement.
    Presence(Presence),
    /// A goodbye.
    Leave(Leave),
    /// Forwarding between two members.
    Relay(RelayRequest),
    /// A plain client's session, filed under the lookup key that native clients derive.
    Plain {
        /// Names the session.
        key: LookupKey,
        /// How long the datagram was.
        len: usize,
    },
}

/// A registration that proves no endpoint, and leaves room for hints.
#[derive(Clone, Copy, Debug)]
pub struct EarlyRegister {
    /// The client's token.
    pub token: u64,
    /// Names the session.
    pub lookup: LookupKey,
    /// Who it is.
    pub peer: PeerId,
    /// By how many bytes it is longer than its answer.
    pub room: usize,
}

/// What becomes of a datagram.
#[derive(Clone, Copy, Debug)]
pub enum Verdict<'a> {
    /// Give it to the shard that keeps its session.
    Admit(Request<'a>),
    /// Answer with what was written into the buffer; nothing is kept.
    Reply,
    /// The same, but the shard that keeps the session may add hints first: see [`super::Shard::hint`].
    Challenge(EarlyRegister),
    /// The same, but to this endpoint, which is proven, too.
    ReplyTo(SocketAddr),
    /// Send the endpoint, which is proven, such datagrams from elsewhere.
    AnswerFromElsewhere(FilterProbe),
    /// Drop it.
    Drop,
}

/// Checks datagrams before any state is touched. Shared by all workers.
#[derive(Debug)]
pub struct Gate {
    cookies: CookieJar,
    policy: DialectPolicy,
    alternates: Alternates,
    max_plain_id_len: AtomicUsize,
}

impl Gate {
    /// A gate whose cookies are keyed from `rng`; clients are told of the `alternates`.
    pub fn new(policy: DialectPolicy, alternates: Alternates, rng: &mut Rng, now: Instant) -> Self {
        let max_plain_id_len = AtomicUsize::new(plain::MAX_ID_LEN);
        Self { cookies: CookieJar::new(rng, now), policy, alternates, max_plain_id_len }
    }

    /// Has longer plain session IDs dropped; at most [`plain::MAX_ID_LEN`].
    pub fn set_max_plain_id_len(&self, len: usize) {
        self.max_plain_id_len.store(len.min(plain::MAX_ID_LEN), Ordering::Relaxed);
    }

    /// Judges one datagram, or what stood in one frame of a connection; a [`Verdict::Reply`] stands in `reply` and is never longer than the datagram.
    pub fn judge<'a>(
        &self,
        now: Instant,
        source: impl Into<Route>,
        datagram: &'a [u8],
        reply: &mut Writer<'_>,
    ) -> Verdict<'a> {
        let Route { remote: source, transport, .. } = source.into();
        // A connection proves its endpoint.
        let proven = transport == Transport::Tcp;
        if !wire::is_native(datagram) {
            return if proven { Verdict::Drop } else { self.judge_plain(datagram) };
        }
        match Message::parse(datagram) {
            Ok(Message::Register(register)) if self.policy == DialectPolicy::Plain => {
                Refused::write(reply, register.token, register.sequence, RefusedReason::DialectRefused);
                Verdict::Reply
            }
            Ok(Message::Register(register)) => {
                if proven || self.cookies.check(now, source, &register.cookie) {
                    return Verdict::Admit(Request::Register(register));
                }
                let cookie = self.cookies.bake(now, source);
                let (token, sequence) = (register.token, register.sequence);
                let (alternates, hints) = (self.alternates, Hints::default());
                Challenge { token, sequence, cookie, observed: source, alternates, hints }.write(reply);
                if !register.attributes.is_padded() {
                    return Verdict::Reply;
                }
                let room = datagram.len().saturating_sub(reply.written());
                let (lookup, peer) = (register.lookup, register.peer);
                Verdict::Challenge(EarlyRegister { token, lookup, peer, room })
            }
            Ok(Message::MappingProbe(probe)) => {
                answer_mapping_probe(source, &probe, reply);
                Verdict::Reply
            }
            Ok(Message::FilterProbe(_)) if proven => Verdict::Drop,
            Ok(Message::FilterProbe(FilterProbe { token, sequence, cookie, target: Some(target) })) => {
                if !self.cookies.check(now, target, &cookie) {
                    return Verdict::Drop;
                }
                FilterReply { token, sequence, other_address: false }.write(reply);
                Verdict::ReplyTo(target)
            }
            Ok(Message::FilterProbe(probe)) if self.cookies.check(now, source, &probe.cookie) => {
                Verdict::AnswerFromElsewhere(probe)
            }
            Ok(Message::Presence(presence)) => Verdict::Admit(Request::Presence(presence)),
            Ok(Message::RelayRequest(request)) => Verdict::Admit(Request::Relay(request)),
            Ok(Message::Leave(leave)) => Verdict::Admit(Request::Leave(leave)),
            Ok(_) | Err(_) => Verdict::Drop,
        }
    }

    /// What stands in `reply` afterwards is the answer to a datagram that came in at an alternate port; `false`: drop it.
    pub fn judge_at_alternate(&self, source: SocketAddr, datagram: &[u8], reply: &mut Writer<'_>) -> bool {
        let Ok(Message::MappingProbe(probe)) = Message::parse(datagram) else { return false };
        answer_mapping_probe(source, &probe, reply);
        true
    }

    fn judge_plain<'a>(&self, datagram: &'a [u8]) -> Verdict<'a> {
        let longest = self.max_plain_id_len.load(Ordering::Relaxed);
        let acceptable = !datagram.is_empty() && datagram.len() <= longest;
        if !acceptable || self.policy == DialectPolicy::Native {
            return Verdict::Drop;
        }
        Verdict::Admit(Request::Plain { key: LookupKey::derive(datagram), len: datagram.len() })
    }
}

fn answer_mapping_probe(source: SocketAddr, probe: &MappingProbe, reply: &mut Writer<'_>) {
    MappingReply { token: probe.token, sequence: probe.sequence, observed: source }.write(reply);
}

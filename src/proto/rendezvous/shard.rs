//! The server's state machine: one shard of the sessions. A server has many, each behind a lock of its own.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::counters::ShardCounters;
use super::early::EarlyList;
use super::gate::Request;
use super::members::{Member, MemberRef, Members, Push};
use crate::proto::keys::truncate;
use crate::proto::relay::Party;
use crate::proto::wire::codec::{Writer, endpoint_len};
use crate::proto::wire::plain::push_to_list;
use crate::proto::wire::{
    LeaveReason, Left, MAX_DATAGRAM, Presence, PresenceAck, Refused, RefusedReason, Register, Registered,
    RelayRequest, UpdateBuilder,
};
use crate::proto::{LookupKey, PeerId, Rng, Route, Transport};

/// Retransmission of a push: at first, at most.
const FIRST_PUSH_RETRY: Duration = Duration::from_millis(30);
const MAX_PUSH_RETRY: Duration = Duration::from_secs(1);
/// Changes that are pushed to a member before it has acknowledged the ones before.
const MAX_UNANSWERED: u8 = 4;
/// Datagrams that one push may take; a longer list goes on when these are acknowledged.
const MAX_BLOCKS_PER_PUSH: usize = 4;

/// A shard's limits and times.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// This shard's number, part of the handles that it gives out.
    pub number: u8,
    /// How often a native client shall say that it is there.
    pub heartbeat: Duration,
    /// After how much silence a native client is forgotten.
    pub expiry: Duration,
    /// After how much silence a plain client is forgotten; `None`: never.
    pub plain_expiry: Option<Duration>,
    /// How often a plain client is sent an empty datagram.
    pub plain_keep_alive: Duration,
    /// Most members of one session.
    pub max_members_per_session: usize,
    /// Most members of this shard.
    pub max_members: usize,
}

impl Default for ShardConfig {
    fn default() -> Self {
        Self {
            number: 0,
            heartbeat: Duration::from_secs(10),
            expiry: Duration::from_secs(15),
            plain_expiry: Some(Duration::from_secs(40)),
            plain_keep_alive: Duration::from_secs(10),
            max_members_per_session: 257,
            max_members: 1 << 16,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum TimerKind {
    Expire,
    Push,
    KeepAlive,
}

/// One shard of the sessions.
#[derive(Debug)]
pub struct Shard {
    config: ShardConfig,
    pub(super) members: Members,
    pub(super) early: EarlyList,
    timers: BinaryHeap<Reverse<(Instant, MemberRef, TimerKind)>>,
    plain_ids: [u8; 32],
    counters: ShardCounters,
    pub(super) outbox: Outbox,
    plain_members: usize,
    /// Reused, so that no request allocates.
    recipients: Vec<MemberRef>,
    list: Vec<u8>,
}

/// Datagrams to send, in one reused piece of memory.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    queue: VecDeque<(Route, usize, usize)>,
}

impl Outbox {
    fn push(&mut self, destination: Route, datagram: &[u8]) {
        if self.queue.is_empty() {
            self.bytes.clear();
        }
        self.queue.push_back((destination, self.bytes.len(), datagram.len()));
        self.bytes.extend_from_slice(datagram);
    }

    pub(super) fn write(&mut self, destination: Route, write: impl FnOnce(&mut Writer<'_>)) {
        let mut buffer = [0; MAX_DATAGRAM];
        let mut writer = Writer::new(&mut buffer);
        write(&mut writer);
        self.push(destination, writer.as_slice());
    }
}

impl Shard {
    /// An empty shard.
    pub fn new(config: ShardConfig, mut rng: Rng) -> Self {
        let plain_ids = rng.bytes();
        Self {
            config,
            members: Members::new(rng),
            timers: BinaryHeap::new(),
            plain_ids,
            counters: ShardCounters::default(),
            early: EarlyList::default(),
            outbox: Outbox::default(),
            plain_members: 0,
            recipients: Vec::new(),
            list: Vec::new(),
        }
    }

    /// The shard's number within a handle.
    pub fn number_in(handle: u64) -> u8 {
        (handle >> 56) as u8
    }

    fn handle_of(&self, at: MemberRef) -> u64 {
        u64::from(self.config.number) << 56 | u64::from(at.generation) << 32 | u64::from(at.index)
    }

    fn member_of(handle: u64) -> MemberRef {
        MemberRef { index: handle as u32, generation: (handle >> 32) as u32 & 0x00FF_FFFF }
    }

    /// What has been counted.
    pub fn counters(&self) -> ShardCounters {
        self.counters
    }

    /// Members and sessions that live now.
    pub fn population(&self) -> (usize, usize) {
        (self.members.len(), self.members.session_count())
    }

    /// The endpoints of all members.
    pub fn endpoints(&self) -> impl Iterator<Item = SocketAddr> {
        self.members.iter().map(|(_, member)| member.route.remote)
    }

    /// Changes after how much silence a plain client is forgotten, for present members, too.
    pub fn set_plain_expiry(&mut self, expiry: Option<Duration>, now: Instant) {
        self.config.plain_expiry = expiry;
        let members = &self.members;
        let is_native = |at| members.get(at).is_some_and(|member| member.push.is_some());
        self.timers.retain(|Reverse((_, at, kind))| *kind != TimerKind::Expire || is_native(*at));
        let plain = members.iter().filter(|(_, member)| member.push.is_none());
        self.timers.extend(plain.filter_map(|(at, member)| {
            let due = (member.last_seen + expiry?).max(now);
            Some(Reverse((due, at, TimerKind::Expire)))
        }));
    }

    fn expiry_of(&self, member_is_plain: bool) -> Option<Duration> {
        if member_is_plain { self.config.plain_expiry } else { Some(self.config.expiry) }
    }

    /// Does what a request that passed the gate asks for.
    pub fn handle_request(&mut self, now: Instant, source: impl Into<Route>, request: &Request<'_>) {
        let source = source.into();
        match request {
            Request::Register(register) if register.attributes.is_goodbye() => {
                let session = self.members.find_session(&register.lookup);
                let at = session.and_then(|session| self.member_by_peer(session, register.peer));
                self.leave(now, source, at, register.token, register.sequence);
            }
            Request::Register(register) => self.register(now, source, register),
            Request::Presence(presence) => self.presence(now, source, presence),
            Request::Leave(leave) => {
                let at = Self::member_of(leave.handle);
                self.leave(now, source, Some(at), leave.token, leave.sequence);
            }
            Request::Plain(key) => self.plain(now, source, *key),
            // Needs what no shard has: see `relay_parties`.
            Request::Relay(_) => {}
        }
    }

    fn leave(&mut self, now: Instant, source: Route, at: Option<MemberRef>, token: u64, sequence: u32) {
        if let Some(at) = at.filter(|at| self.is_owner(*at, &source, token)) {
            self.counters.left += 1;
            self.remove(now, at, LeaveReason::Goodbye);
        }
        self.outbox.write(source, |writer| Left { token, sequence }.write(writer));
    }

    /// Between whom a request for forwarding is, with the number of their session; `None` if its sender is no member of
    /// ours, and one party if the other one is no native member of the same session.
    pub fn relay_parties(
        &self,
        source: impl Into<Route>,
        request: &RelayRequest,
    ) -> Option<(u32, Party, Option<Party>)> {
        let at = Self::member_of(request.handle);
        let us = self.members.get(at).filter(|_| self.is_owner(at, &source.into(), request.token))?;
        let party = |member: &Member| Party { peer: member.peer, endpoint: member.route.remote };
        let other = self.member_by_peer(us.session, request.peer).filter(|other| *other != at);
        let other = other.and_then(|at| self.members.get(at)).filter(|member| member.push.is_some());
        Some((self.members.session(us.session).instance, party(us), other.map(party)))
    }

    fn is_owner(&self, at: MemberRef, source: &Route, token: u64) -> bool {
        self.members.get(at).is_some_and(|member| {
            member.route.is_same_remote(source) && member.push.is_some_and(|push| push.token == token)
        })
    }

    fn refuse(&mut self, source: Route, register: &Register<'_>, reason: RefusedReason) {
        self.counters.refused += 1;
        self.outbox.write(source, |writer| Refused::write(writer, register.token, register.sequence, reason));
    }

    fn register(&mut self, now: Instant, source: Route, register: &Register<'_>) {
        self.evict_older_lives(now, &source, register);
        let session = self.members.find_session(&register.lookup);
        let known = session.and_then(|session| self.member_by_peer(session, register.peer));
        // Who has proven the member's own endpoint may renew it under a new token; from elsewhere the token must fit.
        let taken = |member: &Member| {
            !member.route.is_same_remote(&source)
                && member.push.is_none_or(|push| push.token != register.token)
        };
        if known.and_then(|at| self.members.get(at)).is_some_and(taken) {
            return self.refuse(source, register, RefusedReason::PeerIdTaken);
        }
        let at = match known {
            Some(at) => self.renew(now, at, source, register),
            None => {
                if let Some(reason) = self.why_full(session, false) {
                    return self.refuse(source, register, reason);
                }
                self.counters.native_joined += 1;
                let push = Push {
                    token: register.token,
                    acknowledged: 0,
                    unanswered: 0,
                    timer: None,
                    sent: now,
                    rtt_ms: 0,
                };
                self.join(
                    now,
                    source,
                    register.lookup,
                    register.peer,
                    Some(push),
                    register.attributes.as_bytes(),
                )
            }
        };
        let Some(member) = self.members.get_mut(at) else { return };
        let session = member.session;
        let knows_instance = self.members.session(session).instance == register.instance;
        let from = if knows_instance { register.revision } else { 0 };
        self.send_blocks(now, at, from, Some(register.sequence));
    }

    fn why_full(&self, session: Option<u32>, plain: bool) -> Option<RefusedReason> {
        // Anyone can make plain registrations from forged addresses; half of the room is out of their reach.
        let plain_full = plain && self.plain_members >= self.config.max_members / 2;
        if plain_full || self.members.len() >= self.config.max_members {
            return Some(RefusedReason::ServerFull);
        }
        let members = session.map_or(0, |session| self.members.session(session).members.len());
        (members >= self.config.max_members_per_session).then_some(RefusedReason::SessionFull)
    }

    pub(super) fn member_by_peer(&self, session: u32, peer: PeerId) -> Option<MemberRef> {
        self.members.of_session(session).find(|(_, member)| member.peer == peer).map(|(at, _)| at)
    }

    fn member_at(&self, session: u32, remote: &Route) -> Option<MemberRef> {
        let is_there = |member: &Member| member.route.is_same_remote(remote);
        self.members.of_session(session).find(|(_, member)| is_there(member)).map(|(at, _)| at)
    }

    /// Another member at this endpoint, which has just been proven, is an older life of this client's socket.
    fn evict_older_lives(&mut self, now: Instant, source: &Route, register: &Register<'_>) {
        let older = self.members.find_session(&register.lookup).and_then(|session| {
            let at = self.member_at(session, source)?;
            self.members.get(at).filter(|member| member.peer != register.peer).map(|_| at)
        });
        if let Some(at) = older {
            self.counters.left += 1;
            self.remove(now, at, LeaveReason::Goodbye);
        }
    }

    fn join(
        &mut self,
        now: Instant,
        source: Route,
        key: LookupKey,
        peer: PeerId,
        push: Option<Push>,
        attributes: &[u8],
    ) -> MemberRef {
        let plain = push.is_none();
        let member = Member {
            session: 0,
            peer,
            route: source,
            push,
            attributes: attributes.into(),
            revision: 0,
            last_seen: now,
        };
        let at = self.members.insert(key, member);
        self.plain_members += usize::from(plain);
        if let Some(expiry) = self.expiry_of(plain) {
            self.timers.push(Reverse((now + expiry, at, TimerKind::Expire)));
        }
        if plain {
            self.timers.push(Reverse((now + self.config.plain_keep_alive, at, TimerKind::KeepAlive)));
        }
        self.push_to_others(now, at);
        at
    }

    fn renew(&mut self, now: Instant, at: MemberRef, source: Route, register: &Register<'_>) -> MemberRef {
        let Some(member) = self.members.get_mut(at) else { return at };
        member.last_seen = now;
        if let Some(push) = &mut member.push {
            push.token = register.token;
        }
        let moved = !member.route.is_same_remote(&source);
        member.route = source;
        if moved || *member.attributes != *register.attributes.as_bytes() {
            member.attributes = register.attributes.as_bytes().into();
            self.members.touch_revision(at);
            self.push_to_others(now, at);
        }
        at
    }

    fn push_to_others(&mut self, now: Instant, changed: MemberRef) {
        if let Some(session) = self.members.get(changed).map(|member| member.session) {
            self.push_to_session(now, session, Some(changed));
        }
    }

    fn push_to_session(&mut self, now: Instant, session: u32, except: Option<MemberRef>) {
        let mut recipients = std::mem::take(&mut self.recipients);
        recipients.clear();
        recipients.extend(
            self.members
                .of_session(session)
                .filter(|(at, member)| {
                    let may_push = |push: Push| {
                        push.unanswered < MAX_UNANSWERED || now >= push.sent + first_push_retry(&push)
                    };
                    Some(*at) != except && member.push.is_some_and(may_push)
                })
                .map(|(at, _)| at),
        );
        for at in &recipients {
            if let Some(push) = self.members.get_mut(*at).and_then(|member| member.push.as_mut()) {
                // News does not wait for the pauses that old news has run into.
                if push.unanswered >= MAX_UNANSWERED {
                    push.unanswered = 0;
                }
                let from = push.acknowledged;
                self.send_blocks(now, *at, from, None);
            }
        }
        self.recipients = recipients;
    }

    /// Sends a native member what it does not have; as the answer to a registration if `registered` numbers one.
    fn send_blocks(&mut self, now: Instant, at: MemberRef, from: u32, registered: Option<u32>) {
        let handle = self.handle_of(at);
        let times = [self.config.heartbeat, self.config.expiry];
        let Some(member) = self.members.get_mut(at) else { return };
        let (route, session) = (member.route, member.session);
        let Some(push) = &mut member.push else { return };
        push.acknowledged = from;
        push.unanswered = push.unanswered.saturating_add(1);
        push.sent = now;
        let token = push.token;
        let wait = push_retry(push);
        let due = now + wait;
        if push.timer.is_none_or(|timer| timer > due) {
            push.timer = Some(due);
            self.timers.push(Reverse((due, at, TimerKind::Push)));
        }

        let mut from = from;
        for number in 0..MAX_BLOCKS_PER_PUSH {
            let mut buffer = [0; MAX_DATAGRAM];
            let mut writer = Writer::new(&mut buffer);
            match registered.filter(|_| number == 0) {
                Some(sequence) => {
                    Registered::write_head(&mut writer, token, sequence, route.remote, handle, times);
                }
                None => UpdateBuilder::message_head(&mut writer, token),
            }
            let to = self.members.write_block(&mut writer, session, at, from);
            self.outbox.push(route, writer.as_slice());
            if to == from || to == self.members.session(session).revision {
                break;
            }
            from = to;
        }
    }

    fn presence(&mut self, now: Instant, source: Route, presence: &Presence) {
        let at = Self::member_of(presence.handle);
        if !self.is_owner(at, &source, presence.token) {
            self.counters.unknown += 1;
            let (token, sequence) = (presence.token, presence.sequence);
            return self.outbox.write(source, |writer| {
                Refused::write(writer, token, sequence, RefusedReason::UnknownRegistration);
            });
        }
        let Some(member) = self.members.get(at) else { return };
        let session = self.members.session(member.session);
        let (instance, latest) = (session.instance, session.revision);
        if presence.instance == instance && presence.revision > latest {
            // It was told of changes that never were; from a fresh registration on it knows better.
            let (token, sequence) = (presence.token, presence.sequence);
            return self.outbox.write(source, |writer| {
                Refused::write(writer, token, sequence, RefusedReason::UnknownRegistration);
            });
        }
        let mut more = None;
        if let Some(member) = self.members.get_mut(at) {
            member.last_seen = now;
            if let Some(push) = &mut member.push
                && presence.instance == instance
                && presence.revision <= latest
                && presence.revision >= push.acknowledged
            {
                if push.unanswered == 1 {
                    let rtt = now.saturating_duration_since(push.sent).as_millis();
                    push.rtt_ms = u16::try_from(rtt).unwrap_or(u16::MAX);
                }
                let progress = presence.revision > push.acknowledged;
                push.acknowledged = presence.revision;
                if presence.revision == latest {
                    push.unanswered = 0;
                } else if progress {
                    push.unanswered = 0;
                    more = Some(presence.revision);
                }
            }
        }
        if presence.wants_reply {
            let ack = PresenceAck { token: presence.token, sequence: presence.sequence };
            self.outbox.write(source, |writer| ack.write(writer));
        }
        if let Some(from) = more {
            self.send_blocks(now, at, from, None);
        }
    }

    fn plain(&mut self, now: Instant, source: Route, key: LookupKey) {
        let session = self.members.find_session(&key);
        let known = session.and_then(|session| self.member_at(session, &source));
        let at = match known {
            Some(at) => at,
            None if self.why_full(session, true).is_some() => {
                // The plain dialect has no word for "full"; silence is what its clients retry on.
                self.counters.refused += 1;
                return;
            }
            None => {
                self.counters.plain_joined += 1;
                let peer = self.plain_peer_id(source.remote);
                self.join(now, source, key, peer, None, &[])
            }
        };
        let Some(member) = self.members.get_mut(at) else { return };
        if member.push.is_none() {
            member.last_seen = now;
            member.route = source;
        }
        let session = member.session;
        self.list.clear();
        // Whoever came over TCP is nobody that a plain client could reach.
        let is_reachable = |member: &Member| member.route.transport == Transport::Udp;
        let others = self.members.of_session(session).filter(|(other, _)| *other != at);
        for (_, member) in others.filter(|(_, member)| is_reachable(member)) {
            push_to_list(&mut self.list, member.route.remote);
        }
        self.outbox.push(source, &self.list);
    }

    /// Plain clients have no ID; native peers know them under one made from their endpoint.
    fn plain_peer_id(&self, endpoint: SocketAddr) -> PeerId {
        let mut bytes = [0; 19];
        let mut writer = Writer::new(&mut bytes);
        writer.endpoint(endpoint);
        PeerId(truncate(&blake3::keyed_hash(&self.plain_ids, &bytes[..endpoint_len(endpoint)])))
    }

    fn remove(&mut self, now: Instant, at: MemberRef, reason: LeaveReason) {
        self.plain_members -= usize::from(self.members.get(at).is_some_and(|member| member.push.is_none()));
        if let Some(session) = self.members.remove(at, reason) {
            self.push_to_session(now, session, None);
        }
    }

    /// Does all that is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(Reverse((due, at, kind))) = self.timers.peek().copied()
            && due <= now
        {
            self.timers.pop();
            match kind {
                TimerKind::Expire => self.expire_or_wait(now, at),
                TimerKind::Push => self.push_again(now, due, at),
                TimerKind::KeepAlive => {
                    if let Some(member) = self.members.get(at) {
                        self.outbox.push(member.route, &[]);
                        self.timers.push(Reverse((now + self.config.plain_keep_alive, at, kind)));
                    }
                }
            }
        }
    }

    fn expire_or_wait(&mut self, now: Instant, at: MemberRef) {
        let Some(member) = self.members.get(at) else { return };
        let Some(expiry) = self.expiry_of(member.push.is_none()) else { return };
        let due = member.last_seen + expiry;
        if due > now {
            self.timers.push(Reverse((due, at, TimerKind::Expire)));
        } else {
            self.counters.expired += 1;
            self.remove(now, at, LeaveReason::Expired);
        }
    }

    fn push_again(&mut self, now: Instant, ended: Instant, at: MemberRef) {
        let Some(push) = self.members.get_mut(at).and_then(|member| member.push.as_mut()) else { return };
        if push.timer != Some(ended) {
            return;
        }
        push.timer = None;
        if push.unanswered == 0 {
            return;
        }
        let due = push.sent + push_retry(push);
        if due > now {
            push.timer = Some(due);
            self.timers.push(Reverse((due, at, TimerKind::Push)));
            return;
        }
        let from = push.acknowledged;
        self.counters.pushes_repeated += 1;
        self.send_blocks(now, at, from, None);
    }

    /// The next datagram to send; to be asked for after every call that takes `&mut self`.
    #[must_use]
    pub fn poll_transmit(&mut self) -> Option<(Route, &[u8])> {
        let (destination, at, len) = self.outbox.queue.pop_front()?;
        Some((destination, &self.outbox.bytes[at..at + len]))
    }

    /// When to call `handle_timeout`; to be asked for after every call that takes `&mut self`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((due, ..))| *due)
    }
}

fn push_retry(push: &Push) -> Duration {
    let first = first_push_retry(push);
    first.saturating_mul(1 << push.unanswered.saturating_sub(1).min(6)).min(MAX_PUSH_RETRY.max(first))
}

fn first_push_retry(push: &Push) -> Duration {
    FIRST_PUSH_RETRY.max(Duration::from_millis(u64::from(push.rtt_ms) * 3 / 2))
}

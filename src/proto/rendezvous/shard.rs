//! The server's state machine: one shard of the sessions. A server has many, each behind a lock of its own.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::counters::ShardCounters;
use super::early::EarlyList;
use super::gate::Request;
use super::members::{Member, MemberIndex, Members, Registration};
use super::session::SessionKey;
use super::sharing::Share;
use super::wheel::Wheel;
use crate::proto::relay::Party;
use crate::proto::wire::codec::Writer;
use crate::proto::wire::{
    LeaveReason, Left, MAX_DATAGRAM, Presence, PresenceAck, Refused, RefusedReason, Register, RelayRequest,
};
use crate::proto::{PeerId, Rng, Route};

/// A client that was silent for so long counts as silent for no longer: what is kept of the time has no room for more.
const LONGEST_SILENCE: u32 = 1 << 31;
/// Timers whose members are seen to before what that leads to is taken.
const TIMERS_AT_ONCE: usize = 256;
/// Who has joined within so long is still at it.
const SETTLING: Duration = Duration::from_secs(2);

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
    /// What clients may take.
    pub limits: ShardLimits,
    /// How this server is called among those that it shares its sessions with.
    pub server: Option<u64>,
}

/// What clients may take of a shard.
#[derive(Clone, Copy, Debug)]
pub struct ShardLimits {
    /// Most members of one session.
    pub max_members_per_session: usize,
    /// Most members of this shard.
    pub max_members: usize,
    /// Most bytes of memory for them.
    pub max_memory: usize,
    /// How many times what came from a plain client it may be sent; `None` for any.
    pub plain_amplification: Option<u32>,
}

impl Default for ShardLimits {
    fn default() -> Self {
        Self {
            max_members_per_session: 257,
            max_members: 1 << 16,
            max_memory: 64 << 20,
            plain_amplification: Some(3),
        }
    }
}

impl Default for ShardConfig {
    fn default() -> Self {
        Self {
            number: 0,
            heartbeat: Duration::from_secs(10),
            expiry: Duration::from_secs(15),
            plain_expiry: Some(Duration::from_secs(40)),
            plain_keep_alive: Duration::from_secs(10),
            limits: ShardLimits::default(),
            server: None,
        }
    }
}

/// What becomes of a client that is not a member yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Newcomers {
    /// It becomes one, if there is room.
    Welcome,
    /// It is told that there is no room.
    Refused,
    /// It is not answered: it asks again, and that there is no time for it now.
    Ignored,
}

/// A change of who is registered from where, for whoever counts that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Movement {
    /// A member came from there.
    Came(IpAddr),
    /// It went away again.
    Went(IpAddr),
}

/// One shard of the sessions.
#[derive(Debug)]
pub struct Shard {
    pub(super) config: ShardConfig,
    pub(super) members: Members,
    pub(super) early: EarlyList,
    /// A timer for each member: the earliest of what it waits for, or earlier.
    pub(super) timers: Wheel,
    /// Since when milliseconds are counted.
    epoch: Instant,
    /// Nobody expires before, since we could not hear anybody for a while; in milliseconds.
    grace: u64,
    /// When the last one joined, in milliseconds.
    last_join: Option<u64>,
    pub(super) plain_ids: [u8; 32],
    pub(super) counters: ShardCounters,
    pub(super) outbox: Outbox,
    pub(super) plain_members: usize,
    movements: Vec<Movement>,
    pub(super) shares: Vec<Share>,
    /// Members that are registered with other servers.
    pub(super) elsewhere: usize,
    /// Reused, so that no request allocates.
    pub(super) recipients: Vec<MemberIndex>,
    pub(super) list: Vec<u8>,
}

/// Datagrams to send, in one reused piece of memory.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    /// How many of the bytes are in use.
    used: usize,
    queue: VecDeque<(Route, usize, usize)>,
}

impl Outbox {
    /// Room for a datagram of that length.
    fn room(&mut self, len: usize) -> &mut [u8] {
        if self.queue.is_empty() {
            self.used = 0;
        }
        if self.bytes.len() < self.used + len {
            self.bytes.resize(self.used + len, 0);
        }
        &mut self.bytes[self.used..self.used + len]
    }

    pub(super) fn push(&mut self, destination: Route, datagram: &[u8]) {
        self.room(datagram.len()).copy_from_slice(datagram);
        self.queue.push_back((destination, self.used, datagram.len()));
        self.used += datagram.len();
    }

    pub(super) fn write(&mut self, destination: Route, write: impl FnOnce(&mut Writer<'_>)) {
        let mut writer = Writer::new(self.room(MAX_DATAGRAM));
        write(&mut writer);
        let len = writer.written();
        self.queue.push_back((destination, self.used, len));
        self.used += len;
    }
}

impl Shard {
    /// An empty shard.
    pub fn new(config: ShardConfig, mut rng: Rng, now: Instant) -> Self {
        let plain_ids = rng.bytes();
        Self {
            config,
            members: Members::new(rng),
            timers: Wheel::default(),
            epoch: now,
            grace: 0,
            last_join: None,
            plain_ids,
            counters: ShardCounters::default(),
            early: EarlyList::default(),
            outbox: Outbox::default(),
            plain_members: 0,
            movements: Vec::new(),
            shares: Vec::new(),
            elsewhere: 0,
            recipients: Vec::new(),
            list: Vec::new(),
        }
    }

    /// The shard's number within a handle.
    pub fn number_in(handle: u64) -> u8 {
        (handle >> 56) as u8
    }

    pub(super) fn handle_of(&self, at: MemberIndex) -> u64 {
        u64::from(self.config.number) << 56 | u64::from(at)
    }

    /// Which member a handle names; the token says whether it is still the same one.
    fn member_of(handle: u64) -> MemberIndex {
        if handle << 8 >> 40 == 0 { handle as u32 } else { MemberIndex::MAX }
    }

    /// The time in milliseconds, as it is kept here.
    pub(super) fn millis(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.epoch);
        since.as_secs() * 1000 + u64::from(since.subsec_millis())
    }

    /// What has been counted.
    pub fn counters(&self) -> ShardCounters {
        self.counters
    }

    /// Members that are registered here, and their sessions.
    pub fn population(&self) -> (usize, usize) {
        (self.members.len() - self.elsewhere, self.members.session_count())
    }

    /// Bytes of memory that members take now.
    pub fn memory(&self) -> usize {
        self.members.memory()
    }

    /// The endpoints of all members that are registered here.
    pub fn endpoints(&self) -> impl Iterator<Item = SocketAddr> {
        self.members
            .iter()
            .filter(|(_, member)| !member.is_elsewhere())
            .map(|(_, member)| self.members.remote(member))
    }

    /// Whether nobody is in the middle of something: all have been told all there is, and who came last has had time to connect.
    pub fn is_quiet(&self, now: Instant) -> bool {
        let waits = |member: &Member| member.is_pushed_to() && (member.unanswered > 0 || member.has_news());
        let settled = |join: u64| self.millis(now) >= join + SETTLING.as_millis() as u64;
        self.last_join.is_none_or(settled) && !self.members.iter().any(|(_, member)| waits(member))
    }

    /// Changes what clients may take. Who is a member stays one.
    pub fn set_limits(&mut self, limits: ShardLimits) {
        self.config.limits = limits;
    }

    /// Changes after how much silence a plain client is forgotten, for present members, too.
    pub fn set_plain_expiry(&mut self, expiry: Option<Duration>, now: Instant) {
        self.config.plain_expiry = expiry;
        let now = self.millis(now);
        let plain: Vec<_> =
            self.members.iter().filter(|(_, member)| !member.is_native()).map(|(at, _)| at).collect();
        for at in plain {
            self.rearm(now, at);
        }
    }

    /// Nobody could be heard until now: no one expires before there was time to hear them again.
    pub fn excuse_silence(&mut self, now: Instant) {
        self.grace = self.millis(now + self.config.heartbeat);
    }

    /// Does what a request that passed the gate asks for. Who is not a member yet is treated as `newcomers` says, which is asked only then.
    pub fn handle_request(
        &mut self,
        now: Instant,
        source: impl Into<Route>,
        request: &Request<'_>,
        newcomers: impl FnOnce() -> Newcomers,
    ) {
        let source = source.into();
        let now = self.millis(now);
        match request {
            Request::Register(register) if register.attributes.is_goodbye() => {
                let session = self.members.find_session(SessionKey::from(&register.lookup));
                let at = session.and_then(|session| self.member_by_peer(session, register.peer));
                self.leave(now, source, at, register.token, register.sequence);
            }
            Request::Register(register) => self.register(now, source, register, newcomers),
            Request::Presence(presence) => self.presence(now, source, presence),
            Request::Leave(leave) => {
                let at = Self::member_of(leave.handle);
                self.leave(now, source, Some(at), leave.token, leave.sequence);
            }
            Request::Plain { key, len } => self.plain(now, source, SessionKey::from(key), *len, newcomers),
            // Needs what no shard has: see `relay_parties`.
            Request::Relay(_) => {}
        }
    }

    fn leave(&mut self, now: u64, source: Route, at: Option<MemberIndex>, token: u64, sequence: u32) {
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
        let party = |member: &Member| Party { peer: member.peer, endpoint: self.members.remote(member) };
        let other = self.member_by_peer(us.session, request.peer).filter(|other| *other != at);
        let other = other.and_then(|at| self.members.get(at)).filter(|member| member.is_pushed_to());
        Some((self.members.session(us.session).instance, party(us), other.map(party)))
    }

    fn is_owner(&self, at: MemberIndex, source: &Route, token: u64) -> bool {
        self.members.get(at).is_some_and(|member| {
            member.is_pushed_to() && member.token == token.to_be_bytes() && self.members.is_at(member, source)
        })
    }

    fn refuse(&mut self, source: Route, register: &Register<'_>, reason: RefusedReason) {
        self.counters.refused += 1;
        self.outbox.write(source, |writer| Refused::write(writer, register.token, register.sequence, reason));
    }

    fn register(
        &mut self,
        now: u64,
        source: Route,
        register: &Register<'_>,
        newcomers: impl FnOnce() -> Newcomers,
    ) {
        let key = SessionKey::from(&register.lookup);
        let mut session = self.members.find_session(key);
        if session.is_some_and(|session| self.evict_older_life(now, session, &source, register)) {
            session = self.members.find_session(key);
        }
        let known = session.and_then(|session| self.member_by_peer(session, register.peer));
        // Who has proven the member's own endpoint may renew it under a new token; from elsewhere the token must fit.
        let taken = |member: &Member| {
            let is_token = member.is_native() && member.token == register.token.to_be_bytes();
            !is_token && !self.members.is_at(member, &source)
        };
        if known.and_then(|at| self.members.get(at)).is_some_and(taken) {
            return self.refuse(source, register, RefusedReason::PeerIdTaken);
        }
        let at = match known {
            Some(at) => {
                let comes = self.adopt(at);
                self.renew(now, at, source, register);
                if comes {
                    self.rearm(now, at);
                    self.share(at);
                }
                at
            }
            None => {
                let attributes = register.attributes.without_padding();
                if let Some(reason) = self.why_full(session, false, attributes.len()) {
                    return self.refuse(source, register, reason);
                }
                match newcomers() {
                    Newcomers::Welcome => {}
                    Newcomers::Refused => {
                        return self.refuse(source, register, RefusedReason::ServerFull);
                    }
                    Newcomers::Ignored => {
                        self.counters.shed += 1;
                        return;
                    }
                }
                self.counters.native_joined += 1;
                let (peer, token) = (register.peer, Some(register.token));
                let registration = Registration { peer, route: source, token, attributes, elsewhere: None };
                self.join(now, key, &registration)
            }
        };
        let Some(member) = self.members.get(at) else { return };
        let knows_instance = self.members.session(member.session).instance == register.instance;
        let from = if knows_instance { register.revision } else { 0 };
        self.send_blocks(now, at, from, Some(register.sequence));
    }

    pub(super) fn why_full(
        &self,
        session: Option<u32>,
        plain: bool,
        attributes: usize,
    ) -> Option<RefusedReason> {
        let limits = &self.config.limits;
        // Anyone can make plain registrations from forged addresses; half of the room is out of their reach.
        let plain_full = plain && self.plain_members >= limits.max_members / 2;
        let memory = self.members.memory() + self.members.cost(session.is_none(), attributes);
        if plain_full || self.members.len() >= limits.max_members || memory > limits.max_memory {
            return Some(RefusedReason::ServerFull);
        }
        let members = session.map_or(0, |session| self.members.session(session).members.as_slice().len());
        (members >= limits.max_members_per_session).then_some(RefusedReason::SessionFull)
    }

    pub(super) fn member_by_peer(&self, session: u32, peer: PeerId) -> Option<MemberIndex> {
        self.members.of_session(session).find(|(_, member)| member.peer == peer).map(|(at, _)| at)
    }

    pub(super) fn member_at(&self, session: u32, remote: &Route) -> Option<MemberIndex> {
        let is_there = |member: &Member| self.members.is_at(member, remote);
        self.members.of_session(session).find(|(_, member)| is_there(member)).map(|(at, _)| at)
    }

    /// Another member at this endpoint, which has just been proven, is an older life of this client's socket. Whether there was one.
    fn evict_older_life(&mut self, now: u64, session: u32, source: &Route, register: &Register<'_>) -> bool {
        let is_older = |(_, member): &(MemberIndex, &Member)| {
            member.peer != register.peer && self.members.is_at(member, source)
        };
        let older = self.members.of_session(session).find(is_older).map(|(at, _)| at);
        if let Some(at) = older {
            self.counters.left += 1;
            self.remove(now, at, LeaveReason::Goodbye);
        }
        older.is_some()
    }

    pub(super) fn join(&mut self, now: u64, key: SessionKey, registration: &Registration<'_>) -> MemberIndex {
        let at = self.members.insert(key, registration);
        self.note_arrival(at);
        self.last_join = Some(now);
        self.share(at);
        if let Some(member) = self.members.get_mut(at) {
            (member.last_seen, member.pushed) = (now as u32, now as u32);
        }
        self.rearm(now, at);
        self.push_to_others(now, at);
        at
    }

    /// Counts a member that is registered here from now on.
    pub(super) fn note_arrival(&mut self, at: MemberIndex) {
        let Some(member) = self.members.get(at) else { return };
        self.plain_members += usize::from(!member.is_native());
        self.movements.push(Movement::Came(self.members.remote(member).ip()));
    }

    /// Counts a member no longer that is not registered here any more; it has no timer, either.
    pub(super) fn note_departure(&mut self, at: MemberIndex) {
        let Some(member) = self.members.get(at) else { return };
        self.plain_members -= usize::from(!member.is_native());
        self.movements.push(Movement::Went(self.members.remote(member).ip()));
        self.timers.disarm(at);
    }

    fn renew(&mut self, now: u64, at: MemberIndex, source: Route, register: &Register<'_>) {
        let Some(member) = self.members.get_mut(at) else { return };
        member.last_seen = now as u32;
        let token = register.token.to_be_bytes();
        let is_news = std::mem::replace(&mut member.token, token) != token;
        let Some(before) = self.members.get(at).map(|member| self.members.remote(member)) else { return };
        if self.members.renew(at, &source, register.attributes.without_padding()) {
            self.members.touch_revision(at);
            if before.ip() != source.remote.ip() {
                self.movements.extend([Movement::Went(before.ip()), Movement::Came(source.remote.ip())]);
            }
            self.push_to_others(now, at);
            self.share(at);
        } else if is_news {
            self.share(at);
        }
    }

    fn presence(&mut self, now: u64, source: Route, presence: &Presence) {
        let at = Self::member_of(presence.handle);
        let unknown = |writer: &mut Writer<'_>| {
            Refused::write(writer, presence.token, presence.sequence, RefusedReason::UnknownRegistration);
        };
        if !self.is_owner(at, &source, presence.token) {
            self.counters.unknown += 1;
            return self.outbox.write(source, unknown);
        }
        let Some(session) = self.members.get(at).map(|member| self.members.session(member.session)) else {
            return;
        };
        let (instance, latest) = (session.instance, session.revision);
        if presence.instance == instance && presence.revision > latest {
            // It was told of changes that never were; from a fresh registration on it knows better.
            return self.outbox.write(source, unknown);
        }
        let mut more = false;
        if let Some(member) = self.members.get_mut(at) {
            member.last_seen = now as u32;
            if presence.instance == instance && presence.revision >= member.acknowledged {
                if member.unanswered == 1 {
                    let rtt = (now as u32).wrapping_sub(member.pushed);
                    member.rtt_or_credit = u16::try_from(rtt).unwrap_or(u16::MAX);
                }
                more = presence.revision > member.acknowledged && presence.revision != latest;
                if presence.revision == latest || more {
                    member.unanswered = 0;
                }
                member.acknowledged = presence.revision;
            }
        }
        if presence.wants_reply {
            let ack = PresenceAck { token: presence.token, sequence: presence.sequence };
            self.outbox.write(source, |writer| ack.write(writer));
        }
        if more {
            self.push(now, at);
        }
    }

    pub(super) fn remove(&mut self, now: u64, at: MemberIndex, reason: LeaveReason) {
        let Some(member) = self.members.get(at).cloned() else { return };
        if member.is_elsewhere() {
            self.elsewhere -= 1;
        } else {
            self.share_removal(&member, reason);
            self.note_departure(at);
        }
        if let Some(session) = self.members.remove(at, reason) {
            self.push_to_session(now, session, None);
            self.end_if_deserted(session);
        }
        if self.members.len() == 0 {
            self.timers.shrink();
        }
    }

    /// Does what is due at `now`, or some of it where it is much: then [`Self::poll_timeout`] asks for another call at once.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.millis(now);
        for _ in 0..TIMERS_AT_ONCE {
            let Some(at) = self.timers.pop(now) else { return };
            let Some(member) = self.members.get_mut(at) else { continue };
            let silence = (now as u32).wrapping_sub(member.last_seen);
            if silence > LONGEST_SILENCE {
                member.last_seen = (now as u32).wrapping_sub(LONGEST_SILENCE);
            }
            let due = self.expiry_of(now, at);
            if due.is_some_and(|due| due <= now) {
                self.counters.expired += 1;
                self.remove(now, at, LeaveReason::Expired);
                continue;
            }
            if self.members.get(at).is_some_and(Member::is_native) {
                self.push_what_is_due(now, at);
            } else {
                self.keep_alive(now, at);
            }
            self.rearm(now, at);
        }
    }

    /// When a member expires, if it ever does.
    fn expiry_of(&self, now: u64, at: MemberIndex) -> Option<u64> {
        let member = self.members.get(at)?;
        let expiry = if member.is_native() { Some(self.config.expiry) } else { self.config.plain_expiry };
        let expiry = expiry.filter(|expiry| expiry.as_millis() < u128::from(LONGEST_SILENCE))?;
        let silence = u64::from((now as u32).wrapping_sub(member.last_seen));
        Some((now + expiry.as_millis() as u64).saturating_sub(silence).max(self.grace))
    }

    /// Arms a member's timer for the earliest of what it waits for.
    pub(super) fn rearm(&mut self, now: u64, at: MemberIndex) {
        let Some(member) = self.members.get(at).filter(|member| !member.is_elsewhere()) else { return };
        let other = if member.is_native() {
            // What waits for its turn has armed the timer.
            if member.has_news() {
                return;
            }
            self.push_due(now, member)
        } else {
            let since = u64::from((now as u32).wrapping_sub(member.pushed));
            Some((now + self.config.plain_keep_alive.as_millis() as u64).saturating_sub(since))
        };
        if let Some(due) = [self.expiry_of(now, at), other].into_iter().flatten().min() {
            self.timers.arm(at, due);
        }
    }

    /// The next change of who is registered from where; to be asked for after every call that takes `&mut self`.
    pub fn take_movements(&mut self) -> impl Iterator<Item = Movement> {
        self.movements.drain(..)
    }

    /// The next datagram to send; to be asked for after every call that takes `&mut self`.
    #[must_use]
    pub fn poll_transmit(&mut self) -> Option<(Route, &[u8])> {
        let (destination, at, len) = self.outbox.queue.pop_front()?;
        Some((destination, &self.outbox.bytes[at..at + len]))
    }

    /// When to call `handle_timeout`, or a little before that is of use; to be asked for after every call that takes `&mut self`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next().map(|due| self.epoch + Duration::from_millis(due))
    }
}

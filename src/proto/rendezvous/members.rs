//! What a shard keeps: sessions, their members, and who left lately. A registration costs little memory, since there are many.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use ahash::RandomState;
use hashbrown::HashTable;

use super::blobs::Blobs;
use super::chunks::Chunks;
use super::session::{Session, SessionKey};
use super::wheel::Wheel;
use crate::proto::wire::{Attributes, Entry, LeaveReason, UpdateBuilder, codec::Writer};
use crate::proto::{PeerDialect, PeerId, Rng, Route, Transport};

/// Names a member as long as it lives.
pub type MemberIndex = u32;

/// Ends the list of free places.
const NO_PLACE: u32 = u32::MAX;
/// Most different addresses of our own, and scopes of link-local ones, that are told apart.
const MAX_LOCALS: usize = 256;

/// Places of members that are worth to be given back.
const WORTH_SHRINKING: usize = 1 << 10;

/// The place is a member's.
const OCCUPIED: u8 = 1;
/// Registered in the native dialect: the server pushes to it.
const NATIVE: u8 = 2;
/// Registered over TCP.
const STREAM: u8 = 4;
/// Its address is an IPv6 one, which stands before its attributes.
const IPV6: u8 = 8;
/// There is something to push to it, which waits for its turn.
const NEWS: u8 = 16;
/// Registered with another server, which pushes to it.
const ELSEWHERE: u8 = 32;

/// One registration, as small as can be: exactly one line of a processor's cache.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct Member {
    /// Its name among its peers.
    pub peer: PeerId,
    /// Known to this client and the server only. Plain clients have none.
    pub token: [u8; 8],
    /// Its session; the next free place if there is no member here.
    pub session: u32,
    /// The session's revision at which this member joined or changed last.
    pub revision: u32,
    /// It has all changes up to here.
    pub acknowledged: u32,
    /// When it was last heard, in milliseconds.
    pub last_seen: u32,
    /// When the last push left, in milliseconds.
    pub pushed: u32,
    /// Where its attributes are.
    blob: u32,
    ipv4: [u8; 4],
    port: u16,
    attributes_len: u16,
    /// Which of our addresses it talks to.
    local: u16,
    /// Of a native member: how long an acknowledgement took lately, in milliseconds. Of a plain one: how many bytes it may be sent.
    pub rtt_or_credit: u16,
    /// Unacknowledged pushes in a row.
    pub unanswered: u8,
    flags: u8,
}

const _: () = assert!(size_of::<Member>() == 64, "a member takes one line of a processor's cache");

/// What a registration says.
#[derive(Clone, Copy, Debug)]
pub struct Registration<'a> {
    /// Its name among its peers.
    pub peer: PeerId,
    /// The way to it.
    pub route: Route,
    /// `None` for a plain client, which polls.
    pub token: Option<u64>,
    /// What it says of itself.
    pub attributes: &'a [u8],
    /// With which other server it is registered.
    pub elsewhere: Option<u64>,
}

impl Member {
    const FREE: Self = Self {
        peer: PeerId::UNKNOWN,
        token: [0; 8],
        session: NO_PLACE,
        revision: 0,
        acknowledged: 0,
        last_seen: 0,
        pushed: 0,
        blob: 0,
        ipv4: [0; 4],
        port: 0,
        attributes_len: 0,
        local: 0,
        rtt_or_credit: 0,
        unanswered: 0,
        flags: 0,
    };

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn set(&mut self, flag: u8, on: bool) {
        self.flags = if on { self.flags | flag } else { self.flags & !flag };
    }

    /// Whether it is registered in the native dialect.
    pub fn is_native(&self) -> bool {
        self.has(NATIVE)
    }

    /// Whether it is registered with this server, in the native dialect: it is pushed to.
    pub fn is_pushed_to(&self) -> bool {
        self.flags & (NATIVE | ELSEWHERE) == NATIVE
    }

    /// Whether it is registered with another server.
    pub fn is_elsewhere(&self) -> bool {
        self.has(ELSEWHERE)
    }

    /// With which other server, where it is not ours.
    pub fn server(&self) -> Option<u64> {
        self.is_elsewhere().then(|| u64::from(self.last_seen) << 32 | u64::from(self.pushed))
    }

    /// For how many milliseconds the store has lacked this member, which is registered elsewhere, given whether it has it now.
    pub fn missed_for(&mut self, now: u32, is_stored: bool) -> u32 {
        // There is nothing else to count of a member that is pushed to by others.
        let was_missed = std::mem::replace(&mut self.unanswered, u8::from(!is_stored)) > 0;
        if !was_missed {
            self.acknowledged = now;
        }
        now.wrapping_sub(self.acknowledged)
    }

    /// Over which transport it is registered.
    pub fn transport(&self) -> Transport {
        if self.has(STREAM) { Transport::Tcp } else { Transport::Udp }
    }

    /// Whether something to push waits for its turn.
    pub fn has_news(&self) -> bool {
        self.has(NEWS)
    }

    /// Notes whether something to push waits for its turn.
    pub fn set_news(&mut self, waits: bool) {
        self.set(NEWS, waits);
    }

    fn blob_len(&self) -> usize {
        usize::from(self.attributes_len) + if self.has(IPV6) { 16 } else { 0 }
    }
}

/// The members and sessions of one shard.
#[derive(Debug)]
pub struct Members {
    by_key: HashTable<u32>,
    hasher: RandomState,
    sessions: Chunks<Session>,
    free_sessions: Vec<u32>,
    members: Chunks<Member>,
    first_free: u32,
    count: usize,
    blobs: Blobs,
    /// What members' `local` stands for: an address of ours, and the scope of the member's.
    locals: Vec<(Option<IpAddr>, u32)>,
    /// Bytes that sessions take beside their own places.
    spilled: usize,
    rng: Rng,
}

impl Members {
    /// Keeps nothing yet. The lookup keys are chosen by clients, so the table is keyed from `rng`.
    pub fn new(mut rng: Rng) -> Self {
        let hasher = RandomState::with_seeds(rng.u64(), rng.u64(), rng.u64(), rng.u64());
        Self {
            by_key: HashTable::new(),
            hasher,
            sessions: Chunks::default(),
            free_sessions: Vec::new(),
            members: Chunks::default(),
            first_free: NO_PLACE,
            count: 0,
            blobs: Blobs::default(),
            locals: vec![(None, 0)],
            spilled: 0,
            rng,
        }
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// How many sessions there are.
    pub fn session_count(&self) -> usize {
        self.by_key.len()
    }

    /// Bytes that all of this takes.
    pub fn memory(&self) -> usize {
        self.members.len() * (size_of::<Member>() + Wheel::ENTRY_BYTES)
            + self.sessions.len() * size_of::<Session>()
            + self.free_sessions.capacity() * size_of::<u32>()
            + self.by_key.allocation_size()
            + self.blobs.bytes()
            + self.spilled
    }

    /// Bytes that one more member would take, at most.
    pub fn cost(&self, new_session: bool, attributes: usize) -> usize {
        let member = if self.first_free == NO_PLACE { size_of::<Member>() + Wheel::ENTRY_BYTES } else { 0 };
        let session = if new_session && self.free_sessions.is_empty() { size_of::<Session>() } else { 0 };
        member + session + Blobs::cost(attributes + 16)
    }

    /// The session's place, if there is one.
    pub fn find_session(&self, key: SessionKey) -> Option<u32> {
        let is_same = |index: &u32| self.sessions[*index as usize].key == key;
        self.by_key.find(self.hasher.hash_one(key), is_same).copied()
    }

    /// The session at `index`, which has at least one member.
    pub fn session(&self, index: u32) -> &Session {
        &self.sessions[index as usize]
    }

    /// The session at `index`, to be changed.
    pub fn session_mut(&mut self, index: u32) -> &mut Session {
        &mut self.sessions[index as usize]
    }

    /// The member, if there is one.
    pub fn get(&self, at: MemberIndex) -> Option<&Member> {
        self.members.get(at as usize).filter(|member| member.has(OCCUPIED))
    }

    /// The member, if there is one, to be changed.
    pub fn get_mut(&mut self, at: MemberIndex) -> Option<&mut Member> {
        self.members.get_mut(at as usize).filter(|member| member.has(OCCUPIED))
    }

    /// All members with their names.
    pub fn iter(&self) -> impl Iterator<Item = (MemberIndex, &Member)> {
        (0..).zip(self.members.iter()).filter(|(_, member)| member.has(OCCUPIED))
    }

    /// The members of a session with their names, in the order in which they joined or changed.
    pub fn of_session(&self, session: u32) -> impl Iterator<Item = (MemberIndex, &Member)> {
        let members = self.session(session).members.as_slice();
        members.iter().map(|index| (*index, &self.members[*index as usize]))
    }

    /// What a member says of itself.
    pub fn attributes(&self, member: &Member) -> &[u8] {
        let blob = self.blobs.get(member.blob, member.blob_len());
        &blob[blob.len() - usize::from(member.attributes_len)..]
    }

    /// Where a member is.
    pub fn remote(&self, member: &Member) -> SocketAddr {
        if !member.has(IPV6) {
            return (member.ipv4, member.port).into();
        }
        let blob = self.blobs.get(member.blob, member.blob_len());
        let octets: [u8; 16] =
            blob[..16].try_into().expect("an IPv6 member's string begins with its address");
        let (_, scope) = self.locals[usize::from(member.local)];
        SocketAddrV6::new(Ipv6Addr::from(octets), member.port, 0, scope).into()
    }

    /// The way to a member.
    pub fn route(&self, member: &Member) -> Route {
        let (local, _) = self.locals[usize::from(member.local)];
        Route { remote: self.remote(member), local, transport: member.transport() }
    }

    /// Whether a member is where that way leads, whichever of our addresses it talks to.
    pub fn is_at(&self, member: &Member, route: &Route) -> bool {
        let is_there = match route.remote {
            SocketAddr::V4(v4) => !member.has(IPV6) && member.ipv4 == v4.ip().octets(),
            SocketAddr::V6(_) => member.has(IPV6) && self.remote(member) == route.remote,
        };
        is_there && member.port == route.remote.port() && member.transport() == route.transport
    }

    fn local_number(&mut self, route: &Route) -> u16 {
        let scope = match route.remote {
            SocketAddr::V6(v6) => v6.scope_id(),
            SocketAddr::V4(_) => 0,
        };
        let local = (route.local, scope);
        if let Some(known) = self.locals.iter().position(|known| *known == local) {
            return known as u16;
        }
        if self.locals.len() >= MAX_LOCALS {
            return 0;
        }
        self.locals.push(local);
        self.locals.len() as u16 - 1
    }

    /// Adds a member, and the session if it is the first; the change gets the session's next revision.
    pub fn insert(&mut self, key: SessionKey, registration: &Registration<'_>) -> MemberIndex {
        let session = self.find_session(key).unwrap_or_else(|| self.insert_session(key));
        let at = match self.first_free {
            NO_PLACE => {
                self.members.push(Member::FREE);
                self.members.len() as u32 - 1
            }
            free => {
                self.first_free = self.members[free as usize].session;
                free
            }
        };
        self.count += 1;
        let member = &mut self.members[at as usize];
        *member = Member { peer: registration.peer, session, flags: OCCUPIED, ..Member::FREE };
        member.set(NATIVE, registration.token.is_some());
        member.token = registration.token.unwrap_or_default().to_be_bytes();
        if registration.elsewhere.is_some() {
            self.mark_elsewhere(at, registration);
        }
        self.write_contact(at, &registration.route, registration.attributes);
        let revision = self.session_mut(session).next_revision();
        self.members[at as usize].revision = revision;
        let members = &mut self.sessions[session as usize].members;
        let before = members.spilled_bytes();
        members.push(at);
        self.spilled = self.spilled + members.spilled_bytes() - before;
        at
    }

    /// Notes with which other server a member is registered, and how.
    pub fn mark_elsewhere(&mut self, at: MemberIndex, registration: &Registration<'_>) {
        let Some(member) = self.get_mut(at) else { return };
        let server = registration.elsewhere.unwrap_or_default();
        member.set(ELSEWHERE, true);
        member.set(NEWS, false);
        member.set(NATIVE, registration.token.is_some());
        member.token = registration.token.unwrap_or_default().to_be_bytes();
        (member.last_seen, member.pushed) = ((server >> 32) as u32, server as u32);
        member.unanswered = 0;
    }

    /// Notes that a member is registered with us.
    pub fn mark_ours(&mut self, at: MemberIndex) {
        let Some(member) = self.get_mut(at) else { return };
        member.set(ELSEWHERE, false);
        (member.last_seen, member.pushed) = (0, 0);
        (member.acknowledged, member.rtt_or_credit, member.unanswered) = (0, 0, 0);
    }

    /// All sessions.
    pub fn session_keys(&self) -> impl Iterator<Item = SessionKey> {
        self.by_key.iter().map(|index| self.sessions[*index as usize].key)
    }

    fn insert_session(&mut self, key: SessionKey) -> u32 {
        let session = Session::new(key, self.rng.u32().max(1));
        let index = match self.free_sessions.pop() {
            Some(free) => {
                self.sessions[free as usize] = session;
                free
            }
            None => {
                self.sessions.push(session);
                self.sessions.len() as u32 - 1
            }
        };
        let (sessions, hasher) = (&self.sessions, &self.hasher);
        let hash = |index: &u32| hasher.hash_one(sessions[*index as usize].key);
        self.by_key.insert_unique(hasher.hash_one(key), index, hash);
        index
    }

    fn write_contact(&mut self, at: MemberIndex, route: &Route, attributes: &[u8]) {
        let local = self.local_number(route);
        let member = &mut self.members[at as usize];
        member.local = local;
        member.port = route.remote.port();
        member.set(STREAM, route.transport == Transport::Tcp);
        member.set(IPV6, route.remote.is_ipv6());
        member.attributes_len = attributes.len() as u16;
        let octets = match route.remote.ip() {
            IpAddr::V4(v4) => {
                member.ipv4 = v4.octets();
                None
            }
            IpAddr::V6(v6) => Some(v6.octets()),
        };
        member.blob = self.blobs.insert(at, [octets.as_ref().map_or(&[], |octets| &octets[..]), attributes]);
    }

    fn forget_contact(&mut self, at: MemberIndex) {
        let member = &self.members[at as usize];
        let place = member.blob;
        if let Some(moved) = self.blobs.remove(place, member.blob_len()) {
            self.members[moved as usize].blob = place;
        }
    }

    /// Writes anew where a member is and what it says of itself; whether others have something to hear of that, which
    /// [`Self::touch_revision`] then notes.
    pub fn renew(&mut self, at: MemberIndex, route: &Route, attributes: &[u8]) -> bool {
        let Some(member) = self.get(at) else { return false };
        let news = !self.is_at(member, route) || self.attributes(member) != attributes;
        if news {
            self.forget_contact(at);
            self.write_contact(at, route, attributes);
        } else {
            self.set_local(at, route);
        }
        news
    }

    /// Notes which of our addresses a member talks to now.
    pub fn set_local(&mut self, at: MemberIndex, route: &Route) {
        let local = usize::from(self.members[at as usize].local);
        if self.locals[local].0 != route.local {
            self.members[at as usize].local = self.local_number(route);
        }
    }

    /// Gives a member that changed the session's next revision.
    pub fn touch_revision(&mut self, at: MemberIndex) {
        let Some(session) = self.get(at).map(|member| member.session) else { return };
        let revision = self.session_mut(session).next_revision();
        self.session_mut(session).members.move_to_end(at);
        self.members[at as usize].revision = revision;
    }

    /// Removes a member, and the session with its last one; returns the session's place if it lives on.
    pub fn remove(&mut self, at: MemberIndex, reason: LeaveReason) -> Option<u32> {
        let member = self.get(at)?;
        let (index, peer) = (member.session, member.peer);
        self.forget_contact(at);
        self.members[at as usize] = Member { session: self.first_free, ..Member::FREE };
        self.first_free = at;
        self.count -= 1;

        let session = &mut self.sessions[index as usize];
        let before = session.spilled_bytes();
        session.members.remove(at);
        if session.members.as_slice().is_empty() {
            self.spilled -= before;
            let hash = self.hasher.hash_one(session.key);
            if let Ok(found) = self.by_key.find_entry(hash, |other| *other == index) {
                found.remove();
            }
            self.sessions[index as usize] = Session::new(SessionKey::default(), 1);
            self.free_sessions.push(index);
            self.shrink();
            return None;
        }
        let revision = session.next_revision();
        session.bury(revision, peer, reason);
        self.spilled = self.spilled + session.spilled_bytes() - before;
        Some(index)
    }

    /// Gives back what many have taken, once they are all gone.
    fn shrink(&mut self) {
        if self.count > 0 || self.members.len() < WORTH_SHRINKING {
            return;
        }
        (self.members, self.first_free) = (Chunks::default(), NO_PLACE);
        (self.sessions, self.free_sessions) = (Chunks::default(), Vec::new());
        self.by_key = HashTable::new();
    }

    fn entry<'a>(&'a self, member: &Member) -> Entry<'a> {
        Entry::Joined {
            peer: member.peer,
            dialect: if member.is_native() { PeerDialect::Native } else { PeerDialect::Plain },
            reflexive: self.remote(member),
            transport: member.transport(),
            attributes: Attributes::checked_before(self.attributes(member)),
        }
    }

    /// Writes what changed since `from` for the member `reader`, as much as fits; returns up to where that reaches.
    pub fn write_block(&self, writer: &mut Writer<'_>, session: u32, reader: MemberIndex, from: u32) -> u32 {
        let session = self.session(session);
        let from = if from < session.floor() || from > session.revision { 0 } else { from };
        let mut block = UpdateBuilder::block(writer, session.instance, from, session.revision);
        let members = session.members.as_slice();
        let first = members.partition_point(|index| self.members[*index as usize].revision <= from);
        let mut joined = members[first..].iter().copied().peekable();
        // A snapshot says who is there; who is not needs no mention.
        let mut left = session.tombstones_since(if from == 0 { u32::MAX } else { from }).peekable();
        let mut to = from;
        loop {
            let join = joined.peek().map(|index| self.members[*index as usize].revision);
            let leave = left.peek().map(|(revision, ..)| *revision);
            let (revision, fits) = match (join, leave) {
                (Some(join), leave) if leave.is_none_or(|leave| join < leave) => {
                    let index = joined.next().expect("peeked");
                    let entry = self.entry(&self.members[index as usize]);
                    (join, index == reader || block.push(&entry))
                }
                (_, Some(leave)) => {
                    let (_, peer, reason) = *left.next().expect("peeked");
                    (leave, block.push(&Entry::Left { peer, reason: Some(reason) }))
                }
                _ => {
                    to = session.revision;
                    break;
                }
            };
            if !fits {
                break;
            }
            to = revision;
        }
        block.finish(to);
        to
    }
}

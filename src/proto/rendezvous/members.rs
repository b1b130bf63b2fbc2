//! What a shard keeps: sessions, their members, and who left lately.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use ahash::RandomState;

use crate::proto::wire::{Attributes, Entry, LeaveReason, UpdateBuilder, codec::Writer};
use crate::proto::{LookupKey, PeerDialect, PeerId, Rng, Route};

/// Who left lately, per session; a client that missed more is sent a snapshot instead.
const MAX_TOMBSTONES: usize = 64;

/// Names a member as long as it lives; a later member in the same place has another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemberRef {
    pub index: u32,
    pub generation: u32,
}

/// How updates reach a native member.
#[derive(Clone, Copy, Debug)]
pub struct Push {
    /// Known to this client and us only.
    pub token: u64,
    /// It has all changes up to here.
    pub acknowledged: u32,
    /// Unacknowledged pushes in a row.
    pub unanswered: u8,
    /// When the retransmission timer ends, if it runs.
    pub timer: Option<Instant>,
    /// When the last push left.
    pub sent: Instant,
    /// How long an acknowledgement took lately, in milliseconds.
    pub rtt_ms: u16,
}

/// One registration.
#[derive(Debug)]
pub struct Member {
    pub session: u32,
    pub peer: PeerId,
    /// The way to the member, whose endpoint is part of it.
    pub route: Route,
    /// `None` for a plain client, which polls.
    pub push: Option<Push>,
    pub attributes: Box<[u8]>,
    /// The session's revision at which this member joined or changed last.
    pub revision: u32,
    pub last_seen: Instant,
}

impl Member {
    fn entry(&self) -> Entry<'_> {
        Entry::Joined {
            peer: self.peer,
            dialect: if self.push.is_some() { PeerDialect::Native } else { PeerDialect::Plain },
            reflexive: self.route.remote,
            transport: self.route.transport,
            attributes: Attributes::parse(&self.attributes).unwrap_or(Attributes::NONE),
        }
    }
}

/// All members under one lookup key.
#[derive(Debug)]
pub struct Session {
    key: LookupKey,
    /// Random, so that a client notices that the server has forgotten what it knew.
    pub instance: u32,
    /// Number of the latest change.
    pub revision: u32,
    /// Tombstones up to here are gone.
    floor: u32,
    /// In the order of their `revision`.
    pub members: Vec<u32>,
    tombstones: VecDeque<(u32, PeerId, LeaveReason)>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

#[derive(Debug)]
struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    fn insert(&mut self, value: T) -> MemberRef {
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.value = Some(value);
            return MemberRef { index, generation: slot.generation };
        }
        self.slots.push(Slot { generation: 0, value: Some(value) });
        MemberRef { index: self.slots.len() as u32 - 1, generation: 0 }
    }

    fn remove(&mut self, index: u32) -> Option<T> {
        let slot = self.slots.get_mut(index as usize)?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1) & GENERATION_MASK;
        self.free.push(index);
        Some(value)
    }

    fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

/// Generations share a handle's 64 bits with the shard's number and the index.
const GENERATION_MASK: u32 = 0x00FF_FFFF;

/// The members and sessions of one shard.
#[derive(Debug)]
pub struct Members {
    by_key: HashMap<LookupKey, u32, RandomState>,
    sessions: Slab<Session>,
    members: Slab<Member>,
    rng: Rng,
}

impl Members {
    /// Keeps nothing yet. The lookup keys are chosen by clients, so the table is keyed from `rng`.
    pub fn new(mut rng: Rng) -> Self {
        let hasher = RandomState::with_seeds(rng.u64(), rng.u64(), rng.u64(), rng.u64());
        Self {
            by_key: HashMap::with_hasher(hasher),
            sessions: Slab { slots: Vec::new(), free: Vec::new() },
            members: Slab { slots: Vec::new(), free: Vec::new() },
            rng,
        }
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// How many sessions there are.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// The session's place, if there is one.
    pub fn find_session(&self, key: &LookupKey) -> Option<u32> {
        self.by_key.get(key).copied()
    }

    /// The session at `index`, which has at least one member.
    pub fn session(&self, index: u32) -> &Session {
        self.sessions.slots[index as usize]
            .value
            .as_ref()
            .expect("a member's session exists as long as the member")
    }

    fn session_mut(&mut self, index: u32) -> &mut Session {
        self.sessions.slots[index as usize]
            .value
            .as_mut()
            .expect("a member's session exists as long as the member")
    }

    /// The member, if it is still the same one.
    pub fn get(&self, at: MemberRef) -> Option<&Member> {
        let slot = self.members.slots.get(at.index as usize)?;
        slot.value.as_ref().filter(|_| slot.generation == at.generation)
    }

    /// The member, if it is still the same one, to be changed.
    pub fn get_mut(&mut self, at: MemberRef) -> Option<&mut Member> {
        let slot = self.members.slots.get_mut(at.index as usize)?;
        let generation = slot.generation;
        slot.value.as_mut().filter(|_| generation == at.generation)
    }

    /// All members with their names.
    pub fn iter(&self) -> impl Iterator<Item = (MemberRef, &Member)> {
        self.members.slots.iter().enumerate().filter_map(|(index, slot)| {
            let at = MemberRef { index: index as u32, generation: slot.generation };
            slot.value.as_ref().map(|member| (at, member))
        })
    }

    /// The members of a session with their names, in the order in which they joined or changed.
    pub fn of_session(&self, session: u32) -> impl Iterator<Item = (MemberRef, &Member)> {
        self.session(session).members.iter().map(|index| {
            let slot = &self.members.slots[*index as usize];
            let member = slot.value.as_ref().expect("a session lists live members only");
            (MemberRef { index: *index, generation: slot.generation }, member)
        })
    }

    /// Adds a member, and the session if it is the first; the change gets the session's next revision.
    pub fn insert(&mut self, key: LookupKey, mut member: Member) -> MemberRef {
        let session = match self.by_key.get(&key) {
            Some(session) => *session,
            None => {
                let instance = self.rng.u32().max(1);
                let session = Session {
                    key,
                    instance,
                    revision: 0,
                    floor: 0,
                    members: Vec::new(),
                    tombstones: VecDeque::new(),
                };
                let index = self.sessions.insert(session).index;
                self.by_key.insert(key, index);
                index
            }
        };
        let revision = self.next_revision(session);
        member.session = session;
        member.revision = revision;
        let at = self.members.insert(member);
        self.session_mut(session).members.push(at.index);
        at
    }

    fn next_revision(&mut self, session: u32) -> u32 {
        let session = self.session_mut(session);
        session.revision += 1;
        session.revision
    }

    /// Gives a member that changed the session's next revision.
    pub fn touch_revision(&mut self, at: MemberRef) {
        let Some(session) = self.get(at).map(|member| member.session) else { return };
        let revision = self.next_revision(session);
        let members = &mut self.session_mut(session).members;
        members.retain(|index| *index != at.index);
        members.push(at.index);
        self.get_mut(at).expect("looked up above").revision = revision;
    }

    /// Removes a member, and the session with its last one; returns the session's place if it lives on.
    pub fn remove(&mut self, at: MemberRef, reason: LeaveReason) -> Option<u32> {
        self.get(at)?;
        let member = self.members.remove(at.index)?;
        let index = member.session;
        let revision = self.next_revision(index);
        let session = self.session_mut(index);
        session.members.retain(|other| *other != at.index);
        if session.members.is_empty() {
            let key = session.key;
            self.by_key.remove(&key);
            self.sessions.remove(index);
            return None;
        }
        if session.tombstones.len() == MAX_TOMBSTONES
            && let Some((oldest, ..)) = session.tombstones.pop_front()
        {
            session.floor = oldest;
        }
        session.tombstones.push_back((revision, member.peer, reason));
        Some(index)
    }

    /// Writes what changed since `from` for the member `reader`, as much as fits; returns up to where that reaches.
    pub fn write_block(&self, writer: &mut Writer<'_>, session: u32, reader: MemberRef, from: u32) -> u32 {
        let session = self.session(session);
        let from = if from < session.floor || from > session.revision { 0 } else { from };
        let mut block = UpdateBuilder::block(writer, session.instance, from, session.revision);

        let first = session.members.partition_point(|index| self.revision_of(*index) <= from);
        let mut joined = session.members[first..].iter().copied().peekable();
        // A snapshot says who is there; who is not needs no mention.
        let first = if from == 0 {
            session.tombstones.len()
        } else {
            session.tombstones.partition_point(|(revision, ..)| *revision <= from)
        };
        let mut left = session.tombstones.range(first..).peekable();
        let mut to = from;
        loop {
            let join = joined.peek().map(|index| self.revision_of(*index));
            let leave = left.peek().map(|(revision, ..)| *revision);
            let (revision, fits) = match (join, leave) {
                (Some(join), leave) if leave.is_none_or(|leave| join < leave) => {
                    let index = joined.next().expect("peeked");
                    let member =
                        self.members.slots[index as usize].value.as_ref().expect("listed members live");
                    (join, index == reader.index || block.push(&member.entry()))
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

    fn revision_of(&self, index: u32) -> u32 {
        self.members.slots[index as usize].value.as_ref().map_or(0, |member| member.revision)
    }
}

//! Who has just asked to be registered and has not proven its endpoint yet: a few, for a moment, so that those who come
//! together hear of each other a round trip earlier.
//!
//! Anyone can forge such a request. So nothing else rests on it, an older one gives way to a newer one, and nobody is
//! sent more bytes than were sent in its name.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::gate::EarlyRegister;
use super::session::SessionKey;
use super::shard::Shard;
use crate::proto::wire::Hint;
use crate::proto::wire::codec::Writer;
use crate::proto::wire::hint::MAX_HINTS;
use crate::proto::{LookupKey, PeerId, Route, Transport};

/// How many are remembered in one shard.
pub const MAX_EARLY: usize = 64;
/// For how long.
const EARLY_LIFE: Duration = Duration::from_secs(1);
/// How often members are told of the same one: it repeats itself until it is answered.
const MAX_TOLD: u8 = 3;

/// One who has asked.
#[derive(Debug)]
pub(super) struct Early {
    pub token: u64,
    lookup: LookupKey,
    pub peer: PeerId,
    pub route: Route,
    asked: Instant,
    /// By how many bytes more was sent from there than to there.
    credit: usize,
    told: u8,
}

impl Early {
    /// What others are told.
    pub fn hint(&self) -> Hint {
        Hint { peer: self.peer, endpoint: self.route.remote }
    }

    /// Whether so many bytes may be sent there, which they then count as.
    pub fn spend(&mut self, bytes: usize) -> bool {
        let enough = self.credit >= bytes;
        self.credit -= if enough { bytes } else { 0 };
        enough
    }

    /// Whether members are to be told of it (again).
    pub fn tell(&mut self) -> bool {
        self.told = self.told.saturating_add(1);
        self.told <= MAX_TOLD
    }
}

/// Those who have asked of late.
#[derive(Debug, Default)]
pub(super) struct EarlyList {
    list: VecDeque<Early>,
}

impl EarlyList {
    /// Notes a request, and returns who sent it and the others of the session.
    pub fn note(
        &mut self,
        now: Instant,
        route: Route,
        register: &EarlyRegister,
    ) -> Option<(&mut Early, impl Iterator<Item = &mut Early>)> {
        while self.list.front().is_some_and(|early| now.saturating_duration_since(early.asked) > EARLY_LIFE) {
            self.list.pop_front();
        }
        let (lookup, peer, token) = (register.lookup, register.peer, register.token);
        let same = |early: &Early| {
            (early.lookup, early.peer, early.route.remote) == (lookup, peer, route.remote)
                && early.token == token
        };
        let mut early = match self.list.iter().position(same) {
            Some(known) => self.list.remove(known)?,
            None => Early { token, lookup, peer, route, asked: now, credit: 0, told: 0 },
        };
        early.asked = now;
        early.credit += register.room;
        if self.list.len() >= MAX_EARLY {
            self.list.pop_front();
        }
        self.list.push_back(early);
        let (this, others) = self.list.make_contiguous().split_last_mut()?;
        Some((this, others.iter_mut().filter(move |other| other.lookup == lookup && other.peer != peer)))
    }
}

impl Shard {
    /// Tells one who asks to be registered and has not proven its endpoint who else is there, by what is added to its
    /// challenge, and tells those of it. Nobody is told twice what the server has told him for certain.
    pub fn hint(
        &mut self,
        now: Instant,
        source: impl Into<Route>,
        register: &EarlyRegister,
        challenge: &mut Writer<'_>,
    ) {
        let source = source.into();
        let session = self.members.find_session(SessionKey::from(&register.lookup));
        let known = session.and_then(|session| self.member_by_peer(session, register.peer));
        if known.and_then(|at| self.members.get(at)).is_some_and(|member| self.members.is_at(member, &source))
        {
            return;
        }
        let Some((early, others)) = self.early.note(now, source, register) else { return };
        let hint = early.hint();
        let mut room = register.room;
        let mut added = 0;
        let mut add = |early: &mut Early, other: Hint| {
            let len = other.attribute_len();
            if added < MAX_HINTS && len <= room && early.spend(len) {
                other.write_attribute(challenge);
                room -= len;
                added += 1;
            }
        };
        let members = session.into_iter().flat_map(|session| self.members.of_session(session));
        // Hints are of use for datagrams only.
        let over_udp = members.filter(|(_, member)| member.transport() == Transport::Udp);
        let natives = over_udp.filter(|(_, member)| member.is_native());
        let told = early.tell();
        for (_, member) in natives.take(MAX_HINTS) {
            let route = self.members.route(member);
            add(early, Hint { peer: member.peer, endpoint: route.remote });
            if told && member.is_pushed_to() {
                let token = u64::from_be_bytes(member.token);
                self.outbox.write(route, |writer| hint.write(writer, token));
            }
        }
        let is_member =
            |peer| session.is_some_and(|at| self.members.of_session(at).any(|(_, m)| m.peer == peer));
        for other in others.filter(|other| !is_member(other.peer)).take(MAX_HINTS) {
            add(early, other.hint());
            if other.spend(hint.datagram_len()) {
                self.outbox.write(other.route, |writer| hint.write(writer, other.token));
            }
        }
    }
}

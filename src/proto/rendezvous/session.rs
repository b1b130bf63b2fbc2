//! What a shard keeps of one session, beside its members.

use std::collections::VecDeque;
use std::iter::Flatten;
use std::option;

use crate::proto::wire::LeaveReason;
use crate::proto::{LookupKey, PeerId};

/// Who left lately, per session; a client that missed more is sent a snapshot instead.
const MAX_TOMBSTONES: usize = 64;
/// Members that a session has room for in its own place.
const FEW: usize = 3;

/// Names a session: half of its lookup key, which is enough to tell sessions apart, whoever chooses the keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SessionKey(pub [u8; 16]);

impl From<&LookupKey> for SessionKey {
    fn from(key: &LookupKey) -> Self {
        Self(*key.0.first_chunk().expect("a lookup key is longer"))
    }
}

/// A member that has left: at which revision, who, and why.
pub type Tombstone = (u32, PeerId, LeaveReason);

/// All members under one lookup key.
#[derive(Debug)]
pub struct Session {
    /// Names it.
    pub key: SessionKey,
    /// Random, so that a client notices that the server has forgotten what it knew.
    pub instance: u32,
    /// Number of the latest change.
    pub revision: u32,
    /// Up to when its turns to be pushed to are taken; see [`super::pushes`].
    pub pace: u32,
    /// In the order of their revisions.
    pub members: MemberList,
    buried: Option<Box<Graveyard>>,
}

#[derive(Debug, Default)]
struct Graveyard {
    /// Tombstones up to here are gone.
    floor: u32,
    tombstones: VecDeque<Tombstone>,
}

impl Session {
    /// One without members, whose changes are numbered from 1 on.
    pub fn new(key: SessionKey, instance: u32) -> Self {
        Self { key, instance, revision: 0, pace: 0, members: MemberList::default(), buried: None }
    }

    /// Numbers one more change.
    pub fn next_revision(&mut self) -> u32 {
        self.revision += 1;
        self.revision
    }

    /// Notes who has left.
    pub fn bury(&mut self, revision: u32, peer: PeerId, reason: LeaveReason) {
        let buried = self.buried.get_or_insert_default();
        if buried.tombstones.len() == MAX_TOMBSTONES
            && let Some((oldest, ..)) = buried.tombstones.pop_front()
        {
            buried.floor = oldest;
        }
        buried.tombstones.push_back((revision, peer, reason));
    }

    /// Who left up to here is not remembered.
    pub fn floor(&self) -> u32 {
        self.buried.as_ref().map_or(0, |buried| buried.floor)
    }

    /// Who left after that revision.
    pub fn tombstones_since(&self, from: u32) -> Flatten<option::IntoIter<impl Iterator<Item = &Tombstone>>> {
        let since = self.buried.as_ref().map(|buried| {
            let first = buried.tombstones.partition_point(|(revision, ..)| *revision <= from);
            buried.tombstones.range(first..)
        });
        since.into_iter().flatten()
    }

    /// Bytes that it takes beside its own place.
    pub fn spilled_bytes(&self) -> usize {
        let buried = self.buried.as_ref().map_or(0, |buried| {
            size_of::<Graveyard>() + buried.tombstones.capacity() * size_of::<Tombstone>()
        });
        buried + self.members.spilled_bytes()
    }
}

/// Members by their numbers, in order. Most sessions have two.
#[derive(Debug)]
pub enum MemberList {
    /// The first so many.
    Few(u8, [u32; FEW]),
    /// More than have room here. Behind a box, because what is seldom should not make all sessions larger.
    #[allow(clippy::box_collection)]
    Many(Box<Vec<u32>>),
}

impl Default for MemberList {
    fn default() -> Self {
        Self::Few(0, [0; FEW])
    }
}

impl MemberList {
    /// All of them.
    pub fn as_slice(&self) -> &[u32] {
        match self {
            Self::Few(count, few) => &few[..usize::from(*count)],
            Self::Many(many) => many,
        }
    }

    /// Adds one at the end.
    pub fn push(&mut self, member: u32) {
        match self {
            Self::Few(count, few) if usize::from(*count) < FEW => {
                few[usize::from(*count)] = member;
                *count += 1;
            }
            Self::Few(_, few) => {
                let mut many = few.to_vec();
                many.push(member);
                *self = Self::Many(Box::new(many));
            }
            Self::Many(many) => many.push(member),
        }
    }

    /// Takes one out; the others keep their order.
    pub fn remove(&mut self, member: u32) {
        match self {
            Self::Few(count, few) => {
                let list = &mut few[..usize::from(*count)];
                if let Some(at) = list.iter().position(|other| *other == member) {
                    list[at..].rotate_left(1);
                    *count -= 1;
                }
            }
            Self::Many(many) => {
                many.retain(|other| *other != member);
                if many.len() <= FEW {
                    let mut few = [0; FEW];
                    few[..many.len()].copy_from_slice(many);
                    *self = Self::Few(many.len() as u8, few);
                }
            }
        }
    }

    /// Makes one the last.
    pub fn move_to_end(&mut self, member: u32) {
        let list = match self {
            Self::Few(count, few) => &mut few[..usize::from(*count)],
            Self::Many(many) => many,
        };
        if let Some(at) = list.iter().position(|other| *other == member) {
            list[at..].rotate_left(1);
        }
    }

    /// Bytes that it takes beside its own place.
    pub fn spilled_bytes(&self) -> usize {
        match self {
            Self::Few(..) => 0,
            Self::Many(many) => size_of::<Vec<u32>>() + many.capacity() * size_of::<u32>(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_of_few_takes_no_memory_beside_its_place() {
        assert!(size_of::<Session>() <= 56, "{}", size_of::<Session>());
        let mut session = Session::new(SessionKey::default(), 1);
        (1..=FEW as u32).for_each(|member| session.members.push(member));
        assert_eq!(session.spilled_bytes(), 0);
    }

    #[test]
    fn members_keep_their_order_as_the_list_grows_and_shrinks() {
        let mut list = MemberList::default();
        (1..=5).for_each(|member| list.push(member));
        list.move_to_end(2);
        assert_eq!(list.as_slice(), [1, 3, 4, 5, 2]);
        assert!(list.spilled_bytes() > 0);
        list.remove(4);
        list.remove(1);
        assert_eq!((list.as_slice(), list.spilled_bytes()), (&[3, 5, 2][..], 0));
        list.move_to_end(3);
        list.remove(9);
        assert_eq!(list.as_slice(), [5, 2, 3]);
        list.push(7);
        assert_eq!(list.as_slice(), [5, 2, 3, 7]);
        [5, 7, 2, 3].into_iter().for_each(|member| list.remove(member));
        assert!(list.as_slice().is_empty());
    }

    #[test]
    fn only_the_latest_leavers_are_remembered() {
        let mut session = Session::new(SessionKey::default(), 1);
        for revision in 1..=MAX_TOMBSTONES as u32 + 2 {
            session.bury(revision, PeerId([1; 16]), LeaveReason::Goodbye);
        }
        assert_eq!(session.floor(), 2);
        assert_eq!(session.tombstones_since(0).count(), MAX_TOMBSTONES);
        assert_eq!(session.tombstones_since(65).map(|(revision, ..)| *revision).collect::<Vec<_>>(), [66]);
        assert_eq!(session.tombstones_since(u32::MAX).count(), 0);
    }
}

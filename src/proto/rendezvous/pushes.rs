//! How a shard tells native members what has changed: at once, again until it is acknowledged, and never so much at a time that a
//! large session floods its members' networks, or the server.
//!
//! Each large session has its turns, four datagrams a millisecond, of which it may have a burst at once. Who has to wait for a turn is told by
//! then all that has changed meanwhile.

use super::members::{Member, MemberIndex};
use super::shard::Shard;
use crate::proto::wire::{Registered, UpdateBuilder};

/// Retransmission of a push: at first, at most; in milliseconds.
const FIRST_PUSH_RETRY: u32 = 30;
const MAX_PUSH_RETRY: u32 = 1000;
/// Changes that are pushed to a member before it has acknowledged the ones before.
const MAX_UNANSWERED: u8 = 4;
/// Datagrams that one push may take; a longer list goes on when these are acknowledged.
const MAX_BLOCKS_PER_PUSH: usize = 4;
/// Sessions of more members are large. A call meets at most 64 others, and whoever has met them all leaves at once: in its session
/// everybody has to be told of everybody, and not only of what is left by his turn.
const LARGE_ABOVE: usize = 65;
/// Datagrams that a large session's members may be sent in a millisecond, in the long run.
pub const PUSHES_PER_MILLISECOND: u32 = 4;
/// Datagrams that they may be sent at once.
pub const PUSH_BURST: u32 = 64;
/// So many of a session's turns can be taken in advance.
const MAX_AHEAD: u32 = 1 << 14;

impl Shard {
    pub(super) fn push_to_others(&mut self, now: u64, changed: MemberIndex) {
        if let Some(session) = self.members.get(changed).map(|member| member.session) {
            self.push_to_session(now, session, Some(changed));
        }
    }

    /// Pushes to all members that can take it; the others' timers see to them.
    pub(super) fn push_to_session(&mut self, now: u64, session: u32, except: Option<MemberIndex>) {
        let mut recipients = std::mem::take(&mut self.recipients);
        recipients.clear();
        let may_push = |member: &Member| {
            member.is_pushed_to()
                && !member.has_news()
                && (member.unanswered < MAX_UNANSWERED || since_push(now, member) >= first_push_retry(member))
        };
        let others = self.members.of_session(session).filter(|(at, _)| Some(*at) != except);
        recipients.extend(others.filter(|(_, member)| may_push(member)).map(|(at, _)| at));
        for at in &recipients {
            // News does not wait for the pauses that old news has run into.
            if let Some(member) = self.members.get_mut(*at)
                && member.unanswered >= MAX_UNANSWERED
            {
                member.unanswered = 0;
            }
            self.push(now, *at);
        }
        self.recipients = recipients;
    }

    /// Tells a native member what it does not have, as soon as its session has a turn.
    pub(super) fn push(&mut self, now: u64, at: MemberIndex) {
        let Some(member) = self.members.get(at).filter(|member| !member.has_news()) else { return };
        let (session, acknowledged) = (member.session, member.acknowledged);
        match self.next_turn(now, session) {
            0 => self.send_blocks(now, at, acknowledged, None),
            wait => {
                self.counters.pushes_delayed += 1;
                if let Some(member) = self.members.get_mut(at) {
                    member.set_news(true);
                }
                let due = now + u64::from(wait);
                if self.timers.due(at).is_none_or(|armed| armed != due) {
                    self.timers.arm(at, due);
                }
            }
        }
    }

    /// Takes a session's next turn, and says how many milliseconds off it is.
    fn next_turn(&mut self, now: u64, session: u32) -> u32 {
        let session = self.members.session_mut(session);
        if session.members.as_slice().len() <= LARGE_ABOVE {
            return 0;
        }
        let pace = &mut session.pace;
        let present = (now * u64::from(PUSHES_PER_MILLISECOND)) as u32;
        let ahead = pace.wrapping_sub(present);
        // What lies further ahead is a time long past.
        let ahead = if ahead > MAX_AHEAD { 0 } else { ahead };
        *pace = present.wrapping_add((ahead + 1).min(MAX_AHEAD));
        ahead.saturating_sub(PUSH_BURST - 1).div_ceil(PUSHES_PER_MILLISECOND)
    }

    /// Sends a native member what it does not have; as the answer to a registration if `registered` numbers one.
    pub(super) fn send_blocks(&mut self, now: u64, at: MemberIndex, from: u32, registered: Option<u32>) {
        let handle = self.handle_of(at);
        let times = [self.config.heartbeat, self.config.expiry];
        let Some(member) = self.members.get_mut(at).filter(|member| member.is_pushed_to()) else { return };
        let (session, token) = (member.session, u64::from_be_bytes(member.token));
        member.acknowledged = from;
        member.set_news(false);
        let Some(route) = self.members.get(at).map(|member| self.members.route(member)) else { return };
        let first = from;
        let mut from = from;
        for number in 0..MAX_BLOCKS_PER_PUSH {
            let mut to = from;
            self.outbox.write(route, |writer| {
                match registered.filter(|_| number == 0) {
                    Some(sequence) => {
                        Registered::write_head(writer, token, sequence, route.remote, handle, times);
                    }
                    None => UpdateBuilder::message_head(writer, token),
                }
                to = self.members.write_block(writer, session, at, from);
            });
            let latest = self.members.session(session).revision;
            if number > 0 {
                self.next_turn(now, session);
            }
            // Who has everything has nothing to acknowledge.
            if to == first && to == latest {
                if let Some(member) = self.members.get_mut(at) {
                    member.unanswered = 0;
                }
                return;
            }
            if to == from || to == latest {
                break;
            }
            from = to;
        }
        let Some(member) = self.members.get_mut(at) else { return };
        member.unanswered = member.unanswered.saturating_add(1);
        member.pushed = now as u32;
        let due = now + u64::from(push_retry(member));
        if self.timers.due(at).is_none_or(|armed| armed > due) {
            self.timers.arm(at, due);
        }
    }

    /// When what was pushed to a native member is to be pushed again.
    pub(super) fn push_due(&self, now: u64, member: &Member) -> Option<u64> {
        let wait = push_retry(member).saturating_sub(since_push(now, member));
        (member.is_pushed_to() && member.unanswered > 0).then(|| now + u64::from(wait))
    }

    /// A native member's timer has ended.
    pub(super) fn push_what_is_due(&mut self, now: u64, at: MemberIndex) {
        let Some(member) = self.members.get(at) else { return };
        let (session, acknowledged) = (member.session, member.acknowledged);
        if !member.has_news() {
            if self.push_due(now, member).is_none_or(|due| due > now) {
                return;
            }
            self.counters.pushes_repeated += 1;
            self.next_turn(now, session);
        }
        self.send_blocks(now, at, acknowledged, None);
    }
}

fn since_push(now: u64, member: &Member) -> u32 {
    (now as u32).wrapping_sub(member.pushed)
}

fn push_retry(member: &Member) -> u32 {
    let first = first_push_retry(member);
    (first << member.unanswered.saturating_sub(1).min(6)).min(MAX_PUSH_RETRY.max(first))
}

fn first_push_retry(member: &Member) -> u32 {
    FIRST_PUSH_RETRY.max(u32::from(member.rtt_or_credit) * 3 / 2)
}

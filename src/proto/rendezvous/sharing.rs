//! Sessions that several servers share: what a shard tells the others of its own members, and what it keeps of theirs.
//!
//! Each server pushes to its own members only. Members elsewhere are listed like all others, as the store (see `server::store`) says; they
//! have no timers here and go when their server, or the store, says so. A session lives as long as it has members of our own.

use std::net::SocketAddr;
use std::time::Instant;

use super::members::{Member, MemberIndex, Registration};
use super::session::SessionKey;
use super::shard::Shard;
use crate::proto::wire::codec::{Malformed, Reader, Writer, endpoint_len};
use crate::proto::wire::{Attributes, LeaveReason};
use crate::proto::{PeerId, Route, Transport};

/// A member elsewhere that the store has lacked for so long, in milliseconds, is gone. Until then its server may not have stored it, or may
/// not have come back to a store that was away.
const MISSED_AT_MOST: u32 = 10_000;
/// First byte of a record; others are of versions that are not known here.
const VERSION: u8 = 1;
const JOINED: u8 = 1;
const LEFT: u8 = 2;
const NATIVE: u8 = 1;
const STREAM: u8 = 2;

/// A member as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The server that it is registered with.
    pub server: u64,
    /// What proves it to be the same client, wherever it registers next; `None` for a plain client.
    pub token: Option<u64>,
    /// Where that server sees it.
    pub endpoint: SocketAddr,
    /// How it is registered.
    pub transport: Transport,
    /// What it says of itself.
    pub attributes: Vec<u8>,
}

impl Record {
    /// The record in bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; 1 + 8 + 1 + 8 + endpoint_len(self.endpoint) + self.attributes.len()];
        let mut writer = Writer::new(&mut bytes);
        writer.u8(VERSION);
        writer.u64(self.server);
        let native = if self.token.is_some() { NATIVE } else { 0 };
        let stream = if self.transport == Transport::Tcp { STREAM } else { 0 };
        writer.u8(native | stream);
        writer.u64(self.token.unwrap_or(0));
        writer.endpoint(self.endpoint);
        writer.slice(&self.attributes);
        bytes
    }

    /// Reads what [`Self::encode`] has written.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != VERSION {
            return Err(Malformed::Field);
        }
        let (server, flags, token) = (reader.u64()?, reader.u8()?, reader.u64()?);
        let endpoint = reader.endpoint()?;
        let attributes = Attributes::parse(reader.rest())?.as_bytes().to_vec();
        let transport = if flags & STREAM != 0 { Transport::Tcp } else { Transport::Udp };
        Ok(Self { server, token: (flags & NATIVE != 0).then_some(token), endpoint, transport, attributes })
    }

    fn registration(&self, peer: PeerId) -> Registration<'_> {
        let route = Route { remote: self.endpoint, local: None, transport: self.transport };
        let (token, attributes) = (self.token, &self.attributes[..]);
        Registration { peer, route, token, attributes, elsewhere: Some(self.server) }
    }
}

/// What changed with one member, from one server to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whose session it is.
    pub key: SessionKey,
    /// The member.
    pub peer: PeerId,
    /// What it is now, or why it is gone, and which server it was registered with.
    pub now: Result<Record, (LeaveReason, u64)>,
}

impl Change {
    /// The change in bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.push(if self.now.is_ok() { JOINED } else { LEFT });
        bytes.extend(self.key.0);
        bytes.extend(self.peer.0);
        match &self.now {
            Ok(record) => bytes.extend(record.encode()),
            Err((reason, server)) => {
                bytes.push(*reason as u8);
                bytes.extend(server.to_be_bytes());
            }
        }
        bytes
    }

    /// Reads what [`Self::encode`] has written.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let (kind, key, peer) = (reader.u8()?, SessionKey(reader.array()?), PeerId(reader.array()?));
        let now = match kind {
            JOINED => Ok(Record::parse(reader.rest())?),
            LEFT => {
                let goodbye = reader.u8()? == LeaveReason::Goodbye as u8;
                let reason = if goodbye { LeaveReason::Goodbye } else { LeaveReason::Expired };
                Err((reason, reader.u64()?))
            }
            _ => return Err(Malformed::Field),
        };
        Ok(Self { key, peer, now })
    }
}

/// What a shard has for the store and for other servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Share {
    /// One of our own members has changed.
    Changed {
        /// What changed.
        change: Change,
        /// Servers that have members in the session, as far as is known here.
        servers: Vec<u64>,
        /// The session has had no members of ours before: what others there are is to be asked for.
        first: bool,
    },
    /// A member of ours has moved elsewhere: a little later nothing in the store may say that it is here.
    Moved(SessionKey),
}

/// What is to be done after a session was compared with what the store has.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Members of ours that the store lacks.
    pub missing: Vec<(PeerId, Record)>,
    /// Records in the store that say of somebody that he is here, who is not.
    pub orphans: Vec<PeerId>,
    /// All members of ours, if there are servers that may not know them.
    pub ours: Vec<Change>,
    /// Servers that have members in the session.
    pub servers: Vec<u64>,
    /// Something did not fit. What is under way may explain it, or another server has compared at the same time: it is to be compared
    /// again once the store has what it lacks.
    pub again: bool,
}

impl Shard {
    /// What changed with our own members since the last call; to be asked for after every call that takes `&mut self`.
    pub fn take_shares(&mut self) -> impl Iterator<Item = Share> {
        self.shares.drain(..)
    }

    /// Notes for the other servers what a member of ours is now.
    pub(super) fn share(&mut self, at: MemberIndex) {
        let (Some(server), Some(member)) = (self.config.server, self.members.get(at)) else { return };
        let session = self.members.session(member.session);
        let change = Change { key: session.key, peer: member.peer, now: Ok(self.record(member, server)) };
        let first = session.members.as_slice().len() == 1;
        let servers = self.servers_of(member.session);
        self.shares.push(Share::Changed { change, servers, first });
    }

    /// Notes for the other servers that a member of ours, which is about to be removed, is gone.
    pub(super) fn share_removal(&mut self, member: &Member, reason: LeaveReason) {
        let Some(server) = self.config.server else { return };
        let key = self.members.session(member.session).key;
        let change = Change { key, peer: member.peer, now: Err((reason, server)) };
        let servers = self.servers_of(member.session);
        self.shares.push(Share::Changed { change, servers, first: false });
    }

    fn record(&self, member: &Member, server: u64) -> Record {
        Record {
            server,
            token: member.is_native().then(|| u64::from_be_bytes(member.token)),
            endpoint: self.members.remote(member),
            transport: member.transport(),
            attributes: self.members.attributes(member).to_vec(),
        }
    }

    fn servers_of(&self, session: u32) -> Vec<u64> {
        let members = self.members.of_session(session);
        let mut servers: Vec<u64> = members.filter_map(|(_, member)| member.server()).collect();
        servers.sort_unstable();
        servers.dedup();
        servers
    }

    /// All sessions, to be told to the store and compared with it.
    pub fn session_keys(&self) -> Vec<SessionKey> {
        self.members.session_keys().collect()
    }

    /// Members elsewhere now.
    pub fn elsewhere(&self) -> usize {
        self.elsewhere
    }

    /// Takes what another server says of a member of its own.
    pub fn handle_change(&mut self, now: Instant, change: &Change) {
        let now = self.millis(now);
        let Some(session) = self.members.find_session(change.key) else { return };
        let known = self.member_by_peer(session, change.peer);
        match &change.now {
            Ok(record) => self.take_record(now, session, change.peer, record, true),
            Err((reason, server)) => {
                let is_theirs = |at: &MemberIndex| {
                    self.members.get(*at).and_then(Member::server).is_some_and(|known| known == *server)
                };
                if let Some(at) = known.filter(is_theirs) {
                    self.remove(now, at, *reason);
                }
            }
        }
    }

    /// Lists a member elsewhere. A member of ours is given up for it only where it `may_move`: in the store its last place may stand.
    fn take_record(&mut self, now: u64, session: u32, peer: PeerId, record: &Record, may_move: bool) {
        if Some(record.server) == self.config.server {
            return;
        }
        let registration = record.registration(peer);
        let known = self.member_by_peer(session, peer);
        let Some(at) = known else {
            let full = self.why_full(Some(session), false, record.attributes.len()).is_some();
            if full {
                self.counters.elsewhere_refused += 1;
                return;
            }
            let key = self.members.session(session).key;
            let at = self.members.insert(key, &registration);
            self.elsewhere += 1;
            self.push_to_others(now, at);
            return;
        };
        let Some(member) = self.members.get(at) else { return };
        if !member.is_elsewhere() {
            // It has moved there, if it is the same client; else the one whom we know stays.
            let token = member.is_native().then(|| u64::from_be_bytes(member.token));
            if !may_move || token.is_none() || token != record.token {
                return;
            }
            self.shares.push(Share::Moved(self.members.session(session).key));
            self.counters.left += 1;
            self.note_departure(at);
            self.elsewhere += 1;
        }
        self.members.mark_elsewhere(at, &registration);
        if self.members.renew(at, &registration.route, registration.attributes) {
            self.members.touch_revision(at);
            self.push_to_others(now, at);
        }
        // It may have been our last one.
        self.end_if_deserted(session);
    }

    /// Compares a session with what the store has. Dead servers are not believed.
    pub fn reconcile(
        &mut self,
        now: Instant,
        key: SessionKey,
        stored: &[(PeerId, Record)],
        is_dead: impl Fn(u64) -> bool,
    ) -> Reconciled {
        let mut result = Reconciled::default();
        let (now, Some(server)) = (self.millis(now), self.config.server) else { return result };
        if let Some(session) = self.members.find_session(key) {
            self.take_records(now, session, stored, is_dead, &mut result);
        }
        // The session may have ended with that.
        let session = self.members.find_session(key);
        let is_ours = |peer| {
            let at = session.and_then(|session| self.member_by_peer(session, peer));
            at.and_then(|at| self.members.get(at)).is_some_and(|member| !member.is_elsewhere())
        };
        let claimed = stored.iter().filter(|(_, record)| record.server == server);
        result.orphans = claimed.map(|(peer, _)| *peer).filter(|peer| !is_ours(*peer)).collect();
        if let Some(session) = session {
            self.compare_members(now, session, server, stored, &mut result);
        }
        result
    }

    fn take_records(
        &mut self,
        now: u64,
        session: u32,
        stored: &[(PeerId, Record)],
        is_dead: impl Fn(u64) -> bool,
        result: &mut Reconciled,
    ) {
        for (peer, record) in stored.iter().filter(|(_, record)| !is_dead(record.server)) {
            let known = self.member_by_peer(session, *peer);
            result.again |= Some(record.server) != self.config.server && known.is_none();
            self.take_record(now, session, *peer, record, false);
        }
    }

    fn compare_members(
        &mut self,
        now: u64,
        session: u32,
        server: u64,
        stored: &[(PeerId, Record)],
        result: &mut Reconciled,
    ) {
        let key = self.members.session(session).key;
        let members: Vec<MemberIndex> = self.members.of_session(session).map(|(at, _)| at).collect();
        for at in members {
            let Some(member) = self.members.get(at) else { continue };
            let peer = member.peer;
            let in_store = stored.iter().find(|(stored, _)| *stored == peer).map(|(_, record)| record);
            match member.server() {
                None => {
                    let ours = self.record(member, server);
                    if in_store != Some(&ours) {
                        result.missing.push((peer, ours.clone()));
                    }
                    result.ours.push(Change { key, peer, now: Ok(ours) });
                }
                Some(theirs) => {
                    let is_stored = in_store.is_some_and(|record| record.server == theirs);
                    let Some(member) = self.members.get_mut(at) else { continue };
                    let missed_for = member.missed_for(now as u32, is_stored);
                    if missed_for > MISSED_AT_MOST {
                        self.remove(now, at, LeaveReason::Expired);
                    }
                    result.again |= !is_stored;
                }
            }
        }
        result.again |= !result.missing.is_empty();
        if let Some(session) = self.members.find_session(key) {
            result.servers = self.servers_of(session);
        }
    }

    /// A server is gone, and so are its members, unless they have come to another one.
    pub fn forget_server(&mut self, now: Instant, server: u64) {
        let now = self.millis(now);
        let theirs: Vec<MemberIndex> = self
            .members
            .iter()
            .filter(|(_, member)| member.server() == Some(server))
            .map(|(at, _)| at)
            .collect();
        for at in theirs {
            self.remove(now, at, LeaveReason::Expired);
        }
    }

    /// Counts a member as ours if it was known to be elsewhere: then it is yet to be shared, and has no timer.
    pub(super) fn adopt(&mut self, at: MemberIndex) -> bool {
        let comes = self.members.get(at).is_some_and(Member::is_elsewhere);
        if comes {
            self.members.mark_ours(at);
            self.elsewhere -= 1;
            self.note_arrival(at);
        }
        comes
    }

    /// Ends a session in which only members elsewhere are left: nobody here wants to hear of them.
    pub(super) fn end_if_deserted(&mut self, session: u32) {
        if self.elsewhere == 0 {
            return;
        }
        let members = self.members.of_session(session);
        let (mut ours, mut theirs) = (0, Vec::new());
        for (at, member) in members {
            if member.is_elsewhere() {
                theirs.push(at);
            } else {
                ours += 1;
            }
        }
        if ours == 0 {
            for at in theirs {
                self.elsewhere -= 1;
                self.members.remove(at, LeaveReason::Goodbye);
            }
        }
    }
}

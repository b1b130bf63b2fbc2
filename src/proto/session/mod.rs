//! A session: a meeting without an end, with a secure channel to each of its members and messages over it.

mod member;
mod types;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Bound;
use std::time::{Duration, Instant};

use self::member::Member;
use self::types::Events;
pub use self::types::{
    Departure, MAX_EVENTS, MAX_PLAIN_MESSAGE, MemberId, PeerPath, SendError, SessionConfig, SessionCounters,
    SessionEvent, SessionPeer,
};
use crate::proto::delivery::{DeliveryConfig, MAX_MESSAGE};
use crate::proto::meeting::{Disposition, Meeting, MeetingEvent};
use crate::proto::punch::PeerStatus;
use crate::proto::secure::{Channel, ChannelEvent, Parties, PublicKey};
use crate::proto::types::{Candidate, CandidateKind, PeerDialect, PeerId, SocketIndex, Transmit};
use crate::proto::wire::{LeaveReason, Message, RefusedReason};
use crate::proto::{LookupKey, Rng, SessionKeys};

/// Most members, ourselves not counted.
pub const MAX_MEMBERS: usize = 256;
/// How long the server may keep silent before it counts as lost.
const SERVER_PATIENCE: Duration = Duration::from_secs(3);

/// A session.
pub struct Session {
    meeting: Meeting,
    local: PeerId,
    lookup: LookupKey,
    secret: [u8; 32],
    identity: [u8; 32],
    pinned: Vec<PublicKey>,
    delivery: DeliveryConfig,
    rng: Rng,
    members: BTreeMap<PeerId, Member>,
    /// Members that something has happened to.
    touched: Vec<PeerId>,
    plain_peers: bool,
    /// Whose message was asked for last.
    served: PeerId,
    /// The number of the next message; 0 is none's.
    next_number: u64,
    /// Who has shown a wrong key; the latest of them.
    refused: VecDeque<PeerId>,
    /// Why the server has not taken us.
    refusal: Option<RefusedReason>,
    /// Something else than native has come from the server's address; anyone can forge that.
    server_is_foreign: bool,
    server_lost: bool,
    left: bool,
    /// What has been dropped, but for what the channels of those who are there have.
    counters: SessionCounters,
    transmits: VecDeque<Transmit>,
    events: Events,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("local", &self.local)
            .field("members", &self.members)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Joins at `now`; everything random in it comes from `seed`.
    pub fn new(config: SessionConfig, seed: [u8; 32], now: Instant) -> Self {
        let mut rng = Rng::new(seed);
        let keys = SessionKeys::derive(&config.meeting.id);
        let plain_peers = config.meeting.plain_peers;
        let meeting = Meeting::new(config.meeting, rng.bytes(), now);
        let mut session = Self {
            local: meeting.local(),
            meeting,
            lookup: keys.lookup,
            secret: keys.channel,
            identity: config.identity,
            pinned: config.pinned,
            delivery: config.delivery,
            rng,
            members: BTreeMap::new(),
            touched: Vec::new(),
            plain_peers,
            served: PeerId::UNKNOWN,
            next_number: 1,
            refused: VecDeque::new(),
            refusal: None,
            server_is_foreign: false,
            server_lost: false,
            left: false,
            counters: SessionCounters::default(),
            transmits: VecDeque::new(),
            events: Events::default(),
        };
        session.handle_timeout(now);
        session
    }

    /// Our own name in the session.
    pub fn local(&self) -> PeerId {
        self.local
    }

    /// Who is there.
    pub fn members(&self) -> impl Iterator<Item = SessionPeer> {
        self.members.values().filter(|member| !member.given_up).map(Member::status)
    }

    /// A member, if it is there.
    pub fn member(&self, id: PeerId) -> Option<SessionPeer> {
        self.members.get(&id).filter(|member| !member.given_up).map(Member::status)
    }

    /// What was dropped.
    pub fn counters(&self) -> SessionCounters {
        let mut counters =
            self.members.values().fold(self.counters, |counters, member| member.count(counters));
        let meeting = self.meeting.counters();
        counters.forged += meeting.punch.forged;
        counters.replayed += meeting.punch.replayed;
        counters.strangers += meeting.punch.misdirected;
        counters.malformed += meeting.malformed + meeting.server_dropped;
        counters
    }

    /// A key for another protocol between us and a member: see [`Channel::export_key`].
    pub fn export_key(&self, peer: PeerId, label: &[u8]) -> Option<[u8; 32]> {
        self.members.get(&peer)?.channel.as_ref()?.export_key(label)
    }

    /// Sends a message to a member, or to all; returns the number by which its delivery to each will be told. A member that is
    /// not connected yet gets it when it is. If only some of all take it, events tell for whom it was not taken.
    pub fn send(&mut self, now: Instant, to: Option<PeerId>, message: &[u8]) -> Result<u64, SendError> {
        if self.left {
            return Err(SendError::Left);
        }
        if message.len() > MAX_MESSAGE {
            return Err(SendError::TooLong);
        }
        // Each message leads to an event, and nobody asks for those that are there.
        if self.events.are_many() {
            return Err(SendError::Full);
        }
        let number = self.next_number;
        let mut untaken = Vec::new();
        let (mut taken, mut error) = (false, None);
        // Valgrind misreads what an Option's own comparison is compiled to.
        let (to_all, only) = (to.is_none(), to.unwrap_or(PeerId::UNKNOWN));
        let there = self.members.values_mut().filter(|member| !member.given_up);
        for member in there.filter(|member| to_all || member.name.id == only) {
            match member.send(number, message) {
                Ok(()) => taken = true,
                Err(rejected) => {
                    untaken.push(member.name);
                    error = Some(rejected);
                }
            }
            member.drain(now, &mut self.transmits);
        }
        // To nobody, all can be said.
        if !taken && let Some(error) = error.or(to.map(|_| SendError::NoSuchPeer)) {
            return Err(error);
        }
        self.next_number += 1;
        untaken.into_iter().for_each(|name| self.events.push(SessionEvent::Untaken(name, number)));
        Ok(number)
    }

    /// Says goodbye to everybody. Nothing more happens afterwards; what has come can still be fetched.
    pub fn leave(&mut self, now: Instant) {
        self.left = true;
        self.meeting.close();
        while let Some((&id, member)) = self.members.iter_mut().next() {
            member.say_goodbye(now);
            member.drain(now, &mut self.transmits);
            self.depart(now, id, Departure::WeLeft);
        }
    }

    /// The driver cannot go on, for the system's error of this number.
    pub fn fail(&mut self, now: Instant, os_error: i32) {
        self.events.push(SessionEvent::Failed(os_error));
        self.leave(now);
    }

    /// A router says that a datagram of ours had passed as many others as it was allowed to.
    pub fn handle_time_exceeded(&mut self, router: IpAddr, payload: &[u8]) {
        self.meeting.handle_time_exceeded(router, payload);
    }

    /// Whether our router should open a port for us now; asked for once.
    #[must_use]
    pub fn wants_port_mapping(&mut self, now: Instant) -> bool {
        !self.left && self.meeting.wants_port_mapping(now)
    }

    /// Our router has opened this endpoint for us: the peers are told.
    pub fn add_mapped(&mut self, now: Instant, endpoint: SocketAddr) {
        self.meeting.add_mapped(now, endpoint);
    }

    /// How many further IPv4 sockets are wanted: see [`Meeting::wants_sockets`].
    #[must_use]
    pub fn wants_sockets(&self) -> Option<usize> {
        self.meeting.wants_sockets().filter(|_| !self.left)
    }

    /// As many of the sockets that were wanted as could be opened.
    pub fn give_sockets(&mut self, now: Instant, sockets: &[SocketIndex]) {
        self.meeting.give_sockets(now, sockets);
    }

    /// The next of those sockets that is to be closed.
    #[must_use]
    pub fn poll_released(&mut self) -> Option<SocketIndex> {
        self.meeting.poll_released()
    }

    /// Takes a datagram.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        socket: SocketIndex,
        source: SocketAddr,
        datagram: &[u8],
    ) {
        if self.left {
            return;
        }
        let over = PeerPath { socket, endpoint: source, kind: CandidateKind::PeerReflexive, rtt: None };
        let known = match Message::parse(datagram) {
            Ok(Message::HandshakeBegin(begin)) if begin.receiver == self.local => {
                self.with_channel(begin.sender, now, |_, channel| channel.handle_begin(&begin))
            }
            Ok(Message::HandshakeAnswer(answer)) => {
                let owner = self.owner_of(answer.to);
                self.with_channel(owner, now, |now, channel| channel.handle_answer(now, &answer))
            }
            Ok(Message::HandshakeEnd(end)) => {
                let owner = self.owner_of(end.to);
                self.with_channel(owner, now, |now, channel| channel.handle_end(now, &end))
            }
            Ok(Message::Sealed(sealed)) => {
                let owner = self.owner_of(sealed.to);
                let mut opened = None;
                let known = self.with_channel(owner, now, |now, channel| opened = channel.open(now, &sealed));
                if let Some(text) = opened {
                    self.hear(now, owner, over, &text);
                }
                known
            }
            _ => match self.meeting.handle_datagram(now, socket, source, datagram) {
                Disposition::Control => true,
                Disposition::Data => self.hear_plain(now, over, datagram),
                Disposition::Stranger => false,
            },
        };
        self.counters.strangers += u64::from(!known);
        self.advance(now);
    }

    /// Whose end of a channel this is; nobody's name if there is none such.
    fn owner_of(&self, end: u32) -> PeerId {
        let owns = |member: &&Member| member.channel.as_ref().is_some_and(|channel| channel.has_end(end));
        self.members.values().find(owns).map_or(PeerId::UNKNOWN, |member| member.name.id)
    }

    /// Gives a message of a handshake to a member's channel. One that is faster than our own view of the hole comes again: until
    /// then nobody knows where an answer would go.
    fn with_channel(&mut self, id: PeerId, now: Instant, handle: impl FnOnce(Instant, &mut Channel)) -> bool {
        let Some(member) = self.members.get_mut(&id) else { return false };
        if let Some(channel) = &mut member.channel {
            handle(now, channel);
        }
        self.touched.push(id);
        true
    }

    fn parties(&self, remote: PeerId) -> Parties {
        let (lookup, secret, local, identity) = (self.lookup, self.secret, self.local, self.identity);
        Parties { lookup, secret, local, remote, identity }
    }

    /// Something authentic has come from a member.
    fn hear(&mut self, now: Instant, id: PeerId, over: PeerPath, text: &[u8]) {
        let Some(member) = self.members.get_mut(&id) else { return };
        member.note_heard(now, over);
        member.handle_frame(now, text, &mut self.events);
    }

    /// Something has come from where a plain peer is, or seems to; `false` if none is there.
    fn hear_plain(&mut self, now: Instant, over: PeerPath, text: &[u8]) -> bool {
        // It may be what shows that the hole is open.
        self.handle_meeting(now);
        let is_it = |member: &&mut Member| {
            let path = member.path.map(|path| (path.socket, path.endpoint));
            !member.name.encrypted && path == Some((over.socket, over.endpoint))
        };
        let Some(member) = self.members.values_mut().find(is_it) else { return false };
        member.heard = now;
        self.events.push_message(member.name, text.to_vec());
        true
    }

    /// Does all that is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.left {
            return;
        }
        self.meeting.handle_timeout(now);
        let is_due = |member: &&Member| member.poll_timeout().is_some_and(|due| due <= now);
        let due = self.members.values().filter(is_due).map(|member| member.name.id);
        self.touched.extend(due);
        self.advance(now);
    }

    /// This host's addresses have changed: everybody is told, and other paths are looked for.
    pub fn change_network(&mut self, now: Instant, host_candidates: &[SocketAddr]) {
        if self.left {
            return;
        }
        self.meeting.change_network(now, host_candidates);
        for member in self.members.values_mut() {
            member.ask(now);
            self.meeting.reopen(now, member.name.id);
            self.touched.push(member.name.id);
        }
        self.advance(now);
    }

    fn advance(&mut self, now: Instant) {
        self.handle_meeting(now);
        self.watch_server(now);
        while let Some(id) = self.touched.pop() {
            self.advance_member(now, id);
            if let Some(member) = self.members.get_mut(&id) {
                member.drain(now, &mut self.transmits);
            }
        }
    }

    /// Hears what the meeting has to say.
    fn handle_meeting(&mut self, now: Instant) {
        while let Some(event) = self.meeting.poll_event() {
            match event {
                MeetingEvent::Registered(observed) => {
                    self.refusal = None;
                    self.events.push(SessionEvent::Registered(observed));
                }
                MeetingEvent::Refused(reason) => self.note_refused(reason),
                MeetingEvent::ForeignDialect => self.server_is_foreign = true,
                MeetingEvent::Found(id, dialect, candidates) => {
                    self.note_found(now, id, dialect, &candidates)
                }
                MeetingEvent::Reached(status) => self.note_reached(now, &status),
                MeetingEvent::Gone(id, reason) => self.note_gone(now, id, reason),
                _ => {}
            }
        }
    }

    /// Told once, until the server takes us.
    fn note_refused(&mut self, reason: RefusedReason) {
        if self.refusal.replace(reason) != Some(reason) {
            self.events.push(SessionEvent::Refused(reason));
        }
    }

    fn note_found(&mut self, now: Instant, id: PeerId, dialect: PeerDialect, candidates: &[Candidate]) {
        let Some(member) = self.members.get_mut(&id) else {
            return self.join(now, MemberId { id, encrypted: dialect == PeerDialect::Native });
        };
        member.unlisted_since = None;
        let listed = |path: PeerPath| {
            let named = candidates.iter().any(|candidate| candidate.endpoint == path.endpoint);
            named || matches!(path.kind, CandidateKind::PeerReflexive | CandidateKind::Relayed)
        };
        // It has moved: what leads to where it was will not work.
        if member.path.is_some_and(|path| !listed(path)) {
            member.ask(now);
            self.meeting.reopen(now, id);
        }
        self.touched.push(id);
    }

    fn note_reached(&mut self, now: Instant, status: &PeerStatus) {
        let (id, encrypted) = (status.id, status.authenticated);
        let path =
            PeerPath { socket: status.socket, endpoint: status.endpoint, kind: status.kind, rtt: status.rtt };
        let (parties, rng) = (self.parties(id), self.rng.fork());
        // A hint of the server's may have been faster than its list.
        self.join(now, MemberId { id, encrypted });
        let Some(member) = self.members.get_mut(&id).filter(|member| member.name.encrypted == encrypted)
        else {
            return;
        };
        member.set_path(now, path, &mut self.events);
        if encrypted {
            member.channel.get_or_insert_with(|| Channel::new(parties, &self.pinned, rng, now));
        } else {
            member.note_connected(now);
            self.events.push(SessionEvent::Connected(member.name, path, None));
        }
        self.touched.push(id);
    }

    fn note_gone(&mut self, now: Instant, id: PeerId, reason: Option<LeaveReason>) {
        match self.members.get_mut(&id) {
            // The server may have lost it; we have not. If the server is a new one it has lost everybody, and silence alone counts.
            Some(member) if member.is_connected() && reason != Some(LeaveReason::Goodbye) => {
                member.unlisted_since = (reason.is_some() || !member.name.encrypted).then_some(now);
                member.ask(now);
                self.touched.push(id);
            }
            _ if reason == Some(LeaveReason::Goodbye) => self.depart(now, id, Departure::Goodbye),
            _ => self.depart(now, id, Departure::TimedOut),
        }
    }

    fn join(&mut self, now: Instant, name: MemberId) {
        let wanted = (name.encrypted || self.plain_peers) && name.id != PeerId::UNKNOWN;
        let new = wanted && !self.members.contains_key(&name.id) && !self.refused.contains(&name.id);
        if new && self.members.len() < MAX_MEMBERS {
            self.members.insert(name.id, Member::new(name, self.delivery, now));
            self.events.push(SessionEvent::Joined(name));
            self.touched.push(name.id);
        }
    }

    fn watch_server(&mut self, now: Instant) {
        let silent = self.meeting.server_silent_since();
        let lost = silent.is_some_and(|since| now >= since + SERVER_PATIENCE);
        if lost && !self.server_lost {
            self.events.push(SessionEvent::ServerLost);
            if std::mem::take(&mut self.server_is_foreign) {
                self.note_refused(RefusedReason::DialectRefused);
            }
        } else if silent.is_none() && self.server_lost {
            self.events.push(SessionEvent::ServerRegained);
        }
        self.server_lost = lost || (self.server_lost && silent.is_some());
    }

    fn advance_member(&mut self, now: Instant, id: PeerId) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let name = member.name;
        while let Some(event) = member.channel.as_mut().and_then(Channel::poll_event) {
            match (event, member.path) {
                (ChannelEvent::Established(key), Some(path)) => {
                    if std::mem::take(&mut member.given_up) {
                        self.events.push(SessionEvent::Joined(name));
                    }
                    member.note_connected(now);
                    self.events.push(SessionEvent::Connected(name, path, Some(key)));
                }
                (ChannelEvent::WrongKey(key), _) => member.departure = Some(Departure::WrongKey(key)),
                (ChannelEvent::Established(_), None) => {}
            }
        }
        let audible = member.handle_timeout(now);
        while let Some(number) = member.delivery.poll_delivered() {
            self.events.push(SessionEvent::Delivered(name, number));
        }
        let unanswered = member.unanswered_since();
        if member.server_is_due().is_some_and(|at| now >= at) {
            member.server_asked = true;
            self.meeting.ask_server(now);
        }
        let out_of_patience = member.patience_ends().is_some_and(|at| now >= at);
        if member.unlisted_since.is_some() && (out_of_patience || !(audible || name.encrypted)) {
            member.departure.get_or_insert(Departure::TimedOut);
        } else if !audible {
            member.departure.get_or_insert(Departure::Unreachable);
        } else if out_of_patience {
            member.reopened = Some(now);
            self.meeting.reopen(now, id);
        }
        if unanswered.is_none() && name.encrypted {
            member.unlisted_since = None;
        }
        if let Some(departure) = member.departure {
            self.depart(now, id, departure);
        }
    }

    /// A member is gone; one that may only be out of reach is looked for from the start.
    fn depart(&mut self, now: Instant, id: PeerId, departure: Departure) {
        let Some(mut member) = self.members.remove(&id) else { return };
        self.counters = member.count(self.counters);
        while let Some(message) = member.delivery.poll_message(now) {
            // The peer was told that it has come.
            self.events.push_message(member.name, message);
        }
        if !member.given_up {
            let undelivered = member.delivery.undelivered().collect();
            self.events.push(SessionEvent::Left(member.name, departure, undelivered));
        }
        if matches!(departure, Departure::WrongKey(_)) {
            self.refused.truncate(MAX_MEMBERS - 1);
            self.refused.push_front(id);
        }
        if departure == Departure::Unreachable {
            let mut looked_for = Member::new(member.name, self.delivery, now);
            looked_for.given_up = true;
            self.members.insert(id, looked_for);
            self.touched.push(id);
            self.meeting.reopen(now, id);
        } else {
            self.meeting.remove(id);
        }
    }

    /// The next datagram to send; to be asked for after every call that takes `&mut self`.
    #[must_use]
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front().or_else(|| self.meeting.poll_transmit())
    }

    /// Whether [`Self::poll_transmit`] has something to give.
    pub fn has_transmits(&self) -> bool {
        !self.transmits.is_empty()
    }

    /// Whether [`Self::poll_event`] has something to give.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty() || self.members.values().any(|member| member.delivery.has_message())
    }

    /// Whether [`Self::leave`] was called.
    pub fn has_left(&self) -> bool {
        self.left
    }

    /// The next event; to be asked for after every call that takes `&mut self`. Messages that are not asked for make their
    /// senders wait.
    #[must_use]
    pub fn poll_event(&mut self, now: Instant) -> Option<SessionEvent> {
        if let Some(event) = self.events.pop() {
            return Some(event);
        }
        // Everybody gets a turn.
        let ready = |(_, member): &(&PeerId, &Member)| member.delivery.has_message();
        let after = self.members.range((Bound::Excluded(self.served), Bound::Unbounded)).find(ready);
        self.served = after.or_else(|| self.members.iter().find(ready)).map(|(id, _)| *id)?;
        let member = self.members.get_mut(&self.served)?;
        let message = member.delivery.poll_message(now)?;
        // The peer may be told that there is room again.
        member.drain(now, &mut self.transmits);
        Some(SessionEvent::Message(member.name, message))
    }

    /// When to call `handle_timeout`; to be asked for after every call that takes `&mut self`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.left {
            return None;
        }
        let server = self.meeting.server_silent_since().filter(|_| !self.server_lost);
        let members = self.members.values().filter_map(Member::poll_timeout);
        let others = [self.meeting.poll_timeout(), server.map(|since| since + SERVER_PATIENCE)];
        members.chain(others.into_iter().flatten()).min()
    }
}

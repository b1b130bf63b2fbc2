//! A room: a meeting without an end, with a secure channel to each of its members and messages over it.

mod member;
mod types;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use self::member::{DOUBT, Member, PATH_PATIENCE};
use self::types::Events;
pub use self::types::{Departure, MAX_EVENTS, PeerPath, SessionConfig, SessionEvent};
use crate::proto::delivery::{DeliveryConfig, Rejected};
use crate::proto::meeting::{Disposition, Meeting, MeetingEvent};
use crate::proto::secure::{Channel, ChannelEvent, Parties, PublicKey};
use crate::proto::types::{CandidateKind, PeerDialect, PeerId, SocketIndex, Transmit};
use crate::proto::wire::{LeaveReason, Message};
use crate::proto::{LookupKey, Rng, SessionKeys};

/// Most members, ourselves not counted.
pub const MAX_MEMBERS: usize = 256;
/// How long the server may keep silent before it counts as lost.
const SERVER_PATIENCE: Duration = Duration::from_secs(3);

/// A room.
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
    /// Who has shown a wrong key; the latest of them.
    refused: VecDeque<PeerId>,
    server_lost: bool,
    left: bool,
    /// Datagrams that are nobody's.
    strangers: u64,
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
            refused: VecDeque::new(),
            server_lost: false,
            left: false,
            strangers: 0,
            transmits: VecDeque::new(),
            events: Events::default(),
        };
        session.handle_timeout(now);
        session
    }

    /// Our own name in the room.
    pub fn local(&self) -> PeerId {
        self.local
    }

    /// Who is there, and over which path, if messages flow.
    pub fn members(&self) -> impl Iterator<Item = (PeerId, Option<PeerPath>)> {
        self.members.values().map(|member| (member.id, member.path.filter(|_| member.is_connected())))
    }

    /// What was dropped: datagrams that are nobody's, and what the channels have dropped.
    pub fn dropped(&self) -> u64 {
        let channels = self.members.values().filter_map(|member| member.channel.as_ref());
        let of_channels = channels.map(|channel| channel.counters().forged + channel.counters().replayed);
        self.strangers + of_channels.sum::<u64>()
    }

    /// A key for another protocol between us and a member: see [`Channel::export_key`].
    pub fn export_key(&self, peer: PeerId, label: &[u8]) -> Option<[u8; 32]> {
        self.members.get(&peer)?.channel.as_ref()?.export_key(label)
    }

    /// Sends a message to a member, or to all; for each the number by which its delivery will be told. A member that is not
    /// connected yet gets it when it is.
    pub fn send(
        &mut self,
        now: Instant,
        to: Option<PeerId>,
        message: &[u8],
    ) -> Vec<(PeerId, Result<u64, Rejected>)> {
        let unread = self.events.are_many();
        let recipients = self.members.values_mut().filter(|member| to.is_none_or(|to| to == member.id));
        let taken = recipients.map(|member| {
            // Each message leads to an event, and nobody asks for those that are there.
            let result = if unread { Err(Rejected::Full) } else { member.delivery.send(message) };
            (member.id, result)
        });
        let taken = taken.collect();
        self.flush(now);
        taken
    }

    /// Says goodbye to everybody. Only [`Self::poll_transmit`] is to be asked afterwards.
    pub fn leave(&mut self, now: Instant) {
        self.left = true;
        self.members.values_mut().for_each(|member| member.say_goodbye(now));
        self.meeting.close();
        self.flush(now);
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
                let member = self.members.get_mut(&owner);
                let text =
                    member.and_then(|member| Some((member.channel.as_mut()?.open(now, &sealed)?, owner)));
                if let Some((text, owner)) = &text {
                    self.hear(now, *owner, over, text);
                }
                text.is_some()
            }
            _ => self.meeting.handle_datagram(now, socket, source, datagram) == Disposition::Control,
        };
        self.strangers += u64::from(!known);
        self.advance(now);
    }

    /// Whose end of a channel this is; nobody's name if there is none such.
    fn owner_of(&self, end: u32) -> PeerId {
        let owns = |member: &&Member| member.channel.as_ref().is_some_and(|channel| channel.has_end(end));
        self.members.values().find(owns).map_or(PeerId::UNKNOWN, |member| member.id)
    }

    /// Gives a message of a handshake to a member's channel. One that is faster than our own view of the hole comes again: until
    /// then nobody knows where an answer would go.
    fn with_channel(&mut self, id: PeerId, now: Instant, handle: impl FnOnce(Instant, &mut Channel)) -> bool {
        let Some(member) = self.members.get_mut(&id) else { return false };
        if let Some(channel) = &mut member.channel {
            handle(now, channel);
        }
        true
    }

    fn parties(&self, remote: PeerId) -> Parties {
        let (lookup, secret, local, identity) = (self.lookup, self.secret, self.local, self.identity);
        Parties { lookup, secret, local, remote, identity }
    }

    /// Something authentic has come from a member.
    fn hear(&mut self, now: Instant, id: PeerId, over: PeerPath, text: &[u8]) {
        let Some(member) = self.members.get_mut(&id) else { return };
        member.note_heard(now, over, &mut self.events);
        member.handle_frame(now, text);
    }

    /// Does all that is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.left {
            return;
        }
        self.meeting.handle_timeout(now);
        self.advance(now);
    }

    /// This host's addresses have changed: everybody is told, and other paths are looked for.
    pub fn change_network(&mut self, now: Instant, host_candidates: &[SocketAddr]) {
        self.meeting.change_network(now, host_candidates);
        for member in self.members.values_mut() {
            member.ask(now);
            self.meeting.reopen(now, member.id);
        }
        self.advance(now);
    }

    fn advance(&mut self, now: Instant) {
        while let Some(event) = self.meeting.poll_event() {
            self.handle_meeting(now, event);
        }
        self.watch_server(now);
        let ids: Vec<_> = self.members.keys().copied().collect();
        for id in ids {
            self.advance_member(now, id);
        }
        self.flush(now);
    }

    fn handle_meeting(&mut self, now: Instant, event: MeetingEvent) {
        match event {
            MeetingEvent::Registered(observed) => self.events.push(SessionEvent::Registered(observed)),
            MeetingEvent::Refused(reason) => self.events.push(SessionEvent::Refused(reason)),
            MeetingEvent::Found(id, PeerDialect::Native, candidates) => {
                if let Some(member) = self.members.get_mut(&id) {
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
                } else {
                    self.join(now, id);
                }
            }
            MeetingEvent::Reached(status) => {
                let (socket, endpoint, kind, rtt) = (status.socket, status.endpoint, status.kind, status.rtt);
                let (parties, rng) = (self.parties(status.id), self.rng.fork());
                // A hint of the server's may have been faster than its list.
                self.join(now, status.id);
                let Some(member) = self.members.get_mut(&status.id) else { return };
                member.set_path(now, PeerPath { socket, endpoint, kind, rtt }, &mut self.events);
                member.channel.get_or_insert_with(|| Channel::new(parties, &self.pinned, rng, now));
            }
            MeetingEvent::Gone(id, Some(LeaveReason::Goodbye)) => self.depart(now, id, Departure::Goodbye),
            MeetingEvent::Gone(id, _) => match self.members.get_mut(&id) {
                // The server may have lost it, or everything; we have not.
                Some(member) if member.is_connected() => {
                    member.unlisted_since = Some(now);
                    member.ask(now);
                }
                _ => self.depart(now, id, Departure::TimedOut),
            },
            _ => {}
        }
    }

    fn join(&mut self, now: Instant, id: PeerId) {
        let known = self.members.contains_key(&id) || id == PeerId::UNKNOWN;
        if !known && !self.refused.contains(&id) && self.members.len() < MAX_MEMBERS {
            self.members.insert(id, Member::new(id, self.delivery, now));
            self.events.push(SessionEvent::Joined(id));
        }
    }

    fn watch_server(&mut self, now: Instant) {
        let silent = self.meeting.server_silent_since();
        let lost = silent.is_some_and(|since| now >= since + SERVER_PATIENCE);
        if lost && !self.server_lost {
            self.events.push(SessionEvent::ServerLost);
        } else if silent.is_none() && self.server_lost {
            self.events.push(SessionEvent::ServerRegained);
        }
        self.server_lost = lost || (self.server_lost && silent.is_some());
    }

    fn advance_member(&mut self, now: Instant, id: PeerId) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let audible = member.handle_timeout(now);
        while let Some(event) = member.channel.as_mut().and_then(Channel::poll_event) {
            match (event, member.path) {
                (ChannelEvent::Established(key), Some(path)) => {
                    if std::mem::take(&mut member.given_up) {
                        self.events.push(SessionEvent::Joined(id));
                    }
                    member.note_connected(now);
                    self.events.push(SessionEvent::Connected(id, path, key));
                }
                (ChannelEvent::WrongKey(key), _) => member.departure = Some(Departure::WrongKey(key)),
                (ChannelEvent::Established(_), None) => {}
            }
        }
        while let Some(number) = member.delivery.poll_delivered() {
            self.events.push(SessionEvent::Delivered(id, number));
        }
        let unanswered = member.unanswered_since();
        let silent_for = |patience| unanswered.is_some_and(|since| now >= since + patience);
        if member.unlisted_since.is_some() && silent_for(DOUBT) {
            member.departure.get_or_insert(Departure::TimedOut);
        } else if !audible {
            member.departure.get_or_insert(Departure::Unreachable);
        } else if silent_for(PATH_PATIENCE) && member.reopened.is_none() {
            member.reopened = Some(now);
            self.meeting.reopen(now, id);
        }
        if unanswered.is_none() {
            member.unlisted_since = None;
        }
        if let Some(departure) = member.departure {
            self.depart(now, id, departure);
        }
    }

    /// A member is gone; one that may only be out of reach is looked for from the start.
    fn depart(&mut self, now: Instant, id: PeerId, departure: Departure) {
        let Some(member) = self.members.remove(&id) else { return };
        if !member.given_up {
            let undelivered = member.delivery.undelivered().collect();
            self.events.push(SessionEvent::Left(id, departure, undelivered));
        }
        if matches!(departure, Departure::WrongKey(_)) {
            self.refused.truncate(MAX_MEMBERS - 1);
            self.refused.push_front(id);
        }
        if departure == Departure::Unreachable {
            let mut looked_for = Member::new(id, self.delivery, now);
            looked_for.given_up = true;
            self.members.insert(id, looked_for);
            self.meeting.reopen(now, id);
        } else {
            self.meeting.remove(id);
        }
    }

    fn flush(&mut self, now: Instant) {
        for member in self.members.values_mut() {
            member.drain(now, &mut self.transmits);
        }
    }

    /// The next datagram to send; to be asked for after every call that takes `&mut self`.
    #[must_use]
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front().or_else(|| self.meeting.poll_transmit())
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
        let message = self.members.values_mut().find_map(|member| {
            let message = member.delivery.poll_message(now)?;
            Some(SessionEvent::Message(member.id, message))
        });
        self.flush(now);
        message
    }

    /// When to call `handle_timeout`; to be asked for after every call that takes `&mut self`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.left {
            return None;
        }
        let server = self.meeting.server_silent_since().filter(|_| !self.server_lost);
        let members = self.members.values().filter_map(|member| self.member_timeout(member));
        let others = [self.meeting.poll_timeout(), server.map(|since| since + SERVER_PATIENCE)];
        members.chain(others.into_iter().flatten()).min()
    }

    fn member_timeout(&self, member: &Member) -> Option<Instant> {
        let doubt = member.unlisted_since.map(|_| DOUBT);
        let patience = doubt.or((member.reopened.is_none()).then_some(PATH_PATIENCE));
        let unanswered = member.unanswered_since().zip(patience).map(|(since, patience)| since + patience);
        [member.poll_timeout(), unanswered].into_iter().flatten().min()
    }
}

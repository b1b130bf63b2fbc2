//! The client's side of rendezvous: register, hear of others, stay, leave; fall back to a plain server.

mod saying;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::events::{RendezvousConfig, RendezvousEvent};
use super::other_family::OtherFamily;
use super::roster::Roster;
use crate::proto::Rng;
use crate::proto::cookie::Cookie;
use crate::proto::discovery::DiscoveryConfig;
use crate::proto::types::{DialectPolicy, SocketIndex, Transmit};
use crate::proto::wire::{Challenge, Hint, Message, Profile, Refused, RefusedReason, UpdateBlock, plain};

/// Pauses after the first copies of a registration; later ones follow after the configured period.
const FIRST_PAUSES: [Duration; 5] = [
    Duration::from_millis(20),
    Duration::from_millis(20),
    Duration::from_millis(40),
    Duration::from_millis(40),
    Duration::from_millis(80),
];
/// A server that was heard so recently is not asked out of turn.
const ASK_PAUSE: Duration = Duration::from_secs(1);
/// How often a plain server is asked once it has named enough peers: often enough to learn of one that replaced them.
const PLAIN_SLOW_POLL: Duration = Duration::from_secs(1);
/// How long a native answer is waited for after a plain one. A plain reply can be forged, or drawn from the server with a
/// forged request; believing it shows the session ID to the network, so a native server gets the time of a long round trip.
const PLAIN_DOUBT: Duration = Duration::from_millis(200);
/// With a server so far away hints save time that matters. On shorter ways the two sides start too much at once to be told apart
/// from one before the other.
const WORTHWHILE_RTT: Duration = Duration::from_millis(20);
/// After so much silence over UDP it is tried over TCP, too.
const FALLBACK_AFTER: Duration = Duration::from_secs(1);
/// How long an answer over TCP is waited for before the question is repeated: nothing is lost there but with its connection.
const STREAM_RETRY: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum State {
    /// Asking to be registered in the native dialect.
    Registering { attempts: u32, next: Instant, believe_plain: Option<Instant> },
    /// Registered with a native server.
    Registered {
        handle: u64,
        heartbeat: Duration,
        expiry: Duration,
        heard: Instant,
        next: Instant,
        awaited: bool,
    },
    /// Asking a plain server.
    Plain { next: Instant, list: Vec<SocketAddr> },
    /// Said goodbye.
    Closed,
}

impl State {
    fn registering(now: Instant) -> Self {
        Self::Registering { attempts: 0, next: now, believe_plain: None }
    }
}

/// The client's side of rendezvous.
#[derive(Debug)]
pub struct RendezvousClient {
    config: RendezvousConfig,
    state: State,
    token: u64,
    sequence: u32,
    cookie: Cookie,
    chosen: Option<usize>,
    started: Instant,
    /// From the first request to the first answer.
    first_rtt: Duration,
    /// Since when a request has been without any answer.
    unanswered: Option<Instant>,
    other_family: Option<OtherFamily>,
    /// Who answered a registration in the plain dialect.
    plain_answered: Option<usize>,
    /// A valid native message came: from then on plain datagrams from the server's address change nothing.
    native_server: bool,
    /// Under which endpoint the server keeps us, as was told.
    told: Option<SocketAddr>,
    roster: Roster,
    transmits: VecDeque<Transmit>,
    events: VecDeque<RendezvousEvent>,
    dropped: u64,
}

impl RendezvousClient {
    /// Starts asking at `now`.
    pub fn new(config: RendezvousConfig, rng: &mut Rng, now: Instant) -> Self {
        let state = match config.policy {
            DialectPolicy::Plain => State::Plain { next: now, list: Vec::new() },
            DialectPolicy::Auto | DialectPolicy::Native => State::registering(now),
        };
        let roster = Roster::new(config.peer);
        Self {
            config,
            state,
            token: rng.u64(),
            sequence: 0,
            cookie: [0; 16],
            chosen: None,
            started: now,
            first_rtt: Duration::ZERO,
            unanswered: None,
            other_family: None,
            plain_answered: None,
            native_server: false,
            told: None,
            roster,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            dropped: 0,
        }
    }

    /// What the machine was made with.
    pub fn config(&self) -> &RendezvousConfig {
        &self.config
    }

    /// Whether datagrams from this source on this socket are for this machine.
    pub fn is_server(&self, socket: SocketIndex, source: SocketAddr) -> bool {
        self.config.servers.contains(&(socket, source))
    }

    /// Whether the server may be at this address.
    pub fn is_server_address(&self, address: SocketAddr) -> bool {
        self.config.servers.iter().any(|(_, server)| *server == address)
    }

    /// One of the server's addresses.
    pub fn server_address(&self) -> Option<SocketAddr> {
        self.config.servers.first().map(|(_, address)| *address)
    }

    /// The address at which a native server keeps us registered.
    pub fn native_server(&self) -> Option<SocketAddr> {
        let registered = self.native_server && !matches!(self.state, State::Closed);
        self.chosen.filter(|_| registered).map(|server| self.config.servers[server].1)
    }

    /// Whether we are registered with a native server.
    pub fn is_registered(&self) -> bool {
        matches!(self.state, State::Registered { .. })
    }

    /// The same, and over TCP.
    pub fn is_registered_over_tcp(&self) -> bool {
        self.is_registered() && self.asks_over_tcp_only()
    }

    fn asks_over_tcp_only(&self) -> bool {
        let asked = match self.chosen {
            Some(chosen) => &self.config.servers[chosen..=chosen],
            None => &self.config.servers[..],
        };
        asked.iter().all(|(socket, _)| *socket == SocketIndex::SERVER_STREAM)
    }

    /// Whether any valid answer came from the server.
    pub fn server_answered(&self) -> bool {
        self.chosen.is_some()
    }

    /// Whether the server speaks the plain dialect only (or we do).
    pub fn is_plain(&self) -> bool {
        matches!(self.state, State::Plain { .. })
    }

    /// Whether a native server, if it is one, has named all members.
    pub fn has_named_all(&self) -> bool {
        self.roster.named_all() || matches!(self.state, State::Plain { .. })
    }

    /// Datagrams from the server's address that made no sense.
    pub fn dropped(&self) -> u64 {
        self.dropped + self.roster.dropped()
    }

    /// Since when the server has not answered what it was asked.
    pub fn unanswered_since(&self) -> Option<Instant> {
        self.unanswered
    }

    /// Takes a datagram that came from one of the server's addresses.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        socket: SocketIndex,
        source: SocketAddr,
        datagram: &[u8],
    ) {
        let Some(server) = self.config.servers.iter().position(|known| *known == (socket, source)) else {
            self.dropped += 1;
            return;
        };
        if matches!(self.state, State::Closed) {
            return;
        }
        if self.chosen.is_some_and(|chosen| chosen != server) {
            if let Ok(Message::Challenge(challenge)) = Message::parse(datagram) {
                self.learn_other_family(now, server, &challenge);
            }
            return;
        }
        let understood = match Message::parse(datagram) {
            Ok(message) if self.config.policy != DialectPolicy::Plain => {
                self.handle_native(now, server, &message)
            }
            Ok(_) => false,
            Err(_) if crate::proto::wire::is_native(datagram) => false,
            Err(_) => self.handle_plain(now, server, datagram),
        };
        if !understood {
            self.dropped += 1;
        }
    }

    fn handle_native(&mut self, now: Instant, server: usize, message: &Message<'_>) -> bool {
        let (token, sequence) = match *message {
            Message::Challenge(challenge) => (challenge.token, Some(challenge.sequence)),
            Message::Registered(registered) => (registered.token, Some(registered.sequence)),
            Message::Update { token, .. } => (token, None),
            Message::PresenceAck(ack) => (ack.token, Some(ack.sequence)),
            // The answer to a datagram that was to die on the way: see `Discovery`.
            Message::MappingReply(reply) => (reply.token, None),
            Message::RelayGranted(granted) => (granted.token, None),
            Message::RelayRefused(refused) => (refused.token, None),
            Message::Left(left) => (left.token, Some(left.sequence)),
            Message::Refused(refused) => (refused.token, Some(refused.sequence)),
            Message::Hint { token, .. } => (token, None),
            _ => return false,
        };
        // The token is what a stranger who forges the server's address cannot know.
        if token != self.token || sequence.is_some_and(|sequence| sequence == 0 || sequence > self.sequence) {
            return false;
        }
        self.unanswered = None;
        if self.chosen.replace(server).is_none() {
            let over_udp = |(socket, _): &&(SocketIndex, SocketAddr)| *socket != SocketIndex::SERVER_STREAM;
            let servers: Vec<_> = self.config.servers.iter().filter(over_udp).map(|(_, at)| *at).collect();
            // Those over TCP come last.
            self.other_family = (server < servers.len())
                .then(|| OtherFamily::of(&servers, server, now, self.config.retry))
                .flatten();
            self.first_rtt = now.saturating_duration_since(self.started);
        }
        // Who knows our token and refuses the dialect says that it speaks plain, and is believed when it does.
        let speaks_native = !matches!(
            *message,
            Message::Refused(Refused { reason: Some(RefusedReason::DialectRefused), .. })
        );
        if !self.native_server && speaks_native {
            self.native_server = true;
            if self.is_plain() {
                self.events.push_back(RendezvousEvent::PlainListForged);
                self.state = State::registering(now);
            }
        }
        if let Message::Challenge(challenge) = message {
            challenge.hints.iter().for_each(|hint| self.note_hint(&hint));
        }
        match *message {
            // The same cookie again answers a retransmission; another one says that the server has a new key.
            Message::Challenge(challenge)
                if matches!(self.state, State::Registering { .. }) && challenge.cookie != self.cookie =>
            {
                self.cookie = challenge.cookie;
                let (socket, server) = self.config.servers[server];
                self.events.push_back(RendezvousEvent::Challenged(DiscoveryConfig {
                    socket,
                    local: None,
                    server,
                    observed: challenge.observed,
                    alternates: challenge.alternates,
                    cookie: challenge.cookie,
                    token: self.token,
                    thorough: false,
                }));
                self.state = State::registering(now);
                self.handle_timeout(now);
            }
            Message::Registered(registered) => {
                let heartbeat = Duration::from_millis(registered.heartbeat_ms.max(100).into());
                let expiry = Duration::from_millis(registered.expiry_ms.into()).max(heartbeat);
                if self.told.replace(registered.observed) != Some(registered.observed) {
                    self.events.push_back(RendezvousEvent::Registered { observed: registered.observed });
                }
                self.state = State::Registered {
                    handle: registered.handle,
                    heartbeat,
                    expiry,
                    heard: now,
                    next: now + heartbeat,
                    awaited: false,
                };
                self.apply(&registered.block);
            }
            Message::Update { block, .. } => {
                self.note_heard(now);
                self.apply(&block);
            }
            Message::PresenceAck(ack) => {
                self.note_heard(now);
                if let State::Registered { heartbeat, next, awaited, .. } = &mut self.state
                    && *awaited
                    && ack.sequence == self.sequence
                {
                    *awaited = false;
                    *next = now + *heartbeat;
                }
            }
            Message::RelayGranted(granted) => {
                let endpoint = SocketAddr::new(self.config.servers[server].1.ip(), granted.port);
                let (peer, ticket) = (granted.peer, granted.ticket);
                self.events.push_back(RendezvousEvent::RelayGranted { peer, endpoint, ticket });
            }
            Message::RelayRefused(refused) => {
                let (peer, reason) = (refused.peer, refused.reason);
                self.events.push_back(RendezvousEvent::RelayRefused { peer, reason });
            }
            Message::Hint { hint, .. } => self.note_hint(&hint),
            Message::Refused(refused) => match refused.reason {
                Some(RefusedReason::UnknownRegistration) => {
                    if matches!(self.state, State::Registered { .. }) {
                        // Whatever we believed to know, the server shall tell from the start.
                        self.roster.forget_instance();
                        self.told = None;
                        self.state = State::registering(now);
                    }
                }
                Some(RefusedReason::DialectRefused) if self.config.policy == DialectPolicy::Auto => {
                    if matches!(self.state, State::Registering { .. }) {
                        self.native_server = false;
                        self.state = State::Plain { next: now, list: Vec::new() };
                    }
                }
                Some(reason) => self.events.push_back(RendezvousEvent::Refused(reason)),
                None => {}
            },
            _ => {}
        }
        true
    }

    /// Says at once that we are there, rather than when it is due, unless the server has been heard of late. If our NAT has
    /// given us another endpoint the server learns of it, and the others do.
    pub fn ask(&mut self, now: Instant) {
        if let State::Registered { heard, next, .. } = &mut self.state
            && now >= *heard + ASK_PAUSE
        {
            *next = now.min(*next);
            self.handle_timeout(now);
        }
    }

    /// Says something else of ourselves from now on; the server passes it on.
    pub fn set_profile(&mut self, now: Instant, profile: Profile) {
        self.config.profile = profile;
        if matches!(self.state, State::Registering { .. } | State::Registered { .. }) {
            self.state = State::registering(now);
        }
    }

    /// Another of the server's addresses tells how it sees us.
    fn learn_other_family(&mut self, now: Instant, server: usize, challenge: &Challenge) {
        let Some(other) = &mut self.other_family else { return };
        let ours = challenge.token == self.token && other.server == server;
        if ours
            && other.note_answer(now, challenge.observed)
            && matches!(self.state, State::Registered { .. })
        {
            self.state = State::registering(now);
        }
    }

    /// Of those that the server has named for certain it needs no hints.
    fn note_hint(&mut self, hint: &Hint) {
        let Hint { peer, endpoint } = *hint;
        if peer != self.config.peer && !self.roster.contains(peer) {
            let early = self.first_rtt >= WORTHWHILE_RTT;
            self.events.push_back(RendezvousEvent::Hinted { peer, endpoint, early });
        }
    }

    fn note_heard(&mut self, now: Instant) {
        if let State::Registered { heard, .. } = &mut self.state {
            *heard = now;
        }
    }

    /// Applies what is new in a block and acknowledges it.
    fn apply(&mut self, block: &UpdateBlock<'_>) {
        if self.roster.apply(block, &mut self.events) && block.latest > 0 {
            self.send_presence(false);
        }
    }

    fn handle_plain(&mut self, now: Instant, server: usize, datagram: &[u8]) -> bool {
        if self.native_server || self.sequence == 0 || self.config.policy == DialectPolicy::Native {
            return false;
        }
        match &mut self.state {
            State::Registering { believe_plain, .. } => {
                // Whatever a plain server answers to a registration is about the "ID" that it took the registration for.
                believe_plain.get_or_insert(now + PLAIN_DOUBT);
                self.plain_answered = Some(server);
                true
            }
            State::Plain { list, .. } => {
                self.chosen = Some(server);
                if datagram.is_empty() {
                    return true;
                }
                let Some(named) = plain::parse_list(datagram) else { return false };
                if *list != named {
                    list.clone_from(&named);
                    self.events.push_back(RendezvousEvent::PlainList(named));
                }
                true
            }
            State::Registered { .. } | State::Closed => false,
        }
    }

    /// Does all that is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        if matches!(self.state, State::Registering { .. } | State::Registered { .. })
            && let Some(other) = &mut self.other_family
            && other.is_due(now, self.config.retry)
        {
            let server = other.server;
            let question = self.registration([0; 16], 0);
            self.send_to(server, question);
        }
        let over_tcp = self.asks_over_tcp_only();
        match &mut self.state {
            State::Registering { attempts, next, believe_plain } => {
                if believe_plain.is_some_and(|at| now >= at) {
                    self.chosen = self.plain_answered;
                    self.state = State::Plain { next: now, list: Vec::new() };
                    return self.handle_timeout(now);
                }
                if now < *next {
                    return;
                }
                if self.unanswered.is_some_and(|since| now >= since + FALLBACK_AFTER) {
                    self.config.servers.append(&mut self.config.fallback);
                }
                let pause = FIRST_PAUSES.get(*attempts as usize).unwrap_or(&self.config.retry);
                let wait = if over_tcp { STREAM_RETRY } else { self.config.retry.min(*pause) };
                // Repetitions are the same to the byte: a plain server takes each different one for another ID.
                self.sequence += u32::from(*attempts == 0);
                *attempts = attempts.saturating_add(1);
                *next = now + wait;
                self.unanswered.get_or_insert(now);
                self.send_register();
            }
            State::Registered { heartbeat, expiry, heard, next, awaited, .. } => {
                if now < *next {
                    return;
                }
                if now.saturating_duration_since(*heard) >= *expiry + *heartbeat {
                    // The server fell silent for so long that it has forgotten us, or is gone.
                    self.chosen = None;
                    self.told = None;
                    self.state = State::registering(now);
                    return self.handle_timeout(now);
                }
                *awaited = true;
                self.unanswered.get_or_insert(now);
                *next = now + if over_tcp { STREAM_RETRY } else { self.config.retry };
                self.send_presence(true);
            }
            State::Plain { next, list } => {
                if now < *next {
                    return;
                }
                let satisfied = list.len() >= self.config.enough;
                let pause = if satisfied { PLAIN_SLOW_POLL } else { Duration::ZERO };
                *next = now + pause.max(self.config.retry);
                self.sequence += 1;
                self.send_to_server(self.config.id.clone());
            }
            State::Closed => {}
        }
    }

    /// The next datagram to send; to be asked for after every call that takes `&mut self`.
    #[must_use]
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next event; to be asked for after `handle_datagram`.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<RendezvousEvent> {
        self.events.pop_front()
    }

    /// When to call `handle_timeout`; to be asked for after every call that takes `&mut self`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let other = self.other_family.as_ref().and_then(OtherFamily::poll_timeout);
        match &self.state {
            State::Registering { next, believe_plain, .. } => {
                [Some(*next), *believe_plain, other].into_iter().flatten().min()
            }
            State::Registered { next, .. } => Some(other.map_or(*next, |other| other.min(*next))),
            State::Plain { next, .. } => Some(*next),
            State::Closed => None,
        }
    }
}

//! All that it takes to reach the peers of one session, for as long as somebody wants it: rendezvous, punching, what our NAT
//! does, further sockets, forwarding. How much of that is enough others say: see [`super::connect`].

mod fresh;
mod paths;
mod streams;
mod types;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use self::fresh::FreshSocket;
use self::streams::{Streams, Told};
pub use self::types::{Disposition, MeetingConfig, MeetingCounters, MeetingEvent};
use crate::proto::discovery::Discovery;
use crate::proto::punch::{PeerStatus, Progress, PunchConfig, Puncher};
use crate::proto::relayed::RelayedPairs;
use crate::proto::rendezvous::{RendezvousClient, RendezvousConfig, RendezvousEvent};
use crate::proto::secure::Exchange;
use crate::proto::stream::handshake::Credentials;
use crate::proto::types::{
    Candidate, CandidateKind, DialectPolicy, PathPolicy, PeerDialect, PeerId, SocketIndex, Transmit,
    Transport, TransportPolicy,
};
use crate::proto::wire::attributes::RELAY_ONLY;
use crate::proto::wire::plain::Signal;
use crate::proto::wire::{Message, Profile, is_native};
use crate::proto::{Rng, SessionKeys};

/// One session's peers, and the ways to them.
#[derive(Debug)]
pub struct Meeting {
    local: PeerId,
    policy: DialectPolicy,
    rendezvous: Option<RendezvousClient>,
    puncher: Puncher,
    /// What is told to native peers beside the reflexive endpoint.
    profile: Profile,
    /// Whether our NAT is to be looked at, and how that goes.
    diagnosis: bool,
    discovery: Option<Discovery>,
    /// Whether our router has been asked to open a port; `None` if it must not be.
    port_mapping: Option<bool>,
    /// Which paths are good enough, and those that the server forwards on.
    paths: PathPolicy,
    relayed: RelayedPairs,
    /// Where connections are allowed.
    streams: Option<Streams>,
    /// Where a pair that should connect does not; `None` if that must not be tried.
    fresh: Option<FreshSocket>,
    counters: MeetingCounters,
    questions: VecDeque<Transmit>,
    events: VecDeque<MeetingEvent>,
}

impl Meeting {
    /// Starts at `now`; everything random in it comes from `seed`.
    pub fn new(config: MeetingConfig, seed: [u8; 32], now: Instant) -> Self {
        let mut rng = Rng::new(seed);
        let keys = SessionKeys::derive(&config.id);
        let local = PeerId(rng.bytes());
        let exchange = Arc::new(Exchange::new(rng.bytes(), keys.channel));
        let punch = PunchConfig {
            local,
            key: keys.probe,
            exchange: Arc::clone(&exchange),
            retry: config.peer_retry,
            policy: if config.plain_peers { DialectPolicy::Auto } else { config.policy },
            sockets: config.sockets,
            techniques: config.techniques,
            // Without a server nobody forwards.
            paths: if config.servers.is_empty() { PathPolicy::DirectOnly } else { config.paths },
            lasting: config.lasting,
            safe_ttl: None,
        };
        let mut puncher = Puncher::new(punch, rng.fork());
        for status in &config.resumed {
            puncher.resume_peer(now, status.clone());
        }
        for endpoints in &config.peers {
            let candidate =
                |endpoint: &SocketAddr| Candidate { kind: CandidateKind::Reflexive, endpoint: *endpoint };
            let candidates: Vec<_> = endpoints.iter().map(candidate).collect();
            puncher.add_peer(now, PeerId::UNKNOWN, PeerDialect::Unknown, &candidates);
        }
        let candidates = config
            .host_candidates
            .iter()
            .map(|endpoint| Candidate { kind: CandidateKind::Host, endpoint: *endpoint })
            .collect();
        let capabilities = if config.paths == PathPolicy::RelayOnly { RELAY_ONLY } else { 0 };
        let mut profile = Profile { candidates, capabilities, ..Profile::default() };
        let streams = (config.transport != TransportPolicy::Udp).then(|| {
            let credentials = Credentials { local, key: keys.stream, exchange };
            Streams::new(&config.stream_hosts, credentials, &mut rng)
        });
        let over_udp = |server: &SocketAddr| config.sockets.towards(*server).map(|socket| (socket, *server));
        let over_udp: Vec<_> = config.servers.iter().filter_map(over_udp).collect();
        let over_tcp = config.servers.iter().map(|server| (SocketIndex::SERVER_STREAM, *server)).collect();
        let (servers, fallback) = match config.transport {
            TransportPolicy::Udp => (over_udp, Vec::new()),
            TransportPolicy::Tcp => (over_tcp, Vec::new()),
            TransportPolicy::Either => (over_udp, over_tcp),
        };
        if config.transport == TransportPolicy::Tcp {
            profile.streams = streams.as_ref().map(Streams::hosts).unwrap_or_default();
        }
        let rendezvous = (!config.servers.is_empty()).then(|| {
            let socket_config = RendezvousConfig {
                lookup: keys.lookup,
                id: config.id.as_bytes().to_vec(),
                peer: local,
                profile: profile.clone(),
                policy: config.policy,
                servers,
                fallback,
                retry: config.server_retry,
                enough: config.wanted,
            };
            RendezvousClient::new(socket_config, &mut rng, now)
        });
        Self {
            local,
            policy: config.policy,
            rendezvous,
            puncher,
            profile,
            diagnosis: config.techniques.diagnosis,
            discovery: None,
            port_mapping: (config.techniques.port_mapping && config.paths != PathPolicy::RelayOnly)
                .then_some(false),
            paths: config.paths,
            relayed: RelayedPairs::new(config.sockets),
            streams,
            fresh: config.techniques.fresh_socket.then(|| FreshSocket::new(rng.u64())),
            counters: MeetingCounters::default(),
            questions: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Every peer that is known, in the order in which they became known; then those that left without being reached.
    pub fn peers(&self, now: Instant) -> impl Iterator<Item = PeerStatus> {
        self.puncher.peers(now).chain(self.puncher.unreached().iter().cloned())
    }

    /// Our own name.
    pub fn local(&self) -> PeerId {
        self.local
    }

    /// Opens a peer's hole anew: the agreed one does not work any more, or another may.
    pub fn reopen(&mut self, now: Instant, peer: PeerId) {
        if self.puncher.reopen(now, peer) == Some(CandidateKind::Relayed) {
            // What had to be forwarded will have to be again.
            self.relayed.add(now, peer, Transport::Udp);
        }
        self.relay(now);
    }

    /// Asks the server whether it is there, and knows where we are, unless it has just said so.
    pub fn ask_server(&mut self, now: Instant) {
        if let Some(rendezvous) = &mut self.rendezvous {
            rendezvous.ask(now);
        }
    }

    /// Knows nothing more of a peer.
    pub fn remove(&mut self, peer: PeerId) {
        self.puncher.remove(peer);
        self.relayed.remove(peer);
        self.forget_stream(peer);
    }

    /// Since when the server has not answered what it was asked.
    pub fn server_silent_since(&self) -> Option<Instant> {
        self.rendezvous.as_ref().and_then(RendezvousClient::unanswered_since)
    }

    /// This host's addresses have changed: the server and the peers are told at once.
    pub fn change_network(&mut self, now: Instant, host_candidates: &[SocketAddr]) {
        self.profile.candidates.clear();
        let host = |endpoint: &SocketAddr| Candidate { kind: CandidateKind::Host, endpoint: *endpoint };
        self.profile.candidates.extend(host_candidates.iter().map(host));
        self.publish(now);
    }

    /// How many of the peers that are there have got at least so far.
    pub fn count(&self, now: Instant, progress: Progress) -> usize {
        self.puncher.count(now, progress)
    }

    /// How many left without being reached, although they had been tried for a while.
    pub fn unreached(&self) -> usize {
        self.puncher.unreached().len()
    }

    /// What has been counted.
    pub fn counters(&self) -> MeetingCounters {
        let server_dropped = self.rendezvous.as_ref().map_or(0, RendezvousClient::dropped);
        MeetingCounters { punch: self.puncher.counters(), server_dropped, ..self.counters }
    }

    /// Whether the server, if there is one, has answered.
    pub fn server_answered(&self) -> bool {
        self.rendezvous.as_ref().is_none_or(RendezvousClient::server_answered)
    }

    /// Whether the server, if there is one, has named all members.
    pub fn has_named_all(&self) -> bool {
        self.rendezvous.as_ref().is_none_or(RendezvousClient::has_named_all)
    }

    /// The server's address, if no word of it has come.
    pub fn silent_server(&self) -> Option<SocketAddr> {
        self.rendezvous.as_ref().filter(|rendezvous| !rendezvous.server_answered())?.server_address()
    }

    /// Whether the server may be at this address.
    pub fn is_server_address(&self, address: SocketAddr) -> bool {
        self.rendezvous.as_ref().is_some_and(|rendezvous| rendezvous.is_server_address(address))
    }

    /// Takes a datagram and says whose it was.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        socket: SocketIndex,
        source: SocketAddr,
        datagram: &[u8],
    ) -> Disposition {
        let disposition = self.dispatch(now, socket, source, datagram);
        if disposition == Disposition::Stranger {
            self.counters.strangers += 1;
        }
        self.note_reached(now);
        disposition
    }

    fn dispatch(
        &mut self,
        now: Instant,
        socket: SocketIndex,
        source: SocketAddr,
        datagram: &[u8],
    ) -> Disposition {
        if socket == SocketIndex::SERVER_STREAM
            && let Ok(Message::MappingReply(reply)) = Message::parse(datagram)
            && self.note_stream_reply(now, &reply)
        {
            return Disposition::Control;
        }
        if let Some(rendezvous) = &mut self.rendezvous
            && rendezvous.is_server(socket, source)
        {
            rendezvous.handle_datagram(now, socket, source, datagram);
            if self.policy == DialectPolicy::Native && !is_native(datagram) {
                self.events.push_back(MeetingEvent::ForeignDialect);
            }
            self.drain_rendezvous(now);
            return Disposition::Control;
        }
        if is_native(datagram) {
            match Message::parse(datagram) {
                Ok(Message::Probe(_))
                    if self.paths == PathPolicy::RelayOnly && !self.relayed.is_relay(source) =>
                {
                    self.counters.strangers += 1;
                }
                Ok(Message::Probe(signed)) => self.puncher.handle_probe(now, socket, source, &signed),
                Ok(Message::MappingReply(reply)) if self.use_fresh_socket(now, source, &reply) => {}
                Ok(message) if self.discover(now, source, &message) => {}
                Ok(message) if self.handle_relay_port(now, source, &message) => {}
                Ok(_) | Err(_) => self.counters.malformed += 1,
            }
            return Disposition::Control;
        }
        if let Some(signal) = Signal::parse(datagram)
            && self.puncher.handle_signal(now, socket, source, signal)
        {
            return Disposition::Control;
        }
        if self.puncher.handle_data(now, socket, source) { Disposition::Data } else { Disposition::Stranger }
    }

    fn drain_rendezvous(&mut self, now: Instant) {
        while let Some(event) = self.rendezvous.as_mut().and_then(RendezvousClient::poll_event) {
            match event {
                RendezvousEvent::Registered { observed } => {
                    self.events.push_back(MeetingEvent::Registered(observed));
                }
                RendezvousEvent::Challenged(config) => self.begin_discovery(now, config),
                RendezvousEvent::RelayGranted { peer, endpoint, ticket } => {
                    self.relayed.handle_granted(now, peer, endpoint, ticket);
                }
                RendezvousEvent::RelayRefused { peer, reason } => {
                    self.relayed.handle_refused(now, peer, reason);
                }
                RendezvousEvent::Joined {
                    peer,
                    dialect,
                    candidates,
                    streams,
                    nat,
                    relay_only,
                    server_rtt,
                } => {
                    let told =
                        Told { peer, candidates: &candidates, streams: &streams, relay_only, server_rtt };
                    if dialect == PeerDialect::Plain || !self.meet_over_tcp(now, &told) {
                        self.puncher.add_peer(now, peer, dialect, &candidates);
                        self.puncher.set_peer_says(peer, nat, relay_only);
                    }
                    self.events.push_back(MeetingEvent::Found(peer, dialect, candidates));
                }
                RendezvousEvent::Hinted { peer, endpoint, early } if self.paths != PathPolicy::RelayOnly => {
                    self.puncher.add_hint(now, peer, endpoint, early);
                }
                RendezvousEvent::Hinted { .. } => {}
                RendezvousEvent::Left { peer, reason } => {
                    self.events.push_back(MeetingEvent::Gone(peer, reason));
                    self.relayed.remove(peer);
                    if !self.linger_over_tcp(peer) {
                        self.puncher.note_gone(now, peer);
                    }
                }
                RendezvousEvent::PlainListForged => self.puncher.forget_plain_list(),
                RendezvousEvent::PlainList(list) => {
                    self.events.push_back(MeetingEvent::PlainList(list.len()));
                    self.puncher.retain_plain_list(now, &list);
                    for endpoint in list {
                        let candidate = Candidate { kind: CandidateKind::Reflexive, endpoint };
                        self.puncher.add_peer(now, PeerId::UNKNOWN, PeerDialect::Unknown, &[candidate]);
                    }
                }
                RendezvousEvent::Refused(reason) => self.events.push_back(MeetingEvent::Refused(reason)),
            }
        }
        // What has just become known is probed now, not at the next tick.
        self.puncher.handle_timeout(now);
        self.relay(now);
    }

    /// Does all that is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(rendezvous) = &mut self.rendezvous {
            rendezvous.handle_timeout(now);
        }
        if let Some(discovery) = self.discovery.as_mut().filter(|discovery| !discovery.is_done()) {
            discovery.handle_timeout(now);
            if discovery.is_done() {
                self.note_nat(now);
            }
        }
        self.puncher.handle_timeout(now);
        self.look_for_spoiled(now);
        if let Some(punch) = self.streams() {
            punch.handle_timeout(now);
        }
        self.relay(now);
        self.note_reached(now);
    }

    fn note_reached(&mut self, now: Instant) {
        while let Some(status) = self.puncher.poll_reached(now) {
            self.events.push_back(MeetingEvent::Reached(status));
        }
    }

    /// Says goodbye to the server, so that the others are told at once.
    pub fn close(&mut self) {
        if let Some(rendezvous) = &mut self.rendezvous {
            rendezvous.close();
        }
    }

    /// The next datagram to send; to be asked for after every call that takes `&mut self`.
    #[must_use]
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        // Probes first: they are what the other side waits for.
        self.puncher
            .poll_transmit()
            .or_else(|| self.rendezvous.as_mut().and_then(RendezvousClient::poll_transmit))
            .or_else(|| self.relayed.poll_transmit())
            .or_else(|| self.discovery.as_mut().and_then(Discovery::poll_transmit))
            .or_else(|| self.questions.pop_front())
    }

    /// The next event; to be asked for after every call that takes `&mut self`.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<MeetingEvent> {
        self.events.pop_front()
    }

    /// When to call `handle_timeout`; to be asked for after every call that takes `&mut self`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let rendezvous = self.rendezvous.as_ref().and_then(RendezvousClient::poll_timeout);
        let discovery = self.discovery.as_ref().and_then(Discovery::poll_timeout);
        let fresh = self.fresh.as_ref().and_then(FreshSocket::poll_timeout);
        let spoiled = self.fresh.as_ref().filter(|fresh| fresh.is_unneeded());
        let spoiled = spoiled.and_then(|_| self.puncher.spoiled_at());
        let streams = self.streams.as_ref().and_then(Streams::poll_timeout);
        let others = [self.relayed.poll_timeout(), self.puncher.poll_timeout(), fresh, spoiled, streams];
        others.into_iter().chain([rendezvous, discovery]).flatten().min()
    }
}

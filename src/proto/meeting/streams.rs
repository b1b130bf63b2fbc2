//! TCP in a meeting: which pairs use it, what both sides of one have to know first, and when they begin.
//!
//! A pair meets over TCP if the server hears one of the two over TCP only. So both sides come to the same conclusion. Who is registered over
//! UDP and learns of such a peer asks the server, over TCP and from the port that its connections will go out from, for its own
//! endpoint, and tells it; the server's word of that reaches both sides at about the same moment, and they begin then.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Meeting;
use crate::proto::Rng;
use crate::proto::punch::{Cause, StreamHole};
use crate::proto::rendezvous::RendezvousClient;
use crate::proto::stream::handshake::Credentials;
use crate::proto::stream::{Forwarding, StreamCause, StreamConfig, StreamEvent, StreamId, StreamPunch};
use crate::proto::types::{Candidate, CandidateKind, PathPolicy, PeerId, SocketIndex, Transmit, Transport};
use crate::proto::wire::{MappingProbe, MappingReply};

/// How long one attempt at one endpoint may take, and the handshake on a connection.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
/// After so long without a connection the server is asked to forward.
const DIRECT_PATIENCE: Duration = Duration::from_secs(2);

/// Where all ways are that short attempts do not meet on the way, but may meet within a router, which then gives ours another port, as long as
/// we go on. So one side begins a moment later.
const SHORT_WAY: Duration = Duration::from_millis(4);
const APART: Duration = Duration::from_millis(3);

/// What the server knows of our own TCP endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    /// Nothing, and nobody has asked.
    Untold,
    /// It is being asked for the one that it sees.
    Asked,
    /// It is being told.
    Telling,
    /// It has told the others.
    Told,
}

/// A peer that is met over TCP.
#[derive(Debug)]
struct StreamPeer {
    id: PeerId,
    endpoints: Vec<Candidate>,
    server_rtt: Duration,
    /// Whether it is looked for.
    begun: bool,
    /// When the server is to be asked to forward; `None` if it must not be, or has been.
    relay_at: Option<Instant>,
    /// It has left. It may have done so because it has got its connection, of which we have not heard yet.
    gone: bool,
}

/// TCP's part of a meeting.
#[derive(Debug)]
pub(super) struct Streams {
    punch: StreamPunch,
    hosts: Vec<Candidate>,
    own: Own,
    token: u64,
    /// How long the server's answers take.
    rtt: Duration,
    peers: Vec<StreamPeer>,
    established: VecDeque<StreamId>,
    count: u16,
}

impl Streams {
    pub fn new(hosts: &[SocketAddr], credentials: Credentials, rng: &mut Rng) -> Self {
        let host = |endpoint: &SocketAddr| Candidate { kind: CandidateKind::Host, endpoint: *endpoint };
        let config =
            StreamConfig { credentials: Some(credentials), attempt_timeout: ATTEMPT_TIMEOUT, attempts: None };
        Self {
            punch: StreamPunch::new(config, rng.fork()),
            hosts: hosts.iter().map(host).collect(),
            own: Own::Untold,
            token: rng.u64(),
            rtt: Duration::ZERO,
            peers: Vec::new(),
            established: VecDeque::new(),
            count: 0,
        }
    }

    /// Endpoints that the first registration tells already.
    pub fn hosts(&self) -> Vec<Candidate> {
        self.hosts.clone()
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let relays = self.peers.iter().filter(|peer| peer.begun).filter_map(|peer| peer.relay_at);
        relays.chain(self.punch.poll_timeout()).min()
    }
}

/// What the server has said of a member.
pub(super) struct Told<'a> {
    pub peer: PeerId,
    pub candidates: &'a [Candidate],
    pub streams: &'a [Candidate],
    pub relay_only: bool,
    pub server_rtt: Duration,
}

impl Meeting {
    fn is_registered_over_tcp(&self) -> bool {
        self.rendezvous.as_ref().is_some_and(RendezvousClient::is_registered_over_tcp)
    }

    /// Whether a member is met over TCP; if it is, that is all to be done about it.
    pub(super) fn meet_over_tcp(&mut self, now: Instant, told: &Told<'_>) -> bool {
        let seen_over_udp =
            told.candidates.iter().any(|candidate| candidate.kind == CandidateKind::Reflexive);
        let ours = self.is_registered_over_tcp();
        if seen_over_udp && !ours {
            return false;
        }
        self.puncher.leave_to_tcp(now, told.peer);
        let Some(streams) = self.streams.as_mut().filter(|_| !told.streams.is_empty()) else {
            self.puncher.note_stream(told.peer, Err(Cause::NoTcp));
            return true;
        };
        if ours {
            streams.own = Own::Told;
        }
        let direct = self.paths != PathPolicy::RelayOnly && !told.relay_only;
        let endpoints = told.streams.iter().filter(|_| direct).copied().collect();
        let patience = if direct { DIRECT_PATIENCE } else { Duration::ZERO };
        let relay_at = (self.paths != PathPolicy::DirectOnly).then(|| now + patience);
        let (id, server_rtt) = (told.peer, told.server_rtt);
        streams.peers.retain(|peer| peer.id != id);
        streams.peers.push(StreamPeer { id, endpoints, server_rtt, begun: false, relay_at, gone: false });
        if streams.own == Own::Untold {
            self.ask_over_tcp();
        }
        self.begin_streams(now);
        true
    }

    /// Asks the server for our endpoint over TCP.
    fn ask_over_tcp(&mut self) {
        let server = self.rendezvous.as_ref().and_then(RendezvousClient::native_server);
        if let (Some(streams), Some(destination)) = (&mut self.streams, server) {
            streams.own = Own::Asked;
            let payload = MappingProbe { token: streams.token, sequence: 1 }.encode();
            let socket = SocketIndex::SERVER_STREAM;
            self.questions.push_back(Transmit { socket, destination, payload, ttl: None });
        }
    }

    /// The connection to the server is there, which took one round trip.
    pub fn handle_server_stream(&mut self, now: Instant, rtt: Duration) {
        let Some(streams) = &mut self.streams else { return };
        streams.rtt = rtt;
        self.profile.server_rtt_ms = u16::try_from(rtt.as_millis()).unwrap_or(u16::MAX).max(1);
        if streams.own == Own::Untold {
            self.profile.streams = streams.hosts();
        }
        let registered = self.rendezvous.as_ref().is_some_and(RendezvousClient::is_registered);
        if !registered {
            // It is told in the first registration over this connection.
            self.publish(now);
        }
    }

    /// The server's answer over TCP; `false` if it is none to our question.
    pub(super) fn note_stream_reply(&mut self, now: Instant, reply: &MappingReply) -> bool {
        let Some(streams) = self.streams.as_mut().filter(|streams| streams.token == reply.token) else {
            return false;
        };
        if streams.own == Own::Asked {
            streams.own = Own::Telling;
            let seen = Candidate { kind: CandidateKind::Reflexive, endpoint: reply.observed };
            self.profile.streams = [vec![seen], streams.hosts()].concat();
            self.publish(now);
        }
        true
    }

    /// Looks for the peers that know of us by now.
    pub(super) fn begin_streams(&mut self, now: Instant) {
        let registered = self.rendezvous.as_ref().is_some_and(RendezvousClient::is_registered);
        let Some(streams) = &mut self.streams else { return };
        if streams.own == Own::Telling && registered {
            streams.own = Own::Told;
        }
        if streams.own != Own::Told {
            return;
        }
        for peer in streams.peers.iter_mut().filter(|peer| !peer.begun) {
            peer.begun = true;
            // The server's word reaches who is farther away later; who is nearer waits for that.
            let known = !streams.rtt.is_zero() && !peer.server_rtt.is_zero();
            let mut wait =
                if known { peer.server_rtt.saturating_sub(streams.rtt) / 2 } else { Duration::ZERO };
            if streams.rtt.max(peer.server_rtt) <= SHORT_WAY && self.local < peer.id {
                wait += APART;
            }
            streams.punch.add_peer(now, peer.id, &peer.endpoints, now + wait);
        }
    }

    /// Asks for forwarding where no connection comes about, and notes what has.
    pub(super) fn advance_streams(&mut self, now: Instant) {
        self.begin_streams(now);
        let Some(streams) = &mut self.streams else { return };
        for peer in streams.peers.iter_mut().filter(|peer| peer.begun) {
            if peer.relay_at.take_if(|at| now >= *at).is_some() {
                self.relayed.add(now, peer.id, Transport::Tcp);
            }
            if let Some(report) = streams.punch.report(peer.id) {
                self.puncher.note_stream(peer.id, Err(cause_of(report.cause())));
            }
        }
        while let Some(event) = streams.punch.poll_event() {
            let StreamEvent::Established(established) = event else { continue };
            let id = established.peer;
            streams.peers.retain(|peer| peer.id != id);
            self.relayed.remove(id);
            // It may have been faster than the list that names it.
            self.puncher.leave_to_tcp(now, id);
            let hole = StreamHole {
                remote: established.remote,
                kind: established.kind,
                rtt: established.rtt,
                socket: SocketIndex(streams.count),
                exporter: established.exporter,
            };
            streams.count += 1;
            streams.established.push_back(established.id);
            self.puncher.note_stream(id, Ok(hole));
        }
        self.forget_gone(now);
    }

    /// Forgets those who have left, once nothing of theirs is open any more.
    fn forget_gone(&mut self, now: Instant) {
        let Some(streams) = &mut self.streams else { return };
        let gone: Vec<_> = streams.peers.iter().filter(|peer| peer.gone).map(|peer| peer.id).collect();
        for id in gone {
            if !self.linger_over_tcp(id) {
                self.puncher.note_gone(now, id);
            }
        }
    }

    /// The server forwards between us and a peer.
    pub(super) fn forward_stream(&mut self, now: Instant, peer: PeerId, forwarding: Forwarding) {
        if let Some(streams) = &mut self.streams {
            streams.punch.add_forwarding(now, peer, forwarding);
        }
    }

    /// A peer has left. Whether there is something open that may still become its connection.
    pub(super) fn linger_over_tcp(&mut self, id: PeerId) -> bool {
        let Some(streams) = &mut self.streams else { return false };
        let lingers = streams.punch.stop_dialling(id);
        for peer in streams.peers.iter_mut().filter(|peer| peer.id == id) {
            (peer.gone, peer.relay_at) = (true, None);
        }
        if !lingers {
            self.forget_stream(id);
        }
        lingers
    }

    /// Nobody is there any more.
    pub(super) fn forget_stream(&mut self, peer: PeerId) {
        if let Some(streams) = &mut self.streams {
            streams.peers.retain(|known| known.id != peer);
            streams.punch.remove(peer);
        }
    }

    /// TCP's machine, for the driver; `None` where TCP must not be used. To be followed by [`Self::note_streams`].
    pub fn streams(&mut self) -> Option<&mut StreamPunch> {
        self.streams.as_mut().map(|streams| &mut streams.punch)
    }

    /// Something has happened to TCP's machine.
    pub fn note_streams(&mut self, now: Instant) {
        self.advance_streams(now);
        self.note_reached(now);
    }

    /// The next connection that is a peer's: the driver keeps them in this order.
    #[must_use]
    pub fn poll_established(&mut self) -> Option<StreamId> {
        self.streams.as_mut()?.established.pop_front()
    }
}

fn cause_of(cause: StreamCause) -> Cause {
    match cause {
        StreamCause::Stranger | StreamCause::Silent => Cause::TcpStranger,
        StreamCause::Refused => Cause::TcpRefused,
        StreamCause::NothingToTry
        | StreamCause::Unanswered
        | StreamCause::Unreachable
        | StreamCause::Local(_) => Cause::TcpUnanswered,
    }
}

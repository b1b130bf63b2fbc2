//! The client's side of forwarding: asks the server for it, shows its ticket, and keeps its place.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::types::{LocalSockets, PeerId, Transmit};
use super::wire::RelayRefusal;
use super::wire::relay::{Ticket, encode_relay_bind};

/// The pause between two unanswered requests or tickets.
const RETRY: Duration = Duration::from_millis(100);
/// How often the ticket is shown again, so that the NAT keeps the mapping.
const REFRESH: Duration = Duration::from_secs(10);
/// After so many tickets without an answer the server is asked again: the pair has ended, or the server is another.
const MAX_UNANSWERED: u32 = 10;
/// How soon the server is asked again about a peer that it does not know (any more, or yet).
const UNKNOWN_RETRY: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
enum State {
    /// The server is asked.
    Asking,
    /// The relay port is shown the ticket.
    Binding { endpoint: SocketAddr, ticket: Ticket },
    /// It knows us.
    Bound { endpoint: SocketAddr, ticket: Ticket },
    /// The server does not forward for us.
    Refused,
}

#[derive(Debug)]
struct Link {
    peer: PeerId,
    state: State,
    next: Instant,
    /// Tickets since the last answer.
    unanswered: u32,
    /// It was told that the server refuses.
    refused: bool,
}

/// What became of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayedEvent {
    /// The peer can be reached there as soon as it has come, too.
    Bound(PeerId, SocketAddr),
    /// The server does not forward; `None`: for a reason that is not known here.
    Refused(PeerId, Option<RelayRefusal>),
}

/// All pairs of one client.
#[derive(Debug)]
pub struct RelayedPairs {
    sockets: LocalSockets,
    links: Vec<Link>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<RelayedEvent>,
}

impl RelayedPairs {
    /// None yet.
    pub fn new(sockets: LocalSockets) -> Self {
        Self { sockets, links: Vec::new(), transmits: VecDeque::new(), events: VecDeque::new() }
    }

    /// Wants to be forwarded to this peer, from now on; what is granted already is made sure of.
    pub fn add(&mut self, now: Instant, peer: PeerId) {
        let asking = Link { peer, state: State::Asking, next: now, unanswered: 0, refused: false };
        match self.links.iter_mut().find(|link| link.peer == peer) {
            Some(link) if matches!(link.state, State::Refused) => *link = asking,
            Some(link) => link.next = now,
            None => self.links.push(asking),
        }
    }

    /// Nobody is there any more.
    pub fn remove(&mut self, peer: PeerId) {
        self.links.retain(|link| link.peer != peer);
    }

    /// Whether datagrams from there are a peer's, forwarded.
    pub fn is_relay(&self, source: SocketAddr) -> bool {
        self.links.iter().any(|link| match link.state {
            State::Binding { endpoint, .. } | State::Bound { endpoint, .. } => endpoint == source,
            State::Asking | State::Refused => false,
        })
    }

    /// The server has given us a ticket.
    pub fn handle_granted(&mut self, now: Instant, peer: PeerId, endpoint: SocketAddr, ticket: Ticket) {
        let asking = |link: &&mut Link| link.peer == peer && matches!(link.state, State::Asking);
        if let Some(link) = self.links.iter_mut().find(asking) {
            (link.state, link.next, link.unanswered) = (State::Binding { endpoint, ticket }, now, 0);
            self.handle_timeout(now, |_| {});
        }
    }

    /// The server has refused.
    pub fn handle_refused(&mut self, now: Instant, peer: PeerId, reason: Option<RelayRefusal>) {
        let asking = |link: &&mut Link| link.peer == peer && matches!(link.state, State::Asking);
        if let Some(link) = self.links.iter_mut().find(asking) {
            if reason == Some(RelayRefusal::UnknownPeer) {
                link.next = now + UNKNOWN_RETRY;
            } else {
                link.state = State::Refused;
            }
            if !std::mem::replace(&mut link.refused, true) {
                self.events.push_back(RelayedEvent::Refused(peer, reason));
            }
        }
    }

    /// A relay port has taken a ticket; `false` if it is none of ours.
    pub fn handle_bound(&mut self, now: Instant, source: SocketAddr, bound: &Ticket) -> bool {
        let ours = |link: &&mut Link| match link.state {
            State::Binding { endpoint, ticket } | State::Bound { endpoint, ticket } => {
                endpoint == source && ticket == *bound
            }
            State::Asking | State::Refused => false,
        };
        let Some(link) = self.links.iter_mut().find(ours) else { return false };
        if let State::Binding { endpoint, ticket } = link.state {
            link.state = State::Bound { endpoint, ticket };
            self.events.push_back(RelayedEvent::Bound(link.peer, endpoint));
        }
        (link.next, link.unanswered) = (now + REFRESH, 0);
        true
    }

    /// Does what is due at `now`; `ask` asks the server to forward to a peer.
    pub fn handle_timeout(&mut self, now: Instant, mut ask: impl FnMut(PeerId)) {
        for link in self.links.iter_mut().filter(|link| now >= link.next) {
            if link.unanswered >= MAX_UNANSWERED {
                (link.state, link.unanswered) = (State::Asking, 0);
            }
            match link.state {
                State::Asking => ask(link.peer),
                State::Binding { endpoint, ticket } | State::Bound { endpoint, ticket } => {
                    link.unanswered += 1;
                    if let Some(socket) = self.sockets.towards(endpoint) {
                        let payload = encode_relay_bind(&ticket);
                        self.transmits.push_back(Transmit {
                            socket,
                            destination: endpoint,
                            payload,
                            ttl: None,
                        });
                    }
                }
                State::Refused => continue,
            }
            link.next = now + RETRY;
        }
    }

    /// The next datagram to send; to be asked for after every call that takes `&mut self`.
    #[must_use]
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next event; to be asked for after every call that takes `&mut self`.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<RelayedEvent> {
        self.events.pop_front()
    }

    /// When to call `handle_timeout`; to be asked for after every call that takes `&mut self`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let live = self.links.iter().filter(|link| !matches!(link.state, State::Refused));
        live.map(|link| link.next).min()
    }
}

//! The client's side of forwarding: asks the server for it, shows its ticket, and keeps its place.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::stream::Forwarding;
use super::types::{LocalSockets, PeerId, Transmit, Transport};
use super::wire::RelayRefusal;
use super::wire::relay::{Ticket, encode_relay_bind};

/// The pause between two unanswered tickets, and after the first request; further requests wait twice as long each.
const RETRY: Duration = Duration::from_millis(100);
/// The longest pause between two requests about one peer.
const MAX_ASK_RETRY: Duration = Duration::from_secs(2);
/// The server is asked about so many peers at once, and from then on about one at a time. Else a big session whose members cannot
/// reach each other would drown its server, which then answers nobody.
const ASK_BURST: u32 = 16;
const ASK_PAUSE: Duration = Duration::from_millis(20);
/// How often the ticket is shown again, so that the NAT keeps the mapping.
const REFRESH: Duration = Duration::from_secs(10);
/// After so many tickets without an answer the server is asked again: the pair has ended, or the server is another.
const MAX_UNANSWERED: u32 = 10;
/// How soon the server is asked again about a peer that it does not know (any more, or yet).
const UNKNOWN_RETRY: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
enum State {
    /// The server is asked, so often until now.
    Asking(u32),
    /// The relay port is shown the ticket.
    Binding { endpoint: SocketAddr, ticket: Ticket },
    /// It knows us.
    Bound { endpoint: SocketAddr, ticket: Ticket },
    /// The server does not forward for us.
    Refused,
    /// Somebody else uses the ticket: connections are not bound here.
    Given,
}

#[derive(Debug)]
struct Link {
    peer: PeerId,
    transport: Transport,
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
    /// Who shows this ticket over a connection to there is connected to the peer, as soon as that does so, too.
    Granted(PeerId, Forwarding),
    /// The server does not forward; `None`: for a reason that is not known here.
    Refused(PeerId, Option<RelayRefusal>),
}

/// All pairs of one client.
#[derive(Debug)]
pub struct RelayedPairs {
    sockets: LocalSockets,
    links: Vec<Link>,
    /// When the server would have been asked all that it was, had it been one at a time.
    paced: Option<Instant>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<RelayedEvent>,
}

impl RelayedPairs {
    /// None yet.
    pub fn new(sockets: LocalSockets) -> Self {
        Self { sockets, links: Vec::new(), paced: None, transmits: VecDeque::new(), events: VecDeque::new() }
    }

    /// Wants to be forwarded to this peer, from now on; what is granted already is made sure of.
    pub fn add(&mut self, now: Instant, peer: PeerId, transport: Transport) {
        let state = State::Asking(0);
        let asking = Link { peer, transport, state, next: now, unanswered: 0, refused: false };
        match self.links.iter_mut().find(|link| link.peer == peer) {
            Some(link) if matches!(link.state, State::Refused | State::Given) => *link = asking,
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
            State::Asking(_) | State::Refused | State::Given => false,
        })
    }

    /// The server has given us a ticket.
    pub fn handle_granted(&mut self, now: Instant, peer: PeerId, endpoint: SocketAddr, ticket: Ticket) {
        let asking = |link: &&mut Link| link.peer == peer && matches!(link.state, State::Asking(_));
        let Some(link) = self.links.iter_mut().find(asking) else { return };
        if link.transport == Transport::Tcp {
            link.state = State::Given;
            self.events.push_back(RelayedEvent::Granted(peer, Forwarding { server: endpoint, ticket }));
        } else {
            (link.state, link.next, link.unanswered) = (State::Binding { endpoint, ticket }, now, 0);
            self.handle_timeout(now, |_, _| {});
        }
    }

    /// The server has refused.
    pub fn handle_refused(&mut self, now: Instant, peer: PeerId, reason: Option<RelayRefusal>) {
        let for_all = reason == Some(RelayRefusal::NotOffered);
        for link in self.links.iter_mut().filter(|link| for_all || link.peer == peer) {
            if !matches!(link.state, State::Asking(_)) {
                continue;
            }
            if reason == Some(RelayRefusal::UnknownPeer) {
                link.next = now + UNKNOWN_RETRY;
            } else {
                link.state = State::Refused;
            }
            if !std::mem::replace(&mut link.refused, true) {
                self.events.push_back(RelayedEvent::Refused(link.peer, reason));
            }
        }
    }

    /// A relay port has taken a ticket; `false` if it is none of ours.
    pub fn handle_bound(&mut self, now: Instant, source: SocketAddr, bound: &Ticket) -> bool {
        let ours = |link: &&mut Link| match link.state {
            State::Binding { endpoint, ticket } | State::Bound { endpoint, ticket } => {
                endpoint == source && ticket == *bound
            }
            State::Asking(_) | State::Refused | State::Given => false,
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
    pub fn handle_timeout(&mut self, now: Instant, ask: impl FnMut(PeerId, Transport)) {
        for link in self.links.iter_mut().filter(|link| now >= link.next) {
            if link.unanswered >= MAX_UNANSWERED {
                (link.state, link.unanswered) = (State::Asking(0), 0);
            }
            if let State::Binding { endpoint, ticket } | State::Bound { endpoint, ticket } = link.state {
                (link.unanswered, link.next) = (link.unanswered + 1, now + RETRY);
                if let Some(socket) = self.sockets.towards(endpoint) {
                    let payload = encode_relay_bind(&ticket);
                    self.transmits.push_back(Transmit { socket, destination: endpoint, payload, ttl: None });
                }
            }
        }
        self.ask_in_turn(now, ask);
    }

    /// Asks about those that have waited longest, as many as may be asked about now.
    fn ask_in_turn(&mut self, now: Instant, mut ask: impl FnMut(PeerId, Transport)) {
        while self.may_ask_at().is_none_or(|at| now >= at) {
            let waiting = self.links.iter_mut().filter(|link| matches!(link.state, State::Asking(_)));
            let Some(link) = waiting.min_by_key(|link| link.next).filter(|link| now >= link.next) else {
                return;
            };
            let State::Asking(before) = link.state else { return };
            ask(link.peer, link.transport);
            link.state = State::Asking(before + 1);
            link.next = now + RETRY.saturating_mul(1 << before.min(16)).min(MAX_ASK_RETRY);
            self.paced = Some(self.paced.unwrap_or(now).max(now) + ASK_PAUSE);
        }
    }

    /// When the server may be asked again; `None`: at any time.
    fn may_ask_at(&self) -> Option<Instant> {
        self.paced.and_then(|paced| paced.checked_sub(ASK_PAUSE * (ASK_BURST - 1)))
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
        let due = self.links.iter().filter_map(|link| match link.state {
            State::Asking(_) => Some(self.may_ask_at().map_or(link.next, |at| at.max(link.next))),
            State::Binding { .. } | State::Bound { .. } => Some(link.next),
            State::Refused | State::Given => None,
        });
        due.min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u32) -> PeerId {
        let mut id = [1; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        PeerId(id)
    }

    /// Asks about so many at once, for so long, of a server that answers nothing: who was asked about, and when.
    fn ask_in_vain(count: u32, time: Duration) -> Vec<(Duration, PeerId)> {
        let start = Instant::now();
        let (mut pairs, mut asked, mut now) = (RelayedPairs::new(LocalSockets::default()), Vec::new(), start);
        (0..count).for_each(|number| pairs.add(now, peer(number), Transport::Udp));
        while now <= start + time {
            pairs.handle_timeout(now, |peer, _| asked.push((now - start, peer)));
            let next = pairs.poll_timeout().unwrap();
            assert!(next > now, "it would be busy");
            now = next;
        }
        asked
    }

    #[test]
    fn few_peers_are_asked_about_at_once_and_ever_less_often() {
        let asked = ask_in_vain(9, Duration::from_secs(10));
        assert!(asked[..9].iter().all(|(at, _)| at.is_zero()));
        let of_one = asked.iter().filter(|(_, asked)| *asked == peer(3)).map(|(at, _)| at.as_millis());
        assert_eq!(of_one.collect::<Vec<_>>(), [0, 100, 300, 700, 1500, 3100, 5100, 7100, 9100]);
    }

    #[test]
    fn many_peers_have_their_turns_and_the_server_some_rest() {
        let asked = ask_in_vain(256, Duration::from_secs(20));
        assert_eq!(asked.iter().filter(|(at, _)| at.is_zero()).count(), ASK_BURST as usize);
        assert!(asked.len() <= 16 + 20 * 50, "{} within 20 s", asked.len());
        for number in 0..256 {
            let times = asked.iter().filter(|(_, asked)| *asked == peer(number)).count();
            assert!((3..=6).contains(&times), "peer {number} was asked about {times} times");
        }
    }

    #[test]
    fn server_that_forwards_for_nobody_is_not_asked_about_others() {
        let now = Instant::now();
        let mut pairs = RelayedPairs::new(LocalSockets::default());
        (0..100).for_each(|number| pairs.add(now, peer(number), Transport::Udp));
        pairs.handle_timeout(now, |_, _| {});
        pairs.handle_refused(now, peer(5), Some(RelayRefusal::NotOffered));
        assert_eq!(std::iter::from_fn(|| pairs.poll_event()).count(), 100, "each is told once");
        assert_eq!(pairs.poll_timeout(), None);
        // One that the server does not know says nothing of the others.
        let now = now + ASK_PAUSE * ASK_BURST;
        pairs.add(now, peer(5), Transport::Udp);
        pairs.add(now, peer(6), Transport::Udp);
        pairs.handle_refused(now, peer(5), Some(RelayRefusal::UnknownPeer));
        let mut asked = Vec::new();
        pairs.handle_timeout(now, |peer, _| asked.push(peer));
        assert_eq!(asked, [peer(6)]);
    }

    #[test]
    fn ticket_for_a_connection_is_given_away() {
        let now = Instant::now();
        let mut pairs = RelayedPairs::new(LocalSockets::default());
        pairs.add(now, peer(1), Transport::Tcp);
        let mut asked = Vec::new();
        pairs.handle_timeout(now, |peer, transport| asked.push((peer, transport)));
        assert_eq!(asked, [(peer(1), Transport::Tcp)]);
        let server = "198.51.100.1:5000".parse().unwrap();
        pairs.handle_granted(now, peer(1), server, [7; 16]);
        let given = RelayedEvent::Granted(peer(1), Forwarding { server, ticket: [7; 16] });
        assert_eq!(pairs.poll_event(), Some(given));
        assert_eq!((pairs.poll_transmit(), pairs.poll_timeout()), (None, None));
        assert!(!pairs.is_relay(server));
        pairs.add(now, peer(1), Transport::Tcp);
        assert_eq!(pairs.poll_timeout(), Some(now), "it is asked for again");
    }
}

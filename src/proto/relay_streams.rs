//! The server's forwarding of connections, where no two peers find a direct one: who may use it, and which two belong together.
//!
//! Two members of one session get a ticket each, as for datagrams. A connection on which a ticket is shown waits until one with the
//! other ticket has come; from then on each one's bytes are the other's. Whoever drives this names connections by numbers that it
//! never uses again.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ahash::RandomState;

use super::Rng;
use super::relay::{Allowance, PairKey, Party, RelayLimits};
use super::wire::relay::{RelayRefusal, Ticket};

/// What a relay of connections has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayStreamCounters {
    /// Pairs now.
    pub pairs: u64,
    /// Pairs that were granted, those that have ended included.
    pub granted: u64,
    /// Requests that were refused for a limit.
    pub refused: u64,
    /// How often both sides of a pair had come.
    pub joined: u64,
    /// Bytes that were taken to be forwarded.
    pub forwarded_bytes: u64,
    /// Connections that showed a ticket of nobody's, or of a pair whose both sides are there.
    pub unknown: u64,
    /// Connections that waited in vain for the other side.
    pub alone: u64,
}

/// What becomes of a connection on which a ticket was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamBind {
    /// Close it.
    Unknown,
    /// It waits for the other side; an older one with the same ticket is to be closed.
    Waits(Option<u64>),
    /// The other side is this connection, which showed this ticket: tell both, and forward.
    Joined(u64, Ticket),
}

#[derive(Debug)]
struct Pair {
    key: PairKey,
    tickets: [Ticket; 2],
    registered: [SocketAddr; 2],
    /// The connections: one while it waits, both while they are forwarded to each other.
    bound: [Option<u64>; 2],
    created: Instant,
    used: Instant,
    allowance: Allowance,
}

impl Pair {
    fn is_joined(&self) -> bool {
        self.bound.iter().all(Option::is_some)
    }
}

/// All pairs of a server whose connections it forwards.
#[derive(Debug)]
pub struct RelayStreams {
    limits: RelayLimits,
    /// How long a connection waits for the other side.
    patience: Duration,
    /// How long nothing need be forwarded between two that are connected.
    silence: Duration,
    rng: Rng,
    pairs: HashMap<u64, Pair, RandomState>,
    next: u64,
    by_key: HashMap<PairKey, u64, RandomState>,
    by_ticket: HashMap<Ticket, (u64, usize), RandomState>,
    by_connection: HashMap<u64, (u64, usize), RandomState>,
    /// How many pairs a registered endpoint has.
    taken: HashMap<SocketAddr, usize, RandomState>,
    counters: RelayStreamCounters,
}

impl RelayStreams {
    /// No pairs yet; tickets come from `rng`. Of the limits, `ports` is how many pairs one client can have. A connection waits for the
    /// other side of its pair for `patience`.
    pub fn new(limits: RelayLimits, patience: Duration, silence: Duration, mut rng: Rng) -> Self {
        let hasher = RandomState::with_seeds(rng.u64(), rng.u64(), rng.u64(), rng.u64());
        Self {
            limits,
            patience,
            silence,
            rng,
            pairs: HashMap::with_hasher(hasher.clone()),
            next: 0,
            by_key: HashMap::with_hasher(hasher.clone()),
            by_ticket: HashMap::with_hasher(hasher.clone()),
            by_connection: HashMap::with_hasher(hasher.clone()),
            taken: HashMap::with_hasher(hasher),
            counters: RelayStreamCounters::default(),
        }
    }

    /// What has been counted.
    pub fn counters(&self) -> RelayStreamCounters {
        RelayStreamCounters { pairs: self.pairs.len() as u64, ..self.counters }
    }

    /// A ticket for `us`, who wants to be forwarded to `other` of the same session; asking again gives the same.
    pub fn grant(
        &mut self,
        now: Instant,
        session: u32,
        us: Party,
        other: Party,
    ) -> Result<Ticket, RelayRefusal> {
        let side = usize::from(us.peer > other.peer);
        let (first, second) = if side == 0 { (us, other) } else { (other, us) };
        let key = (session, first.peer, second.peer);
        if let Some(pair) = self.by_key.get(&key).and_then(|id| self.pairs.get(id)) {
            return Ok(pair.tickets[side]);
        }
        let registered = [first.endpoint, second.endpoint];
        let has_all = |endpoint| self.taken.get(endpoint).is_some_and(|pairs| *pairs >= self.limits.ports);
        if self.pairs.len() >= self.limits.max_pairs || registered.iter().any(has_all) {
            self.counters.refused += 1;
            return Err(RelayRefusal::Full);
        }
        self.counters.granted += 1;
        let tickets: [Ticket; 2] = [self.rng.bytes(), self.rng.bytes()];
        let id = self.next;
        self.next += 1;
        for (side, ticket) in tickets.into_iter().enumerate() {
            self.by_ticket.insert(ticket, (id, side));
            *self.taken.entry(registered[side]).or_default() += 1;
        }
        self.by_key.insert(key, id);
        let allowance = Allowance::new(now, self.limits.bytes_per_second);
        let pair = Pair { key, tickets, registered, bound: [None; 2], created: now, used: now, allowance };
        self.pairs.insert(id, pair);
        Ok(tickets[side])
    }

    /// This ticket was shown on that connection.
    pub fn bind(&mut self, now: Instant, ticket: &Ticket, connection: u64) -> StreamBind {
        let place = self.by_ticket.get(ticket).copied();
        let pair = place.and_then(|(id, side)| Some((self.pairs.get_mut(&id)?, (id, side))));
        let Some((pair, place)) = pair.filter(|(pair, _)| !pair.is_joined()) else {
            self.counters.unknown += 1;
            return StreamBind::Unknown;
        };
        let side = place.1;
        let replaced = pair.bound[side].replace(connection);
        pair.used = now;
        self.by_connection.insert(connection, place);
        if let Some(replaced) = replaced {
            self.by_connection.remove(&replaced);
        }
        match pair.bound[1 - side] {
            Some(other) => {
                self.counters.joined += 1;
                StreamBind::Joined(other, pair.tickets[1 - side])
            }
            None => StreamBind::Waits(replaced),
        }
    }

    /// How many bytes may be taken from this connection now; 0: it has to wait, if it is still one of a pair.
    pub fn allowance(&mut self, now: Instant, connection: u64) -> u64 {
        let rate = self.limits.bytes_per_second;
        self.pair_of(connection).map_or(0, |pair| pair.allowance.available(now, rate))
    }

    /// So many bytes were taken from this connection to be forwarded.
    pub fn note_forwarded(&mut self, now: Instant, connection: u64, bytes: u64) {
        self.note_used(now, connection);
        if let Some(pair) = self.pair_of(connection) {
            pair.allowance.spend(bytes);
            self.counters.forwarded_bytes += bytes;
        }
    }

    /// Something went to, or came from, this connection.
    pub fn note_used(&mut self, now: Instant, connection: u64) {
        if let Some(pair) = self.pair_of(connection) {
            pair.used = now;
        }
    }

    fn pair_of(&mut self, connection: u64) -> Option<&mut Pair> {
        let (id, _) = self.by_connection.get(&connection)?;
        self.pairs.get_mut(id)
    }

    /// This connection has ended, and with it the other one, if that had come. Their tickets are good for new ones.
    pub fn handle_closed(&mut self, connection: u64) {
        let Some((id, _)) = self.by_connection.get(&connection) else { return };
        let Some(pair) = self.pairs.get_mut(id) else { return };
        for bound in std::mem::take(&mut pair.bound).into_iter().flatten() {
            self.by_connection.remove(&bound);
        }
    }

    /// Ends what has lasted, waited or been unused for too long; returns the connections to be closed for that. To be called every
    /// second or so.
    #[must_use]
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<u64> {
        let age = |since: Instant| now.saturating_duration_since(since);
        let mut closed = Vec::new();
        for pair in self.pairs.values_mut().filter(|pair| !pair.is_joined()) {
            if age(pair.used) >= self.patience {
                let bound = std::mem::take(&mut pair.bound);
                closed.extend(bound.into_iter().flatten());
            }
        }
        self.counters.alone += closed.len() as u64;
        let limits = &self.limits;
        let is_over = |pair: &Pair| {
            let idle = if pair.is_joined() { self.silence } else { limits.idle };
            age(pair.used) >= idle || age(pair.created) >= limits.lifetime
        };
        let over: Vec<u64> = self.pairs.iter().filter(|(_, pair)| is_over(pair)).map(|(id, _)| *id).collect();
        for pair in over.iter().filter_map(|id| self.pairs.remove(id)) {
            self.by_key.remove(&pair.key);
            closed.extend(pair.bound.into_iter().flatten());
            for side in 0..2 {
                self.by_ticket.remove(&pair.tickets[side]);
                let endpoint = pair.registered[side];
                if let Some(pairs) = self.taken.get_mut(&endpoint) {
                    *pairs -= 1;
                    if *pairs == 0 {
                        self.taken.remove(&endpoint);
                    }
                }
            }
        }
        for connection in &closed {
            self.by_connection.remove(connection);
        }
        closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::PeerId;

    const LIMITS: RelayLimits = RelayLimits {
        ports: 2,
        max_pairs: 3,
        bytes_per_second: Some(1000),
        idle: Duration::from_secs(60),
        lifetime: Duration::from_secs(600),
    };
    const PATIENCE: Duration = Duration::from_secs(30);
    const SILENCE: Duration = Duration::from_secs(100);
    const MILLISECOND: Duration = Duration::from_millis(1);

    fn party(number: u8) -> Party {
        Party {
            peer: PeerId([number; 16]),
            endpoint: SocketAddr::from(([198, 51, 100, number], u16::from(number))),
        }
    }

    fn streams() -> (RelayStreams, Instant) {
        (RelayStreams::new(LIMITS, PATIENCE, SILENCE, Rng::new([4; 32])), Instant::now())
    }

    /// Both tickets of the pair of these two.
    fn tickets(streams: &mut RelayStreams, now: Instant, one: u8, other: u8) -> [Ticket; 2] {
        [
            streams.grant(now, 7, party(one), party(other)).unwrap(),
            streams.grant(now, 7, party(other), party(one)).unwrap(),
        ]
    }

    fn is_empty(streams: &RelayStreams) -> bool {
        let indexes = [streams.by_key.len(), streams.by_ticket.len(), streams.by_connection.len()];
        streams.pairs.is_empty() && streams.taken.is_empty() && indexes == [0; 3]
    }

    #[test]
    fn two_connections_with_a_pairs_tickets_belong_together_whoever_comes_first() {
        let (mut streams, now) = streams();
        let tickets = tickets(&mut streams, now, 1, 2);
        assert_ne!(tickets[0], tickets[1]);
        for (first, second, at) in [(0, 1, 10), (1, 0, 20)] {
            assert_eq!(streams.bind(now, &tickets[first], at), StreamBind::Waits(None));
            assert_eq!(streams.bind(now, &tickets[first], at + 1), StreamBind::Waits(Some(at)), "replaced");
            let joined = StreamBind::Joined(at + 1, tickets[first]);
            assert_eq!(streams.bind(now, &tickets[second], at + 2), joined);
            // Who is forwarded is replaced by nobody.
            assert_eq!(streams.bind(now, &tickets[first], at + 3), StreamBind::Unknown);
            // Nor does it matter that the replaced one ends.
            streams.handle_closed(at);
            assert!(streams.allowance(now, at + 1) > 0 && streams.allowance(now, at + 2) > 0);
            // When one ends, both tickets are good again.
            streams.handle_closed(at + 2);
            assert_eq!((streams.allowance(now, at + 1), streams.by_connection.len()), (0, 0));
        }
        assert_eq!(streams.bind(now, &[0; 16], 30), StreamBind::Unknown);
        let counters = streams.counters();
        assert_eq!((counters.pairs, counters.granted, counters.joined, counters.unknown), (1, 1, 2, 3));
    }

    #[test]
    fn limits_of_pairs_hold_at_their_edges() {
        let (mut streams, now) = streams();
        tickets(&mut streams, now, 1, 2);
        tickets(&mut streams, now, 1, 3);
        let full = Err(RelayRefusal::Full);
        assert_eq!(streams.grant(now, 7, party(1), party(4)), full, "two for one client");
        assert_eq!(streams.grant(now, 7, party(4), party(1)), full, "whoever asks");
        assert!(streams.grant(now, 7, party(4), party(5)).is_ok());
        assert_eq!(streams.grant(now, 7, party(6), party(7)), full, "three in all");
        assert_eq!((streams.counters().pairs, streams.counters().refused), (3, 3));
        // The same two in another session are another pair.
        assert_eq!(streams.grant(now, 8, party(4), party(5)), full);
        assert_eq!(streams.handle_timeout(now + LIMITS.idle), []);
        assert!(is_empty(&streams));
        assert!(streams.grant(now, 8, party(4), party(5)).is_ok());
    }

    #[test]
    fn pair_gets_its_share_of_bytes_and_no_more() {
        let (mut streams, now) = streams();
        let tickets = tickets(&mut streams, now, 1, 2);
        streams.bind(now, &tickets[0], 1);
        streams.bind(now, &tickets[1], 2);
        assert_eq!(streams.allowance(now, 1), 1000);
        streams.note_forwarded(now, 1, 600);
        assert_eq!((streams.allowance(now, 1), streams.allowance(now, 2)), (400, 400), "both ways together");
        streams.note_forwarded(now, 2, 400);
        assert_eq!(streams.allowance(now, 1), 0);
        assert_eq!(streams.allowance(now + Duration::from_millis(500), 1), 500);
        assert_eq!(streams.allowance(now + Duration::from_secs(50), 1), 1000, "a second's worth at most");
        assert_eq!(streams.counters().forwarded_bytes, 1000);
        // What had come before it was counted is paid for, too.
        streams.note_forwarded(now, 1, 5000);
        assert_eq!(streams.allowance(now, 1), 0);
        assert_eq!(streams.allowance(now, 3), 0, "nobody's");
        let unlimited = RelayLimits { bytes_per_second: None, ..LIMITS };
        let mut streams = RelayStreams::new(unlimited, PATIENCE, SILENCE, Rng::new([4; 32]));
        let ticket = streams.grant(now, 7, party(1), party(2)).unwrap();
        streams.bind(now, &ticket, 1);
        streams.note_forwarded(now, 1, u64::MAX / 2);
        assert_eq!(streams.allowance(now, 1), u64::MAX);
    }

    #[test]
    fn connection_waits_no_longer_than_it_may() {
        let (mut streams, now) = streams();
        let tickets = tickets(&mut streams, now, 1, 2);
        streams.bind(now, &tickets[0], 1);
        assert_eq!(streams.handle_timeout(now + PATIENCE - MILLISECOND), []);
        assert_eq!(streams.handle_timeout(now + PATIENCE), [1]);
        assert_eq!((streams.counters().alone, streams.counters().pairs), (1, 1));
        let later = now + PATIENCE;
        assert_eq!(streams.bind(later, &tickets[1], 2), StreamBind::Waits(None), "the first one is gone");
        assert_eq!(streams.bind(later, &tickets[0], 3), StreamBind::Joined(2, tickets[1]));
        assert_eq!(streams.handle_timeout(later + PATIENCE), [], "who is forwarded does not wait");
    }

    #[test]
    fn pair_ends_when_it_is_idle_and_at_the_end_of_its_life() {
        let (mut streams, now) = streams();
        let tickets = tickets(&mut streams, now, 1, 2);
        streams.bind(now, &tickets[0], 1);
        streams.bind(now, &tickets[1], 2);
        let used = now + Duration::from_secs(10);
        streams.note_used(used, 2);
        assert_eq!(streams.handle_timeout(used + SILENCE - MILLISECOND), []);
        let mut closed = streams.handle_timeout(used + SILENCE);
        closed.sort_unstable();
        assert_eq!(closed, [1, 2]);
        assert!(is_empty(&streams));
        assert_eq!(streams.bind(used, &tickets[0], 3), StreamBind::Unknown);

        let tickets = self::tickets(&mut streams, now, 1, 2);
        streams.bind(now, &tickets[0], 1);
        streams.bind(now, &tickets[1], 2);
        let mut at = now;
        while at < now + LIMITS.lifetime {
            assert_eq!(streams.handle_timeout(at), []);
            streams.note_forwarded(at, 1, 1);
            at += Duration::from_secs(30);
        }
        assert_eq!(streams.handle_timeout(now + LIMITS.lifetime).len(), 2);
        assert!(is_empty(&streams));
    }
}

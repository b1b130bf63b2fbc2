//! The server's forwarding between pairs that find no direct way: who may use it, and where each datagram goes.
//!
//! Two members of one session get a ticket each. Whoever shows a ticket at the pair's port is forwarded to the other
//! ticket's holder from then on, unread; the holder may move and show it again. Nobody else's datagrams are forwarded.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ahash::RandomState;

use super::wire::Message;
use super::wire::codec::Writer;
use super::wire::relay::{RelayRefusal, Ticket, write_relay_bound};
use super::{PeerId, Rng, Route};

/// A relay's limits.
#[derive(Clone, Debug)]
pub struct RelayLimits {
    /// How many ports there are; as many pairs one client can have.
    pub ports: usize,
    /// Most pairs.
    pub max_pairs: usize,
    /// Payload that one pair may have forwarded, both ways together; `None`: without limit. A second's worth may come at
    /// once.
    pub bytes_per_second: Option<u64>,
    /// A pair that nothing was forwarded for ends after so long.
    pub idle: Duration,
    /// And every pair after so long.
    pub lifetime: Duration,
}

/// What a relay has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayCounters {
    /// Pairs now.
    pub pairs: u64,
    /// Pairs that were granted, those that have ended included.
    pub granted: u64,
    /// Requests that were refused; those that a server refuses before it asks the relay are counted there.
    pub refused: u64,
    /// Datagrams that were forwarded.
    pub forwarded: u64,
    /// Their payload.
    pub forwarded_bytes: u64,
    /// Datagrams over a pair's limit.
    pub over_limit: u64,
    /// Datagrams of nobody's, or for one who has not come yet.
    pub dropped: u64,
}

/// One side of a pair when it asks.
#[derive(Clone, Copy, Debug)]
pub struct Party {
    /// Its name.
    pub peer: PeerId,
    /// Where it is registered.
    pub endpoint: SocketAddr,
}

/// What becomes of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayVerdict {
    /// Answer with what was written into the buffer.
    Reply,
    /// Send it on, as it is, from the port of this number.
    Forward(usize, Route),
    /// Drop it.
    Drop,
}

/// Two names in order, and the session's number.
pub(super) type PairKey = (u32, PeerId, PeerId);

/// What a pair may have forwarded now, in bytes: a second's worth at most.
#[derive(Debug)]
pub(super) struct Allowance {
    bytes: u64,
    refilled: Instant,
}

impl Allowance {
    pub(super) fn new(now: Instant, rate: Option<u64>) -> Self {
        Self { bytes: rate.unwrap_or(0), refilled: now }
    }

    /// How many bytes there are at this rate; no limit without one.
    pub(super) fn available(&mut self, now: Instant, rate: Option<u64>) -> u64 {
        let Some(rate) = rate else { return u64::MAX };
        let elapsed = now.saturating_duration_since(self.refilled);
        let earned = (elapsed.as_secs_f64() * rate as f64) as u64;
        if earned > 0 {
            self.bytes = self.bytes.saturating_add(earned).min(rate);
            self.refilled = now;
        }
        self.bytes
    }

    pub(super) fn spend(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

#[derive(Debug)]
struct Pair {
    key: PairKey,
    /// Where each side sends to, and hears from.
    ports: [usize; 2],
    tickets: [Ticket; 2],
    registered: [SocketAddr; 2],
    bound: [Option<Route>; 2],
    created: Instant,
    used: Instant,
    allowance: Allowance,
}

/// All pairs of a server.
#[derive(Debug)]
pub struct RelayTable {
    limits: RelayLimits,
    rng: Rng,
    pairs: HashMap<u64, Pair, RandomState>,
    next: u64,
    by_key: HashMap<PairKey, u64, RandomState>,
    by_ticket: HashMap<Ticket, (u64, usize), RandomState>,
    /// Where the bound sides are: port and source.
    by_source: HashMap<(usize, SocketAddr), (u64, usize), RandomState>,
    /// Which ports a registered endpoint uses already: two of its pairs on one port could not be told apart. The two sides
    /// of a pair may well have different ones, so that there are enough for everyone.
    taken: HashSet<(usize, SocketAddr), RandomState>,
    counters: RelayCounters,
}

impl RelayTable {
    /// No pairs yet; tickets come from `rng`.
    pub fn new(limits: RelayLimits, mut rng: Rng) -> Self {
        let hasher = RandomState::with_seeds(rng.u64(), rng.u64(), rng.u64(), rng.u64());
        Self {
            limits,
            rng,
            pairs: HashMap::with_hasher(hasher.clone()),
            next: 0,
            by_key: HashMap::with_hasher(hasher.clone()),
            by_ticket: HashMap::with_hasher(hasher.clone()),
            by_source: HashMap::with_hasher(hasher.clone()),
            taken: HashSet::with_hasher(hasher),
            counters: RelayCounters::default(),
        }
    }

    /// What has been counted.
    pub fn counters(&self) -> RelayCounters {
        RelayCounters { pairs: self.pairs.len() as u64, ..self.counters }
    }

    /// A port and a ticket for `us`, who wants to be forwarded to `other` of the same session; asking again gives the same.
    pub fn grant(
        &mut self,
        now: Instant,
        session: u32,
        us: Party,
        other: Party,
    ) -> Result<(usize, Ticket), RelayRefusal> {
        let side = usize::from(us.peer > other.peer);
        let (first, second) = if side == 0 { (us, other) } else { (other, us) };
        let key = (session, first.peer, second.peer);
        if let Some(pair) = self.by_key.get(&key).and_then(|id| self.pairs.get(id)) {
            return Ok((pair.ports[side], pair.tickets[side]));
        }
        let registered = [first.endpoint, second.endpoint];
        let Some(ports) = self.free_ports(registered) else {
            self.counters.refused += 1;
            return Err(RelayRefusal::Full);
        };
        self.counters.granted += 1;
        let tickets: [Ticket; 2] = [self.rng.bytes(), self.rng.bytes()];
        let id = self.next;
        self.next += 1;
        for (side, ticket) in tickets.into_iter().enumerate() {
            self.by_ticket.insert(ticket, (id, side));
        }
        self.taken.extend(ports.into_iter().zip(registered));
        self.by_key.insert(key, id);
        let pair = Pair {
            key,
            ports,
            tickets,
            registered,
            bound: [None; 2],
            created: now,
            used: now,
            allowance: Allowance::new(now, self.limits.bytes_per_second),
        };
        self.pairs.insert(id, pair);
        Ok((ports[side], tickets[side]))
    }

    /// A port for each side of another pair, if there is room for it.
    fn free_ports(&self, registered: [SocketAddr; 2]) -> Option<[usize; 2]> {
        if self.pairs.len() >= self.limits.max_pairs {
            return None;
        }
        let free = |endpoint: SocketAddr, from: usize| {
            let mut ports = (0..self.limits.ports).map(|offset| (from + offset) % self.limits.ports);
            ports.find(|port| !self.taken.contains(&(*port, endpoint)))
        };
        let first = free(registered[0], self.next as usize)?;
        Some([first, free(registered[1], first)?])
    }

    /// Takes a datagram that came in at a relay port.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        port: usize,
        source: Route,
        datagram: &[u8],
        reply: &mut Writer<'_>,
    ) -> RelayVerdict {
        if let Ok(Message::RelayBind(ticket)) = Message::parse(datagram) {
            if self.bind(now, port, source, &ticket) {
                write_relay_bound(reply, &ticket);
                return RelayVerdict::Reply;
            }
            self.counters.dropped += 1;
            return RelayVerdict::Drop;
        }
        let over_limit = self.counters.over_limit;
        let verdict = self.forward(now, port, source.remote, datagram.len() as u64);
        if verdict == RelayVerdict::Drop && self.counters.over_limit == over_limit {
            self.counters.dropped += 1;
        }
        verdict
    }

    fn bind(&mut self, now: Instant, port: usize, source: Route, ticket: &Ticket) -> bool {
        let Some(&(id, side)) = self.by_ticket.get(ticket) else { return false };
        let Some(pair) = self.pairs.get_mut(&id).filter(|pair| pair.ports[side] == port) else {
            return false;
        };
        let place = (port, source.remote);
        // Somebody else's place: two pairs cannot be told apart by it.
        if self.by_source.get(&place).is_some_and(|owner| *owner != (id, side)) {
            return false;
        }
        if let Some(before) = pair.bound[side].replace(source) {
            self.by_source.remove(&(port, before.remote));
        }
        self.by_source.insert(place, (id, side));
        pair.used = now;
        true
    }

    fn forward(&mut self, now: Instant, port: usize, source: SocketAddr, bytes: u64) -> RelayVerdict {
        let Some(&(id, side)) = self.by_source.get(&(port, source)) else { return RelayVerdict::Drop };
        let Some(pair) = self.pairs.get_mut(&id) else { return RelayVerdict::Drop };
        let Some(other) = pair.bound[1 - side] else { return RelayVerdict::Drop };
        if pair.allowance.available(now, self.limits.bytes_per_second) < bytes {
            self.counters.over_limit += 1;
            return RelayVerdict::Drop;
        }
        pair.allowance.spend(bytes);
        pair.used = now;
        self.counters.forwarded += 1;
        self.counters.forwarded_bytes += bytes;
        RelayVerdict::Forward(pair.ports[1 - side], other)
    }

    /// Ends what has lasted, or been unused, for too long. To be called every second or so.
    pub fn handle_timeout(&mut self, now: Instant) {
        let limits = &self.limits;
        let is_over = |pair: &Pair| {
            now.saturating_duration_since(pair.used) >= limits.idle
                || now.saturating_duration_since(pair.created) >= limits.lifetime
        };
        let over: Vec<u64> = self.pairs.iter().filter(|(_, pair)| is_over(pair)).map(|(id, _)| *id).collect();
        for id in over {
            let Some(pair) = self.pairs.remove(&id) else { continue };
            self.by_key.remove(&pair.key);
            for side in 0..2 {
                self.by_ticket.remove(&pair.tickets[side]);
                self.taken.remove(&(pair.ports[side], pair.registered[side]));
                if let Some(bound) = pair.bound[side] {
                    self.by_source.remove(&(pair.ports[side], bound.remote));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::wire::relay::encode_relay_bind;

    const LIMITS: RelayLimits = RelayLimits {
        ports: 2,
        max_pairs: 3,
        bytes_per_second: Some(1000),
        idle: Duration::from_secs(60),
        lifetime: Duration::from_secs(600),
    };

    fn party(number: u8) -> Party {
        Party { peer: PeerId([number; 16]), endpoint: ([198, 51, 100, number], 4000).into() }
    }

    fn at(number: u8, port: u16) -> Route {
        SocketAddr::from(([198, 51, 100, number], port)).into()
    }

    fn table() -> (RelayTable, Instant) {
        (RelayTable::new(LIMITS, Rng::new([4; 32])), Instant::now())
    }

    fn send(table: &mut RelayTable, now: Instant, port: usize, from: Route, datagram: &[u8]) -> RelayVerdict {
        let mut buffer = [0; 64];
        table.handle_datagram(now, port, from, datagram, &mut Writer::new(&mut buffer))
    }

    #[test]
    fn pair_is_forwarded_both_ways_and_nobody_else_is() {
        let (mut table, now) = table();
        let (port, first) = table.grant(now, 7, party(1), party(2)).unwrap();
        let (same_port, second) = table.grant(now, 7, party(2), party(1)).unwrap();
        assert_eq!((port, table.grant(now, 7, party(1), party(2))), (same_port, Ok((port, first))));
        assert_ne!(first, second);
        assert_eq!(send(&mut table, now, port, at(1, 9), b"early"), RelayVerdict::Drop);
        assert_eq!(send(&mut table, now, port, at(1, 9), &encode_relay_bind(&first)), RelayVerdict::Reply);
        assert_eq!(send(&mut table, now, port, at(1, 9), b"nobody there"), RelayVerdict::Drop);
        assert_eq!(send(&mut table, now, port, at(2, 9), &encode_relay_bind(&second)), RelayVerdict::Reply);
        assert_eq!(send(&mut table, now, port, at(1, 9), b"hello"), RelayVerdict::Forward(port, at(2, 9)));
        assert_eq!(send(&mut table, now, port, at(2, 9), b"hello"), RelayVerdict::Forward(port, at(1, 9)));
        // A third party: another source, another port, a guessed ticket, a ticket at the wrong port.
        assert_eq!(send(&mut table, now, port, at(1, 10), b"hello"), RelayVerdict::Drop);
        assert_eq!(send(&mut table, now, 1 - port, at(1, 9), b"hello"), RelayVerdict::Drop);
        assert_eq!(send(&mut table, now, port, at(3, 9), &encode_relay_bind(&[0; 16])), RelayVerdict::Drop);
        assert_eq!(send(&mut table, now, 1 - port, at(3, 9), &encode_relay_bind(&first)), RelayVerdict::Drop);
        // The holder of a ticket moves; its old place is nobody's then.
        assert_eq!(send(&mut table, now, port, at(1, 11), &encode_relay_bind(&first)), RelayVerdict::Reply);
        assert_eq!(send(&mut table, now, port, at(2, 9), b"hello"), RelayVerdict::Forward(port, at(1, 11)));
        assert_eq!(send(&mut table, now, port, at(1, 9), b"hello"), RelayVerdict::Drop);
        // Nobody takes another's place, not even with a ticket of his own.
        let (their_port, third) = table.grant(now, 7, party(3), party(4)).unwrap();
        if their_port == port {
            assert_eq!(send(&mut table, now, port, at(2, 9), &encode_relay_bind(&third)), RelayVerdict::Drop);
        }
    }

    #[test]
    fn limits_hold_at_their_edges() {
        let (mut table, now) = table();
        let (port, first) = table.grant(now, 7, party(1), party(2)).unwrap();
        let (_, second) = table.grant(now, 7, party(2), party(1)).unwrap();
        // A client has as many pairs as there are ports, each on one of its own.
        let (other_port, _) = table.grant(now, 7, party(1), party(3)).unwrap();
        assert_ne!(port, other_port);
        assert_eq!(table.grant(now, 7, party(1), party(4)), Err(RelayRefusal::Full));
        assert!(table.grant(now, 7, party(4), party(5)).is_ok());
        assert_eq!(table.grant(now, 7, party(6), party(7)), Err(RelayRefusal::Full), "three pairs in all");
        assert_eq!((table.counters().granted, table.counters().refused), (3, 2));
        send(&mut table, now, port, at(1, 9), &encode_relay_bind(&first));
        send(&mut table, now, port, at(2, 9), &encode_relay_bind(&second));
        let forward = RelayVerdict::Forward(port, at(2, 9));
        assert_eq!(send(&mut table, now, port, at(1, 9), &[0; 1000]), forward);
        assert_eq!(send(&mut table, now, port, at(1, 9), &[0]), RelayVerdict::Drop);
        let later = now + Duration::from_millis(500);
        assert_eq!(send(&mut table, later, port, at(1, 9), &[0; 500]), forward);
        assert_eq!(send(&mut table, later, port, at(1, 9), &[0]), RelayVerdict::Drop);
        let counters = table.counters();
        assert_eq!((counters.forwarded, counters.forwarded_bytes), (2, 1500));
        assert_eq!((counters.over_limit, counters.dropped), (2, 0), "each datagram is counted once");
        table.handle_timeout(later + LIMITS.idle - Duration::from_millis(1));
        assert_eq!(table.counters().pairs, 1, "the unused ones are gone");
        table.handle_timeout(later + LIMITS.idle);
        assert_eq!((table.counters().pairs, table.counters().granted), (0, 3));
        assert_eq!(send(&mut table, later + LIMITS.idle, port, at(1, 9), b"hello"), RelayVerdict::Drop);
        assert!(table.by_source.is_empty() && table.by_ticket.is_empty() && table.taken.is_empty());
    }

    #[test]
    fn whole_room_needs_one_port_less_than_it_has_members() {
        let limits = RelayLimits { ports: 4, max_pairs: 10, ..LIMITS };
        let (mut table, now) = (RelayTable::new(limits, Rng::new([4; 32])), Instant::now());
        for first in 1..=5 {
            let mut ports = HashSet::new();
            for second in (1..=5).filter(|second| *second != first) {
                ports.insert(table.grant(now, 7, party(first), party(second)).unwrap().0);
            }
            assert_eq!(ports.len(), 4);
        }
    }

    #[test]
    fn pair_in_use_ends_with_its_lifetime() {
        let (mut table, now) = table();
        let (port, first) = table.grant(now, 7, party(1), party(2)).unwrap();
        let mut at_end = now;
        while at_end < now + LIMITS.lifetime {
            table.handle_timeout(at_end);
            assert_eq!(
                send(&mut table, at_end, port, at(1, 9), &encode_relay_bind(&first)),
                RelayVerdict::Reply
            );
            at_end += Duration::from_secs(30);
        }
        table.handle_timeout(at_end);
        assert_eq!(table.counters().pairs, 0);
    }
}

//! Several shards with a store between them that delays what they say, loses some of it, and is compared with now and then.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use holepunch::proto::rendezvous::{
    Change, Newcomers, Record, Request, SessionKey, Shard, ShardConfig, ShardLimits, Share,
};
use holepunch::proto::wire::{Attributes, Leave, LeaveReason, Message, Register};
use holepunch::proto::{LookupKey, PeerId, Rng, Transport};

const SESSIONS: u64 = 4;

struct Store {
    now: Instant,
    rng: Rng,
    shards: Vec<Shard>,
    records: BTreeMap<(u8, PeerId), Record>,
    /// What was published, and to whom.
    under_way: VecDeque<(usize, Change)>,
    /// Percentage of what is published that is lost.
    loss: u32,
    /// What servers look at once more, since a member of theirs has moved.
    moved: Vec<(usize, SessionKey)>,
    /// Whether somebody has found a difference lately.
    again: bool,
}

fn lookup(session: u8) -> LookupKey {
    LookupKey([session; 32])
}

fn endpoint_of(client: u8, server: usize) -> SocketAddr {
    ([198, 51, 100, client], 1000 + server as u16).into()
}

impl Store {
    fn new(seed: u8, servers: u64) -> Self {
        let now = Instant::now();
        let mut rng = Rng::new([seed; 32]);
        let shards = (1..=servers).map(|server| {
            Shard::new(ShardConfig { server: Some(server), ..ShardConfig::default() }, rng.fork(), now)
        });
        let shards = shards.collect();
        let (records, under_way) = (BTreeMap::new(), VecDeque::new());
        Self { now, rng, shards, records, under_way, loss: 0, moved: Vec::new(), again: false }
    }

    fn register(&mut self, server: usize, session: u8, client: u8) {
        let register = Register {
            token: u64::from(client),
            sequence: 1,
            lookup: lookup(session),
            peer: PeerId([client; 16]),
            cookie: [0; 16],
            instance: 0,
            revision: 0,
            attributes: Attributes::NONE,
        };
        let request = Request::Register(register);
        let source = endpoint_of(client, server);
        self.shards[server].handle_request(self.now, source, &request, || Newcomers::Welcome);
        self.collect(server);
    }

    fn leave(&mut self, server: usize, session: u8, client: u8) {
        let register = Register {
            token: u64::from(client),
            sequence: 2,
            lookup: lookup(session),
            peer: PeerId([client; 16]),
            cookie: [0; 16],
            instance: 0,
            revision: 0,
            attributes: Attributes::GOODBYE,
        };
        let source = endpoint_of(client, server);
        let request = Request::Register(register);
        self.shards[server].handle_request(self.now, source, &request, || Newcomers::Welcome);
        self.collect(server);
    }

    /// Stores and publishes what a server has to say.
    fn collect(&mut self, server: usize) {
        while self.shards[server].poll_transmit().is_some() {}
        let shares: Vec<_> = self.shards[server].take_shares().collect();
        for share in shares {
            let (change, servers, first) = match share {
                Share::Changed { change, servers, first } => (change, servers, first),
                Share::Moved(key) => {
                    self.moved.push((server, key));
                    continue;
                }
            };
            let key = (change.key.0[0], change.peer);
            match &change.now {
                Ok(record) => drop(self.records.insert(key, record.clone())),
                Err(_) => drop(self.records.remove(&key)),
            }
            self.publish(&servers, &change);
            if first {
                self.compare(server, change.key);
            }
        }
    }

    fn publish(&mut self, servers: &[u64], change: &Change) {
        for server in servers {
            if self.rng.u32() % 100 >= self.loss {
                let change = Change::parse(&change.encode()).expect("it was just written");
                self.under_way.push_back((*server as usize - 1, change));
            }
        }
    }

    fn deliver_one(&mut self) {
        if let Some((server, change)) = self.under_way.pop_front() {
            self.shards[server].handle_change(self.now, &change);
            self.collect(server);
        }
    }

    fn compare(&mut self, server: usize, key: SessionKey) {
        let of_session = self.records.range((key.0[0], PeerId([0; 16]))..=(key.0[0], PeerId([255; 16])));
        let stored: Vec<_> = of_session
            .map(|((_, peer), record)| (*peer, Record::parse(&record.encode()).expect("it was just written")))
            .collect();
        let result = self.shards[server].reconcile(self.now, key, &stored, |_| false);
        for peer in &result.orphans {
            self.records.remove(&(key.0[0], *peer));
        }
        for (peer, record) in &result.missing {
            self.records.insert((key.0[0], *peer), record.clone());
        }
        if result.again {
            self.again = true;
            result.ours.iter().for_each(|change| self.publish(&result.servers, change));
        }
        self.collect(server);
    }

    fn compare_all(&mut self, server: usize) {
        for key in self.shards[server].session_keys() {
            self.compare(server, key);
        }
    }

    /// Everything arrives, and is compared until nobody finds a difference.
    fn settle(&mut self) {
        for _ in 0..20 {
            self.now += Duration::from_secs(1);
            while !self.under_way.is_empty() {
                self.deliver_one();
            }
            self.again = false;
            for (server, key) in std::mem::take(&mut self.moved) {
                self.compare(server, key);
            }
            (0..self.shards.len()).for_each(|server| self.compare_all(server));
            if !self.again && self.under_way.is_empty() {
                return;
            }
        }
        panic!("they never agree");
    }

    /// Whom a fresh client of this server would be told of, asked in the plain dialect.
    fn listed(&mut self, server: usize, session: u8) -> BTreeSet<String> {
        let asker: SocketAddr = "203.0.113.77:7".parse().unwrap();
        let request = Request::Plain { key: lookup(session), len: 1000 };
        self.shards[server].handle_request(self.now, asker, &request, || Newcomers::Welcome);
        let mut list = String::new();
        while let Some((to, payload)) = self.shards[server].poll_transmit() {
            if to.remote == asker {
                list = String::from_utf8(payload.to_vec()).unwrap();
            }
        }
        list.split(',').filter(|text| !text.is_empty()).map(String::from).collect()
    }
}

#[test]
fn whatever_is_delayed_or_lost_all_servers_come_to_list_the_same_members() {
    for seed in 0..60 {
        let mut store = Store::new(seed, 3);
        store.loss = [0, 0, 30][seed as usize % 3];
        // Where each client is registered, if anywhere.
        let mut places: BTreeMap<(u8, u8), usize> = BTreeMap::new();
        for _ in 0..400 {
            let (session, client) =
                ((store.rng.u64() % SESSIONS) as u8 + 1, (store.rng.u32() % 12) as u8 + 1);
            let server = store.rng.u32() as usize % 3;
            match (store.rng.u32() % 6, places.get(&(session, client)).copied()) {
                (0, Some(at)) => {
                    store.leave(at, session, client);
                    places.remove(&(session, client));
                }
                // To where it is, or to another server with the same token.
                (1 | 2, _) => {
                    store.register(server, session, client);
                    places.insert((session, client), server);
                }
                (3, _) => store.compare_all(server),
                _ => store.deliver_one(),
            }
        }
        store.loss = 0;
        store.settle();
        // Where a late word of an earlier place has won the client's heartbeat is refused, and it registers anew. What it has left
        // behind elsewhere expires.
        for _ in 0..5 {
            store.now += Duration::from_secs(4);
            for ((session, client), server) in &places {
                store.register(*server, *session, *client);
            }
            for server in 0..3 {
                store.shards[server].handle_timeout(store.now);
                store.collect(server);
            }
            store.settle();
        }
        for session in 1..=SESSIONS as u8 {
            let members = places.iter().filter(|((of, _), _)| *of == session);
            let expected: BTreeSet<_> =
                members.map(|((_, client), server)| endpoint_of(*client, *server).to_string()).collect();
            for server in 0..3 {
                let has_members = places.iter().any(|((of, _), at)| *of == session && *at == server);
                if has_members {
                    assert_eq!(store.listed(server, session), expected, "seed {seed} {server} {session}");
                }
            }
        }
    }
}

#[test]
fn a_session_ends_here_with_our_last_member_of_it() {
    let mut store = Store::new(1, 2);
    store.register(0, 1, 1);
    store.register(1, 1, 2);
    store.settle();
    assert_eq!((store.shards[0].population(), store.shards[0].elsewhere()), ((1, 1), 1));
    store.leave(0, 1, 1);
    store.settle();
    assert_eq!((store.shards[0].population(), store.shards[0].elsewhere()), ((0, 0), 0));
    assert_eq!((store.shards[1].population(), store.shards[1].elsewhere()), ((1, 1), 0));
    assert_eq!(store.records.len(), 1);
}

#[test]
fn members_of_a_dead_server_are_forgotten_unless_they_have_come_to_another_one() {
    let mut store = Store::new(2, 3);
    for (server, client) in [(0, 1), (1, 2), (1, 3)] {
        store.register(server, 1, client);
    }
    store.settle();
    store.register(2, 1, 3);
    store.settle();
    store.shards[0].forget_server(store.now, 2);
    assert_eq!(store.listed(0, 1), BTreeSet::from(["198.51.100.1:1000".into(), "198.51.100.3:1002".into()]));
}

#[test]
fn a_peer_id_is_not_taken_over_across_servers_without_its_token() {
    let mut store = Store::new(3, 2);
    store.register(0, 1, 1);
    store.register(1, 1, 2);
    store.settle();
    let thief = Register {
        token: 666,
        sequence: 9,
        lookup: lookup(1),
        peer: PeerId([1; 16]),
        cookie: [0; 16],
        instance: 0,
        revision: 0,
        attributes: Attributes::NONE,
    };
    let source: SocketAddr = "192.0.2.66:6".parse().unwrap();
    let request = Request::Register(thief);
    store.shards[1].handle_request(store.now, source, &request, || Newcomers::Welcome);
    let answer = store.shards[1].poll_transmit().map(|(_, payload)| payload.to_vec()).expect("an answer");
    assert!(matches!(Message::parse(&answer), Ok(Message::Refused(_))));
    store.collect(1);
    store.settle();
    assert_eq!(store.listed(1, 1), BTreeSet::from(["198.51.100.1:1000".into(), "198.51.100.2:1001".into()]));
}

#[test]
fn a_member_elsewhere_has_no_timers_and_no_say_here() {
    let mut store = Store::new(4, 2);
    store.register(0, 1, 1);
    store.register(1, 1, 2);
    store.settle();
    // Its own server would take this goodbye, from there and with that token.
    let leave = Leave { token: 1, handle: 0, sequence: 3 };
    for handle in 0..4 {
        let request = Request::Leave(Leave { handle, ..leave });
        store.shards[1].handle_request(store.now, endpoint_of(1, 0), &request, || Newcomers::Welcome);
    }
    // Nor does what anybody can send in its name bring it here.
    let poll = Request::Plain { key: lookup(1), len: 100 };
    store.shards[1].handle_request(store.now, endpoint_of(1, 0), &poll, || Newcomers::Welcome);
    store.collect(1);
    assert_eq!((store.shards[1].population(), store.shards[1].elsewhere()), ((1, 1), 1));
    // Ours falls silent, and the session ends here with it.
    store.now += Duration::from_secs(16);
    store.shards[1].handle_timeout(store.now);
    assert_eq!((store.shards[1].population(), store.shards[1].elsewhere()), ((0, 0), 0));
    store.now += Duration::from_secs(3600);
    store.shards[1].handle_timeout(store.now);
    assert_eq!(store.shards[1].poll_timeout(), None);
}

#[test]
fn other_servers_members_fill_no_session_beyond_its_limit() {
    let now = Instant::now();
    let limits = ShardLimits { max_members_per_session: 3, ..ShardLimits::default() };
    let config = ShardConfig { server: Some(1), limits, ..ShardConfig::default() };
    let mut shard = Shard::new(config, Rng::new([9; 32]), now);
    let request = Request::Plain { key: lookup(1), len: 100 };
    shard.handle_request(now, endpoint_of(1, 0), &request, || Newcomers::Welcome);
    for client in 2..10 {
        let record = Record {
            server: 2,
            token: Some(client),
            endpoint: endpoint_of(client as u8, 1),
            transport: Transport::Udp,
            attributes: Vec::new(),
        };
        let change = Change { key: SessionKey([1; 16]), peer: PeerId([client as u8; 16]), now: Ok(record) };
        shard.handle_change(now, &change);
    }
    assert_eq!((shard.elsewhere(), shard.counters().elsewhere_refused), (2, 6));
}

#[test]
fn changes_are_read_as_they_were_written_and_garbage_is_none() {
    let record = Record {
        server: 0x0102_0304_0506_0708,
        token: Some(u64::MAX),
        endpoint: "[2001:db8::1]:65535".parse().unwrap(),
        transport: Transport::Tcp,
        attributes: vec![0x03, 4, 0, 0, 0, 1],
    };
    let key = SessionKey([7; 16]);
    for now in [
        Ok(record.clone()),
        Ok(Record {
            token: None,
            endpoint: "192.0.2.1:1".parse().unwrap(),
            attributes: Vec::new(),
            ..record
        }),
        Err((LeaveReason::Goodbye, 5)),
        Err((LeaveReason::Expired, 6)),
    ] {
        let change = Change { key, peer: PeerId([8; 16]), now };
        let bytes = change.encode();
        assert_eq!(Change::parse(&bytes).as_ref(), Ok(&change));
        for len in 0..bytes.len() {
            assert_ne!(Change::parse(&bytes[..len]).as_ref(), Ok(&change));
        }
    }
    let mut rng = Rng::new([6; 32]);
    for len in 0..200 {
        let bytes: Vec<u8> = (0..len).map(|_| rng.u32() as u8).collect();
        let _ = (Change::parse(&bytes), Record::parse(&bytes));
    }
}

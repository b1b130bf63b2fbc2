//! Clients and a server's gate and shard in one place, without a network.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use holepunch::proto::rendezvous::{
    Gate, Newcomers, RendezvousClient, RendezvousConfig, RendezvousEvent, Shard, ShardConfig, Verdict,
};
use holepunch::proto::wire::codec::Writer;
use holepunch::proto::wire::{Alternates, Message, Profile};
use holepunch::proto::{DialectPolicy, LookupKey, PeerId, Rng, SocketIndex};

pub const ID: &[u8] = b"session";
pub const SOCKET: SocketIndex = SocketIndex(0);

pub fn server_address() -> SocketAddr {
    "203.0.113.10:5000".parse().unwrap()
}

pub fn endpoint(number: u16) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 1], 1000 + number))
}

pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub struct World {
    pub gate: Gate,
    pub shard: Shard,
    pub now: Instant,
    pub newcomers: Newcomers,
    /// How many updates the server has sent.
    pub updates: usize,
    pub clients: Vec<(SocketAddr, RendezvousClient)>,
    /// What the server sent to addresses that are no client's.
    pub stray: Vec<(SocketAddr, Vec<u8>)>,
    pub rng: Rng,
}

impl World {
    pub fn new(config: ShardConfig) -> Self {
        let now = Instant::now();
        let mut rng = Rng::new([1; 32]);
        let gate = Gate::new(DialectPolicy::Auto, Alternates::default(), &mut rng, now);
        let shard = Shard::new(config, rng.fork(), now);
        Self {
            gate,
            shard,
            now,
            newcomers: Newcomers::Welcome,
            updates: 0,
            clients: Vec::new(),
            stray: Vec::new(),
            rng,
        }
    }

    pub fn restart_server(&mut self) {
        self.gate = Gate::new(DialectPolicy::Auto, Alternates::default(), &mut self.rng, self.now);
        self.shard = Shard::new(ShardConfig::default(), self.rng.fork(), self.now);
    }

    pub fn config(&mut self, profile: Profile) -> RendezvousConfig {
        RendezvousConfig {
            lookup: LookupKey::derive(ID),
            id: ID.to_vec(),
            peer: PeerId(self.rng.bytes()),
            profile,
            policy: DialectPolicy::Auto,
            servers: vec![(SOCKET, server_address())],
            fallback: Vec::new(),
            retry: Duration::from_millis(100),
            enough: 1,
        }
    }

    pub fn join(&mut self, profile: Profile) -> usize {
        let config = self.config(profile);
        let at = endpoint(self.clients.len() as u16);
        self.clients.push((at, RendezvousClient::new(config, &mut self.rng, self.now)));
        self.settle();
        self.clients.len() - 1
    }

    /// Delivers everything, at once and in order, until nobody has anything to say.
    pub fn settle(&mut self) {
        loop {
            let mut quiet = true;
            for at in 0..self.clients.len() {
                let (source, client) = &mut self.clients[at];
                client.handle_timeout(self.now);
                let source = *source;
                while let Some(transmit) = self.clients[at].1.poll_transmit() {
                    quiet = false;
                    self.ask_server(source, &transmit.payload);
                }
            }
            quiet &= !self.take_answers();
            if quiet {
                return;
            }
        }
    }

    pub fn ask_server(&mut self, source: SocketAddr, payload: &[u8]) {
        let mut buffer = [0; 1200];
        let mut reply = Writer::new(&mut buffer);
        let newcomers = self.newcomers;
        match self.gate.judge(self.now, source, payload, &mut reply) {
            Verdict::Admit(request) => self.shard.handle_request(self.now, source, &request, || newcomers),
            Verdict::Challenge(early) => {
                self.shard.hint(self.now, source, &early, &mut reply);
                assert!(reply.written() <= payload.len());
                let reply = reply.as_slice().to_vec();
                self.deliver(source, reply);
            }
            Verdict::Reply => {
                assert!(reply.written() <= payload.len());
                let reply = reply.as_slice().to_vec();
                self.deliver(source, reply);
            }
            Verdict::AnswerFromElsewhere(_) | Verdict::ReplyTo(_) | Verdict::Drop => {}
        }
    }

    pub fn take_answers(&mut self) -> bool {
        let mut any = false;
        while let Some((to, payload)) = self.shard.poll_transmit() {
            assert!(payload.len() <= 1200 || !payload.starts_with(b"\x0Eholep"));
            let payload = payload.to_vec();
            self.updates += usize::from(matches!(Message::parse(&payload), Ok(Message::Update { .. })));
            any = true;
            self.deliver(to.remote, payload);
        }
        any
    }

    pub fn deliver(&mut self, to: SocketAddr, payload: Vec<u8>) {
        match self.clients.iter_mut().find(|(at, _)| *at == to) {
            Some((_, client)) => client.handle_datagram(self.now, SOCKET, server_address(), &payload),
            None => self.stray.push((to, payload)),
        }
    }

    /// Lets time pass in steps, with everyone doing what is due.
    pub fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.now = (self.now + Duration::from_millis(50)).min(end);
            self.shard.handle_timeout(self.now);
            self.settle();
        }
    }

    /// Lets time pass for the server only: the clients are dead.
    pub fn pass_without_clients(&mut self, duration: Duration) {
        self.now += duration;
        self.shard.handle_timeout(self.now);
        while self.shard.poll_transmit().is_some() {}
    }

    /// Sleeps as long as the shard says, again and again, and says how long it took until something was sent or somebody went.
    pub fn sleep_until_something_happens(&mut self) -> Option<Duration> {
        let (begin, members) = (self.now, self.shard.population());
        for _ in 0..20 {
            self.now = self.now.max(self.shard.poll_timeout()?);
            self.shard.handle_timeout(self.now);
            let sent = std::iter::from_fn(|| self.shard.poll_transmit().map(drop)).count();
            if sent > 0 || self.shard.population() != members {
                return Some(self.now - begin);
            }
        }
        panic!("woken again and again for nothing");
    }

    /// What the client has told, but for challenges, which every registration begins with, and hints.
    pub fn events(&mut self, client: usize) -> Vec<RendezvousEvent> {
        let mut events: Vec<_> = std::iter::from_fn(|| self.clients[client].1.poll_event()).collect();
        events.retain(|event| {
            !matches!(event, RendezvousEvent::Challenged(_) | RendezvousEvent::Hinted { .. })
        });
        events
    }

    pub fn plain_list(&mut self, from: SocketAddr) -> String {
        self.stray.clear();
        self.ask_server(from, ID);
        self.take_answers();
        let reply = self.stray.iter().rev().find(|(to, _)| *to == from).map(|(_, payload)| payload.clone());
        String::from_utf8(reply.expect("a plain request is answered")).unwrap()
    }
}

/// Who has joined and not left, according to events.
pub fn present(events: &[RendezvousEvent]) -> BTreeSet<PeerId> {
    let mut present = BTreeSet::new();
    for event in events {
        match event {
            RendezvousEvent::Joined { peer, .. } => drop(present.insert(*peer)),
            RendezvousEvent::Left { peer, .. } => assert!(present.remove(peer), "left without having joined"),
            _ => {}
        }
    }
    present
}

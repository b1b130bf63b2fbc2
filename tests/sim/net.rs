//! A simulated internet: hosts behind NATs, one rendezvous server, a lossy network, a virtual clock.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use holepunch::proto::rendezvous::{Gate, Newcomers, Shard, ShardConfig, Verdict};
use holepunch::proto::secure::PublicKey;
use holepunch::proto::session::{Session, SessionConfig};
use holepunch::proto::wire::codec::Writer;
use holepunch::proto::wire::{Alternates, FilterReply};
use holepunch::proto::{
    Connect, ConnectConfig, DialectPolicy, LocalSockets, MeetingConfig, Outcome, PathPolicy, Rng, SessionId,
    SocketIndex, Techniques, Transmit,
};

use crate::host::{Host, Machine};
use crate::nat::{Filtering, Mapping, Nat};
use crate::plain_server::PlainServer;

/// How the network treats datagrams.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub one_way: Duration,
    pub jitter: Duration,
    pub loss_percent: u32,
    pub duplicate_percent: u32,
}

impl Weather {
    pub const CALM: Weather = Weather {
        one_way: Duration::from_millis(10),
        jitter: Duration::ZERO,
        loss_percent: 0,
        duplicate_percent: 0,
    };
}

/// What stands between a host and the internet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Open,
    Nat(Mapping, Filtering),
}

/// Port-restricted cone, the usual home router.
pub const HOME: Access = Access::Nat(Mapping::EndpointIndependent, Filtering::AddressAndPortDependent);

pub enum Server {
    Native(Box<(Gate, Shard)>),
    Plain(PlainServer),
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Arrival { from: SocketAddr, to: SocketAddr, payload: Vec<u8> },
    Hostile { from: SocketAddr, to: SocketAddr, payload: Vec<u8> },
    Wake,
}

pub struct Internet {
    pub base: Instant,
    pub now: Duration,
    pub weather: Weather,
    pub server: Server,
    pub hosts: Vec<Host>,
    /// Datagrams that arrived at hosts, from whom: what a stranger could record.
    pub seen: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
    pub record: bool,
    pub server_is_down: bool,
    /// A stranger on the path sees every datagram and sends this many of his own for each.
    pub attack: u32,
    /// Whether he forges the server's address, too. `DialectPolicy::Auto` can then be talked into showing its ID.
    pub forge_server: bool,
    /// But no more than so many: the answers to his datagrams would feed him for ever.
    attack_budget: u32,
    /// Datagrams sent by hosts.
    pub sent: u64,
    nats: Vec<Nat>,
    sites: u8,
    queue: BinaryHeap<Reverse<(Duration, u64, Happening)>>,
    woken: HashSet<Duration>,
    counter: u64,
    rng: Rng,
}

pub const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10)), 5000);
/// Where else it can be asked about a NAT, and from where it only answers.
const ALTERNATE_PORTS: [u16; 3] = [5001, 5002, 5003];
const FILTER_PORT: u16 = 5004;
const OTHER_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 11));
const SOCKETS: LocalSockets = LocalSockets { ipv4: Some(SocketIndex(0)), ipv6: None };

pub fn seed_bytes(seed: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    bytes
}

impl Internet {
    pub fn new(seed: u64, weather: Weather, plain_server: bool) -> Self {
        // Virtual time starts an hour in, so that nothing depends on a fresh clock.
        let base = Instant::now() + Duration::from_secs(3600);
        let mut rng = Rng::new(seed_bytes(seed));
        let server = if plain_server {
            Server::Plain(PlainServer::default())
        } else {
            let other = SocketAddr::new(OTHER_ADDRESS, SERVER.port());
            let alternates = Alternates::new(&ALTERNATE_PORTS, Some(other));
            let gate = Gate::new(DialectPolicy::Auto, alternates, &mut rng, base);
            Server::Native(Box::new((gate, Shard::new(ShardConfig::default(), rng.fork(), base))))
        };
        Self {
            base,
            now: Duration::ZERO,
            weather,
            server,
            hosts: Vec::new(),
            seen: Vec::new(),
            record: false,
            server_is_down: false,
            attack: 0,
            forge_server: false,
            attack_budget: 5000,
            sent: 0,
            nats: Vec::new(),
            sites: 0,
            queue: BinaryHeap::new(),
            woken: HashSet::new(),
            counter: 0,
            rng,
        }
    }

    pub fn random(&mut self, below: u32) -> u32 {
        self.rng.u32() % below
    }

    pub fn instant(&self) -> Instant {
        self.base + self.now
    }

    pub fn config(id: &[u8], expected: usize, policy: DialectPolicy) -> ConnectConfig {
        let meeting = MeetingConfig {
            plain_peers: false,
            id: SessionId::new(id).unwrap(),
            wanted: expected,
            policy,
            server_retry: Duration::from_millis(100),
            peer_retry: Duration::from_millis(100),
            sockets: SOCKETS,
            servers: vec![SERVER],
            peers: Vec::new(),
            resumed: Vec::new(),
            host_candidates: Vec::new(),
            techniques: Techniques::default(),
            paths: PathPolicy::default(),
            lasting: false,
            transport: holepunch::proto::TransportPolicy::Udp,
            stream_hosts: Vec::new(),
        };
        ConnectConfig { meeting, timeout: Some(Duration::from_secs(40)) }
    }

    /// Adds a host of its own site that calls `connect` at `starts`.
    pub fn add_host(&mut self, access: Access, starts: Duration, mut config: ConnectConfig) -> usize {
        let (inside, nat) = self.place(access);
        config.meeting.host_candidates = vec![inside];
        let seed = self.rng.bytes();
        let machine = Machine::Call(Box::new(Connect::new(config.clone(), seed, self.base + starts)));
        self.add(Host { config: Some(config), ..Host::new(machine, inside, nat, starts) })
    }

    /// Adds a host of its own site that joins a room at `starts`; its identity is made of its number.
    pub fn add_room(&mut self, access: Access, starts: Duration, id: &[u8], pinned: &[PublicKey]) -> usize {
        let (inside, nat) = self.place(access);
        let mut meeting = Self::config(id, usize::MAX, DialectPolicy::Native).meeting;
        meeting.host_candidates = vec![inside];
        meeting.lasting = true;
        let identity = [self.hosts.len() as u8 + 1; 32];
        let config =
            SessionConfig { meeting, identity, pinned: pinned.to_vec(), delivery: Default::default() };
        let seed = self.rng.bytes();
        let machine = Machine::Room(Box::new(Session::new(config, seed, self.base + starts)));
        self.add(Host::new(machine, inside, nat, starts))
    }

    fn add(&mut self, host: Host) -> usize {
        self.wake_at(host.starts);
        self.hosts.push(host);
        self.hosts.len() - 1
    }

    /// Addresses of a site's own.
    fn place(&mut self, access: Access) -> (SocketAddr, Option<usize>) {
        self.sites += 1;
        let number = self.sites;
        match access {
            Access::Open => (SocketAddr::from(([198, 51, 100, number], 7000)), None),
            Access::Nat(mapping, filtering) => {
                let outside = IpAddr::from([198, 51, 100, number]);
                self.nats.push(Nat::new(outside, mapping, filtering));
                (SocketAddr::from(([192, 168, number, 2], 7000)), Some(self.nats.len() - 1))
            }
        }
    }

    /// Carries a host that is in a room to another site, which it notices.
    pub fn carry(&mut self, host: usize, access: Access) {
        let (inside, nat) = self.place(access);
        (self.hosts[host].inside, self.hosts[host].nat) = (inside, nat);
        let now = self.instant();
        self.hosts[host].room().change_network(now, &[inside]);
        self.drain_host(host);
    }

    /// Ends a host without a word.
    pub fn kill(&mut self, host: usize) {
        self.hosts[host].ended = Some((self.now, Outcome::Complete));
    }

    /// Does something with a host's room.
    pub fn in_room<T>(&mut self, host: usize, act: impl FnOnce(&mut Session, Instant) -> T) -> T {
        let now = self.instant();
        let result = act(self.hosts[host].room(), now);
        self.drain_host(host);
        result
    }

    /// Stops the server, or starts one that knows nobody.
    pub fn set_server_down(&mut self, down: bool) {
        self.server_is_down = down;
        if let (Server::Native(native), false) = (&mut self.server, down) {
            let mut rng = self.rng.fork();
            let alternates = Alternates::new(&ALTERNATE_PORTS, Some((OTHER_ADDRESS, SERVER.port()).into()));
            let gate = Gate::new(DialectPolicy::Auto, alternates, &mut rng, self.base + self.now);
            **native = (gate, Shard::new(ShardConfig::default(), rng.fork(), self.base + self.now));
        }
    }

    /// Has a host whose call ended call again, for the one peer at this endpoint.
    pub fn call_again_for_one(&mut self, host: usize, peer: SocketAddr) {
        let mut config = self.hosts[host].config.clone().expect("set when the host was added");
        config.meeting.servers = Vec::new();
        config.meeting.peers = vec![vec![peer]];
        config.meeting.wanted = 1;
        config.timeout = Some(Duration::from_secs(40));
        let seed = self.rng.bytes();
        self.hosts[host].machine = Machine::Call(Box::new(Connect::new(config, seed, self.instant())));
        self.hosts[host].ended = None;
        self.wake_at(self.now);
    }

    fn push(&mut self, at: Duration, happening: Happening) {
        self.counter += 1;
        self.queue.push(Reverse((at, self.counter, happening)));
    }

    fn wake_at(&mut self, at: Duration) {
        let at = at.max(self.now);
        if self.woken.insert(at) {
            self.push(at, Happening::Wake);
        }
    }

    /// Puts a datagram on the wire as it looks outside of all NATs.
    pub fn send(&mut self, from: SocketAddr, to: SocketAddr, payload: &[u8]) {
        let copies = 1 + u32::from(self.random(100) < self.weather.duplicate_percent);
        for _ in 0..copies {
            if self.random(100) < self.weather.loss_percent {
                continue;
            }
            let jitter_us = self.weather.jitter.as_micros() as u32;
            let jitter = Duration::from_micros(self.random(jitter_us.max(1)).into());
            let at = self.now + self.weather.one_way + jitter;
            self.push(at, Happening::Arrival { from, to, payload: payload.to_vec() });
        }
    }

    /// What a stranger who knows no session ID makes of a datagram that he sees: replays to all, from his own and from
    /// forged addresses, cut, changed, and junk in both dialects.
    fn attack(&mut self, from: SocketAddr, to: SocketAddr, payload: &[u8]) {
        let stranger = SocketAddr::from(([192, 0, 2, 66], 666));
        for _ in 0..self.attack {
            let Some(rest) = self.attack_budget.checked_sub(1) else { return };
            self.attack_budget = rest;
            let targets: Vec<_> = self.hosts.iter().map(|host| host.inside).chain([SERVER, to]).collect();
            let target = targets[self.random(targets.len() as u32) as usize];
            let sources = [stranger, from, to, SERVER];
            let mut source = sources[self.random(4) as usize];
            if source == SERVER && !self.forge_server {
                source = stranger;
            }
            let mut datagram = payload.to_vec();
            match self.random(6) {
                0 => datagram.truncate(self.random(payload.len() as u32 + 1) as usize),
                // Whoever can forge the server's own words with the client's token could as well cut the cable.
                1 if !datagram.is_empty() && from != SERVER && to != SERVER => {
                    let at = self.random(payload.len() as u32) as usize;
                    datagram[at] ^= 1 << self.random(8);
                }
                2 => {
                    datagram = [&b"SYN"[..], b"ACK", b"", b"192.0.2.66:666"][self.random(4) as usize].to_vec()
                }
                3 => datagram = (0..self.random(100)).map(|_| self.rng.u32() as u8).collect(),
                _ => {}
            }
            let delay = Duration::from_micros(self.random(50_000).into());
            self.push(self.now + delay, Happening::Hostile { from: source, to: target, payload: datagram });
        }
    }

    fn send_from_host(&mut self, host: usize, transmit: &Transmit) {
        self.sent += 1;
        let to = transmit.destination;
        let mut inside = self.hosts[host].inside;
        inside.set_port(inside.port() + transmit.socket.0);
        let from = match self.hosts[host].nat {
            Some(nat) => self.nats[nat].outbound(self.now, inside, to, &mut self.rng),
            None => inside,
        };
        // Private addresses mean something at home only.
        let is_private = |address: SocketAddr| matches!(address.ip(), IpAddr::V4(ip) if ip.is_private());
        if is_private(to) && to.ip() != inside.ip() {
            return;
        }
        // Between any two NATs there are more routers than a low TTL passes.
        if transmit.ttl.is_none() {
            self.send(from, to, &transmit.payload);
        }
    }

    fn arrive(&mut self, from: SocketAddr, to: SocketAddr, payload: &[u8]) {
        let now = self.instant();
        if to == SERVER {
            if self.server_is_down {
                return;
            }
            return self.arrive_at_server(from, payload);
        }
        if to.ip() == SERVER.ip() || to.ip() == OTHER_ADDRESS {
            return self.arrive_at_alternate(from, to, payload);
        }
        let inside = match self.nats.iter().find(|nat| nat.outside == to.ip()) {
            Some(nat) => nat.inbound(self.now, to.port(), from),
            None => Some(to),
        };
        let Some(inside) = inside else { return };
        let Some(host) = self.hosts.iter().position(|host| host.inside.ip() == inside.ip()) else { return };
        let Some(socket) = inside.port().checked_sub(self.hosts[host].inside.port()) else { return };
        if socket >= self.hosts[host].sockets || self.hosts[host].closed.contains(&socket) {
            return;
        }
        if self.record {
            self.seen.push((from, to, payload.to_vec()));
        }
        if self.hosts[host].ended.is_none() && self.hosts[host].starts <= self.now {
            self.hosts[host].machine.handle_datagram(now, SocketIndex(socket), from, payload);
            self.drain_host(host);
        }
    }

    fn arrive_at_server(&mut self, from: SocketAddr, payload: &[u8]) {
        let now = self.instant();
        match &mut self.server {
            Server::Plain(server) => {
                if let Some(reply) = server.answer(from, payload) {
                    self.send(SERVER, from, &reply);
                }
            }
            Server::Native(native) => {
                let (gate, shard) = native.as_mut();
                let mut buffer = [0; 1200];
                let mut reply = Writer::new(&mut buffer);
                match gate.judge(now, from, payload, &mut reply) {
                    Verdict::Admit(request) => {
                        shard.handle_request(now, from, &request, || Newcomers::Welcome)
                    }
                    Verdict::Challenge(early) => {
                        shard.hint(now, from, &early, &mut reply);
                        assert!(
                            reply.written() <= payload.len(),
                            "unproven sources get no more than they sent"
                        );
                        let reply = reply.as_slice().to_vec();
                        self.send(SERVER, from, &reply);
                    }
                    Verdict::Reply => {
                        let reply = reply.as_slice().to_vec();
                        assert!(reply.len() <= payload.len(), "unproven sources get no more than they sent");
                        self.send(SERVER, from, &reply);
                    }
                    Verdict::AnswerFromElsewhere(probe) => {
                        for (at, other_address) in [(SERVER.ip(), false), (OTHER_ADDRESS, true)] {
                            let mut buffer = [0; 1200];
                            let mut reply = Writer::new(&mut buffer);
                            let (token, sequence) = (probe.token, probe.sequence);
                            FilterReply { token, sequence, other_address }.write(&mut reply);
                            self.send(SocketAddr::new(at, FILTER_PORT), from, reply.as_slice());
                        }
                    }
                    Verdict::ReplyTo(_) | Verdict::Drop => {}
                }
                self.drain_server();
            }
        }
    }

    fn arrive_at_alternate(&mut self, from: SocketAddr, to: SocketAddr, payload: &[u8]) {
        let Server::Native(native) = &self.server else { return };
        let mut buffer = [0; 1200];
        let mut reply = Writer::new(&mut buffer);
        if native.0.judge_at_alternate(from, payload, &mut reply) {
            let reply = reply.as_slice().to_vec();
            assert!(reply.len() <= payload.len(), "unproven sources get no more than they sent");
            self.send(to, from, &reply);
        }
    }

    fn drain_server(&mut self) {
        let mut out = Vec::new();
        let mut wake = None;
        if let Server::Native(native) = &mut self.server {
            let shard = &mut native.1;
            while let Some((to, payload)) = shard.poll_transmit() {
                out.push((to.remote, payload.to_vec()));
            }
            wake = shard.poll_timeout();
        }
        for (to, payload) in out {
            self.send(SERVER, to, &payload);
        }
        if let Some(at) = wake.filter(|_| !self.server_is_down) {
            self.wake_at(at.saturating_duration_since(self.base));
        }
    }

    fn drain_host(&mut self, host: usize) {
        while let Some(wanted) = self.hosts[host].machine.wants_sockets() {
            let first = self.hosts[host].sockets;
            self.hosts[host].sockets += wanted as u16;
            let opened: Vec<_> = (first..first + wanted as u16).map(SocketIndex).collect();
            let now = self.instant();
            self.hosts[host].machine.give_sockets(now, &opened);
        }
        while let Some(transmit) = self.hosts[host].machine.poll_transmit() {
            self.send_from_host(host, &transmit);
        }
        while let Some(released) = self.hosts[host].machine.poll_released() {
            assert!(self.hosts[host].closed.insert(released.0), "closed once");
        }
        let (now, instant) = (self.now, self.instant());
        let Host { machine, told, ended, .. } = &mut self.hosts[host];
        match machine {
            Machine::Call(call) => {
                while call.poll_event().is_some() {}
                *ended = ended.or(call.outcome().map(|outcome| (now, outcome)));
            }
            Machine::Room(room) => {
                told.extend(std::iter::from_fn(|| room.poll_event(instant)).map(|event| (now, event)));
            }
        }
        while let Some(transmit) = self.hosts[host].machine.poll_transmit() {
            self.send_from_host(host, &transmit);
        }
        if self.hosts[host].ended.is_some() {
            return;
        }
        if let Some(at) = self.hosts[host].machine.poll_timeout() {
            self.wake_at(at.saturating_duration_since(self.base));
        }
    }

    /// Runs until all calls have ended or `until` is reached; returns whether all have.
    pub fn run(&mut self, until: Duration) -> bool {
        while self.hosts.iter().any(|host| host.ended.is_none()) {
            let Some(Reverse((at, _, happening))) = self.queue.pop() else { return false };
            if at > until {
                self.push(at, happening);
                self.now = until;
                return false;
            }
            self.now = at;
            match happening {
                Happening::Arrival { from, to, payload } => {
                    self.attack(from, to, &payload);
                    self.arrive(from, to, &payload);
                }
                Happening::Hostile { from, to, payload } => self.arrive(from, to, &payload),
                Happening::Wake => self.wake(),
            }
        }
        true
    }

    fn wake(&mut self) {
        let now = self.instant();
        self.woken.remove(&self.now);
        for host in 0..self.hosts.len() {
            if self.hosts[host].starts <= self.now && self.hosts[host].ended.is_none() {
                self.hosts[host].machine.handle_timeout(now);
                let next = self.hosts[host].machine.poll_timeout();
                assert!(next.is_none_or(|next| next > now), "all that was due has been done");
                self.drain_host(host);
            }
        }
        if let (Server::Native(native), false) = (&mut self.server, self.server_is_down) {
            native.1.handle_timeout(now);
            assert!(native.1.poll_timeout().is_none_or(|next| next > now), "all that was due has been done");
        }
        self.drain_server();
    }

    /// When and how each host's call ended, and what it knew of its peers: for messages of failed tests.
    pub fn ended(&self) -> String {
        let now = self.instant();
        let of = |host: &Host| format!("{:?} {:?}; ", host.ended, host.call().peers(now).collect::<Vec<_>>());
        self.hosts.iter().map(of).collect()
    }

    pub fn outcome(&self, host: usize) -> Option<Outcome> {
        self.hosts[host].ended.map(|(_, outcome)| outcome)
    }
}

//! A Redis server as the store. Of each session there is a hash: a record for each member, by its peer ID. Each server has a key that says
//! that it lives, and a channel on which others tell it what changed in sessions that it has members in.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use redis::{Client, Connection, Pipeline};

use super::sweep::Sweep;
use super::{Store, StoreConfig};
use crate::net::batch::ServerSocket;
use crate::proto::PeerId;
use crate::proto::rendezvous::{Change, Reconciled, Record, SessionKey, Shard, Share};
use crate::server::handle::drain;
use crate::server::outgoing::Outgoing;
use crate::server::{Registry, SHARDS};

/// Longest wait for a connection, or for an answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest wait for something to do, or to hear.
const TICK: Duration = Duration::from_millis(20);
/// A store that cannot be reached is tried again after so long.
const RETRY: Duration = Duration::from_millis(500);
/// How often a server says that it lives, and looks who else does.
const LIFE_PERIOD: Duration = Duration::from_secs(3);
/// For so long the store believes a server to live, in seconds.
const LIFE_SECONDS: u64 = 9;
/// And for so long we do when the store does not: it may have forgotten. Together that is about as long as a silent client has.
const DOUBT: Duration = Duration::from_secs(6);
/// A session that nobody renews is forgotten after so long, in seconds; servers that live renew theirs at each sweep.
const SESSION_SECONDS: u64 = 180;
/// Changes that are told at once.
const MAX_BATCH: usize = 256;
/// Other servers that are remembered, those that have died included.
const MAX_SERVERS: usize = 1024;

fn session_name(key: SessionKey) -> String {
    format!("hp:session:{:032x}", u128::from_be_bytes(key.0))
}

fn life_name(server: u64) -> String {
    format!("hp:server:{server:016x}")
}

fn inbox_name(server: u64) -> String {
    format!("hp:inbox:{server:016x}")
}

fn shard_of(registry: &Registry, key: SessionKey) -> &parking_lot::Mutex<Shard> {
    &registry.shards[usize::from(key.0[0]) % SHARDS]
}

fn connect(config: &StoreConfig) -> redis::RedisResult<Connection> {
    let connection = Client::open(config.url.as_str())?.get_connection_with_timeout(PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    Ok(connection)
}

/// Hears what other servers say.
pub(super) struct Reader<'a> {
    registry: &'a Registry,
    store: &'a Store,
    socket: &'a ServerSocket,
    config: StoreConfig,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        registry: &'a Registry,
        store: &'a Store,
        socket: &'a ServerSocket,
        config: &StoreConfig,
    ) -> Self {
        Self { registry, store, socket, config: config.clone() }
    }

    pub(super) fn run(&self) {
        while !self.registry.stop.load(Ordering::Acquire) {
            // The writer says what is wrong with the store.
            if let Err(error) = self.listen() {
                log::debug!("not listening to other servers: {error}");
                std::thread::sleep(RETRY);
            }
        }
    }

    /// Listens until the registry says stop, or nothing can be heard any more.
    fn listen(&self) -> redis::RedisResult<()> {
        let mut connection = connect(&self.config)?;
        let mut subscription = connection.as_pubsub();
        subscription.subscribe(inbox_name(self.store.server))?;
        // What was said before was missed.
        self.store.behind.store(true, Ordering::Relaxed);
        subscription.set_read_timeout(Some(TICK))?;
        let mut outgoing = Outgoing::default();
        while !self.registry.stop.load(Ordering::Acquire) {
            let message = match subscription.get_message() {
                Ok(message) => message,
                Err(error) if error.is_timeout() => continue,
                Err(error) => return Err(error),
            };
            let Ok(change) = Change::parse(message.get_payload_bytes()) else {
                self.store.totals.malformed.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            self.store.totals.heard.fetch_add(1, Ordering::Relaxed);
            let mut shard = shard_of(self.registry, change.key).lock();
            shard.handle_change(Instant::now(), &change);
            drain(self.registry, &mut shard, &mut outgoing);
            drop(shard);
            outgoing.send(self.registry, self.socket);
        }
        Ok(())
    }
}

/// A server that others say they know members of.
#[derive(Clone, Copy, Default)]
struct Other {
    /// Since when the store does not know it.
    missing_since: Option<Instant>,
    /// Its members are forgotten.
    dead: bool,
}

/// Tells the store, and asks it.
pub(super) struct Writer<'a> {
    registry: &'a Registry,
    store: &'a Store,
    socket: &'a ServerSocket,
    config: StoreConfig,
    waiting: Receiver<Share>,
    others: HashMap<u64, Other>,
    sweep: Sweep,
    outgoing: Outgoing,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        registry: &'a Registry,
        store: &'a Store,
        socket: &'a ServerSocket,
        config: &StoreConfig,
        waiting: Receiver<Share>,
    ) -> Self {
        Self {
            registry,
            store,
            socket,
            config: config.clone(),
            waiting,
            others: HashMap::new(),
            sweep: Sweep::new(Instant::now()),
            outgoing: Outgoing::default(),
        }
    }

    pub(super) fn run(mut self) {
        let connected = &self.store.totals.connected;
        let mut complained = false;
        while !self.registry.stop.load(Ordering::Acquire) {
            let result = connect(&self.config).and_then(|mut connection| {
                log::info!("the store is there; sessions are shared with other servers");
                connected.store(true, Ordering::Relaxed);
                complained = false;
                self.serve(&mut connection)
            });
            connected.store(false, Ordering::Relaxed);
            if let Err(error) = result {
                self.store.totals.failures.fetch_add(1, Ordering::Relaxed);
                if !std::mem::replace(&mut complained, true) {
                    log::warn!("the store cannot be reached, sessions go on without other servers: {error}");
                }
                self.discard_for(RETRY);
            }
        }
    }

    /// Without a store there is nobody to tell; all is compared with it when it is back.
    fn discard_for(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end && !self.registry.stop.load(Ordering::Acquire) {
            if self.waiting.recv_timeout(TICK).is_ok() {
                self.store.totals.late.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Tells until the registry says stop, or the store fails.
    fn serve(&mut self, connection: &mut Connection) -> redis::RedisResult<()> {
        let mut life_due = Instant::now();
        self.sweep.all(Instant::now());
        while !self.registry.stop.load(Ordering::Acquire) {
            let now = Instant::now();
            if now >= life_due {
                life_due = now + LIFE_PERIOD;
                self.look_who_lives(connection)?;
            }
            if self.store.behind.swap(false, Ordering::Relaxed) {
                self.sweep.all(now);
            }
            let patience = if self.sweep.is_due(now) { Duration::ZERO } else { TICK };
            let shares = self.take_waiting(patience);
            self.tell(connection, &shares)?;
            let keys = self.sweep.next(now, |shard| self.registry.shards[shard].lock().session_keys());
            self.compare(connection, &keys, true)?;
        }
        Ok(())
    }

    fn take_waiting(&self, patience: Duration) -> Vec<Share> {
        match self.waiting.recv_timeout(patience) {
            Ok(first) => std::iter::once(first).chain(self.waiting.try_iter()).take(MAX_BATCH).collect(),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Vec::new(),
        }
    }

    /// Says that we live, and forgets servers that do not.
    fn look_who_lives(&mut self, connection: &mut Connection) -> redis::RedisResult<()> {
        let mut pipeline = redis::pipe();
        pipeline.set_ex(life_name(self.store.server), 1, LIFE_SECONDS).ignore();
        let servers: Vec<u64> = self.others.keys().copied().collect();
        for server in &servers {
            pipeline.exists(life_name(*server));
        }
        let lives: Vec<bool> = pipeline.query(connection)?;
        for (server, lives) in servers.iter().zip(lives) {
            let now = Instant::now();
            let other = self.others.entry(*server).or_default();
            let was_dead = other.dead;
            other.missing_since = if lives { None } else { other.missing_since.or(Some(now)) };
            other.dead =
                other.missing_since.is_some_and(|since| now.saturating_duration_since(since) >= DOUBT);
            if !other.dead && was_dead {
                // It was only away, and we have forgotten its members.
                self.sweep.all(now);
            } else if other.dead && !was_dead {
                log::warn!("a server that shared sessions with us is gone, and so are its members");
                for shard in &self.registry.shards {
                    let mut shard = shard.lock();
                    shard.forget_server(now, *server);
                    drain(self.registry, &mut shard, &mut self.outgoing);
                    drop(shard);
                    self.outgoing.send(self.registry, self.socket);
                }
            }
        }
        if self.others.len() > MAX_SERVERS {
            self.others.retain(|_, other| !other.dead);
        }
        let living = self.others.values().filter(|other| !other.dead).count();
        self.store.totals.servers.store(living as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Tells the store and the other servers what changed here.
    fn tell(&mut self, connection: &mut Connection, shares: &[Share]) -> redis::RedisResult<()> {
        if shares.is_empty() {
            return Ok(());
        }
        let mut pipeline = redis::pipe();
        let mut opened = Vec::new();
        for share in shares {
            let (change, servers, first) = match share {
                Share::Changed { change, servers, first } => (change, servers, *first),
                Share::Moved(key) => {
                    self.sweep.again(Instant::now(), *key);
                    continue;
                }
            };
            match &change.now {
                Ok(record) => put(&mut pipeline, change.key, change.peer, record),
                Err(_) => drop(pipeline.hdel(session_name(change.key), &change.peer.0).ignore()),
            }
            publish(&mut pipeline, servers, change);
            if first {
                opened.push(change.key);
            }
        }
        if !pipeline.is_empty() {
            pipeline.exec(connection)?;
        }
        self.store.totals.told.fetch_add(shares.len() as u64, Ordering::Relaxed);
        self.compare(connection, &opened, false)
    }

    /// Compares sessions with what the store has of them, and keeps the store from forgetting them where `renew` says so. Those that it
    /// lacks something of are compared once more after it was told: another server may just do the same.
    fn compare(
        &mut self,
        connection: &mut Connection,
        keys: &[SessionKey],
        renew: bool,
    ) -> redis::RedisResult<()> {
        let mut lacking = Vec::new();
        self.compare_once(connection, keys, renew, &mut lacking)?;
        let again = std::mem::take(&mut lacking);
        self.compare_once(connection, &again, false, &mut lacking)
    }

    fn compare_once(
        &mut self,
        connection: &mut Connection,
        keys: &[SessionKey],
        renew: bool,
        lacking: &mut Vec<SessionKey>,
    ) -> redis::RedisResult<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let mut pipeline = redis::pipe();
        for key in keys {
            if renew {
                pipeline.expire(session_name(*key), SESSION_SECONDS as i64).ignore();
            }
            pipeline.hgetall(session_name(*key));
        }
        let answers: Vec<HashMap<Vec<u8>, Vec<u8>>> = pipeline.query(connection)?;
        let mut pipeline = redis::pipe();
        for (key, answer) in keys.iter().zip(answers) {
            if self.compare_one(*key, &answer, &mut pipeline) {
                lacking.push(*key);
            }
        }
        self.outgoing.send(self.registry, self.socket);
        if pipeline.is_empty() { Ok(()) } else { pipeline.exec(connection) }
    }

    /// Whether the store lacked something.
    fn compare_one(
        &mut self,
        key: SessionKey,
        answer: &HashMap<Vec<u8>, Vec<u8>>,
        pipeline: &mut Pipeline,
    ) -> bool {
        let mut stored = Vec::new();
        for (peer, record) in answer {
            match (<[u8; 16]>::try_from(&peer[..]), Record::parse(record)) {
                (Ok(peer), Ok(record)) => stored.push((PeerId(peer), record)),
                _ => drop(self.store.totals.malformed.fetch_add(1, Ordering::Relaxed)),
            }
        }
        for (peer, record) in stored.iter().filter(|(_, record)| record.server != self.store.server) {
            if self.others.len() < MAX_SERVERS {
                self.others.entry(record.server).or_default();
            }
            if self.is_dead(record.server) {
                pipeline.hdel(session_name(key), &peer.0).ignore();
            }
        }
        let mut shard = shard_of(self.registry, key).lock();
        let reconciled = shard.reconcile(Instant::now(), key, &stored, |server| self.is_dead(server));
        drain(self.registry, &mut shard, &mut self.outgoing);
        drop(shard);
        let Reconciled { missing, orphans, ours, servers, again } = reconciled;
        for peer in &orphans {
            pipeline.hdel(session_name(key), &peer.0).ignore();
        }
        for (peer, record) in &missing {
            put(pipeline, key, *peer, record);
        }
        if again {
            // Whoever was not there yet when we came knows us from this.
            ours.iter().for_each(|change| publish(pipeline, &servers, change));
            self.sweep.again(Instant::now(), key);
        }
        !missing.is_empty()
    }

    fn is_dead(&self, server: u64) -> bool {
        self.others.get(&server).is_some_and(|other| other.dead)
    }
}

fn put(pipeline: &mut Pipeline, key: SessionKey, peer: PeerId, record: &Record) {
    let name = session_name(key);
    pipeline.hset(&name, &peer.0, record.encode()).ignore();
    pipeline.expire(&name, SESSION_SECONDS as i64).ignore();
}

fn publish(pipeline: &mut Pipeline, servers: &[u64], change: &Change) {
    for server in servers {
        pipeline.publish(inbox_name(*server), change.encode()).ignore();
    }
}

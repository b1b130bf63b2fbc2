//! Several `hp-server`s that share their sessions through a real Redis: who meets, and what becomes of it as one after the other is killed.
#![cfg(all(feature = "programs", feature = "redis"))]

#[path = "../support/mod.rs"]
mod support;
mod world;

use std::time::{Duration, Instant};

use holepunch::{Client, DialectPolicy, Session, SessionEvent, SessionOptions};

use support::unique_id;
use world::{PATIENCE, Redis, Server, wait_until};

/// Two clients, each of one of the servers, under one new ID; whether they met.
fn meet(servers: [&Server; 2], policies: [DialectPolicy; 2]) -> bool {
    let id = unique_id();
    let calls = [0, 1].map(|side| {
        let (mut client, id) = (servers[side].client(), id.clone());
        client.set_dialect(policies[side]);
        client.set_timeout(Some(PATIENCE));
        std::thread::spawn(move || client.connect(&id, 1).map(|peers| peers.len()))
    });
    calls.into_iter().all(|call| call.join().unwrap().is_ok_and(|peers| peers == 1))
}

const NATIVE: [DialectPolicy; 2] = [DialectPolicy::Native; 2];

#[test]
fn peers_of_different_servers_meet_in_every_mix_of_dialects() {
    let Some(redis) = Redis::start() else { return };
    let (a, b) = (Server::start(&redis), Server::start(&redis));
    use DialectPolicy::{Native, Plain};
    for policies in [[Native, Native], [Native, Plain], [Plain, Native], [Plain, Plain]] {
        // A native client that rules plain peers out would not talk to one.
        let policies = if policies[0] == policies[1] { policies } else { policies.map(either_for_native) };
        assert!(meet([&a, &b], policies), "{policies:?}");
        assert!(meet([&b, &a], policies), "{policies:?}");
    }
    wait_until("everybody has left everywhere", || {
        [&a, &b].iter().all(|server| server.metric("hp_server_store_elsewhere") == Some(0.0))
    });
    assert_eq!(a.metric("hp_server_store_servers"), Some(1.0));
}

fn either_for_native(policy: DialectPolicy) -> DialectPolicy {
    if policy == DialectPolicy::Native { DialectPolicy::Auto } else { policy }
}

struct Member {
    session: Session,
    _client: Client,
}

impl Member {
    fn join(server: &Server, id: &[u8]) -> Self {
        let mut client = server.client();
        let session = Session::join(&mut client, id, SessionOptions::default()).unwrap();
        Self { session, _client: client }
    }

    /// Waits for so many events that `wanted` holds for.
    fn wait(&self, what: &str, count: usize, wanted: impl Fn(&SessionEvent) -> bool) -> Duration {
        let (begin, mut left) = (Instant::now(), count);
        while left > 0 {
            let rest = PATIENCE.checked_sub(begin.elapsed()).unwrap_or_else(|| panic!("not in time: {what}"));
            if self.session.next_event(Some(rest)).as_ref().is_some_and(&wanted) {
                left -= 1;
            }
        }
        begin.elapsed()
    }

    fn wait_for_peers(&self, count: usize) {
        self.wait("peers", count, |event| matches!(event, SessionEvent::Connected(..)));
    }
}

fn is_left(event: &SessionEvent) -> bool {
    matches!(event, SessionEvent::Left(..))
}

/// A session of one member of the first server and one of the second, of which one is killed.
fn outlive(dead: usize) {
    let Some(redis) = Redis::start() else { return };
    let mut servers = [Server::start(&redis), Server::start(&redis)];
    let id = unique_id();
    let [a, b] = &servers;
    let members = [Member::join(a, &id), Member::join(b, &id), Member::join(b, &id)];
    members.iter().for_each(|member| member.wait_for_peers(2));
    let [first, second, third] = members;
    drop(third.session);
    for member in [&first, &second] {
        let took = member.wait("a goodbye", 1, is_left);
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
    let known = |server: &Server| server.metric("hp_server_store_elsewhere") == Some(1.0);
    wait_until("each knows the other's member", || servers.iter().all(known));
    // The other server forgets the dead one's members, whom theirs are connected to all the same.
    servers[dead].kill();
    let begin = Instant::now();
    let left = &servers[1 - dead];
    wait_until("the dead server's members are forgotten", || {
        left.metric("hp_server_store_elsewhere") == Some(0.0)
            && left.metric("hp_server_store_servers") == Some(0.0)
    });
    println!("forgotten after {:.1} s", begin.elapsed().as_secs_f64());
    for (from, to) in [(&first, &second), (&second, &first)] {
        let peer = from.session.peers()[0].member.id;
        from.session.send(peer, b"still here").unwrap();
        let is_heard =
            |event: &SessionEvent| matches!(event, SessionEvent::Message(_, text) if text == b"still here");
        to.wait("a message", 1, is_heard);
    }
    assert!(meet([left, left], NATIVE));
    let fresh = Server::start(&redis);
    assert!(meet([left, &fresh], NATIVE) && meet([&fresh, left], NATIVE));
}

#[test]
fn a_session_across_servers_hears_of_who_leaves_and_outlives_the_death_of_the_first_server() {
    outlive(0);
}

#[test]
fn a_session_across_servers_hears_of_who_leaves_and_outlives_the_death_of_the_second_server() {
    outlive(1);
}

#[test]
fn sessions_go_on_without_the_store_and_are_shared_again_when_it_is_back() {
    let Some(mut redis) = Redis::start() else { return };
    let (a, b) = (Server::start(&redis), Server::start(&redis));
    let id = unique_id();
    let (first, second) = (Member::join(&a, &id), Member::join(&b, &id));
    [&first, &second].iter().for_each(|member| member.wait_for_peers(1));

    redis.kill();
    wait_until("the loss shows", || a.metric("hp_server_store_up") == Some(0.0));
    a.expect("the store cannot be reached");
    assert!(meet([&a, &a], NATIVE) && meet([&b, &b], NATIVE));
    let third = Member::join(&a, &id);
    third.wait_for_peers(1);
    first.wait_for_peers(1);

    // It comes back empty. Who came while it was away is found; nobody else was lost.
    redis.restart();
    third.wait_for_peers(1);
    second.wait_for_peers(1);
    assert!(meet([&a, &b], NATIVE));
    for member in [&first, &second, &third] {
        let mut events = std::iter::from_fn(|| member.session.next_event(Some(Duration::ZERO)));
        assert!(!events.any(|event| is_left(&event)), "nobody has left");
    }
    wait_until("the failure is counted", || b.metric("hp_server_store_failures_total") >= Some(1.0));
}

#[test]
fn a_store_that_hangs_delays_nobody() {
    let Some(redis) = Redis::start() else { return };
    let (a, b) = (Server::start(&redis), Server::start(&redis));
    redis.signal(libc::SIGSTOP);
    for _ in 0..3 {
        let begin = Instant::now();
        assert!(meet([&a, &a], NATIVE));
        assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    }
    redis.signal(libc::SIGCONT);
    assert!(meet([&a, &b], NATIVE));
}

#[test]
fn what_stands_in_the_store_and_is_no_record_is_counted_and_passed_over() {
    let Some(redis) = Redis::start() else { return };
    let (a, b) = (Server::start(&redis), Server::start(&redis));
    let id = unique_id();
    let (first, second) = (Member::join(&a, &id), Member::join(&b, &id));
    [&first, &second].iter().for_each(|member| member.wait_for_peers(1));
    let sessions = redis.command(&["KEYS", "hp:session:*"]);
    let session = sessions.lines().next().expect("there is one");
    for field in ["garbage", "sixteen bytes of"] {
        redis.command(&["HSET", session, field, "no record"]);
    }
    for inbox in redis.command(&["PUBSUB", "CHANNELS", "hp:inbox:*"]).lines() {
        redis.command(&["PUBLISH", inbox, ""]);
        redis.command(&["PUBLISH", inbox, "\u{1}no change either"]);
    }
    // A third member has the session read.
    wait_until("it is counted", || {
        let counted =
            [&a, &b].iter().all(|server| server.metric("hp_server_store_malformed_total") >= Some(2.0));
        counted && meet([&a, &b], NATIVE)
    });
    let third = Member::join(&b, &id);
    third.wait_for_peers(2);
}

//! What clients may take of a server, at the edges of it.

use std::net::SocketAddr;
use std::time::Duration;

use holepunch::proto::rendezvous::{Movement, Newcomers, RendezvousEvent, Request, ShardConfig, ShardLimits};
use holepunch::proto::wire::{Profile, RefusedReason};
use holepunch::proto::{Candidate, CandidateKind, LookupKey};

use super::world::{ID, World, endpoint, present, seconds};

fn world_with(limits: ShardLimits) -> World {
    World::new(ShardConfig { limits, ..ShardConfig::default() })
}

/// What the server has sent there, IP and UDP headers included.
fn bytes_to(world: &World, to: SocketAddr) -> usize {
    let header = if to.is_ipv4() { 28 } else { 48 };
    world.stray.iter().filter(|(at, _)| *at == to).map(|(_, payload)| payload.len() + header).sum()
}

#[test]
fn plain_clients_are_never_sent_more_than_a_multiple_of_what_came_from_them() {
    for (factor, header, victim) in [
        (1, 28, endpoint(9)),
        (3, 28, endpoint(9)),
        (10, 28, endpoint(9)),
        (3, 48, "[2001:db8::9]:9".parse().unwrap()),
    ] {
        let mut world =
            world_with(ShardLimits { plain_amplification: Some(factor), ..ShardLimits::default() });
        for other in 100..150 {
            world.ask_server(endpoint(other), ID);
        }
        world.take_answers();
        world.stray.clear();
        let (mut received, mut answered) = (0, 0);
        for _ in 0..400 {
            world.ask_server(victim, ID);
            received += header + ID.len();
            world.take_answers();
            let sent = bytes_to(&world, victim);
            assert!(sent <= factor as usize * received, "{sent} for {received}");
            answered =
                world.stray.iter().filter(|(at, payload)| *at == victim && payload.len() > 800).count();
        }
        assert!(answered > 0, "a client that goes on asking gets the whole list");
        // Silence follows; keep-alives count, too.
        world.pass(seconds(60));
        assert!(bytes_to(&world, victim) <= factor as usize * received);
        assert!(world.shard.counters().plain_withheld > 0 || factor == 10);
    }
}

#[test]
fn without_a_limit_a_full_session_amplifies_a_forged_request_as_documented() {
    let mut world = world_with(ShardLimits { plain_amplification: None, ..ShardLimits::default() });
    for other in 0..257 {
        world.ask_server(endpoint(other), b"x");
    }
    world.take_answers();
    world.stray.clear();
    world.ask_server(endpoint(0), b"x");
    world.take_answers();
    let factor = bytes_to(&world, endpoint(0)) as f64 / 29.0;
    assert!((155.0..165.0).contains(&factor), "docs/operations.md says 160: {factor}");
}

#[test]
fn a_single_forged_request_draws_no_more_than_its_multiple_until_it_expires() {
    let mut world = world_with(ShardLimits { plain_amplification: Some(1), ..ShardLimits::default() });
    world.ask_server(endpoint(1), b"x");
    world.ask_server(endpoint(2), b"x");
    world.take_answers();
    world.pass(seconds(100));
    assert!(bytes_to(&world, endpoint(2)) <= 29, "{}", bytes_to(&world, endpoint(2)));
    assert_eq!(world.shard.population().0, 0);
}

#[test]
fn two_plain_clients_hear_of_each_other_at_once_by_default() {
    let mut world = World::new(ShardConfig::default());
    assert_eq!(world.plain_list(endpoint(1)), "");
    assert_eq!(world.plain_list(endpoint(2)), endpoint(1).to_string());
    assert_eq!(world.plain_list(endpoint(1)), endpoint(2).to_string());
}

#[test]
fn without_a_limit_every_plain_request_is_answered() {
    let mut world = world_with(ShardLimits { plain_amplification: None, ..ShardLimits::default() });
    for other in 0..100 {
        world.ask_server(endpoint(other), b"x");
    }
    world.take_answers();
    world.stray.clear();
    world.ask_server(endpoint(7), b"x");
    world.take_answers();
    assert!(bytes_to(&world, endpoint(7)) > 1500);
    assert_eq!(world.shard.counters().plain_withheld, 0);
}

#[test]
fn registrations_take_no_more_memory_than_they_may_and_give_it_back() {
    let candidate = Candidate { kind: CandidateKind::Host, endpoint: "[2001:db8::1]:1".parse().unwrap() };
    let large = Profile { candidates: vec![candidate; 16], ..Profile::default() };
    let limits = ShardLimits { max_memory: 16 << 10, ..ShardLimits::default() };
    let mut world = world_with(limits);
    let mut joined = 0;
    let refused = loop {
        let client = world.join(large.clone());
        assert!(world.shard.memory() <= limits.max_memory);
        let events = world.events(client);
        if let [RendezvousEvent::Refused(reason)] = events[..] {
            break reason;
        }
        joined += 1;
    };
    assert_eq!((refused, world.shard.population().0), (RefusedReason::ServerFull, joined));
    assert!((15..45).contains(&joined), "{joined}");
    world.clients.clear();
    world.pass_without_clients(seconds(16));
    assert_eq!(world.shard.population(), (0, 0));
    // Places stay for those who come next, who need no more memory than that.
    for _ in 0..joined {
        let client = world.join(Profile::default());
        assert!(matches!(world.events(client)[0], RendezvousEvent::Registered { .. }));
    }
}

#[test]
fn newcomers_are_refused_or_ignored_while_members_are_served() {
    for newcomers in [Newcomers::Refused, Newcomers::Ignored] {
        let mut world = World::new(ShardConfig::default());
        let (a, b) = (world.join(Profile::default()), world.join(Profile::default()));
        let mut seen = world.events(a);
        let plain = endpoint(50);
        world.plain_list(plain);
        world.newcomers = newcomers;
        let newcomer = world.join(Profile::default());
        world.pass(Duration::from_millis(150));
        let answers = world.events(newcomer);
        assert_eq!(answers.is_empty(), newcomers == Newcomers::Ignored);
        assert!(answers.iter().all(|answer| *answer == RendezvousEvent::Refused(RefusedReason::ServerFull)));
        world.stray.clear();
        world.ask_server(endpoint(51), ID);
        world.take_answers();
        assert_eq!(bytes_to(&world, endpoint(51)), 0);
        assert_eq!(world.shard.population().0, 3);
        // Who is in stays in, also from elsewhere, and is told who goes.
        assert!(!world.plain_list(plain).is_empty());
        world.clients[b].0 = endpoint(500);
        world.clients.remove(newcomer);
        world.pass(seconds(30));
        assert_eq!(world.shard.population().0, 3);
        seen.extend(world.events(a));
        assert_eq!(present(&seen).len(), 2);
        let counters = world.shard.counters();
        assert!(if newcomers == Newcomers::Ignored { counters.shed } else { counters.refused } >= 2);
    }
}

#[test]
fn who_comes_goes_and_moves_is_counted_where_it_is() {
    let mut world = World::new(ShardConfig::default());
    let a = world.join(Profile::default());
    let [home, away] = [endpoint(0).ip(), "198.51.100.77".parse().unwrap()];
    let moves = |world: &mut World| world.shard.take_movements().collect::<Vec<_>>();
    assert_eq!(moves(&mut world), [Movement::Came(home)]);
    world.clients[a].0 = (away, 9).into();
    world.pass(seconds(12));
    assert_eq!(moves(&mut world), [Movement::Went(home), Movement::Came(away)]);
    world.pass_without_clients(seconds(16));
    assert_eq!(moves(&mut world), [Movement::Went(away)]);
}

#[test]
fn nobody_expires_before_a_server_that_was_stopped_could_hear_them_again() {
    let mut world = World::new(ShardConfig::default());
    world.join(Profile::default());
    world.plain_list(endpoint(50));
    // A minute in which nothing runs; heartbeats have been lost.
    world.now += seconds(60);
    world.shard.excuse_silence(world.now);
    world.shard.handle_timeout(world.now);
    assert_eq!(world.shard.population().0, 2);
    world.pass(seconds(9));
    assert_eq!(world.shard.population().0, 2);
    world.pass(seconds(2));
    assert_eq!(
        (world.shard.population().0, world.shard.counters().expired),
        (1, 1),
        "the one who says nothing"
    );
}

#[test]
fn what_is_due_for_very_many_at_once_is_done_in_parts() {
    let mut world = World::new(ShardConfig::default());
    for client in 0..1000u32 {
        let source: SocketAddr = ([198, 51, (client >> 8) as u8, client as u8], 7).into();
        let request = Request::Plain { key: LookupKey::derive(&client.to_be_bytes()), len: 100 };
        world.shard.handle_request(world.now, source, &request, || Newcomers::Welcome);
        while world.shard.poll_transmit().is_some() {}
    }
    world.now += seconds(3600);
    let (mut calls, mut before) = (0, world.shard.population().0);
    while world.shard.poll_timeout().is_some_and(|due| due <= world.now) {
        world.shard.handle_timeout(world.now);
        let left = world.shard.population().0;
        assert!(before - left <= 256, "{before} {left}");
        (calls, before) = (calls + 1, left);
    }
    assert_eq!((before, world.shard.counters().expired), (0, 1000));
    assert!(calls >= 4, "{calls}");
}

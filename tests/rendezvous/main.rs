//! The rendezvous machines, client against server, without a network: expiry, limits, updates, restarts.

mod hints;
mod limits;
mod pushes;
mod settings;
mod sharing;
mod world;

use std::net::SocketAddr;
use std::time::Duration;

use holepunch::proto::rendezvous::{RendezvousClient, RendezvousEvent, ShardConfig, ShardLimits};
use holepunch::proto::wire::{Attributes, Message, Presence, Profile, RefusedReason, Register};
use holepunch::proto::{Candidate, CandidateKind, LookupKey, PeerDialect, PeerId, SocketIndex};
use world::{ID, SOCKET, World, endpoint, present, seconds, server_address};

#[test]
fn first_registration_is_challenged_and_leaves_no_state() {
    let mut world = World::new(ShardConfig::default());
    let register = Register {
        token: 1,
        sequence: 1,
        lookup: LookupKey::derive(ID),
        peer: PeerId([1; 16]),
        cookie: [0; 16],
        instance: 0,
        revision: 0,
        attributes: Attributes::NONE,
    };
    for _ in 0..1000 {
        world.ask_server(endpoint(1), &register.encode());
    }
    assert_eq!(world.shard.population(), (0, 0));
    let Ok(Message::Challenge(challenge)) = Message::parse(&world.stray[0].1) else { panic!("no challenge") };
    let proven = Register { cookie: challenge.cookie, ..register };
    world.ask_server(endpoint(2), &proven.encode());
    assert_eq!(world.shard.population(), (0, 0), "a cookie proves the endpoint that it was sent to only");
    world.ask_server(endpoint(1), &proven.encode());
    assert_eq!(world.shard.population(), (1, 1));
}

#[test]
fn members_are_told_of_joins_and_leaves_at_once() {
    let mut world = World::new(ShardConfig::default());
    let profile = Profile {
        candidates: vec![Candidate { kind: CandidateKind::Host, endpoint: "192.168.1.2:1".parse().unwrap() }],
        ..Profile::default()
    };
    let (a, b) = (world.join(Profile::default()), world.join(profile.clone()));
    let first = world.events(a);
    assert_eq!(first[0], RendezvousEvent::Registered { observed: endpoint(0) });
    let RendezvousEvent::Joined { candidates, dialect, .. } = &first[1] else { panic!("{first:?}") };
    assert_eq!(*dialect, PeerDialect::Native);
    assert_eq!(candidates[0], Candidate { kind: CandidateKind::Reflexive, endpoint: endpoint(1) });
    assert_eq!(candidates[1..], profile.candidates);
    assert_eq!(present(&world.events(b)).len(), 1);

    world.clients[b].1.close();
    world.settle();
    assert!(matches!(world.events(a)[..], [RendezvousEvent::Left { .. }]));
    assert_eq!(world.shard.population(), (1, 1));
    assert_eq!(world.shard.counters().left, 1);
}

#[test]
fn client_that_leaves_before_it_has_read_the_answer_is_forgotten_at_once() {
    let mut world = World::new(ShardConfig::default());
    let other = world.join(Profile::default());
    let config = world.config(Profile::default());
    let mut client = RendezvousClient::new(config, &mut world.rng, world.now);
    // The challenge arrives; the answer to the registration is on its way.
    for _ in 0..2 {
        client.handle_timeout(world.now);
        while let Some(transmit) = client.poll_transmit() {
            world.ask_server(endpoint(1), &transmit.payload);
        }
        for (_, payload) in std::mem::take(&mut world.stray) {
            client.handle_datagram(world.now, SOCKET, server_address(), &payload);
        }
    }
    assert_eq!(world.shard.population().0, 2);
    client.close();
    let goodbye = client.poll_transmit().expect("a goodbye").payload;
    world.ask_server(endpoint(2), &goodbye);
    assert_eq!(world.shard.population().0, 2, "only from its own endpoint");
    world.ask_server(endpoint(1), &goodbye);
    assert_eq!((world.shard.population().0, world.shard.counters().left), (1, 1));
    world.settle();
    assert_eq!(present(&world.events(other)).len(), 0);
}

#[test]
fn heartbeats_keep_a_member_and_silence_of_15_seconds_ends_it() {
    let mut world = World::new(ShardConfig::default());
    let a = world.join(Profile::default());
    world.pass(seconds(60));
    assert_eq!(world.shard.population(), (1, 1));
    let heard = world.now;
    world.clients[a].1.handle_timeout(heard);
    while world.clients[a].1.poll_transmit().is_some() {}
    // The last heartbeat was at a multiple of 10 s.
    world.pass_without_clients(seconds(15) - Duration::from_millis(1));
    assert_eq!(world.shard.population().0, 1);
    world.pass_without_clients(Duration::from_millis(2));
    assert_eq!(world.shard.population(), (0, 0));
    assert_eq!(world.shard.counters().expired, 1);
}

#[test]
fn plain_clients_are_listed_kept_alive_and_expire_after_40_seconds() {
    let mut world = World::new(ShardConfig::default());
    let native = world.join(Profile::default());
    let (x, y) = (endpoint(100), "[2001:db8::7]:9".parse().unwrap());
    assert_eq!(world.plain_list(x), endpoint(0).to_string());
    assert_eq!(world.plain_list(y), format!("{},{x}", endpoint(0)));
    assert_eq!(world.plain_list(x), format!("{},{y}", endpoint(0)), "without the asker");
    world.settle();
    let joined = present(&world.events(native));
    assert_eq!(joined.len(), 2, "natives hear of plain peers");

    world.stray.clear();
    world.pass(seconds(10));
    let keep_alives = world.stray.iter().filter(|(_, payload)| payload.is_empty()).count();
    assert_eq!(keep_alives, 2, "one each after 10 s");
    world.pass(seconds(30) - Duration::from_millis(100));
    assert_eq!(world.shard.population().0, 3);
    world.pass(Duration::from_millis(200));
    assert_eq!(world.shard.population().0, 1);
    assert!(matches!(world.events(native)[..], [RendezvousEvent::Left { .. }, RendezvousEvent::Left { .. }]));
}

#[test]
fn native_registration_takes_the_place_of_a_plain_one_at_the_same_endpoint() {
    let mut world = World::new(ShardConfig::default());
    world.plain_list(endpoint(0));
    let other = endpoint(50);
    assert_eq!(world.plain_list(other), endpoint(0).to_string());
    world.join(Profile::default());
    assert_eq!(world.shard.population().0, 2);
    assert_eq!(world.plain_list(other), endpoint(0).to_string(), "listed once");
}

#[test]
fn limits_hold_at_their_edges() {
    let limits = ShardLimits { max_members_per_session: 3, max_members: 4, ..ShardLimits::default() };
    let config = ShardConfig { limits, ..ShardConfig::default() };
    let mut world = World::new(config);
    let last = (0..4).map(|_| world.join(Profile::default())).last().unwrap();
    assert_eq!(world.shard.population().0, 3);
    assert_eq!(world.events(last), [RendezvousEvent::Refused(RefusedReason::SessionFull)]);
    // Another session still fits, then the server is full.
    world.ask_server(endpoint(60), b"another session");
    world.ask_server(endpoint(61), b"another session");
    assert_eq!(world.shard.population(), (4, 2));
    world.clients[0].1.close();
    world.settle();
    world.ask_server(endpoint(61), b"another session");
    assert_eq!(world.shard.population(), (4, 2));
    assert!(world.shard.counters().refused >= 2);
}

#[test]
fn peer_id_cannot_be_taken_over() {
    let mut world = World::new(ShardConfig::default());
    let mut config = world.config(Profile::default());
    config.peer = PeerId([9; 16]);
    for at in [endpoint(0), endpoint(1)] {
        world.clients.push((at, RendezvousClient::new(config.clone(), &mut world.rng, world.now)));
        world.settle();
    }
    assert_eq!(world.events(1), [RendezvousEvent::Refused(RefusedReason::PeerIdTaken)]);
    assert!(matches!(world.events(0)[..], [RendezvousEvent::Registered { .. }]));
}

#[test]
fn strangers_token_and_moved_source_are_refused() {
    let mut world = World::new(ShardConfig::default());
    world.join(Profile::default());
    let presence = Presence { token: 1, handle: 0, sequence: 1, instance: 1, revision: 0, wants_reply: true };
    world.ask_server(endpoint(0), &presence.encode());
    world.ask_server(endpoint(70), &presence.encode());
    world.ask_server(endpoint(70), &Presence { handle: u64::MAX, ..presence }.encode());
    world.take_answers();
    assert_eq!(world.shard.counters().unknown, 3);
    assert_eq!(world.stray.len(), 2);
    assert_eq!(world.shard.population().0, 1);
}

#[test]
fn a_list_longer_than_a_datagram_arrives_whole() {
    let mut world = World::new(ShardConfig::default());
    let candidate = Candidate { kind: CandidateKind::Host, endpoint: "[2001:db8::1]:1".parse().unwrap() };
    let large = Profile {
        candidates: vec![candidate; 16],
        capabilities: 7,
        nat: Some(Default::default()),
        ..Profile::default()
    };
    for _ in 0..100 {
        world.join(large.clone());
    }
    world.pass(seconds(2));
    for client in 0..100 {
        assert_eq!(present(&world.events(client)).len(), 99, "client {client}");
    }
}

#[test]
fn a_member_that_missed_many_changes_is_sent_a_snapshot() {
    let mut world = World::new(ShardConfig::default());
    let (a, stays) = (world.join(Profile::default()), world.join(Profile::default()));
    let mut seen = world.events(a);
    // From here on the first client hears nothing, while 200 others come and go.
    let deaf = world.clients[a].0;
    world.clients[a].0 = endpoint(900);
    for _ in 0..200 {
        let guest = world.join(Profile::default());
        world.pass(Duration::from_millis(5));
        world.clients[guest].1.close();
        world.pass(Duration::from_millis(5));
    }
    let arrives = world.join(Profile::default());
    world.clients[a].0 = deaf;
    world.pass(seconds(5));
    seen.extend(world.events(a));
    assert_eq!(present(&seen).len(), 2, "the one who stayed and the one who arrived");
    assert!(world.events(stays).len() > 200, "who listened heard of every guest");
    assert_eq!(present(&world.events(arrives)).len(), 2);
}

#[test]
fn clients_register_again_with_a_restarted_server() {
    let mut world = World::new(ShardConfig::default());
    let (a, b) = (world.join(Profile::default()), world.join(Profile::default()));
    let mut seen: Vec<_> = [a, b].map(|client| world.events(client)).into();
    world.restart_server();
    world.pass(seconds(12));
    assert_eq!(world.shard.population(), (2, 1));
    for (client, seen) in [a, b].into_iter().zip(&mut seen) {
        seen.extend(world.events(client));
        assert_eq!(present(seen).len(), 1, "{seen:?}");
    }
}

#[test]
fn client_follows_its_own_moved_endpoint() {
    let mut world = World::new(ShardConfig::default());
    let (a, b) = (world.join(Profile::default()), world.join(Profile::default()));
    world.events(b);
    // The client's NAT gives it another port: its next heartbeat comes from there, is refused, and it registers again.
    world.clients[a].0 = endpoint(500);
    world.pass(seconds(12));
    let candidates: Vec<_> = world
        .events(b)
        .into_iter()
        .filter_map(|event| match event {
            RendezvousEvent::Joined { candidates, .. } => Some(candidates[0].endpoint),
            _ => None,
        })
        .collect();
    assert_eq!(candidates, [endpoint(500)]);
    assert_eq!(world.shard.population().0, 2);
}

#[test]
fn lost_pushes_are_repeated_until_acknowledged() {
    let mut world = World::new(ShardConfig::default());
    let a = world.join(Profile::default());
    world.events(a);
    let at = world.clients[a].0;
    world.clients[a].0 = endpoint(901);
    world.join(Profile::default());
    assert!(world.events(a).is_empty(), "the push was lost");
    world.clients[a].0 = at;
    world.pass(Duration::from_millis(200));
    assert_eq!(present(&world.events(a)).len(), 1);
    let repeated = world.shard.counters().pushes_repeated;
    assert!(repeated >= 1);
    world.pass(seconds(5));
    assert_eq!(world.shard.counters().pushes_repeated, repeated, "acknowledged, so never again");
}

#[test]
fn dual_stack_client_registers_its_endpoints_in_both_families() {
    let mut world = World::new(ShardConfig::default());
    let other = world.join(Profile::default());
    let (ipv4, ipv6) = (server_address(), "[2001:db8::10]:5000".parse().unwrap());
    let (from_ipv4, from_ipv6) = (endpoint(300), "[2001:db8::5]:300".parse::<SocketAddr>().unwrap());
    let mut config = world.config(Profile::default());
    config.servers = vec![(SocketIndex(0), ipv4), (SocketIndex(1), ipv6)];
    let mut client = RendezvousClient::new(config, &mut world.rng, world.now);
    let mut candidates = Vec::new();
    // IPv6 answers first; the answers over IPv4 come from the same server.
    for _ in 0..10 {
        client.handle_timeout(world.now);
        let mut sent: Vec<_> = std::iter::from_fn(|| client.poll_transmit()).collect();
        sent.sort_by_key(|transmit| transmit.destination.is_ipv4());
        for transmit in sent {
            let source = if transmit.destination == ipv4 { from_ipv4 } else { from_ipv6 };
            world.ask_server(source, &transmit.payload);
            world.take_answers();
            for (to, payload) in std::mem::take(&mut world.stray) {
                let (socket, server) = if to == from_ipv4 { (0, ipv4) } else { (1, ipv6) };
                client.handle_datagram(world.now, SocketIndex(socket), server, &payload);
            }
        }
        world.pass(Duration::from_millis(100));
        for event in world.events(other) {
            if let RendezvousEvent::Joined { candidates: latest, .. } = event {
                candidates = latest;
            }
        }
    }
    let endpoints: Vec<_> = candidates.iter().map(|candidate| candidate.endpoint).collect();
    assert_eq!(endpoints, [from_ipv6, from_ipv4]);
    assert_eq!(world.shard.population().0, 2);
}

#[test]
fn a_forged_revision_is_recovered_from() {
    let mut world = World::new(ShardConfig::default());
    let a = world.join(Profile::default());
    // The same datagram as the server's, but for later revisions: from whoever listens and can forge addresses.
    let (at, client) = &mut world.clients[a];
    let at = *at;
    let mut config = client.config().clone();
    config.peer = PeerId([8; 16]);
    let mut forged = Vec::new();
    let mut eavesdropped = RendezvousClient::new(config, &mut world.rng, world.now);
    for _ in 0..3 {
        eavesdropped.handle_timeout(world.now);
        while let Some(transmit) = eavesdropped.poll_transmit() {
            world.ask_server(endpoint(800), &transmit.payload);
            world.take_answers();
        }
        for (_, payload) in std::mem::take(&mut world.stray) {
            if matches!(Message::parse(&payload), Ok(Message::Registered(_))) {
                forged = payload.clone();
            }
            eavesdropped.handle_datagram(world.now, SOCKET, server_address(), &payload);
        }
    }
    // `to` and `latest` of a block without entries are the last bytes but the count, after `from`.
    let len = forged.len();
    assert!(matches!(Message::parse(&forged), Ok(Message::Registered(_))), "{forged:?}");
    let block =
        forged.windows(4).rposition(|bytes| bytes == 2u32.to_be_bytes()).expect("the latest revision") - 12;
    forged[block + 8..block + 12].copy_from_slice(&1000u32.to_be_bytes());
    forged[block + 12..block + 16].copy_from_slice(&1000u32.to_be_bytes());
    assert_eq!(forged.len(), len);
    eavesdropped.handle_datagram(world.now, SOCKET, server_address(), &forged);
    let late = world.join(Profile::default());
    assert_ne!(late, a);
    world.clients.push((endpoint(800), eavesdropped));
    world.pass(seconds(12));
    let last = world.clients.len() - 1;
    assert_eq!(present(&world.events(last)).len(), 2, "hears of both others, {at} among them");
}

#[test]
fn plain_registrations_leave_half_of_the_room_to_native_ones() {
    let limits = ShardLimits { max_members: 10, ..ShardLimits::default() };
    let config = ShardConfig { limits, ..ShardConfig::default() };
    let mut world = World::new(config);
    for number in 0..100 {
        world.ask_server(endpoint(100 + number), &number.to_be_bytes());
    }
    assert_eq!(world.shard.population().0, 5);
    for _ in 0..5 {
        world.join(Profile::default());
    }
    assert_eq!(world.shard.population().0, 10);
    world.pass_without_clients(seconds(41));
    assert_eq!(world.shard.population().0, 0);
    world.ask_server(endpoint(1), b"room again");
    assert_eq!(world.shard.population().0, 1);
}

#[test]
fn news_reaches_a_member_whose_acknowledgements_were_lost_at_once() {
    let mut world = World::new(ShardConfig::default());
    let a = world.join(Profile::default());
    // Nothing that the first client says gets through, so the server's repetitions have become rare.
    let at = world.clients[a].0;
    world.join(Profile::default());
    world.events(a);
    world.clients[a].0 = endpoint(902);
    world.join(Profile::default());
    world.pass(seconds(8));
    world.clients[a].0 = at;
    world.events(a);
    world.join(Profile::default());
    assert_eq!(present(&world.events(a)).len(), 2, "both that it missed, without any time having passed");
}

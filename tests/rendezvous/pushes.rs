//! How fast members of large sessions are told of changes.

use std::time::Duration;

use holepunch::proto::rendezvous::{PUSH_BURST, ShardConfig};
use holepunch::proto::wire::{Message, Profile};

use super::world::{World, present, seconds};

/// How many updates the server sends of its own accord in a step of the given length, while nobody answers.
fn pushes_within(world: &mut World, step: Duration) -> usize {
    world.now += step;
    world.shard.handle_timeout(world.now);
    count_updates(world)
}

fn count_updates(world: &mut World) -> usize {
    let mut updates = 0;
    while let Some((_, payload)) = world.shard.poll_transmit() {
        updates += usize::from(matches!(Message::parse(payload), Ok(Message::Update { .. })));
    }
    updates
}

#[test]
fn small_sessions_hear_of_each_change_at_once() {
    let mut world = World::new(ShardConfig::default());
    let mut seen = Vec::new();
    for members in 1..=10 {
        world.join(Profile::default());
        seen.push(Vec::new());
        for (client, seen) in seen.iter_mut().enumerate() {
            seen.extend(world.events(client));
            assert_eq!(present(seen).len(), members - 1, "client {client} of {members}");
        }
    }
    assert_eq!(world.shard.counters().pushes_delayed, 0);
}

#[test]
fn a_change_in_a_large_session_is_told_at_a_bounded_rate_and_to_all() {
    let mut world = World::new(ShardConfig::default());
    for _ in 0..200 {
        world.join(Profile::default());
    }
    world.pass(seconds(3));
    // One leaves; nothing of what is pushed arrives for now.
    let (source, mut client) = world.clients.pop().expect("there are some");
    client.close();
    let goodbye = client.poll_transmit().expect("a goodbye").payload;
    world.ask_server(source, &goodbye);
    assert!(count_updates(&mut world) <= PUSH_BURST as usize + 4);
    let mut sent = PUSH_BURST as usize + 4;
    for _ in 0..20 {
        let pushes = pushes_within(&mut world, Duration::from_millis(1));
        // First repetitions begin after 30 ms.
        assert!(pushes <= 4, "{pushes} in a millisecond");
        sent += pushes;
    }
    assert!(sent > PUSH_BURST as usize + 60, "{sent}");
    world.pass(seconds(3));
    for client in 0..199 {
        assert_eq!(present(&world.events(client)).len(), 198, "client {client}");
    }
}

#[test]
fn a_storm_of_joins_is_told_in_few_words() {
    let mut world = World::new(ShardConfig::default());
    for _ in 0..257 {
        world.join(Profile::default());
        world.pass(Duration::from_millis(1));
    }
    world.pass(seconds(3));
    for client in 0..257 {
        assert_eq!(present(&world.events(client)).len(), 256, "client {client}");
    }
    // Each of 257 told of each of the others alone would be 66,000 datagrams.
    assert!(world.updates < 5000, "{}", world.updates);
}

#[test]
fn a_client_that_registers_anew_with_all_it_missed_is_left_in_peace() {
    let mut world = World::new(ShardConfig::default());
    let (a, _) = (world.join(Profile::default()), world.join(Profile::default()));
    world.events(a);
    // A change is pushed to it and lost; then it asks again, and has the change by the answer, which is lost as well.
    let at = world.clients[a].0;
    world.clients[a].0 = super::world::endpoint(901);
    world.join(Profile::default());
    world.clients[a].0 = at;
    world.pass(seconds(12));
    assert_eq!(present(&world.events(a)).len(), 1);
    let updates = world.updates;
    world.pass(seconds(30));
    assert_eq!(world.updates, updates, "nothing is repeated to who has everything");
}

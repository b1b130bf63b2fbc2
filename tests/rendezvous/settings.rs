//! Settings that are changed while clients are registered.

use std::time::Instant;

use holepunch::proto::rendezvous::{Gate, RendezvousEvent, ShardConfig, Verdict};
use holepunch::proto::wire::Profile;
use holepunch::proto::wire::codec::Writer;

use super::world::{World, endpoint, present, seconds};

/// Plain members are sent nothing for an hour, so that all timers are those of expiry.
fn without_keep_alives() -> World {
    World::new(ShardConfig { plain_keep_alive: seconds(3600), ..ShardConfig::default() })
}

#[test]
fn present_plain_clients_expire_by_a_new_time() {
    // Shorter than the default, longer, and so short that it is over.
    for expiry in [seconds(5), seconds(300), seconds(2)] {
        let mut world = without_keep_alives();
        world.plain_list(endpoint(1));
        world.now += seconds(3);
        world.shard.set_plain_expiry(Some(expiry), world.now);
        assert_eq!(world.sleep_until_something_happens(), Some(expiry.saturating_sub(seconds(3))));
        assert_eq!((world.shard.population(), world.shard.counters().expired), ((0, 0), 1));
        // Who comes later has the same time, and again whenever he asks.
        world.plain_list(endpoint(2));
        world.now += expiry / 2;
        world.plain_list(endpoint(2));
        world.pass_without_clients(expiry / 2);
        assert_eq!(world.shard.population().0, 1);
        assert_eq!(world.sleep_until_something_happens(), Some(expiry / 2));
    }
}

#[test]
fn changes_of_the_plain_expiry_leave_each_member_its_one_time() {
    let mut world = without_keep_alives();
    for member in 1..=3 {
        world.plain_list(endpoint(member));
        world.now += seconds(1);
    }
    for _ in 0..100 {
        for expiry in [seconds(5), seconds(300), seconds(40)] {
            world.shard.set_plain_expiry(Some(expiry), world.now);
        }
    }
    // They came a second after each other, the first one three seconds ago.
    let wakings: Vec<_> = (0..3).map(|_| world.sleep_until_something_happens()).collect();
    assert_eq!(wakings, [Some(seconds(37)), Some(seconds(1)), Some(seconds(1))]);
    assert_eq!((world.shard.population().0, world.shard.counters().expired), (0, 3));
    assert_eq!(world.shard.poll_timeout(), None);
}

#[test]
fn natives_hear_of_a_plain_client_that_a_new_time_ends_and_have_their_own_time() {
    let mut world = World::new(ShardConfig::default());
    let native = world.join(Profile::default());
    world.plain_list(endpoint(100));
    world.pass(seconds(2));
    assert_eq!(present(&world.events(native)).len(), 1);
    world.shard.set_plain_expiry(Some(seconds(1)), world.now);
    world.pass(seconds(58));
    assert!(matches!(world.events(native)[..], [RendezvousEvent::Left { .. }]));
    world.shard.set_plain_expiry(None, world.now);
    world.pass_without_clients(seconds(15));
    assert_eq!((world.shard.population(), world.shard.counters().expired), ((0, 0), 2));
}

#[test]
fn longest_plain_id_is_held_to_at_its_edges() {
    let mut world = World::new(ShardConfig::default());
    let admits = |gate: &Gate, len| {
        let (datagram, mut buffer) = (vec![b'i'; len], [0; 1200]);
        let verdict = gate.judge(Instant::now(), endpoint(1), &datagram, &mut Writer::new(&mut buffer));
        matches!(verdict, Verdict::Admit(_))
    };
    assert!(admits(&world.gate, 1024) && !admits(&world.gate, 1025), "the default");
    for (len, longest) in [(17, 17), (1024, 1024), (1, 1), (usize::MAX, 1024), (2, 2)] {
        world.gate.set_max_plain_id_len(len);
        let admitted = [0, 1, longest, longest + 1].map(|len| admits(&world.gate, len));
        assert_eq!(admitted, [false, true, true, false], "{len}");
    }
    // A native registration is longer, and no plain ID.
    world.join(Profile::default());
    assert_eq!(world.shard.population().0, 1);
}

#[test]
fn plain_clients_that_never_expire_leave_no_timers_behind() {
    let mut world = World::new(ShardConfig { plain_expiry: None, ..ShardConfig::default() });
    for _ in 0..100 {
        world.clients.clear();
        world.plain_list(endpoint(0));
        world.join(Profile::default());
        world.clients[0].1.close();
        world.settle();
    }
    assert_eq!(world.shard.population(), (0, 0));
    world.pass_without_clients(seconds(3600));
    assert_eq!(world.shard.poll_timeout(), None);
}

//! Hints: who comes together hears of each other before either has proven its endpoint, and nobody is sent more than he sent.

use std::time::Duration;

use holepunch::proto::rendezvous::ShardConfig;
use holepunch::proto::wire::attributes::{Attributes, pad};
use holepunch::proto::wire::{Hint, Message, Profile, Register};
use holepunch::proto::{LookupKey, PeerId};

use crate::world::{ID, World, endpoint, seconds};

const ROOM: usize = 250;

fn ask(world: &mut World, from: u16, id: &[u8], padded: usize) -> usize {
    let mut attributes = Vec::new();
    if padded > 0 {
        pad(&mut attributes, padded);
    }
    let register = Register {
        token: from.into(),
        sequence: 1,
        lookup: LookupKey::derive(id),
        peer: PeerId([from as u8 + 1; 16]),
        cookie: [0; 16],
        instance: 0,
        revision: 0,
        attributes: Attributes::parse(&attributes).unwrap(),
    }
    .encode();
    world.ask_server(endpoint(from), &register);
    world.take_answers();
    register.len()
}

/// What somebody outside was told of: in challenges, and alone.
fn told(world: &World, to: u16) -> (Vec<Hint>, Vec<Hint>) {
    let (mut challenged, mut alone) = (Vec::new(), Vec::new());
    for (_, payload) in world.stray.iter().filter(|(at, _)| *at == endpoint(to)) {
        match Message::parse(payload) {
            Ok(Message::Challenge(challenge)) => challenged.extend(challenge.hints.iter()),
            Ok(Message::Hint { token, hint }) => {
                assert_eq!(token, u64::from(to));
                alone.push(hint);
            }
            other => panic!("{other:?}"),
        }
    }
    (challenged, alone)
}

fn hint(number: u16) -> Hint {
    Hint { peer: PeerId([number as u8 + 1; 16]), endpoint: endpoint(number) }
}

#[test]
fn two_that_come_together_hear_of_each_other_with_their_challenges() {
    let mut world = World::new(ShardConfig::default());
    ask(&mut world, 0, ID, ROOM);
    ask(&mut world, 1, ID, ROOM);
    assert_eq!(told(&world, 0), (vec![], vec![hint(1)]));
    assert_eq!(told(&world, 1), (vec![hint(0)], vec![]));
    assert_eq!(world.shard.population(), (0, 0));
    // Others hear nothing, and later ones no more.
    ask(&mut world, 2, b"another session", ROOM);
    assert_eq!(told(&world, 2), (vec![], vec![]));
    world.now += Duration::from_millis(1001);
    ask(&mut world, 3, ID, ROOM);
    assert_eq!(told(&world, 3), (vec![], vec![]));
}

#[test]
fn members_hear_at_once_and_not_for_ever_of_one_who_asks() {
    let mut world = World::new(ShardConfig::default());
    let member = world.join(Profile::default());
    world.events(member);
    let member_peer = world.clients[member].1.config().peer;
    let answers_before = world.stray.len();
    for _ in 0..10 {
        ask(&mut world, 7, ID, ROOM);
    }
    let (challenged, alone) = told(&world, 7);
    assert_eq!(challenged, [Hint { peer: member_peer, endpoint: endpoint(0) }; 10]);
    assert_eq!((alone, world.stray.len() - answers_before), (vec![], 10));
    let client = &mut world.clients[member].1;
    let heard = std::iter::from_fn(|| client.poll_event()).count();
    assert_eq!(heard, 3);
}

#[test]
fn members_are_not_hinted_at_again_when_they_renew() {
    let mut world = World::new(ShardConfig::default());
    for _ in 0..2 {
        world.join(Profile::default());
    }
    world.pass(seconds(5));
    for client in 0..2 {
        while world.clients[client].1.poll_event().is_some() {}
    }
    let config = world.clients[0].1.config().clone();
    let register = Register {
        token: 99,
        sequence: 1,
        lookup: config.lookup,
        peer: config.peer,
        cookie: [0; 16],
        instance: 0,
        revision: 0,
        attributes: Attributes::parse(&[9, 0]).unwrap(),
    };
    world.ask_server(endpoint(0), &register.encode());
    world.settle();
    assert!(world.clients[1].1.poll_event().is_none());
}

#[test]
fn nobody_is_sent_more_than_was_sent_in_his_name() {
    let mut world = World::new(ShardConfig::default());
    let mut sent = vec![0; 200];
    for round in 0..3 {
        for (from, sent) in sent.iter_mut().enumerate() {
            let padded = [0, 2, 30, 60, ROOM][(from + round) % 5];
            *sent += ask(&mut world, from as u16, ID, padded);
        }
    }
    let mut hints = 0;
    for (from, sent) in sent.iter().enumerate() {
        let received = world.stray.iter().filter(|(to, _)| *to == endpoint(from as u16));
        assert!(received.map(|(_, payload)| payload.len()).sum::<usize>() <= *sent, "{from}");
        let (challenged, alone) = told(&world, from as u16);
        hints += challenged.len() + alone.len();
        assert!(challenged.len() <= 3 * 4);
    }
    assert!(hints > 200, "{hints}");
    assert_eq!(world.shard.population(), (0, 0));
}

#[test]
fn who_leaves_no_room_gets_no_hints_and_an_old_one_gives_way() {
    let mut world = World::new(ShardConfig::default());
    ask(&mut world, 0, ID, ROOM);
    ask(&mut world, 1, ID, 0);
    assert_eq!(told(&world, 1), (vec![], vec![]));
    assert_eq!(told(&world, 0).1, []);
    // 62 others and the one who asks leave it in its place, one more does not.
    for other in 0..62 {
        ask(&mut world, 100 + other, b"another session", ROOM);
    }
    ask(&mut world, 2, ID, ROOM);
    assert_eq!(told(&world, 2).0, [hint(0)]);
    for other in 0..64 {
        ask(&mut world, 100 + other, b"a third session", ROOM);
    }
    ask(&mut world, 3, ID, ROOM);
    assert_eq!(told(&world, 3).0, []);
}

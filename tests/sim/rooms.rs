//! Rooms: members come and go, move, lose the server, and talk all the time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use holepunch::proto::PeerId;
use holepunch::proto::secure::public_key;
use holepunch::proto::session::{Departure, SessionEvent};

use crate::nat::{Filtering, Mapping};
use crate::net::{Access, HOME, Internet, Weather};

const ID: &[u8] = b"a room";
const SECOND: Duration = Duration::from_secs(1);

fn stormy(loss_percent: u32) -> Weather {
    Weather {
        one_way: Duration::from_millis(10),
        jitter: Duration::from_millis(10),
        loss_percent,
        duplicate_percent: 2,
    }
}

struct Rooms {
    internet: Internet,
    names: Vec<PeerId>,
    /// What each host has sent to whom, by the number that it was given.
    accepted: Vec<BTreeSet<(PeerId, u64)>>,
}

impl Rooms {
    fn new(seed: u64, weather: Weather, accesses: &[Access]) -> Self {
        let mut internet = Internet::new(seed, weather, false);
        let mut names = Vec::new();
        for (number, access) in accesses.iter().enumerate() {
            let host = internet.add_room(*access, Duration::from_millis(100 * number as u64), ID, &[]);
            names.push(internet.hosts[host].room().local());
        }
        let accepted = vec![BTreeSet::new(); names.len()];
        Self { internet, names, accepted }
    }

    fn pass(&mut self, duration: Duration) {
        let until = self.internet.now + duration;
        self.internet.run(until);
        self.internet.now = until;
    }

    fn say(&mut self, from: usize, text: &[u8]) {
        let number = self.internet.in_room(from, |room, now| room.send(now, None, text));
        let number = number.expect("there is room");
        let members = self.internet.hosts[from].room().members();
        self.accepted[from].extend(members.map(|peer| (peer.member.id, number)));
    }

    /// Whom a host is connected to, by number.
    fn connected(&mut self, host: usize) -> BTreeSet<usize> {
        let names = &self.names;
        let number = |id: PeerId| names.iter().position(|name| *name == id).expect("a member");
        let room = self.internet.hosts[host].room();
        room.members().filter(|peer| peer.path.is_some()).map(|peer| number(peer.member.id)).collect()
    }

    fn all_connected(&mut self, hosts: &[usize]) -> bool {
        hosts.iter().all(|host| {
            let others: BTreeSet<_> = hosts.iter().copied().filter(|other| other != host).collect();
            self.connected(*host).is_superset(&others)
        })
    }

    fn told(&self, host: usize) -> impl Iterator<Item = &(Duration, SessionEvent)> {
        self.internet.hosts[host].told.iter()
    }

    fn left(&self, host: usize, whom: usize) -> Option<(Duration, Departure)> {
        self.told(host).find_map(|(at, event)| match event {
            SessionEvent::Left(member, departure, _) if member.id == self.names[whom] => {
                Some((*at, *departure))
            }
            _ => None,
        })
    }

    fn heard(&self, host: usize, from: usize) -> Vec<Vec<u8>> {
        let messages = self.told(host).filter_map(|(_, event)| match event {
            SessionEvent::Message(member, text) if member.id == self.names[from] => Some(text.clone()),
            _ => None,
        });
        messages.collect()
    }

    /// Every message that was taken was delivered, or is known not to have been, or still waits.
    fn assert_accounted(&mut self, host: usize, may_wait: bool) {
        let mut open = self.accepted[host].clone();
        for (_, event) in self.told(host) {
            match event {
                SessionEvent::Delivered(member, number) => {
                    assert!(open.remove(&(member.id, *number)), "told once");
                }
                SessionEvent::Left(member, _, undelivered) => {
                    for number in undelivered {
                        assert!(open.remove(&(member.id, *number)), "told once");
                    }
                }
                _ => {}
            }
        }
        assert!(may_wait || open.is_empty(), "host {host}: {open:?}");
    }
}

fn mixed() -> Vec<Access> {
    let cone = Access::Nat(Mapping::EndpointIndependent, Filtering::EndpointIndependent);
    let restricted = Access::Nat(Mapping::EndpointIndependent, Filtering::AddressDependent);
    let mut mixed = vec![Access::Open, HOME, cone, restricted];
    mixed.extend([HOME; 6]);
    mixed
}

#[test]
fn ten_members_meet_and_every_message_comes_once_and_in_order() {
    for loss in [0, 10, 20] {
        let mut rooms = Rooms::new(1, stormy(loss), &mixed());
        let hosts: Vec<_> = (0..10).collect();
        rooms.pass(10 * SECOND);
        assert!(rooms.all_connected(&hosts), "{loss} % loss");
        for number in 0..20u8 {
            for from in 0..10 {
                rooms.say(from, &[from as u8, number]);
            }
            rooms.pass(SECOND / 10);
        }
        rooms.pass(10 * SECOND);
        for host in 0..10 {
            for from in (0..10).filter(|from| *from != host) {
                let wanted: Vec<_> = (0..20).map(|number| vec![from as u8, number]).collect();
                assert_eq!(rooms.heard(host, from), wanted, "{loss} % loss, {from} to {host}");
            }
            rooms.assert_accounted(host, false);
            let keys: BTreeMap<_, _> = rooms
                .told(host)
                .filter_map(|(_, event)| match event {
                    SessionEvent::Connected(member, _, key) => Some((member.id, *key)),
                    _ => None,
                })
                .collect();
            assert_eq!(keys.len(), 9);
            for (number, name) in rooms.names.iter().enumerate().filter(|(number, _)| *number != host) {
                assert_eq!(keys[name], Some(public_key(&[number as u8 + 1; 32])));
            }
            assert!(rooms.told(host).all(|(_, event)| !matches!(event, SessionEvent::Left(..))));
        }
    }
}

#[test]
fn who_leaves_is_missed_at_once_and_who_dies_soon() {
    for loss in [0, 10] {
        let mut rooms = Rooms::new(2, stormy(loss), &mixed());
        rooms.pass(10 * SECOND);
        assert!(rooms.all_connected(&(0..10).collect::<Vec<_>>()));
        let left_at = rooms.internet.now;
        rooms.internet.in_room(9, |room, now| room.leave(now));
        rooms.pass(SECOND);
        for host in 0..9 {
            let (at, departure) = rooms.left(host, 9).expect("it left");
            assert!(at - left_at <= Duration::from_millis(300), "host {host} after {:?}", at - left_at);
            assert_eq!(departure, Departure::Goodbye);
        }
        // It hears no more, whatever still comes.
        let after = rooms.told(9).filter(|(at, _)| *at >= left_at).map(|(_, event)| event);
        assert!(after.into_iter().all(|event| matches!(event, SessionEvent::Left(_, Departure::WeLeft, _))));
        let died_at = rooms.internet.now;
        rooms.internet.kill(8);
        for number in 0..20u8 {
            rooms.pass(SECOND);
            rooms.say(0, &[number]);
        }
        for host in 0..8 {
            let (at, departure) = rooms.left(host, 8).expect("it died");
            assert!(at - died_at <= 16 * SECOND, "host {host} after {:?}", at - died_at);
            assert_ne!(departure, Departure::Goodbye);
        }
        rooms.pass(5 * SECOND);
        rooms.assert_accounted(0, false);
        assert!(rooms.all_connected(&(0..8).collect::<Vec<_>>()));
    }
}

#[test]
fn nobody_loses_a_peer_with_the_server() {
    let mut rooms = Rooms::new(3, stormy(10), &mixed());
    let hosts: Vec<_> = (0..10).collect();
    rooms.pass(10 * SECOND);
    rooms.internet.set_server_down(true);
    for number in 0..60u8 {
        rooms.pass(SECOND);
        rooms.say(usize::from(number % 10), &[number]);
    }
    assert!(rooms.all_connected(&hosts));
    rooms.internet.set_server_down(false);
    rooms.pass(60 * SECOND);
    assert!(rooms.all_connected(&hosts));
    for host in hosts {
        let events: Vec<_> = rooms.told(host).map(|(_, event)| event).collect();
        let count = |wanted: &SessionEvent| events.iter().filter(|event| **event == wanted).count();
        assert_eq!(
            (count(&SessionEvent::ServerLost), count(&SessionEvent::ServerRegained)),
            (1, 1),
            "host {host}"
        );
        assert!(events.iter().all(|event| !matches!(event, SessionEvent::Left(..))), "host {host}");
        rooms.assert_accounted(host, false);
    }
    // And new ones find them.
    let late = rooms.internet.add_room(HOME, rooms.internet.now, ID, &[]);
    let name = rooms.internet.hosts[late].room().local();
    rooms.names.push(name);
    rooms.pass(5 * SECOND);
    assert_eq!(rooms.connected(late).len(), 10);
}

#[test]
fn who_moves_is_reached_again_within_three_seconds() {
    for (seed, to) in [(4, HOME), (5, Access::Open), (6, HOME)] {
        let mut rooms = Rooms::new(seed, stormy(10), &[HOME, HOME, Access::Open]);
        rooms.pass(5 * SECOND);
        assert!(rooms.all_connected(&[0, 1, 2]));
        rooms.internet.carry(0, to);
        let moved_at = rooms.internet.now;
        for from in 0..3 {
            rooms.say(from, b"moved");
        }
        rooms.pass(30 * SECOND);
        for (host, from) in [(0, 1), (0, 2), (1, 0), (2, 0)] {
            let arrived = rooms.told(host).find_map(|(at, event)| match event {
                SessionEvent::Message(member, _) if member.id == rooms.names[from] => Some(*at),
                _ => None,
            });
            let took = arrived.expect("it comes") - moved_at;
            assert!(took <= 3 * SECOND, "seed {seed}: {from} to {host} after {took:?}");
        }
        for host in 0..3 {
            assert!(rooms.told(host).all(|(_, event)| !matches!(event, SessionEvent::Left(..))));
            rooms.assert_accounted(host, false);
        }
        assert!(rooms.told(1).any(|(_, event)| matches!(event, SessionEvent::PathChanged(..))));
    }
}

#[test]
fn who_falls_silent_is_given_up_and_found_again() {
    let mut rooms = Rooms::new(7, stormy(0), &[HOME, HOME]);
    rooms.pass(5 * SECOND);
    rooms.internet.weather.loss_percent = 100;
    let lost_at = rooms.internet.now;
    rooms.say(0, b"into the void");
    rooms.pass(100 * SECOND);
    let (at, departure) = rooms.left(0, 1).expect("it fell silent");
    assert_eq!(departure, Departure::Unreachable);
    assert!(at - lost_at <= 16 * SECOND, "after {:?}", at - lost_at);
    rooms.assert_accounted(0, false);
    rooms.internet.weather.loss_percent = 0;
    rooms.pass(30 * SECOND);
    assert!(rooms.all_connected(&[0, 1]));
    rooms.say(0, b"again");
    rooms.pass(SECOND);
    assert_eq!(rooms.heard(1, 0), [b"again".to_vec()]);
    let joined = rooms.told(0).filter(|(_, event)| matches!(event, SessionEvent::Joined(_))).count();
    assert_eq!(joined, 2);
}

#[test]
fn who_holds_a_wrong_key_is_told_of_once_and_never_talked_to() {
    let mut rooms = Rooms::new(10, stormy(5), &[HOME, HOME]);
    // The third insists on the first one's key.
    let picky = rooms.internet.add_room(HOME, SECOND, ID, &[public_key(&[1; 32])]);
    let name = rooms.internet.hosts[picky].room().local();
    rooms.names.push(name);
    rooms.accepted.push(BTreeSet::new());
    rooms.pass(60 * SECOND);
    assert_eq!(rooms.connected(picky), BTreeSet::from([0]));
    let refused = Departure::WrongKey(public_key(&[2; 32]));
    assert_eq!(rooms.left(picky, 1).map(|(_, departure)| departure), Some(refused));
    let told =
        |wanted: fn(&SessionEvent) -> bool| rooms.told(picky).filter(|(_, event)| wanted(event)).count();
    assert_eq!(told(|event| matches!(event, SessionEvent::Left(..))), 1);
    assert_eq!(told(|event| matches!(event, SessionEvent::Joined(_))), 2);
}

#[test]
fn an_idle_room_sends_little() {
    let mut rooms = Rooms::new(8, stormy(0), &[HOME; 4]);
    rooms.pass(20 * SECOND);
    assert!(rooms.all_connected(&[0, 1, 2, 3]));
    let before = rooms.internet.sent;
    rooms.pass(600 * SECOND);
    let each = (rooms.internet.sent - before) as f64 / 600.0 / 4.0;
    println!("{each:.2} datagrams a second for each of four members");
    // A question or an answer for each peer every ten seconds, and two for the server.
    assert!(each < 1.0, "{each}");
    assert!(rooms.all_connected(&[0, 1, 2, 3]));
}

#[test]
fn another_id_joins_nothing_and_strangers_disturb_nothing() {
    let mut rooms = Rooms::new(9, stormy(5), &[HOME, HOME, Access::Open]);
    let other = rooms.internet.add_room(HOME, Duration::ZERO, b"another room", &[]);
    rooms.internet.attack = 2;
    rooms.pass(10 * SECOND);
    for number in 0..30u8 {
        for from in 0..3 {
            rooms.say(from, &[number]);
        }
        rooms.pass(SECOND / 5);
    }
    rooms.pass(20 * SECOND);
    for host in 0..3 {
        for from in (0..3).filter(|from| *from != host) {
            let wanted: Vec<_> = (0..30).map(|number| vec![number]).collect();
            assert_eq!(rooms.heard(host, from), wanted, "{from} to {host}");
        }
        assert!(rooms.internet.hosts[host].room().counters().strangers > 0);
        assert_eq!(rooms.connected(host).len(), 2);
    }
    let told = &rooms.internet.hosts[other].told;
    assert!(told.iter().all(|(_, event)| matches!(event, SessionEvent::Registered(_))), "{told:?}");
}

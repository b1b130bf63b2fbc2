//! Two ends of a channel over a bad network, with a stranger in it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::*;
use crate::proto::wire::Message;
use crate::proto::{PeerId, SessionId, SessionKeys};

const SECOND: Duration = Duration::from_secs(1);

/// Two ends, the time, and what is on its way from either: when it arrives, at which end, what.
struct Pair {
    ends: [Channel; 2],
    now: Instant,
    rng: Rng,
    /// Of a hundred datagrams so many are lost; half as many come twice.
    loss: u32,
    on_the_way: Vec<(Instant, usize, Vec<u8>)>,
    /// Everything that was ever sent, and by whom.
    recorded: Vec<(usize, Vec<u8>)>,
    opened: [Vec<Vec<u8>>; 2],
}

fn parties(id: &[u8], local: u8, remote: u8) -> Parties {
    let keys = SessionKeys::derive(&SessionId::new(id).unwrap());
    Parties {
        lookup: keys.lookup,
        secret: keys.channel,
        local: PeerId([local; 16]),
        remote: PeerId([remote; 16]),
        identity: [local; 32],
    }
}

fn key_of(peer: u8) -> PublicKey {
    public_key(&[peer; 32])
}

impl Pair {
    fn new(seed: u8, loss: u32) -> Self {
        Self::between([parties(b"session", 1, 2), parties(b"session", 2, 1)], [None; 2], seed, loss)
    }

    fn between(parties: [Parties; 2], pinned: [Option<PublicKey>; 2], seed: u8, loss: u32) -> Self {
        let (now, mut rng) = (Instant::now(), Rng::new([seed; 32]));
        let [first, second] = parties;
        let ends = [
            Channel::new(first, pinned[0].as_slice(), rng.fork(), now),
            Channel::new(second, pinned[1].as_slice(), rng.fork(), now),
        ];
        let (on_the_way, recorded) = (Vec::new(), Vec::new());
        Self { ends, now, rng, loss, on_the_way, recorded, opened: [Vec::new(), Vec::new()] }
    }

    fn send(&mut self, from: usize, datagram: Vec<u8>) {
        self.recorded.push((from, datagram.clone()));
        let copies = 1 + u32::from(self.rng.u32() % 200 < self.loss);
        for _ in 0..copies {
            if self.rng.u32() % 100 >= self.loss {
                let delay = Duration::from_micros(10_000 + u64::from(self.rng.u32() % 20_000));
                self.on_the_way.push((self.now + delay, 1 - from, datagram.clone()));
            }
        }
    }

    fn say(&mut self, from: usize, text: &[u8]) -> bool {
        let Some(datagram) = self.ends[from].seal(self.now, text) else { return false };
        self.send(from, datagram);
        true
    }

    fn deliver(&mut self, at: usize, datagram: &[u8]) {
        let (now, end) = (self.now, &mut self.ends[at]);
        match Message::parse(datagram) {
            Ok(Message::HandshakeBegin(begin)) => end.handle_begin(&begin),
            Ok(Message::HandshakeAnswer(answer)) => end.handle_answer(now, &answer),
            Ok(Message::HandshakeEnd(last)) => end.handle_end(now, &last),
            Ok(Message::Sealed(sealed)) => {
                let text = end.open(now, &sealed).filter(|text| !text.is_empty());
                self.opened[at].extend(text);
            }
            _ => {}
        }
    }

    fn pass(&mut self, duration: Duration) {
        let until = self.now + duration;
        loop {
            for from in 0..2 {
                while let Some(datagram) = self.ends[from].poll_transmit() {
                    self.send(from, datagram);
                }
            }
            let arrival = self.on_the_way.iter().map(|(at, ..)| *at).min();
            let timers = self.ends.iter().filter_map(Channel::poll_timeout);
            let next = timers.chain(arrival).min().filter(|next| *next <= until);
            let Some(next) = next else { break };
            self.now = self.now.max(next);
            while let Some(index) = self.on_the_way.iter().position(|(at, ..)| *at <= self.now) {
                let (_, at, datagram) = self.on_the_way.swap_remove(index);
                self.deliver(at, &datagram);
            }
            self.ends.iter_mut().for_each(|end| end.handle_timeout(self.now));
        }
        self.now = until;
    }

    fn events(&mut self, end: usize) -> Vec<ChannelEvent> {
        std::iter::from_fn(|| self.ends[end].poll_event()).collect()
    }

    fn assert_established(&mut self) {
        assert_eq!(self.events(0), [ChannelEvent::Established(key_of(2))]);
        assert_eq!(self.events(1), [ChannelEvent::Established(key_of(1))]);
        assert!(self.ends.iter().all(Channel::is_established));
    }
}

#[test]
fn both_ends_agree_show_who_they_are_and_talk() {
    let mut pair = Pair::new(1, 0);
    assert!(!pair.say(0, b"too early") && !pair.say(1, b"too early"));
    pair.pass(SECOND);
    pair.assert_established();
    let longest = vec![7; MAX_SEALED_TEXT];
    for from in 0..2 {
        assert!(pair.say(from, b"hello") && pair.say(from, &longest));
        assert!(!pair.say(from, &vec![7; MAX_SEALED_TEXT + 1]));
    }
    assert!(pair.recorded.iter().all(|(_, datagram)| datagram.len() <= 1200));
    pair.pass(SECOND);
    for opened in &mut pair.opened {
        opened.sort();
        assert_eq!(*opened, [longest.clone(), b"hello".to_vec()]);
    }
    assert!(pair.recorded.iter().all(|(_, datagram)| !datagram.windows(5).any(|part| part == b"hello")));
    let fingerprint = key_of(1).fingerprint();
    assert_eq!(fingerprint.len(), 39);
    assert_ne!(fingerprint, key_of(2).fingerprint());
}

#[test]
fn exported_keys_are_the_same_for_both_and_for_nobody_else() {
    let mut pair = Pair::new(2, 0);
    assert_eq!(pair.ends[0].export_key(b"x"), None);
    pair.pass(SECOND);
    let key = pair.ends[0].export_key(b"x");
    assert!(key.is_some() && key == pair.ends[1].export_key(b"x"));
    assert_ne!(key, pair.ends[0].export_key(b"y"));
    let mut others = Pair::new(3, 0);
    others.pass(SECOND);
    assert_ne!(key, others.ends[0].export_key(b"x"));
    // They outlive the keys in use.
    pair.pass(2 * RENEW_AFTER);
    assert_eq!(key, pair.ends[0].export_key(b"x"));
    assert_eq!(key, pair.ends[1].export_key(b"x"));
}

#[test]
fn bad_networks_delay_it_and_each_text_comes_once_at_most() {
    for seed in 0..200 {
        let mut pair = Pair::new(seed, 30);
        pair.pass(60 * SECOND);
        pair.assert_established();
        for number in 0..200u32 {
            pair.say(number as usize % 2, &number.to_be_bytes());
            pair.pass(Duration::from_millis(3));
        }
        pair.pass(SECOND);
        let all: Vec<_> = pair.opened.iter().flatten().collect();
        assert_eq!(all.len(), all.iter().collect::<BTreeSet<_>>().len(), "seed {seed}");
        assert!((100..=200).contains(&all.len()), "seed {seed}: {}", all.len());
        assert_eq!(pair.ends.iter().map(|end| end.counters().forged).sum::<u64>(), 0, "seed {seed}");
    }
}

#[test]
fn keys_are_renewed_without_a_gap_and_former_ones_open_nothing_later() {
    let mut pair = Pair::new(5, 20);
    pair.pass(10 * SECOND);
    pair.assert_established();
    let early = pair.ends[0].seal(pair.now, b"held back").unwrap();
    let ends_before: BTreeSet<_> = pair.ends[1].transports.iter().map(|keys| keys.local_index).collect();
    let mut said = 0;
    for number in 0..600u32 {
        assert!(pair.say(0, &number.to_be_bytes()) && pair.say(1, &number.to_be_bytes()));
        said += 2;
        pair.pass(SECOND);
        assert!(pair.ends.iter().all(|end| end.transports.len() <= 3), "{:?}", pair.ends);
    }
    let heard = pair.opened.iter().map(Vec::len).sum::<usize>();
    assert!(heard * 100 >= said * 70, "{heard} of {said}");
    assert_eq!(pair.events(0), []);
    let ends_after = pair.ends[1].transports.iter().map(|keys| keys.local_index).collect();
    assert!(ends_before.is_disjoint(&ends_after));
    let forged = pair.ends[1].counters().forged;
    pair.deliver(1, &early);
    assert_eq!(pair.ends[1].counters().forged, forged + 1);
}

#[test]
fn keys_that_cannot_be_renewed_expire() {
    let mut pair = Pair::new(6, 0);
    pair.pass(SECOND);
    pair.loss = 100;
    pair.pass(EXPIRE_AFTER - 2 * SECOND);
    assert!(pair.say(0, b"still"));
    pair.pass(3 * SECOND);
    assert!(!pair.say(0, b"too late") && !pair.say(1, b"too late"));
    // And come back with the network.
    pair.loss = 0;
    pair.pass(3 * SECOND);
    assert!(pair.say(0, b"again") && pair.say(1, b"again"));
}

#[test]
fn replayed_reflected_and_changed_datagrams_do_nothing_but_count() {
    let mut pair = Pair::new(7, 0);
    pair.pass(SECOND);
    pair.assert_established();
    for number in 0..50u8 {
        pair.say(usize::from(number % 2), &[number]);
    }
    pair.pass(SECOND);
    let (heard, recorded) = (pair.opened.clone(), pair.recorded.clone());
    for (from, datagram) in &recorded {
        for at in [1 - from, *from] {
            pair.deliver(at, datagram);
        }
        for byte in 8..datagram.len() {
            let mut changed = datagram.clone();
            changed[byte] ^= 1 << (byte % 8);
            pair.deliver(1 - from, &changed);
            pair.deliver(1 - from, &datagram[..byte]);
        }
    }
    assert_eq!(pair.opened, heard);
    for end in &pair.ends {
        assert!(end.counters().replayed >= 25 && end.counters().forged > 100, "{:?}", end.counters());
    }
    // Still at work, also with new keys.
    for _ in 0..2 {
        assert!(pair.say(0, b"now") && pair.say(1, b"now"));
        pair.pass(RENEW_AFTER + SECOND);
    }
    assert_eq!(pair.opened.iter().map(Vec::len).sum::<usize>(), 50 + 4);
}

#[test]
fn a_handshake_survives_forgeries_that_are_faster_than_the_peer() {
    let mut pair = Pair::new(8, 0);
    // Every datagram is preceded by copies with one bit changed, and by former handshakes.
    let mut former = Pair::new(9, 0);
    former.pass(SECOND);
    for _ in 0..100 {
        for (whose, old) in former.recorded.clone() {
            pair.deliver(1 - whose, &old);
        }
        for from in 0..2 {
            let datagrams: Vec<_> = std::iter::from_fn(|| pair.ends[from].poll_transmit()).collect();
            for datagram in datagrams.iter().take(20) {
                for byte in (8..datagram.len()).step_by(3) {
                    let mut changed = datagram.clone();
                    changed[byte] ^= 0x40;
                    pair.deliver(1 - from, &changed);
                }
                pair.deliver(1 - from, datagram);
            }
        }
        pair.now += Duration::from_millis(50);
        pair.ends.iter_mut().for_each(|end| end.handle_timeout(pair.now));
    }
    pair.assert_established();
    assert!(pair.say(0, b"through") && pair.say(1, b"through"));
    pair.pass(SECOND);
    assert_eq!(pair.opened.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn who_knows_another_secret_or_means_another_peer_gets_nowhere() {
    let wrong = [
        [parties(b"session", 1, 2), parties(b"another", 2, 1)],
        [parties(b"session", 1, 2), parties(b"session", 2, 0)],
        [parties(b"session", 1, 3), parties(b"session", 2, 1)],
    ];
    for (number, parties) in wrong.into_iter().enumerate() {
        let mut pair = Pair::between(parties, [None; 2], 10, 0);
        pair.pass(10 * SECOND);
        assert!(pair.ends.iter().all(|end| !end.is_established()), "case {number}");
        assert!(pair.ends.iter().any(|end| end.counters().forged > 0), "case {number}");
        assert!(pair.recorded.len() < 40, "case {number}: {}", pair.recorded.len());
    }
}

#[test]
fn a_pinned_key_is_insisted_on() {
    let both = || [parties(b"session", 1, 2), parties(b"session", 2, 1)];
    let mut right = Pair::between(both(), [Some(key_of(2)), Some(key_of(1))], 11, 20);
    right.pass(10 * SECOND);
    right.assert_established();
    for pinned in [[Some(key_of(9)), None], [None, Some(key_of(9))]] {
        let mut wrong = Pair::between(both(), pinned, 12, 0);
        wrong.pass(20 * SECOND);
        let insisting = usize::from(pinned[0].is_none());
        let shown = key_of(2 - insisting as u8);
        assert_eq!(wrong.events(insisting), [ChannelEvent::WrongKey(shown)]);
        assert!(!wrong.say(insisting, b"secret"));
        assert!(wrong.opened.iter().all(Vec::is_empty));
    }
}

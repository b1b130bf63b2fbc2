//! Two ends over links of many kinds.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use super::frame::{MAX_PART, Part};
use super::*;
use crate::proto::Rng;
use crate::proto::secure::MAX_SEALED_TEXT;

#[derive(Clone, Copy)]
struct Link {
    one_way: Duration,
    jitter: Duration,
    loss_percent: u32,
    /// Bytes a second; a queue of 100 ms before it. `None`: any.
    speed: Option<u64>,
}

const LAN: Link =
    Link { one_way: Duration::from_micros(100), jitter: Duration::ZERO, loss_percent: 0, speed: None };

/// When a frame arrives, a number that tells equal times apart, at which end, and the frame.
type Arrival = Reverse<(Instant, u64, usize, Vec<u8>)>;

struct Pair {
    link: Link,
    start: Instant,
    now: Instant,
    rng: Rng,
    ends: [Delivery; 2],
    on_the_way: BinaryHeap<Arrival>,
    sent: u64,
    parts_sent: u64,
    /// When each direction's bottleneck is free again.
    busy_until: [Instant; 2],
    received: [VecDeque<Vec<u8>>; 2],
    delivered: [Vec<u64>; 2],
    /// Whether an end's application fetches what comes.
    fetches: [bool; 2],
}

impl Pair {
    fn new(link: Link, seed: u8) -> Self {
        let now = Instant::now();
        let config = DeliveryConfig::default();
        Self {
            link,
            start: now,
            now,
            rng: Rng::new([seed; 32]),
            ends: [Delivery::new(config, now), Delivery::new(config, now)],
            on_the_way: BinaryHeap::new(),
            sent: 0,
            parts_sent: 0,
            busy_until: [now; 2],
            received: [VecDeque::new(), VecDeque::new()],
            delivered: [Vec::new(), Vec::new()],
            fetches: [true; 2],
        }
    }

    fn transmit(&mut self, from: usize, frame: Vec<u8>) {
        assert!(frame.len() <= MAX_SEALED_TEXT && Delivery::is_frame(&frame));
        self.sent += 1;
        self.parts_sent += u64::from(frame[0] == super::frame::PART);
        if self.rng.u32() % 100 < self.link.loss_percent {
            return;
        }
        let mut leaves = self.now;
        if let Some(speed) = self.link.speed {
            leaves = leaves.max(self.busy_until[from]);
            if leaves > self.now + Duration::from_millis(100) {
                return;
            }
            leaves += Duration::from_secs_f64((frame.len() + 74) as f64 / speed as f64);
            self.busy_until[from] = leaves;
        }
        let jitter = self.link.jitter.as_micros() as u32;
        let jitter = Duration::from_micros(u64::from(self.rng.u32() % jitter.max(1)));
        self.on_the_way.push(Reverse((leaves + self.link.one_way + jitter, self.sent, 1 - from, frame)));
    }

    fn turn(&mut self) {
        for end in 0..2 {
            while let Some(frame) = self.ends[end].poll_frame(self.now) {
                self.transmit(end, frame);
            }
            while self.fetches[end]
                && let Some(message) = self.ends[end].poll_message(self.now)
            {
                self.received[end].push_back(message);
            }
            while let Some(id) = self.ends[end].poll_delivered() {
                self.delivered[end].push(id);
            }
        }
    }

    /// Until nothing is to be done before then.
    fn pass(&mut self, duration: Duration) {
        let until = self.now + duration;
        loop {
            self.turn();
            let arrival = self.on_the_way.peek().map(|Reverse((at, ..))| *at);
            let timers = self.ends.iter().filter_map(Delivery::poll_timeout);
            let Some(next) = timers.chain(arrival).min().filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            while self.on_the_way.peek().is_some_and(|Reverse((at, ..))| *at <= self.now) {
                let Some(Reverse((_, _, to, frame))) = self.on_the_way.pop() else { break };
                self.ends[to].handle_frame(self.now, &frame);
            }
        }
        self.now = until;
    }

    /// Sends so many bytes one way, as fast as they are taken; how long that took.
    fn stream(&mut self, bytes: usize, message: usize) -> Duration {
        let began = self.now;
        let text = vec![7; message];
        let (mut taken, mut fetched) = (0, 0);
        while fetched < bytes {
            while taken < bytes && self.ends[0].send(0, &text).is_ok() {
                taken += message;
            }
            self.pass(Duration::from_millis(1));
            fetched += self.received[1].drain(..).map(|message| message.len()).sum::<usize>();
            assert!(self.now - began < Duration::from_secs(600), "{fetched} of {bytes} in ten minutes");
        }
        self.now - began
    }
}

#[test]
fn messages_of_every_length_come_whole_in_order_and_once() {
    for (seed, loss_percent) in [(1, 0), (2, 20), (3, 60)] {
        let jitter = Duration::from_millis(30);
        let link = Link { one_way: Duration::from_millis(20), jitter, loss_percent, speed: None };
        let mut pair = Pair::new(link, seed);
        let lengths = [0, 1, MAX_PART - 1, MAX_PART, MAX_PART + 1, 5000, MAX_MESSAGE, 0, 3];
        let messages: Vec<Vec<u8>> = lengths
            .iter()
            .enumerate()
            .map(|(number, len)| (0..*len).map(|at| (at as u8).wrapping_mul(number as u8 + 1)).collect())
            .collect();
        for end in 0..2 {
            for (number, message) in messages.iter().enumerate() {
                assert_eq!(pair.ends[end].send(number as u64, message), Ok(()));
            }
        }
        pair.pass(Duration::from_secs(120));
        for end in 0..2 {
            assert_eq!(pair.received[end], messages, "loss {loss_percent}");
            assert_eq!(pair.delivered[end], (0..messages.len() as u64).collect::<Vec<_>>());
            assert_eq!(pair.ends[end].undelivered().count(), 0);
            assert_eq!((pair.ends[end].malformed(), pair.ends[end].poll_timeout()), (0, None));
        }
    }
}

#[test]
fn what_does_not_come_is_known() {
    let mut pair = Pair::new(LAN, 4);
    pair.ends[0].send(7, b"first").unwrap();
    pair.pass(Duration::from_secs(1));
    pair.link.loss_percent = 100;
    pair.ends[0].send(8, b"second").unwrap();
    pair.ends[0].send(9, b"third").unwrap();
    let sent = pair.sent;
    pair.pass(Duration::from_secs(30));
    assert_eq!(pair.ends[0].undelivered().collect::<Vec<_>>(), [8, 9]);
    assert!(pair.sent - sent < 40, "{} datagrams into the void", pair.sent - sent);
    pair.link.loss_percent = 0;
    pair.pass(Duration::from_secs(5));
    assert_eq!(pair.received[1], [b"first".to_vec(), b"second".to_vec(), b"third".to_vec()]);
    assert_eq!(pair.ends[0].undelivered().count(), 0);
}

#[test]
fn limits_hold_at_their_edges() {
    let mut end =
        Delivery::new(DeliveryConfig { max_unacknowledged: 100_000, ..Default::default() }, Instant::now());
    assert_eq!(end.send(0, &vec![0; MAX_MESSAGE + 1]), Err(Rejected::TooLong));
    assert_eq!(end.send(0, &vec![0; MAX_MESSAGE]), Ok(()));
    let cost = |len: usize| len + 64 * len.div_ceil(MAX_PART).max(1);
    let rest = (0..100_000).rev().find(|len| cost(MAX_MESSAGE) + cost(*len) <= 100_000).unwrap();
    assert_eq!(end.send(1, &vec![0; rest + 1]), Err(Rejected::Full));
    assert_eq!(end.send(1, &vec![0; rest]), Ok(()));
    assert_eq!(end.send(2, &[]), Err(Rejected::Full));
    let tiny = DeliveryConfig { max_unacknowledged: 10, ..Default::default() };
    assert_eq!(
        Delivery::new(tiny, Instant::now()).send(0, &[0; 5000]),
        Ok(()),
        "one message is always taken"
    );
}

#[test]
fn a_slow_consumer_makes_the_sender_wait_and_loses_nothing() {
    let mut pair = Pair::new(LAN, 5);
    pair.fetches[1] = false;
    let text = [9; 10_000];
    let mut taken = 0;
    for _ in 0..2000 {
        while pair.ends[0].send(0, &text).is_ok() {
            taken += 1;
        }
        pair.pass(Duration::from_millis(5));
    }
    let held = taken * text.len();
    assert!((6_000_000..9_000_000).contains(&held), "{held} bytes on both sides together");
    let sent = pair.sent;
    pair.pass(Duration::from_secs(60));
    assert!(pair.sent - sent < 100, "{} datagrams while nothing can be done", pair.sent - sent);
    pair.fetches[1] = true;
    pair.pass(Duration::from_secs(20));
    assert_eq!(pair.received[1].len(), taken);
    assert_eq!(pair.ends[0].undelivered().count(), 0);
}

#[test]
fn random_loss_does_not_slow_it_down_much_and_queues_stay_short() {
    let speed = 5_000_000;
    for (loss_percent, least) in [(0, 0.85), (1, 0.80), (5, 0.70), (10, 0.6)] {
        let (one_way, jitter) = (Duration::from_millis(20), Duration::from_millis(1));
        let link = Link { one_way, jitter, loss_percent, speed: Some(speed) };
        let mut pair = Pair::new(link, 6);
        let took = pair.stream(30_000_000, 20_000).as_secs_f64();
        let used = 30_000_000.0 / took / speed as f64;
        println!("{loss_percent} % loss: {:.0} % of the link", used * 100.0);
        assert!(used >= least, "{loss_percent} % loss: {used:.2} of the link");
        // Nothing is sent in vain much more than the network loses.
        let needed = 1500.0 * f64::from(20_000u32.div_ceil(MAX_PART as u32));
        let needed = needed / (1.0 - f64::from(loss_percent) / 100.0);
        assert!((pair.parts_sent as f64) < needed * 1.1, "{} parts, {needed:.0} needed", pair.parts_sent);
    }
}

#[test]
fn fast_links_are_used() {
    let mut pair = Pair::new(LAN, 7);
    let took = pair.stream(50_000_000, MAX_MESSAGE);
    println!("50 MB in {took:?} of virtual time at a round trip of 0.2 ms");
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert!(pair.now - pair.start >= took);
}

#[test]
fn nonsense_is_counted_and_harms_nothing() {
    let mut pair = Pair::new(LAN, 8);
    let mut rng = Rng::new([9; 32]);
    for round in 0..2000u32 {
        let len = rng.u32() as usize % 60;
        let mut frame: Vec<u8> = (0..len).map(|_| rng.u32() as u8).collect();
        if let Some(first) = frame.first_mut().filter(|_| round % 4 > 0) {
            *first = 0x10 + (round % 2) as u8;
        }
        // Numbers that may be true.
        for byte in frame.iter_mut().skip(1).take(7) {
            *byte = 0;
        }
        pair.ends[(round % 2) as usize].handle_frame(pair.now, &frame);
        if round % 100 == 0 {
            let _ = pair.ends[0].send(0, &[1; 3000]);
            pair.pass(Duration::from_millis(2));
        }
    }
    assert!(pair.ends.iter().all(|end| end.malformed() > 100));
    // A message without a beginning, one that never ends, an acknowledgement of what was never sent.
    let mut end = Delivery::new(DeliveryConfig::default(), pair.now);
    end.handle_frame(pair.now, &Part { number: 0, flags: 0, bytes: b"x" }.encode());
    assert_eq!(end.malformed(), 1);
    let full = [0; MAX_PART];
    for number in 1..200 {
        let flags = u8::from(number == 1);
        end.handle_frame(pair.now, &Part { number, flags, bytes: &full }.encode());
    }
    assert!(end.malformed() > 1 && end.poll_message(pair.now).is_none());
    end.send(0, b"mine").unwrap();
    end.handle_frame(pair.now, &Ack { next: 5, limit: 900, ahead: vec![255; 128] }.encode());
    assert_eq!(end.poll_delivered(), None);
    assert!(end.poll_frame(pair.now).is_some());
}

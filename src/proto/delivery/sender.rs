//! The sending side: cuts messages into parts, and sends each until it is known to have come.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::PART_COST;
use super::frame::{Ack, FIRST, LAST, MAX_PART, Part};
use super::rate::{Rate, Stamp};

/// What a receiver takes before it has told how much.
const FIRST_LIMIT: u64 = 64;
/// A part is lost when one that was sent so much later has come, or a quarter of a round trip later (RFC 8985's method).
const MIN_REORDERING: Duration = Duration::from_millis(1);
/// Bytes that a part costs on the way beside its own.
const OVERHEAD: usize = 74;
/// How long an acknowledgement may take beyond the round trip; never less, and never more than that in all.
const MIN_TIMEOUT: Duration = Duration::from_millis(30);
const MAX_TIMEOUT: Duration = Duration::from_secs(2);
/// Before a round trip was measured.
const FIRST_TIMEOUT: Duration = Duration::from_millis(300);
/// So much later than planned something may leave without slowing down what follows: the system's clock ticks.
const LATE: Duration = Duration::from_millis(3);

#[derive(Debug)]
struct Flight {
    flags: u8,
    bytes: Vec<u8>,
    /// When and under which circumstances it was sent last.
    stamp: Option<Stamp>,
    sends: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// To be sent, for the first time or again.
    Waiting,
    /// On its way.
    InFlight,
    /// Come.
    Arrived,
}

/// Parts that were not acknowledged yet.
#[derive(Debug)]
pub(super) struct Sender {
    /// From part `base` on, without a gap.
    parts: VecDeque<Flight>,
    base: u64,
    /// The first part that was never sent.
    unsent: u64,
    /// Parts that are to be sent again, some of which may have come meanwhile.
    lost: VecDeque<u64>,
    /// The last part of each message that is not delivered yet, and how the caller knows it.
    messages: VecDeque<(u64, u64)>,
    delivered: VecDeque<u64>,
    queued_bytes: usize,
    in_flight: usize,
    limit: u64,
    /// When that was sent which was sent last among what has come.
    latest_arrived: Option<Instant>,
    rate: Rate,
    /// Smoothed round-trip time and its variation (RFC 6298).
    rtt: Option<(Duration, Duration)>,
    timeouts: u32,
    timeout_at: Option<Instant>,
    next_send: Instant,
}

fn part_count(message: &[u8]) -> usize {
    message.len().div_ceil(MAX_PART).max(1)
}

/// What a message counts as while it waits.
pub(super) fn cost(message: &[u8]) -> usize {
    message.len() + part_count(message) * PART_COST
}

impl Sender {
    pub fn new(now: Instant) -> Self {
        Self {
            parts: VecDeque::new(),
            base: 0,
            unsent: 0,
            lost: VecDeque::new(),
            messages: VecDeque::new(),
            delivered: VecDeque::new(),
            queued_bytes: 0,
            in_flight: 0,
            limit: FIRST_LIMIT,
            latest_arrived: None,
            rate: Rate::new(now),
            rtt: None,
            timeouts: 0,
            timeout_at: None,
            next_send: now,
        }
    }

    /// Bytes that are not known to have come.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Messages that are not known to have come.
    pub fn undelivered(&self) -> impl Iterator<Item = u64> {
        self.messages.iter().map(|(_, id)| *id)
    }

    /// Takes a message.
    pub fn push(&mut self, id: u64, message: &[u8]) {
        let count = part_count(message);
        let mut chunks = message.chunks(MAX_PART);
        for number in 0..count {
            let bytes = chunks.next().unwrap_or_default().to_vec();
            self.queued_bytes += bytes.len() + PART_COST;
            let first = if number == 0 { FIRST } else { 0 };
            let last = if number + 1 == count { LAST } else { 0 };
            let state = State::Waiting;
            self.parts.push_back(Flight { flags: first | last, bytes, stamp: None, sends: 0, state });
        }
        self.messages.push_back((self.end() - 1, id));
    }

    fn end(&self) -> u64 {
        self.base + self.parts.len() as u64
    }

    /// The next message that has come whole.
    pub fn pop_delivered(&mut self) -> Option<u64> {
        self.delivered.pop_front()
    }

    /// Takes the receiver's word.
    pub fn handle_ack(&mut self, now: Instant, ack: &Ack) {
        if ack.next > self.unsent || ack.beyond().any(|number| number >= self.unsent) {
            return;
        }
        self.limit = self.limit.max(ack.limit);
        let mut any = false;
        for number in (self.base..ack.next).chain(ack.beyond()) {
            any |= self.note_arrived(now, number);
        }
        while self.parts.front().is_some_and(|part| part.state == State::Arrived) {
            self.parts.pop_front();
            self.base += 1;
        }
        while self.messages.front().is_some_and(|(last, _)| *last < self.base) {
            self.delivered.extend(self.messages.pop_front().map(|(_, id)| id));
        }
        if any {
            self.timeouts = 0;
            self.find_lost();
            self.rate.advance(now, self.in_flight);
            self.set_timeout(now);
        }
    }

    fn note_arrived(&mut self, now: Instant, number: u64) -> bool {
        let Some(part) = number.checked_sub(self.base).and_then(|at| self.parts.get_mut(at as usize)) else {
            return false;
        };
        if part.state == State::Arrived {
            return false;
        }
        let len = part.bytes.len() + OVERHEAD;
        self.in_flight -= if part.state == State::InFlight { len } else { 0 };
        self.queued_bytes -= part.bytes.len() + PART_COST;
        part.state = State::Arrived;
        part.bytes = Vec::new();
        if let Some(stamp) = part.stamp {
            self.latest_arrived = self.latest_arrived.max(Some(stamp.sent_at));
            // What was sent twice does not tell which of the two has come.
            let rtt = (part.sends == 1).then(|| now.saturating_duration_since(stamp.sent_at));
            if let Some(rtt) = rtt {
                self.note_rtt(rtt);
            }
            self.rate.note_delivered(now, stamp, len, rtt);
        }
        true
    }

    fn note_rtt(&mut self, rtt: Duration) {
        self.rtt = Some(match self.rtt {
            None => (rtt, rtt / 2),
            Some((smooth, variation)) => {
                (smooth * 7 / 8 + rtt / 8, variation * 3 / 4 + smooth.abs_diff(rtt) / 4)
            }
        });
    }

    fn find_lost(&mut self) {
        let patience = self.rtt.map_or(MIN_REORDERING, |(smooth, _)| (smooth / 4).max(MIN_REORDERING));
        let Some(latest) = self.latest_arrived else { return };
        for (number, part) in (self.base..).zip(self.parts.iter_mut()) {
            if number >= self.unsent {
                break;
            }
            let overtaken = part.stamp.is_some_and(|stamp| stamp.sent_at + patience <= latest);
            if part.state == State::InFlight && overtaken {
                part.state = State::Waiting;
                self.in_flight -= part.bytes.len() + OVERHEAD;
                self.lost.push_back(number);
            }
        }
    }

    fn timeout(&self) -> Duration {
        let once = self.rtt.map_or(FIRST_TIMEOUT, |(smooth, variation)| smooth + 4 * variation + MIN_TIMEOUT);
        (once * 2u32.pow(self.timeouts.min(6))).min(MAX_TIMEOUT)
    }

    fn set_timeout(&mut self, now: Instant) {
        let waiting = self.in_flight > 0 || self.is_blocked();
        self.timeout_at = waiting.then(|| now + self.timeout());
    }

    /// Whether the receiver has no room for what there is to send.
    fn is_blocked(&self) -> bool {
        self.lost.is_empty() && self.unsent < self.end() && self.unsent >= self.limit
    }

    /// The next frame to send, as often as there is one.
    pub fn poll_frame(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.timeout_at.is_some_and(|at| now >= at) {
            return self.probe(now);
        }
        if now < self.next_send {
            return None;
        }
        while self.lost.front().is_some_and(|number| !self.is_waiting(*number)) {
            self.lost.pop_front();
        }
        let again = self.lost.front().copied();
        let number = again.or_else(|| (self.unsent < self.end().min(self.limit)).then_some(self.unsent))?;
        let len = self.parts[(number - self.base) as usize].bytes.len() + OVERHEAD;
        if self.in_flight > 0 && self.in_flight + len > self.rate.window() {
            return None;
        }
        if again.is_some() {
            self.lost.pop_front();
        }
        self.next_send = self.next_send.max(now.checked_sub(LATE).unwrap_or(now)) + self.rate.time_for(len);
        Some(self.transmit(now, number))
    }

    fn is_waiting(&self, number: u64) -> bool {
        let part = number.checked_sub(self.base).and_then(|at| self.parts.get(at as usize));
        part.is_some_and(|part| part.state == State::Waiting)
    }

    fn transmit(&mut self, now: Instant, number: u64) -> Vec<u8> {
        self.unsent = self.unsent.max(number + 1);
        let idle = self.lost.is_empty() && self.unsent >= self.end();
        let stamp = self.rate.stamp(now, self.in_flight, idle);
        let part = &mut self.parts[(number - self.base) as usize];
        if part.state == State::Waiting {
            self.in_flight += part.bytes.len() + OVERHEAD;
        }
        (part.stamp, part.state) = (Some(stamp), State::InFlight);
        part.sends += 1;
        let frame = Part { number, flags: part.flags, bytes: &part.bytes }.encode();
        if self.timeout_at.is_none() {
            self.set_timeout(now);
        }
        frame
    }

    /// Nothing was heard for long: everything that is under way counts as lost, and the first of it is sent at once, or,
    /// if the receiver has no room, one part that asks whether it has now.
    fn probe(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.timeouts += 1;
        self.timeout_at = None;
        if self.timeouts > 1 {
            for (number, part) in (self.base..self.unsent).zip(self.parts.iter_mut()) {
                if part.state == State::InFlight {
                    part.state = State::Waiting;
                    self.in_flight -= part.bytes.len() + OVERHEAD;
                    self.lost.push_back(number);
                }
            }
        }
        let missing = self.parts.iter().position(|part| part.state != State::Arrived)?;
        Some(self.transmit(now, self.base + missing as u64))
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let next = self.lost.iter().copied().find(|number| self.is_waiting(*number));
        let next = next.or_else(|| (self.unsent < self.end().min(self.limit)).then_some(self.unsent));
        let sendable = next.is_some_and(|number| {
            let len = self.parts[(number - self.base) as usize].bytes.len() + OVERHEAD;
            self.in_flight == 0 || self.in_flight + len <= self.rate.window()
        });
        sendable.then_some(self.next_send).into_iter().chain(self.timeout_at).min()
    }
}

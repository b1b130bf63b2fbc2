//! Punching in the plain dialect: `SYN` until heard, then `ACK`, as the existing Go tools do it.

use std::time::{Duration, Instant};

use super::schedule::Tempo;
use crate::proto::wire::plain::Signal;

/// Pauses between the copies of the last `ACK`. The dialect asks for one at once and one after 100 ms; the peer goes on
/// only when one of them arrives and nobody answers it after the hand-over, so there are more.
const FINAL_ACK_PAUSES: [Duration; 3] =
    [Duration::from_millis(5), Duration::from_millis(20), Duration::from_millis(75)];

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Not heard from the peer yet.
    Syn,
    /// Heard a `SYN`: the peer reaches us.
    Heard,
    /// Heard an `ACK`: the hole is open both ways; the last `ACK`s are being sent.
    Open { sent: usize },
    /// All sent.
    Done,
}

/// One peer's hole in the plain dialect.
#[derive(Clone, Copy, Debug)]
pub struct PlainPunch {
    phase: Phase,
    sent: u32,
    next: Option<Instant>,
    reached: bool,
}

impl PlainPunch {
    /// Starts with a `SYN` at `now`.
    pub fn new(now: Instant) -> Self {
        Self { phase: Phase::Syn, sent: 0, next: Some(now), reached: false }
    }

    /// Takes a signal of the peer's; returns what to answer at once.
    pub fn handle_signal(&mut self, now: Instant, signal: Signal, retry: Duration) -> Option<Signal> {
        match (signal, self.phase) {
            (Signal::KeepAlive, _) => None,
            (Signal::Syn, Phase::Syn) => {
                self.phase = Phase::Heard;
                self.sent = 0;
                self.next = Some(now + Tempo::Plain.pause(1, retry));
                Some(Signal::Ack)
            }
            (Signal::Ack, Phase::Syn | Phase::Heard) => {
                self.phase = Phase::Open { sent: 0 };
                self.next = Some(now + FINAL_ACK_PAUSES[0]);
                Some(Signal::Ack)
            }
            // Every tick of a peer that has not heard our ACK is answered, none of our last ACKs is: no ping-pong.
            (Signal::Syn, _) => Some(Signal::Ack),
            (Signal::Ack, Phase::Open { .. } | Phase::Done) => None,
        }
    }

    /// The peer's application spoke: it is through, and so are we.
    pub fn handle_data(&mut self) {
        self.reached |= !self.is_done();
        self.phase = Phase::Done;
        self.next = None;
    }

    /// Whether the hole has become good since this was asked last.
    pub fn take_reached(&mut self) -> bool {
        std::mem::take(&mut self.reached)
    }

    /// Does what is due; returns what to send.
    pub fn handle_timeout(&mut self, now: Instant, retry: Duration) -> Option<Signal> {
        if self.next.is_none_or(|next| now < next) {
            return None;
        }
        self.sent += 1;
        match &mut self.phase {
            Phase::Syn => {
                self.next = Some(now + Tempo::Plain.pause(self.sent, retry));
                Some(Signal::Syn)
            }
            Phase::Heard => {
                self.next = Some(now + Tempo::Plain.pause(self.sent, retry));
                Some(Signal::Ack)
            }
            Phase::Open { sent } => {
                *sent += 1;
                self.next = FINAL_ACK_PAUSES.get(*sent).map(|pause| now + *pause);
                if self.next.is_none() {
                    self.phase = Phase::Done;
                    self.reached = true;
                }
                Some(Signal::Ack)
            }
            Phase::Done => None,
        }
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    /// Whether a signal of the peer's came.
    pub fn is_heard(&self) -> bool {
        !matches!(self.phase, Phase::Syn)
    }

    /// Whether the peer is known to hear us.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open { .. } | Phase::Done)
    }

    /// Whether nothing is left to do.
    pub fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Done)
    }
}

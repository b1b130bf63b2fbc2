//! A further socket, where two ordinary NATs do not connect although they should: a probe that came too early may have made
//! the peer's router take ours for a flow of its own, which lasts as long as we go on probing from the same endpoint. From
//! a fresh one, which the server first shows us the outside of, everything begins anew.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::proto::types::{SocketIndex, Transmit};
use crate::proto::wire::{MappingProbe, MappingReply};

/// From one question to the next, and how many are asked.
const PAUSE: Duration = Duration::from_millis(50);
const MAX_QUESTIONS: u32 = 20;

#[derive(Clone, Copy, Debug)]
enum State {
    /// Nothing is wrong.
    Unneeded,
    /// The driver is to open it.
    Wanted,
    /// The server is asked how it sees it.
    Asking { socket: SocketIndex, questions: u32, next: Instant },
    /// It is in use, or was of no use.
    Over,
}

/// That socket; one in each call.
#[derive(Debug)]
pub(super) struct FreshSocket {
    token: u64,
    state: State,
}

impl FreshSocket {
    /// None yet.
    pub(super) fn new(token: u64) -> Self {
        Self { token, state: State::Unneeded }
    }

    /// It could help from now on.
    pub(super) fn want(&mut self) {
        if matches!(self.state, State::Unneeded) {
            self.state = State::Wanted;
        }
    }

    /// Whether it has not been asked for.
    pub(super) fn is_unneeded(&self) -> bool {
        matches!(self.state, State::Unneeded)
    }

    /// Whether the driver is to open it.
    pub(super) fn is_wanted(&self) -> bool {
        matches!(self.state, State::Wanted)
    }

    /// Takes it, or learns that there is none; `false` if it was not waited for.
    pub(super) fn give(&mut self, now: Instant, socket: Option<SocketIndex>) -> bool {
        let wanted = self.is_wanted();
        if wanted {
            self.state =
                socket.map_or(State::Over, |socket| State::Asking { socket, questions: 0, next: now });
        }
        wanted
    }

    /// The next question to the server, if one is due.
    pub(super) fn question(&mut self, now: Instant, server: Option<SocketAddr>) -> Option<Transmit> {
        let State::Asking { socket, questions, next } = &mut self.state else { return None };
        if now < *next {
            return None;
        }
        let (Some(destination), true) = (server, *questions < MAX_QUESTIONS) else {
            self.state = State::Over;
            return None;
        };
        *questions += 1;
        *next = now + PAUSE;
        let payload = MappingProbe { token: self.token, sequence: *questions }.encode();
        Some(Transmit { socket: *socket, destination, payload, ttl: None })
    }

    /// Takes the server's word; the socket and its outside endpoint if that is the answer to a question of ours.
    pub(super) fn handle_reply(&mut self, reply: &MappingReply) -> Option<(SocketIndex, SocketAddr)> {
        let State::Asking { socket, questions, .. } = self.state else { return None };
        if reply.token != self.token || reply.sequence == 0 || reply.sequence > questions {
            return None;
        }
        self.state = State::Over;
        Some((socket, reply.observed))
    }

    /// When the next question is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Asking { next, .. } => Some(next),
            _ => None,
        }
    }
}

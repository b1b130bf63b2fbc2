//! One connection, or the attempt to make it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::handshake::{Handshake, Stranger};
use super::types::{DialFailure, Forwarding, StreamId, StreamReport};
use crate::proto::types::{CandidateKind, PeerId};
use crate::proto::wire::codec::Writer;
use crate::proto::wire::relay::{Ticket, encode_relay_bind, write_relay_bound};
use crate::proto::wire::stream::push_frame;
use crate::proto::wire::{HEADER_LEN, MAX_DATAGRAM};

/// A framed `RelayBound`.
const BOUND_LEN: usize = 2 + HEADER_LEN + size_of::<Ticket>();

/// How far it is.
#[derive(Debug)]
pub enum Stage {
    /// It is not open yet.
    Dialling,
    /// The server that forwards has been shown a ticket; it answers as soon as the other side has come, too.
    Binding { expected: [u8; BOUND_LEN], received: usize },
    /// Both sides are proving themselves.
    Handshake { handshake: Box<Handshake> },
    /// Nobody proves anything; it is open, which took so long.
    Open { took: Duration },
}

impl Stage {
    /// What the server that forwards is told, and what it will say.
    pub fn binding(ticket: Ticket) -> (Self, Vec<u8>) {
        let mut word = Vec::new();
        push_frame(&mut word, &encode_relay_bind(&ticket));
        let mut buffer = [0; MAX_DATAGRAM];
        let mut writer = Writer::new(&mut buffer);
        write_relay_bound(&mut writer, &ticket);
        let mut answer = Vec::new();
        push_frame(&mut answer, writer.as_slice());
        let mut expected = [0; BOUND_LEN];
        expected.copy_from_slice(&answer);
        (Self::Binding { expected, received: 0 }, word)
    }

    /// How many bytes may be read.
    pub fn wanted(&self) -> usize {
        match self {
            Self::Binding { received, .. } => BOUND_LEN - received,
            Self::Handshake { handshake } => handshake.wanted(),
            Self::Dialling | Self::Open { .. } => 0,
        }
    }

    /// The server that forwards has said something; `true`: all of what was expected.
    pub fn handle_bound(&mut self, bytes: &[u8]) -> Result<bool, Stranger> {
        let Self::Binding { expected, received } = self else { return Err(Stranger) };
        let awaited = &expected[*received..];
        let bytes = &bytes[..bytes.len().min(awaited.len())];
        if !awaited.starts_with(bytes) {
            return Err(Stranger);
        }
        *received += bytes.len();
        Ok(*received == BOUND_LEN)
    }
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    pub id: StreamId,
    pub remote: SocketAddr,
    pub kind: CandidateKind,
    /// Whose it is, if we have dialled it.
    pub owner: Option<usize>,
    pub forwarding: Option<Forwarding>,
    pub stage: Stage,
    /// When the last thing was said that has an answer.
    pub asked: Instant,
    /// Until when something must have come of it.
    pub deadline: Instant,
}

impl Connection {
    pub fn new(
        id: StreamId,
        remote: SocketAddr,
        kind: CandidateKind,
        owner: Option<usize>,
        deadline: Instant,
    ) -> Self {
        let (stage, forwarding) = (Stage::Dialling, None);
        Self { id, remote, kind, owner, forwarding, stage, asked: deadline, deadline }
    }

    /// Who the other side says that it is.
    pub fn claimed(&self) -> Option<PeerId> {
        match &self.stage {
            Stage::Handshake { handshake } => handshake.peer(),
            Stage::Dialling | Stage::Binding { .. } | Stage::Open { .. } => None,
        }
    }

    /// Whether it is open, and nobody proves anything on it.
    pub fn is_unproven(&self) -> bool {
        matches!(self.stage, Stage::Open { .. })
    }

    /// Until when something must have come of it. An open one that nobody proves anything on, and one that waits for the other side
    /// to come to the server that forwards, are waited for by others.
    pub fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Dialling | Stage::Handshake { .. } => Some(self.deadline),
            Stage::Binding { .. } | Stage::Open { .. } => None,
        }
    }

    pub fn is_late(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|deadline| now >= deadline)
    }
}

impl StreamReport {
    pub(super) fn note(&mut self, failure: DialFailure) {
        match failure {
            DialFailure::Refused => self.refused += 1,
            DialFailure::Unreachable => self.unreachable += 1,
            DialFailure::TimedOut => self.unanswered += 1,
            DialFailure::Taken => {}
            DialFailure::Local(error) => {
                self.local += 1;
                self.os_error = error;
            }
        }
    }
}

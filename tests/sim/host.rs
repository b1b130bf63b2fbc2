//! A host of the simulated internet, and what it runs.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use holepunch::proto::session::{Session, SessionEvent};
use holepunch::proto::{Connect, ConnectConfig, Outcome, SocketIndex, Transmit};

/// What a host runs.
pub enum Machine {
    Call(Box<Connect>),
    Room(Box<Session>),
}

/// Does the same with either.
macro_rules! either {
    ($machine:expr, $inner:ident => $do:expr) => {
        match $machine {
            Machine::Call($inner) => $do,
            Machine::Room($inner) => $do,
        }
    };
}

impl Machine {
    pub fn handle_datagram(&mut self, now: Instant, socket: SocketIndex, from: SocketAddr, payload: &[u8]) {
        match self {
            Self::Call(call) => drop(call.handle_datagram(now, socket, from, payload)),
            Self::Room(room) => room.handle_datagram(now, socket, from, payload),
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        either!(self, machine => machine.handle_timeout(now));
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        either!(self, machine => machine.poll_timeout())
    }

    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        either!(self, machine => machine.poll_transmit())
    }

    pub fn wants_sockets(&self) -> Option<usize> {
        either!(self, machine => machine.wants_sockets())
    }

    pub fn give_sockets(&mut self, now: Instant, sockets: &[SocketIndex]) {
        either!(self, machine => machine.give_sockets(now, sockets));
    }

    pub fn poll_released(&mut self) -> Option<SocketIndex> {
        either!(self, machine => machine.poll_released())
    }
}

/// One host that calls `connect`, or has joined a room.
pub struct Host {
    pub machine: Machine,
    /// What a room has told, and when.
    pub told: Vec<(Duration, SessionEvent)>,
    pub inside: SocketAddr,
    pub nat: Option<usize>,
    /// When and how its call ended.
    pub ended: Option<(Duration, Outcome)>,
    pub starts: Duration,
    pub config: Option<ConnectConfig>,
    /// How many it has opened so far; they are on consecutive ports.
    pub sockets: u16,
    pub closed: HashSet<u16>,
}

impl Host {
    pub fn new(machine: Machine, inside: SocketAddr, nat: Option<usize>, starts: Duration) -> Self {
        let (told, closed) = (Vec::new(), HashSet::new());
        Self { machine, told, inside, nat, ended: None, starts, config: None, sockets: 1, closed }
    }

    /// Its call of `connect`.
    pub fn call(&self) -> &Connect {
        let Machine::Call(call) = &self.machine else { panic!("it is in a room") };
        call
    }

    /// The room that it is in.
    pub fn room(&mut self) -> &mut Session {
        let Machine::Room(room) = &mut self.machine else { panic!("it is in no room") };
        room
    }
}

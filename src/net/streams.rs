//! The sockets of a [`StreamPunch`]: does what it says, and tells it what comes of that.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::time::Instant;

use super::poll::Interest;
use super::tcp::{Came, TcpConnection, TcpPort};
use crate::proto::stream::{DialFailure, Reading, StreamCommand, StreamId, StreamPunch};

/// Connections that are taken at a time, before the others have their turn.
const MAX_ACCEPTS_PER_TURN: usize = 16;

#[derive(Debug)]
struct Open {
    id: StreamId,
    connection: TcpConnection,
    dialling: bool,
}

/// The ports, and the connections that are nobody's yet.
#[derive(Debug)]
pub(crate) struct StreamSockets {
    ports: Vec<TcpPort>,
    open: Vec<Open>,
}

/// What one of the polled descriptors belongs to.
#[derive(Clone, Copy, Debug)]
enum Polled {
    Port(usize),
    Connection(StreamId),
}

impl StreamSockets {
    pub(crate) fn new(ports: Vec<TcpPort>) -> Self {
        Self { ports, open: Vec::new() }
    }

    /// What the ports are bound to.
    pub(crate) fn bound(&self) -> impl Iterator<Item = SocketAddr> {
        self.ports.iter().map(TcpPort::local)
    }

    /// The port towards `remote`, if there is one of its family.
    pub(crate) fn port_towards(&self, remote: SocketAddr) -> Option<&TcpPort> {
        self.ports.iter().find(|port| port.local().is_ipv4() == remote.is_ipv4())
    }

    /// Does what the machine wants done.
    pub(crate) fn execute(&mut self, punch: &mut StreamPunch, now: Instant) {
        while let Some(command) = punch.poll_command() {
            match command {
                StreamCommand::Dial { id, remote, from_port } => match self.dial(remote, from_port) {
                    Ok(connection) => self.open.push(Open { id, connection, dialling: true }),
                    Err(failure) => punch.handle_dialled(now, id, Err(failure)),
                },
                StreamCommand::Send(id, bytes) => {
                    let open = self.open.iter().find(|open| open.id == id);
                    // The first bytes of a connection fit into its buffer, or it has failed.
                    if open.is_some_and(|open| open.connection.send(&bytes).ok() != Some(bytes.len())) {
                        punch.handle_ended(now, id);
                    }
                }
                StreamCommand::Close(id) => {
                    if let Some(connection) = self.take(id) {
                        connection.abort();
                    }
                }
                StreamCommand::Relisten => {
                    for port in &mut self.ports {
                        if let Err(error) = port.relisten() {
                            log::debug!(target: "holepunch::streams", "listening anew: {error}");
                        }
                    }
                }
            }
        }
    }

    fn dial(&self, remote: SocketAddr, from_port: bool) -> Result<TcpConnection, DialFailure> {
        match self.port_towards(remote) {
            Some(port) if from_port => port.dial(remote),
            _ if from_port => Err(DialFailure::Unreachable),
            _ => {
                let any: SocketAddr = match remote {
                    SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                    SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
                };
                TcpConnection::dial(any, remote)
            }
        }
    }

    /// A connection that has been established.
    pub(crate) fn take(&mut self, id: StreamId) -> Option<TcpConnection> {
        let at = self.open.iter().position(|open| open.id == id)?;
        Some(self.open.remove(at).connection)
    }

    fn polled(&self, punch: &StreamPunch) -> impl Iterator<Item = (Polled, BorrowedFd<'_>, Interest)> {
        let ports = self.ports.iter().enumerate();
        let ports = ports.map(|(at, port)| (Polled::Port(at), port.fd(), Interest::Readable));
        let open = self.open.iter().filter_map(|open| {
            let interest = match punch.reading(open.id) {
                _ if open.dialling => Interest::Writable,
                Reading::Bytes(_) | Reading::Look => Interest::Readable,
                Reading::Nothing => return None,
            };
            Some((Polled::Connection(open.id), open.connection.fd(), interest))
        });
        ports.chain(open)
    }

    /// What is to be waited for.
    pub(crate) fn interests(&self, punch: &StreamPunch) -> Vec<(BorrowedFd<'_>, Interest)> {
        self.polled(punch).map(|(_, fd, interest)| (fd, interest)).collect()
    }

    /// Looks after those for which the wait has ended; `ready` as [`Self::interests`] was, with nothing in between.
    pub(crate) fn handle_ready(&mut self, punch: &mut StreamPunch, now: Instant, ready: &[bool]) {
        let polled: Vec<_> = self.polled(punch).map(|(polled, ..)| polled).collect();
        for (polled, _) in polled.into_iter().zip(ready).filter(|(_, ready)| **ready) {
            match polled {
                Polled::Port(at) => self.accept(punch, now, at),
                Polled::Connection(id) => self.handle_connection(punch, now, id),
            }
            self.execute(punch, now);
        }
    }

    fn accept(&mut self, punch: &mut StreamPunch, now: Instant, at: usize) {
        for _ in 0..MAX_ACCEPTS_PER_TURN {
            let Some((connection, remote)) = self.ports[at].accept() else { return };
            match punch.handle_accepted(now, remote) {
                Some(id) => self.open.push(Open { id, connection, dialling: false }),
                None => connection.abort(),
            }
            self.execute(punch, now);
        }
    }

    fn handle_connection(&mut self, punch: &mut StreamPunch, now: Instant, id: StreamId) {
        let Some(open) = self.open.iter_mut().find(|open| open.id == id) else { return };
        if open.dialling {
            let Some(result) = open.connection.dialled() else { return };
            open.dialling = false;
            if result.is_err() {
                self.open.retain(|open| open.id != id);
            }
            return punch.handle_dialled(now, id, result);
        }
        let mut buffer = [0; 128];
        match punch.reading(id) {
            Reading::Bytes(wanted) => {
                let wanted = wanted.min(buffer.len());
                match open.connection.receive(&mut buffer[..wanted]) {
                    Came::Bytes(len) => punch.handle_bytes(now, id, &buffer[..len]),
                    Came::Nothing => {}
                    Came::End(_) => punch.handle_ended(now, id),
                }
            }
            Reading::Look => match open.connection.look() {
                Came::Bytes(_) => punch.handle_data_waiting(now, id),
                Came::Nothing => {}
                Came::End(_) => punch.handle_ended(now, id),
            },
            Reading::Nothing => {}
        }
    }
}

//! A connection to a rendezvous server, over which messages go in frames.

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use super::poll::Interest;
use super::tcp::{Came, TcpConnection, TcpPort};
use crate::proto::stream::DialFailure;
use crate::proto::wire::stream::{first_frame, push_frame};

/// How long nothing is tried after a connection could not be made, or has ended.
const RETRY: Duration = Duration::from_millis(500);
/// A message that was sent so recently is not sent again: nothing gets lost on a connection, and machines that are made for datagrams
/// repeat themselves.
const REPEATED: Duration = Duration::from_secs(1);
/// Most bytes that wait to be sent.
const MAX_WAITING: usize = 64 * 1024;

#[derive(Debug)]
enum Stage {
    /// There is none, and none is tried before then.
    Closed {
        retry_at: Option<Instant>,
    },
    Dialling(TcpConnection, Instant),
    Open(TcpConnection),
}

/// What happened.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ServerStreamEvent {
    /// The connection is there, which took so long.
    Open(Duration),
    /// A message has come.
    Message(Vec<u8>),
    /// It could not be made.
    Failed(DialFailure),
}

/// The connection to one of the server's addresses: made when there is something to send, and again when it has ended.
#[derive(Debug)]
pub(crate) struct ServerStream {
    server: SocketAddr,
    stage: Stage,
    /// What is said first, once it is open: the latest word only.
    first: Option<Vec<u8>>,
    last: Option<(Vec<u8>, Instant)>,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
}

impl ServerStream {
    pub(crate) fn new(server: SocketAddr) -> Self {
        let (first, last) = (None, None);
        let stage = Stage::Closed { retry_at: None };
        Self { server, stage, first, last, outgoing: Vec::new(), incoming: Vec::new() }
    }

    /// Where it leads.
    pub(crate) fn server(&self) -> SocketAddr {
        self.server
    }

    /// Sends a message; connects first if need be, from `port`.
    pub(crate) fn send(&mut self, port: Option<&TcpPort>, message: &[u8]) -> Option<ServerStreamEvent> {
        let now = Instant::now();
        match &self.stage {
            Stage::Closed { retry_at } if retry_at.is_some_and(|at| now < at) => None,
            Stage::Closed { .. } => {
                self.first = Some(message.to_vec());
                match port.map_or(Err(DialFailure::Unreachable), |port| port.dial(self.server)) {
                    Ok(connection) => {
                        self.stage = Stage::Dialling(connection, now);
                        None
                    }
                    Err(failure) => Some(self.close(failure)),
                }
            }
            Stage::Dialling(..) => {
                self.first = Some(message.to_vec());
                None
            }
            Stage::Open(_) => {
                self.push(message, now);
                self.flush();
                None
            }
        }
    }

    fn push(&mut self, message: &[u8], now: Instant) {
        let repeated = |(last, at): &(Vec<u8>, Instant)| last == message && now < *at + REPEATED;
        if self.last.as_ref().is_some_and(repeated) || self.outgoing.len() > MAX_WAITING {
            return;
        }
        push_frame(&mut self.outgoing, message);
        self.last = Some((message.to_vec(), now));
    }

    fn flush(&mut self) {
        let Stage::Open(connection) = &self.stage else { return };
        match connection.send(&self.outgoing) {
            Ok(sent) => drop(self.outgoing.drain(..sent)),
            Err(_) => drop(self.close(DialFailure::Refused)),
        }
    }

    fn close(&mut self, failure: DialFailure) -> ServerStreamEvent {
        self.stage = Stage::Closed { retry_at: Some(Instant::now() + RETRY) };
        (self.first, self.last) = (None, None);
        self.outgoing.clear();
        self.incoming.clear();
        ServerStreamEvent::Failed(failure)
    }

    /// What to wait for.
    pub(crate) fn interest(&self) -> Option<(BorrowedFd<'_>, Interest)> {
        match &self.stage {
            Stage::Closed { .. } => None,
            Stage::Dialling(connection, _) => Some((connection.fd(), Interest::Writable)),
            Stage::Open(connection) if !self.outgoing.is_empty() => {
                Some((connection.fd(), Interest::Writable))
            }
            Stage::Open(connection) => Some((connection.fd(), Interest::Readable)),
        }
    }

    /// Looks after it once the wait has ended; to be followed by [`Self::begin`].
    pub(crate) fn handle_ready(&mut self) -> Vec<ServerStreamEvent> {
        match &self.stage {
            Stage::Closed { .. } => Vec::new(),
            Stage::Dialling(connection, since) => match connection.dialled() {
                None => Vec::new(),
                Some(Err(failure)) => vec![self.close(failure)],
                Some(Ok(())) => {
                    let took = since.elapsed();
                    let Stage::Dialling(connection, _) =
                        std::mem::replace(&mut self.stage, Stage::Closed { retry_at: None })
                    else {
                        unreachable!("it was dialling")
                    };
                    self.stage = Stage::Open(connection);
                    vec![ServerStreamEvent::Open(took)]
                }
            },
            Stage::Open(_) => {
                self.flush();
                self.read()
            }
        }
    }

    /// Says what was to be said first, unless something newer has been.
    pub(crate) fn begin(&mut self) {
        if matches!(self.stage, Stage::Open(_))
            && let Some(first) = self.first.take()
            && self.last.is_none()
        {
            self.push(&first, Instant::now());
            self.flush();
        }
    }

    fn read(&mut self) -> Vec<ServerStreamEvent> {
        let mut events = Vec::new();
        let mut buffer = [0; 4096];
        while let Stage::Open(connection) = &self.stage {
            match connection.receive(&mut buffer) {
                Came::Bytes(len) => self.incoming.extend(&buffer[..len]),
                Came::Nothing => break,
                Came::End(_) => {
                    self.close(DialFailure::Refused);
                    break;
                }
            }
            let mut at = 0;
            loop {
                match first_frame(&self.incoming[at..]) {
                    Ok(Some((message, len))) => {
                        events.push(ServerStreamEvent::Message(message.to_vec()));
                        at += len;
                    }
                    Ok(None) => break,
                    Err(_) => {
                        self.close(DialFailure::Refused);
                        return events;
                    }
                }
            }
            self.incoming.drain(..at);
        }
        events
    }
}

//! Finds out our public address, and keeps the NAT's mapping, until the peer is looked for.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use super::driver::Endpoint;
use super::options::AddressSource;
use crate::error::{Error, ErrorKind};
use crate::net::poll::Interest;
use crate::net::resolve::{self, Resolution};
use crate::net::tcp::{Came, TcpConnection};
use crate::net::waker::Waker;
use crate::proto::reflexive::{Finding, Question, Service};
use crate::proto::{Rng, Transport};

/// How often it is asked again, so that the NAT keeps the mapping (RFC 4787 section 4.3), and a new one becomes known.
const RENEW: Duration = Duration::from_secs(15);

enum Stage {
    /// The server's name is looked up.
    LookingUp(Receiver<io::Result<Vec<SocketAddr>>>),
    /// The server is being connected to.
    Dialling(TcpConnection, SocketAddr),
    /// It is asked.
    Asking(Question),
    /// It has answered, and will be asked again.
    Resting(SocketAddr, Instant),
    /// There is nothing more to be done.
    Over,
}

/// The question, and whom it is put to.
pub struct Asker {
    service: Service,
    transport: Transport,
    name: String,
    rng: Rng,
    stage: Stage,
    /// Stays open: NATs may give up the mapping when it is closed.
    connection: Option<TcpConnection>,
}

impl Asker {
    /// Begins, if somebody is to be asked; `waker` is woken when the look-up ends.
    pub fn start(
        source: &AddressSource,
        transport: Transport,
        rng: Rng,
        waker: &Arc<Waker>,
        endpoint: &Endpoint,
    ) -> Result<Option<Self>, Error> {
        let (service, name) = match source {
            AddressSource::Server(name) => (Service::Rendezvous, name),
            AddressSource::Stun(name) => (Service::Stun, name),
            AddressSource::Nobody | AddressSource::Known(_) => return Ok(None),
        };
        let looked_up = resolve::start(name, waker).map_err(|error| not_found(name, &error))?;
        let stage = Stage::Over;
        let mut asker = Self { service, transport, name: name.clone(), rng, stage, connection: None };
        match looked_up {
            Resolution::Done(addresses) => asker.turn_to(&addresses, endpoint)?,
            Resolution::Pending(pending) => asker.stage = Stage::LookingUp(pending),
        }
        Ok(Some(asker))
    }

    fn turn_to(&mut self, addresses: &[SocketAddr], endpoint: &Endpoint) -> Result<(), Error> {
        let server = addresses.iter().copied().find(|server| endpoint.serves(*server)).ok_or_else(|| {
            let message = format!("{} has no address of the local address's family", self.name);
            Error::new(ErrorKind::ServerUnreachable, message)
        })?;
        self.stage = match endpoint {
            Endpoint::Streams(sockets) => {
                let dialled = sockets.port_towards(server).map(|port| port.dial(server));
                let connection = dialled.and_then(Result::ok).ok_or_else(|| self.unreachable(server))?;
                Stage::Dialling(connection, server)
            }
            Endpoint::Datagrams(_) => self.question(server, Instant::now()),
        };
        Ok(())
    }

    fn question(&mut self, server: SocketAddr, now: Instant) -> Stage {
        Stage::Asking(Question::new(self.service, self.transport, server, &mut self.rng, now))
    }

    fn unreachable(&self, server: SocketAddr) -> Error {
        let message = format!("{} ({server}) does not take TCP connections", self.name);
        Error::new(ErrorKind::ServerUnreachable, message)
    }

    /// What to wait for besides the endpoint's own datagrams.
    pub fn interest(&self) -> Option<(BorrowedFd<'_>, Interest)> {
        match (&self.stage, &self.connection) {
            (Stage::Dialling(connection, _), _) => Some((connection.fd(), Interest::Writable)),
            (Stage::Asking(_), Some(connection)) => Some((connection.fd(), Interest::Readable)),
            _ => None,
        }
    }

    /// When to call `step`.
    pub fn timeout(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Asking(question) => question.poll_timeout(),
            Stage::Resting(_, until) => Some(*until),
            Stage::LookingUp(_) | Stage::Dialling(..) | Stage::Over => None,
        }
    }

    /// Takes a datagram that has come to the endpoint.
    pub fn handle_datagram(&mut self, source: SocketAddr, datagram: &[u8]) {
        if let Stage::Asking(question) = &mut self.stage
            && question.server() == source
        {
            question.handle_datagram(datagram);
        }
    }

    /// Goes on as far as it gets; what was found, if something was.
    pub fn step(&mut self, now: Instant, endpoint: &Endpoint) -> Option<Result<SocketAddr, Error>> {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::LookingUp(pending) => match pending.try_recv() {
                Ok(Ok(addresses)) if !addresses.is_empty() => {
                    self.turn_to(&addresses, endpoint).err().map(Err)
                }
                Ok(Err(error)) => Some(Err(not_found(&self.name, &error))),
                Ok(Ok(_)) | Err(TryRecvError::Disconnected) => {
                    let message = format!("{} has no address", self.name);
                    Some(Err(Error::new(ErrorKind::ServerNotFound, message)))
                }
                Err(TryRecvError::Empty) => {
                    self.stage = Stage::LookingUp(pending);
                    None
                }
            },
            Stage::Dialling(connection, server) => match connection.dialled() {
                None => {
                    self.stage = Stage::Dialling(connection, server);
                    None
                }
                Some(Ok(())) => {
                    self.connection = Some(connection);
                    self.stage = self.question(server, now);
                    self.step(now, endpoint)
                }
                Some(Err(_)) => Some(Err(self.unreachable(server))),
            },
            Stage::Asking(question) => self.ask(now, question, endpoint),
            Stage::Resting(server, until) if now >= until => {
                self.stage = self.question(server, now);
                self.step(now, endpoint)
            }
            resting => {
                self.stage = resting;
                None
            }
        }
    }

    fn ask(
        &mut self,
        now: Instant,
        mut question: Question,
        endpoint: &Endpoint,
    ) -> Option<Result<SocketAddr, Error>> {
        question.handle_timeout(now);
        if let Some(bytes) = question.poll_transmit(now) {
            match &self.connection {
                Some(connection) if connection.send(&bytes).ok() != Some(bytes.len()) => {
                    question.handle_ended()
                }
                Some(_) => {}
                None => endpoint.send(&bytes, question.server()),
            }
        }
        if let Some(connection) = &self.connection {
            let mut buffer = [0; 512];
            loop {
                match connection.receive(&mut buffer) {
                    Came::Bytes(len) => question.handle_bytes(&buffer[..len]),
                    Came::Nothing => break,
                    Came::End(_) => break question.handle_ended(),
                }
            }
        }
        let server = question.server();
        match question.finding() {
            None => {
                self.stage = Stage::Asking(question);
                None
            }
            Some(Finding::Endpoint(ours)) => {
                self.stage = Stage::Resting(server, now + RENEW);
                Some(Ok(ours))
            }
            Some(Finding::Silent) => {
                let message = format!("{} ({server}) does not tell our address", self.name);
                Some(Err(Error::new(ErrorKind::ServerSilent, message)))
            }
            Some(Finding::Refused) => {
                let message =
                    format!("{} ({server}) does not answer the question for our address", self.name);
                Some(Err(Error::new(ErrorKind::ServerRefused, message)))
            }
        }
    }
}

fn not_found(name: &str, error: &io::Error) -> Error {
    Error::from_io(ErrorKind::ServerNotFound, &format!("looking up {name}"), error)
}

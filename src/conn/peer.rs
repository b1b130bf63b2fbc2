//! The other side of a connection that is there.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::MAX_DATAGRAM;
use super::events::{ConnEnd, Connected};
use super::state::Shared;
use crate::error::{Error, ErrorKind};
use crate::net::poll::{Interest, wait_ready};
use crate::net::tcp::{Came, TcpConnection};
use crate::net::udp::UdpEndpoint;
use crate::net::waker::Waker;
use crate::proto::Transport;
use crate::proto::secure::Exporter;
use crate::proto::wire::message::encode_goodbye;
use crate::proto::wire::plain::Signal;
use crate::proto::wire::{Message, is_native};

/// Copies of a goodbye over UDP.
const GOODBYES: usize = 3;
/// What of a datagram tells whether it is the library's: a goodbye, and a little more than any of the plain dialect's signals.
const LONGEST_CONTROL: usize = 32;
/// What the word that says goodbye is derived from.
const GOODBYE_LABEL: &[u8] = b"libholepunch 2026-11 v1 goodbye";

/// A connection's socket, moved to the caller.
#[derive(Debug)]
#[non_exhaustive]
pub enum TakenSocket {
    /// A connected stream.
    Tcp(TcpStream),
    /// An unconnected socket, and where the peer is; datagrams for which [`crate::is_control_packet`] holds may still come and are to
    /// be ignored.
    Udp {
        /// The socket.
        socket: UdpSocket,
        /// The peer's endpoint.
        remote: SocketAddr,
        /// Datagrams that came from the peer before and were not read.
        early: Vec<Vec<u8>>,
    },
}

#[derive(Debug)]
pub enum Socket {
    Tcp(TcpConnection),
    Udp(UdpEndpoint),
}

/// What has come.
pub enum Arrival {
    /// So many bytes, or a datagram of so many.
    Data(usize),
    /// Something of the library's own, from the peer.
    Control,
    /// Something of somebody else's.
    Foreign,
    /// Nothing.
    Nothing,
    /// It is over.
    End(ConnEnd),
}

pub struct Peer {
    pub connected: Connected,
    pub exporter: Option<Exporter>,
    pub socket: Socket,
    /// Datagrams that came before the connection was reported, for who reads himself.
    pub early: Mutex<VecDeque<Vec<u8>>>,
}

impl Peer {
    pub fn fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Tcp(connection) => connection.fd(),
            Socket::Udp(endpoint) => endpoint.fd(),
        }
    }

    fn goodbye(&self) -> Option<[u8; 16]> {
        let word = self.exporter?.key(GOODBYE_LABEL);
        word.first_chunk().copied()
    }

    /// Tells the other side that that was all; over TCP closing does.
    pub fn say_goodbye(&self) {
        if let (Socket::Udp(endpoint), Some(word)) = (&self.socket, self.goodbye()) {
            for _ in 0..GOODBYES {
                let _ = endpoint.send(&encode_goodbye(&word), self.connected.remote);
            }
        }
    }

    /// Has the NATs keep the hole.
    pub fn keep_alive(&self) {
        if let Socket::Udp(endpoint) = &self.socket {
            let _ = endpoint.send(&[], self.connected.remote);
        }
    }

    /// Takes what is there.
    pub fn receive(&self, buffer: &mut [u8]) -> Arrival {
        match &self.socket {
            Socket::Tcp(connection) => match connection.receive(buffer) {
                Came::Bytes(len) => Arrival::Data(len),
                Came::Nothing => Arrival::Nothing,
                Came::End(None) => Arrival::End(ConnEnd::ClosedByPeer),
                Came::End(Some(error)) => Arrival::End(ConnEnd::Failed(error)),
            },
            Socket::Udp(endpoint) => self.receive_datagram(endpoint, buffer),
        }
    }

    /// Whose a datagram is its beginning tells, and its length; the caller's buffer may be too short for either.
    fn receive_datagram(&self, endpoint: &UdpEndpoint, buffer: &mut [u8]) -> Arrival {
        let mut beginning = [0; LONGEST_CONTROL];
        let arrival = match endpoint.look(&mut beginning) {
            Ok(Some((len, source))) if source == self.connected.remote => {
                self.judge(&beginning[..len.min(LONGEST_CONTROL)], len)
            }
            // An error is what the network says of datagrams that were sent before; whether the peer is gone its silence tells.
            Ok(Some(_)) | Err(_) => Arrival::Foreign,
            Ok(None) => return Arrival::Nothing,
        };
        match arrival {
            Arrival::Data(_) => match endpoint.receive(buffer) {
                Ok(Some((datagram, _))) => Arrival::Data(datagram.len()),
                _ => Arrival::Nothing,
            },
            other => {
                endpoint.discard();
                other
            }
        }
    }

    fn judge(&self, beginning: &[u8], len: usize) -> Arrival {
        if is_native(beginning) {
            return match Message::parse(beginning) {
                Ok(Message::Goodbye(word)) if Some(word) == self.goodbye() => {
                    Arrival::End(ConnEnd::ClosedByPeer)
                }
                _ => Arrival::Control,
            };
        }
        match Signal::parse(beginning) {
            Some(_) => Arrival::Control,
            None => Arrival::Data(len),
        }
    }

    /// Sends; see [`super::Conn::write`].
    pub fn write(&self, bytes: &[u8], deadline: Option<Instant>, over: &Waker) -> Result<usize, Error> {
        let failed = |error: &std::io::Error| Error::from_io(ErrorKind::Socket, "sending", error);
        let connection = match &self.socket {
            Socket::Tcp(connection) => connection,
            Socket::Udp(endpoint) => {
                if bytes.len() > MAX_DATAGRAM {
                    let message = "a datagram has at most 65,507 bytes";
                    return Err(Error::new(ErrorKind::InvalidArgument, message));
                }
                endpoint.send(bytes, self.connected.remote).map_err(|error| match error.kind() {
                    std::io::ErrorKind::WouldBlock => Error::new(ErrorKind::Full, "the system has no room"),
                    _ => failed(&error),
                })?;
                return Ok(bytes.len());
            }
        };
        let mut sent = 0;
        while sent < bytes.len() {
            match connection.send(&bytes[sent..]) {
                Ok(0) => {}
                Ok(more) => {
                    sent += more;
                    continue;
                }
                Err(error) => return Err(failed(&error)),
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break;
            }
            self.wait(Interest::Writable, deadline, over)?;
        }
        match sent {
            0 if !bytes.is_empty() => Err(Error::new(ErrorKind::Full, "the system has no room")),
            _ => Ok(sent),
        }
    }

    /// Waits for the socket, unless it is over.
    fn wait(&self, interest: Interest, deadline: Option<Instant>, over: &Waker) -> Result<(), Error> {
        let ready = wait_ready(&[(self.fd(), interest), (over.fd(), Interest::Readable)], deadline);
        match ready.map_err(|error| Error::from_io(ErrorKind::Socket, "waiting", &error))?[..] {
            [_, true] => Err(Error::new(ErrorKind::NotConnected, "the connection has ended")),
            _ => Ok(()),
        }
    }

    /// Reads; see [`super::Conn::read`].
    pub fn read(
        &self,
        buffer: &mut [u8],
        deadline: Option<Instant>,
        shared: &Shared,
    ) -> Result<usize, Error> {
        if buffer.is_empty() {
            return Err(Error::new(ErrorKind::InvalidArgument, "there is no room to read into"));
        }
        if let Some(early) = self.early.lock().pop_front() {
            let len = early.len().min(buffer.len());
            buffer[..len].copy_from_slice(&early[..len]);
            return Ok(len);
        }
        loop {
            match self.receive(buffer) {
                Arrival::Data(len) => return Ok(len),
                Arrival::Control | Arrival::Foreign => continue,
                Arrival::Nothing => {}
                Arrival::End(end) => {
                    let in_peace = matches!(end, ConnEnd::ClosedByPeer);
                    shared.state.lock().ended.get_or_insert(end);
                    shared.driver.wake();
                    if in_peace && self.connected.transport == Transport::Tcp {
                        return Ok(0);
                    }
                    return Err(Error::new(ErrorKind::NotConnected, "the connection has ended"));
                }
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(Error::new(ErrorKind::TimedOutWaiting, "nothing came in the given time"));
            }
            self.wait(Interest::Readable, deadline, &shared.over)?;
        }
    }

    /// The socket as the caller gets it, once nobody else has it.
    pub fn into_taken(self) -> TakenSocket {
        let remote = self.connected.remote;
        match self.socket {
            Socket::Tcp(connection) => TakenSocket::Tcp(connection.into_std()),
            Socket::Udp(endpoint) => TakenSocket::Udp {
                socket: endpoint.into_std(),
                remote,
                early: self.early.into_inner().into(),
            },
        }
    }
}

/// How often the NATs are shown that the hole is in use: RFC 4787 section 4.3 has them wait for two minutes, and many wait for
/// thirty seconds.
pub const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How long a peer may be silent (RFC 7675 section 5.1).
pub const CONSENT: Duration = Duration::from_secs(30);

//! The server's connections over TCP, on loopback: messages in frames, limits, and forwarding between two connections.

mod forwarding;
mod limits;
mod messages;
mod program;
#[path = "../support/mod.rs"]
mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use holepunch::PeerId;
use holepunch::proto::wire::stream::{first_frame, push_frame};
use holepunch::proto::wire::{Attributes, Entry, MappingProbe, Message, Presence, Register, Registered};
use holepunch::proto::{LookupKey, Transport};
use holepunch::server::{RelayConfig, ServerConfig, TcpConfig};
use support::TestServer;

/// Bounds every wait for something that has to come.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long nothing must come.
const SILENCE: Duration = Duration::from_millis(250);

fn server_with(tcp: TcpConfig) -> TestServer {
    TestServer::start_with(ServerConfig { tcp: Some(tcp), ..ServerConfig::default() })
}

fn relay_with(relay: RelayConfig, tcp: TcpConfig) -> TestServer {
    TestServer::start_with(ServerConfig { relay: Some(relay), tcp: Some(tcp), ..ServerConfig::default() })
}

/// Waits until it is so.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn frame(message: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    push_frame(&mut bytes, message);
    bytes
}

fn probe(sequence: u32) -> Vec<u8> {
    MappingProbe { token: 7, sequence }.encode()
}

/// A client's end of a connection, or a socket that speaks to the same server.
enum Way {
    Stream(TcpStream, Vec<u8>),
    Datagrams(UdpSocket),
}

/// One who registers.
struct Member {
    way: Way,
    token: u64,
    peer: PeerId,
    handle: u64,
    observed: Option<SocketAddr>,
    /// Who has joined the session and who has left it, as far as that was heard.
    joined: Vec<(PeerId, SocketAddr, Transport)>,
    left: Vec<PeerId>,
}

impl Member {
    fn new(way: Way, number: u8) -> Self {
        let (token, peer) = (u64::from(number), PeerId([number; 16]));
        Self { way, token, peer, handle: 0, observed: None, joined: Vec::new(), left: Vec::new() }
    }

    /// By a connection to this address.
    fn over_tcp(to: SocketAddr, number: u8) -> Self {
        Self::new(Way::Stream(connect(to), Vec::new()), number)
    }

    fn over_udp(to: SocketAddr, number: u8) -> Self {
        let socket = UdpSocket::bind((to.ip(), 0)).unwrap();
        socket.connect(to).unwrap();
        Self::new(Way::Datagrams(socket), number)
    }

    fn local(&self) -> SocketAddr {
        match &self.way {
            Way::Stream(stream, _) => stream.local_addr().unwrap(),
            Way::Datagrams(socket) => socket.local_addr().unwrap(),
        }
    }

    fn send(&mut self, message: &[u8]) {
        match &mut self.way {
            Way::Stream(stream, _) => stream.write_all(&frame(message)).unwrap(),
            Way::Datagrams(socket) => drop(socket.send(message).unwrap()),
        }
    }

    /// The next message, if one comes in time.
    fn next(&mut self, timeout: Duration) -> Option<Vec<u8>> {
        match &mut self.way {
            Way::Stream(stream, bytes) => next_message(stream, bytes, timeout),
            Way::Datagrams(socket) => {
                socket.set_read_timeout(Some(timeout)).unwrap();
                let mut buffer = [0; 2048];
                let len = socket.recv(&mut buffer).ok()?;
                Some(buffer[..len].to_vec())
            }
        }
    }

    /// The first message of which `wanted` makes something. Changes of the session are noted and acknowledged on the way.
    fn wait_for<T>(&mut self, what: &str, mut wanted: impl FnMut(&Message<'_>) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero());
            let bytes = left.and_then(|left| self.next(left)).unwrap_or_else(|| panic!("no {what}"));
            let message = Message::parse(&bytes).unwrap();
            if let Message::Registered(Registered { block, .. }) | Message::Update { block, .. } = &message {
                for entry in block.entries() {
                    match entry {
                        Entry::Joined { peer, reflexive, transport, .. } => {
                            self.joined.push((peer, reflexive, transport));
                        }
                        Entry::Left { peer, .. } => self.left.push(peer),
                    }
                }
                let handle = match &message {
                    Message::Registered(registered) => registered.handle,
                    _ => self.handle,
                };
                let (instance, revision) = (block.instance, block.to);
                let (token, wants_reply) = (self.token, false);
                self.send(&Presence { token, handle, sequence: 0, instance, revision, wants_reply }.encode());
            }
            if let Some(found) = wanted(&message) {
                return found;
            }
        }
    }

    /// Registers under an ID; over UDP with a cookie.
    fn register(&mut self, id: &[u8]) {
        let mut register = Register {
            token: self.token,
            sequence: 1,
            lookup: LookupKey::derive(id),
            peer: self.peer,
            cookie: Default::default(),
            instance: 0,
            revision: 0,
            attributes: Attributes::NONE,
        };
        self.send(&register.encode());
        if matches!(self.way, Way::Datagrams(_)) {
            register.cookie = self.wait_for("challenge", |message| match message {
                Message::Challenge(challenge) => Some(challenge.cookie),
                _ => None,
            });
            self.send(&register.encode());
        }
        let (handle, observed) = self.wait_for("registration", |message| match message {
            Message::Registered(registered) => Some((registered.handle, registered.observed)),
            Message::Challenge(_) => panic!("a connection has to show no cookie"),
            _ => None,
        });
        (self.handle, self.observed) = (handle, Some(observed));
    }

    /// Waits until it has heard that this one is there.
    fn hears_of(&mut self, other: &Self) {
        let transport = match other.way {
            Way::Stream(..) => Transport::Tcp,
            Way::Datagrams(_) => Transport::Udp,
        };
        let entry = (other.peer, other.local(), transport);
        while !self.joined.contains(&entry) {
            self.wait_for("update", |message| matches!(message, Message::Update { .. }).then_some(()));
        }
    }
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&to, PATIENCE).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The next framed message. `bytes` holds what was read beyond the one before.
fn next_message(stream: &mut TcpStream, bytes: &mut Vec<u8>, timeout: Duration) -> Option<Vec<u8>> {
    stream.set_read_timeout(Some(timeout)).unwrap();
    let mut buffer = [0; 4096];
    loop {
        if let Some((message, len)) = first_frame(bytes).unwrap() {
            let message = message.to_vec();
            bytes.drain(..len);
            return Some(message);
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(len) => bytes.extend(&buffer[..len]),
        }
    }
}

/// Asks over this connection which source is seen, and waits for the answer.
fn ask(stream: &mut TcpStream, sequence: u32) -> Option<SocketAddr> {
    stream.write_all(&frame(&probe(sequence))).ok()?;
    let mut bytes = Vec::new();
    loop {
        let message = next_message(stream, &mut bytes, PATIENCE)?;
        match Message::parse(&message).unwrap() {
            Message::MappingReply(reply) => {
                assert_eq!((reply.token, reply.sequence), (7, sequence));
                return Some(reply.observed);
            }
            // A member has not heard it all.
            Message::Update { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Waits until the other side has closed; what it says before is thrown away.
fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }
}

/// Whether it is neither closed nor has anything to read for a while.
fn is_quiet(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    let result = stream.read(&mut [0; 1]);
    result.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

//! The thread that serves all connections.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ahash::RandomState;
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Token};

use super::connection::{Connection, MAX_WAITING, Read, Stage};
use super::listen::{Accepted, counted_as};
use super::{Tcp, TcpServer, count};
use crate::net::batch::ServerSocket;
use crate::net::udp::canonical;
use crate::proto::Route;
use crate::proto::wire::codec::Writer;
use crate::proto::wire::stream::{first_frame, push_frame};
use crate::proto::wire::{MAX_DATAGRAM, Message};
use crate::server::alternates::Alternates;
use crate::server::handle::Desk;
use crate::server::outgoing::{Frames, Outgoing};
use crate::server::{Registry, TICK};

/// What the waker is known as; listeners have lower numbers, and connections higher ones.
pub(super) const WAKER: Token = Token(64);
/// Bytes that one connection's messages are read by, before others have their turns.
const READ_LEN: usize = 4 << 10;
/// The same of what is forwarded.
const FORWARD_LEN: usize = 16 << 10;
/// Connections that are taken from one listener before others have their turns.
const ACCEPTED_AT_ONCE: usize = 64;
/// How often connections are looked for that have lasted too long.
const SWEEP_PERIOD: Duration = Duration::from_millis(100);

/// How a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing more will be said.
    Clean,
    /// What was to be said will not be.
    Reset,
}

pub(super) struct Driver<'a> {
    server: TcpServer,
    registry: &'a Registry,
    pub(super) tcp: &'a Tcp,
    alternates: &'a Alternates,
    /// Datagrams leave by it.
    socket: &'a ServerSocket,
    pub(super) connections: HashMap<u64, Connection, RandomState>,
    next: u64,
    /// Which connection reaches a member.
    by_remote: HashMap<SocketAddr, u64, RandomState>,
    /// How many connections there are from an address.
    by_address: HashMap<IpAddr, usize, RandomState>,
    /// Those for which there may be something to do.
    queue: VecDeque<u64>,
    /// Those that have used up what their pair is allowed for now.
    pub(super) paused: Vec<u64>,
    resume_at: Instant,
    sweep_at: Instant,
    pub(super) buffer: Box<[u8]>,
    outgoing: Outgoing,
    posted: Frames,
}

impl<'a> Driver<'a> {
    pub(super) fn new(
        server: TcpServer,
        registry: &'a Registry,
        tcp: &'a Tcp,
        alternates: &'a Alternates,
        socket: &'a ServerSocket,
    ) -> Self {
        let now = Instant::now();
        let hasher = server.hasher.clone();
        Self {
            server,
            registry,
            tcp,
            alternates,
            socket,
            connections: HashMap::with_hasher(hasher.clone()),
            next: WAKER.0 as u64 + 1,
            by_remote: HashMap::with_hasher(hasher.clone()),
            by_address: HashMap::with_hasher(hasher),
            queue: VecDeque::new(),
            paused: Vec::new(),
            resume_at: now,
            sweep_at: now,
            buffer: vec![0; FORWARD_LEN].into_boxed_slice(),
            outgoing: Outgoing::default(),
            posted: Frames::default(),
        }
    }

    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        while !self.registry.stop.load(Ordering::Acquire) {
            let wait = if self.is_idle() { TICK } else { Duration::ZERO };
            if let Err(error) = self.server.poll.poll(&mut events, Some(wait))
                && error.kind() != io::ErrorKind::Interrupted
            {
                return Err(error);
            }
            let now = Instant::now();
            events.iter().for_each(|event| self.note_event(event));
            (0..self.server.listeners.len()).for_each(|number| self.accept(now, number));
            let mut posted = std::mem::take(&mut self.posted);
            self.tcp.take_posted(&mut posted);
            self.deliver(&mut posted);
            self.posted = posted;
            for _ in 0..self.queue.len() {
                let Some(id) = self.queue.pop_front() else { break };
                self.make_progress(now, id);
            }
            self.handle_timers(now);
            self.outgoing.send_datagrams(self.registry, self.socket);
        }
        for id in self.connections.keys().copied().collect::<Vec<_>>() {
            self.close(id, End::Reset);
        }
        Ok(())
    }

    fn is_idle(&self) -> bool {
        let now = Instant::now();
        self.queue.is_empty() && !self.server.listeners.iter().any(|listener| listener.is_ready(now))
    }

    fn note_event(&mut self, event: &Event) {
        let Token(number) = event.token();
        if let Some(listener) = self.server.listeners.get_mut(number) {
            listener.set_ready();
        } else if let Some(connection) = self.connections.get_mut(&(number as u64)) {
            // Reading tells what is wrong.
            let broken = event.is_error();
            connection.set_ready(
                broken || event.is_readable() || event.is_read_closed(),
                broken || event.is_writable() || event.is_write_closed(),
            );
            connection.is_broken |= broken;
            self.enqueue(number as u64);
        }
    }

    pub(super) fn enqueue(&mut self, id: u64) {
        if let Some(connection) = self.connections.get_mut(&id)
            && !connection.is_queued
        {
            connection.is_queued = true;
            self.queue.push_back(id);
        }
    }

    fn accept(&mut self, now: Instant, number: usize) {
        for _ in 0..ACCEPTED_AT_ONCE {
            let listener = &mut self.server.listeners[number];
            if !listener.is_ready(now) {
                return;
            }
            let is_main = listener.is_main;
            match listener.accept(now) {
                Accepted::Connection(stream, remote) => self.add(now, stream, canonical(remote), is_main),
                Accepted::Nothing => return,
                Accepted::NoRoom => return count(&self.tcp.totals.accept_failed),
            }
        }
    }

    fn add(&mut self, now: Instant, mut stream: TcpStream, remote: SocketAddr, is_main: bool) {
        let config = &self.server.config;
        let from_there = self.by_address.entry(counted_as(remote.ip())).or_default();
        if *from_there >= config.max_connections_per_address
            || self.connections.len() >= config.max_connections
        {
            if *from_there == 0 {
                self.by_address.remove(&counted_as(remote.ip()));
            }
            return count(&self.tcp.totals.over_limit);
        }
        let interest = Interest::READABLE | Interest::WRITABLE;
        let token = Token(self.next as usize);
        if let Err(error) = self.server.poll.registry().register(&mut stream, token, interest) {
            log::debug!("cannot wait for a connection: {error}");
            return count(&self.tcp.totals.accept_failed);
        }
        *from_there += 1;
        let id = self.next;
        self.next += 1;
        let deadline = deadline(now, config.first_message);
        self.connections.insert(id, Connection::new(stream, remote, is_main, deadline));
        count(&self.tcp.totals.accepted);
        self.tcp.totals.connections.fetch_add(1, Ordering::Relaxed);
        self.enqueue(id);
    }

    /// Closes a connection, and if it is forwarded the other side's, too.
    pub(super) fn close(&mut self, id: u64, end: End) {
        let Some(connection) = self.connections.remove(&id) else { return };
        self.tcp.totals.connections.fetch_sub(1, Ordering::Relaxed);
        let remote = connection.remote;
        if self.by_remote.get(&remote) == Some(&id) {
            self.by_remote.remove(&remote);
        }
        let address = counted_as(remote.ip());
        if let Some(count) = self.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
        if let (Stage::Waiting | Stage::Forwarded(_), Some(relay)) = (connection.stage, &self.tcp.relay) {
            relay.lock().handle_closed(id);
        }
        let stage = connection.stage;
        if end == End::Reset {
            connection.reset();
        }
        if let Stage::Forwarded(other) = stage {
            self.close(other, end);
        }
    }

    pub(super) fn set_stage(&mut self, id: u64, stage: Stage) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.stage = stage;
        }
    }

    /// Does what can be done for a connection now, or some of that.
    fn make_progress(&mut self, now: Instant, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.is_queued = false;
        let is_broken = connection.is_broken;
        match (connection.stage, &self.tcp.relay) {
            (Stage::Fresh { .. } | Stage::Messages { .. }, _) => self.read_messages(now, id),
            (Stage::Waiting | Stage::Forwarded(_), _) if is_broken => self.close(id, End::Reset),
            (Stage::Forwarded(other), Some(relay)) => self.forward(now, id, other, relay),
            (Stage::Waiting | Stage::Forwarded(_), _) => self.keep_early(id),
        }
    }

    fn read_messages(&mut self, now: Instant, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let read = connection.flush().and_then(|_| connection.read(&mut self.buffer[..READ_LEN]));
        let Ok(Read::Bytes(len)) = read else {
            if !matches!(read, Ok(Read::Nothing)) {
                self.close(id, End::Clean);
            }
            return;
        };
        let mut bytes = std::mem::take(&mut connection.incoming);
        bytes.extend_from_slice(&self.buffer[..len]);
        let mut at = 0;
        loop {
            match first_frame(&bytes[at..]) {
                Ok(None) => break,
                Ok(Some((message, len))) => {
                    count(&self.tcp.totals.received);
                    let behind = &bytes[at + len..];
                    if !self.handle_message(now, id, message, behind) {
                        return;
                    }
                    at += len;
                }
                Err(_) => {
                    count(&self.tcp.totals.malformed);
                    return self.close(id, End::Clean);
                }
            }
        }
        bytes.drain(..at);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.incoming = bytes;
        }
        self.enqueue(id);
    }

    /// `false`: no further message is to be read from this connection.
    fn handle_message(&mut self, now: Instant, id: u64, message: &[u8], behind: &[u8]) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        let (remote, stage) = (connection.remote, connection.stage);
        let is_main = match stage {
            Stage::Fresh { is_main } | Stage::Messages { is_main } => is_main,
            Stage::Waiting | Stage::Forwarded(_) => return false,
        };
        if let (Stage::Fresh { is_main: true }, Some(relay), Ok(Message::RelayBind(ticket))) =
            (stage, &self.tcp.relay, Message::parse(message))
        {
            connection.incoming = behind.to_vec();
            if !self.bind(now, id, &ticket, relay) {
                self.close(id, End::Clean);
            }
            return false;
        }
        connection.stage = Stage::Messages { is_main };
        connection.deadline = deadline(now, self.server.config.silence);
        let mut outgoing = std::mem::take(&mut self.outgoing);
        let understood = if is_main {
            // News for the member leaves by the connection that was used last.
            self.by_remote.insert(remote, id);
            let desk = Desk { registry: self.registry, alternates: self.alternates, overloaded: false };
            desk.handle(now, Route::stream(remote), message, &mut outgoing)
        } else {
            self.answer_diagnosis(id, remote, message)
        };
        let mut frames = std::mem::take(&mut outgoing.frames);
        self.outgoing = outgoing;
        self.deliver(&mut frames);
        self.outgoing.frames = frames;
        if !understood {
            count(&self.tcp.totals.malformed);
            self.close(id, End::Clean);
        }
        self.connections.contains_key(&id)
    }

    /// Answers what came to an alternate port; `false`: it is nothing that is answered there.
    fn answer_diagnosis(&mut self, id: u64, remote: SocketAddr, message: &[u8]) -> bool {
        let mut buffer = [0; MAX_DATAGRAM];
        let mut reply = Writer::new(&mut buffer);
        if !self.registry.gate.judge_at_alternate(remote, message, &mut reply) {
            return false;
        }
        let mut frame = Vec::new();
        push_frame(&mut frame, reply.as_slice());
        self.send(id, &frame);
        true
    }

    /// Sends each frame to whom it is for, if there is a connection to it.
    fn deliver(&mut self, frames: &mut Frames) {
        for (remote, frame) in frames.iter() {
            match self.by_remote.get(&remote) {
                Some(id) => self.send(*id, frame),
                None => count(&self.tcp.totals.unsent),
            }
        }
        frames.clear();
    }

    fn send(&mut self, id: u64, frame: &[u8]) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let sent = connection.send(frame);
        if sent.is_ok() && connection.waiting() <= MAX_WAITING {
            return count(&self.tcp.totals.sent);
        }
        count(&self.tcp.totals.unsent);
        if sent.is_ok() {
            count(&self.tcp.totals.slow);
        }
        self.close(id, End::Reset);
    }

    fn handle_timers(&mut self, now: Instant) {
        if now >= self.resume_at {
            self.resume_at = now + TICK;
            for id in std::mem::take(&mut self.paused) {
                self.enqueue(id);
            }
        }
        if now < self.sweep_at {
            return;
        }
        self.sweep_at = now + SWEEP_PERIOD;
        let is_late = |connection: &Connection| {
            let carries_messages = matches!(connection.stage, Stage::Fresh { .. } | Stage::Messages { .. });
            carries_messages && now >= connection.deadline
        };
        let late: Vec<u64> =
            self.connections.iter().filter(|(_, each)| is_late(each)).map(|(id, _)| *id).collect();
        for id in late {
            count(&self.tcp.totals.silent);
            self.close(id, End::Clean);
        }
        let over = self.tcp.relay.as_ref().map(|relay| relay.lock().handle_timeout(now));
        for id in over.unwrap_or_default() {
            self.close(id, End::Reset);
        }
    }
}

/// A moment that comes, however long the time is.
fn deadline(now: Instant, time: Duration) -> Instant {
    now + time.min(Duration::from_secs(365 * 24 * 3600))
}

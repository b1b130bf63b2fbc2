//! Asks a server, ours or any that speaks STUN, for our own endpoint as it sees it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Rng;
use super::types::Transport;
use super::wire::stream::{first_frame, push_frame};
use super::wire::stun::{self, Answer, MAX_ANSWER, Transaction};
use super::wire::{MappingProbe, Message, is_native};

/// Pauses after the copies of an unanswered question over UDP.
const PAUSES_MS: [u64; 6] = [100, 200, 400, 800, 800, 700];
/// How long an answer is waited for.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// Whom to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// A server of ours.
    Rendezvous,
    /// Any STUN server (RFC 8489).
    Stun,
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Our endpoint as the server sees it.
    Endpoint(SocketAddr),
    /// Nothing came in time.
    Silent,
    /// The server says no, or something that is no answer.
    Refused,
}

/// One question.
#[derive(Debug)]
pub struct Question {
    service: Service,
    transport: Transport,
    server: SocketAddr,
    token: u64,
    transaction: Transaction,
    next: usize,
    due: Instant,
    until: Instant,
    received: Vec<u8>,
    finding: Option<Finding>,
}

impl Question {
    /// To be asked from `now` on; over TCP, once the connection is there.
    pub fn new(
        service: Service,
        transport: Transport,
        server: SocketAddr,
        rng: &mut Rng,
        now: Instant,
    ) -> Self {
        Self {
            service,
            transport,
            server,
            token: rng.u64(),
            transaction: rng.bytes(),
            next: 0,
            due: now,
            until: now + PATIENCE,
            received: Vec::new(),
            finding: None,
        }
    }

    /// Who is asked.
    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// What has been found, once it has.
    pub fn finding(&self) -> Option<Finding> {
        self.finding
    }

    /// What to send to the server; over TCP, the first bytes of the connection. To be asked for after every `handle_timeout`.
    #[must_use]
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.finding.is_some() || now < self.due {
            return None;
        }
        let pause = match self.transport {
            Transport::Udp => PAUSES_MS.get(self.next).map(|ms| Duration::from_millis(*ms)),
            Transport::Tcp => None,
        };
        self.next += 1;
        self.due = pause.map_or(self.until, |pause| now + pause);
        let native = || MappingProbe { token: self.token, sequence: 1 }.encode();
        Some(match (self.service, self.transport) {
            (Service::Rendezvous, Transport::Udp) => native(),
            (Service::Rendezvous, Transport::Tcp) => {
                let mut frame = Vec::new();
                push_frame(&mut frame, &native());
                frame
            }
            (Service::Stun, _) => stun::request(&self.transaction).to_vec(),
        })
    }

    /// Takes a datagram that has come from the server. One that is no answer changes nothing.
    pub fn handle_datagram(&mut self, datagram: &[u8]) {
        if let Some(finding) = self.read(datagram)
            && self.finding.is_none()
        {
            self.finding = Some(finding);
        }
    }

    /// Takes bytes of the connection to the server.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        if self.finding.is_some() {
            return;
        }
        self.received.extend(bytes);
        let whole = match self.service {
            Service::Rendezvous => match first_frame(&self.received) {
                Ok(whole) => whole.map(|(message, _)| message.to_vec()),
                Err(_) => return self.finding = Some(Finding::Refused),
            },
            Service::Stun => stun::message_len(&self.received).and_then(|len| {
                // What is longer than any answer is none, and is read no further.
                self.received.get(..len).or((len > MAX_ANSWER).then_some(&[][..])).map(<[u8]>::to_vec)
            }),
        };
        if let Some(message) = whole {
            self.finding = Some(self.read(&message).unwrap_or(Finding::Refused));
        }
    }

    /// The connection to the server has ended, or was never there.
    pub fn handle_ended(&mut self) {
        self.finding.get_or_insert(Finding::Refused);
    }

    fn read(&self, message: &[u8]) -> Option<Finding> {
        match self.service {
            Service::Rendezvous if is_native(message) => match Message::parse(message) {
                Ok(Message::MappingReply(reply)) if reply.token == self.token => {
                    Some(Finding::Endpoint(reply.observed))
                }
                _ => None,
            },
            Service::Rendezvous => None,
            Service::Stun => match stun::parse_answer(message, &self.transaction).ok()? {
                Answer::Mapped(endpoint) => Some(Finding::Endpoint(endpoint)),
                Answer::Refused(_) => Some(Finding::Refused),
            },
        }
    }

    /// Does all that is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now >= self.until {
            self.finding.get_or_insert(Finding::Silent);
        }
    }

    /// When to call `handle_timeout` and `poll_transmit`; `None` once there is a finding.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.finding.is_none().then(|| self.due.min(self.until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::wire::codec::Writer;
    use crate::proto::wire::{MAX_DATAGRAM, MappingReply};

    const OURS: &str = "203.0.113.7:3000";

    fn question(service: Service, transport: Transport, now: Instant) -> Question {
        let server = "198.51.100.1:3478".parse().unwrap();
        Question::new(service, transport, server, &mut Rng::new([3; 32]), now)
    }

    fn answer(question: &Question) -> Vec<u8> {
        match question.service {
            Service::Rendezvous => {
                let mut buffer = [0; MAX_DATAGRAM];
                let mut writer = Writer::new(&mut buffer);
                MappingReply { token: question.token, sequence: 1, observed: OURS.parse().unwrap() }
                    .write(&mut writer);
                writer.as_slice().to_vec()
            }
            Service::Stun => {
                let mut bytes = vec![0x01, 0x01, 0, 12, 0x21, 0x12, 0xA4, 0x42];
                bytes.extend(question.transaction);
                bytes.extend([0, 1, 0, 8, 0, 1, 0x0B, 0xB8, 203, 0, 113, 7]);
                bytes
            }
        }
    }

    #[test]
    fn question_is_repeated_until_it_is_answered() {
        for service in [Service::Rendezvous, Service::Stun] {
            let start = Instant::now();
            let mut question = question(service, Transport::Udp, start);
            let first = question.poll_transmit(start).unwrap();
            assert_eq!(question.poll_transmit(start), None);
            let due = question.poll_timeout().unwrap();
            assert_eq!(due - start, Duration::from_millis(100));
            assert_eq!(question.poll_transmit(due), Some(first));
            question.handle_datagram(b"something else");
            assert_eq!(question.finding(), None);
            question.handle_datagram(&answer(&question));
            assert_eq!(question.finding(), Some(Finding::Endpoint(OURS.parse().unwrap())));
            assert_eq!(question.poll_timeout(), None);
        }
    }

    #[test]
    fn silence_ends_it_after_a_while() {
        for transport in [Transport::Udp, Transport::Tcp] {
            let start = Instant::now();
            let mut question = question(Service::Stun, transport, start);
            let (mut sent, mut now) = (0, start);
            while question.finding().is_none() {
                question.handle_timeout(now);
                sent += usize::from(question.poll_transmit(now).is_some());
                now = question.poll_timeout().unwrap_or(now);
            }
            assert_eq!((question.finding(), now - start), (Some(Finding::Silent), PATIENCE));
            assert_eq!(sent, if transport == Transport::Udp { 6 } else { 1 });
        }
    }

    #[test]
    fn answer_may_come_in_pieces() {
        for service in [Service::Rendezvous, Service::Stun] {
            let now = Instant::now();
            let mut question = question(service, Transport::Tcp, now);
            assert!(question.poll_transmit(now).is_some());
            let mut bytes = Vec::new();
            match service {
                Service::Rendezvous => push_frame(&mut bytes, &answer(&question)),
                Service::Stun => bytes = answer(&question),
            }
            for byte in bytes {
                assert_eq!(question.finding(), None);
                question.handle_bytes(&[byte]);
            }
            assert_eq!(question.finding(), Some(Finding::Endpoint(OURS.parse().unwrap())));
        }
    }

    #[test]
    fn something_else_on_the_connection_is_a_refusal() {
        for noise in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], &[0xFF; 64], &[0; 64]] {
            for service in [Service::Rendezvous, Service::Stun] {
                let mut question = question(service, Transport::Tcp, Instant::now());
                question.handle_bytes(noise);
                assert_eq!(question.finding(), Some(Finding::Refused), "{service:?}");
            }
        }
        let mut question = question(Service::Stun, Transport::Tcp, Instant::now());
        question.handle_ended();
        assert_eq!(question.finding(), Some(Finding::Refused));
    }
}

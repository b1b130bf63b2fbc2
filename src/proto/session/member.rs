//! One member of a session: its path, its channel, and what is said over it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::types::{
    Departure, Events, MAX_PLAIN_MESSAGE, MemberId, PeerPath, SendError, SessionCounters, SessionEvent,
    SessionPeer,
};
use crate::proto::delivery::{Delivery, DeliveryConfig, Rejected};
use crate::proto::secure::Channel;
use crate::proto::types::Transmit;
use crate::proto::wire::{is_control_packet, plain::Signal};

/// First byte of what is said beside messages.
const PING: u8 = 0x01;
const PONG: u8 = 0x02;
const BYE: u8 = 0x03;

/// After so much silence a peer is asked whether it is there, which also keeps the NATs' mappings.
const IDLE: Duration = Duration::from_secs(10);
/// And sooner while something is being sent to it.
const IDLE_WHILE_SENDING: Duration = Duration::from_secs(1);
/// Pauses between the questions, the last one for ever.
const PING_PAUSES: [Duration; 4] = [
    Duration::from_millis(200),
    Duration::from_millis(300),
    Duration::from_millis(500),
    Duration::from_millis(1000),
];
/// After so much silence from the first question on another path is looked for.
const PATH_PATIENCE: Duration = Duration::from_secs(1);
/// The server is asked before: our NAT may have given us another endpoint, which the peer does not know.
const SERVER_PATIENCE: Duration = Duration::from_millis(400);
/// And after so much in all the peer counts as unreachable. RFC 7675 allows 30 s.
const CONSENT: Duration = Duration::from_secs(15);
/// A plain peer cannot be asked: one that has been silent for so long, and that the server has forgotten, is gone.
const PLAIN_CONSENT: Duration = Duration::from_secs(30);
/// How long one that the server has given up may take to say that it is there.
const DOUBT: Duration = Duration::from_millis(800);
/// Copies of a goodbye.
const BYE_COPIES: usize = 3;
/// A datagram from another endpoint has that tried once the present path has been silent for so long; and how often.
const ROAMING_PATIENCE: Duration = Duration::from_millis(400);
const TRIAL_PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(super) struct Member {
    pub name: MemberId,
    pub path: Option<PeerPath>,
    pub channel: Option<Channel>,
    pub delivery: Delivery,
    /// Whether messages have flowed.
    told_connected: bool,
    /// It was told that it cannot be reached; it is looked for all the same.
    pub given_up: bool,
    /// The server does not list it any more.
    pub unlisted_since: Option<Instant>,
    /// When something authentic came from it, and over its path.
    pub heard: Instant,
    path_heard: Instant,
    /// The question that is open: since when, how often asked, when again.
    asked: Option<(Instant, usize, Instant)>,
    nonce: u64,
    /// What the last question said, and when.
    pinged: u64,
    nonce_sent: Instant,
    /// A path over which it was heard, and which is made sure of by the answer to this nonce; since when.
    trial: Option<(PeerPath, u64, Instant)>,
    /// The server was asked, and another path is looked for, since the peer has fallen silent.
    pub server_asked: bool,
    pub reopened: Option<Instant>,
    pub departure: Option<Departure>,
    outgoing: Vec<(PeerPath, Vec<u8>)>,
}

fn ping(nonce: u64) -> Vec<u8> {
    [&[PING][..], &nonce.to_be_bytes()].concat()
}

impl Member {
    pub fn new(name: MemberId, config: DeliveryConfig, now: Instant) -> Self {
        Self {
            name,
            path: None,
            channel: None,
            delivery: Delivery::new(config, now),
            told_connected: false,
            given_up: false,
            unlisted_since: None,
            heard: now,
            path_heard: now,
            asked: None,
            nonce: 0,
            pinged: 0,
            nonce_sent: now,
            trial: None,
            server_asked: false,
            reopened: None,
            departure: None,
            outgoing: Vec::new(),
        }
    }

    /// Whether messages can be sent to it.
    pub fn is_connected(&self) -> bool {
        let is_secure = self.channel.as_ref().is_some_and(Channel::is_established);
        self.path.is_some() && (is_secure || !self.name.encrypted)
    }

    /// As it is known now.
    pub fn status(&self) -> SessionPeer {
        let path = self.path.filter(|_| self.is_connected());
        let key = path.and_then(|_| self.channel.as_ref()?.remote_key());
        SessionPeer { member: self.name, path, key, undelivered: self.delivery.undelivered().count() }
    }

    /// Takes a message for it. Of one that is not encrypted nothing more will be known.
    pub fn send(&mut self, number: u64, message: &[u8]) -> Result<(), SendError> {
        if self.name.encrypted {
            return self.delivery.send(number, message).map_err(|rejected| match rejected {
                Rejected::TooLong => SendError::TooLong,
                Rejected::Full => SendError::Full,
            });
        }
        if message.len() > MAX_PLAIN_MESSAGE {
            return Err(SendError::TooLong);
        }
        if is_control_packet(message) {
            return Err(SendError::Reserved);
        }
        if !self.is_connected() {
            return Err(SendError::Full);
        }
        self.outgoing.extend(self.path.map(|path| (path, message.to_vec())));
        Ok(())
    }

    /// Messages flow from now on.
    pub fn note_connected(&mut self, now: Instant) {
        self.told_connected = true;
        self.heard = now;
    }

    /// Notes that something authentic has come over `path`.
    pub fn note_heard(&mut self, now: Instant, over: PeerPath) {
        self.heard = now;
        self.asked = None;
        self.server_asked = false;
        self.reopened = None;
        let Some(path) = &mut self.path else { return };
        if (path.socket, path.endpoint) == (over.socket, over.endpoint) {
            self.path_heard = now;
        } else if now >= self.path_heard + ROAMING_PATIENCE
            && self.trial.is_none_or(|(.., since)| now >= since + TRIAL_PAUSE)
        {
            // The peer has moved, or its NAT has; or somebody on the way has been faster with what he saw.
            let nonce = self.next_nonce();
            self.trial = Some((over, nonce, now));
            let sealed = self.channel.as_mut().and_then(|channel| channel.seal(now, &ping(nonce)));
            self.outgoing.extend(sealed.map(|sealed| (over, sealed)));
        }
    }

    fn next_nonce(&mut self) -> u64 {
        self.nonce = self.nonce.wrapping_add(1);
        self.nonce
    }

    /// Uses another path from now on.
    pub fn set_path(&mut self, now: Instant, path: PeerPath, events: &mut Events) {
        let moved = self.path.is_some_and(|old| (old.socket, old.endpoint) != (path.socket, path.endpoint));
        self.path = Some(path);
        self.path_heard = now;
        if moved && self.told_connected {
            events.push(SessionEvent::PathChanged(self.name, path));
        }
    }

    /// What has been dropped of what came from it, and what others have.
    pub fn count(&self, mut counters: SessionCounters) -> SessionCounters {
        let of_channel = self.channel.as_ref().map(Channel::counters).unwrap_or_default();
        counters.forged += of_channel.forged;
        counters.replayed += of_channel.replayed;
        counters.malformed += self.delivery.malformed();
        counters
    }

    /// Asks at once whether the peer is there; a plain one has no way to answer.
    pub fn ask(&mut self, now: Instant) {
        if self.asked.is_none() && self.name.encrypted {
            self.asked = Some((now, 0, now));
        }
    }

    /// Since when the peer has not answered.
    pub fn unanswered_since(&self) -> Option<Instant> {
        self.asked.map(|(since, ..)| since)
    }

    /// When it has kept silent for so long that something is to be done: it is gone if the server has forgotten it, or else
    /// another path is looked for, once.
    pub fn patience_ends(&self) -> Option<Instant> {
        let doubt = self.unlisted_since.map(|_| DOUBT);
        let patience = doubt.or(self.reopened.is_none().then_some(PATH_PATIENCE))?;
        self.unanswered_since().map(|since| since + patience)
    }

    /// When the server is to be asked whether it knows where we are.
    pub fn server_is_due(&self) -> Option<Instant> {
        self.unanswered_since().filter(|_| !self.server_asked).map(|since| since + SERVER_PATIENCE)
    }

    /// Takes what was said beside messages.
    pub fn handle_frame(&mut self, now: Instant, frame: &[u8], events: &mut Events) {
        match frame {
            [PING, nonce @ ..] if nonce.len() == 8 => {
                let pong = [&[PONG], nonce].concat();
                self.say(now, &pong);
            }
            [PONG, nonce @ ..] => self.handle_pong(now, nonce, events),
            [BYE] => self.departure = Some(Departure::Goodbye),
            _ if Delivery::is_frame(frame) => self.delivery.handle_frame(now, frame),
            // A later version's.
            _ => {}
        }
    }

    fn handle_pong(&mut self, now: Instant, nonce: &[u8], events: &mut Events) {
        if let Some((path, ..)) = self.trial.filter(|(_, tried, _)| nonce == tried.to_be_bytes()) {
            self.trial = None;
            self.set_path(now, path, events);
        } else if nonce == self.pinged.to_be_bytes()
            && let Some(path) = &mut self.path
        {
            path.rtt = Some(now.saturating_duration_since(self.nonce_sent));
        }
    }

    /// What is due at `now`: questions, and what delivery has to say. `false` if the peer has been silent for too long.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        if let Some(channel) = &mut self.channel {
            channel.handle_timeout(now);
        }
        if !self.name.encrypted {
            return self.handle_plain_timeout(now);
        }
        if !self.is_connected() {
            // Who was never reached is given up as late as who falls silent, and once.
            return self.given_up || now < self.heard + CONSENT;
        }
        let sending = self.delivery.undelivered().next().is_some();
        let idle = if sending { IDLE_WHILE_SENDING } else { IDLE };
        if now >= self.heard + idle {
            self.ask(now);
        }
        if let Some((_, times, next)) = &mut self.asked
            && now >= *next
        {
            *next = now + PING_PAUSES[(*times).min(PING_PAUSES.len() - 1)];
            *times += 1;
            self.nonce_sent = now;
            self.pinged = self.next_nonce();
            self.say(now, &ping(self.pinged));
        }
        now < self.heard + CONSENT
    }

    fn handle_plain_timeout(&mut self, now: Instant) -> bool {
        if self.is_connected() && now >= self.nonce_sent + IDLE {
            self.nonce_sent = now;
            self.outgoing.extend(self.path.map(|path| (path, Signal::KeepAlive.as_bytes().to_vec())));
        }
        self.unlisted_since.is_none() || now < self.heard + PLAIN_CONSENT
    }

    /// Seals something for the peer; lost if it is not connected.
    fn say(&mut self, now: Instant, text: &[u8]) {
        if let Some(channel) = &mut self.channel {
            let sealed = channel.seal(now, text);
            self.outgoing.extend(self.path.zip(sealed));
        }
    }

    /// Says goodbye.
    pub fn say_goodbye(&mut self, now: Instant) {
        // What has come, it shall know.
        if let Some(ack) = self.delivery.poll_last_ack() {
            self.say(now, &ack);
        }
        for _ in 0..BYE_COPIES {
            self.say(now, &[BYE]);
        }
    }

    /// Everything that can be sent now.
    pub fn drain(&mut self, now: Instant, out: &mut VecDeque<Transmit>) {
        let Some(path) = self.path else { return };
        let mut send = |over: PeerPath, payload| {
            out.push_back(Transmit { socket: over.socket, destination: over.endpoint, payload, ttl: None });
        };
        if let Some(channel) = &mut self.channel {
            while let Some(datagram) = channel.poll_transmit() {
                send(path, datagram);
            }
        }
        self.outgoing.drain(..).for_each(|(over, payload)| send(over, payload));
        if let Some(channel) = self.channel.as_mut().filter(|channel| channel.is_established()) {
            while let Some(frame) = self.delivery.poll_frame(now) {
                if let Some(sealed) = channel.seal(now, &frame) {
                    send(path, sealed);
                }
            }
        }
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let channel = self.channel.as_ref().and_then(Channel::poll_timeout);
        if !self.name.encrypted {
            let keep_alive = self.is_connected().then(|| self.nonce_sent + IDLE);
            let consent = self.unlisted_since.map(|_| self.heard + PLAIN_CONSENT);
            return keep_alive.into_iter().chain(consent).min();
        }
        if !self.is_connected() {
            let patience = (!self.given_up).then(|| self.heard + CONSENT);
            return channel.into_iter().chain(patience).min();
        }
        let sending = self.delivery.undelivered().next().is_some();
        let idle = self.heard + if sending { IDLE_WHILE_SENDING } else { IDLE };
        let asked = self.asked.map_or(idle, |(.., next)| next);
        let consent = self.heard + CONSENT;
        let due = [
            Some(asked),
            Some(consent),
            self.patience_ends(),
            self.server_is_due(),
            channel,
            self.delivery.poll_timeout(),
        ];
        due.into_iter().flatten().min()
    }
}

//! The secure channel between two peers: a Noise handshake under the session's secret, then sealed datagrams.
//!
//! A [`Channel`] belongs to one peer and knows nothing of endpoints: it takes and gives datagrams over whatever path there is.
//! The side with the larger peer ID begins the handshake and renews it every two minutes, so that what was said before
//! stays secret should a key become known later. Datagrams may be lost, repeated and overtake each other: each is
//! opened once or counted.

mod exchange;
mod noise;
#[cfg(test)]
mod tests;
mod transport;
mod window;

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

pub use self::exchange::{Exchange, Exporter};
use self::noise::Handshake;
pub use self::noise::{Parties, public_key};
use self::transport::Transport;
use super::Rng;
pub use super::wire::secure::MAX_SEALED_TEXT;
use super::wire::{HandshakeAnswer, HandshakeBegin, HandshakeEnd, Sealed};

/// After how long new keys are agreed upon.
pub const RENEW_AFTER: Duration = Duration::from_secs(120);
/// After how many sealed datagrams.
const RENEW_AFTER_MESSAGES: u64 = 1 << 48;
/// After how long keys are not used any more if no new ones could be agreed upon.
pub const EXPIRE_AFTER: Duration = Duration::from_secs(240);
/// How long former keys open what was under way when new ones came.
const FORMER_KEYS: Duration = Duration::from_secs(10);
/// Pauses between copies of an unanswered handshake message, the last one for ever.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(1000),
];
/// After so many copies of our last message nobody seems to wait for it, and a fresh handshake is begun.
const MAX_END_COPIES: usize = 8;
/// Sets of keys that are kept at the same time.
const MAX_TRANSPORTS: usize = 4;
/// Handshakes of the peer's that may be open at the same time: an old one can be recorded and played again.
const MAX_ANSWERED: usize = 2;

/// A static public key (X25519): who a peer is, beyond one session.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// What people compare: 128 bits of the key's hash, in eight groups of four hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        let hash = blake3::derive_key("libholepunch 2026-11 v1 fingerprint", &self.0);
        let groups: Vec<_> =
            hash[..16].chunks(2).map(|pair| format!("{:02x}{:02x}", pair[0], pair[1])).collect();
        groups.join(" ")
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fingerprint())
    }
}

/// What a channel tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelEvent {
    /// Texts can be sealed from now on, and the peer is who holds this key.
    Established(PublicKey),
    /// The peer holds another key than the one that was expected; nothing is sealed for it.
    WrongKey(PublicKey),
}

/// What has been dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelCounters {
    /// Not made by the peer, or not under keys that are known any more.
    pub forged: u64,
    /// Seen before, or too old to tell.
    pub replayed: u64,
}

#[derive(Debug)]
struct Begun {
    index: u32,
    rng: Rng,
    message: Vec<u8>,
    copies: usize,
    next: Instant,
}

#[derive(Debug)]
struct Answered {
    /// The message that was answered.
    begin: Vec<u8>,
    remote_index: u32,
    local_index: u32,
    rng: Rng,
    message: Vec<u8>,
}

/// The end of a handshake of ours, repeated until the peer shows that it has it.
#[derive(Debug)]
struct Ended {
    local_index: u32,
    message: Vec<u8>,
    copies: usize,
    next: Instant,
}

/// One peer's channel.
pub struct Channel {
    parties: Parties,
    /// The only keys that the peer may hold: the pinned ones, or the one that it has shown first. Empty: any.
    allowed: Vec<PublicKey>,
    rng: Rng,
    /// Ours, waiting for the answer.
    begun: Option<Begun>,
    /// The peer's, waiting for its end.
    answered: VecDeque<Answered>,
    ended: Option<Ended>,
    /// The keys in use first, then ones that are not confirmed yet or not needed any more.
    transports: Vec<Transport>,
    exporter: Option<Exporter>,
    wrong_key: bool,
    renew_at: Option<Instant>,
    transmits: VecDeque<Vec<u8>>,
    events: VecDeque<ChannelEvent>,
    counters: ChannelCounters,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Channel({:?}, {:?})", self.parties, self.transports)
    }
}

impl Channel {
    /// Begins, if that is our part, at `now`. `pinned` are the only keys that the peer may hold; none: any.
    pub fn new(parties: Parties, pinned: &[PublicKey], rng: Rng, now: Instant) -> Self {
        let mut channel = Self {
            parties,
            allowed: pinned.to_vec(),
            rng,
            begun: None,
            answered: VecDeque::new(),
            ended: None,
            transports: Vec::new(),
            exporter: None,
            wrong_key: false,
            renew_at: None,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            counters: ChannelCounters::default(),
        };
        if channel.parties.initiates() {
            channel.begin(now);
        }
        channel
    }

    /// Whether texts can be sealed.
    pub fn is_established(&self) -> bool {
        !self.transports.is_empty()
    }

    /// The key that the peer has shown.
    pub fn remote_key(&self) -> Option<PublicKey> {
        self.exporter.and(self.allowed.first().copied())
    }

    /// What has been dropped.
    pub fn counters(&self) -> ChannelCounters {
        self.counters
    }

    /// Whether sealed datagrams and handshake messages for this end of a channel are for this one.
    pub fn has_end(&self, index: u32) -> bool {
        self.transports.iter().any(|transport| transport.local_index == index)
            || self.begun.as_ref().is_some_and(|begun| begun.index == index)
            || self.answered.iter().any(|answered| answered.local_index == index)
    }

    /// A key for another protocol between the same two: the same on both sides, different for each label, known to nobody
    /// else in the session. `None` as long as the channel is not established.
    pub fn export_key(&self, label: &[u8]) -> Option<[u8; 32]> {
        self.exporter.map(|exporter| exporter.key(label))
    }

    fn begin(&mut self, now: Instant) {
        let (index, rng) = (self.rng.u32(), self.rng.fork());
        let Some((_, noise)) = self.handshake_of_ours(index, &rng) else { return };
        let (sender, receiver) = (self.parties.local, self.parties.remote);
        let message = HandshakeBegin { sender, receiver, noise: &noise }.encode();
        self.begun = Some(Begun { index, rng, message, copies: 0, next: now });
        self.handle_timeout(now);
    }

    /// A handshake that we begin, and its first message.
    fn handshake_of_ours(&self, index: u32, rng: &Rng) -> Option<(Handshake, Vec<u8>)> {
        let mut handshake = Handshake::new(&self.parties, true, rng.clone())?;
        let noise = handshake.write(index)?;
        Some((handshake, noise))
    }

    /// A handshake that the peer has begun: how it names its end, and the second message.
    fn handshake_of_theirs(&self, begin: &[u8], index: u32, rng: &Rng) -> Option<(Handshake, u32, Vec<u8>)> {
        let mut handshake = Handshake::new(&self.parties, false, rng.clone())?;
        let remote_index = handshake.read(begin)?;
        let noise = handshake.write(index)?;
        Some((handshake, remote_index, noise))
    }

    /// Takes the peer's first message.
    pub fn handle_begin(&mut self, begin: &HandshakeBegin<'_>) {
        if let Some(known) = self.answered.iter().find(|answered| answered.begin == begin.noise) {
            self.transmits.push_back(known.message.clone());
            return;
        }
        let (local_index, rng) = (self.rng.u32(), self.rng.fork());
        let understood = self.handshake_of_theirs(begin.noise, local_index, &rng);
        let Some((_, remote_index, noise)) = understood.filter(|_| !self.parties.initiates()) else {
            self.counters.forged += 1;
            return;
        };
        let message = HandshakeAnswer { to: remote_index, noise: &noise }.encode();
        self.transmits.push_back(message.clone());
        self.answered.truncate(MAX_ANSWERED - 1);
        let begin = begin.noise.to_vec();
        self.answered.push_front(Answered { begin, remote_index, local_index, rng, message });
    }

    /// Takes the peer's answer.
    pub fn handle_answer(&mut self, now: Instant, answer: &HandshakeAnswer<'_>) {
        let Some(begun) = self.begun.as_ref().filter(|begun| begun.index == answer.to) else {
            // A repetition, as our own end is: nothing is to be said again.
            self.counters.forged += u64::from(!self.has_end(answer.to));
            return;
        };
        let index = begun.index;
        let end = self.handshake_of_ours(index, &begun.rng).and_then(|(mut handshake, _)| {
            let remote_index = handshake.read(answer.noise)?;
            let noise = handshake.write(index)?;
            Some((handshake, remote_index, noise))
        });
        let Some((handshake, remote_index, noise)) = end else {
            self.counters.forged += 1;
            return;
        };
        self.begun = None;
        let message = HandshakeEnd { to: remote_index, noise: &noise }.encode();
        // Whoever holds a wrong key gets no end, lest it believe that we talk to it.
        if self.agree(now, handshake, index, remote_index) {
            self.ended = Some(Ended { local_index: index, message, copies: 0, next: now });
            self.handle_timeout(now);
        }
    }

    /// Takes the peer's last message.
    pub fn handle_end(&mut self, now: Instant, end: &HandshakeEnd<'_>) {
        if self.transports.iter().any(|transport| transport.local_index == end.to) {
            // A repetition; what it asks for is a sign that we have it.
            return self.confirm(now, end.to);
        }
        let ended =
            self.answered.iter().find(|answered| answered.local_index == end.to).and_then(|answered| {
                let again = self.handshake_of_theirs(&answered.begin, answered.local_index, &answered.rng);
                let (mut handshake, remote_index, _) = again?;
                (handshake.read(end.noise)? == answered.remote_index).then_some((handshake, remote_index))
            });
        let Some((handshake, remote_index)) = ended else {
            self.counters.forged += 1;
            return;
        };
        if self.agree(now, handshake, end.to, remote_index) {
            self.answered.clear();
            self.confirm(now, end.to);
        }
    }

    /// An empty sealed datagram, which tells that we have the keys.
    fn confirm(&mut self, now: Instant, index: u32) {
        if let Some(transport) = self.transports.iter_mut().find(|transport| transport.local_index == index) {
            self.transmits.extend(transport.seal(now, &[]));
        }
    }

    /// Takes new keys into use, unless the peer holds a wrong one.
    fn agree(&mut self, now: Instant, handshake: Handshake, local_index: u32, remote_index: u32) -> bool {
        let Some(agreed) = handshake.finish() else { return false };
        if !self.allowed.is_empty() && !self.allowed.contains(&agreed.remote) {
            if !std::mem::replace(&mut self.wrong_key, true) {
                self.events.push_back(ChannelEvent::WrongKey(agreed.remote));
            }
            return false;
        }
        self.allowed = vec![agreed.remote];
        let first = self.transports.is_empty();
        let transport = Transport::new(agreed.keys, local_index, remote_index, now);
        self.transports.retain(|former| former.local_index != local_index);
        if first || !self.parties.initiates() {
            self.transports.insert(0, transport);
        } else {
            // The peer may not have got the end yet; its first datagram under these keys will show that it has.
            self.transports.insert(1, transport);
        }
        self.transports.truncate(MAX_TRANSPORTS);
        if self.parties.initiates() {
            self.renew_at = Some(now + RENEW_AFTER);
        }
        if self.exporter.is_none() {
            self.exporter = Some(agreed.exporter);
            self.events.push_back(ChannelEvent::Established(agreed.remote));
        }
        true
    }

    /// Opens a sealed datagram; `None` if it is not the peer's, or was seen before. An empty text means nothing.
    pub fn open(&mut self, now: Instant, sealed: &Sealed<'_>) -> Option<Vec<u8>> {
        let Some(position) = self.transports.iter().position(|transport| transport.local_index == sealed.to)
        else {
            self.counters.forged += 1;
            return None;
        };
        match self.transports[position].open(sealed) {
            transport::Opened::Text(text) => {
                self.ended.take_if(|ended| ended.local_index == sealed.to);
                if position > 0 && self.transports[position].since > self.transports[0].since {
                    let confirmed = self.transports.remove(position);
                    self.transports.insert(0, confirmed);
                }
                self.retire_former(now);
                Some(text)
            }
            transport::Opened::Forged => {
                self.counters.forged += 1;
                None
            }
            transport::Opened::Replayed => {
                self.counters.replayed += 1;
                None
            }
        }
    }

    /// Seals a text of at most [`MAX_SEALED_TEXT`] bytes into a datagram; `None` if it is longer or there are no keys.
    pub fn seal(&mut self, now: Instant, text: &[u8]) -> Option<Vec<u8>> {
        let datagram = self.transports.first_mut()?.seal(now, text);
        if self.transports[0].sent() >= RENEW_AFTER_MESSAGES {
            self.renew_at = self.renew_at.map(|_| now);
        }
        datagram
    }

    fn retire_former(&mut self, now: Instant) {
        let Some(current) = self.transports.first() else { return };
        let since = current.since;
        self.transports.retain(|transport| transport.since >= since || now < since + FORMER_KEYS);
    }

    /// Does all that is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.transports.retain(|transport| now < transport.since + EXPIRE_AFTER);
        self.retire_former(now);
        if self.begun.is_none() && self.renew_at.is_some_and(|at| now >= at) {
            self.renew_at = None;
            self.begin(now);
        }
        if let Some(begun) = self.begun.as_mut().filter(|begun| now >= begun.next) {
            begun.next = now + PAUSES[begun.copies.min(PAUSES.len() - 1)];
            begun.copies += 1;
            self.transmits.push_back(begun.message.clone());
        }
        if let Some(ended) = self.ended.as_mut().filter(|ended| now >= ended.next) {
            ended.next = now + PAUSES[ended.copies.min(PAUSES.len() - 1)];
            ended.copies += 1;
            self.transmits.push_back(ended.message.clone());
            if ended.copies >= MAX_END_COPIES {
                self.ended = None;
                self.begin(now);
            }
        }
    }

    /// The next datagram to send; to be asked for after every call that takes `&mut self`.
    #[must_use]
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.transmits.pop_front()
    }

    /// The next event; to be asked for after every call that takes `&mut self`.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<ChannelEvent> {
        self.events.pop_front()
    }

    /// When to call `handle_timeout`; to be asked for after every call that takes `&mut self`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let begun = self.begun.as_ref().map(|begun| begun.next);
        let renew = self.renew_at.filter(|_| begun.is_none());
        let ended = self.ended.as_ref().map(|ended| ended.next);
        let expiry = self.transports.iter().map(|transport| transport.since + EXPIRE_AFTER);
        expiry.chain(begun).chain(ended).chain(renew).min()
    }
}

//! What a session is told, and what it tells.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use crate::proto::delivery::DeliveryConfig;
use crate::proto::meeting::MeetingConfig;
use crate::proto::secure::PublicKey;
use crate::proto::types::{CandidateKind, PeerId, SocketIndex};
use crate::proto::wire::RefusedReason;

/// Most events that are kept until they are asked for.
pub const MAX_EVENTS: usize = 16_384;
/// Most bytes of messages among them: those of plain peers, and of peers that left before theirs were asked for.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;
/// Longest message to a plain peer: it goes in one datagram, which passes everywhere.
pub const MAX_PLAIN_MESSAGE: usize = 1200;

/// What a [`super::Session`] needs to know.
#[derive(Clone)]
pub struct SessionConfig {
    /// Whom to meet, and how.
    pub meeting: MeetingConfig,
    /// Our static private key (X25519): who we are, beyond this session.
    pub identity: [u8; 32],
    /// If not empty, the only keys that peers may hold.
    pub pinned: Vec<PublicKey>,
    /// What may wait for each peer, and from each.
    pub delivery: DeliveryConfig,
}

/// Who a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId {
    /// Its name in the session; another one each time it joins.
    pub id: PeerId,
    /// Whether what it says and hears is encrypted, authenticated, and repeated until it has come. If not, it speaks the plain
    /// dialect: anyone on the way may read, forge and drop what is said, and nothing tells whether it comes.
    pub encrypted: bool,
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// It is longer than [`crate::proto::delivery::MAX_MESSAGE`], or than [`MAX_PLAIN_MESSAGE`] for a plain peer.
    TooLong,
    /// The plain dialect has a meaning of its own for it.
    Reserved,
    /// Too much waits already, or events do; later there is room. For a plain peer nothing waits: it is not reached yet.
    Full,
    /// There is no such peer.
    NoSuchPeer,
    /// The session was left.
    Left,
}

/// What has been dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionCounters {
    /// Datagrams of nobody who is known here, or that make no sense.
    pub strangers: u64,
    /// Sealed datagrams, handshakes and probes that are not authentic.
    pub forged: u64,
    /// Sealed datagrams and probes that had come before, or are too old to tell.
    pub replayed: u64,
    /// Without sense: the server's, or our own dialect's, or authentic.
    pub malformed: u64,
}

/// A member, as it is known now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionPeer {
    /// Who it is.
    pub member: MemberId,
    /// Over which path messages flow, if they do.
    pub path: Option<PeerPath>,
    /// The key that it holds, if messages flow and it has one.
    pub key: Option<PublicKey>,
    /// How many messages of ours it is not known to have got.
    pub undelivered: usize,
}

/// Over which path a peer is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerPath {
    /// Our socket.
    pub socket: SocketIndex,
    /// The peer's endpoint.
    pub endpoint: SocketAddr,
    /// How the endpoint was learned.
    pub kind: CandidateKind,
    /// Round-trip time, as measured last.
    pub rtt: Option<Duration>,
}

/// Why a peer is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It said goodbye.
    Goodbye,
    /// The server has not heard of it for long, and neither have we.
    TimedOut,
    /// It may be there, but nothing comes through any more.
    Unreachable,
    /// It was we who left the session.
    WeLeft,
    /// It holds a key that is not allowed.
    WrongKey(PublicKey),
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// The server keeps us under this endpoint of ours; for the first time, or again.
    Registered(SocketAddr),
    /// The server does not answer any more. Peers that are connected stay so.
    ServerLost,
    /// It does again.
    ServerRegained,
    /// The server does not take us; it is asked again.
    Refused(RefusedReason),
    /// The session cannot go on and was left: the system's error number for why waiting for the network has failed.
    Failed(i32),
    /// Somebody is there, and is being reached.
    Joined(MemberId),
    /// Messages flow; the peer is who holds this key. A plain peer has none.
    Connected(MemberId, PeerPath, Option<PublicKey>),
    /// They do so over another path now.
    PathChanged(MemberId, PeerPath),
    /// A message from a peer.
    Message(MemberId, Vec<u8>),
    /// A peer has got the message of ours with this number.
    Delivered(MemberId, u64),
    /// A message to everybody was not taken for this peer, since too much waits for it already.
    Untaken(MemberId, u64),
    /// So many events were not kept, because nobody asked for those before. Messages are among them only
    /// if they are plain peers', or beyond 16 MiB of peers who have left.
    Untold(u64),
    /// A peer is gone, and has not got the messages of ours with these numbers, as far as is known.
    Left(MemberId, Departure, Vec<u64>),
}

/// Events that were not asked for yet: a bounded number.
#[derive(Debug, Default)]
pub(super) struct Events {
    queue: VecDeque<SessionEvent>,
    /// Of the messages among them.
    message_bytes: usize,
    untold: u64,
}

impl Events {
    /// Keeps an event, or counts it if there are too many.
    pub fn push(&mut self, event: SessionEvent) {
        if self.queue.len() < MAX_EVENTS {
            self.queue.push_back(event);
        } else {
            self.untold += 1;
        }
    }

    /// Keeps a message that cannot wait elsewhere until it is asked for.
    pub fn push_message(&mut self, from: MemberId, message: Vec<u8>) {
        let bytes = self.message_bytes + message.len();
        if self.queue.len() < MAX_EVENTS && bytes <= MAX_MESSAGE_BYTES {
            self.message_bytes = bytes;
            self.queue.push_back(SessionEvent::Message(from, message));
        } else {
            self.untold += 1;
        }
    }

    /// The next one.
    pub fn pop(&mut self) -> Option<SessionEvent> {
        let untold = || (self.untold > 0).then(|| SessionEvent::Untold(std::mem::take(&mut self.untold)));
        let event = self.queue.pop_front().or_else(untold);
        if let Some(SessionEvent::Message(_, message)) = &event {
            self.message_bytes -= message.len();
        }
        event
    }

    /// Whether there is any.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.untold == 0
    }

    /// Whether so many wait that nothing should be begun that leads to more.
    pub fn are_many(&self) -> bool {
        self.queue.len() >= MAX_EVENTS / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_that_nobody_asks_for_are_counted() {
        let mut events = Events::default();
        for number in 0..MAX_EVENTS + 3 {
            assert_eq!(events.are_many(), number >= MAX_EVENTS / 2);
            events.push(SessionEvent::ServerLost);
        }
        let told = std::iter::from_fn(|| events.pop()).collect::<Vec<_>>();
        assert_eq!((told.len(), &told[MAX_EVENTS]), (MAX_EVENTS + 1, &SessionEvent::Untold(3)));
        assert!(events.is_empty());
    }
}

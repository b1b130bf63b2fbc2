//! What a room is told, and what it tells.

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

/// What a [`super::Session`] needs to know.
#[derive(Clone)]
pub struct SessionConfig {
    /// Whom to meet, and how.
    pub meeting: MeetingConfig,
    /// Our static private key (X25519): who we are, beyond this room.
    pub identity: [u8; 32],
    /// If not empty, the only keys that peers may hold.
    pub pinned: Vec<PublicKey>,
    /// What may wait for each peer, and from each.
    pub delivery: DeliveryConfig,
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
    /// The server does not take us.
    Refused(RefusedReason),
    /// Somebody is there, and is being reached.
    Joined(PeerId),
    /// Messages flow; the peer is who holds this key.
    Connected(PeerId, PeerPath, PublicKey),
    /// They do so over another path now.
    PathChanged(PeerId, PeerPath),
    /// A message from a peer.
    Message(PeerId, Vec<u8>),
    /// A peer has got the message of ours with this number.
    Delivered(PeerId, u64),
    /// So many events were not kept, because nobody asked for those before; messages are never among them.
    Untold(u64),
    /// A peer is gone, and has not got the messages of ours with these numbers, as far as is known.
    Left(PeerId, Departure, Vec<u64>),
}

/// Events that were not asked for yet: a bounded number.
#[derive(Debug, Default)]
pub(super) struct Events {
    queue: VecDeque<SessionEvent>,
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

    /// The next one.
    pub fn pop(&mut self) -> Option<SessionEvent> {
        let untold = || (self.untold > 0).then(|| SessionEvent::Untold(std::mem::take(&mut self.untold)));
        self.queue.pop_front().or_else(untold)
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

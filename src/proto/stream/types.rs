//! The words that a [`super::StreamPunch`] and its driver exchange.

use std::net::SocketAddr;
use std::time::Duration;

use super::handshake::Credentials;
use crate::proto::secure::Exporter;
use crate::proto::types::{CandidateKind, PeerId};
use crate::proto::wire::relay::Ticket;

/// What a [`super::StreamPunch`] needs to know.
#[derive(Clone, Debug)]
pub struct StreamConfig {
    /// What the peers prove to each other; `None`: nothing, whoever is there first is the peer, and nothing of ours is sent.
    pub credentials: Option<Credentials>,
    /// How long one attempt at one endpoint may take, and the handshake on a connection.
    pub attempt_timeout: Duration,
    /// How many such times a peer is looked for; `None`: as long as anybody likes.
    pub attempts: Option<u32>,
}

/// Names a connection, or an attempt to make one, to the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamCommand {
    /// Connect, and say what became of it with `handle_dialled`.
    Dial {
        /// How the connection is called from then on.
        id: StreamId,
        /// Where to.
        remote: SocketAddr,
        /// Whether from the port that peers know, rather than from any.
        from_port: bool,
    },
    /// Send these bytes, the first ones of the connection.
    Send(StreamId, Vec<u8>),
    /// Close it, without a word.
    Close(StreamId),
    /// Listen anew, and forget who has begun to connect: see [`DialFailure::Taken`].
    Relisten,
}

/// Why an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialFailure {
    /// Somebody said that nobody listens there: the peer's host, or a router on the way.
    Refused,
    /// The network says that there is no way.
    Unreachable,
    /// Nobody answered.
    TimedOut,
    /// There is such a connection already, from the other side; or one that never will be: our NAT has let an attempt of the peer's in after it
    /// ended ours, and the answer that our listener gives does not get out. As long as the listener waits for more, nothing else can be
    /// tried between the two endpoints.
    Taken,
    /// Our own system does not do it; its error number.
    Local(i32),
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamEvent {
    /// A peer has a connection, which is the driver's from now on: what comes is the application's.
    Established(Established),
    /// A peer was looked for in vain, for as long as was asked for.
    Failed(PeerId, StreamReport),
}

/// A peer's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Established {
    /// Who it is; all zeros where nobody proves anything.
    pub peer: PeerId,
    /// Which connection.
    pub id: StreamId,
    /// The other end.
    pub remote: SocketAddr,
    /// How that was learned.
    pub kind: CandidateKind,
    /// How long an answer took.
    pub rtt: Duration,
    /// What keys for other protocols are derived from.
    pub exporter: Option<Exporter>,
}

/// What was tried to reach a peer, and what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamReport {
    /// Attempts, at all endpoints.
    pub attempts: u32,
    /// Those that somebody refused.
    pub refused: u32,
    /// Those for which there was no way.
    pub unreachable: u32,
    /// Those that nobody answered.
    pub unanswered: u32,
    /// Those that our own system refused, and why it did lately.
    pub local: u32,
    /// The last such reason: the system's error number.
    pub os_error: i32,
    /// Connections, either way round, on which somebody else was.
    pub strangers: u32,
    /// Connections, either way round, on which nothing was said in time, or which were closed before it was.
    pub silent: u32,
}

/// What probably kept a peer from being reached over TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamCause {
    /// There was no endpoint to try, and nobody came.
    NothingToTry,
    /// Somebody else is there.
    Stranger,
    /// Our own system did not let us try; its error number.
    Local(i32),
    /// The network knows no way.
    Unreachable,
    /// Somebody answers that nobody listens.
    Refused,
    /// Connections came about, and nothing was said on them.
    Silent,
    /// Nobody answers.
    Unanswered,
}

impl StreamReport {
    /// What it comes to.
    pub fn cause(&self) -> StreamCause {
        match self {
            Self { strangers: 1.., .. } => StreamCause::Stranger,
            Self { silent: 1.., .. } => StreamCause::Silent,
            Self { attempts: 0, .. } => StreamCause::NothingToTry,
            Self { unanswered: 1.., .. } => StreamCause::Unanswered,
            Self { refused: 1.., .. } => StreamCause::Refused,
            Self { unreachable: 1.., .. } => StreamCause::Unreachable,
            Self { local: 1.., os_error, .. } => StreamCause::Local(*os_error),
            _ => StreamCause::Unanswered,
        }
    }
}

impl StreamCause {
    /// The cause and what helps.
    pub fn text(self) -> &'static str {
        match self {
            Self::NothingToTry => "no address of the peer's was given, and nobody came",
            Self::Stranger => {
                "somebody else answers there, who does not know the ID: the address is wrong, or the IDs differ"
            }
            Self::Local(_) => "the system did not allow the attempts",
            Self::Unreachable => "the network knows no way to the peer's addresses",
            Self::Refused => {
                "the attempts were refused: nobody listens there, or a router answers in the peer's name (its INPUT chain accepts), which only attempts \
                 that cross on the way get around; a forwarding server (hp-server --tcp --relay) helps"
            }
            Self::Silent => {
                "connections came about, but nothing was said on them: a service that waits, or a peer that is gone"
            }
            Self::Unanswered => {
                "nobody answers: the peer did not come, a firewall drops TCP, or a NAT gives each connection another port, through which TCP never gets; a \
                 forwarding server (hp-server --tcp --relay) helps"
            }
        }
    }
}

/// How to reach a peer by way of a server that forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// Where the server takes connections.
    pub server: SocketAddr,
    /// What it is shown.
    pub ticket: Ticket,
}

/// What has been dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamCounters {
    /// Connections of somebody else.
    pub strangers: u64,
    /// Connections on which nothing was said in time, or which were closed before it was.
    pub silent: u64,
    /// Connections that gave way to others, too many having come.
    pub over_limit: u64,
}

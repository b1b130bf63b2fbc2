//! What a call is told, and how it ends.

use std::time::Duration;

use crate::proto::meeting::{MeetingConfig, MeetingEvent};
use crate::proto::wire::RefusedReason;

/// What a [`super::Connect`] needs to know.
#[derive(Clone, Debug)]
pub struct ConnectConfig {
    /// Whom to reach, and how many of them.
    pub meeting: MeetingConfig,
    /// In total; `None` for ever.
    pub timeout: Option<Duration>,
}

/// How the network says that nobody is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// The host is there, but nothing listens on the port.
    PortClosed,
    /// The host or its network cannot be reached.
    NoRoute,
    /// The host answers over TCP, but not over UDP.
    NoUdp,
}

/// How the call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Enough holes are open.
    Complete,
    /// Time is up and the server never answered.
    ServerSilent,
    /// The network says that there is no such server.
    ServerUnreachable(Unreachable),
    /// The server does not take us.
    ServerRefused(RefusedReason),
    /// The server answers in a dialect that the policy rules out.
    DialectMismatch,
    /// Time is up and the server named too few peers.
    TimedOutWaiting,
    /// Time is up and too few of the peers were reached.
    TimedOutPunching,
}

/// What happened, for those who watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectEvent {
    /// Something about the peers or the ways to them.
    Meeting(MeetingEvent),
    /// The call is over.
    Finished(Outcome),
}

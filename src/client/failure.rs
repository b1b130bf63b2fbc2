//! Why a call failed, in words.

use super::{Client, Peer};
use crate::error::{Error, ErrorKind};
use crate::proto::connect::{Outcome, Unreachable};

impl Client {
    /// The error for a call that ended so.
    pub(super) fn describe(&self, outcome: Outcome, expected: usize, found: &[Peer]) -> Error {
        let server = &self.server;
        let connected = found.iter().filter(|peer| peer.connected).count();
        let (kind, message) = match outcome {
            Outcome::Complete => (ErrorKind::Socket, "complete is no error".to_owned()),
            Outcome::ServerSilent => {
                (ErrorKind::ServerSilent, format!("no answer from {server} in the given time"))
            }
            Outcome::ServerUnreachable(Unreachable::PortClosed) => (
                ErrorKind::ServerPortClosed,
                format!("nothing listens at {server}: the host says that the port is closed"),
            ),
            Outcome::ServerUnreachable(Unreachable::NoRoute) => {
                (ErrorKind::ServerUnreachable, format!("the network says that {server} cannot be reached"))
            }
            Outcome::ServerUnreachable(Unreachable::NoUdp) => (
                ErrorKind::UdpBlocked,
                format!(
                    "{server} does not answer over UDP, but its host does over TCP: UDP seems to be blocked"
                ),
            ),
            Outcome::ServerRefused(reason) => {
                (ErrorKind::ServerRefused, format!("{server} refused: {reason:?}"))
            }
            Outcome::DialectMismatch => (
                ErrorKind::DialectMismatch,
                format!("{server} does not speak a dialect that the policy ({:?}) allows", self.policy),
            ),
            Outcome::TimedOutWaiting => (
                ErrorKind::TimedOutWaiting,
                format!("timed out while waiting for peers: {} of {expected} found", found.len()),
            ),
            Outcome::TimedOutPunching => {
                let mut message = format!(
                    "timed out while punching: {connected} of {expected} peers connected, {} found",
                    found.len()
                );
                if let Some(missed) = found.iter().find(|peer| !peer.connected) {
                    log_attempts(missed);
                    message += &format!("; {}: {}", missed.endpoint, missed.report.cause.text());
                }
                (ErrorKind::TimedOutPunching, message)
            }
        };
        Error::new(kind, message)
    }
}

/// What was tried to reach a peer, for whoever looks into the log.
fn log_attempts(peer: &Peer) {
    let report = &peer.report;
    log::info!(target: "holepunch::client", "{} was not reached: {:?}", peer.endpoint, report.cause);
    for attempt in &report.attempts {
        log::info!(
            target: "holepunch::client",
            "  tried {} ({}): {} probes sent, {} received",
            attempt.endpoint,
            attempt.kind.name(),
            attempt.sent,
            attempt.received
        );
    }
    if report.guesses > 0 {
        log::info!(target: "holepunch::client", "  and {} guessed ports", report.guesses);
    }
    if let Some(reason) = report.relay_refused {
        log::info!(target: "holepunch::client", "  the server does not forward: {reason:?}");
    }
}

//! Peers as plain data.

use std::time::Duration;

use super::address::hp_addr;
use crate::proto::wire::RelayRefusal;
use crate::{CandidateKind, Peer, Transport};

/// hp_peer.path: an address of the peer's own interface; nothing stands between.
pub const HP_PATH_HOST: i32 = 1;
/// hp_peer.path: the peer's endpoint as the rendezvous server sees it.
pub const HP_PATH_REFLEXIVE: i32 = 2;
/// hp_peer.path: a port that the peer's router was asked to open.
pub const HP_PATH_MAPPED: i32 = 3;
/// hp_peer.path: learned from the peer's own authenticated probe.
pub const HP_PATH_PEER_REFLEXIVE: i32 = 4;
/// hp_peer.path: guessed from a symmetric NAT's pattern, or found among random ports.
pub const HP_PATH_PREDICTED: i32 = 5;
/// hp_peer.path: forwarded by the server.
pub const HP_PATH_RELAYED: i32 = 6;
/// hp_peer.relay_refused: the server was not asked to forward, or agreed.
pub const HP_REFUSAL_NONE: i32 = 0;
/// hp_peer.relay_refused: the server forwards nothing.
pub const HP_REFUSAL_NOT_OFFERED: i32 = 1;
/// hp_peer.relay_refused: the server knows no such native peer, or not any more.
pub const HP_REFUSAL_UNKNOWN_PEER: i32 = 2;
/// hp_peer.relay_refused: the server forwards as much as it allows, in all or for this client.
pub const HP_REFUSAL_FULL: i32 = 3;
/// Datagrams.
pub const HP_TRANSPORT_UDP: i32 = 1;
/// A byte stream.
pub const HP_TRANSPORT_TCP: i32 = 2;
/// hp_peer.rtt_us: not measured (the plain dialect has no means).
pub const HP_RTT_UNKNOWN: u32 = u32::MAX;

/// A peer that a call has found. The caller sets struct_size (HP_PEER_INIT does) before hp_peer_get fills the rest.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hp_peer {
    /// sizeof(hp_peer), set by the caller.
    pub struct_size: u32,
    /// How the endpoint was learned: HP_PATH_*.
    pub path: i32,
    /// Where the peer is reached: the other end of the hole.
    pub endpoint: hp_addr,
    /// Round-trip time over the hole in microseconds, or HP_RTT_UNKNOWN.
    pub rtt_us: u32,
    /// Which socket the hole belongs to, for hp_socket_fd and hp_socket_take.
    pub socket: u32,
    /// 1 if the hole is confirmed in both directions (always, after a call that succeeded), else 0.
    pub connected: i32,
    /// 1 if the peer proved that it knows the session ID, 0 if it merely spoke from a listed endpoint (plain dialect).
    pub authenticated: i32,
    /// How many probes were sent to ports that were only guessed; they are among no attempt's.
    pub guesses: u32,
    /// Why the server did not forward to the peer when it was asked to: HP_REFUSAL_*.
    pub relay_refused: i32,
    /// What carries the hole: HP_TRANSPORT_UDP or HP_TRANSPORT_TCP.
    pub transport: i32,
    /// 0.
    pub reserved: u32,
}

impl hp_peer {
    pub(super) fn new(peer: &Peer, struct_size: u32) -> Self {
        Self {
            struct_size,
            path: path_number(peer.path),
            endpoint: peer.endpoint.into(),
            rtt_us: peer.rtt.map_or(HP_RTT_UNKNOWN, rtt_micros),
            socket: peer.socket as u32,
            connected: peer.connected.into(),
            authenticated: peer.authenticated.into(),
            guesses: peer.report.guesses,
            relay_refused: peer.report.relay_refused.map_or(HP_REFUSAL_NONE, refusal_number),
            transport: transport_number(peer.transport),
            reserved: 0,
        }
    }
}

/// A transport as C has it.
pub(super) fn transport_number(transport: Transport) -> i32 {
    match transport {
        Transport::Udp => HP_TRANSPORT_UDP,
        Transport::Tcp => HP_TRANSPORT_TCP,
    }
}

/// A round-trip time as C has it.
pub(super) fn rtt_micros(rtt: Duration) -> u32 {
    u32::try_from(rtt.as_micros()).unwrap_or(HP_RTT_UNKNOWN - 1)
}

fn refusal_number(reason: RelayRefusal) -> i32 {
    match reason {
        RelayRefusal::NotOffered => HP_REFUSAL_NOT_OFFERED,
        RelayRefusal::UnknownPeer => HP_REFUSAL_UNKNOWN_PEER,
        RelayRefusal::Full => HP_REFUSAL_FULL,
    }
}

/// The name of a refusal; `None` for any other number.
pub(super) fn refusal_name(refusal: i32) -> Option<&'static std::ffi::CStr> {
    Some(match refusal {
        HP_REFUSAL_NONE => c"none",
        HP_REFUSAL_NOT_OFFERED => c"not-offered",
        HP_REFUSAL_UNKNOWN_PEER => c"unknown-peer",
        HP_REFUSAL_FULL => c"full",
        _ => return None,
    })
}

pub(super) fn path_number(kind: CandidateKind) -> i32 {
    match kind {
        CandidateKind::Host => HP_PATH_HOST,
        CandidateKind::Reflexive => HP_PATH_REFLEXIVE,
        CandidateKind::Mapped => HP_PATH_MAPPED,
        CandidateKind::PeerReflexive => HP_PATH_PEER_REFLEXIVE,
        CandidateKind::Predicted => HP_PATH_PREDICTED,
        CandidateKind::Relayed => HP_PATH_RELAYED,
    }
}

/// The name of a path kind; `None` for any other number.
pub(super) fn path_name(path: i32) -> Option<&'static std::ffi::CStr> {
    Some(match path {
        HP_PATH_HOST => c"host",
        HP_PATH_REFLEXIVE => c"reflexive",
        HP_PATH_MAPPED => c"mapped",
        HP_PATH_PEER_REFLEXIVE => c"peer-reflexive",
        HP_PATH_PREDICTED => c"predicted",
        HP_PATH_RELAYED => c"relayed",
        _ => return None,
    })
}

/// What the last call has counted. The caller sets struct_size (HP_COUNTERS_INIT does).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hp_counters {
    /// sizeof(hp_counters), set by the caller.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// Datagrams sent to peers.
    pub probes_sent: u64,
    /// Probes whose authentication tag is wrong: made by someone who does not know the session ID.
    pub forged: u64,
    /// Authentic probes that were seen before or are too old.
    pub replayed: u64,
    /// Authentic probes of our own, or for someone else.
    pub misdirected: u64,
    /// Malformed datagrams in the native dialect.
    pub malformed: u64,
    /// Datagrams from sources that are neither the server nor a peer.
    pub strangers: u64,
    /// Datagrams from the server's address that made no sense.
    pub server_dropped: u64,
    /// Peers and endpoints beyond the limits.
    pub over_limit: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cause, PunchReport};

    #[test]
    fn report_of_a_peer_is_told() {
        let known = [
            (None, HP_REFUSAL_NONE),
            (Some(RelayRefusal::NotOffered), HP_REFUSAL_NOT_OFFERED),
            (Some(RelayRefusal::UnknownPeer), HP_REFUSAL_UNKNOWN_PEER),
            (Some(RelayRefusal::Full), HP_REFUSAL_FULL),
        ];
        for (relay_refused, number) in known {
            let peer = Peer {
                endpoint: ([198, 51, 100, 1], 4000).into(),
                path: CandidateKind::Reflexive,
                rtt: None,
                connected: false,
                authenticated: true,
                transport: Transport::Udp,
                socket: 0,
                report: PunchReport {
                    cause: Cause::NotFound,
                    attempts: Vec::new(),
                    guesses: 1024,
                    relay_refused,
                },
                exporter: None,
            };
            let native = hp_peer::new(&peer, 0);
            assert_eq!((native.guesses, native.relay_refused), (1024, number));
        }
    }
}

//! What was tried to reach a peer, and what probably kept it from working.

use std::ffi::CStr;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Puncher;
use super::known::Peer;
use crate::proto::nat::{Technique, technique};
use crate::proto::types::{CandidateKind, PathPolicy, PeerId, Transport};
use crate::proto::wire::RelayRefusal;

/// A call that ended earlier says nothing about the way.
const TOO_SHORT: Duration = Duration::from_millis(500);

/// One endpoint at which a peer was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Where.
    pub endpoint: SocketAddr,
    /// How the endpoint was learned.
    pub kind: CandidateKind,
    /// Probes sent there.
    pub sent: u32,
    /// Authentic probes that came from there.
    pub received: u32,
}

/// What probably keeps two sides from reaching each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    /// Nothing does, or too little is known to say.
    Unknown = 0,
    /// The peer said goodbye, or fell silent, before a hole was open.
    PeerLeft = 1,
    /// Both NATs give each peer another port, so that neither side can tell where to send.
    BothSymmetric = 2,
    /// Nothing of the peer's came through, although both NATs would let it: a firewall on one of the ways.
    NothingHeard = 3,
    /// The peer's probes come, its answers to ours do not: ours are lost on the way.
    OneWay = 4,
    /// The two sides insist on different kinds of paths or dialects.
    Policy = 5,
    /// The call ended before enough could be tried.
    TooShort = 6,
    /// One NAT gives each peer another port, and what helps there is switched off or has found nothing.
    NotFound = 7,
    /// The peer is to be reached over TCP, or we are, and one of the two sides does not use it.
    NoTcp = 8,
    /// Nobody answered over TCP: the peer's NAT gives each connection another port, or a firewall drops them.
    TcpUnanswered = 9,
    /// Attempts over TCP were refused: a router answers in the peer's name.
    TcpRefused = 10,
    /// Somebody else was there, or nothing was said on the connections.
    TcpStranger = 11,
}

impl Cause {
    /// The cause and what helps, in a sentence or two.
    pub fn text(self) -> &'static str {
        self.c_text().to_str().unwrap_or_default()
    }

    /// The same for C.
    pub(crate) fn c_text(self) -> &'static CStr {
        match self {
            Self::Unknown => c"no cause is known",
            Self::PeerLeft => c"the peer left before a hole was open: it may have run out of time, or ended",
            Self::BothSymmetric => {
                c"both NATs give each peer another port, so neither side knows where to send: IPv6, a port mapping or a forwarding server (hp-server --relay) helps"
            }
            Self::NothingHeard => {
                c"nothing of the peer's came through: a firewall may drop UDP; a forwarding server (hp-server --relay) may help"
            }
            Self::OneWay => {
                c"the peer's probes come through, ours or its answers do not: a firewall may drop our UDP; a forwarding server (hp-server --relay) may help"
            }
            Self::Policy => {
                c"the two sides insist on different kinds of paths or dialects, or no server forwards: their settings must fit each other"
            }
            Self::TooShort => c"the call ended before enough could be tried: a longer timeout helps",
            Self::NotFound => {
                c"a NAT gives each peer another port, and the right one was not found: trying again may help, a forwarding server (hp-server --relay) does"
            }
            Self::NoTcp => {
                c"the server hears one of the two sides over TCP only, and the other one does not use TCP: its transport must be TCP or either"
            }
            Self::TcpUnanswered => {
                c"nobody answered over TCP: a NAT gives each connection another port, through which TCP never gets, or a firewall drops it; a forwarding server (hp-server --tcp --relay) helps"
            }
            Self::TcpRefused => {
                c"attempts over TCP were refused: a router answers in the peer's name (its INPUT chain accepts), which only attempts that cross on the way get around; a forwarding server (hp-server --tcp --relay) helps"
            }
            Self::TcpStranger => c"somebody else is at the peer's addresses, or connections came about on which nothing was said",
        }
    }
}

/// What was tried to reach a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PunchReport {
    /// What probably kept it from working; [`Cause::Unknown`] where it did work.
    pub cause: Cause,
    /// Where it was looked for.
    pub attempts: Vec<Attempt>,
    /// Probes to ports that were only guessed.
    pub guesses: u32,
    /// What the server said when it was asked to forward, if it refused.
    pub relay_refused: Option<RelayRefusal>,
}

impl Puncher {
    /// What was tried to reach the peer.
    pub(super) fn report(&self, peer: &Peer, now: Instant) -> PunchReport {
        let paths = peer.native.iter().flat_map(|native| &native.paths);
        let attempts = paths.map(|path| Attempt {
            endpoint: path.remote,
            kind: path.kind,
            sent: path.traffic.sent,
            received: path.traffic.received,
        });
        PunchReport {
            cause: self.cause(peer, now),
            attempts: attempts.collect(),
            guesses: peer.native.as_ref().map_or(0, |native| native.blind),
            relay_refused: peer.relay_refused,
        }
    }

    fn cause(&self, peer: &Peer, now: Instant) -> Cause {
        if peer.progress(now) >= super::Progress::Confirmed {
            return Cause::Unknown;
        }
        let tried = now.saturating_duration_since(peer.known_since);
        if peer.transport == Transport::Tcp && !peer.is_gone() {
            return peer.stream_cause.unwrap_or(Cause::TooShort);
        }
        // Who leaves after a while has run out of time for the same reason as we have.
        if peer.is_gone() && tried < super::gone::REPORTED_AFTER {
            return Cause::PeerLeft;
        }
        if tried < TOO_SHORT {
            return Cause::TooShort;
        }
        let relay_only = self.config.paths == PathPolicy::RelayOnly || peer.relay_only;
        if relay_only || (peer.native.is_none() && peer.plain.is_none()) {
            return Cause::Policy;
        }
        if peer.is_heard_natively() {
            return Cause::OneWay;
        }
        match technique(&self.nat, &peer.nat) {
            Technique::Hopeless => Cause::BothSymmetric,
            Technique::Plain => Cause::NothingHeard,
            _ => Cause::NotFound,
        }
    }

    /// The server does not forward between us and a peer.
    pub fn note_relay_refused(&mut self, id: PeerId, reason: Option<RelayRefusal>) {
        if let Some(position) = self.position_by_id(id) {
            self.peers[position].relay_refused = reason;
        }
    }
}

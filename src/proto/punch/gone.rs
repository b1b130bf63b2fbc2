//! Peers that go, and holes that are opened anew.

use std::time::{Duration, Instant};

use super::known::{Peer, Progress};
use super::{CandidateKind, MAX_PEERS, PeerId, Puncher, RUMOUR_LIFE};

/// How many peers that were removed are remembered.
const MAX_REMOVED: usize = 64;
/// A peer that left is reported as one that could not be reached if it was punched in vain for so long.
pub(super) const REPORTED_AFTER: Duration = Duration::from_secs(1);

impl Puncher {
    /// The server says that a peer is gone.
    pub fn note_gone(&mut self, now: Instant, id: PeerId) {
        if let Some(position) = self.position_by_id(id) {
            let peer = &mut self.peers[position];
            if let Some(native) = &mut peer.native {
                native.note_gone(now);
            } else if peer.progress(now) == Progress::Known {
                self.forget(now, position);
            }
        }
        self.forget_hopeless(now);
    }

    pub(super) fn forget_hopeless(&mut self, now: Instant) {
        self.peers.retain(|peer| !peer.is_rumour() || now < peer.known_since + RUMOUR_LIFE);
        let is_hopeless = |peer: &Peer| {
            peer.plain.is_none() && peer.native.as_ref().is_some_and(|native| native.is_hopeless(now))
        };
        while let Some(position) = self.peers.iter().position(is_hopeless) {
            self.forget(now, position);
        }
    }

    fn forget(&mut self, now: Instant, position: usize) {
        let report = self.report(&self.peers[position], now);
        let peer = self.peers.remove(position);
        let tried = now.saturating_duration_since(peer.known_since);
        if tried >= REPORTED_AFTER && self.unreached.len() < MAX_PEERS {
            self.unreached.push(peer.status(now, report));
        }
    }

    /// Opens a peer's hole anew: the agreed one does not work any more, or another may. Returns of what kind it was.
    pub fn reopen(&mut self, now: Instant, id: PeerId) -> Option<CandidateKind> {
        let position = self.position_by_id(id)?;
        let peer = &mut self.peers[position];
        peer.known_since = now;
        peer.reopened = true;
        (peer.rest_until, peer.relay_asked, peer.relay_refused) = (None, false, None);
        let native = peer.native.as_mut()?;
        let kind = native.agreed().map(|path| path.kind);
        let candidates = &peer.candidates;
        native.reopen(now, |path| candidates.iter().any(|candidate| candidate.endpoint == path.remote));
        self.handle_timeout(now);
        kind
    }

    /// Knows nothing more of a peer, whose last probes may still be on their way, unless it is added again.
    pub fn remove(&mut self, id: PeerId) {
        self.removed.truncate(MAX_REMOVED - 1);
        self.removed.push_front(id);
        if let Some(position) = self.position_by_id(id) {
            self.peers.remove(position);
        }
    }
}

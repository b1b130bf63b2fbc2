//! Peers that are reached over TCP, which is somebody else's work.

use std::time::Instant;

use super::known::{Peer, StreamHole};
use super::{Cause, Puncher};
use crate::proto::types::{PeerId, Transport};

impl Puncher {
    /// This peer is reached over TCP, and by somebody else: nothing more is sent to it from here.
    pub fn leave_to_tcp(&mut self, now: Instant, id: PeerId) {
        let position = self.position_by_id(id).unwrap_or_else(|| {
            self.peers.push(Peer::new(now, id, None));
            self.peers.len() - 1
        });
        let peer = &mut self.peers[position];
        (peer.transport, peer.native, peer.hinted) = (Transport::Tcp, None, None);
        peer.candidates.clear();
    }

    /// What came of that: a connection, or what keeps it from coming about.
    pub fn note_stream(&mut self, id: PeerId, result: Result<StreamHole, Cause>) {
        let Some(position) = self.position_by_id(id) else { return };
        let peer = &mut self.peers[position];
        match result {
            Ok(hole) => {
                peer.stream = Some(hole);
                self.reached.push_back(id);
            }
            Err(cause) => peer.stream_cause = Some(cause),
        }
    }
}

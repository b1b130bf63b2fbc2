//! Who is in the session, as the server's update blocks tell.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::events::RendezvousEvent;
use crate::proto::types::{Candidate, CandidateKind, PeerId, Transport};
use crate::proto::wire::attributes::RELAY_ONLY;
use crate::proto::wire::{Entry, UpdateBlock};

/// Most members that are kept track of; the server's limit is lower.
const MAX_KNOWN: usize = 1024;

/// The members that the server has named.
#[derive(Debug)]
pub(super) struct Roster {
    local: PeerId,
    instance: u32,
    revision: u32,
    /// The server has told everything at least once.
    named_all: bool,
    /// `true` while a fresh snapshot has not mentioned them again.
    known: BTreeMap<PeerId, bool>,
    dropped: u64,
}

impl Roster {
    /// Knows nobody; `local` is ourselves.
    pub fn new(local: PeerId) -> Self {
        Self { local, instance: 0, revision: 0, named_all: false, known: BTreeMap::new(), dropped: 0 }
    }

    /// Which instance of the session it is; 0 for none.
    pub fn instance(&self) -> u32 {
        self.instance
    }

    /// Up to which revision all changes are known.
    pub fn revision(&self) -> u32 {
        self.revision
    }

    /// Whether the server has told everything at least once.
    pub fn named_all(&self) -> bool {
        self.named_all
    }

    /// Members beyond the limit.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether the server has named this member.
    pub fn contains(&self, peer: PeerId) -> bool {
        self.known.contains_key(&peer)
    }

    /// Has the server tell everything from the start.
    pub fn forget_instance(&mut self) {
        self.instance = 0;
    }

    /// Applies what is new in a block; `false` if it is of a session of which the beginning is not known.
    pub fn apply(&mut self, block: &UpdateBlock<'_>, events: &mut VecDeque<RendezvousEvent>) -> bool {
        if block.instance != self.instance {
            if block.from != 0 {
                return false;
            }
            self.instance = block.instance;
            self.revision = 0;
        }
        if block.from <= self.revision && block.to > self.revision || block.to == 0 {
            if block.from == 0 {
                self.known.values_mut().for_each(|stale| *stale = true);
            }
            for entry in block.entries() {
                self.apply_entry(&entry, events);
            }
            self.revision = block.to;
            if self.revision == block.latest {
                self.named_all = true;
                self.drop_stale(events);
            }
        }
        true
    }

    fn apply_entry(&mut self, entry: &Entry<'_>, events: &mut VecDeque<RendezvousEvent>) {
        match *entry {
            Entry::Joined { peer, .. } if peer == self.local => {}
            Entry::Joined { peer, dialect, reflexive, transport, attributes } => {
                if self.known.len() >= MAX_KNOWN && !self.known.contains_key(&peer) {
                    self.dropped += 1;
                    return;
                }
                self.known.insert(peer, false);
                let seen = Candidate { kind: CandidateKind::Reflexive, endpoint: reflexive };
                let (mut candidates, mut streams) = match transport {
                    Transport::Udp => (vec![seen], Vec::new()),
                    Transport::Tcp => (Vec::new(), vec![seen]),
                };
                let profile = attributes.profile();
                candidates.extend(profile.candidates);
                streams.extend(profile.streams);
                let nat = profile.nat.unwrap_or_default();
                let relay_only = profile.capabilities & RELAY_ONLY != 0;
                let server_rtt = Duration::from_millis(profile.server_rtt_ms.into());
                events.push_back(RendezvousEvent::Joined {
                    peer,
                    dialect,
                    candidates,
                    streams,
                    nat,
                    relay_only,
                    server_rtt,
                });
            }
            Entry::Left { peer, reason } => {
                if self.known.remove(&peer).is_some() {
                    events.push_back(RendezvousEvent::Left { peer, reason });
                }
            }
        }
    }

    fn drop_stale(&mut self, events: &mut VecDeque<RendezvousEvent>) {
        self.known.retain(|peer, stale| {
            if *stale {
                events.push_back(RendezvousEvent::Left { peer: *peer, reason: None });
            }
            !*stale
        });
    }
}

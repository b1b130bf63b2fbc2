//! When more than probing known endpoints is tried, and what becomes of the sockets that this takes.

use std::time::{Duration, Instant};

use super::Puncher;
use super::hard::HardPunch;
use super::known::Peer;
use super::path::Path;
use super::schedule::Tempo;
use crate::proto::NatBehaviour;
use crate::proto::nat::{Filtering, Mapping, Technique, technique};
use crate::proto::types::{CandidateKind, PathPolicy, PeerId, SocketIndex};

/// How long the peer's word about its NAT is waited for by one who would spoil that NAT's mapping by speaking first.
const UNKNOWN_PATIENCE: Duration = Duration::from_millis(400);
/// From one attempt with many packets to the next at the same peer; both sides start them together.
const REST: Duration = Duration::from_secs(5);
/// How long a peer is missed before our router is asked to open a port.
const MAPPING_PATIENCE: Duration = Duration::from_millis(400);
/// How long a peer is missed before a fresh socket is tried, and how long from there only such probes are sent as open our NATs.
const SPOILED_PATIENCE: Duration = Duration::from_millis(700);
const FRESH_PATIENCE: Duration = Duration::from_millis(400);
/// How long a direct way is looked for before the server is asked to forward.
const DIRECT_PATIENCE: Duration = Duration::from_secs(2);
/// How long such a peer is left to find our port before it is sent to all the same.
const SPOILING_PATIENCE: Duration = Duration::from_millis(1500);

impl Puncher {
    /// What our own NAT does is known, or known better; `is_final`: as well as it will be.
    pub fn set_nat(&mut self, now: Instant, nat: NatBehaviour, is_final: bool) {
        (self.nat, self.nat_is_final) = (nat, is_final);
        self.handle_timeout(now);
    }

    /// Which TTL passes our own NATs and no more is known.
    pub fn set_safe_ttl(&mut self, ttl: Option<u8>) {
        self.config.safe_ttl = ttl;
    }

    /// What a peer says that its NAT does, and whether it wants nothing but what the server forwards.
    pub fn set_peer_says(&mut self, id: PeerId, nat: NatBehaviour, relay_only: bool) {
        if let Some(position) = self.position_by_id(id) {
            self.peers[position].nat = nat;
            self.peers[position].relay_only = relay_only;
        }
    }

    /// How many further sockets are wanted, IPv4 ones on ports of the system's choice; to be asked for after every call
    /// that takes `&mut self`, and to be answered by [`Self::give_sockets`].
    #[must_use]
    pub fn wants_sockets(&self) -> Option<usize> {
        self.hard.as_ref().and_then(HardPunch::wants_sockets)
    }

    /// As many of the sockets as could be opened.
    pub fn give_sockets(&mut self, now: Instant, sockets: &[SocketIndex]) {
        let wanted = self.hard.as_mut().is_some_and(|hard| hard.give_sockets(now, sockets));
        let place = if wanted { &mut self.spares } else { &mut self.released };
        place.extend_from_slice(sockets);
        self.handle_timeout(now);
    }

    /// The next socket that is of no more use and is to be closed.
    #[must_use]
    pub fn poll_released(&mut self) -> Option<SocketIndex> {
        self.released.pop()
    }

    /// Whether a port that our router opens for us could help: our NAT gives each peer another one, or somebody has not been
    /// heard for a while.
    pub fn could_use_mapping(&self, now: Instant) -> bool {
        let mut missed = self
            .peers
            .iter()
            .filter(|peer| peer.native.is_some() && !peer.plain_listed && !peer.is_rumour())
            .filter(|peer| !peer.is_confirmed_natively());
        missed.any(|peer| self.nat.is_symmetric() || now >= peer.known_since + MAPPING_PATIENCE)
    }

    /// When a peer that should be reached will have been silent for so long that our socket's mapping, or the peer's, seems to
    /// be spoiled (which may also make a NAT look like one that gives each peer another port); `None` as long as there is no such peer.
    pub fn spoiled_at(&self) -> Option<Instant> {
        let missed = self.peers.iter().filter(|peer| {
            let unheard = peer.native.is_some() && !peer.is_heard_natively() && !peer.is_rumour();
            let hopeless = technique(&self.nat, &peer.nat) == Technique::Hopeless;
            let known = peer.nat.mapping != Mapping::Unknown && self.nat.mapping != Mapping::Unknown;
            unheard && !hopeless && known && peer.reflexive().is_some_and(|remote| remote.is_ipv4())
        });
        let direct = self.config.paths != PathPolicy::RelayOnly;
        missed.map(|peer| peer.known_since + SPOILED_PATIENCE).min().filter(|_| self.nat_is_final && direct)
    }

    /// Probes the peers that are missed from a further socket, too. They hear of it soon, and must speak first.
    pub fn use_fresh_socket(&mut self, now: Instant, socket: SocketIndex) {
        for peer in self.peers.iter_mut().filter(|peer| !peer.is_heard_natively()) {
            let Some(remote) = peer.reflexive().filter(|remote| remote.is_ipv4()) else { continue };
            let Some(native) = &mut peer.native else { continue };
            let mut path = Path::new(socket, remote, CandidateKind::Reflexive, self.rng.u64(), now);
            path.quiet_until = Some(now + FRESH_PATIENCE);
            native.add_path(path);
        }
        self.handle_timeout(now);
    }

    /// The next peer to which the server is to forward: no direct way was found, or none is to be expected.
    pub fn poll_relay(&mut self, now: Instant) -> Option<PeerId> {
        let due = |peer: &Peer| self.relay_due(peer).is_some_and(|due| now >= due);
        let position = self.peers.iter().position(due)?;
        self.peers[position].relay_asked = true;
        Some(self.peers[position].listed_id)
    }

    /// When the server is to be asked to forward to a peer.
    pub(super) fn relay_due(&self, peer: &Peer) -> Option<Instant> {
        let nameless = peer.listed_id == PeerId::UNKNOWN || peer.native.is_none();
        let rumour = peer.is_rumour();
        if nameless || rumour || peer.relay_asked || peer.plain_listed || peer.is_confirmed_natively() {
            return None;
        }
        let hopeless = || self.nat_is_final && technique(&self.nat, &peer.nat) == Technique::Hopeless;
        match self.config.paths {
            PathPolicy::DirectOnly => None,
            PathPolicy::RelayOnly => Some(peer.known_since),
            PathPolicy::DirectPreferred if peer.relay_only || hopeless() => Some(peer.known_since),
            // What flowed before shall not wait for long.
            PathPolicy::DirectPreferred if peer.reopened => Some(peer.known_since + DIRECT_PATIENCE / 2),
            PathPolicy::DirectPreferred => Some(peer.known_since + DIRECT_PATIENCE),
        }
    }

    /// When the next attempt with many packets may begin.
    pub(super) fn hard_due(&self) -> Option<Instant> {
        let missed = self.peers.iter().filter(|peer| !peer.is_confirmed_natively());
        missed.filter_map(|peer| peer.rest_until).min().filter(|_| self.hard.is_none())
    }

    /// Goes on with the attempt that is under way, or begins the next.
    pub(super) fn punch_hard(&mut self, now: Instant) {
        let ended = self.hard.as_ref().is_some_and(|hard| {
            let peer = self.position_by_id(hard.peer).map(|position| &self.peers[position]);
            peer.is_none_or(Peer::is_confirmed_natively) || hard.is_over(now)
        });
        if ended {
            self.hard = None;
            self.release_spares();
        }
        if self.hard.is_none() && self.nat_is_final && self.config.paths != PathPolicy::RelayOnly {
            self.begin_hard(now);
        }
        let mut shots = Vec::new();
        let Some(hard) = &mut self.hard else { return };
        hard.handle_timeout(now, &mut shots);
        let peer = hard.peer;
        let Some(position) = self.position_by_id(peer) else { return };
        let Some(native) = &mut self.peers[position].native else { return };
        for shot in shots {
            let Some(socket) = shot.socket.or(self.config.sockets.towards(shot.destination)) else {
                continue;
            };
            let local = self.config.side(Tempo::Native);
            let transaction = self.rng.u64();
            let ttl = shot.ttl.filter(|_| local.low_ttl).map(|guess| local.safe_ttl.unwrap_or(guess));
            native.request_blindly(&local, (socket, shot.destination), transaction, ttl, &mut self.transmits);
        }
    }

    fn begin_hard(&mut self, now: Instant) {
        for peer in &mut self.peers {
            peer.rest_until = peer.rest_until.filter(|until| now < *until);
        }
        let (nat, techniques, rng) = (self.nat, self.config.techniques, &mut self.rng);
        let candidates = self.peers.iter_mut().filter(|peer| {
            peer.plain.is_none()
                && peer.rest_until.is_none()
                && !peer.is_rumour()
                && !peer.is_confirmed_natively()
                && peer.native.is_some()
        });
        self.hard = candidates.into_iter().find_map(|peer| {
            let remote = peer.reflexive().filter(|remote| remote.is_ipv4())?;
            let technique = technique(&nat, &peer.nat);
            let allowed = match technique {
                Technique::SprayPredicted { .. } | Technique::MeetAhead { .. } => techniques.prediction,
                Technique::SprayRandom { .. } | Technique::ManySockets => techniques.many_sockets,
                Technique::Plain | Technique::Hopeless => false,
            };
            let hard = HardPunch::start(technique, peer.listed_id, remote, rng, now).filter(|_| allowed)?;
            peer.rest_until = Some(now + REST);
            log::debug!(target: "holepunch::punch", "peer {:?}: {technique:?}", peer.listed_id);
            Some(hard)
        });
    }

    /// Sockets over which nobody was heard are of no more use.
    fn release_spares(&mut self) {
        let heard = |socket: &SocketIndex| {
            self.peers
                .iter()
                .filter_map(|peer| peer.native.as_ref())
                .any(|native| native.paths.iter().any(|path| path.socket == *socket && path.heard))
        };
        let (used, unused): (Vec<_>, Vec<_>) = self.spares.drain(..).partition(|socket| heard(socket));
        self.spares = used;
        self.released.extend(unused);
    }
}

/// Until when our first packets must not reach the peer. Our port towards it is one that it must find: should ours come
/// first, its router might take it for a flow of its own, and send what the peer sends there from another port.
pub(super) fn soft_until(ours: &NatBehaviour, theirs: NatBehaviour, known_since: Instant) -> Option<Instant> {
    if !ours.is_symmetric() {
        return None;
    }
    let lets_us_in = matches!(
        theirs.filtering,
        Filtering::EndpointIndependent | Filtering::AddressDependent | Filtering::NotPortDependent
    );
    match theirs.mapping {
        Mapping::Unknown => Some(known_since + UNKNOWN_PATIENCE),
        _ if lets_us_in => None,
        _ => Some(known_since + SPOILING_PATIENCE),
    }
}

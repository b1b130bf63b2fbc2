//! Ways to the peers beside the endpoints that the server names: what our NAT does, further sockets, forwarding.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::fresh::FreshSocket;
use super::{Meeting, MeetingEvent};
use crate::proto::discovery::{Discovery, DiscoveryConfig};
use crate::proto::relayed::RelayedEvent;
use crate::proto::rendezvous::RendezvousClient;
use crate::proto::types::{Candidate, CandidateKind, PeerDialect, SocketIndex, Transport};
use crate::proto::wire::{MappingReply, Message};

impl Meeting {
    /// The server tells where else it can be asked about our NAT.
    pub(super) fn begin_discovery(&mut self, now: Instant, mut config: DiscoveryConfig) {
        let useful = config.server.is_ipv4() && config.alternates.ports().next().is_some();
        if useful && self.diagnosis && self.discovery.is_none() {
            let hosts = self.profile.candidates.iter().map(|candidate| candidate.endpoint);
            config.local = hosts.into_iter().find(SocketAddr::is_ipv4);
            self.discovery = Some(Discovery::new(config, now));
        }
    }

    /// Takes what the server's further ports say of our NAT.
    pub(super) fn discover(&mut self, now: Instant, source: SocketAddr, message: &Message<'_>) -> bool {
        let Some(discovery) = self.discovery.as_mut().filter(|discovery| !discovery.is_done()) else {
            // Late repetitions of answers that have been counted.
            return matches!(message, Message::MappingReply(_) | Message::FilterReply(_))
                && self.discovery.is_some();
        };
        let understood = match message {
            Message::MappingReply(reply) => discovery.handle_mapping(now, source, reply),
            Message::FilterReply(reply) => discovery.handle_filter(now, source, reply),
            _ => false,
        };
        if understood {
            self.note_nat(now);
        }
        understood
    }

    /// Uses what is known of our NAT by now, and tells the others once that is all.
    pub(super) fn note_nat(&mut self, now: Instant) {
        let Some(discovery) = &self.discovery else { return };
        let nat = discovery.behaviour();
        let is_final = discovery.is_done();
        self.puncher.set_nat(now, nat, is_final);
        if is_final {
            self.events.push_back(MeetingEvent::NatKnown(nat));
            self.profile.nat = Some(nat);
            self.publish(now);
        }
    }

    /// Has the server tell the peers what is new about us.
    pub(super) fn publish(&mut self, now: Instant) {
        if let Some(rendezvous) = &mut self.rendezvous {
            rendezvous.set_profile(now, self.profile.clone());
            rendezvous.handle_timeout(now);
        }
    }

    /// A router says that a datagram of ours had passed as many others as it was allowed to.
    pub fn handle_time_exceeded(&mut self, router: IpAddr, payload: &[u8]) {
        let Some(discovery) = &mut self.discovery else { return };
        if discovery.handle_time_exceeded(router, payload) {
            self.puncher.set_safe_ttl(discovery.safe_ttl());
        }
    }

    /// Whether our router should open a port for us now; asked for once. Where probing works without, no router is bothered.
    #[must_use]
    pub fn wants_port_mapping(&mut self, now: Instant) -> bool {
        let wanted = self.port_mapping == Some(false) && self.puncher.could_use_mapping(now);
        if wanted {
            self.port_mapping = Some(true);
        }
        wanted
    }

    /// Our router has opened this endpoint for us: the peers are told.
    pub fn add_mapped(&mut self, now: Instant, endpoint: SocketAddr) {
        let candidate = Candidate { kind: CandidateKind::Mapped, endpoint };
        if self.profile.candidates.contains(&candidate) {
            return;
        }
        self.profile.candidates.push(candidate);
        self.publish(now);
    }

    /// Asks for forwarding where no direct way is to be expected any more, and uses what is granted.
    pub(super) fn relay(&mut self, now: Instant) {
        while let Some(peer) = self.puncher.poll_relay(now) {
            self.relayed.add(now, peer, Transport::Udp);
        }
        self.advance_streams(now);
        let rendezvous = &mut self.rendezvous;
        self.relayed.handle_timeout(now, |peer, transport| {
            if let Some(rendezvous) = rendezvous {
                rendezvous.request_relay(peer, transport);
            }
        });
        while let Some(event) = self.relayed.poll_event() {
            match event {
                RelayedEvent::Bound(peer, endpoint) => {
                    self.events.push_back(MeetingEvent::Relayed(peer, endpoint));
                    let candidate = Candidate { kind: CandidateKind::Relayed, endpoint };
                    self.puncher.add_peer(now, peer, PeerDialect::Native, &[candidate]);
                    self.puncher.handle_timeout(now);
                }
                RelayedEvent::Granted(peer, forwarding) => {
                    self.events.push_back(MeetingEvent::Relayed(peer, forwarding.server));
                    self.forward_stream(now, peer, forwarding);
                }
                RelayedEvent::Refused(peer, reason) => {
                    self.puncher.note_relay_refused(peer, reason);
                    self.events.push_back(MeetingEvent::NotRelayed(peer, reason));
                }
            }
        }
    }

    /// Takes a relay port's word; `false` if it is none of ours.
    pub(super) fn handle_relay_port(
        &mut self,
        now: Instant,
        source: SocketAddr,
        message: &Message<'_>,
    ) -> bool {
        let Message::RelayBound(ticket) = message else { return false };
        let ours = self.relayed.handle_bound(now, source, ticket);
        self.relay(now);
        ours
    }

    /// How many further IPv4 sockets are wanted, on ports of the system's choice; to be asked for after every call that
    /// takes `&mut self`, and to be answered by [`Self::give_sockets`].
    #[must_use]
    pub fn wants_sockets(&self) -> Option<usize> {
        let fresh = self.fresh.as_ref().is_some_and(FreshSocket::is_wanted).then_some(1);
        self.puncher.wants_sockets().or(fresh)
    }

    /// As many of the sockets that were wanted as could be opened.
    pub fn give_sockets(&mut self, now: Instant, sockets: &[SocketIndex]) {
        let fresh = self.fresh.as_mut().filter(|_| self.puncher.wants_sockets().is_none());
        if fresh.is_some_and(|fresh| fresh.give(now, sockets.first().copied())) {
            return self.look_for_spoiled(now);
        }
        self.puncher.give_sockets(now, sockets);
    }

    /// Has a fresh socket opened where an old one seems to be spoiled, and the server asked about it.
    pub(super) fn look_for_spoiled(&mut self, now: Instant) {
        let (Some(fresh), Some(rendezvous)) = (&mut self.fresh, &self.rendezvous) else { return };
        if fresh.is_unneeded() && self.puncher.spoiled_at().is_some_and(|at| now >= at) {
            fresh.want();
        }
        self.questions.extend(fresh.question(now, rendezvous.native_server()));
    }

    /// The server has shown us the outside of the fresh socket: the peers are told, and it is probed from.
    pub(super) fn use_fresh_socket(
        &mut self,
        now: Instant,
        source: SocketAddr,
        reply: &MappingReply,
    ) -> bool {
        let server = self.rendezvous.as_ref().and_then(RendezvousClient::native_server);
        let fresh = self.fresh.as_mut().filter(|_| server == Some(source));
        let Some((socket, endpoint)) = fresh.and_then(|fresh| fresh.handle_reply(reply)) else {
            return false;
        };
        self.puncher.use_fresh_socket(now, socket);
        self.profile.candidates.push(Candidate { kind: CandidateKind::Reflexive, endpoint });
        self.publish(now);
        true
    }

    /// The next of those sockets that is to be closed.
    #[must_use]
    pub fn poll_released(&mut self) -> Option<SocketIndex> {
        self.puncher.poll_released()
    }
}

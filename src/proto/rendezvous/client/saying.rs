//! What a client says to its server.

use super::{RendezvousClient, State};
use crate::proto::cookie::Cookie;
use crate::proto::types::{Candidate, CandidateKind, PeerId, Transmit, Transport};
use crate::proto::wire::attributes::pad;
use crate::proto::wire::{Attributes, Leave, Presence, Register, RelayRequest};

/// To so many bytes a registration's attributes are filled up as long as no endpoint is proven: the server never sends
/// more than was sent in somebody's name, and so has room for four hints in the challenge and two after it.
const EARLY_ATTRIBUTES_LEN: usize = 250;
/// How many copies of a goodbye are sent; nobody waits for its answer, and the server forgets silent clients anyway.
const GOODBYE_COPIES: usize = 2;

impl RendezvousClient {
    pub(super) fn send_register(&mut self) {
        let padded = if self.cookie == [0; 16] { EARLY_ATTRIBUTES_LEN } else { 0 };
        let registration = self.registration(self.cookie, padded);
        self.send_to_server(registration);
    }

    /// A registration; its attributes are filled up to `padded` bytes.
    pub(super) fn registration(&self, cookie: Cookie, padded: usize) -> Vec<u8> {
        let observed = self.other_family.as_ref().and_then(|other| other.observed);
        let mut profile = self.config.profile.clone();
        profile
            .candidates
            .extend(observed.map(|endpoint| Candidate { kind: CandidateKind::Reflexive, endpoint }));
        let mut attributes = profile.encode();
        if padded > 0 {
            pad(&mut attributes, padded);
        }
        self.register_with(cookie, Attributes::parse(&attributes).unwrap_or(Attributes::NONE))
    }

    fn register_with(&self, cookie: Cookie, attributes: Attributes<'_>) -> Vec<u8> {
        Register {
            token: self.token,
            sequence: self.sequence,
            lookup: self.config.lookup,
            peer: self.config.peer,
            cookie,
            instance: self.roster.instance(),
            revision: self.roster.revision(),
            attributes,
        }
        .encode()
    }

    pub(super) fn send_presence(&mut self, wants_reply: bool) {
        let State::Registered { handle, .. } = self.state else { return };
        self.sequence += u32::from(wants_reply);
        let (token, sequence) = (self.token, self.sequence);
        let (instance, revision) = (self.roster.instance(), self.roster.revision());
        self.send_to_server(Presence { token, handle, sequence, instance, revision, wants_reply }.encode());
    }

    /// Asks the server to forward between us and a member; what it answers is an event. To be repeated until it does.
    pub fn request_relay(&mut self, peer: PeerId, transport: Transport) {
        let State::Registered { handle, .. } = self.state else { return };
        self.send_to_server(RelayRequest { token: self.token, handle, peer, transport }.encode());
    }

    /// To the address that answered, or to all as long as none has.
    pub(super) fn send_to_server(&mut self, payload: Vec<u8>) {
        match self.chosen {
            Some(server) => self.send_to(server, payload),
            None => (0..self.config.servers.len()).for_each(|server| self.send_to(server, payload.clone())),
        }
    }

    pub(super) fn send_to(&mut self, server: usize, payload: Vec<u8>) {
        let (socket, destination) = self.config.servers[server];
        self.transmits.push_back(Transmit { socket, destination, payload, ttl: None });
    }

    /// Says goodbye, so that the server tells the others at once; nothing else is sent afterwards.
    pub fn close(&mut self) {
        self.sequence += 1;
        let goodbye = match self.state {
            State::Registered { handle, .. } => {
                Some(Leave { token: self.token, handle, sequence: self.sequence }.encode())
            }
            // The server may have registered us already, and only its answer be on its way.
            State::Registering { .. } if self.cookie != [0; 16] => {
                Some(self.register_with(self.cookie, Attributes::GOODBYE))
            }
            _ => None,
        };
        for _ in 0..GOODBYE_COPIES {
            if let Some(goodbye) = &goodbye {
                self.send_to_server(goodbye.clone());
            }
        }
        self.state = State::Closed;
    }
}

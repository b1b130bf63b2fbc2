//! The Noise handshake (`XXpsk0`) as it is used here, over the `snow` crate: who knows no session secret cannot even begin
//! one, each side shows the other its static key, and what is agreed upon is known to the two alone and forward secret.

use std::fmt;

use snow::resolvers::{CryptoResolver, DefaultResolver, RingResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState, StatelessTransportState};

use super::PublicKey;
use super::exchange::Exporter;
use crate::proto::{LookupKey, PeerId, Rng};

const PATTERN: &str = "Noise_XXpsk0_25519_ChaChaPoly_BLAKE2s";
/// Goes before the session and the two peers in what both sides must agree on.
const PROLOGUE: &[u8] = b"libholepunch 2026-11 v1 channel";
/// BLAKE3 `derive_key` context of what keys for other protocols are derived from.
const EXPORT_CONTEXT: &str = "libholepunch 2026-11 v1 exported keys";
/// Longest of the three messages.
const MAX_HANDSHAKE_LEN: usize = 100;
/// Bytes by which sealing makes a text longer.
pub const TAG_LEN: usize = 16;

/// Who talks to whom, and what only they and the rest of the session know.
#[derive(Clone)]
pub struct Parties {
    /// Names the session.
    pub lookup: LookupKey,
    /// The session's secret for this purpose.
    pub secret: [u8; 32],
    /// Our own name.
    pub local: PeerId,
    /// The peer's name.
    pub remote: PeerId,
    /// Our static private key (X25519).
    pub identity: [u8; 32],
}

impl fmt::Debug for Parties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parties({:?} and {:?})", self.local, self.remote)
    }
}

impl Parties {
    /// Whether it is us who begin: the one with the larger peer ID.
    pub fn initiates(&self) -> bool {
        self.local > self.remote
    }
}

/// X25519 with this private key.
pub(super) fn curve25519(private: &[u8; 32]) -> Box<dyn Dh> {
    let dh = DefaultResolver.resolve_dh(&snow::params::DHChoice::Curve25519);
    let mut dh = dh.expect("snow is built with it");
    dh.set(private);
    dh
}

/// The public key of an identity.
pub fn public_key(identity: &[u8; 32]) -> PublicKey {
    let mut public = [0; 32];
    public.copy_from_slice(curve25519(identity).pubkey());
    PublicKey(public)
}

/// Draws randomness from our own generator; everything else is snow's.
struct Resolver(Rng);

struct Drawn(Rng);

impl Random for Drawn {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        for chunk in dest.chunks_mut(32) {
            chunk.copy_from_slice(&self.0.bytes::<32>()[..chunk.len()]);
        }
        Ok(())
    }
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Drawn(self.0.clone())))
    }

    fn resolve_dh(&self, choice: &snow::params::DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &snow::params::HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    /// Of ring, which is four times as fast: the other's vector code is not inlined.
    fn resolve_cipher(&self, choice: &snow::params::CipherChoice) -> Option<Box<dyn Cipher>> {
        RingResolver.resolve_cipher(choice)
    }
}

/// One handshake under way. A message that is not authentic spoils it; whoever waits for the real one makes it anew, from the
/// same randomness and the same messages.
pub struct Handshake {
    state: HandshakeState,
}

impl Handshake {
    /// Ours to begin or to answer. `None` would be a pattern that snow does not know.
    pub fn new(parties: &Parties, initiator: bool, rng: Rng) -> Option<Self> {
        let (first, second) = match initiator {
            true => (parties.local, parties.remote),
            false => (parties.remote, parties.local),
        };
        let prologue = [PROLOGUE, &parties.lookup.0, &first.0, &second.0].concat();
        let builder = Builder::with_resolver(PATTERN.parse().ok()?, Box::new(Resolver(rng)));
        let builder = builder.psk(0, &parties.secret).ok()?.prologue(&prologue).ok()?;
        let builder = builder.local_private_key(&parties.identity).ok()?;
        let state = if initiator { builder.build_initiator() } else { builder.build_responder() };
        Some(Self { state: state.ok()? })
    }

    /// The next message that is ours to send, with how we name our end.
    pub fn write(&mut self, index: u32) -> Option<Vec<u8>> {
        let mut message = [0; MAX_HANDSHAKE_LEN];
        let len = self.state.write_message(&index.to_be_bytes(), &mut message).ok()?;
        Some(message[..len].to_vec())
    }

    /// Takes the peer's next message, and gives how the peer names its end; `None` if it is not authentic.
    pub fn read(&mut self, message: &[u8]) -> Option<u32> {
        let mut payload = [0; MAX_HANDSHAKE_LEN];
        if message.len() > MAX_HANDSHAKE_LEN {
            return None;
        }
        let len = self.state.read_message(message, &mut payload).ok()?;
        payload[..len].try_into().map(u32::from_be_bytes).ok()
    }

    /// What was agreed upon, once all messages are exchanged.
    pub fn finish(mut self) -> Option<Agreed> {
        if !self.state.is_handshake_finished() {
            return None;
        }
        let remote = PublicKey(self.state.get_remote_static()?.try_into().ok()?);
        let (first, second) = self.state.dangerously_get_raw_split();
        let secret = [&first, &second, self.state.get_handshake_hash()].concat();
        let exporter = Exporter(blake3::derive_key(EXPORT_CONTEXT, &secret));
        Some(Agreed { keys: self.state.into_stateless_transport_mode().ok()?, remote, exporter })
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handshake")
    }
}

/// What a handshake ends with.
pub struct Agreed {
    /// Seals and opens.
    pub keys: StatelessTransportState,
    /// The peer's static key.
    pub remote: PublicKey,
    /// What keys for other protocols are derived from; the same on both sides.
    pub exporter: Exporter,
}

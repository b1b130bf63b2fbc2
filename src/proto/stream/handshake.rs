//! How two peers prove to each other, on a fresh connection, that they share a session ID, and agree that this connection is the one.
//!
//! Both say hello at once. Who has read the other's hello proves it; so what is proven is about this connection, and nothing that was
//! said on another one is of use. The side with the larger ID chooses, with its own proof, one of the connections on which the
//! other side has proven itself: whatever it sends next is its application's.

use std::sync::Arc;

use crate::proto::PeerId;
use crate::proto::keys::ProbeKey;
use crate::proto::secure::{Exchange, Exporter};
use crate::proto::wire::HEADER_LEN;
use crate::proto::wire::stream::{HELLO_LEN, PROOF_LEN, StreamHello, StreamProof};

/// What all handshakes of one side have in common.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Our own name.
    pub local: PeerId,
    /// What only those know who know the session ID.
    pub key: ProbeKey,
    /// Our part of a secret with each peer.
    pub exchange: Arc<Exchange>,
}

/// Why a connection is nobody's that we look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stranger;

/// What came of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// More are needed.
    Wait,
    /// The other side says that it is this peer; to be sent: our own proof.
    Prove(PeerId, [u8; PROOF_LEN]),
    /// The other side says that it is this peer; it has to prove that first.
    Await(PeerId),
    /// The other side has proven itself, and it is ours to choose a connection.
    Proven,
    /// The other side has proven itself, and chosen this connection.
    Chosen,
}

#[derive(Debug)]
enum State {
    /// The other side's hello is awaited.
    Hello,
    /// Its proof is.
    Proof { peer: PeerId, theirs: [u8; HELLO_LEN], exporter: Exporter },
    /// Nothing more is.
    Proven { peer: PeerId, theirs: [u8; HELLO_LEN], exporter: Exporter },
}

/// One connection's handshake.
#[derive(Debug)]
pub struct Handshake {
    credentials: Credentials,
    ours: [u8; HELLO_LEN],
    received: Vec<u8>,
    state: State,
}

impl Handshake {
    /// Begins; `nonce` must be fresh. [`Self::hello`] is to be sent.
    pub fn new(credentials: Credentials, nonce: [u8; 16]) -> Self {
        let exchange = credentials.exchange.public();
        let hello = StreamHello { sender: credentials.local, nonce, exchange };
        let ours = hello.sign(&credentials.key);
        Self { credentials, ours, received: Vec::with_capacity(HELLO_LEN), state: State::Hello }
    }

    /// What is said first.
    pub fn hello(&self) -> &[u8] {
        &self.ours
    }

    /// How many bytes may be read from the connection now: what follows them is the application's.
    pub fn wanted(&self) -> usize {
        let whole = match self.state {
            State::Hello => HELLO_LEN,
            State::Proof { .. } => PROOF_LEN,
            State::Proven { .. } => 0,
        };
        whole.saturating_sub(self.received.len())
    }

    /// Who the other side is, once it has said so; proven or not.
    pub fn peer(&self) -> Option<PeerId> {
        match self.state {
            State::Hello => None,
            State::Proof { peer, .. } | State::Proven { peer, .. } => Some(peer),
        }
    }

    /// What keys for other protocols are derived from, once the other side has proven itself.
    pub fn exporter(&self) -> Option<Exporter> {
        match self.state {
            State::Proven { exporter, .. } => Some(exporter),
            State::Hello | State::Proof { .. } => None,
        }
    }

    /// Takes at most as many bytes as are wanted.
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> Result<Step, Stranger> {
        self.received.extend(bytes.iter().take(self.wanted()));
        match &self.state {
            State::Hello => match self.received.as_slice().try_into() {
                Ok(hello) => self.handle_hello(hello),
                // The first byte that does not fit shows a stranger; it is not waited for the rest.
                Err(_) if self.begins_like_ours() => Ok(Step::Wait),
                Err(_) => Err(Stranger),
            },
            State::Proof { peer, theirs, exporter } => {
                let Ok(proof) = self.received.as_slice().try_into() else { return Ok(Step::Wait) };
                let proof = StreamProof::verify(proof, &self.credentials.key, [theirs, &self.ours]);
                let (peer, theirs, exporter) = (*peer, *theirs, *exporter);
                let proof = proof.map_err(|_| Stranger)?;
                self.state = State::Proven { peer, theirs, exporter };
                match (proof.chosen, self.chooses(peer)) {
                    (false, true) => Ok(Step::Proven),
                    (true, false) => Ok(Step::Chosen),
                    _ => Err(Stranger),
                }
            }
            State::Proven { .. } => Ok(Step::Wait),
        }
    }

    fn begins_like_ours(&self) -> bool {
        // What follows the header differs.
        let compared = self.received.len().min(HEADER_LEN);
        self.received[..compared] == self.ours[..compared]
    }

    fn handle_hello(&mut self, theirs: [u8; HELLO_LEN]) -> Result<Step, Stranger> {
        let hello = StreamHello::verify(&theirs, &self.credentials.key).map_err(|_| Stranger)?;
        let (local, peer) = (self.credentials.local, hello.sender);
        // Our own hello, sent back, proves nothing.
        if peer == local || peer == PeerId::UNKNOWN {
            return Err(Stranger);
        }
        let exporter = self.credentials.exchange.agree(local, peer, &hello.exchange).ok_or(Stranger)?;
        self.received.clear();
        self.state = State::Proof { peer, theirs, exporter };
        if self.chooses(peer) {
            return Ok(Step::Await(peer));
        }
        let proof = StreamProof { chosen: false };
        Ok(Step::Prove(peer, proof.sign(&self.credentials.key, [&self.ours, &theirs])))
    }

    fn chooses(&self, peer: PeerId) -> bool {
        self.credentials.local > peer
    }

    /// Our proof that chooses this connection, on which the other side has proven itself.
    pub fn choose(&self) -> Option<[u8; PROOF_LEN]> {
        match &self.state {
            State::Proven { peer, theirs, .. } if self.chooses(*peer) => {
                Some(StreamProof { chosen: true }.sign(&self.credentials.key, [&self.ours, theirs]))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{SessionId, SessionKeys};

    fn credentials(number: u8, id: &[u8]) -> Credentials {
        let keys = SessionKeys::derive(&SessionId::new(id).unwrap());
        let exchange = Arc::new(Exchange::new([number; 32], keys.channel));
        Credentials { local: PeerId([number; 16]), key: keys.stream, exchange }
    }

    fn pair() -> (Handshake, Handshake) {
        let side = |number| Handshake::new(credentials(number, b"id"), [number; 16]);
        (side(1), side(2))
    }

    #[test]
    fn both_sides_end_with_the_same_keys_and_read_nothing_of_what_follows() {
        let (mut small, mut large) = pair();
        let Ok(Step::Prove(peer, proof)) = small.handle_bytes(large.hello()) else { panic!() };
        assert_eq!(peer, PeerId([2; 16]));
        assert_eq!(large.handle_bytes(small.hello()), Ok(Step::Await(PeerId([1; 16]))));
        assert_eq!((large.wanted(), large.choose(), large.exporter()), (PROOF_LEN, None, None));
        assert_eq!(large.handle_bytes(&proof[..5]), Ok(Step::Wait));
        assert_eq!(large.wanted(), PROOF_LEN - 5);
        assert_eq!(large.handle_bytes(&proof[5..]), Ok(Step::Proven));
        let chosen = large.choose().unwrap();
        let more: Vec<u8> = chosen.iter().copied().chain(*b"application").collect();
        assert_eq!(small.wanted(), PROOF_LEN);
        assert_eq!(small.handle_bytes(&more), Ok(Step::Chosen));
        assert_eq!((small.wanted(), large.wanted()), (0, 0));
        assert_eq!(small.exporter().unwrap().key(b"x"), large.exporter().unwrap().key(b"x"));
        assert_eq!(small.choose(), None, "it is not the small one's to choose");
    }

    #[test]
    fn bytes_may_come_one_by_one() {
        let (mut small, large) = pair();
        let (last, rest) = large.hello().split_last().unwrap();
        for byte in rest {
            assert_eq!(small.handle_bytes(&[*byte]), Ok(Step::Wait));
        }
        assert!(matches!(small.handle_bytes(&[*last]), Ok(Step::Prove(..))));
    }

    #[test]
    fn nobody_gets_in_with_another_id_another_connection_or_our_own_words() {
        let (mut small, large) = pair();
        let outsider = Handshake::new(credentials(2, b"other"), [2; 16]);
        assert_eq!(small.handle_bytes(outsider.hello()), Err(Stranger));
        let (mut small, _) = pair();
        let ours = small.hello().to_vec();
        assert_eq!(small.handle_bytes(&ours), Err(Stranger), "reflected");
        // A hello that was heard elsewhere is believed; what must follow it cannot be known.
        let (_, mut victim) = pair();
        let (mut before, _) = pair();
        let Ok(Step::Prove(_, proof)) = before.handle_bytes(victim.hello()) else { panic!() };
        let mut later = Handshake::new(credentials(2, b"id"), [9; 16]);
        assert!(matches!(later.handle_bytes(before.hello()), Ok(Step::Await(_))));
        assert_eq!(later.handle_bytes(&proof), Err(Stranger));
        assert!(matches!(victim.handle_bytes(before.hello()), Ok(Step::Await(_))));
        assert_eq!(victim.handle_bytes(&proof), Ok(Step::Proven));
        // The large one's own proof, and one that has been changed.
        let (mut small, mut other) = pair();
        let Ok(Step::Prove(_, proof)) = small.handle_bytes(large.hello()) else { panic!() };
        assert!(matches!(other.handle_bytes(small.hello()), Ok(Step::Await(_))));
        assert_eq!(small.handle_bytes(&proof), Err(Stranger), "our own proof");
        for at in 0..PROOF_LEN {
            let (mut small, mut large) = pair();
            let Ok(Step::Prove(_, mut proof)) = small.handle_bytes(large.hello()) else { panic!() };
            assert!(matches!(large.handle_bytes(small.hello()), Ok(Step::Await(_))));
            proof[at] ^= 1;
            assert_eq!(large.handle_bytes(&proof), Err(Stranger), "byte {at}");
        }
    }

    #[test]
    fn another_service_is_known_by_its_first_bytes() {
        let (mut small, _) = pair();
        assert_eq!(small.handle_bytes(b"SSH-2.0-"), Err(Stranger));
        let (mut small, _) = pair();
        assert_eq!(small.handle_bytes(&[0x0E]), Ok(Step::Wait));
        assert_eq!(small.handle_bytes(b"x"), Err(Stranger));
    }
}

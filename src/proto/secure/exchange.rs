//! A secret between two peers that open a hole and run a protocol of their own over it: what their probes carry besides.

use std::fmt;

use snow::types::Dh;

use super::noise::curve25519;
use crate::proto::PeerId;

/// BLAKE3 `derive_key` context of what two peers agree upon while they open their hole.
const CONTEXT: &str = "libholepunch 2026-11 v1 exchanged secret";

/// What keys for other protocols are derived from; known to two peers alone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Exporter(pub(super) [u8; 32]);

impl Exporter {
    /// The key for one purpose.
    pub fn key(&self, label: &[u8]) -> [u8; 32] {
        *blake3::keyed_hash(&self.0, label).as_bytes()
    }
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exporter")
    }
}

/// Our side of the agreement (X25519), for the time of one call: who learns the session ID later cannot undo it.
pub struct Exchange {
    private: Box<dyn Dh>,
    public: [u8; 32],
    /// Goes into it besides: whoever does not know the session ID learns nothing, whatever becomes of the curve.
    session_secret: [u8; 32],
}

impl Exchange {
    /// With this private key.
    pub fn new(private: [u8; 32], session_secret: [u8; 32]) -> Self {
        let private = curve25519(&private);
        let mut public = [0; 32];
        public.copy_from_slice(private.pubkey());
        Self { private, public, session_secret }
    }

    /// What the peers are told.
    pub fn public(&self) -> [u8; 32] {
        self.public
    }

    /// The secret with the peer whose public part this is; the same on both sides. `None` if it is no proper one.
    pub fn agree(&self, local: PeerId, remote: PeerId, public: &[u8; 32]) -> Option<Exporter> {
        let mut shared = [0; 32];
        self.private.dh(public, &mut shared).ok()?;
        if shared == [0; 32] {
            return None;
        }
        let (first, second) = (local.min(remote), local.max(remote));
        let material = [&self.session_secret, &shared, &first.0[..], &second.0].concat();
        Some(Exporter(blake3::derive_key(CONTEXT, &material)))
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exchange")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_agree_and_nobody_else_does() {
        let (a, b) = (PeerId([1; 16]), PeerId([2; 16]));
        let ours = Exchange::new([3; 32], [9; 32]);
        let theirs = Exchange::new([4; 32], [9; 32]);
        let secret = ours.agree(a, b, &theirs.public()).unwrap();
        assert_eq!(Some(secret), theirs.agree(b, a, &ours.public()));
        assert_ne!(secret.key(b"one"), secret.key(b"two"));
        let outsider = Exchange::new([3; 32], [8; 32]);
        assert_ne!(Some(secret), outsider.agree(a, b, &theirs.public()));
        assert_ne!(Some(secret), ours.agree(a, PeerId([5; 16]), &theirs.public()));
        // Points of small order, with which everybody would agree upon the same.
        for low in [[0; 32], std::array::from_fn(|at| u8::from(at == 0))] {
            assert_eq!(ours.agree(a, b, &low), None);
        }
    }
}

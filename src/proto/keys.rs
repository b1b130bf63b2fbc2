//! What is derived from a session ID. The server is given the lookup key only; the secret stays with the peers.

use std::fmt;
use std::sync::LazyLock;

use blake3::Hasher;
use blake3::hazmat::{ContextKey, HasherExt, hash_derive_key_context};

/// BLAKE3 `derive_key` context of the lookup key.
const LOOKUP_CONTEXT: &str = "libholepunch 2026-11 v1 lookup key";
/// BLAKE3 `derive_key` context of the session secret.
const SECRET_CONTEXT: &str = "libholepunch 2026-11 v1 session secret";
/// BLAKE3 `derive_key` context of the key that authenticates probes; derived from the session secret.
const PROBE_CONTEXT: &str = "libholepunch 2026-11 v1 probe key";
/// BLAKE3 `derive_key` context of the key that authenticates TCP connections; derived from the session secret.
const STREAM_CONTEXT: &str = "libholepunch 2026-11 v1 stream key";
/// BLAKE3 `derive_key` context of the secret that secure channels begin with; derived from the session secret.
const CHANNEL_CONTEXT: &str = "libholepunch 2026-11 v1 channel secret";

/// The bytes that peers share: 1 to [`SessionId::MAX_LEN`] arbitrary bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionId(Vec<u8>);

/// Why some bytes are no session ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionIdError {
    /// No bytes at all.
    Empty,
    /// More than [`SessionId::MAX_LEN`] bytes.
    TooLong,
}

impl SessionId {
    /// Longest session ID in bytes: the existing plain server drops datagrams of more than 1024 bytes.
    pub const MAX_LEN: usize = 1000;

    /// Takes a copy of `bytes`.
    pub fn new(bytes: &[u8]) -> Result<Self, SessionIdError> {
        match bytes.len() {
            0 => Err(SessionIdError::Empty),
            1..=Self::MAX_LEN => Ok(Self(bytes.to_vec())),
            _ => Err(SessionIdError::TooLong),
        }
    }

    /// The bytes, as the plain dialect sends them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The ID may be the session's only secret; it must not reach a log by way of `{:?}`.
        write!(f, "SessionId({} bytes)", self.0.len())
    }
}

/// Under which the server files a session; tells nothing about an ID of 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LookupKey(pub [u8; 32]);

impl LookupKey {
    /// The lookup key of an ID; the server uses it to file plain clients beside native ones.
    pub fn derive(id: &[u8]) -> Self {
        // A server does that for every datagram of a plain client's: the context is hashed only once.
        static CONTEXT: LazyLock<ContextKey> = LazyLock::new(|| hash_derive_key_context(LOOKUP_CONTEXT));
        Self(Hasher::new_from_context_key(&CONTEXT).update(id).finalize().into())
    }
}

impl fmt::Debug for LookupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in &self.0[..4] {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// All keys that a peer derives from the session ID.
#[derive(Clone)]
pub struct SessionKeys {
    /// Given to the server.
    pub lookup: LookupKey,
    /// Authenticates probes between peers.
    pub probe: ProbeKey,
    /// Authenticates TCP connections between peers.
    pub stream: ProbeKey,
    /// What every secure channel in the session begins with.
    pub channel: [u8; 32],
}

impl SessionKeys {
    /// Derives the keys of `id`.
    pub fn derive(id: &SessionId) -> Self {
        let secret = blake3::derive_key(SECRET_CONTEXT, id.as_bytes());
        Self {
            lookup: LookupKey::derive(id.as_bytes()),
            probe: ProbeKey(blake3::derive_key(PROBE_CONTEXT, &secret)),
            stream: ProbeKey(blake3::derive_key(STREAM_CONTEXT, &secret)),
            channel: blake3::derive_key(CHANNEL_CONTEXT, &secret),
        }
    }
}

impl fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionKeys({:?})", self.lookup)
    }
}

/// The key under which probes are authenticated.
#[derive(Clone)]
pub struct ProbeKey([u8; 32]);

impl ProbeKey {
    /// Length of a probe's authentication tag in bytes.
    pub const TAG_LEN: usize = 16;

    /// The authentication tag of `message`: keyed BLAKE3, cut to 128 bits.
    pub fn tag(&self, message: &[u8]) -> [u8; Self::TAG_LEN] {
        truncate(&blake3::keyed_hash(&self.0, message))
    }

    /// Whether `tag` is the tag of `message`, in constant time.
    pub fn verify(&self, message: &[u8], tag: &[u8; Self::TAG_LEN]) -> bool {
        equal_in_constant_time(&self.tag(message), tag)
    }
}

impl fmt::Debug for ProbeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProbeKey")
    }
}

/// The first 16 bytes of a hash.
pub(crate) fn truncate(hash: &blake3::Hash) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&hash.as_bytes()[..16]);
    short
}

/// Compares without telling by its duration where the first difference is.
pub(crate) fn equal_in_constant_time(a: &[u8; 16], b: &[u8; 16]) -> bool {
    std::hint::black_box(a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y))) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_id_length_is_checked_at_its_edges() {
        assert_eq!(SessionId::new(&[]), Err(SessionIdError::Empty));
        assert!(SessionId::new(&[0]).is_ok());
        assert!(SessionId::new(&[0; SessionId::MAX_LEN]).is_ok());
        assert_eq!(SessionId::new(&[0; SessionId::MAX_LEN + 1]), Err(SessionIdError::TooLong));
    }

    #[test]
    fn lookup_key_and_secret_are_unrelated_per_id() {
        let keys = |id: &[u8]| SessionKeys::derive(&SessionId::new(id).unwrap());
        let (a, b) = (keys(b"room"), keys(b"rooM"));
        assert_ne!(a.lookup, b.lookup);
        assert_ne!(a.probe.tag(b"x"), b.probe.tag(b"x"));
        assert_eq!(a.lookup, LookupKey::derive(b"room"));
        assert_ne!(a.lookup.0, a.probe.0);
    }

    #[test]
    fn a_tag_verifies_only_for_its_message() {
        let key = SessionKeys::derive(&SessionId::new(b"room").unwrap()).probe;
        let mut tag = key.tag(b"probe");
        assert!(key.verify(b"probe", &tag));
        assert!(!key.verify(b"probf", &tag));
        tag[15] ^= 1;
        assert!(!key.verify(b"probe", &tag));
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let id = SessionId::new(b"hunter2").unwrap();
        assert!(!format!("{id:?} {:?}", SessionKeys::derive(&id)).contains("hunter2"));
    }
}

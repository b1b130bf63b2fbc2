//! TCP: messages between client and server stand in frames, and two peers prove to each other on a fresh connection that they share a
//! session ID, before a byte of anybody's application flows.

use super::codec::{Malformed, Reader, Writer};
use super::message::{header, kind};
use super::{HEADER_LEN, MAX_DATAGRAM, is_native};
use crate::proto::keys::ProbeKey;
use crate::proto::types::PeerId;

/// Bytes before a message: its length.
const FRAME_HEAD_LEN: usize = 2;
/// Longest frame.
pub const MAX_FRAME: usize = FRAME_HEAD_LEN + MAX_DATAGRAM;
/// Length of a [`StreamHello`].
pub const HELLO_LEN: usize = HEADER_LEN + 16 + 16 + 32 + ProbeKey::TAG_LEN;
/// Length of a [`StreamProof`].
pub const PROOF_LEN: usize = HEADER_LEN + 1 + ProbeKey::TAG_LEN;

/// Appends a message in a frame.
pub fn push_frame(bytes: &mut Vec<u8>, message: &[u8]) {
    let len = u16::try_from(message.len()).expect("a message has at most 1200 bytes");
    bytes.extend(len.to_be_bytes());
    bytes.extend(message);
}

/// The message in the first frame of what has come, and how many bytes the frame has; `None` as long as it is not whole. It is an error
/// if no message begins there.
pub fn first_frame(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, Malformed> {
    let Some((head, rest)) = bytes.split_first_chunk::<FRAME_HEAD_LEN>() else { return Ok(None) };
    let len = usize::from(u16::from_be_bytes(*head));
    if !(HEADER_LEN..=MAX_DATAGRAM).contains(&len) {
        return Err(Malformed::Length);
    }
    if rest.len() >= HEADER_LEN && !is_native(rest) {
        return Err(Malformed::NotNative);
    }
    Ok(rest.get(..len).map(|message| (message, FRAME_HEAD_LEN + len)))
}

/// "I am one of those who share the ID, and this connection is new to me."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamHello {
    /// Who says it.
    pub sender: PeerId,
    /// Random: what is proven later is about this connection.
    pub nonce: [u8; 16],
    /// The sender's public part of a secret between the two (X25519).
    pub exchange: [u8; 32],
}

impl StreamHello {
    /// The bytes.
    pub fn sign(&self, key: &ProbeKey) -> [u8; HELLO_LEN] {
        signed(key, &[], kind::STREAM_HELLO, |writer| {
            writer.slice(&self.sender.0);
            writer.slice(&self.nonce);
            writer.slice(&self.exchange);
        })
    }

    /// What they say, if it is authentic.
    pub fn verify(bytes: &[u8; HELLO_LEN], key: &ProbeKey) -> Result<Self, Malformed> {
        let mut reader = verified(bytes, key, &[], kind::STREAM_HELLO)?;
        Ok(Self { sender: PeerId(reader.array()?), nonce: reader.array()?, exchange: reader.array()? })
    }
}

/// "I have read your hello."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamProof {
    /// "And this connection is the one": what follows is the application's.
    pub chosen: bool,
}

impl StreamProof {
    /// The bytes. `hellos`: the sender's own, then the receiver's.
    pub fn sign(self, key: &ProbeKey, hellos: [&[u8; HELLO_LEN]; 2]) -> [u8; PROOF_LEN] {
        signed(key, &hellos, kind::STREAM_PROOF, |writer| writer.u8(self.chosen.into()))
    }

    /// What they say, if it is authentic. `hellos`: the sender's own, then the receiver's.
    pub fn verify(
        bytes: &[u8; PROOF_LEN],
        key: &ProbeKey,
        hellos: [&[u8; HELLO_LEN]; 2],
    ) -> Result<Self, Malformed> {
        let flags = verified(bytes, key, &hellos, kind::STREAM_PROOF)?.u8()?;
        Ok(Self { chosen: flags & 1 != 0 })
    }
}

/// What the tag is about: the message, and what was said before.
fn covered(message: &[u8], before: &[&[u8; HELLO_LEN]]) -> Vec<u8> {
    let mut bytes = message.to_vec();
    before.iter().for_each(|hello| bytes.extend(*hello));
    bytes
}

fn signed<const N: usize>(
    key: &ProbeKey,
    before: &[&[u8; HELLO_LEN]],
    kind: u8,
    body: impl FnOnce(&mut Writer<'_>),
) -> [u8; N] {
    let mut bytes = [0; N];
    let mut writer = Writer::new(&mut bytes);
    header(&mut writer, kind);
    body(&mut writer);
    let tag = key.tag(&covered(writer.as_slice(), before));
    writer.slice(&tag);
    bytes
}

fn verified<'a>(
    bytes: &'a [u8],
    key: &ProbeKey,
    before: &[&[u8; HELLO_LEN]],
    kind: u8,
) -> Result<Reader<'a>, Malformed> {
    let mut expected = [0; HEADER_LEN];
    header(&mut Writer::new(&mut expected), kind);
    let Some((message, tag)) = bytes.split_last_chunk() else { return Err(Malformed::Length) };
    if !message.starts_with(&expected) {
        return Err(Malformed::NotNative);
    }
    if !key.verify(&covered(message, before), tag) {
        return Err(Malformed::Field);
    }
    Ok(Reader::new(&message[expected.len()..]))
}

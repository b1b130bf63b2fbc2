//! What the two ends of a pipe say to each other within the room's messages; docs/pipe.md is its specification.

use holepunch::proto::delivery::MAX_MESSAGE;

/// The only version there is.
pub const VERSION: u8 = 1;
/// Longest piece of what flows.
pub const MAX_DATA: usize = MAX_MESSAGE - 1;

const HELLO: u8 = 0x10;
const OFFER: u8 = 0x11;
const ACCEPT: u8 = 0x12;
const REFUSE: u8 = 0x13;
/// The first byte of a message with data, so that it can be read into its place.
pub const DATA: u8 = 0x14;
const LIMIT: u8 = 0x15;
const END: u8 = 0x16;
const DONE: u8 = 0x17;
/// Other programs in the room do not begin like that.
const NAME: &[u8] = b"hp pipe";

/// A message of the pipe's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// We are a pipe, and speak this version.
    Hello(u8),
    /// Be our other end.
    Offer,
    /// Yes.
    Accept,
    /// We have another.
    Refuse,
    /// What flows.
    Data(&'a [u8]),
    /// So many bytes in all may be sent.
    Limit(u64),
    /// No more data.
    End,
    /// All data up to the end was written.
    Done,
}

impl<'a> Frame<'a> {
    /// Reads a message; `None` if it makes no sense.
    pub fn read(message: &'a [u8]) -> Option<Self> {
        let (kind, rest) = message.split_first()?;
        Some(match (*kind, rest) {
            (HELLO, _) => Self::Hello(*rest.strip_prefix(NAME)?.first()?),
            (OFFER, []) => Self::Offer,
            (ACCEPT, []) => Self::Accept,
            (REFUSE, []) => Self::Refuse,
            (DATA, data) => Self::Data(data),
            (LIMIT, limit) => Self::Limit(u64::from_be_bytes(limit.try_into().ok()?)),
            (END, []) => Self::End,
            (DONE, []) => Self::Done,
            _ => return None,
        })
    }

    /// The message.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello(version) => [&[HELLO], NAME, &[*version]].concat(),
            Self::Offer => vec![OFFER],
            Self::Accept => vec![ACCEPT],
            Self::Refuse => vec![REFUSE],
            Self::Data(data) => [&[DATA], *data].concat(),
            Self::Limit(limit) => [&[LIMIT][..], &limit.to_be_bytes()].concat(),
            Self::End => vec![END],
            Self::Done => vec![DONE],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_were_written() {
        let frames = [
            Frame::Hello(7),
            Frame::Offer,
            Frame::Accept,
            Frame::Refuse,
            Frame::Data(b"\x00\xff"),
            Frame::Limit(0x0102_0304_0506_0708),
            Frame::End,
            Frame::Done,
        ];
        for frame in frames {
            assert_eq!(Frame::read(&frame.encode()), Some(frame));
        }
        assert_eq!(Frame::Hello(1).encode(), b"\x10hp pipe\x01");
        assert_eq!(Frame::Limit(258).encode(), b"\x15\0\0\0\0\0\0\x01\x02");
    }

    #[test]
    fn what_makes_no_sense_is_no_frame() {
        for strange in
            [&b""[..], b"\x10", b"\x10hp pipe", b"\x10hp chat\x01", b"\x11x", b"\x151234567", b"\x02hi"]
        {
            assert_eq!(Frame::read(strange), None, "{strange:?}");
        }
        // A later version's may have more behind.
        assert_eq!(Frame::read(b"\x10hp pipe\x02more"), Some(Frame::Hello(2)));
    }
}

//! What chats say to each other within the room's messages; docs/chat.md is its specification.

use super::clean::{clean, clean_name};

/// Longest text, in bytes of UTF-8.
pub const MAX_TEXT: usize = 8192;

const HELLO: u8 = 1;
const TEXT: u8 = 2;
/// The only version there is.
const VERSION: u8 = 1;

/// A message, fit to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// How the sender wants to be called.
    Hello(Option<String>),
    /// What it says.
    Text(String),
}

/// Says what we are called.
pub fn hello(name: &str) -> Vec<u8> {
    let len = u8::try_from(name.len()).unwrap_or_default();
    [&[HELLO, VERSION, len], &name.as_bytes()[..len.into()]].concat()
}

/// Says something; to plain peers as it is, since they know no format.
pub fn text(text: &str, plain: bool) -> Vec<u8> {
    let kind: &[u8] = if plain { &[] } else { &[TEXT] };
    [kind, text.as_bytes()].concat()
}

/// Reads a message; `None` if it is of a kind that is not known here, or makes no sense.
pub fn read(message: &[u8], plain: bool) -> Option<Said> {
    if plain {
        return Some(Said::Text(read_text(message)));
    }
    match message.split_first()? {
        // Later versions have more behind the name.
        (&HELLO, [_version, len, rest @ ..]) => {
            let name = rest.get(..usize::from(*len))?;
            Some(Said::Hello(clean_name(&String::from_utf8_lossy(name))))
        }
        (&TEXT, text) => Some(Said::Text(read_text(text))),
        _ => None,
    }
}

fn read_text(text: &[u8]) -> String {
    let mut cleaned = clean(&String::from_utf8_lossy(&text[..text.len().min(MAX_TEXT)]));
    if text.len() > MAX_TEXT {
        cleaned.push_str("… (cut off)");
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_were_written() {
        assert_eq!(hello("zoë"), b"\x01\x01\x04zo\xc3\xab");
        assert_eq!(read(&hello("zoë"), false), Some(Said::Hello(Some("zoë".into()))));
        assert_eq!(text("hi", false), b"\x02hi");
        for plain in [false, true] {
            assert_eq!(read(&text("hi", plain), plain), Some(Said::Text("hi".into())));
        }
    }

    #[test]
    fn what_is_not_known_is_ignored() {
        for unknown in [&b""[..], b"\x03later", b"\x01", b"\x01\x01", b"\x01\x01\x05zo"] {
            assert_eq!(read(unknown, false), None, "{unknown:?}");
        }
        assert_eq!(read(b"\x01\x02\x02zo and more", false), Some(Said::Hello(Some("zo".into()))));
        assert_eq!(read(b"\x01\x01\x00", false), Some(Said::Hello(None)));
    }

    #[test]
    fn what_is_read_can_be_shown() {
        assert_eq!(read(b"\x02\x1b[2J\xff", false), Some(Said::Text("\u{fffd}[2J\u{fffd}".into())));
        assert_eq!(read(b"\x01\x01\x04\x1b[2J", false), Some(Said::Hello(Some("\u{fffd}[2J".into()))));
        let Some(Said::Text(text)) = read(&[b'x'; 60_000], true) else { panic!("no text") };
        assert!(text.len() < MAX_TEXT + 20 && text.ends_with("(cut off)"));
    }
}

//! The plain dialect, which the existing Go tools speak: no header, no cookie, nothing authenticated.

use std::net::SocketAddr;

/// Longest datagram that is taken as a session ID; the Go server drops longer ones.
pub const MAX_ID_LEN: usize = 1024;

/// Most endpoints that are taken from one list.
pub const MAX_LIST_LEN: usize = 256;

/// What peers send each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// "Do you hear me?"
    Syn,
    /// "I heard you."
    Ack,
    /// An empty datagram: keeps the mapping alive, says nothing.
    KeepAlive,
}

impl Signal {
    /// The datagram's meaning, or `None` if it is the application's.
    pub fn parse(datagram: &[u8]) -> Option<Self> {
        match datagram {
            b"" => Some(Self::KeepAlive),
            b"SYN" => Some(Self::Syn),
            b"ACK" => Some(Self::Ack),
            _ => None,
        }
    }

    /// The datagram.
    pub fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::Syn => b"SYN",
            Self::Ack => b"ACK",
            Self::KeepAlive => b"",
        }
    }
}

/// Reads a server's list `ip:port,ip:port`; `None` if any part of it is no endpoint or it is too long.
pub fn parse_list(datagram: &[u8]) -> Option<Vec<SocketAddr>> {
    let text = std::str::from_utf8(datagram).ok()?;
    let mut endpoints = Vec::new();
    for part in text.split(',') {
        if endpoints.len() == MAX_LIST_LEN {
            return None;
        }
        let endpoint: SocketAddr = part.parse().ok()?;
        endpoints.push(SocketAddr::new(endpoint.ip().to_canonical(), endpoint.port()));
    }
    Some(endpoints)
}

/// Appends an endpoint to a list under construction, as [`parse_list`] reads it.
pub fn push_to_list(list: &mut Vec<u8>, endpoint: SocketAddr) {
    if !list.is_empty() {
        list.push(b',');
    }
    match endpoint {
        // What is asked for most often is written without the detours of formatting.
        SocketAddr::V4(v4) => {
            for (octet, end) in v4.ip().octets().into_iter().zip(*b"...:") {
                push_number(list, octet.into());
                list.push(end);
            }
            push_number(list, v4.port());
        }
        SocketAddr::V6(_) => {
            use std::io::Write;
            write!(list, "{endpoint}").expect("writing to a Vec cannot fail");
        }
    }
}

fn push_number(text: &mut Vec<u8>, number: u16) {
    let mut digits = [0; 5];
    let (mut rest, mut at) = (number, digits.len());
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    text.extend_from_slice(&digits[at..]);
}

//! As much of HTTP/1.1 as UPnP takes: one request per connection, and its answer within strict bounds.

use std::net::{Ipv4Addr, SocketAddrV4};

/// Longest head of an answer.
const MAX_HEAD: usize = 8 << 10;
/// Longest body of an answer.
pub const MAX_BODY: usize = 64 << 10;
/// Longest answer that need be read; the rest is for the lengths of chunks.
pub const MAX_RESPONSE: usize = MAX_HEAD + MAX_BODY + (8 << 10);
/// Longest path of a URL.
const MAX_PATH: usize = 512;

/// An `http` URL on the router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Where to connect to.
    pub address: SocketAddrV4,
    /// Path and query; visible ASCII that starts with `/`.
    pub path: String,
}

impl Url {
    /// Reads an absolute URL, which must lead to `host`: whoever answers a search may name nobody but itself.
    pub fn parse(text: &str, host: Ipv4Addr) -> Option<Self> {
        let (scheme, rest) = text.split_at_checked("http://".len())?;
        if !scheme.eq_ignore_ascii_case("http://") {
            return None;
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let address = match authority.split_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                SocketAddrV4::new(name.parse().ok()?, port.parse().ok()?)
            }
            Some(_) => return None,
            None => SocketAddrV4::new(authority.parse().ok()?, 80),
        };
        if *address.ip() != host || address.port() == 0 {
            return None;
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Self { address, path: String::new() }.with_path(&path)
    }

    /// What `reference`, found in the document at this URL, leads to: on the same host, or nowhere.
    pub fn join(&self, reference: &str) -> Option<Self> {
        if reference.is_empty() || reference.starts_with("//") {
            return None;
        }
        if reference.starts_with('/') {
            return self.with_path(reference);
        }
        if reference.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http:")) {
            return Self::parse(reference, *self.address.ip());
        }
        let own = self.path.split('?').next().unwrap_or_default();
        let directory = &own[..own.rfind('/').map_or(0, |slash| slash + 1)];
        self.with_path(&format!("{directory}{reference}"))
    }

    fn with_path(&self, path: &str) -> Option<Self> {
        let path = path.split('#').next().unwrap_or_default();
        // Nothing that could end the request's line and start a header of the router's choice.
        let fits =
            path.len() <= MAX_PATH && path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self { address: self.address, path: path.to_owned() })
    }
}

/// A request for a document.
pub fn get(url: &Url) -> Vec<u8> {
    format!("GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", url.path, url.address).into_bytes()
}

/// A router's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// 200, or what else became of the request.
    pub status: u16,
    /// Without transfer coding.
    pub body: Vec<u8>,
}

/// The head of an answer, and what follows it.
struct Head<'a> {
    status: u16,
    content_length: Option<usize>,
    chunked: bool,
    rest: &'a [u8],
}

impl<'a> Head<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let bounded = &bytes[..bytes.len().min(MAX_HEAD)];
        let end = bounded.windows(4).position(|window| window == b"\r\n\r\n")?;
        let rest = &bytes[end + 4..];
        let mut lines = bytes[..end].split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let status_line = lines.next()?.strip_prefix(b"HTTP/1.")?;
        let status = number(status_line.get(2..5)?)?.try_into().ok()?;
        let mut head = Self { status, content_length: None, chunked: false, rest };
        for line in lines {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            if name.eq_ignore_ascii_case(b"content-length") {
                head.content_length = Some(number(value)?);
            } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
                head.chunked = value.eq_ignore_ascii_case(b"chunked");
            }
        }
        Some(head)
    }
}

/// Decimal digits and nothing else.
fn number(digits: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(digits).ok()?;
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Whether nothing that matters can follow `bytes`, the beginning of an answer. The end of the connection says so, too.
pub fn is_complete(bytes: &[u8]) -> bool {
    if bytes.len() >= MAX_RESPONSE {
        return true;
    }
    let Some(head) = Head::parse(bytes) else { return bytes.len() >= MAX_HEAD };
    if head.chunked {
        return head.rest.ends_with(b"0\r\n\r\n");
    }
    head.content_length.is_some_and(|len| len > MAX_BODY || head.rest.len() >= len)
}

impl Response {
    /// Reads a whole answer; `None` if it is none, or out of bounds.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let head = Head::parse(bytes)?;
        let body = if head.chunked {
            unchunk(head.rest)?
        } else {
            head.rest.get(..head.content_length.unwrap_or(head.rest.len()))?.to_vec()
        };
        (body.len() <= MAX_BODY).then_some(Self { status: head.status, body })
    }
}

/// Undoes the chunked transfer coding (RFC 9112 section 7.1); trailers are not looked at.
fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line_end = rest.windows(2).take(MAX_PATH).position(|window| window == b"\r\n")?;
        let digits = rest[..line_end].split(|byte| *byte == b';').next()?.trim_ascii();
        let digits = std::str::from_utf8(digits).ok()?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let len = usize::from_str_radix(digits, 16).ok()?;
        rest = &rest[line_end + 2..];
        if len == 0 {
            return Some(body);
        }
        if len > MAX_BODY - body.len() {
            return None;
        }
        body.extend_from_slice(rest.get(..len)?);
        rest = rest[len..].strip_prefix(b"\r\n")?;
    }
}

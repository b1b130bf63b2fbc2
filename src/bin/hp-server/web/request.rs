//! Reads the head of a request.

use super::response::Status;

/// Longest head of a request, in bytes.
pub const MAX_HEAD: usize = 8 << 10;
/// Most header fields of a request.
const MAX_FIELDS: usize = 64;

/// A request for something that may be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What it asks for, without the query.
    pub path: String,
    /// What follows the question mark, if there is one.
    pub query: Option<String>,
    /// Whether the body is not wanted: HEAD.
    pub head_only: bool,
    /// Whether another request may follow.
    pub keep_alive: bool,
}

/// What has come so far.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The head is not complete.
    Incomplete,
    /// A request, which so many bytes were.
    Complete(Request, usize),
    /// None that is answered but with this.
    Refused(Status),
}

/// Whether these bytes, which have just come, may have completed a head, or show that it will be none. Until then there is no point
/// in reading all of it again.
pub fn is_worth_parsing(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| *byte < b' ' && *byte != b'\t')
}

/// Reads a head from all that has come.
pub fn parse(bytes: &[u8]) -> Parsed {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    let len = match head.parse(bytes) {
        Ok(httparse::Status::Complete(len)) if len <= MAX_HEAD => len,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return Parsed::Incomplete,
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Parsed::Refused(Status::HeadTooLarge),
        Err(_) => return Parsed::Refused(Status::BadRequest),
    };
    judge(&head).map_or_else(Parsed::Refused, |request| Parsed::Complete(request, len))
}

/// The request that a complete head makes.
fn judge(head: &httparse::Request<'_, '_>) -> Result<Request, Status> {
    let (Some(method), Some(target), Some(version)) = (head.method, head.path, head.version) else {
        return Err(Status::BadRequest);
    };
    let field = |name: &'static str| {
        head.headers
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value)
    };
    // RFC 9112, section 3.2: one, and in HTTP/1.1 no less.
    if field("host").count() > 1 || (version == 1 && field("host").next().is_none()) {
        return Err(Status::BadRequest);
    }
    let head_only = match method {
        "GET" => false,
        "HEAD" => true,
        _ => return Err(Status::MethodNotAllowed),
    };
    if field("transfer-encoding").next().is_some() {
        return Err(Status::BodyRefused);
    }
    for value in field("content-length") {
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(Status::BadRequest);
        }
        if value.iter().any(|digit| *digit != b'0') {
            return Err(Status::BodyRefused);
        }
    }
    let mut options = field("connection").flat_map(|value| value.split(|byte| *byte == b','));
    let closes = options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"));
    let local = local_part(target).ok_or(Status::BadRequest)?;
    let (path, query) = match local.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (local, None),
    };
    // HTTP/1.0 keeps a connection only by an extension, which is not offered.
    Ok(Request { path: path.to_owned(), query, head_only, keep_alive: version == 1 && !closes })
}

/// A target without scheme and host, which RFC 9112, section 3.2.2, has servers accept.
fn local_part(target: &str) -> Option<&str> {
    if target.starts_with('/') {
        return Some(target);
    }
    let scheme = target.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://"))?;
    let rest = &target[scheme.len()..];
    Some(rest.find('/').map_or("/", |start| &rest[start..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str, query: Option<&str>, keep_alive: bool) -> Request {
        Request { path: path.into(), query: query.map(Into::into), head_only: false, keep_alive }
    }

    #[test]
    fn heads_are_read() {
        for (head, request) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", get("/", None, true)),
            ("GET /a?b?c HTTP/1.1\r\nhost:\r\n\r\n", get("/a", Some("b?c"), true)),
            ("GET http://a:1/b?c HTTP/1.1\r\nHost: a:1\r\n\r\n", get("/b", Some("c"), true)),
            ("GET HTTP://a HTTP/1.1\r\nHost: a\r\n\r\n", get("/", None, true)),
            ("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close \r\n\r\n", get("/", None, false)),
            ("GET / HTTP/1.0\r\n\r\n", get("/", None, false)),
            ("\r\nGET / HTTP/1.1\nHost: a\nContent-Length: 0\n\n", get("/", None, true)),
        ] {
            assert_eq!(parse(head.as_bytes()), Parsed::Complete(request, head.len()), "{head}");
            for len in 0..head.len() {
                assert_eq!(parse(&head.as_bytes()[..len]), Parsed::Incomplete, "{head} {len}");
            }
        }
        let head = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
        let expected = Request { head_only: true, ..get("/", None, true) };
        // What follows is the next one's.
        assert_eq!(parse(format!("{head}GET").as_bytes()), Parsed::Complete(expected, head.len()));
    }

    #[test]
    fn what_is_no_request_for_anything_here_is_refused() {
        for (head, status) in [
            ("GET / HTTP/1.1\r\n\r\n", Status::BadRequest),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Status::BadRequest),
            ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", Status::BadRequest),
            ("GET ftp://a/b HTTP/1.1\r\nHost: a\r\n\r\n", Status::BadRequest),
            ("GET /\r\n\r\n", Status::BadRequest),
            ("GET / HTTP/2.0\r\n", Status::BadRequest),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", Status::BadRequest),
            ("GET / HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n", Status::BadRequest),
            ("\u{16}\u{3}\u{1}", Status::BadRequest),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", Status::MethodNotAllowed),
            ("get / HTTP/1.1\r\nHost: a\r\n\r\n", Status::MethodNotAllowed),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 03\r\n\r\nabc", Status::BodyRefused),
            ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", Status::BodyRefused),
        ] {
            assert_eq!(parse(head.as_bytes()), Parsed::Refused(status), "{head}");
            assert!(is_worth_parsing(head.as_bytes()), "{head}");
        }
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MAX_FIELDS + 1));
        assert_eq!(parse(many.as_bytes()), Parsed::Refused(Status::HeadTooLarge));
        let long = format!("GET /{} HTTP/1.1", "a".repeat(MAX_HEAD));
        assert_eq!(parse(&long.as_bytes()[..MAX_HEAD]), Parsed::Refused(Status::HeadTooLarge));
        assert_eq!(parse(&long.as_bytes()[..MAX_HEAD - 1]), Parsed::Incomplete);
        assert!(!is_worth_parsing("GET /ä\t".as_bytes()));
    }
}

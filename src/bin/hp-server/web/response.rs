//! What a request is answered with.

use std::rc::Rc;

/// How a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Here it is.
    Ok,
    /// It was no HTTP/1 request.
    BadRequest,
    /// There is nothing of that name.
    NotFound,
    /// Neither GET nor HEAD.
    MethodNotAllowed,
    /// It took too long to come.
    Timeout,
    /// It came with a body.
    BodyRefused,
    /// Its head was too long.
    HeadTooLarge,
    /// There are too many connections, or the server is about to end.
    Unavailable,
}

impl Status {
    /// The code and its phrase.
    pub fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::Timeout => "408 Request Timeout",
            Self::BodyRefused => "413 Content Too Large",
            Self::HeadTooLarge => "431 Request Header Fields Too Large",
            Self::Unavailable => "503 Service Unavailable",
        }
    }
}

/// What follows a head.
#[derive(Clone, Debug)]
pub enum Body {
    /// Part of the program.
    Fixed(&'static [u8]),
    /// Made of a sample, once for all who ask before the next one.
    Shared(Rc<[u8]>),
}

impl Body {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Fixed(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::Shared(text.into_bytes().into())
    }
}

/// What there is to say of a request, before it is known whether anything may follow.
#[derive(Clone, Debug)]
pub struct Content {
    /// How the request ends.
    pub status: Status,
    /// The kind of body.
    pub media_type: &'static str,
    /// The body.
    pub body: Body,
}

impl Content {
    /// One line for people.
    pub fn plain(status: Status, line: &'static str) -> Self {
        Self { status, media_type: "text/plain; charset=utf-8", body: Body::Fixed(line.as_bytes()) }
    }

    /// What all but [`Status::Ok`] are answered with by default.
    pub fn of_status(status: Status) -> Self {
        Self { body: Body::from(format!("{}\n", status.line())), ..Self::plain(status, "") }
    }
}

/// What is sent.
#[derive(Debug)]
pub struct Response {
    /// The head, with the empty line.
    pub head: Vec<u8>,
    /// What follows it.
    pub body: Body,
    /// Whether the connection ends with it.
    pub closes: bool,
}

impl Response {
    /// Makes the head.
    pub fn new(content: Content, head_only: bool, closes: bool) -> Self {
        let Content { status, media_type, body } = content;
        // Nothing comes from elsewhere, nothing goes there, and nobody else shows the page within his own.
        let head = format!(
            "HTTP/1.1 {}\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n{}{}Cache-Control: no-store\r\n\
             Content-Security-Policy: default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n\
             Referrer-Policy: no-referrer\r\nX-Content-Type-Options: nosniff\r\n\r\n",
            status.line(),
            body.bytes().len(),
            if status == Status::MethodNotAllowed { "Allow: GET, HEAD\r\n" } else { "" },
            if closes { "Connection: close\r\n" } else { "" },
        );
        let body = if head_only { Body::Fixed(b"") } else { body };
        Self { head: head.into_bytes(), body, closes }
    }

    /// Ends a connection.
    pub fn refusal(status: Status) -> Self {
        Self::new(Content::of_status(status), false, true)
    }
}

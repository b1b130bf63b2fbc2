//! One connection: it is read, answered and closed without ever being waited for.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use socket2::SockRef;

use super::request::{self, MAX_HEAD, Parsed};
use super::response::{Response, Status};
use super::site::Site;

/// A whole request must have come within so long, and a whole answer must have been taken.
const PATIENCE: Duration = Duration::from_secs(5);
/// After the last answer the client has so long to close the connection, too.
const LINGER: Duration = Duration::from_secs(1);
/// Requests that are answered on one connection.
const MAX_REQUESTS: u32 = 100;
/// Bytes that are thrown away after the last answer; without reading them the answer might not arrive.
const MAX_DISCARDED: usize = 64 << 10;

#[derive(Debug)]
enum Stage {
    /// A request is to come.
    Reading,
    /// An answer is being taken, of which so many bytes have been.
    Writing(Response, usize),
    /// Everything was said; so many bytes were thrown away.
    Lingering(usize),
}

/// Whether there is more to do for a connection, sooner or later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// When something comes, or its time is over.
    Wait,
    /// Never: close it.
    Ended,
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    stage: Stage,
    /// What has come and is not answered yet, at most [`MAX_HEAD`].
    input: Vec<u8>,
    /// Whether it may be a whole request, or none at all.
    is_unread: bool,
    /// Requests that were answered.
    answered: u32,
    deadline: Instant,
}

impl Connection {
    /// One that has just come.
    pub fn new(stream: TcpStream, now: Instant) -> Self {
        let input = Vec::new();
        Self { stream, stage: Stage::Reading, input, is_unread: false, answered: 0, deadline: now + PATIENCE }
    }

    /// When its time is over.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether closing it costs the client nothing but a new connection.
    pub fn is_idle(&self) -> bool {
        match self.stage {
            Stage::Reading => self.answered > 0 && self.input.is_empty(),
            Stage::Writing(..) => false,
            Stage::Lingering(_) => true,
        }
    }

    /// Its stream, to be registered.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Its time is over: a client in the middle of a request is told so, and one that does not take its answer loses it.
    pub fn expire(&mut self, now: Instant, site: &mut Site) -> Progress {
        if matches!(self.stage, Stage::Reading) && !self.input.is_empty() {
            self.answer(now, Response::refusal(Status::Timeout));
            return self.advance(now, site);
        }
        if matches!(self.stage, Stage::Writing(..)) {
            // Else the kernel would go on offering what it holds. If it cannot be told, it does.
            let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        }
        Progress::Ended
    }

    /// Does all that can be done now. That is bounded, because what one connection may ask for is.
    pub fn advance(&mut self, now: Instant, site: &mut Site) -> Progress {
        loop {
            let step = match &mut self.stage {
                Stage::Reading => self.read(now, site),
                Stage::Writing(..) => self.write(now),
                Stage::Lingering(_) => self.discard(),
            };
            match step {
                Ok(true) => {}
                Ok(false) => return Progress::Ended,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Progress::Wait,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Progress::Ended,
            }
        }
    }

    /// Reads on, or answers if that is enough; `false` if nothing more will come.
    fn read(&mut self, now: Instant, site: &mut Site) -> io::Result<bool> {
        if self.is_unread {
            self.is_unread = false;
            match request::parse(&self.input) {
                Parsed::Incomplete => {}
                Parsed::Refused(status) => self.answer(now, Response::refusal(status)),
                Parsed::Complete(request, len) => {
                    self.input.drain(..len);
                    self.answered += 1;
                    let closes = !request.keep_alive || self.answered == MAX_REQUESTS;
                    self.answer(now, site.answer(&request, closes));
                }
            }
            return Ok(true);
        }
        let mut buffer = [0; 2048];
        let room = (MAX_HEAD - self.input.len()).min(buffer.len());
        let len = self.stream.read(&mut buffer[..room])?;
        self.input.extend_from_slice(&buffer[..len]);
        self.is_unread = request::is_worth_parsing(&buffer[..len]) || self.input.len() == MAX_HEAD;
        Ok(len > 0)
    }

    fn answer(&mut self, now: Instant, response: Response) {
        self.stage = Stage::Writing(response, 0);
        self.deadline = now + PATIENCE;
    }

    /// Writes on; `false` if the client takes nothing more.
    fn write(&mut self, now: Instant) -> io::Result<bool> {
        let Stage::Writing(response, written) = &mut self.stage else { return Ok(true) };
        let (head, body) = (response.head.as_slice(), response.body.bytes());
        let rest = [
            IoSlice::new(&head[(*written).min(head.len())..]),
            IoSlice::new(&body[written.saturating_sub(head.len())..]),
        ];
        let len = self.stream.write_vectored(&rest)?;
        *written += len;
        if *written < head.len() + body.len() {
            return Ok(len > 0);
        }
        if response.closes {
            self.stream.shutdown(Shutdown::Write)?;
            self.stage = Stage::Lingering(0);
            self.deadline = now + LINGER;
        } else {
            self.stage = Stage::Reading;
            self.is_unread = !self.input.is_empty();
            self.deadline = now + PATIENCE;
        }
        Ok(true)
    }

    /// Throws away what still comes; `false` at the end.
    fn discard(&mut self) -> io::Result<bool> {
        let Stage::Lingering(discarded) = &mut self.stage else { return Ok(true) };
        let len = self.stream.read(&mut [0; 2048])?;
        *discarded += len;
        Ok(len > 0 && *discarded < MAX_DISCARDED)
    }
}

/// Tells a client that there is no room for it, if that can be done at once, and closes the connection.
pub fn turn_away(mut stream: TcpStream) {
    let response = Response::refusal(Status::Unavailable);
    let message = [response.head.as_slice(), response.body.bytes()].concat();
    // Who does not get it sees the end alone, which says the same.
    let _ = stream.write(&message).and_then(|_| stream.shutdown(Shutdown::Write));
}

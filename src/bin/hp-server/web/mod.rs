//! What the server shows over HTTP: a status page for people, metrics for Prometheus, and whether it is well.
//!
//! One thread takes the samples and serves all connections, of which there are few, without ever waiting for one of them. Nothing that
//! can be asked for changes anything, and what it costs the rest of the server does not depend on how much is asked for.

mod connection;
mod history;
mod metrics;
mod request;
mod response;
mod site;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use holepunch::server::ServerHandle;
use mio::{Events, Interest, Poll, Token, Waker};
use socket2::SockRef;

use self::connection::{Connection, Progress};
use self::site::Site;

/// Most connections at a time.
const MAX_CONNECTIONS: usize = 32;
/// Connections that are accepted before others have their turns.
const ACCEPTED_AT_ONCE: usize = 64;
/// What the kernel may hold of an answer that is not taken, in bytes.
const SEND_BUFFER: usize = 128 << 10;
/// How often a sample is taken.
const SAMPLE_PERIOD: Duration = Duration::from_secs(1);

/// Connections have lower numbers.
const LISTENER: Token = Token(MAX_CONNECTIONS);
const WAKER: Token = Token(MAX_CONNECTIONS + 1);

/// The thread that serves; it ends when this is dropped.
#[derive(Debug)]
pub struct Web {
    stop: Arc<AtomicBool>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Web {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let woken = self.waker.wake();
        // Without being woken it ends at the next sample.
        if let Err(error) = woken {
            log::debug!("cannot wake the status page's thread: {error}");
        }
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("the status page's thread has panicked");
        }
    }
}

/// Shows what a server does to all who connect to the listener.
pub fn serve(listener: TcpListener, handle: ServerHandle) -> io::Result<Web> {
    let address = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    // Connections inherit it. Else the kernel would take megabytes for a client that asks for much and reads nothing.
    SockRef::from(&listener).set_send_buffer_size(SEND_BUFFER)?;
    let mut listener = mio::net::TcpListener::from_std(listener);
    let poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let waker = Waker::new(poll.registry(), WAKER)?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let run = move || {
        let connections = std::array::from_fn(|_| None);
        let mut driver = Driver { poll, listener, connections, site: Site::new(handle), may_accept: true };
        if let Err(error) = driver.run(&stopped) {
            log::error!("the status page is no longer served: {error}");
        }
    };
    let thread = std::thread::Builder::new().name("hp-web".into()).spawn(run)?;
    log::info!("status page at http://{address}/");
    Ok(Web { stop, waker, thread: Some(thread) })
}

/// All that the thread has.
struct Driver {
    poll: Poll,
    listener: mio::net::TcpListener,
    connections: [Option<Connection>; MAX_CONNECTIONS],
    site: Site,
    /// Whether there may be connections to accept that no event will tell of.
    may_accept: bool,
}

impl Driver {
    fn run(&mut self, stop: &AtomicBool) -> io::Result<()> {
        let mut events = Events::with_capacity(2 * MAX_CONNECTIONS);
        let mut sample_at = Instant::now() + SAMPLE_PERIOD;
        while !stop.load(Ordering::Acquire) {
            let deadlines = self.connections.iter().flatten().map(Connection::deadline);
            let next = deadlines.fold(sample_at, Instant::min);
            let wait =
                if self.may_accept { Duration::ZERO } else { next.saturating_duration_since(Instant::now()) };
            if let Err(error) = self.poll.poll(&mut events, Some(wait))
                && error.kind() != io::ErrorKind::Interrupted
            {
                return Err(error);
            }
            let now = Instant::now();
            if now >= sample_at {
                self.site.sample(now);
                // What was slept through is not made up for.
                sample_at = (sample_at + SAMPLE_PERIOD).max(now + SAMPLE_PERIOD / 2);
                // Where there was no room for another connection there may be now, which no event tells of.
                self.may_accept = true;
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.may_accept = true,
                    WAKER => {}
                    Token(slot) => self.attend(slot, |connection, site| connection.advance(now, site)),
                }
            }
            self.accept(now);
            for slot in 0..MAX_CONNECTIONS {
                if self.connections[slot].as_ref().is_some_and(|connection| connection.deadline() <= now) {
                    self.attend(slot, |connection, site| connection.expire(now, site));
                }
            }
        }
        Ok(())
    }

    /// Has something done about a connection, if it is still there.
    fn attend(&mut self, slot: usize, act: impl FnOnce(&mut Connection, &mut Site) -> Progress) {
        let Some(connection) = &mut self.connections[slot] else { return };
        if act(connection, &mut self.site) == Progress::Ended {
            // Closing it takes it out of the poll, too.
            self.connections[slot] = None;
        }
    }

    fn accept(&mut self, now: Instant) {
        if !self.may_accept {
            return;
        }
        for _ in 0..ACCEPTED_AT_ONCE {
            match self.listener.accept() {
                Ok((stream, _)) => self.take(stream, now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.may_accept = false;
                    return;
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                    ) => {}
                Err(error) => {
                    log::debug!("cannot take a connection to the status page: {error}");
                    self.may_accept = false;
                    return;
                }
            }
        }
    }

    fn take(&mut self, stream: mio::net::TcpStream, now: Instant) {
        let slots = &self.connections;
        // Connections that wait for nothing give way, so that those who keep theirs do not keep out others.
        let slot = slots
            .iter()
            .position(Option::is_none)
            .or_else(|| slots.iter().position(|slot| slot.as_ref().is_some_and(Connection::is_idle)));
        let Some(slot) = slot else { return connection::turn_away(stream) };
        let mut connection = Connection::new(stream, now);
        // Answers are written in one piece; what is last of them should not wait.
        let ready = connection.stream().set_nodelay(true).and_then(|()| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(connection.stream(), Token(slot), interest)
        });
        match ready {
            Ok(()) => {
                self.connections[slot] = Some(connection);
                // Who has asked already, or is gone already, makes room for the next at once.
                self.attend(slot, |connection, site| connection.advance(now, site));
            }
            Err(error) => log::debug!("cannot serve a connection to the status page: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use holepunch::server::{Server, ServerConfig};

    use super::*;

    #[test]
    fn nothing_remains_when_it_is_stopped() {
        let config =
            ServerConfig { address: ([127, 0, 0, 1], 0).into(), workers: 1, ..ServerConfig::default() };
        let handle = Server::bind(&config).unwrap().handle();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let web = serve(listener, handle).unwrap();
        let mut answered = TcpStream::connect(address).unwrap();
        answered.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut begun = [0; 12];
        answered.read_exact(&mut begun).unwrap();
        assert_eq!(&begun, b"HTTP/1.1 200");
        let mut waiting = TcpStream::connect(address).unwrap();
        waiting.write_all(b"GET / HT").unwrap();
        let start = Instant::now();
        // Its thread is joined here.
        drop(web);
        assert!(start.elapsed() < SAMPLE_PERIOD / 2, "{:?}", start.elapsed());
        let mut rest = Vec::new();
        answered.read_to_end(&mut rest).unwrap();
        // What was sent and not read may come back as a reset.
        let _ = waiting.read_to_end(&mut rest);
        assert!(TcpStream::connect(address).is_err());
        TcpListener::bind(address).unwrap();
    }
}

//! A connection between two programs that tell each other their addresses by means of their own.
//!
//! ```no_run
//! use holepunch::{AddressSource, Conn, ConnEvent, ConnOptions, Transport};
//!
//! let mut options = ConnOptions::new(Transport::Tcp, b"a secret that both sides know");
//! options.public = AddressSource::Stun("stun.example.org:3478".into());
//! let conn = Conn::new(options)?;
//! println!("tell the peer: {:?} {:?}", conn.local_addresses(), conn.public_address(None)?);
//! conn.attempt(&["192.168.1.7:40000".parse().unwrap(), "203.0.113.9:40000".parse().unwrap()])?;
//! while let Some(event) = conn.next_event(None) {
//!     match event {
//!         ConnEvent::Connected(connected) => drop(conn.write(b"hello", None)?),
//!         ConnEvent::Data(bytes) => println!("{}", String::from_utf8_lossy(&bytes)),
//!         ConnEvent::Ended(why) => println!("over: {why:?}"),
//!         _ => {}
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod address;
mod attempt;
mod driver;
mod events;
mod options;
mod peer;
mod state;

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use self::driver::Driver;
pub use self::events::{ConnEnd, ConnEvent, Connected};
pub use self::options::{AddressSource, ConnOptions, MAX_ADDRESSES, MAX_ATTEMPT_TIMEOUT, MAX_ATTEMPTS};
use self::peer::Peer;
pub use self::peer::TakenSocket;
use self::state::{PublicAddress, Shared};
use crate::error::{Error, ErrorKind};
use crate::net::poll::wait_readable;

/// Longest datagram that [`Conn::write`] sends.
pub const MAX_DATAGRAM: usize = 65_507;

/// A connection that is being made, is there, or is over. Closes when dropped. Can be used from several threads at once.
pub struct Conn {
    shared: Arc<Shared>,
    local: Vec<SocketAddr>,
    data_events: bool,
    driver: Mutex<Option<JoinHandle<()>>>,
}

impl Conn {
    /// Binds to a port and, if somebody is to be asked for our public address, asks. Nobody is let in and nothing is sent to a peer
    /// before [`Self::attempt`].
    pub fn new(options: ConnOptions) -> Result<Self, Error> {
        let (id, data_events) = (options.checked()?, options.data_events);
        let (shared, driver) = Driver::prepare(options, id)?;
        let local = driver.local_addresses();
        let thread = std::thread::Builder::new().name("hp-conn".into()).spawn(move || driver.run());
        let thread =
            thread.map_err(|error| Error::from_io(ErrorKind::Socket, "starting a thread", &error))?;
        Ok(Self { shared, local, data_events, driver: Mutex::new(Some(thread)) })
    }

    /// Our own addresses, for peers in the same network: of each address family the one that leads elsewhere first.
    pub fn local_addresses(&self) -> &[SocketAddr] {
        &self.local
    }

    /// Our address as others see it, waited for so long (`None`: however long it takes, which is 3 s at most, and the look-up of the
    /// server's name). `Ok(None)` if nobody was to be asked, or there is no answer by then.
    pub fn public_address(&self, timeout: Option<Duration>) -> Result<Option<SocketAddr>, Error> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.shared.state.lock();
        loop {
            match &state.public {
                PublicAddress::Unasked => return Ok(None),
                PublicAddress::Known(address) => return Ok(Some(*address)),
                PublicAddress::Unknown(kind, message) => return Err(Error::new(*kind, message.clone())),
                PublicAddress::Asked => {}
            }
            let timed_out = match deadline {
                Some(deadline) => self.shared.changed.wait_until(&mut state, deadline).timed_out(),
                None => {
                    self.shared.changed.wait(&mut state);
                    false
                }
            };
            if timed_out {
                return Ok(None);
            }
        }
    }

    /// Looks for the peer at these addresses, at most [`MAX_ADDRESSES`], all at the same time, and lets it in if it comes to ours; with none, the
    /// latter only. Once. The other side must do the same, within the time that the options give. What comes of it is an event.
    pub fn attempt(&self, addresses: &[SocketAddr]) -> Result<(), Error> {
        let invalid = |message| Err(Error::new(ErrorKind::InvalidArgument, message));
        if addresses.len() > MAX_ADDRESSES {
            return invalid("a peer has at most 16 addresses");
        }
        if addresses.iter().any(|address| address.port() == 0 || address.ip().is_unspecified()) {
            return invalid("a peer's address needs a host and a port");
        }
        let mut state = self.shared.state.lock();
        if state.attempted {
            return Err(Error::new(ErrorKind::AlreadyAttempted, "a connection is attempted once"));
        }
        state.attempted = true;
        state.wanted = Some(addresses.to_vec());
        self.shared.driver.wake();
        Ok(())
    }

    /// The next event: at once, or within `timeout` (`None`: however long it takes). `None` if there is none by then, or will be none.
    pub fn next_event(&self, timeout: Option<Duration>) -> Option<ConnEvent> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            {
                let mut state = self.shared.state.lock();
                let event = self.shared.pop_event(&mut state);
                if event.is_some() || state.is_over() {
                    return event;
                }
            }
            let waited = wait_readable(&[self.shared.events.fd()], deadline);
            if waited.is_err() || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                let mut state = self.shared.state.lock();
                return self.shared.pop_event(&mut state);
            }
        }
    }

    /// Readable while [`Self::next_event`] has something to give, and once it will have nothing any more.
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        self.shared.events.fd()
    }

    /// Whether nothing more will happen, and all events have been told.
    pub fn is_over(&self) -> bool {
        self.shared.state.lock().is_over()
    }

    /// The connection, if it is there.
    pub fn connected(&self) -> Option<Connected> {
        self.peer().ok().map(|peer| peer.connected.clone())
    }

    fn peer(&self) -> Result<Arc<Peer>, Error> {
        let not_there = || Error::new(ErrorKind::NotConnected, "there is no connection, or none any more");
        self.shared.state.lock().peer.clone().ok_or_else(not_there)
    }

    /// Sends bytes to the peer. Over UDP they are one datagram of at most [`MAX_DATAGRAM`] bytes, which are sent at once or lost. Over TCP it
    /// is waited until the system has taken all of them, for so long (`None`: however long it takes); returns how many it has taken, or
    /// [`ErrorKind::Full`] if none.
    pub fn write(&self, bytes: &[u8], timeout: Option<Duration>) -> Result<usize, Error> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.peer()?.write(bytes, deadline, &self.shared.over)
    }

    /// Reads what comes from the peer, if that does not become events: over UDP one datagram, of which what does not fit is lost. Waits for
    /// so long (`None`: however long it takes). 0: the peer has closed the connection, over TCP. [`ErrorKind::TimedOutWaiting`] if nothing
    /// came.
    pub fn read(&self, buffer: &mut [u8], timeout: Option<Duration>) -> Result<usize, Error> {
        if self.data_events {
            return Err(Error::new(ErrorKind::InvalidArgument, "what comes becomes events"));
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.peer()?.read(buffer, deadline, &self.shared)
    }

    /// A key for a protocol that is run over the connection: the same on both sides, different for each label, known to nobody else, and
    /// forward secret. `None` unless there is an authenticated connection.
    pub fn export_key(&self, label: &[u8]) -> Option<[u8; 32]> {
        self.peer().ok()?.exporter.map(|exporter| exporter.key(label))
    }

    /// Moves the connection's socket to the caller for good: a connected TCP stream, or an unconnected UDP socket; blocking, close-on-exec.
    /// Nothing of ours touches it any more, and no further events come. What became events before is still to be had from
    /// [`Self::next_event`] and comes first. Calls of [`Self::read`] and [`Self::write`] in other threads end.
    pub fn take(&self) -> Result<TakenSocket, Error> {
        let peer = self.peer()?;
        drop(peer);
        self.end(true);
        let taken = self.shared.state.lock().taken.take();
        taken.ok_or_else(|| Error::new(ErrorKind::NotConnected, "the connection has ended"))
    }

    /// Ends it: attempts end, a connection is closed, and [`ConnEvent::Ended`] comes, unless it has.
    pub fn close(&self) {
        self.end(false);
    }

    fn end(&self, take: bool) {
        {
            let mut state = self.shared.state.lock();
            state.close = true;
            state.take |= take;
            self.shared.wake_all();
        }
        if let Some(driver) = self.driver.lock().take() {
            let _ = driver.join();
        }
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.close();
    }
}

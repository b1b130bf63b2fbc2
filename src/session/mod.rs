//! A session: everybody who shares an ID, for as long as one stays. Peers come and go, and all that is said is encrypted from end
//! to end.
//!
//! ```no_run
//! use holepunch::{Client, Session, SessionEvent, SessionOptions};
//!
//! let mut client = Client::new("rendezvous.example.org:5000")?;
//! let session = Session::join(&mut client, b"an ID that all share", SessionOptions::default())?;
//! session.send_to_all(b"hello")?;
//! while let Some(event) = session.next_event(None) {
//!     match event {
//!         SessionEvent::Connected(peer, path, key) => println!("{:?} at {}: {key:?}", peer.id, path.endpoint),
//!         SessionEvent::Message(peer, text) => println!("{:?}: {}", peer.id, String::from_utf8_lossy(&text)),
//!         _ => {}
//!     }
//! }
//! # Ok::<(), holepunch::Error>(())
//! ```

mod driver;

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use self::driver::Driver;
use crate::client::{Client, random_bytes};
use crate::error::{Error, ErrorKind};
use crate::net::poll::wait_readable;
use crate::net::waker::Waker;
use crate::proto::PeerId;
use crate::proto::delivery::{DeliveryConfig, MAX_MESSAGE};
use crate::proto::secure::{PublicKey, public_key};
use crate::proto::session::{
    MAX_PLAIN_MESSAGE, SendError, Session as Machine, SessionConfig, SessionCounters, SessionEvent,
    SessionPeer,
};

/// What a session is joined with.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct SessionOptions {
    /// Our static private key (X25519), by whose public one the peers know us again; `None`: a fresh one.
    pub identity: Option<[u8; 32]>,
    /// If not empty, the only keys that peers may hold. Others are told of and not talked to.
    pub pinned: Vec<PublicKey>,
    /// What may wait for each peer, and from each.
    pub delivery: DeliveryConfig,
    /// Whether existing plain tools that the server names are let in. Nothing is encrypted, authenticated or repeated between
    /// them and us, which every event about them says: see [`crate::MemberId`].
    pub plain_peers: bool,
}

struct Shared {
    state: Mutex<State>,
    /// Wakes the driver.
    driver: Waker,
    /// Readable while there are events.
    events: Waker,
}

struct State {
    session: Machine,
    /// Whether the wakers are raised: they cost system calls.
    driver_woken: bool,
    events_flagged: bool,
}

impl Shared {
    /// Raises or lowers the flag for those who wait for events.
    fn flag_events(&self, state: &mut State) {
        let wanted = state.session.has_events() || state.session.has_left();
        match (std::mem::replace(&mut state.events_flagged, wanted), wanted) {
            (false, true) => self.events.wake(),
            (true, false) => self.events.clear(),
            _ => {}
        }
    }

    /// Has the driver look at what has become of the session.
    fn wake_driver(&self, state: &mut State) {
        if !std::mem::replace(&mut state.driver_woken, true) {
            self.driver.wake();
        }
    }

    /// The driver looks.
    fn note_awake(&self, state: &mut State) {
        if std::mem::take(&mut state.driver_woken) {
            self.driver.clear();
        }
    }
}

/// A session that we are in. Leaves when dropped. Can be used from several threads at once.
pub struct Session {
    shared: Arc<Shared>,
    local: PeerId,
    key: PublicKey,
    driver: Option<JoinHandle<()>>,
}

impl Session {
    /// Joins the session of those who share `id`, by way of the client's server and with its settings (but for the dialect: the
    /// server must speak native, so that it never sees the ID). Looks up the server, within the client's timeout, and returns; who
    /// is there, and whether the server answers, are events. The sockets that the client has, if any, become the session's.
    pub fn join(client: &mut Client, id: &[u8], options: SessionOptions) -> Result<Self, Error> {
        let waker =
            || Waker::new().map_err(|error| Error::from_io(ErrorKind::Socket, "making a waker", &error));
        let (driver, events) = (waker()?, waker()?);
        let (seed, fresh) = (random_bytes()?, random_bytes()?);
        let identity = options.identity.unwrap_or(fresh);
        let (meeting, sockets) = client.begin_session(id, options.plain_peers)?;
        let config = SessionConfig { meeting, identity, pinned: options.pinned, delivery: options.delivery };
        let (servers, local_sockets) = (config.meeting.servers.clone(), config.meeting.sockets);
        let session = Machine::new(config, seed, Instant::now());
        let local = session.local();
        let state = Mutex::new(State { session, driver_woken: false, events_flagged: false });
        let shared = Arc::new(Shared { state, driver, events });
        let driver = Driver::new(Arc::clone(&shared), sockets, local_sockets, servers);
        let thread = std::thread::Builder::new().name("hp-session".into()).spawn(move || driver.run());
        let thread =
            thread.map_err(|error| Error::from_io(ErrorKind::Socket, "starting a thread", &error))?;
        Ok(Self { shared, local, key: public_key(&identity), driver: Some(thread) })
    }

    /// Our own name in the session.
    pub fn local(&self) -> PeerId {
        self.local
    }

    /// Our public key, whose fingerprint the others see.
    pub fn public_key(&self) -> PublicKey {
        self.key
    }

    /// Who is there.
    pub fn peers(&self) -> Vec<SessionPeer> {
        self.shared.state.lock().session.members().collect()
    }

    /// One of those who are there.
    pub fn peer(&self, id: PeerId) -> Option<SessionPeer> {
        self.shared.state.lock().session.member(id)
    }

    /// The next event: at once, or within `timeout` (`None`: however long it takes). `None` if there is none by then, or the session
    /// was left. Messages that are not asked for make their senders wait; nothing is lost.
    pub fn next_event(&self, timeout: Option<Duration>) -> Option<SessionEvent> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            {
                let mut state = self.shared.state.lock();
                let event = state.session.poll_event(Instant::now());
                self.shared.flag_events(&mut state);
                if state.session.has_transmits() {
                    // The peer is told that there is room again.
                    self.shared.wake_driver(&mut state);
                }
                if event.is_some() || state.session.has_left() {
                    return event;
                }
            }
            let waited = wait_readable(&[self.shared.events.fd()], deadline);
            if waited.is_err() || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return None;
            }
        }
    }

    /// Readable while [`Self::next_event`] has something to give.
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        self.shared.events.fd()
    }

    /// Sends a message of at most [`MAX_MESSAGE`] bytes to a peer; returns the number by which its delivery, or its loss, will be
    /// told. A peer that is not connected yet gets it when it is. To a plain peer a message goes once, in one datagram of at
    /// most [`MAX_PLAIN_MESSAGE`] bytes, and nothing is told.
    pub fn send(&self, to: PeerId, message: &[u8]) -> Result<u64, Error> {
        self.hand_over(Some(to), message)
    }

    /// Sends a message to everybody who is there; its delivery to each is told by the number that is returned. If it is not
    /// taken for some, for whom too much waits, events tell so; if for nobody, it is an error.
    pub fn send_to_all(&self, message: &[u8]) -> Result<u64, Error> {
        self.hand_over(None, message)
    }

    fn hand_over(&self, to: Option<PeerId>, message: &[u8]) -> Result<u64, Error> {
        let mut state = self.shared.state.lock();
        let taken = state.session.send(Instant::now(), to, message);
        self.shared.flag_events(&mut state);
        self.shared.wake_driver(&mut state);
        taken.map_err(rejection)
    }

    /// What has been dropped.
    pub fn counters(&self) -> SessionCounters {
        self.shared.state.lock().session.counters()
    }

    /// A key for another protocol between us and a peer: the same on both sides, different for each label, known to nobody else.
    /// `None` unless the peer is connected.
    pub fn export_key(&self, peer: PeerId, label: &[u8]) -> Option<[u8; 32]> {
        self.shared.state.lock().session.export_key(peer, label)
    }

    /// Whether the session was left: no more happens, and [`Self::next_event`] gives what is still there.
    pub fn has_left(&self) -> bool {
        self.shared.state.lock().session.has_left()
    }

    /// Says goodbye to everybody; the others are told at once. What has come can still be fetched, and [`SessionEvent::Left`] of
    /// each peer, with the messages that it has not got, as far as is known.
    pub fn leave(&self) {
        let mut state = self.shared.state.lock();
        state.session.leave(Instant::now());
        self.shared.flag_events(&mut state);
        self.shared.wake_driver(&mut state);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.leave();
        if let Some(driver) = self.driver.take() {
            let _ = driver.join();
        }
    }
}

fn rejection(error: SendError) -> Error {
    let (kind, message) = match error {
        SendError::TooLong => (
            ErrorKind::InvalidArgument,
            format!("a message has at most {MAX_MESSAGE} bytes, and {MAX_PLAIN_MESSAGE} to a plain peer"),
        ),
        SendError::Reserved => {
            (ErrorKind::InvalidArgument, "the plain dialect has a meaning of its own for this message".into())
        }
        SendError::NoSuchPeer => (ErrorKind::NoSuchPeer, "there is no such peer in the session".into()),
        SendError::Full => (ErrorKind::Full, "too much waits already".into()),
        SendError::Left => (ErrorKind::Cancelled, "the session was left".into()),
    };
    Error::new(kind, message)
}

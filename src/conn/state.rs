//! What the caller's threads and the connection's own share.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::events::{ConnEnd, ConnEvent};
use super::peer::{Peer, TakenSocket};
use crate::client::Canceller;
use crate::error::{Error, ErrorKind};
use crate::net::waker::Waker;

/// Bytes of data that wait as events before no more is read, and how much each of them counts besides.
pub const MAX_WAITING: usize = 1 << 20;
const EVENT_OVERHEAD: usize = 64;

/// What is known of our public address.
#[derive(Debug)]
pub enum PublicAddress {
    Unasked,
    Asked,
    Known(SocketAddr),
    Unknown(ErrorKind, String),
}

pub struct State {
    pub public: PublicAddress,
    events: VecDeque<ConnEvent>,
    waiting: usize,
    /// The driver has stopped reading for want of room.
    pub full: bool,
    flagged: bool,
    pub attempted: bool,
    /// Where the peer is to be looked for, until the driver has taken note.
    pub wanted: Option<Vec<SocketAddr>>,
    pub peer: Option<Arc<Peer>>,
    /// What a reading caller has found.
    pub ended: Option<ConnEnd>,
    pub close: bool,
    pub take: bool,
    pub taken: Option<TakenSocket>,
    over: bool,
}

impl State {
    /// Whether nothing more will happen.
    pub fn is_over(&self) -> bool {
        self.over && self.events.is_empty()
    }

    /// Whether there is room for more data.
    pub fn has_room(&self) -> bool {
        self.waiting < MAX_WAITING
    }
}

/// How much an event counts against the room.
fn size_of_data(event: &ConnEvent) -> usize {
    match event {
        ConnEvent::Data(bytes) => bytes.len() + EVENT_OVERHEAD,
        _ => 0,
    }
}

pub struct Shared {
    pub state: Mutex<State>,
    /// The public address has changed.
    pub changed: Condvar,
    /// Wakes the driver.
    pub driver: Arc<Waker>,
    /// Wakes it where it opens a UDP hole.
    canceller: Option<Canceller>,
    /// Readable while there are events, and when it is over.
    pub events: Waker,
    /// Readable once readers and writers shall give up.
    pub over: Waker,
}

impl Shared {
    pub fn new(canceller: Option<Canceller>) -> Result<Self, Error> {
        let waker =
            || Waker::new().map_err(|error| Error::from_io(ErrorKind::Socket, "making a waker", &error));
        let state = State {
            public: PublicAddress::Unasked,
            events: VecDeque::new(),
            waiting: 0,
            full: false,
            flagged: false,
            attempted: false,
            wanted: None,
            peer: None,
            ended: None,
            close: false,
            take: false,
            taken: None,
            over: false,
        };
        Ok(Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            driver: Arc::new(waker()?),
            canceller,
            events: waker()?,
            over: waker()?,
        })
    }

    /// Has everybody look at what has become of it.
    pub fn wake_all(&self) {
        self.over.wake();
        self.driver.wake();
        if let Some(canceller) = &self.canceller {
            canceller.cancel();
        }
    }

    pub fn push_event(&self, event: ConnEvent) {
        let mut state = self.state.lock();
        state.waiting += size_of_data(&event);
        state.events.push_back(event);
        self.flag(&mut state);
    }

    pub fn pop_event(&self, state: &mut State) -> Option<ConnEvent> {
        let event = state.events.pop_front();
        state.waiting -= event.as_ref().map_or(0, size_of_data);
        // Half of the room, so that a slow reader does not have the driver wake up for each event.
        if state.full && state.waiting <= MAX_WAITING / 2 {
            state.full = false;
            self.driver.wake();
        }
        self.flag(state);
        event
    }

    fn flag(&self, state: &mut State) {
        let wanted = !state.events.is_empty() || state.over;
        match (std::mem::replace(&mut state.flagged, wanted), wanted) {
            (false, true) => self.events.wake(),
            (true, false) => self.events.clear(),
            _ => {}
        }
    }

    pub fn set_public(&self, public: PublicAddress) {
        self.state.lock().public = public;
        self.changed.notify_all();
    }

    /// It is over: with an event that says why, or without, where the socket was taken.
    pub fn finish(&self, end: Option<ConnEnd>) {
        let mut state = self.state.lock();
        state.events.extend(end.map(ConnEvent::Ended));
        state.over = true;
        state.peer = None;
        if matches!(state.public, PublicAddress::Asked) {
            state.public = PublicAddress::Unknown(ErrorKind::Cancelled, "the connection is over".into());
        }
        self.flag(&mut state);
        self.changed.notify_all();
        self.over.wake();
    }
}

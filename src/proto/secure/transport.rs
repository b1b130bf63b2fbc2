//! One set of keys in use.

use std::fmt;
use std::time::Instant;

use snow::StatelessTransportState;

use super::noise::TAG_LEN;
use super::window::CounterWindow;
use super::{EXPIRE_AFTER, MAX_SEALED_TEXT};
use crate::proto::wire::Sealed;

/// What becomes of a sealed datagram.
pub(super) enum Opened {
    /// This was sealed.
    Text(Vec<u8>),
    /// It was not sealed with these keys.
    Forged,
    /// It came before, or is too old to tell.
    Replayed,
}

/// Keys that both sides have agreed upon.
pub(super) struct Transport {
    keys: StatelessTransportState,
    pub local_index: u32,
    remote_index: u32,
    pub since: Instant,
    next_counter: u64,
    window: CounterWindow,
}

impl Transport {
    pub fn new(keys: StatelessTransportState, local_index: u32, remote_index: u32, since: Instant) -> Self {
        Self { keys, local_index, remote_index, since, next_counter: 0, window: CounterWindow::default() }
    }

    /// How many datagrams were sealed.
    pub fn sent(&self) -> u64 {
        self.next_counter
    }

    pub fn seal(&mut self, now: Instant, text: &[u8]) -> Option<Vec<u8>> {
        if text.len() > MAX_SEALED_TEXT || now >= self.since + EXPIRE_AFTER {
            return None;
        }
        let mut sealed = [0; MAX_SEALED_TEXT + TAG_LEN];
        let counter = self.next_counter;
        let len = self.keys.write_message(counter, text, &mut sealed).ok()?;
        self.next_counter += 1;
        Some(Sealed { to: self.remote_index, counter, text: &sealed[..len] }.encode())
    }

    pub fn open(&mut self, sealed: &Sealed<'_>) -> Opened {
        if !self.window.is_new(sealed.counter) {
            return Opened::Replayed;
        }
        let mut text = vec![0; sealed.text.len()];
        match self.keys.read_message(sealed.counter, sealed.text, &mut text) {
            Ok(len) => {
                self.window.note(sealed.counter);
                text.truncate(len);
                Opened::Text(text)
            }
            Err(_) => Opened::Forged,
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transport({:08x})", self.local_index)
    }
}

//! Forwarding between two connections, as they are: bytes, ends and breaks, no faster than the slower one reads and the relay allows.

use std::io;
use std::time::Instant;

use parking_lot::Mutex;

use super::connection::{MAX_WAITING, Read, Stage};
use super::driver::{Driver, End};
use crate::proto::relay_streams::{RelayStreams, StreamBind};
use crate::proto::wire::MAX_DATAGRAM;
use crate::proto::wire::codec::Writer;
use crate::proto::wire::relay::{Ticket, write_relay_bound};
use crate::proto::wire::stream::{MAX_FRAME, push_frame};

/// Bytes that are kept of what one side says before the other one is there. With the word that it is, they fit into what may wait.
const MAX_EARLY: usize = MAX_WAITING - MAX_FRAME;

impl Driver<'_> {
    /// A connection has shown a ticket; what came behind that is in its `incoming`. `false`: the ticket is nobody's.
    pub(super) fn bind(
        &mut self,
        now: Instant,
        id: u64,
        ticket: &Ticket,
        relay: &Mutex<RelayStreams>,
    ) -> bool {
        let bound = relay.lock().bind(now, ticket, id);
        match bound {
            StreamBind::Unknown => return false,
            StreamBind::Waits(replaced) => {
                self.set_stage(id, Stage::Waiting);
                if let Some(replaced) = replaced {
                    self.close(replaced, End::Clean);
                }
            }
            StreamBind::Joined(other, others_ticket) => {
                self.set_stage(id, Stage::Forwarded(other));
                self.set_stage(other, Stage::Forwarded(id));
                let told = self
                    .join(now, id, ticket, other, relay)
                    .and_then(|()| self.join(now, other, &others_ticket, id, relay));
                if told.is_err() {
                    self.close(id, End::Reset);
                    return true;
                }
            }
        }
        self.enqueue(id);
        true
    }

    /// Tells one side that the other is there, and passes on what that has said already.
    fn join(
        &mut self,
        now: Instant,
        id: u64,
        ticket: &Ticket,
        other: u64,
        relay: &Mutex<RelayStreams>,
    ) -> io::Result<()> {
        let mut buffer = [0; MAX_DATAGRAM];
        let mut word = Writer::new(&mut buffer);
        write_relay_bound(&mut word, ticket);
        let mut bytes = Vec::new();
        push_frame(&mut bytes, word.as_slice());
        let [Some(connection), Some(other_connection)] = self.connections.get_disjoint_mut([&id, &other])
        else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let early = std::mem::take(&mut other_connection.incoming);
        relay.lock().note_forwarded(now, other, early.len() as u64);
        bytes.extend(early);
        connection.send(&bytes)
    }

    /// Keeps what one says who waits for the other side.
    pub(super) fn keep_early(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let room = MAX_EARLY.saturating_sub(connection.incoming.len()).min(self.buffer.len());
        match connection.read(&mut self.buffer[..room]) {
            Ok(Read::Bytes(len)) => {
                connection.incoming.extend_from_slice(&self.buffer[..len]);
                self.enqueue(id);
            }
            // Whoever has said everything may still listen.
            Ok(Read::Nothing | Read::End) => {}
            Err(_) => self.close(id, End::Clean),
        }
    }

    /// Forwards what can be, both ways: some at a time, so that others have their turns.
    pub(super) fn forward(&mut self, now: Instant, id: u64, other: u64, relay: &Mutex<RelayStreams>) {
        let mut more = false;
        for (from, to) in [(id, other), (other, id)] {
            match self.forward_one_way(now, from, to, relay) {
                Ok(there_is_more) => more |= there_is_more,
                Err(_) => return self.close(id, End::Reset),
            }
        }
        let is_done = |id| self.connections.get(id).is_some_and(|connection| connection.is_shut());
        if is_done(&id) && is_done(&other) {
            return self.close(id, End::Clean);
        }
        if more {
            self.enqueue(id);
        }
    }

    /// `true`: there may be more already.
    fn forward_one_way(
        &mut self,
        now: Instant,
        from: u64,
        to: u64,
        relay: &Mutex<RelayStreams>,
    ) -> io::Result<bool> {
        let [Some(source), Some(sink)] = self.connections.get_disjoint_mut([&from, &to]) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        if sink.flush()? > 0 {
            relay.lock().note_used(now, to);
        }
        let room = MAX_WAITING.saturating_sub(sink.waiting()).min(self.buffer.len());
        if source.may_read() && room > 0 {
            let allowed = relay.lock().allowance(now, from);
            if allowed == 0 {
                self.paused.push(from);
                return Ok(false);
            }
            let room = room.min(usize::try_from(allowed).unwrap_or(usize::MAX));
            if let Read::Bytes(len) = source.read(&mut self.buffer[..room])? {
                relay.lock().note_forwarded(now, from, len as u64);
                sink.send(&self.buffer[..len])?;
            }
        }
        if source.has_ended() && sink.waiting() == 0 {
            sink.shut()?;
        }
        Ok(source.may_read() && sink.waiting() < MAX_WAITING)
    }
}

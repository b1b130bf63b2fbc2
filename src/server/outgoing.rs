//! What is to be sent, by datagrams or over connections, in reused memory.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use super::Registry;
use crate::net::batch::{BATCH, SendBatch, ServerSocket};
use crate::proto::wire::stream::push_frame;
use crate::proto::{Route, Transport};

/// Datagrams that are not held back for more of them. What is due at once for very many clients leaves in parts of about that size,
/// since the memory that it takes is kept.
const ENOUGH: usize = 4 * BATCH;

/// What the handling of some messages wants sent.
#[derive(Default)]
pub(super) struct Outgoing {
    /// Where answers are written before they are queued.
    pub(super) scratch: Vec<u8>,
    datagrams: SendBatch,
    /// For members that are registered over TCP.
    pub(super) frames: Frames,
}

impl Outgoing {
    /// Queues a message.
    pub(super) fn push(&mut self, destination: Route, message: &[u8]) {
        match destination.transport {
            Transport::Udp => self.datagrams.push(destination, message),
            Transport::Tcp => self.frames.push(destination.remote, message),
        }
    }

    /// Whether there is so much of it that it should be sent before more is added.
    pub(super) fn is_enough(&self) -> bool {
        self.datagrams.len() + self.frames.len() >= ENOUGH
    }

    /// Sends all of it.
    pub(super) fn send(&mut self, registry: &Registry, socket: &ServerSocket) {
        self.send_datagrams(registry, socket);
        if let Some(tcp) = &registry.tcp {
            tcp.post(&mut self.frames);
        }
    }

    /// Sends the datagrams.
    pub(super) fn send_datagrams(&mut self, registry: &Registry, socket: &ServerSocket) {
        if self.datagrams.len() > 0 {
            let totals = &registry.totals;
            totals.sent.fetch_add(self.datagrams.len() as u64, Ordering::Relaxed);
            let refused = socket.send(&mut self.datagrams);
            totals.send_failed.fetch_add(refused as u64, Ordering::Relaxed);
        }
    }
}

/// Messages in frames, each for the connection from one remote endpoint.
#[derive(Debug, Default)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    /// For whom, and where the frame ends.
    queue: Vec<(SocketAddr, usize)>,
}

impl Frames {
    /// Queues a message.
    pub(super) fn push(&mut self, remote: SocketAddr, message: &[u8]) {
        push_frame(&mut self.bytes, message);
        self.queue.push((remote, self.bytes.len()));
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// How many bytes they have.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Each with whom it is for.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        let starts = std::iter::once(0).chain(self.queue.iter().map(|(_, end)| *end));
        self.queue.iter().zip(starts).map(|((remote, end), start)| (*remote, &self.bytes[start..*end]))
    }

    /// Queues what another one has, too.
    pub(super) fn extend(&mut self, other: &Self) {
        let before = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes);
        self.queue.extend(other.queue.iter().map(|(remote, end)| (*remote, before + end)));
    }

    /// Forgets them all.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.queue.clear();
    }
}

//! What happens in a session and who is in it, as plain data.

use super::address::hp_addr;
use super::peer::{HP_RTT_UNKNOWN, path_number, rtt_micros};
use crate::proto::wire::RefusedReason;
use crate::{Departure, MemberId, PeerId, PeerPath, SessionEvent, SessionPeer};

/// Event: the server keeps us, under endpoint; for the first time, or again.
pub const HP_EVENT_REGISTERED: i32 = 1;
/// Event: the server does not answer any more. Peers that are connected stay so.
pub const HP_EVENT_SERVER_LOST: i32 = 2;
/// Event: the server answers again.
pub const HP_EVENT_SERVER_REGAINED: i32 = 3;
/// Event: the server does not take us, for reason HP_REFUSED_*; it is asked again.
pub const HP_EVENT_REFUSED: i32 = 4;
/// Event: the session cannot go on and was left; reason is the system's error number (errno).
pub const HP_EVENT_FAILED: i32 = 5;
/// Event: peer is there, and is being reached.
pub const HP_EVENT_JOINED: i32 = 6;
/// Event: messages flow to and from peer, who holds key, over path to endpoint.
pub const HP_EVENT_CONNECTED: i32 = 7;
/// Event: they flow over another path to another endpoint.
pub const HP_EVENT_PATH_CHANGED: i32 = 8;
/// Event: peer says data.
pub const HP_EVENT_MESSAGE: i32 = 9;
/// Event: peer has got our message with this number.
pub const HP_EVENT_DELIVERED: i32 = 10;
/// Event: our message to all with this number was not taken for peer, for whom too much waits already.
pub const HP_EVENT_UNTAKEN: i32 = 11;
/// Event: peer is gone, for reason HP_LEFT_*, and has not got our messages with the undelivered numbers, as far as is known.
pub const HP_EVENT_LEFT: i32 = 12;
/// Event: so many events as number says were not kept, because nobody asked for those before. Messages are among them
/// only if they are plain peers', or beyond 16 MiB of peers who have left.
pub const HP_EVENT_UNTOLD: i32 = 13;

/// hp_session_event.reason of HP_EVENT_LEFT: it said goodbye.
pub const HP_LEFT_GOODBYE: i32 = 1;
/// hp_session_event.reason of HP_EVENT_LEFT: the server has not heard of it for long, and neither have we.
pub const HP_LEFT_TIMED_OUT: i32 = 2;
/// hp_session_event.reason of HP_EVENT_LEFT: it may be there, but nothing comes through any more.
pub const HP_LEFT_UNREACHABLE: i32 = 3;
/// hp_session_event.reason of HP_EVENT_LEFT: it holds key, which is not allowed.
pub const HP_LEFT_WRONG_KEY: i32 = 4;

/// hp_session_event.reason of HP_EVENT_LEFT: it was we who left the session.
pub const HP_LEFT_WE_LEFT: i32 = 5;

/// hp_session_event.reason of HP_EVENT_REFUSED: the session has as many members as the server allows.
pub const HP_REFUSED_SESSION_FULL: i32 = 1;
/// hp_session_event.reason of HP_EVENT_REFUSED: the server has as many registrations as it can hold.
pub const HP_REFUSED_SERVER_FULL: i32 = 2;
/// hp_session_event.reason of HP_EVENT_REFUSED: the server does not speak the native dialect, and sessions need it.
pub const HP_REFUSED_DIALECT: i32 = 3;
/// hp_session_event.reason of HP_EVENT_REFUSED: another one.
pub const HP_REFUSED_OTHER: i32 = 4;

/// A member's name in a session: another one each time it joins. Plain data: copy and compare it freely.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct hp_peer_id {
    /// All zero: nobody.
    pub bytes: [u8; 16],
}

impl From<PeerId> for hp_peer_id {
    fn from(id: PeerId) -> Self {
        Self { bytes: id.0 }
    }
}

/// What happened. The caller sets struct_size (HP_SESSION_EVENT_INIT does); members that an event has no use for are 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hp_session_event {
    /// sizeof(hp_session_event), set by the caller.
    pub struct_size: u32,
    /// HP_EVENT_*.
    pub kind: i32,
    /// About whom.
    pub peer: hp_peer_id,
    /// About a peer: 1 if what it says and hears is encrypted and authenticated, 0 if it speaks the plain dialect, and anyone on
    /// the way may read, forge and drop what is said.
    pub encrypted: i32,
    /// How endpoint was learned: HP_PATH_*.
    pub path: i32,
    /// Where the peer is reached; HP_EVENT_REGISTERED: where the server sees us.
    pub endpoint: hp_addr,
    /// HP_EVENT_CONNECTED and HP_EVENT_PATH_CHANGED: round-trip time in microseconds, or HP_RTT_UNKNOWN.
    pub rtt_us: u32,
    /// HP_LEFT_*, HP_REFUSED_* or an errno.
    pub reason: i32,
    /// The message's number, or how many.
    pub number: u64,
    /// The peer's public key, if it has one.
    pub key: [u8; 32],
    /// HP_EVENT_MESSAGE: data_len bytes; NULL if there are none. Valid until the next hp_session_next_event or hp_session_free.
    pub data: *const u8,
    /// Length of data.
    pub data_len: usize,
    /// HP_EVENT_LEFT: undelivered_count numbers of messages; NULL if there are none. Valid as long as data.
    pub undelivered: *const u64,
    /// Length of undelivered.
    pub undelivered_count: usize,
}

/// A member, as it is known now. The caller sets struct_size (HP_SESSION_PEER_INIT does).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hp_session_peer {
    /// sizeof(hp_session_peer), set by the caller.
    pub struct_size: u32,
    /// 1 if messages flow, else 0; then path, endpoint and key are 0.
    pub connected: i32,
    /// Its name.
    pub peer: hp_peer_id,
    /// As in hp_session_event.
    pub encrypted: i32,
    /// How endpoint was learned: HP_PATH_*.
    pub path: i32,
    /// Where it is reached.
    pub endpoint: hp_addr,
    /// Round-trip time in microseconds, or HP_RTT_UNKNOWN.
    pub rtt_us: u32,
    /// How many messages of ours it is not known to have got.
    pub undelivered: u32,
    /// Its public key.
    pub key: [u8; 32],
}

/// What a session has dropped. The caller sets struct_size (HP_SESSION_COUNTERS_INIT does).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hp_session_counters {
    /// sizeof(hp_session_counters), set by the caller.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// Datagrams of nobody who is known here, or that make no sense.
    pub strangers: u64,
    /// Sealed datagrams, handshakes and probes that are not authentic.
    pub forged: u64,
    /// Sealed datagrams and probes that had come before, or are too old to tell.
    pub replayed: u64,
    /// Without sense: the server's, or our own dialect's, or authentic.
    pub malformed: u64,
}

impl hp_session_event {
    fn of(kind: i32) -> Self {
        Self {
            struct_size: 0,
            kind,
            peer: hp_peer_id::default(),
            encrypted: 0,
            path: 0,
            endpoint: hp_addr::default(),
            rtt_us: 0,
            reason: 0,
            number: 0,
            key: [0; 32],
            data: std::ptr::null(),
            data_len: 0,
            undelivered: std::ptr::null(),
            undelivered_count: 0,
        }
    }

    fn about(kind: i32, member: MemberId) -> Self {
        Self { peer: member.id.into(), encrypted: member.encrypted.into(), ..Self::of(kind) }
    }

    fn over(self, path: &PeerPath) -> Self {
        let rtt_us = path.rtt.map_or(HP_RTT_UNKNOWN, rtt_micros);
        Self { path: path_number(path.kind), endpoint: path.endpoint.into(), rtt_us, ..self }
    }

    /// The event for C; what it points to is borrowed from `event`.
    pub(super) fn new(event: &SessionEvent, struct_size: u32) -> Self {
        let value = match event {
            SessionEvent::Registered(observed) => {
                Self { endpoint: (*observed).into(), ..Self::of(HP_EVENT_REGISTERED) }
            }
            SessionEvent::ServerLost => Self::of(HP_EVENT_SERVER_LOST),
            SessionEvent::ServerRegained => Self::of(HP_EVENT_SERVER_REGAINED),
            SessionEvent::Refused(reason) => {
                Self { reason: refused_number(*reason), ..Self::of(HP_EVENT_REFUSED) }
            }
            SessionEvent::Failed(os_error) => Self { reason: *os_error, ..Self::of(HP_EVENT_FAILED) },
            SessionEvent::Joined(member) => Self::about(HP_EVENT_JOINED, *member),
            SessionEvent::Connected(member, path, key) => {
                let key = key.map(|key| key.0).unwrap_or_default();
                Self { key, ..Self::about(HP_EVENT_CONNECTED, *member).over(path) }
            }
            SessionEvent::PathChanged(member, path) => Self::about(HP_EVENT_PATH_CHANGED, *member).over(path),
            SessionEvent::Message(member, text) => Self {
                data: pointer_to(text),
                data_len: text.len(),
                ..Self::about(HP_EVENT_MESSAGE, *member)
            },
            SessionEvent::Delivered(member, number) => {
                Self { number: *number, ..Self::about(HP_EVENT_DELIVERED, *member) }
            }
            SessionEvent::Untaken(member, number) => {
                Self { number: *number, ..Self::about(HP_EVENT_UNTAKEN, *member) }
            }
            SessionEvent::Left(member, departure, undelivered) => {
                let (reason, key) = match departure {
                    Departure::Goodbye => (HP_LEFT_GOODBYE, [0; 32]),
                    Departure::TimedOut => (HP_LEFT_TIMED_OUT, [0; 32]),
                    Departure::Unreachable => (HP_LEFT_UNREACHABLE, [0; 32]),
                    Departure::WeLeft => (HP_LEFT_WE_LEFT, [0; 32]),
                    Departure::WrongKey(key) => (HP_LEFT_WRONG_KEY, key.0),
                };
                Self {
                    reason,
                    key,
                    number: undelivered.len() as u64,
                    undelivered: pointer_to(undelivered),
                    undelivered_count: undelivered.len(),
                    ..Self::about(HP_EVENT_LEFT, *member)
                }
            }
            SessionEvent::Untold(count) => Self { number: *count, ..Self::of(HP_EVENT_UNTOLD) },
        };
        Self { struct_size, ..value }
    }
}

impl hp_session_peer {
    pub(super) fn new(peer: &SessionPeer, struct_size: u32) -> Self {
        Self {
            struct_size,
            connected: peer.path.is_some().into(),
            peer: peer.member.id.into(),
            encrypted: peer.member.encrypted.into(),
            path: peer.path.map_or(0, |path| path_number(path.kind)),
            endpoint: peer.path.map(|path| path.endpoint.into()).unwrap_or_default(),
            rtt_us: peer.path.and_then(|path| path.rtt).map_or(HP_RTT_UNKNOWN, rtt_micros),
            undelivered: u32::try_from(peer.undelivered).unwrap_or(u32::MAX),
            key: peer.key.map(|key| key.0).unwrap_or_default(),
        }
    }
}

/// NULL where there is nothing to point to.
fn pointer_to<T>(items: &[T]) -> *const T {
    if items.is_empty() { std::ptr::null() } else { items.as_ptr() }
}

fn refused_number(reason: RefusedReason) -> i32 {
    match reason {
        RefusedReason::SessionFull => HP_REFUSED_SESSION_FULL,
        RefusedReason::ServerFull => HP_REFUSED_SERVER_FULL,
        RefusedReason::DialectRefused => HP_REFUSED_DIALECT,
        RefusedReason::UnknownRegistration | RefusedReason::PeerIdTaken => HP_REFUSED_OTHER,
    }
}

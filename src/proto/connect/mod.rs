//! One call of `connect`: a meeting until enough holes are open or time is up.

mod types;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::proto::meeting::{Disposition, Meeting, MeetingCounters, MeetingEvent};
use crate::proto::punch::{PeerStatus, Progress};
use crate::proto::stream::{StreamId, StreamPunch};
use crate::proto::types::{SocketIndex, Transmit};
use crate::proto::wire::RefusedReason;

pub use self::types::{ConnectConfig, ConnectEvent, Outcome, Unreachable};

/// With enough holes open, how long the server's list is waited for, which hints may have been faster than.
const LIST_GRACE: Duration = Duration::from_millis(250);
/// With enough holes open, how long others that are known are waited for: they may count on us, too.
const SILENT_GRACE: Duration = Duration::from_millis(80);
/// And how much longer those of them that have been heard.
const STRAGGLER_GRACE: Duration = Duration::from_millis(100);
/// How long signs that the server is no good are not believed: it may be starting, and such signs can be forged.
pub const NO_SERVICE_PATIENCE: Duration = Duration::from_secs(2);

/// Whom a call with enough open holes waits for.
#[derive(Clone, Copy, Debug)]
enum Stragglers {
    /// Not enough holes are open.
    NotYet,
    /// All that the server will name.
    Unnamed { until: Instant },
    /// All that are known, whether they were heard or not.
    Known { until: Instant },
    /// Those that were heard.
    Heard { until: Instant },
}

/// One call of `connect`.
#[derive(Debug)]
pub struct Connect {
    meeting: Meeting,
    expected: usize,
    deadline: Option<Instant>,
    stragglers: Stragglers,
    /// What the first signs say is wrong with the server, as long as it has not answered.
    no_service: Option<(Outcome, Instant)>,
    outcome: Option<Outcome>,
    events: VecDeque<ConnectEvent>,
}

impl Connect {
    /// Starts at `now`; everything random in it comes from `seed`.
    pub fn new(config: ConnectConfig, seed: [u8; 32], now: Instant) -> Self {
        let expected = config.meeting.wanted;
        let mut connect = Self {
            meeting: Meeting::new(config.meeting, seed, now),
            expected,
            deadline: config.timeout.and_then(|timeout| now.checked_add(timeout)),
            stragglers: Stragglers::NotYet,
            no_service: None,
            outcome: None,
            events: VecDeque::new(),
        };
        connect.handle_timeout(now);
        connect
    }

    /// How the call ended, once it has. Nothing is sent afterwards but what `poll_transmit` still holds.
    pub fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    /// Every peer that is known, in the order in which they became known; then those that left without being reached.
    pub fn peers(&self, now: Instant) -> impl Iterator<Item = PeerStatus> {
        self.meeting.peers(now)
    }

    /// What has been counted.
    pub fn counters(&self) -> MeetingCounters {
        self.meeting.counters()
    }

    /// Takes a datagram and says whose it was.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        socket: SocketIndex,
        source: SocketAddr,
        datagram: &[u8],
    ) -> Disposition {
        if self.outcome.is_some() {
            return Disposition::Stranger;
        }
        let disposition = self.meeting.handle_datagram(now, socket, source, datagram);
        self.drain_meeting(now);
        self.progress(now);
        disposition
    }

    fn drain_meeting(&mut self, now: Instant) {
        while let Some(event) = self.meeting.poll_event() {
            match event {
                MeetingEvent::ForeignDialect => self.note_no_service(now, Outcome::DialectMismatch),
                MeetingEvent::Refused(RefusedReason::DialectRefused) => self.finish(Outcome::DialectMismatch),
                MeetingEvent::Refused(reason) => self.finish(Outcome::ServerRefused(reason)),
                // The outcome follows from all of them together.
                MeetingEvent::Reached(_) => {}
                other => self.events.push_back(ConnectEvent::Meeting(other)),
            }
        }
    }

    /// The server's address, if no word of it has come.
    pub fn silent_server(&self) -> Option<SocketAddr> {
        self.meeting.silent_server()
    }

    /// The network says that nobody is at `destination`.
    pub fn handle_unreachable(&mut self, now: Instant, destination: SocketAddr, how: Unreachable) {
        if self.meeting.is_server_address(destination) {
            self.note_no_service(now, Outcome::ServerUnreachable(how));
        }
    }

    /// A router says that a datagram of ours had passed as many others as it was allowed to.
    pub fn handle_time_exceeded(&mut self, router: IpAddr, payload: &[u8]) {
        self.meeting.handle_time_exceeded(router, payload);
    }

    /// Whether our router should open a port for us now; asked for once. Where probing works without, no router is bothered.
    #[must_use]
    pub fn wants_port_mapping(&mut self, now: Instant) -> bool {
        self.outcome.is_none() && self.meeting.wants_port_mapping(now)
    }

    /// Our router has opened this endpoint for us: the peers are told.
    pub fn add_mapped(&mut self, now: Instant, endpoint: SocketAddr) {
        if self.outcome.is_none() {
            self.meeting.add_mapped(now, endpoint);
        }
    }

    /// TCP's machine, for the driver; `None` where TCP must not be used, or the call is over. To be followed by
    /// [`Self::note_streams`].
    pub fn streams(&mut self) -> Option<&mut StreamPunch> {
        self.meeting.streams().filter(|_| self.outcome.is_none())
    }

    /// Something has happened to TCP's machine.
    pub fn note_streams(&mut self, now: Instant) {
        self.meeting.note_streams(now);
        self.drain_meeting(now);
        self.progress(now);
    }

    /// The next connection that is a peer's: the driver keeps them in this order.
    #[must_use]
    pub fn poll_established(&mut self) -> Option<StreamId> {
        self.meeting.poll_established()
    }

    /// The connection to the server is there, which took one round trip.
    pub fn handle_server_stream(&mut self, now: Instant, rtt: Duration) {
        if self.outcome.is_none() {
            self.meeting.handle_server_stream(now, rtt);
        }
    }

    /// How many further IPv4 sockets are wanted, on ports of the system's choice; to be asked for after every call that
    /// takes `&mut self`, and to be answered by [`Self::give_sockets`].
    #[must_use]
    pub fn wants_sockets(&self) -> Option<usize> {
        self.meeting.wants_sockets().filter(|_| self.outcome.is_none())
    }

    /// As many of the sockets that were wanted as could be opened.
    pub fn give_sockets(&mut self, now: Instant, sockets: &[SocketIndex]) {
        self.meeting.give_sockets(now, sockets);
    }

    /// The next of those sockets that is to be closed.
    #[must_use]
    pub fn poll_released(&mut self) -> Option<SocketIndex> {
        self.meeting.poll_released()
    }

    fn note_no_service(&mut self, now: Instant, sign: Outcome) {
        if self.meeting.server_answered() {
            return;
        }
        // The first sign is the plainest one.
        let (sign, since) = *self.no_service.get_or_insert((sign, now));
        if now.saturating_duration_since(since) >= NO_SERVICE_PATIENCE {
            self.finish(sign);
        }
    }

    /// Does all that is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.outcome.is_some() {
            return;
        }
        self.meeting.handle_timeout(now);
        self.drain_meeting(now);
        self.progress(now);
        if self.outcome.is_none() && self.deadline.is_some_and(|deadline| now >= deadline) {
            self.time_is_up(now);
        }
    }

    fn time_is_up(&mut self, now: Instant) {
        let found = self.meeting.count(now, Progress::Known) + self.meeting.unreached();
        let outcome = if found >= self.expected {
            Outcome::TimedOutPunching
        } else if self.meeting.server_answered() {
            Outcome::TimedOutWaiting
        } else {
            self.no_service.map_or(Outcome::ServerSilent, |(sign, _)| sign)
        };
        self.finish(outcome);
    }

    fn progress(&mut self, now: Instant) {
        if self.outcome.is_some() || self.meeting.count(now, Progress::Done) < self.expected {
            return;
        }
        let named_all = self.meeting.has_named_all();
        self.stragglers = match self.stragglers {
            Stragglers::NotYet => Stragglers::Unnamed { until: now + LIST_GRACE },
            waiting => waiting,
        };
        self.stragglers = match self.stragglers {
            Stragglers::Unnamed { until } if named_all || now >= until => {
                Stragglers::Known { until: now + SILENT_GRACE }
            }
            Stragglers::Known { until } if now >= until => {
                Stragglers::Heard { until: until + STRAGGLER_GRACE }
            }
            waiting => waiting,
        };
        let done = self.meeting.count(now, Progress::Done);
        let nobody_follows = match self.stragglers {
            Stragglers::Heard { until } => now >= until || self.meeting.count(now, Progress::Heard) == done,
            Stragglers::NotYet | Stragglers::Unnamed { .. } => false,
            Stragglers::Known { .. } => self.meeting.count(now, Progress::Known) == done,
        };
        if nobody_follows {
            self.finish(Outcome::Complete);
        }
    }

    /// Ends the call at the caller's wish; the server is told, so that the peers are.
    pub fn cancel(&mut self) {
        if self.outcome.is_none() {
            self.meeting.close();
        }
    }

    fn finish(&mut self, outcome: Outcome) {
        if self.outcome.is_none() {
            self.outcome = Some(outcome);
            self.events.push_back(ConnectEvent::Finished(outcome));
            self.meeting.close();
        }
    }

    /// The next datagram to send; to be asked for after every call that takes `&mut self`.
    #[must_use]
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.meeting.poll_transmit()
    }

    /// The next event; to be asked for after every call that takes `&mut self`.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<ConnectEvent> {
        self.events.pop_front()
    }

    /// When to call `handle_timeout`; to be asked for after every call that takes `&mut self`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.outcome.is_some() {
            return None;
        }
        let stragglers = match self.stragglers {
            Stragglers::NotYet => None,
            Stragglers::Unnamed { until } | Stragglers::Known { until } | Stragglers::Heard { until } => {
                Some(until)
            }
        };
        [self.meeting.poll_timeout(), self.deadline, stragglers].into_iter().flatten().min()
    }
}

//! Opening a hole where probing the peer's known endpoints is not enough, because a NAT gives each peer another port.
//!
//! - *Spray*: we have one endpoint that lets in only whom we have sent to; ports that the peer's NAT may have chosen are
//!   sent to, the next ones if it counts, else random ones.
//! - *Many sockets*: our NAT chooses ports at random; so many sockets send to the peer's one endpoint that one of them
//!   gets a port that the peer sprays.
//! - *Meet ahead*: both NATs count; see [`Technique::MeetAhead`].
//!
//! First packets carry a low TTL: they open our own NAT and die before the peer's, which might take them for its own
//! (a router that accepts input) and would then give the peer's packets another port.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::proto::Rng;
use crate::proto::nat::Technique;
use crate::proto::types::{PeerId, SocketIndex};

/// Sockets against a NAT with random ports, besides the one that is there.
pub const MANY_SOCKETS: usize = 255;
/// Random ports that are probed at most. With 256 sockets on the other side one of 175 fits in half of all cases, one of 1024 in
/// 98 %, one of these in 99.97 %. A second attempt is no substitute for the rest: what the first one sent in vain may have
/// reached a router that accepts input, which then gives ours another port as soon as it comes upon one of those flows.
pub const RANDOM_PORTS: usize = 2048;
/// Sockets where both NATs count.
const AHEAD_SOCKETS: usize = 50;
/// Predicted ports ahead of the last one seen, and behind it.
const PORTS_AHEAD: i32 = 40;
const PORTS_BEHIND: i32 = 8;
/// Ports below are not given to mappings.
const LOWEST_PORT: u16 = 1024;
/// How long answers are waited for after the last packet.
const PATIENCE: Duration = Duration::from_millis(600);

/// When a row of packets leaves after the row before began, and how far it goes.
type Round = (u64, Option<u8>);

const SPRAY_ONCE: [Round; 1] = [(60, None)];
const SPRAY_AGAIN: [Round; 4] = [(20, None), (100, None), (200, None), (400, None)];
const MANY_ROUNDS: [Round; 5] = [(0, Some(2)), (120, Some(3)), (120, Some(4)), (800, None), (400, None)];
const AHEAD_ROUNDS: [Round; 6] =
    [(0, Some(2)), (50, Some(3)), (50, Some(4)), (60, None), (150, None), (400, None)];

/// What to send now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shot {
    /// From where; `None` for the socket that is there anyway.
    pub socket: Option<SocketIndex>,
    /// Where to.
    pub destination: SocketAddr,
    /// How many routers it may pass.
    pub ttl: Option<u8>,
}

#[derive(Debug)]
enum Work {
    Spray { ports: Vec<u16> },
    Sockets { wanted: usize, opened: Option<Vec<SocketIndex>>, target: SocketAddr },
}

/// One such attempt at one peer.
#[derive(Debug)]
pub struct HardPunch {
    /// The peer.
    pub peer: PeerId,
    remote: SocketAddr,
    work: Work,
    rounds: &'static [Round],
    /// Packets at a time, and the pause after them.
    pace: (usize, Duration),
    round: usize,
    round_began: Instant,
    at: usize,
    next: Instant,
}

impl HardPunch {
    /// Begins an attempt at a peer that the server sees at `remote`; `None` if the technique asks for none.
    pub fn start(
        technique: Technique,
        peer: PeerId,
        remote: SocketAddr,
        rng: &mut Rng,
        now: Instant,
    ) -> Option<Self> {
        let quick = (16, Duration::from_millis(1));
        let (work, rounds, pace): (_, &'static [Round], _) = match technique {
            Technique::Plain | Technique::Hopeless => return None,
            Technique::SprayPredicted { last, step } => {
                (Work::Spray { ports: predicted_ports(last, step) }, &SPRAY_AGAIN, quick)
            }
            // 5000 packets a second.
            Technique::SprayRandom { seen } => {
                let pace = (25, Duration::from_millis(5));
                (Work::Spray { ports: random_ports(seen, rng) }, &SPRAY_ONCE, pace)
            }
            Technique::ManySockets => {
                let work = Work::Sockets { wanted: MANY_SOCKETS, opened: None, target: remote };
                (work, &MANY_ROUNDS, (64, Duration::from_millis(4)))
            }
            Technique::MeetAhead { last, step } => {
                let port = ahead(last, step, AHEAD_SOCKETS as i32 / 2)?;
                let target = SocketAddr::new(remote.ip(), port);
                (Work::Sockets { wanted: AHEAD_SOCKETS, opened: None, target }, &AHEAD_ROUNDS, quick)
            }
        };
        let next = now + Duration::from_millis(rounds[0].0);
        Some(Self { peer, remote, work, rounds, pace, round: 0, round_began: next, at: 0, next })
    }

    /// How many sockets it waits for.
    pub fn wants_sockets(&self) -> Option<usize> {
        match self.work {
            Work::Sockets { wanted, opened: None, .. } => Some(wanted),
            _ => None,
        }
    }

    /// Takes the sockets that could be opened; `false` if none are wanted.
    pub fn give_sockets(&mut self, now: Instant, sockets: &[SocketIndex]) -> bool {
        match &mut self.work {
            Work::Sockets { opened: opened @ None, .. } => {
                *opened = Some(sockets.to_vec());
                (self.round_began, self.next) = (now, now);
                true
            }
            _ => false,
        }
    }

    /// Whether a source is where this attempt looks for the peer.
    pub fn looks_at(&self, source: SocketAddr) -> bool {
        source.ip() == self.remote.ip() && source != self.remote
    }

    /// Whether nothing more will come of it.
    pub fn is_over(&self, now: Instant) -> bool {
        self.round >= self.rounds.len() && now >= self.next
    }

    /// What is to be sent now.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Vec<Shot>) {
        while now >= self.next && self.round < self.rounds.len() && self.wants_sockets().is_none() {
            let ttl = self.rounds[self.round].1;
            let end = self.at + self.pace.0;
            let row = match &self.work {
                Work::Spray { ports } => {
                    let target = |port: &u16| SocketAddr::new(self.remote.ip(), *port);
                    let due = ports.iter().take(end).skip(self.at);
                    out.extend(due.map(|port| Shot { socket: None, destination: target(port), ttl }));
                    ports.len()
                }
                Work::Sockets { opened, target, .. } => {
                    let sockets = opened.as_deref().unwrap_or_default();
                    let due = sockets.iter().take(end).skip(self.at);
                    out.extend(due.map(|socket| Shot { socket: Some(*socket), destination: *target, ttl }));
                    sockets.len()
                }
            };
            if end < row {
                self.at = end;
                self.next += self.pace.1;
                continue;
            }
            self.at = 0;
            self.round += 1;
            match self.rounds.get(self.round) {
                Some((after, _)) => {
                    self.round_began = (self.round_began + Duration::from_millis(*after)).max(now);
                    self.next = self.round_began;
                }
                None => self.next = now + PATIENCE,
            }
        }
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.wants_sockets().is_none().then_some(self.next)
    }
}

/// The port that a counting NAT gives `count` mappings after `last`.
fn ahead(last: u16, step: i16, count: i32) -> Option<u16> {
    u16::try_from(i32::from(last) + i32::from(step) * count).ok().filter(|port| *port >= LOWEST_PORT)
}

fn predicted_ports(last: u16, step: i16) -> Vec<u16> {
    let counts = (1..=PORTS_AHEAD).chain((-PORTS_BEHIND..=0).rev());
    counts.filter_map(|count| ahead(last, step, count)).collect()
}

/// Different ports, where the NAT seems to choose from a part of the range only, from that part and around it.
fn random_ports(seen: (u16, u16), rng: &mut Rng) -> Vec<u16> {
    let (lowest, highest) = seen;
    let width = highest.saturating_sub(lowest);
    // A few samples span most of their range; those of a large one do so by more than this.
    let (from, to) = if seen.0 <= seen.1 && width < 8192 {
        let margin = (width / 2).max(512);
        (lowest.saturating_sub(margin).max(LOWEST_PORT), highest.saturating_add(margin))
    } else {
        (LOWEST_PORT, u16::MAX)
    };
    let mut ports: Vec<u16> = (from..=to).collect();
    let count = ports.len().min(RANDOM_PORTS);
    for at in 0..count {
        let other = at + rng.u32() as usize % (ports.len() - at);
        ports.swap(at, other);
    }
    ports.truncate(count);
    ports
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn punch(technique: Technique) -> (HardPunch, Instant) {
        let now = Instant::now();
        let remote = "198.51.100.1:4000".parse().unwrap();
        (HardPunch::start(technique, PeerId([1; 16]), remote, &mut Rng::new([3; 32]), now).unwrap(), now)
    }

    fn run(punch: &mut HardPunch, mut now: Instant) -> Vec<(Instant, Shot)> {
        let mut shots = Vec::new();
        while !punch.is_over(now) {
            now = now.max(punch.poll_timeout().unwrap());
            let mut out = Vec::new();
            punch.handle_timeout(now, &mut out);
            shots.extend(out.into_iter().map(|shot| (now, shot)));
        }
        shots
    }

    #[test]
    fn random_spray_keeps_its_bounds_and_never_repeats_a_port() {
        let (mut punch, start) = punch(Technique::SprayRandom { seen: (2000, 60_000) });
        let shots = run(&mut punch, start);
        assert_eq!(shots.len(), RANDOM_PORTS);
        let ports: BTreeSet<_> = shots.iter().map(|(_, shot)| shot.destination.port()).collect();
        assert_eq!(ports.len(), RANDOM_PORTS);
        assert!(
            shots.iter().all(|(_, shot)| shot.destination.port() >= LOWEST_PORT && shot.socket.is_none())
        );
        assert!(shots.last().unwrap().0 - start < Duration::from_secs(3));
    }

    #[test]
    fn narrow_block_of_ports_is_searched_first_of_all() {
        let ports = random_ports((30_100, 31_800), &mut Rng::new([1; 32]));
        assert_eq!(ports.len(), RANDOM_PORTS);
        assert!(ports.iter().all(|port| (29_250..=32_650).contains(port)), "{ports:?}");
        assert!(random_ports((5, 5), &mut Rng::new([1; 32])).iter().all(|port| *port >= LOWEST_PORT));
    }

    #[test]
    fn predicted_ports_begin_with_the_next_and_stay_in_range() {
        assert_eq!(predicted_ports(40_000, 2)[..3], [40_002, 40_004, 40_006]);
        assert_eq!(predicted_ports(40_000, -1)[0], 39_999);
        assert!(predicted_ports(65_530, 1).contains(&65_535));
        assert!(predicted_ports(1030, -3).iter().all(|port| *port >= LOWEST_PORT));
    }

    #[test]
    fn many_sockets_wait_for_their_sockets_and_begin_with_a_low_ttl() {
        let (mut punch, start) = punch(Technique::ManySockets);
        assert_eq!((punch.wants_sockets(), punch.poll_timeout()), (Some(MANY_SOCKETS), None));
        let sockets: Vec<_> = (2..12).map(SocketIndex).collect();
        assert!(punch.give_sockets(start, &sockets) && !punch.give_sockets(start, &sockets));
        let shots = run(&mut punch, start);
        assert_eq!(shots.len(), sockets.len() * MANY_ROUNDS.len());
        assert!(shots[..10].iter().all(|(_, shot)| shot.ttl == Some(2)));
        assert_eq!(shots.last().unwrap().1.ttl, None);
    }

    #[test]
    fn two_counting_nats_meet_whatever_was_allocated_in_between() {
        let at = |last| Technique::MeetAhead { last, step: 1 };
        let ((a, _), (b, _)) = (punch(at(50_000)), punch(at(40_000)));
        let target = |punch: &HardPunch| match punch.work {
            Work::Sockets { target, .. } => target.port(),
            Work::Spray { .. } => unreachable!(),
        };
        // a's peer counts from 50,000 and is at most some mappings further by now; all its sockets send to one port of a's.
        for drift in 0..20u16 {
            let of_a: Vec<u16> = (1..=50).map(|count| 40_000 + drift + count).collect();
            assert!(of_a.contains(&target(&b)), "{drift}");
            let of_b: Vec<u16> = (1..=50).map(|count| 50_000 + drift + count).collect();
            assert!(of_b.contains(&target(&a)), "{drift}");
        }
    }
}

//! Two sides and the network between them, in virtual time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::handshake::Credentials;
use super::*;
use crate::proto::secure::Exchange;
use crate::proto::{SessionId, SessionKeys};

const LATENCY: Duration = Duration::from_millis(10);
const TIMEOUT: Duration = Duration::from_secs(3);

/// What happens to a connection attempt at a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Front {
    /// It is taken: a public address, or the same network.
    Open,
    /// A NAT that drops what nobody inside has asked for.
    Nat,
    /// A NAT whose router refuses it, as if it had been meant for the router.
    RefusingNat,
    /// It is refused, whatever the side does.
    Closed,
    /// It is dropped, whatever the side does.
    Hole,
}

fn endpoint(side: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, side as u8 + 1], 4000))
}

fn config(side: u8, id: Option<&[u8]>) -> StreamConfig {
    let credentials = id.map(|id| {
        let keys = SessionKeys::derive(&SessionId::new(id).unwrap());
        let exchange = Arc::new(Exchange::new([side + 1; 32], keys.channel));
        Credentials { local: PeerId([side + 1; 16]), key: keys.stream, exchange }
    });
    StreamConfig { credentials, attempt_timeout: TIMEOUT, attempts: Some(3) }
}

#[derive(Debug)]
enum Happening {
    /// An attempt reaches the other side.
    Arrives {
        side: usize,
        id: StreamId,
    },
    Dialled {
        side: usize,
        id: StreamId,
        result: Result<(), DialFailure>,
    },
    Bytes {
        side: usize,
        id: StreamId,
        bytes: Vec<u8>,
    },
    Ended {
        side: usize,
        id: StreamId,
    },
}

type End = (usize, StreamId);

struct World {
    now: Instant,
    start: Instant,
    sides: [StreamPunch; 2],
    fronts: [Front; 2],
    /// What is on its way.
    queue: VecDeque<(Instant, Happening)>,
    /// Attempts that are under way, and connections by their ends.
    dialling: Vec<End>,
    links: BTreeMap<End, End>,
    established: [Vec<Established>; 2],
    failed: [Vec<StreamReport>; 2],
    sent: [Vec<Vec<u8>>; 2],
}

impl World {
    fn new(ids: [Option<&[u8]>; 2], fronts: [Front; 2]) -> Self {
        let start = Instant::now();
        let side = |at: usize| StreamPunch::new(config(at as u8, ids[at]), Rng::new([at as u8; 32]));
        Self {
            now: start,
            start,
            sides: [side(0), side(1)],
            fronts,
            queue: VecDeque::new(),
            dialling: Vec::new(),
            links: BTreeMap::new(),
            established: Default::default(),
            failed: Default::default(),
            sent: Default::default(),
        }
    }

    /// Both look for each other, the second one so much later.
    fn look(&mut self, later: Duration) {
        for side in [0, 1] {
            let candidate = Candidate { kind: CandidateKind::Reflexive, endpoint: endpoint(1 - side) };
            let start = self.start + later * side as u32;
            self.sides[side].add_peer(self.now, PeerId::UNKNOWN, &[candidate], start);
        }
    }

    fn later(&mut self, happening: Happening) {
        self.queue.push_back((self.now + LATENCY, happening));
    }

    fn drain(&mut self) {
        for side in [0, 1] {
            while let Some(command) = self.sides[side].poll_command() {
                match command {
                    StreamCommand::Dial { id, remote, from_port } => {
                        assert!(from_port && remote == endpoint(1 - side));
                        self.dialling.push((side, id));
                        self.later(Happening::Arrives { side, id });
                    }
                    StreamCommand::Send(id, bytes) => {
                        self.sent[side].push(bytes.clone());
                        if let Some((other, id)) = self.links.get(&(side, id)).copied() {
                            self.later(Happening::Bytes { side: other, id, bytes });
                        }
                    }
                    StreamCommand::Relisten => panic!("nothing is stuck here"),
                    StreamCommand::Close(id) => {
                        self.dialling.retain(|dialling| *dialling != (side, id));
                        if let Some((other, id)) = self.links.remove(&(side, id)) {
                            self.later(Happening::Ended { side: other, id });
                        }
                    }
                }
            }
            while let Some(event) = self.sides[side].poll_event() {
                match event {
                    StreamEvent::Established(established) => self.established[side].push(established),
                    StreamEvent::Failed(_, report) => self.failed[side].push(report),
                }
            }
        }
    }

    fn link(&mut self, one: End, other: End) {
        self.links.insert(one, other);
        self.links.insert(other, one);
    }

    fn happen(&mut self, happening: Happening) {
        let now = self.now;
        match happening {
            Happening::Arrives { side, id } => {
                let (other, front) = (1 - side, self.fronts[1 - side]);
                let Some(at) = self.dialling.iter().position(|dialling| *dialling == (side, id)) else {
                    return;
                };
                // It has left its own NAT, and so has the other one: they meet.
                let theirs = self.dialling.iter().copied().find(|dialling| dialling.0 == other);
                match (front, theirs) {
                    (Front::Nat | Front::RefusingNat, Some(theirs)) => {
                        self.dialling.remove(at);
                        self.dialling.retain(|dialling| *dialling != theirs);
                        self.link((side, id), theirs);
                        self.later(Happening::Dialled { side: other, id: theirs.1, result: Ok(()) });
                        self.later(Happening::Dialled { side, id, result: Ok(()) });
                    }
                    (Front::Open, _) => {
                        if let Some(accepted) = self.sides[other].handle_accepted(now, endpoint(side)) {
                            self.dialling.remove(at);
                            self.link((side, id), (other, accepted));
                            self.later(Happening::Dialled { side, id, result: Ok(()) });
                        }
                    }
                    (Front::RefusingNat | Front::Closed, _) => {
                        self.dialling.remove(at);
                        let result = Err(DialFailure::Refused);
                        self.later(Happening::Dialled { side, id, result });
                    }
                    (Front::Nat | Front::Hole, _) => {}
                }
            }
            Happening::Dialled { side, id, result } => self.sides[side].handle_dialled(now, id, result),
            Happening::Bytes { side, id, mut bytes } => {
                while !bytes.is_empty() {
                    match self.sides[side].reading(id) {
                        Reading::Bytes(wanted) => {
                            let taken: Vec<u8> = bytes.drain(..wanted.min(bytes.len())).collect();
                            self.sides[side].handle_bytes(now, id, &taken);
                        }
                        Reading::Look => {
                            self.sides[side].handle_data_waiting(now, id);
                            break;
                        }
                        Reading::Nothing => break,
                    }
                }
            }
            Happening::Ended { side, id } => {
                self.links.remove(&(side, id));
                self.sides[side].handle_ended(now, id);
            }
        }
    }

    /// Goes on until nothing is left to do, or so much time has passed.
    fn run(&mut self, time: Duration) {
        loop {
            self.drain();
            let timers = self.sides.iter().filter_map(StreamPunch::poll_timeout);
            let next = timers.chain(self.queue.iter().map(|(at, _)| *at)).min();
            let Some(next) = next.filter(|next| *next <= self.start + time) else { return };
            self.now = next.max(self.now);
            let due = self.queue.iter().position(|(at, _)| *at <= self.now);
            match due.and_then(|at| self.queue.remove(at)) {
                Some((_, happening)) => self.happen(happening),
                None => {
                    let now = self.now;
                    self.sides.iter_mut().for_each(|side| side.handle_timeout(now));
                }
            }
        }
    }

    fn assert_same_connection(&self) {
        let [[one], [other]] = &self.established.each_ref().map(Vec::as_slice) else {
            panic!("{:?} {:?}", self.established, self.failed)
        };
        assert_eq!(self.links.get(&(0, one.id)), Some(&(1, other.id)));
        assert_eq!(self.links.len(), 2, "all others are closed");
        assert_eq!(one.exporter.map(|e| e.key(b"")), other.exporter.map(|e| e.key(b"")));
        assert!(self.dialling.is_empty());
    }
}

const ID: Option<&[u8]> = Some(b"id");

#[test]
fn both_sides_end_with_the_same_connection_through_every_pair_of_fronts_that_lets_them() {
    for ids in [[ID, ID], [None, None]] {
        for one in [Front::Open, Front::Nat, Front::Closed, Front::Hole] {
            for other in [Front::Open, Front::Nat] {
                for later in [0, 3, 40, 900] {
                    // Whoever cannot be reached reaches an open side only.
                    if matches!(one, Front::Closed | Front::Hole) && other != Front::Open {
                        continue;
                    }
                    let mut world = World::new(ids, [one, other]);
                    world.look(Duration::from_millis(later));
                    world.run(Duration::from_secs(20));
                    world.assert_same_connection();
                    assert!(
                        world.established[0][0].peer == PeerId([if ids[0].is_some() { 2 } else { 0 }; 16])
                    );
                }
            }
        }
    }
}

#[test]
fn nothing_is_said_where_nobody_proves_anything() {
    let mut world = World::new([None, None], [Front::Open, Front::Open]);
    world.look(Duration::ZERO);
    world.run(Duration::from_secs(20));
    world.assert_same_connection();
    assert!(world.sent.iter().all(Vec::is_empty));
}

#[test]
fn refusing_routers_are_passed_by_attempts_that_meet_on_the_way() {
    // Even if the two sides do not start together.
    for later in [0, 5, 30, 77, 250] {
        let mut world = World::new([ID, ID], [Front::RefusingNat; 2]);
        world.look(Duration::from_millis(later));
        world.run(Duration::from_secs(20));
        world.assert_same_connection();
    }
}

#[test]
fn refusals_are_told_from_silence() {
    for (front, refused) in [(Front::Closed, true), (Front::Hole, false)] {
        let mut world = World::new([ID, ID], [front; 2]);
        world.look(Duration::ZERO);
        world.run(Duration::from_secs(20));
        let report = world.failed[0][0];
        assert_eq!((report.refused > 5, report.unanswered == 0), (refused, refused), "{report:?}");
        assert_eq!(report.cause(), if refused { StreamCause::Refused } else { StreamCause::Unanswered });
    }
}

#[test]
fn who_does_not_know_the_id_is_told_nothing_and_reported() {
    let mut world = World::new([ID, Some(b"another")], [Front::Open, Front::Open]);
    world.look(Duration::ZERO);
    world.run(Duration::from_secs(20));
    assert!(world.established.iter().all(Vec::is_empty));
    assert!(world.links.is_empty());
    for side in [0, 1] {
        assert!(world.failed[side][0].strangers > 0);
        assert_eq!(world.failed[side].len(), 1, "exactly once");
        assert!(world.sent[side].iter().all(|sent| sent.len() == 88), "a hello and nothing else");
        // At most one at every time at which the endpoint is tried, and as many that came.
        assert!(world.sent[side].len() <= 2 * 22, "{}", world.sent[side].len());
    }
}

#[test]
fn peer_that_never_comes_or_never_speaks_ends_in_one_failure() {
    let mut world = World::new([ID, ID], [Front::Open, Front::Hole]);
    let candidate = Candidate { kind: CandidateKind::Host, endpoint: endpoint(1) };
    world.sides[0].add_peer(world.now, PeerId::UNKNOWN, &[candidate], world.start);
    // Somebody connects, and says nothing.
    let mute = world.sides[0].handle_accepted(world.now, endpoint(7)).unwrap();
    world.run(Duration::from_secs(30));
    let [report] = world.failed[0][..] else { panic!("{:?}", world.failed) };
    assert_eq!((report.attempts, report.unanswered, report.silent), (3, 3, 1));
    assert_eq!(world.sides[0].reading(mute), Reading::Nothing);
    assert_eq!(world.sides[0].poll_timeout(), None);
}

#[test]
fn many_who_connect_and_say_nothing_keep_nobody_out() {
    let mut world = World::new([ID, ID], [Front::Open, Front::Hole]);
    for number in 0..1000 {
        let remote = SocketAddr::from(([203, 0, 113, 1], number + 1));
        assert!(world.sides[0].handle_accepted(world.now, remote).is_some());
    }
    assert_eq!(world.sides[0].counters().over_limit, 1000 - MAX_ACCEPTED as u64);
    world.look(Duration::ZERO);
    world.run(Duration::from_secs(1));
    assert_eq!((world.established[0].len(), world.established[1].len()), (1, 1));
}

#[test]
fn forwarded_connection_begins_with_its_ticket_and_is_proven_like_any_other() {
    let start = Instant::now();
    let mut side = StreamPunch::new(config(0, ID), Rng::new([1; 32]));
    let server = SocketAddr::from(([198, 51, 100, 1], 5000));
    let peer = PeerId([2; 16]);
    side.add_forwarding(start, peer, Forwarding { server, ticket: [7; 16] });
    let Some(StreamCommand::Dial { id, remote, from_port: false }) = side.poll_command() else { panic!() };
    assert_eq!(remote, server);
    side.handle_dialled(start, id, Ok(()));
    let Some(StreamCommand::Send(_, word)) = side.poll_command() else { panic!() };
    assert_eq!((word.len(), &word[10..], side.poll_command()), (26, &[7; 16][..], None));
    // The other side takes its time; what comes then is exactly that.
    side.handle_timeout(start + Duration::from_secs(8));
    assert_eq!((side.poll_command(), side.reading(id)), (None, Reading::Bytes(26)));
    let mut bound = word.clone();
    bound[9] = 0x18;
    side.handle_bytes(start, id, &bound[..20]);
    side.handle_bytes(start, id, &bound[20..]);
    assert_eq!(side.reading(id), Reading::Bytes(88));
    let Some(StreamCommand::Send(_, hello)) = side.poll_command() else { panic!() };
    assert_eq!(hello.len(), 88);
    // Anything else is somebody else's.
    let mut side = StreamPunch::new(config(0, ID), Rng::new([1; 32]));
    side.add_forwarding(start, peer, Forwarding { server, ticket: [7; 16] });
    let Some(StreamCommand::Dial { id, .. }) = side.poll_command() else { panic!() };
    side.handle_dialled(start, id, Ok(()));
    side.handle_bytes(start, id, b"HTTP/1.1 400 Bad Request");
    assert_eq!(side.report(peer).unwrap().strangers, 1);
    assert_eq!(side.reading(id), Reading::Nothing);
}

#[test]
fn listener_that_blocks_the_way_is_made_anew() {
    let mut now = Instant::now();
    let mut side = StreamPunch::new(config(0, ID), Rng::new([1; 32]));
    let candidate = Candidate { kind: CandidateKind::Reflexive, endpoint: endpoint(1) };
    side.add_peer(now, PeerId::UNKNOWN, &[candidate], now);
    let mut relistened = Vec::new();
    for failure in [
        DialFailure::Taken,
        DialFailure::Refused,
        DialFailure::Taken,
        DialFailure::Taken,
        DialFailure::Taken,
        DialFailure::Taken,
    ] {
        let Some(StreamCommand::Dial { id, .. }) = side.poll_command() else { panic!() };
        side.handle_dialled(now, id, Err(failure));
        let anew = side.poll_command();
        assert!(matches!(anew, None | Some(StreamCommand::Relisten)));
        relistened.push(anew.is_some());
        now = side.poll_timeout().unwrap();
        side.handle_timeout(now);
    }
    assert_eq!(relistened, [false, false, false, true, false, true]);
}

//! What a room's messages cost, beside raw UDP sockets and beside its parts alone, in one and the same run; and what a room with many
//! members costs while nobody says anything.
//!
//!     scripts/bench.sh room [--rounds 9] [--ms 300] [--sizes 64,1200] [--members 65] [--quiet-seconds 20]
//!
//! All is on loopback, one way. The variants take turns, so that all of them meet the same machine. `ns each` is the time of
//! all processors together for one message.

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use holepunch::proto::delivery::{Delivery, DeliveryConfig};
use holepunch::proto::secure::{Channel, Parties};
use holepunch::proto::wire::Message;
use holepunch::proto::{LookupKey, PeerId, Rng};
use holepunch::{
    Client, DialectPolicy, ErrorKind, PeerPath, Session, SessionEvent, SessionOptions, Techniques,
};
use support::TestServer;

#[derive(Parser)]
struct Arguments {
    /// How often each variant has its turn
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// How long a turn is
    #[arg(long, default_value_t = 300)]
    ms: u64,
    /// Bytes of a message
    #[arg(long, value_delimiter = ',', default_values_t = [64, 1200])]
    sizes: Vec<usize>,
    /// How many there are in the rooms that are looked at, ourselves among them
    #[arg(long, value_delimiter = ',', default_values_t = [65])]
    members: Vec<usize>,
    /// A room of so many that all but one cannot reach each other, as something else has seen to: two processors do not get through
    /// the 32,640 holes of 256 that can. The others are at 127.1.0.0/16
    #[arg(long)]
    star: Option<usize>,
    /// How long a room is looked at while it is quiet
    #[arg(long, default_value_t = 20)]
    quiet_seconds: u64,
    /// Be the server and so many members of its room, for another process
    #[arg(long, hide = true)]
    others: Option<usize>,
    /// What `cargo bench` says
    #[arg(long, hide = true)]
    bench: bool,
}

const ID: &[u8] = b"a room to be measured";
const PATIENCE: Duration = Duration::from_secs(600);

fn main() {
    let arguments = Arguments::parse();
    if let Some(count) = arguments.others {
        return be_others(count, arguments.star.is_some());
    }
    if arguments.rounds > 0 {
        let pair = Pair::meet();
        for size in &arguments.sizes {
            throughput(&pair, *size, arguments.rounds, Duration::from_millis(arguments.ms));
        }
    }
    for members in &arguments.members {
        quiet(*members, false, Duration::from_secs(arguments.quiet_seconds));
    }
    if let Some(members) = arguments.star {
        quiet(members, true, Duration::from_secs(arguments.quiet_seconds));
    }
}

/// Messages a second and processor time for each, round by round.
struct Variant {
    name: &'static str,
    per_second: Vec<f64>,
    nanoseconds: Vec<f64>,
}

impl Variant {
    /// Counts what `run` does until the time that it is given is over.
    fn measure(&mut self, time: Duration, run: &dyn Fn(Instant) -> u64) {
        let (used, began) = (processor_time(None), Instant::now());
        let count = run(began + time) as f64;
        let (took, used) = (began.elapsed(), processor_time(None) - used);
        self.per_second.push(count / took.as_secs_f64());
        self.nanoseconds.push(used.as_nanos() as f64 / count);
    }
}

/// The middle one, the least and the largest.
fn spread(values: impl IntoIterator<Item = f64>) -> (f64, f64, f64) {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[0], values[values.len() - 1])
}

fn throughput(pair: &Pair, size: usize, rounds: usize, time: Duration) {
    let message = vec![0x5A; size];
    let runs: [(&'static str, &dyn Fn(Instant) -> u64); 4] = [
        ("raw UDP", &|until| raw_udp(&message, until)),
        ("seal + open", &|until| seal_and_open(&message, until)),
        ("delivery alone", &|until| deliver(&message, until)),
        ("room", &|until| pair.talk(&message, until)),
    ];
    let mut variants =
        runs.map(|(name, _)| Variant { name, per_second: Vec::new(), nanoseconds: Vec::new() });
    for _ in 0..rounds {
        for (variant, (_, run)) in variants.iter_mut().zip(runs) {
            variant.measure(time, run);
            pair.settle();
        }
    }
    println!("{size} B   messages/s (least to most)        Mbit/s  ns each   to raw UDP (least to most)");
    for variant in &variants {
        let (speed, least, most) = spread(variant.per_second.iter().copied());
        let raw = &variants[0].per_second;
        let (ratio, lowest, highest) = spread(variant.per_second.iter().zip(raw).map(|(own, raw)| own / raw));
        println!(
            "  {:14} {speed:9.0} ({least:.0} to {most:.0}) {:9.0} {:8.0} {ratio:8.3} ({lowest:.3} to {highest:.3})",
            variant.name,
            speed * size as f64 * 8.0 / 1e6,
            spread(variant.nanoseconds.iter().copied()).0,
        );
    }
    println!();
}

/// One by one from one thread to another; what arrives counts.
fn raw_udp(message: &[u8], until: Instant) -> u64 {
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    receiver.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let (sender, to) = (UdpSocket::bind("127.0.0.1:0").unwrap(), receiver.local_addr().unwrap());
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let arrived = scope.spawn(|| {
            let (mut buffer, mut count) = ([0; 2048], 0);
            while !ended.load(Ordering::Relaxed) {
                count += u64::from(receiver.recv_from(&mut buffer).is_ok());
            }
            count
        });
        while Instant::now() < until {
            sender.send_to(message, to).unwrap();
        }
        ended.store(true, Ordering::Relaxed);
        arrived.join().unwrap()
    })
}

/// Two ends of a channel that have agreed on keys.
fn channels(now: Instant) -> [Channel; 2] {
    let (lookup, ids) = (LookupKey([3; 32]), [PeerId([1; 16]), PeerId([2; 16])]);
    let mut ends = [0, 1].map(|at: usize| {
        let parties = Parties {
            lookup,
            secret: [4; 32],
            local: ids[at],
            remote: ids[1 - at],
            identity: [at as u8 + 1; 32],
        };
        Channel::new(parties, &[], Rng::new([at as u8; 32]), now)
    });
    while !ends.iter().all(Channel::is_established) {
        for at in [0, 1] {
            while let Some(datagram) = ends[at].poll_transmit() {
                let other = &mut ends[1 - at];
                match Message::parse(&datagram).unwrap() {
                    Message::HandshakeBegin(begin) => other.handle_begin(&begin),
                    Message::HandshakeAnswer(answer) => other.handle_answer(now, &answer),
                    Message::HandshakeEnd(end) => other.handle_end(now, &end),
                    _ => {}
                }
            }
        }
    }
    ends
}

/// The crypto alone, both sides' in one thread.
fn seal_and_open(message: &[u8], until: Instant) -> u64 {
    let (mut count, mut now) = (0, Instant::now());
    let [mut sender, mut receiver] = channels(now);
    // A message that needs two datagrams is sealed in two.
    let parts: Vec<_> = message.chunks(holepunch::proto::secure::MAX_SEALED_TEXT).collect();
    while now < until {
        for part in &parts {
            let datagram = sender.seal(now, part).unwrap();
            let Ok(Message::Sealed(sealed)) = Message::parse(&datagram) else {
                unreachable!("it was sealed")
            };
            receiver.open(now, &sealed).unwrap();
        }
        (count, now) = (count + 1, Instant::now());
    }
    count
}

/// Cutting, numbering, acknowledging and pacing alone, both sides' in one thread; frames take no time from one to the other.
fn deliver(message: &[u8], until: Instant) -> u64 {
    let (mut count, mut now) = (0, Instant::now());
    let mut ends = [0, 1].map(|_| Delivery::new(DeliveryConfig::default(), now));
    while now < until {
        while ends[0].send(0, message).is_ok() {}
        for at in [0, 1] {
            now = Instant::now();
            while let Some(frame) = ends[at].poll_frame(now) {
                ends[1 - at].handle_frame(now, &frame);
            }
        }
        while ends[1].poll_message(now).is_some() {
            count += 1;
        }
        while ends[0].poll_delivered().is_some() {}
    }
    count
}

/// Two in a room; one of them reads in a thread of its own and counts.
struct Pair {
    sender: Session,
    receiver: PeerId,
    arrived: &'static AtomicU64,
    sent: AtomicU64,
    _server: TestServer,
}

impl Pair {
    fn meet() -> Self {
        let server = TestServer::start(DialectPolicy::Auto);
        let rooms =
            [0, 1].map(|_| Session::join(&mut server.client(), ID, SessionOptions::default()).unwrap());
        wait_connected(&rooms, 1);
        let [sender, reader] = rooms;
        let (receiver, arrived) = (reader.local(), &*Box::leak(Box::new(AtomicU64::new(0))));
        std::thread::spawn(move || {
            while let Some(event) = reader.next_event(None) {
                arrived.fetch_add(u64::from(matches!(event, SessionEvent::Message(..))), Ordering::Relaxed);
            }
        });
        Self { sender, receiver, arrived, sent: AtomicU64::new(0), _server: server }
    }

    /// Sends as fast as the room takes messages; those that have arrived count.
    fn talk(&self, message: &[u8], until: Instant) -> u64 {
        let before = self.arrived.load(Ordering::Relaxed);
        while Instant::now() < until {
            match self.sender.send(self.receiver, message) {
                Ok(_) => drop(self.sent.fetch_add(1, Ordering::Relaxed)),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Full);
                    self.sender.next_event(Some(Duration::from_millis(10)));
                    while self.sender.next_event(Some(Duration::ZERO)).is_some() {}
                }
            }
        }
        self.arrived.load(Ordering::Relaxed) - before
    }

    /// Waits until nothing is under way.
    fn settle(&self) {
        let until = Instant::now() + PATIENCE;
        while self.arrived.load(Ordering::Relaxed) < self.sent.load(Ordering::Relaxed) {
            self.sender.next_event(Some(Duration::from_millis(1)));
            assert!(Instant::now() < until, "what was sent did not arrive");
        }
    }
}

fn path_count(room: &Session) -> usize {
    let has_path = |path: Option<PeerPath>| usize::from(path.is_some());
    room.peers().iter().map(|peer| has_path(peer.path)).sum()
}

fn wait_connected(rooms: &[Session], count: usize) {
    let until = Instant::now() + PATIENCE;
    while rooms.iter().any(|room| path_count(room) < count) {
        let counts: Vec<_> = rooms.iter().map(path_count).collect();
        assert!(Instant::now() < until, "connected to {counts:?}, not {count}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The server and `count` members in this process, until standard input ends.
fn be_others(count: usize, star: bool) {
    raise_descriptor_limit();
    let server = TestServer::start(DialectPolicy::Auto);
    println!("{}", server.address);
    let mut rooms = Vec::new();
    while rooms.len() < count {
        // All at once would be more than two processors get through before each takes the others for dead.
        let together = rooms.len() + (count - rooms.len()).min(16);
        while rooms.len() < together {
            let [high, low] = (rooms.len() as u16 + 1).to_be_bytes();
            let local = star.then(|| ([127, 1, high, low], 0).into());
            rooms.push(join_cheaply(&server.address.to_string(), local));
        }
        wait_connected(&rooms, if star { 0 } else { together - 1 });
    }
    let lines = std::io::stdin().lines();
    println!("met");
    lines.for_each(|_| {
        wait_connected(&rooms, if star { 1 } else { count });
        println!("met");
    });
}

/// Without what is of no use on loopback.
fn join_cheaply(server: &str, local: Option<SocketAddr>) -> Session {
    let mut client = Client::new(server).unwrap();
    client.set_local_address(local);
    if local.is_some() {
        // Most of what these probe is out of reach.
        client.set_peer_retry(Duration::from_secs(10)).unwrap();
    }
    let mut techniques = Techniques::default();
    (techniques.diagnosis, techniques.port_mapping, techniques.fresh_socket) = (false, false, false);
    client.set_techniques(techniques);
    Session::join(&mut client, ID, SessionOptions::default()).unwrap()
}

/// One room in this process, all others in another.
fn quiet(members: usize, star: bool, time: Duration) {
    let others = members - 1;
    let mut process = Others::start(others, star);
    let address = process.line();
    let began = Instant::now();
    assert_eq!(process.line(), "met");
    let meeting = began.elapsed();
    let (memory, used, began) = (resident_kib(), processor_time(None), Instant::now());
    let room = join_cheaply(&address, None);
    wait_connected(std::slice::from_ref(&room), others);
    let (joining, joining_used) = (began.elapsed(), processor_time(None) - used);
    process.say("all?");
    assert_eq!(process.line(), "met");
    // What is repeated for good measure ends.
    std::thread::sleep(Duration::from_secs(5));
    let before = [None, Some(process.child.id())].map(processor_time);
    std::thread::sleep(time);
    let after = [None, Some(process.child.id())].map(processor_time);
    let [own, theirs] = [0, 1].map(|at| (after[at] - before[at]).as_secs_f64() / time.as_secs_f64() * 100.0);
    assert_eq!(path_count(&room), others, "nobody got lost");
    println!(
        "room of {members}: the last one has joined within {:.2} s and {:.2} s of processor time; while quiet it uses \
         {own:.2} % of a processor (the others {:.2} % each), and {} KiB of memory ({:.1} for each of the others); \
         the others had met within {:.1} s",
        joining.as_secs_f64(),
        joining_used.as_secs_f64(),
        theirs / others as f64,
        resident_kib() - memory,
        (resident_kib() - memory) as f64 / others as f64,
        meeting.as_secs_f64(),
    );
}

/// This program as the other members.
struct Others {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Others {
    fn start(count: usize, star: bool) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut command = Command::new(program);
        command.args(star.then(|| format!("--star={count}")));
        command.args(["--others", &count.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn say(&mut self, text: &str) {
        use std::io::Write;
        writeln!(self.child.stdin.as_mut().unwrap(), "{text}").unwrap();
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What all threads of a process, or of ours, have had.
fn processor_time(process: Option<u32>) -> Duration {
    let mut clock = libc::CLOCK_PROCESS_CPUTIME_ID;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: one writes a clock's number, the other a timespec.
    unsafe {
        if let Some(process) = process {
            assert_eq!(libc::clock_getcpuclockid(process as libc::pid_t, &mut clock), 0);
        }
        libc::clock_gettime(clock, &mut time);
    }
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A room needs a few.
fn raise_descriptor_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: reads and writes one rlimit.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
    }
}

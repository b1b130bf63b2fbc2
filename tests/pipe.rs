//! `hp pipe` against `hp-server`, as programs.
#![cfg(feature = "programs")]

mod support;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::os::fd::FromRawFd;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use holepunch::DialectPolicy;
use holepunch::proto::Rng;
use support::TestServer;

const PATIENCE: Duration = Duration::from_secs(60);
const CONNECTED: &str = "the other end is at 127.0.0.1";

/// One end, killed when dropped.
struct End {
    child: Child,
    input: Option<ChildStdin>,
    output: Option<ChildStdout>,
    errors: Receiver<String>,
    seen: Vec<String>,
}

fn command(server: &str, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hp"));
    command.env_clear().current_dir(std::env::temp_dir()).args(["pipe", "--server", server]).args(flags);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl End {
    fn start(server: &TestServer, id: &str) -> Self {
        Self::run(&mut command(&server.address.to_string(), &[id]))
    }

    fn run(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let (sender, errors) = channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        std::thread::spawn(move || lines.map_while(Result::ok).all(|line| sender.send(line).is_ok()));
        Self { input: child.stdin.take(), output: child.stdout.take(), child, errors, seen: Vec::new() }
    }

    /// Two that have found each other.
    fn pair(server: &TestServer, id: &str) -> [Self; 2] {
        let mut ends = [Self::start(server, id), Self::start(server, id)];
        ends.iter_mut().for_each(|end| end.wait_for(CONNECTED));
        ends
    }

    /// Waits for a line of standard error with these words.
    fn wait_for(&mut self, words: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.seen.last().is_some_and(|line| line.contains(words)) {
            match self.errors.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push(line),
                Err(_) => panic!("no {words:?} in {:#?}", self.seen),
            }
        }
    }

    fn say(&mut self, text: &[u8]) {
        self.input.as_mut().unwrap().write_all(text).unwrap();
    }

    fn hear(&mut self, text: &[u8]) {
        let mut heard = vec![0; text.len()];
        self.output.as_mut().unwrap().read_exact(&mut heard).unwrap();
        assert_eq!(heard, text);
    }

    /// Hears that there is no more.
    fn hear_end(&mut self) {
        let mut rest = Vec::new();
        self.output.as_mut().unwrap().read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"");
    }

    fn end_input(&mut self) {
        self.input = None;
    }

    /// Says all of it, and ends its input, beside what else goes on.
    fn say_all(&mut self, text: Arc<Vec<u8>>, said: Arc<AtomicUsize>) -> JoinHandle<()> {
        let mut input = self.input.take().unwrap();
        std::thread::spawn(move || {
            for piece in text.chunks(100_003) {
                input.write_all(piece).unwrap();
                said.fetch_add(piece.len(), Ordering::Relaxed);
            }
        })
    }

    /// Hears all there is to hear.
    fn hear_all(&mut self) -> JoinHandle<Vec<u8>> {
        let mut output = self.output.take().unwrap();
        std::thread::spawn(move || {
            let mut text = Vec::new();
            output.read_to_end(&mut text).unwrap();
            text
        })
    }

    fn signal(&self, signal: i32) {
        // SAFETY: a child that has not been waited for.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, signal) }, 0);
    }

    /// Its exit status, once it has ended by itself.
    fn end(&mut self) -> Option<i32> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.child.try_wait().unwrap() {
                Some(status) => return status.code(),
                None if Instant::now() > until => panic!("still runs; {:#?}", self.seen),
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// Ends with this status, its last words being these.
    fn assert_ends(&mut self, code: i32, words: &str) {
        let status = self.end();
        self.seen.extend(self.errors.iter());
        assert_eq!(status, Some(code), "{:#?}", self.seen);
        let last = self.seen.last().map_or("", String::as_str);
        assert!(last.contains(words), "{:#?}", self.seen);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn server() -> TestServer {
    TestServer::start(DialectPolicy::Auto)
}

fn random(len: usize, seed: u8) -> Arc<Vec<u8>> {
    let mut rng = Rng::new([seed; 32]);
    Arc::new((0..len.div_ceil(32)).flat_map(|_| rng.bytes::<32>()).take(len).collect())
}

#[test]
fn both_ways_at_once_whatever_the_bytes() {
    let server = server();
    let mut ends = [End::start(&server, "both"), End::start(&server, "both")];
    // Beyond what both windows hold, and no multiple of anything.
    let texts = [random(30_000_001, 1), random(12_345_677, 2)];
    let heard = ends.each_mut().map(End::hear_all);
    for (end, text) in ends.iter_mut().zip(&texts) {
        end.say_all(Arc::clone(text), Arc::default());
    }
    let [first, second] = heard.map(|heard| heard.join().unwrap());
    assert!(first == *texts[1] && second == *texts[0]);
    ends[0].assert_ends(0, "sent 28.6 MiB, received 11.8 MiB in ");
    ends[1].assert_ends(0, "sent 11.8 MiB, received 28.6 MiB in ");
}

#[test]
fn each_way_ends_by_itself() {
    let server = server();
    let [mut a, mut b] = End::pair(&server, "half");
    b.say(b"before");
    a.hear(b"before");
    a.say(b"last words");
    a.end_input();
    b.hear(b"last words");
    b.hear_end();
    b.say(b"one more thing");
    a.hear(b"one more thing");
    b.end_input();
    a.hear_end();
    a.assert_ends(0, "");
    b.assert_ends(0, "");
}

#[test]
fn nothing_to_say_is_fine_and_quiet_is_quiet() {
    let server = server();
    let address = server.address.to_string();
    let mut ends = [0, 1].map(|_| End::run(&mut command(&address, &["--quiet", "nothing"])));
    ends.iter_mut().for_each(End::end_input);
    for end in &mut ends {
        end.hear_end();
        end.assert_ends(0, "");
        assert_eq!(end.seen, [""; 0]);
    }
}

#[test]
fn who_does_not_read_makes_the_other_end_wait_but_not_itself() {
    let server = server();
    let [mut a, mut b] = End::pair(&server, "slow");
    let (text, said) = (random(80_000_000, 3), Arc::new(AtomicUsize::new(0)));
    let saying = a.say_all(Arc::clone(&text), Arc::clone(&said));
    let (mut before, until) = (0, Instant::now() + PATIENCE);
    while before < 8_000_000 || before != said.load(Ordering::Relaxed) {
        assert!(Instant::now() < until, "{before}");
        before = said.load(Ordering::Relaxed);
        std::thread::sleep(Duration::from_secs(2));
    }
    // Window, buffers of the room, of ours and of the system.
    assert!(before < 20_000_000, "{before}");
    b.say(b"slowly, please");
    a.hear(b"slowly, please");
    b.end_input();
    let heard = b.hear_all();
    saying.join().unwrap();
    assert!(heard.join().unwrap() == *text);
    a.assert_ends(0, "");
    b.assert_ends(0, "");
}

#[test]
fn a_third_one_is_told_no_and_disturbs_nobody() {
    let server = server();
    let [mut a, mut b] = End::pair(&server, "third");
    End::start(&server, "third").assert_ends(1, "two others use this ID already");
    a.say(b"still here");
    b.hear(b"still here");
    // One of three who come at once gets no other end.
    let mut three = [0, 1, 2].map(|_| End::start(&server, "three at once"));
    let until = Instant::now() + PATIENCE;
    while !three.iter_mut().any(|end| end.child.try_wait().unwrap().is_some()) {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(10));
    }
    three.iter_mut().for_each(End::end_input);
    let mut codes = three.each_mut().map(End::end);
    codes.sort_unstable();
    assert_eq!(codes, [Some(0), Some(0), Some(1)]);
}

#[test]
fn who_is_killed_is_missed() {
    let server = server();
    let [mut a, mut b] = End::pair(&server, "killed");
    a.end_input();
    b.hear_end();
    b.child.kill().unwrap();
    a.assert_ends(1, "the other end was lost before all was through");
}

#[test]
fn who_is_told_to_end_says_goodbye() {
    let server = server();
    for (signal, code) in [(libc::SIGTERM, 143), (libc::SIGINT, 130)] {
        let [mut a, mut b] = End::pair(&server, &format!("signal {signal}"));
        a.say(b"more follows");
        b.hear(b"more follows");
        a.signal(signal);
        a.assert_ends(code, "told to end before all was through");
        b.assert_ends(1, "the other end has left before all was through");
    }
}

#[test]
fn output_that_cannot_be_written_ends_both() {
    let server = server();
    let [mut a, mut b] = End::pair(&server, "broken");
    b.output = None;
    a.say(b"to nobody");
    b.assert_ends(1, "writing standard output: Broken pipe");
    a.assert_ends(1, "the other end has left before all was through");
}

/// Both sides of a terminal.
fn terminal() -> [File; 2] {
    let (mut ours, mut its) = (-1, -1);
    let none = std::ptr::null_mut();
    // SAFETY: writes two descriptors, which are ours then; a terminal needs no name and no settings.
    unsafe {
        assert_eq!(libc::openpty(&mut ours, &mut its, none, none.cast(), none.cast()), 0);
        [ours, its].map(|descriptor| File::from_raw_fd(descriptor))
    }
}

#[test]
fn a_terminal_shows_how_far_it_is() {
    let server = server();
    let address = server.address.to_string();
    let path = std::env::temp_dir().join(format!("hp-pipe-{}", std::process::id()));
    let mut file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let text = random(5 << 20, 4);
    file.write_all(&text).unwrap();
    // What was read before does not count.
    file.seek(std::io::SeekFrom::Start(1 << 20)).unwrap();
    let [mut ours, its] = terminal();
    let mut from_file = command(&address, &["shown"]);
    let mut from = from_file.stdin(file).stderr(its).spawn().unwrap();
    drop(from_file);
    let mut to = End::start(&server, "shown");
    to.end_input();
    assert!(to.hear_all().join().unwrap() == text[1 << 20..]);
    assert!(from.wait().unwrap().success());
    let mut shown = Vec::new();
    // A terminal that nobody else has open any more is an error, not an end.
    let _ = ours.read_to_end(&mut shown);
    let shown = String::from_utf8(shown).unwrap();
    assert!(shown.contains("\r0:00:00 [") && shown.contains("] 0 B of 4.0 MiB, 0 B/s\x1b[K"), "{shown:?}");
    assert!(shown.ends_with("/s\r\n") && shown.contains("\r\x1b[Khp pipe: sent 4.0 MiB, "), "{shown:?}");
    to.assert_ends(0, "received 4.0 MiB");
    assert!(!to.seen.iter().any(|line| line.contains('\x1b')), "{:?}", to.seen);
}

#[test]
fn what_is_missing_is_told() {
    let server = server();
    let address = server.address.to_string();
    End::run(&mut command(&address, &["alone", "--timeout", "1"]))
        .assert_ends(1, "the other end has not come in time");
    End::run(&mut command(&address, &["alone", "--timeout", "soon"]))
        .assert_ends(2, "--timeout: `soon` is no number");
    End::run(&mut command("", &["alone"])).assert_ends(2, "--server HOST:PORT is missing");
    let ids = [0, 1].map(|_| {
        let made = Command::new(env!("CARGO_BIN_EXE_hp")).arg("id").output().unwrap();
        String::from_utf8(made.stdout).unwrap()
    });
    assert!(ids.iter().all(|id| id.len() == 33 && id.ends_with('\n')) && ids[0] != ids[1], "{ids:?}");
}

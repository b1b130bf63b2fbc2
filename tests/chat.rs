//! `hp chat` in lines, against `hp-server`, as programs.
#![cfg(feature = "programs")]

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// A program, killed when dropped, and what it prints.
struct Program {
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<String>,
    seen: Vec<String>,
}

impl Program {
    fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let (sender, output) = channel();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        std::thread::spawn(move || lines.map_while(Result::ok).all(|line| sender.send(line).is_ok()));
        Self { input: child.stdin.take(), child, output, seen: Vec::new() }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    /// The first line from now on with these words.
    fn wait_for(&mut self, words: &str) -> String {
        let until = Instant::now() + PATIENCE;
        while let Ok(line) = self.output.recv_timeout(until.saturating_duration_since(Instant::now())) {
            self.seen.push(line.clone());
            if line.contains(words) {
                return line;
            }
        }
        panic!("no {words:?} in {:#?}", self.seen);
    }

    fn signal(&self, signal: i32) {
        // SAFETY: a child that has not been waited for.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, signal) }, 0);
    }

    /// Its exit status, once it has ended by itself.
    fn end(&mut self) -> Option<i32> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < until, "still runs; {:#?}", self.seen);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server, and a directory without any `.env`.
struct Fixture {
    _server: Program,
    address: String,
    directory: PathBuf,
}

impl Fixture {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("hp-chat-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        // A port that was free a moment ago.
        let address = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let mut server = Command::new(env!("CARGO_BIN_EXE_hp-server"));
        server.args([&address, "--alternate-ports", "0", "--log", "warn"]);
        Self { _server: Program::start(&mut server), address, directory }
    }

    fn command(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hp"));
        command.env_clear().current_dir(&self.directory).arg("chat").args(flags);
        command
    }

    fn chat(&self, name: &str) -> Program {
        let flags = ["--server", &self.address, "--room", "den", "--name", name];
        Program::start(&mut self.command(&flags))
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn three_talk_one_is_killed_and_one_told_to_leave() {
    let fixture = Fixture::new("three");
    let mut chats = ["alice", "bob", "carol"].map(|name| fixture.chat(name));
    let fingerprints = chats.each_mut().map(|chat| {
        let line = chat.wait_for("fingerprint");
        line.split_once("fingerprint ").unwrap().1.to_owned()
    });
    for (number, chat) in chats.iter_mut().enumerate() {
        for _ in 0..2 {
            let line = chat.wait_for("is connected");
            let others = fingerprints.iter().enumerate().filter(|(other, _)| *other != number);
            assert!(others.into_iter().any(|(_, theirs)| line.ends_with(theirs)), "{line}");
            assert!(line.contains(" 127.0.0.1:") && line.contains("RTT"), "{line}");
        }
    }
    for (number, name) in ["alice", "bob", "carol"].into_iter().enumerate() {
        chats[number].say(&format!("I am {name}"));
        for other in (0..3).filter(|other| *other != number) {
            chats[other].wait_for(&format!("<{name}> I am {name}"));
        }
    }
    chats[0].say("/verify bob");
    chats[0].wait_for(&fingerprints[0]);
    chats[0].wait_for(&fingerprints[1]);
    chats[0].say("/peers");
    chats[0].wait_for("2 others are here");
    let [alice, bob, carol] = &mut chats;
    bob.signal(libc::SIGKILL);
    carol.say("\u{1b}[2J and \u{202e}bidi");
    alice.wait_for("<carol> \u{fffd}[2J and bidi");
    alice.wait_for("bob left: ");
    carol.wait_for("bob left");
    let line = carol.wait_for("not known to have reached bob");
    assert!(line.contains("[2J and bidi"), "{line}");
    alice.signal(libc::SIGTERM);
    // 3 if bob was killed before he could tell that he had got alice's words.
    assert!(matches!(alice.end(), Some(0 | 3)));
    carol.wait_for("alice left: said goodbye");
    drop(carol.input.take());
    assert_eq!(carol.end(), Some(3));
}

#[test]
fn what_is_said_before_anybody_comes_waits_and_the_end_of_input_leaves() {
    let fixture = Fixture::new("early");
    let mut early = fixture.chat("early");
    for number in 0..2000 {
        early.say(&format!("line {number}"));
    }
    early.say(&"x".repeat(9000));
    drop(early.input.take());
    early.wait_for("nobody is here yet");
    let mut late = fixture.chat("late");
    for number in 0..2000 {
        assert_eq!(late.wait_for("<early>"), format!("<early> line {number}"));
    }
    late.wait_for("early left: said goodbye");
    early.wait_for("! not sent: a message has at most 8192 bytes");
    assert_eq!(early.end(), Some(3));
    late.say("/quit");
    assert_eq!(late.end(), Some(0));
}

#[test]
fn settings_come_from_the_file_and_faults_are_told() {
    let fixture = Fixture::new("file");
    let settings =
        format!("BOOTNODE={}\nROOM=den\nPEER_TIMEOUT=15 #seconds\nHP_NAME=dora\n", fixture.address);
    std::fs::write(fixture.directory.join(".env"), settings).unwrap();
    let mut dora = Program::start(&mut fixture.command(&["--identity", "key", "--color", "always"]));
    dora.wait_for("PEER_TIMEOUT in .env, line 3 has no effect");
    let welcome = dora.wait_for("fingerprint");
    assert!(welcome.contains("room den, you are dora") && welcome.starts_with("\u{1b}[36m"), "{welcome}");
    dora.say("/verify x");
    dora.wait_for("nobody here is called x");
    dora.signal(libc::SIGINT);
    assert_eq!(dora.end(), Some(0));
    let fault = |flags: &[&str]| {
        let output = fixture.command(flags).stdin(Stdio::null()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for (flags, code, said) in [
        (&["--mode", "bootnode"][..], 2, "hp chat: --mode: a chat is no server"),
        (&["--mode", "screen"], 2, "hp chat: --mode screen needs a terminal"),
        (&["--server", "no-such-host.invalid:1"], 1, "hp chat: "),
        (&["--nonsense"], 2, "error: "),
    ] {
        let (status, stderr) = fault(flags);
        assert_eq!(status, Some(code), "{stderr}");
        assert!(stderr.starts_with(said), "{stderr}");
    }
}

//! Signals, and what a service manager is told meanwhile.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use holepunch::proto::wire::stream::push_frame;
use holepunch::proto::wire::{Attributes, Register};
use holepunch::proto::{LookupKey, PeerId};
use libc::{SIGHUP, SIGINT, SIGTERM};

use super::{Directory, PATIENCE, Program, command};

/// Long enough to see that nothing happens.
const A_WHILE: Duration = Duration::from_millis(300);

/// A client that has been told something and has not said that it knows.
struct Busy(TcpStream);

impl Busy {
    fn register(&mut self, attributes: Attributes<'_>) {
        let register = Register {
            token: 7,
            sequence: 1,
            lookup: LookupKey([1; 32]),
            peer: PeerId([2; 16]),
            cookie: [0; 16],
            instance: 0,
            revision: 0,
            attributes,
        };
        let mut frame = Vec::new();
        push_frame(&mut frame, &register.encode());
        self.0.write_all(&frame).unwrap();
        self.0.read_exact(&mut [0]).unwrap();
    }
}

/// A server with somebody in the middle of something.
fn busy(directory: &Directory, drain: &str) -> (Program, Busy) {
    let (program, address) = Program::start(directory, &["--tcp", "--drain", drain]);
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut busy = Busy(stream);
    busy.register(Attributes::NONE);
    (program, busy)
}

/// A service manager's end.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(directory: &Directory) -> Self {
        let path = directory.0.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, path }
    }

    fn next(&self) -> std::io::Result<String> {
        let mut datagram = [0; 1024];
        let len = self.socket.recv(&mut datagram)?;
        Ok(String::from_utf8_lossy(&datagram[..len]).into_owned())
    }

    /// The next that has these words.
    fn told(&self, words: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = self.next().unwrap();
            if text.contains(words) {
                return text;
            }
            assert!(Instant::now() < deadline, "no {words}");
        }
    }
}

#[test]
fn sigterm_waits_until_nobody_is_busy() {
    let directory = Directory::new("drain");
    let (mut program, mut client) = busy(&directory, "1min");
    program.signal(SIGTERM);
    program.line_with("no further clients are taken");
    std::thread::sleep(A_WHILE);
    assert!(!program.has_ended());
    client.register(Attributes::GOODBYE);
    assert!(program.wait().success());
    // Nobody is: at once.
    let (program, _) = Program::start(&directory, &["--drain", "1min"]);
    program.signal(SIGTERM);
    assert!(program.wait().success());
}

#[test]
fn sigterm_waits_no_longer_than_it_was_told() {
    let (program, _client) = busy(&Directory::new("deadline"), "500ms");
    let start = Instant::now();
    program.signal(SIGTERM);
    assert!(program.wait().success());
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(500) && took < PATIENCE / 2, "{took:?}");
}

#[test]
fn another_signal_or_sigint_ends_at_once() {
    let directory = Directory::new("at-once");
    for (first, last) in [(Some(SIGTERM), SIGTERM), (Some(SIGTERM), SIGINT), (None, SIGINT)] {
        let (program, _client) = busy(&directory, "1h");
        if let Some(signal) = first {
            program.signal(signal);
            program.line_with("no further clients are taken");
        }
        program.signal(last);
        program.line_with(&format!("stopping: signal {last}"));
        assert!(program.wait().success());
    }
}

#[test]
fn sighup_changes_what_it_can() {
    let directory = Directory::new("reload");
    let file = directory.write("own.toml", "max-memory = 16\nlog = \"info\"\n");
    let manager = Manager::new(&directory);
    let mut command = command(&directory);
    command.args(["--workers", "1", "127.0.0.1:0", "--config", &file]).env("NOTIFY_SOCKET", &manager.path);
    let mut program = Program::spawn(&mut command);
    program.address();
    let reload = |program: &Program| {
        program.signal(SIGHUP);
        manager.told("RELOADING=1");
        manager.told("READY=1");
    };
    directory.write("own.toml", "max-memory = 32\nplain-expiry = \"never\"\nrelay = true\n");
    reload(&program);
    assert!(program.line_with("a restart is needed for changed settings: relay").contains("WARN"));
    program.line_with("changed: max-memory, plain-expiry");
    // The relay still waits for a restart, and what is overridden by a flag has not changed.
    directory.write("own.toml", "max-memory = 32\nplain-expiry = \"never\"\nrelay = true\nworkers = 2\n");
    reload(&program);
    program.line_with("a restart is needed for changed settings: relay");
    program.line_with("none has changed that can");
    directory.write("own.toml", "max-memory = 64\nworkers = 0\n");
    reload(&program);
    let line = program.line_with("the settings stay as they are");
    assert!(line.contains("ERROR") && line.contains("own.toml:2, workers: `0`"), "{line}");
    directory.write("own.toml", "log-format = \"json\"\ndrain = \"1s\"\n");
    reload(&program);
    let line = program.line_with("changed: ");
    assert!(line.starts_with('{'), "{line}");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["settings"], "max-memory, plain-expiry, drain, log-format");
    // Nothing but errors from now on, and back.
    directory.write("own.toml", "log = \"error\"\n");
    reload(&program);
    directory.write("own.toml", "");
    reload(&program);
    let line = program.line_with("");
    assert!(line.contains("changed: log"), "{line}");
    assert!(!program.has_ended());
}

#[test]
fn service_manager_is_told() {
    let directory = Directory::new("notify");
    let manager = Manager::new(&directory);
    let mut command = command(&directory);
    command.args(["127.0.0.1:0", "--drain", "0s"]);
    let program = Program::spawn(command.env("NOTIFY_SOCKET", &manager.path).env("WATCHDOG_USEC", "400000"));
    let told = |words: &str| manager.told(words);
    told("READY=1\nSTATUS=listening on 127.0.0.1:");
    let start = Instant::now();
    assert!(told("WATCHDOG=1").contains("STATUS=0 endpoints in 0 sessions"));
    told("WATCHDOG=1");
    assert!(start.elapsed() < PATIENCE / 2);
    program.signal(SIGHUP);
    let reloading = told("RELOADING=1");
    let time = reloading.split("MONOTONIC_USEC=").nth(1).unwrap().trim();
    assert!(time.parse::<u64>().unwrap() > 0);
    told("READY=1");
    program.signal(SIGTERM);
    told("STOPPING=1");
    assert!(program.wait().success());
}

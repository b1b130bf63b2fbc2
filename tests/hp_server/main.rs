//! `hp-server` as a program: its settings, signals, service manager and health, on loopback.
#![cfg(feature = "programs")]

mod activation;
mod health;
mod settings;
mod signals;

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

/// How long anything may take that is expected to happen at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// A directory that is gone afterwards; the programs run in it.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hp-server-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().into()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The program with nothing of our own environment.
fn command(directory: &Directory) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hp-server"));
    command.env_clear().current_dir(&directory.0);
    command
}

/// Runs it to its end; its status, what it shows, and what it logs.
fn run(directory: &Directory, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = command(directory).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A running program; killed if a test leaves it behind.
struct Program {
    child: Child,
    lines: Receiver<String>,
}

impl Program {
    fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || said.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
        Self { child, lines }
    }

    /// A server on a port of the system's choice.
    fn start(directory: &Directory, arguments: &[&str]) -> (Self, SocketAddr) {
        let mut command = command(directory);
        let mut program = Self::spawn(command.args(["--workers", "1", "127.0.0.1:0"]).args(arguments));
        let address = program.address();
        (program, address)
    }

    /// Where it says that it listens.
    fn address(&mut self) -> SocketAddr {
        let line = self.line_with("listening on ");
        let address = line.split("listening on ").nth(1).unwrap().split_whitespace().next();
        address.unwrap().parse().unwrap()
    }

    fn line_with(&self, words: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut others = Vec::new();
        loop {
            let line = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            let line = line.unwrap_or_else(|_| panic!("no {words:?} among {others:#?}"));
            if line.contains(words) {
                return line;
            }
            others.push(line);
        }
    }

    fn signal(&self, signal: i32) {
        // SAFETY: a signal to our own child, which has not been waited for.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, signal) }, 0);
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    fn wait(mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

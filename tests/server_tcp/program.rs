//! `hp-server --tcp`, and what it does when the system has no room for connections.
#![cfg(feature = "programs")]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{PATIENCE, ask, connect, frame, is_quiet, next_message, probe};

/// A running program; killed if a test leaves it behind.
struct Program {
    child: Child,
    said: BufReader<std::process::ChildStderr>,
    address: SocketAddr,
}

impl Program {
    /// With so many descriptors at most, if that is said.
    fn start(arguments: &[&str], descriptors: Option<u64>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hp-server"));
        command.args(["--log", "info", "--workers", "1", "--drain", "0s"]).args(arguments).arg("127.0.0.1:0");
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        if let Some(most) = descriptors {
            let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
            // SAFETY: setrlimit may be called between fork and exec, and reads the limit only.
            unsafe {
                command.pre_exec(move || match libc::setrlimit(libc::RLIMIT_NOFILE, &limit) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                });
            }
        }
        let mut child = command.spawn().unwrap();
        let said = BufReader::new(child.stderr.take().unwrap());
        let mut program = Self { child, said, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let line = program.line_with("listening on ");
        let address = line.split("listening on ").nth(1).unwrap().split_whitespace().next().unwrap();
        program.address = address.parse().unwrap();
        program
    }

    fn line_with(&mut self, word: &str) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.said.read_line(&mut line).unwrap(), 0, "it ended without {word:?}");
            if line.contains(word) {
                return line;
            }
        }
    }

    /// Ends it, and returns what it says of its connections.
    fn stop(mut self) -> String {
        // SAFETY: a signal to our own child, which has not been waited for.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) };
        let line = self.line_with("took ");
        assert!(self.child.wait().unwrap().success());
        line
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn program_takes_connections_up_to_its_limits() {
    let arguments = ["--tcp", "--tcp-connections", "2", "--tcp-connections-per-address", "1"];
    let program = Program::start(&arguments, None);
    let mut stream = connect(program.address);
    ask(&mut stream, 1).unwrap();
    assert!(super::is_closed(&mut connect(program.address)));
    let said = program.stop();
    assert!(said.contains("took 1 connections, refused 1, could not take one 0 times; 1 messages"), "{said}");
    for wrong in [["--tcp-connections", "0"], ["--tcp-connections-per-address", "65537"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hp-server"));
        let ended = command.args(["--tcp", "127.0.0.1:0"]).args(wrong).output().unwrap();
        assert_eq!(ended.status.code(), Some(1), "{wrong:?}");
        assert!(String::from_utf8_lossy(&ended.stderr).contains("must be 1 to 65536"), "{wrong:?}");
    }
}

#[test]
fn server_without_descriptors_goes_on_serving_and_takes_connections_later() {
    let program = Program::start(&["--tcp", "--alternate-ports", "0"], Some(24));
    let started = Instant::now();
    let mut streams: Vec<TcpStream> = (0..40).map(|_| connect(program.address)).collect();
    // Some are served, the others wait in the kernel.
    let mut served = 0;
    for stream in &mut streams {
        stream.write_all(&frame(&probe(1))).unwrap();
        if next_message(stream, &mut Vec::new(), Duration::from_secs(3)).is_none() {
            break;
        }
        served += 1;
    }
    assert!((1..24).contains(&served), "{served}");
    assert!(is_quiet(&mut streams[served]), "not closed either");
    ask(&mut streams[0], 2).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(&probe(3), program.address).unwrap();
    socket.recv(&mut [0; 100]).unwrap();
    // As soon as there is room the next one, which has asked already, is answered.
    let mut waiting = streams.split_off(served);
    drop(streams);
    assert!(next_message(&mut waiting[0], &mut Vec::new(), PATIENCE).is_some());
    let elapsed = started.elapsed();
    let said = program.stop();
    let failures = said.split("could not take one ").nth(1).unwrap().split(' ').next().unwrap();
    let failures: u128 = failures.parse().unwrap();
    // It asks ten times a second.
    assert!(failures >= 1 && failures <= elapsed.as_millis() / 100 + 20, "{failures} in {elapsed:?}");
}

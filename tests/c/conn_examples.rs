//! `examples/c/addresses.c` and `copy.c`: programs whose users tell each other their addresses.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use holepunch::DialectPolicy;

use super::support::TestServer;
use super::workshop::{Finished, Link, Running, Workshop, root, start, tools_are_there};
use super::{LIMIT, id};

/// A workshop with an example in it, under the sanitizers.
fn built(example: &str) -> Option<(Workshop, PathBuf)> {
    if !tools_are_there(&["gcc"]) {
        return None;
    }
    let workshop = Workshop::open();
    let mut command = workshop.compiler("gcc", "c99");
    command.arg(root().join(format!("examples/c/{example}.c")));
    let program = workshop.link(command, example, Link::Static);
    Some((workshop, program))
}

fn begin(workshop: &Workshop, program: &Path, arguments: &[&str]) -> Running {
    let mut command = workshop.run(program);
    command.args(arguments);
    start(command)
}

/// Runs a program that ends without any input.
fn run(workshop: &Workshop, program: &Path, arguments: &[&str]) -> Finished {
    begin(workshop, program, arguments).finish(LIMIT)
}

/// Where on loopback the port is that a program has told.
fn loopback(program: &mut Running) -> SocketAddr {
    let told: SocketAddr = program.await_line("local ", LIMIT)["local ".len()..].parse().unwrap();
    let host = if told.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
    SocketAddr::new(host, told.port())
}

fn tell_each_other(pair: &mut [Running; 2]) {
    let addresses = pair.each_mut().map(loopback);
    pair[0].write(&format!("{}\n", addresses[1]));
    pair[1].write(&format!("{}\n", addresses[0]));
}

#[test]
fn addresses_talks_until_one_side_leaves() {
    let Some((workshop, program)) = built("addresses") else { return };
    let server = TestServer::start(DialectPolicy::Auto);
    let (server, id) = (server.address.to_string(), id());
    for arguments in [
        &["--udp", "--server", &server, "--id", &id][..],
        &["--tcp", "--id", &id],
        &["--unauthenticated", "--tcp"],
    ] {
        let mut pair = [(); 2].map(|()| begin(&workshop, &program, arguments));
        if arguments.contains(&"--server") {
            // Nothing is between us and the server.
            let [first, second] =
                pair.each_mut().map(|side| side.await_line("public ", LIMIT)["public ".len()..].to_owned());
            assert!(first.starts_with("127.0.0.1:") && first != second, "{first}, {second}");
            pair[0].write(&format!("127.0.0.1:1, {second}\n"));
            // The other one comes to it.
            pair[1].write("\n");
        } else {
            tell_each_other(&mut pair);
        }
        for side in &mut pair {
            side.await_line("connected 127.0.0.1:", LIMIT);
        }
        let [mut stays, mut leaves] = pair;
        stays.write("to \x1b[31mit\n\nSYN\n");
        for line in ["peer: to ?[31mit", "peer: ", "peer: SYN"] {
            assert_eq!(leaves.await_line("peer: ", LIMIT), line);
        }
        leaves.write("and back\nunfinished");
        assert_eq!(stays.await_line("peer: ", LIMIT), "peer: and back");
        leaves.succeed(LIMIT);
        assert_eq!(stays.await_line("peer: ", LIMIT), "peer: unfinished");
        // Its input has not ended.
        stays.await_end(LIMIT);
        let stays = stays.succeed(LIMIT);
        assert!(stays.stderr.contains("addresses: the peer has closed the connection\n"), "{}", stays.stderr);
    }
}

#[test]
fn addresses_leaves_on_either_signal() {
    let Some((workshop, program)) = built("addresses") else { return };
    let id = id();
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let mut pair = [(); 2].map(|()| begin(&workshop, &program, &["--id", &id]));
        tell_each_other(&mut pair);
        for side in &mut pair {
            side.await_line("connected ", LIMIT);
        }
        let [mut stays, mut leaves] = pair;
        leaves.signal(signal);
        // It has said goodbye.
        stays.await_end(LIMIT);
        leaves.await_end(LIMIT);
        leaves.succeed(LIMIT);
        stays.succeed(LIMIT);
    }
}

#[test]
fn addresses_says_what_is_wrong() {
    let Some((workshop, program)) = built("addresses") else { return };
    for wrong in [
        &[][..],
        &["--tcp"],
        &["--id"],
        &["--id", "x", "--unauthenticated"],
        &["--id", "x", "too much"],
        &["--id", "x", "--stun", "a:1", "--server", "b:1"],
        &["--strange", "x", "--id", "x"],
    ] {
        let run = run(&workshop, &program, wrong);
        assert_eq!(run.status.code(), Some(2), "{wrong:?}");
        assert!(run.stderr.starts_with("usage: addresses "), "{}", run.stderr);
    }
    let refused = run(&workshop, &program, &["--id", ""]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stderr.contains("HP_STATUS_INVALID_SESSION_ID"), "{}", refused.stderr);
    let too_many = format!("{}\n", ["127.0.0.1:9"; 17].join(","));
    let too_long = "1".repeat(10_000);
    for (input, complaint) in [
        ("", "addresses: there is no line with the peer's addresses\n"),
        (&too_long, "addresses: there is no line with the peer's addresses\n"),
        ("127.0.0.1:9,nonsense,127.0.0.1:10\n", "addresses: not an address: nonsense\n"),
        ("127.0.0.1:0\n", "HP_STATUS_INVALID_ARGUMENT"),
        (&too_many, "addresses: a peer has at most 16 addresses\n"),
    ] {
        // Nobody tells our public address, which is no reason to stop.
        let mut program = begin(&workshop, &program, &["--tcp", "--stun", "127.0.0.1:9", "--id", "x"]);
        program.await_line("local ", LIMIT);
        program.write(input);
        let run = program.finish(LIMIT);
        assert_eq!(run.status.code(), Some(1), "{input:?}");
        assert!(run.stderr.contains("HP_STATUS_SERVER_UNREACHABLE"), "{}", run.stderr);
        assert!(run.stderr.contains(complaint), "{input:?}: {}", run.stderr);
    }
    let mut pair = ["x", "another"].map(|id| begin(&workshop, &program, &["--tcp", "--id", id]));
    tell_each_other(&mut pair);
    for side in pair {
        let run = side.finish(LIMIT);
        assert_eq!(run.status.code(), Some(1));
        assert!(run.stderr.contains("HP_STATUS_STRANGER"), "{}", run.stderr);
    }
}

/// A file that is `name` in the workshop.
fn make_file(workshop: &Workshop, name: &str, len: u32) -> (PathBuf, Vec<u8>) {
    let bytes: Vec<u8> = (0..len).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let path = workshop.path(name);
    std::fs::write(&path, &bytes).unwrap();
    (path, bytes)
}

#[test]
fn copy_copies_every_byte() {
    let Some((workshop, program)) = built("copy") else { return };
    let id = id();
    let to = workshop.path("to");
    // The second and third replace what the one before has left.
    for len in [5 << 20 | 7, 0, 1] {
        let (from, bytes) = make_file(&workshop, "from", len);
        let mut pair = [("send", &from), ("receive", &to)]
            .map(|(verb, path)| begin(&workshop, &program, &["--id", &id, verb, path.to_str().unwrap()]));
        tell_each_other(&mut pair);
        for (side, done) in pair.into_iter().zip(["sent", "received"]) {
            let run = side.succeed(LIMIT);
            let report = run.stdout.lines().last().unwrap();
            let seconds = report
                .strip_prefix(&format!("{done} {len} bytes in "))
                .and_then(|rest| rest.strip_suffix(" s"));
            assert!(seconds.is_some_and(|seconds| seconds.parse::<f64>().is_ok()), "{report}");
        }
        assert!(std::fs::read(&to).unwrap() == bytes, "{len} bytes");
        assert!(!workshop.path("to.part").exists());
    }
}

/// Has the system kill the program as soon as a file of it becomes larger than this.
fn kill_beyond(command: &mut Command, bytes: libc::rlim_t) {
    // SAFETY: only system calls, on local variables, between fork and exec.
    unsafe {
        command.pre_exec(move || {
            for (what, most) in [(libc::RLIMIT_FSIZE, bytes), (libc::RLIMIT_CORE, 0)] {
                let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
                if libc::setrlimit(what, &raw const limit) != 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
}

#[test]
fn copy_whose_receiver_is_killed_fails_and_leaves_no_file() {
    let Some((workshop, program)) = built("copy") else { return };
    let id = id();
    let (from, _) = make_file(&workshop, "from", 32 << 20);
    let to = workshop.path("to");
    let sender = begin(&workshop, &program, &["--id", &id, "send", from.to_str().unwrap()]);
    let mut receiver = workshop.run(&program);
    receiver.args(["--id", &id, "receive", to.to_str().unwrap()]);
    kill_beyond(&mut receiver, 1 << 20);
    let mut pair = [sender, start(receiver)];
    tell_each_other(&mut pair);
    let [sender, receiver] = pair.map(|side| side.finish(LIMIT));
    assert_eq!(receiver.status.code(), None, "it was killed: {}{}", receiver.stdout, receiver.stderr);
    assert_eq!(sender.status.code(), Some(1), "{}", sender.stderr);
    let complaint = sender.stderr.lines().last().unwrap();
    assert!(complaint.starts_with("copy: after ") && complaint.contains(" bytes: "), "{complaint}");
    assert!(!sender.stdout.contains("sent "), "{}", sender.stdout);
    assert!(!to.exists());
    assert_eq!(std::fs::metadata(workshop.path("to.part")).unwrap().len(), 1 << 20);
}

/// What a receiver says of a sender that sends this and goes.
fn receive_from(workshop: &Workshop, program: &Path, to: &Path, sent: &[u8]) -> Finished {
    let arguments = ["--unauthenticated", "receive", to.to_str().unwrap()];
    let mut receiver = begin(workshop, program, &arguments);
    let address = loopback(&mut receiver);
    receiver.write("\n");
    let mut stream = TcpStream::connect(address).unwrap();
    receiver.await_line("connected ", LIMIT);
    stream.write_all(sent).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"", "nothing is confirmed");
    receiver.finish(LIMIT)
}

#[test]
fn copy_says_what_is_wrong() {
    let Some((workshop, program)) = built("copy") else { return };
    let to = workshop.path("to");
    let old = b"what was there before";
    std::fs::write(&to, old).unwrap();
    for (sent, complaint) in [
        (&b"\0\0\0\0\0\0\0\x0Btoo little"[..10], "copy: after 0 bytes: the peer has closed the connection\n"),
        (b"\0\0\0", "copy: after 0 bytes: the peer has closed the connection\n"),
    ] {
        let run = receive_from(&workshop, &program, &to, sent);
        assert_eq!(run.status.code(), Some(1));
        assert!(run.stderr.ends_with(complaint), "{}", run.stderr);
        assert_eq!(std::fs::read(&to).unwrap(), old);
        assert!(!workshop.path("to.part").exists());
    }
    let directory = workshop.path("");
    let (nowhere, nothing) = (workshop.path("no/such"), workshop.path("nothing"));
    for (verb, path, complaint) in [
        ("send", &nothing, "nothing: No such file or directory\n"),
        ("send", &directory, "it is not a regular file\n"),
        ("receive", &nowhere, "no/such.part: No such file or directory\n"),
    ] {
        let run = run(&workshop, &program, &["--id", "x", verb, path.to_str().unwrap()]);
        assert_eq!(run.status.code(), Some(1), "{verb} {path:?}");
        assert!(run.stderr.starts_with("copy: ") && run.stderr.ends_with(complaint), "{}", run.stderr);
    }
    for wrong in [
        &[][..],
        &["send", "x"],
        &["--id", "x", "send"],
        &["--id", "x", "fetch", "x"],
        &["--id", "x", "send", "x", "y"],
        &["--udp", "--id", "x", "send", "x"],
    ] {
        let run = run(&workshop, &program, wrong);
        assert_eq!(run.status.code(), Some(2), "{wrong:?}");
        assert!(run.stderr.starts_with("usage: copy "), "{}", run.stderr);
    }
}

//! `examples/c/addresses.c`: a program whose users tell each other their addresses.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

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

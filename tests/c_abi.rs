//! The C ABI as C programs see it: those of `tests/c`, compiled here against `include/holepunch.h` and the library beside
//! this test, run plainly, under gcc's sanitizers and under valgrind.
//!
//! Tools that are missing are failures, unless `HP_ALLOW_MISSING_TOOLS=1` asks to skip what needs them.
#![cfg(target_os = "linux")]

mod support;

#[path = "c/conn_examples.rs"]
mod conn_examples;
#[path = "c/workshop.rs"]
mod workshop;

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::time::Duration;

use holepunch::DialectPolicy;
use support::{TestServer, unique_id};
use workshop::{
    Finished, Link, Running, Way, Workshop, missing, output, pin_to_one_processor, root, start,
    tools_are_there,
};

/// Longest that a program may take. Alone it takes seconds; the rest is for a busy machine.
const LIMIT: Duration = Duration::from_secs(100);

fn header() -> String {
    std::fs::read_to_string(root().join("include/holepunch.h")).unwrap()
}

/// The number behind `#define name`.
fn defined(header: &str, name: &str) -> String {
    let define = format!("#define {name} ");
    let line = header.lines().find(|line| line.starts_with(&define));
    line.unwrap_or_else(|| panic!("the header defines no {name}"))[define.len()..].to_owned()
}

fn id() -> String {
    String::from_utf8(unique_id()).unwrap()
}

/// Runs a program in every way; it succeeds by exiting with 0. The arguments may depend on the way. Returns the runs.
fn run_in_every_way(program: &str, arguments: impl Fn(Way) -> Vec<String>) -> Vec<Finished> {
    let workshop = Workshop::open();
    let one_after_the_other = Way::ALL.into_iter().filter_map(|way| {
        let run = begin(&workshop, program, way, &arguments)?;
        Some(finish(program, way, run))
    });
    one_after_the_other.collect()
}

/// As `run_in_every_way`, at the same time, for a program that does little but wait.
fn run_in_every_way_at_once(program: &str, arguments: impl Fn(Way) -> Vec<String>) {
    let workshop = Workshop::open();
    let started = Way::ALL.map(|way| (way, begin(&workshop, program, way, &arguments)));
    for (way, run) in started {
        if let Some(run) = run {
            finish(program, way, run);
        }
    }
}

fn begin(
    workshop: &Workshop,
    program: &str,
    way: Way,
    arguments: impl Fn(Way) -> Vec<String>,
) -> Option<Running> {
    let mut command = workshop.command(program, way)?;
    command.args(arguments(way));
    Some(start(command))
}

fn finish(program: &str, way: Way, run: Running) -> Finished {
    let run = run.succeed(LIMIT);
    println!("{program}, {way:?}: {}", run.stdout);
    run
}

#[test]
fn header_compiles_alone_and_twice_as_every_c_and_cpp() {
    let workshop = Workshop::open();
    for (compiler, language, standards) in [
        ("gcc", "c", &["c99", "c11", "c17", "c2x"][..]),
        ("g++", "c++", &["c++11", "c++14", "c++17", "c++20"]),
    ] {
        if !tools_are_there(&[compiler]) {
            continue;
        }
        for standard in standards {
            let mut command = workshop.compiler(compiler, standard);
            command.args(["-x", language]).arg(root().join("tests/c/header.c")).args(["-x", "none"]);
            let program = workshop.link(command, &format!("header-{standard}"), Link::Shared);
            start(workshop.run(&program)).succeed(LIMIT);
        }
    }
}

#[test]
fn example_in_the_header_is_connect_c_and_says_hello() {
    let header = header();
    let example: Vec<&str> = header
        .lines()
        .skip_while(|line| *line != " *   #include <holepunch.h>")
        .take_while(|line| *line == " *" || line.starts_with(" *   "))
        .map(|line| line.strip_prefix(" *   ").unwrap_or_default())
        .collect();
    let end = example.iter().position(|line| *line == "}").expect("the example ends with a brace") + 1;
    let example = example[..end].join("\n") + "\n";
    let connect_c = std::fs::read_to_string(root().join("examples/c/connect.c")).unwrap();
    let (comment, program) = connect_c.split_once('\n').unwrap();
    assert!(comment.starts_with("/*") && comment.ends_with("*/"), "{comment}");
    assert_eq!(example, program, "the header's example and examples/c/connect.c differ");

    if !tools_are_there(&["gcc"]) {
        return;
    }
    let workshop = Workshop::open();
    let source = workshop.path("example.c");
    std::fs::write(&source, example).unwrap();
    let mut command = workshop.compiler("gcc", "c99");
    command.arg(source);
    let program = workshop.link(command, "example", Link::Shared);
    let server = TestServer::start(DialectPolicy::Auto);
    let (server, id) = (server.address.to_string(), id());
    let both = [(); 2].map(|()| {
        let mut command = workshop.run(&program);
        command.args([&server, &id]);
        start(command)
    });
    for one in both {
        assert_eq!(one.succeed(LIMIT).stdout, "hello\n");
    }
}

/// `examples/c/room.c` three times over: they hear each other, and leave at the end of input and on either signal.
#[test]
fn example_room_talks_and_leaves() {
    if !tools_are_there(&["gcc"]) {
        return;
    }
    let workshop = Workshop::open();
    let mut command = workshop.compiler("gcc", "c99");
    command.arg(root().join("examples/c/room.c"));
    let program = workshop.link(command, "room", Link::Static);
    let server = TestServer::start(DialectPolicy::Auto);
    let (server, id) = (server.address.to_string(), id());
    let mut members = [(); 3].map(|()| {
        let mut command = workshop.run(&program);
        command.args([&server, &id]);
        let mut member = start(command);
        let name = member.await_line("you are ", LIMIT)["you are ".len()..][..8].to_owned();
        (name, member)
    });
    let names = [0, 1, 2].map(|at: usize| members[at].0.clone());
    let others = |at: usize| [names[(at + 1) % 3].clone(), names[(at + 2) % 3].clone()];
    for (at, (_, member)) in members.iter_mut().enumerate() {
        let [first, second] = others(at);
        // In either order.
        let line = member.await_line(" is here: ", LIMIT);
        let rest = if line.starts_with(&first) { second } else { first };
        member.await_line(&format!("{rest} is here: "), LIMIT);
    }
    let [(_, first), (_, second), (_, third)] = &mut members;
    first.write("to \x1b[31mall\nunfinished");
    for other in [&mut *second, &mut *third] {
        assert_eq!(other.await_line(": to", LIMIT), format!("{}: to ?[31mall", names[0]));
    }
    second.signal(libc::SIGINT);
    third.await_line(&format!("{} has left: goodbye", names[1]), LIMIT);
    let [(_, first), (_, second), (_, mut third)] = members;
    first.succeed(LIMIT);
    third.await_line(&format!("{}: unfinished", names[0]), LIMIT);
    third.await_line(&format!("{} has left: goodbye", names[0]), LIMIT);
    third.signal(libc::SIGTERM);
    for left in [second, third] {
        left.succeed(LIMIT);
    }
}

/// Names that are followed by a parenthesis outside of comments and macros.
fn declared_functions(header: &str) -> BTreeSet<String> {
    let mut code = String::new();
    let mut rest = header;
    while let Some((before, comment)) = rest.split_once("/*") {
        code += before;
        rest = comment.split_once("*/").expect("comments end").1;
    }
    code += rest;
    let code: String = code.lines().filter(|line| !line.starts_with('#')).collect();
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    code.match_indices('(')
        .map(|(at, _)| code[..at].rsplit(|c| !word(c)).next().unwrap_or_default())
        .filter(|name| name.starts_with("hp_"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn exported_symbols_are_those_of_the_header_and_of_the_list() {
    if !tools_are_there(&["nm"]) {
        return;
    }
    let library = workshop::beside("libholepunch.so");
    let listing = output("nm", ["-D".as_ref(), "--defined-only".as_ref(), library.as_os_str()]);
    let mut exported: BTreeSet<String> =
        listing.lines().filter_map(|line| line.split_whitespace().last()).map(str::to_owned).collect();
    let has_panic = exported.remove("hp_test_panic");
    assert_eq!(has_panic, cfg!(feature = "test-panic"), "hp_test_panic is there for tests only");

    let declared = declared_functions(&header());
    assert!(declared.len() > 20, "{declared:?}");
    assert_eq!(exported, declared, "left: what the library exports; right: what the header declares");

    let list = std::fs::read_to_string(root().join("include/holepunch.symbols")).unwrap();
    let expected: String = declared.iter().map(|name| format!("{name}\n")).collect();
    assert_eq!(list, expected, "include/holepunch.symbols is not the sorted list of the header's functions");
}

#[test]
fn versions_of_header_library_soname_and_package_agree() {
    let header = header();
    let of_header = ["MAJOR", "MINOR", "PATCH"].map(|part| defined(&header, &format!("HP_VERSION_{part}")));
    assert_eq!(of_header.join("."), env!("CARGO_PKG_VERSION"));
    // SAFETY: the header says that it is static and ends with a NUL.
    let of_library = unsafe { CStr::from_ptr(holepunch::ffi::version::hp_version()) };
    assert_eq!(of_library.to_str(), Ok(env!("CARGO_PKG_VERSION")));
    let abi = defined(&header, "HP_ABI_VERSION");
    assert_eq!(holepunch::ffi::version::hp_abi_version().to_string(), abi);

    if tools_are_there(&["readelf"]) {
        let library = workshop::beside("libholepunch.so");
        let dynamic = output("readelf", ["-d".as_ref(), library.as_os_str()]);
        let soname = dynamic.lines().find(|line| line.contains("(SONAME)")).expect("there is a soname");
        assert!(soname.contains(&format!("[libholepunch.so.{abi}]")), "{soname}");
    }
}

#[test]
fn every_export_is_misused_somewhere() {
    let programs = [
        "misuse",
        "misuse_peers",
        "misuse_session",
        "misuse_conn",
        "addr",
        "server",
        "server_limits",
        "give_socket",
        "paths",
        "nat_check",
    ];
    let sources =
        programs.map(|name| std::fs::read_to_string(root().join(format!("tests/c/{name}.c"))).unwrap());
    for export in declared_functions(&header()) {
        let call = format!("{export}(");
        assert!(
            sources.iter().any(|source| source.contains(&call)),
            "{export}: none of {programs:?} calls it"
        );
    }
}

#[test]
fn misuse_is_answered_with_its_status() {
    let server = TestServer::start(DialectPolicy::Auto);
    run_in_every_way("misuse", |way| {
        let server = server.address.to_string();
        if way == Way::Valgrind { vec![server] } else { vec![server, "descriptors".into()] }
    });
}

#[test]
fn misuse_of_a_connection_is_answered_with_its_status() {
    run_in_every_way("misuse_conn", |_| Vec::new());
}

#[test]
fn misuse_of_what_a_call_leaves_is_answered_with_its_status() {
    let server = TestServer::start(DialectPolicy::Auto);
    run_in_every_way("misuse_peers", |_| vec![server.address.to_string(), id()]);
}

#[test]
fn misuse_of_sessions_is_answered_with_its_status() {
    let server = TestServer::start(DialectPolicy::Auto);
    run_in_every_way("misuse_session", |_| vec![server.address.to_string(), id()]);
}

#[test]
fn sessions_meet_talk_and_end_as_promised() {
    let server = TestServer::start(DialectPolicy::Auto);
    run_in_every_way("session", |_| vec![server.address.to_string(), id()]);
}

#[test]
fn connections_from_plain_addresses_talk_and_end_as_promised() {
    let server = TestServer::start(DialectPolicy::Auto);
    run_in_every_way("conn", |_| vec![server.address.to_string()]);
}

#[test]
fn sockets_that_are_taken_from_a_connection_are_the_callers_alone() {
    run_in_every_way("conn_take", |_| Vec::new());
}

#[test]
fn calls_that_wait_on_a_connection_return_when_it_is_closed_freed_or_taken() {
    run_in_every_way("conn_waits", |_| Vec::new());
}

#[test]
fn embedded_server_lives_as_promised_and_answers_misuse_with_its_status() {
    run_in_every_way("server", |way| vec![if way == Way::Valgrind { "12" } else { "60" }.into()]);
}

#[test]
fn embedded_server_serves_plain_clients_and_those_of_its_own_process() {
    run_in_every_way("server_clients", |_| vec![id()]);
}

#[test]
fn embedded_server_keeps_its_limits_and_takes_others_as_it_runs() {
    run_in_every_way("server_limits", |_| Vec::new());
}

#[test]
fn paths_are_chosen_relayed_and_explained_and_their_misuse_answered_with_its_status() {
    run_in_every_way("paths", |_| vec![id()]);
}

#[test]
fn nat_checks_find_none_on_loopback_and_leave_nothing_behind() {
    run_in_every_way_at_once("nat_check", |way| vec![if way == Way::Valgrind { "4" } else { "40" }.into()]);
}

/// Servers for `give_socket`, and its arguments.
fn servers_of_both_families() -> ([TestServer; 2], Vec<String>) {
    let at = |address: &str| TestServer::start_at(address.parse().unwrap(), DialectPolicy::Auto);
    let servers = ["127.0.0.1:0", "[::1]:0"].map(at);
    let addresses = servers.iter().map(|server| server.address.to_string()).collect();
    (servers, addresses)
}

#[test]
fn given_sockets_carry_holes_and_cancellations_are_taken_back() {
    let (_servers, addresses) = servers_of_both_families();
    run_in_every_way("give_socket", |_| [addresses.clone(), vec![id()]].concat());
}

#[test]
fn client_that_is_given_what_it_has_keeps_it() {
    let (_servers, addresses) = servers_of_both_families();
    run_in_every_way("give_socket", |_| [addresses.clone(), vec![id(), "again".into()]].concat());
}

#[test]
fn addresses_survive_text_and_sockaddr() {
    run_in_every_way("addr", |_| Vec::new());
}

#[test]
fn busy_client_says_so_at_once() {
    run_in_every_way("busy", |_| Vec::new());
}

#[test]
fn cycles_of_connect_and_cancel_leave_nothing_behind() {
    let server = TestServer::start(DialectPolicy::Auto);
    run_in_every_way("cycles", |way| {
        let server = server.address.to_string();
        match way {
            Way::Plain => vec![server, "1000".into(), "memory".into()],
            Way::Sanitized => vec![server, "1000".into()],
            Way::Valgrind => vec![server, "100".into()],
        }
    });
}

#[test]
fn cycles_of_join_and_leave_leave_nothing_behind() {
    let server = TestServer::start(DialectPolicy::Auto);
    run_in_every_way("session_cycles", |way| {
        let cycles = if way == Way::Valgrind { "40" } else { "400" };
        let mut arguments = vec![server.address.to_string(), id(), cycles.into()];
        arguments.extend((way == Way::Plain).then(|| "memory".into()));
        arguments
    });
}

#[test]
fn cycles_of_attempts_that_are_ended_leave_nothing_behind() {
    run_in_every_way("conn_cycles", |way| match way {
        Way::Plain => vec!["10000".into(), "memory".into()],
        Way::Sanitized => vec!["2000".into()],
        Way::Valgrind => vec!["200".into()],
    });
}

#[test]
fn free_during_connect_cancels_waits_and_leaks_nothing() {
    let server = TestServer::start(DialectPolicy::Auto);
    let workshop = Workshop::open();
    for way in Way::ALL {
        for pinned in [false, true] {
            let Some(mut command) = workshop.command("free_during_connect", way) else { continue };
            command.args([&server.address.to_string(), "100"]);
            if pinned {
                pin_to_one_processor(&mut command);
            }
            start(command).succeed(LIMIT);
        }
    }
}

#[test]
#[cfg(feature = "test-panic")]
fn panic_costs_one_client_and_not_the_process() {
    let server = TestServer::start(DialectPolicy::Auto);
    for run in run_in_every_way("panic", |_| vec![server.address.to_string(), id()]) {
        // The two that were asked for: freeing what they left meets no further one.
        assert_eq!(run.stderr.matches("panicked at").count(), 2, "{}", run.stderr);
    }
}

#[test]
fn log_callback_is_called_as_promised() {
    let server = TestServer::start(DialectPolicy::Auto);
    run_in_every_way("log", |_| vec![server.address.to_string(), id()]);
}

/// Both sides in processes of their own, plainly and under the sanitizers.
fn exchange_between(roles: [&str; 2]) {
    let server = TestServer::start(DialectPolicy::Auto);
    let workshop = Workshop::open();
    for way in [Way::Plain, Way::Sanitized] {
        let id = id();
        let sides: Vec<_> = roles
            .iter()
            .filter_map(|role| {
                let mut command = workshop.command("handover", way)?;
                command.args([server.address.to_string().as_str(), &id, role]);
                Some(start(command))
            })
            .collect();
        for side in sides {
            let said = side.succeed(LIMIT).stdout;
            assert!(said.contains("sent 10000 received 10000 "), "{said}");
        }
    }
}

#[test]
fn everything_arrives_once_over_taken_sockets() {
    exchange_between(["take", "take"]);
}

#[test]
fn everything_arrives_once_over_lent_sockets() {
    exchange_between(["lend", "take"]);
}

#[test]
fn what_came_before_connect_returned_is_not_lost() {
    let server = TestServer::start(DialectPolicy::Auto);
    let workshop = Workshop::open();
    for way in [Way::Plain, Way::Sanitized] {
        let id = id();
        let begin = |role: &str| {
            let mut command = workshop.command("handover", way)?;
            command.args([server.address.to_string().as_str(), &id, role]);
            Some(start(command))
        };
        let (Some(late), Some(mut first)) = (begin("late"), begin("take")) else { continue };
        // The first has sent all that it may; only now comes the peer that the late one waits for.
        first.await_line("started", LIMIT);
        let mut guest = begin("guest").expect("it was there a moment ago");
        guest.await_line("started", LIMIT);
        for side in [late, first] {
            let said = side.succeed(LIMIT).stdout;
            assert!(said.contains("sent 10000 received 10000 "), "{said}");
        }
        guest.succeed(LIMIT);
    }
}

#[test]
fn missing_tools_are_told_apart_from_those_that_are_there() {
    assert!(missing(&["no-such-tool-as-this"]).is_some_and(|why| why.contains("no-such-tool-as-this")));
}

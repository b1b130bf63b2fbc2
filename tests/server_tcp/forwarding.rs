//! Connections that the server forwards to each other.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use holepunch::PeerId;
use holepunch::proto::Transport;
use holepunch::proto::wire::codec::Writer;
use holepunch::proto::wire::relay::{Ticket, encode_relay_bind, write_relay_bound};
use holepunch::proto::wire::{Message, RelayRefusal, RelayRequest};
use holepunch::server::{RelayConfig, ServerConfig, TcpConfig};

use super::support::{TestServer, unique_id};
use super::{Member, PATIENCE, connect, eventually, frame, is_closed, is_quiet, relay_with};

/// What the server says of a request to forward.
fn request(member: &mut Member, peer: PeerId, transport: Transport) -> Result<(u16, Ticket), RelayRefusal> {
    let request = RelayRequest { token: member.token, handle: member.handle, peer, transport };
    member.send(&request.encode());
    member.wait_for("answer", |message| match message {
        Message::RelayGranted(granted) if granted.peer == peer => Some(Ok((granted.port, granted.ticket))),
        Message::RelayRefused(refused) if refused.peer == peer => Some(Err(refused.reason.unwrap())),
        _ => None,
    })
}

/// Two members, one over each transport, with a ticket each.
fn tickets(server: &TestServer) -> ([Member; 2], [Ticket; 2]) {
    let id = unique_id();
    let mut members = [Member::over_tcp(server.address, 1), Member::over_udp(server.address, 2)];
    members.iter_mut().for_each(|member| member.register(&id));
    let granted = [0, 1].map(|at| {
        let peer = members[1 - at].peer;
        let (port, ticket) = request(&mut members[at], peer, Transport::Tcp).unwrap();
        assert_eq!(port, server.address.port());
        assert_eq!(request(&mut members[at], peer, Transport::Tcp), Ok((port, ticket)), "the same again");
        ticket
    });
    (members, granted)
}

/// A connection on which a ticket was shown, and these bytes behind it.
fn show(to: SocketAddr, ticket: &Ticket, early: &[u8]) -> TcpStream {
    let mut stream = connect(to);
    stream.write_all(&[&frame(&encode_relay_bind(ticket)), early].concat()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn expect_bound(stream: &mut TcpStream, ticket: &Ticket) {
    let mut buffer = [0; 100];
    let mut writer = Writer::new(&mut buffer);
    write_relay_bound(&mut writer, ticket);
    expect(stream, &frame(writer.as_slice()));
}

fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut received = vec![0; bytes.len()];
    stream.read_exact(&mut received).unwrap();
    assert!(received == bytes, "{:?}", String::from_utf8_lossy(&received));
}

fn forwarded(server: &TestServer) -> ([Member; 2], [TcpStream; 2]) {
    let (members, tickets) = tickets(server);
    let mut streams = tickets.map(|ticket| show(server.address, &ticket, b""));
    for (stream, ticket) in streams.iter_mut().zip(&tickets) {
        expect_bound(stream, ticket);
    }
    (members, streams)
}

/// Bytes of which none are alike where they might be mixed up.
fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn unlimited() -> RelayConfig {
    RelayConfig { bytes_per_second: None, ..RelayConfig::default() }
}

#[test]
fn two_connections_are_one_whoever_comes_first() {
    let server = relay_with(unlimited(), TcpConfig::default());
    for first in [0, 1] {
        let (_members, tickets) = tickets(&server);
        let mut early = show(server.address, &tickets[first], b"early ");
        assert!(is_quiet(&mut early), "nobody is there yet");
        early.set_read_timeout(Some(PATIENCE)).unwrap();
        early.write_all(b"bird").unwrap();
        let mut late = show(server.address, &tickets[1 - first], b"late bird");
        expect_bound(&mut early, &tickets[first]);
        expect_bound(&mut late, &tickets[1 - first]);
        expect(&mut early, b"late bird");
        expect(&mut late, b"early bird");
        let mut streams = [early, late];
        for round in 0..20 {
            let text = format!("{round} {}", "x".repeat(round * 100));
            for side in [0, 1] {
                streams[side].write_all(text.as_bytes()).unwrap();
                expect(&mut streams[1 - side], text.as_bytes());
            }
        }
    }
    let relay = server.counters().tcp.relay;
    assert_eq!((relay.pairs, relay.granted, relay.joined, relay.unknown), (2, 2, 2, 0));
    assert!(relay.forwarded_bytes > 40_000, "{relay:?}");
}

#[test]
fn much_that_is_said_before_the_other_side_comes_waits_for_it() {
    let server = relay_with(unlimited(), TcpConfig::default());
    let (_members, tickets) = tickets(&server);
    let said = pattern(3 << 20, 5);
    let mut early = show(server.address, &tickets[0], b"");
    let mut writer = early.try_clone().unwrap();
    let expected = said.clone();
    let writing = thread::spawn(move || {
        writer.write_all(&said).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    thread::sleep(Duration::from_millis(200));
    assert_eq!(server.counters().tcp.relay.forwarded_bytes, 0);
    let mut late = show(server.address, &tickets[1], b"");
    expect_bound(&mut late, &tickets[1]);
    expect(&mut late, &expected);
    assert_eq!(late.read(&mut [0; 1]).unwrap(), 0);
    expect_bound(&mut early, &tickets[0]);
    writing.join().unwrap();
    assert_eq!(server.counters().tcp.slow, 0);
}

#[test]
fn one_side_may_end_while_the_other_goes_on() {
    let server = relay_with(unlimited(), TcpConfig::default());
    let (_members, [mut one, mut other]) = forwarded(&server);
    one.write_all(b"last words").unwrap();
    one.shutdown(Shutdown::Write).unwrap();
    expect(&mut other, b"last words");
    assert_eq!(other.read(&mut [0; 1]).unwrap(), 0, "a clean end");
    let answer = pattern(300_000, 1);
    other.write_all(&answer).unwrap();
    expect(&mut one, &answer);
    drop(other);
    assert_eq!(one.read(&mut [0; 1]).unwrap(), 0, "and another one");
    eventually("both are gone", || server.counters().tcp.connections == 1);
    // Everything said and ended before the other side came is still said.
    let (_members, tickets) = tickets(&server);
    let mut early = show(server.address, &tickets[0], b"all I have");
    early.shutdown(Shutdown::Write).unwrap();
    thread::sleep(Duration::from_millis(50));
    let mut late = show(server.address, &tickets[1], b"and you");
    expect_bound(&mut late, &tickets[1]);
    expect(&mut late, b"all I have");
    assert_eq!(late.read(&mut [0; 1]).unwrap(), 0);
    expect_bound(&mut early, &tickets[0]);
    expect(&mut early, b"and you");
}

#[test]
fn break_of_one_side_is_a_break_of_the_other_and_tickets_are_good_again() {
    let server = relay_with(unlimited(), TcpConfig::default());
    let (_members, tickets) = tickets(&server);
    for _ in 0..2 {
        let mut streams = tickets.map(|ticket| show(server.address, &ticket, b""));
        for (stream, ticket) in streams.iter_mut().zip(&tickets) {
            expect_bound(stream, ticket);
        }
        let [broken, mut other] = streams;
        socket2::SockRef::from(&broken).set_linger(Some(Duration::ZERO)).unwrap();
        drop(broken);
        let error = other.read(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    assert_eq!(server.counters().tcp.relay.joined, 2);
}

#[test]
fn much_arrives_whole_both_ways_at_once_although_its_reader_is_slow() {
    const LEN: usize = 6 << 20;
    let server = relay_with(unlimited(), TcpConfig::default());
    let (_members, streams) = forwarded(&server);
    let threads: Vec<_> = streams
        .into_iter()
        .enumerate()
        .flat_map(|(side, stream)| {
            let (mut writer, mut reader) = (stream.try_clone().unwrap(), stream);
            let write = thread::spawn(move || {
                writer.write_all(&pattern(LEN, side as u64)).unwrap();
                writer.shutdown(Shutdown::Write).unwrap();
            });
            let read = thread::spawn(move || {
                let mut received: Vec<u8> = Vec::with_capacity(LEN);
                let mut buffer = vec![0; 64 << 10];
                while received.len() < LEN {
                    let len = reader.read(&mut buffer).unwrap();
                    assert_ne!(len, 0, "too early, after {}", received.len());
                    received.extend(&buffer[..len]);
                    if side == 0 && received.len() < LEN / 2 {
                        thread::sleep(Duration::from_millis(5));
                    }
                }
                assert!(received == pattern(LEN, 1 - side as u64));
                assert_eq!(reader.read(&mut buffer).unwrap(), 0);
            });
            [write, read]
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(server.counters().tcp.relay.forwarded_bytes, 2 * LEN as u64);
}

#[test]
fn who_does_not_read_makes_the_other_side_wait() {
    let server = relay_with(unlimited(), TcpConfig::default());
    let (_members, [mut writer, mut reader]) = forwarded(&server);
    // Little is kept on the way, so that the end comes while the server still has something to send.
    socket2::SockRef::from(&writer).set_send_buffer_size(16 << 10).unwrap();
    socket2::SockRef::from(&reader).set_recv_buffer_size(32 << 10).unwrap();
    writer.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut written = 0;
    while let Ok(len) = writer.write(&[7; 16 << 10]) {
        written += len;
        assert!(written < 1 << 30, "somebody keeps it all");
    }
    assert_eq!(server.counters().tcp.slow, 0, "that is no reason to close it");
    writer.shutdown(Shutdown::Write).unwrap();
    let mut received = 0;
    loop {
        match reader.read(&mut [0; 4 << 10]).unwrap() {
            0 => break,
            len => received += len,
        }
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(received, written);
}

#[test]
fn pair_is_forwarded_no_faster_than_it_may() {
    const RATE: usize = 100_000;
    let config = RelayConfig { bytes_per_second: Some(RATE as u64), ..RelayConfig::default() };
    let server = relay_with(config, TcpConfig::default());
    let (_members, [mut one, mut other]) = forwarded(&server);
    let started = Instant::now();
    let sent = pattern(RATE * 5 / 2, 3);
    let expected = sent.clone();
    let writer = thread::spawn(move || {
        one.write_all(&sent).unwrap();
        one
    });
    expect(&mut other, &expected);
    // A second's worth at once; the rest, and nothing is lost, takes its time.
    assert!(started.elapsed() >= Duration::from_millis(1450), "{:?}", started.elapsed());
    drop(writer.join().unwrap());
}

#[test]
fn unknown_tickets_and_second_comers_are_closed() {
    let server = relay_with(unlimited(), TcpConfig::default());
    let (members, tickets) = tickets(&server);
    assert!(is_closed(&mut show(server.address, &[9; 16], b"let me in")));
    assert_eq!(server.counters().tcp.relay.unknown, 1);
    // A newer connection takes the place of one that waits.
    let mut older = show(server.address, &tickets[0], b"older");
    assert!(is_quiet(&mut older));
    let mut newer = show(server.address, &tickets[0], b"newer");
    assert!(is_closed(&mut older));
    let mut other = show(server.address, &tickets[1], b"");
    expect_bound(&mut other, &tickets[1]);
    expect(&mut other, b"newer");
    expect_bound(&mut newer, &tickets[0]);
    // But not of one that is forwarded.
    assert!(is_closed(&mut show(server.address, &tickets[0], b"newest")));
    assert_eq!(server.counters().tcp.relay.unknown, 2);
    newer.write_all(b"still here").unwrap();
    expect(&mut other, b"still here");
    // A ticket is the first word, or nonsense.
    let mut stream = connect(server.address);
    super::ask(&mut stream, 1).unwrap();
    stream.write_all(&frame(&encode_relay_bind(&tickets[0]))).unwrap();
    assert!(is_closed(&mut stream));
    assert_eq!(server.counters().tcp.malformed, 1);
    drop(members);
}

#[test]
fn limits_of_pairs_hold_and_are_told() {
    let config = RelayConfig { ports: 2, max_pairs: 3, ..RelayConfig::default() };
    let server = relay_with(config, TcpConfig::default());
    let id = unique_id();
    let mut members: Vec<Member> = (1..=8).map(|number| Member::over_tcp(server.address, number)).collect();
    members.iter_mut().for_each(|member| member.register(&id));
    let mut ask = |us: usize, other: u8, transport| {
        request(&mut members[us - 1], PeerId([other; 16]), transport).map(|(port, _)| port)
    };
    let port = server.address.port();
    assert_eq!(ask(1, 2, Transport::Tcp), Ok(port));
    assert_eq!(ask(1, 3, Transport::Tcp), Ok(port));
    assert_eq!(
        ask(1, 4, Transport::Tcp),
        Err(RelayRefusal::Full),
        "as many for one client as there are ports"
    );
    assert_eq!(ask(5, 6, Transport::Tcp), Ok(port));
    assert_eq!(ask(7, 8, Transport::Tcp), Err(RelayRefusal::Full), "as many in all as there may be");
    assert_eq!(ask(7, 77, Transport::Tcp), Err(RelayRefusal::UnknownPeer));
    // Those of datagrams are counted by themselves, and forwarded elsewhere.
    assert_ne!(ask(7, 8, Transport::Udp).unwrap(), port);
    let counters = server.counters();
    assert_eq!((counters.tcp.relay.pairs, counters.tcp.relay.refused), (3, 2));
    assert_eq!((counters.relay.pairs, counters.relay.refused), (1, 1));
}

#[test]
fn connections_are_forwarded_only_where_both_are_offered() {
    let with_tcp = ServerConfig { tcp: Some(TcpConfig::default()), ..ServerConfig::default() };
    let with_relay = ServerConfig { relay: Some(RelayConfig::default()), ..ServerConfig::default() };
    for (config, udp_is_forwarded) in [(with_tcp, false), (with_relay, true)] {
        let server = TestServer::start_with(config);
        let id = unique_id();
        let mut members = [1, 2].map(|number| Member::over_udp(server.address, number));
        members.iter_mut().for_each(|member| member.register(&id));
        let peer = members[1].peer;
        let not_offered = Err(RelayRefusal::NotOffered);
        assert_eq!(request(&mut members[0], peer, Transport::Tcp), not_offered);
        let over_udp = request(&mut members[0], peer, Transport::Udp);
        assert_eq!(over_udp.is_ok(), udp_is_forwarded);
    }
}

#[test]
fn who_waits_in_vain_and_who_says_nothing_is_closed() {
    let idle = Duration::from_secs(3);
    let relay_wait = Duration::from_millis(1500);
    let tcp = TcpConfig { relay_wait, relay_silence: idle, ..TcpConfig::default() };
    let server = relay_with(RelayConfig { idle, ..unlimited() }, tcp);
    let (_members, tickets) = tickets(&server);
    let mut alone = show(server.address, &tickets[0], b"hello?");
    assert!(is_closed(&mut alone));
    assert_eq!(server.counters().tcp.relay.alone, 1);
    let (_members, tickets) = self::tickets(&server);
    let mut streams = tickets.map(|ticket| show(server.address, &ticket, b""));
    for (stream, ticket) in streams.iter_mut().zip(&tickets) {
        expect_bound(stream, ticket);
    }
    let [mut one, mut other] = streams;
    let started = Instant::now();
    while started.elapsed() < idle * 3 / 2 {
        one.write_all(b"tick").unwrap();
        expect(&mut other, b"tick");
        thread::sleep(Duration::from_millis(50));
    }
    // Not a clean end: more was to come, for all that the server knows.
    let error = one.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(is_closed(&mut other));
    assert_eq!((server.counters().tcp.relay.pairs, server.counters().tcp.relay.alone), (0, 1));
    assert!(is_closed(&mut show(server.address, &tickets[0], b"")), "its ticket is nobody's now");
}

#[test]
fn pair_that_is_used_ends_with_its_lifetime() {
    let lifetime = Duration::from_secs(3);
    let server = relay_with(RelayConfig { lifetime, ..unlimited() }, TcpConfig::default());
    let started = Instant::now();
    let (_members, [mut one, mut other]) = forwarded(&server);
    while one.write_all(b"tick").is_ok() && other.read_exact(&mut [0; 4]).is_ok() {
        assert!(started.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(20));
    }
    assert!(started.elapsed() >= lifetime);
    eventually("its members alone are left", || server.counters().tcp.connections == 1);
}

#[test]
fn stop_ends_what_is_forwarded_and_what_waits() {
    let server = relay_with(unlimited(), TcpConfig::default());
    let (_members, mut streams) = forwarded(&server);
    let (_others, tickets) = tickets(&server);
    let mut waiting = show(server.address, &tickets[0], b"hello?");
    assert!(is_quiet(&mut waiting));
    drop(server);
    assert!(is_closed(&mut waiting));
    assert!(streams.iter_mut().all(is_closed));
}

#[test]
fn waiting_is_no_silence() {
    let short = Duration::from_millis(1500);
    let tcp = TcpConfig { first_message: short, silence: short, ..TcpConfig::default() };
    let server = relay_with(unlimited(), tcp);
    let (_members, tickets) = tickets(&server);
    let mut first = show(server.address, &tickets[0], b"");
    thread::sleep(short * 3 / 2);
    let mut second = show(server.address, &tickets[1], b"there you are");
    expect_bound(&mut second, &tickets[1]);
    expect_bound(&mut first, &tickets[0]);
    thread::sleep(short * 3 / 2);
    expect(&mut first, b"there you are");
    first.write_all(b"here I am").unwrap();
    expect(&mut second, b"here I am");
    assert_eq!(server.counters().tcp.relay.alone, 0);
}

//! What a server allows its connections.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use holepunch::ErrorKind;
use holepunch::server::{MAX_TCP_CONNECTIONS, ServerConfig, TcpConfig};
use socket2::{Domain, Socket, Type};

use super::support::{TestServer, unique_id};
use super::{
    Member, PATIENCE, Way, ask, connect, eventually, frame, is_closed, is_quiet, probe, server_with,
};

/// Short enough for a test, and long enough that a busy machine does not stand still for so long.
const SHORT: Duration = Duration::from_millis(1500);

#[test]
fn settings_out_of_range_are_refused() {
    let check = |tcp| ServerConfig { tcp: Some(tcp), ..ServerConfig::default() }.checked();
    let usual = TcpConfig::default;
    for good in [1, MAX_TCP_CONNECTIONS] {
        check(TcpConfig { max_connections: good, max_connections_per_address: good, ..usual() }).unwrap();
    }
    check(TcpConfig {
        first_message: Duration::MAX,
        silence: Duration::MAX,
        relay_wait: Duration::MAX,
        ..usual()
    })
    .unwrap();
    for bad in [
        TcpConfig { max_connections: 0, ..usual() },
        TcpConfig { max_connections: MAX_TCP_CONNECTIONS + 1, ..usual() },
        TcpConfig { max_connections_per_address: 0, ..usual() },
        TcpConfig { max_connections_per_address: MAX_TCP_CONNECTIONS + 1, ..usual() },
        TcpConfig { first_message: Duration::ZERO, ..usual() },
        TcpConfig { silence: Duration::ZERO, ..usual() },
        TcpConfig { relay_wait: Duration::ZERO, ..usual() },
    ] {
        assert_eq!(check(bad.clone()).unwrap_err().kind(), ErrorKind::InvalidArgument, "{bad:?}");
    }
}

/// Takes as many as there may be, one more, and another one when there is room again.
fn hold_at_the_edge(tcp: TcpConfig, most: usize) {
    let server = server_with(tcp);
    let mut streams: Vec<TcpStream> = (0..most).map(|_| connect(server.address)).collect();
    for stream in &mut streams {
        ask(stream, 1).unwrap();
    }
    for refused in 1..=3 {
        assert!(is_closed(&mut connect(server.address)));
        eventually("it is counted", || server.counters().tcp.over_limit == refused);
    }
    for stream in &mut streams {
        ask(stream, 2).unwrap();
    }
    let counters = server.counters().tcp;
    assert_eq!((counters.connections, counters.accepted), (most as u64, most as u64));
    streams.pop();
    eventually("there is room", || server.counters().tcp.connections == most as u64 - 1);
    ask(&mut connect(server.address), 3).unwrap();
}

#[test]
fn no_more_connections_are_taken_than_there_may_be() {
    hold_at_the_edge(TcpConfig { max_connections: 3, ..TcpConfig::default() }, 3);
    hold_at_the_edge(TcpConfig { max_connections: 1, ..TcpConfig::default() }, 1);
}

#[test]
fn no_more_connections_are_taken_from_one_address_than_there_may_be() {
    hold_at_the_edge(TcpConfig { max_connections_per_address: 2, ..TcpConfig::default() }, 2);
    // Another address has its own.
    let server = server_with(TcpConfig { max_connections_per_address: 1, ..TcpConfig::default() });
    let mut first = connect(server.address);
    ask(&mut first, 1).unwrap();
    let elsewhere = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    elsewhere.bind(&"127.0.0.9:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    elsewhere.connect_timeout(&server.address.into(), PATIENCE).unwrap();
    ask(&mut elsewhere.into(), 1).unwrap();
    assert_eq!(server.counters().tcp.over_limit, 0);
}

#[test]
fn who_says_nothing_at_first_or_any_more_is_closed() {
    let server = server_with(TcpConfig { first_message: SHORT, silence: SHORT * 2, ..TcpConfig::default() });
    let started = Instant::now();
    let mut silent = connect(server.address);
    // Bytes are no message.
    let mut slow = connect(server.address);
    slow.write_all(&frame(&probe(1))[..10]).unwrap();
    let mut member = Member::over_tcp(server.address, 1);
    member.register(&unique_id());
    assert!(is_closed(&mut silent) && is_closed(&mut slow));
    assert!(started.elapsed() >= SHORT);
    assert!(server.counters().tcp.silent >= 2);
    // Who goes on saying something stays, and what it is registered for outlives its silence.
    let Way::Stream(stream, _) = &mut member.way else { unreachable!() };
    let mut last = Instant::now();
    while started.elapsed() < SHORT * 3 {
        last = Instant::now();
        ask(stream, 2).expect("it is not silent");
        std::thread::sleep(SHORT / 10);
    }
    assert!(is_closed(stream));
    assert!(last.elapsed() >= SHORT * 2);
    assert_eq!((server.counters().tcp.silent, server.counters().tcp.connections), (3, 0));
    assert_eq!(server.counters().endpoints, 1);
}

#[test]
fn who_does_not_read_is_closed_and_nobody_else_waits() {
    let server = server_with(TcpConfig::default());
    let deaf = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    deaf.set_recv_buffer_size(4096).unwrap();
    deaf.connect_timeout(&server.address.into(), PATIENCE).unwrap();
    deaf.set_write_timeout(Some(PATIENCE)).unwrap();
    let mut deaf: TcpStream = deaf.into();
    let mut other = connect(server.address);
    let questions: Vec<u8> = (0..200).flat_map(|sequence| frame(&probe(sequence))).collect();
    let until = Instant::now() + PATIENCE;
    // It is closed while it still asks.
    while deaf.write_all(&questions).is_ok() {
        ask(&mut other, 1).unwrap();
        assert!(Instant::now() < until, "{:?}", server.counters().tcp);
    }
    eventually("it is counted", || server.counters().tcp.slow == 1);
    ask(&mut other, 2).unwrap();
    assert_eq!(server.counters().tcp.connections, 1);
}

#[test]
fn stop_closes_all_connections_and_leaves_the_port() {
    let server = server_with(TcpConfig::default());
    let address = server.address;
    let mut streams: Vec<TcpStream> = (0..5).map(|_| connect(address)).collect();
    for stream in &mut streams {
        ask(stream, 1).unwrap();
    }
    assert!(is_quiet(&mut streams[0]));
    drop(server);
    for stream in &mut streams {
        assert!(is_closed(stream));
    }
    // Although connections to it were closed by the server, which the kernel remembers.
    let config = ServerConfig { address, tcp: Some(TcpConfig::default()), ..ServerConfig::default() };
    let server = TestServer::start_with(config);
    ask(&mut connect(server.address), 1).unwrap();
}

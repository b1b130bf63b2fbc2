//! Rendezvous and NAT diagnosis over connections.

use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use holepunch::proto::wire::codec::Writer;
use holepunch::proto::wire::relay::encode_relay_bind;
use holepunch::proto::wire::{
    Attributes, FilterProbe, Leave, Message, Presence, PresenceAck, Register, RelayRequest,
};
use holepunch::proto::{DialectPolicy, LookupKey, Transport};
use holepunch::server::{ServerConfig, TcpConfig};
use holepunch::{ErrorKind, PeerId, Server};

use super::support::{TestServer, unique_id};
use super::{
    Member, PATIENCE, SILENCE, Way, ask, connect, eventually, frame, is_closed, next_message, probe,
    server_with,
};

#[test]
fn members_over_both_transports_hear_of_each_other() {
    let server = server_with(TcpConfig::default());
    let id = unique_id();
    let mut members = [
        Member::over_tcp(server.address, 1),
        Member::over_udp(server.address, 2),
        Member::over_tcp(server.address, 3),
        Member::over_udp(server.address, 4),
    ];
    for at in 0..members.len() {
        members[at].register(&id);
        assert_eq!(members[at].observed, Some(members[at].local()));
        for other in 0..at {
            let [newest, other] = members.get_disjoint_mut([at, other]).unwrap();
            newest.hears_of(other);
            other.hears_of(newest);
        }
    }
    // One says that it is there, and goes: the others hear of it, whichever way they came.
    let [first, others @ ..] = &mut members;
    let (token, handle) = (first.token, first.handle);
    first
        .send(&Presence { token, handle, sequence: 5, instance: 0, revision: 0, wants_reply: true }.encode());
    first.wait_for("acknowledgement", |message| match message {
        Message::PresenceAck(ack) => (ack.sequence == 5).then_some(()),
        _ => None,
    });
    first.send(&Leave { token, handle, sequence: 6 }.encode());
    first.wait_for("goodbye", |message| matches!(message, Message::Left(_)).then_some(()));
    for other in others {
        while !other.left.contains(&PeerId([1; 16])) {
            other.wait_for("update", |message| matches!(message, Message::Update { .. }).then_some(()));
        }
    }
    let counters = server.counters();
    assert_eq!((counters.endpoints, counters.tcp.connections, counters.tcp.accepted), (3, 2, 2));
    assert_eq!((counters.tcp.malformed, counters.tcp.slow, counters.tcp.over_limit), (0, 0, 0));
    assert!(counters.tcp.received >= 4 && counters.tcp.sent >= 6, "{counters:?}");
}

#[test]
fn member_comes_back_from_another_port_under_its_token() {
    let server = server_with(TcpConfig::default());
    let id = unique_id();
    let mut other = Member::over_udp(server.address, 1);
    other.register(&id);
    let mut member = Member::over_tcp(server.address, 2);
    member.register(&id);
    other.hears_of(&member);
    let handle = member.handle;
    drop(member);
    eventually("the connection is gone", || server.counters().tcp.connections == 0);
    assert_eq!(server.counters().endpoints, 2, "it is registered all the same");
    let mut third = Member::over_udp(server.address, 3);
    third.register(&id);
    eventually("what it is told is nobody's", || server.counters().tcp.unsent > 0);
    let mut member = Member::over_tcp(server.address, 2);
    member.register(&id);
    assert_eq!(member.handle, handle, "the same registration");
    other.hears_of(&member);
    member.hears_of(&third);
    // Who does not know the token gets nowhere.
    let mut thief = Member { token: 9, ..Member::over_tcp(server.address, 2) };
    thief.send(&Leave { token: 9, handle, sequence: 1 }.encode());
    thief.wait_for("answer", |message| matches!(message, Message::Left(_)).then_some(()));
    assert_eq!(server.counters().endpoints, 3);
}

#[test]
fn source_is_told_at_every_port_and_nothing_else_is_at_the_alternate_ones() {
    let config = ServerConfig {
        tcp: Some(TcpConfig::default()),
        other_address: Some(Ipv4Addr::new(127, 0, 0, 2).into()),
        ..ServerConfig::default()
    };
    let server = TestServer::start_with(config);
    let mut asker = Member::over_udp(server.address, 1);
    asker.send(
        &Register {
            token: 1,
            sequence: 1,
            lookup: LookupKey::derive(b"alternates"),
            peer: PeerId([1; 16]),
            cookie: Default::default(),
            instance: 0,
            revision: 0,
            attributes: Attributes::NONE,
        }
        .encode(),
    );
    let alternates = asker.wait_for("challenge", |message| match message {
        Message::Challenge(challenge) => Some(challenge.alternates),
        _ => None,
    });
    let mut ports: Vec<SocketAddr> =
        alternates.ports().map(|port| SocketAddr::new(server.address.ip(), port)).collect();
    assert_eq!(ports.len(), 3);
    ports.extend(alternates.other);
    assert_eq!(ports.len(), 4);
    for at in ports.iter().chain([&server.address]) {
        let mut stream = connect(*at);
        for sequence in 1..=3 {
            assert_eq!(ask(&mut stream, sequence), Some(stream.local_addr().unwrap()), "{at}");
        }
    }
    for at in ports {
        let mut member = Member::over_tcp(at, 2);
        let Way::Stream(stream, _) = &mut member.way else { unreachable!() };
        ask(stream, 1).unwrap();
        member.send(&Leave { token: 2, handle: 0, sequence: 1 }.encode());
        let Way::Stream(stream, _) = &mut member.way else { unreachable!() };
        assert!(is_closed(stream), "{at}");
    }
    assert_eq!(server.counters().tcp.malformed, 4);
}

#[test]
fn frames_may_come_in_pieces_or_many_at_once() {
    let server = server_with(TcpConfig::default());
    let mut stream = connect(server.address);
    for byte in frame(&probe(1)) {
        stream.write_all(&[byte]).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let mut rest = Vec::new();
    assert!(next_message(&mut stream, &mut rest, PATIENCE).is_some());
    // So many that they do not fit into one look, ending amid one.
    let mut bytes: Vec<u8> = (0..500).flat_map(|sequence| frame(&probe(sequence))).collect();
    let last = bytes.split_off(bytes.len() - 7);
    stream.write_all(&bytes).unwrap();
    for sequence in 0..500 {
        if sequence == 499 {
            assert_eq!(next_message(&mut stream, &mut rest, SILENCE), None);
            stream.write_all(&last).unwrap();
        }
        let message = next_message(&mut stream, &mut rest, PATIENCE).unwrap();
        let Message::MappingReply(reply) = Message::parse(&message).unwrap() else { panic!("{message:?}") };
        assert_eq!(reply.sequence, sequence, "in order");
    }
    eventually("all are counted", || {
        (server.counters().tcp.received, server.counters().tcp.sent) == (501, 501)
    });
}

#[test]
fn whatever_is_no_message_closes_its_connection_and_no_other() {
    let server = server_with(TcpConfig::default());
    let mut bystander = connect(server.address);
    ask(&mut bystander, 1).unwrap();
    let of_len = |len: u16| [&len.to_be_bytes()[..], &probe(1)[..]].concat();
    let changed = |at: usize| {
        let mut message = probe(1);
        message[at] ^= 0x55;
        frame(&message)
    };
    let filter_probe =
        FilterProbe { token: 1, sequence: 1, cookie: Default::default(), target: Some(server.address) };
    let acknowledgement = {
        let mut buffer = [0; 100];
        let mut writer = Writer::new(&mut buffer);
        PresenceAck { token: 7, sequence: 1 }.write(&mut writer);
        writer.as_slice().to_vec()
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a browser", b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n".to_vec()),
        ("TLS", vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3]),
        ("zeros", vec![0; 100]),
        ("ones", vec![0xFF; 2]),
        ("no length", of_len(0)),
        ("less than a header", of_len(7)),
        ("too long", of_len(1201)),
        ("no native message", changed(0)),
        ("another version", changed(6)),
        ("an unknown kind", changed(7)),
        ("a cut message", frame(&probe(1)[..12])),
        ("a datagram of a plain client", frame(b"a plain session ID")),
        ("one that servers send", frame(&acknowledgement)),
        ("an alternate way of diagnosis", frame(&filter_probe.encode())),
        ("a ticket where nothing is forwarded", frame(&encode_relay_bind(&[1; 16]))),
        ("nonsense behind a message", [frame(&probe(1)), vec![0; 2]].concat()),
    ];
    for (number, (what, bytes)) in cases.iter().enumerate() {
        let mut stream = connect(server.address);
        stream.write_all(bytes).unwrap();
        assert!(is_closed(&mut stream), "{what}");
        eventually(what, || server.counters().tcp.malformed == number as u64 + 1);
    }
    // An end within a message is only an end.
    let mut stream = connect(server.address);
    stream.write_all(&frame(&probe(1))[..9]).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(is_closed(&mut stream));
    eventually("only one is left", || server.counters().tcp.connections == 1);
    assert_eq!(server.counters().tcp.malformed, cases.len() as u64);
    ask(&mut bystander, 2).unwrap();
}

#[test]
fn who_is_not_registered_is_told_so_and_may_stay() {
    let server = server_with(TcpConfig::default());
    let mut stranger = Member::over_tcp(server.address, 1);
    let presence =
        Presence { token: 1, handle: 77, sequence: 3, instance: 0, revision: 0, wants_reply: true };
    stranger.send(&presence.encode());
    stranger.wait_for("refusal", |message| match message {
        Message::Refused(refused) => (refused.sequence == 3).then_some(()),
        _ => None,
    });
    for handle in [77, u64::MAX] {
        let request =
            RelayRequest { token: 1, handle, peer: PeerId([2; 16]), transport: Transport::Tcp }.encode();
        stranger.send(&request);
    }
    eventually("both are dropped", || server.counters().dropped == 2);
    let Way::Stream(stream, _) = &mut stranger.way else { unreachable!() };
    ask(stream, 1).unwrap();
}

#[test]
fn wildcard_takes_both_families_and_shows_each_as_it_is() {
    let address = holepunch::server::parse_address(":0").unwrap();
    let config =
        ServerConfig { address, workers: 1, tcp: Some(TcpConfig::default()), ..ServerConfig::default() };
    let server = Server::bind(&config).unwrap();
    let (port, handle) = (server.local_address().unwrap().port(), server.handle());
    let running = std::thread::spawn(move || server.run());
    let mut own = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))];
    let loopback = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    own.extend(Some(loopback).filter(|_| address.is_ipv6() && TcpListener::bind("[::1]:0").is_ok()));
    for at in own {
        let mut stream = connect(at);
        assert_eq!(ask(&mut stream, 1), Some(stream.local_addr().unwrap()));
    }
    handle.stop();
    running.join().unwrap().unwrap();
    assert_eq!(handle.counters().tcp.connections, 0);
}

#[test]
fn without_it_nothing_listens() {
    let server = TestServer::start_with(ServerConfig::default());
    assert!(TcpStream::connect(server.address).is_err());
    // Nor is there anything for plain clients.
    let config = ServerConfig {
        policy: DialectPolicy::Plain,
        tcp: Some(TcpConfig::default()),
        ..ServerConfig::default()
    };
    assert!(TcpStream::connect(TestServer::start_with(config).address).is_err());
}

#[test]
fn port_that_is_taken_over_tcp_ends_the_start() {
    // Somebody else's, whose number is free over UDP.
    let (taken, address) = loop {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        if UdpSocket::bind(address).is_ok() {
            break (taken, address);
        }
    };
    let with_tcp = ServerConfig { address, tcp: Some(TcpConfig::default()), ..ServerConfig::default() };
    let error = Server::bind(&with_tcp).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Socket);
    assert!(error.to_string().contains("TCP") && error.os_error().is_some(), "{error}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    Server::bind(&ServerConfig { tcp: None, ..with_tcp.clone() }).unwrap();
    drop(taken);
    Server::bind(&with_tcp).unwrap();
}

#[test]
fn alternate_port_that_is_taken_over_tcp_is_done_without() {
    let (taken, before) = loop {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let before = SocketAddr::from((Ipv4Addr::LOCALHOST, port - 1));
        if port < u16::MAX - 5 && UdpSocket::bind(before).is_ok() && TcpListener::bind(before).is_ok() {
            break (taken, before);
        }
    };
    let config = ServerConfig { address: before, tcp: Some(TcpConfig::default()), ..ServerConfig::default() };
    let server = TestServer::start_with(config);
    let mut member = Member::over_udp(server.address, 1);
    member.send(&probe(1));
    member.wait_for("answer", |message| matches!(message, Message::MappingReply(_)).then_some(()));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    socket.send_to(&probe(1), taken.local_addr().unwrap()).unwrap();
    assert!(socket.recv(&mut [0; 100]).is_err());
}

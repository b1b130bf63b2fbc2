//! Connections from plain addresses, on loopback.

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use holepunch::{
    AddressSource, CandidateKind, Conn, ConnEnd, ConnEvent, ConnOptions, Connected, DialectPolicy, Error,
    ErrorKind, TakenSocket, Transport,
};
use socket2::{Domain, Socket, Type};
use support::TestServer;

const ID: &[u8] = b"what both sides know";
const PATIENCE: Duration = Duration::from_secs(20);
const BOTH: [Transport; 2] = [Transport::Udp, Transport::Tcp];

fn options(transport: Transport) -> ConnOptions {
    let mut options = ConnOptions::new(transport, ID);
    options.local = Some((Ipv4Addr::LOCALHOST, 0).into());
    options
}

fn unauthenticated(transport: Transport) -> ConnOptions {
    let mut options = options(transport);
    (options.id, options.unauthenticated) = (Vec::new(), true);
    options
}

/// The caller reads himself.
fn reading(transport: Transport) -> ConnOptions {
    let mut options = options(transport);
    options.data_events = false;
    options
}

fn told_by(public: AddressSource, transport: Transport) -> ConnOptions {
    let mut options = options(transport);
    options.public = public;
    options
}

fn impatient(mut options: ConnOptions) -> ConnOptions {
    (options.attempt_timeout, options.attempts) = (Duration::from_millis(300), 2);
    options
}

fn address(conn: &Conn) -> SocketAddr {
    conn.local_addresses()[0]
}

fn event(conn: &Conn) -> ConnEvent {
    conn.next_event(Some(PATIENCE)).expect("an event in time")
}

fn connected(conn: &Conn) -> Connected {
    match event(conn) {
        ConnEvent::Connected(connected) => connected,
        other => panic!("{other:?}"),
    }
}

fn ended(conn: &Conn) -> ConnEnd {
    loop {
        match event(conn) {
            ConnEvent::Ended(end) => {
                assert!(conn.next_event(None).is_none(), "it is the last one");
                assert!(conn.next_event(Some(Duration::ZERO)).is_none());
                return end;
            }
            ConnEvent::Data(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn not_reached(conn: &Conn) -> Error {
    match ended(conn) {
        ConnEnd::NotReached(error) => error,
        other => panic!("{other:?}"),
    }
}

/// So many bytes, however they come.
fn data(conn: &Conn, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < len {
        match event(conn) {
            ConnEvent::Data(more) => bytes.extend(more),
            other => panic!("{other:?} after {} bytes", bytes.len()),
        }
    }
    bytes
}

fn pair(options: [ConnOptions; 2]) -> [Conn; 2] {
    let pair = options.map(|options| Conn::new(options).unwrap());
    pair[0].attempt(&[address(&pair[1])]).unwrap();
    pair[1].attempt(&[address(&pair[0])]).unwrap();
    pair
}

#[test]
fn both_ends_connect_talk_and_part() {
    for transport in BOTH {
        for authenticated in [true, false] {
            let made = if authenticated { options } else { unauthenticated };
            let [one, other] = pair([made(transport), made(transport)]);
            let (first, second) = (connected(&one), connected(&other));
            assert_eq!((first.local, first.remote), (second.remote, second.local));
            assert_eq!([first.authenticated, second.authenticated], [authenticated; 2]);
            assert_eq!(first.transport, transport);
            assert_eq!(one.connected(), Some(first));
            let keys = [&one, &other].map(|conn| conn.export_key(b"label"));
            assert_eq!(keys[0], keys[1]);
            assert_eq!(keys[0].is_some(), authenticated);
            assert!(!authenticated || keys[0] != one.export_key(b"other"));
            assert_eq!(one.write(b"to the other", None).unwrap(), 12);
            assert_eq!(data(&other, 12), b"to the other");
            assert_eq!(other.write(b"and back", None).unwrap(), 8);
            assert_eq!(data(&one, 8), b"and back");
            one.close();
            assert!(matches!(ended(&one), ConnEnd::Closed));
            // Nobody who proves nothing can say over UDP that it has gone.
            if authenticated || transport == Transport::Tcp {
                assert!(matches!(ended(&other), ConnEnd::ClosedByPeer), "{transport:?}");
                assert_eq!(other.write(b"x", None).unwrap_err().kind(), ErrorKind::NotConnected);
                assert_eq!(other.connected(), None);
            }
        }
    }
}

#[test]
fn it_is_enough_that_one_side_knows_the_others_address() {
    for transport in BOTH {
        let [waits, dials] = [options(transport), options(transport)].map(|o| Conn::new(o).unwrap());
        waits.attempt(&[]).unwrap();
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        dials.attempt(&[nowhere, address(&waits)]).unwrap();
        let (came, found) = (connected(&waits), connected(&dials));
        assert_eq!(found.remote, address(&waits));
        assert_eq!((came.path, found.path), (CandidateKind::PeerReflexive, CandidateKind::Reflexive));
    }
}

#[test]
fn who_comes_before_the_attempt_is_let_in_with_it() {
    let [late, early] = [options(Transport::Tcp), options(Transport::Tcp)].map(|o| Conn::new(o).unwrap());
    early.attempt(&[address(&late)]).unwrap();
    std::thread::sleep(Duration::from_millis(700));
    assert!(late.next_event(Some(Duration::ZERO)).is_none());
    late.attempt(&[address(&early)]).unwrap();
    connected(&late);
    connected(&early);
}

#[test]
fn much_arrives_whole_and_whoever_does_not_read_makes_the_other_side_wait() {
    let [from, to] = pair([options(Transport::Tcp), options(Transport::Tcp)]);
    connected(&from);
    let bytes: Vec<u8> = (0..64 << 20).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::thread::scope(|scope| {
        // Nobody reads: the system's buffers and the room for events fill up.
        let taken = from.write(&bytes, Some(Duration::from_millis(500)));
        let taken = taken.unwrap();
        assert!(taken < bytes.len(), "{taken} bytes wait somewhere");
        assert_eq!(from.write(&bytes, Some(Duration::ZERO)).unwrap_err().kind(), ErrorKind::Full);
        let rest = &bytes[taken..];
        let sending = scope.spawn(|| assert_eq!(from.write(rest, None).unwrap(), rest.len()));
        connected(&to);
        assert!(data(&to, bytes.len()) == bytes);
        sending.join().unwrap();
    });
}

#[test]
fn callers_may_read_themselves() {
    for transport in BOTH {
        let own = || reading(transport);
        let [one, other] = pair([own(), own()]);
        connected(&one);
        connected(&other);
        let mut buffer = [0; 100];
        let error = one.read(&mut buffer, Some(Duration::from_millis(20))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOutWaiting);
        assert_eq!(one.read(&mut [], None).unwrap_err().kind(), ErrorKind::InvalidArgument);
        other.write(b"hello", None).unwrap();
        assert_eq!(one.read(&mut buffer, Some(PATIENCE)).unwrap(), 5);
        assert_eq!(&buffer[..5], b"hello");
        other.close();
        match transport {
            Transport::Tcp => assert_eq!(one.read(&mut buffer, Some(PATIENCE)).unwrap(), 0),
            Transport::Udp => {
                let error = one.read(&mut buffer, Some(PATIENCE)).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::NotConnected);
            }
        }
        assert!(matches!(ended(&one), ConnEnd::ClosedByPeer));
    }
    let [one, _other] = pair([options(Transport::Tcp), options(Transport::Tcp)]);
    connected(&one);
    let error = one.read(&mut [0; 8], Some(Duration::ZERO)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn waiting_calls_end_with_the_connection() {
    for transport in BOTH {
        let own = || reading(transport);
        let [one, _other] = pair([own(), own()]);
        connected(&one);
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| one.read(&mut [0; 8], None).unwrap_err().kind());
            std::thread::sleep(Duration::from_millis(50));
            one.close();
            assert_eq!(reading.join().unwrap(), ErrorKind::NotConnected);
        });
    }
}

#[test]
fn taken_socket_is_the_callers_alone() {
    let [one, other] = pair([options(Transport::Tcp), options(Transport::Tcp)]);
    let ends = (connected(&one), connected(&other));
    other.write(b"before", None).unwrap();
    assert_eq!(data(&one, 6), b"before");
    let TakenSocket::Tcp(mut stream) = one.take().unwrap() else { panic!() };
    assert_eq!((stream.local_addr().unwrap(), stream.peer_addr().unwrap()), (ends.0.local, ends.0.remote));
    assert!(one.next_event(None).is_none(), "no event tells of it");
    assert_eq!(one.take().unwrap_err().kind(), ErrorKind::NotConnected);
    stream.write_all(b"raw").unwrap();
    assert_eq!(data(&other, 3), b"raw");
    // It is blocking.
    std::thread::scope(|scope| {
        let mut reader = stream.try_clone().unwrap();
        let reading = scope.spawn(move || {
            let mut bytes = [0; 4];
            reader.read_exact(&mut bytes).unwrap();
            bytes
        });
        std::thread::sleep(Duration::from_millis(50));
        other.write(b"late", None).unwrap();
        assert_eq!(&reading.join().unwrap(), b"late");
    });
    drop((one, stream));
    assert!(matches!(ended(&other), ConnEnd::ClosedByPeer));

    let own = || reading(Transport::Udp);
    let [one, other] = pair([own(), own()]);
    connected(&one);
    connected(&other);
    let TakenSocket::Udp { socket, remote, early } = one.take().unwrap() else { panic!() };
    assert_eq!((remote, early.len()), (address(&other), 0));
    other.write(b"datagram", None).unwrap();
    let mut buffer = [0; 2000];
    loop {
        let (len, source) = socket.recv_from(&mut buffer).unwrap();
        assert_eq!(source, remote);
        if !holepunch::is_control_packet(&buffer[..len]) {
            assert_eq!(&buffer[..len], b"datagram");
            break;
        }
    }
}

#[test]
fn whoever_knows_another_id_is_a_stranger() {
    let mut another = impatient(options(Transport::Tcp));
    another.id = b"something else".to_vec();
    let [one, other] = pair([impatient(options(Transport::Tcp)), another]);
    assert_eq!(not_reached(&one).kind(), ErrorKind::Stranger);
    assert_eq!(not_reached(&other).kind(), ErrorKind::Stranger);
}

/// A service that somebody else runs: what it was sent, connection by connection.
fn live_service(banner: &'static [u8]) -> (SocketAddr, std::sync::mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, received) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, sender) = (stream.unwrap(), sender.clone());
            std::thread::spawn(move || {
                let _ = stream.write_all(banner);
                let mut sent = Vec::new();
                let _ = stream.read_to_end(&mut sent);
                let _ = sender.send(sent);
            });
        }
    });
    (address, received)
}

#[test]
fn services_of_others_are_recognised_and_told_nothing() {
    for (banner, kind) in [
        (&b"SSH-2.0-OpenSSH_9.2\r\n"[..], ErrorKind::Stranger),
        (&[0x0E, b'h', b'o', b'l', b'e', b'p', 1, 0x40, 1, 2, 3], ErrorKind::TimedOutPunching),
        (b"", ErrorKind::TimedOutPunching),
    ] {
        let (service, received) = live_service(banner);
        let conn = Conn::new(impatient(options(Transport::Tcp))).unwrap();
        let began = Instant::now();
        conn.attempt(&[service]).unwrap();
        let error = not_reached(&conn);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(began.elapsed() < Duration::from_secs(5));
        drop(conn);
        let sent: Vec<_> = received.try_iter().collect();
        assert!(sent.iter().all(|sent| sent.len() <= 88), "a hello at most");
        assert!(sent.len() <= 10, "{} connections", sent.len());
    }
}

/// An address that refuses everybody over both transports; others cannot take it as long as the sockets live.
fn refusing() -> (UdpSocket, Socket, SocketAddr) {
    loop {
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = datagrams.local_addr().unwrap();
        datagrams.connect("127.0.0.1:1").unwrap();
        let stream = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        if stream.bind(&address.into()).is_ok() {
            return (datagrams, stream, address);
        }
    }
}

#[test]
fn nobody_there_is_one_clear_end() {
    let (_datagrams, _stream, free) = refusing();
    for transport in BOTH {
        for made in [options, unauthenticated] {
            let conn = Conn::new(impatient(made(transport))).unwrap();
            let began = Instant::now();
            conn.attempt(&[free]).unwrap();
            let error = not_reached(&conn);
            assert_eq!(error.kind(), ErrorKind::TimedOutPunching, "{error}");
            let took = began.elapsed();
            assert!(took >= Duration::from_millis(500) && took < Duration::from_secs(5), "{took:?}");
        }
    }
}

#[test]
fn half_open_peer_is_given_up_and_another_one_is_let_in() {
    let conn = Conn::new(options(Transport::Tcp)).unwrap();
    conn.attempt(&[]).unwrap();
    // They connect, and say nothing, too little, or somebody else's words.
    let strangers: Vec<_> = (0..200)
        .map(|number| {
            let mut stream = TcpStream::connect(address(&conn)).unwrap();
            let _ = stream.write_all(&b"\x0Eholep\x01\x40"[..number % 9]);
            stream
        })
        .collect();
    let peer = Conn::new(options(Transport::Tcp)).unwrap();
    peer.attempt(&[address(&conn)]).unwrap();
    connected(&conn);
    connected(&peer);
    drop(strangers);
}

#[test]
fn program_that_knows_nothing_of_us_can_be_the_other_side() {
    // It dials.
    let conn = Conn::new(unauthenticated(Transport::Tcp)).unwrap();
    conn.attempt(&[]).unwrap();
    let mut stream = TcpStream::connect(address(&conn)).unwrap();
    let made = connected(&conn);
    assert_eq!((made.remote, made.authenticated), (stream.local_addr().unwrap(), false));
    stream.write_all(b"from it").unwrap();
    assert_eq!(data(&conn, 7), b"from it");
    conn.write(b"to it", None).unwrap();
    let mut bytes = [0; 5];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"to it", "and nothing before");
    drop(stream);
    assert!(matches!(ended(&conn), ConnEnd::ClosedByPeer));
    // It listens, and is the first one to talk.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let conn = Conn::new(unauthenticated(Transport::Tcp)).unwrap();
    conn.attempt(&[listener.local_addr().unwrap()]).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"hi").unwrap();
    connected(&conn);
    assert_eq!(data(&conn, 2), b"hi");
}

#[test]
fn attempts_can_be_ended_at_once() {
    for transport in BOTH {
        let conn = Conn::new(options(transport)).unwrap();
        conn.attempt(&["127.0.0.1:9".parse().unwrap()]).unwrap();
        assert!(conn.next_event(Some(Duration::from_millis(50))).is_none());
        let began = Instant::now();
        conn.close();
        assert!(began.elapsed() < Duration::from_secs(1));
        assert!(matches!(ended(&conn), ConnEnd::Closed));
        assert_eq!(conn.attempt(&[]).unwrap_err().kind(), ErrorKind::AlreadyAttempted);
        assert_eq!(conn.take().unwrap_err().kind(), ErrorKind::NotConnected);
        conn.close();
        // Whoever attempts nevertheless is told the same as whoever was attempting.
        let conn = Conn::new(options(transport)).unwrap();
        conn.close();
        conn.attempt(&[]).unwrap();
        assert!(matches!(ended(&conn), ConnEnd::Closed));
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused = |change: &dyn Fn(&mut ConnOptions)| {
        let mut changed = options(Transport::Tcp);
        change(&mut changed);
        Conn::new(changed).err().map(|error| error.kind())
    };
    use ErrorKind::*;
    assert_eq!(refused(&|_| {}), None);
    assert_eq!(refused(&|o| o.id.clear()), Some(InvalidSessionId));
    assert_eq!(refused(&|o| o.id = vec![1; 1000]), None);
    assert_eq!(refused(&|o| o.id = vec![1; 1001]), Some(InvalidSessionId));
    assert_eq!(refused(&|o| o.unauthenticated = true), Some(InvalidArgument));
    for (time, ok) in [(0, false), (1, true), (3_600_000, true), (3_600_001, false)] {
        let kind = refused(&|o| o.attempt_timeout = Duration::from_millis(time));
        assert_eq!(kind.is_none(), ok, "{time} ms");
    }
    for (count, ok) in [(0, false), (1, true), (1000, true), (1001, false)] {
        assert_eq!(refused(&|o| o.attempts = count).is_none(), ok, "{count}");
    }
    assert_eq!(refused(&|o| o.public = AddressSource::Stun("nonsense".into())), Some(InvalidServer));
    assert_eq!(refused(&|o| o.public = AddressSource::Known("::1".parse().unwrap())), Some(InvalidArgument));
    assert_eq!(refused(&|o| o.local = Some("192.0.2.1:0".parse().unwrap())), Some(Socket));
    let conn = Conn::new(options(Transport::Udp)).unwrap();
    let somewhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    assert_eq!(conn.attempt(&[somewhere; 17]).unwrap_err().kind(), InvalidArgument);
    assert_eq!(conn.attempt(&["127.0.0.1:0".parse().unwrap()]).unwrap_err().kind(), InvalidArgument);
    assert_eq!(conn.attempt(&["0.0.0.0:1".parse().unwrap()]).unwrap_err().kind(), InvalidArgument);
    conn.attempt(&[somewhere; 16]).unwrap();
    assert_eq!(conn.attempt(&[]).unwrap_err().kind(), AlreadyAttempted);
}

/// Answers STUN questions over both transports.
fn stun_server() -> SocketAddr {
    fn answer(request: &[u8], source: SocketAddr) -> Vec<u8> {
        let SocketAddr::V4(source) = source else { panic!() };
        let mut bytes = [&[1, 1, 0, 12][..], &request[4..20], &[0, 1, 0, 8, 0, 1]].concat();
        bytes.extend(source.port().to_be_bytes());
        bytes.extend(source.ip().octets());
        bytes
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let socket = UdpSocket::bind(address).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 100];
        while let Ok((len, source)) = socket.recv_from(&mut buffer) {
            socket.send_to(&answer(&buffer[..len], source), source).unwrap();
        }
    });
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut buffer = [0; 20];
            if stream.read_exact(&mut buffer).is_ok() {
                let source = stream.peer_addr().unwrap();
                stream.write_all(&answer(&buffer, source)).unwrap();
            }
        }
    });
    address
}

#[test]
fn public_address_is_what_others_see() {
    let server = TestServer::start(DialectPolicy::Auto);
    let stun = stun_server();
    let sources = [
        (Transport::Udp, AddressSource::Server(server.address.to_string())),
        (Transport::Udp, AddressSource::Stun(stun.to_string())),
        (Transport::Tcp, AddressSource::Stun(stun.to_string())),
        (Transport::Tcp, AddressSource::Stun(format!("localhost:{}", stun.port()))),
    ];
    for (transport, public) in sources {
        let conn = Conn::new(told_by(public, transport)).unwrap();
        // Nothing is between us and the server.
        assert_eq!(conn.public_address(None).unwrap(), Some(address(&conn)));
        assert!(matches!(event(&conn), ConnEvent::PublicAddress(Ok(ours)) if ours == address(&conn)));
        // The port that was asked from is the one that peers reach.
        let peer = Conn::new(options(transport)).unwrap();
        peer.attempt(&[conn.public_address(None).unwrap().unwrap()]).unwrap();
        conn.attempt(&[address(&peer)]).unwrap();
        connected(&conn);
        connected(&peer);
    }
    let known = AddressSource::Known("203.0.113.5".parse().unwrap());
    let conn = Conn::new(told_by(known, Transport::Tcp)).unwrap();
    let expected = SocketAddr::new("203.0.113.5".parse().unwrap(), address(&conn).port());
    assert_eq!(conn.public_address(None).unwrap(), Some(expected));
    let conn = Conn::new(options(Transport::Tcp)).unwrap();
    assert_eq!(conn.public_address(None).unwrap(), None);
}

#[test]
fn public_address_that_nobody_tells_is_an_error_and_stops_nothing() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    let refusing = stun_server().to_string();
    let cases = [
        (Transport::Udp, AddressSource::Stun(silent.clone()), ErrorKind::ServerSilent),
        (Transport::Tcp, AddressSource::Stun(silent), ErrorKind::ServerUnreachable),
        (Transport::Udp, AddressSource::Stun("no-such-host.invalid:1".into()), ErrorKind::ServerNotFound),
        // A STUN server is none of ours.
        (Transport::Tcp, AddressSource::Server(refusing), ErrorKind::ServerRefused),
    ];
    for (transport, public, kind) in cases {
        let conn = Conn::new(told_by(public.clone(), transport)).unwrap();
        assert_eq!(conn.public_address(Some(Duration::ZERO)).ok().flatten(), None);
        assert_eq!(conn.public_address(Some(PATIENCE)).unwrap_err().kind(), kind, "{public:?}");
        assert!(matches!(event(&conn), ConnEvent::PublicAddress(Err(error)) if error.kind() == kind));
        let peer = Conn::new(options(transport)).unwrap();
        peer.attempt(&[address(&conn)]).unwrap();
        conn.attempt(&[address(&peer)]).unwrap();
        connected(&conn);
        connected(&peer);
    }
}

#[test]
fn every_address_is_tried_whoever_proves_what() {
    let (_datagrams, _stream, dead) = refusing();
    for transport in BOTH {
        for made in [options, unauthenticated] {
            for dead_first in [true, false] {
                let pair = [made(transport), made(transport)].map(|options| Conn::new(options).unwrap());
                for (at, conn) in pair.iter().enumerate() {
                    let mut addresses = [address(&pair[1 - at]), dead];
                    if dead_first {
                        addresses.reverse();
                    }
                    conn.attempt(&addresses).unwrap();
                }
                assert!(pair.iter().all(|conn| connected(conn).remote.ip().is_loopback()));
            }
        }
    }
}

#[test]
fn public_address_is_not_waited_for_beyond_the_attempt() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let public = AddressSource::Stun(silent.local_addr().unwrap().to_string());
    let conn = Conn::new(told_by(public, Transport::Udp)).unwrap();
    conn.attempt(&[]).unwrap();
    assert_eq!(conn.public_address(None).unwrap_err().kind(), ErrorKind::ServerSilent);
    assert!(matches!(event(&conn), ConnEvent::PublicAddress(Err(_))));
}

#[test]
fn what_does_not_fit_is_cut_and_nothing_of_ours_is_given_out() {
    let [one, other] = pair([reading(Transport::Udp), reading(Transport::Udp)]);
    connected(&one);
    connected(&other);
    let mut buffer = [0; 3];
    for text in [&b"SYNopsis"[..], b"ACKnowledged", b"ho"] {
        other.write(text, None).unwrap();
        let fits = text.len().min(3);
        assert_eq!(one.read(&mut buffer, Some(PATIENCE)).unwrap(), fits);
        assert_eq!(buffer[..fits], text[..fits]);
    }
    other.close();
    assert_eq!(one.read(&mut buffer, Some(PATIENCE)).unwrap_err().kind(), ErrorKind::NotConnected);
    assert!(matches!(ended(&one), ConnEnd::ClosedByPeer));
}

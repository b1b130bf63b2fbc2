//! Rooms against the real server on loopback.

mod support;

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use holepunch::proto::delivery::MAX_MESSAGE;
use holepunch::proto::session::MAX_PLAIN_MESSAGE;
use holepunch::proto::wire::RefusedReason;
use holepunch::server::{RelayConfig, ServerConfig};
use holepunch::{
    CandidateKind, Client, Departure, DialectPolicy, ErrorKind, MemberId, PathPolicy, PeerId, Session,
    SessionEvent, SessionOptions,
};
use support::{TestServer, unique_id};

const PATIENCE: Duration = Duration::from_secs(30);

fn join(server: &TestServer, id: &[u8]) -> Session {
    Session::join(&mut server.client(), id, SessionOptions::default()).unwrap()
}

/// The first event that is wanted, within half a minute.
fn wait_for<T>(room: &Session, wanted: impl FnMut(SessionEvent) -> Option<T>) -> T {
    wait_so_long_for(room, PATIENCE, wanted)
}

fn wait_so_long_for<T>(
    room: &Session,
    patience: Duration,
    mut wanted: impl FnMut(SessionEvent) -> Option<T>,
) -> T {
    let until = Instant::now() + patience;
    let mut seen = Vec::new();
    loop {
        let rest = until.saturating_duration_since(Instant::now());
        let event = room.next_event(Some(rest)).unwrap_or_else(|| panic!("only {seen:?}"));
        seen.push(format!("{event:?}").chars().take(100).collect::<String>());
        if let Some(found) = wanted(event) {
            return found;
        }
    }
}

fn wait_connected(room: &Session, count: usize) {
    let mut connected = BTreeSet::new();
    wait_for(room, |event| {
        if let SessionEvent::Connected(peer, ..) = event {
            connected.insert(peer);
        }
        (connected.len() == count).then_some(())
    });
}

fn encrypted(id: PeerId) -> MemberId {
    MemberId { id, encrypted: true }
}

fn message(event: SessionEvent) -> Option<Vec<u8>> {
    match event {
        SessionEvent::Message(_, text) => Some(text),
        _ => None,
    }
}

#[test]
fn three_meet_talk_and_leave() {
    let server = TestServer::start(DialectPolicy::Auto);
    let id = unique_id();
    let rooms: Vec<_> = (0..3).map(|_| join(&server, &id)).collect();
    rooms.iter().for_each(|room| wait_connected(room, 2));
    for (number, room) in rooms.iter().enumerate() {
        assert_eq!(room.peers().len(), 2);
        assert!(room.peers().iter().all(|peer| peer.path.is_some()));
        assert_eq!(room.send_to_all(&vec![number as u8; MAX_MESSAGE]).unwrap(), 1);
    }
    for (number, room) in rooms.iter().enumerate() {
        let mut from: Vec<_> = (0..2).map(|_| wait_for(room, message)).collect();
        from.sort();
        let others = (0..3).filter(|other| *other != number);
        let wanted: Vec<_> = others.map(|other| vec![other as u8; MAX_MESSAGE]).collect();
        assert!(from == wanted, "{number}");
    }
    let (a, b) = (&rooms[0], &rooms[1]);
    assert_eq!(a.export_key(b.local(), b"label"), b.export_key(a.local(), b"label"));
    assert!(a.export_key(b.local(), b"label").is_some());
    let number = a.send(b.local(), b"only you").unwrap();
    wait_for(a, |event| (event == SessionEvent::Delivered(encrypted(b.local()), number)).then_some(()));
    assert_eq!(wait_for(b, message), b"only you");
    let began = Instant::now();
    let gone = rooms[2].local();
    rooms[2].leave();
    for room in &rooms[..2] {
        wait_for(room, |event| {
            (event == SessionEvent::Left(encrypted(gone), Departure::Goodbye, Vec::new())).then_some(())
        });
    }
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!(a.send(gone, b"too late").unwrap_err().kind(), ErrorKind::NoSuchPeer);
    let end = (0..100).find(|_| rooms[2].next_event(None).is_none());
    assert!(end.is_some(), "events end with the room");
    assert_eq!(rooms[2].send_to_all(b"too late").unwrap_err().kind(), ErrorKind::Cancelled);
}

#[test]
fn waiting_for_events_can_be_left_to_poll() {
    let server = TestServer::start(DialectPolicy::Auto);
    let id = unique_id();
    let (a, b) = (join(&server, &id), join(&server, &id));
    wait_connected(&a, 1);
    wait_connected(&b, 1);
    while b.next_event(Some(Duration::from_millis(200))).is_some() {}
    let readable = |timeout: i32| {
        let mut polled = libc::pollfd { fd: b.event_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one initialised pollfd.
        unsafe { libc::poll(&mut polled, 1, timeout) == 1 }
    };
    assert!(!readable(100));
    for text in [b"one", b"two"] {
        a.send_to_all(text).unwrap();
    }
    let mut heard = Vec::new();
    while heard.len() < 2 {
        assert!(readable(5000));
        heard.extend(b.next_event(Some(Duration::ZERO)).and_then(message));
    }
    assert_eq!(heard, [b"one", b"two"]);
}

#[test]
fn peers_stay_when_the_server_dies_and_find_it_again() {
    let server = TestServer::start(DialectPolicy::Auto);
    let (address, id) = (server.address, unique_id());
    let (a, b) = (join(&server, &id), join(&server, &id));
    wait_connected(&a, 1);
    wait_connected(&b, 1);
    drop(server);
    wait_for(&a, |event| {
        assert!(!matches!(event, SessionEvent::Left(..)), "{event:?}");
        (event == SessionEvent::ServerLost).then_some(())
    });
    b.send_to_all(b"still here").unwrap();
    assert_eq!(wait_for(&a, message), b"still here");
    let server = TestServer::start_at(address, DialectPolicy::Auto);
    wait_for(&a, |event| (event == SessionEvent::ServerRegained).then_some(()));
    let c = join(&server, &id);
    wait_connected(&c, 2);
    assert_eq!(a.peers().len(), 2);
}

#[test]
fn a_slow_reader_holds_the_others_up_and_loses_nothing() {
    let server = TestServer::start(DialectPolicy::Auto);
    let id = unique_id();
    let (a, b) = (join(&server, &id), join(&server, &id));
    wait_connected(&a, 1);
    let text = vec![5; 50_000];
    let (mut sent, mut full) = (0, 0);
    while full < 20 {
        match a.send(b.local(), &text) {
            Ok(_) => sent += 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Full);
                full += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
    assert!((80..400).contains(&sent), "{sent} messages");
    for _ in 0..sent {
        assert_eq!(wait_for(&b, message), text);
    }
    assert!(a.send(b.local(), &text).is_ok());
}

#[test]
fn rooms_end_without_leaving_anything() {
    let server = TestServer::start(DialectPolicy::Auto);
    let descriptors = || std::fs::read_dir("/proc/self/fd").map(Iterator::count).unwrap_or_default();
    let round = || {
        let id = unique_id();
        let (a, b) = (join(&server, &id), join(&server, &id));
        wait_connected(&a, 1);
        drop(b);
        wait_for(&a, |event| matches!(event, SessionEvent::Left(_, Departure::Goodbye, _)).then_some(()));
    };
    round();
    let before = descriptors();
    (0..20).for_each(|_| round());
    // Other tests run beside this one.
    assert!(descriptors() <= before + 60, "{} descriptors, {before} before", descriptors());
}

#[test]
fn what_cannot_be_is_an_error() {
    let server = TestServer::start(DialectPolicy::Auto);
    let options = SessionOptions::default;
    let kind = |result: Result<Session, holepunch::Error>| result.map(|_| ()).unwrap_err().kind();
    assert_eq!(kind(Session::join(&mut server.client(), b"", options())), ErrorKind::InvalidSessionId);
    let mut nowhere = Client::new("no-such-host.invalid:5000").unwrap();
    assert_eq!(kind(Session::join(&mut nowhere, b"id", options())), ErrorKind::ServerNotFound);
    let room = join(&server, &unique_id());
    assert_eq!(room.send_to_all(&vec![0; MAX_MESSAGE + 1]).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(room.send_to_all(b"nobody hears").unwrap(), 1);
    // A server that never answers is told as lost, and the room goes on trying.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut client = Client::new(&silent.local_addr().unwrap().to_string()).unwrap();
    let room = Session::join(&mut client, b"id", options()).unwrap();
    wait_for(&room, |event| (event == SessionEvent::ServerLost).then_some(()));
    // So does one at a server that speaks plain only, and it says why.
    let plain = TestServer::start(DialectPolicy::Plain);
    let room = join(&plain, &unique_id());
    let refused = SessionEvent::Refused(RefusedReason::DialectRefused);
    wait_for(&room, |event| (event == refused).then_some(()));
}

#[test]
fn what_was_delivered_is_heard_although_its_sender_has_left() {
    let server = TestServer::start(DialectPolicy::Auto);
    let id = unique_id();
    let (a, b) = (join(&server, &id), join(&server, &id));
    wait_connected(&a, 1);
    for number in 0..100 {
        a.send(b.local(), &[number]).unwrap();
    }
    let mut delivered = 0;
    wait_for(&a, |event| {
        delivered += u8::from(matches!(event, SessionEvent::Delivered(..)));
        (delivered == 100).then_some(())
    });
    let gone = encrypted(a.local());
    drop(a);
    let until = Instant::now() + PATIENCE;
    while b.peers().iter().any(|peer| peer.member == gone) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    for number in 0..100 {
        assert_eq!(wait_for(&b, message), [number]);
    }
    wait_for(&b, |event| (event == SessionEvent::Left(gone, Departure::Goodbye, vec![])).then_some(()));
}

#[test]
fn who_leaves_is_told_what_has_not_come() {
    let server = TestServer::start(DialectPolicy::Auto);
    let id = unique_id();
    let (a, b) = (join(&server, &id), join(&server, &id));
    wait_connected(&a, 1);
    let text = vec![0; 50_000];
    let sent: Vec<_> = std::iter::from_fn(|| a.send(b.local(), &text).ok()).collect();
    a.leave();
    let mut open: BTreeSet<_> = sent.into_iter().collect();
    while let Some(event) = a.next_event(None) {
        match event {
            SessionEvent::Delivered(_, number) => assert!(open.remove(&number)),
            SessionEvent::Left(member, why, numbers) => {
                assert_eq!((member, why), (encrypted(b.local()), Departure::WeLeft));
                assert!(!numbers.is_empty());
                numbers.iter().for_each(|number| assert!(open.remove(number)));
            }
            _ => {}
        }
    }
    assert!(open.is_empty());
}

#[test]
fn forwarding_begins_anew_at_a_new_server() {
    let config = || ServerConfig { relay: Some(RelayConfig::default()), ..ServerConfig::default() };
    let server = TestServer::start_with(config());
    let (address, id) = (server.address, unique_id());
    let room = || {
        let mut client = server.client();
        client.set_path_policy(PathPolicy::RelayOnly);
        Session::join(&mut client, &id, SessionOptions::default()).unwrap()
    };
    let (a, b) = (room(), room());
    wait_connected(&a, 1);
    wait_connected(&b, 1);
    assert_eq!(a.peers()[0].path.unwrap().kind, CandidateKind::Relayed);
    drop(server);
    a.send_to_all(b"while nobody forwards").unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let _server = TestServer::start_with(ServerConfig { address, ..config() });
    for (from, to) in [(&a, &b), (&b, &a)] {
        from.send_to_all(b"again").unwrap();
        wait_for(to, |event| {
            assert!(!matches!(event, SessionEvent::Left(..)), "{event:?}");
            message(event).filter(|text| text == b"again")
        });
    }
}

#[test]
fn a_message_to_all_goes_to_those_who_can_take_it() {
    let server = TestServer::start(DialectPolicy::Auto);
    let id = unique_id();
    let (a, b, c) = (join(&server, &id), join(&server, &id), join(&server, &id));
    wait_connected(&a, 2);
    let text = vec![7; MAX_MESSAGE];
    while a.send(c.local(), &text).is_ok() {}
    let number = a.send_to_all(&text).unwrap();
    wait_for(&a, |event| (event == SessionEvent::Untaken(encrypted(c.local()), number)).then_some(()));
    wait_for(&a, |event| (event == SessionEvent::Delivered(encrypted(b.local()), number)).then_some(()));
    assert_eq!(wait_for(&b, message), text);
}

#[test]
fn plain_peers_are_refused_or_marked_in_every_event() {
    let server = TestServer::start(DialectPolicy::Auto);
    let id = unique_id();
    let closed = join(&server, &id);
    let mut options = SessionOptions::default();
    options.plain_peers = true;
    let open = Session::join(&mut server.client(), &id, options).unwrap();
    wait_connected(&closed, 1);
    wait_connected(&open, 1);
    let mut client = server.client();
    client.set_dialect(DialectPolicy::Plain);
    let peers = client.connect(&id, 1).unwrap();
    let socket = client.take_socket(peers[0].socket).unwrap();
    let plain = wait_for(&open, |event| match event {
        SessionEvent::Joined(member) => Some(member),
        _ => None,
    });
    assert!(!plain.encrypted);
    wait_for(&open, |event| {
        matches!(event, SessionEvent::Connected(who, _, None) if who == plain).then_some(())
    });
    let member = open.peers().into_iter().find(|peer| peer.member == plain).unwrap();
    socket.send_to(b"in the open", peers[0].endpoint).unwrap();
    wait_for(&open, |event| (event == SessionEvent::Message(plain, b"in the open".to_vec())).then_some(()));
    open.send(plain.id, &[1; MAX_PLAIN_MESSAGE]).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 2000];
    let received = loop {
        let (len, source) = socket.recv_from(&mut buffer).unwrap();
        assert_eq!(source, peers[0].endpoint);
        if !holepunch::is_control_packet(&buffer[..len]) {
            break len;
        }
    };
    assert_eq!(buffer[..received], [1; MAX_PLAIN_MESSAGE]);
    for unsuitable in [&[1; MAX_PLAIN_MESSAGE + 1][..], b"", b"SYN", b"ACK"] {
        assert_eq!(open.send(plain.id, unsuitable).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    assert!(member.path.is_some() && open.export_key(plain.id, b"label").is_none());
    // It says no goodbye; the server forgets it, and then it has been silent for too long.
    wait_so_long_for(&open, 3 * PATIENCE, |event| {
        (event == SessionEvent::Left(plain, Departure::TimedOut, vec![])).then_some(())
    });
    let told = std::iter::from_fn(|| closed.next_event(Some(Duration::ZERO)));
    assert!(
        told.into_iter().all(|event| !matches!(event, SessionEvent::Joined(member) if !member.encrypted))
    );
    assert_eq!(closed.peers().len(), 1);
}

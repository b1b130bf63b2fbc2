//! The blocking client against the real server on loopback.

mod support;

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use holepunch::{Client, DialectPolicy, Error, ErrorKind, NatCheck, Peer};
use support::{TestServer, unique_id};

/// Runs one client per policy, all under one ID, each wanting all the others.
fn meet(server: &TestServer, policies: &[DialectPolicy]) -> Vec<(Client, Vec<Peer>)> {
    server.meet(policies.len(), |number, client| client.set_dialect(policies[number]))
}

fn kind<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorKind {
    result.unwrap_err().kind()
}

#[test]
fn both_sides_of_a_hole_export_the_same_keys() {
    let server = TestServer::start(DialectPolicy::Auto);
    let met = server.meet(3, |_, _| {});
    let keys = |label: &[u8]| -> Vec<BTreeSet<_>> {
        met.iter()
            .map(|(_, peers)| peers.iter().map(|peer| peer.export_key(label).unwrap()).collect())
            .collect()
    };
    for label in [&b"one"[..], b"two", b""] {
        let keys = keys(label);
        // Each pair has a key of its own.
        assert_eq!(keys.iter().flatten().collect::<BTreeSet<_>>().len(), 3);
        assert!(keys.iter().all(|mine| mine.len() == 2));
    }
    assert_ne!(keys(b"one"), keys(b"two"));
    let plain = server.meet(2, |_, client| client.set_dialect(DialectPolicy::Plain));
    assert_eq!(plain[0].1[0].export_key(b"one"), None);
}

#[test]
fn two_clients_meet_and_own_sockets_that_reach_each_other() {
    let server = TestServer::start(DialectPolicy::Auto);
    let mut met = meet(&server, &[DialectPolicy::Auto; 2]);
    let sockets: Vec<UdpSocket> = met.iter_mut().map(|(client, _)| client.take_socket(0).unwrap()).collect();
    for (number, (client, peers)) in met.iter_mut().enumerate() {
        assert_eq!(peers.len(), 1);
        let peer = &peers[0];
        assert!(peer.connected && peer.authenticated, "{peer:?}");
        assert!(peer.rtt.is_some_and(|rtt| rtt < Duration::from_secs(1)), "{peer:?}");
        assert!(client.take_socket(0).is_none(), "a socket is taken once");
        assert_eq!(client.socket_fd(0), None);
        sockets[number].send_to(format!("from {number}").as_bytes(), peer.endpoint).unwrap();
    }
    for (number, socket) in sockets.iter().enumerate() {
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut buffer = [0; 2000];
        let (len, source) = loop {
            let (len, source) = socket.recv_from(&mut buffer).unwrap();
            if !holepunch::is_control_packet(&buffer[..len]) {
                break (len, source);
            }
        };
        assert_eq!(&buffer[..len], format!("from {}", 1 - number).as_bytes());
        assert_eq!(source, met[number].1[0].endpoint);
    }
}

#[test]
fn taken_socket_is_blocking_close_on_exec_and_unconnected() {
    let server = TestServer::start(DialectPolicy::Auto);
    let mut met = meet(&server, &[DialectPolicy::Auto; 2]);
    let socket = met[0].0.take_socket(0).unwrap();
    // SAFETY: both calls only read flags of a descriptor that is open.
    let (status, descriptor) = unsafe {
        (libc::fcntl(socket.as_raw_fd(), libc::F_GETFL), libc::fcntl(socket.as_raw_fd(), libc::F_GETFD))
    };
    assert_eq!(status & libc::O_NONBLOCK, 0);
    assert_eq!(descriptor & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
    assert!(socket.peer_addr().is_err());
    assert!(socket.take_error().unwrap().is_none());
}

#[test]
fn server_that_refuses_the_native_dialect_is_spoken_to_in_plain() {
    let server = TestServer::start(DialectPolicy::Plain);
    for policies in [&[DialectPolicy::Auto; 2][..], &[DialectPolicy::Auto, DialectPolicy::Plain]] {
        for (_, peers) in meet(&server, policies) {
            assert_eq!(peers.len(), 1);
        }
    }
    let mut client = server.client();
    client.set_dialect(DialectPolicy::Native);
    assert_eq!(kind(client.connect(&unique_id(), 1)), ErrorKind::DialectMismatch);
}

#[test]
fn peer_whose_probe_comes_before_the_plain_servers_list_is_one_peer() {
    let server = TestServer::start(DialectPolicy::Plain);
    for stagger in [0, 10, 30, 60, 90] {
        let id = unique_id();
        let [first, second] = [0, stagger].map(|wait| {
            let (mut client, id) = (server.client(), id.clone());
            client.set_timeout(Some(Duration::from_millis(700)));
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(wait));
                client.connect(&id, 2)
            })
        });
        for thread in [first, second] {
            let error = thread.join().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOutWaiting, "{error}");
            assert_eq!(error.peers().len(), 1, "{:?}", error.peers());
        }
    }
}

#[test]
fn every_mix_of_dialects_meets_through_one_server() {
    use DialectPolicy::{Auto, Native, Plain};
    let server = TestServer::start(Auto);
    for policies in [
        &[Auto, Plain][..],
        &[Plain, Plain],
        &[Native, Auto],
        &[Auto, Native, Plain][..2],
        &[Auto, Auto, Plain],
    ] {
        for (client, peers) in meet(&server, policies) {
            assert_eq!(peers.len(), policies.len() - 1);
            assert!(client.socket_fd(0).is_some());
        }
    }
}

#[test]
fn ipv6_and_a_name_reach_the_server() {
    let server = TestServer::start_at("[::1]:0".parse().unwrap(), DialectPolicy::Auto);
    let met = meet(&server, &[DialectPolicy::Auto; 2]);
    assert!(met[0].1[0].endpoint.is_ipv6());

    let dual = TestServer::start_at("[::]:0".parse().unwrap(), DialectPolicy::Auto);
    let port = dual.address.port();
    let id = unique_id();
    let threads = [format!("localhost:{port}"), format!("127.0.0.1:{port}")].map(|server| {
        let id = id.clone();
        thread::spawn(move || Client::new(&server).unwrap().connect(&id, 1).map(|peers| peers.len()))
    });
    // One of them may be registered over IPv6; its IPv4 endpoint is learned on the side.
    for thread in threads {
        assert_eq!(thread.join().unwrap().unwrap(), 1);
    }
}

#[test]
fn second_server_on_the_same_address_is_an_error() {
    let server = TestServer::start(DialectPolicy::Auto);
    let config = holepunch::ServerConfig { address: server.address, ..holepunch::ServerConfig::default() };
    let error = holepunch::Server::bind(&config).map(drop).unwrap_err();
    assert_eq!((error.kind(), error.os_error()), (ErrorKind::Socket, Some(libc::EADDRINUSE)));
}

#[test]
fn one_client_connects_to_64_peers_and_no_more_may_be_asked_for() {
    let server = TestServer::start(DialectPolicy::Auto);
    let met = meet(&server, &[DialectPolicy::Auto; 65]);
    assert_eq!(met.len(), 65);
    for (_, peers) in &met {
        assert_eq!(peers.len(), 64);
    }
    let mut client = server.client();
    assert_eq!(kind(client.connect(b"id", 65)), ErrorKind::InvalidArgument);
    assert_eq!(kind(client.connect(b"id", 0)), ErrorKind::InvalidArgument);
}

#[test]
fn session_ids_of_1_to_1000_bytes_are_taken() {
    let server = TestServer::start(DialectPolicy::Auto);
    let mut client = server.client();
    assert_eq!(kind(client.connect(b"", 1)), ErrorKind::InvalidSessionId);
    assert_eq!(kind(client.connect(&[7; 1001], 1)), ErrorKind::InvalidSessionId);
    client.set_timeout(Some(Duration::from_millis(50)));
    assert_eq!(kind(client.connect(&[7; 1000], 1)), ErrorKind::TimedOutWaiting);
    client.set_dialect(DialectPolicy::Plain);
    assert_eq!(kind(client.connect(&[0], 1)), ErrorKind::TimedOutWaiting);
}

#[test]
fn bad_servers_each_have_their_own_error() {
    for bad in ["", "no port", "host:0", "host:99999", ":5000", "::1:5000"] {
        assert_eq!(kind(Client::new(bad).map(|_| ())), ErrorKind::InvalidServer, "{bad}");
    }
    let mut unknown = Client::new("no-such-host.invalid:5000").unwrap();
    unknown.set_timeout(Some(Duration::from_secs(5)));
    assert_eq!(kind(unknown.connect(b"id", 1)), ErrorKind::ServerNotFound);

    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut client = Client::new(&silent.local_addr().unwrap().to_string()).unwrap();
    client.set_timeout(Some(Duration::from_millis(200)));
    assert_eq!(kind(client.connect(b"id", 1)), ErrorKind::ServerSilent);
    client.set_timeout(None);
    let start = Instant::now();
    assert_eq!(kind(client.connect(b"id", 1)), ErrorKind::UdpBlocked);
    assert!(start.elapsed() < Duration::from_secs(6));
    let start = Instant::now();
    assert_eq!(kind(client.check_nat(NatCheck::default())), ErrorKind::UdpBlocked);
    assert!(start.elapsed() < Duration::from_secs(6));

    let closed = { UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap() };
    let mut client = Client::new(&closed.to_string()).unwrap();
    let start = Instant::now();
    let error = client.connect(b"id", 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ServerPortClosed);
    assert!(start.elapsed() < Duration::from_secs(5), "told long before the timeout of 40 s");
    client.set_timeout(Some(Duration::from_millis(100)));
    assert_eq!(kind(client.connect(b"id", 1)), ErrorKind::ServerPortClosed, "also when time is up first");
}

#[test]
fn bad_local_addresses_are_errors() {
    let server = TestServer::start(DialectPolicy::Auto);
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut client = server.client();
    client.set_local_address(Some(taken.local_addr().unwrap()));
    let error = client.connect(b"id", 1).unwrap_err();
    assert_eq!((error.kind(), error.os_error()), (ErrorKind::Socket, Some(libc::EADDRINUSE)));
    client.set_local_address(Some("192.0.2.1:0".parse().unwrap()));
    assert_eq!(client.connect(b"id", 1).unwrap_err().os_error(), Some(libc::EADDRNOTAVAIL));
    client.set_local_address(Some("[::1]:0".parse().unwrap()));
    assert_eq!(kind(client.connect(b"id", 1)), ErrorKind::ServerUnreachable);
}

#[test]
fn local_address_is_used() {
    let server = TestServer::start(DialectPolicy::Auto);
    let free: SocketAddr = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let id = unique_id();
    let mut bound = server.client();
    bound.set_local_address(Some(free));
    let other = {
        let (mut client, id) = (server.client(), id.clone());
        thread::spawn(move || client.connect(&id, 1).unwrap()[0].endpoint)
    };
    bound.connect(&id, 1).unwrap();
    assert_eq!(other.join().unwrap(), free);
    assert_eq!(bound.take_socket(0).unwrap().local_addr().unwrap(), free);
}

#[test]
fn retry_pauses_are_checked_at_their_edges() {
    let server = TestServer::start(DialectPolicy::Auto);
    let mut client = server.client();
    for good in [Duration::from_millis(1), Duration::from_secs(10)] {
        client.set_server_retry(good).unwrap();
        client.set_peer_retry(good).unwrap();
    }
    for bad in [Duration::ZERO, Duration::from_micros(999), Duration::from_millis(10_001)] {
        assert_eq!(kind(client.set_server_retry(bad)), ErrorKind::InvalidArgument);
        assert_eq!(kind(client.set_peer_retry(bad)), ErrorKind::InvalidArgument);
    }
}

#[test]
fn cancel_returns_within_50_ms_and_is_spent_by_one_call() {
    let server = TestServer::start(DialectPolicy::Auto);
    let mut client = server.client();
    client.set_timeout(None);
    for _ in 0..5 {
        let canceller = client.canceller();
        let cancelling = thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            let at = Instant::now();
            canceller.cancel();
            canceller.cancel();
            at
        });
        assert_eq!(kind(client.connect(&unique_id(), 1)), ErrorKind::Cancelled);
        let late = cancelling.join().unwrap().elapsed();
        assert!(late < Duration::from_millis(50), "{late:?}");
        // The second `cancel` may have come after the call had ended; it then ends the next one.
        client.set_timeout(Some(Duration::from_millis(10)));
        let _ = client.connect(&unique_id(), 1);
        assert_eq!(kind(client.connect(&unique_id(), 1)), ErrorKind::TimedOutWaiting);
        client.set_timeout(None);
    }
    client.canceller().cancel();
    assert_eq!(kind(client.connect(&unique_id(), 1)), ErrorKind::Cancelled, "one that came before the call");
}

#[test]
fn failed_call_hands_back_what_was_found_and_connect_peers_goes_on() {
    let server = TestServer::start(DialectPolicy::Auto);
    let id = unique_id();
    let threads = [0, 1].map(|_| {
        let (mut client, id) = (server.client(), id.clone());
        thread::spawn(move || {
            client.set_timeout(Some(Duration::from_millis(500)));
            let error = client.connect(&id, 2).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOutWaiting);
            assert_eq!(error.peers().len(), 1);
            // Connected or not: the other side may have started its second call a moment ago.
            let endpoints: Vec<_> = error.peers().iter().map(|peer| peer.endpoint).collect();
            client.set_timeout(Some(Duration::from_secs(10)));
            let peers = client.connect_peers(&id, &endpoints).unwrap();
            assert_eq!(peers.iter().map(|peer| peer.endpoint).collect::<Vec<_>>(), endpoints);
            assert!(peers[0].authenticated);
        })
    });
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn connect_peers_checks_its_list() {
    let server = TestServer::start(DialectPolicy::Auto);
    let mut client = server.client();
    let endpoint = |text: &str| text.parse::<SocketAddr>().unwrap();
    assert_eq!(kind(client.connect_peers(b"id", &[])), ErrorKind::InvalidArgument);
    assert_eq!(kind(client.connect_peers(b"id", &[endpoint("127.0.0.1:0")])), ErrorKind::InvalidArgument);
    assert_eq!(kind(client.connect_peers(b"id", &[endpoint("0.0.0.0:1")])), ErrorKind::InvalidArgument);
    assert_eq!(kind(client.connect_peers(b"id", &[endpoint("127.0.0.1:1"); 65])), ErrorKind::InvalidArgument);
    client.set_timeout(Some(Duration::from_millis(100)));
    let error = client.connect_peers(b"id", &[endpoint("127.0.0.1:1")]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOutPunching);
    assert!(!error.peers()[0].connected);
}

#[test]
fn peer_that_leaves_is_forgotten_by_the_server_at_once() {
    let server = TestServer::start(DialectPolicy::Auto);
    meet(&server, &[DialectPolicy::Auto; 2]);
    let deadline = Instant::now() + Duration::from_secs(2);
    while server.counters().endpoints > 0 {
        assert!(Instant::now() < deadline, "{:?}", server.counters());
        thread::sleep(Duration::from_millis(5));
    }
}

//! Forwarding through the real server, on loopback.

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use holepunch::server::{RelayConfig, ServerConfig};
use holepunch::{CandidateKind, Cause, Client, ErrorKind, PathPolicy, Peer};
use support::{TestServer, unique_id};

fn relay_server(relay: RelayConfig) -> TestServer {
    TestServer::start_with(ServerConfig { relay: Some(relay), ..ServerConfig::default() })
}

/// Clients with these policies, each wanting all others.
fn meet(server: &TestServer, policies: &[PathPolicy]) -> Vec<(Client, Vec<Peer>)> {
    server.meet(policies.len(), |number, client| client.set_path_policy(policies[number]))
}

/// The next datagram that is the application's.
fn receive(socket: &UdpSocket, timeout: Duration) -> Option<(Vec<u8>, SocketAddr)> {
    let deadline = Instant::now() + timeout;
    let mut buffer = [0; 4096];
    loop {
        let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        socket.set_read_timeout(Some(left)).unwrap();
        let (len, source) = socket.recv_from(&mut buffer).ok()?;
        if !holepunch::is_control_packet(&buffer[..len]) {
            return Some((buffer[..len].to_vec(), source));
        }
    }
}

#[test]
fn relayed_sockets_reach_each_other_and_nobody_else_gets_in() {
    let server = relay_server(RelayConfig::default());
    let mut met = meet(&server, &[PathPolicy::RelayOnly; 2]);
    for (_, peers) in &met {
        assert_eq!(peers[0].path, CandidateKind::Relayed, "{peers:?}");
        assert!(peers[0].connected && peers[0].authenticated, "{peers:?}");
    }
    let relays = [met[0].1[0].endpoint, met[1].1[0].endpoint];
    assert!(relays.iter().all(|relay| *relay != server.address && relay.ip() == server.address.ip()));
    let sockets: Vec<UdpSocket> = met.iter_mut().map(|(client, _)| client.take_socket(0).unwrap()).collect();
    for (from, to) in [(0, 1), (1, 0)] {
        for len in [0, 1, 1200, 2000] {
            let payload = vec![len as u8; len];
            sockets[from].send_to(&payload, relays[from]).unwrap();
            if len > 0 {
                assert_eq!(receive(&sockets[to], Duration::from_secs(5)).unwrap(), (payload, relays[to]));
            }
        }
    }
    // A stranger's datagrams, from wherever, end at the relay.
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..10 {
        stranger.send_to(b"let me in", relays[0]).unwrap();
    }
    assert_eq!(receive(&sockets[0], Duration::from_millis(200)), None);
    assert_eq!(receive(&stranger, Duration::from_millis(50)), None);
    let counters = server.counters().relay;
    assert_eq!(counters.pairs, 1);
    assert!(counters.dropped >= 10 && counters.forwarded >= 8, "{counters:?}");
}

#[test]
fn direct_paths_are_preferred_and_may_be_insisted_on() {
    let server = relay_server(RelayConfig::default());
    for policies in [[PathPolicy::DirectPreferred; 2], [PathPolicy::DirectPreferred, PathPolicy::DirectOnly]]
    {
        for (_, peers) in meet(&server, &policies) {
            assert_ne!(peers[0].path, CandidateKind::Relayed, "{policies:?} {peers:?}");
        }
    }
    assert_eq!(server.counters().relay.pairs, 0);
    // Who insists on what the other does not want is told so in time.
    let id = unique_id();
    let ends: Vec<_> = [PathPolicy::DirectOnly, PathPolicy::RelayOnly]
        .map(|policy| {
            let (mut client, id) = (server.client(), id.clone());
            client.set_path_policy(policy);
            client.set_timeout(Some(Duration::from_millis(1500)));
            thread::spawn(move || client.connect(&id, 1).unwrap_err())
        })
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    for end in ends {
        assert_eq!(end.kind(), ErrorKind::TimedOutPunching);
        assert_eq!(end.peers()[0].report.cause, Cause::Policy);
    }
}

#[test]
fn room_larger_than_the_relay_has_ports_is_refused_the_rest() {
    let server = relay_server(RelayConfig { ports: 2, ..RelayConfig::default() });
    // Three clients need two ports each at most.
    for (_, peers) in meet(&server, &[PathPolicy::RelayOnly; 3]) {
        assert_eq!(peers.len(), 2);
        assert_ne!(
            peers[0].endpoint, peers[1].endpoint,
            "two peers of one socket are told apart by the port"
        );
    }
    let id = unique_id();
    let ends: Vec<_> = (0..4)
        .map(|_| {
            let (mut client, id) = (server.client(), id.clone());
            client.set_path_policy(PathPolicy::RelayOnly);
            client.set_timeout(Some(Duration::from_millis(1500)));
            thread::spawn(move || client.connect(&id, 3).unwrap_err().kind())
        })
        .collect();
    for end in ends {
        assert_eq!(end.join().unwrap(), ErrorKind::TimedOutPunching);
    }
}

#[test]
fn pair_is_forwarded_no_more_than_it_is_allowed() {
    let server = relay_server(RelayConfig { bytes_per_second: Some(20_000), ..RelayConfig::default() });
    let mut met = meet(&server, &[PathPolicy::RelayOnly; 2]);
    let relay = met[0].1[0].endpoint;
    let sockets: Vec<UdpSocket> = met.iter_mut().map(|(client, _)| client.take_socket(0).unwrap()).collect();
    for _ in 0..100 {
        sockets[0].send_to(&[7; 1000], relay).unwrap();
    }
    let mut received = 0;
    while receive(&sockets[1], Duration::from_millis(300)).is_some() {
        received += 1;
    }
    // A second's worth at once, less the probes, and what was earned while they were sent.
    assert!((15..=30).contains(&received), "{received}");
    assert!(server.counters().relay.over_limit >= 70);
}

#[test]
fn server_that_does_not_forward_says_so() {
    let server = TestServer::start_with(ServerConfig::default());
    let id = unique_id();
    let calls: Vec<_> = (0..2)
        .map(|_| {
            let (mut client, id) = (server.client(), id.clone());
            client.set_path_policy(PathPolicy::RelayOnly);
            client.set_timeout(Some(Duration::from_millis(1500)));
            thread::spawn(move || client.connect(&id, 1).unwrap_err())
        })
        .collect();
    for call in calls {
        assert_eq!(call.join().unwrap().kind(), ErrorKind::TimedOutPunching);
    }
}

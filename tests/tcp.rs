//! Calls that meet over TCP, on loopback.

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use holepunch::server::{RelayConfig, TcpConfig};
use holepunch::{
    CandidateKind, Cause, Client, DialectPolicy, ErrorKind, PathPolicy, Peer, ServerConfig, Transport,
    TransportPolicy,
};
use support::{TestServer, unique_id};

fn server(relay: bool) -> TestServer {
    let relay = relay.then(|| RelayConfig { ports: 2, ..RelayConfig::default() });
    TestServer::start_with(ServerConfig { tcp: Some(TcpConfig::default()), relay, ..ServerConfig::default() })
}

/// Both ends say something and hear it.
fn talk(pair: &mut [(Client, Vec<Peer>)]) {
    let mut streams: Vec<_> = pair
        .iter_mut()
        .map(|(client, peers)| {
            assert_eq!((peers[0].transport, peers[0].authenticated), (Transport::Tcp, true));
            let stream = client.take_stream(peers[0].socket).unwrap();
            assert_eq!(stream.peer_addr().unwrap(), peers[0].endpoint);
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            stream
        })
        .collect();
    for (from, to) in [(0, 1), (1, 0)] {
        streams[from].write_all(b"over the hole").unwrap();
        let mut bytes = [0; 13];
        streams[to].read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"over the hole");
    }
    let keys = [0, 1].map(|at: usize| pair[at].1[0].export_key(b"label").unwrap());
    assert_eq!(keys[0], keys[1]);
}

#[test]
fn two_who_use_tcp_meet_and_talk() {
    let server = server(false);
    let mut pair = server.meet(2, |_, client| client.set_transport(TransportPolicy::Tcp));
    assert!(pair.iter().all(|(_, peers)| peers[0].path != CandidateKind::Relayed && peers[0].rtt.is_some()));
    talk(&mut pair);
    assert!(pair.iter_mut().all(|(client, peers)| client.take_stream(peers[0].socket).is_none()), "once");
}

#[test]
fn who_may_use_either_uses_udp_if_both_can() {
    let server = server(false);
    let pair = server.meet(2, |_, client| client.set_transport(TransportPolicy::Either));
    assert!(pair.iter().all(|(_, peers)| peers[0].transport == Transport::Udp));
}

#[test]
fn who_may_use_either_meets_who_has_tcp_only() {
    for tcp in [0, 1] {
        let server = server(false);
        let mut pair = server.meet(2, |number, client| {
            client.set_transport(if number == tcp { TransportPolicy::Tcp } else { TransportPolicy::Either });
        });
        talk(&mut pair);
    }
}

#[test]
fn several_meet_each_over_its_own_connection() {
    let server = server(false);
    let mut clients = server.meet(4, |number, client| {
        client.set_transport([TransportPolicy::Tcp, TransportPolicy::Either][number % 2]);
    });
    // Two of them have UDP.
    for (number, (client, peers)) in clients.iter_mut().enumerate() {
        assert_eq!(peers.len(), 3);
        let over_udp = peers.iter().filter(|peer| peer.transport == Transport::Udp).count();
        assert_eq!(over_udp, number % 2, "client {number}");
        for peer in peers.iter() {
            assert!(client.socket_fd(peer.socket).is_some());
            match peer.transport {
                Transport::Udp => assert!(client.take_socket(peer.socket).is_some()),
                Transport::Tcp => assert!(client.take_stream(peer.socket).is_some()),
            }
            assert!(client.socket_fd(peer.socket).is_none());
        }
    }
}

#[test]
fn relay_forwards_what_is_to_be_forwarded_only() {
    let server = server(true);
    let mut pair = server.meet(2, |_, client| {
        client.set_transport(TransportPolicy::Tcp);
        client.set_path_policy(PathPolicy::RelayOnly);
    });
    assert!(pair.iter().all(|(_, peers)| peers[0].path == CandidateKind::Relayed));
    talk(&mut pair);
}

#[test]
fn who_uses_udp_only_is_told_why_nothing_comes_of_it() {
    let server = server(false);
    let id = unique_id();
    let call = |transport| {
        let (mut client, id) = (server.client(), id.clone());
        client.set_transport(transport);
        client.set_timeout(Some(Duration::from_secs(2)));
        std::thread::spawn(move || {
            let error = client.connect(&id, 1).unwrap_err();
            assert_eq!(client.socket_fd(error.peers()[0].socket), None, "there is no connection");
            error
        })
    };
    for error in [TransportPolicy::Udp, TransportPolicy::Tcp].map(call).map(|call| call.join().unwrap()) {
        assert_eq!(error.kind(), ErrorKind::TimedOutPunching, "{error}");
        assert_eq!(error.peers()[0].report.cause, Cause::NoTcp, "{error}");
    }
}

#[test]
fn server_without_tcp_is_told_from_one_that_is_not_there() {
    let server = TestServer::start(DialectPolicy::Auto);
    let mut client = server.client();
    client.set_transport(TransportPolicy::Tcp);
    client.set_timeout(Some(Duration::from_secs(5)));
    let error = client.connect(&unique_id(), 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ServerPortClosed, "{error}");
    // Another service is none of ours.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in other.incoming() {
            let _ = stream.unwrap().write_all(b"220 mail.example.org ESMTP\r\n");
        }
    });
    let mut client = Client::new(&address.to_string()).unwrap();
    client.set_transport(TransportPolicy::Tcp);
    client.set_timeout(Some(Duration::from_secs(2)));
    assert_eq!(client.connect(&unique_id(), 1).unwrap_err().kind(), ErrorKind::ServerSilent);
    // The plain dialect knows nothing of it.
    client.set_dialect(DialectPolicy::Plain);
    assert_eq!(client.connect(&unique_id(), 1).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn call_can_be_cancelled_and_another_one_made() {
    let server = server(false);
    let mut client = server.client();
    client.set_transport(TransportPolicy::Tcp);
    let canceller = client.canceller();
    let cancelling = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        canceller.cancel();
    });
    assert_eq!(client.connect(&unique_id(), 1).unwrap_err().kind(), ErrorKind::Cancelled);
    cancelling.join().unwrap();
    let id = unique_id();
    let (mut other, others_id) = (server.client(), id.clone());
    other.set_transport(TransportPolicy::Tcp);
    let calling = std::thread::spawn(move || other.connect(&others_id, 1).map(|peers| peers.len()).unwrap());
    assert_eq!(client.connect(&id, 1).unwrap().len(), 1);
    assert_eq!(calling.join().unwrap(), 1);
    // And one without TCP: what the last one has left is gone.
    client.set_transport(TransportPolicy::Udp);
    client.set_timeout(Some(Duration::from_millis(300)));
    assert_eq!(client.connect(&unique_id(), 1).unwrap_err().kind(), ErrorKind::TimedOutWaiting);
}

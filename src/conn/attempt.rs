//! Looks for the peer, until there is a connection or none is to be had any more.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::driver::Endpoint;
use super::events::{ConnEnd, Connected};
use super::options::ConnOptions;
use super::peer::{Peer, Socket};
use super::state::Shared;
use crate::client::{Client, random_bytes};
use crate::error::{Error, ErrorKind};
use crate::net::poll::{Interest, wait_ready};
use crate::net::streams::StreamSockets;
use crate::proto::secure::Exchange;
use crate::proto::stream::handshake::Credentials;
use crate::proto::stream::{Established, StreamCause, StreamConfig, StreamEvent, StreamPunch, StreamReport};
use crate::proto::{Candidate, CandidateKind, DialectPolicy, PeerId, Rng, SessionId, SessionKeys, Transport};

/// What the plain dialect, in which nobody proves anything, takes for an ID; nobody is shown it.
const NO_ID: &[u8] = b"unauthenticated";

/// Looks for the peer at these addresses.
pub fn attempt(
    shared: &Shared,
    endpoint: Endpoint,
    options: &ConnOptions,
    id: Option<SessionId>,
    addresses: &[SocketAddr],
) -> Result<Peer, ConnEnd> {
    match endpoint {
        Endpoint::Streams(sockets) => over_tcp(shared, sockets, options, id.as_ref(), addresses),
        Endpoint::Datagrams(client) => over_udp(*client, options, id, addresses),
    }
}

fn over_udp(
    mut client: Client,
    options: &ConnOptions,
    id: Option<SessionId>,
    addresses: &[SocketAddr],
) -> Result<Peer, ConnEnd> {
    client.set_timeout(options.attempt_timeout.checked_mul(options.attempts));
    client.set_dialect(if id.is_some() { DialectPolicy::Native } else { DialectPolicy::Plain });
    let id = match id {
        Some(id) => id,
        None => SessionId::new(NO_ID).expect("it is neither empty nor long"),
    };
    let peer = client.connect_one(id, addresses).map_err(|error| match error.kind() {
        ErrorKind::Cancelled => ConnEnd::Closed,
        _ => ConnEnd::NotReached(error),
    })?;
    let early = std::iter::from_fn(|| client.pop_early_datagram());
    let early = early.filter(|early| early.socket == peer.socket && early.source == peer.endpoint);
    let early = early.map(|early| early.payload).collect();
    let socket = client.take_endpoint(peer.socket).expect("a connected peer has a socket");
    let connected = Connected {
        transport: Transport::Udp,
        local: socket.local_address().map_err(|error| failed(&error))?,
        remote: peer.endpoint,
        path: peer.path,
        rtt: peer.rtt,
        authenticated: peer.authenticated,
    };
    Ok(Peer {
        connected,
        exporter: peer.exporter,
        socket: Socket::Udp(socket),
        early: parking_lot::Mutex::new(early),
    })
}

fn failed(error: &std::io::Error) -> ConnEnd {
    ConnEnd::Failed(error.raw_os_error().unwrap_or_default())
}

fn over_tcp(
    shared: &Shared,
    mut sockets: StreamSockets,
    options: &ConnOptions,
    id: Option<&SessionId>,
    addresses: &[SocketAddr],
) -> Result<Peer, ConnEnd> {
    let mut rng = Rng::new(random_bytes().map_err(ConnEnd::NotReached)?);
    let credentials = id.map(|id| {
        let keys = SessionKeys::derive(id);
        let exchange = Arc::new(Exchange::new(rng.bytes(), keys.channel));
        Credentials { local: PeerId(rng.bytes()), key: keys.stream, exchange }
    });
    let authenticated = credentials.is_some();
    let config = StreamConfig {
        credentials,
        attempt_timeout: options.attempt_timeout,
        attempts: Some(options.attempts),
    };
    let mut punch = StreamPunch::new(config, rng);
    let candidate = |endpoint: &SocketAddr| Candidate { kind: CandidateKind::Reflexive, endpoint: *endpoint };
    let candidates: Vec<_> = addresses.iter().map(candidate).collect();
    let now = Instant::now();
    punch.add_peer(now, PeerId::UNKNOWN, &candidates, now);
    let established = drive(shared, &mut sockets, &mut punch)?;
    let connection = sockets.take(established.id);
    punch.close_everything();
    sockets.execute(&mut punch, Instant::now());
    let connection = connection.ok_or(ConnEnd::Failed(0))?;
    let Established { remote, kind: path, rtt, exporter, .. } = established;
    let connected = Connected {
        transport: Transport::Tcp,
        local: connection.local().map_err(|error| failed(&error))?,
        remote,
        path,
        rtt: Some(rtt).filter(|rtt| !rtt.is_zero()),
        authenticated,
    };
    let early = parking_lot::Mutex::default();
    Ok(Peer { connected, exporter, socket: Socket::Tcp(connection), early })
}

fn drive(
    shared: &Shared,
    sockets: &mut StreamSockets,
    punch: &mut StreamPunch,
) -> Result<Established, ConnEnd> {
    loop {
        let now = Instant::now();
        sockets.execute(punch, now);
        match punch.poll_event() {
            Some(StreamEvent::Established(established)) => return Ok(established),
            Some(StreamEvent::Failed(_, report)) => return Err(ConnEnd::NotReached(not_reached(&report))),
            None => {}
        }
        let interests = sockets.interests(punch);
        let polled: Vec<_> =
            interests.into_iter().chain([(shared.driver.fd(), Interest::Readable)]).collect();
        let ready = wait_ready(&polled, punch.poll_timeout()).map_err(|error| failed(&error))?;
        let now = Instant::now();
        if ready.last() == Some(&true) {
            shared.driver.clear();
            if shared.state.lock().close {
                punch.close_everything();
                sockets.execute(punch, now);
                return Err(ConnEnd::Closed);
            }
        }
        sockets.handle_ready(punch, now, &ready);
        if punch.poll_timeout().is_some_and(|due| due <= now) {
            punch.handle_timeout(now);
        }
    }
}

fn not_reached(report: &StreamReport) -> Error {
    let cause = report.cause();
    let kind = match cause {
        StreamCause::Stranger => ErrorKind::Stranger,
        StreamCause::Local(_) => ErrorKind::Socket,
        _ => ErrorKind::TimedOutPunching,
    };
    let StreamReport { attempts, refused, unanswered, unreachable, .. } = report;
    let counts = format!(
        "{attempts} attempts, {refused} refused, {unanswered} unanswered, {unreachable} without a way"
    );
    let message = format!("the peer was not reached over TCP ({counts}): {}", cause.text());
    match cause {
        StreamCause::Local(error) => {
            Error::from_io(kind, &message, &std::io::Error::from_raw_os_error(error))
        }
        _ => Error::new(kind, message),
    }
}

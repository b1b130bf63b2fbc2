//! What the log says of a run at its end.

use holepunch::ServerConfig;
use holepunch::server::ServerCounters;

/// Logs what was counted.
pub fn log(config: &ServerConfig, counters: &ServerCounters) {
    log::info!(
        received = counters.received, sent = counters.sent, endpoints = counters.endpoints, sessions = counters.sessions;
        "served {} datagrams, sent {}; {} endpoints in {} sessions at the end",
        counters.received,
        counters.sent,
        counters.endpoints,
        counters.sessions
    );
    if config.relay.is_some() {
        let relay = counters.relay;
        log::info!(
            forwarded = relay.forwarded, bytes = relay.forwarded_bytes, pairs = relay.granted, refused = relay.refused;
            "forwarded {} datagrams of {} bytes for {} pairs; refused {} requests",
            relay.forwarded,
            relay.forwarded_bytes,
            relay.granted,
            relay.refused
        );
    }
    if config.tcp.is_some() {
        let tcp = counters.tcp;
        log::info!(
            accepted = tcp.accepted, over_limit = tcp.over_limit, accept_failed = tcp.accept_failed,
            received = tcp.received, sent = tcp.sent;
            "took {} connections, refused {}, could not take one {} times; {} messages received, {} sent",
            tcp.accepted,
            tcp.over_limit,
            tcp.accept_failed,
            tcp.received,
            tcp.sent
        );
        if config.relay.is_some() {
            log::info!(
                bytes = tcp.relay.forwarded_bytes, pairs = tcp.relay.joined;
                "forwarded {} bytes between {} pairs of connections",
                tcp.relay.forwarded_bytes,
                tcp.relay.joined
            );
        }
    }
}

//! The counters in Prometheus' text format, version 0.0.4.

use std::fmt::{Display, Write as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use holepunch::server::{Limits, ServerCounters};

/// The format, as scrapers are told.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What there is to tell beside the counters.
#[derive(Clone, Debug)]
pub struct Process {
    /// When it was started.
    pub started: SystemTime,
    /// How long ago that was by a clock that nobody sets.
    pub uptime: Duration,
    /// Whether it takes no further clients.
    pub is_draining: bool,
}

/// Text under construction.
struct Text(String);

impl Text {
    /// A number that goes up and down.
    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help, &[("", &value)]);
    }

    /// A number that only grows.
    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "counter", help, &[("", &value)]);
    }

    /// The same by the value of a label.
    fn counters(&mut self, name: &str, help: &str, label: &str, values: &[(&str, u64)]) {
        let labels: Vec<_> =
            values.iter().map(|(value, count)| (format!("{{{label}=\"{value}\"}}"), count)).collect();
        let samples: Vec<_> =
            labels.iter().map(|(label, count)| (label.as_str(), *count as &dyn Display)).collect();
        self.family(name, "counter", help, &samples);
    }

    fn family(&mut self, name: &str, kind: &str, help: &str, samples: &[(&str, &dyn Display)]) {
        let mut write = || {
            writeln!(self.0, "# HELP {name} {help}")?;
            writeln!(self.0, "# TYPE {name} {kind}")?;
            samples.iter().try_for_each(|(labels, value)| writeln!(self.0, "{name}{labels} {value}"))
        };
        write().expect("writing to a String cannot fail");
    }
}

/// All there is to measure.
pub fn render(counters: &ServerCounters, limits: &Limits, process: &Process) -> String {
    let mut text = Text(String::with_capacity(8 << 10));
    describe_process(&mut text, counters, process);
    describe_registry(&mut text, counters, limits);
    describe_datagrams(&mut text, counters);
    describe_relay(&mut text, counters);
    describe_tcp(&mut text, counters);
    describe_store(&mut text, counters);
    text.0
}

fn describe_process(text: &mut Text, counters: &ServerCounters, process: &Process) {
    let version: &[(&str, &dyn Display)] = &[(concat!("{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), &1)];
    text.family("hp_server_build_info", "gauge", "The program's version, as a label.", version);
    let started = process.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    text.gauge("process_start_time_seconds", "When the program was started, in seconds since 1970.", started);
    text.gauge("hp_server_uptime_seconds", "How long the program has run.", process.uptime.as_secs_f64());
    text.gauge(
        "hp_server_draining",
        "1 if the server takes no further clients, else 0.",
        u8::from(process.is_draining),
    );
    text.gauge(
        "hp_server_overloaded",
        "1 if the server cannot keep up with what comes, else 0.",
        u8::from(counters.overloaded),
    );
}

fn describe_registry(text: &mut Text, counters: &ServerCounters, limits: &Limits) {
    let registry = &counters.registry;
    text.gauge("hp_server_endpoints", "Registrations now.", counters.endpoints);
    text.gauge("hp_server_endpoints_limit", "Most registrations at a time.", limits.max_endpoints);
    text.gauge("hp_server_sessions", "Sessions now.", counters.sessions);
    text.gauge("hp_server_memory_bytes", "Bytes that registrations take now.", counters.memory);
    text.gauge("hp_server_memory_limit_bytes", "Most bytes that registrations may take.", limits.max_memory);
    text.counters(
        "hp_server_joins_total",
        "New registrations, by dialect.",
        "dialect",
        &[("native", registry.native_joined), ("plain", registry.plain_joined)],
    );
    text.counters(
        "hp_server_departures_total",
        "Registrations that ended: the client said goodbye or was replaced (left), or fell silent (expired).",
        "reason",
        &[("left", registry.left), ("expired", registry.expired)],
    );
    text.counter(
        "hp_server_refusals_total",
        "Requests refused for a limit or a taken peer ID.",
        registry.refused,
    );
    text.counter(
        "hp_server_unknown_requests_total",
        "Requests that named no living registration of their source.",
        registry.unknown,
    );
    text.counter(
        "hp_server_challenges_total",
        "Registrations that had to show a cookie first.",
        counters.challenged,
    );
    text.counter(
        "hp_server_pushes_repeated_total",
        "Pushes sent again because no acknowledgement came.",
        registry.pushes_repeated,
    );
    text.counter(
        "hp_server_pushes_delayed_total",
        "Pushes that had to wait for their session's turn.",
        registry.pushes_delayed,
    );
    text.counter(
        "hp_server_plain_answers_withheld_total",
        "Answers that plain clients did not get, since too little had come from there.",
        registry.plain_withheld,
    );
}

/// What several servers share; nothing without a store.
fn describe_store(text: &mut Text, counters: &ServerCounters) {
    let store = &counters.store;
    if !store.configured {
        return;
    }
    text.gauge("hp_server_store_up", "1 if the store can be reached, else 0.", u8::from(store.connected));
    text.gauge("hp_server_store_servers", "Other servers that share sessions with this one.", store.servers);
    text.gauge(
        "hp_server_store_elsewhere",
        "Registrations with other servers that are listed here.",
        store.elsewhere,
    );
    text.counter("hp_server_store_told_total", "Changes told to the store.", store.told);
    text.counter("hp_server_store_heard_total", "Changes that other servers told.", store.heard);
    text.counter("hp_server_store_late_total", "Changes that the store was not told at once.", store.late);
    text.counter(
        "hp_server_store_malformed_total",
        "What came from the store and was no record.",
        store.malformed,
    );
    text.counter(
        "hp_server_store_failures_total",
        "How often the store could not be reached.",
        store.failures,
    );
    text.counter(
        "hp_server_store_no_room_total",
        "Registrations with other servers that there was no room to list.",
        counters.registry.elsewhere_refused,
    );
}

fn describe_datagrams(text: &mut Text, counters: &ServerCounters) {
    text.counter("hp_server_datagrams_received_total", "Datagrams received.", counters.received);
    text.counter("hp_server_datagrams_sent_total", "Datagrams sent.", counters.sent);
    text.counters(
        "hp_server_datagrams_dropped_total",
        "Datagrams that came to nothing: nothing the server answers (malformed), too many from one prefix (rate_limited), given up \
         under load (shed), lost to full receive buffers (kernel), or not taken by the kernel for sending (send_failed).",
        "reason",
        &[
            ("malformed", counters.dropped),
            ("rate_limited", counters.rate_limited),
            ("shed", counters.shed),
            ("kernel", counters.kernel_dropped),
            ("send_failed", counters.send_failed),
        ],
    );
}

fn describe_relay(text: &mut Text, counters: &ServerCounters) {
    let relay = &counters.relay;
    text.gauge("hp_server_relay_pairs", "Pairs that datagrams are forwarded between now.", relay.pairs);
    text.counter("hp_server_relay_pairs_granted_total", "Pairs that were granted.", relay.granted);
    text.counter("hp_server_relay_refusals_total", "Requests for a pair that were refused.", relay.refused);
    text.counter("hp_server_relay_datagrams_total", "Datagrams forwarded.", relay.forwarded);
    text.counter("hp_server_relay_bytes_total", "Bytes forwarded in datagrams.", relay.forwarded_bytes);
    text.counters(
        "hp_server_relay_datagrams_dropped_total",
        "Datagrams not forwarded: over a pair's limit, or nobody's.",
        "reason",
        &[("over_limit", relay.over_limit), ("unknown", relay.dropped)],
    );
}

fn describe_tcp(text: &mut Text, counters: &ServerCounters) {
    let tcp = &counters.tcp;
    text.gauge("hp_server_tcp_connections", "TCP connections of clients now.", tcp.connections);
    text.counter("hp_server_tcp_connections_accepted_total", "TCP connections taken.", tcp.accepted);
    text.counter(
        "hp_server_tcp_connections_refused_total",
        "TCP connections closed at once for a limit.",
        tcp.over_limit,
    );
    text.counter(
        "hp_server_tcp_accept_failures_total",
        "How often the system had no room for another connection.",
        tcp.accept_failed,
    );
    text.counters(
        "hp_server_tcp_connections_closed_total",
        "TCP connections closed because what came was no message, nothing came for too long, or too much waited to be read.",
        "reason",
        &[("malformed", tcp.malformed), ("silent", tcp.silent), ("slow", tcp.slow)],
    );
    text.counter("hp_server_tcp_messages_received_total", "Messages received over TCP.", tcp.received);
    text.counter("hp_server_tcp_messages_sent_total", "Messages sent over TCP.", tcp.sent);
    text.counter(
        "hp_server_tcp_messages_unsent_total",
        "Messages that could not be sent over TCP.",
        tcp.unsent,
    );
    let relay = &tcp.relay;
    text.gauge(
        "hp_server_tcp_relay_pairs",
        "Pairs of connections that are forwarded to each other.",
        relay.pairs,
    );
    text.counter("hp_server_tcp_relay_pairs_granted_total", "Pairs of connections granted.", relay.granted);
    text.counter("hp_server_tcp_relay_pairs_joined_total", "Pairs of which both sides came.", relay.joined);
    text.counter(
        "hp_server_tcp_relay_refusals_total",
        "Requests for a pair of connections refused for a limit.",
        relay.refused,
    );
    text.counter(
        "hp_server_tcp_relay_bytes_total",
        "Bytes forwarded between connections.",
        relay.forwarded_bytes,
    );
    text.counters(
        "hp_server_tcp_relay_connections_dropped_total",
        "Connections to be forwarded that showed a ticket of nobody's, or waited in vain for the other side.",
        "reason",
        &[("unknown", relay.unknown), ("alone", relay.alone)],
    );
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    fn is_name(name: &str) -> bool {
        name.starts_with(|first: char| first.is_ascii_lowercase())
            && name
                .chars()
                .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_')
    }

    /// Reads what the format allows of what is used here; gives each sample's value by its name and labels.
    fn check(text: &str) -> HashMap<&str, f64> {
        assert!(text.ends_with('\n') && text.is_ascii());
        let (mut families, mut samples) = (HashSet::new(), HashMap::new());
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let (name, help) = line.strip_prefix("# HELP ").unwrap().split_once(' ').unwrap();
            assert!(is_name(name) && families.insert(name), "{line}");
            assert!(help.ends_with('.') && !help.contains('\\') && !help.contains("  "), "{line}");
            let kind = lines.next().unwrap().strip_prefix(&format!("# TYPE {name} ")).unwrap();
            assert!(matches!(kind, "counter" | "gauge"), "{name} {kind}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
            let before = samples.len();
            while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let labels = series.strip_prefix(name).unwrap();
                if !labels.is_empty() {
                    let labels = labels.strip_prefix('{').unwrap().strip_suffix('}').unwrap();
                    let (label, value) = labels.split_once('=').unwrap();
                    let value = value.strip_prefix('"').unwrap().strip_suffix('"').unwrap();
                    assert!(is_name(label) && !value.contains(['"', '\\', '\n']), "{line}");
                }
                let value: f64 = value.parse().unwrap();
                assert!(value.is_finite() && value >= 0.0, "{line}");
                assert!(samples.insert(series, value).is_none(), "{line}");
            }
            assert!(samples.len() > before, "{name} has no samples");
        }
        samples
    }

    #[test]
    fn all_of_it_is_well_formed() {
        let mut counters = ServerCounters::default();
        counters.received = u64::MAX;
        counters.dropped = 5;
        counters.kernel_dropped = 6;
        counters.memory = 7;
        counters.overloaded = true;
        counters.registry.plain_joined = 8;
        counters.registry.expired = 9;
        counters.relay.forwarded_bytes = 10;
        counters.tcp.slow = 11;
        counters.tcp.relay.alone = 12;
        let process = Process {
            started: UNIX_EPOCH + Duration::from_millis(1_800_000_000_250),
            uptime: Duration::from_millis(1500),
            is_draining: false,
        };
        let text = render(&counters, &Limits::default(), &process);
        let samples = check(&text);
        for (series, value) in [
            ("hp_server_datagrams_dropped_total{reason=\"malformed\"}", 5.0),
            ("hp_server_datagrams_dropped_total{reason=\"kernel\"}", 6.0),
            ("hp_server_memory_bytes", 7.0),
            ("hp_server_memory_limit_bytes", f64::from(256 << 20)),
            ("hp_server_joins_total{dialect=\"plain\"}", 8.0),
            ("hp_server_departures_total{reason=\"expired\"}", 9.0),
            ("hp_server_relay_bytes_total", 10.0),
            ("hp_server_tcp_connections_closed_total{reason=\"slow\"}", 11.0),
            ("hp_server_tcp_relay_connections_dropped_total{reason=\"alone\"}", 12.0),
            ("hp_server_overloaded", 1.0),
            ("hp_server_draining", 0.0),
            ("hp_server_uptime_seconds", 1.5),
            ("process_start_time_seconds", 1_800_000_000.25),
            (concat!("hp_server_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1.0),
        ] {
            assert_eq!(samples.get(series), Some(&value), "{series}");
        }
        assert!(text.contains(&format!("hp_server_datagrams_received_total {}\n", u64::MAX)));
    }

    #[test]
    #[should_panic(expected = "hp_server_sessions_total")]
    fn the_check_is_strict() {
        check(
            "# HELP hp_server_sessions_total Sessions.\n# TYPE hp_server_sessions_total gauge\nhp_server_sessions_total 1\n",
        );
    }
}

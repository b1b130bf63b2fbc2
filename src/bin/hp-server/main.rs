//! `hp-server`: the rendezvous server as a program.

mod web;

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use holepunch::DialectPolicy;
use holepunch::server::{
    DEFAULT_ALTERNATE_PORTS, DEFAULT_MAX_ENDPOINTS, DEFAULT_PORT, Limits, RelayConfig, Server, ServerConfig,
    TcpConfig, parse_address,
};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Rendezvous server for libholepunch and for the existing Go hole-punching tools.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Where to listen: `ADDRESS:PORT`, `:PORT` for all addresses, or a bare port [default: [::]:5000, which takes IPv4, too]
    #[arg(value_name = "ADDR", value_parser = parse_address)]
    address: Option<SocketAddr>,

    /// Which dialects to serve
    #[arg(long, value_enum, default_value = "auto", env = "HP_SERVER_DIALECT")]
    dialect: Dialect,

    /// Worker threads, 1 to 64 [default: one per core, at most 4]
    #[arg(long, env = "HP_SERVER_WORKERS")]
    workers: Option<usize>,

    /// Most registrations at a time
    #[arg(long, default_value_t = DEFAULT_MAX_ENDPOINTS, env = "HP_SERVER_MAX_ENDPOINTS")]
    max_endpoints: usize,

    /// On how many of the ports after its own, 0 to 4, the server tells native clients which source it sees, so that they learn what
    /// their NATs do; it takes one more to answer from. A firewall must let UDP in on them
    #[arg(long, value_name = "COUNT", default_value_t = DEFAULT_ALTERNATE_PORTS, env = "HP_SERVER_ALTERNATE_PORTS")]
    alternate_ports: u16,

    /// Another IP address of this host, for the same purpose: it tells apart NATs whose ports depend on the remote address
    #[arg(long, value_name = "IP", env = "HP_SERVER_OTHER_ADDRESS")]
    other_address: Option<IpAddr>,

    /// Forward between native clients that find no direct way, on the ports from the tenth after the server's own
    #[arg(long, env = "HP_SERVER_RELAY")]
    relay: bool,

    /// How many ports to forward on, 1 to 64; one client can be forwarded to so many others
    #[arg(long, value_name = "COUNT", default_value_t = RelayConfig::default().ports, env = "HP_SERVER_RELAY_PORTS")]
    relay_ports: u16,

    /// Most pairs to forward between at a time
    #[arg(long, value_name = "COUNT", default_value_t = RelayConfig::default().max_pairs, env = "HP_SERVER_RELAY_PAIRS")]
    relay_pairs: usize,

    /// Most KiB a second to forward for one pair; 0: no limit
    #[arg(long, value_name = "KIB", default_value_t = 1024, env = "HP_SERVER_RELAY_RATE")]
    relay_rate: u32,

    /// After so many seconds every pair ends
    #[arg(long, value_name = "SECONDS", default_value_t = 12 * 3600, env = "HP_SERVER_RELAY_LIFETIME")]
    relay_lifetime: u32,

    /// Take connections over TCP, too, from native clients, at the same address and on the same port numbers; with `--relay`, forward
    /// between connections, too. A firewall must let TCP in on them
    #[arg(long, env = "HP_SERVER_TCP")]
    tcp: bool,

    /// Most TCP connections at a time, 1 to 65536; each takes a descriptor (`ulimit -n`), and a forwarded pair takes two
    #[arg(long, value_name = "COUNT", default_value_t = TcpConfig::default().max_connections, env = "HP_SERVER_TCP_CONNECTIONS")]
    tcp_connections: usize,

    /// The same from one IPv4 address, or one IPv6 network of 64 bits
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = TcpConfig::default().max_connections_per_address,
        env = "HP_SERVER_TCP_CONNECTIONS_PER_ADDRESS"
    )]
    tcp_connections_per_address: usize,

    /// Where to show a status page and metrics over HTTP, to all who can connect: `127.0.0.1:9100` is for this host alone
    #[arg(long, value_name = "ADDR", value_parser = parse_address, env = "HP_SERVER_HTTP")]
    http: Option<SocketAddr>,

    /// What to log: `error`, `warn`, `info`, `debug`, or a filter like `holepunch=debug` [default: RUST_LOG, else info]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Dialect {
    /// Native and plain clients
    Auto,
    /// Native clients only
    Native,
    /// Plain clients only
    Plain,
}

impl From<Dialect> for DialectPolicy {
    fn from(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Auto => Self::Auto,
            Dialect::Native => Self::Native,
            Dialect::Plain => Self::Plain,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter =
        arguments.log.clone().or_else(|| std::env::var("RUST_LOG").ok()).unwrap_or_else(|| "info".into());
    env_logger::Builder::new().parse_filters(&filter).init();
    match serve(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let defaults = ServerConfig::default();
    let config = ServerConfig {
        address: arguments.address.unwrap_or(defaults.address),
        policy: arguments.dialect.into(),
        workers: arguments.workers.unwrap_or(defaults.workers),
        limits: Limits { max_endpoints: arguments.max_endpoints, ..Limits::default() },
        alternate_ports: arguments.alternate_ports,
        other_address: arguments.other_address,
        relay: arguments.relay.then(|| RelayConfig {
            ports: arguments.relay_ports,
            max_pairs: arguments.relay_pairs,
            bytes_per_second: (arguments.relay_rate > 0).then_some(u64::from(arguments.relay_rate) << 10),
            lifetime: Duration::from_secs(arguments.relay_lifetime.into()),
            ..RelayConfig::default()
        }),
        tcp: arguments.tcp.then(|| TcpConfig {
            max_connections: arguments.tcp_connections,
            max_connections_per_address: arguments.tcp_connections_per_address,
            ..TcpConfig::default()
        }),
        ..defaults
    };
    debug_assert_eq!(defaults.address.port(), DEFAULT_PORT);
    let server = Server::bind(&config)?;
    let handle = server.handle();
    let also = if config.tcp.is_some() { ", over TCP, too" } else { "" };
    log::info!("listening on {} with {} workers{also}", server.local_address()?, config.workers);

    let web = arguments.http.map(|address| {
        let served = TcpListener::bind(address).and_then(|listener| web::serve(listener, handle.clone()));
        served.map_err(|error| format!("no status page at {address}: {error}"))
    });
    // Served until the end.
    let _web = web.transpose()?;

    let stopper = handle.clone();
    match Signals::new([SIGINT, SIGTERM]) {
        Ok(mut signals) => {
            std::thread::spawn(move || {
                if let Some(signal) = signals.forever().next() {
                    log::info!("stopping: signal {signal}");
                    stopper.stop();
                }
            });
        }
        Err(error) => log::warn!("cannot catch signals, a kill will be sudden: {error}"),
    }
    server.run()?;
    let counters = handle.counters();
    log::info!(
        "served {} datagrams, sent {}; {} endpoints in {} sessions at the end",
        counters.received,
        counters.sent,
        counters.endpoints,
        counters.sessions
    );
    if config.relay.is_some() {
        let relay = counters.relay;
        log::info!(
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
            "took {} connections, refused {}, could not take one {} times; {} messages received, {} sent",
            tcp.accepted,
            tcp.over_limit,
            tcp.accept_failed,
            tcp.received,
            tcp.sent
        );
        if config.relay.is_some() {
            log::info!(
                "forwarded {} bytes between {} pairs of connections",
                tcp.relay.forwarded_bytes,
                tcp.relay.joined
            );
        }
    }
    Ok(())
}

//! Every setting, once: flags, variables, keys of the file, help, manual and documentation all come from here.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use holepunch::DialectPolicy;
use holepunch::server::{StoreConfig, parse_address};

use super::Settings;
use crate::logging::{LogFormat, check_filter};

/// One setting, under all its names.
pub struct Setting {
    /// The flag without its dashes, which is the file's key, too.
    pub name: &'static str,
    /// What values look like.
    pub kind: Kind,
    /// What stands for the value in the help.
    pub value: &'static str,
    /// What holds if it is not given.
    pub default: Otherwise,
    /// Whether SIGHUP can change it.
    pub live: bool,
    /// What it means.
    pub help: &'static str,
    /// Takes the value over, or says what is wrong with it.
    pub read: fn(&mut Settings, &str) -> Result<(), String>,
}

/// What a setting's values look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// On or off.
    Switch,
    /// A whole number.
    Number,
    /// Anything else.
    Text,
    /// Text that must not be shown.
    Secret,
}

/// What holds if a setting is not given.
pub enum Otherwise {
    /// As if this had been given.
    Is(&'static str),
    /// No value says it.
    Said(&'static str),
}

impl Otherwise {
    /// For people.
    pub fn text(&self) -> &'static str {
        match self {
            Self::Is(text) | Self::Said(text) => text,
        }
    }
}

use Kind::{Number, Switch, Text};
use Otherwise::{Is, Said};

/// The one that is given without a flag.
pub const ADDRESS: &str = "address";
/// The one that other programs' variable is understood for, too.
pub const LOG: &str = "log";

impl Setting {
    /// The variable of the environment and of `.env`.
    pub fn variable(&self) -> String {
        format!("HP_SERVER_{}", self.name.to_uppercase().replace('-', "_"))
    }

    /// How the command line names it.
    pub fn flag(&self) -> String {
        if self.name == ADDRESS { "ADDR".into() } else { format!("--{}", self.name) }
    }

    /// A value as it may be shown.
    pub fn shown(&self, value: &str) -> String {
        if self.kind == Kind::Secret { redacted(value) } else { value.into() }
    }
}

/// All of them, in the order of the documentation.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: ADDRESS,
        kind: Text,
        value: "ADDR",
        default: Is(":5000"),
        live: false,
        help: "Where to listen: `ADDRESS:PORT`, or `:PORT` or a bare port for all addresses, IPv6 and IPv4",
        read: |to, text| {
            parse_address(text).map(|it| to.base.address = it).map_err(|error| error.to_string())
        },
    },
    Setting {
        name: "dialect",
        kind: Text,
        value: "auto|native|plain",
        default: Is("auto"),
        live: false,
        help: "Which clients to serve: native and plain ones, or one kind only",
        read: |to, text| one_of(&DIALECTS, text).map(|it| to.base.policy = it),
    },
    Setting {
        name: "workers",
        kind: Number,
        value: "COUNT",
        default: Said("one per core, at most 4"),
        live: false,
        help: "Worker threads, 1 to 64",
        read: |to, text| number(text).map(|it| to.base.workers = it),
    },
    Setting {
        name: "max-endpoints",
        kind: Number,
        value: "COUNT",
        default: Is("1048576"),
        live: true,
        help: "Most registrations at a time, at least 256",
        read: |to, text| number(text).map(|it| to.base.limits.max_endpoints = it),
    },
    Setting {
        name: "max-per-session",
        kind: Number,
        value: "COUNT",
        default: Is("257"),
        live: true,
        help: "Most registrations of one session, 2 to 257",
        read: |to, text| number(text).map(|it| to.base.limits.max_endpoints_per_session = it),
    },
    Setting {
        name: "max-per-prefix",
        kind: Number,
        value: "COUNT",
        default: Is("8192"),
        live: true,
        help: "Most registrations from one IPv4 address, or one IPv6 network of 56 bits, at least 2",
        read: |to, text| number(text).map(|it| to.base.limits.max_endpoints_per_prefix = it),
    },
    Setting {
        name: "max-memory",
        kind: Number,
        value: "MIB",
        default: Is("256"),
        live: true,
        help: "Most MiB that registrations may take, at least 1",
        read: |to, text| {
            let bytes = number::<usize>(text)?.checked_mul(1 << 20).ok_or("more than any memory")?;
            to.base.limits.max_memory = bytes;
            Ok(())
        },
    },
    Setting {
        name: "rate-limit",
        kind: Number,
        value: "COUNT",
        default: Is("2000"),
        live: true,
        help: "Datagrams a second that are heard from one IPv4 address, or one IPv6 network of 56 bits, at least 10; 0: no limit",
        read: |to, text| number(text).map(|it| to.base.limits.datagrams_per_second = unless_zero(it)),
    },
    Setting {
        name: "plain-amplification",
        kind: Number,
        value: "TIMES",
        default: Is("3"),
        live: true,
        help: "A plain client, which proves no address, is sent at most so many times what came from there; 0: no limit",
        read: |to, text| number(text).map(|it| to.base.limits.plain_amplification = unless_zero(it)),
    },
    Setting {
        name: "plain-expiry",
        kind: Text,
        value: "DURATION",
        default: Is("40s"),
        live: true,
        help: "After so much silence a plain client is forgotten, such as `90s` or `2min`; or `never`",
        read: |to, text| {
            to.base.plain_expiry = if text == "never" { None } else { Some(positive(text)?) };
            Ok(())
        },
    },
    Setting {
        name: "alternate-ports",
        kind: Number,
        value: "COUNT",
        default: Is("3"),
        live: false,
        help: "On how many of the ports after its own, 0 to 4, the server tells native clients which source it sees, so that they \
               learn what their NATs do; it takes one more to answer from. A firewall must let UDP in on them",
        read: |to, text| number(text).map(|it| to.base.alternate_ports = it),
    },
    Setting {
        name: "other-address",
        kind: Text,
        value: "IP",
        default: Said("none"),
        live: false,
        help: "Another address of this host, of a family that it listens on, for the same purpose: it tells apart NATs whose ports \
               depend on the remote address. The server does not start without it",
        read: |to, text| {
            let address: IpAddr = text.parse().map_err(|_| "no IP address")?;
            to.base.other_address = Some(address);
            Ok(())
        },
    },
    Setting {
        name: "relay",
        kind: Switch,
        value: "yes|no",
        default: Is("no"),
        live: false,
        help: "Forward between native clients that find no direct way, on the ports from the tenth after the server's own",
        read: |to, text| switch(text).map(|it| to.with_relay = it),
    },
    Setting {
        name: "relay-ports",
        kind: Number,
        value: "COUNT",
        default: Is("8"),
        live: false,
        help: "How many ports to forward on, 1 to 64; one client can be forwarded to so many others",
        read: |to, text| number(text).map(|it| to.relay.ports = it),
    },
    Setting {
        name: "relay-pairs",
        kind: Number,
        value: "COUNT",
        default: Is("1000"),
        live: false,
        help: "Most pairs to forward between at a time, of datagrams and (with `--tcp`) of connections each",
        read: |to, text| number(text).map(|it| to.relay.max_pairs = it),
    },
    Setting {
        name: "relay-rate",
        kind: Number,
        value: "KIB",
        default: Is("1024"),
        live: false,
        help: "Most KiB a second to forward for one pair, both ways together, 2 at least; 0: no limit",
        read: |to, text| {
            let rate: u32 = number(text)?;
            to.relay.bytes_per_second = unless_zero(rate).map(|rate| u64::from(rate) << 10);
            Ok(())
        },
    },
    Setting {
        name: "relay-idle",
        kind: Number,
        value: "SECONDS",
        default: Is("60"),
        live: false,
        help: "After so many seconds without a datagram a pair ends",
        read: |to, text| seconds(text).map(|it| to.relay.idle = it),
    },
    Setting {
        name: "relay-lifetime",
        kind: Number,
        value: "SECONDS",
        default: Is("43200"),
        live: false,
        help: "After so many seconds every pair ends",
        read: |to, text| seconds(text).map(|it| to.relay.lifetime = it),
    },
    Setting {
        name: "tcp",
        kind: Switch,
        value: "yes|no",
        default: Is("no"),
        live: false,
        help: "Take connections over TCP, too, from native clients, at the same address and on the same port numbers; with \
               `--relay`, forward between connections, too. A firewall must let TCP in on them",
        read: |to, text| switch(text).map(|it| to.with_tcp = it),
    },
    Setting {
        name: "tcp-connections",
        kind: Number,
        value: "COUNT",
        default: Is("4096"),
        live: false,
        help: "Most TCP connections at a time, 1 to 65536; each takes a descriptor (`ulimit -n`), and a forwarded pair takes two",
        read: |to, text| number(text).map(|it| to.tcp.max_connections = it),
    },
    Setting {
        name: "tcp-connections-per-address",
        kind: Number,
        value: "COUNT",
        default: Is("256"),
        live: false,
        help: "The same from one IPv4 address, or one IPv6 network of 64 bits",
        read: |to, text| number(text).map(|it| to.tcp.max_connections_per_address = it),
    },
    Setting {
        name: "http",
        kind: Text,
        value: "ADDR",
        default: Said("nowhere"),
        live: false,
        help: "Where to show status (`/`), metrics (`/metrics`) and health (`/healthz`), to whoever asks: `127.0.0.1:9090`, say",
        read: |to, text| {
            let address: SocketAddr = text.parse().map_err(|_| "expected IP:PORT")?;
            to.http = Some(address);
            Ok(())
        },
    },
    Setting {
        name: "store",
        kind: Kind::Secret,
        value: "URL",
        default: Said("none"),
        live: false,
        help: "The store that several servers share, such as `redis://USER:PASSWORD@HOST:6379/0`. Other users of the host see flags, \
               so a password is better given otherwise",
        read: |to, text| {
            let rest = text.strip_prefix("redis://").filter(|rest| !rest.is_empty());
            rest.ok_or("expected redis://HOST")?;
            to.base.store = Some(StoreConfig::new(text).map_err(|error| error.to_string())?);
            Ok(())
        },
    },
    Setting {
        name: "drain",
        kind: Text,
        value: "DURATION",
        default: Is("5s"),
        live: true,
        help: "How long, after SIGTERM, registered clients are served while further ones are not taken",
        read: |to, text| duration(text).map(|it| to.drain = it),
    },
    Setting {
        name: LOG,
        kind: Text,
        value: "FILTER",
        default: Is("info"),
        live: true,
        help: "What to log: `error`, `warn`, `info`, `debug`, or a filter like `holepunch=debug`",
        read: |to, text| check_filter(text).map(|()| to.log.filter = text.into()),
    },
    Setting {
        name: "log-format",
        kind: Text,
        value: "text|logfmt|json",
        default: Is("text"),
        live: true,
        help: "How to log: for people, as `name=value`, or as one JSON object a line",
        read: |to, text| one_of(&FORMATS, text).map(|it| to.log.format = it),
    },
    Setting {
        name: "log-addresses",
        kind: Switch,
        value: "yes|no",
        default: Is("no"),
        live: true,
        help: "Let the log name clients' addresses and session IDs",
        read: |to, text| switch(text).map(|it| to.log.addresses = it),
    },
];

const DIALECTS: [(&str, DialectPolicy); 3] =
    [("auto", DialectPolicy::Auto), ("native", DialectPolicy::Native), ("plain", DialectPolicy::Plain)];
const FORMATS: [(&str, LogFormat); 3] =
    [("text", LogFormat::Text), ("logfmt", LogFormat::Logfmt), ("json", LogFormat::Json)];
const SWITCHES: [(&str, bool); 8] = [
    ("yes", true),
    ("no", false),
    ("true", true),
    ("false", false),
    ("on", true),
    ("off", false),
    ("1", true),
    ("0", false),
];

fn one_of<T: Copy>(words: &[(&str, T)], word: &str) -> Result<T, String> {
    let known = || words.iter().map(|(known, _)| *known).collect::<Vec<_>>().join(", ");
    let found = words.iter().find(|(known, _)| *known == word);
    found.map(|(_, meaning)| *meaning).ok_or_else(|| format!("none of {}", known()))
}

fn switch(text: &str) -> Result<bool, String> {
    one_of(&SWITCHES, text)
}

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "no whole number of that range".to_string())
}

fn unless_zero(number: u32) -> Option<u32> {
    (number > 0).then_some(number)
}

fn seconds(text: &str) -> Result<Duration, String> {
    number::<u32>(text).map(|seconds| Duration::from_secs(seconds.into()))
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("no duration such as 90s or 2min: {error}"))
}

fn positive(text: &str) -> Result<Duration, String> {
    duration(text).and_then(|it| if it.is_zero() { Err("no time at all".into()) } else { Ok(it) })
}

/// A URL without user, password and query.
pub fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "…".into() };
    // What was not escaped as it should be may lie on either side of a mark.
    let cut = rest.split(['?', '#']).next().unwrap_or_default();
    if cut.len() < rest.len() && rest[cut.len()..].contains('@') {
        return format!("{scheme}://…");
    }
    let secret = if cut.contains('@') { "…@" } else { "" };
    let query = if cut.len() < rest.len() { "?…" } else { "" };
    let place = cut.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{secret}{place}{query}")
}

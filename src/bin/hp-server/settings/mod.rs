//! What the server can be told by flags, by the environment, by the file `.env` of the current directory and by a TOML file, in this
//! order of precedence and under the same names.

mod check;
mod command;
#[cfg(test)]
mod documents;
#[path = "../../shared/dotenv.rs"]
mod dotenv;
mod sources;
mod table;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

use holepunch::ServerConfig;
use holepunch::server::{RelayConfig, TcpConfig};

pub use self::check::render;
#[cfg(test)]
pub use self::command::command;
pub use self::command::{Arguments, Mode};
pub use self::sources::{Configuration, Problem};
pub use self::table::SETTINGS;
use crate::logging::LogSettings;

/// How long registered clients are served after SIGTERM, unless it was set.
const DEFAULT_DRAIN: Duration = Duration::from_secs(5);

/// All settings, as the program uses them.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The server's own, without relay and TCP.
    base: ServerConfig,
    /// Whether to forward.
    with_relay: bool,
    /// How to forward, if at all.
    relay: RelayConfig,
    /// Whether to take connections.
    with_tcp: bool,
    /// How to take them, if at all.
    tcp: TcpConfig,
    /// Where to show status and metrics, if at all.
    pub http: Option<SocketAddr>,
    /// How long registered clients are served after SIGTERM.
    pub drain: Duration,
    /// What is logged, and how.
    pub log: LogSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            base: ServerConfig::default(),
            with_relay: false,
            relay: RelayConfig::default(),
            with_tcp: false,
            tcp: TcpConfig::default(),
            http: None,
            drain: DEFAULT_DRAIN,
            log: LogSettings::default(),
        }
    }
}

impl Settings {
    /// The library's part of them.
    pub fn server(&self) -> ServerConfig {
        ServerConfig {
            relay: self.with_relay.then(|| self.relay.clone()),
            tcp: self.with_tcp.then(|| self.tcp.clone()),
            ..self.base.clone()
        }
    }
}

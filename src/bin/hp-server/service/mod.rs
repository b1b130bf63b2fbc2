//! The server's life: it is bound, watched over by a thread that heeds signals, and ends.

mod reload;
mod supervisor;

use std::io;
use std::net::{SocketAddr, TcpListener};

use holepunch::Server;
use holepunch::server::ServerHandle;
use sd_notify::NotifyState;

use self::supervisor::Supervisor;
use crate::settings::{Arguments, Configuration};
use crate::{activation, summary, systemd, web};

/// Serves until a signal ends it.
pub fn run(arguments: Arguments, configuration: Configuration) -> Result<(), String> {
    let settings = &configuration.settings;
    let config = settings.server();
    let inherited = activation::inherited()?;
    let is_inherited = inherited.is_some();
    let server = match inherited {
        Some(inherited) => Server::bind_inherited(&config, inherited),
        None => Server::bind(&config),
    };
    let server = server.map_err(|error| error.to_string())?;
    let address = server.local_address().map_err(|error| error.to_string())?;
    if is_inherited && configuration.gives_address() && config.address != address {
        log::warn!("the socket that was handed over is bound to {address}; {} means nothing", config.address);
    }
    // Until the end.
    let _page = match settings.http {
        Some(http) => Some(
            serve_page(http, server.handle()).map_err(|error| format!("serving HTTP at {http}: {error}"))?,
        ),
        None => None,
    };
    let handle = server.handle();
    let (workers, tcp) = (server.workers(), config.tcp.is_some());
    let also = if tcp { ", over TCP, too" } else { "" };
    let supervisor = Supervisor::new(arguments, configuration, handle.clone());
    if let Err(error) = supervisor.start() {
        log::warn!("cannot catch signals, a kill will be sudden: {error}");
    }
    // From here on signals are heeded, which whoever reads this counts on.
    log::info!(address:%, workers, tcp; "listening on {address} with {workers} workers{also}");
    systemd::tell(&[NotifyState::Ready, NotifyState::Status(&format!("listening on {address}"))]);
    let served = server.run();
    systemd::tell(&[NotifyState::Stopping]);
    summary::log(&config, &handle.counters());
    served.map_err(|error| error.to_string())
}

fn serve_page(http: SocketAddr, handle: ServerHandle) -> io::Result<web::Web> {
    web::serve(TcpListener::bind(http)?, handle)
}

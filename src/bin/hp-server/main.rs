//! `hp-server`: the rendezvous server as a program.

mod activation;
mod health;
mod logging;
mod service;
mod settings;
mod summary;
mod systemd;
mod web;

use std::io::Write as _;
use std::process::ExitCode;

use settings::{Arguments, Configuration, Mode, Problem};

fn main() -> ExitCode {
    logging::init();
    let arguments = Arguments::parse();
    if let Mode::Health(address) = arguments.mode {
        return ended(health::ask(address));
    }
    let configuration = match Configuration::collect(&arguments) {
        Ok(configuration) => configuration,
        Err(Problem::Flag(message)) => Arguments::refuse(&message),
        Err(Problem::Other(message)) => return ended(Err(message)),
    };
    logging::set(&configuration.settings.log);
    for warning in &configuration.warnings {
        log::warn!("{warning}");
    }
    if let Mode::Check = arguments.mode {
        // Whoever reads only the start of it closes the rest.
        let _ = std::io::stdout().write_all(settings::render(&configuration).as_bytes());
        return ExitCode::SUCCESS;
    }
    ended(service::run(arguments, configuration))
}

fn ended(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            log::error!("{message}");
            ExitCode::FAILURE
        }
    }
}

//! The command line, made of the table.

use std::net::SocketAddr;

use clap::builder::ValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command};
use holepunch::server::parse_address;

use super::dotenv::Assignment;
use super::sources::CONFIG_VARIABLE;
use super::table::{ADDRESS, Kind, LOG, SETTINGS, Setting};

const CONFIG: &str = "config";
const CHECK: &str = "check-config";
const HEALTH: &str = "health";

/// What the program is called with.
pub struct Arguments {
    /// What it is to do.
    pub mode: Mode,
    /// The settings among the flags, under their names.
    pub given: Vec<Assignment>,
    /// The file with settings.
    pub config: Option<String>,
}

/// What the program is to do.
pub enum Mode {
    /// To serve.
    Serve,
    /// To show its settings.
    Check,
    /// To ask a running one how it is.
    Health(SocketAddr),
}

impl Arguments {
    /// Reads the command line; does not return if that is wrong, or asks for help.
    pub fn parse() -> Self {
        Self::from_matches(&command().get_matches())
    }

    /// The same for any command line.
    #[cfg(test)]
    pub fn from_words(words: &[&str]) -> Self {
        Self::from_matches(&command().get_matches_from([&["hp-server"], words].concat()))
    }

    fn from_matches(matches: &ArgMatches) -> Self {
        let given = |setting: &Setting| {
            let value = matches.get_one::<String>(setting.name)?.clone();
            Some(Assignment { name: setting.name.into(), value, place: setting.flag() })
        };
        let mode = match matches.get_one::<SocketAddr>(HEALTH) {
            Some(address) => Mode::Health(*address),
            None if matches.get_flag(CHECK) => Mode::Check,
            None => Mode::Serve,
        };
        let config = matches.get_one(CONFIG).cloned();
        Self { mode, given: SETTINGS.iter().filter_map(given).collect(), config }
    }

    /// Ends the program over a flag's value.
    pub fn refuse(message: &str) -> ! {
        command().error(ErrorKind::ValueValidation, message).exit()
    }
}

/// All that the command line takes.
pub fn command() -> Command {
    let command = Command::new("hp-server")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Rendezvous server for libholepunch and for the existing Go hole-punching tools")
        .max_term_width(110)
        .args(SETTINGS.iter().map(argument));
    let file = Arg::new(CONFIG).long(CONFIG).value_name("FILE");
    let check = Arg::new(CHECK).long(CHECK).action(ArgAction::SetTrue);
    let health = Arg::new(HEALTH).long(HEALTH).value_name("ADDR").conflicts_with(CHECK);
    command
        .arg(file.help(format!(
            "A TOML file with settings, whose keys are the flags' names without dashes, and `{ADDRESS}` [env: {CONFIG_VARIABLE}]"
        )))
        .arg(check.help("Show every setting in effect and where it was given; the exit status tells whether the server could start with them"))
        .arg(
            health
                .value_parser(ValueParser::new(parse_address))
                .help("Ask the server whose `--http` is ADDR for its health; the exit status tells"),
        )
}

fn argument(setting: &Setting) -> Arg {
    let also = if setting.name == LOG { " or RUST_LOG" } else { "" };
    let Setting { help, .. } = setting;
    let (variable, default) = (setting.variable(), setting.default.text());
    let arg = Arg::new(setting.name)
        .value_name(setting.value)
        .help(format!("{help} [env: {variable}{also}] [default: {default}]"));
    match setting.kind {
        _ if setting.name == ADDRESS => arg,
        // A bare flag says yes; `--relay=no` takes back what a file says.
        Kind::Switch => {
            arg.long(setting.name).num_args(0..=1).require_equals(true).default_missing_value("yes")
        }
        _ => arg.long(setting.name),
    }
}

//! `hp`: what people use libholepunch for without writing a program.

mod chat;
mod check;
mod pipe;
mod refusal;
mod settings;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Finds ways through NATs.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,

    /// What to log: `error`, `warn`, `info`, `debug`, or a filter like `holepunch=debug` [default: RUST_LOG, else warn]
    #[arg(long, value_name = "FILTER", global = true)]
    log: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Find out what the NAT in the way does, and what to expect of it
    Check(check::Arguments),
    /// Talk in a room, encrypted from end to end; settings can also stand in the environment or in the file `.env`
    Chat(settings::Flags<chat::Known>),
    /// Pass standard input to whoever has the same ID, and what comes from there to standard output; encrypted, whole, in order
    Pipe(pipe::Arguments),
    /// Make a fresh ID, which nobody guesses
    Id,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = arguments.log.or_else(|| std::env::var("RUST_LOG").ok()).unwrap_or_else(|| "warn".into());
    env_logger::Builder::new().parse_filters(&filter).init();
    match arguments.command {
        Command::Check(arguments) => check::run(&arguments),
        Command::Chat(flags) => chat::run(&flags),
        Command::Pipe(arguments) => pipe::run(&arguments),
        Command::Id => print_id(),
    }
}

fn print_id() -> ExitCode {
    match holepunch::generate_session_id() {
        Ok(id) => {
            println!("{id}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("hp id: {error}");
            ExitCode::FAILURE
        }
    }
}

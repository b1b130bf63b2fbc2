//! `hp chat`: a room to talk in, on the whole screen or line by line.

mod clean;
mod conversation;
mod format;
mod lines;
mod people;
mod screen;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use holepunch::{ErrorKind, Session, SessionEvent};
use ratatui::crossterm::event::Event as TerminalEvent;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use self::clean::{clean, clean_name};
use self::conversation::{Conversation, Entry, Ourselves, Untaken};
use crate::settings::{Flags, IDENTITY, LOCAL, PIN, PLAIN, ROOM, SERVER, Setting, Settings, Takes, one_of};

const NAME: Setting = Setting {
    flag: "name",
    former_flag: None,
    variable: "HP_NAME",
    alias: None,
    value: "NICK",
    default: "guest- and part of our fingerprint",
    help: "What the others are to call us, up to 24 characters",
};
const MODE: Setting = Setting {
    flag: "mode",
    former_flag: None,
    variable: "HP_MODE",
    alias: Some("MODE"),
    value: "auto|screen|lines",
    default: "auto",
    help: "The whole screen, or plain lines; auto: lines unless a terminal is in front. GoChat's `client` is auto",
};
const COLOR: Setting = Setting {
    flag: "color",
    former_flag: None,
    variable: "HP_COLOR",
    alias: None,
    value: "auto|always|never",
    default: "auto",
    help: "Colours; auto: on a terminal, unless NO_COLOR is set",
};

/// What `hp chat` can be told.
pub struct Known;

impl Takes for Known {
    const SETTINGS: &'static [&'static Setting] =
        &[&SERVER, &ROOM, &NAME, &IDENTITY, &PIN, &PLAIN, &LOCAL, &MODE, &COLOR];
}

/// Something that a chat reacts to.
enum Happening {
    /// In the room.
    Session(SessionEvent),
    /// On the terminal.
    Terminal(TerminalEvent),
    /// A line was typed.
    Line(String),
    /// A line was typed that is too long for a message.
    LongLine,
    /// Nothing more will be typed.
    EndOfInput,
    /// We are asked to leave.
    Signal,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Auto,
    Always,
    Never,
}

/// Exit status if not all that was said has come.
const UNDELIVERED: u8 = 3;
/// If a setting is missing or wrong, as with wrong flags.
const MISUSED: u8 = 2;
/// How much may happen before it is dealt with; the room then holds back what comes after.
const BACKLOG: usize = 64;

/// Talks until told to stop.
pub fn run(flags: &Flags<Known>) -> ExitCode {
    let (code, result) = match Settings::collect(flags) {
        Ok(settings) => match talk(&settings) {
            Ok(0) => return ExitCode::SUCCESS,
            Ok(_) => return ExitCode::from(UNDELIVERED),
            Err(failure) => failure,
        },
        Err(error) => (MISUSED, error),
    };
    eprintln!("hp chat: {result}");
    ExitCode::from(code)
}

/// Returns how much was not delivered.
fn talk(settings: &Settings) -> Result<usize, (u8, String)> {
    let misused = |error| (MISUSED, error);
    let failed = |error: holepunch::Error| (1, error.to_string());
    let on_screen = on_screen(settings).map_err(misused)?;
    let colours = colours(settings).map_err(misused)?;
    let name =
        settings.get(&NAME, |name| clean_name(name).ok_or_else(|| "nothing of it can be shown".into()));
    let (name, room_name) = (name.map_err(misused)?, settings.room().map_err(misused)?);
    let options = settings.room_options().map_err(misused)?;
    let mut client = settings.client().map_err(misused)?;
    let room = Arc::new(Session::join(&mut client, room_name.as_bytes(), options).map_err(failed)?);
    let key = room.public_key();
    let name = name.unwrap_or_else(|| format!("guest-{}", &key.fingerprint()[..4]));
    let ourselves = Ourselves { room: clean(&room_name), name, key };
    let sender = Arc::clone(&room);
    let send = move |to, message: &[u8]| {
        sender.send(to, message).map_err(|error| match error.kind() {
            ErrorKind::Full => Untaken::Full,
            _ => Untaken::Never(error.to_string()),
        })
    };
    let conversation = Conversation::new(ourselves, Box::new(send));
    let (sender, happenings) = sync_channel(BACKLOG);
    let start = |error: std::io::Error| (1, format!("starting a thread: {error}"));
    watch_signals(sender.clone()).map_err(start)?;
    let watcher = watch_room(Arc::clone(&room), sender.clone()).map_err(start)?;
    let warnings = settings.warnings().into_iter().map(Entry::Warning).collect();
    let result = if on_screen {
        let peers = || room.peers();
        screen::run(conversation, &happenings, sender, &peers, warnings, colours)
    } else {
        lines::run(conversation, &happenings, sender, warnings, colours)
    };
    room.leave();
    // It may be waiting to tell of something.
    drop(happenings);
    let _ = watcher.join();
    result.map_err(|error| (1, error.to_string()))
}

fn on_screen(settings: &Settings) -> Result<bool, String> {
    let read = |word: &str| match word {
        "bootnode" => Err("a chat is no server: run `hp-server`".into()),
        _ => one_of(
            &[("auto", When::Auto), ("client", When::Auto), ("screen", When::Always), ("lines", When::Never)],
            word,
        ),
    };
    let is_terminal = || std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    Ok(match settings.get(&MODE, read)?.unwrap_or(When::Auto) {
        When::Auto => is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb"),
        When::Always if !is_terminal() => {
            return Err("--mode screen needs a terminal for input and output".into());
        }
        when => when == When::Always,
    })
}

fn colours(settings: &Settings) -> Result<bool, String> {
    let words = [("auto", When::Auto), ("always", When::Always), ("never", When::Never)];
    let when = settings.get(&COLOR, |word| one_of(&words, word))?.unwrap_or(When::Auto);
    let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    Ok(when == When::Always || (when == When::Auto && !forbidden && std::io::stdout().is_terminal()))
}

fn watch_signals(sender: SyncSender<Happening>) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let watch =
        move || signals.forever().map(|_| Happening::Signal).all(|signal| sender.send(signal).is_ok());
    Builder::new().name("hp-signals".into()).spawn(watch).map(drop)
}

/// Passes on what happens in the room until we leave it.
fn watch_room(room: Arc<Session>, sender: SyncSender<Happening>) -> std::io::Result<JoinHandle<()>> {
    let mut events = std::iter::from_fn(move || room.next_event(None)).map(Happening::Session);
    let watch = move || while events.next().is_some_and(|event| sender.send(event).is_ok()) {};
    Builder::new().name("hp-events".into()).spawn(watch)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::settings;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        flags: Flags<Known>,
    }

    fn settings(flags: &[&str]) -> Settings {
        let arguments = Arguments::parse_from([&["hp"], flags].concat());
        Settings::collect(&arguments.flags).unwrap()
    }

    #[test]
    fn the_table_in_the_docs_is_complete() {
        let table = include_str!("../../../../docs/chat.md");
        for setting in Known::SETTINGS {
            let row = settings::documentation(setting);
            assert!(table.contains(&row), "docs/chat.md lacks the row\n{row}");
        }
    }

    #[test]
    fn gochats_modes_are_understood() {
        assert_eq!(on_screen(&settings(&["--mode", "lines"])), Ok(false));
        assert!(on_screen(&settings(&["--mode", "client"])).is_ok());
        let error = on_screen(&settings(&["--mode", "bootnode"])).unwrap_err();
        assert_eq!(error, "--mode: a chat is no server: run `hp-server`");
        assert!(on_screen(&settings(&["--mode", "x"])).unwrap_err().contains("none of auto, client"));
        assert_eq!(colours(&settings(&["--color", "never"])), Ok(false));
        assert_eq!(colours(&settings(&["--color", "always"])), Ok(true));
    }
}

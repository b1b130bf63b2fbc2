//! `hp pipe`: standard input here is standard output there, and the other way round.

mod frame;
mod pairing;
mod progress;
mod streams;
mod transfer;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use clap::Args;
use holepunch::{Departure, MemberId, PeerId, Session, SessionEvent};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use self::frame::{Frame, VERSION};
use self::pairing::Pairing;
use self::progress::Progress;
use self::transfer::{Transfer, Violation};
use crate::refusal::refusal;
use crate::settings::{Flags, IDENTITY, LOCAL, PIN, SERVER, Setting, Settings, Takes, to_hex};

const TIMEOUT: Setting = Setting {
    flag: "timeout",
    former_flag: None,
    variable: "HP_TIMEOUT",
    alias: None,
    value: "SECONDS",
    default: "however long it takes",
    help: "How long to wait for the other end to come",
};

/// What `hp pipe` can be told by flags, environment and `.env`.
pub struct Known;

impl Takes for Known {
    const SETTINGS: &'static [&'static Setting] = &[&SERVER, &TIMEOUT, &IDENTITY, &PIN, &LOCAL];
}

/// What `hp pipe` is told.
#[derive(Args)]
pub struct Arguments {
    /// What both ends share, and nobody else should know; `hp id` makes one
    #[arg(env = "HP_ID", hide_env_values = true)]
    id: String,

    /// Say nothing but what went wrong, and draw no progress
    #[arg(long, short)]
    quiet: bool,

    #[command(flatten)]
    flags: Flags<Known>,
}

/// Something that a pipe reacts to.
enum Happening {
    /// In the room.
    Session(SessionEvent),
    /// A message was made of what was read; without data: no more will be.
    Read(io::Result<Vec<u8>>),
    /// So much was written.
    Written(io::Result<usize>),
    /// We are asked to leave.
    Signal(i32),
}

/// Why a pipe has ended before its time.
struct Failure {
    code: u8,
    message: String,
}

/// If a setting is missing or wrong, as with wrong flags.
const MISUSED: u8 = 2;
/// How much may happen before it is dealt with; the room then holds back what comes after.
const BACKLOG: usize = 64;
/// Messages that are read ahead of what was sent.
const BUFFERS: usize = 8;

fn failed(message: impl Into<String>) -> Failure {
    Failure { code: 1, message: message.into() }
}

/// Says something to whoever started us; who does not listen misses it.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "hp pipe: {text}");
}

/// Passes everything on, until both sides have all.
pub fn run(arguments: &Arguments) -> ExitCode {
    match connect(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&failure.message);
            ExitCode::from(failure.code)
        }
    }
}

fn connect(arguments: &Arguments) -> Result<(), Failure> {
    let misused = |message| Failure { code: MISUSED, message };
    let settings = Settings::collect(&arguments.flags).map_err(misused)?;
    let timeout = settings.get(&TIMEOUT, seconds).map_err(misused)?;
    let options = settings.room_options().map_err(misused)?;
    let mut client = settings.client().map_err(misused)?;
    let room = Session::join(&mut client, arguments.id.as_bytes(), options);
    let room = Arc::new(room.map_err(|error| failed(error.to_string()))?);
    let start = |error: io::Error| failed(format!("starting to wait for events: {error}"));
    let (sender, happenings) = sync_channel(BACKLOG);
    watch_signals(sender.clone()).map_err(start)?;
    let watcher = watch_room(Arc::clone(&room), sender.clone()).map_err(start)?;
    let progress = Progress::new(Instant::now(), None, true);
    let mut pipe = Pipe {
        room: &room,
        quiet: arguments.quiet,
        sender,
        progress,
        meeting: Pairing::new(room.local()),
        open: None,
    };
    pipe.tell(&format!("waiting for the other end; our public key is {}", to_hex(&room.public_key().0)));
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let mut run = || {
        while !pipe.is_finished() {
            let waiting = deadline.filter(|_| pipe.open.is_none());
            let due = waiting.into_iter().chain(pipe.progress.due()).min();
            let rest = due.map_or(Duration::MAX, |due| due.saturating_duration_since(Instant::now()));
            match happenings.recv_timeout(rest) {
                Ok(happening) => pipe.handle(happening)?,
                // `pipe` holds a sender.
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            pipe.advance()?;
            if pipe.open.is_none() && waiting.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(failed("the other end has not come in time"));
            }
        }
        Ok(())
    };
    let result = run();
    pipe.progress.clear();
    if let (Ok(()), Some(open)) = (&result, &pipe.open) {
        pipe.tell(&pipe.progress.summary(Instant::now(), open.transfer.sent(), open.transfer.received()));
    }
    room.leave();
    // It may be waiting to tell of something.
    drop(happenings);
    let _ = watcher.join();
    result
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| *seconds > 0);
    seconds.map(Duration::from_secs).ok_or_else(|| format!("`{text}` is no number of seconds"))
}

fn watch_signals(sender: SyncSender<Happening>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let watch = move || signals.forever().map(Happening::Signal).all(|signal| sender.send(signal).is_ok());
    Builder::new().name("hp-signals".into()).spawn(watch).map(drop)
}

/// Passes on what happens in the room until we leave it.
fn watch_room(room: Arc<Session>, sender: SyncSender<Happening>) -> io::Result<JoinHandle<()>> {
    let mut events = std::iter::from_fn(move || room.next_event(None)).map(Happening::Session);
    let watch = move || while events.next().is_some_and(|event| sender.send(event).is_ok()) {};
    Builder::new().name("hp-events".into()).spawn(watch)
}

struct Pipe<'a> {
    room: &'a Session,
    quiet: bool,
    sender: SyncSender<Happening>,
    progress: Progress,
    meeting: Pairing,
    open: Option<Open>,
}

/// A pipe that has its other end.
struct Open {
    partner: PeerId,
    transfer: Transfer,
    /// To be read into.
    buffers: Sender<Vec<u8>>,
    /// To be written; none after the end.
    output: Option<Sender<Vec<u8>>>,
}

impl Pipe<'_> {
    fn tell(&self, text: &str) {
        if !self.quiet {
            self.progress.clear();
            say(text);
        }
    }

    fn is_finished(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.transfer.is_finished())
    }

    fn handle(&mut self, happening: Happening) -> Result<(), Failure> {
        match (happening, &mut self.open) {
            (Happening::Session(event), _) => return self.handle_event(event),
            (Happening::Signal(signal), _) => {
                let code = u8::try_from(128 + signal).unwrap_or(1);
                return Err(Failure { code, message: "told to end before all was through".into() });
            }
            (Happening::Read(Err(error)), _) => {
                return Err(failed(format!("reading standard input: {error}")));
            }
            (Happening::Written(Err(error)), _) => {
                return Err(failed(format!("writing standard output: {error}")));
            }
            (Happening::Read(Ok(message)), Some(open)) => open.transfer.push_input(message),
            (Happening::Written(Ok(bytes)), Some(open)) => open.transfer.note_written(bytes),
            // Nothing is read or written before.
            (_, None) => {}
        }
        Ok(())
    }

    fn handle_event(&mut self, event: SessionEvent) -> Result<(), Failure> {
        let partner = self.meeting.partner();
        match event {
            SessionEvent::Connected(member, ..) => self.meeting.handle_connected(member.id),
            SessionEvent::Message(member, message) => return self.hear(member, message),
            SessionEvent::Delivered(member, number) if Some(member.id) == partner => {
                self.open.iter_mut().for_each(|open| open.transfer.note_delivered(number));
            }
            SessionEvent::Left(member, departure, _) if Some(member.id) == partner => {
                return self.lose_partner(departure);
            }
            SessionEvent::Left(member, departure, _) => {
                if let Departure::WrongKey(key) = departure {
                    self.tell(&format!(
                        "somebody has come with a key that is not allowed: {}",
                        to_hex(&key.0)
                    ));
                }
                self.meeting.handle_gone(member.id);
            }
            SessionEvent::ServerLost => self.tell("the server does not answer"),
            SessionEvent::ServerRegained => self.tell("the server answers again"),
            SessionEvent::Refused(reason) => {
                self.tell(&format!("the server refuses us: {}", refusal(reason)))
            }
            SessionEvent::Failed(number) => {
                let error = io::Error::from_raw_os_error(number);
                return Err(failed(format!("waiting for the network: {error}")));
            }
            _ => {}
        }
        Ok(())
    }

    fn hear(&mut self, from: MemberId, message: Vec<u8>) -> Result<(), Failure> {
        if let Some(open) = self.open.as_mut().filter(|open| open.partner == from.id) {
            let violation = |_: Violation| failed("the other end does not keep to the pipe's rules");
            let data = open.transfer.take(message).map_err(violation)?;
            if let (Some(data), Some(output)) = (data, &open.output) {
                // If nobody writes any more, why is about to be told.
                let _ = output.send(data);
            }
            open.output.take_if(|_| open.transfer.has_their_end());
            return Ok(());
        }
        match Frame::read(&message) {
            Some(Frame::Hello(version)) if version != VERSION && self.open.is_none() => Err(failed(format!(
                "the other end speaks version {version} of the pipe's protocol, we version {VERSION}: one `hp` is too old"
            ))),
            Some(frame) => {
                self.meeting.handle_frame(from.id, frame);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn lose_partner(&mut self, departure: Departure) -> Result<(), Failure> {
        // It leaves as soon as it knows that we have all; we may not know yet that it does.
        if self.open.as_mut().is_some_and(|open| open.transfer.is_finished_without_them()) {
            return Ok(());
        }
        Err(failed(match departure {
            Departure::Goodbye => "the other end has left before all was through",
            _ => "the other end was lost before all was through",
        }))
    }

    /// Does what follows from what has happened.
    fn advance(&mut self) -> Result<(), Failure> {
        while let Some((to, frame)) = self.meeting.poll_frame() {
            // Whoever has not got it is gone, which an event tells: there is always room for these few.
            let _ = self.room.send(to, &frame.encode());
        }
        if self.meeting.is_refused() {
            return Err(failed(
                "two others use this ID already, and a pipe has two ends: take a fresh one (`hp id`)",
            ));
        }
        if self.open.is_none()
            && let Some(partner) = self.meeting.partner()
        {
            self.begin(partner)?;
        }
        if let Some(open) = &mut self.open {
            // What is not taken now is once something was delivered; a peer that is gone is told of by an event.
            let (room, partner) = (self.room, open.partner);
            // The thread that reads ends with the input.
            open.transfer
                .pump(|message| room.send(partner, message).ok(), |buffer| drop(open.buffers.send(buffer)));
            self.progress.draw(Instant::now(), open.transfer.sent(), open.transfer.received());
        }
        Ok(())
    }

    fn begin(&mut self, partner: PeerId) -> Result<(), Failure> {
        let peer = self.room.peers().into_iter().find(|peer| peer.member.id == partner);
        if let Some((path, key)) = peer.and_then(|peer| peer.path.zip(peer.key)) {
            let (endpoint, kind) = (path.endpoint, path.kind.name());
            self.tell(&format!(
                "the other end is at {endpoint} ({kind}), its public key is {}",
                to_hex(&key.0)
            ));
        }
        // Before anything is read of it.
        self.progress = Progress::new(Instant::now(), streams::input_len(), self.quiet);
        let start = |error: io::Error| failed(format!("starting to read and write: {error}"));
        let (buffers, to_fill) = channel();
        let (output, to_write) = channel();
        (0..BUFFERS).for_each(|_| drop(buffers.send(Vec::new())));
        streams::start_reading(to_fill, self.sender.clone()).map_err(start)?;
        streams::start_writing(to_write, self.sender.clone()).map_err(start)?;
        self.open = Some(Open { partner, transfer: Transfer::new(), buffers, output: Some(output) });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings;

    #[test]
    fn the_table_in_the_docs_is_complete() {
        let table = include_str!("../../../../docs/pipe.md");
        for setting in Known::SETTINGS {
            let row = settings::documentation(setting);
            assert!(table.contains(&row), "docs/pipe.md lacks the row\n{row}");
        }
    }

    #[test]
    fn patience_is_a_number_of_seconds() {
        assert_eq!(seconds("90"), Ok(Duration::from_secs(90)));
        for wrong in ["0", "-1", "1.5", "", "soon"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}

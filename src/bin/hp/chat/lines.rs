//! A chat in plain lines, for pipes and for terminals that can do no more.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use holepunch::PeerId;

use super::Happening;
use super::clean::shortened;
use super::conversation::{Conversation, Entry, Typed, too_long, understand};
use super::format::MAX_TEXT;

/// How long all that was said may take to come once nothing more will be typed.
const LAST_WAIT: Duration = Duration::from_secs(30);
/// How many texts may wait for somebody to come, or for room; no more input is read meanwhile.
const MAX_WAITING: usize = 1000;
/// How often texts that found no room are tried again.
const AGAIN: Duration = Duration::from_millis(50);

/// What was typed and not yet said to everybody.
#[derive(Default)]
struct Outbox {
    texts: VecDeque<String>,
    /// Who has still to be told the first text; nobody has heard any of it if this is empty.
    left: Vec<PeerId>,
    /// Whether it was told that nobody is here.
    held: bool,
}

impl Outbox {
    /// Says what can be said now.
    fn flush(&mut self, conversation: &mut Conversation<'_>) -> Vec<Entry> {
        let mut entries = Vec::new();
        while let Some(text) = self.texts.front() {
            let to = match self.left.is_empty() {
                true => conversation.audience(),
                false => std::mem::take(&mut self.left),
            };
            // Whoever comes first is seldom alone: once somebody is reached, the others are known, too.
            if to.is_empty() || (self.held && !conversation.is_heard()) {
                if !std::mem::replace(&mut self.held, true) {
                    entries.push(Entry::Note(
                        "nobody is here yet; what you say waits for the first to come".into(),
                    ));
                }
                break;
            }
            self.held = false;
            let (full, problems) = conversation.say(text, &to);
            entries.extend(problems);
            self.left = full;
            if !self.left.is_empty() {
                break;
            }
            self.texts.pop_front();
        }
        entries
    }
}

/// Talks until input and all deliveries have ended, or a signal comes. Returns how much was not delivered.
pub fn run(
    mut conversation: Conversation<'_>,
    happenings: &Receiver<Happening>,
    sender: SyncSender<Happening>,
    warnings: Vec<Entry>,
    colours: bool,
) -> io::Result<usize> {
    let (permits, permit) = sync_channel(1);
    // It cannot be woken from its read, and ends with the process.
    std::thread::Builder::new().name("hp-input".into()).spawn(move || read_lines(&sender, &permit))?;
    let us = &conversation.ourselves;
    let welcome = format!("room {}, you are {}, fingerprint {}", us.room, us.name, us.key.fingerprint());
    show(&[&warnings[..], &[Entry::Note(welcome)]].concat(), colours)?;
    let (mut outbox, mut owed, mut until) = (Outbox::default(), true, None);
    loop {
        if owed && outbox.texts.len() < MAX_WAITING {
            // There is no permit unused while one is owed; at the end nobody is left to take it.
            let _ = permits.try_send(());
            owed = false;
        }
        let done = until.is_some() && outbox.texts.is_empty() && !conversation.has_pending();
        let pause =
            until.map_or(Duration::MAX, |until: Instant| until.saturating_duration_since(Instant::now()));
        if done || pause.is_zero() {
            break;
        }
        let pause = if outbox.left.is_empty() { pause } else { pause.min(AGAIN) };
        let entries = match receive(happenings, pause) {
            Some(Happening::Session(event)) => conversation.handle(event),
            Some(Happening::Line(line)) => {
                owed = true;
                match understand(&line, &conversation) {
                    Typed::Text(text) => outbox.texts.push_back(text),
                    Typed::Answer(entries) => show(&entries, colours)?,
                    Typed::Quit => until = Some(Instant::now()),
                    Typed::Empty => {}
                }
                Vec::new()
            }
            Some(Happening::LongLine) => {
                owed = true;
                conversation.give_up(1);
                vec![too_long()]
            }
            Some(Happening::EndOfInput) => {
                until.get_or_insert(Instant::now() + LAST_WAIT);
                Vec::new()
            }
            Some(Happening::Signal) => {
                until = Some(Instant::now());
                Vec::new()
            }
            Some(Happening::Terminal(_)) | None => Vec::new(),
        };
        conversation.check()?;
        show(&entries, colours)?;
        show(&outbox.flush(&mut conversation), colours)?;
    }
    let unsaid: Vec<_> =
        outbox.texts.iter().map(|text| Entry::Warning(format!("not sent: “{}”", shortened(text)))).collect();
    conversation.give_up(unsaid.len());
    show(&unsaid, colours)?;
    show(&conversation.finish(), colours)?;
    Ok(conversation.count_undelivered())
}

fn receive(happenings: &Receiver<Happening>, pause: Duration) -> Option<Happening> {
    match happenings.recv_timeout(pause) {
        Ok(happening) => Some(happening),
        Err(RecvTimeoutError::Timeout) => None,
        // Cannot be while the room is watched; but if so, we are asked to leave.
        Err(RecvTimeoutError::Disconnected) => Some(Happening::Signal),
    }
}

/// Reads a line for each permit, until there are no more.
fn read_lines(sender: &SyncSender<Happening>, permit: &Receiver<()>) {
    let mut input = io::stdin().lock();
    while permit.recv().is_ok() {
        let happening = next_line(&mut input).unwrap_or(Happening::EndOfInput);
        let ended = matches!(happening, Happening::EndOfInput);
        if sender.send(happening).is_err() || ended {
            break;
        }
    }
}

/// The next line; of one that is too long no more is kept than shows that it is.
fn next_line(input: &mut impl BufRead) -> io::Result<Happening> {
    let mut line = Vec::new();
    // Room for the line's end, so that the longest text has one, too.
    input.take(MAX_TEXT as u64 + 2).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(Happening::EndOfInput);
    }
    let ended = line.ends_with(b"\n");
    let text = line.strip_suffix(b"\n").unwrap_or(&line);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    if text.len() > MAX_TEXT {
        if !ended {
            input.skip_until(b'\n')?;
        }
        return Ok(Happening::LongLine);
    }
    Ok(Happening::Line(String::from_utf8_lossy(text).into_owned()))
}

/// Prints entries.
pub fn show(entries: &[Entry], colours: bool) -> io::Result<()> {
    let mut output = io::stdout().lock();
    for entry in entries {
        let (colour, line) = match entry {
            Entry::Said(_, who, true, text) => (0, format!("<{who}> {text}")),
            Entry::Said(_, who, false, text) => (0, format!("<{who}, UNENCRYPTED> {text}")),
            Entry::Ours(who, text) => (0, format!("<{who}> {text}")),
            Entry::Note(text) => (36, format!("* {text}")),
            Entry::Warning(text) => (31, format!("! {text}")),
        };
        match colours && colour != 0 {
            true => writeln!(output, "\x1b[{colour}m{line}\x1b[m")?,
            false => writeln!(output, "{line}")?,
        }
    }
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_any_length_are_read_in_bounded_memory() {
        let long = "x".repeat(MAX_TEXT);
        let input = format!("one\r\n\n{long}\n{long}\r\n{long}y\n{}\nlast", long.repeat(3));
        let mut input = input.as_bytes();
        let mut next = || match next_line(&mut input).unwrap() {
            Happening::Line(line) => line.len().to_string(),
            Happening::LongLine => "long".into(),
            _ => "end".into(),
        };
        let read: Vec<_> = (0..8).map(|_| next()).collect();
        assert_eq!(read, ["3", "0", "8192", "8192", "long", "long", "4", "end"]);
    }
}

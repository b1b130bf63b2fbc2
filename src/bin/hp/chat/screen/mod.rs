//! A chat on the whole screen.

mod prompt;
mod scrollback;
mod terminal;
#[cfg(test)]
mod tests;
mod view;

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use holepunch::SessionPeer;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, read};

use self::prompt::Prompt;
use self::scrollback::Scrollback;
use self::terminal::Screen;
use super::conversation::{Conversation, Entry, Typed, understand};
use super::{Happening, lines};

/// How often round-trip times are looked at.
const REFRESH: Duration = Duration::from_secs(1);
/// How much is dealt with before the screen is drawn again.
const MAX_AT_ONCE: usize = 256;

/// All that is on the screen.
struct Chat<'a> {
    conversation: Conversation<'a>,
    scrollback: Scrollback,
    prompt: Prompt,
    colours: bool,
    ended: bool,
}

/// Talks until told to stop. Returns how much was not delivered.
pub fn run(
    conversation: Conversation<'_>,
    happenings: &Receiver<Happening>,
    sender: SyncSender<Happening>,
    peers: &dyn Fn() -> Vec<SessionPeer>,
    warnings: Vec<Entry>,
    colours: bool,
) -> io::Result<usize> {
    let mut chat = Chat::new(conversation, colours);
    warnings.into_iter().for_each(|warning| chat.scrollback.push(warning));
    let mut screen = Screen::open(colours)?;
    // It cannot be woken from its read, and ends with the process.
    std::thread::Builder::new().name("hp-input".into()).spawn(move || read_events(&sender))?;
    while !chat.ended {
        screen.draw(|frame| view::draw(frame, &mut chat))?;
        match happenings.recv_timeout(REFRESH) {
            Ok(first) => std::iter::once(first)
                .chain(happenings.try_iter().take(MAX_AT_ONCE))
                .for_each(|happening| chat.handle(happening)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        chat.conversation.check()?;
        chat.conversation.refresh(peers());
    }
    drop(screen);
    let undelivered = chat.conversation.finish();
    if !undelivered.is_empty() {
        lines::show(&undelivered, colours)?;
    }
    Ok(chat.conversation.count_undelivered())
}

/// Passes on what is typed until the terminal is gone or nobody listens.
fn read_events(sender: &SyncSender<Happening>) {
    let events = std::iter::from_fn(|| read().ok()).map(Happening::Terminal);
    if events.map(|event| sender.send(event)).all(|sent| sent.is_ok()) {
        // Whether anybody still listens does not matter.
        let _ = sender.send(Happening::EndOfInput);
    }
}

impl<'a> Chat<'a> {
    fn new(conversation: Conversation<'a>, colours: bool) -> Self {
        let mut chat = Self {
            conversation,
            scrollback: Scrollback::default(),
            prompt: Prompt::default(),
            colours,
            ended: false,
        };
        let us = &chat.conversation.ourselves;
        let welcome =
            format!("you are {}, fingerprint {}; /help tells what you can do", us.name, us.key.fingerprint());
        chat.scrollback.push(Entry::Note(welcome));
        chat
    }

    fn handle(&mut self, happening: Happening) {
        match happening {
            Happening::Session(event) => {
                self.conversation.handle(event).into_iter().for_each(|entry| self.scrollback.push(entry))
            }
            Happening::Terminal(Event::Key(key)) if key.kind != KeyEventKind::Release => self.press(key),
            Happening::Terminal(Event::Paste(text)) => self.prompt.paste(&text),
            Happening::EndOfInput | Happening::Signal => self.ended = true,
            // A new size is found when drawing.
            Happening::Terminal(_) | Happening::Line(_) | Happening::LongLine => {}
        }
    }

    fn press(&mut self, key: KeyEvent) {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        // Home and End belong to the line that is being typed, if there is one.
        let scrolls = control || self.prompt.is_empty();
        match key.code {
            KeyCode::Char('c' | 'd') if control => self.ended = true,
            KeyCode::Enter => self.enter(),
            KeyCode::PageUp => self.scrollback.page_up(),
            KeyCode::PageDown => self.scrollback.page_down(),
            KeyCode::Home if scrolls => self.scrollback.show_oldest(),
            KeyCode::End if scrolls => self.scrollback.show_latest(),
            _ => self.prompt.press(key),
        }
    }

    fn enter(&mut self) {
        let entries = match understand(self.prompt.text(), &self.conversation) {
            Typed::Text(text) => match self.say(text) {
                Some(entries) => entries,
                // It stays in the line, to be tried again.
                None => {
                    return self.scrollback.push(Entry::Warning("nobody is here who could be told".into()));
                }
            },
            Typed::Answer(entries) => entries,
            Typed::Quit => {
                self.ended = true;
                return;
            }
            Typed::Empty => Vec::new(),
        };
        self.prompt.finish();
        self.scrollback.show_latest();
        entries.into_iter().for_each(|entry| self.scrollback.push(entry));
    }

    /// What to show of saying it; `None` if there is nobody.
    fn say(&mut self, text: String) -> Option<Vec<Entry>> {
        let audience = self.conversation.audience();
        if audience.is_empty() {
            return None;
        }
        let (full, problems) = self.conversation.say(&text, &audience);
        let labels: Vec<_> = full.iter().map(|id| self.conversation.label(*id)).collect();
        let full = (!full.is_empty()).then(|| {
            Entry::Warning(format!(
                "not sent to {}: too much waits already, say it again later",
                labels.join(", ")
            ))
        });
        let ours = Entry::Ours(self.conversation.ourselves.name.clone(), text);
        Some(std::iter::once(ours).chain(full).chain(problems).collect())
    }
}

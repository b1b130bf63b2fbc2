//! The line that is being typed, and those typed before.

use std::collections::VecDeque;

use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use tui_input::backend::crossterm::to_input_request;
use tui_input::{Input, InputRequest};

use crate::chat::clean::clean;
use crate::chat::format::MAX_TEXT;

/// Most lines that are remembered.
const MAX_HISTORY: usize = 100;

/// The line, and its history.
#[derive(Default)]
pub struct Prompt {
    input: Input,
    /// The latest first.
    history: VecDeque<String>,
    /// Which of them is shown, counted from 1; 0: what was being typed before.
    at: usize,
    draft: String,
}

impl Prompt {
    /// What stands there.
    pub fn text(&self) -> &str {
        self.input.value()
    }

    /// Whether nothing stands there.
    pub fn is_empty(&self) -> bool {
        self.text().is_empty()
    }

    /// What is seen of it in so many columns, and in which of them the cursor is.
    pub fn visible(&self, width: usize) -> (&str, usize) {
        // The cursor needs a place, too.
        let scroll = self.input.visual_scroll(width.saturating_sub(1));
        let (mut columns, mut from) = (0, self.text().len());
        for (at, char) in self.text().char_indices() {
            if columns >= scroll {
                from = at;
                break;
            }
            columns += super::scrollback::width(char.encode_utf8(&mut [0; 4]));
        }
        (&self.text()[from..], self.input.visual_cursor().saturating_sub(scroll))
    }

    /// Changes it by a key.
    pub fn press(&mut self, key: KeyEvent) {
        match key.code {
            KeyCode::Up => self.recall(self.at + 1),
            KeyCode::Down => self.recall(self.at.saturating_sub(1)),
            // As in shells: up to the cursor.
            KeyCode::Char('u') if key.modifiers == KeyModifiers::CONTROL => {
                self.input.handle(InputRequest::DeleteFromStart);
            }
            _ => {
                let request = to_input_request(&Event::Key(key));
                let fits = |char: char| char.len_utf8() + self.text().len() <= MAX_TEXT && !char.is_control();
                let allowed = |request: &InputRequest| match request {
                    InputRequest::InsertChar(char) => fits(*char),
                    _ => true,
                };
                if let Some(request) = request.filter(allowed) {
                    self.input.handle(request);
                }
            }
        }
    }

    /// Puts in what was pasted, in one line, as much as there is room for.
    pub fn paste(&mut self, text: &str) {
        let cursor = self.input.cursor();
        let at = self.text().char_indices().nth(cursor).map_or(self.text().len(), |(at, _)| at);
        let mut pasted = clean(text.trim_end_matches(['\r', '\n']));
        let room = MAX_TEXT.saturating_sub(self.text().len());
        let ends = pasted.char_indices().map(|(at, char)| at + char.len_utf8());
        pasted.truncate(ends.take_while(|end| *end <= room).last().unwrap_or_default());
        let value = [&self.text()[..at], &pasted, &self.text()[at..]].concat();
        self.input = Input::new(value).with_cursor(cursor + pasted.chars().count());
    }

    /// The line is done: it is remembered, and a new one begins.
    pub fn finish(&mut self) {
        let line = self.input.value_and_reset();
        if !line.is_empty() && self.history.front() != Some(&line) {
            self.history.push_front(line);
            self.history.truncate(MAX_HISTORY);
        }
        self.at = 0;
    }

    fn recall(&mut self, at: usize) {
        if at == self.at || at > self.history.len() {
            return;
        }
        if self.at == 0 {
            self.draft = self.text().into();
        }
        let line = if at == 0 { std::mem::take(&mut self.draft) } else { self.history[at - 1].clone() };
        (self.input, self.at) = (Input::new(line), at);
    }
}

//! What was said and what happened, as far as it is kept, in lines as wide as the screen.

use std::collections::VecDeque;

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use crate::chat::conversation::Entry;

/// Most entries, and most bytes of them, that are kept.
const MAX_ENTRIES: usize = 5000;
const MAX_BYTES: usize = 1 << 20;
/// What people are told apart by.
const COLOURS: [Color; 6] =
    [Color::Green, Color::Yellow, Color::Blue, Color::Magenta, Color::Cyan, Color::LightRed];

/// An entry, and where its lines end.
struct Block {
    label: String,
    text: String,
    style: Style,
    label_style: Style,
    lines: Vec<String>,
}

/// The entries, the latest last.
#[derive(Default)]
pub struct Scrollback {
    blocks: VecDeque<Block>,
    bytes: usize,
    /// All blocks' lines.
    lines: usize,
    width: usize,
    height: usize,
    /// How many lines are below those that are seen.
    below: usize,
}

impl Scrollback {
    /// Adds an entry; what is seen stays where it is, unless it is the end.
    pub fn push(&mut self, entry: Entry) {
        let mut block = Block::new(entry);
        block.lines = wrap(&block.label, &block.text, self.width);
        self.bytes += block.len();
        self.lines += block.lines.len();
        if self.below > 0 {
            self.below += block.lines.len();
        }
        self.blocks.push_back(block);
        while self.blocks.len() > MAX_ENTRIES || self.bytes > MAX_BYTES {
            let Some(oldest) = self.blocks.pop_front() else { break };
            self.bytes -= oldest.len();
            self.lines -= oldest.lines.len();
        }
        self.scroll_to(self.below);
    }

    /// The screen has this size now.
    pub fn resize(&mut self, width: usize, height: usize) {
        if width != self.width {
            self.width = width;
            for block in &mut self.blocks {
                block.lines = wrap(&block.label, &block.text, width);
            }
            let lines: usize = self.blocks.iter().map(|block| block.lines.len()).sum();
            // About the same place: lines are longer or shorter now.
            self.below = self.below * lines / self.lines.max(1);
            self.lines = lines;
        }
        self.height = height;
        self.scroll_to(self.below);
    }

    fn scroll_to(&mut self, below: usize) {
        self.below = below.min(self.lines.saturating_sub(self.height));
    }

    /// One screen back, but for a line.
    pub fn page_up(&mut self) {
        self.scroll_to(self.below + self.height.saturating_sub(1).max(1));
    }

    /// One screen on.
    pub fn page_down(&mut self) {
        self.scroll_to(self.below.saturating_sub(self.height.saturating_sub(1).max(1)));
    }

    /// To the oldest.
    pub fn show_oldest(&mut self) {
        self.scroll_to(self.lines);
    }

    /// To the latest.
    pub fn show_latest(&mut self) {
        self.below = 0;
    }

    /// How many lines come after those that are seen.
    pub fn below(&self) -> usize {
        self.below
    }

    /// What is seen.
    pub fn visible<'a>(&'a self, colours: bool) -> Vec<Line<'a>> {
        let all = self.blocks.iter().rev().flat_map(|block| {
            let styled = move |(at, line): (usize, &'a String)| block.styled(at, line, colours);
            block.lines.iter().enumerate().rev().map(styled)
        });
        let mut seen: Vec<_> = all.skip(self.below).take(self.height).collect();
        seen.reverse();
        seen
    }
}

impl Block {
    fn new(entry: Entry) -> Self {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let (label, text, style, label_style) = match entry {
            Entry::Said(id, who, encrypted, text) => {
                let mark = if encrypted { "" } else { " UNENCRYPTED" };
                let colour = COLOURS[usize::from(id.0[0]) % COLOURS.len()];
                (format!("<{who}{mark}> "), text, Style::new(), bold.fg(colour))
            }
            Entry::Ours(who, text) => (format!("<{who}> "), text, Style::new(), bold),
            Entry::Note(text) => {
                ("* ".into(), text, Style::new().fg(Color::DarkGray), Style::new().fg(Color::DarkGray))
            }
            Entry::Warning(text) => ("! ".into(), text, Style::new().fg(Color::Red), bold.fg(Color::Red)),
        };
        Self { label, text, style, label_style, lines: Vec::new() }
    }

    fn len(&self) -> usize {
        self.label.len() + self.text.len()
    }

    fn styled<'a>(&self, at: usize, line: &'a str, colours: bool) -> Line<'a> {
        let styles = [self.label_style, self.style].map(|style| if colours { style } else { plain(style) });
        // A label that is itself wider than the screen goes on in the next line, as text.
        let label_len = if at == 0 { self.label.len().min(line.len()) } else { 0 };
        let (label, text) = line.split_at(label_len);
        Line::from(vec![Span::styled(label, styles[0]), Span::styled(text, styles[1])])
    }
}

/// The style without its colours.
pub fn plain(style: Style) -> Style {
    Style { fg: None, bg: None, ..style }
}

/// How many columns a text takes.
pub fn width(text: &str) -> usize {
    // Most graphemes are single letters, for which no table need be searched.
    if text.len() == 1 { 1 } else { Span::raw(text).width() }
}

/// Breaks the text, after its label, into lines of at most so many columns, between words where there are any.
fn wrap(label: &str, text: &str, columns: usize) -> Vec<String> {
    let whole = format!("{label}{text}");
    let (mut lines, mut line, mut line_width, mut space) = (Vec::new(), String::new(), 0, None);
    for grapheme in Span::raw(whole.as_str()).styled_graphemes(Style::new()) {
        let wide = width(grapheme.symbol);
        while line_width + wide > columns && !line.is_empty() {
            let rest = space.take().map_or_else(String::new, |at| line.split_off(at));
            line_width = width(&rest);
            lines.push(std::mem::replace(&mut line, rest));
        }
        line.push_str(grapheme.symbol);
        line_width += wide;
        if grapheme.symbol == " " {
            space = Some(line.len());
        }
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(text: &str) -> Entry {
        Entry::Note(text.into())
    }

    fn seen(scrollback: &Scrollback) -> Vec<String> {
        scrollback.visible(true).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn lines_break_between_words_and_within_what_is_too_long() {
        assert_eq!(wrap("* ", "one two three", 9), ["* one ", "two three"]);
        assert_eq!(wrap("", "onetwothree four", 5), ["onetw", "othre", "e ", "four"]);
        assert_eq!(wrap("", "你好你好", 5), ["你好", "你好"]);
        assert_eq!(wrap("", "a👩\u{200d}🚀b", 2), ["a", "👩\u{200d}🚀", "b"]);
        assert_eq!(wrap("* ", "", 9), ["* "]);
        assert_eq!(wrap("", "你好", 0), ["你", "好"]);
    }

    #[test]
    fn what_is_seen_stays_until_one_returns_to_the_end() {
        let mut scrollback = Scrollback::default();
        scrollback.resize(20, 3);
        (0..10).for_each(|number| scrollback.push(note(&number.to_string())));
        assert_eq!(seen(&scrollback), ["* 7", "* 8", "* 9"]);
        scrollback.page_up();
        assert_eq!(
            (seen(&scrollback), scrollback.below()),
            (vec!["* 5".into(), "* 6".into(), "* 7".into()], 2)
        );
        scrollback.push(note("new"));
        assert_eq!(seen(&scrollback)[0], "* 5");
        scrollback.show_oldest();
        assert_eq!(seen(&scrollback)[0], "* 0");
        scrollback.page_up();
        assert_eq!(seen(&scrollback)[0], "* 0");
        scrollback.page_down();
        assert_eq!(seen(&scrollback)[0], "* 2");
        scrollback.resize(2, 3);
        assert_eq!(seen(&scrollback).len(), 3);
        scrollback.show_latest();
        scrollback.resize(20, 3);
        assert_eq!(seen(&scrollback)[2], "* new");
        scrollback.resize(0, 0);
        assert_eq!(seen(&scrollback).len(), 0);
    }

    #[test]
    fn memory_is_bounded() {
        let mut scrollback = Scrollback::default();
        scrollback.resize(80, 10);
        (0..MAX_ENTRIES + 10).for_each(|number| scrollback.push(note(&number.to_string())));
        assert_eq!((scrollback.blocks.len(), scrollback.lines), (MAX_ENTRIES, MAX_ENTRIES));
        (0..MAX_BYTES / 8000 + 10).for_each(|_| scrollback.push(note(&"x".repeat(8000))));
        assert!(scrollback.bytes <= MAX_BYTES && scrollback.blocks.len() <= MAX_BYTES / 8000);
        assert_eq!(scrollback.lines, scrollback.blocks.iter().map(|block| block.lines.len()).sum::<usize>());
    }
}

//! Where everything is on the screen. What does not fit is left out, the least important first.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph};

use super::Chat;
use super::scrollback::{plain, width};
use crate::chat::conversation::ServerState;
use crate::chat::people::{Person, round_trip, short_fingerprint};

/// From so many columns on there is room for the pane of those who are here.
const WIDE: u16 = 72;
const PANE: u16 = 32;
/// From so many lines on there is room for the status line.
const HIGH: u16 = 3;

/// Draws all of it.
pub fn draw(frame: &mut Frame<'_>, chat: &mut Chat<'_>) {
    let area = frame.area();
    let heights =
        [Constraint::Length(u16::from(area.height >= HIGH)), Constraint::Fill(1), Constraint::Length(1)];
    let [status, middle, prompt] = area.layout(&Layout::vertical(heights));
    let pane = if area.width >= WIDE { PANE } else { 0 };
    let [messages, people] =
        middle.layout(&Layout::horizontal([Constraint::Fill(1), Constraint::Length(pane)]));
    // The prompt is the last that a tiny screen loses.
    let prompt = if area.height == 1 { area } else { prompt };
    draw_messages(frame, chat, messages);
    draw_people(frame, chat, people);
    frame.render_widget(Paragraph::new(status_line(chat, area.width)).style(reversed()), status);
    draw_prompt(frame, chat, prompt);
}

fn reversed() -> Style {
    Style::new().add_modifier(Modifier::REVERSED)
}

fn draw_messages(frame: &mut Frame<'_>, chat: &mut Chat<'_>, area: Rect) {
    chat.scrollback.resize(area.width.into(), area.height.into());
    frame.render_widget(Paragraph::new(chat.scrollback.visible(chat.colours)), area);
    let below = chat.scrollback.below();
    if below > 0 && area.height > 1 {
        let hint = format!(" {below} more lines below (Ctrl-End) ");
        let columns = area.width.min(width(&hint) as u16);
        let place = Rect { x: area.right() - columns, y: area.bottom() - 1, width: columns, height: 1 };
        frame.render_widget(Paragraph::new(hint).style(reversed()), place);
    }
}

/// As much of it as there is room for, nothing of it cut in two.
fn status_line(chat: &Chat<'_>, columns: u16) -> String {
    let conversation = &chat.conversation;
    let server = match conversation.server {
        ServerState::Registering => "registering",
        ServerState::Registered => "registered",
        ServerState::Lost => "SERVER LOST",
        ServerState::Refused => "REFUSED BY THE SERVER",
    };
    let us = &conversation.ourselves;
    let parts = [
        format!(" · {} here", conversation.people.len() + 1),
        format!(" · {server}"),
        format!(" · {} {}", us.name, short_fingerprint(&us.key)),
        conversation.observed.map(|(at, nat)| format!(" · at {at}{nat}")).unwrap_or_default(),
    ];
    let mut line = format!(" {}", us.room);
    for part in parts {
        if width(&line) + width(&part) > columns.into() {
            break;
        }
        line.push_str(&part);
    }
    line
}

fn draw_people(frame: &mut Frame<'_>, chat: &Chat<'_>, area: Rect) {
    if area.is_empty() {
        return;
    }
    let block = Block::new().borders(Borders::LEFT);
    let inner = block.inner(area);
    let mut lines: Vec<_> =
        chat.conversation.people.iter().flat_map(|person| describe(chat, person)).collect();
    if lines.is_empty() {
        lines.push(Line::raw("nobody else is here yet"));
    }
    let height = usize::from(inner.height);
    if lines.len() > height {
        lines.truncate(height.saturating_sub(1));
        lines.push(Line::raw("… all of them: /peers"));
    }
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn describe(chat: &Chat<'_>, person: &Person) -> Vec<Line<'static>> {
    let label = chat.conversation.label(person.member.id);
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let warning = if chat.colours { bold.fg(Color::Red) } else { plain(bold) };
    let mut lines = vec![Line::styled(label, bold)];
    let way = person.way();
    let (path, _) = way.split_once(", RTT").unwrap_or((&way, ""));
    lines.push(Line::raw(format!("  {path}")));
    lines.push(match person.key {
        _ if !person.member.encrypted => Line::styled("  UNENCRYPTED", warning),
        Some(key) => {
            let rtt = round_trip(person.path.and_then(|path| path.rtt));
            Line::raw(format!("  {rtt} · {}", short_fingerprint(&key)))
        }
        None => Line::raw("  no key yet"),
    });
    lines
}

fn draw_prompt(frame: &mut Frame<'_>, chat: &Chat<'_>, area: Rect) {
    if area.is_empty() {
        return;
    }
    let sign = if area.width > 4 { "> " } else { "" };
    let (text, cursor) = chat.prompt.visible(usize::from(area.width) - sign.len());
    frame.render_widget(Paragraph::new(Line::from(vec![Span::raw(sign), Span::raw(text)])), area);
    let column = (sign.len() + cursor).min(usize::from(area.width) - 1);
    frame.set_cursor_position(Position { x: area.x + column as u16, y: area.y });
}

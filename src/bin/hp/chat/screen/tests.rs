use std::cell::{Cell, RefCell};
use std::rc::Rc;

use holepunch::proto::SocketIndex;
use holepunch::{CandidateKind, Departure, MemberId, PeerId, PeerPath, PublicKey, SessionEvent};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::chat::conversation::{Ourselves, Untaken};
use crate::chat::format;

type Sent = Rc<RefCell<Vec<(PeerId, Vec<u8>)>>>;

const BOB: MemberId = MemberId { id: PeerId([1; 16]), encrypted: true };
const PLAIN: MemberId = MemberId { id: PeerId([2; 16]), encrypted: false };

/// A chat whose messages go nowhere, and what was sent.
fn chat() -> (Chat<'static>, Sent) {
    let sent = Sent::default();
    let (kept, number) = (Rc::clone(&sent), Cell::new(0));
    let send = move |to: PeerId, message: &[u8]| -> Result<u64, Untaken> {
        kept.borrow_mut().push((to, message.to_vec()));
        number.set(number.get() + 1);
        Ok(number.get())
    };
    let ourselves = Ourselves { room: "den".into(), name: "alice".into(), key: PublicKey([7; 32]) };
    (Chat::new(Conversation::new(ourselves, Box::new(send)), true), sent)
}

fn path(port: u16) -> PeerPath {
    let endpoint = ([127, 0, 0, 1], port).into();
    PeerPath {
        socket: SocketIndex(0),
        endpoint,
        kind: CandidateKind::Host,
        rtt: Some(Duration::from_micros(1500)),
    }
}

fn meet(chat: &mut Chat<'_>) {
    for event in [
        SessionEvent::Registered("192.0.2.1:40000".parse().unwrap()),
        SessionEvent::Joined(BOB),
        SessionEvent::Connected(BOB, path(4000), Some(PublicKey([8; 32]))),
        SessionEvent::Message(BOB, format::hello("bob")),
    ] {
        chat.handle(Happening::Session(event));
    }
}

fn screen(chat: &mut Chat<'_>, width: u16, height: u16) -> String {
    drawn(chat, width, height).backend().to_string()
}

fn drawn(chat: &mut Chat<'_>, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view::draw(frame, chat)).unwrap();
    terminal
}

fn press(chat: &mut Chat<'_>, code: KeyCode, modifiers: KeyModifiers) {
    chat.handle(Happening::Terminal(Event::Key(KeyEvent::new(code, modifiers))));
}

fn keys(chat: &mut Chat<'_>, codes: &[KeyCode]) {
    codes.iter().for_each(|code| press(chat, *code, KeyModifiers::NONE));
}

fn enter(chat: &mut Chat<'_>, line: &str) {
    line.chars().for_each(|char| press(chat, KeyCode::Char(char), KeyModifiers::NONE));
    press(chat, KeyCode::Enter, KeyModifiers::NONE);
}

fn shows(chat: &mut Chat<'_>, wanted: &[&str]) {
    let screen = screen(chat, 170, 40);
    wanted.iter().for_each(|wanted| assert!(screen.contains(wanted), "no {wanted:?} in\n{screen}"));
}

#[test]
fn a_conversation_is_shown_with_who_is_there_and_how() {
    let (mut chat, sent) = chat();
    shows(&mut chat, &["den · 1 here · registering", "nobody else is here yet", "/help tells"]);
    meet(&mut chat);
    let bob = PublicKey([8; 32]).fingerprint();
    shows(
        &mut chat,
        &[
            "den · 2 here · registered · alice 8f29 0b49 · at 192.0.2.1:40000 (NAT)",
            &format!("is connected: host 127.0.0.1:4000, RTT 1.5 ms, fingerprint {bob}"),
            "is called bob",
            "│  host 127.0.0.1:4000",
            &format!("│  1.5 ms · {}", &bob[..9]),
        ],
    );
    enter(&mut chat, "hello, bob");
    chat.handle(Happening::Session(SessionEvent::Message(BOB, format::text("hello, \x1b[31malice", false))));
    shows(&mut chat, &["<alice> hello, bob", "<bob> hello, \u{fffd}[31malice"]);
    assert_eq!(
        *sent.borrow(),
        [(BOB.id, format::hello("alice")), (BOB.id, format::text("hello, bob", false))]
    );
}

#[test]
fn plain_peers_are_marked_everywhere() {
    let (mut chat, sent) = chat();
    chat.handle(Happening::Session(SessionEvent::Joined(PLAIN)));
    enter(&mut chat, "too early");
    chat.handle(Happening::Session(SessionEvent::Connected(PLAIN, path(5000), None)));
    press(&mut chat, KeyCode::Enter, KeyModifiers::NONE);
    chat.handle(Happening::Session(SessionEvent::Message(PLAIN, b"\x01\x01\x03bob".to_vec())));
    shows(
        &mut chat,
        &[
            "! nobody is here who could be told",
            "UNENCRYPTED: anyone on the way",
            "│  UNENCRYPTED",
            "<02020202 UNENCRYPTED> \u{fffd}\u{fffd}\u{fffd}bob",
        ],
    );
    assert_eq!(*sent.borrow(), [(PLAIN.id, b"too early".to_vec())]);
}

#[test]
fn what_did_not_come_is_told() {
    let (mut chat, _) = chat();
    meet(&mut chat);
    enter(&mut chat, "first");
    enter(&mut chat, "second");
    chat.handle(Happening::Session(SessionEvent::Delivered(BOB, 2)));
    chat.handle(Happening::Session(SessionEvent::Left(BOB, Departure::TimedOut, vec![1, 3])));
    chat.handle(Happening::Session(SessionEvent::Untold(4)));
    shows(
        &mut chat,
        &[
            "* bob left: was silent for too long",
            "! not known to have reached bob: “second”",
            "! 4 events came too fast",
            "1 here",
        ],
    );
    assert_eq!(chat.conversation.count_undelivered(), 1);
}

#[test]
fn a_message_that_finds_no_room_is_not_dropped_in_silence() {
    let full = |_: PeerId, _: &[u8]| Err(Untaken::Full);
    let ourselves = Ourselves { room: "den".into(), name: "alice".into(), key: PublicKey([7; 32]) };
    let mut chat = Chat::new(Conversation::new(ourselves, Box::new(full)), false);
    meet(&mut chat);
    enter(&mut chat, "hello");
    shows(
        &mut chat,
        &["! not sent to bob: too much waits already, say it again later", "does not get to know our name"],
    );
}

#[test]
fn the_server_being_lost_or_unwilling_is_seen_at_a_glance() {
    use holepunch::proto::wire::RefusedReason;
    let (mut chat, _) = chat();
    for (event, wanted) in [
        (Happening::Session(SessionEvent::ServerLost), "SERVER LOST"),
        (Happening::Session(SessionEvent::ServerRegained), "registering"),
        (Happening::Session(SessionEvent::Refused(RefusedReason::SessionFull)), "REFUSED"),
        (Happening::Session(SessionEvent::Failed(101)), "the room is full"),
    ] {
        chat.handle(event);
        shows(&mut chat, &[wanted]);
    }
    assert_eq!(chat.conversation.check().unwrap_err().raw_os_error(), Some(101));
}

#[test]
fn commands_answer() {
    let (mut chat, sent) = chat();
    enter(&mut chat, "/peers");
    shows(&mut chat, &["* nobody else is here"]);
    meet(&mut chat);
    enter(&mut chat, "/peers");
    enter(&mut chat, "/verify BO");
    enter(&mut chat, "/verify carol");
    enter(&mut chat, "/nonsense");
    let (ours, bobs) = (PublicKey([7; 32]).fingerprint(), PublicKey([8; 32]).fingerprint());
    shows(
        &mut chat,
        &[
            "* one other is here",
            &format!("* bob: host 127.0.0.1:4000, RTT 1.5 ms, {bobs}")[..70],
            "* you, alice:",
            &format!("*   {ours}"),
            &format!("*   {bobs}"),
            &format!("public key {}", "08".repeat(32)),
            "! nobody here is called carol",
            "! no such command: /nonsense",
        ],
    );
    enter(&mut chat, "//slash");
    assert_eq!(sent.borrow().last().unwrap().1, b"\x02/slash");
    enter(&mut chat, "/quit");
    assert!(chat.ended);
}

#[test]
fn the_line_can_be_edited_and_recalled() {
    let (mut chat, sent) = chat();
    meet(&mut chat);
    enter(&mut chat, "one");
    enter(&mut chat, "two");
    let said = |chat: &mut Chat<'_>, codes: &[KeyCode]| {
        keys(chat, codes);
        keys(chat, &[KeyCode::Enter]);
        String::from_utf8(sent.borrow().last().unwrap().1[1..].to_vec()).unwrap()
    };
    use KeyCode::{Backspace, Char, Delete, Down, End, Home, Left, Right, Up};
    assert_eq!(said(&mut chat, &[Up, Up, Up]), "one");
    assert_eq!(said(&mut chat, &[Char('d'), Up, Down, Char('!')]), "d!");
    assert_eq!(
        said(&mut chat, &[Char('ż'), Char('b'), Left, Left, Right, Char('好'), End, Char('.')]),
        "ż好b."
    );
    assert_eq!(said(&mut chat, &[Char('x'), Char('y'), Char('z'), Home, Delete, End, Backspace]), "y");
    let control = |chat: &mut Chat<'_>, char| press(chat, Char(char), KeyModifiers::CONTROL);
    chat.handle(Happening::Terminal(Event::Paste("two words\n".into())));
    control(&mut chat, 'w');
    control(&mut chat, 'a');
    chat.handle(Happening::Terminal(Event::Paste("a\x1b\nb".into())));
    control(&mut chat, 'e');
    assert_eq!(said(&mut chat, &[Char('c')]), "a\u{fffd} btwo c");
    keys(&mut chat, &[Char('x'), Char('y'), Left]);
    control(&mut chat, 'u');
    assert_eq!(said(&mut chat, &[]), "y");
    chat.handle(Happening::Terminal(Event::Paste("ü".repeat(format::MAX_TEXT))));
    keys(&mut chat, &[Char('x')]);
    assert_eq!(chat.prompt.text().len(), format::MAX_TEXT);
    control(&mut chat, 'd');
    assert!(chat.ended);
}

#[test]
fn home_and_end_scroll_while_nothing_is_typed() {
    let (mut chat, _) = chat();
    (0..100).for_each(|number| chat.scrollback.push(Entry::Note(format!("note {number}"))));
    assert!(screen(&mut chat, 40, 10).contains("note 99"));
    keys(&mut chat, &[KeyCode::Home]);
    assert!(screen(&mut chat, 40, 10).contains("you are alice"));
    assert!(screen(&mut chat, 40, 10).contains("more lines below"));
    keys(&mut chat, &[KeyCode::Char('x'), KeyCode::End, KeyCode::PageDown]);
    assert!(!screen(&mut chat, 40, 10).contains("note 99"));
    press(&mut chat, KeyCode::End, KeyModifiers::CONTROL);
    assert!(screen(&mut chat, 40, 10).contains("note 99"));
}

#[test]
fn every_size_can_be_drawn() {
    let (mut chat, _) = chat();
    meet(&mut chat);
    chat.handle(Happening::Session(SessionEvent::Joined(PLAIN)));
    chat.handle(Happening::Session(SessionEvent::Message(
        BOB,
        format::text("你好 👩\u{200d}🚀 and so on", false),
    )));
    chat.handle(Happening::Terminal(Event::Paste("好".repeat(30))));
    for width in (0..30).chain([40, 71, 72, 73, 90]) {
        for height in 0..12 {
            drawn(&mut chat, width, height);
        }
    }
    chat.prompt.finish();
    let small = screen(&mut chat, 20, 6);
    assert!(small.contains("den · 3 here") && small.contains("so on") && small.contains("> "), "{small}");
}

#[test]
fn colours_can_be_left_out() {
    let (mut chat, _) = chat();
    meet(&mut chat);
    chat.handle(Happening::Session(SessionEvent::Message(BOB, format::text("hi", false))));
    let coloured = |chat: &mut Chat<'_>| {
        let terminal = drawn(chat, 100, 30);
        let reset = ratatui::style::Color::Reset;
        terminal.backend().buffer().content().iter().any(|cell| cell.fg != reset || cell.bg != reset)
    };
    assert!(coloured(&mut chat));
    chat.colours = false;
    assert!(!coloured(&mut chat));
}

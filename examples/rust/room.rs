//! Joins a room and tells what happens there, a line each, with the time: `room SERVER ID`.
//!
//! Every line of input is said to everybody. `/to PEER TEXT` says it to one, `/peers` and `/counters` tell more, and `/leave` leaves;
//! so do the end of input, SIGINT and SIGTERM.

use std::sync::mpsc;
use std::thread;
use std::time::SystemTime;

use holepunch::{Client, Departure, Error, PeerId, Session, SessionEvent, SessionOptions};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

const LEAVE: &str = "/leave";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [server, id] = &arguments[..] else { return Err("usage: room SERVER ID".into()) };
    let mut client = Client::new(server)?;
    let room = Session::join(&mut client, id.as_bytes(), SessionOptions::default())?;
    tell(&format!("local {:?} {}", room.local(), room.public_key().fingerprint()));

    // Signals and lines of input come from threads that end with the program.
    let (input, lines) = mpsc::channel();
    let (signalled, ended) = (input.clone(), input.clone());
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::spawn(move || signals.forever().try_for_each(|_| signalled.send(LEAVE.to_owned())));
    thread::spawn(move || {
        let mut lines = std::io::stdin().lines().map_while(Result::ok).chain([LEAVE.to_owned()]);
        lines.try_for_each(|line| input.send(line))
    });

    thread::scope(|scope| {
        scope.spawn(|| {
            while let Some(event) = room.next_event(None) {
                tell(&describe(event));
            }
            ended.send(LEAVE.to_owned())
        });
        lines.iter().take_while(|line| line != LEAVE).for_each(|line| obey(&room, &line));
        room.leave();
    });
    // Dropping the room waits until everybody was told.
    Ok(())
}

/// Prints what happened now.
fn tell(what: &str) {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    println!("{:.6} {what}", now.as_secs_f64());
}

fn obey(room: &Session, line: &str) {
    match line.splitn(3, ' ').collect::<Vec<_>>()[..] {
        ["/peers"] => {
            for peer in room.peers() {
                let endpoint = peer.path.map_or("-".into(), |path| path.endpoint.to_string());
                tell(&format!("peer {:?} {endpoint}", peer.member.id));
            }
        }
        ["/counters"] => {
            let counters = room.counters();
            let (strangers, forged) = (counters.strangers, counters.forged);
            tell(&format!("counters {strangers} {forged} {} {}", counters.replayed, counters.malformed));
        }
        ["/to", name, text] => {
            let peer = room.peers().into_iter().find(|peer| format!("{:?}", peer.member.id) == name);
            let id = peer.map_or(PeerId::UNKNOWN, |peer| peer.member.id);
            tell_sent(room.send(id, text.as_bytes()), text);
        }
        _ => tell_sent(room.send_to_all(line.as_bytes()), line),
    }
}

/// Events will tell by the number what has become of a message.
fn tell_sent(number: Result<u64, Error>, text: &str) {
    match number {
        Ok(number) => tell(&format!("sent {number} {text}")),
        Err(error) => tell(&format!("error {error}")),
    }
}

fn describe(event: SessionEvent) -> String {
    match event {
        SessionEvent::Registered(endpoint) => format!("registered {endpoint}"),
        SessionEvent::ServerLost => "server-lost".into(),
        SessionEvent::ServerRegained => "server-regained".into(),
        SessionEvent::Refused(reason) => format!("refused {reason:?}"),
        SessionEvent::Failed(error) => format!("failed {}", std::io::Error::from_raw_os_error(error)),
        SessionEvent::Joined(peer) => format!("joined {:?}", peer.id),
        SessionEvent::Connected(peer, path, key) => {
            let fingerprint = key.map_or("-".into(), |key| key.fingerprint());
            format!("connected {:?} {} {} {fingerprint}", peer.id, path.endpoint, path.kind.name())
        }
        SessionEvent::PathChanged(peer, path) => {
            format!("path {:?} {} {}", peer.id, path.endpoint, path.kind.name())
        }
        SessionEvent::Message(peer, text) => {
            format!("message {:?} {}", peer.id, String::from_utf8_lossy(&text).escape_debug())
        }
        SessionEvent::Delivered(peer, number) => format!("delivered {:?} {number}", peer.id),
        SessionEvent::Untaken(peer, number) => format!("untaken {:?} {number}", peer.id),
        SessionEvent::Untold(count) => format!("untold {count}"),
        SessionEvent::Left(peer, departure, undelivered) => {
            let reason = match departure {
                Departure::Goodbye => "goodbye",
                Departure::TimedOut => "timed-out",
                Departure::Unreachable => "unreachable",
                Departure::WeLeft => "we-left",
                Departure::WrongKey(_) => "wrong-key",
            };
            format!("left {:?} {reason} {undelivered:?}", peer.id)
        }
    }
}

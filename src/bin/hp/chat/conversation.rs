//! What is said in a room and what happens there, in words; how it is shown is for others to decide.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use holepunch::{Departure, MemberId, PeerId, PublicKey, SessionEvent, SessionPeer};

use super::clean::{clean, shortened};
use super::format::{self, MAX_TEXT, Said};
use super::people::{People, Person};
use crate::refusal::refusal;

/// Something to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Somebody said something: who, as what it was called, whether nobody else could read or forge it, and what.
    Said(PeerId, String, bool, String),
    /// We said something.
    Ours(String, String),
    /// What happened.
    Note(String),
    /// What went wrong.
    Warning(String),
}

/// How the server stands to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// We have asked to be listed.
    Registering,
    /// We are listed.
    Registered,
    /// It does not answer.
    Lost,
    /// It does not want us.
    Refused,
}

/// Who we are.
#[derive(Clone, Debug)]
pub struct Ourselves {
    /// The room's name.
    pub room: String,
    /// Our name.
    pub name: String,
    /// Our key.
    pub key: PublicKey,
}

/// Why the room does not take a message.
pub enum Untaken {
    /// Too much waits already; later there is room.
    Full,
    /// It never will.
    Never(String),
}

/// Gives the room a message for somebody.
pub type Send<'a> = Box<dyn Fn(PeerId, &[u8]) -> Result<u64, Untaken> + 'a>;

/// A conversation, from our point of view.
pub struct Conversation<'a> {
    /// Who we are.
    pub ourselves: Ourselves,
    /// How the server stands to us.
    pub server: ServerState,
    /// Where the server sees us, and whether through a NAT.
    pub observed: Option<(SocketAddr, &'static str)>,
    /// The others.
    pub people: People,
    send: Send<'a>,
    /// Texts that are not known to have come, by their numbers.
    pending: BTreeMap<u64, (PeerId, String)>,
    /// How many never came, as far as is known.
    undelivered: usize,
    /// Why the room cannot go on.
    failure: Option<std::io::Error>,
}

impl<'a> Conversation<'a> {
    /// Nobody is there yet.
    pub fn new(ourselves: Ourselves, send: Send<'a>) -> Self {
        Self {
            ourselves,
            server: ServerState::Registering,
            observed: None,
            people: People::default(),
            send,
            pending: BTreeMap::new(),
            undelivered: 0,
            failure: None,
        }
    }

    /// What somebody is called.
    pub fn label(&self, id: PeerId) -> String {
        self.people.label(id, &self.ourselves.name)
    }

    /// Whether texts wait for word that they have come.
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// How many texts did not come, as far as is known.
    pub fn count_undelivered(&self) -> usize {
        self.undelivered
    }

    /// An error if the room cannot go on.
    pub fn check(&mut self) -> std::io::Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }

    /// Whether anybody is reached already.
    pub fn is_heard(&self) -> bool {
        self.people.iter().any(|person| person.path.is_some())
    }

    /// Something that was to be said will not be.
    pub fn give_up(&mut self, texts: usize) {
        self.undelivered += texts;
    }

    /// Nobody waits any longer for word that texts have come.
    pub fn finish(&mut self) -> Vec<Entry> {
        let mut waiting: BTreeMap<PeerId, Vec<u64>> = BTreeMap::new();
        for (number, (id, _)) in &self.pending {
            waiting.entry(*id).or_default().push(*number);
        }
        waiting.into_iter().map(|(id, numbers)| self.lose(id, UNKNOWN, &numbers)).collect()
    }

    /// Takes note of how everybody is reached now.
    pub fn refresh(&mut self, peers: Vec<SessionPeer>) {
        for peer in peers {
            // Some are there without having been told of yet.
            if self.people.iter().any(|person| person.member == peer.member) {
                self.people.get(peer.member).path = peer.path;
            }
        }
    }

    /// Takes an event of the room's.
    pub fn handle(&mut self, event: SessionEvent) -> Vec<Entry> {
        let entry = match event {
            SessionEvent::Registered(observed) => {
                self.server = ServerState::Registered;
                let seen = (observed, nat(observed));
                let news = self.observed.replace(seen) != Some(seen);
                news.then(|| Entry::Note(format!("the server sees us as {observed}{}", seen.1)))
            }
            SessionEvent::ServerLost => {
                self.server = ServerState::Lost;
                Some(Entry::Warning("the server does not answer; whoever is connected stays so".into()))
            }
            SessionEvent::ServerRegained => {
                let listed = self.observed.is_some();
                self.server = if listed { ServerState::Registered } else { ServerState::Registering };
                Some(Entry::Note("the server answers again".into()))
            }
            SessionEvent::Refused(reason) => {
                self.server = ServerState::Refused;
                Some(Entry::Warning(format!("the server refuses us: {}", refusal(reason))))
            }
            SessionEvent::Failed(os_error) => {
                self.failure = Some(std::io::Error::from_raw_os_error(os_error));
                None
            }
            SessionEvent::Joined(member) => {
                let person = self.people.get(member).mark();
                Some(self.greet(member).unwrap_or(Entry::Note(format!("{person} joined, looking for a way"))))
            }
            SessionEvent::Connected(member, path, key) => {
                // What it was called when it joined; the key comes behind.
                let label = self.label(member.id);
                let person = self.people.get(member);
                (person.path, person.key) = (Some(path), key);
                Some(Entry::Note(format!("{label} is connected: {}", self.describe(member))))
            }
            SessionEvent::PathChanged(member, path) => {
                self.people.get(member).path = Some(path);
                let way = self.people.get(member).way();
                Some(Entry::Note(format!("{} is reached another way: {way}", self.label(member.id))))
            }
            SessionEvent::Message(member, message) => {
                format::read(&message, !member.encrypted).and_then(|said| self.hear(member, said))
            }
            SessionEvent::Delivered(_, number) => {
                self.pending.remove(&number);
                None
            }
            SessionEvent::Untaken(member, number) => Some(self.lose(member.id, "not sent to", &[number])),
            SessionEvent::Untold(count) => {
                Some(Entry::Warning(format!("{count} events came too fast and are not shown")))
            }
            SessionEvent::Left(member, departure, numbers) => return self.part(member, departure, &numbers),
        };
        entry.into_iter().collect()
    }

    /// Tells somebody what we are called.
    fn greet(&self, member: MemberId) -> Option<Entry> {
        let hello = format::hello(&self.ourselves.name);
        let sent = member.encrypted.then(|| (self.send)(member.id, &hello))?;
        sent.err().map(|_| Entry::Warning(format!("{} does not get to know our name", self.label(member.id))))
    }

    fn describe(&mut self, member: MemberId) -> String {
        let person = self.people.get(member);
        match member.encrypted {
            true => format!("{}, fingerprint {}", person.way(), person.fingerprint()),
            false => {
                format!("{}, UNENCRYPTED: anyone on the way can read and forge what is said", person.way())
            }
        }
    }

    fn hear(&mut self, member: MemberId, said: Said) -> Option<Entry> {
        match said {
            Said::Text(text) => Some(Entry::Said(member.id, self.label(member.id), member.encrypted, text)),
            Said::Hello(name) if self.people.get(member).name == name => None,
            Said::Hello(name) => {
                let before = self.label(member.id);
                self.people.get(member).name = name;
                Some(Entry::Note(format!("{before} is called {}", self.label(member.id))))
            }
        }
    }

    fn part(&mut self, member: MemberId, departure: Departure, numbers: &[u64]) -> Vec<Entry> {
        let label = self.label(member.id);
        let reason = match departure {
            Departure::Goodbye => "said goodbye".into(),
            Departure::TimedOut => "was silent for too long".into(),
            Departure::Unreachable => "cannot be reached any more".into(),
            Departure::WeLeft => "we leave".into(),
            Departure::WrongKey(key) => format!("holds a key that is not pinned, {}", key.fingerprint()),
        };
        let note = Entry::Note(format!("{label} left: {reason}"));
        let lost: Vec<_> =
            numbers.iter().copied().filter(|number| self.pending.contains_key(number)).collect();
        let lost = (!lost.is_empty()).then(|| self.lose(member.id, UNKNOWN, &lost));
        self.people.remove(member.id);
        [Some(note), lost].into_iter().flatten().collect()
    }

    /// Texts of ours that did not come.
    fn lose(&mut self, id: PeerId, how: &str, numbers: &[u64]) -> Entry {
        let texts: Vec<_> = numbers.iter().filter_map(|number| self.pending.remove(number)).collect();
        self.undelivered += texts.len();
        let texts: Vec<_> = texts.iter().map(|(_, text)| format!("“{text}”")).collect();
        Entry::Warning(format!("{how} {}: {}", self.label(id), texts.join(", ")))
    }

    /// Those to whom something can be said.
    pub fn audience(&self) -> Vec<PeerId> {
        let hears = |person: &&Person| person.member.encrypted || person.path.is_some();
        self.people.iter().filter(hears).map(|person| person.member.id).collect()
    }

    /// Says something to some. Hands back those for whom too much waits already, to be tried again, and what else went wrong.
    pub fn say(&mut self, text: &str, to: &[PeerId]) -> (Vec<PeerId>, Vec<Entry>) {
        let (mut full, mut entries) = (Vec::new(), Vec::new());
        for &id in to {
            let Some(person) = self.people.iter().find(|person| person.member.id == id) else { continue };
            let plain = !person.member.encrypted;
            match (self.send)(id, &format::text(text, plain)) {
                Ok(number) if !plain => drop(self.pending.insert(number, (id, shortened(text)))),
                Ok(_) => {}
                Err(Untaken::Full) => full.push(id),
                Err(Untaken::Never(error)) => {
                    self.undelivered += 1;
                    entries.push(Entry::Warning(format!("not sent to {}: {error}", self.label(id))));
                }
            }
        }
        (full, entries)
    }

    /// Who is there.
    pub fn list(&self) -> Vec<Entry> {
        let line = |person: &Person| {
            let (label, way) = (self.label(person.member.id), person.way());
            Entry::Note(format!("{label}: {way}, {}", person.fingerprint()))
        };
        let count = Entry::Note(match self.people.len() {
            0 => "nobody else is here".into(),
            1 => "one other is here".into(),
            count => format!("{count} others are here"),
        });
        std::iter::once(count).chain(self.people.iter().map(line)).collect()
    }

    /// What people compare to be sure of each other; with all whose name or fingerprint starts like this.
    pub fn verify(&self, whom: &str) -> Vec<Entry> {
        let is_meant = |person: &&Person| {
            let label = self.label(person.member.id).to_lowercase();
            label.starts_with(&whom.to_lowercase()) || person.mark().starts_with(&whom.to_lowercase())
        };
        let meant: Vec<_> = self.people.iter().filter(is_meant).collect();
        if meant.is_empty() {
            return vec![Entry::Warning(format!("nobody here is called {}", clean(whom)))];
        }
        let key = |key: &PublicKey| crate::settings::to_hex(&key.0);
        let mut lines = vec![
            "call each other by another way and read both fingerprints aloud: if both of you see the same two, nobody is in between".into(),
            format!("you, {}:", self.ourselves.name),
            format!("  {}", self.ourselves.key.fingerprint()),
            format!("  public key {}", key(&self.ourselves.key)),
        ];
        for person in meant {
            lines.push(format!("{}:", self.label(person.member.id)));
            lines.push(format!("  {}", person.fingerprint()));
            lines.extend(person.key.map(|theirs| format!("  public key {}", key(&theirs))));
        }
        lines.into_iter().map(Entry::Note).collect()
    }
}

/// What is said of texts that nobody has confirmed.
const UNKNOWN: &str = "not known to have reached";

/// What was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typed {
    /// To be said.
    Text(String),
    /// To be shown to us.
    Answer(Vec<Entry>),
    /// Enough.
    Quit,
    /// Nothing.
    Empty,
}

/// Understands a line, and carries out what only asks.
pub fn understand(line: &str, conversation: &Conversation<'_>) -> Typed {
    let line = clean(line);
    let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
    let notes =
        |lines: &[&str]| Typed::Answer(lines.iter().map(|line| Entry::Note((*line).into())).collect());
    match word {
        _ if line.trim().is_empty() => Typed::Empty,
        "/quit" | "/q" => Typed::Quit,
        "/peers" => Typed::Answer(conversation.list()),
        "/verify" => Typed::Answer(conversation.verify(rest.trim())),
        "/help" => notes(&HELP),
        _ if line.starts_with("//") => Typed::Text(line[1..].into()),
        _ if line.starts_with('/') => {
            Typed::Answer(vec![Entry::Warning(format!("no such command: {word}; /help lists them"))])
        }
        _ if line.len() > MAX_TEXT => Typed::Answer(vec![too_long()]),
        _ => Typed::Text(line),
    }
}

/// What is said of a text that is longer than [`MAX_TEXT`].
pub fn too_long() -> Entry {
    Entry::Warning(format!("not sent: a message has at most {MAX_TEXT} bytes"))
}

const HELP: [&str; 6] = [
    "/peers            who is here, how each is reached, and fingerprints",
    "/verify [NAME]    fingerprints to compare by voice, and public keys to pin",
    "/quit             say goodbye (also Ctrl-C and Ctrl-D)",
    "//text            say /text",
    "PageUp, PageDown  what was said before; Home and End, too, while nothing is typed",
    "Up, Down          what you typed before",
];

/// Whether a NAT is in the way, if that can be told.
fn nat(observed: SocketAddr) -> &'static str {
    let ip = match observed.ip() {
        IpAddr::V6(ip) => ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4),
        ip => ip,
    };
    match if_addrs::get_if_addrs() {
        Ok(own) if own.iter().any(|interface| interface.ip() == ip) => " (no NAT)",
        Ok(_) => " (NAT)",
        Err(_) => "",
    }
}

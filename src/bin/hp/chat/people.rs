//! Who is there, and what they are called.

use std::collections::BTreeMap;
use std::time::Duration;

use holepunch::{CandidateKind, MemberId, PeerId, PeerPath, PublicKey};

/// Somebody in the room.
#[derive(Clone, Debug)]
pub struct Person {
    /// Who it is to the room.
    pub member: MemberId,
    /// What it calls itself.
    pub name: Option<String>,
    /// Which key it holds, once that is known.
    pub key: Option<PublicKey>,
    /// How it is reached, if it is.
    pub path: Option<PeerPath>,
}

impl Person {
    /// The first half of the fingerprint, or what else tells it apart.
    pub fn mark(&self) -> String {
        self.key
            .map_or_else(|| format!("{:?}", self.member.id), |key| short_fingerprint(&key).replace(' ', ""))
    }

    /// How it is reached, for people to read.
    pub fn way(&self) -> String {
        self.path.map_or_else(|| "not reached yet".into(), |path| way(&path))
    }

    /// The fingerprint in full, or why there is none.
    pub fn fingerprint(&self) -> String {
        match self.key {
            _ if !self.member.encrypted => "UNENCRYPTED".into(),
            Some(key) => key.fingerprint(),
            None => "no key yet".into(),
        }
    }
}

/// Everybody in the room but us.
#[derive(Debug, Default)]
pub struct People(BTreeMap<PeerId, Person>);

impl People {
    /// The person, known or new.
    pub fn get(&mut self, member: MemberId) -> &mut Person {
        self.0.entry(member.id).or_insert(Person { member, name: None, key: None, path: None })
    }

    /// The person is gone.
    pub fn remove(&mut self, id: PeerId) {
        self.0.remove(&id);
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Person> {
        self.0.values()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// What somebody is called: the name that it gives itself, with its mark if others have the same.
    pub fn label(&self, id: PeerId, own_name: &str) -> String {
        let Some(person) = self.0.get(&id) else { return format!("{id:?}") };
        let Some(name) = &person.name else { return person.mark() };
        let same = |other: &&Person| other.name.as_ref().is_some_and(|other| looks_like(other, name));
        if self.iter().filter(same).count() > 1 || looks_like(name, own_name) {
            format!("{name}#{}", person.mark())
        } else {
            name.clone()
        }
    }
}

/// Whether people would take one name for the other.
fn looks_like(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

/// The first 32 bits of a fingerprint: enough to tell friends apart, not enough to trust.
pub fn short_fingerprint(key: &PublicKey) -> String {
    key.fingerprint().chars().take(9).collect()
}

fn way(path: &PeerPath) -> String {
    let kind = match path.kind {
        CandidateKind::Host => "host",
        CandidateKind::Reflexive => "reflexive",
        CandidateKind::Mapped => "mapped",
        CandidateKind::PeerReflexive => "peer-reflexive",
        CandidateKind::Predicted => "predicted",
        CandidateKind::Relayed => "RELAYED",
    };
    format!("{kind} {}, RTT {}", path.endpoint, round_trip(path.rtt))
}

/// A round-trip time, for people to read.
pub fn round_trip(rtt: Option<Duration>) -> String {
    let milliseconds = |rtt: Duration| rtt.as_secs_f64() * 1e3;
    match rtt.map(milliseconds) {
        None => "-".into(),
        Some(few) if few < 10.0 => format!("{few:.1} ms"),
        Some(many) => format!("{many:.0} ms"),
    }
}

#[cfg(test)]
mod tests {
    use holepunch::proto::SocketIndex;

    use super::*;

    fn member(byte: u8) -> MemberId {
        MemberId { id: PeerId([byte; 16]), encrypted: byte != 9 }
    }

    #[test]
    fn who_has_the_same_name_is_told_apart() {
        let mut people = People::default();
        for (byte, name) in
            [(1, Some("bob")), (2, Some("Bob")), (3, Some("carol")), (4, None), (5, Some("me"))]
        {
            let person = people.get(member(byte));
            person.name = name.map(Into::into);
            person.key = Some(PublicKey([byte; 32]));
        }
        let label = |byte: u8| people.label(member(byte).id, "Me");
        let mark = |byte: u8| PublicKey([byte; 32]).fingerprint().replace(' ', "")[..8].to_owned();
        assert_eq!(label(1), format!("bob#{}", mark(1)));
        assert_eq!(label(2), format!("Bob#{}", mark(2)));
        assert_eq!(label(3), "carol");
        assert_eq!(label(4), mark(4));
        assert_eq!(label(5), format!("me#{}", mark(5)));
        assert_eq!(label(7), "07070707");
        assert_eq!(people.len(), 5);
        people.remove(member(1).id);
        assert_eq!(people.label(member(2).id, ""), "Bob");
    }

    #[test]
    fn ways_are_told_in_words() {
        let mut people = People::default();
        let person = people.get(member(9));
        assert_eq!(
            (person.way().as_str(), person.fingerprint().as_str()),
            ("not reached yet", "UNENCRYPTED")
        );
        let (endpoint, kind) = ("[::1]:7".parse().unwrap(), CandidateKind::Relayed);
        person.path = Some(PeerPath { socket: SocketIndex(0), endpoint, kind, rtt: None });
        assert_eq!(person.way(), "RELAYED [::1]:7, RTT -");
        assert_eq!(round_trip(Some(Duration::from_micros(1234))), "1.2 ms");
        assert_eq!(round_trip(Some(Duration::from_micros(45_678))), "46 ms");
    }
}

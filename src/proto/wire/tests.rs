//! Every message against the published vectors, and the parser against everything else.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::codec::Writer;
use super::*;
use crate::proto::types::{Candidate, CandidateKind, PeerDialect, PeerId, Transport};
use crate::proto::{LookupKey, NatBehaviour, SessionId, SessionKeys};

const VECTORS: &str = include_str!("../../../docs/vectors/native-v1.txt");

const TOKEN: u64 = 0x0102_0304_0506_0708;
const PEER: PeerId = PeerId([0xA1; 16]);
const OTHER: PeerId = PeerId([0xB2; 16]);

fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut buffer = [0; MAX_DATAGRAM];
    let mut writer = Writer::new(&mut buffer);
    write(&mut writer);
    writer.as_slice().to_vec()
}

fn profile() -> Profile {
    let candidate = |kind, endpoint: &str| Candidate { kind, endpoint: endpoint.parse().unwrap() };
    Profile {
        candidates: vec![
            candidate(CandidateKind::Host, "192.168.1.2:40000"),
            candidate(CandidateKind::Mapped, "[2001:db8::1]:40001"),
        ],
        ..Profile::default()
    }
}

fn stream_profile() -> Profile {
    let streams = profile().candidates;
    Profile { streams, server_rtt_ms: 37, ..Profile::default() }
}

fn stream_hello() -> stream::StreamHello {
    stream::StreamHello { sender: PEER, nonce: [0xC3; 16], exchange: [0xE5; 32] }
}

fn keys() -> SessionKeys {
    SessionKeys::derive(&SessionId::new(b"example session").unwrap())
}

fn probe() -> Probe {
    Probe {
        sender: PEER,
        receiver: OTHER,
        kind: ProbeKind::Response,
        flags: ProbeFlags(ProbeFlags::CONFIRMED | ProbeFlags::NOMINATED),
        sequence: 7,
        transaction: 0x1122_3344_5566_7788,
        echo: 5,
        observed: "198.51.100.7:40001".parse().unwrap(),
        exchange: [0xE5; 32],
    }
}

fn hint() -> Hint {
    Hint { peer: OTHER, endpoint: "198.51.100.7:40001".parse().unwrap() }
}

fn write_block(builder: UpdateBuilder<'_, '_>) {
    let attributes = profile().encode();
    let mut builder = builder;
    assert!(builder.push(&Entry::Joined {
        peer: OTHER,
        dialect: PeerDialect::Native,
        reflexive: "198.51.100.7:40001".parse().unwrap(),
        transport: Transport::Udp,
        attributes: Attributes::parse(&attributes).unwrap(),
    }));
    assert!(builder.push(&Entry::Left { peer: PEER, reason: Some(LeaveReason::Expired) }));
    builder.finish(3);
}

/// One datagram of every type, by name.
fn examples() -> BTreeMap<&'static str, Vec<u8>> {
    let attributes = profile().encode();
    let streams = stream_profile().encode();
    let register = Register {
        token: TOKEN,
        sequence: 1,
        lookup: keys().lookup,
        peer: PEER,
        cookie: [0xD4; 16],
        instance: 9,
        revision: 2,
        attributes: Attributes::parse(&attributes).unwrap(),
    };
    let times = [Duration::from_secs(10), Duration::from_secs(15)];
    BTreeMap::from([
        ("register", register.encode()),
        (
            "challenge",
            written(|w| {
                let observed = "198.51.100.9:7000".parse().unwrap();
                let (alternates, hints) = (Alternates::default(), Hints::default());
                Challenge { token: TOKEN, sequence: 1, cookie: [0xD4; 16], observed, alternates, hints }
                    .write(w);
            }),
        ),
        (
            "challenge-hints",
            written(|w| {
                let observed = "198.51.100.9:7000".parse().unwrap();
                let (alternates, hints) = (Alternates::default(), Hints::default());
                Challenge { token: TOKEN, sequence: 1, cookie: [0xD4; 16], observed, alternates, hints }
                    .write(w);
                hint().write_attribute(w);
            }),
        ),
        ("hint", written(|w| hint().write(w, TOKEN))),
        (
            "challenge-alternates",
            written(|w| {
                let alternates = Alternates::new(&[5001, 5002, 5003], "203.0.113.2:5000".parse().ok());
                let observed = "198.51.100.9:7000".parse().unwrap();
                let hints = Hints::default();
                Challenge { token: TOKEN, sequence: 1, cookie: [0xD4; 16], observed, alternates, hints }
                    .write(w);
            }),
        ),
        ("mapping-probe", MappingProbe { token: TOKEN, sequence: 6 }.encode()),
        (
            "mapping-reply",
            written(|w| {
                let observed = "198.51.100.9:7000".parse().unwrap();
                MappingReply { token: TOKEN, sequence: 6, observed }.write(w);
            }),
        ),
        (
            "filter-probe",
            FilterProbe { token: TOKEN, sequence: 7, cookie: [0xD4; 16], target: None }.encode(),
        ),
        (
            "filter-probe-target",
            FilterProbe {
                token: TOKEN,
                sequence: 8,
                cookie: [0xD4; 16],
                target: "198.51.100.9:7001".parse().ok(),
            }
            .encode(),
        ),
        (
            "filter-reply",
            written(|w| FilterReply { token: TOKEN, sequence: 7, other_address: true }.write(w)),
        ),
        (
            "relay-request",
            RelayRequest { token: TOKEN, handle: 2, peer: OTHER, transport: Transport::Udp }.encode(),
        ),
        (
            "relay-request-tcp",
            RelayRequest { token: TOKEN, handle: 2, peer: OTHER, transport: Transport::Tcp }.encode(),
        ),
        ("register-tcp", Register { attributes: Attributes::parse(&streams).unwrap(), ..register }.encode()),
        (
            "update-tcp",
            written(|w| {
                UpdateBuilder::message_head(w, TOKEN);
                let mut builder = UpdateBuilder::block(w, 9, 0, 1);
                assert!(builder.push(&Entry::Joined {
                    peer: OTHER,
                    dialect: PeerDialect::Native,
                    reflexive: "198.51.100.7:40001".parse().unwrap(),
                    transport: Transport::Tcp,
                    attributes: Attributes::parse(&streams).unwrap(),
                }));
                builder.finish(1);
            }),
        ),
        (
            "relay-granted",
            written(|w| RelayGranted { token: TOKEN, peer: OTHER, port: 5010, ticket: [0xE5; 16] }.write(w)),
        ),
        ("relay-refused", written(|w| RelayRefused::write(w, TOKEN, OTHER, RelayRefusal::Full))),
        ("goodbye", message::encode_goodbye(&[0xE5; 16])),
        ("relay-bind", relay::encode_relay_bind(&[0xE5; 16])),
        ("relay-bound", written(|w| relay::write_relay_bound(w, &[0xE5; 16]))),
        (
            "registered",
            written(|w| {
                let observed = "198.51.100.9:7000".parse().unwrap();
                Registered::write_head(w, TOKEN, 1, observed, 0x0A00_0001_0000_0002, times);
                write_block(UpdateBuilder::block(w, 9, 1, 3));
            }),
        ),
        (
            "update",
            written(|w| {
                UpdateBuilder::message_head(w, TOKEN);
                write_block(UpdateBuilder::block(w, 9, 1, 4));
            }),
        ),
        (
            "presence",
            Presence { token: TOKEN, handle: 2, sequence: 4, instance: 9, revision: 3, wants_reply: true }
                .encode(),
        ),
        ("presence-ack", written(|w| PresenceAck { token: TOKEN, sequence: 4 }.write(w))),
        ("leave", Leave { token: TOKEN, handle: 2, sequence: 5 }.encode()),
        ("left", written(|w| Left { token: TOKEN, sequence: 5 }.write(w))),
        ("refused", written(|w| Refused::write(w, TOKEN, 5, RefusedReason::SessionFull))),
        ("probe", probe().encode(&keys().probe)),
        ("handshake-begin", HandshakeBegin { sender: PEER, receiver: OTHER, noise: &[0xF6; 52] }.encode()),
        ("handshake-answer", HandshakeAnswer { to: 3, noise: &[0xF6; 100] }.encode()),
        ("handshake-end", HandshakeEnd { to: 4, noise: &[0xF6; 68] }.encode()),
        ("sealed", Sealed { to: 3, counter: 0x0102, text: &[0xF6; 16] }.encode()),
    ])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_message_is_encoded_as_the_published_vectors_say() {
    let published: BTreeMap<_, _> = VECTORS
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(' '))
        .collect();
    let mut expected: BTreeMap<_, _> =
        examples().into_iter().map(|(name, bytes)| (name, hex(&bytes))).collect();
    expected.insert("lookup-key", hex(&keys().lookup.0));
    expected.insert("channel-secret", hex(&keys().channel));
    let key = keys().stream;
    let hello = stream_hello().sign(&key);
    let other = stream::StreamHello { sender: OTHER, ..stream_hello() }.sign(&key);
    expected.insert("stream-hello", hex(&hello));
    expected.insert("stream-proof", hex(&stream::StreamProof { chosen: true }.sign(&key, [&hello, &other])));
    for (name, bytes) in &expected {
        assert_eq!(published.get(name).copied(), Some(bytes.as_str()), "{name}");
    }
    assert_eq!(published.len(), expected.len());
}

#[test]
fn messages_survive_the_way_over_the_wire() {
    let examples = examples();
    let Ok(Message::Register(register)) = Message::parse(&examples["register"]) else {
        panic!("no register")
    };
    assert_eq!(register.lookup, LookupKey::derive(b"example session"));
    assert_eq!(register.attributes.profile(), profile());

    let Ok(Message::Registered(registered)) = Message::parse(&examples["registered"]) else {
        panic!("no registered")
    };
    assert_eq!((registered.heartbeat_ms, registered.expiry_ms), (10_000, 15_000));
    assert_eq!((registered.block.from, registered.block.to, registered.block.latest), (1, 3, 3));
    let entries: Vec<_> = registered.block.entries().collect();
    assert!(matches!(entries[0], Entry::Joined { peer: OTHER, dialect: PeerDialect::Native, .. }));
    assert_eq!(entries[1], Entry::Left { peer: PEER, reason: Some(LeaveReason::Expired) });

    let Ok(Message::Probe(signed)) = Message::parse(&examples["probe"]) else { panic!("no probe") };
    assert_eq!(signed.verify(&keys().probe), Some(probe()));
    let stranger = SessionKeys::derive(&SessionId::new(b"another session").unwrap());
    assert_eq!(signed.verify(&stranger.probe), None);
}

#[test]
fn a_challenge_is_never_longer_than_the_registration_it_answers() {
    let examples = examples();
    let bare = Register {
        token: 1,
        sequence: 1,
        lookup: keys().lookup,
        peer: PEER,
        cookie: [0; 16],
        instance: 0,
        revision: 0,
        attributes: Attributes::NONE,
    };
    let observed = "[2001:db8::1]:1".parse().unwrap();
    let alternates = Alternates::new(&[1, 2, 3, 4], Some(observed));
    let (cookie, hints) = ([0; 16], Hints::default());
    let challenge =
        written(|w| Challenge { token: 1, sequence: 1, cookie, observed, alternates, hints }.write(w));
    assert!(challenge.len() <= bare.encode().len());
    assert!(examples["refused"].len() <= examples["presence"].len());
    assert!(examples["left"].len() <= examples["leave"].len());
    let reply = written(|w| MappingReply { token: 1, sequence: 1, observed }.write(w));
    assert!(reply.len() <= examples["mapping-probe"].len());
    assert!(examples["relay-bound"].len() <= examples["relay-bind"].len());
    assert!(examples["filter-reply"].len() <= examples["filter-probe"].len());
}

#[test]
fn hints_are_read_from_challenges_and_alone() {
    let examples = examples();
    let Ok(Message::Challenge(challenge)) = Message::parse(&examples["challenge-hints"]) else {
        panic!("no challenge")
    };
    assert_eq!(challenge.hints.iter().collect::<Vec<_>>(), [hint()]);
    assert_eq!(written(|w| challenge.write(w)), examples["challenge-hints"]);
    assert_eq!(hint().attribute_len(), examples["challenge-hints"].len() - examples["challenge"].len());
    assert_eq!(hint().datagram_len(), examples["hint"].len());
    let mut many = examples["challenge-hints"].clone();
    (0..9).for_each(|_| many.extend(written(|w| hint().write_attribute(w))));
    let Ok(Message::Challenge(challenge)) = Message::parse(&many) else { panic!("no challenge") };
    assert_eq!(challenge.hints.iter().count(), hint::MAX_HINTS);
}

#[test]
fn registrations_are_filled_up_for_hints() {
    for len in [0, 1, 2, 3, 100, 250] {
        let mut attributes = profile().encode();
        let before = attributes.len();
        attributes::pad(&mut attributes, len);
        assert_eq!(attributes.len(), len.max(before + 2));
        let padded = Attributes::parse(&attributes).unwrap();
        assert!(padded.is_padded() && padded.profile() == profile());
    }
    assert!(!Attributes::parse(&profile().encode()).unwrap().is_padded());
}

#[test]
fn any_registration_is_short_enough_for_a_plain_server_to_answer() {
    let candidate = Candidate { kind: CandidateKind::Host, endpoint: "[2001:db8::1]:1".parse().unwrap() };
    let nat = Some(NatBehaviour::default());
    let full = Profile { candidates: vec![candidate; 100], capabilities: 1, nat, ..Profile::default() };
    let attributes = full.encode();
    assert!(attributes.len() <= attributes::MAX_ATTRIBUTES_LEN);
    let datagram = Register {
        token: 1,
        sequence: 1,
        lookup: keys().lookup,
        peer: PEER,
        cookie: [0; 16],
        instance: 0,
        revision: 0,
        attributes: Attributes::parse(&attributes).unwrap(),
    }
    .encode();
    assert!(datagram.len() <= plain::MAX_ID_LEN);
    assert!(Message::parse(&datagram).is_ok());
}

#[test]
fn truncated_messages_are_refused_at_every_length() {
    for (name, datagram) in examples() {
        for len in 0..datagram.len() {
            // A registration may end after any whole attribute, and what follows a challenge is looked at only if it is whole.
            let result = Message::parse(&datagram[..len]);
            let may_end = ["register", "register-tcp", "probe"].contains(&name)
                || name == "relay-request-tcp" && len >= examples()["relay-request"].len()
                // Where Noise's message ends is Noise's affair.
                || name == "handshake-begin" && len >= HEADER_LEN + 32
                || name == "handshake-answer" && len >= HEADER_LEN + 4
                || name == "handshake-end" && len >= HEADER_LEN + 4
                || name == "filter-probe-target" && len == examples()["filter-probe"].len()
                || name.starts_with("challenge-") && len >= examples()["challenge"].len();
            assert!(result.is_err() || may_end, "{name} cut to {len} bytes");
            if let Ok(Message::Probe(signed)) = result {
                assert_eq!(signed.verify(&keys().probe), None, "cut to {len} bytes");
            }
        }
    }
}

#[test]
fn over_long_and_foreign_datagrams_are_refused() {
    let mut datagram = examples()["presence"].clone();
    datagram.resize(MAX_DATAGRAM, 0);
    assert!(Message::parse(&datagram).is_ok(), "bytes after the body belong to later versions");
    datagram.push(0);
    assert_eq!(Message::parse(&datagram), Err(Malformed::Length));
    assert_eq!(Message::parse(b""), Err(Malformed::NotNative));
    assert_eq!(Message::parse(b"GET / HTTP/1.1"), Err(Malformed::NotNative));
    let mut later = examples()["leave"].clone();
    later[6] = 2;
    assert_eq!(Message::parse(&later), Err(Malformed::Version(2)));
    later[6] = VERSION;
    later[7] = 0xEE;
    assert_eq!(Message::parse(&later), Err(Malformed::Type(0xEE)));
}

#[test]
fn control_packets_are_told_from_the_applications() {
    for (name, datagram) in examples() {
        assert!(is_control_packet(&datagram), "{name}");
    }
    for ours in [&b""[..], b"SYN", b"ACK"] {
        assert!(is_control_packet(ours));
    }
    // STUN, DTLS, QUIC, RTP, WireGuard, text.
    for theirs in [
        &b"\0\x01\0\0\x21\x12\xA4\x42"[..],
        b"\x16\xFE\xFD",
        b"\xC0\0\0\0\x01",
        b"\x80\0",
        b"\x01\0\0\0",
        b"SYN ",
        b"ack",
        b"hello",
        b"\x0Ehole",
    ] {
        assert!(!is_control_packet(theirs), "{theirs:?}");
    }
}

#[test]
fn plain_lists_are_read_strictly() {
    let list = |text: &str| plain::parse_list(text.as_bytes());
    assert_eq!(
        list("192.0.2.1:5,[2001:db8::1]:6"),
        Some(vec!["192.0.2.1:5".parse().unwrap(), "[2001:db8::1]:6".parse().unwrap()])
    );
    assert_eq!(list("[::ffff:192.0.2.1]:5"), Some(vec!["192.0.2.1:5".parse().unwrap()]));
    for bad in ["", ",", "192.0.2.1:5,", "192.0.2.1", "192.0.2.1:65536", "host:5", "192.0.2.1:5 "] {
        assert_eq!(list(bad), None, "{bad:?}");
    }
    let many = |count| vec!["192.0.2.1:5"; count].join(",");
    assert_eq!(list(&many(plain::MAX_LIST_LEN)).map(|list| list.len()), Some(plain::MAX_LIST_LEN));
    assert_eq!(list(&many(plain::MAX_LIST_LEN + 1)), None);
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(kind in any::<u8>(), body in prop::collection::vec(any::<u8>(), 0..1300)) {
        let mut datagram = MAGIC.to_vec();
        datagram.extend([VERSION, kind]);
        datagram.extend(&body);
        match Message::parse(&datagram) {
            Ok(Message::Register(register)) => drop(register.attributes.profile()),
            Ok(Message::Registered(Registered { block, .. }) | Message::Update { block, .. }) => {
                prop_assert!(block.entries().count() <= 255);
            }
            _ => {}
        }
        let _ = plain::parse_list(&body);
    }

    #[test]
    fn a_flipped_bit_anywhere_in_a_probe_is_noticed(bit in 0usize..2048) {
        let mut datagram = probe().encode(&keys().probe);
        let bit = bit % (datagram.len() * 8);
        datagram[bit / 8] ^= 1 << (bit % 8);
        if let Ok(Message::Probe(signed)) = Message::parse(&datagram) {
            prop_assert_eq!(signed.verify(&keys().probe), None);
        }
    }
}

//! The datagrams against the RFCs' diagrams, the machine against a router that answers, refuses, keeps silent or lies.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::mapper::{Mapper, MapperConfig, Transmit};
use super::{Event, Failure, Mapped, Protocol, is_public, nat_pmp, pcp};

const NONCE: [u8; 12] = *b"mapping-name";

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// RFC 6887 figures 2, 3 and 9, with 192.168.1.10:40000 inside and 203.0.113.7:40001 outside.
const PCP_REQUEST: &str = "02 01 0000 00001c20  00000000000000000000ffffc0a8010a
    6d617070696e672d6e616d65  11 000000  9c40 9c40  00000000000000000000ffff00000000";
const PCP_RESPONSE: &str = "02 81 00 00 00000e10 00000064 000000000000000000000000
    6d617070696e672d6e616d65  11 000000  9c40 9c41  00000000000000000000ffffcb007107";

#[test]
fn pcp_messages_are_as_rfc_6887_draws_them() {
    let request = pcp::MapRequest {
        client: Ipv4Addr::new(192, 168, 1, 10).into(),
        nonce: NONCE,
        internal_port: 40000,
        suggested: "0.0.0.0:40000".parse().unwrap(),
        lifetime: 7200,
    };
    assert_eq!(request.encode().to_vec(), hex(PCP_REQUEST));
    let map = pcp::MapResponse {
        result: pcp::SUCCESS,
        lifetime: 3600,
        epoch: 100,
        nonce: NONCE,
        internal_port: 40000,
        external: "203.0.113.7:40001".parse().unwrap(),
    };
    let response = hex(PCP_RESPONSE);
    assert_eq!(pcp::Response::parse(&response), Some(pcp::Response::Map(map)));
    let with_option = [&response[..], &[3, 0, 0, 4, 1, 2, 3, 4]].concat();
    assert_eq!(pcp::Response::parse(&with_option), Some(pcp::Response::Map(map)));
    let mut refused = response.clone();
    refused[3] = 8;
    assert!(matches!(pcp::Response::parse(&refused), Some(pcp::Response::Map(map)) if map.result == 8));
}

#[test]
fn pcp_takes_no_request_no_other_protocol_and_no_odd_length() {
    let response = hex(PCP_RESPONSE);
    assert_eq!(pcp::Response::parse(&hex(PCP_REQUEST)), None);
    for (at, value) in [(1, 0x82), (1, 0x80), (36, 6)] {
        let mut other = response.clone();
        other[at] = value;
        assert_eq!(pcp::Response::parse(&other), None, "byte {at}");
    }
    assert_eq!(pcp::Response::parse(&response[..56]), None);
    assert_eq!(pcp::Response::parse(&[&response[..], &[0; 3]].concat()), None);
    assert_eq!(pcp::Response::parse(&[&response[..], &[0; 1044]].concat()), None);
}

#[test]
fn other_versions_are_recognised_in_both_directions() {
    // RFC 6887 appendix A: NAT-PMP's answer to PCP, and PCP's answer to NAT-PMP.
    assert_eq!(pcp::Response::parse(&hex("00 81 0001 00000064")), Some(pcp::Response::OtherVersion));
    let from_pcp = hex("02 80 00 01 00000000 00000064 000000000000000000000000");
    assert_eq!(nat_pmp::Response::parse(&from_pcp), Some(nat_pmp::Response::OtherVersion));
    assert_eq!(pcp::Response::parse(&from_pcp), Some(pcp::Response::OtherVersion));
    assert_eq!(nat_pmp::Response::parse(&hex("01 80 0001 00000064")), Some(nat_pmp::Response::OtherVersion));
}

#[test]
fn nat_pmp_messages_are_as_rfc_6886_draws_them() {
    use nat_pmp::Response;
    assert_eq!(nat_pmp::ADDRESS_REQUEST.to_vec(), hex("00 00"));
    let request = nat_pmp::MapRequest { internal_port: 40000, suggested_port: 40001, lifetime: 7200 };
    assert_eq!(request.encode().to_vec(), hex("00 01 0000 9c40 9c41 00001c20"));
    assert_eq!(
        Response::parse(&hex("00 80 0000 00000064 cb007107")),
        Some(Response::Address { epoch: 100, address: Ipv4Addr::new(203, 0, 113, 7) })
    );
    assert_eq!(
        Response::parse(&hex("00 81 0000 00000064 9c40 9c41 00000e10")),
        Some(Response::Map { epoch: 100, internal_port: 40000, external_port: 40001, lifetime: 3600 })
    );
    assert_eq!(
        Response::parse(&hex("00 81 0002 00000064 9c40 0000 00000000")),
        Some(Response::Refused { map: true, result: 2 })
    );
    for bad in
        ["", "00", "00 80", "00 00 0000 00000064 cb007107", "00 82 0000 00000064", "00 80 0000 00000064 cb00"]
    {
        assert_eq!(Response::parse(&hex(bad)), None, "{bad}");
    }
}

#[test]
fn addresses_behind_another_nat_are_not_public() {
    for private in [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "169.254.1.1",
        "172.16.0.1",
        "192.0.0.8",
        "192.168.0.1",
        "198.19.0.1",
        "224.0.0.1",
        "255.255.255.255",
    ] {
        assert!(!is_public(private.parse().unwrap()), "{private}");
    }
    for public in ["1.2.3.4", "100.63.255.255", "100.128.0.0", "172.32.0.1", "192.0.2.1", "203.0.113.7"] {
        assert!(is_public(public.parse().unwrap()), "{public}");
    }
    let mapped = |external: &str| Mapped {
        protocol: Protocol::Pcp,
        external: external.parse().unwrap(),
        lifetime: None,
    };
    assert!(mapped("[2001:db8::1]:1").is_public() && !mapped("[fd00::1]:1").is_public());
}

proptest! {
    #[test]
    fn no_datagram_makes_the_parsers_panic(datagram in proptest::collection::vec(any::<u8>(), 0..1200)) {
        let _ = pcp::Response::parse(&datagram);
        let _ = nat_pmp::Response::parse(&datagram);
    }

    #[test]
    fn no_damaged_answer_makes_the_machine_panic(
        at in 0_usize..60, value in any::<u8>(), len in 0_usize..=60, seed in any::<[u8; 32]>(),
    ) {
        let start = Instant::now();
        let mut mapper = Mapper::new(&config(&[Protocol::Pcp, Protocol::NatPmp]), seed, start);
        for (protocol, datagram) in sent(&mut mapper) {
            let mut answer = answer_to(&datagram, protocol, 3600, "203.0.113.7:40001");
            let index = at % answer.len();
            answer[index] = value;
            answer.truncate(len);
            mapper.handle_control(protocol, Some(&answer), start);
        }
        let _ = events(&mut mapper);
        mapper.release(start);
        run_until(&mut mapper, start + Duration::from_secs(2));
        prop_assert!(mapper.is_finished());
    }

    #[test]
    fn time_and_silence_end_the_machine(seed in any::<[u8; 32]>(), step in 1_u64..4000) {
        let start = Instant::now();
        let mut mapper = Mapper::new(&config(&Protocol::ALL), seed, start);
        let mut now = start;
        while !mapper.is_finished() {
            now += Duration::from_millis(step);
            mapper.handle_timeout(now);
            // Each of the two rounds of NAT-PMP may be noticed a step late.
            prop_assert!(now < start + Duration::from_secs(20));
        }
        prop_assert!(mapper.poll_timeout().is_none());
    }
}

fn config(protocols: &[Protocol]) -> MapperConfig {
    MapperConfig {
        internal: "192.168.1.10:40000".parse().unwrap(),
        gateway: Ipv4Addr::new(192, 168, 1, 1),
        lifetime: Duration::from_secs(7200),
        protocols: protocols.to_vec(),
        allow_permanent: false,
        map: true,
    }
}

fn sent(mapper: &mut Mapper) -> Vec<(Protocol, Vec<u8>)> {
    std::iter::from_fn(|| mapper.poll_transmit())
        .filter_map(|transmit| match transmit {
            Transmit::Control(protocol, datagram) => Some((protocol, datagram)),
            _ => None,
        })
        .collect()
}

fn events(mapper: &mut Mapper) -> Vec<Event> {
    std::iter::from_fn(|| mapper.poll_event()).collect()
}

/// What a router answers that grants everything for so many seconds.
fn answer_to(request: &[u8], protocol: Protocol, lifetime: u32, external: &str) -> Vec<u8> {
    let external: SocketAddr = external.parse().unwrap();
    let std::net::IpAddr::V4(address) = external.ip() else { unreachable!() };
    let mut answer = request.to_vec();
    answer[1] |= 0x80;
    let asked = |at: usize| u32::from_be_bytes(request[at..at + 4].try_into().unwrap());
    if protocol == Protocol::Pcp {
        answer[4..8].copy_from_slice(&lifetime.min(asked(4)).to_be_bytes());
        answer[8..24].fill(0);
        answer[11] = 1;
        answer[42..44].copy_from_slice(&external.port().to_be_bytes());
        answer[56..60].copy_from_slice(&address.octets());
    } else if request == nat_pmp::ADDRESS_REQUEST {
        answer.extend([0, 0, 0, 0, 0, 1]);
        answer.extend(address.octets());
    } else {
        answer = [&[0, 0x81, 0, 0, 0, 0, 0, 1], &request[4..6], &external.port().to_be_bytes()].concat();
        answer.extend(lifetime.min(asked(8)).to_be_bytes());
    }
    answer
}

/// Answers all that is asked, in the words of a router that grants everything.
fn serve(mapper: &mut Mapper, lifetime: u32, external: &str, now: Instant) -> usize {
    let requests = sent(mapper);
    for (protocol, request) in &requests {
        let answer = answer_to(request, *protocol, lifetime, external);
        mapper.handle_control(*protocol, Some(&answer), now);
    }
    requests.len()
}

fn run_until(mapper: &mut Mapper, end: Instant) {
    while let Some(due) = mapper.poll_timeout().filter(|due| *due <= end) {
        mapper.handle_timeout(due);
        let _ = sent(mapper);
    }
}

fn mapped(protocol: Protocol, external: &str, lifetime: u64) -> Event {
    let lifetime = Some(Duration::from_secs(lifetime));
    Event::Mapped(Mapped { protocol, external: external.parse().unwrap(), lifetime })
}

#[test]
fn one_public_mapping_is_enough() {
    let start = Instant::now();
    let mut mapper = Mapper::new(&config(&Protocol::ALL), [1; 32], start);
    let requests = sent(&mut mapper);
    assert_eq!(requests.len(), 2, "a mapping by PCP, the address by NAT-PMP");
    for (protocol, request) in requests {
        let answer = answer_to(&request, protocol, 3600, "203.0.113.7:40001");
        mapper.handle_control(protocol, Some(&answer), start);
    }
    let events = events(&mut mapper);
    assert!(events.contains(&mapped(Protocol::Pcp, "203.0.113.7:40001", 3600)), "{events:?}");
    run_until(&mut mapper, start + Duration::from_secs(60));
    assert_eq!(mapper.mapped().count(), 1);
    assert!(!mapper.is_searching());
}

#[test]
fn private_mapping_leaves_nat_pmp_its_chance() {
    let start = Instant::now();
    let mut mapper = Mapper::new(&config(&[Protocol::Pcp, Protocol::NatPmp]), [1; 32], start);
    while serve(&mut mapper, 3600, "100.64.3.3:40000", start) > 0 {}
    let protocols: Vec<_> = mapper.mapped().map(|mapped| (mapped.protocol, mapped.is_public())).collect();
    assert_eq!(protocols, [(Protocol::Pcp, false), (Protocol::NatPmp, false)]);
}

#[test]
fn nat_pmp_asks_when_pcp_is_refused_or_silent() {
    let start = Instant::now();
    let mut mapper = Mapper::new(&config(&[Protocol::Pcp, Protocol::NatPmp]), [1; 32], start);
    assert!(!sent(&mut mapper).iter().any(|(_, datagram)| datagram.len() == nat_pmp::MAP_LEN));
    mapper.handle_control(Protocol::Pcp, Some(&hex("00 81 0001 00000064")), start);
    assert_eq!(events(&mut mapper), [Event::Failed(Protocol::Pcp, Failure::Unsupported)]);
    assert_eq!(serve(&mut mapper, 600, "203.0.113.7:40000", start), 2);
    assert!(events(&mut mapper).contains(&mapped(Protocol::NatPmp, "203.0.113.7:40000", 600)));

    let mut mapper = Mapper::new(&config(&[Protocol::Pcp, Protocol::NatPmp]), [1; 32], start);
    let _ = sent(&mut mapper);
    mapper.handle_timeout(start + Duration::from_millis(250));
    assert!(sent(&mut mapper).iter().any(|(_, datagram)| datagram.len() == nat_pmp::MAP_LEN));
}

#[test]
fn answers_with_another_nonce_or_port_are_ignored() {
    let start = Instant::now();
    for at in [24, 40] {
        let mut mapper = Mapper::new(&config(&[Protocol::Pcp]), [1; 32], start);
        let [(protocol, request)] = &sent(&mut mapper)[..] else { panic!("one request") };
        let mut answer = answer_to(request, *protocol, 3600, "203.0.113.7:40001");
        answer[at] ^= 1;
        mapper.handle_control(*protocol, Some(&answer), start);
        assert_eq!((events(&mut mapper), mapper.mapped().count()), (vec![], 0));
    }
}

#[test]
fn mapping_is_renewed_and_a_restarted_router_gives_another() {
    for protocol in [Protocol::Pcp, Protocol::NatPmp] {
        let start = Instant::now();
        let mut mapper = Mapper::new(&config(&[protocol]), [1; 32], start);
        serve(&mut mapper, 100, "203.0.113.7:40001", start);
        assert!(events(&mut mapper).contains(&mapped(protocol, "203.0.113.7:40001", 100)));
        let half = start + Duration::from_secs(50);
        assert_eq!(mapper.poll_timeout(), Some(half));
        mapper.handle_timeout(half);
        let (_, request) = sent(&mut mapper).into_iter().find(|(_, d)| d.len() > 2).unwrap();
        let suggested = if protocol == Protocol::Pcp { &request[42..44] } else { &request[6..8] };
        assert_eq!(suggested, 40001_u16.to_be_bytes(), "the port so far is wanted again");
        mapper.handle_timeout(half + Duration::from_millis(250));
        serve(&mut mapper, 100, "203.0.113.7:40001", half);
        assert_eq!(events(&mut mapper), [], "a renewal is no news");
        // The epoch of the fake router never moves, as if it had been started again and again.
        let again = start + Duration::from_secs(100);
        mapper.handle_timeout(again);
        serve(&mut mapper, 100, "203.0.113.9:50000", again);
        assert_eq!(events(&mut mapper), [mapped(protocol, "203.0.113.9:50000", 100)]);
    }
}

#[test]
fn mapping_that_cannot_be_renewed_is_lost_at_its_end() {
    let start = Instant::now();
    let mut mapper = Mapper::new(&config(&[Protocol::Pcp]), [1; 32], start);
    serve(&mut mapper, 100, "203.0.113.7:40001", start);
    let _ = events(&mut mapper);
    run_until(&mut mapper, start + Duration::from_secs(99));
    assert_eq!((events(&mut mapper), mapper.mapped().count()), (vec![], 1));
    run_until(&mut mapper, start + Duration::from_secs(111));
    assert_eq!(events(&mut mapper), [Event::Lost(Protocol::Pcp)]);
    assert!(mapper.is_finished());
}

#[test]
fn release_deletes_what_was_asked_for_and_hears_that() {
    for protocol in [Protocol::Pcp, Protocol::NatPmp] {
        let start = Instant::now();
        let mut mapper = Mapper::new(&config(&[protocol]), [1; 32], start);
        serve(&mut mapper, 100, "203.0.113.7:40001", start);
        mapper.release(start);
        let requests = sent(&mut mapper);
        let [(_, request)] = &requests[..] else { panic!("{requests:?}") };
        let lifetime = if protocol == Protocol::Pcp { &request[4..8] } else { &request[8..12] };
        assert_eq!(lifetime, [0; 4]);
        assert!(!mapper.is_finished());
        let answer = answer_to(request, protocol, 100, "203.0.113.7:0");
        mapper.handle_control(protocol, Some(&answer), start);
        assert!(mapper.is_finished() && mapper.mapped().next().is_none(), "{protocol}");
    }
}

#[test]
fn refusals_name_the_code_and_a_closed_port_means_unsupported() {
    let start = Instant::now();
    let mut mapper = Mapper::new(&config(&[Protocol::Pcp, Protocol::NatPmp]), [1; 32], start);
    let requests = sent(&mut mapper);
    let (_, request) = requests.iter().find(|(protocol, _)| *protocol == Protocol::Pcp).unwrap();
    let mut answer = answer_to(request, Protocol::Pcp, 100, "203.0.113.7:40001");
    answer[3] = 2;
    mapper.handle_control(Protocol::Pcp, Some(&answer), start);
    mapper.handle_control(Protocol::NatPmp, None, start);
    assert_eq!(
        events(&mut mapper),
        [
            Event::Failed(Protocol::Pcp, Failure::Refused(2)),
            Event::Failed(Protocol::NatPmp, Failure::Unsupported)
        ]
    );
    assert!(mapper.is_finished());
}

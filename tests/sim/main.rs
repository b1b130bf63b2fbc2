//! Whole sessions over a simulated internet: virtual clock, every run from one printed seed.

mod host;
mod nat;
mod net;
mod plain_server;
mod rooms;

use std::time::Duration;

use holepunch::proto::punch::Progress;
use holepunch::proto::{DialectPolicy, Outcome};
use nat::{Filtering, Mapping};
use net::{Access, HOME, Internet, Server, Weather};

const ID: &[u8] = b"simulated session";
const LONG: Duration = Duration::from_secs(60);

/// Two hosts that call within 20 ms of each other; returns the internet after the run.
fn two_hosts(
    seed: u64,
    weather: Weather,
    access: [Access; 2],
    policies: [DialectPolicy; 2],
    plain: bool,
) -> Internet {
    let mut internet = Internet::new(seed, weather, plain);
    let skew = Duration::from_micros(internet.random(20_000).into());
    internet.add_host(access[0], Duration::ZERO, Internet::config(ID, 1, policies[0]));
    internet.add_host(access[1], skew, Internet::config(ID, 1, policies[1]));
    internet.run(LONG);
    internet
}

fn both_complete(internet: &Internet) -> bool {
    (0..2).all(|host| internet.outcome(host) == Some(Outcome::Complete))
}

/// How long both calls took together, in milliseconds of virtual time.
fn duration_ms(internet: &Internet) -> u64 {
    internet
        .hosts
        .iter()
        .filter_map(|host| host.ended)
        .map(|(at, _)| at.as_millis() as u64)
        .max()
        .unwrap_or(u64::MAX)
}

fn percentile(sorted: &[u64], percent: usize) -> u64 {
    sorted[(sorted.len() - 1) * percent / 100]
}

#[test]
fn ten_thousand_sessions_at_20_percent_loss_connect_and_agree() {
    const SESSIONS: u64 = 10_000;
    let weather = Weather {
        one_way: Duration::from_millis(10),
        jitter: Duration::from_millis(10),
        loss_percent: 20,
        duplicate_percent: 5,
    };
    let (mut connected, mut one_sided, mut times, mut sent) = (0, Vec::new(), Vec::new(), 0);
    for seed in 0..SESSIONS {
        let internet = two_hosts(seed, weather, [HOME; 2], [DialectPolicy::Auto; 2], false);
        sent += internet.sent;
        let complete = (0..2).filter(|host| internet.outcome(*host) == Some(Outcome::Complete)).count();
        match complete {
            2 => {
                connected += 1;
                times.push(duration_ms(&internet));
            }
            1 => one_sided.push(seed),
            _ => {}
        }
    }
    times.sort_unstable();
    println!(
        "{connected} of {SESSIONS} connected, one-sided seeds {one_sided:?}; ms p50 {} p90 {} p99 {}; {} datagrams a host",
        percentile(&times, 50),
        percentile(&times, 90),
        percentile(&times, 99),
        sent / (2 * SESSIONS),
    );
    assert!(one_sided.len() as u64 * 1000 <= SESSIONS, "one side connected and the other not: {one_sided:?}");
    assert!(connected * 1000 >= SESSIONS * 999, "{connected} of {SESSIONS} connected");
}

#[test]
fn calm_network_takes_few_round_trips_and_few_datagrams() {
    let mut times = Vec::new();
    for seed in 0..200 {
        let internet = two_hosts(seed, Weather::CALM, [HOME; 2], [DialectPolicy::Auto; 2], false);
        assert!(both_complete(&internet), "seed {seed}");
        for host in &internet.hosts {
            let peer = host.call().peers(internet.instant()).next().unwrap();
            assert!(peer.authenticated && peer.confirmed_by_peer, "seed {seed}: {peer:?}");
            assert_eq!(peer.rtt, Some(Duration::from_millis(20)), "seed {seed}");
        }
        times.push(duration_ms(&internet));
        assert!(internet.sent < 120, "seed {seed}: {} datagrams", internet.sent);
    }
    times.sort_unstable();
    println!("RTT 20 ms, calls up to 20 ms apart: p50 {} ms, max {} ms", percentile(&times, 50), times[199]);
    // Skew of the calls, two round trips, some pauses.
    assert!(times[199] <= 20 + 40 + 20, "{times:?}");
}

#[test]
fn two_round_trips_are_enough_also_for_one_who_finds_the_other_waiting() {
    for one_way in [25, 50, 150].map(Duration::from_millis) {
        let weather = Weather { one_way, ..Weather::CALM };
        for skew in [Duration::ZERO, one_way / 10, one_way * 7, Duration::from_secs(3)] {
            let mut internet = Internet::new(1, weather, false);
            internet.add_host(HOME, Duration::ZERO, Internet::config(ID, 1, DialectPolicy::Auto));
            internet.add_host(HOME, skew, Internet::config(ID, 1, DialectPolicy::Auto));
            internet.run(LONG);
            assert!(both_complete(&internet));
            let took = Duration::from_millis(duration_ms(&internet)) - skew;
            println!("RTT {:?}, {skew:?} apart: {took:?}", 2 * one_way);
            assert!(took <= 4 * one_way + Duration::from_millis(20), "{took:?}");
        }
    }
}

#[test]
fn every_pair_that_plain_probing_can_open_opens() {
    use Filtering as F;
    use Mapping::{AddressAndPortDependentRandom, AddressDependent, EndpointIndependent};
    let easy = [
        Access::Open,
        Access::Nat(EndpointIndependent, F::EndpointIndependent),
        Access::Nat(EndpointIndependent, F::AddressDependent),
    ];
    let hard = [
        HOME,
        Access::Nat(AddressDependent, F::AddressAndPortDependent),
        Access::Nat(AddressAndPortDependentRandom, F::AddressAndPortDependent),
    ];
    let weather = Weather { loss_percent: 10, jitter: Duration::from_millis(5), ..Weather::CALM };
    let mut pairs: Vec<[Access; 2]> = vec![[HOME; 2]];
    for a in easy {
        pairs.extend(easy.iter().chain(&hard).flat_map(|b| [[a, *b], [*b, a]]));
    }
    for pair in pairs {
        for seed in 0..50 {
            let internet = two_hosts(seed, weather, pair, [DialectPolicy::Auto; 2], false);
            assert!(both_complete(&internet), "{pair:?} seed {seed}");
        }
    }
}

#[test]
fn every_mix_of_dialects_and_servers_connects() {
    use DialectPolicy::{Auto, Native, Plain};
    let weather = Weather { loss_percent: 10, jitter: Duration::from_millis(5), ..Weather::CALM };
    let mixes = [
        (false, [Auto, Auto], true),
        (false, [Auto, Native], true),
        (false, [Auto, Plain], false),
        (false, [Plain, Plain], false),
        (true, [Auto, Auto], true),
        (true, [Auto, Plain], false),
        (true, [Plain, Plain], false),
    ];
    for (plain_server, policies, authenticated) in mixes {
        let mut upgraded = 0;
        for seed in 0..300 {
            let internet = two_hosts(seed, weather, [HOME; 2], policies, plain_server);
            assert!(both_complete(&internet), "plain server {plain_server} {policies:?} seed {seed}");
            let all = internet
                .hosts
                .iter()
                .all(|host| host.call().peers(internet.instant()).any(|peer| peer.authenticated));
            upgraded += u32::from(all);
        }
        println!("plain server {plain_server} {policies:?}: authenticated in {upgraded} of 300");
        if authenticated {
            assert!(upgraded >= 297, "{policies:?} plain server {plain_server}: {upgraded}");
        } else {
            assert_eq!(upgraded, 0);
        }
    }
}

#[test]
fn policies_that_rule_each_other_out_end_in_their_own_errors() {
    use DialectPolicy::{Native, Plain};
    let internet = two_hosts(1, Weather::CALM, [HOME; 2], [Native, Native], true);
    for host in 0..2 {
        assert_eq!(internet.outcome(host), Some(Outcome::DialectMismatch));
        assert!(internet.hosts[host].ended.unwrap().0 < Duration::from_secs(5));
    }
    let Server::Plain(server) = &internet.server else { unreachable!("asked for a plain server") };
    assert!(!server.ids().any(|shown| shown == ID), "a native client never shows its ID");

    let internet = two_hosts(1, Weather::CALM, [HOME; 2], [Native, Plain], false);
    assert_eq!(internet.outcome(0), Some(Outcome::TimedOutWaiting));
    assert_eq!(internet.outcome(1), Some(Outcome::TimedOutPunching));
}

#[test]
fn rooms_of_several_peers_connect_all_to_all() {
    let weather = Weather { loss_percent: 20, jitter: Duration::from_millis(10), ..Weather::CALM };
    for (hosts, seeds) in [(3usize, 100), (8, 20), (65, 1)] {
        for seed in 0..seeds {
            let mut internet = Internet::new(seed, weather, false);
            for _ in 0..hosts {
                let starts = Duration::from_micros(internet.random(200_000).into());
                internet.add_host(HOME, starts, Internet::config(ID, hosts - 1, DialectPolicy::Auto));
            }
            internet.run(LONG);
            for host in 0..hosts {
                assert_eq!(
                    internet.outcome(host),
                    Some(Outcome::Complete),
                    "{hosts} hosts seed {seed} host {host}"
                );
                let done = internet.hosts[host]
                    .call()
                    .peers(internet.instant())
                    .filter(|peer| peer.progress == Progress::Done)
                    .count();
                assert_eq!(done, hosts - 1);
            }
        }
    }
}

#[test]
fn more_peers_than_expected_are_met_as_well() {
    let weather = Weather { loss_percent: 5, jitter: Duration::from_millis(5), ..Weather::CALM };
    for seed in 0..200 {
        let mut internet = Internet::new(seed, weather, false);
        for (expected, starts) in [(2, 0), (2, 0), (1, 500)] {
            let config = Internet::config(ID, expected, DialectPolicy::Auto);
            internet.add_host(HOME, Duration::from_millis(starts), config);
        }
        internet.run(LONG);
        for host in 0..3 {
            assert_eq!(internet.outcome(host), Some(Outcome::Complete), "seed {seed}: {}", internet.ended());
        }
    }
}

#[test]
fn timeouts_tell_waiting_from_punching_and_hand_back_what_was_found() {
    let mut internet = Internet::new(1, Weather::CALM, false);
    internet.add_host(HOME, Duration::ZERO, Internet::config(ID, 1, DialectPolicy::Auto));
    assert!(internet.run(LONG));
    assert_eq!(internet.outcome(0), Some(Outcome::TimedOutWaiting));
    assert_eq!(internet.hosts[0].ended.unwrap().0, Duration::from_secs(40));

    // Two random symmetric NATs: known to each other, out of reach.
    let random = Access::Nat(Mapping::AddressAndPortDependentRandom, Filtering::AddressAndPortDependent);
    let internet = two_hosts(1, Weather::CALM, [random; 2], [DialectPolicy::Auto; 2], false);
    for host in 0..2 {
        assert_eq!(internet.outcome(host), Some(Outcome::TimedOutPunching));
        assert_eq!(internet.hosts[host].call().peers(internet.instant()).count(), 1);
    }

    // The same for the one whose peer gave up first.
    let mut internet = Internet::new(1, Weather::CALM, false);
    for seconds in [10, 20] {
        let mut config = Internet::config(ID, 1, DialectPolicy::Auto);
        config.timeout = Some(Duration::from_secs(seconds));
        internet.add_host(random, Duration::ZERO, config);
    }
    internet.run(LONG);
    assert_eq!(internet.outcome(1), Some(Outcome::TimedOutPunching));
    assert_eq!(internet.hosts[1].call().peers(internet.instant()).count(), 1);
}

#[test]
fn connect_peers_goes_on_with_the_endpoints_found() {
    for policies in
        [[DialectPolicy::Auto; 2], [DialectPolicy::Plain; 2], [DialectPolicy::Auto, DialectPolicy::Plain]]
    {
        for seed in 0..50 {
            // Nobody hears anybody at first, but for the server.
            let mut internet = Internet::new(seed, Weather { loss_percent: 10, ..Weather::CALM }, false);
            let outside = ["198.51.100.1:40001", "198.51.100.2:40001"].map(|text| text.parse().unwrap());
            for policy in policies {
                let mut config = Internet::config(ID, 2, policy);
                config.timeout = Some(Duration::from_secs(1));
                internet.add_host(HOME, Duration::ZERO, config);
            }
            assert!(internet.run(LONG));
            for host in 0..2 {
                assert_eq!(internet.outcome(host), Some(Outcome::TimedOutWaiting), "wants two, one is there");
            }
            for host in 0..2 {
                internet.call_again_for_one(host, outside[1 - host]);
            }
            internet.run(LONG);
            assert!(both_complete(&internet), "{policies:?} seed {seed}");
        }
    }
}

#[test]
fn a_peer_that_calls_again_from_the_same_socket_is_still_one_peer() {
    for seed in 0..100 {
        let weather = Weather { loss_percent: 10, jitter: Duration::from_millis(5), ..Weather::CALM };
        let mut internet = Internet::new(seed, weather, false);
        let mut impatient = Internet::config(ID, 2, DialectPolicy::Auto);
        impatient.timeout = Some(Duration::from_millis(800));
        internet.add_host(HOME, Duration::ZERO, impatient);
        internet.add_host(HOME, Duration::ZERO, Internet::config(ID, 2, DialectPolicy::Auto));
        internet.run(Duration::from_millis(801));
        assert_eq!(internet.outcome(0), Some(Outcome::TimedOutWaiting), "seed {seed}");
        internet.call_again_for_one(0, "198.51.100.2:40001".parse().unwrap());
        internet.run(Duration::from_secs(5));
        assert_eq!(internet.outcome(0), Some(Outcome::Complete), "seed {seed}");
        assert_eq!(internet.outcome(1), None, "seed {seed}: wants two peers and has met one, twice");
    }
}

#[test]
fn silent_server_is_told_from_absent_peers() {
    let mut internet = Internet::new(1, Weather { loss_percent: 100, ..Weather::CALM }, false);
    internet.add_host(HOME, Duration::ZERO, Internet::config(ID, 1, DialectPolicy::Auto));
    assert!(internet.run(LONG));
    assert_eq!(internet.outcome(0), Some(Outcome::ServerSilent));
}

#[test]
fn a_stranger_on_the_path_can_neither_open_nor_block_a_hole() {
    let weather = Weather { loss_percent: 10, jitter: Duration::from_millis(5), ..Weather::CALM };
    let mut sums = [0; 4];
    for policy in [DialectPolicy::Native, DialectPolicy::Auto] {
        for seed in 0..300 {
            let mut internet = Internet::new(seed, weather, false);
            internet.attack = 20;
            internet.forge_server = policy == DialectPolicy::Native;
            for _ in 0..2 {
                internet.add_host(Access::Open, Duration::ZERO, Internet::config(ID, 1, policy));
            }
            internet.run(LONG);
            assert!(both_complete(&internet), "{policy:?} seed {seed}: {}", internet.ended());
            for (number, host) in internet.hosts.iter().enumerate() {
                let peers: Vec<_> = host
                    .call()
                    .peers(internet.instant())
                    .filter(|peer| peer.progress == Progress::Done)
                    .collect();
                let other = internet.hosts[1 - number].inside;
                let only = matches!(&peers[..], [peer] if peer.authenticated && peer.endpoint == other);
                assert!(only, "{policy:?} seed {seed}: {peers:?}");
                let counters = host.call().counters();
                for (sum, count) in sums.iter_mut().zip([
                    counters.punch.forged,
                    counters.punch.replayed,
                    counters.punch.misdirected,
                    counters.malformed,
                ]) {
                    *sum += count;
                }
            }
        }
    }
    println!("forged, replayed, misdirected, malformed: {sums:?}");
    assert!(sums.iter().all(|sum| *sum > 0), "what was thrown at them was counted: {sums:?}");
}

#[test]
fn same_seed_gives_the_same_run() {
    let weather = Weather { loss_percent: 20, jitter: Duration::from_millis(10), ..Weather::CALM };
    let run = || {
        let mut internet = Internet::new(42, weather, false);
        internet.record = true;
        internet.add_host(HOME, Duration::ZERO, Internet::config(ID, 1, DialectPolicy::Auto));
        internet.add_host(HOME, Duration::ZERO, Internet::config(ID, 1, DialectPolicy::Auto));
        internet.run(LONG);
        internet.seen
    };
    let first = run();
    assert!(!first.is_empty());
    assert_eq!(first, run());
}

/// The seven kinds of NAT; of their 49 pairs, 41 can be opened.
fn kinds() -> [(&'static str, Access); 7] {
    use Filtering as F;
    use Mapping as M;
    [
        ("open", Access::Open),
        ("full cone", Access::Nat(M::EndpointIndependent, F::EndpointIndependent)),
        ("address-restricted", Access::Nat(M::EndpointIndependent, F::AddressDependent)),
        ("home", HOME),
        ("address-dependent", Access::Nat(M::AddressDependent, F::AddressAndPortDependent)),
        ("sequential", Access::Nat(M::AddressAndPortDependentSequential, F::AddressAndPortDependent)),
        ("random", Access::Nat(M::AddressAndPortDependentRandom, F::AddressAndPortDependent)),
    ]
}

#[test]
fn every_pair_of_nats_opens_that_can() {
    const RUNS: u64 = 40;
    let mut closed = Vec::new();
    for (row, (name, first)) in kinds().into_iter().enumerate() {
        for (column, (other_name, second)) in kinds().into_iter().enumerate() {
            let hard = ["address-dependent", "sequential", "random"];
            let both_hard = hard.contains(&name) && hard.contains(&other_name);
            if both_hard && [name, other_name] != ["sequential"; 2] {
                continue;
            }
            let (mut complete, mut times) = (0, Vec::new());
            for run in 0..RUNS {
                let seed = 1_000_000 + (row * 7 + column) as u64 * RUNS + run;
                let internet =
                    two_hosts(seed, Weather::CALM, [first, second], [DialectPolicy::Auto; 2], false);
                complete += u64::from(both_complete(&internet));
                times.push(duration_ms(&internet));
                for host in &internet.hosts {
                    let open = usize::from(host.sockets) - host.closed.len();
                    assert!(open <= 256, "seed {seed}: {open} sockets");
                }
            }
            times.sort_unstable();
            println!("{name} x {other_name}: {complete} of {RUNS}, p50 {} ms", percentile(&times, 50));
            // Many sockets against random ports miss in 17 of 1000 runs.
            if complete * 100 < RUNS * 90 {
                closed.push((name, other_name, complete));
            }
        }
    }
    assert!(closed.is_empty(), "{closed:?}");
}

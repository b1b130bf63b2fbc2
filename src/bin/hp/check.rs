//! `hp check`: the NAT in the way, for people and, as JSON, for programs.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use holepunch::portmap::ProbeAnswer;
use holepunch::proto::nat::{Technique, technique};
use holepunch::{Allocation, Client, Error, Filtering, Mapping, NatBehaviour, NatCheck, NatReport};

/// What `hp check` is told.
#[derive(Args)]
pub struct Arguments {
    /// The rendezvous server, `host:port`
    server: String,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Look how long an unused mapping lives, for so many seconds at most, up to 300
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "180")]
    lifetime: Option<u32>,

    /// How long to wait for the server, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 5000)]
    timeout: u32,
}

/// Checks and prints; exit status 1 if the server does not answer.
pub fn run(arguments: &Arguments) -> ExitCode {
    match check(arguments) {
        Ok(report) => {
            print!("{}", if arguments.json { as_json(&report) } else { as_text(&report) });
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("hp check: {error}");
            ExitCode::FAILURE
        }
    }
}

fn check(arguments: &Arguments) -> Result<NatReport, Error> {
    let mut client = Client::new(&arguments.server)?;
    client.set_timeout(Some(Duration::from_millis(arguments.timeout.into())));
    let mut check = NatCheck::default();
    check.longest_lifetime = arguments.lifetime.map(|seconds| Duration::from_secs(seconds.into()));
    client.check_nat(check)
}

fn mapping(mapping: Mapping) -> &'static str {
    match mapping {
        Mapping::Unknown => "unknown",
        Mapping::None => "none",
        Mapping::EndpointIndependent => "endpoint-independent",
        Mapping::AddressDependent => "address-dependent",
        Mapping::AddressAndPortDependent => "address- and port-dependent",
    }
}

fn filtering(filtering: Filtering) -> &'static str {
    match filtering {
        Filtering::Unknown => "unknown",
        Filtering::EndpointIndependent => "endpoint-independent",
        Filtering::AddressDependent => "address-dependent",
        Filtering::AddressAndPortDependent => "address- and port-dependent",
        Filtering::NotPortDependent => "not port-dependent",
    }
}

fn allocation(allocation: Allocation) -> String {
    match allocation {
        Allocation::Unknown => "-".into(),
        Allocation::Sequential { step, last } => format!("sequential, step {step}, last {last}"),
        Allocation::Random { lowest, highest } => format!("random, {lowest} to {highest} seen"),
    }
}

fn endpoint(endpoint: Option<SocketAddr>) -> String {
    endpoint.map_or("-".into(), |endpoint| endpoint.to_string())
}

fn yes_or_no(known: Option<bool>) -> &'static str {
    known.map_or("-", |yes| if yes { "yes" } else { "no" })
}

fn routers_ports(answers: &[ProbeAnswer]) -> String {
    let said = |answer: &ProbeAnswer| match &answer.external {
        Ok(ip) => Some(format!("{} ({ip})", answer.protocol)),
        Err(_) => None,
    };
    let usable: Vec<_> = answers.iter().filter_map(said).collect();
    if usable.is_empty() { "no".into() } else { usable.join(", ") }
}

fn lifetime(report: &NatReport) -> Option<String> {
    let (least, most) = report.lifetime?;
    Some(match most {
        Some(most) => format!("{} to {} s", least.as_secs(), most.as_secs()),
        None => format!("{} s at least", least.as_secs()),
    })
}

/// The other side's kinds, as people call them.
fn other_sides() -> [(&'static str, NatBehaviour); 5] {
    let nat = |mapping, filtering, allocation| NatBehaviour { mapping, filtering, allocation };
    let strict = Filtering::AddressAndPortDependent;
    let by_port = Mapping::AddressAndPortDependent;
    [
        (
            "no NAT, or one that lets everyone in",
            nat(Mapping::None, Filtering::EndpointIndependent, Allocation::Unknown),
        ),
        ("an ordinary home router", nat(Mapping::EndpointIndependent, strict, Allocation::Unknown)),
        ("symmetric, counting ports", nat(by_port, strict, Allocation::Sequential { step: 1, last: 40_000 })),
        (
            "symmetric, random ports",
            nat(by_port, strict, Allocation::Random { lowest: 1024, highest: 65_535 }),
        ),
        ("no UDP", NatBehaviour::default()),
    ]
}

fn expectation(ours: &NatBehaviour, name: &str, theirs: &NatBehaviour) -> &'static str {
    if name == "no UDP" {
        return "no way";
    }
    match technique(ours, theirs) {
        // The other side may be the one that predicts.
        Technique::Plain => match technique(theirs, ours) {
            Technique::SprayPredicted { .. } => "direct, by predicting ports",
            _ => "direct",
        },
        Technique::SprayPredicted { .. } | Technique::MeetAhead { .. } => "direct, by predicting ports",
        Technique::SprayRandom { .. } | Technique::ManySockets => "direct mostly, by trying many ports",
        Technique::Hopeless => "relayed only",
    }
}

fn summary(nat: &NatBehaviour) -> &'static str {
    match (nat.mapping, nat.is_port_restricted()) {
        (Mapping::Unknown, _) => {
            "The server did not tell enough: has it further ports, and does a firewall let them through?"
        }
        (Mapping::None, false) => "No NAT.",
        (Mapping::None, true) => "No NAT, but a firewall that lets in answers only.",
        (Mapping::EndpointIndependent, true) => "An ordinary home router.",
        (Mapping::EndpointIndependent, false) => "A NAT that lets others in: the easiest kind.",
        _ => "A symmetric NAT: the hardest kind.",
    }
}

fn as_text(report: &NatReport) -> String {
    let nat = &report.nat;
    let mut rows = vec![
        ("own endpoint", endpoint(report.local)),
        ("seen from outside as", endpoint(report.observed)),
        ("over IPv6 as", endpoint(report.observed_ipv6)),
        ("mapping", mapping(nat.mapping).into()),
        ("filtering", filtering(nat.filtering).into()),
        ("port allocation", allocation(nat.allocation)),
        ("hairpin", yes_or_no(report.hairpin).into()),
        (
            "routers with private addresses",
            report.inner_routers.map_or("-".into(), |count| count.to_string()),
        ),
        ("router opens ports by", routers_ports(&report.port_mapping)),
    ];
    rows.extend(lifetime(report).map(|lifetime| ("an unused mapping lives", lifetime)));
    let mut text = format!("{}\n\n", summary(nat));
    for (name, value) in rows {
        let _ = writeln!(text, "  {name:<32}{value}");
    }
    text.push_str("\nWhat to expect of peers behind\n");
    for (name, theirs) in other_sides() {
        let _ = writeln!(text, "  {name:<38}{}", expectation(nat, name, &theirs));
    }
    text
}

/// No value needs escaping: all are numbers, addresses and words of this program.
fn as_json(report: &NatReport) -> String {
    let string = |text: Option<String>| text.map_or("null".into(), |text| format!("\"{text}\""));
    let address = |endpoint: Option<SocketAddr>| string(endpoint.map(|endpoint| endpoint.to_string()));
    let nat = &report.nat;
    let allocation = match nat.allocation {
        Allocation::Unknown => "null".into(),
        Allocation::Sequential { step, last } => {
            format!("{{\"kind\": \"sequential\", \"step\": {step}, \"last\": {last}}}")
        }
        Allocation::Random { lowest, highest } => {
            format!("{{\"kind\": \"random\", \"lowest\": {lowest}, \"highest\": {highest}}}")
        }
    };
    let ports: Vec<String> = report
        .port_mapping
        .iter()
        .map(|answer| {
            let external = string(answer.external.as_ref().ok().map(|ip| ip.to_string()));
            format!("{{\"protocol\": \"{}\", \"external\": {external}}}", answer.protocol)
        })
        .collect();
    let lifetime = report.lifetime.map_or("null".into(), |(least, most)| {
        let most = most.map_or("null".into(), |most| most.as_secs().to_string());
        format!("{{\"at_least_s\": {}, \"at_most_s\": {most}}}", least.as_secs())
    });
    let expected: Vec<String> = other_sides()
        .iter()
        .map(|(name, theirs)| format!("\"{name}\": \"{}\"", expectation(nat, name, theirs)))
        .collect();
    let lines = [
        ("local", address(report.local)),
        ("observed", address(report.observed)),
        ("observed_ipv6", address(report.observed_ipv6)),
        ("mapping", format!("\"{}\"", mapping(nat.mapping))),
        ("filtering", format!("\"{}\"", filtering(nat.filtering))),
        ("allocation", allocation),
        ("hairpin", report.hairpin.map_or("null".into(), |yes| yes.to_string())),
        ("inner_routers", report.inner_routers.map_or("null".into(), |count| count.to_string())),
        ("lifetime", lifetime),
        ("port_mapping", format!("[{}]", ports.join(", "))),
        ("expect", format!("{{{}}}", expected.join(", "))),
    ];
    let body: Vec<String> = lines.iter().map(|(name, value)| format!("  \"{name}\": {value}")).collect();
    format!("{{\n{}\n}}\n", body.join(",\n"))
}

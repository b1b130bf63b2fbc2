//! Asks the router for a port mapping and answers what comes in by it, or says what the router speaks:
//! `portmap [--only pcp|nat-pmp|upnp]... [--leave]`, `portmap --probe`.
//!
//! Prints one line for each piece of news, sends every datagram back to where it came from, and ends with its input: then
//! the mapping is deleted, or with `--leave` left for its lifetime.

use std::io::Read;
use std::net::UdpSocket;
use std::process::ExitCode;
use std::time::Duration;

use holepunch::portmap::{Event, Options, PortMapper, Protocol, RELEASE_TIME, SEARCH_TIME, probe};

fn main() -> std::io::Result<ExitCode> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let mut options = Options::new(socket.local_addr()?);
    let (mut only, mut leave) = (Vec::new(), false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--probe" => return tell_probe(),
            "--leave" => leave = true,
            "--only" => only.push(match arguments.next().as_deref() {
                Some("pcp") => Protocol::Pcp,
                Some("nat-pmp") => Protocol::NatPmp,
                Some("upnp") => Protocol::Upnp,
                _ => return Ok(usage()),
            }),
            _ => return Ok(usage()),
        }
    }
    if !only.is_empty() {
        options.protocols = only;
    }
    let mapper = PortMapper::start(&options)?;
    let mut mapped = false;
    let patience = SEARCH_TIME + Duration::from_secs(1);
    while let Some(event) = mapper.recv_timeout(if mapped { Duration::ZERO } else { patience }) {
        mapped |= matches!(event, Event::Mapped(_));
        tell(&event);
    }
    if !mapped {
        return Ok(ExitCode::FAILURE);
    }
    let echo = socket.try_clone()?;
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((len, source)) = echo.recv_from(&mut buffer) {
            println!("received {:?} from {source}", String::from_utf8_lossy(&buffer[..len]));
            let _ = echo.send_to(&buffer[..len], source);
        }
    });
    std::io::stdin().read_to_end(&mut Vec::new())?;
    if leave {
        println!("left");
    } else {
        println!("{}", if mapper.release(RELEASE_TIME) { "deleted" } else { "not deleted" });
    }
    Ok(ExitCode::SUCCESS)
}

fn usage() -> ExitCode {
    eprintln!("usage: portmap [--only pcp|nat-pmp|upnp]... [--leave] | portmap --probe");
    ExitCode::from(2)
}

fn tell(event: &Event) {
    match event {
        Event::Mapped(mapped) => {
            let place = if mapped.is_public() { "public" } else { "private" };
            let lifetime = mapped.lifetime.map_or(0, |lifetime| lifetime.as_secs());
            println!("mapped {} {} {place} {lifetime}", mapped.protocol, mapped.external);
        }
        Event::Address(protocol, address) => println!("address {protocol} {address}"),
        Event::Failed(protocol, failure) => println!("failed {protocol} {failure}"),
        Event::Lost(protocol) => println!("lost {protocol}"),
        _ => {}
    }
}

fn tell_probe() -> std::io::Result<ExitCode> {
    let report = probe(None, Duration::from_secs(3))?;
    println!("gateway {}", report.gateway);
    for answer in report.answers {
        match answer.external {
            Ok(address) => println!("address {} {address}", answer.protocol),
            Err(failure) => println!("failed {} {failure}", answer.protocol),
        }
    }
    Ok(ExitCode::SUCCESS)
}

//! Searching the router (UPnP Device Architecture 1.1, section 1.3).

use std::net::{Ipv4Addr, SocketAddrV4};

use super::http::Url;

/// Where searches go, besides the router's own address.
pub const MULTICAST: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 255, 255, 250), PORT);
/// Where the router listens for searches.
pub const PORT: u16 = 1900;

/// What is searched. A router of version 2 answers to both (section 1.3.3), but not all do.
const TARGETS: [&str; 2] = [
    "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
    "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
];

/// The datagrams of one round. They ask for answers within a second.
pub fn searches() -> Vec<Vec<u8>> {
    let search = |target| {
        format!(
            "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: {target}\r\n\r\n"
        )
        .into_bytes()
    };
    TARGETS.map(search).into()
}

/// Where a gateway device that answers from `source` has its description; `None` if the datagram is no such answer or
/// points to another host.
pub fn parse_answer(datagram: &[u8], source: Ipv4Addr) -> Option<Url> {
    let text = std::str::from_utf8(datagram).ok()?;
    let mut lines = text.lines();
    let status_line = lines.next()?;
    if !status_line.starts_with("HTTP/1.") || status_line.split(' ').nth(1) != Some("200") {
        return None;
    }
    let (mut location, mut is_gateway) = (None, false);
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        if name.eq_ignore_ascii_case("location") {
            location = Some(Url::parse(value, source)?);
        } else if name.eq_ignore_ascii_case("st") {
            is_gateway = TARGETS.contains(&value);
        }
    }
    location.filter(|_| is_gateway)
}

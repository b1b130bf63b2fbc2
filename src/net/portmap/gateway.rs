//! Who the router is.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

/// The default gateway's IPv4 address. Known on Linux only.
pub(super) fn default_gateway() -> Option<Ipv4Addr> {
    #[cfg(target_os = "linux")]
    {
        use std::io::Read;
        // Longest table that is looked at; a default route stands in front of all others.
        let mut table = vec![0; 16 << 10];
        let len = std::fs::File::open("/proc/net/route").ok()?.read(&mut table).ok()?;
        parse_routes(&table[..len])
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// The gateway of the default route with the least metric in the kernel's table, whose columns are interface, destination,
/// gateway, flags, two counters, metric and mask. Addresses are in the machine's byte order.
#[cfg(any(target_os = "linux", test))]
fn parse_routes(table: &[u8]) -> Option<Ipv4Addr> {
    const UP_AND_GATEWAY: u32 = 0x0003;
    let (mut best, mut least) = (None, u32::MAX);
    for line in table.split(|byte| *byte == b'\n') {
        let mut numbers = [None; 7];
        // The heading and whatever else is no number stays None.
        for (at, column) in line.split(|byte| *byte == b'\t').skip(1).take(7).enumerate() {
            numbers[at] = number(column.trim_ascii_end(), if at == 5 { 10 } else { 16 });
        }
        let [Some(0), Some(gateway), Some(flags), _, _, Some(metric), Some(0)] = numbers else { continue };
        if flags & UP_AND_GATEWAY == UP_AND_GATEWAY && gateway != 0 && metric <= least {
            (best, least) = (Some(Ipv4Addr::from(gateway.to_ne_bytes())), metric);
        }
    }
    best
}

#[cfg(any(target_os = "linux", test))]
fn number(digits: &[u8], radix: u32) -> Option<u32> {
    let add = |sum: u32, digit: &u8| sum.checked_mul(radix)?.checked_add(char::from(*digit).to_digit(radix)?);
    if digits.is_empty() { None } else { digits.iter().try_fold(0, add) }
}

/// Our own address on the way to `remote`. Sends nothing.
pub(super) fn own_address_towards(remote: SocketAddrV4) -> std::io::Result<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(remote)?;
    match socket.local_addr()?.ip() {
        std::net::IpAddr::V4(own) => Ok(own),
        std::net::IpAddr::V6(_) => Err(std::io::ErrorKind::Unsupported.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT";

    fn route(destination: [u8; 4], gateway: [u8; 4], flags: &str, metric: u32, mask: [u8; 4]) -> String {
        let hex = |address: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(address));
        format!(
            "eth0\t{}\t{}\t{flags}\t0\t0\t{metric}\t{}\t0\t0\t0",
            hex(destination),
            hex(gateway),
            hex(mask)
        )
    }

    #[test]
    fn gateway_is_that_of_the_default_route_with_the_least_metric() {
        let table = [
            HEAD.to_owned(),
            route([192, 168, 1, 0], [0; 4], "0001", 0, [255, 255, 255, 0]),
            route([0; 4], [192, 168, 7, 1], "0003", 600, [0; 4]),
            route([0; 4], [192, 168, 1, 1], "0003", 100, [0; 4]),
            route([0; 4], [192, 168, 1, 9], "0002", 1, [0; 4]),
            // Half of the internet, as VPNs route it.
            route([0; 4], [10, 8, 0, 1], "0003", 0, [128, 0, 0, 0]),
        ];
        assert_eq!(parse_routes(table.join("\n").as_bytes()), Some(Ipv4Addr::new(192, 168, 1, 1)));
        assert_eq!(parse_routes(table[..2].join("\n").as_bytes()), None);
        assert_eq!(parse_routes(b""), None);
        assert_eq!(parse_routes(b"Iface\tDestination\nnonsense\neth0\t0\t\xfe\t3\t4\n\n"), None);
    }

    #[test]
    fn own_address_is_the_one_that_faces_the_remote() {
        let towards = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9);
        assert_eq!(own_address_towards(towards).unwrap(), Ipv4Addr::LOCALHOST);
    }
}

//! This host's own addresses, as far as a peer in the same network may reach them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use if_addrs::Interface;

/// Most addresses of one family that are told; the peers probe each.
const MAX_ADDRESSES: usize = 4;
/// What the interfaces of containers and virtual machines are called: nobody outside this host is there.
const INNER_INTERFACES: [&str; 9] =
    ["br-", "cali", "cni", "docker", "flannel", "lxc", "veth", "virbr", "vmnet"];

/// Our own address on the way to `remote`. Sends nothing.
pub(crate) fn address_towards(remote: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr = match remote {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let route = UdpSocket::bind(any).ok()?;
    route.connect(remote).ok()?;
    let ip = route.local_addr().ok()?.ip();
    (!ip.is_unspecified()).then_some(ip)
}

/// The addresses of the family of `first`, which is the one on the way to the server and stays the first.
pub(crate) fn host_addresses(first: IpAddr) -> Vec<IpAddr> {
    // A program that talks to a server on its own host talks to nobody elsewhere.
    if first.is_loopback() {
        return vec![first];
    }
    select(first, if_addrs::get_if_addrs().unwrap_or_default())
}

/// The addresses of one family, the one on the way to elsewhere first; the loopback address if there is nothing else.
pub(crate) fn own_addresses(ipv4: bool) -> Vec<IpAddr> {
    // Documentation addresses (RFC 5737, RFC 3849): nothing is sent, the routes are asked only.
    let (elsewhere, loopback): (SocketAddr, IpAddr) = match ipv4 {
        true => ((Ipv4Addr::new(192, 0, 2, 1), 9).into(), Ipv4Addr::LOCALHOST.into()),
        false => ((Ipv6Addr::new(0x2001, 0xDB8, 0, 0, 0, 0, 0, 1), 9).into(), Ipv6Addr::LOCALHOST.into()),
    };
    if let Some(first) = address_towards(elsewhere) {
        return host_addresses(first);
    }
    let all = if_addrs::get_if_addrs().unwrap_or_default();
    let first = all.iter().find(|interface| interface.ip().is_ipv4() == ipv4 && is_outward(interface));
    match first.map(Interface::ip) {
        Some(first) => select(first, all),
        None => vec![loopback],
    }
}

fn select(first: IpAddr, interfaces: Vec<Interface>) -> Vec<IpAddr> {
    let mut addresses = vec![first];
    for interface in interfaces.iter().filter(|interface| is_outward(interface)) {
        let ip = interface.ip();
        if addresses.len() < MAX_ADDRESSES && ip.is_ipv4() == first.is_ipv4() && !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    addresses
}

fn is_outward(interface: &Interface) -> bool {
    let inner = INNER_INTERFACES.iter().any(|prefix| interface.name.starts_with(prefix));
    let useless = interface.is_loopback() || interface.is_link_local() || interface.ip().is_unspecified();
    // Tunnels say "unknown" when they are up.
    let down = !matches!(interface.oper_status, if_addrs::IfOperStatus::Up | if_addrs::IfOperStatus::Unknown);
    !inner && !useless && !down
}

#[cfg(test)]
mod tests {
    use if_addrs::{IfAddr, IfOperStatus, Ifv4Addr, Ifv6Addr};

    use super::*;

    fn interface(name: &str, ip: &str, oper_status: IfOperStatus) -> Interface {
        let addr = match ip.parse().unwrap() {
            IpAddr::V4(ip) => IfAddr::V4(Ifv4Addr { ip, netmask: ip, prefixlen: 24, broadcast: None }),
            IpAddr::V6(ip) => IfAddr::V6(Ifv6Addr { ip, netmask: ip, prefixlen: 64, broadcast: None }),
        };
        Interface { name: name.to_owned(), addr, index: None, oper_status, is_p2p: false }
    }

    #[test]
    fn addresses_that_peers_may_reach_are_told_and_no_others() {
        let up = || IfOperStatus::Up;
        let interfaces = vec![
            interface("lo", "127.0.0.1", up()),
            interface("eth0", "192.168.1.2", up()),
            interface("eth0", "fe80::1", up()),
            interface("eth0", "2001:db8::2", up()),
            interface("wg0", "10.9.0.2", IfOperStatus::Unknown),
            interface("eth1", "192.168.7.2", IfOperStatus::Down),
            interface("usb0", "169.254.3.4", up()),
            interface("docker0", "172.17.0.1", up()),
            interface("veth12ab", "172.18.0.1", up()),
            interface("wlan0", "192.168.2.2", up()),
        ];
        let ipv4 = select("192.168.2.2".parse().unwrap(), interfaces.clone());
        assert_eq!(
            ipv4.iter().map(IpAddr::to_string).collect::<Vec<_>>(),
            ["192.168.2.2", "192.168.1.2", "10.9.0.2"]
        );
        let ipv6 = select("2001:db8::2".parse().unwrap(), interfaces);
        assert_eq!(ipv6.iter().map(IpAddr::to_string).collect::<Vec<_>>(), ["2001:db8::2"]);
    }

    #[test]
    fn there_is_a_limit() {
        let many = (0..20).map(|n| interface("eth0", &format!("192.168.1.{n}"), IfOperStatus::Up)).collect();
        assert_eq!(select("10.0.0.1".parse().unwrap(), many).len(), MAX_ADDRESSES);
    }

    #[test]
    fn there_is_always_an_ipv4_address() {
        let addresses = own_addresses(true);
        assert!(!addresses.is_empty() && addresses.iter().all(IpAddr::is_ipv4), "{addresses:?}");
        assert!(own_addresses(false).iter().all(IpAddr::is_ipv6));
    }

    #[test]
    fn this_hosts_addresses_can_be_had() {
        assert_eq!(host_addresses("127.0.0.1".parse().unwrap()).len(), 1);
        let documentation = "192.0.2.1".parse().unwrap();
        assert_eq!(host_addresses(documentation)[0], documentation);
    }
}

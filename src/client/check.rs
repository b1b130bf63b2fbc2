//! What the NAT does between this host and the server, without any peer.

use std::net::SocketAddr;
use std::time::Duration;

use super::Client;
use crate::error::Error;
use crate::net::portmap::ProbeAnswer;
use crate::proto::NatBehaviour;

/// What to find out beyond what takes a second or so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NatCheck {
    /// How long an unused mapping lives: waits for so long at most. `None`, the default, does not look.
    pub longest_lifetime: Option<Duration>,
}

/// What stands between this host and the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NatReport {
    /// The host's own endpoint, over IPv4.
    pub local: Option<SocketAddr>,
    /// The same as the server sees it.
    pub observed: Option<SocketAddr>,
    /// What the NAT does.
    pub nat: NatBehaviour,
    /// Whether two hosts behind the NAT reach each other by their outside endpoints.
    pub hairpin: Option<bool>,
    /// Routers on the way that have private addresses, where they said so: the NATs are among them.
    pub inner_routers: Option<u8>,
    /// How long an unused mapping lives at least, and at most, as far as that was waited for.
    pub lifetime: Option<(Duration, Option<Duration>)>,
    /// The host's endpoint over IPv6 as the server sees it, if the server has IPv6 and was reached there.
    pub observed_ipv6: Option<SocketAddr>,
    /// By which protocols the router was asked to open ports, and what it said.
    pub port_mapping: Vec<ProbeAnswer>,
}

impl Client {
    /// Asks the server, from a fresh socket, what the NAT on the way does. Takes a second or two, within the client's timeout; [`Client::canceller`]
    /// ends it. Holes and sockets of earlier calls are not touched.
    pub fn check_nat(&mut self, check: NatCheck) -> Result<NatReport, Error> {
        let _ = check;
        todo!()
    }
}

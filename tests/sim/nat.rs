//! NAT models in the words of RFC 4787.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use holepunch::proto::Rng;

/// RFC 4787 section 4.1, with the port allocation of the address-and-port-dependent kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    EndpointIndependent,
    AddressDependent,
    AddressAndPortDependentRandom,
    AddressAndPortDependentSequential,
}

/// RFC 4787 section 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filtering {
    EndpointIndependent,
    AddressDependent,
    AddressAndPortDependent,
}

/// How long an unused mapping lives: Linux' 30 s for a flow without a reply.
const MAPPING_LIFETIME: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct MappingKey {
    inside: SocketAddr,
    remote: Option<SocketAddr>,
}

struct MappingState {
    key: MappingKey,
    contacted: HashMap<SocketAddr, Duration>,
}

/// One router.
pub struct Nat {
    pub outside: IpAddr,
    mapping: Mapping,
    filtering: Filtering,
    ports: HashMap<MappingKey, u16>,
    states: HashMap<u16, MappingState>,
    next_port: u16,
}

impl Nat {
    pub fn new(outside: IpAddr, mapping: Mapping, filtering: Filtering) -> Self {
        Self { outside, mapping, filtering, ports: HashMap::new(), states: HashMap::new(), next_port: 40_000 }
    }

    /// Translates a datagram that leaves; returns the source as the outside sees it.
    pub fn outbound(
        &mut self,
        now: Duration,
        inside: SocketAddr,
        remote: SocketAddr,
        rng: &mut Rng,
    ) -> SocketAddr {
        let remote_part = match self.mapping {
            Mapping::EndpointIndependent => None,
            Mapping::AddressDependent => Some(SocketAddr::new(remote.ip(), 0)),
            Mapping::AddressAndPortDependentRandom | Mapping::AddressAndPortDependentSequential => {
                Some(remote)
            }
        };
        let key = MappingKey { inside, remote: remote_part };
        let port = *self.ports.entry(key).or_insert_with(|| match self.mapping {
            Mapping::EndpointIndependent | Mapping::AddressAndPortDependentSequential => {
                self.next_port += 1;
                self.next_port
            }
            // What depends on the address only must not be guessed from one address to the next either.
            Mapping::AddressDependent | Mapping::AddressAndPortDependentRandom => {
                1024 + (rng.u32() % 64_512) as u16
            }
        });
        let state =
            self.states.entry(port).or_insert_with(|| MappingState { key, contacted: HashMap::new() });
        state.contacted.insert(remote, now);
        SocketAddr::new(self.outside, port)
    }

    /// Filters a datagram that arrives; returns the inside destination if it may pass.
    pub fn inbound(&self, now: Duration, port: u16, source: SocketAddr) -> Option<SocketAddr> {
        let state = self.states.get(&port)?;
        let passes = state.contacted.iter().any(|(remote, at)| {
            now.saturating_sub(*at) < MAPPING_LIFETIME
                && match self.filtering {
                    Filtering::EndpointIndependent => true,
                    Filtering::AddressDependent => remote.ip() == source.ip(),
                    Filtering::AddressAndPortDependent => *remote == source,
                }
        });
        passes.then_some(state.key.inside)
    }
}

//! What a NAT does, in the words of RFC 4787, and which way through a pair of them is worth trying.

use std::net::SocketAddr;

/// Which outside endpoint a NAT gives to one inside socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Mapping {
    /// Not known.
    #[default]
    Unknown = 0,
    /// No translation: the socket's own endpoint.
    None = 1,
    /// The same towards everyone.
    EndpointIndependent = 2,
    /// Another one for each remote address.
    AddressDependent = 3,
    /// Another one for each remote endpoint.
    AddressAndPortDependent = 4,
}

/// Whose datagrams a NAT lets in to a mapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Filtering {
    /// Not known.
    #[default]
    Unknown = 0,
    /// Everyone's.
    EndpointIndependent = 1,
    /// Those of addresses that were sent to.
    AddressDependent = 2,
    /// Those of endpoints that were sent to.
    AddressAndPortDependent = 3,
    /// Those of other ports at an address that was sent to, at least; the server has only one address to ask from.
    NotPortDependent = 4,
}

/// How a NAT chooses the ports of its mappings, if they differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Allocation {
    /// Not known, or nothing to choose.
    #[default]
    Unknown,
    /// Each mapping's port is so much higher than the one's before.
    Sequential {
        /// The difference; negative where it counts down.
        step: i16,
        /// The last one seen.
        last: u16,
    },
    /// Without a pattern, among these at least.
    Random {
        /// The lowest one seen.
        lowest: u16,
        /// The highest one seen.
        highest: u16,
    },
}

/// What is known of a NAT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NatBehaviour {
    /// Which outside endpoints it gives.
    pub mapping: Mapping,
    /// Whom it lets in.
    pub filtering: Filtering,
    /// How it chooses ports.
    pub allocation: Allocation,
}

impl NatBehaviour {
    /// On the wire: mapping, filtering, kind of allocation, two numbers that belong to it.
    pub(super) fn to_wire(self) -> [u8; 7] {
        let (kind, a, b) = match self.allocation {
            Allocation::Unknown => (0, 0, 0),
            Allocation::Sequential { step, last } => (1, step as u16, last),
            Allocation::Random { lowest, highest } => (2, lowest, highest),
        };
        let ([a0, a1], [b0, b1]) = (a.to_be_bytes(), b.to_be_bytes());
        [self.mapping as u8, self.filtering as u8, kind, a0, a1, b0, b1]
    }

    /// Values that a later version may know count as unknown.
    pub(super) fn from_wire([mapping, filtering, kind, a0, a1, b0, b1]: [u8; 7]) -> Self {
        use Mapping as M;
        let mappings = [M::None, M::EndpointIndependent, M::AddressDependent, M::AddressAndPortDependent];
        use Filtering as F;
        let filterings =
            [F::EndpointIndependent, F::AddressDependent, F::AddressAndPortDependent, F::NotPortDependent];
        let (a, b) = (u16::from_be_bytes([a0, a1]), u16::from_be_bytes([b0, b1]));
        Self {
            mapping: mappings.into_iter().find(|known| *known as u8 == mapping).unwrap_or_default(),
            filtering: filterings.into_iter().find(|known| *known as u8 == filtering).unwrap_or_default(),
            allocation: match kind {
                1 if a != 0 => Allocation::Sequential { step: a as i16, last: b },
                2 if a <= b => Allocation::Random { lowest: a, highest: b },
                _ => Allocation::Unknown,
            },
        }
    }

    /// Whether the outside port towards a peer is not the one that the server sees.
    pub fn is_symmetric(&self) -> bool {
        matches!(self.mapping, Mapping::AddressDependent | Mapping::AddressAndPortDependent)
    }

    /// Whether the endpoint is the same towards everyone, but only those get in that were sent to. Who does not know its
    /// filtering is taken for such.
    pub fn is_port_restricted(&self) -> bool {
        matches!(self.mapping, Mapping::None | Mapping::EndpointIndependent)
            && matches!(self.filtering, Filtering::AddressAndPortDependent | Filtering::Unknown)
    }
}

/// What the outside ports that several questions showed, in the order in which they were asked, say of the allocation.
pub fn allocation_of(ports: &[u16]) -> Allocation {
    let (Some(lowest), Some(highest), Some(last)) =
        (ports.iter().min().copied(), ports.iter().max().copied(), ports.last().copied())
    else {
        return Allocation::Unknown;
    };
    if lowest == highest {
        return Allocation::Unknown;
    }
    let steps: Vec<i32> = ports.windows(2).map(|pair| i32::from(pair[1]) - i32::from(pair[0])).collect();
    // Others behind the same NAT take ports in between, and a range has an end: most steps decide, and small ones do.
    let up = steps.iter().filter(|step| (1..=MAX_STEP).contains(*step)).count();
    let down = steps.iter().filter(|step| (-MAX_STEP..=-1).contains(*step)).count();
    let smallest = |sign: i32| steps.iter().map(|step| step * sign).filter(|step| *step > 0).min();
    if steps.len() >= 2 && up * 3 >= steps.len() * 2 {
        let step = smallest(1).unwrap_or(1);
        return Allocation::Sequential { step: step as i16, last };
    }
    if steps.len() >= 2 && down * 3 >= steps.len() * 2 {
        let step = smallest(-1).unwrap_or(1);
        return Allocation::Sequential { step: -(step as i16), last };
    }
    Allocation::Random { lowest, highest }
}

/// Larger steps between two mappings are no pattern.
const MAX_STEP: i32 = 64;

/// The mapping that a row of answers shows: which endpoint was asked, and which source it saw.
pub fn mapping_of(local: Option<SocketAddr>, seen: &[(SocketAddr, SocketAddr)]) -> Mapping {
    let Some((first_asked, first_seen)) = seen.first() else { return Mapping::Unknown };
    if local == Some(*first_seen) {
        return Mapping::None;
    }
    let same_address = || seen.iter().filter(|(asked, _)| asked.ip() == first_asked.ip());
    if same_address().any(|(_, source)| source != first_seen) {
        return Mapping::AddressAndPortDependent;
    }
    let mut elsewhere = seen.iter().filter(|(asked, _)| asked.ip() != first_asked.ip()).peekable();
    if elsewhere.any(|(_, source)| source != first_seen) {
        return Mapping::AddressDependent;
    }
    // One port alone tells nothing.
    if seen.len() > 1 { Mapping::EndpointIndependent } else { Mapping::Unknown }
}

/// What may open a hole where probing the known endpoints does not, from one side's point of view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Technique {
    /// Probing the known endpoints is all, and enough where anything is.
    Plain,
    /// The peer's NAT counts: its next ports are probed.
    SprayPredicted {
        /// The last port seen.
        last: u16,
        /// The difference between two.
        step: i16,
    },
    /// The peer's ports are random: some of them are probed, while the peer sends from many sockets.
    SprayRandom {
        /// The range that it was seen in.
        seen: (u16, u16),
    },
    /// Our ports are random: the peer's one endpoint is sent to from many sockets.
    ManySockets,
    /// Both NATs count: a port that the peer's will come to is sent to from so many sockets that ours comes to the one
    /// that the peer sends to.
    MeetAhead {
        /// The peer's last port.
        last: u16,
        /// The difference between two of the peer's.
        step: i16,
    },
    /// No way through: forwarding is all that is left.
    Hopeless,
}

/// What to do about a peer. The peer comes to the matching answer.
pub fn technique(ours: &NatBehaviour, theirs: &NatBehaviour) -> Technique {
    match (ours.is_symmetric(), theirs.is_symmetric()) {
        (false, false) => Technique::Plain,
        (true, true) => match (ours.allocation, theirs.allocation) {
            _ if ours.mapping == Mapping::AddressDependent || theirs.mapping == Mapping::AddressDependent => {
                Technique::Hopeless
            }
            (Allocation::Sequential { .. }, Allocation::Sequential { step, last }) => {
                Technique::MeetAhead { last, step }
            }
            _ => Technique::Hopeless,
        },
        (false, true) if !ours.is_port_restricted() => Technique::Plain,
        (true, false) if !theirs.is_port_restricted() => Technique::Plain,
        (false, true) => match (theirs.mapping, theirs.allocation) {
            (Mapping::AddressAndPortDependent, Allocation::Sequential { step, last }) => {
                Technique::SprayPredicted { last, step }
            }
            (_, Allocation::Random { lowest, highest }) => Technique::SprayRandom { seen: (lowest, highest) },
            _ => Technique::SprayRandom { seen: (u16::MAX, 0) },
        },
        (true, false) => match (ours.mapping, ours.allocation) {
            // The peer predicts; all we need is to have sent.
            (Mapping::AddressAndPortDependent, Allocation::Sequential { .. }) => Technique::Plain,
            _ => Technique::ManySockets,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nat(mapping: Mapping, filtering: Filtering, allocation: Allocation) -> NatBehaviour {
        NatBehaviour { mapping, filtering, allocation }
    }

    const SEQUENTIAL: Allocation = Allocation::Sequential { step: 1, last: 40_003 };
    const RANDOM: Allocation = Allocation::Random { lowest: 2000, highest: 60_000 };

    #[test]
    fn steps_are_seen_through_other_traffic_and_wrapping() {
        assert_eq!(
            allocation_of(&[40_000, 40_001, 40_002]),
            Allocation::Sequential { step: 1, last: 40_002 }
        );
        assert_eq!(allocation_of(&[7, 9, 13, 15]), Allocation::Sequential { step: 2, last: 15 });
        assert_eq!(
            allocation_of(&[44_095, 40_000, 40_001, 40_002]),
            Allocation::Sequential { step: 1, last: 40_002 }
        );
        assert_eq!(allocation_of(&[500, 498, 496]), Allocation::Sequential { step: -2, last: 496 });
        assert_eq!(
            allocation_of(&[5000, 1024, 60_000]),
            Allocation::Random { lowest: 1024, highest: 60_000 }
        );
        assert_eq!(allocation_of(&[5000, 5001]), Allocation::Random { lowest: 5000, highest: 5001 });
        assert_eq!(allocation_of(&[5000, 5000, 5000]), Allocation::Unknown);
        assert_eq!(allocation_of(&[]), Allocation::Unknown);
    }

    #[test]
    fn mapping_shows_in_what_each_endpoint_sees() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (p1, p2, q) = (at("203.0.113.1:1"), at("203.0.113.1:2"), at("203.0.113.2:1"));
        let (a, b) = (at("198.51.100.1:5"), at("198.51.100.1:6"));
        assert_eq!(mapping_of(None, &[]), Mapping::Unknown);
        assert_eq!(mapping_of(None, &[(p1, a)]), Mapping::Unknown);
        assert_eq!(mapping_of(Some(a), &[(p1, a)]), Mapping::None);
        assert_eq!(mapping_of(Some(b), &[(p1, a), (p2, a)]), Mapping::EndpointIndependent);
        assert_eq!(mapping_of(None, &[(p1, a), (p2, a), (q, b)]), Mapping::AddressDependent);
        assert_eq!(mapping_of(None, &[(p1, a), (p2, b), (q, b)]), Mapping::AddressAndPortDependent);
    }

    #[test]
    fn behaviour_survives_the_wire_and_unknown_values_do_no_harm() {
        for allocation in
            [Allocation::Unknown, SEQUENTIAL, Allocation::Sequential { step: -3, last: 1 }, RANDOM]
        {
            let known = nat(Mapping::AddressDependent, Filtering::NotPortDependent, allocation);
            assert_eq!(NatBehaviour::from_wire(known.to_wire()), known);
        }
        assert_eq!(NatBehaviour::from_wire([99; 7]), NatBehaviour::default());
        assert_eq!(NatBehaviour::from_wire([0, 0, 2, 9, 0, 8, 0]).allocation, Allocation::Unknown);
    }

    #[test]
    fn both_sides_choose_matching_techniques() {
        use Filtering::AddressAndPortDependent as Apdf;
        let open = nat(Mapping::None, Filtering::EndpointIndependent, Allocation::Unknown);
        let cone = nat(Mapping::EndpointIndependent, Filtering::NotPortDependent, Allocation::Unknown);
        let home = nat(Mapping::EndpointIndependent, Apdf, Allocation::Unknown);
        let adm = nat(Mapping::AddressDependent, Apdf, Allocation::Unknown);
        let sequential = nat(Mapping::AddressAndPortDependent, Apdf, SEQUENTIAL);
        let random = nat(Mapping::AddressAndPortDependent, Apdf, RANDOM);
        let all = [open, cone, home, adm, sequential, random];
        for ours in &all {
            for theirs in &all {
                let pair = (technique(ours, theirs), technique(theirs, ours));
                let fits = matches!(
                    pair,
                    (Technique::Plain, Technique::Plain | Technique::SprayPredicted { .. })
                        | (Technique::SprayPredicted { .. }, Technique::Plain)
                        | (Technique::SprayRandom { .. }, Technique::ManySockets)
                        | (Technique::ManySockets, Technique::SprayRandom { .. })
                        | (Technique::MeetAhead { .. }, Technique::MeetAhead { .. })
                        | (Technique::Hopeless, Technique::Hopeless)
                );
                assert!(fits, "{ours:?} x {theirs:?}: {pair:?}");
            }
        }
        assert_eq!(technique(&home, &sequential), Technique::SprayPredicted { last: 40_003, step: 1 });
        assert_eq!(technique(&home, &random), Technique::SprayRandom { seen: (2000, 60_000) });
        assert_eq!(technique(&cone, &random), Technique::Plain);
        assert_eq!(technique(&sequential, &random), Technique::Hopeless);
        assert_eq!(technique(&adm, &home), Technique::ManySockets);
    }
}

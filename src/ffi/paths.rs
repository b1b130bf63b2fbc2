//! What a client may do to reach its peers, what it tried, and what the NAT in its way does.

use std::ffi::c_char;
use std::time::Duration;

use super::address::hp_addr;
use super::client::{hp_client, with_state};
use super::error::{guard_with, hp_error, is_valid, report, status_of};
use super::guard::{clear_sized, guard, guard_or, write_sized};
use super::peer::{HP_TRANSPORT_TCP, HP_TRANSPORT_UDP, path_number, refusal_name};
use super::status::hp_status::{self, *};
use crate::net::portmap::Protocol;
use crate::{
    Allocation, Attempt, Cause, Filtering, Mapping, NatCheck, NatReport, PathPolicy, Peer, Techniques,
    TransportPolicy,
};

/// Path policy: direct paths; where there is none for two seconds, or can be none, the server forwards, if it offers that. The default.
pub const HP_PATHS_DIRECT_PREFERRED: i32 = 0;
/// Path policy: direct paths only.
pub const HP_PATHS_DIRECT_ONLY: i32 = 1;
/// Path policy: only what the server forwards; the peer's own endpoints are sent nothing.
pub const HP_PATHS_RELAY_ONLY: i32 = 2;

/// Technique: find out what our own NAT does, and tell the peers; prediction and many sockets need it.
pub const HP_TECHNIQUE_DIAGNOSIS: u32 = 1;
/// Technique: send the first probes with a low TTL, so that they open our NAT and do not reach the peer's before it is open.
pub const HP_TECHNIQUE_LOW_TTL: u32 = 2;
/// Technique: where a NAT counts, probe the ports that come next.
pub const HP_TECHNIQUE_PREDICTION: u32 = 4;
/// Technique: where a NAT chooses ports at random, up to 256 sockets on one side and 1024 probes from the other.
pub const HP_TECHNIQUE_MANY_SOCKETS: u32 = 8;
/// Technique: where that could help, have our router open a port (PCP, NAT-PMP, UPnP-IGD).
pub const HP_TECHNIQUE_PORT_MAPPING: u32 = 16;
/// Technique: where ordinary NATs do not connect as they should, probe from a further socket, whose mapping nothing has spoiled.
pub const HP_TECHNIQUE_FRESH_SOCKET: u32 = 32;
/// All techniques; the default.
pub const HP_TECHNIQUES_ALL: u32 = 63;

/// Cause: nothing kept the peer from being reached, or too little is known to say.
pub const HP_CAUSE_UNKNOWN: i32 = 0;
/// Cause: the peer left before a hole was open.
pub const HP_CAUSE_PEER_LEFT: i32 = 1;
/// Cause: both NATs give each peer another port.
pub const HP_CAUSE_BOTH_SYMMETRIC: i32 = 2;
/// Cause: nothing of the peer's came through, although both NATs would let it.
pub const HP_CAUSE_NOTHING_HEARD: i32 = 3;
/// Cause: the peer's probes come through, ours or its answers do not.
pub const HP_CAUSE_ONE_WAY: i32 = 4;
/// Cause: the two sides insist on different kinds of paths or dialects.
pub const HP_CAUSE_POLICY: i32 = 5;
/// Cause: the call ended before enough could be tried.
pub const HP_CAUSE_TOO_SHORT: i32 = 6;
/// Cause: one NAT gives each peer another port, and the right one was not found.
pub const HP_CAUSE_NOT_FOUND: i32 = 7;
/// hp_peer_cause: the server hears one of the two sides over TCP only, and the other one does not use TCP.
pub const HP_CAUSE_NO_TCP: i32 = 8;
/// hp_peer_cause: nobody answered over TCP.
pub const HP_CAUSE_TCP_UNANSWERED: i32 = 9;
/// hp_peer_cause: attempts over TCP were refused; a router answers in the peer's name.
pub const HP_CAUSE_TCP_REFUSED: i32 = 10;
/// hp_peer_cause: over TCP somebody else was there, or nothing was said.
pub const HP_CAUSE_TCP_STRANGER: i32 = 11;
/// hp_client_set_transport: UDP, and TCP with those of whom, as of ourselves, the server has heard over TCP only.
pub const HP_TRANSPORT_EITHER: i32 = 3;

/// hp_nat_report.mapping, .filtering, .allocation, .hairpin: not known.
pub const HP_NAT_UNKNOWN: i32 = 0;
/// hp_nat_report.mapping: no NAT.
pub const HP_MAPPING_NONE: i32 = 1;
/// hp_nat_report.mapping: the same outside endpoint towards everyone.
pub const HP_MAPPING_ENDPOINT_INDEPENDENT: i32 = 2;
/// hp_nat_report.mapping: another one for each remote address.
pub const HP_MAPPING_ADDRESS_DEPENDENT: i32 = 3;
/// hp_nat_report.mapping: another one for each remote endpoint.
pub const HP_MAPPING_ADDRESS_AND_PORT_DEPENDENT: i32 = 4;
/// hp_nat_report.filtering: everyone is let in.
pub const HP_FILTERING_ENDPOINT_INDEPENDENT: i32 = 1;
/// hp_nat_report.filtering: addresses that were sent to.
pub const HP_FILTERING_ADDRESS_DEPENDENT: i32 = 2;
/// hp_nat_report.filtering: endpoints that were sent to.
pub const HP_FILTERING_ADDRESS_AND_PORT_DEPENDENT: i32 = 3;
/// hp_nat_report.filtering: other ports of an address that was sent to, at least; the server has only one address to ask from.
pub const HP_FILTERING_NOT_PORT_DEPENDENT: i32 = 4;
/// hp_nat_report.allocation: each mapping's port is the one before plus step.
pub const HP_ALLOCATION_SEQUENTIAL: i32 = 1;
/// hp_nat_report.allocation: without a pattern.
pub const HP_ALLOCATION_RANDOM: i32 = 2;
/// hp_nat_report.hairpin: outside endpoints cannot be reached from inside.
pub const HP_HAIRPIN_NO: i32 = 1;
/// hp_nat_report.hairpin: they can.
pub const HP_HAIRPIN_YES: i32 = 2;
/// Bit of hp_nat_report.port_mapping: PCP.
pub const HP_PORT_MAPPING_PCP: u32 = 1;
/// Bit of hp_nat_report.port_mapping: NAT-PMP.
pub const HP_PORT_MAPPING_NAT_PMP: u32 = 2;
/// Bit of hp_nat_report.port_mapping: UPnP-IGD.
pub const HP_PORT_MAPPING_UPNP: u32 = 4;

/// One endpoint at which a peer was looked for. The caller sets struct_size (HP_ATTEMPT_INIT does).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hp_attempt {
    /// sizeof(hp_attempt), set by the caller.
    pub struct_size: u32,
    /// How the endpoint was learned: HP_PATH_*.
    pub path: i32,
    /// Where.
    pub endpoint: hp_addr,
    /// Probes sent there.
    pub probes_sent: u32,
    /// Authentic probes that came from there.
    pub probes_received: u32,
}

/// What stands between this host and the server. The caller sets struct_size (HP_NAT_REPORT_INIT does).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hp_nat_report {
    /// sizeof(hp_nat_report), set by the caller.
    pub struct_size: u32,
    /// HP_NAT_UNKNOWN or HP_MAPPING_*.
    pub mapping: i32,
    /// HP_NAT_UNKNOWN or HP_FILTERING_*.
    pub filtering: i32,
    /// HP_NAT_UNKNOWN (also where there is nothing to choose) or HP_ALLOCATION_*.
    pub allocation: i32,
    /// Sequential: the difference between two mappings' ports; else 0.
    pub step: i32,
    /// Sequential: the last port seen; random: the lowest one; else 0.
    pub first_port: u32,
    /// Random: the highest port seen; else 0.
    pub last_port: u32,
    /// HP_NAT_UNKNOWN or HP_HAIRPIN_*.
    pub hairpin: i32,
    /// By what the router can be asked to open ports: HP_PORT_MAPPING_* bits.
    pub port_mapping: u32,
    /// Routers on the way that have private addresses, or -1 if none of them told.
    pub inner_routers: i32,
    /// How long an unused mapping lives at least, in milliseconds; 0 if that was not asked for or nothing survived.
    pub lifetime_min_ms: u64,
    /// How long it lives at most; 0 if that was not asked for or the end was not seen.
    pub lifetime_max_ms: u64,
    /// The host's own IPv4 endpoint; family 0 if there is none.
    pub local: hp_addr,
    /// The same as the server sees it; family 0 if it was not reached over IPv4.
    pub observed: hp_addr,
    /// The host's IPv6 endpoint as the server sees it; family 0 if it was not reached over IPv6.
    pub observed_ipv6: hp_addr,
}

fn hairpin_number(hairpin: Option<bool>) -> i32 {
    hairpin.map_or(HP_NAT_UNKNOWN, |yes| if yes { HP_HAIRPIN_YES } else { HP_HAIRPIN_NO })
}

impl hp_nat_report {
    fn new(report: &NatReport, struct_size: u32) -> Self {
        let mapping = match report.nat.mapping {
            Mapping::Unknown => HP_NAT_UNKNOWN,
            Mapping::None => HP_MAPPING_NONE,
            Mapping::EndpointIndependent => HP_MAPPING_ENDPOINT_INDEPENDENT,
            Mapping::AddressDependent => HP_MAPPING_ADDRESS_DEPENDENT,
            Mapping::AddressAndPortDependent => HP_MAPPING_ADDRESS_AND_PORT_DEPENDENT,
        };
        let filtering = match report.nat.filtering {
            Filtering::Unknown => HP_NAT_UNKNOWN,
            Filtering::EndpointIndependent => HP_FILTERING_ENDPOINT_INDEPENDENT,
            Filtering::AddressDependent => HP_FILTERING_ADDRESS_DEPENDENT,
            Filtering::AddressAndPortDependent => HP_FILTERING_ADDRESS_AND_PORT_DEPENDENT,
            Filtering::NotPortDependent => HP_FILTERING_NOT_PORT_DEPENDENT,
        };
        let (allocation, step, first_port, last_port) = match report.nat.allocation {
            Allocation::Unknown => (HP_NAT_UNKNOWN, 0, 0, 0),
            Allocation::Sequential { step, last } => (HP_ALLOCATION_SEQUENTIAL, step.into(), last.into(), 0),
            Allocation::Random { lowest, highest } => {
                (HP_ALLOCATION_RANDOM, 0, lowest.into(), highest.into())
            }
        };
        let bit = |protocol: Protocol| match protocol {
            Protocol::Pcp => HP_PORT_MAPPING_PCP,
            Protocol::NatPmp => HP_PORT_MAPPING_NAT_PMP,
            Protocol::Upnp => HP_PORT_MAPPING_UPNP,
        };
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let address =
            |endpoint: Option<std::net::SocketAddr>| endpoint.map_or(hp_addr::default(), hp_addr::from);
        let usable = report.port_mapping.iter().filter(|answer| answer.external.is_ok());
        Self {
            struct_size,
            mapping,
            filtering,
            allocation,
            step,
            first_port,
            last_port,
            hairpin: hairpin_number(report.hairpin),
            port_mapping: usable.fold(0, |bits, answer| bits | bit(answer.protocol)),
            inner_routers: report.inner_routers.map_or(-1, i32::from),
            lifetime_min_ms: report.lifetime.map_or(0, |(least, _)| millis(least)),
            lifetime_max_ms: report.lifetime.and_then(|(_, most)| most).map_or(0, millis),
            local: address(report.local),
            observed: address(report.observed),
            observed_ipv6: address(report.observed_ipv6),
        }
    }
}

impl hp_attempt {
    fn new(attempt: &Attempt, struct_size: u32) -> Self {
        Self {
            struct_size,
            path: path_number(attempt.kind),
            endpoint: attempt.endpoint.into(),
            probes_sent: attempt.sent,
            probes_received: attempt.received,
        }
    }
}

/// Sets which paths are good enough: HP_PATHS_DIRECT_PREFERRED (the default), HP_PATHS_DIRECT_ONLY or HP_PATHS_RELAY_ONLY.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUSY, HP_STATUS_POISONED, HP_STATUS_PANIC.
/// One thread at a time per client. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_client_set_path_policy(client: *mut hp_client, policy: i32) -> hp_status {
    // SAFETY: the caller promises that the client is NULL or live.
    guard(|| unsafe {
        status_of(with_state(client, |state| {
            state.client.set_path_policy(match policy {
                HP_PATHS_DIRECT_PREFERRED => PathPolicy::DirectPreferred,
                HP_PATHS_DIRECT_ONLY => PathPolicy::DirectOnly,
                HP_PATHS_RELAY_ONLY => PathPolicy::RelayOnly,
                _ => return Err(HP_STATUS_INVALID_ARGUMENT.into()),
            });
            Ok(())
        }))
    })
}

/// Sets what may carry holes: HP_TRANSPORT_UDP (the default), HP_TRANSPORT_TCP, or HP_TRANSPORT_EITHER, which asks the server over UDP,
/// and over TCP as well once that has been silent for a second. Over TCP the server must have been started with --tcp and speak native, each
/// peer has a connection and so a socket of its own (hp_peer.transport tells which have), and hp_socket_take gives a connected one.
/// Sessions, and hp_connect_peers, use UDP whatever is set here.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUSY, HP_STATUS_POISONED, HP_STATUS_PANIC.
/// One thread at a time per client. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_client_set_transport(client: *mut hp_client, transport: i32) -> hp_status {
    // SAFETY: the caller promises that the client is NULL or live.
    guard(|| unsafe {
        status_of(with_state(client, |state| {
            state.client.set_transport(match transport {
                HP_TRANSPORT_UDP => TransportPolicy::Udp,
                HP_TRANSPORT_TCP => TransportPolicy::Tcp,
                HP_TRANSPORT_EITHER => TransportPolicy::Either,
                _ => return Err(HP_STATUS_INVALID_ARGUMENT.into()),
            });
            Ok(())
        }))
    })
}

/// Sets what may be done to get through beside probing known endpoints: HP_TECHNIQUE_* bits, HP_TECHNIQUES_ALL at first.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT (also for other bits), HP_STATUS_BUSY, HP_STATUS_POISONED,
/// HP_STATUS_PANIC.
/// One thread at a time per client. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_client_set_techniques(client: *mut hp_client, techniques: u32) -> hp_status {
    // SAFETY: the caller promises that the client is NULL or live.
    guard(|| unsafe {
        status_of(with_state(client, |state| {
            if techniques & !HP_TECHNIQUES_ALL != 0 {
                return Err(HP_STATUS_INVALID_ARGUMENT.into());
            }
            let has = |bit: u32| techniques & bit != 0;
            state.client.set_techniques(Techniques {
                diagnosis: has(HP_TECHNIQUE_DIAGNOSIS),
                low_ttl: has(HP_TECHNIQUE_LOW_TTL),
                prediction: has(HP_TECHNIQUE_PREDICTION),
                many_sockets: has(HP_TECHNIQUE_MANY_SOCKETS),
                port_mapping: has(HP_TECHNIQUE_PORT_MAPPING),
                fresh_socket: has(HP_TECHNIQUE_FRESH_SOCKET),
            });
            Ok(())
        }))
    })
}

/// What probably kept peer number index, as hp_peer_get counts them, from being reached: HP_CAUSE_*. HP_CAUSE_UNKNOWN for a
/// connected peer, and where there is no such peer or the client is NULL or busy.
/// One thread at a time per client. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_peer_cause(client: *const hp_client, index: u32) -> i32 {
    guard_or(HP_CAUSE_UNKNOWN, || {
        let mut cause = HP_CAUSE_UNKNOWN;
        // SAFETY: the caller promises that the client is NULL or live.
        let _ = unsafe {
            with_state(client, |state| {
                cause =
                    state.peers.get(index as usize).map_or(HP_CAUSE_UNKNOWN, |peer| peer.report.cause as i32);
                Ok(())
            })
        };
        cause
    })
}

/// A cause and what helps, in English, in a sentence or two; valid for ever. Never NULL.
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn hp_cause_text(cause: i32) -> *const c_char {
    let known = [
        Cause::PeerLeft,
        Cause::BothSymmetric,
        Cause::NothingHeard,
        Cause::OneWay,
        Cause::Policy,
        Cause::TooShort,
        Cause::NotFound,
        Cause::NoTcp,
        Cause::TcpUnanswered,
        Cause::TcpRefused,
        Cause::TcpStranger,
    ];
    let cause = known.into_iter().find(|known| *known as i32 == cause).unwrap_or(Cause::Unknown);
    cause.c_text().as_ptr()
}

/// The name of an HP_REFUSAL_* number, such as "not-offered"; "unknown" for any other. The string is static. Any thread.
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn hp_refusal_name(refusal: i32) -> *const c_char {
    guard_or(c"".as_ptr(), || refusal_name(refusal).unwrap_or(c"unknown").as_ptr())
}

/// At how many endpoints peer number index was looked for; 0 if there is no such peer or the client is NULL or busy.
/// One thread at a time per client. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_peer_attempt_count(client: *const hp_client, index: u32) -> u32 {
    guard_or(0, || {
        let mut count = 0;
        // SAFETY: the caller promises that the client is NULL or live.
        let _ = unsafe {
            with_state(client, |state| {
                count = state.peers.get(index as usize).map_or(0, |peer| peer.report.attempts.len());
                Ok(())
            })
        };
        count as u32
    })
}

/// Describes attempt number attempt, from 0, at peer number index. out: zeroed on entry (as much as struct_size says) and
/// filled on success.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_NOT_FOUND, HP_STATUS_BUSY, HP_STATUS_POISONED,
/// HP_STATUS_PANIC.
/// One thread at a time per client. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_peer_attempt_get(
    client: *const hp_client,
    index: u32,
    attempt: u32,
    out: *mut hp_attempt,
) -> hp_status {
    // SAFETY: the caller promises that the client is NULL or live, and out NULL or writable.
    guard(|| unsafe {
        let Some(size) = clear_sized(out) else { return HP_STATUS_INVALID_ARGUMENT };
        status_of(with_state(client, |state| {
            let of = |peer: &Peer| peer.report.attempts.get(attempt as usize).copied();
            let found = state.peers.get(index as usize).and_then(of).ok_or(HP_STATUS_NOT_FOUND)?;
            write_sized(&hp_attempt::new(&found, size), out, size);
            Ok(())
        }))
    })
}

/// Asks the server, from fresh sockets, what the NAT in the way does. Blocks for a second or two, within the client's
/// timeout; hp_cancel ends it. What earlier calls left is not touched.
///
/// longest_lifetime_ms: how long to wait at most, 10000 to 300000 (more counts as that, less as 0), to see how long an unused
/// mapping lives; 0 not to look. The call, and its timeout, then take so much longer.
/// out: zeroed on entry (as much as struct_size says) and filled on success. error: NULL or details.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_SERVER_NOT_FOUND, HP_STATUS_SOCKET, HP_STATUS_SERVER_SILENT,
/// HP_STATUS_SERVER_UNREACHABLE, HP_STATUS_SERVER_PORT_CLOSED, HP_STATUS_UDP_BLOCKED, HP_STATUS_DIALECT_MISMATCH (the
/// server is a plain one), HP_STATUS_TIMED_OUT_WAITING (the server has answered, but not to all questions), HP_STATUS_CANCELLED, HP_STATUS_BUSY, HP_STATUS_POISONED, HP_STATUS_PANIC.
/// One thread at a time per client. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_client_check_nat(
    client: *mut hp_client,
    longest_lifetime_ms: u32,
    out: *mut hp_nat_report,
    error: *mut hp_error,
) -> hp_status {
    // SAFETY: the caller promises that the client is NULL or live, out and error NULL or writable.
    unsafe {
        guard_with(error, || {
            let size = clear_sized(out);
            if !is_valid(error) {
                return HP_STATUS_INVALID_ARGUMENT;
            }
            let result = size.ok_or(HP_STATUS_INVALID_ARGUMENT.into()).and_then(|size| {
                with_state(client, |state| {
                    let longest = Duration::from_millis(longest_lifetime_ms.into());
                    let check = NatCheck { longest_lifetime: (!longest.is_zero()).then_some(longest) };
                    let found = state.client.check_nat(check)?;
                    write_sized(&hp_nat_report::new(&found, size), out, size);
                    Ok(())
                })
            });
            report(error, result)
        })
    }
}

//! What an embedded server does for clients behind hard NATs.

use std::ffi::{CStr, c_char};
use std::time::Duration;

use super::guard::is_struct_size_of;
use super::server::{hp_server, with_state};
use super::status::hp_status::{self, *};
use crate::ServerConfig;
use crate::server::{RelayConfig, TcpConfig};

/// What a server that forwards allows. HP_RELAY_OPTIONS_INIT sets struct_size and the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hp_relay_options {
    /// sizeof(hp_relay_options), set by the caller.
    pub struct_size: u32,
    /// Ports, from the tenth after the server's own, 1 to 64; one client can have so many pairs. 8.
    pub ports: u32,
    /// Most pairs at a time, of datagrams and of TCP connections each, at least 1. 1000.
    pub max_pairs: u32,
    /// 0.
    pub reserved: u32,
    /// Payload a second of one pair, both ways together, at least 2048; 0 for no limit. 1048576.
    pub bytes_per_second: u64,
    /// After so long without a datagram a pair ends, in milliseconds, at least 1. 60000.
    pub idle_ms: u64,
    /// After so long every pair ends, in milliseconds, at least 1. 43200000.
    pub lifetime_ms: u64,
}

/// What a server that takes connections over TCP allows. HP_TCP_OPTIONS_INIT sets struct_size and the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hp_tcp_options {
    /// sizeof(hp_tcp_options), set by the caller.
    pub struct_size: u32,
    /// Most connections at a time, 1 to 65536; each takes a descriptor, and a forwarded pair takes two. 4096.
    pub max_connections: u32,
    /// The same from one IPv4 address, or one IPv6 network of 64 bits, 1 to 65536. 256.
    pub max_connections_per_address: u32,
    /// 0.
    pub reserved: u32,
}

/// Sets on how many of the ports after its own, 0 to 4, the server tells native clients which source it sees, so that they
/// learn what their NATs do; one more answers from. 3 at first. Ports that are taken are done without. Not 0 as long as another
/// address is set.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUSY (it is bound already), HP_STATUS_PANIC.
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_server_set_alternate_ports(server: *mut hp_server, count: u32) -> hp_status {
    // SAFETY: the caller promises that the server is NULL or live.
    unsafe {
        with_state(server, |state| {
            let config = state.unbound_config()?;
            let alternate_ports = u16::try_from(count).unwrap_or(u16::MAX);
            *config = ServerConfig { alternate_ports, ..config.clone() }.checked()?;
            Ok(())
        })
    }
}

/// Sets another IP address of this host for the same purpose, as text; NULL, as at first: there is none. It must be another
/// one than the server's own, of a family that the server listens on, and with alternate ports. One that this host does not
/// have, or whose ports are taken, is found when the server is bound: HP_STATUS_SOCKET.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT (also for any, multicast, broadcast, link-local IPv6 and IPv4-mapped
/// addresses), HP_STATUS_BUSY (it is bound already), HP_STATUS_PANIC.
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_server_set_other_address(
    server: *mut hp_server,
    address: *const c_char,
) -> hp_status {
    // SAFETY: the caller promises that the server is NULL or live, and that the address is NULL or a C string.
    unsafe {
        with_state(server, |state| {
            let other_address = match address.is_null() {
                true => None,
                false => {
                    let text = CStr::from_ptr(address).to_str().map_err(|_| HP_STATUS_INVALID_ARGUMENT)?;
                    Some(text.parse().map_err(|_| HP_STATUS_INVALID_ARGUMENT)?)
                }
            };
            let config = state.unbound_config()?;
            *config = ServerConfig { other_address, ..config.clone() }.checked()?;
            Ok(())
        })
    }
}

/// Has the server forward between native clients that find no direct way; NULL, as at first: it does not.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUSY (it is bound already), HP_STATUS_PANIC.
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_server_set_relay(
    server: *mut hp_server,
    options: *const hp_relay_options,
) -> hp_status {
    // SAFETY: the caller promises that the server is NULL or live, and that the options are NULL or as large as they say.
    unsafe {
        with_state(server, |state| {
            let relay = match options.as_ref() {
                None => None,
                Some(options) if !is_struct_size_of::<hp_relay_options>(options.struct_size) => {
                    return Err(HP_STATUS_INVALID_ARGUMENT.into());
                }
                // A later version may give it a meaning, which this one would not heed.
                Some(options) if options.reserved != 0 => return Err(HP_STATUS_INVALID_ARGUMENT.into()),
                Some(options) => Some(RelayConfig {
                    ports: u16::try_from(options.ports).unwrap_or(u16::MAX),
                    max_pairs: options.max_pairs as usize,
                    bytes_per_second: (options.bytes_per_second > 0).then_some(options.bytes_per_second),
                    idle: Duration::from_millis(options.idle_ms),
                    lifetime: Duration::from_millis(options.lifetime_ms),
                }),
            };
            let config = state.unbound_config()?;
            *config = ServerConfig { relay, ..config.clone() }.checked()?;
            Ok(())
        })
    }
}

/// Has the server take connections over TCP from native clients, too, at the same address and on the same port numbers, and forward
/// between connections if it forwards at all; NULL, as at first: it does not. Where the server's own port is taken over TCP, binding
/// it fails: HP_STATUS_SOCKET.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_BUSY (it is bound already), HP_STATUS_PANIC.
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_server_set_tcp(
    server: *mut hp_server,
    options: *const hp_tcp_options,
) -> hp_status {
    // SAFETY: the caller promises that the server is NULL or live, and that the options are NULL or as large as they say.
    unsafe {
        with_state(server, |state| {
            let tcp = match options.as_ref() {
                None => None,
                Some(options) if !is_struct_size_of::<hp_tcp_options>(options.struct_size) => {
                    return Err(HP_STATUS_INVALID_ARGUMENT.into());
                }
                Some(options) if options.reserved != 0 => return Err(HP_STATUS_INVALID_ARGUMENT.into()),
                Some(options) => Some(TcpConfig {
                    max_connections: options.max_connections as usize,
                    max_connections_per_address: options.max_connections_per_address as usize,
                    ..TcpConfig::default()
                }),
            };
            let config = state.unbound_config()?;
            *config = ServerConfig { tcp, ..config.clone() }.checked()?;
            Ok(())
        })
    }
}

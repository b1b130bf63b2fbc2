//! What clients may take of an embedded server.

use super::guard::is_struct_size_of;
use super::server::{hp_server, with_state};
use super::status::hp_status::{self, *};
use crate::ServerConfig;
use crate::server::Limits;

/// What clients may take of a server. A prefix is one IPv4 address, or the first 56 bits of an IPv6 address, which is what one
/// customer is given. HP_SERVER_LIMITS_INIT sets struct_size and the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hp_server_limits {
    /// sizeof(hp_server_limits), set by the caller.
    pub struct_size: u32,
    /// Most registrations of one session, 2 to 257. 257.
    pub endpoints_per_session: u32,
    /// Most registrations, and so sessions, from one prefix, at least 2. 8192.
    pub endpoints_per_prefix: u32,
    /// Datagrams a second that are heard from one prefix, two seconds' worth at once, at least 10; 0 for no limit. 2000.
    pub datagrams_per_second: u32,
    /// A plain client, which proves no address, is sent at most so many times what came from there, IP and UDP headers included; 0 for
    /// no limit. 3.
    pub plain_amplification: u32,
    /// 0.
    pub reserved: u32,
    /// Most bytes that registrations may take, at least 1048576; each of 64 shards has its even share. 268435456.
    pub memory: u64,
}

/// Sets what clients may take; the most registrations at a time are set by hp_server_set_max_endpoints. Also while the server runs:
/// who is registered stays, even where there is no longer room for as many.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT (then all stays as it was), HP_STATUS_PANIC. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_server_set_limits(
    server: *mut hp_server,
    limits: *const hp_server_limits,
) -> hp_status {
    // SAFETY: the caller promises that the server is NULL or live, and that the limits are NULL or as large as they say.
    unsafe {
        with_state(server, |state| {
            let given = limits.as_ref().ok_or(HP_STATUS_INVALID_ARGUMENT)?;
            // A later version may give what is reserved a meaning, which this one would not heed.
            if !is_struct_size_of::<hp_server_limits>(given.struct_size) || given.reserved != 0 {
                return Err(HP_STATUS_INVALID_ARGUMENT.into());
            }
            let limits = Limits {
                max_endpoints: state.config.limits.max_endpoints,
                max_endpoints_per_session: given.endpoints_per_session as usize,
                max_endpoints_per_prefix: given.endpoints_per_prefix as usize,
                max_memory: usize::try_from(given.memory).unwrap_or(usize::MAX),
                datagrams_per_second: (given.datagrams_per_second > 0).then_some(given.datagrams_per_second),
                plain_amplification: (given.plain_amplification > 0).then_some(given.plain_amplification),
            };
            state.config = ServerConfig { limits, ..state.config.clone() }.checked()?;
            match &state.handle {
                Some(handle) => Ok(handle.set_limits(&state.config.limits)?),
                None => Ok(()),
            }
        })
    }
}

//! What clients may take of a server; all of it can be changed while it runs.

use super::{MIN_ENDPOINTS, invalid};
use crate::error::Error;

/// Most registrations, unless it was set.
pub const DEFAULT_MAX_ENDPOINTS: usize = 1 << 20;
/// Most registrations of one session, which clients have room for.
pub const MAX_ENDPOINTS_PER_SESSION: usize = 257;
/// Least memory that a registry must be allowed, in bytes.
pub const MIN_MEMORY: usize = 1 << 20;
/// Least datagrams a second that a prefix must be allowed.
pub const MIN_DATAGRAMS_PER_SECOND: u32 = 10;

/// What clients may take of a server.
///
/// A *prefix* is one IPv4 address, or the first 56 bits of an IPv6 address, which is what one customer is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most registrations at a time, at least 256; 1,048,576 by default. Each of 64 shards holds its even share, so that refusals start
    /// a little earlier.
    pub max_endpoints: usize,
    /// Most registrations of one session, 2 to [`MAX_ENDPOINTS_PER_SESSION`], which is the default.
    pub max_endpoints_per_session: usize,
    /// Most registrations, and so sessions, from one prefix, at least 2; 8192 by default.
    pub max_endpoints_per_prefix: usize,
    /// Most bytes that registrations may take, at least [`MIN_MEMORY`]; 256 MiB by default. Each shard has its even share.
    pub max_memory: usize,
    /// Datagrams a second that are heard from one prefix, at least [`MIN_DATAGRAMS_PER_SECOND`], two seconds' worth at once;
    /// 2000 by default, `None` for no limit.
    pub datagrams_per_second: Option<u32>,
    /// A plain client, which proves no address, is sent at most so many times what came from there, IP and UDP headers included; 3 by
    /// default (as RFC 9000 section 8.1 allows), 1 at least; `None` for no limit.
    pub plain_amplification: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_endpoints: DEFAULT_MAX_ENDPOINTS,
            max_endpoints_per_session: MAX_ENDPOINTS_PER_SESSION,
            max_endpoints_per_prefix: 8192,
            max_memory: 256 << 20,
            datagrams_per_second: Some(2000),
            plain_amplification: Some(3),
        }
    }
}

impl Limits {
    /// What is wrong with them, if anything.
    pub(super) fn check(&self) -> Result<(), Error> {
        let wrong = [
            (
                self.max_endpoints < MIN_ENDPOINTS,
                format!("the number of endpoints must be at least {MIN_ENDPOINTS}"),
            ),
            (
                !(2..=MAX_ENDPOINTS_PER_SESSION).contains(&self.max_endpoints_per_session),
                format!("the number of endpoints of a session must be 2 to {MAX_ENDPOINTS_PER_SESSION}"),
            ),
            (
                self.max_endpoints_per_prefix < 2,
                "the number of endpoints of a prefix must be at least 2".to_string(),
            ),
            (
                self.max_memory < MIN_MEMORY,
                format!("registrations must be allowed at least {MIN_MEMORY} bytes of memory"),
            ),
            (
                self.datagrams_per_second.is_some_and(|rate| rate < MIN_DATAGRAMS_PER_SECOND),
                format!("a prefix must be allowed at least {MIN_DATAGRAMS_PER_SECOND} datagrams a second"),
            ),
            (
                self.plain_amplification == Some(0),
                "plain clients must be answered at least once over".to_string(),
            ),
        ];
        wrong.into_iter().find(|(wrong, _)| *wrong).map_or(Ok(()), |(_, why)| Err(invalid(why)))
    }
}

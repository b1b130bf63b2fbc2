//! What a connection is made with.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::net::resolve::is_well_formed;
use crate::proto::{SessionId, Transport};

/// Longest that one attempt may be given.
pub const MAX_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3600);
/// Most attempts.
pub const MAX_ATTEMPTS: u32 = 1000;
/// Most addresses that a peer may be tried at.
pub const MAX_ADDRESSES: usize = crate::proto::MAX_ENDPOINTS_PER_PEER;

/// Who tells our own address as others see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AddressSource {
    /// Nobody: there is no public address.
    #[default]
    Nobody,
    /// A server of ours, `host:port`; over TCP it must have been started with `--tcp`.
    Server(String),
    /// A STUN server (RFC 8489), `host:port`.
    Stun(String),
    /// The caller, who knows the address; the port is our own.
    Known(IpAddr),
}

/// What a [`super::Conn`] is made with.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnOptions {
    /// What carries the connection; UDP.
    pub transport: Transport,
    /// What both sides share, 1 to 1000 bytes, and prove to each other before the connection is reported. Anybody who knows it is
    /// the peer. Empty only with `unauthenticated`.
    pub id: Vec<u8>,
    /// Whether nobody proves anything: whoever is at the peer's addresses is the peer, and over TCP nothing of ours is sent, so that
    /// programs that know nothing of this library can be the other side.
    pub unauthenticated: bool,
    /// The address to bind to; `None` for all, on a port of the system's choice.
    pub local: Option<SocketAddr>,
    /// Who tells our public address.
    pub public: AddressSource,
    /// How long an attempt at an address may take, 1 ms to an hour; 3 s.
    pub attempt_timeout: Duration,
    /// How many such times the peer is looked for, 1 to 1000; 3.
    pub attempts: u32,
    /// Whether what comes becomes events. Else the caller reads himself, or takes the socket. On.
    pub data_events: bool,
}

impl Default for ConnOptions {
    fn default() -> Self {
        Self {
            transport: Transport::Udp,
            id: Vec::new(),
            unauthenticated: false,
            local: None,
            public: AddressSource::Nobody,
            attempt_timeout: Duration::from_secs(3),
            attempts: 3,
            data_events: true,
        }
    }
}

impl ConnOptions {
    /// Over this transport, with an ID that the peer knows, too.
    pub fn new(transport: Transport, id: &[u8]) -> Self {
        Self { transport, id: id.to_vec(), ..Self::default() }
    }

    /// The ID, if there is to be one.
    pub(super) fn checked(&self) -> Result<Option<SessionId>, Error> {
        let invalid = |message: &str| Err(Error::new(ErrorKind::InvalidArgument, message));
        if self.attempt_timeout < Duration::from_millis(1) || self.attempt_timeout > MAX_ATTEMPT_TIMEOUT {
            return invalid("an attempt takes 1 ms to an hour");
        }
        if !(1..=MAX_ATTEMPTS).contains(&self.attempts) {
            return invalid("there are 1 to 1000 attempts");
        }
        if let AddressSource::Server(server) | AddressSource::Stun(server) = &self.public
            && !is_well_formed(server)
        {
            return Err(Error::new(ErrorKind::InvalidServer, "the server must be given as host:port"));
        }
        match (self.unauthenticated, self.id.is_empty()) {
            (true, true) => Ok(None),
            (true, false) => invalid("an ID is of no use where nobody proves anything"),
            (false, _) => crate::client::check_id(&self.id).map(Some),
        }
    }
}

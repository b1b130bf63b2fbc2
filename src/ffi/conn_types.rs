//! What a connection from plain addresses is made with, and what happens to it, as plain data.

use std::ffi::{CStr, c_char};
use std::time::Duration;

use super::address::{HP_FAMILY_NONE, hp_addr};
use super::guard::bytes;
use super::peer::{
    HP_RTT_UNKNOWN, HP_TRANSPORT_TCP, HP_TRANSPORT_UDP, path_number, rtt_micros, transport_number,
};
use super::status::hp_status::{self, *};
use crate::{AddressSource, ConnEnd, ConnEvent, ConnOptions, Connected, Transport};

/// hp_conn_options.address_source: nobody tells our public address.
pub const HP_ADDRESS_NOBODY: i32 = 0;
/// hp_conn_options.address_source: a server of ours, address_server; over TCP it must have been started with --tcp.
pub const HP_ADDRESS_SERVER: i32 = 1;
/// hp_conn_options.address_source: a STUN server (RFC 8489), address_server.
pub const HP_ADDRESS_STUN: i32 = 2;
/// hp_conn_options.address_source: the caller, who knows it: address_known, whose port does not count.
pub const HP_ADDRESS_KNOWN: i32 = 3;

/// Event: endpoint is our public address; or it cannot be found out, and status says why.
pub const HP_CONN_PUBLIC_ADDRESS: i32 = 1;
/// Event: the connection is there; endpoint is the peer's. Once at most.
pub const HP_CONN_CONNECTED: i32 = 2;
/// Event: the peer has sent data: over UDP a datagram, over TCP what has come.
pub const HP_CONN_DATA: i32 = 3;
/// Event: it is over, for reason HP_END_*. Once, and the last one.
pub const HP_CONN_ENDED: i32 = 4;

/// hp_conn_event.reason: we have closed it.
pub const HP_END_CLOSED: i32 = 1;
/// hp_conn_event.reason: the peer has.
pub const HP_END_CLOSED_BY_PEER: i32 = 2;
/// hp_conn_event.reason: nothing has come from the peer for 30 s; over UDP, if it is authenticated and data_events is 1.
pub const HP_END_SILENT: i32 = 3;
/// hp_conn_event.reason: it has failed; os_error is the system's error number (errno).
pub const HP_END_FAILED: i32 = 4;
/// hp_conn_event.reason: the peer was not reached; status and message say why.
pub const HP_END_NOT_REACHED: i32 = 5;

/// What a connection is made with. HP_CONN_OPTIONS_INIT sets struct_size and the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hp_conn_options {
    /// sizeof(hp_conn_options), set by the caller.
    pub struct_size: u32,
    /// HP_TRANSPORT_*. UDP.
    pub transport: i32,
    /// What both sides share and prove to each other before the connection is reported: id_len bytes, 1 to HP_MAX_SESSION_ID_LEN, copied.
    /// NULL only if unauthenticated is 1. NULL.
    pub id: *const u8,
    /// Length of id.
    pub id_len: usize,
    /// 1: nobody proves anything; whoever is at the peer's addresses is the peer, and over TCP nothing of the library's is sent. 0.
    pub unauthenticated: i32,
    /// 1: what comes becomes events. 0: the caller reads with hp_conn_read, or takes the socket. 1.
    pub data_events: i32,
    /// The address to bind to, and port; family HP_FAMILY_NONE: all, on a port of the system's choice.
    pub local: hp_addr,
    /// Who tells our public address: HP_ADDRESS_*. HP_ADDRESS_NOBODY.
    pub address_source: i32,
    /// How long an attempt at one address may take, 1 to 3600000 ms. 3000.
    pub attempt_timeout_ms: u32,
    /// How many such times the peer is looked for, 1 to 1000. 3.
    pub attempts: u32,
    /// 0.
    pub reserved: u32,
    /// HP_ADDRESS_SERVER and HP_ADDRESS_STUN: "host:port", copied. NULL.
    pub address_server: *const c_char,
    /// HP_ADDRESS_KNOWN: the address.
    pub address_known: hp_addr,
}

impl hp_conn_options {
    /// # Safety
    /// The pointers lead to as many readable bytes as documented, or are NULL.
    pub(super) unsafe fn to_options(self) -> Result<ConnOptions, hp_status> {
        let transport = match self.transport {
            HP_TRANSPORT_UDP => Transport::Udp,
            HP_TRANSPORT_TCP => Transport::Tcp,
            _ => return Err(HP_STATUS_INVALID_ARGUMENT),
        };
        let flags = [self.unauthenticated, self.data_events];
        if !flags.iter().all(|flag| (0..=1).contains(flag)) {
            return Err(HP_STATUS_INVALID_ARGUMENT);
        }
        // SAFETY: as the caller promises.
        let (id, server) = unsafe {
            let server = self.address_server.as_ref().map(|server| CStr::from_ptr(server).to_string_lossy());
            (bytes(self.id, self.id_len).ok_or(HP_STATUS_INVALID_ARGUMENT)?, server)
        };
        let server = || server.map(|server| server.into_owned()).ok_or(HP_STATUS_INVALID_ARGUMENT);
        let mut options = ConnOptions::new(transport, id);
        options.public = match self.address_source {
            HP_ADDRESS_NOBODY => AddressSource::Nobody,
            HP_ADDRESS_SERVER => AddressSource::Server(server()?),
            HP_ADDRESS_STUN => AddressSource::Stun(server()?),
            HP_ADDRESS_KNOWN => {
                let known = self.address_known.to_socket_addr().ok_or(HP_STATUS_INVALID_ARGUMENT)?;
                AddressSource::Known(known.ip())
            }
            _ => return Err(HP_STATUS_INVALID_ARGUMENT),
        };
        options.local = match self.local.family {
            HP_FAMILY_NONE => None,
            _ => Some(self.local.to_socket_addr().ok_or(HP_STATUS_INVALID_ARGUMENT)?),
        };
        options.unauthenticated = self.unauthenticated == 1;
        options.data_events = self.data_events == 1;
        options.attempt_timeout = Duration::from_millis(self.attempt_timeout_ms.into());
        options.attempts = self.attempts;
        Ok(options)
    }
}

/// What happened. The caller sets struct_size (HP_CONN_EVENT_INIT does); members that an event has no use for are 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hp_conn_event {
    /// sizeof(hp_conn_event), set by the caller.
    pub struct_size: u32,
    /// HP_CONN_*.
    pub kind: i32,
    /// Our public address, or where the peer is.
    pub endpoint: hp_addr,
    /// HP_CONN_ENDED: HP_END_*.
    pub reason: i32,
    /// HP_CONN_PUBLIC_ADDRESS and HP_END_NOT_REACHED: the hp_status that says why not.
    pub status: i32,
    /// The system's error number (errno), where it had one.
    pub os_error: i32,
    /// 0.
    pub reserved: u32,
    /// HP_CONN_DATA: data_len bytes. Valid until the next hp_conn_next_event or hp_conn_free.
    pub data: *const u8,
    /// Length of data.
    pub data_len: usize,
    /// What status is about, in English, NUL-terminated; NULL without. Valid as long as data.
    pub message: *const c_char,
}

impl hp_conn_event {
    /// `message` must live as long as the caller is told.
    pub(super) fn new(event: &ConnEvent, message: Option<&CStr>, struct_size: u32) -> Self {
        let mut plain = Self {
            struct_size,
            kind: 0,
            endpoint: hp_addr::default(),
            reason: 0,
            status: 0,
            os_error: 0,
            reserved: 0,
            data: std::ptr::null(),
            data_len: 0,
            message: message.map_or(std::ptr::null(), CStr::as_ptr),
        };
        match event {
            ConnEvent::PublicAddress(found) => {
                plain.kind = HP_CONN_PUBLIC_ADDRESS;
                match found {
                    Ok(address) => plain.endpoint = (*address).into(),
                    Err(error) => plain.note(error),
                }
            }
            ConnEvent::Connected(connected) => {
                plain.kind = HP_CONN_CONNECTED;
                plain.endpoint = connected.remote.into();
            }
            ConnEvent::Data(data) => {
                plain.kind = HP_CONN_DATA;
                (plain.data, plain.data_len) = (data.as_ptr(), data.len());
            }
            ConnEvent::Ended(end) => {
                plain.kind = HP_CONN_ENDED;
                plain.reason = match end {
                    ConnEnd::Closed => HP_END_CLOSED,
                    ConnEnd::ClosedByPeer => HP_END_CLOSED_BY_PEER,
                    ConnEnd::Silent => HP_END_SILENT,
                    ConnEnd::Failed(error) => {
                        plain.os_error = *error;
                        HP_END_FAILED
                    }
                    ConnEnd::NotReached(error) => {
                        plain.note(error);
                        HP_END_NOT_REACHED
                    }
                };
            }
        }
        plain
    }

    fn note(&mut self, error: &crate::Error) {
        self.status = hp_status::from(error.kind()) as i32;
        self.os_error = error.os_error().unwrap_or_default();
    }
}

/// A connection that is there. The caller sets struct_size (HP_CONN_INFO_INIT does).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hp_conn_info {
    /// sizeof(hp_conn_info), set by the caller.
    pub struct_size: u32,
    /// HP_TRANSPORT_*.
    pub transport: i32,
    /// Our own end.
    pub local: hp_addr,
    /// The peer's.
    pub remote: hp_addr,
    /// How that was learned: HP_PATH_REFLEXIVE if it was given, HP_PATH_PEER_REFLEXIVE if the peer came from there.
    pub path: i32,
    /// How long an answer took, in microseconds, or HP_RTT_UNKNOWN.
    pub rtt_us: u32,
    /// 1 if the peer has proven that it knows the ID, else 0.
    pub authenticated: i32,
    /// 0.
    pub reserved: u32,
}

impl hp_conn_info {
    pub(super) fn new(connected: &Connected, struct_size: u32) -> Self {
        Self {
            struct_size,
            transport: transport_number(connected.transport),
            local: connected.local.into(),
            remote: connected.remote.into(),
            path: path_number(connected.path),
            rtt_us: connected.rtt.map_or(HP_RTT_UNKNOWN, rtt_micros),
            authenticated: connected.authenticated.into(),
            reserved: 0,
        }
    }
}

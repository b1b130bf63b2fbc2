//! Addresses as plain data, so that C callers need no code per system.

use std::ffi::{CStr, c_char, c_void};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use socket2::SockAddr;

use super::guard::{clear_text, guard, write_text};
use super::status::hp_status::{self, *};

/// hp_addr.family: no address.
pub const HP_FAMILY_NONE: u16 = 0;
/// hp_addr.family: IPv4; the address is the first 4 bytes of ip.
pub const HP_FAMILY_IPV4: u16 = 4;
/// hp_addr.family: IPv6; the address is all 16 bytes of ip.
pub const HP_FAMILY_IPV6: u16 = 6;
/// Size of a buffer that holds any address that hp_addr_format writes, with its terminating NUL.
pub const HP_ADDR_TEXT_LEN: usize = 64;

/// An IP address and port. Plain data: copy and compare it freely (unused bytes are 0).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct hp_addr {
    /// HP_FAMILY_IPV4, HP_FAMILY_IPV6 or HP_FAMILY_NONE.
    pub family: u16,
    /// Port in host byte order.
    pub port: u16,
    /// IPv6 scope ID of a link-local address, else 0.
    pub scope: u32,
    /// The address in network byte order.
    pub ip: [u8; 16],
}

impl From<SocketAddr> for hp_addr {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(v4) => {
                let mut ip = [0; 16];
                ip[..4].copy_from_slice(&v4.ip().octets());
                Self { family: HP_FAMILY_IPV4, port: v4.port(), scope: 0, ip }
            }
            SocketAddr::V6(v6) => {
                Self { family: HP_FAMILY_IPV6, port: v6.port(), scope: v6.scope_id(), ip: v6.ip().octets() }
            }
        }
    }
}

impl hp_addr {
    /// The address in Rust's terms; `None` if the family is none of ours.
    pub(super) fn to_socket_addr(self) -> Option<SocketAddr> {
        match self.family {
            HP_FAMILY_IPV4 => {
                let [a, b, c, d, ..] = self.ip;
                Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), self.port))
            }
            HP_FAMILY_IPV6 => {
                Some(SocketAddrV6::new(Ipv6Addr::from(self.ip), self.port, 0, self.scope).into())
            }
            _ => None,
        }
    }
}

/// Reads "192.0.2.1:5000" or "[2001:db8::1]:5000" (no names).
///
/// text: UTF-8, NUL-terminated. out: written on success, else zeroed.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_PANIC. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_addr_parse(text: *const c_char, out: *mut hp_addr) -> hp_status {
    guard(|| {
        if out.is_null() {
            return HP_STATUS_INVALID_ARGUMENT;
        }
        // SAFETY: not NULL, so writable by the caller's promise.
        unsafe { *out = hp_addr::default() };
        if text.is_null() {
            return HP_STATUS_INVALID_ARGUMENT;
        }
        // SAFETY: not NULL, so NUL-terminated by the caller's promise.
        let text = unsafe { CStr::from_ptr(text) }.to_str().unwrap_or_default();
        match text.parse::<SocketAddr>() {
            Ok(address) => {
                // SAFETY: as above.
                unsafe { *out = address.into() };
                HP_STATUS_OK
            }
            Err(_) => HP_STATUS_INVALID_ARGUMENT,
        }
    })
}

/// Writes an address as hp_addr_parse reads it, NUL-terminated.
///
/// buffer: capacity bytes; HP_ADDR_TEXT_LEN always suffice. needed: NULL, or set to the size required with the NUL.
/// Returns HP_STATUS_OK, HP_STATUS_BUFFER_TOO_SMALL, HP_STATUS_INVALID_ARGUMENT (addr is NULL or of no family),
/// HP_STATUS_PANIC. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_addr_format(
    addr: *const hp_addr,
    buffer: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> hp_status {
    guard(|| {
        // SAFETY: NULL or writable by the caller's promise.
        unsafe { clear_text(buffer.cast(), capacity, needed) };
        // SAFETY: NULL or readable by the caller's promise.
        let Some(address) = unsafe { addr.as_ref() }.and_then(|addr| addr.to_socket_addr()) else {
            return HP_STATUS_INVALID_ARGUMENT;
        };
        // SAFETY: the caller promises `capacity` writable bytes.
        unsafe { write_text(&address.to_string(), buffer.cast(), capacity, needed) }
    })
}

/// Turns an address into a struct sockaddr_in or sockaddr_in6 for sendto and the like.
///
/// sockaddr: capacity bytes (sizeof(struct sockaddr_storage) always suffices). len: set to the bytes required, which is
/// what sendto wants as its last argument; a socklen_t where that is 32 bits wide.
/// Returns HP_STATUS_OK, HP_STATUS_BUFFER_TOO_SMALL, HP_STATUS_INVALID_ARGUMENT, HP_STATUS_PANIC. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_addr_to_sockaddr(
    addr: *const hp_addr,
    sockaddr: *mut c_void,
    capacity: u32,
    len: *mut u32,
) -> hp_status {
    guard(|| {
        if len.is_null() {
            return HP_STATUS_INVALID_ARGUMENT;
        }
        // SAFETY: not NULL, so writable by the caller's promise.
        unsafe { *len = 0 };
        // SAFETY: NULL or readable by the caller's promise.
        let Some(address) = unsafe { addr.as_ref() }.and_then(|addr| addr.to_socket_addr()) else {
            return HP_STATUS_INVALID_ARGUMENT;
        };
        let native = SockAddr::from(address);
        // SAFETY: as above.
        unsafe { *len = native.len() };
        if sockaddr.is_null() || capacity < native.len() {
            return HP_STATUS_BUFFER_TOO_SMALL;
        }
        // SAFETY: the caller promises `capacity` writable bytes, which suffice.
        unsafe {
            std::ptr::copy_nonoverlapping(
                native.as_ptr().cast::<u8>(),
                sockaddr.cast::<u8>(),
                native.len() as usize,
            );
        }
        HP_STATUS_OK
    })
}

/// Turns what recvfrom wrote into an address. An IPv4-mapped IPv6 address becomes IPv4.
///
/// sockaddr: len bytes. out: written on success, else zeroed.
/// Returns HP_STATUS_OK, HP_STATUS_INVALID_ARGUMENT (NULL, too short, or neither IPv4 nor IPv6), HP_STATUS_PANIC.
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hp_addr_from_sockaddr(
    sockaddr: *const c_void,
    len: u32,
    out: *mut hp_addr,
) -> hp_status {
    guard(|| {
        if out.is_null() {
            return HP_STATUS_INVALID_ARGUMENT;
        }
        // SAFETY: not NULL, so writable by the caller's promise.
        unsafe { *out = hp_addr::default() };
        if sockaddr.is_null() || len as usize > size_of::<libc::sockaddr_storage>() {
            return HP_STATUS_INVALID_ARGUMENT;
        }
        // SAFETY: the caller promises `len` readable bytes, and the storage is at least as large.
        let parsed = unsafe {
            SockAddr::try_init(|storage, storage_len| {
                std::ptr::copy_nonoverlapping(sockaddr.cast::<u8>(), storage.cast::<u8>(), len as usize);
                *storage_len = len;
                Ok(())
            })
        };
        let Some((_, native)) = parsed.ok() else { return HP_STATUS_INVALID_ARGUMENT };
        let required = match i32::from(native.family()) {
            libc::AF_INET => size_of::<libc::sockaddr_in>(),
            libc::AF_INET6 => size_of::<libc::sockaddr_in6>(),
            _ => return HP_STATUS_INVALID_ARGUMENT,
        };
        let Some(address) = native.as_socket().filter(|_| len as usize >= required) else {
            return HP_STATUS_INVALID_ARGUMENT;
        };
        let address = match address {
            SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_some() => {
                SocketAddr::new(address.ip().to_canonical(), address.port())
            }
            _ => address,
        };
        // SAFETY: as above.
        unsafe { *out = address.into() };
        HP_STATUS_OK
    })
}

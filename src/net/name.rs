//! Socket addresses as the kernel reads and writes them, many at a time: small, and without copies of the room for all families.

use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// An IPv4 or IPv6 socket address.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) union Name {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl Default for Name {
    fn default() -> Self {
        // SAFETY: zeroed addresses are valid, and of no family.
        unsafe { mem::zeroed() }
    }
}

impl Name {
    /// Bytes that there is room for.
    pub(super) const LEN: libc::socklen_t = size_of::<Self>() as libc::socklen_t;

    /// What the kernel takes for the address, and how many bytes of it.
    pub(super) fn new(address: SocketAddr) -> (Self, libc::socklen_t) {
        let mut name = Self::default();
        match address {
            SocketAddr::V4(v4) => {
                // SAFETY: the whole union was zeroed, so either address in it may be written to.
                let to = unsafe { &mut name.v4 };
                to.sin_family = libc::AF_INET as libc::sa_family_t;
                to.sin_port = v4.port().to_be();
                to.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
                (name, size_of::<libc::sockaddr_in>() as libc::socklen_t)
            }
            SocketAddr::V6(v6) => {
                // SAFETY: as above.
                let to = unsafe { &mut name.v6 };
                to.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                to.sin6_port = v6.port().to_be();
                to.sin6_flowinfo = v6.flowinfo();
                to.sin6_addr.s6_addr = v6.ip().octets();
                to.sin6_scope_id = v6.scope_id();
                (name, Self::LEN)
            }
        }
    }

    /// The address, of which the kernel has written so many bytes; `None` if it is of another family.
    pub(super) fn read(&self, len: libc::socklen_t) -> Option<SocketAddr> {
        // SAFETY: all bytes are initialised, any are valid for either address, and both have the family at the same place.
        let (v4, v6) = unsafe { (&self.v4, &self.v6) };
        match i32::from(v4.sin_family) {
            libc::AF_INET if len as usize >= size_of::<libc::sockaddr_in>() => {
                let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
            }
            libc::AF_INET6 if len >= Self::LEN => {
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                let port = u16::from_be(v6.sin6_port);
                Some(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_were_written() {
        let scoped = SocketAddrV6::new("fe80::1".parse().unwrap(), 7, 0, 3);
        for address in
            ["192.0.2.1:5000".parse().unwrap(), "[2001:db8::1]:65535".parse().unwrap(), scoped.into()]
        {
            let (name, len) = Name::new(address);
            assert_eq!(name.read(len), Some(address));
            assert_eq!(name.read(len - 1), None);
        }
        assert_eq!(Name::default().read(Name::LEN), None);
    }
}

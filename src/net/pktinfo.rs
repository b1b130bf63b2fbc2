//! Which of our own addresses a datagram was sent to, and sending the answer from there (RFC 3542 section 6).
//!
//! A socket on the wildcard address would answer from whatever address the system prefers; a client on the other side
//! of a NAT never gets to see such an answer.

use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;

use socket2::Socket;

/// Room for one control message of either family, aligned as the kernel wants it.
pub(crate) type ControlBuffer = [u64; 8];

/// Asks the kernel to tell. Where it does not, answers leave from the address that it prefers.
pub(crate) fn enable(socket: &Socket, ipv6: bool) {
    let (level, name) = if ipv6 {
        (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)
    } else {
        (libc::IPPROTO_IP, libc::IP_PKTINFO)
    };
    let on: i32 = 1;
    // SAFETY: `on` is an int and its size is passed.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(&on).cast(),
            size_of::<i32>() as libc::socklen_t,
        );
    }
}

/// Has `header` receive control messages into `buffer`.
pub(crate) fn prepare(header: &mut libc::msghdr, buffer: &mut ControlBuffer) {
    header.msg_control = buffer.as_mut_ptr().cast();
    header.msg_controllen = size_of::<ControlBuffer>() as _;
}

/// The address that a received datagram was sent to. An IPv4 one on an IPv6 socket comes out as IPv4.
///
/// # Safety
/// The kernel has filled `header` and the control buffer that it points to.
pub(crate) unsafe fn read(header: &libc::msghdr) -> Option<IpAddr> {
    // SAFETY: the CMSG macros walk what the kernel has written, within the length that it has set; the payload of a
    // control message of this level and type is the struct that it is read as.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while !message.is_null() {
            match ((*message).cmsg_level, (*message).cmsg_type) {
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info: libc::in6_pktinfo = std::ptr::read_unaligned(libc::CMSG_DATA(message).cast());
                    return Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)).to_canonical());
                }
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info: libc::in_pktinfo = std::ptr::read_unaligned(libc::CMSG_DATA(message).cast());
                    return Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()).into());
                }
                _ => message = libc::CMSG_NXTHDR(header, message),
            }
        }
    }
    None
}

/// Has the datagram of `header` leave from `local`, by way of `buffer`. `ipv6`: the socket's family.
pub(crate) fn write(header: &mut libc::msghdr, buffer: &mut ControlBuffer, local: IpAddr, ipv6: bool) {
    let (level, kind, len) = if ipv6 {
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, size_of::<libc::in6_pktinfo>())
    } else {
        (libc::IPPROTO_IP, libc::IP_PKTINFO, size_of::<libc::in_pktinfo>())
    };
    header.msg_control = buffer.as_mut_ptr().cast();
    // SAFETY: the buffer has room for one header and the larger of both structs, and it is aligned for both; zeroed
    // structs of both kinds are valid.
    unsafe {
        header.msg_controllen = libc::CMSG_SPACE(len as u32) as _;
        let message = libc::CMSG_FIRSTHDR(header);
        (*message).cmsg_level = level;
        (*message).cmsg_type = kind;
        (*message).cmsg_len = libc::CMSG_LEN(len as u32) as _;
        match local {
            _ if ipv6 => {
                let mut info: libc::in6_pktinfo = mem::zeroed();
                info.ipi6_addr.s6_addr = match local {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                    IpAddr::V6(v6) => v6.octets(),
                };
                std::ptr::write_unaligned(libc::CMSG_DATA(message).cast(), info);
            }
            IpAddr::V4(v4) => {
                let mut info: libc::in_pktinfo = mem::zeroed();
                info.ipi_spec_dst.s_addr = u32::from_ne_bytes(v4.octets());
                std::ptr::write_unaligned(libc::CMSG_DATA(message).cast(), info);
            }
            // An IPv6 address on an IPv4 socket: the system chooses.
            IpAddr::V6(_) => header.msg_controllen = 0,
        }
    }
}

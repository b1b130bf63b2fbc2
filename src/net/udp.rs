//! One UDP socket as the client drives it.
//!
//! I/O uses `MSG_DONTWAIT` and never `O_NONBLOCK`, which duplicates of a descriptor share: the caller gets a blocking
//! socket, whatever happened before.

use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::batch::{RECEIVE_BUFFER, ReceiveBatch, ReceivedDatagram, SendBatch};
use super::interfaces::{address_towards, host_addresses};
use crate::proto::Transmit;
use crate::proto::connect::Unreachable;

/// A client's UDP socket: unconnected, close-on-exec. Our own is blocking, and an IPv6 one takes no IPv4.
#[derive(Debug)]
pub(crate) struct UdpEndpoint {
    socket: Socket,
    families: Families,
    given: bool,
}

/// What a socket sends to and receives from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Families {
    Ipv4,
    Ipv6,
    /// Both, with IPv4 addresses in their IPv4-mapped IPv6 form (RFC 4291 section 2.5.5.2).
    Both,
    /// IPv4 alone, in that form: bound to such an address.
    MappedIpv4,
}

impl Families {
    /// What a bound, unconnected UDP socket reaches; an error if it is none.
    fn of(socket: &Socket) -> io::Result<Self> {
        let refused = |why: &str| Err(io::Error::new(ErrorKind::InvalidInput, why));
        if socket.r#type()? != Type::DGRAM {
            return refused("it is of another type");
        }
        let Some(bound) = socket.local_addr()?.as_socket() else { return refused("it is of another family") };
        if bound.port() == 0 {
            return refused("it is not bound");
        }
        if socket.peer_addr().is_ok() {
            return refused("it is connected");
        }
        Ok(match bound {
            SocketAddr::V4(_) => Self::Ipv4,
            SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_some() => Self::MappedIpv4,
            SocketAddr::V6(v6) if v6.ip().is_unspecified() && !socket.only_v6()? => Self::Both,
            SocketAddr::V6(_) => Self::Ipv6,
        })
    }
}

impl UdpEndpoint {
    /// Binds to `local`.
    pub(crate) fn bind(local: SocketAddr) -> io::Result<Self> {
        let domain = Domain::for_address(local);
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        if domain == Domain::IPV6 {
            socket.set_only_v6(true)?;
        }
        socket.bind(&local.into())?;
        let families = if local.is_ipv4() { Families::Ipv4 } else { Families::Ipv6 };
        Ok(Self { socket, families, given: false })
    }

    /// Uses a socket that the caller has made, or gives it back.
    pub(crate) fn adopt(socket: std::net::UdpSocket) -> Result<Self, (io::Error, std::net::UdpSocket)> {
        let socket = Socket::from(socket);
        match Families::of(&socket) {
            Ok(families) => Ok(Self { socket, families, given: true }),
            Err(error) => Err((error, socket.into())),
        }
    }

    /// Whether the caller has made it.
    pub(crate) fn is_given(&self) -> bool {
        self.given
    }

    /// Whether it reaches IPv4 endpoints.
    pub(crate) fn takes_ipv4(&self) -> bool {
        self.families != Families::Ipv6
    }

    /// Whether it reaches IPv6 endpoints.
    pub(crate) fn takes_ipv6(&self) -> bool {
        matches!(self.families, Families::Ipv6 | Families::Both)
    }

    /// The address that the socket is bound to.
    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        let address = self.socket.local_addr()?.as_socket();
        address.map(canonical).ok_or_else(|| ErrorKind::Unsupported.into())
    }

    /// Our own address on the way to `remote`, with this socket's port. Sends nothing.
    pub(crate) fn host_candidate(&self, remote: SocketAddr) -> Option<SocketAddr> {
        let bound = self.local_address().ok()?;
        if !bound.ip().is_unspecified() {
            return Some(bound);
        }
        address_towards(remote).map(|ip| SocketAddr::new(ip, bound.port()))
    }

    /// The same, and this host's other addresses in the same family, if the socket takes what comes to them.
    pub(crate) fn host_candidates(&self, remote: SocketAddr) -> Vec<SocketAddr> {
        let Some(first) = self.host_candidate(remote) else { return Vec::new() };
        let bound_to_one = self.local_address().is_ok_and(|bound| !bound.ip().is_unspecified());
        if bound_to_one {
            return vec![first];
        }
        host_addresses(first.ip()).into_iter().map(|ip| SocketAddr::new(ip, first.port())).collect()
    }

    /// Sends at once or not at all.
    pub(crate) fn send(&self, payload: &[u8], destination: SocketAddr) -> io::Result<()> {
        let destination = match (self.families, destination) {
            (Families::Both | Families::MappedIpv4, SocketAddr::V4(v4)) => {
                SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port()))
            }
            _ => destination,
        };
        self.socket.send_to_with_flags(payload, &SockAddr::from(destination), libc::MSG_DONTWAIT).map(drop)
    }

    /// Sends what was queued, as far as the kernel takes it.
    pub(crate) fn send_batch(&self, batch: &mut SendBatch) {
        let ipv6 = self.families != Families::Ipv4;
        batch.send(&self.socket, ipv6, matches!(self.families, Families::Both | Families::MappedIpv4));
    }

    /// Takes what has come, a batch at most.
    pub(crate) fn receive_batch<'a>(
        &self,
        batch: &'a mut ReceiveBatch,
    ) -> io::Result<&'a [ReceivedDatagram]> {
        batch.receive_from(&self.socket, libc::MSG_DONTWAIT)
    }

    /// Has the kernel keep more of what comes before it is read, if it may.
    pub(crate) fn widen(&self) {
        let _ = self.socket.set_recv_buffer_size(RECEIVE_BUFFER);
    }

    /// Sends what a machine wants sent.
    pub(crate) fn transmit(&self, transmit: &Transmit) -> io::Result<()> {
        match transmit.ttl {
            Some(ttl) => self.send_with_ttl(&transmit.payload, transmit.destination, ttl),
            None => self.send(&transmit.payload, transmit.destination),
        }
    }

    /// Sends a datagram that passes so many routers at most. The socket's own setting is back afterwards.
    fn send_with_ttl(&self, payload: &[u8], destination: SocketAddr, ttl: u8) -> io::Result<()> {
        if destination.is_ipv6() {
            return self.send(payload, destination);
        }
        let usual = self.socket.ttl_v4()?;
        self.socket.set_ttl_v4(ttl.into())?;
        let sent = self.send(payload, destination);
        self.socket.set_ttl_v4(usual)?;
        sent
    }

    /// A further socket for the same purpose, on another port of the same address.
    pub(crate) fn another_ipv4(&self) -> io::Result<Self> {
        let ip = match self.local_address()?.ip() {
            IpAddr::V4(ip) => ip,
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        };
        Self::bind((ip, 0).into())
    }

    /// Looks at the next datagram without consuming it; `None` if there is none.
    pub(crate) fn peek<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<(&'a [u8], SocketAddr)>> {
        self.receive_with(buffer, libc::MSG_PEEK)
    }

    /// Consumes the next datagram, which [`Self::peek`] has shown.
    pub(crate) fn discard(&self) {
        let _ = self.receive_with(&mut [], 0);
    }

    /// Takes the next datagram; `None` if there is none.
    pub(crate) fn receive<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<(&'a [u8], SocketAddr)>> {
        self.receive_with(buffer, 0)
    }

    /// Looks at the beginning of the next datagram without consuming it: how long it is, and where it came from; `None` if there is none.
    pub(crate) fn look(&self, beginning: &mut [u8]) -> io::Result<Option<(usize, SocketAddr)>> {
        // SAFETY: `u8` and `MaybeUninit<u8>` have the same layout, and the kernel writes initialised bytes only.
        let uninit = unsafe { &mut *(std::ptr::from_mut::<[u8]>(beginning) as *mut [MaybeUninit<u8>]) };
        let flags = libc::MSG_PEEK | libc::MSG_TRUNC | libc::MSG_DONTWAIT;
        match self.socket.recv_from_with_flags(uninit, flags) {
            Ok((len, source)) => {
                Ok(Some((len, source.as_socket().map(canonical).ok_or(ErrorKind::InvalidData)?)))
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn receive_with<'a>(
        &self,
        buffer: &'a mut [u8],
        flags: i32,
    ) -> io::Result<Option<(&'a [u8], SocketAddr)>> {
        // SAFETY: `u8` and `MaybeUninit<u8>` have the same layout, and the kernel writes initialised bytes only.
        let uninit = unsafe { &mut *(std::ptr::from_mut::<[u8]>(buffer) as *mut [MaybeUninit<u8>]) };
        match self.socket.recv_from_with_flags(uninit, flags | libc::MSG_DONTWAIT) {
            Ok((len, source)) => {
                let source = source.as_socket().ok_or(ErrorKind::InvalidData)?;
                Ok(Some((&buffer[..len], canonical(source))))
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The descriptor, for polling and lending.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Asks the kernel to report ICMP errors, or to stop doing so and forget those it holds.
    #[cfg(target_os = "linux")]
    pub(crate) fn report_unreachable(&self, on: bool) {
        let of_ipv4 = (self.takes_ipv4(), libc::SOL_IP, libc::IP_RECVERR);
        let of_ipv6 = (self.families != Families::Ipv4, libc::SOL_IPV6, libc::IPV6_RECVERR);
        let value = i32::from(on);
        for (_, level, name) in [of_ipv4, of_ipv6].into_iter().filter(|(applies, ..)| *applies) {
            // SAFETY: `value` is an int and its size is passed. Failure leaves the errors unreported, which is harmless.
            unsafe {
                libc::setsockopt(
                    self.socket.as_raw_fd(),
                    level,
                    name,
                    std::ptr::from_ref(&value).cast(),
                    size_of::<i32>() as libc::socklen_t,
                );
            }
        }
        if !on {
            let _ = self.socket.take_error();
        }
    }

    /// The next ICMP error that the kernel reports.
    #[cfg(target_os = "linux")]
    pub(crate) fn next_report(&self) -> Option<Report> {
        let mut payload = [0u8; 64];
        let mut control = [0u64; 32];
        let mut error = None;
        let mut iov = libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: payload.len() };
        // SAFETY: the closure hands recvmsg a zeroed msghdr whose pointers all refer to live local buffers of the given
        // sizes; the control messages are walked with the CMSG macros within what the kernel says that it wrote.
        let (len, destination) = unsafe {
            SockAddr::try_init(|storage, len| {
                let mut message: libc::msghdr = std::mem::zeroed();
                message.msg_name = storage.cast();
                message.msg_namelen = *len;
                message.msg_iov = &raw mut iov;
                message.msg_iovlen = 1;
                message.msg_control = control.as_mut_ptr().cast();
                message.msg_controllen = size_of_val(&control) as _;
                let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
                let received = libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, flags);
                if received < 0 {
                    return Err(io::Error::last_os_error());
                }
                *len = message.msg_namelen;
                let mut header = libc::CMSG_FIRSTHDR(&raw const message);
                while !header.is_null() {
                    let kind = ((*header).cmsg_level, (*header).cmsg_type);
                    if kind == (libc::SOL_IP, libc::IP_RECVERR)
                        || kind == (libc::SOL_IPV6, libc::IPV6_RECVERR)
                    {
                        error = Some(read_report(libc::CMSG_DATA(header)));
                    }
                    header = libc::CMSG_NXTHDR(&raw const message, header);
                }
                Ok(received as usize)
            })
        }
        .ok()?;
        let (errno, passed_too_many) = error?;
        Some(match passed_too_many {
            Some(router) => Report::TimeExceeded { router, payload: payload[..len].to_vec() },
            None => Report::Unreachable(
                destination.as_socket().map(canonical),
                i32::try_from(errno).ok().and_then(unreachable_kind),
            ),
        })
    }

    /// Ends our use of the socket: what the kernel holds for us is dropped, what is the application's stays.
    pub(crate) fn prepare_hand_over(&self, is_ours: impl Fn(&[u8]) -> bool) {
        #[cfg(target_os = "linux")]
        self.report_unreachable(false);
        let mut buffer = [0; crate::proto::wire::MAX_DATAGRAM];
        while let Ok(Some((datagram, _))) = self.peek(&mut buffer)
            && is_ours(datagram)
        {
            self.discard();
        }
    }

    /// Gives the socket away.
    pub(crate) fn into_std(self) -> std::net::UdpSocket {
        self.socket.into()
    }
}

/// What the network says of an earlier datagram.
#[cfg(target_os = "linux")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// It did not get to where it was bound for; why, where that is one of the reasons that matter.
    Unreachable(Option<SocketAddr>, Option<Unreachable>),
    /// It has passed as many routers as it was allowed to.
    TimeExceeded {
        /// Who dropped it.
        router: IpAddr,
        /// The beginning of what was sent, as far as the router returned it.
        payload: Vec<u8>,
    },
}

/// The error number; and for an ICMP "time exceeded in transit" the router that sent it.
///
/// # Safety
/// `data` must point to the `sock_extended_err` of an IP_RECVERR control message and what the kernel put behind it.
#[cfg(target_os = "linux")]
unsafe fn read_report(data: *const u8) -> (u32, Option<IpAddr>) {
    const ICMP_TIME_EXCEEDED: u8 = 11;
    // SAFETY: the caller promises a whole one; control data need not be aligned for it.
    let error: libc::sock_extended_err = unsafe { std::ptr::read_unaligned(data.cast()) };
    let exceeded = error.ee_origin == libc::SO_EE_ORIGIN_ICMP && error.ee_type == ICMP_TIME_EXCEEDED;
    if !exceeded || error.ee_code != 0 {
        return (error.ee_errno, None);
    }
    // SAFETY: the kernel puts the offender's sockaddr_in behind the error of an IPv4 packet.
    let offender: libc::sockaddr_in =
        unsafe { std::ptr::read_unaligned(data.add(size_of::<libc::sock_extended_err>()).cast()) };
    let known = i32::from(offender.sin_family) == libc::AF_INET;
    (error.ee_errno, known.then(|| Ipv4Addr::from(u32::from_be(offender.sin_addr.s_addr)).into()))
}

/// IPv4 in the form that it has everywhere but on a socket that takes both families.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_none() => address,
        _ => SocketAddr::new(address.ip().to_canonical(), address.port()),
    }
}

/// What an error of sending says about the destination, if anything.
pub(crate) fn unreachable_kind(errno: i32) -> Option<Unreachable> {
    match errno {
        libc::ECONNREFUSED => Some(Unreachable::PortClosed),
        libc::ENETUNREACH
        | libc::EHOSTUNREACH
        | libc::ENETDOWN
        | libc::EHOSTDOWN
        | libc::EACCES
        | libc::EPERM => Some(Unreachable::NoRoute),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn loopback() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 0).into()
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn closed_port_is_reported_with_its_address() {
        let closed = UdpEndpoint::bind(loopback()).unwrap().local_address().unwrap();
        let endpoint = UdpEndpoint::bind(loopback()).unwrap();
        endpoint.report_unreachable(true);
        endpoint.send(b"anyone?", closed).unwrap();
        super::super::poll::wait_readable(
            &[endpoint.fd()],
            Some(std::time::Instant::now() + std::time::Duration::from_secs(2)),
        )
        .unwrap();
        let report = Report::Unreachable(Some(closed), Some(Unreachable::PortClosed));
        assert_eq!(endpoint.next_report(), Some(report));
        assert_eq!(endpoint.next_report(), None);
    }

    #[test]
    fn hand_over_leaves_what_is_the_applications() {
        let (endpoint, sender) =
            (UdpEndpoint::bind(loopback()).unwrap(), UdpEndpoint::bind(loopback()).unwrap());
        let to = endpoint.local_address().unwrap();
        for payload in [&b"SYN"[..], b"", b"ACK", b"first", b"ACK"] {
            sender.send(payload, to).unwrap();
        }
        endpoint.prepare_hand_over(crate::proto::wire::is_control_packet);
        let mut buffer = [0; 100];
        assert_eq!(endpoint.peek(&mut buffer).unwrap().unwrap().0, b"first");
        endpoint.discard();
        let rest = endpoint.peek(&mut buffer).unwrap().unwrap().0;
        assert_eq!(rest, b"ACK", "only the head of the queue is cleaned");
    }

    #[test]
    fn host_candidate_is_the_address_towards_the_remote() {
        let endpoint = UdpEndpoint::bind((Ipv4Addr::UNSPECIFIED, 0).into()).unwrap();
        let port = endpoint.local_address().unwrap().port();
        let candidate = endpoint.host_candidate((Ipv4Addr::LOCALHOST, 9).into());
        assert_eq!(candidate, Some((Ipv4Addr::LOCALHOST, port).into()));
    }

    #[test]
    fn given_socket_of_both_families_speaks_ipv4_and_ipv6() {
        let Ok(socket) = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP)) else { return };
        socket.set_only_v6(false).unwrap();
        socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)).into()).unwrap();
        let both = UdpEndpoint::adopt(socket.into()).unwrap();
        let port = both.local_address().unwrap().port();
        assert!(both.takes_ipv4() && both.takes_ipv6() && both.is_given());
        for own in [loopback(), (Ipv6Addr::LOCALHOST, 0).into()] {
            let other = UdpEndpoint::bind(own).unwrap();
            let (to, mut buffer) = (SocketAddr::new(own.ip(), port), [0; 16]);
            other.send(b"hello", to).unwrap();
            let received = both.peek(&mut buffer).unwrap().unwrap();
            assert_eq!(received, (&b"hello"[..], other.local_address().unwrap()));
            both.discard();
            both.send(b"back", other.local_address().unwrap()).unwrap();
            assert_eq!(other.peek(&mut buffer).unwrap().unwrap(), (&b"back"[..], to));
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn given_socket_of_both_families_hears_of_closed_ports_in_both() {
        let Ok(socket) = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP)) else { return };
        socket.set_only_v6(false).unwrap();
        socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)).into()).unwrap();
        let both = UdpEndpoint::adopt(socket.into()).unwrap();
        both.report_unreachable(true);
        for own in [loopback(), (Ipv6Addr::LOCALHOST, 0).into()] {
            let closed = UdpEndpoint::bind(own).unwrap().local_address().unwrap();
            both.send(b"anyone?", closed).unwrap();
            let until = std::time::Instant::now() + std::time::Duration::from_secs(2);
            super::super::poll::wait_readable(&[both.fd()], Some(until)).unwrap();
            let report = Report::Unreachable(Some(closed), Some(Unreachable::PortClosed));
            assert_eq!(both.next_report(), Some(report));
        }
    }

    #[test]
    fn socket_that_cannot_serve_is_refused() {
        let unbound = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
        assert!(UdpEndpoint::adopt(unbound.into()).unwrap_err().0.to_string().contains("not bound"));
        let connected = std::net::UdpSocket::bind(loopback()).unwrap();
        connected.connect(connected.local_addr().unwrap()).unwrap();
        assert!(UdpEndpoint::adopt(connected).unwrap_err().0.to_string().contains("connected"));
        let tcp = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        assert!(UdpEndpoint::adopt(tcp.into()).unwrap_err().0.to_string().contains("type"));
        let (local, _) = std::os::unix::net::UnixDatagram::pair().unwrap();
        let local = std::net::UdpSocket::from(std::os::fd::OwnedFd::from(local));
        assert!(UdpEndpoint::adopt(local).unwrap_err().0.to_string().contains("family"));
    }
}

//! Many datagrams per system call; and the server's socket, which lives by that.

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::name::Name;
#[cfg(target_os = "linux")]
use super::pktinfo::{self, ControlBuffer};
use super::udp::canonical;
use crate::proto::{Route, Transport};

/// Datagrams per system call.
pub(crate) const BATCH: usize = 32;
/// Longest datagram that the server reads; longer ones are cut, and thereby dropped as too long.
pub(crate) const RECEIVE_LEN: usize = 2048;
/// Asked of the kernel for each busy socket; its default holds 256 small datagrams.
pub(crate) const RECEIVE_BUFFER: usize = 4 << 20;

/// One worker's socket.
#[derive(Debug)]
pub(crate) struct ServerSocket {
    socket: Socket,
    ipv6: bool,
    dual_stack: bool,
}

impl ServerSocket {
    /// Binds so that several workers share one address. An IPv6 wildcard takes IPv4, too.
    ///
    /// `first` looks whether someone else has the address: with address sharing on, the kernel would not tell.
    pub(crate) fn bind(mut address: SocketAddr, tick: Duration, first: bool) -> io::Result<Self> {
        let domain = Domain::for_address(address);
        let dual_stack = matches!(address, SocketAddr::V6(v6) if v6.ip().is_unspecified());
        if first {
            let alone = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
            if domain == Domain::IPV6 {
                alone.set_only_v6(!dual_stack)?;
            }
            alone.bind(&address.into())?;
            // Port 0 has become a port that nobody shares.
            let bound = alone.local_addr()?.as_socket().ok_or(io::ErrorKind::Unsupported)?;
            address.set_port(bound.port());
        }
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        if domain == Domain::IPV6 {
            socket.set_only_v6(!dual_stack)?;
        }
        socket.set_reuse_port(true)?;
        socket.set_read_timeout(Some(tick))?;
        grow_receive_buffer(&socket);
        #[cfg(target_os = "linux")]
        if address.ip().is_unspecified() {
            pktinfo::enable(&socket, domain == Domain::IPV6);
        }
        socket.bind(&address.into())?;
        Ok(Self { socket, ipv6: domain == Domain::IPV6, dual_stack })
    }

    /// Takes a socket that was bound elsewhere, and gives it what those have that [`Self::bind`] has bound.
    pub(crate) fn from_inherited(socket: Socket, tick: Duration) -> io::Result<Self> {
        let address = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::Unsupported)?;
        let ipv6 = address.is_ipv6();
        let dual_stack = ipv6 && address.ip().is_unspecified() && !socket.only_v6()?;
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(tick))?;
        // Whoever has bound it may have had the privilege for a larger buffer than we could ask for; ours would take that away.
        if socket.recv_buffer_size()? < RECEIVE_BUFFER {
            grow_receive_buffer(&socket);
        }
        #[cfg(target_os = "linux")]
        if address.ip().is_unspecified() {
            pktinfo::enable(&socket, ipv6);
        }
        Ok(Self { socket, ipv6, dual_stack })
    }

    /// The bound address.
    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    /// The descriptor, for polling.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// How many datagrams the kernel has dropped since the socket was made, because its receive buffer was full; modulo 2^32.
    pub(crate) fn dropped(&self) -> u32 {
        #[cfg(target_os = "linux")]
        {
            /// Of `linux/sock_diag.h`, which libc does not have.
            const SK_MEMINFO_DROPS: usize = 8;
            let mut info = [0u32; SK_MEMINFO_DROPS + 1];
            let mut len = size_of_val(&info) as libc::socklen_t;
            // SAFETY: the kernel writes at most `len` bytes into `info`.
            unsafe {
                libc::getsockopt(
                    self.socket.as_raw_fd(),
                    libc::SOL_SOCKET,
                    libc::SO_MEMINFO,
                    info.as_mut_ptr().cast(),
                    &raw mut len,
                );
            }
            info[SK_MEMINFO_DROPS]
        }
        #[cfg(not(target_os = "linux"))]
        0
    }

    /// Waits for datagrams until the tick has passed, and takes as many as there are.
    pub(crate) fn receive<'a>(&self, batch: &'a mut ReceiveBatch) -> io::Result<&'a [ReceivedDatagram]> {
        batch.receive_from(&self.socket, libc::MSG_WAITFORONE as _)
    }

    /// Sends all that was queued. A datagram that the kernel refuses is skipped; returns how many were.
    pub(crate) fn send(&self, batch: &mut SendBatch) -> usize {
        batch.send(&self.socket, self.ipv6, self.dual_stack)
    }
}

fn grow_receive_buffer(socket: &Socket) {
    let size = RECEIVE_BUFFER as i32;
    // SAFETY: `size` is an int and its size is passed. It needs privilege; without it the ordinary option is tried.
    #[cfg(target_os = "linux")]
    let forced = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            std::ptr::from_ref(&size).cast(),
            size_of::<i32>() as libc::socklen_t,
        ) == 0
    };
    #[cfg(not(target_os = "linux"))]
    let forced = false;
    if !forced {
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    }
}

/// Where a received datagram lies and whence it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReceivedDatagram {
    pub(crate) index: usize,
    pub(crate) len: usize,
    pub(crate) route: Route,
}

/// What the kernel says of one datagram.
#[derive(Clone, Copy, Default)]
struct Arrival {
    len: usize,
    name_len: libc::socklen_t,
    cut: bool,
    local: Option<IpAddr>,
}

/// Memory for one batch of received datagrams, reused.
pub(crate) struct ReceiveBatch {
    buffers: Box<[[u8; RECEIVE_LEN]; BATCH]>,
    names: Box<[Name; BATCH]>,
    #[cfg(target_os = "linux")]
    controls: Box<[ControlBuffer; BATCH]>,
    lens: [Arrival; BATCH],
    received: Vec<ReceivedDatagram>,
    unread: usize,
}

impl ReceiveBatch {
    pub(crate) fn new() -> Self {
        Self {
            buffers: vec![[0; RECEIVE_LEN]; BATCH].into_boxed_slice().try_into().expect("BATCH elements"),
            names: Box::new([Name::default(); BATCH]),
            #[cfg(target_os = "linux")]
            controls: Box::new([ControlBuffer::default(); BATCH]),
            lens: [Arrival::default(); BATCH],
            received: Vec::with_capacity(BATCH),
            unread: 0,
        }
    }

    /// A received datagram's payload.
    pub(crate) fn payload(&self, datagram: &ReceivedDatagram) -> &[u8] {
        &self.buffers[datagram.index][..datagram.len]
    }

    /// How many datagrams the last receive brought.
    pub(crate) fn len(&self) -> usize {
        self.received.len()
    }

    /// How many more it brought that were too long to be read, or from no endpoint.
    pub(crate) fn unread(&self) -> usize {
        self.unread
    }

    /// Datagram number `index` of the last receive.
    pub(crate) fn get(&self, index: usize) -> ReceivedDatagram {
        self.received[index]
    }

    /// Takes as many datagrams as there are, at most [`BATCH`]; `flags` are the system call's.
    pub(crate) fn receive_from(&mut self, socket: &Socket, flags: i32) -> io::Result<&[ReceivedDatagram]> {
        self.received.clear();
        self.unread = 0;
        let count = self.receive(socket, flags)?;
        for index in 0..count {
            self.note(index);
        }
        self.unread = count - self.received.len();
        Ok(&self.received)
    }

    #[cfg(target_os = "linux")]
    fn receive(&mut self, socket: &Socket, flags: i32) -> io::Result<usize> {
        // SAFETY: zeroed iovec and mmsghdr are valid; all that is used of them is set below.
        let (mut iovs, mut headers): ([libc::iovec; BATCH], [libc::mmsghdr; BATCH]) =
            unsafe { mem::zeroed() };
        for index in 0..BATCH {
            iovs[index] =
                libc::iovec { iov_base: self.buffers[index].as_mut_ptr().cast(), iov_len: RECEIVE_LEN };
            let header = &mut headers[index].msg_hdr;
            header.msg_name = (&raw mut self.names[index]).cast();
            header.msg_namelen = Name::LEN;
            header.msg_iov = &raw mut iovs[index];
            header.msg_iovlen = 1;
            pktinfo::prepare(header, &mut self.controls[index]);
        }
        // SAFETY: every header points to a name, a control buffer and to one iovec over a buffer of the length given, all of which live
        // across the call. The socket's receive timeout bounds the wait for the first datagram.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                flags as _,
                std::ptr::null_mut(),
            )
        };
        if count < 0 {
            return none_if_would_block(io::Error::last_os_error());
        }
        for (index, header) in headers.iter().enumerate().take(count as usize) {
            self.lens[index] = Arrival {
                len: header.msg_len as usize,
                name_len: header.msg_hdr.msg_namelen,
                cut: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
                // SAFETY: the kernel has just filled this header.
                local: unsafe { pktinfo::read(&header.msg_hdr) },
            };
        }
        Ok(count as usize)
    }

    #[cfg(not(target_os = "linux"))]
    fn receive(&mut self, socket: &Socket, flags: i32) -> io::Result<usize> {
        // SAFETY: `u8` and `MaybeUninit<u8>` have the same layout, and the kernel writes initialised bytes only.
        let buffer =
            unsafe { &mut *((&raw mut self.buffers[0]) as *mut [mem::MaybeUninit<u8>; RECEIVE_LEN]) };
        match socket.recv_from_with_flags(buffer, flags & libc::MSG_DONTWAIT) {
            Ok((len, source)) => {
                let name_len;
                (self.names[0], name_len) = source.as_socket().map_or((Name::default(), 0), Name::new);
                self.lens[0] = Arrival { len, name_len, cut: len == RECEIVE_LEN, local: None };
                Ok(1)
            }
            Err(error) => none_if_would_block(error),
        }
    }

    fn note(&mut self, index: usize) {
        let Arrival { len, name_len, cut, local } = self.lens[index];
        let Some(source) = self.names[index].read(name_len) else { return };
        if !cut {
            // A dual-stack socket shows IPv4 as mapped IPv6; everywhere else it is plain IPv4.
            let route = Route { remote: canonical(source), local, transport: Transport::Udp };
            self.received.push(ReceivedDatagram { index, len, route });
        }
    }
}

fn none_if_would_block(error: io::Error) -> io::Result<usize> {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::TimedOut => Ok(0),
        // An ICMP error about an earlier reply; the datagrams behind it are read next time.
        io::ErrorKind::ConnectionRefused => Ok(0),
        _ => Err(error),
    }
}

/// Datagrams to be sent together, in reused memory.
#[derive(Default)]
pub(crate) struct SendBatch {
    bytes: Vec<u8>,
    queue: Vec<(Route, usize, usize)>,
    names: Vec<(Name, libc::socklen_t)>,
}

impl SendBatch {
    /// Queues a datagram.
    pub(crate) fn push(&mut self, destination: Route, payload: &[u8]) {
        self.queue.push((destination, self.bytes.len(), payload.len()));
        self.bytes.extend_from_slice(payload);
    }

    /// How many datagrams wait.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Sends all that was queued; returns how many the kernel has refused.
    pub(crate) fn send(&mut self, socket: &Socket, ipv6: bool, dual_stack: bool) -> usize {
        self.names.clear();
        self.names.extend(self.queue.iter().map(|(destination, ..)| {
            Name::new(match destination.remote {
                SocketAddr::V4(v4) if dual_stack => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
                other => other,
            })
        }));
        let refused = self.send_all(socket, ipv6);
        self.clear();
        refused
    }

    /// Forgets what was queued.
    pub(crate) fn clear(&mut self) {
        self.queue.clear();
        self.bytes.clear();
    }

    #[cfg(target_os = "linux")]
    fn send_all(&mut self, socket: &Socket, ipv6: bool) -> usize {
        let (mut at, mut refused, mut tried) = (0, 0, None);
        while at < self.queue.len() {
            let end = (at + BATCH).min(self.queue.len());
            // SAFETY: zeroed iovec and mmsghdr are valid; all that is used of them is set below.
            let (mut iovs, mut headers): ([libc::iovec; BATCH], [libc::mmsghdr; BATCH]) =
                unsafe { mem::zeroed() };
            let mut controls = [ControlBuffer::default(); BATCH];
            for (slot, index) in (at..end).enumerate() {
                let (route, start, len) = self.queue[index];
                iovs[slot] =
                    libc::iovec { iov_base: self.bytes[start..].as_ptr().cast_mut().cast(), iov_len: len };
                let header = &mut headers[slot].msg_hdr;
                let (name, name_len) = &self.names[index];
                header.msg_name = std::ptr::from_ref(name).cast_mut().cast();
                header.msg_namelen = *name_len;
                header.msg_iov = &raw mut iovs[slot];
                header.msg_iovlen = 1;
                if let Some(local) = route.local {
                    pktinfo::write(header, &mut controls[slot], local, ipv6);
                }
            }
            // SAFETY: the first `end - at` headers point to names, control messages and payloads that live across the call.
            let sent = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    headers.as_mut_ptr(),
                    (end - at) as libc::c_uint,
                    libc::MSG_DONTWAIT as _,
                )
            };
            if sent > 0 {
                at += sent as usize;
                continue;
            }
            let kind = io::Error::last_os_error().kind();
            if kind == io::ErrorKind::ConnectionRefused && tried.replace(at) != Some(at) {
                // That is about an earlier datagram.
                continue;
            }
            if kind != io::ErrorKind::Interrupted {
                // The first one is what the kernel does not take: no route, a full queue. It is lost, as datagrams are.
                refused += 1;
                at += 1;
            }
        }
        refused
    }

    #[cfg(not(target_os = "linux"))]
    fn send_all(&mut self, socket: &Socket, _ipv6: bool) -> usize {
        let payload = |start: usize, len: usize| &self.bytes[start..start + len];
        let sends = self.queue.iter().zip(&self.names).map(|((_, start, len), (name, name_len))| {
            let address = name.read(*name_len).expect("it was made of an address");
            socket.send_to(payload(*start, *len), &address.into())
        });
        sends.filter(Result::is_err).count()
    }
}

/// The wildcard address that takes IPv6 and IPv4, or IPv4 only where the system has no IPv6.
pub(crate) fn default_address(port: u16) -> SocketAddr {
    let ipv6 = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP)).is_ok();
    if ipv6 { (Ipv6Addr::UNSPECIFIED, port).into() } else { (Ipv4Addr::UNSPECIFIED, port).into() }
}

//! Reading and writing the primitive fields: big-endian integers, byte strings, endpoints.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Why a datagram is not a valid native message. Such datagrams are counted and dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The magic is missing: not a native datagram at all.
    NotNative,
    /// A version that this build does not speak.
    Version(u8),
    /// A message type that this build does not know.
    Type(u8),
    /// Ends before a field does, or is longer than [`super::MAX_DATAGRAM`].
    Length,
    /// A field holds a value that the specification does not allow.
    Field,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotNative => f.write_str("not a native datagram"),
            Self::Version(version) => write!(f, "version {version} is not spoken here"),
            Self::Type(kind) => write!(f, "message type {kind:#04x} is not known here"),
            Self::Length => f.write_str("wrong length"),
            Self::Field => f.write_str("a field holds a value that is not allowed"),
        }
    }
}

impl std::error::Error for Malformed {}

/// Address families on the wire.
const FAMILY_IPV4: u8 = 4;
const FAMILY_IPV6: u8 = 6;

/// Longest endpoint on the wire: family, port, IPv6 address.
pub const MAX_ENDPOINT_LEN: usize = 1 + 2 + 16;

/// Bytes that an endpoint takes on the wire.
pub fn endpoint_len(endpoint: SocketAddr) -> usize {
    if endpoint.is_ipv4() { 1 + 2 + 4 } else { MAX_ENDPOINT_LEN }
}

/// Takes fields off the front of a datagram.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the front of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `len` bytes.
    pub fn slice(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(Malformed::Length)?;
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed::Length)?;
        self.rest = rest;
        Ok(*head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// An endpoint: family (4 or 6), port, address.
    pub fn endpoint(&mut self) -> Result<SocketAddr, Malformed> {
        let family = self.u8()?;
        let port = self.u16()?;
        let ip: IpAddr = match family {
            FAMILY_IPV4 => Ipv4Addr::from(self.array::<4>()?).into(),
            FAMILY_IPV6 => Ipv6Addr::from(self.array::<16>()?).into(),
            _ => return Err(Malformed::Field),
        };
        Ok(SocketAddr::new(ip, port))
    }
}

/// Puts fields into a buffer that the caller has made large enough.
#[derive(Debug)]
pub struct Writer<'a> {
    buffer: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    /// Starts at the front of `buffer`.
    pub fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, at: 0 }
    }

    /// Bytes written so far.
    pub fn written(&self) -> usize {
        self.at
    }

    /// Bytes that still fit.
    pub fn remaining(&self) -> usize {
        self.buffer.len() - self.at
    }

    /// What has been written so far.
    pub fn as_slice(&self) -> &[u8] {
        &self.buffer[..self.at]
    }

    /// Some bytes.
    pub fn slice(&mut self, bytes: &[u8]) {
        self.buffer[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.slice(&[value]);
    }

    /// Two bytes.
    pub fn u16(&mut self, value: u16) {
        self.slice(&value.to_be_bytes());
    }

    /// Four bytes.
    pub fn u32(&mut self, value: u32) {
        self.slice(&value.to_be_bytes());
    }

    /// Eight bytes.
    pub fn u64(&mut self, value: u64) {
        self.slice(&value.to_be_bytes());
    }

    /// An endpoint; an IPv6 scope stays behind, it means nothing to another host.
    pub fn endpoint(&mut self, endpoint: SocketAddr) {
        match endpoint {
            SocketAddr::V4(v4) => {
                self.u8(FAMILY_IPV4);
                self.u16(v4.port());
                self.slice(&v4.ip().octets());
            }
            SocketAddr::V6(v6) => {
                self.u8(FAMILY_IPV6);
                self.u16(v6.port());
                self.slice(&v6.ip().octets());
            }
        }
    }

    /// Writes `value` over the byte at `position`, which has been written before.
    pub fn patch_u8(&mut self, position: usize, value: u8) {
        assert!(position < self.at, "only what has been written can be patched");
        self.buffer[position] = value;
    }

    /// Writes `value` over the four bytes at `position`, which have been written before.
    pub fn patch_u32(&mut self, position: usize, value: u32) {
        assert!(position + 4 <= self.at, "only what has been written can be patched");
        self.buffer[position..position + 4].copy_from_slice(&value.to_be_bytes());
    }
}

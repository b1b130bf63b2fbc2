//! Stands for [`super::exchange`] in a build without UPnP: there is nothing of this type.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use crate::net::poll::Interest;
use crate::proto::portmap::HttpRequest;

/// Never started.
#[derive(Debug)]
pub(super) enum Exchange {}

impl Exchange {
    pub(super) fn start(request: HttpRequest, _own: Ipv4Addr, _now: Instant) -> io::Result<Self> {
        match request {}
    }
    pub(super) fn deadline(&self) -> Instant {
        match *self {}
    }
    pub(super) fn interest(&self) -> (BorrowedFd<'_>, Interest) {
        match *self {}
    }
    pub(super) fn proceed(&mut self) -> io::Result<Option<&[u8]>> {
        match *self {}
    }
}

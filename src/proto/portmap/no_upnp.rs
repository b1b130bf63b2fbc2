//! Stands for [`super::upnp`] in a build without it: there is nothing of these types.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

use super::{Event, Mapped, MapperConfig};
use crate::proto::Rng;

/// Never sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpRequest {}

/// Never made.
#[derive(Debug)]
pub(super) enum UpnpClient {}

/// Nowhere.
pub(crate) fn search_endpoints(_gateway: Ipv4Addr) -> Vec<SocketAddrV4> {
    Vec::new()
}

impl UpnpClient {
    pub(super) fn new(_config: &MapperConfig, _rng: Rng, _now: Instant) -> Option<Self> {
        None
    }
    pub(super) fn map(&mut self) {
        match *self {}
    }
    pub(super) fn wants_mapping(&self) -> bool {
        match *self {}
    }
    pub(super) fn mapped(&self) -> Option<&Mapped> {
        match *self {}
    }
    pub(super) fn has_ended(&self) -> bool {
        match *self {}
    }
    pub(super) fn is_searching(&self) -> bool {
        match *self {}
    }
    pub(super) fn stop(&mut self) {
        match *self {}
    }
    pub(super) fn release(&mut self, _now: Instant) {
        match *self {}
    }
    pub(super) fn handle_search_answer(&mut self, _datagram: &[u8], _source: Ipv4Addr) {
        match *self {}
    }
    pub(super) fn handle_http(&mut self, _answer: Option<&[u8]>, _now: Instant) {
        match *self {}
    }
    pub(super) fn handle_timeout(&mut self, _now: Instant) {
        match *self {}
    }
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match *self {}
    }
    pub(super) fn poll_search(&mut self) -> Option<Vec<u8>> {
        match *self {}
    }
    pub(super) fn poll_http(&mut self) -> Option<HttpRequest> {
        match *self {}
    }
    pub(super) fn take_events(&mut self) -> Vec<Event> {
        match *self {}
    }
}

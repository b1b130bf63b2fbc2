//! How a shard serves clients of the plain dialect, who prove nothing, and so may not be sent much more than came from there.

use std::net::SocketAddr;

use super::members::{Member, MemberIndex, Registration};
use super::session::SessionKey;
use super::shard::{Newcomers, Shard};
use crate::proto::keys::truncate;
use crate::proto::wire::codec::{Writer, endpoint_len};
use crate::proto::wire::plain::push_to_list;
use crate::proto::{PeerId, Route, Transport};

/// Bytes of IP and UDP headers, which count, too, in either direction.
fn header_len(remote: &SocketAddr) -> usize {
    if remote.is_ipv4() { 20 + 8 } else { 40 + 8 }
}

impl Shard {
    /// A datagram of `len` bytes has come, which names that session.
    pub(super) fn plain(
        &mut self,
        now: u64,
        source: Route,
        key: SessionKey,
        len: usize,
        newcomers: impl FnOnce() -> Newcomers,
    ) {
        let session = self.members.find_session(key);
        let known = session.and_then(|session| self.member_at(session, &source));
        let at = match known {
            Some(at) => at,
            // The plain dialect has no word for "full"; silence is what its clients retry on.
            None if self.why_full(session, true, 0).is_some() => {
                self.counters.refused += 1;
                return;
            }
            None => {
                match newcomers() {
                    Newcomers::Welcome => {}
                    Newcomers::Refused => {
                        self.counters.refused += 1;
                        return;
                    }
                    Newcomers::Ignored => {
                        self.counters.shed += 1;
                        return;
                    }
                }
                self.counters.plain_joined += 1;
                let peer = self.plain_peer_id(source.remote);
                let registration =
                    Registration { peer, route: source, token: None, attributes: &[], elsewhere: None };
                self.join(now, key, &registration)
            }
        };
        let amplification = self.config.limits.plain_amplification;
        let is_plain = self.members.get(at).is_some_and(|member| !member.is_native());
        // A native member elsewhere comes by registering, which proves that it is the same one.
        let comes = is_plain && self.adopt(at);
        let Some(member) = self.members.get_mut(at) else { return };
        if is_plain {
            member.last_seen = now as u32;
            let factor = amplification.unwrap_or(0).try_into().unwrap_or(usize::MAX);
            let earned = factor.saturating_mul(header_len(&source.remote) + len);
            let credit = usize::from(member.rtt_or_credit).saturating_add(earned);
            member.rtt_or_credit = u16::try_from(credit).unwrap_or(u16::MAX);
            self.members.set_local(at, &source);
        }
        if comes {
            self.rearm(now, at);
            self.share(at);
        }
        self.write_list(at);
        let list = std::mem::take(&mut self.list);
        if !is_plain || self.spend(at, header_len(&source.remote) + list.len()) {
            self.outbox.push(source, &list);
        } else {
            self.counters.plain_withheld += 1;
        }
        self.list = list;
    }

    /// Writes the endpoints of all others of a member's session that could be reached with datagrams.
    fn write_list(&mut self, at: MemberIndex) {
        self.list.clear();
        let Some(member) = self.members.get(at) else { return };
        // Whoever came over TCP is nobody that a plain client could reach.
        let is_listed =
            |other: MemberIndex, member: &Member| other != at && member.transport() == Transport::Udp;
        for (other, member) in self.members.of_session(member.session) {
            if is_listed(other, member) {
                push_to_list(&mut self.list, self.members.remote(member));
            }
        }
    }

    /// Whether a plain member may be sent so many bytes, which then count as sent.
    fn spend(&mut self, at: MemberIndex, bytes: usize) -> bool {
        if self.config.limits.plain_amplification.is_none() {
            return true;
        }
        let Some(member) = self.members.get_mut(at) else { return false };
        let left = usize::from(member.rtt_or_credit).checked_sub(bytes);
        if let Some(left) = left {
            member.rtt_or_credit = left as u16;
        }
        left.is_some()
    }

    /// A plain member's timer has ended.
    pub(super) fn keep_alive(&mut self, now: u64, at: MemberIndex) {
        let pause = self.config.plain_keep_alive.as_millis() as u64;
        let Some(member) = self.members.get_mut(at) else { return };
        if u64::from((now as u32).wrapping_sub(member.pushed)) < pause {
            return;
        }
        member.pushed = now as u32;
        let Some(route) = self.members.get(at).map(|member| self.members.route(member)) else { return };
        if self.spend(at, header_len(&route.remote)) {
            self.outbox.push(route, &[]);
        }
    }

    /// Plain clients have no ID; native peers know them under one made from their endpoint.
    fn plain_peer_id(&self, endpoint: SocketAddr) -> PeerId {
        let mut bytes = [0; 19];
        let mut writer = Writer::new(&mut bytes);
        writer.endpoint(endpoint);
        PeerId(truncate(&blake3::keyed_hash(&self.plain_ids, &bytes[..endpoint_len(endpoint)])))
    }
}

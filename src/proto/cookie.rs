//! Stateless proof that a source endpoint receives what is sent to it.
//!
//! The server keeps no state for a client, and sends it no more bytes than it got, until the client has shown a cookie
//! that was sent to its endpoint before.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Rng;
use super::keys::{equal_in_constant_time, truncate};
use super::wire::codec::Writer;

/// A cookie on the wire; meaningful to the server that made it only.
pub type Cookie = [u8; 16];

/// How long one key epoch lasts; a cookie is good for one to two of them: long enough to see how long a NAT keeps a mapping.
pub const EPOCH: Duration = Duration::from_secs(300);

/// Makes and checks cookies.
#[derive(Clone, Debug)]
pub struct CookieJar {
    key: [u8; 32],
    start: Instant,
}

impl CookieJar {
    /// A jar with a key drawn from `rng`; epochs count from `now`.
    pub fn new(rng: &mut Rng, now: Instant) -> Self {
        Self { key: rng.bytes(), start: now }
    }

    /// The cookie for `source` at `now`.
    pub fn bake(&self, now: Instant, source: SocketAddr) -> Cookie {
        self.bake_for_epoch(self.epoch(now), source)
    }

    /// Whether `cookie` was made for `source` in this epoch or the one before.
    pub fn check(&self, now: Instant, source: SocketAddr, cookie: &Cookie) -> bool {
        let epoch = self.epoch(now);
        let previous = epoch.checked_sub(1);
        std::iter::once(epoch)
            .chain(previous)
            .any(|epoch| equal_in_constant_time(&self.bake_for_epoch(epoch, source), cookie))
    }

    fn epoch(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs() / EPOCH.as_secs()
    }

    fn bake_for_epoch(&self, epoch: u64, source: SocketAddr) -> Cookie {
        let mut bytes = [0; 8 + 19];
        let mut writer = Writer::new(&mut bytes);
        writer.u64(epoch);
        writer.endpoint(source);
        let written = writer.written();
        truncate(&blake3::keyed_hash(&self.key, &bytes[..written]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_cookie_is_good_for_its_endpoint_and_the_next_epoch_only() {
        let start = Instant::now();
        let jar = CookieJar::new(&mut Rng::new([1; 32]), start);
        let source = endpoint("192.0.2.1:1000");
        let cookie = jar.bake(start, source);
        assert!(jar.check(start, source, &cookie));
        assert!(jar.check(start + 2 * EPOCH - Duration::from_millis(1), source, &cookie));
        assert!(!jar.check(start + 2 * EPOCH, source, &cookie));
        assert!(!jar.check(start, endpoint("192.0.2.1:1001"), &cookie));
        assert!(!jar.check(start, endpoint("192.0.2.2:1000"), &cookie));
        assert!(!jar.check(start, endpoint("[::ffff:192.0.2.1]:1000"), &cookie));
    }

    #[test]
    fn another_server_key_refuses_the_cookie() {
        let start = Instant::now();
        let source = endpoint("[2001:db8::1]:1000");
        let cookie = CookieJar::new(&mut Rng::new([1; 32]), start).bake(start, source);
        assert!(!CookieJar::new(&mut Rng::new([2; 32]), start).check(start, source, &cookie));
    }
}

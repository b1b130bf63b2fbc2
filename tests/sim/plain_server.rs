//! The existing Go server's behaviour, as `docs/protocol.md` describes it.

use std::collections::HashMap;
use std::net::SocketAddr;

#[derive(Default)]
pub struct PlainServer {
    sessions: HashMap<Vec<u8>, Vec<SocketAddr>>,
}

impl PlainServer {
    pub fn answer(&mut self, from: SocketAddr, payload: &[u8]) -> Option<Vec<u8>> {
        if payload.len() > 1024 {
            return None;
        }
        let session = self.sessions.entry(payload.to_vec()).or_default();
        if !session.contains(&from) {
            session.push(from);
        }
        let others: Vec<_> =
            session.iter().filter(|other| **other != from).map(ToString::to_string).collect();
        Some(others.join(",").into_bytes())
    }

    /// The IDs that clients have shown.
    pub fn ids(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.sessions.keys()
    }
}

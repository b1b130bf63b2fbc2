//! What the integration tests share.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Duration;

use holepunch::server::{ServerCounters, ServerHandle};
use holepunch::{Client, DialectPolicy, Peer, Server, ServerConfig};

/// A server on loopback that stops when it is dropped.
pub struct TestServer {
    pub address: SocketAddr,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl TestServer {
    pub fn start(policy: DialectPolicy) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), policy)
    }

    pub fn start_at(address: SocketAddr, policy: DialectPolicy) -> Self {
        Self::start_with(ServerConfig { address, policy, ..ServerConfig::default() })
    }

    /// On loopback unless the configuration says where.
    pub fn start_with(mut config: ServerConfig) -> Self {
        if config.address.ip().is_unspecified() {
            config.address = "127.0.0.1:0".parse().unwrap();
        }
        config.workers = 2;
        let server = Server::bind(&config).unwrap();
        let address = server.local_address().unwrap();
        let handle = server.handle();
        let thread = std::thread::spawn(move || server.run().unwrap());
        Self { address, handle, thread: Some(thread) }
    }

    pub fn client(&self) -> Client {
        Client::new(&self.address.to_string()).unwrap()
    }

    /// So many clients, prepared by `prepare`, all under one ID; each wants all the others.
    pub fn meet(&self, count: usize, prepare: impl Fn(usize, &mut Client)) -> Vec<(Client, Vec<Peer>)> {
        let id = unique_id();
        let threads: Vec<_> = (0..count)
            .map(|number| {
                let (mut client, id) = (self.client(), id.clone());
                prepare(number, &mut client);
                client.set_timeout(Some(Duration::from_secs(10)));
                std::thread::spawn(move || {
                    let peers = client.connect(&id, count - 1).unwrap();
                    (client, peers)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    }

    pub fn counters(&self) -> ServerCounters {
        self.handle.counters()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// An ID that no other test uses.
pub fn unique_id() -> Vec<u8> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    format!("test {} {}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)).into_bytes()
}

//! Turning `host:port` into addresses without ever blocking the caller beyond his patience.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, mpsc};

use super::udp::canonical;
use super::waker::Waker;

/// Checks the form of `host:port`: a name, an IPv4 address or an IPv6 address in brackets, and a port other than 0.
pub(crate) fn is_well_formed(server: &str) -> bool {
    if let Ok(address) = server.parse::<SocketAddr>() {
        return address.port() != 0;
    }
    let Some((host, port)) = server.rsplit_once(':') else { return false };
    let name = !host.is_empty()
        && host.len() <= 253
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    name && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port != 0)
}

/// A look-up in progress.
pub(crate) enum Resolution {
    /// The text was an address.
    Done(Vec<SocketAddr>),
    /// A thread of its own asks the system's resolver, which knows no cancelling; it ends when the resolver does.
    Pending(mpsc::Receiver<io::Result<Vec<SocketAddr>>>),
}

/// Starts a look-up; `waker` is woken when it ends.
pub(crate) fn start(server: &str, waker: &Arc<Waker>) -> io::Result<Resolution> {
    if let Ok(address) = server.parse::<SocketAddr>() {
        return Ok(Resolution::Done(vec![canonical(address)]));
    }
    let (sender, receiver) = mpsc::sync_channel(1);
    let (server, waker) = (server.to_owned(), Arc::clone(waker));
    std::thread::Builder::new().name("hp-resolve".into()).spawn(move || {
        let result = server.to_socket_addrs().map(|addresses| addresses.map(canonical).collect());
        let _ = sender.send(result);
        waker.wake();
    })?;
    Ok(Resolution::Pending(receiver))
}

#[cfg(test)]
mod tests {
    use super::is_well_formed;

    #[test]
    fn server_text_is_host_and_port() {
        for good in ["192.0.2.1:5000", "[2001:db8::1]:1", "example.org:65535", "localhost:5000", "a_b-c:1"] {
            assert!(is_well_formed(good), "{good}");
        }
        let long = format!("{}:5000", "a".repeat(254));
        for bad in [
            "",
            ":",
            ":5000",
            "example.org",
            "example.org:",
            "example.org:0",
            "192.0.2.1:0",
            "h:65536",
            "h:+5",
            "2001:db8::1:5000",
            "a b:5000",
            "[2001:db8::1]",
            &long,
        ] {
            assert!(!is_well_formed(bad), "{bad}");
        }
    }
}

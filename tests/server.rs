//! What a server says of another address that it cannot use, before it starts.

use std::net::{IpAddr, SocketAddr};

use holepunch::{ErrorKind, Server, ServerConfig};

fn config(address: &str, other: &str) -> ServerConfig {
    let (address, other): (SocketAddr, IpAddr) = (address.parse().unwrap(), other.parse().unwrap());
    ServerConfig { address, other_address: Some(other), workers: 1, ..ServerConfig::default() }
}

#[test]
fn useless_other_address_is_an_invalid_setting() {
    for (address, other) in [
        ("127.0.0.1:0", "127.0.0.1"),
        ("127.0.0.1:0", "0.0.0.0"),
        ("127.0.0.1:0", "239.1.2.3"),
        ("127.0.0.1:0", "255.255.255.255"),
        ("127.0.0.1:0", "::ffff:127.0.0.2"),
        ("[::]:0", "::ffff:127.0.0.2"),
        ("[::]:0", "::"),
        ("[::]:0", "ff02::1"),
        ("[::]:0", "fe80::1"),
        ("127.0.0.1:0", "::1"),
        ("0.0.0.0:0", "::1"),
        ("[::1]:0", "127.0.0.1"),
        ("[::1]:0", "::1"),
        ("[::ffff:127.0.0.1]:0", "127.0.0.1"),
        ("127.0.0.1:65532", "127.0.0.2"),
        ("0.0.0.0:65535", "127.0.0.2"),
    ] {
        let config = config(address, other);
        let error = config.clone().checked().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{address}, {other}");
        assert!(error.to_string().contains(other), "{error}");
        assert_eq!(
            Server::bind(&config).unwrap_err().kind(),
            ErrorKind::InvalidArgument,
            "{address}, {other}"
        );
    }
    let without_ports = ServerConfig { alternate_ports: 0, ..config("127.0.0.1:0", "127.0.0.2") };
    assert_eq!(without_ports.checked().unwrap_err().kind(), ErrorKind::InvalidArgument);
    for (address, other) in [
        ("127.0.0.1:65531", "127.0.0.2"),
        ("0.0.0.0:0", "127.0.0.2"),
        ("[::]:0", "127.0.0.2"),
        ("[::]:0", "::1"),
        ("[2001:db8::1]:5000", "2001:db8::2"),
    ] {
        config(address, other).checked().unwrap();
    }
}

#[test]
fn other_address_that_is_not_there_ends_the_start() {
    for address in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
        let error = Server::bind(&config(address, "192.0.2.1")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Socket, "{address}: {error}");
        assert!(error.to_string().contains("192.0.2.1") && error.os_error().is_some(), "{error}");
        Server::bind(&config(address, "127.0.0.2")).unwrap();
    }
    // As are its ports.
    let taken = std::net::UdpSocket::bind("127.0.0.2:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = Server::bind(&config(&format!("127.0.0.1:{port}"), "127.0.0.2")).unwrap_err();
    assert!(error.to_string().contains("127.0.0.2"), "{error}");
}

#[test]
#[cfg(feature = "programs")]
fn program_does_not_start_without_it_either() {
    use std::process::{Command, Stdio};

    for (address, other) in [("127.0.0.1:0", "192.0.2.1"), (":0", "192.0.2.1"), ("127.0.0.1:0", "127.0.0.1")]
    {
        let program = Command::new(env!("CARGO_BIN_EXE_hp-server"))
            .args(["--log", "info", "--other-address", other, address])
            .stdout(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&program.stderr);
        assert_eq!(program.status.code(), Some(1), "{said}");
        assert!(said.contains("ERROR") && said.contains(other), "{said}");
    }
}

//! `--health`.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use super::{Directory, run};

/// What a server that answers so is told to be; it has been asked for its health.
fn status_of(answer: &'static str) -> (Option<i32>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = vec![0; 1024];
        let len = stream.read(&mut request).unwrap();
        assert!(request[..len].starts_with(b"GET /healthz HTTP/1.1\r\n"));
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let (status, _, said) = run(&Directory::new("health"), &["--health", &address]);
    server.join().unwrap();
    (status, said)
}

#[test]
fn exit_status_tells_the_health() {
    assert_eq!(status_of("HTTP/1.1 200 OK\r\n\r\nok\n").0, Some(0));
    assert_eq!(status_of("HTTP/1.0 200\r\n").0, Some(0));
    let (status, said) = status_of("HTTP/1.1 503 Service Unavailable\r\n\r\n");
    assert!(status == Some(1) && said.contains("503"), "{said}");
    for answer in ["", "HTTP/1.1 2000\r\n", "SSH-2.0-x 200\r\n"] {
        assert_eq!(status_of(answer).0, Some(1), "{answer}");
    }
    // A port that nobody has.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (status, _, said) = run(&Directory::new("unhealthy"), &["--health", &address]);
    assert!(status == Some(1) && said.contains(&address), "{said}");
}

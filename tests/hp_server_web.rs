//! What `hp-server --http` answers, over raw connections, as a program.
#![cfg(feature = "programs")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// For what must happen; it costs time only in a test that fails.
const PATIENCE: Duration = Duration::from_secs(30);
const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";

/// The server as a program; it is killed at the end.
struct Program {
    child: Child,
    address: SocketAddr,
    web: SocketAddr,
}

impl Program {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_hp-server"))
            .args(["127.0.0.1:0", "--alternate-ports", "0", "--http", "127.0.0.1:0", "--log", "info"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut after = |words: &str| {
            let line = lines.find_map(|line| Some(line.unwrap().split_once(words)?.1.to_owned())).unwrap();
            line.split([' ', '/']).next().unwrap().parse().unwrap()
        };
        // In this order; "listening" says that all is ready.
        let (web, address) = (after("status page at http://"), after("listening on "));
        // What it says later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address, web }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.web).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends something on a new connection, and gives all that is answered until the end.
    fn ask(&self, request: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect();
        stream.write_all(request.as_ref()).unwrap();
        rest(&mut stream)
    }

    fn get(&self, path: &str) -> String {
        self.ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))
    }

    /// Waits until all of it has started, and its threads and descriptors can be counted.
    fn settle(&self) {
        wait("no sample is taken", || self.get("/status.json").contains("\"sequence\":1"));
    }

    fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

/// Reads one answer of a connection that goes on.
fn one(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    let mut answer = String::from_utf8(answer).unwrap();
    let len = answer.split_once("Content-Length: ").unwrap().1.split_once('\r').unwrap().0.parse().unwrap();
    let mut body = vec![0; len];
    stream.read_exact(&mut body).unwrap();
    answer.push_str(&String::from_utf8(body).unwrap());
    answer
}

fn status(answer: &str) -> &str {
    answer.strip_prefix("HTTP/1.1 ").unwrap_or_else(|| panic!("{answer:?}")).get(..3).unwrap()
}

fn wait(why: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "{why}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn every_path_has_what_belongs_there() {
    let program = Program::start();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(b"some session", program.address).unwrap();
    wait("the client is not counted", || program.get("/metrics").contains("\nhp_server_endpoints 1\n"));
    for (path, media_type, part) in [
        ("/", "text/html; charset=utf-8", "<!doctype html>"),
        ("/?a", "text/html; charset=utf-8", "<!doctype html>"),
        ("/status.js", "text/javascript; charset=utf-8", "class Chart"),
        ("/status.css", "text/css; charset=utf-8", "prefers-color-scheme"),
        ("/status.svg", "image/svg+xml", "<svg"),
        ("/status.json", "application/json", "\"health\":\"ok\""),
        (
            "/metrics",
            "text/plain; version=0.0.4; charset=utf-8",
            "hp_server_joins_total{dialect=\"plain\"} 1\n",
        ),
        ("/healthz", "text/plain; charset=utf-8", "\r\n\r\nok\n"),
        ("/healthz/", "text/plain; charset=utf-8", "404"),
        ("/status.html", "text/plain; charset=utf-8", "404"),
        ("/../etc/passwd", "text/plain; charset=utf-8", "404"),
    ] {
        let answer = program.get(path);
        assert_eq!(status(&answer), if part == "404" { "404" } else { "200" }, "{path}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        for field in [
            &format!("Content-Type: {media_type}"),
            &format!("Content-Length: {}", body.len()),
            "Content-Security-Policy: default-src 'self';",
            "X-Content-Type-Options: nosniff",
            "Cache-Control: no-store",
            "Referrer-Policy: no-referrer",
            "Connection: close",
        ] {
            assert!(head.contains(&format!("\r\n{field}")), "{path}: {field} is not in {head}");
        }
        assert!(answer.contains(part), "{path}: {answer}");
        let head_only = program.ask(format!("HEAD {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
        assert!(head_only.ends_with("\r\n\r\n") && head_only.matches("\r\n\r\n").count() == 1, "{head_only}");
        assert_eq!(status(&head_only), status(&answer));
        assert!(!head_only.contains("Content-Length: 0\r\n"), "{head_only}");
        // No client's address is anybody's business.
        assert!(!answer.contains("127.0.0.1") && !answer.contains("some session"), "{answer}");
    }
}

#[test]
fn what_is_not_served_is_refused() {
    let program = Program::start();
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(9000));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(100));
    let body = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 40000\r\n\r\n{}", "z".repeat(40_000));
    for (request, code) in [
        ("POST / HTTP/1.1\r\nHost: a\r\n\r\n", "405"),
        (&body, "405"),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12345", "413"),
        ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "413"),
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        ("nonsense\r\n\r\n", "400"),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}", "400"),
        (&long, "431"),
        (&many, "431"),
        ("GET / HTTP/1.0\r\n\r\n", "200"),
    ] {
        let answer = program.ask(request);
        assert_eq!(status(&answer), code, "{request}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
        assert_eq!(answer.contains("\r\nAllow: GET, HEAD\r\n"), code == "405", "{answer}");
        // Nothing that follows what is refused is taken for a request.
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    }
    // Bytes of all kinds, of any length: some answer, or none.
    let mut seed = 1_u32;
    for len in 0..64 {
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        })
        .take(len * 3)
        .collect();
        let mut stream = program.connect();
        stream.write_all(&noise).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let answer = rest(&mut stream);
        assert!(answer.is_empty() || status(&answer) == "400", "{answer}");
    }
    assert_eq!(status(&program.get("/healthz")), "200");
}

#[test]
fn one_connection_takes_many_requests_in_any_pieces_but_not_forever() {
    let program = Program::start();
    let mut stream = program.connect();
    for byte in HEALTH.bytes() {
        stream.write_all(&[byte]).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(one(&mut stream).ends_with("\r\n\r\nok\n"));
    // Several at once are answered one after the other.
    stream
        .write_all(format!("{HEALTH}GET /x HTTP/1.1\r\nHost: a\r\n\r\n{HEALTH}GET /hea").as_bytes())
        .unwrap();
    for code in ["200", "404", "200"] {
        assert_eq!(status(&one(&mut stream)), code);
    }
    stream.write_all(b"lthz HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(one(&mut stream).ends_with("\r\n\r\nok\n"));
    stream.write_all(HEALTH.repeat(100).as_bytes()).unwrap();
    let answers = rest(&mut stream);
    // Five were before.
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 95);
    assert_eq!(answers.matches("Connection: close").count(), 1);
    // One who says no more after the request is answered all the same.
    let mut stream = program.connect();
    stream.write_all(HEALTH.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(rest(&mut stream).ends_with("\r\n\r\nok\n"));
}

#[test]
fn slow_clients_keep_nobody_waiting_and_do_not_last() {
    let program = Program::start();
    program.settle();
    let before = program.descriptors();
    let start = Instant::now();
    // One says nothing, one does not come to an end, and one does not read what it asks for.
    let mut silent = program.connect();
    let mut dripping = program.connect();
    dripping.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n").unwrap();
    let mut deaf = program.connect();
    let greedy = "GET /status.js HTTP/1.1\r\nHost: a\r\n\r\n".repeat(90);
    deaf.write_all(greedy.as_bytes()).unwrap();
    let drip = std::thread::spawn(move || {
        while start.elapsed() < Duration::from_millis(4500) {
            dripping.write_all(b"X: y\r\n").unwrap();
            std::thread::sleep(Duration::from_millis(100));
        }
        (rest(&mut dripping), start.elapsed())
    });
    while start.elapsed() < Duration::from_secs(4) {
        let asked = Instant::now();
        assert_eq!(status(&program.get("/")), "200");
        assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
        std::thread::sleep(Duration::from_millis(50));
    }
    let (answer, lasted) = drip.join().unwrap();
    assert_eq!(status(&answer), "408");
    assert!((5..15).contains(&lasted.as_secs()), "{lasted:?}");
    assert_eq!(rest(&mut silent), "");
    wait("it goes on for who does not read", || deaf.take_error().unwrap().is_some());
    // Nor did the kernel take it all instead.
    let mut taken = Vec::new();
    let _ = deaf.read_to_end(&mut taken);
    assert!(taken.len() < 1 << 20, "{} bytes", taken.len());
    wait("descriptors are left", || program.descriptors() <= before);
}

#[test]
fn so_many_at_a_time_and_who_waits_for_nothing_gives_way() {
    let program = Program::start();
    program.settle();
    let before = program.descriptors();
    let mut busy: Vec<_> = (0..31).map(|_| program.connect()).collect();
    busy.iter_mut().for_each(|stream| stream.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap());
    // One more has its answer, and may be done without.
    let mut idle = program.connect();
    idle.write_all(HEALTH.as_bytes()).unwrap();
    assert_eq!(status(&one(&mut idle)), "200");
    let mut last = program.connect();
    last.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
    assert_eq!(rest(&mut idle), "");
    // The 33rd is turned away.
    let mut refused = program.connect();
    assert_eq!(status(&rest(&mut refused)), "503");
    // The others are served, and so is whoever comes after them.
    for stream in busy.iter_mut().chain([&mut last]) {
        stream.write_all(b"Host: a\r\nConnection: close\r\n\r\n").unwrap();
        assert!(rest(stream).ends_with("\r\n\r\nok\n"));
    }
    drop((busy, last, idle, refused));
    wait("descriptors are left", || program.descriptors() <= before);
    assert_eq!(status(&program.get("/healthz")), "200");
}

#[test]
fn a_flood_costs_no_thread_and_no_descriptor() {
    let program = Program::start();
    program.settle();
    let threads = || std::fs::read_dir(format!("/proc/{}/task", program.child.id())).unwrap().count();
    let before = (threads(), program.descriptors());
    for _ in 0..500 {
        let mut stream = program.connect();
        let _ = stream.write_all(HEALTH.as_bytes());
    }
    let most = program.descriptors();
    assert!(most <= before.1 + 33, "{most} of {}", before.1);
    wait("descriptors are left", || program.descriptors() <= before.1);
    assert_eq!(threads(), before.0);
    assert_eq!(status(&program.get("/healthz")), "200");
}

#[test]
fn no_page_where_there_is_no_room_for_it() {
    let program = Program::start();
    let taken = program.web.to_string();
    let second = Command::new(env!("CARGO_BIN_EXE_hp-server"))
        .args(["127.0.0.1:0", "--http", &taken, "--log", "info"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains(&taken), "{said}");
}

//! A Redis and servers around it, on ports of their own.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use holepunch::Client;

/// How long anything may take. A dead server is noticed after 21 s at most.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// Waits until something is so.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn kill(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// A Redis that keeps nothing on disk; it is gone afterwards.
pub struct Redis {
    child: Child,
    port: u16,
    directory: PathBuf,
}

impl Redis {
    /// `None` where there is no Redis and that is allowed.
    pub fn start() -> Option<Self> {
        let found = ["/usr/bin", "/usr/local/bin"].iter().find_map(|directory| {
            // Debian's package of the server would run it as a service; what checks its files is the same program.
            ["redis-server", "redis-check-rdb"]
                .iter()
                .map(|name| PathBuf::from(directory).join(name))
                .find(|path| path.exists())
        });
        let Some(program) = found else {
            assert!(
                std::env::var_os("HP_ALLOW_MISSING_TOOLS").is_some(),
                "Redis is missing (Debian: redis-tools)"
            );
            println!("skipped: Redis is missing");
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let directory = std::env::temp_dir().join(format!("hp-store-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        symlink(program.canonicalize().unwrap(), directory.join("redis-server")).unwrap();
        let child = Self::spawn(&directory, port);
        Some(Self { child, port, directory })
    }

    fn spawn(directory: &PathBuf, port: u16) -> Child {
        let arguments =
            ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port.to_string()];
        let mut command = Command::new(directory.join("redis-server"));
        // By its name it knows what it is to be.
        command.arg0("redis-server").args(arguments).current_dir(directory);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_until("Redis answers", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        child
    }

    pub fn kill(&mut self) {
        kill(&mut self.child);
    }

    pub fn restart(&mut self) {
        self.child = Self::spawn(&self.directory, self.port);
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: a signal to our own child, which has not been waited for.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, signal) }, 0);
    }

    /// What it answers, as `redis-cli` shows it to programs.
    pub fn command(&self, words: &[&str]) -> String {
        let port = self.port.to_string();
        let output = Command::new("redis-cli").args(["-p", &port]).args(words).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        kill(&mut self.child);
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A server of its own process, so that it can be killed.
pub struct Server {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    address: SocketAddr,
    page: SocketAddr,
}

impl Server {
    pub fn start(redis: &Redis) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hp-server"));
        command.env_clear().env("HP_SERVER_LOG", "info,holepunch=debug").args([
            "127.0.0.1:0",
            "--workers",
            "1",
            "--http",
            "127.0.0.1:0",
            "--drain",
            "0s",
            "--plain-expiry",
            "5s",
            "--store",
        ]);
        command.arg(format!("redis://127.0.0.1:{}/0", redis.port));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stderr.take().unwrap());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        std::thread::spawn(move || {
            said.lines().map_while(Result::ok).for_each(|line| sink.lock().unwrap().push(line));
        });
        let unknown: SocketAddr = "0.0.0.0:0".parse().unwrap();
        let mut server = Self { child, lines, address: unknown, page: unknown };
        server.address = server.expect("listening on ").parse().unwrap();
        server.page = server.expect("status page at http://").trim_end_matches('/').parse().unwrap();
        wait_until("the store is there", || server.metric("hp_server_store_up") == Some(1.0));
        server
    }

    /// The word that follows these words in the log.
    pub fn expect(&self, words: &str) -> String {
        let mut found = None;
        wait_until(words, || {
            let lines = self.lines.lock().unwrap();
            let rest = lines.iter().find_map(|line| line.split_once(words)).map(|(_, rest)| rest);
            found = rest.map(|rest| rest.split_whitespace().next().unwrap_or_default().into());
            found.is_some()
        });
        found.unwrap_or_default()
    }

    pub fn client(&self) -> Client {
        Client::new(&self.address.to_string()).unwrap()
    }

    /// The value of a metric without labels.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let mut connection = TcpStream::connect(self.page).unwrap();
        connection.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        let value = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map(|value| value.parse().unwrap())
    }

    pub fn kill(&mut self) {
        kill(&mut self.child);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}:\n{}", self.address, self.lines.lock().unwrap().join("\n"));
        }
        kill(&mut self.child);
    }
}

//! `--health`: asks a running server how it is, for containers that hold no other program that could.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A server that takes longer is not well.
const PATIENCE: Duration = Duration::from_secs(3);
/// More than any status line.
const MAX_ANSWER: usize = 256;

/// Whether the server whose `--http` that is says that it is well.
pub fn ask(address: SocketAddr) -> Result<(), String> {
    let answer = answer(address).map_err(|error| format!("asking {address} for its health: {error}"))?;
    let line = answer.lines().next().unwrap_or_default();
    let mut words = line.split(' ');
    let is_http = words.next().is_some_and(|version| version.starts_with("HTTP/1."));
    if is_http && words.next() == Some("200") {
        return Ok(());
    }
    Err(format!("{address} is not well: {line:?}"))
}

fn answer(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // In one piece: whoever answers the first of several and closes would have the others refused.
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    // What comes first is of interest only, and may be all there is before the connection breaks.
    let mut start = Vec::new();
    let mut piece = [0; MAX_ANSWER];
    while !start.contains(&b'\n') && start.len() < MAX_ANSWER {
        match stream.read(&mut piece)? {
            0 => break,
            len => start.extend_from_slice(&piece[..len]),
        }
    }
    Ok(String::from_utf8_lossy(&start).into_owned())
}

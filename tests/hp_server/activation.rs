//! Sockets that whoever starts the server has bound, as systemd does.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use holepunch::Client;
use socket2::{Domain, Socket, Type};

use super::{Directory, Program};

/// Where handed-over descriptors begin.
const FIRST: i32 = 3;
/// Above all that is handed over.
const ASIDE: i32 = 100;

fn bound(address: SocketAddr, kind: Type) -> Socket {
    let socket = Socket::new(Domain::for_address(address), kind, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.bind(&address.into()).unwrap();
    if kind == Type::STREAM {
        socket.listen(16).unwrap();
    }
    socket
}

fn address_of(socket: &Socket) -> SocketAddr {
    socket.local_addr().unwrap().as_socket().unwrap()
}

/// So many sockets for datagrams on one port.
fn several(count: usize) -> Vec<Socket> {
    let first = bound("127.0.0.1:0".parse().unwrap(), Type::DGRAM);
    let address = address_of(&first);
    std::iter::once(first).chain((1..count).map(|_| bound(address, Type::DGRAM))).collect()
}

/// Hands them over, and keeps them.
fn start(directory: &Directory, sockets: &[Socket], arguments: &[&str]) -> Program {
    let descriptors: Vec<i32> = sockets.iter().map(Socket::as_raw_fd).collect();
    // The shell has the process number that the server will have.
    let mut command = Command::new("/bin/sh");
    command.env_clear().current_dir(&directory.0).env("LISTEN_FDS", sockets.len().to_string());
    command.args(["-c", "LISTEN_PID=$$ exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_hp-server")]);
    command.args(["--log", "info", "--alternate-ports", "0"]).args(arguments);
    // SAFETY: fcntl and dup2 may be called between fork and exec; the descriptors live in the parent, which waits.
    unsafe {
        command.pre_exec(move || {
            let mut aside = [0; 8];
            for (aside, fd) in aside.iter_mut().zip(&descriptors) {
                *aside = libc::fcntl(*fd, libc::F_DUPFD_CLOEXEC, ASIDE);
            }
            for (number, fd) in aside.iter().take(descriptors.len()).enumerate() {
                if *fd < 0 || libc::dup2(*fd, FIRST + number as i32) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    Program::spawn(&mut command)
}

fn clients_meet(server: SocketAddr) {
    let client = |id: String| {
        let mut client = Client::new(&server.to_string()).unwrap();
        client.set_timeout(Some(Duration::from_secs(10)));
        std::thread::spawn(move || client.connect(id.as_bytes(), 1).map(|peers| peers.len()))
    };
    let id = holepunch::generate_session_id().unwrap();
    for client in [client(id.clone()), client(id)] {
        assert_eq!(client.join().unwrap().unwrap(), 1);
    }
}

#[test]
fn inherited_sockets_are_served_one_server_after_the_other() {
    let directory = Directory::new("inherited");
    let sockets = several(2);
    let address = address_of(&sockets[0]);
    for workers in ["1", "3"] {
        // Whatever is said of where to listen, the sockets count.
        let mut program = start(&directory, &sockets, &["127.0.0.1:1", "--workers", workers, "--relay"]);
        assert!(program.line_with("means nothing").contains("127.0.0.1:1"));
        let line = program.line_with("listening on ");
        let wanted = workers.parse::<usize>().unwrap().max(2);
        assert!(line.contains(&format!("listening on {address} with {wanted} workers")), "{line}");
        clients_meet(address);
        assert!(!program.has_ended());
        program.signal(libc::SIGINT);
        assert!(program.wait().success());
    }
}

#[test]
fn inherited_listener_takes_connections() {
    let directory = Directory::new("listener");
    let mut sockets = several(1);
    let address = address_of(&sockets[0]);
    sockets.push(bound(address, Type::STREAM));
    let mut program = start(&directory, &sockets, &["--tcp"]);
    assert_eq!(program.address(), address);
    assert!(std::net::TcpStream::connect(address).is_ok());
    clients_meet(address);
    program.signal(libc::SIGINT);
    let served = program.line_with("took ");
    assert!(!served.contains("took 0 connections"), "{served}");
}

#[test]
fn sockets_of_no_use_end_the_start() {
    let directory = Directory::new("refused");
    let refused = |sockets: &[Socket], arguments: &[&str], why: &str| {
        let program = start(&directory, sockets, arguments);
        let line = program.line_with("ERROR");
        assert!(line.contains(why), "{line}");
        assert_eq!(program.wait().code(), Some(1));
    };
    let two: Vec<Socket> = several(1).into_iter().chain(several(1)).collect();
    refused(&two, &[], "UDP socket 2 that was handed over is bound to ");
    let listener: Socket = TcpListener::bind("127.0.0.1:0").unwrap().into();
    refused(&[listener], &["--tcp"], "1 to 64 UDP sockets must be handed over, not 0");
    let unbound = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    refused(&[unbound], &[], "UDP socket 1 that was handed over is not bound");
    let (local, _other) = std::os::unix::net::UnixDatagram::pair().unwrap();
    refused(&[Socket::from(std::os::fd::OwnedFd::from(local))], &[], "it is neither IPv4 nor IPv6");
    let listener: Socket = TcpListener::bind("127.0.0.1:0").unwrap().into();
    let socket: Socket = UdpSocket::bind("127.0.0.1:0").unwrap().into();
    refused(&[socket, listener], &[], "the server is to take no connections");
}

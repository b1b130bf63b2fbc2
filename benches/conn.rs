//! What a TCP connection that was made by attempts at addresses costs, beside one that was made by `connect` and `accept`, in one and the
//! same run: how long its first byte takes, and how much it carries.
//!
//!     scripts/bench.sh conn [--rounds 15] [--mib 256]
//!
//! All is on loopback, one way. The variants take turns, so that all of them meet the same machine.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use clap::Parser;
use holepunch::{Conn, ConnEvent, ConnOptions, TakenSocket, Transport};

#[derive(Parser)]
struct Arguments {
    /// How often each variant has its turn
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// How much goes over each connection
    #[arg(long, default_value_t = 256)]
    mib: usize,
    /// What `cargo bench` says
    #[arg(long, hide = true)]
    bench: bool,
}

/// Two ends, and how long it took from the moment at which one was there until a byte of its had come out of the other.
struct Made {
    ends: [TcpStream; 2],
    first_byte: Duration,
}

fn plain() -> Made {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let accepting = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 1]).unwrap();
        (stream, Instant::now())
    });
    let mut one = TcpStream::connect(address).unwrap();
    let there = Instant::now();
    one.write_all(&[1]).unwrap();
    let (other, came) = accepting.join().unwrap();
    Made { ends: [one, other], first_byte: came - there }
}

fn take(conn: &Conn) -> TcpStream {
    match conn.take().unwrap() {
        TakenSocket::Tcp(stream) => stream,
        other => panic!("{other:?}"),
    }
}

fn attempted() -> Made {
    let [one, other] = [0, 1].map(|_| {
        let mut options = ConnOptions::new(Transport::Tcp, b"measured");
        (options.local, options.data_events) = (Some((Ipv4Addr::LOCALHOST, 0).into()), false);
        Conn::new(options).unwrap()
    });
    other.attempt(&[one.local_addresses()[0]]).unwrap();
    one.attempt(&[other.local_addresses()[0]]).unwrap();
    let connected = |conn: &Conn| assert!(matches!(conn.next_event(None), Some(ConnEvent::Connected(_))));
    let hearing = std::thread::spawn(move || {
        connected(&other);
        other.read(&mut [0; 1], None).unwrap();
        (other, Instant::now())
    });
    connected(&one);
    let there = Instant::now();
    one.write(&[1], None).unwrap();
    let (other, came) = hearing.join().unwrap();
    Made { ends: [take(&one), take(&other)], first_byte: came - there }
}

/// Bytes a second from one end to the other.
fn carry(made: Made, bytes: usize) -> f64 {
    let [mut from, mut to] = made.ends;
    let began = Instant::now();
    let sending = std::thread::spawn(move || {
        let chunk = vec![7; 64 * 1024];
        (0..bytes / chunk.len()).for_each(|_| from.write_all(&chunk).unwrap());
    });
    let (mut buffer, mut came) = (vec![0; 64 * 1024], 0);
    while let Ok(len @ 1..) = to.read(&mut buffer) {
        came += len;
    }
    sending.join().unwrap();
    assert_eq!(came, bytes);
    came as f64 / began.elapsed().as_secs_f64()
}

/// The middle one, the least and the largest.
fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[0], values[values.len() - 1])
}

fn main() {
    let arguments = Arguments::parse();
    let bytes = arguments.mib << 20;
    let (mut speeds, mut delays) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for _ in 0..arguments.rounds {
        for (at, make) in [plain as fn() -> Made, attempted].into_iter().enumerate() {
            let made = make();
            delays[at].push(made.first_byte.as_secs_f64() * 1e6);
            speeds[at].push(carry(made, bytes));
        }
    }
    let ratios = speeds[1].iter().zip(&speeds[0]).map(|(ours, plain)| ours / plain).collect();
    println!("                     MiB/s (least to most)     first byte after, in us (least to most)");
    for (name, speeds, delays) in
        [("connect and accept", &speeds[0], &delays[0]), ("hp_conn, taken", &speeds[1], &delays[1])]
    {
        let (speed, least, most) = spread(speeds.iter().map(|speed| speed / f64::from(1 << 20)).collect());
        let (delay, shortest, longest) = spread(delays.clone());
        println!(
            "{name:18} {speed:7.0} ({least:.0} to {most:.0}) {delay:12.0} ({shortest:.0} to {longest:.0})"
        );
    }
    let (ratio, lowest, highest) = spread(ratios);
    println!("taken / plain: {ratio:.3} ({lowest:.3} to {highest:.3})");
}

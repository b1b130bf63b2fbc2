//! Connections that come to nothing, again and again. Alone in its process, whose descriptors and memory it looks at.

use std::net::Ipv4Addr;

use holepunch::{Conn, ConnEnd, ConnEvent, ConnOptions, Transport};

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn ten_thousand_attempts_that_are_ended_leave_nothing_behind() {
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().to_owned();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap()
    };
    let cycle = |number: usize| {
        let transport = [Transport::Udp, Transport::Tcp][number % 2];
        let mut options = ConnOptions::new(transport, b"in vain");
        options.local = Some((Ipv4Addr::LOCALHOST, 0).into());
        let conn = Conn::new(options).unwrap();
        conn.attempt(&["127.0.0.1:9".parse().unwrap(), "127.0.0.1:10".parse().unwrap()]).unwrap();
        if number.is_multiple_of(3) {
            conn.close();
            assert!(matches!(conn.next_event(None), Some(ConnEvent::Ended(ConnEnd::Closed))));
            assert!(conn.next_event(None).is_none());
        }
    };
    (0..1000).for_each(cycle);
    let before = (open_descriptors(), resident());
    (0..9000).for_each(cycle);
    let after = (open_descriptors(), resident());
    assert_eq!(after.0, before.0, "descriptors");
    assert!(after.1 <= before.1 + 2048, "KiB of memory: {before:?}, {after:?}");
}

//! The thread and its sockets against gateways on loopback.

use std::cell::RefCell;
use std::net::UdpSocket;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use super::*;

const PATIENCE: Duration = Duration::from_secs(5);

/// What a control port does with a request: the answers to it.
type Behaviour = fn(&[u8]) -> Vec<Vec<u8>>;

thread_local! {
    /// What calls that this thread makes take for the router.
    static ROUTER: RefCell<Option<Endpoints>> = const { RefCell::new(None) };
    /// What they have started.
    static STARTED: RefCell<Vec<Weak<Shared>>> = const { RefCell::new(Vec::new()) };
}

pub(super) fn router_of_this_thread() -> Option<Endpoints> {
    ROUTER.with_borrow(Clone::clone)
}

pub(super) fn note(mapper: &PortMapper) {
    STARTED.with_borrow_mut(|started| started.push(Arc::downgrade(&mapper.shared)));
}

/// Neither the thread nor its handle is left.
fn is_gone(shared: &Weak<Shared>) -> bool {
    shared.strong_count() == 0
}

/// How many mappers this thread's calls have started, and how many are left.
pub(crate) fn started_and_left() -> (usize, usize) {
    STARTED.with_borrow(|started| (started.len(), started.iter().filter(|shared| !is_gone(shared)).count()))
}

/// A router's control port; ends with the test.
pub(crate) struct FakeControl {
    address: SocketAddrV4,
    pub(crate) requests: Arc<AtomicUsize>,
    pub(crate) deletions: Arc<AtomicUsize>,
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FakeControl {
    /// One that this thread's calls take for the router: it grants all, or keeps silent.
    pub(crate) fn start_for_calls(grants: bool) -> Self {
        let router = Self::start(if grants { granted } else { |_| vec![] });
        ROUTER.set(Some(router.endpoints()));
        router
    }

    fn start(behaviour: Behaviour) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let SocketAddr::V4(address) = socket.local_addr().unwrap() else { unreachable!() };
        let (requests, deletions) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let done = Arc::new(AtomicBool::new(false));
        let (asked, counted, ended) = (Arc::clone(&requests), Arc::clone(&deletions), Arc::clone(&done));
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 100];
            while !ended.load(Ordering::Relaxed) {
                let Ok((len, source)) = socket.recv_from(&mut buffer) else { continue };
                let lifetime = if buffer[0] == 2 { &buffer[4..8] } else { &buffer[8..12] };
                if len > 2 && lifetime == [0; 4] {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
                asked.fetch_add(1, Ordering::Relaxed);
                for answer in behaviour(&buffer[..len]) {
                    socket.send_to(&answer, source).unwrap();
                }
            }
        });
        Self { address, requests, deletions, done, thread: Some(thread) }
    }

    fn endpoints(&self) -> Endpoints {
        Endpoints { gateway: Ipv4Addr::LOCALHOST, control: self.address, searches: vec![] }
    }
}

impl Drop for FakeControl {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        ROUTER.set(None);
    }
}

fn granted(request: &[u8]) -> Vec<Vec<u8>> {
    let mut answer = request.to_vec();
    answer[1] |= 0x80;
    match (request[0], request.len()) {
        (2, 60) => {
            answer[8..24].fill(0);
            answer[42..44].copy_from_slice(&40001_u16.to_be_bytes());
            answer[56..60].copy_from_slice(&[203, 0, 113, 7]);
        }
        (0, 2) => answer.extend([0, 0, 0, 0, 0, 9, 203, 0, 113, 7]),
        (0, 12) => {
            answer = [&[0, 0x81, 0, 0, 0, 0, 0, 9], &request[4..6], &[0x9C, 0x41], &request[8..12]].concat()
        }
        _ => return vec![],
    }
    vec![answer]
}

fn options(protocols: &[Protocol]) -> Options {
    Options { protocols: protocols.to_vec(), ..Options::new((Ipv4Addr::LOCALHOST, 40000).into()) }
}

fn start(protocols: &[Protocol], endpoints: Endpoints) -> PortMapper {
    PortMapper::start_with(&options(protocols), endpoints, None).unwrap()
}

/// The first mapping or failure.
fn outcome(mapper: &PortMapper) -> Event {
    loop {
        let event = mapper.recv_timeout(PATIENCE).expect("an outcome");
        if !matches!(event, Event::Address(..)) {
            return event;
        }
    }
}

#[test]
fn control_port_that_grants_gives_a_mapping_and_release_ends_it() {
    for protocol in [Protocol::Pcp, Protocol::NatPmp] {
        let router = FakeControl::start(granted);
        let mapper = start(&[protocol], router.endpoints());
        let Event::Mapped(mapped) = outcome(&mapper) else { panic!("no mapping") };
        assert_eq!(mapped.external, "203.0.113.7:40001".parse().unwrap());
        assert_eq!((mapped.lifetime, mapped.protocol), (Some(DEFAULT_LIFETIME), protocol));
        assert!(mapper.release(PATIENCE));
        assert_eq!(router.deletions.load(Ordering::Relaxed), 1);
    }
}

#[test]
fn dropping_the_handle_leaves_the_mapping_and_ends_the_thread_at_once() {
    let router = FakeControl::start(granted);
    let mapper = start(&[Protocol::Pcp], router.endpoints());
    assert!(matches!(outcome(&mapper), Event::Mapped(_)));
    let shared = Arc::downgrade(&mapper.shared);
    let dropped = Instant::now();
    drop(mapper);
    assert!(is_gone(&shared));
    assert!(dropped.elapsed() < END_PATIENCE);
    assert_eq!(router.deletions.load(Ordering::Relaxed), 0);
}

#[test]
fn thread_that_is_given_no_more_time_is_gone_whatever_the_router_does() {
    let granting = FakeControl::start(granted);
    let silent = FakeControl::start(|_| vec![]);
    for (router, protocols) in [
        (&granting, &[Protocol::Pcp][..]),
        (&silent, &[Protocol::Pcp]),
        (&silent, &[Protocol::NatPmp]),
        (&silent, &Protocol::ALL),
    ] {
        for wait in [Duration::ZERO, Duration::from_millis(50)] {
            let mapper = start(protocols, router.endpoints());
            std::thread::sleep(wait);
            let (shared, since) = (Arc::downgrade(&mapper.shared), Instant::now());
            mapper.release_and_end(Duration::from_millis(20));
            assert!(is_gone(&shared) && since.elapsed() < END_PATIENCE, "{protocols:?}");
        }
    }
    assert!(granting.deletions.load(Ordering::Relaxed) >= 1);
}

#[test]
fn thread_that_has_ended_by_itself_is_gone_too() {
    let refusing = FakeControl::start(|request| {
        let mut answer = granted(request).remove(0);
        answer[3] = 8;
        vec![answer]
    });
    for release in [false, true] {
        let mapper = start(&[Protocol::Pcp], refusing.endpoints());
        assert_eq!(outcome(&mapper), Event::Failed(Protocol::Pcp, Failure::Refused(8)));
        let shared = Arc::downgrade(&mapper.shared);
        if release {
            assert!(mapper.release(PATIENCE));
        } else {
            drop(mapper);
        }
        assert!(is_gone(&shared));
    }
}

#[test]
fn silence_delays_nobody() {
    let router = FakeControl::start(|_| vec![]);
    let started = Instant::now();
    let mapper = start(&Protocol::ALL, router.endpoints());
    assert_eq!(mapper.try_recv(), None);
    assert_eq!(mapper.recv_timeout(Duration::from_millis(400)), None);
    assert!(!mapper.release(Duration::ZERO));
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[test]
fn garbage_and_answers_to_others_do_no_harm() {
    let router = FakeControl::start(|request| {
        let honest = granted(request).remove(0);
        let mut other_nonce = honest.clone();
        if let Some(byte) = other_nonce.get_mut(24) {
            *byte ^= 1;
        }
        let mut other_port = honest.clone();
        if request.len() > 2 {
            other_port[if request[0] == 2 { 40 } else { 8 }] ^= 1;
        }
        let mut answers = vec![vec![], vec![0xFF; 1100], request.to_vec(), honest[..3].to_vec()];
        if request[0] == 2 {
            answers.push(other_nonce);
        }
        if request.len() > 2 {
            answers.push(other_port);
        }
        answers.push(honest);
        answers
    });
    for protocol in [Protocol::Pcp, Protocol::NatPmp] {
        let mapper = start(&[protocol], router.endpoints());
        let Event::Mapped(mapped) = outcome(&mapper) else { panic!("no mapping") };
        assert_eq!(mapped.external, "203.0.113.7:40001".parse().unwrap());
    }
}

#[test]
fn refusals_and_closed_ports_end_the_thread() {
    let refusing = FakeControl::start(|request| {
        let mut answer = granted(request).remove(0);
        answer[3] = if request[0] == 2 { 8 } else { 4 };
        vec![answer]
    });
    let mapper = start(&[Protocol::Pcp], refusing.endpoints());
    assert_eq!(outcome(&mapper), Event::Failed(Protocol::Pcp, Failure::Refused(8)));
    let mapper = start(&[Protocol::NatPmp], refusing.endpoints());
    assert_eq!(outcome(&mapper), Event::Failed(Protocol::NatPmp, Failure::Refused(4)));
    let closed = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let SocketAddr::V4(control) = closed else { unreachable!() };
    let endpoints = Endpoints { gateway: Ipv4Addr::LOCALHOST, control, searches: vec![] };
    let mapper = start(&[Protocol::Pcp], endpoints);
    assert_eq!(outcome(&mapper), Event::Failed(Protocol::Pcp, Failure::Unsupported));
    let since = Instant::now();
    while !mapper.is_finished() {
        assert!(since.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
    assert!(mapper.release(Duration::ZERO));
}

#[test]
fn callers_waker_is_woken_for_news() {
    let router = FakeControl::start(granted);
    let waker = Arc::new(Waker::new().unwrap());
    let mapper =
        PortMapper::start_with(&options(&[Protocol::Pcp]), router.endpoints(), Some(Arc::clone(&waker)));
    let mapper = mapper.unwrap();
    wait_readable(&[waker.fd()], Some(Instant::now() + PATIENCE)).unwrap();
    assert!(matches!(mapper.try_recv(), Some(Event::Mapped(_))));
}

#[test]
fn only_ipv4_ports_can_be_mapped() {
    let endpoints = || Endpoints::of(Ipv4Addr::LOCALHOST);
    for local in ["0.0.0.0:0", "[::]:40000"] {
        let options = Options::new(local.parse().unwrap());
        let error = PortMapper::start_with(&options, endpoints(), None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn probe_tells_addresses_and_leaves_nothing() {
    let router = FakeControl::start(granted);
    let both = options(&[Protocol::Pcp, Protocol::NatPmp]);
    let local = Options { local: (Ipv4Addr::LOCALHOST, 0).into(), ..both };
    let report = probe_with(local.clone(), router.endpoints(), PATIENCE, &Stop::new().unwrap()).unwrap();
    let address = Ok(IpAddr::from([203, 0, 113, 7]));
    let answers: Vec<_> = report.answers.iter().map(|answer| (answer.protocol, answer.external)).collect();
    assert_eq!(answers, [(Protocol::Pcp, address), (Protocol::NatPmp, address)]);
    assert_eq!(router.deletions.load(Ordering::Relaxed), 1, "PCP's mapping");
    let silent = FakeControl::start(|_| vec![]);
    let started = Instant::now();
    let report =
        probe_with(local, silent.endpoints(), Duration::from_millis(300), &Stop::new().unwrap()).unwrap();
    assert!(report.answers.iter().all(|answer| answer.external == Err(Failure::Silent)));
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[cfg(feature = "upnp")]
mod upnp {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// What a router's control URL does with an action: status and body, or nothing but a closed connection.
    type Service = fn(&str, &str) -> Option<(u16, String)>;

    /// A router's SSDP and HTTP ports; ends with the test.
    struct FakeDevice {
        ssdp: SocketAddrV4,
        actions: Arc<Mutex<Vec<String>>>,
        done: Arc<AtomicBool>,
        threads: Vec<JoinHandle<()>>,
    }

    impl FakeDevice {
        fn start(kind: &'static str, service: Service) -> Self {
            let done = Arc::new(AtomicBool::new(false));
            let http = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let location = format!("http://{}/desc.xml", http.local_addr().unwrap());
            http.set_nonblocking(true).unwrap();
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            let SocketAddr::V4(ssdp) = socket.local_addr().unwrap() else { unreachable!() };
            let ended = Arc::clone(&done);
            let answerer = std::thread::spawn(move || {
                let mut buffer = [0; 1000];
                while !ended.load(Ordering::Relaxed) {
                    let Ok((len, source)) = socket.recv_from(&mut buffer) else { continue };
                    let search = std::str::from_utf8(&buffer[..len]).unwrap();
                    let target = search.lines().find_map(|line| line.strip_prefix("ST: ")).unwrap();
                    let answer = format!("HTTP/1.1 200 OK\r\nST: {target}\r\nLOCATION: {location}\r\n\r\n");
                    socket.send_to(b"garbage", source).unwrap();
                    socket.send_to(answer.as_bytes(), source).unwrap();
                }
            });
            let actions = Arc::new(Mutex::new(Vec::new()));
            let (asked, ended) = (Arc::clone(&actions), Arc::clone(&done));
            let server = std::thread::spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    let Ok((mut stream, _)) = http.accept() else {
                        std::thread::sleep(Duration::from_millis(2));
                        continue;
                    };
                    stream.set_nonblocking(false).unwrap();
                    let request = read_request(&mut stream);
                    let answer = if request.starts_with("GET /desc.xml ") {
                        let service_type = format!("urn:schemas-upnp-org:service:{kind}");
                        Some((
                            200,
                            format!(
                                "<root><service><serviceType>{service_type}</serviceType>\
                                            <controlURL>/ctl</controlURL></service></root>"
                            ),
                        ))
                    } else {
                        let action = request.split('#').nth(1).unwrap().split('"').next().unwrap();
                        asked.lock().push(action.to_owned());
                        service(action, &request)
                    };
                    if let Some((status, body)) = answer {
                        // In two pieces, and without a length.
                        let head = format!("HTTP/1.1 {status} X\r\nServer: fake\r\n\r\n");
                        // Who asked may have left meanwhile.
                        let _ = stream.write_all(head.as_bytes());
                        std::thread::sleep(Duration::from_millis(5));
                        let _ = stream.write_all(body.as_bytes());
                    }
                }
            });
            Self { ssdp, actions, done, threads: vec![answerer, server] }
        }

        fn endpoints(&self) -> Endpoints {
            Endpoints { searches: vec![self.ssdp], ..Endpoints::of(Ipv4Addr::LOCALHOST) }
        }
    }

    impl Drop for FakeDevice {
        fn drop(&mut self) {
            self.done.store(true, Ordering::Relaxed);
            for thread in self.threads.drain(..) {
                thread.join().unwrap();
            }
        }
    }

    fn read_request(stream: &mut impl Read) -> String {
        let (mut request, mut buffer) = (Vec::new(), [0; 2000]);
        loop {
            let len = stream.read(&mut buffer).unwrap();
            request.extend_from_slice(&buffer[..len]);
            let text = String::from_utf8(request.clone()).unwrap();
            if len == 0
                || text.ends_with("</s:Envelope>\r\n")
                || text.starts_with("GET") && text.ends_with("\r\n\r\n")
            {
                return text;
            }
        }
    }

    fn generous(action: &str, _: &str) -> Option<(u16, String)> {
        let body = match action {
            "GetExternalIPAddress" => "<NewExternalIPAddress>203.0.113.7</NewExternalIPAddress>",
            "AddAnyPortMapping" => "<NewReservedPort>40002</NewReservedPort>",
            _ => "",
        };
        Some((200, format!("<a>{body}</a>")))
    }

    #[test]
    fn device_that_grants_gives_a_mapping_and_release_ends_it() {
        let router = FakeDevice::start("WANIPConnection:2", generous);
        let mapper = start(&[Protocol::Upnp], router.endpoints());
        let Event::Mapped(mapped) = outcome(&mapper) else { panic!("no mapping") };
        assert_eq!(mapped.external, "203.0.113.7:40002".parse().unwrap());
        assert_eq!(mapped.lifetime, Some(DEFAULT_LIFETIME));
        assert!(mapper.release(PATIENCE));
        let actions = router.actions.lock();
        assert_eq!(*actions, ["GetExternalIPAddress", "AddAnyPortMapping", "DeletePortMapping"]);
    }

    #[test]
    fn device_with_endless_leases_only_is_refused_unless_allowed() {
        let router = FakeDevice::start("WANPPPConnection:1", |action, request| {
            if action == "AddPortMapping" && !request.contains("<NewLeaseDuration>0<") {
                return Some((500, "<errorCode>725</errorCode>".into()));
            }
            generous(action, request)
        });
        let mapper = start(&[Protocol::Upnp], router.endpoints());
        assert_eq!(outcome(&mapper), Event::Failed(Protocol::Upnp, Failure::OnlyPermanent));
        let allowing = Options { allow_permanent: true, ..options(&[Protocol::Upnp]) };
        let mapper = PortMapper::start_with(&allowing, router.endpoints(), None).unwrap();
        let Event::Mapped(mapped) = outcome(&mapper) else { panic!("no mapping") };
        assert_eq!(mapped.lifetime, None);
    }

    #[test]
    fn device_that_hangs_up_or_floods_gives_none() {
        let router = FakeDevice::start("WANIPConnection:1", |_, _| None);
        let mapper = start(&[Protocol::Upnp], router.endpoints());
        assert_eq!(outcome(&mapper), Event::Failed(Protocol::Upnp, Failure::Malformed));
        let router = FakeDevice::start("WANIPConnection:1", |_, _| Some((200, "<a>".repeat(22_000))));
        let mapper = start(&[Protocol::Upnp], router.endpoints());
        assert_eq!(outcome(&mapper), Event::Failed(Protocol::Upnp, Failure::Malformed));
    }

    #[test]
    fn thread_is_gone_while_the_device_still_thinks() {
        let router = FakeDevice::start("WANIPConnection:1", |action, request| {
            std::thread::sleep(Duration::from_millis(300));
            generous(action, request)
        });
        let mapper = start(&[Protocol::Upnp], router.endpoints());
        while router.actions.lock().is_empty() {
            std::thread::yield_now();
        }
        let (shared, since) = (Arc::downgrade(&mapper.shared), Instant::now());
        mapper.release_and_end(Duration::from_millis(20));
        assert!(is_gone(&shared) && since.elapsed() < Duration::from_millis(250));
    }

    #[test]
    fn probe_tells_the_address_and_maps_nothing() {
        let router = FakeDevice::start("WANIPConnection:1", generous);
        let upnp = options(&[Protocol::Upnp]);
        let report = probe_with(upnp, router.endpoints(), PATIENCE, &Stop::new().unwrap()).unwrap();
        assert_eq!(report.answers[0].external, Ok(IpAddr::from([203, 0, 113, 7])));
        assert_eq!(*router.actions.lock(), ["GetExternalIPAddress"]);
    }
}

//! The texts against what routers really say, the machine against a router that answers, refuses or lies.

use proptest::prelude::*;

use super::description::{ServiceKind, services};
use super::http::{self, Url};
use super::xml::{Token, Tokens, text_of};
use super::*;
use crate::proto::Rng;

const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);

const ANSWER: &str = "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\
    EXT:\r\nLocation: http://192.168.1.1:5555/rootDesc.xml\r\n\r\n";

fn description(services: &[(&str, &str)]) -> String {
    let services: String = services
        .iter()
        .map(|(kind, url)| {
            format!(
                "<service>\n<serviceType>urn:schemas-upnp-org:service:{kind}</serviceType>\
                 <SCPDURL>/x.xml</SCPDURL><controlURL> {url}\n</controlURL></service>"
            )
        })
        .collect();
    format!(
        "<?xml version=\"1.0\"?><!-- a > comment --><root xmlns=\"urn:schemas-upnp-org:device-1-0\"><device a='>'>\
         <friendlyName>caf\u{e9} <![CDATA[<service>]]></friendlyName><empty/><serviceList>{services}</serviceList>\
         </device></root>"
    )
}

fn response(status: u16, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn fault(code: u16) -> Vec<u8> {
    let body = format!(
        "<s:Envelope><s:Body><s:Fault><detail><UPnPError xmlns=\"urn:schemas-upnp-org:control-1-0\">\
         <errorCode>{code}</errorCode></UPnPError></detail></s:Fault></s:Body></s:Envelope>"
    );
    response(500, &body)
}

fn url(text: &str) -> Url {
    Url::parse(text, GATEWAY).unwrap()
}

#[test]
fn only_gateway_devices_that_name_themselves_are_found() {
    assert_eq!(
        ssdp::parse_answer(ANSWER.as_bytes(), GATEWAY),
        Some(url("http://192.168.1.1:5555/rootDesc.xml"))
    );
    assert_eq!(ssdp::parse_answer(ANSWER.as_bytes(), Ipv4Addr::new(192, 168, 1, 2)), None);
    for (from, to) in [
        ("200 OK", "404 Not"),
        ("Gateway", "Media"),
        ("http://", "https://"),
        ("192.168.1.1:", "1.1.1.1:"),
        ("Location", "X"),
    ] {
        assert_eq!(ssdp::parse_answer(ANSWER.replace(from, to).as_bytes(), GATEWAY), None, "{to}");
    }
    assert_eq!(ssdp::searches().len(), 2);
}

#[test]
fn urls_lead_to_the_router_or_nowhere() {
    assert_eq!(url("HTTP://192.168.1.1").path, "/");
    assert_eq!(url("http://192.168.1.1:80?a#b").path, "/?a");
    for bad in [
        "",
        "http://",
        "http://192.168.1.2/",
        "http://example.org/",
        "http://192.168.1.1:0/",
        "http://192.168.1.1:65536/",
        "http://192.168.1.1:+80/",
        "http://user@192.168.1.1/",
        "http://192.168.1.1/a b",
        "http://192.168.1.1/a\r\nX: y",
        "ftp://192.168.1.1/",
        &format!("http://192.168.1.1/{}", "a".repeat(600)),
    ] {
        assert_eq!(Url::parse(bad, GATEWAY), None, "{bad}");
    }
    let base = url("http://192.168.1.1:5555/igd/desc.xml?x=/y");
    assert_eq!(base.join("/ctl"), Some(url("http://192.168.1.1:5555/ctl")));
    assert_eq!(base.join("ctl"), Some(url("http://192.168.1.1:5555/igd/ctl")));
    assert_eq!(base.join("http://192.168.1.1:9/c"), Some(url("http://192.168.1.1:9/c")));
    for bad in ["", "//evil/ctl", "http://1.1.1.1/ctl", "c\nd"] {
        assert_eq!(base.join(bad), None, "{bad}");
    }
}

#[test]
fn description_gives_the_services_that_map_ports() {
    let location = url("http://192.168.1.1:5555/rootDesc.xml");
    let document = description(&[
        ("WANPPPConnection:1", "/ppp?a&amp;b"),
        ("Layer3Forwarding:1", "/l3"),
        ("WANIPConnection:2", "http://192.168.1.1:80/ip2"),
        ("WANIPConnection:1", "http://6.6.6.6/ip1"),
    ]);
    let found = services(document.as_bytes(), &location);
    let found: Vec<_> = found.iter().map(|service| (service.kind, service.control.path.as_str())).collect();
    assert_eq!(found, [(ServiceKind::Ppp1, "/ppp?a&b"), (ServiceKind::Ip2, "/ip2")]);
    let based = document
        .replace("<device ", "<URLBase>http://192.168.1.1:81/b/</URLBase><device ")
        .replace("/ppp", "ppp");
    let found = services(based.as_bytes(), &location);
    assert_eq!(found[0].control, url("http://192.168.1.1:81/b/ppp?a&b"));
    let many = description(&[("WANIPConnection:1", "/a"); 20]);
    assert_eq!(services(many.as_bytes(), &location).len(), 4);
}

#[test]
fn xml_is_read_in_pieces_and_never_expanded() {
    let tokens: Vec<_> = Tokens::new(b"<?x?><a b='>'><n:c/>t<!-- < --><![CDATA[<&]]></a>").collect();
    let expected = [
        Token::Open(b"a"),
        Token::Open(b"c"),
        Token::Close(b"c"),
        Token::Text(b"t"),
        Token::Text(b"<&"),
        Token::Close(b"a"),
    ];
    assert_eq!(tokens, expected);
    let bomb = b"<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>";
    assert_eq!(Tokens::new(bomb).count(), 0);
    assert_eq!(text_of(b"<a><b> x </b></a>", "b").as_deref(), Some("x"));
    assert_eq!(text_of(b"<a><b>x", "b"), None);
    assert_eq!(text_of(format!("<b>{}</b>", "x".repeat(600)).as_bytes(), "b").as_deref(), Some(""));
}

#[test]
fn http_answers_end_where_they_say() {
    let parsed = |bytes: &[u8]| http::Response::parse(bytes).map(|response| (response.status, response.body));
    let whole = response(200, "body");
    assert!(http::is_complete(&whole) && !http::is_complete(&whole[..whole.len() - 1]));
    assert_eq!(parsed(&whole), Some((200, b"body".to_vec())));
    assert_eq!(parsed(&whole[..whole.len() - 1]), None, "cut");
    assert_eq!(parsed(b"HTTP/1.0 200 OK\r\n\r\nto the end"), Some((200, b"to the end".to_vec())));
    let chunked =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    assert!(http::is_complete(chunked) && !http::is_complete(&chunked[..chunked.len() - 2]));
    assert_eq!(parsed(chunked), Some((200, b"abcde".to_vec())));
    for bad in [
        &b"HTTP/1.1 2x0 OK\r\n\r\n"[..],
        b"SIP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+1\r\na\r\n0\r\n\r\n",
    ] {
        assert_eq!(parsed(bad), None, "{}", String::from_utf8_lossy(bad));
    }
    assert!(http::is_complete(b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n"), "too long to wait for");
    assert!(http::is_complete(&[b'a'; 9000]), "no head within its bound");
}

fn client(allow_permanent: bool) -> UpnpClient {
    let config = MapperConfig {
        internal: "192.168.1.10:40000".parse().unwrap(),
        gateway: GATEWAY,
        lifetime: Duration::from_secs(7200),
        protocols: vec![Protocol::Upnp],
        allow_permanent,
        map: true,
    };
    UpnpClient::new(&config, Rng::new([3; 32]), Instant::now()).unwrap()
}

/// The action and the external port of the request that is outstanding.
fn asked(client: &mut UpnpClient) -> (String, Option<u16>) {
    let request = String::from_utf8(client.poll_http().expect("a request").bytes).unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())) || body.is_empty());
    let action = head.split('#').nth(1).map_or("", |rest| rest.split('"').next().unwrap());
    let port = text_of(body.as_bytes(), "NewExternalPort").map(|port| port.parse().unwrap());
    (action.to_owned(), port)
}

/// Up to the question for a mapping.
fn find(client: &mut UpnpClient, kind: &str) {
    let now = Instant::now();
    client.map();
    client.handle_search_answer(ANSWER.as_bytes(), GATEWAY);
    assert_eq!(asked(client).0, "");
    client.handle_http(Some(&response(200, &description(&[(kind, "/ctl")]))), now);
    assert_eq!(asked(client).0, "GetExternalIPAddress");
    let body = "<a><NewExternalIPAddress>203.0.113.7</NewExternalIPAddress></a>";
    client.handle_http(Some(&response(200, body)), now);
}

#[test]
fn version_2_may_choose_the_port_and_release_deletes_that() {
    let (mut client, now) = (client(false), Instant::now());
    find(&mut client, "WANIPConnection:2");
    assert_eq!(asked(&mut client), ("AddAnyPortMapping".into(), Some(40000)));
    client.handle_http(Some(&response(200, "<a><NewReservedPort>40007</NewReservedPort></a>")), now);
    let mapped = *client.mapped().unwrap();
    assert_eq!(mapped.external, "203.0.113.7:40007".parse().unwrap());
    assert_eq!(mapped.lifetime, Some(Duration::from_secs(7200)));
    // Renewed under the same port, which the router need not choose again.
    client.handle_timeout(now + Duration::from_secs(3601));
    assert_eq!(asked(&mut client).0, "GetExternalIPAddress");
    client.handle_http(None, now + Duration::from_secs(3603));
    assert_eq!(client.mapped(), Some(&mapped), "what was promised holds");
    client.release(now);
    assert_eq!(asked(&mut client), ("DeletePortMapping".into(), Some(40007)));
    client.handle_http(Some(&response(200, "")), now);
    assert!(client.has_ended() && client.mapped().is_none());
}

#[test]
fn conflicts_are_evaded_to_other_ports_and_then_given_up() {
    let (mut client, now) = (client(false), Instant::now());
    find(&mut client, "WANIPConnection:2");
    let mut ports = vec![asked(&mut client).1.unwrap()];
    client.handle_http(Some(&fault(401)), now);
    for _ in 0..4 {
        let (action, port) = asked(&mut client);
        assert_eq!(action, "AddPortMapping");
        ports.push(port.unwrap());
        client.handle_http(Some(&fault(soap::CONFLICT)), now);
    }
    assert_eq!(ports[..2], [40000, 40000]);
    assert!(ports[2..].iter().all(|port| *port >= 49152), "{ports:?}");
    assert!(client.take_events().contains(&Event::Failed(Protocol::Upnp, Failure::Refused(718))));
    assert!(client.has_ended());
}

#[test]
fn permanent_mapping_is_made_only_if_allowed() {
    for allowed in [false, true] {
        let (mut client, now) = (client(allowed), Instant::now());
        find(&mut client, "WANPPPConnection:1");
        assert_eq!(asked(&mut client), ("AddPortMapping".into(), Some(40000)));
        client.handle_http(Some(&fault(soap::ONLY_PERMANENT)), now);
        if !allowed {
            assert_eq!(
                client.take_events().last(),
                Some(&Event::Failed(Protocol::Upnp, Failure::OnlyPermanent))
            );
            continue;
        }
        let request = String::from_utf8(client.poll_http().unwrap().bytes).unwrap();
        assert!(request.contains("<NewLeaseDuration>0</NewLeaseDuration>"), "{request}");
        client.handle_http(Some(&response(200, "")), now);
        assert_eq!(client.mapped().unwrap().lifetime, None);
        assert_eq!(client.poll_timeout(), None);
    }
}

#[test]
fn release_while_a_mapping_is_being_made_deletes_it() {
    let (mut client, now) = (client(false), Instant::now());
    find(&mut client, "WANIPConnection:1");
    let _ = asked(&mut client);
    client.release(now);
    assert!(client.poll_http().is_none(), "one request at a time");
    client.handle_http(Some(&response(200, "")), now);
    assert_eq!(asked(&mut client), ("DeletePortMapping".into(), Some(40000)));
    client.handle_timeout(now + RELEASE_TIME);
    assert!(client.has_ended());
}

#[test]
fn strangers_and_useless_devices_are_not_asked() {
    let (mut client, now) = (client(false), Instant::now());
    client.handle_search_answer(ANSWER.as_bytes(), Ipv4Addr::new(192, 168, 1, 66));
    client.handle_search_answer(b"\xff\xfe", GATEWAY);
    assert!(client.poll_http().is_none());
    client.handle_search_answer(ANSWER.as_bytes(), GATEWAY);
    let _ = asked(&mut client);
    client.handle_http(Some(&response(200, &description(&[("Dimming:1", "/d")]))), now);
    assert_eq!(client.take_events(), [Event::Failed(Protocol::Upnp, Failure::Unsupported)]);
}

proptest! {
    #[test]
    fn no_text_makes_the_readers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = (Tokens::new(&bytes).count(), text_of(&bytes, "a"), http::is_complete(&bytes));
        let _ = (http::Response::parse(&bytes), ssdp::parse_answer(&bytes, GATEWAY));
        let text = String::from_utf8_lossy(&bytes);
        let _ = (Url::parse(&text, GATEWAY), url("http://192.168.1.1/a").join(&text));
    }

    #[test]
    fn no_markup_makes_the_readers_panic(
        pieces in proptest::collection::vec("(<|>|/|!|--|\\[CDATA\\[|\\]\\]>|\\?|'|\"|service|controlURL|a|:|&amp;|é| )", 0..60)
    ) {
        let text = pieces.concat();
        let _ = services(text.as_bytes(), &url("http://192.168.1.1/a"));
        let _ = text_of(text.as_bytes(), "service");
    }

    #[test]
    fn no_answer_makes_the_machine_panic(
        answers in proptest::collection::vec((0_u8..6, 0_u16..1000), 0..20), release_at in 0_usize..25,
    ) {
        let mut now = Instant::now();
        let mut client = client(true);
        client.map();
        client.handle_search_answer(ANSWER.as_bytes(), GATEWAY);
        for (at, (kind, code)) in answers.into_iter().enumerate() {
            let answer = match kind {
                0 => response(200, &description(&[("WANIPConnection:2", "/c"), ("WANPPPConnection:1", "/d")])),
                1 => response(200, "<NewExternalIPAddress>203.0.113.7</NewExternalIPAddress>"),
                2 => fault(code),
                3 => fault(if code % 2 == 0 { soap::CONFLICT } else { soap::ONLY_PERMANENT }),
                4 => response(code, "<NewReservedPort>0</NewReservedPort>"),
                _ => Vec::new(),
            };
            let pending = client.poll_http().is_some();
            if pending {
                client.handle_http((kind != 5).then_some(&answer[..]), now);
            }
            if at == release_at {
                client.release(now);
            }
            now += Duration::from_millis(code.into());
            client.handle_timeout(now);
            while client.poll_search().is_some() {}
        }
        client.release(now);
        client.handle_timeout(now + RELEASE_TIME);
        prop_assert!(client.has_ended());
    }
}

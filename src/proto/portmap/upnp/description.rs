//! Finding the connection services in a gateway device's description (UPnP Device Architecture 1.1, section 2.3).

use super::http::Url;
use super::xml::{TextBuffer, Token, Tokens};

/// More services of one device are not looked at.
const MAX_SERVICES: usize = 4;

/// A service that maps ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServiceKind {
    /// `WANIPConnection:2`, which can choose the external port.
    Ip2,
    /// `WANIPConnection:1`.
    Ip1,
    /// `WANPPPConnection:1`.
    Ppp1,
}

impl ServiceKind {
    const ALL: [Self; 3] = [Self::Ip2, Self::Ip1, Self::Ppp1];

    /// The service type.
    pub fn urn(self) -> &'static str {
        match self {
            Self::Ip2 => "urn:schemas-upnp-org:service:WANIPConnection:2",
            Self::Ip1 => "urn:schemas-upnp-org:service:WANIPConnection:1",
            Self::Ppp1 => "urn:schemas-upnp-org:service:WANPPPConnection:1",
        }
    }
}

/// One service of the router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// What it is.
    pub kind: ServiceKind,
    /// Where its actions go.
    pub control: Url,
}

/// The services that map ports in the description at `location`, the best last.
pub fn services(document: &[u8], location: &Url) -> Vec<Service> {
    let (mut base, mut found) = (location.clone(), Vec::new());
    let (mut service_type, mut control_url) = (String::new(), String::new());
    let mut text = TextBuffer::default();
    for token in Tokens::new(document) {
        match token {
            Token::Open(name) => {
                text.clear();
                if name == b"service" {
                    service_type.clear();
                    control_url.clear();
                }
            }
            Token::Text(piece) => text.push(piece),
            Token::Close(b"serviceType") => service_type = text.take(),
            Token::Close(b"controlURL") => control_url = text.take(),
            Token::Close(b"URLBase") => base = location.join(&text.take()).unwrap_or(base),
            Token::Close(b"service") => {
                let kind = ServiceKind::ALL.into_iter().find(|kind| kind.urn() == service_type);
                if let (Some(kind), Some(control)) = (kind, base.join(&control_url))
                    && found.len() < MAX_SERVICES
                {
                    let better = found.iter().position(|service: &Service| service.kind <= kind);
                    found.insert(better.unwrap_or(found.len()), Service { kind, control });
                }
            }
            Token::Close(_) => text.clear(),
        }
    }
    found
}

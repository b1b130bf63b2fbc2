//! The actions of the connection services (UPnP WANIPConnection:2, section 2.5) as SOAP requests, and their answers.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::description::Service;
use super::http::Response;
use super::xml::text_of;

/// Error "NoSuchEntryInArray": there is no such mapping.
pub const NO_SUCH_ENTRY: u16 = 714;
/// Error "ConflictInMappingEntry": another host has the external port.
pub const CONFLICT: u16 = 718;
/// Error "OnlyPermanentLeasesSupported": the lease must be 0.
pub const ONLY_PERMANENT: u16 = 725;

/// What the router shows its owner beside the mapping.
const DESCRIPTION: &str = "libholepunch";

/// What is asked of a service. All mappings are for UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// GetExternalIPAddress.
    Address,
    /// AddPortMapping, or AddAnyPortMapping, with which the router may choose another port.
    Add {
        /// Whether the router may choose another port; takes a service of version 2.
        any: bool,
        /// The external port.
        external_port: u16,
        /// Our socket.
        internal: SocketAddrV4,
        /// Seconds; 0 is for good.
        lease: u32,
    },
    /// DeletePortMapping.
    Delete {
        /// The external port.
        external_port: u16,
    },
}

impl Action {
    /// The HTTP request.
    pub fn request(&self, service: &Service) -> Vec<u8> {
        let (name, arguments) = match self {
            Self::Address => ("GetExternalIPAddress", String::new()),
            Self::Add { any, external_port, internal, lease } => (
                if *any { "AddAnyPortMapping" } else { "AddPortMapping" },
                format!(
                    "<NewRemoteHost></NewRemoteHost><NewExternalPort>{external_port}</NewExternalPort>\
                     <NewProtocol>UDP</NewProtocol><NewInternalPort>{}</NewInternalPort>\
                     <NewInternalClient>{}</NewInternalClient><NewEnabled>1</NewEnabled>\
                     <NewPortMappingDescription>{DESCRIPTION}</NewPortMappingDescription>\
                     <NewLeaseDuration>{lease}</NewLeaseDuration>",
                    internal.port(),
                    internal.ip()
                ),
            ),
            Self::Delete { external_port } => (
                "DeletePortMapping",
                format!(
                    "<NewRemoteHost></NewRemoteHost><NewExternalPort>{external_port}</NewExternalPort>\
                     <NewProtocol>UDP</NewProtocol>"
                ),
            ),
        };
        let (urn, url) = (service.kind.urn(), &service.control);
        let body = format!(
            "<?xml version=\"1.0\"?>\r\n\
             <s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body>\
             <u:{name} xmlns:u=\"{urn}\">{arguments}</u:{name}></s:Body></s:Envelope>\r\n"
        );
        let (path, host, len) = (&url.path, url.address, body.len());
        format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: text/xml; charset=\"utf-8\"\r\n\
             Content-Length: {len}\r\nSOAPAction: \"{urn}#{name}\"\r\nConnection: close\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

/// What a service answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done. AddAnyPortMapping and GetExternalIPAddress have something to tell.
    Done {
        /// `NewReservedPort`.
        port: Option<u16>,
        /// `NewExternalIPAddress`; empty or 0.0.0.0 while the router has none.
        address: Option<Ipv4Addr>,
    },
    /// Refused, with UPnP's error code or, where there is none, HTTP's status.
    Refused(u16),
}

impl Answer {
    /// Reads the answer to any of the actions.
    pub fn read(response: &Response) -> Self {
        let number = |name| text_of(&response.body, name).and_then(|text| text.parse().ok());
        if response.status == 200 {
            let address = text_of(&response.body, "NewExternalIPAddress").and_then(|text| text.parse().ok());
            return Self::Done { port: number("NewReservedPort"), address };
        }
        Self::Refused(number("errorCode").unwrap_or(response.status))
    }
}

//! Sockets, polling and name resolution: everything that talks to the operating system.

#[cfg(not(unix))]
compile_error!("libholepunch's drivers are written for Unix; the sans-IO core in `proto` is portable");

pub(crate) mod batch;
pub(crate) mod interfaces;
mod name;
#[cfg(target_os = "linux")]
mod pktinfo;
pub(crate) mod poll;
pub mod portmap;
pub(crate) mod resolve;
pub(crate) mod server_stream;
pub(crate) mod streams;
pub(crate) mod tcp;
pub(crate) mod tcp_look;
pub(crate) mod udp;
pub(crate) mod waker;

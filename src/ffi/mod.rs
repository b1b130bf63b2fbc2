//! The C ABI: `include/holepunch.h` is generated from this module (`make header`).
//!
//! Every export runs in a guard that catches panics, checks its pointers, converts its arguments, calls the Rust API and
//! converts the result; there is no logic in here.
#![allow(non_camel_case_types, reason = "these are C's names")]
#![allow(rustdoc::broken_intra_doc_links, reason = "an IPv6 address in brackets is no link")]
#![allow(clippy::missing_safety_doc, reason = "the docs are the header's and speak to C programmers")]

pub mod address;
pub mod client;
pub mod conn;
pub mod conn_types;
pub mod error;
mod guard;
pub mod key;
pub mod log;
pub mod paths;
pub mod peer;
pub mod server;
pub mod server_limits;
pub mod server_paths;
pub mod session;
pub mod session_types;
pub mod status;
pub mod version;

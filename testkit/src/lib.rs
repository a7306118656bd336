//! What the tests of several crates need: a real etcd and kube-apiserver, certificates, requests, waits.
//!
//! A dev-dependency only; of the product it knows the messages of the machine API.

// All of it runs in tests, where a broken expectation is the failure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::missing_panics_doc)]

pub mod child;
pub mod control_plane;
mod golden;
pub mod http;
pub mod namespace;
pub mod pki;
pub mod talos;
pub mod wait;

pub use child::Process;
pub use control_plane::ControlPlane;
pub use golden::golden;
pub use wait::{eventually, scaled, until, within};

use std::net::TcpListener;

/// Ports of the loopback that are free now: all are held until all are known, so that no two are the same.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let held: [TcpListener; N] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}

//! The server over loopback with real TLS: what a workstation, a stranger and an attacker get from it.

// The lints' allowance for tests does not reach the helpers of an integration test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod abuse;
mod admin;
mod assets;
mod neighbours;
mod pairing;
mod reload;
mod services;
mod site;

//! SideroLink from outside: its program on a network of its own, nodes that speak WireGuard, a real API server.

// All of it is tests: a failed expectation ends one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;
mod with_api_server;

//! The boot services from outside: on networks of their own, beside other DHCP servers, with a real API server.

// All of it is tests: a failed expectation ends one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod attacks;
mod dhcp_servers;
mod support;
mod with_api_server;
mod words;

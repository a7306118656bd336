//! People's certificates on both ports. Children are collected by PID 1's code here, so these tests have a process of
//! their own.

// All of it is tests: a failed expectation ends one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod machine;
mod with_api_server;

//! What PID 1 declares, run for real.

// All of it is tests: a failed expectation ends one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod with_api_server;

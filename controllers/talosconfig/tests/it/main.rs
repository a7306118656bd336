//! The client against children: real ones of Talos's library, and some that misbehave.

// All of it is tests: a failed expectation ends one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod misbehaving;
mod support;
mod with_talos_library;

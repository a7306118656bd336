//! The controllers from outside: downloads, and everything that needs a real API server.

// All of it is tests: a failed expectation ends one, and literals are passed as they stand.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::needless_pass_by_value)]
// Kinds stand in comments as they do in manifests.
#![allow(clippy::doc_markdown)]

mod download;
mod support;
mod with_api_server;
mod with_talos_library;
mod with_upstream_providers;

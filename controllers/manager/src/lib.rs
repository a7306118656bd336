//! The library half of `controllers`: everything but the entry.
//!
//! Duty: bring manifests into an API server (`apply`), and keep Servers, ServerClasses and Environments as
//! they should be (`run`), with the webhook that converts between their versions.
//! Never decides anything about a machine by itself: the decisions are in `bloomery_api::decision`.

#![allow(missing_docs, reason = "a program: nothing is built on it")]
// Kubernetes' kinds stand in comments as they do in manifests.
#![allow(clippy::doc_markdown)]

pub mod apply;
pub mod bootstrap;
pub mod cli;
pub mod cluster;
pub mod controlplane;
pub mod download;
pub mod environment;
pub mod fence;
pub mod fleet;
pub mod infrastructure;
mod keyed_lock;
pub mod metadata;
pub mod metrics;
pub mod reconcile;
pub mod reserved_objects;
pub mod run;
pub mod server;
pub mod server_binding;
pub mod server_class;
mod status_patch;
pub mod table;
pub mod watch;
pub mod webhook;
pub mod workload;
mod written;

/// Requests at once, of the 60 that the API server takes (`--max-requests-inflight`). It gives a request a minute. They are
/// few: what follows the binding of one machine must not hold up the bindings of the others, and an API server on two
/// processors answers no faster when it is asked for more at once (DESIGN.md §8).
pub const LIMITS: bloomery_platform::client::Limits = bloomery_platform::client::Limits {
    urgent: 4,
    background: 2,
    answer_within: std::time::Duration::from_mins(1),
};

/// Beside them, those by which machines get their Servers. The API server takes 30 writes at once.
const CLAIMS: bloomery_platform::client::Limits =
    bloomery_platform::client::Limits { urgent: 10, background: 1, ..LIMITS };

/// The TLS implementation of this process.
fn provider() -> std::sync::Arc<rustls::crypto::CryptoProvider> {
    let installed = rustls::crypto::CryptoProvider::get_default().cloned();
    installed.unwrap_or_else(|| std::sync::Arc::new(rustls::crypto::ring::default_provider()))
}

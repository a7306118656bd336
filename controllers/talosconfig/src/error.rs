//! Why a request has no result.

use std::fmt;
use std::time::Duration;

use bloomery_sys::launcher;
use serde::Deserialize;

/// Why a request has no result.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what the variants and their fields are")]
pub enum Error {
    #[error("failed to start Talos's configuration library")]
    Start(#[source] launcher::Error),
    #[error("failed to {operation} by Talos's configuration library within {limit:?}: it was stopped")]
    TimedOut { operation: &'static str, limit: Duration },
    /// With the child's status, and the first line that it wrote to its standard error.
    #[error("failed to {operation} by Talos's configuration library: it ended ({how})")]
    Ended { operation: &'static str, how: String },
    /// The child was stopped.
    #[error("failed to {operation} by Talos's configuration library: its answer exceeds {limit} octets")]
    AnswerTooLong { operation: &'static str, limit: usize },
    /// The child was stopped.
    #[error("failed to {operation} by Talos's configuration library: its answer cannot be read")]
    Garbage { operation: &'static str },
    #[error(
        "failed to {operation} by Talos's configuration library: the request has {octets} octets, {limit} at most"
    )]
    RequestTooLong { operation: &'static str, octets: usize, limit: usize },
    #[error("failed to {operation} by Talos's configuration library: the request cannot be written")]
    Request { operation: &'static str, source: serde_json::Error },
    #[error("failed to {operation}: {refusal}")]
    Refused { operation: &'static str, refusal: Refusal },
    /// The runtime that served the client is gone.
    #[error("failed to {operation} by Talos's configuration library: this program is stopping")]
    Stopped { operation: &'static str },
}

impl Error {
    /// The library's own reason, where it gave one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal),
            _ => None,
        }
    }

    /// Whether the same request can have another end: false where its input is to blame.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Start(_)
            | Self::TimedOut { .. }
            | Self::Ended { .. }
            | Self::Garbage { .. }
            | Self::Stopped { .. } => true,
            Self::AnswerTooLong { .. }
            | Self::RequestTooLong { .. }
            | Self::Request { .. }
            | Self::Refused { .. } => false,
        }
    }
}

/// The library's reason to refuse a request. The message may quote the input.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// What is to blame.
    pub code: Code,
    /// The field of the request, such as `talosVersion` or `patches[1]`; empty if no single one.
    #[serde(default)]
    pub field: String,
    /// The library's own words.
    pub message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self.message.trim_end();
        if self.field.is_empty() { f.write_str(message) } else { write!(f, "{}: {message}", self.field) }
    }
}

/// What a refusal blames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Code {
    /// The request is malformed: a bug of the caller.
    Request,
    /// A value cannot be used.
    Input,
    /// A patch cannot be read.
    PatchLoad,
    /// A patch does not fit the configuration.
    PatchApply,
    /// The library panicked; it lives on.
    Panic,
    /// Request or answer exceed their limits.
    TooLarge,
}

//! Why a request has no result.

use std::fmt;
use std::time::Duration;

use bloomery_sys::launcher;
use serde::Deserialize;

/// Why a request has no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no child to ask.
    #[error("failed to start Talos's configuration library")]
    Start(#[source] launcher::Error),
    /// The child was silent for too long and was killed.
    #[error("failed to {operation} by Talos's configuration library within {limit:?}: it was stopped")]
    TimedOut {
        /// What was asked.
        operation: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// The child ended in the middle.
    #[error("failed to {operation} by Talos's configuration library: it ended ({how})")]
    Ended {
        /// What was asked.
        operation: &'static str,
        /// Its status, and the first line that it wrote to its standard error.
        how: String,
    },
    /// The child said more than an answer may have, and was stopped.
    #[error("failed to {operation} by Talos's configuration library: its answer exceeds {limit} octets")]
    AnswerTooLong {
        /// What was asked.
        operation: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The child said something that is no answer to the request, and was stopped.
    #[error("failed to {operation} by Talos's configuration library: its answer cannot be read")]
    Garbage {
        /// What was asked.
        operation: &'static str,
    },
    /// The request is larger than the child reads.
    #[error(
        "failed to {operation} by Talos's configuration library: the request has {octets} octets, {limit} at most"
    )]
    RequestTooLong {
        /// What was asked.
        operation: &'static str,
        /// Its size.
        octets: usize,
        /// The limit.
        limit: usize,
    },
    /// The request cannot be put into JSON.
    #[error("failed to {operation} by Talos's configuration library: the request cannot be written")]
    Request {
        /// What was asked.
        operation: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Talos's library says no.
    #[error("failed to {operation}: {refusal}")]
    Refused {
        /// What was asked.
        operation: &'static str,
        /// Its reason.
        refusal: Refusal,
    },
    /// The runtime that served the client is gone.
    #[error("failed to {operation} by Talos's configuration library: this program is stopping")]
    Stopped {
        /// What was asked.
        operation: &'static str,
    },
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

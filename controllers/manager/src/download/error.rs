//! Why a file was not brought.
//!
//! Never without the place it happened at: these texts become events that people act on.

use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to connect to {address}")]
    Connect { address: String, source: std::io::Error },
    #[error("failed to set up TLS with {host}")]
    Tls { host: String, source: std::io::Error },
    #[error("failed to read CA file {}", path.display())]
    Trust { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("failed to configure TLS")]
    TlsConfig(#[source] rustls::Error),
    #[error("failed to make a request for {url}")]
    Request { url: String, source: ::http::Error },
    #[error("failed to get {url}")]
    Exchange { url: String, source: hyper::Error },
    #[error("failed to get {url}: nothing came for {} s", limit.as_secs())]
    Idle { url: String, limit: Duration },
    /// It comes, but so slowly that others should have their turn.
    #[error("failed to get {url} within {} s; it is continued", limit.as_secs())]
    Slow { url: String, limit: Duration },
    #[error("failed to get {url}: the server answers {status}")]
    Status { url: String, status: ::http::StatusCode },
    #[error("failed to follow the redirect of {url}: {problem}")]
    Redirect { url: String, problem: String },
    #[error("failed to use the answer of {url}: {problem}")]
    Answer { url: String, problem: &'static str },
    #[error("failed to take {url}: larger than {limit} bytes")]
    TooLarge { url: String, limit: u64 },
    #[error(
        "failed to take {url}: {needed} bytes are needed and {free} are free, of which {reserve} are kept for the plane itself"
    )]
    Space { url: String, needed: u64, free: u64, reserve: u64 },
    #[error("failed to accept {url}: it has SHA-512 {actual} instead of {wanted}")]
    Mismatch { url: String, wanted: String, actual: String },
    /// The content is another one than when the URL was first fetched, and nothing says which is the right one.
    #[error(
        "failed to accept {url}: it has SHA-512 {actual} now and had {pinned} when it was first fetched; if this \
         change is right, set the sha512 of the asset to the new one"
    )]
    Changed { url: String, pinned: String, actual: String },
    /// The content is a text for people or programs, as portals and error pages send it.
    #[error(
        "failed to accept {url}: {problem}, neither a kernel nor an initramfs; look at what the server sends, or set \
         the sha512 of the asset"
    )]
    NotAnAsset { url: String, problem: &'static str },
    #[error("failed to {operation} {}", path.display())]
    File { operation: &'static str, path: PathBuf, source: std::io::Error },
    #[error("failed to go on: it is no longer wanted")]
    Unwanted,
    /// The work was lost with its thread.
    #[error("failed to finish {}", path.display())]
    Lost { path: PathBuf },
}

impl Error {
    /// Wraps an I/O error with what was tried.
    pub(super) fn file(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { operation, path, source }
    }

    /// True when what came so far is good and the rest may come at the next try.
    pub fn is_break(&self) -> bool {
        matches!(self, Self::Exchange { .. } | Self::Idle { .. } | Self::Slow { .. })
    }

    /// One word for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Connect { .. } | Self::Tls { .. } => "connect",
            Self::Trust { .. } | Self::TlsConfig(_) => "trust",
            Self::Request { .. } | Self::Redirect { .. } | Self::Answer { .. } => "protocol",
            Self::Exchange { .. } | Self::Idle { .. } | Self::Slow { .. } => "break",
            Self::Status { .. } => "status",
            Self::TooLarge { .. } => "size",
            Self::Space { .. } => "space",
            Self::Mismatch { .. } | Self::Changed { .. } => "digest",
            Self::NotAnAsset { .. } => "content",
            Self::File { .. } | Self::Lost { .. } => "file",
            Self::Unwanted => "unwanted",
        }
    }
}

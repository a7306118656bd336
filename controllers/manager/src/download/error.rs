//! Why a file was not brought.
//!
//! Never without the place it happened at: these texts become events that people act on.

use std::path::PathBuf;
use std::time::Duration;

/// Why one try failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server cannot be reached.
    #[error("failed to connect to {address}")]
    Connect {
        /// Host and port.
        address: String,
        #[source]
        source: std::io::Error,
    },
    /// The server's certificate is not trusted, or TLS is not spoken.
    #[error("failed to set up TLS with {host}")]
    Tls {
        /// The host.
        host: String,
        #[source]
        source: std::io::Error,
    },
    /// The trusted certificates cannot be read.
    #[error("failed to read CA file {}", path.display())]
    Trust {
        path: PathBuf,
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The TLS library refuses its own configuration.
    #[error("failed to configure TLS")]
    TlsConfig(#[source] rustls::Error),
    /// The request cannot be written for this URL.
    #[error("failed to make a request for {url}")]
    Request {
        /// The URL.
        url: String,
        #[source]
        source: ::http::Error,
    },
    /// The exchange broke.
    #[error("failed to get {url}")]
    Exchange {
        /// The URL.
        url: String,
        #[source]
        source: hyper::Error,
    },
    /// Nothing came for too long.
    #[error("failed to get {url}: nothing came for {} s", limit.as_secs())]
    Idle {
        /// The URL.
        url: String,
        /// How long was waited.
        limit: Duration,
    },
    /// It comes, but so slowly that others should have their turn.
    #[error("failed to get {url} within {} s; it is continued", limit.as_secs())]
    Slow {
        /// The URL.
        url: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The server does not give the file.
    #[error("failed to get {url}: the server answers {status}")]
    Status {
        /// The URL.
        url: String,
        /// What it answers.
        status: ::http::StatusCode,
    },
    /// The server sends elsewhere, where we do not go.
    #[error("failed to follow the redirect of {url}: {problem}")]
    Redirect {
        /// The URL.
        url: String,
        /// Why not.
        problem: String,
    },
    /// The answer is not what was asked for.
    #[error("failed to use the answer of {url}: {problem}")]
    Answer {
        /// The URL.
        url: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The file is beyond what an asset can be.
    #[error("failed to take {url}: larger than {limit} bytes")]
    TooLarge {
        /// The URL.
        url: String,
        /// The limit.
        limit: u64,
    },
    /// The file would fill the disk.
    #[error(
        "failed to take {url}: {needed} bytes are needed and {free} are free, of which {reserve} are kept for the plane itself"
    )]
    Space {
        /// The URL.
        url: String,
        /// Bytes still to come.
        needed: u64,
        /// Bytes free.
        free: u64,
        /// Bytes that must stay free.
        reserve: u64,
    },
    /// The content is another one than asked for.
    #[error("failed to accept {url}: it has SHA-512 {actual} instead of {wanted}")]
    Mismatch {
        /// The URL.
        url: String,
        /// What it should have.
        wanted: String,
        /// What it has.
        actual: String,
    },
    /// The content is another one than when the URL was first fetched, and nothing says which is the right one.
    #[error(
        "failed to accept {url}: it has SHA-512 {actual} now and had {pinned} when it was first fetched; if this \
         change is right, set the sha512 of the asset to the new one"
    )]
    Changed {
        /// The URL.
        url: String,
        /// What it had at first.
        pinned: String,
        /// What it has now.
        actual: String,
    },
    /// The content is a text for people or programs, as portals and error pages send it.
    #[error(
        "failed to accept {url}: {problem}, neither a kernel nor an initramfs; look at what the server sends, or set \
         the sha512 of the asset"
    )]
    NotAnAsset {
        /// The URL.
        url: String,
        /// What it is.
        problem: &'static str,
    },
    /// A file of ours cannot be worked with.
    #[error("failed to {operation} {}", path.display())]
    File {
        /// What was tried, as a verb.
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// Nobody wants it any more.
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

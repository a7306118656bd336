//! What goes wrong with Redfish.
//!
//! Never contains a password or a user name.

use crate::error::DriverError;
use crate::identity::{Guid, NotOurs};
use crate::web::{CertificatePin, WebError};

/// Why JSON is not the resource it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what the variants and their fields are")]
pub enum ParseError {
    #[error("failed to parse the JSON: {reason}")]
    Json { reason: String },
    #[error("{property} is missing")]
    Missing { property: &'static str },
    #[error("{property} is no path on this BMC")]
    Path { property: &'static str },
    #[error("PowerState is {state:?}")]
    PowerState { state: String },
}

/// Why a conversation with a Redfish service failed.
#[derive(Debug, Clone, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what the variants and their fields are")]
pub enum Error {
    #[error("failed to ask Redfish for {path}")]
    Web { path: String, source: WebError },
    /// An action was sent and its answer did not come: it may have been done.
    #[error("failed to hear from Redfish whether {path} was done")]
    Unsure { path: String, source: WebError },
    #[error(
        "failed to log in to Redfish at {path}: HTTP status {status}; check the user, the password and its role"
    )]
    Auth { path: String, status: u16 },
    #[error(
        "failed to log in to Redfish at {path}: no password is sent over plain HTTP; give the endpoint as https://"
    )]
    Insecure { path: String },
    #[error("failed at {method} {path}: Redfish answered HTTP status {status}{}", message(.text))]
    Status {
        method: &'static str,
        path: String,
        status: u16,
        /// The BMC's own words, if any.
        text: String,
    },
    #[error("failed to follow Redfish from {path} to {to}: it leads to another service or in a circle")]
    Redirect { path: String, to: String },
    #[error("failed to understand Redfish's {path}")]
    Parse { path: String, source: ParseError },
    /// The only system is another machine.
    #[error(transparent)]
    Identity(NotOurs),
    #[error("failed to find the machine: none of the BMC's {systems} Systems has the UUID {uuid}{}", list("; not read: ", .unreadable))]
    NoSystem { systems: u64, uuid: String, told: Vec<Guid>, unreadable: Vec<String> },
    #[error("failed to choose a System: all of {} have the UUID {uuid}", .paths.join(", "))]
    Twins { uuid: String, paths: Vec<String> },
    /// Every way was refused, or had no effect.
    #[error("failed to {wanted} by Redfish; tried {}", .tried.join("; "))]
    Tried {
        wanted: &'static str,
        /// Each way with what came of it.
        tried: Vec<String>,
    },
    #[error("failed to power cycle: the machine did not power off within {seconds} s")]
    StillOn { seconds: u64 },
    #[error("failed to find a way to {wanted}: the BMC allows only the resets {allowed}")]
    NoReset { wanted: &'static str, allowed: String },
}

impl DriverError for Error {
    fn category(&self) -> &'static str {
        match self {
            Self::Web { source, .. } => source.category(),
            Self::Unsure { .. } => "unsure",
            Self::Auth { .. } => "auth",
            Self::Insecure { .. } => "insecure",
            Self::Status { .. } | Self::Tried { .. } => "refused",
            Self::Parse { .. } | Self::Redirect { .. } => "protocol",
            Self::StillOn { .. } => "timeout",
            Self::Identity(_) => "other_machine",
            Self::NoSystem { unreadable, .. } if !unreadable.is_empty() => "protocol",
            Self::NoSystem { .. } | Self::Twins { .. } | Self::NoReset { .. } => "unsupported",
        }
    }

    fn is_unsure(&self) -> bool {
        matches!(self, Self::Unsure { .. })
    }

    /// The service has machines with UUIDs of their own, and none is ours or several are.
    fn is_about_identity(&self) -> bool {
        match self {
            Self::Identity(_) | Self::Twins { .. } => true,
            Self::NoSystem { told, .. } => !told.is_empty(),
            _ => false,
        }
    }

    fn other_machine(&self) -> Option<&NotOurs> {
        if let Self::Identity(not_ours) = self { Some(not_ours) } else { None }
    }

    fn changed_certificate(&self) -> Option<(CertificatePin, CertificatePin)> {
        match self {
            Self::Web { source: WebError::CertificateChanged { pinned, shown, .. }, .. } => {
                Some((*pinned, *shown))
            }
            _ => None,
        }
    }
}

impl Error {
    /// The service refused, and may do the same in another way.
    pub(super) const fn is_refusal(&self) -> bool {
        matches!(self, Self::Status { .. } | Self::Auth { .. })
    }

    /// The status of a refusal.
    pub(super) const fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } | Self::Auth { status, .. } => Some(*status),
            _ => None,
        }
    }
}

fn message(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" ({text})") }
}

fn list(before: &str, items: &[String]) -> String {
    if items.is_empty() { String::new() } else { format!("{before}{}", items.join(", ")) }
}

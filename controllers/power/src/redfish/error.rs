//! What goes wrong with Redfish.
//!
//! Never contains a password or a user name.

use super::model::ParseError;
use crate::web::WebError;

/// Why a conversation with a Redfish service failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No response.
    #[error("failed to ask Redfish for {path}")]
    Web {
        /// Path.
        path: String,
        /// Why.
        source: WebError,
    },
    /// Wrong user name or password.
    #[error(
        "failed to log in to Redfish at {path}: HTTP status {status}; check the user, the password and its role"
    )]
    Auth {
        /// Path.
        path: String,
        /// 401 or 403.
        status: u16,
    },
    /// A refusal.
    #[error("failed at {method} {path}: Redfish answered HTTP status {status}{}", message(.text))]
    Status {
        /// Method.
        method: &'static str,
        /// Path.
        path: String,
        /// Status code.
        status: u16,
        /// The BMC's own words, if any.
        text: String,
    },
    /// The resource makes no sense.
    #[error("failed to understand Redfish's {path}")]
    Parse {
        /// Path.
        path: String,
        /// Why.
        source: ParseError,
    },
    /// None of several systems is the machine.
    #[error("failed to find the machine: none of the BMC's {systems} Systems has the UUID {uuid}")]
    NoSystem {
        /// How many there are.
        systems: usize,
        /// The Server's name.
        uuid: String,
    },
    /// It never became off.
    #[error("failed to power cycle: the machine did not power off within {seconds} s")]
    StillOn {
        /// The limit.
        seconds: u64,
    },
    /// It has no such reset.
    #[error("failed to find a way to {wanted}: the BMC allows only the resets {allowed}")]
    NoReset {
        /// What was wanted.
        wanted: &'static str,
        /// What it allows.
        allowed: String,
    },
}

impl Error {
    /// One word for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Web { source, .. } => source.category(),
            Self::Auth { .. } => "auth",
            Self::Status { .. } => "refused",
            Self::Parse { .. } => "protocol",
            Self::StillOn { .. } => "timeout",
            Self::NoSystem { .. } | Self::NoReset { .. } => "unsupported",
        }
    }

    /// The status of a refusal.
    pub(super) const fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            Self::Web { .. }
            | Self::Auth { .. }
            | Self::Parse { .. }
            | Self::NoSystem { .. }
            | Self::StillOn { .. }
            | Self::NoReset { .. } => None,
        }
    }
}

fn message(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" ({text})") }
}

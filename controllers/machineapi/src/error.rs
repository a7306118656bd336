//! Why a call has no result, sorted by what follows from it.

use std::time::Duration;

use tonic::Code;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine has no address that can be used.
    #[error("no addresses were found for node {node:?}")]
    NoAddress {
        /// The machine.
        node: String,
    },
    /// The address cannot be used as one.
    #[error("failed to use the address {address:?}")]
    Address {
        /// The address.
        address: String,
    },
    /// Nothing answered, or something that is not the node.
    #[error("failed to connect to the Talos API at {address}")]
    Connect {
        /// The address.
        address: String,
        /// Why.
        #[source]
        source: Box<tonic::transport::Error>,
    },
    /// No answer came in time.
    #[error("failed to {operation} at {address} within {} s", limit.as_secs_f32())]
    TimedOut {
        /// What was asked.
        operation: &'static str,
        /// Of whom.
        address: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The node refused, or the connection broke.
    #[error("failed to {operation} at {address}: {message}")]
    Refused {
        /// What was asked.
        operation: &'static str,
        /// Of whom.
        address: String,
        /// Talos's code.
        code: Code,
        /// Talos's words.
        message: String,
    },
    /// The answer is none: it has no message.
    #[error("failed to {operation} at {address}: the answer is empty")]
    Empty {
        /// What was asked.
        operation: &'static str,
        /// Of whom.
        address: String,
    },
}

/// What follows from an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Nothing is known: the node may be off, on its way up, or cut off.
    Unreachable,
    /// The node is not ready for the call yet.
    NotYet,
    /// What the call is to do was done before.
    Done,
    /// What the call is about is not there.
    Absent,
    /// The same call will always fail: the node's configuration or the client's rights are to blame.
    Never,
    /// Anything else: the same call may succeed.
    Failed,
}

impl Error {
    /// What follows from it.
    pub const fn cause(&self) -> Cause {
        match self {
            Self::NoAddress { .. } | Self::Connect { .. } | Self::TimedOut { .. } => Cause::Unreachable,
            Self::Address { .. } => Cause::Never,
            Self::Empty { .. } => Cause::Failed,
            Self::Refused { code, .. } => match code {
                Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => Cause::Unreachable,
                Code::FailedPrecondition => Cause::NotYet,
                Code::AlreadyExists => Cause::Done,
                Code::NotFound => Cause::Absent,
                Code::InvalidArgument
                | Code::PermissionDenied
                | Code::Unauthenticated
                | Code::Unimplemented => Cause::Never,
                Code::Ok
                | Code::Unknown
                | Code::ResourceExhausted
                | Code::Aborted
                | Code::OutOfRange
                | Code::Internal
                | Code::DataLoss => Cause::Failed,
            },
        }
    }
}

//! Why a power command failed.
//!
//! Never contains a password or a user name.

use std::sync::Arc;
use std::time::Duration;

use bloomery_base::chain;

use crate::identity::NotOurs;
use crate::web::CertificatePin;

/// What a driver's own error says beyond its text.
pub trait DriverError: std::error::Error + Send + Sync {
    /// One word for metrics, of those that [`PowerError::category`] lists.
    fn category(&self) -> &'static str;
    /// The command may have been carried out.
    fn is_unsure(&self) -> bool {
        false
    }
    /// The BMC is another machine's, or nobody can tell which of its machines is meant.
    fn is_about_identity(&self) -> bool {
        false
    }
    /// The machine that the BMC says it belongs to, if that is the cause.
    fn other_machine(&self) -> Option<&NotOurs> {
        None
    }
    /// The certificate that was pinned and the one that was shown instead, if that is the cause.
    fn changed_certificate(&self) -> Option<(CertificatePin, CertificatePin)> {
        None
    }
}

/// The BMC is another machine's, or nobody can tell whose.
impl DriverError for NotOurs {
    fn category(&self) -> &'static str {
        "other_machine"
    }

    fn is_about_identity(&self) -> bool {
        true
    }

    fn other_machine(&self) -> Option<&NotOurs> {
        Some(self)
    }
}

/// Why a command failed.
#[derive(Debug, Clone, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what the variants and their fields are")]
pub enum PowerError {
    /// By one protocol.
    #[error(transparent)]
    Driver(Arc<dyn DriverError>),
    /// Redfish was found earlier and failed now, and so did IPMI.
    #[error("failed by Redfish ({}) and by IPMI", chain(.redfish.as_ref()))]
    Both {
        redfish: Arc<PowerError>,
        #[source]
        ipmi: Arc<PowerError>,
    },
    #[error("failed to finish within {} s; the BMC answers too slowly", .limit.as_secs())]
    Overdue { limit: Duration },
    /// Not sent: when it could be, who had ordered it did not want it any more.
    #[error("not sent because its reason has gone")]
    Unwanted,
    #[error("not tried, next try in {} s because the last {failures} failed", retry_after.as_secs_f64().ceil())]
    Backoff {
        /// Until a command is tried again.
        retry_after: Duration,
        failures: u32,
        #[source]
        last: Arc<PowerError>,
    },
}

impl<E: DriverError + 'static> From<E> for PowerError {
    fn from(error: E) -> Self {
        Self::Driver(Arc::new(error))
    }
}

impl PowerError {
    /// One word: timeout, auth, protocol, refused, unreachable, simulated, unsupported, unwanted, other_machine,
    /// certificate, insecure or unsure.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Driver(error) => error.category(),
            // Redfish had answered before; IPMI may not even be there.
            Self::Both { redfish, .. } => redfish.category(),
            Self::Overdue { .. } => "timeout",
            Self::Unwanted => "unwanted",
            Self::Backoff { last, .. } => last.category(),
        }
    }

    /// The same command may succeed later although nobody has changed anything.
    pub fn is_retryable(&self) -> bool {
        !matches!(self.category(), "auth" | "unsupported" | "other_machine" | "certificate" | "insecure")
    }

    /// How long the pool refuses commands to this BMC, if it does.
    pub fn retry_after(&self) -> Option<Duration> {
        if let Self::Backoff { retry_after, .. } = self { Some(*retry_after) } else { None }
    }

    /// No other protocol may be tried: it was not wanted, it is another machine's, somebody else answers in the BMC's
    /// place, or the command may have been carried out.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Unwanted => true,
            Self::Driver(error) => {
                error.is_unsure() || error.is_about_identity() || error.changed_certificate().is_some()
            }
            Self::Both { .. } | Self::Overdue { .. } | Self::Backoff { .. } => false,
        }
    }

    /// Nothing is wrong with the BMC's answers, so that there is no reason to ask less often.
    pub(crate) fn spares_the_bmc(&self) -> bool {
        matches!(self.category(), "unwanted" | "simulated" | "other_machine" | "certificate")
            || self.is_about_identity()
    }

    /// The certificate that was pinned and the one that was shown instead, if that is the cause.
    pub fn changed_certificate(&self) -> Option<(CertificatePin, CertificatePin)> {
        match self {
            Self::Driver(error) => error.changed_certificate(),
            Self::Both { redfish, .. } => redfish.changed_certificate(),
            Self::Backoff { last, .. } => last.changed_certificate(),
            Self::Overdue { .. } | Self::Unwanted => None,
        }
    }

    /// The BMC is another machine's, or nobody can tell which of its machines is meant.
    pub fn is_about_identity(&self) -> bool {
        match self {
            Self::Driver(error) => error.is_about_identity(),
            Self::Both { redfish, ipmi } => redfish.is_about_identity() || ipmi.is_about_identity(),
            Self::Backoff { last, .. } => last.is_about_identity(),
            Self::Overdue { .. } | Self::Unwanted => false,
        }
    }

    /// The machine that the BMC says it belongs to, if that is the cause.
    pub fn other_machine(&self) -> Option<&NotOurs> {
        match self {
            Self::Driver(error) => error.other_machine(),
            Self::Both { redfish, ipmi } => redfish.other_machine().or_else(|| ipmi.other_machine()),
            Self::Backoff { last, .. } => last.other_machine(),
            Self::Overdue { .. } | Self::Unwanted => None,
        }
    }
}

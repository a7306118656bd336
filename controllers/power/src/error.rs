//! Why a power command failed: which command at which BMC, and the cause below it.
//!
//! Never contains a password or a user name.

use bloomery_base::chain;
use std::sync::Arc;
use std::time::Duration;

use crate::bmc::Operation;
use crate::identity::NotOurs;
use crate::web::CertificatePin;
use crate::{http_api, ipmi, redfish};

/// A failed command, one variant each.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// `power_state`.
    #[error("failed to read the power state from {peer}")]
    PowerState {
        /// Address of the BMC or API.
        peer: String,
        /// Why.
        source: Arc<Cause>,
    },
    /// `power_on`.
    #[error("failed to power on through {peer}")]
    PowerOn {
        /// Address of the BMC or API.
        peer: String,
        /// Why.
        source: Arc<Cause>,
    },
    /// `power_off`.
    #[error("failed to power off through {peer}")]
    PowerOff {
        /// Address of the BMC or API.
        peer: String,
        /// Why.
        source: Arc<Cause>,
    },
    /// `power_cycle`.
    #[error("failed to power cycle through {peer}")]
    PowerCycle {
        /// Address of the BMC or API.
        peer: String,
        /// Why.
        source: Arc<Cause>,
    },
    /// `set_pxe_once`.
    #[error("failed to set the next boot to the network through {peer}")]
    SetPxeOnce {
        /// Address of the BMC or API.
        peer: String,
        /// Why.
        source: Arc<Cause>,
    },
}

impl Error {
    /// The failure of `operation` at `peer`.
    pub(crate) fn new(operation: Operation, peer: &str, source: Arc<Cause>) -> Self {
        let peer = peer.to_owned();
        match operation {
            Operation::PowerState => Self::PowerState { peer, source },
            Operation::PowerOn => Self::PowerOn { peer, source },
            Operation::PowerOff => Self::PowerOff { peer, source },
            Operation::PowerCycle => Self::PowerCycle { peer, source },
            Operation::SetPxeOnce => Self::SetPxeOnce { peer, source },
        }
    }

    /// The cause, for texts that name the command themselves.
    pub fn cause(&self) -> &Cause {
        let (Self::PowerState { source, .. }
        | Self::PowerOn { source, .. }
        | Self::PowerOff { source, .. }
        | Self::PowerCycle { source, .. }
        | Self::SetPxeOnce { source, .. }) = self;
        source
    }

    /// The same command may succeed later although nobody has changed anything.
    pub fn is_retryable(&self) -> bool {
        self.cause().is_retryable()
    }

    /// One word: timeout, auth, protocol, refused, unreachable, simulated, unsupported, unwanted, other_machine,
    /// certificate, insecure or unsure.
    pub fn category(&self) -> &'static str {
        self.cause().category()
    }

    /// How long the pool refuses commands to this BMC, if it does.
    pub fn retry_after(&self) -> Option<Duration> {
        match self.cause() {
            Cause::Backoff { retry_after, .. } => Some(*retry_after),
            Cause::Ipmi(_)
            | Cause::Redfish(_)
            | Cause::Http(_)
            | Cause::Both { .. }
            | Cause::OtherMachine(_)
            | Cause::Overdue { .. }
            | Cause::Unwanted => None,
        }
    }
}

/// What went wrong below a command.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Cause {
    /// IPMI failed.
    #[error(transparent)]
    Ipmi(ipmi::Error),
    /// Redfish failed.
    #[error(transparent)]
    Redfish(redfish::Error),
    /// The HTTP API failed.
    #[error(transparent)]
    Http(http_api::Error),
    /// Redfish was found earlier and failed now, and so did IPMI.
    #[error("failed by Redfish ({}) and by IPMI", chain(.redfish.as_ref()))]
    Both {
        /// Redfish's failure.
        redfish: Arc<Cause>,
        /// IPMI's failure.
        #[source]
        ipmi: Arc<Cause>,
    },
    /// The BMC is another machine's, or nobody can tell whose.
    #[error(transparent)]
    OtherMachine(NotOurs),
    /// The whole command took too long.
    #[error("failed to finish within {} s; the BMC answers too slowly", .limit.as_secs())]
    Overdue {
        /// The limit.
        limit: Duration,
    },
    /// Not sent: when it could be, who had ordered it did not want it any more.
    #[error("not sent because its reason has gone")]
    Unwanted,
    /// Not tried: the last command failed a short time ago.
    #[error("not tried, next try in {} s because the last {failures} failed", retry_after.as_secs_f64().ceil())]
    Backoff {
        /// Until a command is tried again.
        retry_after: Duration,
        /// Failures in a row.
        failures: u32,
        /// The last one.
        #[source]
        last: Arc<Cause>,
    },
}

impl Cause {
    /// One word, see [`Error::category`].
    pub fn category(&self) -> &'static str {
        match self {
            Self::Ipmi(error) => error.category(),
            Self::Redfish(error) => error.category(),
            Self::Http(error) => error.category(),
            // Redfish had answered before; IPMI may not even be there.
            Self::Both { redfish, .. } => redfish.category(),
            Self::OtherMachine(_) => "other_machine",
            Self::Overdue { .. } => "timeout",
            Self::Unwanted => "unwanted",
            Self::Backoff { last, .. } => last.category(),
        }
    }

    /// See [`Error::is_retryable`].
    pub fn is_retryable(&self) -> bool {
        !matches!(self.category(), "auth" | "unsupported" | "other_machine" | "certificate" | "insecure")
    }

    /// No other protocol may be tried: it was not wanted, it is another machine's, somebody else answers in the BMC's
    /// place, or the command may have been carried out.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Unwanted | Self::OtherMachine(_) => true,
            Self::Redfish(error) => {
                error.is_unsure() || error.is_about_identity() || error.changed_certificate().is_some()
            }
            Self::Ipmi(_)
            | Self::Http(_)
            | Self::Both { .. }
            | Self::Overdue { .. }
            | Self::Backoff { .. } => false,
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
            Self::Redfish(error) => error.changed_certificate(),
            Self::Both { redfish, .. } => redfish.changed_certificate(),
            Self::Backoff { last, .. } => last.changed_certificate(),
            Self::Ipmi(_) | Self::Http(_) | Self::OtherMachine(_) | Self::Overdue { .. } | Self::Unwanted => {
                None
            }
        }
    }

    /// The BMC is another machine's, or nobody can tell which of its machines is meant.
    pub fn is_about_identity(&self) -> bool {
        match self {
            Self::OtherMachine(_) => true,
            Self::Redfish(error) => error.is_about_identity(),
            Self::Both { redfish, ipmi } => redfish.is_about_identity() || ipmi.is_about_identity(),
            Self::Backoff { last, .. } => last.is_about_identity(),
            Self::Ipmi(_) | Self::Http(_) | Self::Overdue { .. } | Self::Unwanted => false,
        }
    }

    /// The machine that the BMC says it belongs to, if that is the cause.
    pub fn other_machine(&self) -> Option<&NotOurs> {
        match self {
            Self::OtherMachine(not_ours) => Some(not_ours),
            Self::Both { redfish, ipmi } => redfish.other_machine().or_else(|| ipmi.other_machine()),
            Self::Backoff { last, .. } => last.other_machine(),
            Self::Ipmi(_) | Self::Redfish(_) | Self::Http(_) | Self::Overdue { .. } | Self::Unwanted => None,
        }
    }
}

//! What a machine's power control can do, whoever does it.
//!
//! Never holds a connection: every command is complete in itself.

use std::fmt::{Debug, Display, Formatter};

use futures::future::BoxFuture;

use crate::error::PowerError;
use crate::precondition::Precondition;
use crate::web::CertificatePin;

/// Power as the BMC reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// On, or not yet off: BMCs report "on" while a machine powers off.
    On,
    /// Off.
    Off,
}

/// How the firmware is to boot from the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PxeMode {
    /// UEFI.
    Uefi,
    /// Legacy BIOS.
    Bios,
}

/// Who does it; a metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// IPMI over LAN, 2.0 or 1.5.
    Ipmi,
    /// Redfish.
    Redfish,
    /// A BMC whose protocol is not known yet: Redfish if it answers, else IPMI.
    Unknown,
    /// The HTTP API of a machine provisioner.
    Http,
    /// Nobody.
    Fake,
}

impl Kind {
    /// One word for metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ipmi => "ipmi",
            Self::Redfish => "redfish",
            Self::Unknown => "unknown",
            Self::Http => "http",
            Self::Fake => "fake",
        }
    }
}

/// What was asked for; a metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Is it on?
    PowerState,
    /// Power on.
    PowerOn,
    /// Power off at once.
    PowerOff,
    /// Off and on again.
    PowerCycle,
    /// The next boot, and only it, is from the network.
    SetPxeOnce,
}

impl Operation {
    /// One word for metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PowerState => "power_state",
            Self::PowerOn => "power_on",
            Self::PowerOff => "power_off",
            Self::PowerCycle => "power_cycle",
            Self::SetPxeOnce => "set_pxe_once",
        }
    }
}

impl Display for Operation {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A command that changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Power on; a machine that is on stays on.
    On,
    /// Power off at once, without asking the operating system.
    Off,
    /// Off and on again. Ask for it only when the machine is on: most BMCs refuse it otherwise.
    Cycle,
    /// The next boot, and only it, is from the network.
    PxeOnce(PxeMode),
}

impl Action {
    /// What it is called in metrics and errors.
    pub const fn operation(self) -> Operation {
        match self {
            Self::On => Operation::PowerOn,
            Self::Off => Operation::PowerOff,
            Self::Cycle => Operation::PowerCycle,
            Self::PxeOnce(_) => Operation::SetPxeOnce,
        }
    }
}

/// Power control of one machine. Implementations do one command per call and keep nothing open.
///
/// Success of a command means that the BMC accepted it, not that it has happened: a machine may be reported "on" for
/// minutes after [`Action::Off`], so look again later. All futures may be dropped at any time.
pub trait Bmc: Debug + Send + Sync {
    /// Is the machine on?
    fn power_state(&self) -> BoxFuture<'_, Result<Power, PowerError>>;
    /// Does `action` if the precondition holds when it could be sent; else it fails with [`PowerError::Unwanted`].
    fn command<'a>(
        &'a self,
        action: Action,
        wanted: &'a dyn Precondition,
    ) -> BoxFuture<'a, Result<(), PowerError>>;
    /// Who does it.
    fn kind(&self) -> Kind;
    /// Address, for messages.
    fn peer(&self) -> &str;
    /// The key of the BMC's certificate that was trusted, once it has been asked for something over TLS with success.
    fn certificate(&self) -> Option<CertificatePin> {
        None
    }
    /// Nobody does it: such a machine gets no events and no conditions.
    fn is_fake(&self) -> bool {
        self.kind() == Kind::Fake
    }
}

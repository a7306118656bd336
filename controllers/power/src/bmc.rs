//! What a machine's power control can do, whoever does it.
//!
//! Never holds a connection: every command is complete in itself.

use std::fmt::{Debug, Display, Formatter};
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::error::{Cause, Error};
use crate::wanted::Wanted;
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

/// One protocol's way of doing it. Implementations do one command per call and keep nothing open.
pub trait Driver: Debug + Send + Sync {
    /// Is the machine on?
    fn read(&self) -> BoxFuture<'_, Result<Power, Cause>>;
    /// Does `action` if it is still `wanted` when it could be sent.
    fn act<'a>(&'a self, action: Action, wanted: &'a dyn Wanted) -> BoxFuture<'a, Result<(), Cause>>;
    /// Who does it.
    fn kind(&self) -> Kind;
    /// Address, for messages.
    fn peer(&self) -> &str;
    /// The key of the BMC's certificate, once it has been asked for something over TLS with success.
    fn certificate(&self) -> Option<CertificatePin> {
        None
    }
}

/// Power control of one machine.
///
/// Success of a command means that the BMC accepted it, not that it has happened: a machine may be reported "on" for
/// minutes after [`Action::Off`], so look again later. All futures may be dropped at any time.
pub trait Bmc: Debug + Send + Sync {
    /// Is the machine on?
    fn power_state(&self) -> BoxFuture<'_, Result<Power, Error>>;
    /// Does `action` unless it is not `wanted` any more when it could be sent; then it fails with [`Cause::Unwanted`].
    fn command<'a>(&'a self, action: Action, wanted: &'a dyn Wanted) -> BoxFuture<'a, Result<(), Error>>;
    /// Who does it.
    fn kind(&self) -> Kind;
    /// The key of the BMC's certificate that was trusted, once it was: for whoever keeps it.
    fn certificate(&self) -> Option<CertificatePin>;
    /// Nobody does it: such a machine gets no events and no conditions.
    fn is_fake(&self) -> bool;
}

impl<D: Driver> Bmc for D {
    fn power_state(&self) -> BoxFuture<'_, Result<Power, Error>> {
        let failed = |cause| Error::new(Operation::PowerState, self.peer(), Arc::new(cause));
        self.read().map(move |result| result.map_err(failed)).boxed()
    }

    fn command<'a>(&'a self, action: Action, wanted: &'a dyn Wanted) -> BoxFuture<'a, Result<(), Error>> {
        let failed = move |cause| Error::new(action.operation(), self.peer(), Arc::new(cause));
        self.act(action, wanted).map(move |result| result.map_err(failed)).boxed()
    }

    fn kind(&self) -> Kind {
        Driver::kind(self)
    }

    fn certificate(&self) -> Option<CertificatePin> {
        Driver::certificate(self)
    }

    fn is_fake(&self) -> bool {
        Driver::kind(self) == Kind::Fake
    }
}

//! Power control of machines through their BMC: IPMI, Redfish, and the API of a machine provisioner.
//!
//! Duty: turn "on", "off", "cycle", "network boot once" and "is it on?" into packets, one BMC at a time and without
//! one dead BMC delaying another (`pool`).
//! Never knows Kubernetes, never decides what should happen to a machine, and never logs a password.

// Names of protocols and of Redfish properties stand in comments as they do on the wire.
#![allow(clippy::doc_markdown)]

mod bmc;
pub mod endpoint;
mod error;
pub mod fake;
pub mod http_api;
pub mod identity;
pub mod ipmi;
mod pool;
mod precondition;
mod probe;
pub mod redfish;
mod select;
mod web;

pub use bmc::{Action, Bmc, Kind, Operation, Power, PxeMode};
pub use endpoint::{DEFAULT_PORT, SelectError};
pub use error::{DriverError, PowerError};
pub use pool::{Config, Connect, Network, Observer, Pool};
pub use precondition::{Always, Precondition};
pub use probe::probe;
pub use select::{BmcTarget, Lan, Selection, Target, select};
pub use web::{CertificatePin, WebError};

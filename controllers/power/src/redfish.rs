//! Redfish over HTTP and HTTPS: the part of DSP0266 that power control needs.
//!
//! A BMC's certificate is its own, so its key is pinned at first use. Never follows a redirect or a link to another
//! host, and never sends a password over plain HTTP.

mod boot;
mod driver;
mod error;
mod lenient;
mod links;
mod model;
mod reset;
mod service;
mod systems;

pub use driver::Redfish;
pub use error::{Error, ParseError};
pub use model::{
    Boot, Collection, Reset, ResetType, ServiceRoot, System, parse_action_info, parse_boot, parse_collection,
    parse_service_root, parse_system,
};
pub(crate) use service::Service;

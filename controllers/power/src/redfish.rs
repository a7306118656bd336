//! Redfish over HTTP and HTTPS: the part of DSP0266 that power control needs.
//!
//! Never checks a BMC's certificate (they are self-signed), never follows a redirect or a link to another host.

mod driver;
mod error;
mod model;
mod service;

pub use driver::Redfish;
pub use error::Error;
pub use model::{
    Collection, ParseError, Reset, ResetType, ServiceRoot, System, parse_action_info, parse_collection,
    parse_service_root, parse_system,
};
pub(crate) use service::Service;

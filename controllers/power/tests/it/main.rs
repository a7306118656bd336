//! The drivers against management controllers in software.

// All of it is tests: a failed expectation ends one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod hostile;
mod http_api;
mod ipmi;
mod ipmi_pyghmi;
mod redfish;
mod redfish_quirks;
mod redfish_reports;
mod redfish_trust;
mod support;

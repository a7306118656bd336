//! What several of these tests need.

pub(crate) mod bench;
pub(crate) mod bootstrap;
pub(crate) mod cluster_api;
pub(crate) mod contract;
pub(crate) mod controllers;
pub(crate) mod differential;
pub(crate) mod example;
pub(crate) mod machines;
pub(crate) mod managers;
#[path = "../../../power/tests/it/support/mock.rs"]
#[allow(dead_code, reason = "its odd connections are for the drivers' own tests")]
pub(crate) mod mock;
pub(crate) mod power_api;
pub(crate) mod site;
pub(crate) mod talos_site;
pub(crate) mod upstream;

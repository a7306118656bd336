//! The `bloomery` program against a real appliance server on loopback, as a user runs it.

// The lints' allowance for tests does not reach the helpers of an integration test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod assets;
mod config;
mod errors;
mod kubeconfig;
mod run;
mod services;
// The appliance's own tests start it in the same way.
#[path = "../../../appliance/tests/it/site.rs"]
#[expect(dead_code, reason = "shared with the appliance's tests, which use more of it")]
mod site;
mod status;
mod with_api_server;

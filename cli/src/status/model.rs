//! The parts of PID 1's status that are shown to people.
//!
//! The appliance may be older or newer than this program: everything is optional, states are plain words, and
//! unknown fields are ignored.

use serde::Deserialize;

/// See `init/src/status.rs` for the writer's side.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    pub(super) version: String,
    pub(super) stage: String,
    pub(super) volatile: bool,
    pub(super) hostname: String,
    pub(super) phases: Vec<Phase>,
    pub(super) services: Vec<Service>,
    pub(super) addresses: Vec<String>,
    pub(super) api_url: Option<String>,
    pub(super) warnings: Vec<Warning>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Phase {
    pub(super) name: String,
    pub(super) outcome: String,
    pub(super) duration_ms: Option<u64>,
    pub(super) message: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) since: String,
    pub(super) restarts: u32,
    pub(super) last_exit: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Warning {
    pub(super) text: String,
    pub(super) hint: String,
}

//! The parts of PID 1's status that are shown to people.
//!
//! The appliance may be older or newer than this program: everything is optional, states are plain words, and
//! unknown fields are ignored.

use serde::Deserialize;

/// See `init/src/status.rs` for the writer's side.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Status {
    pub(crate) version: String,
    pub(crate) stage: String,
    pub(crate) volatile: bool,
    pub(crate) hostname: String,
    pub(crate) phases: Vec<Phase>,
    pub(crate) services: Vec<Service>,
    pub(crate) addresses: Vec<String>,
    pub(crate) api_url: Option<String>,
    pub(crate) warnings: Vec<Warning>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Phase {
    pub(crate) name: String,
    pub(crate) outcome: String,
    pub(crate) duration_ms: Option<u64>,
    pub(crate) message: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) since: String,
    pub(crate) restarts: u32,
    pub(crate) last_exit: Option<String>,
    pub(crate) hold_refused: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Warning {
    pub(crate) text: String,
    pub(crate) hint: String,
}

/// A row of the controllers' table; see `controllers/manager/src/table.rs` for the writer's side.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Controller {
    pub(crate) name: String,
    /// Objects whose last reconcile failed.
    pub(crate) failing: usize,
    pub(crate) longest_under_way: Option<UnderWay>,
    /// What keeps all reconciles from their work.
    pub(crate) waits_for: Option<String>,
    pub(crate) last_error: Option<LastError>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct UnderWay {
    pub(crate) object: String,
    pub(crate) seconds: u64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct LastError {
    pub(crate) object: String,
    pub(crate) error: String,
}

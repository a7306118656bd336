//! A TalosConfig's status, by both contracts.
//!
//! Never says that a configuration is not there once it was.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::decision::Wait;
use crate::condition::{self, Condition, ConditionStatus};
use crate::contract::{PAUSED, READY};
use crate::infrastructure::verdict::{NOT_PAUSED, Verdict, set_standard};
use crate::talos_config::{TalosConfig, TalosConfigStatus};

/// Whether the Secret with the configuration is there.
pub const DATA_SECRET_AVAILABLE: &str = "DataSecretAvailable";
/// Whether the client configuration of the cluster is as it is to be.
pub const CLIENT_CONFIG_AVAILABLE: &str = "ClientConfigAvailable";
/// Reason of conditions that hold.
const AVAILABLE: &str = "Available";
/// Reason of conditions of contract v1beta2 that wait.
const NOT_AVAILABLE: &str = "NotAvailable";
/// Reason of conditions of contract v1beta2 that failed.
const INTERNAL_ERROR: &str = "InternalError";

/// What became of a look at a TalosConfig.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome<'a> {
    /// Nothing may be done.
    Paused,
    /// Something is waited for.
    Waits(Wait),
    /// The configuration could not be made.
    Failed(&'a str),
    /// The configuration is there.
    Made {
        /// Name of its Secret; none if it was there before.
        secret: Option<&'a str>,
        /// The client configuration of its node.
        talos_config: Option<&'a str>,
        /// Why the client configuration of the cluster is not as it is to be.
        client_config: Result<(), &'a str>,
    },
}

/// The status to write.
pub fn config_status(config: &TalosConfig, outcome: &Outcome<'_>, now: &Time) -> TalosConfigStatus {
    let mut status = config.status.clone().unwrap_or_default();
    let generation = config.metadata.generation;
    let is_paused = matches!(outcome, Outcome::Paused);
    match outcome {
        Outcome::Paused => {}
        Outcome::Waits(wait) => waits(&mut status, *wait, generation, now),
        Outcome::Failed(why) => {
            let old = Verdict::fails("DataSecretGenerationFailed", *why);
            let new = Verdict::fails(INTERNAL_ERROR, format!("Data secret generation failed: {why}"));
            set(&mut status, DATA_SECRET_AVAILABLE, Some(&old), &new, generation, now);
        }
        Outcome::Made { secret, talos_config, client_config } => {
            status.ready = true;
            status.data_secret_name = secret.map(str::to_owned).or(status.data_secret_name);
            if let Some(text) = talos_config {
                (*text).clone_into(&mut status.talos_config);
            }
            let available = Verdict::holds(AVAILABLE);
            set(&mut status, DATA_SECRET_AVAILABLE, Some(&available), &available, generation, now);
            let (old, new) = match client_config {
                Ok(()) => (available.clone(), available),
                Err(why) => {
                    let message = format!("talosconfig generation failure: {why}");
                    let new = Verdict::fails(INTERNAL_ERROR, &message);
                    (Verdict::fails("ClientConfigGenerationFailed", message), new)
                }
            };
            set(&mut status, CLIENT_CONFIG_AVAILABLE, Some(&old), &new, generation, now);
        }
    }
    let has_failed = match outcome {
        Outcome::Failed(_) | Outcome::Made { client_config: Err(_), .. } => true,
        Outcome::Paused | Outcome::Waits(_) | Outcome::Made { client_config: Ok(()), .. } => false,
    };
    if !has_failed && !is_paused {
        status.observed_generation = generation.unwrap_or_default();
    }
    summarise(&mut status, generation, now);
    let conditions = &mut status.v1beta2_status.conditions;
    let (paused, reason) =
        if is_paused { (ConditionStatus::True, "Paused") } else { (ConditionStatus::False, NOT_PAUSED) };
    set_standard(conditions, PAUSED, paused, (reason, ""), generation, now);
    // In one order, so that a status that says the same is the same.
    status.conditions.sort_by(|one, other| one.type_.cmp(&other.type_));
    status.v1beta2_status.conditions.sort_by(|one, other| one.type_.cmp(&other.type_));
    status
}

/// Contract v1beta1 does not say that an owner or a Cluster is missing: upstream waits for them in silence.
fn waits(status: &mut TalosConfigStatus, wait: Wait, generation: Option<i64>, now: &Time) {
    if status.ready {
        return;
    }
    let (old, message) = match wait {
        Wait::Owner => (None, "Waiting for a Machine or MachinePool that owns it"),
        Wait::Cluster => (None, "Waiting for the Cluster that its owner names"),
        Wait::Infrastructure => (
            Some(Verdict::waits("WaitingForClusterInfrastructure", "")),
            "Waiting for the cluster infrastructure to be ready",
        ),
    };
    let new = Verdict::waits(NOT_AVAILABLE, message);
    set(status, DATA_SECRET_AVAILABLE, old.as_ref(), &new, generation, now);
}

fn set(
    status: &mut TalosConfigStatus,
    type_: &str,
    old: Option<&Verdict>,
    new: &Verdict,
    generation: Option<i64>,
    now: &Time,
) {
    if let Some(old) = old {
        condition::set(&mut status.conditions, old.old(type_, now));
    }
    new.set_standard(type_, &mut status.v1beta2_status.conditions, generation, now);
}

/// `Ready`: by contract v1beta1 what `DataSecretAvailable` says, by v1beta2 what both say.
fn summarise(status: &mut TalosConfigStatus, generation: Option<i64>, now: &Time) {
    if let Some(data) = condition::find(&status.conditions, DATA_SECRET_AVAILABLE) {
        let ready = Condition { type_: READY.to_owned(), last_transition_time: now.clone(), ..data.clone() };
        condition::set(&mut status.conditions, ready);
    }
    let conditions = &mut status.v1beta2_status.conditions;
    let parts: Vec<_> = [DATA_SECRET_AVAILABLE, CLIENT_CONFIG_AVAILABLE]
        .iter()
        .filter_map(|type_| conditions.iter().find(|condition| condition.type_ == *type_))
        .collect();
    let lines: Vec<String> = parts
        .iter()
        .filter(|part| part.status != ConditionStatus::True.as_str())
        .map(|part| format!("* {}: {}", part.type_, part.message))
        .collect();
    if parts.is_empty() {
        return;
    }
    let ready =
        if lines.is_empty() { Verdict::holds(READY) } else { Verdict::waits("NotReady", lines.join("\n")) };
    ready.set_standard(READY, conditions, generation, now);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::bootstrap::fixtures::config;

    fn at(second: u8) -> Time {
        serde_json::from_value(json!(format!("2026-01-01T00:00:{second:02}Z"))).unwrap()
    }

    /// Conditions without their times and generations.
    fn told(conditions: &Value) -> Vec<String> {
        let text = |condition: &Value, key: &str| condition[key].as_str().unwrap_or_default().to_owned();
        let one = |condition: &Value| {
            let parts = ["type", "status", "severity", "reason", "message"].map(|key| text(condition, key));
            parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
        };
        conditions.as_array().into_iter().flatten().map(one).collect()
    }

    fn made(client_config: Result<(), &str>) -> Outcome<'_> {
        Outcome::Made { secret: Some("d"), talos_config: Some("t"), client_config }
    }

    /// By contract v1beta1, then by v1beta2; provider-cases.md A22, A27, A36, A37.
    #[test]
    fn what_is_said_by_both_contracts() {
        let cases: [(&str, Outcome<'_>, &[&str], &[&str]); 7] = [
            ("paused", Outcome::Paused, &[], &["Paused True Paused"]),
            (
                "no owner",
                Outcome::Waits(Wait::Owner),
                &[],
                &[
                    "DataSecretAvailable False NotAvailable Waiting for a Machine or MachinePool that owns it",
                    "Paused False NotPaused",
                    "Ready False NotReady * DataSecretAvailable: Waiting for a Machine or MachinePool that owns it",
                ],
            ),
            (
                "no Cluster",
                Outcome::Waits(Wait::Cluster),
                &[],
                &[
                    "DataSecretAvailable False NotAvailable Waiting for the Cluster that its owner names",
                    "Paused False NotPaused",
                    "Ready False NotReady * DataSecretAvailable: Waiting for the Cluster that its owner names",
                ],
            ),
            (
                "no infrastructure",
                Outcome::Waits(Wait::Infrastructure),
                &[
                    "DataSecretAvailable False Info WaitingForClusterInfrastructure",
                    "Ready False Info WaitingForClusterInfrastructure",
                ],
                &[
                    "DataSecretAvailable False NotAvailable Waiting for the cluster infrastructure to be ready",
                    "Paused False NotPaused",
                    "Ready False NotReady * DataSecretAvailable: Waiting for the cluster infrastructure to be ready",
                ],
            ),
            (
                "failed",
                Outcome::Failed("no"),
                &[
                    "DataSecretAvailable False Error DataSecretGenerationFailed no",
                    "Ready False Error DataSecretGenerationFailed no",
                ],
                &[
                    "DataSecretAvailable False InternalError Data secret generation failed: no",
                    "Paused False NotPaused",
                    "Ready False NotReady * DataSecretAvailable: Data secret generation failed: no",
                ],
            ),
            (
                "made",
                made(Ok(())),
                &["ClientConfigAvailable True", "DataSecretAvailable True", "Ready True"],
                &[
                    "ClientConfigAvailable True Available",
                    "DataSecretAvailable True Available",
                    "Paused False NotPaused",
                    "Ready True Ready",
                ],
            ),
            (
                "made, without a client configuration",
                made(Err("secrets bundle is missing")),
                &[
                    "ClientConfigAvailable False Error ClientConfigGenerationFailed talosconfig generation failure: secrets bundle is missing",
                    "DataSecretAvailable True",
                    "Ready True",
                ],
                &[
                    "ClientConfigAvailable False InternalError talosconfig generation failure: secrets bundle is missing",
                    "DataSecretAvailable True Available",
                    "Paused False NotPaused",
                    "Ready False NotReady * ClientConfigAvailable: talosconfig generation failure: secrets bundle is missing",
                ],
            ),
        ];
        for (name, outcome, old, new) in cases {
            let mut config = config(json!({}));
            let status = config_status(&config, &outcome, &at(1));
            let value = serde_json::to_value(&status).unwrap();
            assert_eq!(told(&value["conditions"]), old, "{name}");
            assert_eq!(told(&value["v1beta2Status"]["conditions"]), new, "{name}");
            let is_made = matches!(outcome, Outcome::Made { .. });
            assert_eq!(
                (value["ready"] == true, value["dataSecretName"] == "d"),
                (is_made, is_made),
                "{name}"
            );
            config.status = Some(status.clone());
            assert_eq!(config_status(&config, &outcome, &at(9)), status, "{name}: at rest");
        }
    }

    #[test]
    fn what_was_made_stays_made_and_an_error_is_not_observed() {
        let mut config = config(json!({ "metadata": { "generation": 3 } }));
        config.status = Some(config_status(&config, &Outcome::Failed("no"), &at(1)));
        assert_eq!(config.status.as_ref().unwrap().observed_generation, 0);
        config.status = Some(config_status(&config, &made(Ok(())), &at(2)));
        assert_eq!(config.status.as_ref().unwrap().observed_generation, 3);
        let kept = Outcome::Made { secret: None, talos_config: None, client_config: Ok(()) };
        let before = config.status.clone().unwrap();
        for outcome in [kept, Outcome::Paused, Outcome::Waits(Wait::Owner), Outcome::Waits(Wait::Cluster)] {
            let status = config_status(&config, &outcome, &at(3));
            let TalosConfigStatus { ready, data_secret_name, talos_config, conditions, .. } = &status;
            assert_eq!((*ready, data_secret_name.as_deref(), talos_config.as_str()), (true, Some("d"), "t"));
            assert_eq!(*conditions, before.conditions, "{outcome:?}");
        }
    }
}

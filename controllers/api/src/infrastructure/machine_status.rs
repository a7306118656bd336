//! A MetalMachine's status: what follows from its binding, and what is said of its next step.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::addresses::machine_addresses;
use super::failure_domain::failure_domain;
use super::machine::COPIED;
use super::verdict::{NOT_PAUSED, Verdict, set_standard};
use crate::condition::{self, Condition, ConditionStatus};
use crate::contract::{PAUSED, READY};
use crate::metal_machine::{MetalMachine, MetalMachineStatus};
use crate::readiness::CONFIGURATION_READY;
use crate::server::Server;
use crate::server_binding::{ServerBinding, TALOS_CONFIG_LOADED, TALOS_CONFIG_VALIDATED, TALOS_INSTALLED};

/// Whether the node of a machine has the provider ID by which Cluster API finds it; upstream's.
pub const PROVIDER_SET: &str = "ProviderSet";
/// Reason of a condition of contract v1beta2 that is copied from one without a reason: only those that hold have none.
fn reason(type_: &str) -> &'static str {
    match type_ {
        TALOS_CONFIG_LOADED => "Loaded",
        TALOS_CONFIG_VALIDATED => "Valid",
        TALOS_INSTALLED => "Installed",
        _ => "NoReasonReported",
    }
}

/// What a machine with a Server is told by.
#[derive(Clone, Copy, Debug)]
pub struct Provided<'a> {
    /// Its binding.
    pub binding: &'a ServerBinding,
    /// Its Server, if it exists.
    pub server: Option<&'a Server>,
    /// Host of the control plane's endpoint.
    pub endpoint: Option<&'a str>,
    /// Key of the label with the failure domain, or empty.
    pub domain_label: &'a str,
    /// Whether its node has its provider ID, if there is a cluster that knows.
    pub provider: Option<&'a Verdict>,
}

/// The status to write. Without a binding what was provided once stays: whether a machine is ready never goes back.
pub fn machine_status(
    machine: &MetalMachine,
    ready: &Verdict,
    is_paused: bool,
    provided: Option<Provided<'_>>,
    now: &Time,
) -> MetalMachineStatus {
    let mut status = machine.status.clone().unwrap_or_default();
    let generation = machine.metadata.generation;
    if let Some(Provided { binding, server, endpoint, domain_label, provider }) = provided {
        status.ready = true;
        status.initialization.provisioned = Some(true);
        status.addresses = machine_addresses(binding, endpoint);
        if let Some(server) = server {
            status.failure_domain =
                failure_domain(server, domain_label).map(str::to_owned).unwrap_or_default();
        }
        copy_conditions(&mut status, binding, generation, now);
        if let Some(provider) = provider {
            let MetalMachineStatus { conditions, v1beta2, .. } = &mut status;
            provider.set(PROVIDER_SET, conditions, &mut v1beta2.conditions, generation, now);
        }
    }
    let MetalMachineStatus { conditions, v1beta2, .. } = &mut status;
    // What is paused stays as it was said last, but for that.
    if !is_paused {
        ready.set(READY, conditions, &mut v1beta2.conditions, generation, now);
    }
    let (paused, reason) =
        if is_paused { (ConditionStatus::True, "Paused") } else { (ConditionStatus::False, NOT_PAUSED) };
    set_standard(&mut v1beta2.conditions, PAUSED, paused, (reason, ""), generation, now);
    // In one order, so that a status that says the same is the same.
    conditions.sort_by(|one, other| one.type_.cmp(&other.type_));
    v1beta2.conditions.sort_by(|one, other| one.type_.cmp(&other.type_));
    status
}

/// The conditions of the binding, in both forms; what the binding does not say is not said.
fn copy_conditions(
    status: &mut MetalMachineStatus,
    binding: &ServerBinding,
    generation: Option<i64>,
    now: &Time,
) {
    let known = binding.status.as_ref().map_or(&[][..], |status| &status.conditions);
    for type_ in COPIED {
        // That a configuration is good is of interest for as long as the machine waits for that: where it shows.
        let is_news =
            |found: &&Condition| type_ != CONFIGURATION_READY || found.status != ConditionStatus::True;
        let Some(found) = condition::find(known, type_).filter(is_news) else {
            condition::remove(&mut status.conditions, type_);
            status.v1beta2.conditions.retain(|condition| condition.type_ != type_);
            continue;
        };
        // Verbatim, its time included.
        condition::remove(&mut status.conditions, type_);
        status.conditions.push(found.clone());
        let reason = if found.reason.is_empty() { reason(type_) } else { &found.reason };
        let new = &mut status.v1beta2.conditions;
        set_standard(new, type_, found.status, (reason, &found.message), generation, now);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::metal_machine::MetalMachineSpec;

    fn at(second: u8) -> Time {
        serde_json::from_value(json!(format!("2026-01-01T00:00:{second:02}Z"))).unwrap()
    }

    fn binding(status: &Value) -> ServerBinding {
        serde_json::from_value(json!({ "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha3", "kind": "ServerBinding",
            "metadata": { "name": "a" }, "spec": { "metalMachineRef": { "name": "m" }, "addresses": ["10.0.0.9", "10.0.0.1"],
            "hostname": "node" }, "status": status }))
        .unwrap()
    }

    #[test]
    fn a_provided_machine_is_ready_by_both_contracts_and_at_rest_nothing_changes() {
        let failed = json!({ "type": "TalosInstalled", "status": "False", "severity": "Info",
            "reason": "TalosInstallationInProgress", "lastTransitionTime": "2026-01-01T00:00:00Z" });
        let mut server = Server::new("a", crate::server::ServerSpec::default());
        server.metadata.labels = Some([("rack".to_owned(), "r1".to_owned())].into());
        let mut machine = MetalMachine::new("m", MetalMachineSpec::default());
        let one = binding(&json!({ "conditions": [failed] }));
        let provided = Provided {
            binding: &one,
            server: Some(&server),
            endpoint: Some("10.0.0.1"),
            domain_label: "rack",
            provider: None,
        };
        let said = Verdict::holds("Provisioned");
        let status = machine_status(&machine, &said, false, Some(provided), &at(1));
        let value = serde_json::to_value(&status).unwrap();
        assert_eq!((&value["ready"], &value["initialization"]["provisioned"]), (&json!(true), &json!(true)));
        assert_eq!(value["failureDomain"], "r1");
        assert_eq!(
            value["addresses"],
            json!([{ "type": "InternalIP", "address": "10.0.0.9" }, { "type": "Hostname", "address": "node" }])
        );
        assert_eq!(value["conditions"][1], failed, "verbatim");
        let types: Vec<_> = status.v1beta2.conditions.iter().map(|one| one.type_.as_str()).collect();
        assert_eq!(types.len(), 3, "{types:?}");
        machine.status = Some(status.clone());
        assert_eq!(machine_status(&machine, &said, false, Some(provided), &at(9)), status, "at rest");
        let missing = Verdict::warns("ProviderUpdateFailed", "no matching nodes found");
        let provided = Provided { provider: Some(&missing), ..provided };
        let told = machine_status(&machine, &said, false, Some(provided), &at(3));
        let provider = condition::find(&told.conditions, PROVIDER_SET).unwrap();
        assert_eq!(
            (provider.reason.as_str(), provider.severity.as_str()),
            ("ProviderUpdateFailed", "Warning")
        );
        // What the binding no longer says is gone, and what was provided stays when it is not there.
        let bare = binding(&json!({}));
        let provided = Provided { binding: &bare, ..provided };
        let later = machine_status(&machine, &said, false, Some(provided), &at(9));
        assert!(condition::find(&later.conditions, "TalosInstalled").is_none());
        let waits = machine_status(&machine, &Verdict::warns("ServerReleased", "m"), false, None, &at(9));
        assert!(waits.ready && !waits.addresses.is_empty());
    }

    #[test]
    fn a_paused_machine_says_so_and_keeps_what_was_said() {
        let mut machine = MetalMachine::new("m", MetalMachineSpec::default());
        let before = machine_status(&machine, &Verdict::waits("Waiting", "m"), false, None, &at(1));
        machine.status = Some(before.clone());
        let paused = machine_status(&machine, &Verdict::waits("Paused", "p"), true, None, &at(2));
        assert_eq!(paused.conditions, before.conditions);
        let find = |status: &MetalMachineStatus| {
            status.v1beta2.conditions.iter().find(|one| one.type_ == PAUSED).unwrap().status.clone()
        };
        assert_eq!((find(&before), find(&paused)), ("False".to_owned(), "True".to_owned()));
    }
}

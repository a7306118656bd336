//! What a Cluster or a Machine waits for: the first of its conditions, in the order in which they come true, that is not.

use bloomery_api::Severity;
use bloomery_api::condition::{self, Condition, ConditionStatus};
use bloomery_api::readiness::CONFIGURATION_READY;
use bloomery_api::server_binding::{TALOS_CONFIG_LOADED, TALOS_CONFIG_VALIDATED, TALOS_INSTALLED};
use kube::ResourceExt as _;
use kube::api::DynamicObject;
use serde::Serialize;

/// Annotation of an object that nothing may be done to.
const PAUSED_ANNOTATION: &str = "cluster.x-k8s.io/paused";
/// Sums up a Machine's or a provider's object.
const READY: &str = "Ready";
/// Why an object is not gone yet.
const DELETING: &str = "Deleting";

/// Conditions of a Cluster in the order in which they come true, and what it waits for until then.
const OF_CLUSTER: [(&str, &str); 6] = [
    ("InfrastructureReady", "its infrastructure"),
    ("ControlPlaneInitialized", "its first control plane"),
    ("RemoteConnectionProbe", "a connection to its API server"),
    ("ControlPlaneAvailable", "its control plane"),
    ("WorkersAvailable", "its workers"),
    ("Available", "what its conditions say"),
];
/// The same of the ServerBinding of a machine.
const OF_BINDING: [(&str, &str); 4] = [
    (CONFIGURATION_READY, "its configuration"),
    (TALOS_CONFIG_LOADED, "its node to load the configuration"),
    (TALOS_CONFIG_VALIDATED, "a valid configuration"),
    (TALOS_INSTALLED, "its installation"),
];
/// The same of a Machine whose infrastructure is there.
const OF_MACHINE: [(&str, &str); 5] = [
    ("NodeReady", "its node"),
    ("NodeHealthy", "its node"),
    (READY, "what its conditions say"),
    ("Available", "being ready for long enough"),
    ("UpToDate", "a change of its definition"),
];
/// Reasons of a MetalMachine that name something else than a Server.
const OF_METAL_MACHINE: [(&str, &str); 4] = [
    ("WaitingForMachine", "Cluster API"),
    ("WaitingForCluster", "its Cluster"),
    ("WaitingForClusterInfrastructure", "the infrastructure of its cluster"),
    ("WaitingForBootstrapData", "its configuration"),
];

/// What something waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::status) struct Wait {
    /// A few words.
    pub(in crate::status) what: String,
    /// The condition's word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::status) reason: Option<String>,
    /// The condition's sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::status) message: Option<String>,
}

impl Wait {
    /// Without a condition.
    pub(in crate::status) fn new(what: &str) -> Self {
        Self { what: what.to_owned(), reason: None, message: None }
    }

    fn of(what: &str, condition: &Condition) -> Self {
        let said = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        Self { reason: said(&condition.reason), message: said(&condition.message), ..Self::new(what) }
    }
}

/// The objects of a Machine, as far as they exist.
pub(super) struct Parts<'a> {
    pub(super) machine: &'a DynamicObject,
    pub(super) config: Option<&'a DynamicObject>,
    pub(super) metal_machine: Option<&'a DynamicObject>,
    pub(super) binding: Option<&'a DynamicObject>,
}

impl Parts<'_> {
    /// What the Machine waits for; `None` for nothing. The object that is waited for says it better than the Machine, which
    /// repeats it late.
    pub(super) fn wait(&self) -> Option<Wait> {
        let Self { machine, config, metal_machine, binding } = self;
        let known = conditions(machine);
        if machine.metadata.deletion_timestamp.is_some() {
            return Some(deletion(&known));
        }
        if is_paused(machine) {
            return Some(Wait::new("the end of its pause"));
        }
        let has_data = machine.data["spec"]["bootstrap"]["dataSecretName"].is_string();
        if !has_data {
            let ready = config.map(conditions).unwrap_or_default();
            let failing = ready.iter().find(|condition| condition.type_ != READY && is_trouble(condition));
            let said = failing.or_else(|| unmet(&ready, READY));
            return Some(
                said.map_or_else(|| Wait::new("its configuration"), |c| Wait::of("its configuration", c)),
            );
        }
        let Some(metal_machine) = metal_machine else { return own(machine, &known) };
        let ready = conditions(metal_machine);
        if let Some(condition) = unmet(&ready, READY) {
            let what = OF_METAL_MACHINE.into_iter().find(|(reason, _)| *reason == condition.reason);
            return Some(Wait::of(what.map_or("a Server", |(_, what)| what), condition));
        }
        if metal_machine.data["status"]["ready"] != true {
            return Some(Wait::new("the controllers"));
        }
        let bound = binding.map(conditions).unwrap_or_default();
        first(&bound, &OF_BINDING).or_else(|| own(machine, &known))
    }
}

/// What a Cluster waits for.
pub(super) fn of_cluster(cluster: &DynamicObject) -> Option<Wait> {
    let known = conditions(cluster);
    if cluster.metadata.deletion_timestamp.is_some() {
        return Some(deletion(&known));
    }
    if cluster.data["spec"]["paused"] == true || is_paused(cluster) {
        return Some(Wait::new("the end of its pause"));
    }
    if known.is_empty() {
        return Some(Wait::new("Cluster API"));
    }
    first(&known, &OF_CLUSTER)
}

/// What the Machine itself says, once its infrastructure is there.
fn own(machine: &DynamicObject, known: &[Condition]) -> Option<Wait> {
    if known.is_empty() {
        return Some(Wait::new("Cluster API"));
    }
    let found = first(known, &OF_MACHINE);
    // Conditions of older versions of Cluster API have other names.
    let has_node = machine.data["status"]["nodeRef"]["name"].is_string();
    found.or_else(|| (!has_node).then(|| Wait::new("its node")))
}

fn first(known: &[Condition], order: &[(&str, &str)]) -> Option<Wait> {
    order.iter().find_map(|(type_, what)| unmet(known, type_).map(|condition| Wait::of(what, condition)))
}

/// The condition of that type, if it is there and does not hold.
fn unmet<'a>(known: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    condition::find(known, type_).filter(|condition| condition.status != ConditionStatus::True)
}

fn deletion(known: &[Condition]) -> Wait {
    let deleting = condition::find(known, DELETING);
    let deleting = deleting.filter(|condition| condition.status == ConditionStatus::True);
    deleting.map_or_else(|| Wait::new("its deletion"), |condition| Wait::of("its deletion", condition))
}

fn is_trouble(condition: &Condition) -> bool {
    let is_bad = [Severity::Error, Severity::Warning].iter().any(|bad| bad.as_str() == condition.severity);
    condition.status == ConditionStatus::False && is_bad
}

fn is_paused(object: &DynamicObject) -> bool {
    object.annotations().contains_key(PAUSED_ANNOTATION)
}

/// Conditions of either contract; one that cannot be read is left out.
fn conditions(object: &DynamicObject) -> Vec<Condition> {
    let all = object.data["status"]["conditions"].as_array();
    all.into_iter().flatten().filter_map(|condition| serde_json::from_value(condition.clone()).ok()).collect()
}

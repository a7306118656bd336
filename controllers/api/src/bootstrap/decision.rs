//! What comes next for a TalosConfig: one function of everything that is known of it.
//!
//! ```text
//! Wait ──▶ Make or Adopt ──▶ Keep        deleted: DropFinalizer ──▶ Nothing
//! ```
//!
//! Never makes a configuration for a machine that has one, and never touches what is paused or being moved.

use super::generation::{Task, task};
use super::owner::Owner;
use crate::contract::Cluster;
use crate::plane::fence::is_moving;
use crate::talos_config::{LEGACY_FINALIZER, TalosConfig};

/// Everything that is known of a TalosConfig.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The TalosConfig.
    pub config: &'a TalosConfig,
    /// What it is for.
    pub owner: Option<Owner<'a>>,
    /// The Cluster of its owner.
    pub cluster: Option<&'a Cluster>,
    /// Whether it or its Cluster is paused.
    pub is_paused: bool,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Step<'a> {
    /// Nothing at all, not even to its status: it is being moved, or on its way out.
    Nothing,
    /// Take the finalizer of an old release off.
    DropFinalizer,
    /// Nothing but to say so.
    Paused,
    /// Nothing until something changes.
    Wait(Wait),
    /// Its configuration is there: keep what belongs to it.
    Keep(&'a Cluster),
    /// Its owner has a configuration from this Secret: this is it.
    Adopt(&'a Cluster, &'a str),
    /// Make the configuration.
    Make(&'a Cluster, Task<'a>),
    /// It cannot be made as the spec is.
    Refuse(String),
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// A Machine or MachinePool that owns it.
    Owner,
    /// The Cluster that its owner names.
    Cluster,
    /// The infrastructure of the Cluster.
    Infrastructure,
}

/// Decides.
pub fn decide<'a>(view: &View<'a>) -> Step<'a> {
    let View { config, owner, cluster, is_paused } = *view;
    let meta = &config.metadata;
    if is_moving(meta) || cluster.is_some_and(|cluster| is_moving(&cluster.metadata)) {
        return Step::Nothing;
    }
    if meta.deletion_timestamp.is_some() {
        let is_held = meta.finalizers.iter().flatten().any(|name| name == LEGACY_FINALIZER);
        return if is_held { Step::DropFinalizer } else { Step::Nothing };
    }
    if is_paused {
        return Step::Paused;
    }
    let Some(owner) = owner else { return Step::Wait(Wait::Owner) };
    let Some(cluster) = cluster else { return Step::Wait(Wait::Cluster) };
    if config.status.as_ref().is_some_and(|status| status.ready) {
        return Step::Keep(cluster);
    }
    if !cluster.has_infrastructure() {
        return Step::Wait(Wait::Infrastructure);
    }
    if let Some(name) = owner.data_secret() {
        return Step::Adopt(cluster, name);
    }
    match task(config, owner, cluster) {
        Ok(task) => Step::Make(cluster, task),
        Err(why) => Step::Refuse(why),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::bootstrap::fixtures::{cluster, config, machine, merged};
    use crate::plane::fence::DELETE_FOR_MOVE_ANNOTATION;

    /// The step in one word, for tables.
    fn word(step: &Step<'_>) -> String {
        match step {
            Step::Nothing => "nothing".to_owned(),
            Step::DropFinalizer => "drop the finalizer".to_owned(),
            Step::Paused => "paused".to_owned(),
            Step::Wait(wait) => format!("wait {wait:?}"),
            Step::Keep(_) => "keep".to_owned(),
            Step::Adopt(_, name) => format!("adopt {name}"),
            Step::Make(_, task) => format!("make {}", task.data_secret),
            Step::Refuse(why) => why.clone(),
        }
    }

    /// Patches of the usual objects, and what follows; provider-cases.md A10, A28, A33, A35-A37.
    #[test]
    fn the_next_step_by_what_is_there() {
        let none = || json!({});
        let deleted = |finalizers: &[&str]| json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": finalizers } });
        let ready = || json!({ "status": { "ready": true, "dataSecretName": "d" } });
        let has_data = || json!({ "spec": { "bootstrap": { "dataSecretName": "restored" } } });
        let not_provisioned = || json!({ "status": null });
        let moving = || json!({ "metadata": { "annotations": { DELETE_FOR_MOVE_ANNOTATION: "" } } });
        let cases: Vec<(&str, Value, Option<Value>, Option<Value>, bool, &str)> = vec![
            ("usual", none(), Some(none()), Some(none()), false, "make held-cp-0-bootstrap-data"),
            ("no owner", none(), None, None, false, "wait Owner"),
            ("no owner, a Cluster", none(), None, Some(none()), false, "wait Owner"),
            ("no Cluster", none(), Some(none()), None, false, "wait Cluster"),
            ("paused", none(), Some(none()), Some(none()), true, "paused"),
            ("paused and ready", ready(), Some(none()), Some(none()), true, "paused"),
            (
                "no infrastructure",
                none(),
                Some(none()),
                Some(not_provisioned()),
                false,
                "wait Infrastructure",
            ),
            ("no infrastructure, ready", ready(), Some(none()), Some(not_provisioned()), false, "keep"),
            ("ready", ready(), Some(none()), Some(none()), false, "keep"),
            ("ready, other data", ready(), Some(has_data()), Some(none()), false, "keep"),
            ("ready, no owner", ready(), None, None, false, "wait Owner"),
            ("after a move", none(), Some(has_data()), Some(none()), false, "adopt restored"),
            (
                "after a move, no infrastructure",
                none(),
                Some(has_data()),
                Some(not_provisioned()),
                false,
                "wait Infrastructure",
            ),
            ("deleted", deleted(&["other"]), Some(none()), Some(none()), false, "nothing"),
            (
                "deleted, old finalizer",
                deleted(&["other", LEGACY_FINALIZER]),
                None,
                None,
                true,
                "drop the finalizer",
            ),
            ("moved", moving(), Some(none()), Some(none()), false, "nothing"),
            ("its Cluster is moved", none(), Some(none()), Some(moving()), false, "nothing"),
            (
                "moved and deleted",
                merged(deleted(&[LEGACY_FINALIZER]), moving()),
                None,
                None,
                false,
                "nothing",
            ),
            (
                "of a type that there is not",
                json!({ "spec": { "generateType": "foo" } }),
                Some(none()),
                Some(none()),
                false,
                "unknown generate type specified: \"foo\"",
            ),
            (
                "of a type that there is not, after a move",
                json!({ "spec": { "generateType": "foo" } }),
                Some(has_data()),
                Some(none()),
                false,
                "adopt restored",
            ),
        ];
        for (name, of_config, of_machine, of_cluster, is_paused, expected) in cases {
            let config = config(of_config);
            let (machine, cluster) = (of_machine.map(machine), of_cluster.map(cluster));
            let view = View {
                config: &config,
                owner: machine.as_ref().map(Owner::Machine),
                cluster: cluster.as_ref(),
                is_paused,
            };
            assert_eq!(word(&decide(&view)), expected, "{name}");
        }
    }
}

//! Why a machine is not as the spec wants it.

use super::seen::{Origin, SeenMachine};
use crate::talos_config::TalosConfigSpec;
use crate::talos_control_plane::{ON_DELETE, TalosControlPlane};

/// Deprecated type of the first machine's configuration.
const INIT: &str = "init";

/// The reasons; none if the machine is up to date. What is not known counts as right: nothing is replaced for it.
pub fn reasons(seen: &SeenMachine, control_plane: &TalosControlPlane) -> Vec<String> {
    let mut reasons = Vec::new();
    let (version, wanted) = (&seen.machine.spec.version, &control_plane.spec.version);
    if !version.is_empty() && with_v(version) != with_v(wanted) {
        reasons.push(format!("Version {}, {} required", with_v(version), with_v(wanted)));
    }
    if let Some(origin) = &seen.origin
        && *origin != template(control_plane)
    {
        reasons.push("Infrastructure template changed".to_owned());
    }
    if let Some(config) = &seen.config
        && config != wanted_config(config, control_plane)
    {
        reasons.push("TalosConfig changed".to_owned());
    }
    reasons
}

/// Whether a machine is replaced because it is outdated, by and by.
pub fn is_replaced(seen: &SeenMachine, control_plane: &TalosControlPlane) -> bool {
    let is_on_delete =
        control_plane.spec.rollout_strategy.as_ref().is_some_and(|strategy| strategy.type_ == ON_DELETE);
    !is_on_delete && !seen.is_deleting() && !reasons(seen, control_plane).is_empty()
}

/// What the infrastructure of machines is made of.
pub fn template(control_plane: &TalosControlPlane) -> Origin {
    let reference = &control_plane.spec.infrastructure_template;
    let group = reference.api_version.as_deref().unwrap_or_default();
    let group = group.split_once('/').map_or(group, |(group, _)| group);
    Origin {
        name: reference.name.clone().unwrap_or_default(),
        group_kind: format!("{}.{group}", reference.kind.as_deref().unwrap_or_default()),
    }
}

/// The configuration that a machine should have: one of the first kind keeps it.
fn wanted_config<'a>(config: &TalosConfigSpec, control_plane: &'a TalosControlPlane) -> &'a TalosConfigSpec {
    let configs = &control_plane.spec.control_plane_config;
    match &configs.init {
        Some(init) if config.generate_type == INIT && !init.generate_type.is_empty() => init,
        Some(_) | None => &configs.controlplane,
    }
}

/// A version with its `v`, as webhooks write it.
pub fn with_v(version: &str) -> String {
    if version.starts_with('v') { version.to_owned() } else { format!("v{version}") }
}

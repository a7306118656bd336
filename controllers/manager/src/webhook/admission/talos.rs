//! What TalosConfigs and TalosControlPlanes must be, and what is filled in where they say nothing: upstream's rules.
//!
//! Never refuses a change of a TalosConfig that Cluster API makes in place: its annotation tells.

use bloomery_api::talos_config::HOSTNAME_SOURCES;
use bloomery_api::talos_control_plane::{ROLLING_UPDATE, ROLLOUT_STRATEGIES};
use bloomery_api::{BOOTSTRAP_GROUP, CONTROL_PLANE_GROUP};
use serde_json::{Value, json};

use super::status::{Cause, Refusal};
use super::template;

/// Cluster API's mark on objects that it changes in place.
const IN_PLACE_ANNOTATION: &str = "in-place-updates.internal.cluster.x-k8s.io/update-in-progress";

/// Judges a new TalosConfig.
pub(super) fn judge_config(name: &str, object: &Value) -> Result<(), Refusal> {
    let source = object.pointer("/spec/hostname/source").and_then(Value::as_str).unwrap_or_default();
    if source.is_empty() || HOSTNAME_SOURCES.contains(&source) {
        return Ok(());
    }
    let cause = Cause::not_one_of("spec.hostname.source".to_owned(), source, &HOSTNAME_SOURCES);
    let (group, kind) = (BOOTSTRAP_GROUP, "TalosConfig");
    Err(Refusal::Invalid { group, kind, name: name.to_owned(), causes: vec![cause] })
}

/// Judges a changed TalosConfig.
pub(super) fn judge_config_change(name: &str, old: &Value, new: &Value) -> Result<(), Refusal> {
    let annotations = new.pointer("/metadata/annotations");
    if annotations.and_then(|all| all.get(IN_PLACE_ANNOTATION)).is_none() {
        template::judge("TalosConfig", old, new)?;
    }
    judge_config(name, new)
}

/// Judges a TalosControlPlane.
pub(super) fn judge_control_plane(name: &str, object: &Value) -> Result<(), Refusal> {
    let strategy = object.pointer("/spec/rolloutStrategy/type").and_then(Value::as_str).unwrap_or_default();
    if strategy.is_empty() || ROLLOUT_STRATEGIES.contains(&strategy) {
        return Ok(());
    }
    let cause = Cause::not_one_of("spec.rolloutStrategy".to_owned(), strategy, &ROLLOUT_STRATEGIES);
    let (group, kind) = (CONTROL_PLANE_GROUP, "TalosControlPlane");
    Err(Refusal::Invalid { group, kind, name: name.to_owned(), causes: vec![cause] })
}

/// The spec of a TalosControlPlane with what it does not say; `None` if it says all.
pub(super) fn default_control_plane(object: &Value) -> Option<Value> {
    let before = object.get("spec").filter(|spec| spec.is_object())?;
    let mut spec = before.clone();
    fill(&mut spec, "replicas", || json!(1));
    let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str);
    if let Some(template) = spec.get_mut("infrastructureTemplate").filter(|template| template.is_object())
        && let Some(namespace) = namespace
    {
        fill(template, "namespace", || json!(namespace));
    }
    if let Some(version) = spec.get("version").and_then(Value::as_str)
        && !version.starts_with('v')
    {
        spec["version"] = json!(format!("v{version}"));
    }
    fill(&mut spec, "rolloutStrategy", || json!({}));
    let strategy = &mut spec["rolloutStrategy"];
    fill(strategy, "type", || json!(ROLLING_UPDATE));
    if strategy.get("type").is_some_and(|type_| type_ == ROLLING_UPDATE) {
        fill(strategy, "rollingUpdate", || json!({}));
        fill(&mut strategy["rollingUpdate"], "maxSurge", || json!(1));
    }
    (spec != *before).then_some(spec)
}

/// Sets a field that is absent or empty. What is no object is left for the schema to refuse.
fn fill(object: &mut Value, key: &str, value: impl FnOnce() -> Value) {
    let Some(fields) = object.as_object_mut() else { return };
    if fields.get(key).is_none_or(|known| known.is_null() || *known == "") {
        fields.insert(key.to_owned(), value());
    }
}

#[cfg(test)]
mod tests {
    // Literals are passed as they stand.
    #![allow(clippy::needless_pass_by_value)]

    use proptest::prelude::*;

    use super::*;

    fn config(spec: Value, annotations: Value) -> Value {
        json!({ "metadata": { "name": "n", "annotations": annotations }, "spec": spec })
    }

    #[test]
    fn a_config_changes_in_place_only_and_its_source_is_judged_always() {
        let (one, other) = (json!({ "generateType": "worker" }), json!({ "generateType": "init" }));
        let refused = |new: &Value| {
            let old = config(one.clone(), Value::Null);
            judge_config_change("n", &old, new).err().map(|refusal| refusal.status()["message"].clone())
        };
        assert_eq!(refused(&config(one.clone(), json!({ "a": "b" }))), None);
        assert_eq!(refused(&config(other.clone(), Value::Null)).unwrap(), "TalosConfig.Spec is immutable");
        assert_eq!(refused(&config(other, json!({ IN_PLACE_ANNOTATION: "" }))), None);
        let foreign = json!({ "generateType": "worker", "hostname": { "source": "foo" } });
        let message = "TalosConfig.bootstrap.cluster.x-k8s.io \"n\" is invalid: spec.hostname.source: Invalid value: \
                       \"foo\": valid values are: [\"MachineName\" \"InfrastructureName\"]";
        assert_eq!(refused(&config(foreign, json!({ IN_PLACE_ANNOTATION: "" }))).unwrap(), message);
        for source in ["", "MachineName", "InfrastructureName"] {
            let spec = json!({ "generateType": "worker", "hostname": { "source": source } });
            assert!(judge_config("n", &config(spec, Value::Null)).is_ok(), "{source}");
        }
    }

    #[test]
    fn a_control_planes_strategy_is_one_that_there_is() {
        let judged =
            |strategy: Value| judge_control_plane("n", &json!({ "spec": { "rolloutStrategy": strategy } }));
        for good in [Value::Null, json!({}), json!({ "type": "" }), json!({ "type": "OnDelete" })] {
            assert!(judged(good.clone()).is_ok(), "{good}");
        }
        assert_eq!(
            judged(json!({ "type": "Recreate" })).unwrap_err().status()["message"],
            "TalosControlPlane.controlplane.cluster.x-k8s.io \"n\" is invalid: spec.rolloutStrategy: Invalid value: \
             \"Recreate\": valid values are: [\"RollingUpdate\" \"OnDelete\"]"
        );
    }

    #[test]
    fn what_a_control_plane_does_not_say_is_filled_in() {
        let defaulted =
            |spec: Value| default_control_plane(&json!({ "metadata": { "namespace": "ns" }, "spec": spec }));
        let rolling = json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1 } });
        let full = json!({ "replicas": 1, "version": "v1.36.0", "rolloutStrategy": rolling,
            "infrastructureTemplate": { "name": "t", "namespace": "ns" } });
        let bare = json!({ "version": "1.36.0", "infrastructureTemplate": { "name": "t" } });
        assert_eq!(defaulted(bare), Some(full.clone()));
        assert_eq!(defaulted(full), None);
        let said = json!({ "replicas": 0, "version": "v1.36.0", "rolloutStrategy": { "type": "OnDelete" },
            "infrastructureTemplate": { "name": "t", "namespace": "other" } });
        assert_eq!(defaulted(said), None);
        let surge = json!({ "rolloutStrategy": { "rollingUpdate": { "maxSurge": 0 } } });
        assert_eq!(defaulted(surge).unwrap()["rolloutStrategy"]["rollingUpdate"]["maxSurge"], 0);
        assert_eq!(default_control_plane(&json!({ "spec": [] })), None);
    }

    proptest! {
        #[test]
        fn no_spec_crashes_it_and_a_second_time_changes_nothing(text in "[\\[\\]{}:,\"a-z0-9]{0,40}", key in "(rolloutStrategy|infrastructureTemplate|version|replicas)") {
            let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
            let object = json!({ "metadata": { "namespace": "ns" }, "spec": { key: value } });
            if let Some(spec) = default_control_plane(&object) {
                prop_assert_eq!(default_control_plane(&json!({ "metadata": { "namespace": "ns" }, "spec": spec })), None);
            }
        }
    }
}

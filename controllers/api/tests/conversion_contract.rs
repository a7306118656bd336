//! Conversion of the kinds of Cluster API's contracts: published cases, and round trips of generated objects.

// The whole file is a test: a failed expectation ends it, and literals are passed as they stand.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::needless_pass_by_value)]

#[path = "conversion/client.rs"]
mod client;

use bloomery_api::contract::{ApiEndpoint, FailureDomain, MachineAddress, StandardConditions, TemplateMeta};
use bloomery_api::conversion::{CONVERSION_DATA, convert};
use bloomery_api::metal_cluster::{MetalCluster, MetalClusterSpec, MetalClusterStatus};
use bloomery_api::metal_machine::{MetalMachine, MetalMachineSpec, MetalMachineStatus};
use bloomery_api::metal_machine_template::{MetalMachineTemplate, MetalMachineTemplateSpec};
use bloomery_api::patch::ConfigPatch;
use bloomery_api::talos_config::{TalosConfig, TalosConfigSpec, TalosConfigStatus};
use bloomery_api::talos_config_template::{TalosConfigTemplate, TalosConfigTemplateSpec};
use bloomery_api::talos_control_plane::{
    MachineTemplate, MachineTemplateSpec, ReadinessGate, StatusVersion, TalosControlPlane,
    TalosControlPlaneSpec, TalosControlPlaneStatus,
};
use bloomery_api::talos_control_plane_template::{TalosControlPlaneTemplate, TalosControlPlaneTemplateSpec};
use bloomery_api::{Condition, Severity};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition as StandardCondition, Time};
use kube::Resource;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const INFRASTRUCTURE: &str = "infrastructure.cluster.x-k8s.io";
const BOOTSTRAP: &str = "bootstrap.cluster.x-k8s.io";
const CONTROL_PLANE: &str = "controlplane.cluster.x-k8s.io";

fn object(group: &str, version: &str, kind: &str, spec: Value, status: Value) -> Value {
    json!({ "apiVersion": format!("{group}/{version}"), "kind": kind,
        "metadata": { "name": "n", "namespace": "ns" }, "spec": spec, "status": status })
}

/// The same without the annotation that keeps the stored object.
fn forgetful(mut object: Value) -> Value {
    object["metadata"].as_object_mut().unwrap().shift_remove("annotations");
    object
}

/// Stored form and further form of one object: both ways, without anything kept.
#[test]
fn published_cases_convert_both_ways() {
    let endpoint = json!({ "host": "10.0.0.1", "port": 6443 });
    let old = json!([{ "type": "A", "status": "False", "severity": "Error", "reason": "R", "message": "m",
        "lastTransitionTime": "2026-01-01T00:00:00Z" }]);
    let new = json!([{ "type": "Ready", "status": "True", "reason": "Available", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z" }]);
    let config = json!({ "generateType": "worker" });
    let reference = json!({ "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha3",
        "kind": "MetalMachineTemplate", "name": "t", "namespace": "ns" });
    let contract = json!({ "apiGroup": INFRASTRUCTURE, "kind": "MetalMachineTemplate", "name": "t" });
    let cases = [
        (
            INFRASTRUCTURE,
            "MetalCluster",
            "v1alpha2",
            json!({ "controlPlaneEndpoint": endpoint }),
            json!({ "ready": true }),
            json!({ "apiEndpoints": [endpoint] }),
            json!({ "ready": true, "apiEndpoints": [endpoint] }),
        ),
        (
            INFRASTRUCTURE,
            "MetalMachine",
            "v1alpha2",
            json!({ "providerID": "sidero://a", "serverRef": { "name": "a" } }),
            json!({ "ready": false, "failureReason": "R", "failureMessage": "m" }),
            json!({ "providerID": "sidero://a", "serverRef": { "name": "a" } }),
            json!({ "ready": false, "errorReason": "R", "errorMessage": "m" }),
        ),
        (
            BOOTSTRAP,
            "TalosConfig",
            "v1alpha2",
            json!({ "generateType": "none", "data": "x" }),
            json!({ "ready": true, "failureReason": "R" }),
            json!({ "generateType": "none", "data": "x" }),
            json!({ "ready": true, "errorReason": "R" }),
        ),
        (
            BOOTSTRAP,
            "TalosConfig",
            "v1beta1",
            config.clone(),
            json!({ "ready": true, "dataSecretName": "s", "observedGeneration": 2, "conditions": old,
                "failureReason": "R", "failureMessage": "m", "v1beta2Status": { "conditions": new } }),
            config.clone(),
            json!({ "dataSecretName": "s", "observedGeneration": 2, "conditions": new,
                "initialization": { "dataSecretCreated": true },
                "deprecated": { "v1beta": { "conditions": old, "failureReason": "R", "failureMessage": "m" } } }),
        ),
        (
            CONTROL_PLANE,
            "TalosControlPlane",
            "v1beta1",
            json!({ "version": "v1.36.0", "infrastructureTemplate": reference,
                "machineTemplate": { "spec": { "deletion": { "nodeDrainTimeoutSeconds": 5 } } },
                "controlPlaneConfig": { "controlplane": config } }),
            json!({ "replicas": 3, "ready": true, "initialized": true, "unavailableReplicas": 1,
                "conditions": old, "v1beta2": { "conditions": new } }),
            json!({ "version": "v1.36.0", "controlPlaneConfig": { "controlplane": config },
                "machineTemplate": { "spec": { "infrastructureRef": contract,
                    "deletion": { "nodeDrainTimeoutSeconds": 5 } } } }),
            json!({ "replicas": 3, "conditions": new, "deprecated": { "v1beta1": { "ready": true,
                "initialized": true, "unavailableReplicas": 1, "conditions": old } } }),
        ),
    ];
    for (group, kind, version, spec, status, further_spec, further_status) in cases {
        let stored = object(group, "v1alpha3", kind, spec, status);
        let further = object(group, version, kind, further_spec, further_status);
        let down = convert(stored.clone(), &format!("{group}/{version}")).unwrap();
        assert_eq!(forgetful(down.clone()), further, "{kind} {version}");
        let hub = format!("{group}/v1alpha3");
        assert_eq!(convert(down, &hub).unwrap(), stored, "{kind} {version}");
        assert_eq!(convert(further, &hub).unwrap(), stored, "{kind} {version} made by a client");
    }
}

#[test]
fn the_first_endpoint_counts_the_specs_before_the_statuss() {
    let endpoint = |host: &str| json!({ "host": host, "port": 6443 });
    for (spec, status, expected) in [
        (json!([endpoint("a"), endpoint("b")]), json!([endpoint("c")]), endpoint("a")),
        (json!([]), json!([endpoint("c")]), endpoint("c")),
        (json!([]), json!([]), Value::Null),
    ] {
        let old = object(
            INFRASTRUCTURE,
            "v1alpha2",
            "MetalCluster",
            json!({ "apiEndpoints": spec }),
            json!({ "ready": true, "apiEndpoints": status }),
        );
        let up = convert(old, "infrastructure.cluster.x-k8s.io/v1alpha3").unwrap();
        assert_eq!(up["spec"].get("controlPlaneEndpoint").unwrap_or(&Value::Null), &expected);
        assert_eq!(up["status"], json!({ "ready": true }));
    }
}

#[test]
fn a_reference_of_another_provider_keeps_its_version_until_it_is_edited() {
    let reference = json!({ "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha4", "kind": "K", "name": "t",
        "namespace": "other", "uid": "u" });
    let spec = json!({ "version": "v1.36.0", "infrastructureTemplate": reference,
        "controlPlaneConfig": { "controlplane": { "generateType": "controlplane" } } });
    let stored = object(CONTROL_PLANE, "v1alpha3", "TalosControlPlane", spec, Value::Null);
    let mut newer = convert(stored.clone(), "controlplane.cluster.x-k8s.io/v1beta1").unwrap();
    assert_eq!(convert(newer.clone(), "controlplane.cluster.x-k8s.io/v1alpha3").unwrap(), stored);
    newer["spec"]["machineTemplate"]["spec"]["infrastructureRef"]["name"] = json!("edited");
    let back = convert(newer, "controlplane.cluster.x-k8s.io/v1alpha3").unwrap();
    assert_eq!(
        back["spec"]["infrastructureTemplate"],
        json!({
        "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha3", "kind": "K", "name": "edited",
        "namespace": "ns" })
    );
}

#[test]
fn what_cannot_be_converted_says_so() {
    for (object, desired) in [
        (
            object(INFRASTRUCTURE, "v1alpha2", "MetalCluster", json!([]), Value::Null),
            "infrastructure.cluster.x-k8s.io/v1alpha3",
        ),
        (
            object(INFRASTRUCTURE, "v1alpha3", "MetalCluster", json!({}), json!(7)),
            "infrastructure.cluster.x-k8s.io/v1alpha2",
        ),
        (
            object(INFRASTRUCTURE, "v1alpha3", "MetalCluster", json!({}), Value::Null),
            "infrastructure.cluster.x-k8s.io/v1beta1",
        ),
        (
            object(INFRASTRUCTURE, "v1alpha3", "MetalCluster", json!({}), Value::Null),
            "bootstrap.cluster.x-k8s.io/v1alpha2",
        ),
        (
            object(INFRASTRUCTURE, "v1beta1", "MetalCluster", json!({}), Value::Null),
            "infrastructure.cluster.x-k8s.io/v1alpha3",
        ),
        (
            object(BOOTSTRAP, "v1alpha3", "MetalCluster", json!({}), Value::Null),
            "bootstrap.cluster.x-k8s.io/v1alpha2",
        ),
        (
            object(INFRASTRUCTURE, "v1alpha3", "ServerBinding", json!({}), Value::Null),
            "infrastructure.cluster.x-k8s.io/v1alpha2",
        ),
    ] {
        assert!(convert(object.clone(), desired).is_err(), "{object} {desired}");
    }
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-zA-Z0-9 \u{e4}\"\\\\]{1,8}"]
}

fn at(second: u8) -> Time {
    serde_json::from_value(json!(format!("2026-01-01T00:00:{second:02}Z"))).unwrap()
}

prop_compose! {
    fn conditions()(types in vec(word(), 0..3), second in 0..60_u8) -> Vec<Condition> {
        types.into_iter().map(|type_| Condition::fails(&type_, Severity::Info, "R", "m", at(second))).collect()
    }
}

prop_compose! {
    fn standard()(types in vec(word(), 0..3), generation in option::of(0..9_i64), message in word()) -> StandardConditions {
        let condition = |type_| StandardCondition { type_, status: "True".to_owned(), reason: "R".to_owned(),
            message: message.clone(), last_transition_time: at(3), observed_generation: generation };
        StandardConditions { conditions: types.into_iter().map(condition).collect() }
    }
}

prop_compose! {
    fn reference()(name in option::of(word()), namespace in option::of(word()), version in word(), kind in option::of(word()))
        -> ObjectReference {
        let api_version = Some(format!("group.dev/v{version}"));
        ObjectReference { name, namespace, kind, api_version, ..ObjectReference::default() }
    }
}

prop_compose! {
    fn metal_cluster()(endpoint in option::of((word(), 0..3_i32)), label in word(), status in option::of((any::<bool>(),
        word(), conditions(), standard())), provisioned in option::of(any::<bool>())) -> MetalCluster {
        let control_plane_endpoint = endpoint.map(|(host, port)| ApiEndpoint { host, port });
        let mut cluster = MetalCluster::new("n", MetalClusterSpec { control_plane_endpoint, failure_domain_label: label });
        cluster.status = status.map(|(ready, name, conditions, v1beta2)| {
            let mut status = MetalClusterStatus { ready, conditions, v1beta2, ..MetalClusterStatus::default() };
            status.initialization.provisioned = provisioned;
            status.failure_domains = vec![FailureDomain { name, control_plane: Some(true), ..FailureDomain::default() }];
            status
        });
        cluster
    }
}

prop_compose! {
    fn metal_machine()(provider_id in word(), server_ref in option::of(reference()), class in option::of(reference()),
        status in option::of((any::<bool>(), word(), word(), conditions(), standard()))) -> MetalMachine {
        let spec = MetalMachineSpec { provider_id, server_ref, server_class_ref: class };
        let mut machine = MetalMachine::new("n", spec);
        machine.status = status.map(|(ready, failure_reason, address, conditions, v1beta2)| MetalMachineStatus {
            ready, failure_reason, conditions, v1beta2,
            addresses: vec![MachineAddress { type_: "InternalIP".to_owned(), address }],
            ..MetalMachineStatus::default()
        });
        machine
    }
}

prop_compose! {
    fn talos_spec()(generate_type in word(), talos_version in word(), data in word(), patches in vec(word(), 0..3),
        source in word(), op in option::of(word())) -> TalosConfigSpec {
        let mut spec = TalosConfigSpec { generate_type, talos_version, data, strategic_patches: patches, ..TalosConfigSpec::default() };
        spec.hostname.source = source;
        spec.config_patches = op.into_iter().map(|op| ConfigPatch { op, path: "/a".to_owned(), value: Some(Value::Null) }).collect();
        spec
    }
}

prop_compose! {
    fn talos_config()(spec in talos_spec(), status in option::of((any::<bool>(), word(), word(), conditions(), standard())))
        -> TalosConfig {
        let mut config = TalosConfig::new("n", spec);
        config.status = status.map(|(ready, talos_config, failure_message, conditions, v1beta2_status)| TalosConfigStatus {
            ready, talos_config, failure_message, conditions, v1beta2_status,
            data_secret_name: Some("s".to_owned()),
            ..TalosConfigStatus::default()
        });
        config
    }
}

prop_compose! {
    fn control_plane()(controlplane in talos_spec(), init in option::of(talos_spec()), mut infrastructure_template in reference(),
        kind in word(), name in word(),
        gate in option::of(word()), label in option::of(word()), replicas in option::of(0..5_i32), flags in any::<[bool; 2]>(),
        conditions in conditions(), v1beta2 in standard(), has_status in any::<bool>(), version in word()) -> TalosControlPlane {
        // Without kind or name there is no reference of contract v1beta2.
        (infrastructure_template.kind, infrastructure_template.name) = (Some(kind), Some(name));
        let mut spec = TalosControlPlaneSpec { replicas, version, infrastructure_template, ..TalosControlPlaneSpec::default() };
        spec.control_plane_config.controlplane = controlplane;
        spec.control_plane_config.init = init;
        spec.machine_template = MachineTemplate {
            metadata: TemplateMeta { labels: label.map(|label| ("k".to_owned(), label)).into_iter().collect(), ..TemplateMeta::default() },
            spec: MachineTemplateSpec {
                readiness_gates: gate.into_iter().map(|condition_type| ReadinessGate { condition_type, polarity: String::new() }).collect(),
                ..MachineTemplateSpec::default()
            },
        };
        let mut plane = TalosControlPlane::new("n", spec);
        let [ready, initialized] = flags;
        plane.status = has_status.then(|| TalosControlPlaneStatus {
            ready, initialized, conditions, v1beta2, unavailable_replicas: 2,
            versions: vec![StatusVersion { version: "v1.36.0".to_owned(), replicas: Some(1) }],
            ..TalosControlPlaneStatus::default()
        });
        plane
    }
}

/// What is false is left out, as clients do.
fn leave_out_false(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.retain(|_, field| *field != false);
        fields.values_mut().for_each(leave_out_false);
    }
}

fn further<K: Resource<DynamicType = ()> + Serialize>(object: &K, version: &str) -> Value {
    convert(serde_json::to_value(object).unwrap(), &format!("{}/{version}", K::group(&()))).unwrap()
}

fn stored<K: Resource<DynamicType = ()> + DeserializeOwned>(further: Value) -> K {
    let back = convert(further, &K::api_version(&())).unwrap();
    assert!(back["metadata"].get("annotations").and_then(|all| all.get(CONVERSION_DATA)).is_none());
    serde_json::from_value(back).unwrap()
}

/// There and back, read and written by a client of the further version on the way.
fn round_trip<K>(version: &str, start: &K) -> K
where
    K: Resource<DynamicType = ()> + Serialize + DeserializeOwned,
{
    let mut there = client::read(further(start, version));
    leave_out_false(&mut there);
    stored(there)
}

/// An object that a client of the further version made, and the same after a client of the stored one wrote it.
fn round_trip_of_further<K>(version: &str, like: &K) -> [Value; 2]
where
    K: Resource<DynamicType = ()> + Serialize + DeserializeOwned,
{
    let start = client::read(forgetful(further(like, version)));
    let back = client::read(forgetful(further(&stored::<K>(start.clone()), version)));
    [start, back]
}

proptest! {
    #[test]
    fn clusters_survive_the_old_version(cluster in metal_cluster()) {
        prop_assert_eq!(&round_trip("v1alpha2", &cluster), &cluster);
    }

    #[test]
    fn machines_survive_the_old_version(machine in metal_machine()) {
        prop_assert_eq!(&round_trip("v1alpha2", &machine), &machine);
    }

    #[test]
    fn machine_templates_survive_the_old_version(machine in metal_machine()) {
        let mut template = MetalMachineTemplate::new("n", MetalMachineTemplateSpec::default());
        template.spec.template.spec = machine.spec;
        prop_assert_eq!(&round_trip("v1alpha2", &template), &template);
    }

    #[test]
    fn old_machines_survive_the_new_version(machine in metal_machine(), failure_reason in word()) {
        let mut like = MetalMachine::new("n", machine.spec);
        like.status = Some(MetalMachineStatus { failure_reason, ..MetalMachineStatus::default() });
        let [old, back] = round_trip_of_further("v1alpha2", &like);
        prop_assert_eq!(back, old);
    }

    #[test]
    fn configs_survive_both_other_versions(config in talos_config()) {
        for version in ["v1alpha2", "v1beta1"] {
            prop_assert_eq!(&round_trip(version, &config), &config);
        }
    }

    #[test]
    fn newer_configs_survive_the_stored_version(config in talos_config()) {
        let [newer, back] = round_trip_of_further("v1beta1", &config);
        prop_assert_eq!(back, newer);
    }

    #[test]
    fn config_templates_survive_both_other_versions(spec in talos_spec()) {
        let mut template = TalosConfigTemplate::new("n", TalosConfigTemplateSpec::default());
        template.spec.template.spec = spec;
        for version in ["v1alpha2", "v1beta1"] {
            prop_assert_eq!(&round_trip(version, &template), &template);
        }
    }

    #[test]
    fn control_planes_survive_the_newer_version(plane in control_plane()) {
        prop_assert_eq!(&round_trip("v1beta1", &plane), &plane);
    }

    #[test]
    fn newer_control_planes_survive_the_stored_version(plane in control_plane()) {
        let [newer, back] = round_trip_of_further("v1beta1", &plane);
        prop_assert_eq!(back, newer);
    }

    #[test]
    fn control_plane_templates_survive_the_newer_version(plane in control_plane()) {
        let mut template = TalosControlPlaneTemplate::new("n", TalosControlPlaneTemplateSpec::default());
        template.spec.template.spec.machine_template = plane.spec.machine_template;
        template.spec.template.spec.control_plane_config = plane.spec.control_plane_config;
        prop_assert_eq!(&round_trip("v1beta1", &template), &template);
    }

    #[test]
    fn an_old_client_that_edits_a_machine_loses_nothing_newer(machine in metal_machine(), id in word()) {
        let mut old = client::read(further(&machine, "v1alpha2"));
        let spec = old["spec"].as_object_mut().unwrap();
        spec.insert("providerID".to_owned(), json!(id));
        spec.remove("serverRef");
        let back: MetalMachine = stored(old);
        prop_assert_eq!(back.spec, MetalMachineSpec { provider_id: id, server_ref: None, ..machine.spec });
        prop_assert_eq!(back.status, machine.status);
    }

    #[test]
    fn two_further_versions_convert_by_way_of_the_stored_one(config in talos_config()) {
        let newer = convert(further(&config, "v1alpha2"), "bootstrap.cluster.x-k8s.io/v1beta1").unwrap();
        let back: TalosConfig = stored(newer);
        prop_assert_eq!(&back, &config);
    }
}

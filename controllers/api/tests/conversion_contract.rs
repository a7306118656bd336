//! Conversion of the kinds of Cluster API's contracts: published cases, and round trips of generated objects.

// The whole file is a test: a failed expectation ends it, and literals are passed as they stand.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::needless_pass_by_value)]

use bloomery_api::contract::{ApiEndpoint, FailureDomain, MachineAddress, StandardConditions, TemplateMeta};
use bloomery_api::conversion::{CONVERSION_DATA, convert};
use bloomery_api::metal_cluster::{self, MetalCluster, MetalClusterSpec, MetalClusterStatus};
use bloomery_api::metal_machine::{self, MetalMachine, MetalMachineSpec, MetalMachineStatus};
use bloomery_api::metal_machine_template::{self, MetalMachineTemplate, MetalMachineTemplateSpec};
use bloomery_api::patch::ConfigPatch;
use bloomery_api::talos_config::{self, TalosConfig, TalosConfigSpec, TalosConfigStatus};
use bloomery_api::talos_config_template::{self, TalosConfigTemplate, TalosConfigTemplateSpec};
use bloomery_api::talos_control_plane::{
    self, MachineTemplate, MachineTemplateSpec, ReadinessGate, StatusVersion, TalosControlPlane,
    TalosControlPlaneSpec, TalosControlPlaneStatus,
};
use bloomery_api::talos_control_plane_template::{
    self, TalosControlPlaneTemplate, TalosControlPlaneTemplateSpec,
};
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

fn api_version<K: Resource<DynamicType = ()>>() -> String {
    K::api_version(&()).into_owned()
}

/// There and back, read and written by the other version's type on the way: all that a client of it keeps.
fn round_trip<There, Back>(start: &Back) -> Back
where
    There: Resource<DynamicType = ()> + Serialize + DeserializeOwned,
    Back: Resource<DynamicType = ()> + Serialize + DeserializeOwned,
{
    let converted = convert(serde_json::to_value(start).unwrap(), &api_version::<There>()).unwrap();
    let client: There = serde_json::from_value(converted).unwrap();
    let back = convert(serde_json::to_value(client).unwrap(), &api_version::<Back>()).unwrap();
    if api_version::<Back>().ends_with("v1alpha3") {
        assert!(back["metadata"].get("annotations").and_then(|all| all.get(CONVERSION_DATA)).is_none());
    }
    serde_json::from_value(back).unwrap()
}

proptest! {
    #[test]
    fn clusters_survive_the_old_version(cluster in metal_cluster()) {
        let back = round_trip::<metal_cluster::v1alpha2::MetalCluster, _>(&cluster);
        prop_assert_eq!(&back, &cluster);
    }

    #[test]
    fn machines_survive_the_old_version(machine in metal_machine()) {
        let back = round_trip::<metal_machine::v1alpha2::MetalMachine, _>(&machine);
        prop_assert_eq!(&back, &machine);
    }

    #[test]
    fn machine_templates_survive_the_old_version(machine in metal_machine()) {
        let mut template = MetalMachineTemplate::new("n", MetalMachineTemplateSpec::default());
        template.spec.template.spec = machine.spec;
        let back = round_trip::<metal_machine_template::v1alpha2::MetalMachineTemplate, _>(&template);
        prop_assert_eq!(&back, &template);
    }

    #[test]
    fn old_machines_survive_the_new_version(machine in metal_machine(), reason in word()) {
        let spec = metal_machine::v1alpha2::MetalMachineSpec { provider_id: machine.spec.provider_id, server_ref: machine.spec.server_ref };
        let mut old = metal_machine::v1alpha2::MetalMachine::new("n", spec);
        old.status = Some(metal_machine::v1alpha2::MetalMachineStatus { error_reason: reason, error_message: String::new(), ready: false });
        let back = round_trip::<MetalMachine, _>(&old);
        prop_assert_eq!((back.spec, back.status), (old.spec, old.status));
    }

    #[test]
    fn configs_survive_both_other_versions(config in talos_config()) {
        let back = round_trip::<talos_config::v1alpha2::TalosConfig, _>(&config);
        prop_assert_eq!(&back, &config);
        let back = round_trip::<talos_config::v1beta1::TalosConfig, _>(&config);
        prop_assert_eq!(&back, &config);
    }

    #[test]
    fn newer_configs_survive_the_stored_version(config in talos_config()) {
        let converted = convert(serde_json::to_value(&config).unwrap(), "bootstrap.cluster.x-k8s.io/v1beta1").unwrap();
        let newer: talos_config::v1beta1::TalosConfig = serde_json::from_value(forgetful(converted)).unwrap();
        let back = round_trip::<TalosConfig, _>(&newer);
        prop_assert_eq!((back.spec, back.status), (newer.spec, newer.status));
    }

    #[test]
    fn config_templates_survive_both_other_versions(spec in talos_spec()) {
        let mut template = TalosConfigTemplate::new("n", TalosConfigTemplateSpec::default());
        template.spec.template.spec = spec;
        let back = round_trip::<talos_config_template::v1alpha2::TalosConfigTemplate, _>(&template);
        prop_assert_eq!(&back, &template);
        let back = round_trip::<talos_config_template::v1beta1::TalosConfigTemplate, _>(&template);
        prop_assert_eq!(&back, &template);
    }

    #[test]
    fn control_planes_survive_the_newer_version(plane in control_plane()) {
        let back = round_trip::<talos_control_plane::v1beta1::TalosControlPlane, _>(&plane);
        prop_assert_eq!(&back, &plane);
    }

    #[test]
    fn newer_control_planes_survive_the_stored_version(plane in control_plane()) {
        let converted = convert(serde_json::to_value(&plane).unwrap(), "controlplane.cluster.x-k8s.io/v1beta1").unwrap();
        let newer: talos_control_plane::v1beta1::TalosControlPlane = serde_json::from_value(forgetful(converted)).unwrap();
        let back = round_trip::<TalosControlPlane, _>(&newer);
        prop_assert_eq!((back.spec, back.status), (newer.spec, newer.status));
    }

    #[test]
    fn control_plane_templates_survive_the_newer_version(plane in control_plane()) {
        let mut template = TalosControlPlaneTemplate::new("n", TalosControlPlaneTemplateSpec::default());
        template.spec.template.spec.machine_template = plane.spec.machine_template;
        template.spec.template.spec.control_plane_config = plane.spec.control_plane_config;
        let back = round_trip::<talos_control_plane_template::v1beta1::TalosControlPlaneTemplate, _>(&template);
        prop_assert_eq!(&back, &template);
    }

    #[test]
    fn an_old_client_that_edits_a_machine_loses_nothing_newer(machine in metal_machine(), id in word()) {
        let down = convert(serde_json::to_value(&machine).unwrap(), "infrastructure.cluster.x-k8s.io/v1alpha2").unwrap();
        let mut old: metal_machine::v1alpha2::MetalMachine = serde_json::from_value(down).unwrap();
        old.spec.provider_id.clone_from(&id);
        old.spec.server_ref = None;
        let up = convert(serde_json::to_value(&old).unwrap(), "infrastructure.cluster.x-k8s.io/v1alpha3").unwrap();
        let back: MetalMachine = serde_json::from_value(up).unwrap();
        prop_assert_eq!(back.spec, MetalMachineSpec { provider_id: id, server_ref: None, ..machine.spec });
        prop_assert_eq!(back.status, machine.status);
    }

    #[test]
    fn two_further_versions_convert_by_way_of_the_stored_one(config in talos_config()) {
        let old = convert(serde_json::to_value(&config).unwrap(), "bootstrap.cluster.x-k8s.io/v1alpha2").unwrap();
        let newer = convert(old, "bootstrap.cluster.x-k8s.io/v1beta1").unwrap();
        let back: TalosConfig = serde_json::from_value(convert(newer, "bootstrap.cluster.x-k8s.io/v1alpha3").unwrap()).unwrap();
        prop_assert_eq!(&back, &config);
    }
}

//! The committed definitions are the generated ones, and have the form that clients rely on.

// The whole file is a test: a failed expectation ends it, and literals are passed as they stand.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::needless_pass_by_value)]

use std::path::Path;

use bloomery_api::crds;
use serde_json::{Value, json};

#[test]
fn committed_files_are_up_to_date() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    let files = crds::files().unwrap();
    for file in &files {
        let committed = std::fs::read_to_string(directory.join(&file.name)).unwrap_or_default();
        assert!(
            committed == file.text,
            "crds/{} differs from what the types say; run: cargo run -p bloomery-api --bin crdgen",
            file.name
        );
    }
    let mut expected: Vec<_> = files.into_iter().map(|file| file.name).collect();
    let mut present: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    expected.sort();
    present.sort();
    assert_eq!(present, expected, "crds/ holds generated files and nothing else");
}

fn all() -> Vec<Value> {
    crds::all(b"PEM").unwrap().into_iter().map(|crd| serde_json::to_value(crd).unwrap()).collect()
}

/// Those with upstream's names.
fn definitions() -> Vec<Value> {
    all().into_iter().filter(|crd| crd["spec"]["group"] != "bloomery.dev").collect()
}

fn definition(kind: &str) -> Value {
    all().into_iter().find(|crd| crd["spec"]["names"]["kind"] == kind).unwrap()
}

fn version<'a>(crd: &'a Value, name: &str) -> &'a Value {
    crd["spec"]["versions"].as_array().unwrap().iter().find(|version| version["name"] == name).unwrap()
}

/// Kind, short name, categories, scope, provider, version that serves contract v1beta2, all versions with the stored
/// one first.
type Shape<'a> = (&'a str, Option<&'a str>, &'a [&'a str], &'a str, &'a str, &'a str, &'a [&'a str]);

#[test]
fn every_definition_has_labels_conversion_and_status() {
    let metal: &[&str] = &["sidero", "bloomery"];
    let cluster: &[&str] = &["cluster-api", "sidero", "bloomery"];
    let talos: &[&str] = &["cluster-api", "bloomery"];
    let two: &[&str] = &["v1alpha2", "v1alpha1"];
    let infra: &[&str] = &["v1alpha3", "v1alpha2"];
    let three: &[&str] = &["v1alpha3", "v1alpha2", "v1beta1"];
    let newer: &[&str] = &["v1alpha3", "v1beta1"];
    let (bootstrap, control_plane) = ("bootstrap-talos", "control-plane-talos");
    let table: [Shape<'_>; 11] = [
        ("Server", Some("srv"), metal, "Cluster", "sidero", "v1alpha3", two),
        ("ServerClass", Some("srvc"), metal, "Cluster", "sidero", "v1alpha3", two),
        ("Environment", Some("env"), metal, "Cluster", "sidero", "v1alpha3", two),
        ("ServerBinding", Some("srvb"), metal, "Cluster", "sidero", "v1alpha3", &["v1alpha3"]),
        ("MetalCluster", Some("mtc"), cluster, "Namespaced", "sidero", "v1alpha3", infra),
        ("MetalMachine", Some("mtm"), cluster, "Namespaced", "sidero", "v1alpha3", infra),
        ("MetalMachineTemplate", Some("mtmt"), cluster, "Namespaced", "sidero", "v1alpha3", infra),
        ("TalosConfig", None, talos, "Namespaced", bootstrap, "v1beta1", three),
        ("TalosConfigTemplate", None, talos, "Namespaced", bootstrap, "v1beta1", three),
        ("TalosControlPlane", Some("tcp"), talos, "Namespaced", control_plane, "v1beta1", newer),
        ("TalosControlPlaneTemplate", Some("tcpt"), talos, "Namespaced", control_plane, "v1beta1", newer),
    ];
    assert_eq!(definitions().len(), table.len());
    for (kind, short, categories, scope, provider, v1beta2, versions) in table {
        let crd = definition(kind);
        let labels = &crd["metadata"]["labels"];
        for (label, value) in [
            ("app", "sidero"),
            ("cluster.x-k8s.io/provider", provider),
            ("cluster.x-k8s.io/v1beta1", "v1alpha3"),
            ("cluster.x-k8s.io/v1beta2", v1beta2),
            ("clusterctl.cluster.x-k8s.io", ""),
            ("clusterctl.cluster.x-k8s.io/move", ""),
        ] {
            assert_eq!(labels[label], value, "{kind} {label}");
        }
        assert_eq!(crd["spec"]["scope"], scope, "{kind}");
        let names = &crd["spec"]["names"];
        assert_eq!(names.get("shortNames").map(|all| &all[0]), short.map(Value::from).as_ref(), "{kind}");
        assert_eq!(names["categories"], json!(categories), "{kind}");
        let config = &crd["spec"]["conversion"]["webhook"]["clientConfig"];
        assert_eq!(*config, json!({ "url": "https://127.0.0.1:9445/convert", "caBundle": "UEVN" }), "{kind}");
        let served = crd["spec"]["versions"].as_array().unwrap();
        let mut found: Vec<_> = served.iter().map(|version| version["name"].as_str().unwrap()).collect();
        let mut expected = versions.to_vec();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{kind}");
        for version in served {
            assert_eq!(version["served"], true, "{kind}");
            assert_eq!(version["storage"], version["name"] == versions[0], "{kind}");
            assert_eq!(version["subresources"]["status"], json!({}), "{kind}");
            let scale = version["subresources"].get("scale");
            assert_eq!(scale.is_some(), kind == "TalosControlPlane", "{kind}");
        }
        // Cluster API reads objects of a contract in the version that a label names.
        for (label, version) in labels.as_object().unwrap() {
            if label.starts_with("cluster.x-k8s.io/v1beta") && crd["spec"]["scope"] == "Namespaced" {
                assert!(versions.contains(&version.as_str().unwrap()), "{kind} {label}");
            }
        }
    }
}

#[test]
fn a_control_plane_is_scaled_like_a_deployment() {
    let crd = definition("TalosControlPlane");
    for name in ["v1alpha3", "v1beta1"] {
        let expected = json!({ "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector" });
        assert_eq!(version(&crd, name)["subresources"]["scale"], expected, "{name}");
    }
}

#[test]
fn kinds_of_ours_have_nothing_of_the_contract_and_are_never_moved() {
    let ours: Vec<_> = all().into_iter().filter(|crd| crd["spec"]["group"] == "bloomery.dev").collect();
    assert_eq!(ours.len(), 1);
    for crd in ours {
        assert_eq!(crd["metadata"]["labels"], json!({ "app": "bloomery" }));
        assert_eq!(crd["spec"].get("conversion"), None);
        assert_eq!(crd["spec"]["scope"], "Cluster");
        assert_eq!(crd["metadata"]["name"], "planes.bloomery.dev");
    }
}

/// Name, type, path and priority.
type Column<'a> = (&'a str, &'a str, &'a str, i64);

#[test]
fn columns_are_these_in_order() {
    let server = [
        ("Hostname", "string", ".spec.hostname", 0),
        ("BMC IP", "string", ".spec.bmc.endpoint", 1),
        ("Accepted", "boolean", ".spec.accepted", 0),
        ("Cordoned", "boolean", ".spec.cordoned", 0),
        ("Allocated", "boolean", ".status.inUse", 0),
        ("Clean", "boolean", ".status.isClean", 0),
        ("Disks", "string", ".status.contents", 0),
        ("Conflict", "string", ".status.conditions[?(@.type==\"IdentityConflict\")].reason", 0),
        ("Power", "string", ".status.power", 0),
        ("Age", "date", ".metadata.creationTimestamp", 0),
    ];
    let class = [
        ("Available", "string", ".status.serversAvailable", 0),
        ("In Use", "string", ".status.serversInUse", 0),
        ("Age", "date", ".metadata.creationTimestamp", 0),
    ];
    let environment = [
        ("Kernel", "string", ".spec.kernel.url", 0),
        ("Initrd", "string", ".spec.initrd.url", 0),
        ("Ready", "string", ".status.conditions[?(@.type==\"Ready\")].status", 0),
        ("Age", "date", ".metadata.creationTimestamp", 0),
    ];
    let binding = [
        ("Ready", "string", ".status.ready", 0),
        ("Server", "string", ".metadata.name", 1),
        ("ServerClass", "string", ".spec.serverClassRef.name", 1),
        ("MetalMachine", "string", ".spec.metalMachineRef.name", 1),
        ("Cluster", "string", ".metadata.labels.cluster\\.x-k8s\\.io/cluster-name", 1),
        ("Age", "date", ".metadata.creationTimestamp", 0),
    ];
    let plane = [
        ("Holder", "string", ".spec.holder", 0),
        ("Epoch", "integer", ".spec.epoch", 0),
        ("Restored", "string", ".metadata.annotations.bloomery\\.dev/restored", 0),
        ("Fenced", "string", ".metadata.annotations.bloomery\\.dev/fenced", 0),
        ("Age", "date", ".metadata.creationTimestamp", 0),
    ];
    let template = [
        ("Class", "string", ".spec.template.spec.serverClassRef.name", 0),
        ("CPU", "string", ".status.capacity.cpu", 1),
        ("Memory", "string", ".status.capacity.memory", 1),
        ("Age", "date", ".metadata.creationTimestamp", 0),
    ];
    let cluster = [
        ("Cluster", "string", ".metadata.labels.cluster\\.x-k8s\\.io/cluster-name", 0),
        ("Ready", "boolean", ".status.ready", 0),
        ("Endpoint", "string", ".spec.controlPlaneEndpoint.host", 1),
        ("Age", "date", ".metadata.creationTimestamp", 0),
    ];
    let machine = [
        ("Ready", "string", ".status.ready", 0),
        ("Cluster", "string", ".metadata.labels.cluster\\.x-k8s\\.io/cluster-name", 1),
        ("Machine", "string", ".metadata.ownerReferences[?(@.kind==\"Machine\")].name", 1),
        ("Server", "string", ".spec.serverRef.name", 1),
        ("Age", "date", ".metadata.creationTimestamp", 0),
    ];
    let control_plane = [
        ("Ready", "boolean", ".status.ready", 0),
        ("Initialized", "boolean", ".status.initialized", 0),
        ("Replicas", "integer", ".status.replicas", 0),
        ("Ready Replicas", "integer", ".status.readyReplicas", 0),
        ("Unavailable Replicas", "integer", ".status.unavailableReplicas", 0),
    ];
    let table: [(&str, &[Column<'_>]); 9] = [
        ("MetalMachineTemplate", &template),
        ("MetalCluster", &cluster),
        ("MetalMachine", &machine),
        ("TalosControlPlane", &control_plane),
        ("Server", &server),
        ("ServerClass", &class),
        ("Environment", &environment),
        ("ServerBinding", &binding),
        ("Plane", &plane),
    ];
    for (kind, columns) in table {
        let crd = definition(kind);
        let group = crd["spec"]["group"].as_str().unwrap();
        for version in crd["spec"]["versions"].as_array().unwrap() {
            // Kinds of Cluster API have columns of their own in each version, and none in v1alpha2.
            if group.ends_with("cluster.x-k8s.io") && version["storage"] == false {
                continue;
            }
            let found: Vec<_> = version["additionalPrinterColumns"]
                .as_array()
                .unwrap()
                .iter()
                .map(|column| {
                    let text = |key: &str| column[key].as_str().unwrap();
                    (text("name"), text("type"), text("jsonPath"), column["priority"].as_i64().unwrap_or(0))
                })
                .collect();
            assert_eq!(found, columns, "{kind} {}", version["name"]);
        }
    }
}

#[test]
fn required_fields_are_exactly_these() {
    let pointers: [(&str, &str, &str, Value); 21] = [
        ("MetalCluster", "v1alpha3", "/spec/properties/controlPlaneEndpoint", json!(["host", "port"])),
        ("MetalMachine", "v1alpha3", "/status/properties/addresses/items", json!(["address", "type"])),
        ("MetalMachineTemplate", "v1alpha3", "/spec", json!(["template"])),
        ("TalosConfig", "v1alpha3", "/spec", json!(["generateType"])),
        ("TalosConfig", "v1beta1", "/spec", json!(["generateType"])),
        (
            "TalosControlPlane",
            "v1alpha3",
            "/spec",
            json!(["controlPlaneConfig", "infrastructureTemplate", "version"]),
        ),
        (
            "TalosControlPlane",
            "v1beta1",
            "/spec",
            json!(["controlPlaneConfig", "machineTemplate", "version"]),
        ),
        ("TalosControlPlaneTemplate", "v1beta1", "/spec", json!(["template"])),
        ("Server", "v1alpha2", "/spec", json!(["accepted"])),
        ("Server", "v1alpha2", "/spec/properties/bmc", json!(["endpoint"])),
        ("Server", "v1alpha2", "/spec/properties/managementApi", json!(["endpoint"])),
        ("Server", "v1alpha2", "/spec/properties/configPatches/items", json!(["op", "path"])),
        (
            "Server",
            "v1alpha2",
            "/spec/properties/bmc/properties/userFrom/properties/secretKeyRef",
            json!(["key", "name", "namespace"]),
        ),
        (
            "Server",
            "v1alpha2",
            "/status/properties/conditions/items",
            json!(["lastTransitionTime", "status", "type"]),
        ),
        ("Server", "v1alpha1", "/spec", json!(["accepted"])),
        ("ServerClass", "v1alpha2", "/status", json!(["serversAvailable", "serversInUse"])),
        ("ServerClass", "v1alpha2", "/spec", Value::Null),
        ("Environment", "v1alpha2", "/status/properties/conditions/items", json!(["status", "type"])),
        ("Plane", "v1alpha1", "/spec", json!(["epoch", "holder"])),
        ("ServerBinding", "v1alpha3", "/spec", json!(["metalMachineRef"])),
        ("ServerBinding", "v1alpha3", "/spec/properties/siderolink", json!(["address", "publicKey"])),
    ];
    for (kind, name, pointer, required) in pointers {
        let crd = definition(kind);
        let schema = &version(&crd, name)["schema"]["openAPIV3Schema"];
        let place = schema.pointer(&format!("/properties{pointer}")).unwrap();
        assert_eq!(place.get("required").unwrap_or(&Value::Null), &required, "{kind} {name} {pointer}");
    }
}

#[test]
fn nothing_is_nullable_and_only_an_absent_spec_has_a_default() {
    fn walk(value: &Value, path: &str, defaults: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                assert!(object.get("nullable").is_none(), "{path} is nullable");
                if object.contains_key("default") && !path.ends_with("/properties") {
                    defaults.push(path.to_owned());
                }
                for (key, inner) in object {
                    walk(inner, &format!("{path}/{key}"), defaults);
                }
            }
            Value::Array(items) => {
                for item in items {
                    walk(item, path, defaults);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    for crd in definitions() {
        for version in crd["spec"]["versions"].as_array().unwrap() {
            let mut defaults = Vec::new();
            walk(&version["schema"]["openAPIV3Schema"], "", &mut defaults);
            // Where the spec needs a field there is no emptiest one.
            let needs = version["schema"]["openAPIV3Schema"]["properties"]["spec"].get("required");
            let has_emptiest = needs.is_none_or(|needs| *needs == json!(["accepted"]));
            let expected: &[&str] = if has_emptiest { &["/properties/spec"] } else { &[] };
            assert_eq!(defaults, expected);
        }
    }
}

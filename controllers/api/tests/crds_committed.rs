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

#[test]
fn every_definition_has_labels_conversion_and_status() {
    for crd in definitions() {
        let kind = &crd["spec"]["names"]["kind"];
        for (label, value) in [
            ("app", "sidero"),
            ("cluster.x-k8s.io/provider", "sidero"),
            ("cluster.x-k8s.io/v1beta1", "v1alpha3"),
            ("cluster.x-k8s.io/v1beta2", "v1alpha3"),
            ("clusterctl.cluster.x-k8s.io/move", ""),
        ] {
            assert_eq!(crd["metadata"]["labels"][label], value, "{kind} {label}");
        }
        assert_eq!(crd["spec"]["scope"], "Cluster", "{kind}");
        let short = match kind.as_str().unwrap() {
            "Server" => "srv",
            "ServerClass" => "srvc",
            "ServerBinding" => "srvb",
            "Environment" => "env",
            other => panic!("no short name for {other}"),
        };
        assert_eq!(crd["spec"]["names"]["shortNames"], json!([short]), "{kind}");
        assert_eq!(crd["spec"]["names"]["categories"], json!(["sidero", "bloomery"]), "{kind}");
        let config = &crd["spec"]["conversion"]["webhook"]["clientConfig"];
        assert_eq!(*config, json!({ "url": "https://127.0.0.1:9445/convert", "caBundle": "UEVN" }), "{kind}");
        for version in crd["spec"]["versions"].as_array().unwrap() {
            assert_eq!(version["served"], true, "{kind}");
            assert_eq!(version["subresources"], json!({ "status": {} }), "{kind}");
        }
        let storage: Vec<_> = crd["spec"]["versions"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|version| version["storage"] == true)
            .map(|version| version["name"].as_str().unwrap())
            .collect();
        let expected = if kind == "ServerBinding" { "v1alpha3" } else { "v1alpha2" };
        assert_eq!(storage, [expected], "{kind}");
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
fn columns_are_the_same_in_both_versions_and_in_order() {
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
    let table: [(&str, &[Column<'_>]); 5] = [
        ("Server", &server),
        ("ServerClass", &class),
        ("Environment", &environment),
        ("ServerBinding", &binding),
        ("Plane", &plane),
    ];
    for (kind, columns) in table {
        let crd = definition(kind);
        for version in crd["spec"]["versions"].as_array().unwrap() {
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
    let pointers: [(&str, &str, &str, Value); 13] = [
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
            let expected: &[&str] =
                if crd["spec"]["names"]["kind"] == "ServerBinding" { &[] } else { &["/properties/spec"] };
            assert_eq!(defaults, expected);
        }
    }
}

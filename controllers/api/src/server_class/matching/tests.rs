//! Tables for class membership: upstream's cases, for classes written in either version.

use super::*;
use crate::conversion;
use crate::server::ServerSpec;
use serde_json::{Value, json};

fn server(name: &str, spec: Value, labels: &[(&str, &str)]) -> Server {
    let mut server = Server::new(name, serde_json::from_value::<ServerSpec>(spec).unwrap());
    server.metadata.labels = Some(labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect());
    server
}

fn cpu(manufacturer: &str) -> Value {
    json!({ "compute": { "processors": [{ "manufacturer": manufacturer }] } })
}

fn servers() -> Vec<Server> {
    let mut ryzen = cpu("AMD");
    ryzen["system"] = json!({ "manufacturer": "QEMU" });
    let dual =
        json!({ "compute": { "processors": [{ "manufacturer": "Intel" }, { "manufacturer": "Intel" }] } });
    vec![
        server(
            "ryzen",
            json!({ "accepted": true, "hardware": ryzen }),
            &[("common-label", "true"), ("zone", "east")],
        ),
        server(
            "atom",
            json!({ "accepted": true, "hardware": cpu("Intel") }),
            &[("common-label", "true"), ("zone", "central")],
        ),
        server("dualXeon", json!({ "accepted": true, "hardware": dual }), &[]),
        server("notAccepted", json!({ "accepted": false, "hardware": cpu("Intel") }), &[("zone", "west")]),
        server(
            "cordoned",
            json!({ "accepted": true, "cordoned": true, "hardware": cpu("Intel") }),
            &[("zone", "east")],
        ),
    ]
}

fn members(class: Value) -> Result<Vec<String>, Error> {
    let class: ServerClass = serde_json::from_value(class).unwrap();
    Membership::of(&class).map(|membership| membership.status(&servers()).servers_available)
}

fn class(version: &str, spec: &Value) -> Value {
    json!({ "apiVersion": format!("metal.sidero.dev/{version}"), "kind": "ServerClass", "metadata": { "name": "c" }, "spec": spec })
}

#[test]
fn members_by_hardware_labels_and_selector() {
    let all: &[&str] = &["atom", "dualXeon", "ryzen"];
    let labels = |maps: Value| json!({ "qualifiers": { "labelSelectors": maps } });
    let hardware = |entries: Value| json!({ "qualifiers": { "hardware": entries } });
    let selector = |selector: Value| json!({ "selector": selector });
    let expression = |key: &str, operator: &str, values: Value| json!({ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] });
    let cases: Vec<(Value, &[&str])> = vec![
        (json!({}), all),
        (hardware(json!([cpu("Intel")])), &["atom", "dualXeon"]),
        (hardware(json!([cpu("Intel"), cpu("AMD")])), all),
        (hardware(json!([{ "system": { "manufacturer": "QEMU" } }])), &["ryzen"]),
        (labels(json!([{ "common-label": "true" }])), &["atom", "ryzen"]),
        (labels(json!([{ "common-label": "true", "zone": "central" }])), &["atom", "ryzen"]),
        (labels(json!([{ "common-label": "true" }, { "zone": "central" }])), &["atom", "ryzen"]),
        (labels(json!([{ "zone": "central" }])), &["atom"]),
        (labels(json!([{}])), &[]),
        (selector(json!({ "matchLabels": { "common-label": "true" } })), &["atom", "ryzen"]),
        (selector(json!({ "matchLabels": { "common-label": "true", "zone": "central" } })), &["atom"]),
        (selector(expression("common-label", "Exists", Value::Null)), &["atom", "ryzen"]),
        (selector(expression("zone", "In", json!(["east", "west"]))), &["ryzen"]),
        (selector(expression("zone", "NotIn", json!(["east"]))), &["atom", "dualXeon"]),
        (selector(expression("zone", "DoesNotExist", Value::Null)), &["dualXeon"]),
        (
            json!({ "selector": { "matchLabels": { "zone": "east" } }, "qualifiers": { "hardware": [cpu("AMD")] } }),
            &["ryzen"],
        ),
        (
            json!({ "selector": { "matchLabels": { "zone": "nowhere" } }, "qualifiers": { "hardware": [cpu("AMD")] } }),
            &[],
        ),
        (
            json!({ "selector": { "matchLabels": { "zone": "east" } }, "qualifiers": { "hardware": [cpu("Intel")] } }),
            &[],
        ),
        // An empty map has no pair, and an empty list asks for nothing.
        (json!({ "qualifiers": { "hardware": [], "labelSelectors": [] }, "selector": {} }), all),
        // An entry that asks for nothing wants hardware to be known all the same.
        (hardware(json!([{}])), all),
        (labels(json!([{ "zone": "nowhere" }, { "zone": "east" }])), &["ryzen"]),
        (
            json!({ "selector": { "matchLabels": { "common-label": "true" },
                "matchExpressions": [{ "key": "zone", "operator": "In", "values": ["east"] }] } }),
            &["ryzen"],
        ),
    ];
    for (spec, expected) in cases {
        assert_eq!(members(class("v1alpha2", &spec)).unwrap(), expected, "{spec}");
        // Labels and selectors are written alike in the old version.
        if spec.pointer("/qualifiers/hardware").is_none() {
            let old = conversion::convert(class("v1alpha1", &spec), "metal.sidero.dev/v1alpha2").unwrap();
            assert_eq!(members(old).unwrap(), expected, "v1alpha1 {spec}");
        }
    }
}

#[test]
fn classes_written_in_the_old_version_have_the_same_members() {
    let cases: Vec<(Value, &[&str])> = vec![
        (json!({ "qualifiers": { "cpu": [{ "manufacturer": "Intel" }] } }), &["atom", "dualXeon"]),
        (
            json!({ "qualifiers": { "cpu": [{ "manufacturer": "Intel" }, { "manufacturer": "AMD" }] } }),
            &["atom", "dualXeon", "ryzen"],
        ),
        (json!({ "qualifiers": { "systemInformation": [{ "manufacturer": "QEMU" }] } }), &["ryzen"]),
        (json!({ "qualifiers": { "labelSelectors": [{ "zone": "central" }] } }), &["atom"]),
        (
            json!({ "selector": { "matchLabels": { "zone": "east" } }, "qualifiers": { "cpu": [{ "manufacturer": "AMD" }] } }),
            &["ryzen"],
        ),
        (
            json!({ "selector": { "matchLabels": { "zone": "east" } }, "qualifiers": { "cpu": [{ "manufacturer": "Intel" }] } }),
            &[],
        ),
        // Both lists together were a conjunction in the old version; since the conversion any entry suffices (spec §1.6).
        (
            json!({ "qualifiers": { "cpu": [{ "manufacturer": "Intel" }], "systemInformation": [{ "manufacturer": "QEMU" }] } }),
            &["atom", "dualXeon", "ryzen"],
        ),
    ];
    for (spec, expected) in cases {
        let new = conversion::convert(class("v1alpha1", &spec), "metal.sidero.dev/v1alpha2").unwrap();
        assert_eq!(members(new).unwrap(), expected, "{spec}");
    }
}

#[test]
fn invalid_selectors_are_errors() {
    for (operator, values, message) in [
        ("In", json!([]), "operator In of key k needs values"),
        ("NotIn", Value::Null, "operator NotIn of key k needs values"),
        ("Exists", json!(["v"]), "operator Exists of key k takes no values"),
        ("Near", json!(["v"]), "ServerClass c: operator \"Near\" of key k is not one of"),
        ("", Value::Null, "ServerClass c: operator \"\" of key k is not one of"),
    ] {
        let spec = json!({ "selector": { "matchExpressions": [{ "key": "k", "operator": operator, "values": values }] } });
        let error = members(class("v1alpha2", &spec)).unwrap_err().to_string();
        assert!(error.contains(message), "{operator}: {error}");
    }
}

#[test]
fn bound_members_are_apart_and_dirty_ones_count() {
    let mut servers = servers();
    servers[0].status = Some(crate::ServerStatus { in_use: true, ..crate::ServerStatus::default() });
    let class = ServerClass::new("c", ServerClassSpec::default());
    let status = Membership::of(&class).unwrap().status(&servers);
    assert_eq!(status.servers_in_use, ["ryzen"]);
    assert_eq!(status.servers_available, ["atom", "dualXeon"]);
}

#[test]
fn a_filter_matches_by_the_fields_it_has() {
    let dell = json!({ "system": { "manufacturer": "Dell Inc.", "productName": "PowerEdge R630" },
        "compute": { "processorCount": 2, "processors": [{ "manufacturer": "Intel", "coreCount": 8 }, { "manufacturer": "Other" }] },
        "network": { "interfaces": [{ "addresses": ["10.0.0.1/24", "fe80::1/64"] }] } });
    let actual: HardwareInformation = serde_json::from_value(dell).unwrap();
    let cases = [
        (json!({}), true),
        (json!({ "system": {} }), true),
        (json!({ "memory": {} }), false),
        (json!({ "memory": { "moduleCount": 1 } }), false),
        (json!({ "system": { "manufacturer": "" } }), true),
        (json!({ "system": { "manufacturer": "Dell Inc." } }), true),
        (json!({ "system": { "manufacturer": "Dell" } }), false),
        (json!({ "compute": { "processors": [{ "manufacturer": "Intel" }] } }), true),
        (json!({ "compute": { "processors": [{ "manufacturer": "AMD" }] } }), false),
        (json!({ "compute": { "processors": [{ "manufacturer": "Other" }] } }), false),
        (json!({ "compute": { "processors": [{}, { "manufacturer": "Other" }] } }), true),
        (json!({ "compute": { "processors": [{}, {}, {}] } }), false),
        (json!({ "compute": { "processorCount": 2, "processors": [{ "coreCount": 8 }] } }), true),
        (json!({ "compute": { "processorCount": 1 } }), false),
        (json!({ "network": { "interfaces": [{ "addresses": ["", "fe80::1/64"] }] } }), true),
    ];
    for (filter, expected) in cases {
        let parsed: HardwareInformation = serde_json::from_value(filter.clone()).unwrap();
        assert_eq!(parsed.admits(&actual), expected, "{filter}");
    }
}

#[test]
fn a_server_whose_hardware_is_not_known_matches_no_hardware_entry() {
    let bare = server("bare", json!({ "accepted": true }), &[("zone", "east")]);
    let of = |qualifiers: Value| -> ServerClass {
        serde_json::from_value(class("v1alpha2", &json!({ "qualifiers": qualifiers }))).unwrap()
    };
    for (qualifiers, expected) in [
        (json!({}), true),
        (json!({ "hardware": [{}] }), false),
        (json!({ "hardware": [{ "system": {} }] }), false),
        (json!({ "labelSelectors": [{ "zone": "east" }] }), true),
        (json!({ "labelSelectors": [{ "zone": "east" }], "hardware": [{}] }), false),
    ] {
        let class = of(qualifiers.clone());
        assert_eq!(Membership::of(&class).unwrap().admits(&bare), expected, "{qualifiers}");
    }
}

#[test]
fn members_are_sorted_by_the_bytes_of_their_names() {
    let servers: Vec<Server> =
        ["b", "a-2", "a-10", "0"].iter().map(|name| server(name, json!({ "accepted": true }), &[])).collect();
    let any = ServerClass::new("any", ServerClassSpec::default());
    let status = Membership::of(&any).unwrap().status(&servers);
    assert_eq!(status.servers_available, ["0", "a-10", "a-2", "b"]);
}

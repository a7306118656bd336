//! Reviews as the API server sends them, and some that it never would.

// Literals are passed as they stand.
#![allow(clippy::needless_pass_by_value)]

use proptest::prelude::*;

use super::*;

fn review(operation: &str, object: &Value, old: &Value) -> Vec<u8> {
    let request =
        json!({ "uid": "u1", "operation": operation, "name": "n", "object": object, "oldObject": old });
    serde_json::to_vec(&json!({ "apiVersion": API_VERSION, "kind": KIND, "request": request })).unwrap()
}

fn server(spec: Value) -> Value {
    json!({ "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "Server", "metadata": { "name": "n" }, "spec": spec })
}

fn created(subject: Subject, object: &Value) -> Value {
    answer(subject, &review("CREATE", object, &Value::Null)).review["response"].take()
}

#[test]
fn a_server_is_refused_with_upstreams_words_in_upstreams_order() {
    let spec = json!({ "accepted": true, "bootFromDiskMethod": "disk", "pxeMode": "net",
        "configPatches": [{ "op": "add", "path": "/a", "value": 1 }, { "op": "merge", "path": "/b" }] });
    let response = created(Subject::Server, &server(spec));
    assert_eq!((&response["uid"], &response["allowed"]), (&json!("u1"), &json!(false)));
    let status = &response["status"];
    assert_eq!((&status["code"], &status["reason"]), (&json!(422), &json!("Invalid")));
    let boot = r#"Invalid value: "disk": valid values are: ["" "ipxe-exit" "http-404" "ipxe-sanboot"]"#;
    let pxe = r#"Invalid value: "net": valid values are: ["" "bios" "uefi"]"#;
    let op = r#"Invalid value: "merge": valid values are: ["add" "copy" "move" "remove" "replace" "test"]"#;
    assert_eq!(
        status["message"],
        format!(
            "Server.metal.sidero.dev \"n\" is invalid: [spec.bootFromDiskMethod: {boot}, spec.pxeMode: {pxe}, \
             spec.configPatches.1.op: {op}]"
        )
    );
    let cause = |field: &str, message: &str| json!({ "reason": "FieldValueInvalid", "message": message, "field": field });
    assert_eq!(
        status["details"],
        json!({ "name": "n", "group": "metal.sidero.dev", "kind": "Server", "causes": [
            cause("spec.bootFromDiskMethod", boot), cause("spec.pxeMode", pxe), cause("spec.configPatches.1.op", op),
        ] })
    );
}

#[test]
fn one_mistake_stands_without_brackets_and_each_valid_word_passes() {
    let status = created(Subject::Server, &server(json!({ "pxeMode": "UEFI" })))["status"].take();
    assert_eq!(
        status["message"],
        "Server.metal.sidero.dev \"n\" is invalid: spec.pxeMode: Invalid value: \"UEFI\": valid values are: \
         [\"\" \"bios\" \"uefi\"]"
    );
    for spec in [
        json!({}),
        json!({ "pxeMode": "", "bootFromDiskMethod": "" }),
        json!({ "pxeMode": "uefi", "bootFromDiskMethod": "ipxe-sanboot" }),
        json!({ "pxeMode": "bios", "bootFromDiskMethod": "http-404" }),
        json!({ "bootFromDiskMethod": "ipxe-exit", "configPatches": [
            { "op": "add" }, { "op": "copy" }, { "op": "move" }, { "op": "remove" }, { "op": "replace" }, { "op": "test" },
        ] }),
    ] {
        assert_eq!(created(Subject::Server, &server(spec.clone()))["allowed"], true, "{spec}");
    }
}

#[test]
fn an_update_is_judged_by_the_new_object_and_a_deletion_is_always_allowed() {
    let (good, bad) = (server(json!({})), server(json!({ "pxeMode": "x" })));
    let allowed = |operation: &str, object: &Value, old: &Value| {
        answer(Subject::Server, &review(operation, object, old)).review["response"]["allowed"] == true
    };
    assert!(allowed("UPDATE", &good, &bad));
    assert!(!allowed("UPDATE", &bad, &good));
    assert!(allowed("DELETE", &Value::Null, &bad));
}

#[test]
fn a_templates_spec_never_changes_and_the_rest_may() {
    let template =
        |spec: Value, labels: Value| json!({ "metadata": { "name": "n", "labels": labels }, "spec": spec });
    let reference = json!({ "template": { "spec": { "serverClassRef": { "name": "a" } } } });
    let other = json!({ "template": { "spec": { "serverClassRef": { "name": "b" } } } });
    let same = json!({ "template": { "spec": { "providerID": "", "serverClassRef": { "name": "a" }, "serverRef": null } } });
    let judged = |operation: &str, old: &Value, new: &Value| {
        let body =
            review(operation, &template(new.clone(), json!({ "a": "b" })), &template(old.clone(), json!({})));
        answer(Subject::MetalMachineTemplate, &body).review["response"].take()
    };
    assert_eq!(judged("CREATE", &Value::Null, &reference)["allowed"], true);
    assert_eq!(judged("UPDATE", &reference, &same)["allowed"], true);
    assert_eq!(judged("DELETE", &reference, &other)["allowed"], true);
    let refused = judged("UPDATE", &reference, &other);
    assert_eq!(refused["allowed"], false);
    let status = &refused["status"];
    assert_eq!(
        (&status["code"], &status["reason"], &status["message"]),
        (&json!(400), &json!("BadRequest"), &json!("MetalMachineTemplate.Spec is immutable"))
    );
}

#[test]
fn what_looks_wrong_is_allowed_with_a_warning() {
    let secret = json!({ "secretKeyRef": { "namespace": "n", "name": "s", "key": "k" } });
    let class = |spec: Value| json!({ "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "ServerClass", "metadata": { "name": "n" }, "spec": spec });
    let bmc = json!({ "endpoint": "h", "user": "u", "userFrom": secret, "pass": "p", "interface": "serial" });
    let cases = [
        (Subject::Server, server(json!({ "bmc": bmc })), vec!["spec.bmc.userFrom", "spec.bmc.interface"]),
        (
            Subject::Server,
            server(json!({ "bmc": { "endpoint": "h" }, "managementApi": { "endpoint": "h" } })),
            vec!["spec.bmc.user", "spec.bmc.pass", "spec.managementApi"],
        ),
        (
            Subject::Server,
            server(
                json!({ "configPatches": [{ "op": "add", "path": "a" }, { "op": "move", "path": "/a" }] }),
            ),
            vec!["spec.configPatches.0.path", "spec.configPatches.0.value", "spec.configPatches.1.op"],
        ),
        (
            Subject::Server,
            server(json!({ "strategicPatches": ["machine: {}\n---\nkind: X", "- a", "a: [", ""] })),
            vec!["spec.strategicPatches.1", "spec.strategicPatches.2", "spec.strategicPatches.3"],
        ),
        (
            Subject::ServerClass,
            class(json!({ "bootFromDiskMethod": "x",
                "selector": { "matchExpressions": [{ "key": "k", "operator": "In" }] } })),
            vec!["spec.bootFromDiskMethod", "spec.selector"],
        ),
        (Subject::ServerClass, class(json!({})), vec![]),
        (
            Subject::Environment,
            json!({ "spec": { "kernel": { "url": "ftp://a", "sha512": "12" } } }),
            vec!["spec.kernel.url", "spec.kernel.sha512", "spec.initrd.url"],
        ),
        (
            Subject::Environment,
            json!({ "spec": { "kernel": { "url": "http://a" }, "initrd": { "url": "file:///var/lib/bloomery/assets/i" } } }),
            vec![],
        ),
    ];
    for (subject, object, fields) in cases {
        let response = created(subject, &object);
        assert_eq!(response["allowed"], true, "{object}");
        let warnings: Vec<&str> =
            response["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let named: Vec<&str> =
            warnings.iter().filter_map(|warning| warning.split_once(": ").map(|(field, _)| field)).collect();
        assert_eq!(named, fields, "{warnings:?}");
    }
}

#[test]
fn malformed_reviews_are_refused_and_say_why() {
    let uid = |operation: &str| {
        let request = json!({ "uid": "u1", "operation": operation });
        serde_json::to_vec(&json!({ "apiVersion": API_VERSION, "kind": KIND, "request": request })).unwrap()
    };
    let foreign =
        serde_json::to_vec(&json!({ "apiVersion": "admission.k8s.io/v1beta1", "kind": KIND })).unwrap();
    let anonymous =
        serde_json::to_vec(&json!({ "apiVersion": API_VERSION, "kind": KIND, "request": {} })).unwrap();
    for (body, message) in [
        (b"{".to_vec(), "failed to parse the review"),
        (b"[]".to_vec(), "want admission.k8s.io/v1 AdmissionReview"),
        (foreign, "want admission.k8s.io/v1 AdmissionReview"),
        (anonymous, "request.uid is missing"),
        (uid("CONNECT"), "operation \"CONNECT\""),
        (uid("CREATE"), "request.object is missing"),
        (review("UPDATE", &json!({}), &Value::Null), "request.oldObject is missing"),
    ] {
        let answer = answer(Subject::Server, &body);
        assert_eq!(answer.result, "malformed");
        assert_eq!(answer.review["response"]["allowed"], false);
        let status = &answer.review["response"]["status"];
        assert_eq!(status["code"], 400);
        assert!(status["message"].as_str().unwrap().contains(message), "{message}: {status}");
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let keys = prop_oneof![
            Just("spec"),
            Just("bmc"),
            Just("configPatches"),
            Just("strategicPatches"),
            Just("selector"),
            Just("kernel"),
            Just("url"),
            Just("metadata"),
            Just("op"),
            Just("path"),
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((keys, inner), 0..4).prop_map(|fields| {
                Value::Object(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_crash_it(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(answer(Subject::Server, &body).result, "malformed");
    }

    #[test]
    fn no_object_crashes_it(object in json_value(), old in json_value()) {
        for (_, subject) in PATHS {
            for operation in ["CREATE", "UPDATE", "DELETE"] {
                let answer = answer(subject, &review(operation, &json!({ "spec": object }), &json!({ "spec": old })));
                prop_assert!(answer.review["response"]["allowed"].is_boolean());
                let _ = super::answer(subject, &review(operation, &object, &old));
            }
        }
    }
}

//! Patches of configurations.

use bloomery_talosconfig::{Code, Patch, Secret};
use serde_json::json;

use crate::support::{assert_none, cases, client, documents, golden, read};

/// Cases in which 1.13.0 has a defect and this does as later releases: the result is `result.head.yaml`.
const AS_LATER_RELEASES: [&str; 2] = [
    // 1.13.0 appends an empty document.
    "delete-missing-document",
    // 1.13.0 panics.
    "delete-named-document-missing",
];

/// What stands before the library's message in the golden files.
fn without_prefix(text: &str) -> &str {
    let text = text.trim().trim_start_matches("error: ");
    match text.strip_prefix("loading ").and_then(|rest| rest.split_once(": ")) {
        Some((_, message)) => message,
        None => text,
    }
}

#[tokio::test]
async fn results_and_errors_are_those_of_upstream() {
    let client = client();
    let mut differences = Vec::new();
    let names = cases("patch");
    for name in &names {
        let case = golden().join("patch").join(name);
        let base = Secret::from(read(case.join("base.yaml")));
        let patches: Vec<Patch> = (1..10)
            .map(|number| case.join(format!("patch{number}.yaml")))
            .take_while(|path| path.exists())
            .map(|path| Patch::strategic(read(path)))
            .collect();
        let program = if AS_LATER_RELEASES.contains(&name.as_str()) { "head" } else { "113" };
        let result = case.join(format!("result.{program}.yaml"));
        match client.patch(&base, &patches).await {
            Ok(made) if result.exists() => {
                if documents(made.expose()) != documents(&read(result)) {
                    differences.push(format!("{name}: another result"));
                }
            }
            Ok(_) => differences.push(format!("{name}: no error")),
            Err(error) if result.exists() => differences.push(format!("{name}: {error}")),
            Err(error) => {
                let refusal = error.refusal().unwrap();
                let text = read(case.join(format!("error.{program}.txt")));
                if refusal.message.trim() != without_prefix(&text) {
                    differences.push(format!("{name}: {} for {text}", refusal.message));
                }
                if !refusal.field.starts_with("patches[") {
                    differences.push(format!("{name}: the field is {:?}", refusal.field));
                }
            }
        }
    }
    assert_none(&differences);
    assert!(names.len() >= 30, "{}", names.len());
}

#[tokio::test]
async fn the_patch_that_fails_is_named() {
    let client = client();
    let base = Secret::from(read(golden().join("gen/1.13.0/v1.11/worker.yaml")));
    let good = Patch::strategic("machine: {install: {disk: /dev/sda}}");
    let disk = Patch::Json6902(json!([{"op": "add", "path": "/machine/install/disk", "value": "/dev/sda"}]));
    for (bad, code, message) in [
        (Patch::strategic("machine: ["), Code::PatchLoad, "decode error"),
        (Patch::strategic("machine: {nosuch: 1}"), Code::PatchLoad, "unknown keys found"),
        (Patch::Json6902(json!({"op": "add"})), Code::PatchLoad, "cannot unmarshal"),
        (Patch::Json6902(json!(null)), Code::Request, "either json6902 or strategic"),
        (
            Patch::Json6902(json!([{"op": "remove", "path": "/nosuch"}])),
            Code::PatchApply,
            "Unable to remove nonexistent key",
        ),
        (Patch::Json6902(json!([{"op": "frob", "path": "/"}])), Code::PatchApply, "Unexpected kind: frob"),
    ] {
        let patches = [good.clone(), disk.clone(), bad.clone()];
        let error = client.patch(&base, &patches).await.unwrap_err();
        let refusal = error.refusal().unwrap();
        assert_eq!((refusal.code, refusal.field.as_str()), (code, "patches[2]"), "{bad:?}: {refusal:?}");
        assert!(refusal.message.contains(message), "{refusal:?}");
    }
}

#[tokio::test]
async fn what_json_patches_made_is_read_strictly_only_where_a_strategic_one_follows() {
    let client = client();
    let base = Secret::from(read(golden().join("gen/1.13.0/v1.11/worker.yaml")));
    let unknown = Patch::Json6902(json!([{"op": "add", "path": "/machine/nosuch", "value": 1}]));
    let patched = client.patch(&base, std::slice::from_ref(&unknown)).await.unwrap();
    assert_eq!(documents(patched.expose())[0]["machine"]["nosuch"].as_i64(), Some(1));
    let error = client.patch(&base, &[unknown, Patch::strategic("debug: true")]).await.unwrap_err();
    assert!(error.to_string().contains("unknown keys found during decoding"), "{error}");
}

/// (configuration, patches, result): deletions of what is not there, as later releases have them.
const DELETIONS: [(&str, &[&str], &str); 3] = [
    (
        "apiVersion: v1alpha1\nkind: HostnameConfig\nauto: stable",
        &[
            "machine: {network: {$patch: delete}}",
            "apiVersion: v1alpha1\nkind: HostnameConfig\nauto: \"off\"\nhostname: n1",
        ],
        "apiVersion: v1alpha1\nkind: HostnameConfig\nauto: \"off\"\nhostname: n1",
    ),
    (
        "apiVersion: v1alpha1\nkind: KmsgLogConfig\nname: a\nurl: tcp://10.0.0.1:1\n---\napiVersion: v1alpha1\nkind: HostnameConfig\nauto: stable",
        &[
            "apiVersion: v1alpha1\nkind: KmsgLogConfig\nname: a\n$patch: delete\n---\napiVersion: v1alpha1\nkind: KmsgLogConfig\nname: a\n$patch: delete",
        ],
        "apiVersion: v1alpha1\nkind: HostnameConfig\nauto: stable",
    ),
    (
        "apiVersion: v1alpha1\nkind: HostnameConfig\nauto: stable",
        &["apiVersion: v1alpha1\nkind: HostnameConfig\n$patch: delete"],
        "",
    ),
];

#[tokio::test]
async fn deletions_of_what_is_not_there_change_nothing_and_leave_no_empty_document() {
    let client = client();
    for (base, texts, expected) in DELETIONS {
        let patches: Vec<Patch> = texts.iter().map(|text| Patch::strategic(*text)).collect();
        let base = Secret::from(base);
        let outcome = client.patch(&base, &patches).await;
        if expected.is_empty() {
            let error = outcome.unwrap_err();
            let message = "patches[0]: the patch leaves no document of the configuration";
            assert!(error.to_string().ends_with(message), "{error}");
        } else {
            assert_eq!(documents(outcome.unwrap().expose()), documents(expected));
        }
    }
}

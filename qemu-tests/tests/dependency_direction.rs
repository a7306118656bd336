//! The direction of dependencies between the workspace's crates, and what must never reach PID 1 and the agent.
//! It reads `cargo metadata`; it must never be loosened to let one more edge in without a line in DESIGN.md.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test, a broken expectation is the failure")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Every crate of the workspace and the crates of the workspace it may use (DESIGN.md, house rules).
const ALLOWED: &[(&str, &[&str])] = &[
    ("bloomery-base", &[]),
    ("bloomery-sys", &[]),
    ("bloomery-hostnet", &["bloomery-base", "bloomery-sys"]),
    ("bloomery-config", &[]),
    ("bloomery-pairing", &["bloomery-base"]),
    ("bloomery-agent-api", &[]),
    ("bloomery-siderolink-api", &[]),
    ("bloomery-api", &["bloomery-config"]),
    ("bloomery-machineapi", &[]),
    ("bloomery-platform", &["bloomery-base"]),
    ("init", &["bloomery-base", "bloomery-sys", "bloomery-hostnet", "bloomery-config", "bloomery-pairing"]),
    ("appliance", &["bloomery-base", "bloomery-pairing"]),
    ("bloomery-plane", &["bloomery-api", "bloomery-base"]),
    ("bloomery-power", &["bloomery-base"]),
    ("bloomery-talosconfig", &["bloomery-base", "bloomery-sys"]),
    (
        "controllers",
        &[
            "bloomery-api",
            "bloomery-base",
            "bloomery-config",
            "bloomery-machineapi",
            "bloomery-plane",
            "bloomery-platform",
            "bloomery-power",
            "bloomery-sys",
            "bloomery-talosconfig",
        ],
    ),
    (
        "bootsvc",
        &[
            "bloomery-api",
            "bloomery-agent-api",
            "bloomery-base",
            "bloomery-config",
            "bloomery-hostnet",
            "bloomery-plane",
            "bloomery-platform",
            "bloomery-siderolink-api",
            "bloomery-sys",
        ],
    ),
    (
        "siderolink",
        &[
            "bloomery-api",
            "bloomery-base",
            "bloomery-config",
            "bloomery-platform",
            "bloomery-siderolink-api",
            "bloomery-sys",
        ],
    ),
    ("agent", &["bloomery-base", "bloomery-sys", "bloomery-hostnet", "bloomery-agent-api"]),
    ("bloomery-lab", &["bloomery-agent-api", "bloomery-api", "bloomery-base", "bloomery-pairing"]),
    ("bloomery", &["bloomery-api", "bloomery-base", "bloomery-pairing", "bloomery-lab", "bloomery-config"]),
    ("mkimage", &["bloomery-sys"]),
    ("bloomery-testkit", &["bloomery-machineapi", "bloomery-sys"]),
    ("talos-builtins", &["bloomery-sys"]),
    ("talos-media", &["mkimage"]),
    ("bloomery-fuzz", &["agent", "bloomery-agent-api", "bloomery-api", "bloomery-power", "bootsvc"]),
    ("bench", &["bloomery-api", "bloomery-lab", "bloomery-pairing", "bloomery-sys", "bloomery-talosconfig"]),
];

/// Crates that PID 1 and the agent must never hold, not even through another crate: they know no Kubernetes.
const NO_KUBERNETES: &[&str] = &["kube", "kube-client", "kube-core", "k8s-openapi"];

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--filter-platform",
            "x86_64-unknown-linux-gnu",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// Package id → (name, ids of its normal and build dependencies).
fn graph(metadata: &Value) -> BTreeMap<String, (String, Vec<String>)> {
    let names: BTreeMap<&str, &str> =
        metadata["packages"].as_array().unwrap().iter().map(|p| (text(p, "id"), text(p, "name"))).collect();
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    nodes
        .iter()
        .map(|node| {
            let used = node["deps"].as_array().unwrap().iter().filter(|dep| {
                dep["dep_kinds"].as_array().unwrap().iter().any(|kind| text(kind, "kind") != "dev")
            });
            let ids = used.map(|dep| text(dep, "pkg").to_owned()).collect();
            (text(node, "id").to_owned(), (names[text(node, "id")].to_owned(), ids))
        })
        .collect()
}

#[test]
fn crates_depend_in_the_allowed_direction_only() {
    let metadata = metadata();
    let members: BTreeSet<&str> =
        metadata["workspace_members"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let graph = graph(&metadata);
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let mut wrong = Vec::new();
    for id in &members {
        let (name, used) = &graph[*id];
        let Some(may) = allowed.get(name.as_str()) else {
            wrong.push(format!("{name} is not in the list of crates"));
            continue;
        };
        for used in used.iter().filter(|used| members.contains(used.as_str())) {
            let used = &graph[used].0;
            if !may.contains(&used.as_str()) {
                wrong.push(format!("{name} must not use {used}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pid_1_and_the_agent_hold_no_kubernetes() {
    let graph = graph(&metadata());
    for program in ["init", "agent"] {
        let root = graph.iter().find(|(_, (name, _))| name == program).map(|(id, _)| id).unwrap();
        let mut seen = BTreeSet::new();
        let mut todo = vec![root];
        while let Some(id) = todo.pop() {
            if seen.insert(id) {
                todo.extend(&graph[id].1);
            }
        }
        let found: Vec<&str> =
            seen.iter().map(|id| graph[*id].0.as_str()).filter(|name| NO_KUBERNETES.contains(name)).collect();
        assert!(found.is_empty(), "{program} holds {found:?}");
    }
}

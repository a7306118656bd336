//! Tables for reading manifests.

use super::*;

const TWO: &str = "\
# a comment first
---
apiVersion: v1
kind: Namespace
metadata: {name: sidero-system}
---
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: servers.metal.sidero.dev}
spec: {caBundle: '${CA_BUNDLE}'}
";

#[test]
fn documents_are_counted_from_one_and_empty_ones_skipped() {
    let manifests = parse("a.yaml", TWO).unwrap();
    let phases: Vec<_> = manifests.iter().map(Manifest::phase).collect();
    assert_eq!(phases, [Phase::Namespaces, Phase::Definitions]);
    assert_eq!(manifests[0].to_string(), "Namespace sidero-system (document 1 of a.yaml)");
    assert_eq!(
        manifests[1].to_string(),
        "CustomResourceDefinition servers.metal.sidero.dev (document 3 of a.yaml)"
    );
}

#[test]
fn lists_are_taken_apart() {
    let text = "{apiVersion: v1, kind: List, items: [{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: a, namespace: n}}]}";
    let manifests = parse("l.yaml", text).unwrap();
    assert_eq!(manifests.len(), 1);
    assert_eq!(manifests[0].gvk, GroupVersionKind::gvk("rbac.authorization.k8s.io", "v1", "Role"));
    assert_eq!(manifests[0].namespace.as_deref(), Some("n"));
}

#[test]
fn what_is_wrong_is_named_with_file_and_document() {
    let cases = [
        ("kind: A\n---\n- 1\n", "failed to use document 1 of x.yaml: apiVersion is missing or not a text"),
        (
            "{apiVersion: v1, kind: A, metadata: {}}",
            "failed to use document 1 of x.yaml: metadata.name is missing or not a text",
        ),
        (
            "{apiVersion: v1, kind: 7, metadata: {name: a}}",
            "failed to use document 1 of x.yaml: kind is missing or not a text",
        ),
        (
            "{apiVersion: v1, kind: List}",
            "failed to use document 1 of x.yaml: items is missing or not a text",
        ),
        ("a: b: c", "failed to parse document 1 of x.yaml"),
    ];
    for (text, message) in cases {
        assert_eq!(parse("x.yaml", text).unwrap_err().to_string(), message, "{text}");
    }
}

#[test]
fn a_directory_is_read_in_name_order_with_the_ca_put_in() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("20-b.yaml"), TWO).unwrap();
    std::fs::write(
        directory.path().join("10-a.yaml"),
        "{apiVersion: v1, kind: Namespace, metadata: {name: first}}",
    )
    .unwrap();
    std::fs::write(directory.path().join("README"), "not a manifest").unwrap();
    let manifests = read(directory.path(), "QUJD").unwrap();
    let names: Vec<_> = manifests.iter().map(|manifest| manifest.name.as_str()).collect();
    assert_eq!(names, ["first", "sidero-system", "servers.metal.sidero.dev"]);
    assert_eq!(manifests[2].object["spec"]["caBundle"], "QUJD");
}

#[test]
fn a_directory_without_manifests_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(read(directory.path(), "").unwrap_err(), Error::Empty { .. }));
    assert!(matches!(read(&directory.path().join("none"), "").unwrap_err(), Error::List { .. }));
}

#[test]
fn the_rights_of_administrators_come_first() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests");
    let manifests = read(&directory, "").unwrap();
    let first: Vec<_> = manifests.iter().filter(|manifest| manifest.phase() == Phase::Rights).collect();
    let names: Vec<_> = first.iter().map(|manifest| manifest.name.as_str()).collect();
    assert_eq!((Phase::ORDER[0], names), (Phase::Rights, vec!["bloomery:admins"]));
    assert_eq!(first[0].object["subjects"][0]["name"], "bloomery:admins");
}

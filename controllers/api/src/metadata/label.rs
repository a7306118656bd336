//! The patch that labels a node with the name of its Server, by which the node is found again.
//!
//! It reads of the configuration what the patch depends on, and leaves the change to Talos's library.

use serde::Deserialize;
use serde_json::json;
use serde_norway::Value;

use super::failure::{Failure, Stage};
use super::patches::{Change, Origin, Patch};

/// Key of the label.
pub const LABEL: &str = "metal.sidero.dev/uuid";
/// What the kubelet is told labels by.
const ARGUMENT: &str = "node-labels";
/// The document that holds labels where it exists; it conflicts with the kubelet's argument.
const NODE_DOCUMENT: &str = "KubeNodeConfig";
/// Version of the first document, and of all documents of Talos.
const VERSION: &str = "v1alpha1";
/// What begins a further document, as upstream looks for it.
const SEPARATOR: &str = "---\n";
/// Signs of a value that Go's YAML library shows in an error, and where it cuts a longer one.
const SHOWN: usize = 10;
const CUT: usize = 7;
/// The type that upstream reads into, in the words of Go.
const GO_TYPE: &str = "struct { Version string \"yaml:\\\"version\\\"\"; Machine *struct { Kubelet *struct { ExtraArgs \
                       map[string]string \"yaml:\\\"extraArgs\\\"\" } \"yaml:\\\"kubelet\\\"\" } \"yaml:\\\"machine\\\"\" }";

/// What is read of the first document.
#[derive(Default)]
struct First {
    version: Option<String>,
    machine: bool,
    kubelet: bool,
    extra_args: bool,
    node_labels: Option<String>,
}

impl First {
    fn of(document: &Value) -> Self {
        let (machine, kubelet, args) = (&document["machine"], "kubelet", "extraArgs");
        let (kubelet, args) = (&machine[kubelet], &machine[kubelet][args]);
        Self {
            version: document["version"].as_str().map(str::to_owned),
            machine: !machine.is_null(),
            kubelet: !kubelet.is_null(),
            extra_args: !args.is_null(),
            node_labels: args[ARGUMENT].as_str().map(str::to_owned),
        }
    }
}

/// The patch that labels the node of this Server.
pub fn label(config: &str, server: &str) -> Result<Patch, Failure> {
    let documents = documents(config)?;
    let first = match documents.first() {
        Some(first @ (Value::Mapping(_) | Value::Null)) => First::of(first),
        Some(other) => return Err(unreadable(&unfit(other))),
        None => First::default(),
    };
    if first.version.as_deref() != Some(VERSION) {
        return Err(Failure::internal(Stage::Label, "unknown config type"));
    }
    let of_node = documents.iter().any(|document| {
        document["kind"].as_str() == Some(NODE_DOCUMENT) && document["apiVersion"].as_str() == Some(VERSION)
    });
    let label = match &first.node_labels {
        Some(labels) => format!("{labels},{LABEL}={server}"),
        None => format!("{LABEL}={server}"),
    };
    let change = if of_node {
        Change::Strategic(format!(
            "apiVersion: {VERSION}\nkind: {NODE_DOCUMENT}\nlabels:\n    {LABEL}: {server}\n"
        ))
    } else if config.contains(SEPARATOR) {
        let label = quoted(&label);
        Change::Strategic(format!(
            "machine:\n    kubelet:\n        extraArgs:\n            {ARGUMENT}: {label}\n"
        ))
    } else {
        by_operation(&first, &label)
    };
    Ok(Patch::of_plane(Origin::NodeLabel, change))
}

/// Operations make no parents: the first that is missing is added with what belongs into it.
fn by_operation(first: &First, label: &str) -> Change {
    let args = json!({ ARGUMENT: label });
    let (path, value) = match (first.machine, first.kubelet, first.extra_args) {
        (false, _, _) => ("/machine", json!({ "kubelet": { "extraArgs": args } })),
        (true, false, _) => ("/machine/kubelet", json!({ "extraArgs": args })),
        (true, true, false) => ("/machine/kubelet/extraArgs", args),
        (true, true, true) => ("/machine/kubelet/extraArgs/node-labels", json!(label)),
    };
    Change::Json6902(json!([{ "op": "add", "path": path, "value": value }]))
}

/// Labels are words, dots, slashes, commas and equals signs: only others need quotes.
fn quoted(label: &str) -> String {
    let is_plain = label.chars().all(|sign| sign.is_ascii_alphanumeric() || "-_./,=".contains(sign));
    if is_plain { label.to_owned() } else { format!("'{}'", label.replace('\'', "''")) }
}

fn documents(config: &str) -> Result<Vec<Value>, Failure> {
    let read = serde_norway::Deserializer::from_str(config).map(Value::deserialize);
    read.collect::<Result<_, _>>().map_err(|error| unreadable(&format!("yaml: {error}")))
}

fn unreadable(why: &str) -> Failure {
    Failure::internal(Stage::Label, format!("failure creating config struct: {why}"))
        .told("the bootstrap data cannot be read as a machine configuration")
}

/// What Go's YAML library says of a document that is no mapping.
fn unfit(document: &Value) -> String {
    let of = |tag: &str, value: &str| {
        let cut = value.char_indices().nth(CUT).map_or(value.len(), |(end, _)| end);
        let value = if value.len() > SHOWN { format!("{}...", &value[..cut]) } else { value.to_owned() };
        format!("!!{tag} `{value}`")
    };
    let what = match document {
        Value::Sequence(_) => "!!seq".to_owned(),
        Value::Bool(value) => of("bool", &value.to_string()),
        Value::Number(value) if value.is_f64() => of("float", &value.to_string()),
        Value::Number(value) => of("int", &value.to_string()),
        Value::String(value) => of("str", value),
        Value::Mapping(_) | Value::Null | Value::Tagged(_) => "!!map".to_owned(),
    };
    format!("yaml: unmarshal errors:\n  line 1: cannot unmarshal {what} into {GO_TYPE}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str =
        "version: v1alpha1\nmachine: {}\n---\napiVersion: v1alpha1\nkind: KubeNodeConfig\nlabels:\n  a: b\n";

    #[test]
    fn the_label_goes_where_the_configuration_has_its_labels() {
        for (config, expected) in [
            (
                "version: v1alpha1\nmachine:\n",
                r#"[{"op":"add","path":"/machine","value":{"kubelet":{"extraArgs":{"node-labels":"metal.sidero.dev/uuid=u"}}}}]"#,
            ),
            (
                "version: v1alpha1\nmachine: {type: worker}\n",
                r#"[{"op":"add","path":"/machine/kubelet","value":{"extraArgs":{"node-labels":"metal.sidero.dev/uuid=u"}}}]"#,
            ),
            (
                "version: v1alpha1\nmachine: {kubelet: {image: x}}\n",
                r#"[{"op":"add","path":"/machine/kubelet/extraArgs","value":{"node-labels":"metal.sidero.dev/uuid=u"}}]"#,
            ),
            (
                "version: v1alpha1\nmachine: {kubelet: {extraArgs: {foo: bar}}}\n",
                r#"[{"op":"add","path":"/machine/kubelet/extraArgs/node-labels","value":"metal.sidero.dev/uuid=u"}]"#,
            ),
            (
                "version: v1alpha1\nmachine: {kubelet: {extraArgs: {node-labels: foo=bar}}}\n",
                r#"[{"op":"add","path":"/machine/kubelet/extraArgs/node-labels","value":"foo=bar,metal.sidero.dev/uuid=u"}]"#,
            ),
            (
                "version: v1alpha1\n---\napiVersion: v1alpha1\nkind: HostnameConfig\nhostname: a\n",
                "machine:\n    kubelet:\n        extraArgs:\n            node-labels: metal.sidero.dev/uuid=u\n",
            ),
            // Talos's newer form: the kubelet's argument would be refused beside it.
            (NODE, "apiVersion: v1alpha1\nkind: KubeNodeConfig\nlabels:\n    metal.sidero.dev/uuid: u\n"),
        ] {
            assert_eq!(label(config, "u").unwrap().text(), expected, "{config}");
        }
    }

    #[test]
    fn what_is_no_configuration_has_upstreams_answer() {
        for (config, expected) in [
            ("", "unknown config type"),
            ("version: v1beta1\n", "unknown config type"),
            ("apiVersion: v1alpha1\nkind: HostnameConfig\n---\nversion: v1alpha1\n", "unknown config type"),
        ] {
            assert_eq!(label(config, "u").unwrap_err().message, expected, "{config}");
        }
        for config in ["a: [", "hello", "- a\n", "12345678901234"] {
            let failure = label(config, "u").unwrap_err();
            assert!(failure.message.starts_with("failure creating config struct: yaml: "), "{failure:?}");
            assert!(!failure.told.contains("123"), "what a person is told holds nothing of it: {failure:?}");
        }
        let long = label("a long text", "u").unwrap_err().message;
        assert!(long.contains("cannot unmarshal !!str `a long ...` into struct { Version string "), "{long}");
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(config in "(version: v1alpha1\n|machine:|---\n| {0,4}kubelet: |extraArgs|[a-z]:|\\[|é|\"){0,12}") {
            let _ = label(&config, "u");
        }
    }
}

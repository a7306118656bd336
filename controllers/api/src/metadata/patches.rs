//! The patches of a configuration in their order, each with where it comes from.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::failure::{Failure, Stage};
use crate::patch::ConfigPatch;
use crate::server::Server;
use crate::server_class::ServerClass;

/// Where a patch comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind", content = "name")]
pub enum Origin {
    /// The class of that name.
    ServerClass(String),
    /// The Server of that name.
    Server(String),
    /// The plane: the label that ties the node to its Server.
    NodeLabel,
    /// The plane: the documents of SideroLink.
    SideroLink,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ServerClass(name) => write!(formatter, "ServerClass {name}"),
            Self::Server(name) => write!(formatter, "Server {name}"),
            Self::NodeLabel => formatter.write_str("the label of the node"),
            Self::SideroLink => formatter.write_str("the documents of SideroLink"),
        }
    }
}

/// A patch by where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The object.
    pub origin: Origin,
    /// The field of its spec: `configPatches`, all of them as one patch, or `strategicPatches[INDEX]`. Empty for the
    /// plane's own.
    pub field: String,
}

impl std::fmt::Display for Provenance {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.field.is_empty() {
            self.origin.fmt(formatter)
        } else {
            write!(formatter, "{} of {}", self.field, self.origin)
        }
    }
}

/// What a patch does.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A list of operations (RFC 6902).
    Json6902(Value),
    /// A strategic merge patch of Talos, or a list of operations as a text.
    Strategic(String),
}

/// One patch.
#[derive(Clone, Debug, PartialEq)]
pub struct Patch {
    /// Where it comes from.
    pub provenance: Provenance,
    /// What it does.
    pub change: Change,
}

/// What Talos's library does not like about a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It cannot be read.
    Load,
    /// It does not fit the configuration.
    Apply,
}

impl Patch {
    pub(super) fn of_plane(origin: Origin, change: Change) -> Self {
        Self { provenance: Provenance { origin, field: String::new() }, change }
    }

    /// The text that upstream shows of it.
    pub fn text(&self) -> String {
        match &self.change {
            Change::Json6902(list) => go_json(list),
            Change::Strategic(text) => text.clone(),
        }
    }

    /// What is answered because of it; `said` is the library's own word.
    pub fn failure(&self, fault: Fault, said: &str) -> Failure {
        let stage = match self.provenance.origin {
            Origin::ServerClass(_) | Origin::Server(_) => Stage::Patches,
            Origin::NodeLabel => Stage::Label,
            Origin::SideroLink => Stage::SideroLink,
        };
        let (message, what) = match fault {
            Fault::Load => (format!("failure loading patches from server: {said}"), "read"),
            Fault::Apply => {
                (format!("failure applying patches {} to machine config: {said}", self.text()), "applied")
            }
        };
        // Of the plane's own patches it is the configuration that is to blame: what the library quotes is of it.
        let first = said.lines().next().unwrap_or_default();
        let quoted = if stage == Stage::Patches { said.trim_end() } else { first };
        let told = format!("{} cannot be {what}: {quoted}", self.provenance);
        Failure::internal(stage, message).told(told)
    }
}

/// The patches of class and Server, in the order in which they are applied.
pub fn of_objects(class: Option<&ServerClass>, server: &Server) -> Vec<Patch> {
    let name = |name: &Option<String>| name.clone().unwrap_or_default();
    let mut all = Vec::new();
    if let Some(class) = class {
        let origin = Origin::ServerClass(name(&class.metadata.name));
        append(&mut all, &origin, &class.spec.config_patches, &class.spec.strategic_patches);
    }
    let origin = Origin::Server(name(&server.metadata.name));
    append(&mut all, &origin, &server.spec.config_patches, &server.spec.strategic_patches);
    all
}

fn append(all: &mut Vec<Patch>, origin: &Origin, operations: &[ConfigPatch], strategic: &[String]) {
    let patch =
        |field: String, change| Patch { provenance: Provenance { origin: origin.clone(), field }, change };
    if !operations.is_empty() {
        let operations = operations.iter().map(operation).collect();
        all.push(patch("configPatches".to_owned(), Change::Json6902(Value::Array(operations))));
    }
    for (index, text) in strategic.iter().enumerate() {
        all.push(patch(format!("strategicPatches[{index}]"), Change::Strategic(text.clone())));
    }
}

/// An absent value is null: upstream's type has no other.
fn operation(patch: &ConfigPatch) -> Value {
    let ConfigPatch { op, path, value } = patch;
    json!({ "op": op, "path": path, "value": value })
}

/// JSON as Go writes it: without spaces, and with the signs escaped that HTML gives a meaning.
fn go_json(value: &Value) -> String {
    let mut text = String::new();
    for sign in value.to_string().chars() {
        match sign {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let escaped = format!("\\u{:04x}", u32::from(sign));
                text.push_str(&escaped);
            }
            _ => text.push(sign),
        }
    }
    text
}

/// The three documents of SideroLink as one patch, in the order of fields that upstream writes.
pub fn sidero_link(documents: &[Value]) -> Patch {
    let texts: Vec<String> = documents.iter().map(document).collect();
    Patch::of_plane(Origin::SideroLink, Change::Strategic(texts.join("---\n")))
}

fn document(document: &Value) -> String {
    const FIRST: [&str; 3] = ["apiVersion", "kind", "name"];
    let fields = document.as_object();
    let first = FIRST.iter().filter_map(|key| Some((*key, fields?.get(*key)?)));
    let others = fields.into_iter().flatten().map(|(key, value)| (key.as_str(), value));
    let others = others.filter(|(key, _)| !FIRST.contains(key));
    let line = |(key, value): (&str, &Value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        // The only sign in these values that begins something else in YAML.
        if text.starts_with('[') { format!("{key}: '{text}'\n") } else { format!("{key}: {text}\n") }
    };
    first.chain(others).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(op: &str, path: &str, value: Option<Value>) -> ConfigPatch {
        ConfigPatch { op: op.to_owned(), path: path.to_owned(), value }
    }

    #[test]
    fn the_class_comes_before_the_server_and_operations_before_documents() {
        let mut class = ServerClass::new("c", <_>::default());
        class.spec.config_patches = vec![patch("add", "/a", Some(json!(1))), patch("remove", "/b", None)];
        class.spec.strategic_patches = vec!["one".to_owned(), "two".to_owned()];
        let mut server = Server::new("s", <_>::default());
        server.spec.strategic_patches = vec!["three".to_owned()];
        server.spec.config_patches = vec![patch("test", "/c", Some(Value::Null))];
        let shown = |patches: Vec<Patch>| -> Vec<(String, String)> {
            patches.iter().map(|patch| (patch.provenance.to_string(), patch.text())).collect()
        };
        let expected = [
            (
                "configPatches of ServerClass c",
                r#"[{"op":"add","path":"/a","value":1},{"op":"remove","path":"/b","value":null}]"#,
            ),
            ("strategicPatches[0] of ServerClass c", "one"),
            ("strategicPatches[1] of ServerClass c", "two"),
            ("configPatches of Server s", r#"[{"op":"test","path":"/c","value":null}]"#),
            ("strategicPatches[0] of Server s", "three"),
        ]
        .map(|(place, text)| (place.to_owned(), text.to_owned()));
        assert_eq!(shown(of_objects(Some(&class), &server)), expected);
        assert_eq!(shown(of_objects(None, &server)), expected[3..]);
        assert!(of_objects(None, &Server::new("s", <_>::default())).is_empty(), "empty lists are no patches");
    }

    #[test]
    fn a_failure_has_upstreams_text_and_names_the_patch() {
        let mut server = Server::new("s", <_>::default());
        server.spec.config_patches = vec![patch("add", "/a", Some(json!("<&>\u{2028}")))];
        let [one] = of_objects(None, &server).try_into().unwrap();
        let failure = one.failure(Fault::Apply, "no\n");
        assert_eq!(
            failure.message,
            "failure applying patches [{\"op\":\"add\",\"path\":\"/a\",\"value\":\"\\u003c\\u0026\\u003e\\u2028\"}] to machine config: no\n"
        );
        assert_eq!(failure.told, "configPatches of Server s cannot be applied: no");
        assert_eq!((failure.code, failure.stage), (500, Stage::Patches));
        assert_eq!(one.failure(Fault::Load, "no").message, "failure loading patches from server: no");
    }

    #[test]
    fn the_documents_of_sidero_link_are_written_as_upstream_writes_them() {
        let patch = sidero_link(&[
            json!({ "apiVersion": "v1alpha1", "kind": "EventSinkConfig", "endpoint": "[fd00::1]:4002" }),
            json!({ "apiVersion": "v1alpha1", "kind": "KmsgLogConfig", "url": "tcp://[fd00::1]:4001", "name": "n" }),
        ]);
        assert_eq!(
            patch.text(),
            "apiVersion: v1alpha1\nkind: EventSinkConfig\nendpoint: '[fd00::1]:4002'\n---\n\
             apiVersion: v1alpha1\nkind: KmsgLogConfig\nname: n\nurl: tcp://[fd00::1]:4001\n"
        );
    }
}

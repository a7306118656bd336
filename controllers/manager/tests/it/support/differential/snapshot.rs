//! What a namespace has, in a form that does not depend on the plane: without numbers, times and random parts.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use serde_json::{Map, Value, json};

use super::certificate;
use crate::support::bench::Bench;
use crate::support::bootstrap::documents;
use crate::support::example;

/// Key of a text's YAML documents, beside [`TEXT`].
pub(super) const DOCUMENTS: &str = "documents";
/// Key of a text.
pub(super) const TEXT: &str = "text";
/// What random parts of names are made of.
const LETTERS: &str = "bcdfghjklmnpqrstvwxz2456789";
/// An address of a fake node, and of the API server of the test.
const LOOPBACK: &str = "127.0.0.1:";
/// Keys that are random, or count what each program did in its own way.
const DROPPED: [&str; 8] = [
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "generation",
    "managedFields",
    "namespace",
    "lastTransitionTime",
    "lastUpdated",
];

/// Which secrets of a cluster are each plane's own; the others were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fresh {
    /// None.
    No,
    /// The authority of Kubernetes: that of the plane's API server.
    Authority,
    /// All.
    Secrets,
}

/// All objects of a namespace that a provider makes or changes, by kind and name.
pub(crate) async fn snapshot(bench: &Bench, namespace: &str, fresh: Fresh) -> Value {
    let mut all = Vec::new();
    for (group, version, kind) in [
        ("", "v1", "Secret"),
        ("cluster.x-k8s.io", "v1beta2", "Cluster"),
        ("cluster.x-k8s.io", "v1beta2", "Machine"),
        ("bootstrap.cluster.x-k8s.io", "v1alpha3", "TalosConfig"),
        ("controlplane.cluster.x-k8s.io", "v1alpha3", "TalosControlPlane"),
        (example::GROUP, example::VERSION, "ExampleMachine"),
        (example::GROUP, example::VERSION, "ExampleMachineTemplate"),
    ] {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api: Api<DynamicObject> = Api::namespaced_with(bench.client.clone(), namespace, &resource);
        let found = match api.list(&ListParams::default()).await {
            Ok(found) => found.items,
            // The kind is of a provider that is not there.
            Err(kube::Error::Api(status)) if status.code == 404 => continue,
            Err(error) => panic!("{kind}: {error}"),
        };
        for object in found {
            let mut value = serde_json::to_value(&object).unwrap();
            value["kind"] = json!(kind);
            if !is_of_core(&value) {
                all.push(value);
            }
        }
    }
    let there: BTreeSet<String> = all.iter().map(|object| text(object, "/metadata/uid")).collect();
    all.retain(|object| !is_garbage(object, &there));
    let renamed = names(&all);
    let uids = all.iter().map(|object| (text(object, "/metadata/uid"), title(object))).collect();
    let mut found = Map::new();
    for object in all {
        let title = place(&renamed, &title(&object));
        let plain = Plain { renamed: &renamed, uids: &uids, fresh }.of(object);
        found.insert(title, plain);
    }
    Value::Object(found)
}

/// Whether all owners are gone: no garbage collector runs in the test.
fn is_garbage(object: &Value, there: &BTreeSet<String>) -> bool {
    let owners = object["metadata"]["ownerReferences"].as_array().filter(|owners| !owners.is_empty());
    owners.is_some_and(|owners| owners.iter().all(|owner| !there.contains(&text(owner, "/uid"))))
}

/// Cluster API makes the kubeconfig of a Cluster without a control plane.
fn is_of_core(object: &Value) -> bool {
    let owners = object["metadata"]["ownerReferences"].as_array();
    text(object, "/metadata/name").ends_with("-kubeconfig")
        && owners.is_some_and(|all| all.iter().any(|one| one["kind"] == "Cluster"))
}

fn text(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn title(object: &Value) -> String {
    format!("{} {}", text(object, "/kind"), text(object, "/metadata/name"))
}

/// Names that a control plane made up, and what stands for them: the machines in the order in which they were made.
fn names(all: &[Value]) -> Vec<(String, String)> {
    let is_made = |object: &&Value| {
        let owners = object["metadata"]["ownerReferences"].as_array();
        object["kind"] == "Machine"
            && owners.is_some_and(|all| all.iter().any(|one| one["kind"] == "TalosControlPlane"))
    };
    let mut machines: Vec<_> = all.iter().filter(is_made).collect();
    machines
        .sort_by_key(|object| ["/metadata/creationTimestamp", "/metadata/name"].map(|at| text(object, at)));
    let mut renamed: Vec<(String, String)> = Vec::new();
    for (number, machine) in machines.iter().enumerate() {
        for (what, at) in [
            ("machine", "/metadata/name"),
            ("config", "/spec/bootstrap/configRef/name"),
            ("infrastructure", "/spec/infrastructureRef/name"),
        ] {
            let name = text(machine, at);
            let (base, random) = name.rsplit_once('-').unwrap_or_default();
            let is_random = random.len() == 5 && random.chars().all(|letter| LETTERS.contains(letter));
            assert!(is_random, "{name:?} is not made as Kubernetes makes names");
            if !renamed.iter().any(|(known, _)| *known == name) {
                renamed.push((name.clone(), format!("{base}-<{what} {number}>")));
            }
        }
    }
    renamed
}

fn rename(renamed: &[(String, String)], text: &str) -> String {
    renamed.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// Where something stands: a configuration under a name of its own, also where it has the name of its Machine.
fn place(renamed: &[(String, String)], key: &str) -> String {
    let key = rename(renamed, key);
    if key.starts_with("TalosConfig ") { key.replace("<machine ", "<config ") } else { key }
}

struct Plain<'a> {
    renamed: &'a [(String, String)],
    /// Titles of objects by their uid.
    uids: &'a BTreeMap<String, String>,
    fresh: Fresh,
}

impl Plain<'_> {
    fn of(&self, mut object: Value) -> Value {
        let generation = object["metadata"]["generation"].clone();
        if let Some(seen) = object.pointer_mut("/status/observedGeneration") {
            *seen = if *seen == generation { json!("that of the spec") } else { json!("an older one") };
        }
        let kind = text(&object, "/kind");
        let map = object.as_object_mut().unwrap();
        match kind.as_str() {
            "Secret" => {
                let type_ = map["type"].as_str().unwrap_or_default().to_owned();
                if let Some(Value::Object(data)) = map.get_mut("data") {
                    data.iter_mut().for_each(|(key, value)| *value = self.secret(&type_, key, value));
                }
            }
            // What Cluster API makes of the provider's words; the rest is given, or its own.
            "Cluster" => {
                map.remove("spec");
                keep(map, "status", &["initialization", "controlPlane"]);
            }
            "Machine" => {
                keep(map, "status", &["initialization", "conditions"]);
                keep_known(map);
            }
            _ => {}
        }
        if let Some(deleted) = map["metadata"].as_object_mut().unwrap().get_mut("deletionTimestamp") {
            *deleted = json!("set");
        }
        self.value(&mut object);
        object
    }

    fn secret(&self, type_: &str, key: &str, value: &Value) -> Value {
        let octets = STANDARD.decode(value.as_str().unwrap()).unwrap();
        let text = String::from_utf8(octets).unwrap();
        if self.fresh == Fresh::Secrets && key == "value" && type_ == "Opaque" {
            // Its texts differ by their secrets.
            return json!({ DOCUMENTS: documents(&text).into_iter().map(masked).collect::<Vec<_>>() });
        }
        match key {
            "talosconfig" => self.client_config(&text),
            "value" if type_ == "cluster.x-k8s.io/secret" => self.client_config(&text),
            "bundle" if self.fresh == Fresh::Secrets => masked(documents(&text).remove(0)),
            "tls.crt" | "tls.key" if self.fresh != Fresh::No => certificate::describe(&text).unwrap(),
            "value" => json!({ TEXT: text.clone(), DOCUMENTS: documents(&text) }),
            _ => json!(text),
        }
    }

    /// Each has a key of its own.
    fn client_config(&self, text: &str) -> Value {
        let mut config = documents(text).remove(0);
        describe(&mut config, self.fresh);
        config
    }

    fn value(&self, value: &mut Value) {
        match value {
            Value::Object(map) => {
                for key in DROPPED {
                    map.remove(key);
                }
                if let Some(Value::String(text)) = map.get("talosConfig") {
                    let config = self.client_config(text);
                    map.insert("talosConfig".to_owned(), config);
                }
                self.lists(map);
                let entries: Vec<_> = std::mem::take(map).into_iter().collect();
                for (key, mut value) in entries {
                    self.value(&mut value);
                    map.insert(place(self.renamed, &key), value);
                }
            }
            Value::Array(all) => all.iter_mut().for_each(|value| self.value(value)),
            Value::String(text) => *text = without_ports(&rename(self.renamed, text)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Conditions and owners are found by their names: each program has an order of its own.
    fn lists(&self, map: &mut Map<String, Value>) {
        if let Some(Value::Array(all)) = map.get("conditions") {
            let named = all.iter().map(|one| (text(one, "/type"), one.clone())).collect();
            map.insert("conditions".to_owned(), Value::Object(named));
        }
        if let Some(Value::Array(all)) = map.get("ownerReferences") {
            let named = all.iter().map(|one| {
                let title = format!("{} {}", text(one, "/kind"), text(one, "/name"));
                // The uid is that object's.
                let known = self.uids.get(&text(one, "/uid"));
                let name = if known == Some(&title) { title } else { format!("{title}, another one") };
                (name, one.clone())
            });
            let named = named.collect();
            map.insert("ownerReferences".to_owned(), Value::Object(named));
        }
    }
}

/// Leaves these keys of a field.
fn keep(map: &mut Map<String, Value>, field: &str, keys: &[&str]) {
    if let Some(Value::Object(field)) = map.get_mut(field) {
        field.retain(|key, _| keys.contains(&key.as_str()));
    }
}

/// Of a Machine's conditions counts whether these hold: the words are those of either contract.
fn keep_known(machine: &mut Map<String, Value>) {
    let known = ["BootstrapConfigReady", "InfrastructureReady", "UpToDate"];
    let Some(Value::Object(status)) = machine.get_mut("status") else { return };
    let Some(Value::Array(all)) = status.remove("conditions") else { return };
    for one in all.iter().filter(|one| known.contains(&one["type"].as_str().unwrap())) {
        status.insert(text(one, "/type"), one["status"].clone());
    }
}

/// Keys and certificates say what these are; those of an authority that was given stay.
fn describe(value: &mut Value, fresh: Fresh) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let is_given = match key.as_str() {
                    "ca" => fresh != Fresh::Secrets,
                    "certificate-authority-data" => fresh == Fresh::No,
                    _ => false,
                };
                if let (Value::String(text), false) = (&*value, is_given) {
                    if let Some(described) = certificate::describe(text) {
                        *value = described;
                    }
                } else {
                    describe(value, fresh);
                }
            }
        }
        Value::Array(all) => all.iter_mut().for_each(|value| describe(value, fresh)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A bundle, or a configuration with what is of one: secrets by their form.
fn masked(mut value: Value) -> Value {
    fn mask(key: &str, value: &mut Value) {
        match value {
            Value::Object(map) => map.iter_mut().for_each(|(key, value)| mask(key, value)),
            Value::Array(all) => all.iter_mut().for_each(|value| mask(key, value)),
            Value::String(text) => {
                let lower = key.to_lowercase();
                if let Some(described) = certificate::describe(text) {
                    *value = described;
                } else if ["id", "secret", "token", "bootstraptoken"].contains(&lower.as_str())
                    || lower.ends_with("encryptionsecret")
                {
                    *value = json!(form(text));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    mask("", &mut value);
    value
}

/// A secret's length and what stands between its letters.
fn form(text: &str) -> String {
    let letters =
        |letter: char| if letter.is_ascii_alphanumeric() || "+/-_".contains(letter) { 'x' } else { letter };
    text.chars().map(letters).collect()
}

/// `127.0.0.1:<port>` of each plane's own.
fn without_ports(text: &str) -> String {
    let mut parts = text.split(LOOPBACK);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(LOOPBACK);
        out.push('?');
        out.push_str(part.trim_start_matches(|letter: char| letter.is_ascii_digit()));
    }
    out
}

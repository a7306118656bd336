//! Configurations beside what upstream's metadata server gave: spec/sidero.md §10.1, the golden cases, and `C1`-`C7` of
//! `provider-cases.md`.

use bloomery_api::contract::Machine;
use bloomery_api::metadata::failure::Failure;
use bloomery_api::metadata::patches::Origin;
use bloomery_api::metadata::rendered::Rendered;
use bloomery_api::metadata::sources::{Data, Owner, complete, data_secret};
use bloomery_api::siderolink::documents;
use bloomery_api::{MetalMachine, Server, ServerBinding};
use bloomery_controllers::metadata::render::{Plan, render};
use bloomery_testkit::golden;
use k8s_openapi::api::core::v1::Secret;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use serde_norway::Value as Yaml;

use crate::support::controllers::talos;

/// What upstream answers.
type Answer = Result<String, (u16, String)>;

/// The objects of one case.
#[derive(Default)]
struct Objects(Vec<Value>);

impl Objects {
    fn of_kind<K: DeserializeOwned>(&self, kind: &str) -> Option<K> {
        let found = self.0.iter().find(|object| object["kind"] == kind)?;
        Some(serde_json::from_value(found.clone()).unwrap())
    }

    async fn rendered(&self, endpoint: &str, address: &str) -> Rendered {
        match self.plan(endpoint, address) {
            Ok(plan) => render(&talos(), &plan).await.unwrap(),
            Err(failure) => Rendered::failed(failure, Vec::new()),
        }
    }

    fn plan(&self, endpoint: &str, address: &str) -> Result<Plan, Failure> {
        let binding: ServerBinding = self.of_kind("ServerBinding").unwrap();
        let metal_machine: Option<MetalMachine> = self.of_kind("MetalMachine");
        let machine: Option<Machine> = self.of_kind("Machine");
        let owners = metal_machine.as_ref().and_then(|machine| machine.metadata.owner_references.clone());
        let named = owners.unwrap_or_default().first().map(|owner| owner.name.clone());
        let owner = match (&named, &machine) {
            (None, _) => Owner::None,
            (Some(_), Some(machine)) => Owner::Found(machine),
            (Some(name), None) => Owner::Missing(name),
        };
        let place = data_secret(&binding, metal_machine.as_ref(), owner)?;
        let secret: Option<Secret> = self.of_kind("Secret");
        let value = secret.as_ref().map(|secret| secret.data.as_ref().and_then(|data| data.get("value")));
        let value = value.map(|value| value.map(|value| String::from_utf8(value.0.clone()).unwrap()));
        let data = match &value {
            None => Data::Missing,
            Some(None) => Data::NoValue,
            Some(Some(text)) => Data::Value(text),
        };
        let (server, class): (Option<Server>, _) = (self.of_kind("Server"), self.of_kind("ServerClass"));
        let found = complete(&binding, &place, data, server.as_ref(), class.as_ref())?;
        Ok(Plan {
            bootstrap: found.bootstrap.to_owned().into(),
            server: found.server.clone(),
            class: found.class.cloned(),
            documents: documents(endpoint, address.parse().unwrap()),
        })
    }
}

fn answer(rendered: Rendered) -> Answer {
    match rendered.outcome {
        Ok((config, _)) => Ok(config),
        Err(failure) => Err((failure.code, failure.message)),
    }
}

fn documents_of(text: &str) -> Vec<Yaml> {
    let read =
        serde_norway::Deserializer::from_str(text).map(|document| Yaml::deserialize(document).unwrap());
    read.filter(|document| !document.is_null()).collect()
}

/// `cluster: null`, `type: ""` and the like are what a re-encoding by upstream's types adds.
fn without_empty(value: &Yaml) -> Yaml {
    match value {
        Yaml::Mapping(fields) => {
            let fields = fields.iter().map(|(key, value)| (key.clone(), without_empty(value)));
            let is_empty = |value: &Yaml| match value {
                Yaml::Null => true,
                Yaml::String(text) => text.is_empty(),
                Yaml::Sequence(items) => items.is_empty(),
                Yaml::Mapping(fields) => fields.is_empty(),
                Yaml::Bool(_) | Yaml::Number(_) | Yaml::Tagged(_) => false,
            };
            Yaml::Mapping(fields.filter(|(_, value)| !is_empty(value)).collect())
        }
        Yaml::Sequence(items) => Yaml::Sequence(items.iter().map(without_empty).collect()),
        other => other.clone(),
    }
}

#[tokio::test]
async fn the_answers_are_those_of_upstream() {
    let mut names: Vec<String> = std::fs::read_dir(golden().join("metadata"))
        .unwrap()
        .filter_map(|entry| {
            entry.unwrap().file_name().to_str()?.strip_suffix(".input.yaml").map(str::to_owned)
        })
        .collect();
    names.sort();
    let mut differences = Vec::new();
    for name in &names {
        let text =
            std::fs::read_to_string(golden().join("metadata").join(format!("{name}.input.yaml"))).unwrap();
        let objects = Objects(
            serde_norway::Deserializer::from_str(&text)
                .map(|object| {
                    let mut object = Value::deserialize(object).unwrap();
                    // Of the older contract: it is not read here.
                    object["spec"].as_object_mut().and_then(|spec| spec.remove("infrastructureRef"));
                    object
                })
                .collect(),
        );
        let expected =
            std::fs::read_to_string(golden().join("metadata").join(format!("{name}.output"))).unwrap();
        let given = answer(objects.rendered("10.77.0.2:8081", "fdae:41e4:649b:9303::1").await);
        let is_alike = match &given {
            Ok(config) => documents_of(config) == documents_of(&expected),
            // Go's handler ends each message with a line break.
            Err((_, message)) => format!("{message}\n") == expected,
        };
        if !is_alike {
            differences.push(format!("{name}: {given:?}\nfor {expected}"));
        }
    }
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
    assert!(names.len() >= 15, "{}", names.len());
}

/// The objects of a machine with this bootstrap configuration.
fn machine(uuid: &str, bootstrap: &str, server: Value, class: Option<Value>) -> Objects {
    let value = data_encoding_base64(bootstrap);
    let mut binding = json!({ "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha3", "kind": "ServerBinding",
        "metadata": { "name": uuid }, "spec": { "metalMachineRef": { "name": "mm", "namespace": "default" } } });
    if class.is_some() {
        binding["spec"]["serverClassRef"] = json!({ "name": "class" });
    }
    let owner =
        json!({ "apiVersion": "cluster.x-k8s.io/v1beta1", "kind": "Machine", "name": "m", "uid": "x" });
    let mut objects = vec![
        binding,
        json!({ "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha3", "kind": "MetalMachine",
            "metadata": { "name": "mm", "namespace": "default", "ownerReferences": [owner] }, "spec": {} }),
        json!({ "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
            "metadata": { "name": "m", "namespace": "default" }, "spec": { "bootstrap": { "dataSecretName": "b" } } }),
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "b", "namespace": "default" },
            "data": { "value": value } }),
        json!({ "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "Server", "metadata": { "name": uuid },
            "spec": with(json!({ "accepted": true }), server) }),
    ];
    objects.extend(class.map(|spec| {
        json!({ "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "ServerClass", "metadata": { "name": "class" },
            "spec": spec })
    }));
    Objects(objects)
}

fn with(mut object: Value, fields: Value) -> Value {
    object.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    object
}

fn data_encoding_base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

const LINK: &str = "\n---\napiVersion: v1alpha1\nkind: SideroLinkConfig\napiUrl: grpc://192.168.1.1:8081\n\
                    ---\napiVersion: v1alpha1\nkind: EventSinkConfig\nendpoint: 192.168.1.1:4002\n\
                    ---\napiVersion: v1alpha1\nkind: KmsgLogConfig\nname: remote-log\nurl: tcp://192.168.1.1:4001\n";
const FRR: &str =
    "apiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: frr\nenvironment: [TESTKEY=TESTVALUE]\n";

fn add_hostname(name: &str) -> Value {
    json!([{ "op": "add", "path": "/machine/network", "value": { "hostname": name } }])
}

/// spec/sidero.md §10.1.
#[tokio::test]
async fn each_case_of_upstreams_test_has_its_answer() {
    let base = |args: &str| format!("version: v1alpha1\nmachine: {{kubelet: {{extraArgs: {{{args}}}}}}}");
    let foo = base("node-labels: foo=bar");
    let replace = json!([{ "op": "replace", "path": "/machine/network/hostname", "value": "example3" }]);
    let strategic = format!("machine: {{network: {{hostname: example6}}}}\n---\n{FRR}");
    let cases: Vec<(&str, String, Value, Option<Value>, String)> = vec![
        (
            "0000-1111-2222",
            "version: v1alpha1\nmachine: {kubelet: {}}".to_owned(),
            json!({}),
            None,
            base("node-labels: metal.sidero.dev/uuid=0000-1111-2222"),
        ),
        (
            "1111-2222-3333",
            base("foo: bar"),
            json!({ "configPatches": add_hostname("example2") }),
            None,
            "version: v1alpha1\nmachine: {network: {hostname: example2}, kubelet: {extraArgs: {foo: bar, \
             node-labels: metal.sidero.dev/uuid=1111-2222-3333}}}"
                .to_owned(),
        ),
        (
            "2222-3333-4444",
            foo.clone(),
            json!({ "configPatches": replace }),
            Some(json!({ "configPatches": add_hostname("invalid3") })),
            "version: v1alpha1\nmachine: {network: {hostname: example3}, kubelet: {extraArgs: \
             {node-labels: \"foo=bar,metal.sidero.dev/uuid=2222-3333-4444\"}}}"
                .to_owned(),
        ),
        (
            "4444-5555-6666",
            "version: v1alpha1\nmachine:\n".to_owned(),
            json!({}),
            None,
            base("node-labels: metal.sidero.dev/uuid=4444-5555-6666"),
        ),
        (
            "5555-6666-7777",
            "version: v1alpha1\ncluster: {}\n".to_owned(),
            json!({}),
            None,
            base("node-labels: metal.sidero.dev/uuid=5555-6666-7777"),
        ),
        (
            "6666-7777-8888",
            foo,
            json!({ "strategicPatches": [strategic] }),
            Some(json!({ "strategicPatches": ["machine: {network: {hostname: invalid6}}"] })),
            format!(
                "version: v1alpha1\nmachine: {{network: {{hostname: example6}}, kubelet: {{extraArgs: \
                 {{node-labels: \"foo=bar,metal.sidero.dev/uuid=6666-7777-8888\"}}}}}}\n---\n{FRR}"
            ),
        ),
    ];
    for (uuid, bootstrap, server, class, expected) in cases {
        let objects = machine(uuid, &bootstrap, server, class);
        let given = answer(objects.rendered("192.168.1.1:8081", "192.168.1.1").await).unwrap();
        let given: Vec<Yaml> = documents_of(&given).iter().map(without_empty).collect();
        let expected: Vec<Yaml> =
            documents_of(&format!("{expected}{LINK}")).iter().map(without_empty).collect();
        assert_eq!(given, expected, "{uuid}");
    }
}

#[tokio::test]
async fn each_patch_is_told_with_its_object_and_the_one_that_fails_is_the_last() {
    let bootstrap = "version: v1alpha1\nmachine: {type: worker}";
    let class = json!({ "strategicPatches": ["debug: true", "machine: {time: {servers: [a]}}"] });
    let objects = machine("u", bootstrap, json!({ "configPatches": add_hostname("a") }), Some(class.clone()));
    let rendered = objects.rendered("10.0.0.1:8081", "fd00::1").await;
    let told: Vec<String> = rendered.patches.iter().map(ToString::to_string).collect();
    let expected = [
        "strategicPatches[0] of ServerClass class",
        "strategicPatches[1] of ServerClass class",
        "configPatches of Server u",
        "the label of the node",
        "the documents of SideroLink",
    ];
    assert_eq!(told, expected);
    // One that cannot be read, behind one that does not fit: the first in order counts, as it does upstream.
    let bad = json!({ "configPatches": [{ "op": "remove", "path": "/nosuch" }], "strategicPatches": ["machine: {nosuch: 1}"] });
    let rendered = machine("u", bootstrap, bad, Some(class)).rendered("10.0.0.1:8081", "fd00::1").await;
    assert_eq!(rendered.patches.last().map(|last| &last.origin), Some(&Origin::Server("u".to_owned())));
    let trouble = rendered.trouble().unwrap();
    assert_eq!(trouble.reason, "PatchFailed");
    assert!(trouble.message.starts_with("configPatches of Server u cannot be applied: "), "{trouble:?}");
}

/// Criterion C4: each of these has a reason of its own before the machine is on.
#[tokio::test]
async fn what_a_machine_cannot_use_is_said_in_one_word() {
    let talos = talos();
    let bundle = bloomery_talosconfig::SecretsBundle::from(talos.new_secrets("v1.13").await.unwrap());
    let generated = async |version: &str| {
        let params = bloomery_talosconfig::Generate {
            talos_version: version.to_owned(),
            ..bloomery_talosconfig::Generate::new(
                "controlplane",
                "c",
                "https://10.0.0.1:6443",
                bundle.clone(),
            )
        };
        talos.generate(&params).await.unwrap().expose().to_owned()
    };
    let (one, two) = (generated("v1.11").await, generated("v1.13").await);
    let disk = "machine: {install: {disk: /dev/vda}}";
    for (bootstrap, server, reason) in [
        (&two, json!({}), Some("NoInstallDisk")),
        (&two, json!({ "strategicPatches": [disk] }), None),
        (
            &one,
            json!({ "configPatches": [{ "op": "add", "path": "/machine/install/disk", "value": "/dev/vda" }] }),
            None,
        ),
        // Operations on a configuration of several documents.
        (
            &two,
            json!({ "configPatches": [{ "op": "add", "path": "/debug", "value": true }] }),
            Some("PatchFailed"),
        ),
        (
            &two,
            json!({ "strategicPatches": [disk, "machine: {network: {hostname: a}}"] }),
            Some("DocumentsInConflict"),
        ),
        // Upstream's own case (sfyra): a label that no node takes.
        (
            &two,
            json!({ "strategicPatches": [disk, "machine: {nodeLabels: {/1: a}}"] }),
            Some("ConfigurationInvalid"),
        ),
    ] {
        let rendered =
            machine("u", bootstrap, server.clone(), None).rendered("10.0.0.1:8081", "fd00::1").await;
        let trouble = rendered.trouble();
        assert_eq!(trouble.as_ref().map(|trouble| trouble.reason), reason, "{server} {trouble:?}");
        let is_served = rendered.outcome.is_ok();
        assert_eq!(
            is_served,
            reason != Some("PatchFailed"),
            "upstream serves what only a node can judge: {server}"
        );
    }
}

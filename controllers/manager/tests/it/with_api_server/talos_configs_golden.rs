//! What upstream's bootstrap provider (CABPT 0.6.12) made of the same objects: Secrets and status, end to end.
//!
//! `shared/fixtures/talos/golden/cabpt`: each case in a namespace of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bloomery_api::TalosConfig;
use bloomery_testkit::eventually;
use bloomery_testkit::golden;
use serde_json::{Value, json};

use crate::support::bootstrap::{Place, documents, reference_to, start, text, told};

/// Objects that Cluster API's newer version, which is stored, refuses.
const REFUSED: [(&str, &str); 1] = [("cluster-network-empty-lists", "a list of networks has one at least")];

/// Cases in which upstream's result is a defect, and what comes in its place.
const OTHERWISE: [(&str, Otherwise); 2] = [
    // Upstream writes both kinds of host names, which no node takes.
    ("hostname-machine-v1.12.0-alpha.0", Otherwise::Like("hostname-machine-v1.12.0-beta.0")),
    // Upstream panics.
    ("none-v1alpha1-missing", Otherwise::Fails("the configuration has no v1alpha1 document")),
];

/// The Kubernetes version of configurations that ask for none follows the library: 1.36.0 with CABPT 0.6.12.
const DEFAULT_KUBERNETES: (&str, &str) = (":v1.36.3", ":v1.36.0");

enum Otherwise {
    Like(&'static str),
    Fails(&'static str),
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn files(directory: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// What came out: conditions, name of the data Secret, whether there is a client configuration; Secrets by name and key.
#[derive(Debug, PartialEq)]
struct Result {
    told: Vec<String>,
    data_secret: Option<String>,
    has_client_config: bool,
    secrets: BTreeMap<String, BTreeMap<String, String>>,
}

fn expected(case: &str) -> Result {
    let directory = golden().join("cabpt").join(case);
    let mut secrets: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let names = files(&directory);
    for name in names.iter().filter_map(|file| file.strip_prefix("secret.")?.strip_suffix(".yaml")) {
        let mut data = BTreeMap::new();
        for file in &names {
            let key =
                file.strip_prefix("secret.").and_then(|rest| rest.strip_prefix(name)?.strip_prefix('.'));
            if let Some(key) = key.filter(|key| *key != "yaml") {
                data.insert(key.to_owned(), comparable(key, &read(&directory.join(file))));
            }
        }
        secrets.insert(name.to_owned(), data);
    }
    let config: TalosConfig =
        serde_json::from_value(documents(&read(&directory.join("talosconfig.tc.yaml"))).remove(0)).unwrap();
    of(&config, secrets)
}

fn of(config: &TalosConfig, secrets: BTreeMap<String, BTreeMap<String, String>>) -> Result {
    let status = config.status.clone().unwrap_or_default();
    let has_client_config = !status.talos_config.is_empty();
    assert_eq!(status.ready, status.data_secret_name.is_some());
    Result { told: told(config), data_secret: status.data_secret_name, has_client_config, secrets }
}

/// What is the same each time: a client configuration has a key of its own.
fn comparable(key: &str, text: &str) -> String {
    match key {
        "talosconfig" => {
            let mut config = documents(text).remove(0);
            for context in config["contexts"].as_object_mut().unwrap().values_mut() {
                (context["crt"], context["key"]) = (Value::Null, Value::Null);
            }
            config.to_string()
        }
        "value" => text.replace(DEFAULT_KUBERNETES.0, DEFAULT_KUBERNETES.1),
        _ => text.to_owned(),
    }
}

/// The objects as the newer version of Cluster API has them.
fn objects(case: &str) -> Vec<Value> {
    let mut all = documents(&read(&golden().join("cabpt").join(case).join("input.yaml")));
    for object in &mut all {
        object["metadata"].as_object_mut().unwrap().remove("uid");
        if object["apiVersion"] != "cluster.x-k8s.io/v1beta1" {
            continue;
        }
        object["apiVersion"] = json!("cluster.x-k8s.io/v1beta2");
        if object["status"].as_object_mut().and_then(|status| status.remove("infrastructureReady"))
            == Some(json!(true))
        {
            object["status"]["initialization"] = json!({ "infrastructureProvisioned": true });
        }
        if object["spec"]["controlPlaneEndpoint"]["host"] == "" {
            object["spec"] = json!({ "paused": false });
        }
        for at in ["/spec", "/spec/template/spec"] {
            let Some(spec) = object.pointer_mut(at) else { continue };
            for reference in ["/bootstrap/configRef", "/infrastructureRef"] {
                let Some(reference) = spec.pointer_mut(reference) else { continue };
                let group = reference["apiVersion"].as_str().unwrap().split_once('/').unwrap().0.to_owned();
                *reference =
                    json!({ "apiGroup": group, "kind": reference["kind"], "name": reference["name"] });
            }
        }
    }
    all
}

async fn make(place: &Place<'_>, case: &str) {
    let (configs, others): (Vec<_>, Vec<_>) =
        objects(case).into_iter().partition(|object| object["kind"] == "TalosConfig");
    let mut made = Vec::new();
    for object in others {
        made.push(place.create(object).await);
    }
    for mut config in configs {
        for owner in config["metadata"]["ownerReferences"].as_array_mut().into_iter().flatten() {
            let object = made.iter().find(|object| object["kind"] == owner["kind"]).unwrap();
            *owner = reference_to(object);
        }
        place.create(config).await;
    }
}

async fn found(place: &Place<'_>) -> Result {
    let config = place.api::<TalosConfig>().get("tc").await.unwrap();
    let secrets = place.secrets().await.into_iter().map(|(name, secret)| {
        let keys = secret.data.clone().unwrap_or_default().into_keys();
        (name, keys.map(|key| (key.clone(), comparable(&key, &text(&secret, &key)))).collect())
    });
    of(&config, secrets.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_and_status_are_those_of_upstreams_provider() {
    let (bench, _controllers) = start().await;
    let cases: Vec<String> = files(&golden().join("cabpt"))
        .into_iter()
        .filter(|name| {
            golden().join("cabpt").join(name).is_dir() && !REFUSED.iter().any(|(refused, _)| refused == name)
        })
        .collect();
    assert!(cases.len() >= 60, "{}", cases.len());
    let bench = &bench;
    let places = futures::future::join_all(cases.iter().map(|case| async move {
        let place = Place::new(bench, &case.replace('.', "-")).await;
        make(&place, case).await;
        (case.as_str(), place)
    }))
    .await;
    for (case, place) in &places {
        let otherwise = OTHERWISE.iter().find(|(name, _)| name == case).map(|(_, otherwise)| otherwise);
        let expected = match otherwise {
            Some(Otherwise::Fails(why)) => {
                let config = place.until("tc", "it failed", |config| !told(config).is_empty()).await;
                let told = told(&config);
                assert_eq!(
                    told[0],
                    format!("DataSecretAvailable False Error DataSecretGenerationFailed {why}")
                );
                continue;
            }
            Some(Otherwise::Like(other)) => expected(other),
            None => expected(case),
        };
        // Its secrets are new.
        let is_fresh = *case == "fresh-secrets";
        eventually(&format!("{case}: secrets and status are upstream's"), async || {
            let (mut found, mut expected) = (
                found(place).await,
                Result {
                    told: expected.told.clone(),
                    secrets: expected.secrets.clone(),
                    data_secret: expected.data_secret.clone(),
                    ..expected
                },
            );
            if is_fresh {
                for result in [&mut found, &mut expected] {
                    result.secrets.values_mut().flat_map(BTreeMap::values_mut).for_each(String::clear);
                }
            }
            if found == expected { Ok(()) } else { Err(difference(&found, &expected)) }
        })
        .await;
    }
}

/// Where they differ, without whole configurations.
fn difference(found: &Result, expected: &Result) -> String {
    let mut lines = vec![format!("told {:?} for {:?}", found.told, expected.told)];
    lines.push(format!(
        "data Secret {:?} for {:?}, client configuration {} for {}",
        found.data_secret, expected.data_secret, found.has_client_config, expected.has_client_config
    ));
    lines.push(format!("Secrets {:?} for {:?}", found.secrets.keys(), expected.secrets.keys()));
    for (name, keys) in &expected.secrets {
        for (key, text) in keys {
            let other = found.secrets.get(name).and_then(|keys| keys.get(key)).map_or("", String::as_str);
            let at = text.lines().zip(other.lines()).find(|(one, other)| one != other);
            if text != other {
                lines.push(format!(
                    "{name} {key}: {at:?}, {} lines for {}",
                    other.lines().count(),
                    text.lines().count()
                ));
            }
        }
    }
    lines.join("\n")
}

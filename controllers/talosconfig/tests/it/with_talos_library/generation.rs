//! Generated configurations.

use bloomery_talosconfig::{Code, Generate, Install, Level, Secret, SecretsBundle};
use serde_norway::Value;

use crate::support::{assert_none, bundle, cases, client, documents, golden, read};

/// Kubernetes of the golden files for this contract.
fn kubernetes(contract: &str) -> &'static str {
    match contract {
        "v1.9" => "1.32.10",
        "v1.10" => "1.33.6",
        _ => "1.34.2",
    }
}

fn held(generate_type: &str, contract: &str) -> Generate {
    Generate {
        talos_version: contract.into(),
        kubernetes_version: kubernetes(contract).into(),
        ..Generate::new(generate_type, "held", "https://10.77.0.50:6443", bundle("secrets.yaml"))
    }
}

#[tokio::test]
async fn configurations_are_those_of_upstream_octet_by_octet() {
    let client = client();
    let contracts = cases("gen/1.13.0");
    assert!(contracts.len() >= 5, "{contracts:?}");
    let mut differences = Vec::new();
    for contract in contracts {
        for machine in ["init", "controlplane", "worker"] {
            let expected = read(golden().join(format!("gen/1.13.0/{contract}/{machine}.yaml")));
            let made = client.generate(&held(machine, &contract)).await.unwrap();
            if made.expose() != expected {
                differences.push(format!("{contract}/{machine}"));
            }
        }
    }
    assert_none(&differences);
}

#[tokio::test]
async fn the_library_says_what_it_knows_and_newer_contracts_get_its_newest() {
    let client = client();
    let version = client.version().await.unwrap();
    assert_eq!((version.machinery.as_str(), version.contract.as_str()), ("v1.13.9", "v1.13"));
    let newest = client.generate(&held("worker", "v1.13")).await.unwrap();
    for contract in ["", "1.13", "v1.13.2", "v1.14", "v1.99"] {
        let made = client.generate(&held("worker", contract)).await.unwrap();
        // A contract that is left out has the golden files' Kubernetes too.
        assert_eq!(made, newest, "{contract}");
    }
}

#[tokio::test]
async fn old_bundles_are_read() {
    let client = client();
    let made = |params: Generate| {
        let client = client.clone();
        async move { documents(client.generate(&params).await.unwrap().expose()).remove(0) }
    };
    let aes = |contract: &str| Generate {
        secrets: bundle("secrets-v1.2-aescbc.yaml"),
        ..held("controlplane", contract)
    };
    let text = |config: &Value, key: &str| config["cluster"][key].as_str().map(str::to_owned);
    let old = made(aes("v1.2")).await;
    assert!(text(&old, "aescbcEncryptionSecret").is_some());
    // The secret of an old kind does not go into a new configuration, as upstream has it.
    let new = made(aes("v1.13")).await;
    assert_eq!((text(&new, "aescbcEncryptionSecret"), text(&new, "secretboxEncryptionSecret")), (None, None));
    let ecdsa =
        made(Generate { secrets: bundle("secrets-v1.6-ecdsa-sa.yaml"), ..held("controlplane", "v1.6") })
            .await;
    assert!(ecdsa["cluster"]["serviceAccount"]["key"].as_str().is_some());
}

#[tokio::test]
async fn new_secrets_make_configurations_that_nodes_take() {
    let client = client();
    for (contract, encryption) in [
        ("v1.2", "aescbcencryptionsecret"),
        ("v1.13", "secretboxencryptionsecret"),
        ("", "secretboxencryptionsecret"),
    ] {
        let secrets = client.new_secrets(contract).await.unwrap();
        let parsed = documents(secrets.expose()).remove(0);
        assert!(parsed["secrets"][encryption].as_str().is_some(), "{contract}");
        for machine in ["controlplane", "worker"] {
            let params = Generate {
                talos_version: contract.into(),
                install: Install { disk: "/dev/sda".into(), image: "registry.example/installer:v1".into() },
                ..Generate::new(machine, "c", "https://[fd00::1]:6443", secrets.clone().into())
            };
            let config = client.generate(&params).await.unwrap();
            let judged = client.validate(&config, Level::Strict).await.unwrap();
            assert!(judged.valid, "{contract} {machine}: {judged:?}");
            let first = documents(config.expose()).remove(0);
            assert_eq!(first["machine"]["install"]["image"], Value::from("registry.example/installer:v1"));
        }
    }
    let twice = (client.new_secrets("v1.6").await.unwrap(), client.new_secrets("v1.6").await.unwrap());
    assert_ne!(twice.0, twice.1);
}

/// (type, contract, version of Kubernetes, bundle, field, part of the message)
const REFUSED: [(&str, &str, &str, &str, &str); 8] = [
    ("foo", "v1.13", "whole", "type", r#"unknown generate type specified: "foo""#),
    ("unknown", "v1.13", "whole", "type", r#"unknown generate type specified: "unknown""#),
    ("worker", "bad", "whole", "talosVersion", r#"invalid talos-version: error parsing version "vbad""#),
    ("worker", "v1", "whole", "talosVersion", "invalid talos-version"),
    ("worker", "v1.13", "", "secrets.bundle", "the secrets bundle is empty"),
    ("worker", "v1.13", "cluster: {}", "secrets", "the secrets bundle has no secrets"),
    ("worker", "v1.13", "a: [", "secrets.bundle", "yaml"),
    (
        "worker",
        "v1.13",
        "{cluster: {}, secrets: {}, trustdinfo: {}, certs: {etcd: {}, k8s: {}, k8saggregator: {}, os: {}}}",
        "secrets",
        "the secrets bundle has no certs.k8sserviceaccount",
    ),
];

#[tokio::test]
async fn refusals_name_the_field() {
    let client = client();
    for (machine, contract, secrets, field, message) in REFUSED {
        let secrets: SecretsBundle =
            if secrets == "whole" { bundle("secrets.yaml") } else { Secret::from(secrets).into() };
        let params = Generate { secrets, ..held(machine, contract) };
        let error = client.generate(&params).await.unwrap_err();
        let refusal = error.refusal().unwrap();
        assert_eq!((refusal.code, refusal.field.as_str()), (Code::Input, field), "{refusal:?}");
        assert!(refusal.message.contains(message), "{refusal:?}");
        assert!(!error.is_retryable());
    }
}

#[tokio::test]
async fn host_names_stand_where_the_contract_has_them_and_make_a_valid_pair() {
    let client = client();
    for (contract, document) in [
        ("v1.11", false),
        ("v1.12.0-alpha.0", true),
        ("v1.12.0-beta.0", true),
        ("v1.12", true),
        ("1.13", true),
        ("v1.99", true),
        ("", true),
    ] {
        let params = Generate {
            hostname: Some("n1".into()),
            install: Install { disk: "/dev/sda".into(), ..Install::default() },
            ..held("worker", contract)
        };
        let config = client.generate(&params).await.unwrap();
        let parsed = documents(config.expose());
        let old = parsed[0]["machine"]["network"]["hostname"].as_str();
        let new = parsed.iter().find(|one| one["kind"] == *"HostnameConfig");
        if document {
            let new = new.unwrap_or_else(|| panic!("{contract}: no document"));
            assert_eq!(
                (new["auto"].as_str(), new["hostname"].as_str()),
                (Some("off"), Some("n1")),
                "{contract}"
            );
            assert_eq!(old, None, "{contract}");
        } else {
            assert_eq!((old, new), (Some("n1"), None), "{contract}");
        }
        assert!(parsed[0]["machine"]["network"].is_mapping(), "{contract}");
        assert!(client.validate(&config, Level::Node).await.unwrap().valid, "{contract}");
    }
    // A source that names nobody.
    let params = Generate { hostname: Some(String::new()), ..held("worker", "v1.13") };
    let parsed = documents(client.generate(&params).await.unwrap().expose());
    assert!(parsed[0]["machine"]["network"].as_mapping().unwrap().is_empty());
}

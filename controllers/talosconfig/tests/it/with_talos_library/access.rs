//! Client credentials, and what configurations and bundles say.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bloomery_talosconfig::{Code, KeyPair, Secret};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::{FromDer, ParsedExtension, Pem};

use crate::support::{bundle, client, documents, golden, read};

/// Reads one certificate.
fn with_certificate<T>(pem: &str, look: impl FnOnce(&X509Certificate<'_>) -> T) -> T {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
    let Pem { contents, .. } = pem;
    let (_, certificate) = X509Certificate::from_der(&contents).unwrap();
    look(&certificate)
}

/// Organizations, days of life, extended key usage is "client" alone.
fn client_of(pem: &str) -> (Vec<String>, i64, bool) {
    with_certificate(pem, |certificate| {
        let mut organizations: Vec<String> =
            certificate.subject().iter_organization().map(|one| one.as_str().unwrap().to_owned()).collect();
        organizations.sort();
        let validity = certificate.validity();
        let days = (validity.not_after.timestamp() - validity.not_before.timestamp()) / 86_400;
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        let client = usage.client_auth && !usage.server_auth && !usage.any && usage.other.is_empty();
        (organizations, days, client)
    })
}

fn is_signed_by(pem: &str, authority: &str) -> bool {
    let key = |certificate: &X509Certificate<'_>, own: bool| {
        certificate.extensions().iter().find_map(|one| match one.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) if own => Some(id.0.to_vec()),
            ParsedExtension::AuthorityKeyIdentifier(id) if !own => {
                id.key_identifier.as_ref().map(|id| id.0.to_vec())
            }
            _ => None,
        })
    };
    let issuer = with_certificate(authority, |one| (key(one, true), one.subject().to_string()));
    with_certificate(pem, |one| (key(one, false), one.issuer().to_string())) == issuer
}

#[tokio::test]
async fn a_talosconfig_is_an_administrators_for_a_year() {
    let client = client();
    let secrets = bundle("secrets.yaml");
    let expected = documents(&read(golden().join("gen/1.13.0/v1.13/talosconfig"))).remove(0);
    let endpoints = ["10.0.0.1".to_owned(), "fd00::1".to_owned()];
    let made = client.talosconfig(&secrets, "held", &[]).await.unwrap();
    let made = documents(made.expose()).remove(0);
    assert_eq!(
        (&made["context"], &made["contexts"]["held"]["ca"]),
        (&expected["context"], &expected["contexts"]["held"]["ca"])
    );
    assert_eq!(made["contexts"]["held"]["endpoints"], expected["contexts"]["held"]["endpoints"]);
    let text = |key: &str| {
        let encoded = made["contexts"]["held"][key].as_str().unwrap();
        String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap()
    };
    assert_eq!(client_of(&text("crt")), (vec!["os:admin".to_owned()], 365, true));
    assert!(is_signed_by(&text("crt"), &text("ca")));
    assert!(text("key").starts_with("-----BEGIN ED25519 PRIVATE KEY-----"));
    let more = client.talosconfig(&secrets, "held", &endpoints).await.unwrap();
    let listed = documents(more.expose()).remove(0)["contexts"]["held"]["endpoints"].clone();
    assert_eq!(serde_norway::from_value::<Vec<String>>(listed).unwrap(), endpoints);
}

#[tokio::test]
async fn client_certificates_have_the_roles_and_the_life_that_were_asked_for() {
    let client = client();
    let secrets = bundle("secrets.yaml");
    let day = Duration::from_hours(24);
    let made = client.client_certificate(&secrets, &["os:reader", "os:etcd:backup"], 2 * day).await.unwrap();
    let roles = vec!["os:etcd:backup".to_owned(), "os:reader".to_owned()];
    assert_eq!(client_of(&made.crt), (roles, 2, true));
    assert!(is_signed_by(&made.crt, &made.ca));
    for (roles, life, field) in
        [(["os:rader"], day, "roles"), (["os:reader"], 4000 * day, "ttl"), ([" "], day, "roles")]
    {
        let error = client.client_certificate(&secrets, &roles, life).await.unwrap_err();
        let refusal = error.refusal().unwrap();
        assert_eq!((refusal.code, refusal.field.as_str()), (Code::Input, field));
    }
    let without = Secret::from("certs: {}").into();
    let error = client.client_certificate(&without, &["os:admin"], day).await.unwrap_err();
    assert!(error.to_string().contains("certs.os"), "{error}");
}

#[tokio::test]
async fn a_kubeconfig_is_as_cluster_api_makes_it() {
    let client = client();
    let ca = client.inspect_secrets(&bundle("secrets.yaml")).await.unwrap().kubernetes.unwrap();
    let made = client.kubeconfig("held", "https://10.77.0.50:6443", &ca).await.unwrap();
    let made = documents(made.expose()).remove(0);
    assert_eq!(made["current-context"].as_str(), Some("held-admin@held"));
    assert_eq!(made["clusters"][0]["name"].as_str(), Some("held"));
    let cluster = &made["clusters"][0]["cluster"];
    assert_eq!(cluster["server"].as_str(), Some("https://10.77.0.50:6443"));
    assert_eq!(cluster["certificate-authority-data"].as_str(), Some(STANDARD.encode(&ca.crt).as_str()));
    assert_eq!(made["users"][0]["name"].as_str(), Some("held-admin"));
    let text = |key: &str| {
        let encoded = made["users"][0]["user"][key].as_str().unwrap();
        String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap()
    };
    let crt = text("client-certificate-data");
    let (organizations, _, client_alone) = client_of(&crt);
    assert_eq!((organizations, client_alone), (vec!["system:masters".to_owned()], true));
    with_certificate(&crt, |one| {
        let name = one.subject().iter_common_name().next().unwrap().as_str().unwrap().to_owned();
        assert_eq!(name, "kubernetes-admin");
        let usage = one.key_usage().unwrap().unwrap().value;
        assert!(usage.digital_signature() && usage.key_encipherment());
    });
    assert!(text("client-key-data").starts_with("-----BEGIN RSA PRIVATE KEY-----"));
    for (crt, key, field) in
        [("", ca.key.expose(), "ca.crt"), (ca.crt.as_str(), "", "ca.key"), ("x", "y", "ca.crt")]
    {
        let bad = KeyPair { crt: crt.into(), key: key.into() };
        let error = client.kubeconfig("held", "https://x", &bad).await.unwrap_err();
        assert_eq!(error.refusal().unwrap().field, field, "{error}");
    }
}

#[tokio::test]
async fn a_users_configuration_gives_its_secrets_back() {
    let client = client();
    let config = |name: &str| Secret::from(read(golden().join("gen/1.13.0").join(name)));
    let plane = client.inspect_config(&config("v1.13/controlplane.yaml")).await.unwrap();
    let cas = client.inspect_secrets(&bundle("secrets.yaml")).await.unwrap();
    assert_eq!((plane.talos_ca, plane.kubernetes_ca), (cas.talos, cas.kubernetes));
    assert_eq!((plane.machine_type.as_str(), plane.cluster.as_str()), ("controlplane", "held"));
    assert_eq!(
        (plane.endpoint.as_str(), plane.token.expose()),
        ("https://10.77.0.50:6443", "in8wnv.sdgdtwo23qpd8y5n")
    );
    assert_eq!(plane.documents, ["v1alpha1", "HostnameConfig"]);
    assert_eq!(documents(plane.bundle.expose()), documents(&read(golden().join("secrets.yaml"))));
    let worker = client.inspect_config(&config("v1.9/worker.yaml")).await.unwrap();
    assert_eq!((worker.machine_type.as_str(), worker.documents.len()), ("worker", 1));
    assert!(worker.bundle.is_empty() && worker.kubernetes_ca.unwrap().key.is_empty());
    for (text, message) in [
        (
            "apiVersion: v1alpha1\nkind: HostnameConfig\nauto: stable",
            "the configuration has no v1alpha1 document",
        ),
        ("cluster: {}", "the configuration has no section machine"),
        ("machine: {}", "the configuration has no section cluster"),
        ("# nothing", "config not found"),
    ] {
        let error = client.inspect_config(&text.into()).await.unwrap_err();
        let refusal = error.refusal().unwrap();
        assert_eq!((refusal.field.as_str(), refusal.message.as_str()), ("config", message));
    }
    let bare = client.inspect_config(&"machine: {}\ncluster: {}".into()).await.unwrap();
    assert_eq!((bare.endpoint.as_str(), bare.talos_ca), ("", None));
}

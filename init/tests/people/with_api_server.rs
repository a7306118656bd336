//! People's certificates on both ports: PID 1's authority, the appliance server, and a real etcd and kube-apiserver.

use crate::machine::{Machine, eventually};
use bloomery_pairing::client::{AdminClient, AdminCredentials, ClientError, Paired, pair};
use bloomery_pairing::wire::{LogQuery, ServiceCommand};
use hyper::Method;
use init::pki::leaf::{Issued, Leaf};
use init::pki::people;
use time::{Duration, OffsetDateTime};

const SECRETS: &str = "/api/v1/secrets";
const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
const BINDING: &str = r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding",
"metadata":{"name":"bloomery:admins"},
"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"cluster-admin"},
"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"Group","name":"bloomery:admins"}]}"#;

fn identity(paired: &Paired) -> Issued {
    Issued { certificate: paired.response.client_certificate.clone(), key: paired.client_key.clone() }
}

fn client(machine: &Machine, paired: &Paired) -> AdminClient {
    let credentials = AdminCredentials {
        certificate_authority: paired.response.certificate_authority.clone(),
        client_certificate: paired.response.client_certificate.clone(),
        client_key: paired.client_key.clone(),
        tls_server_name: None,
    };
    AdminClient::new(machine.endpoint(), &credentials).unwrap()
}

fn is_refused<T: std::fmt::Debug>(outcome: Result<T, ClientError>) -> bool {
    match outcome.unwrap_err() {
        ClientError::Refused { status: 403, .. } | ClientError::CertificateNotGood { .. } => true,
        other => panic!("{other:?}"),
    }
}

/// What one certificate gets on 8443.
async fn is_refused_at_8443(client: &AdminClient) -> bool {
    is_refused(client.status::<serde_json::Value>().await)
        && is_refused(client.reissue().await)
        && is_refused(client.renew().await)
        && is_refused(client.pairings().await)
        && is_refused(client.revoke("shared", true).await)
        && is_refused(client.tell_service("worker", ServiceCommand::Restart).await)
        && is_refused(client.log("worker", &LogQuery { lines: 1, after: None, wait: false }).await)
}

/// Holds, starts and restarts a real service over the appliance's port, and reads what it writes.
async fn services_obey(client: &AdminClient) {
    let mut query = LogQuery { lines: 1, after: None, wait: false };
    let pid = eventually("the worker has written", async || {
        let text = client.log("worker", &query).await.unwrap().text;
        text.split(' ').next().and_then(|pid| pid.parse::<u32>().ok())
    })
    .await;
    assert_eq!(client.tell_service("worker", ServiceCommand::Hold).await.unwrap().state, "held");
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "held, and still there");
    let status: serde_json::Value = eventually("the status shows the hold", async || {
        let status = client.status::<serde_json::Value>().await.unwrap();
        (status["services"][0]["state"] == "held").then_some(status)
    })
    .await;
    assert_eq!(status["services"][0]["holdRefused"], serde_json::Value::Null);
    query.after = Some(client.log("worker", &query).await.unwrap().next);
    client.tell_service("worker", ServiceCommand::Start).await.unwrap();
    query.wait = true;
    let piece = client.log("worker", &query).await.unwrap();
    assert!(piece.text.ends_with(" works\n") && !piece.text.starts_with(&format!("{pid} ")), "{piece:?}");
    let audit = LogQuery { lines: 9, after: None, wait: false };
    let audit = client.log(people::AUDIT_LOG, &audit).await.unwrap().text;
    assert!(audit.contains("action=\"hold worker\""), "{audit}");
    for name in ["nothing", "..", "..%2F..%2Fx"] {
        let error = client.log(name, &query).await.unwrap_err();
        assert!(matches!(error, ClientError::Refused { status: 404, .. }), "{name}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_pairs_has_rights_at_once_and_who_is_revoked_has_none_on_either_port_for_ever() {
    let mut machine = Machine::start().await;
    // Somebody is quicker than the API server and `apply`.
    let (endpoint, code) = (machine.endpoint(), machine.code());
    let early = tokio::spawn(async move { pair(&endpoint, &code).await });
    machine.start_api_server().await;
    assert!(!early.is_finished(), "handed out before its rights were there");
    let (status, answer) = machine.as_apply(Method::POST, BINDINGS, BINDING).await;
    assert_eq!(status, 201, "{answer}");
    let alice = early.await.unwrap().unwrap();
    assert_eq!(machine.get(SECRETS, &identity(&alice)).await, 200, "works from the moment it is handed out");
    let bob = pair(&machine.endpoint(), &machine.code()).await.unwrap();
    assert_eq!(machine.get(SECRETS, &identity(&bob)).await, 200);
    let (alices, bobs) = (client(&machine, &alice), client(&machine, &bob));
    bobs.status::<serde_json::Value>().await.unwrap();

    // A new plane takes nothing that the servers' authority signed, as earlier versions' certificates were.
    let shared = Leaf {
        common_name: "bloomery:admin",
        organizations: &["bloomery:admins"],
        names: Vec::new(),
        server: false,
        client: true,
        now: OffsetDateTime::now_utc(),
        lifetime: Duration::days(365),
    };
    let shared = shared.issue(&machine.pki.ca).unwrap();
    assert_eq!(machine.get(SECRETS, &shared).await, 401);

    services_obey(&bobs).await;

    alices.revoke(&bob.response.id, false).await.unwrap();
    assert!(is_refused_at_8443(&bobs).await);
    let refused = async |machine: &Machine| {
        eventually("6443 refuses the revoked certificate", async || {
            (machine.get(SECRETS, &identity(&bob)).await == 401).then_some(())
        })
        .await;
    };
    refused(&machine).await;
    assert_eq!(machine.get(SECRETS, &identity(&alice)).await, 200, "others go on");

    machine.restart().await;
    let (alices, bobs) = (client(&machine, &alice), client(&machine, &bob));
    refused(&machine).await;
    assert!(is_refused_at_8443(&bobs).await, "after a restart");
    assert_eq!(machine.get(SECRETS, &identity(&alice)).await, 200);
    let renewed = alices.renew().await.unwrap();
    let renewed = Paired { client_key: alice.client_key.clone(), response: renewed };
    assert_eq!(machine.get(SECRETS, &identity(&renewed)).await, 200, "renewed");

    // Rights that were taken away on the Kubernetes API are gone on the appliance's port as well.
    let path = format!("{BINDINGS}/bloomery:admins");
    assert_eq!(machine.as_apply(Method::DELETE, &path, "").await.0, 200);
    eventually("6443 refuses without the binding", async || {
        (machine.get(SECRETS, &identity(&alice)).await == 403).then_some(())
    })
    .await;
    let code = machine.code();
    eventually("8443 has noticed", async || {
        alices.status::<serde_json::Value>().await.is_err().then_some(())
    })
    .await;
    assert!(is_refused_at_8443(&alices).await);
    assert_eq!(machine.code(), code);
    assert!(machine.layout.service_file("kube-apiserver", people::API_CLIENTS).exists());
}

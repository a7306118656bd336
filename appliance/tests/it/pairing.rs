//! Pairing as the workstation sees it.

use std::fs;
use std::time::Duration;

use bloomery_pairing::client::{ClientError, Kubeconfig, pair};
use bloomery_pairing::{Code, Fingerprint};

use crate::site::{SERVER_NAME, Site, eventually};

#[tokio::test]
async fn the_right_code_gets_the_admin_identity() {
    let site = Site::start().await;
    let identity = pair(&site.endpoint(), &site.code()).await.unwrap();
    assert_eq!(identity.certificate_authority, site.authority.pem());
    assert_eq!(identity.client_certificate, site.admin.certificate);
    assert_eq!(identity.client_key, site.admin.key.serialize_pem());
    assert_eq!(identity.api_server_port, 6443);
    assert_eq!(identity.server_names, [SERVER_NAME, "192.0.2.7"]);
    let kubeconfig = Kubeconfig::new("test", &site.endpoint(), &identity, None).to_yaml().unwrap();
    assert!(kubeconfig.contains("server: https://127.0.0.1:6443"), "{kubeconfig}");
    assert!(kubeconfig.contains("tls-server-name: bloomery.test"), "{kubeconfig}");
}

#[tokio::test]
async fn a_wrong_secret_is_refused() {
    let site = Site::start().await;
    let error = pair(&site.endpoint(), &site.wrong_code()).await.unwrap_err();
    assert!(matches!(error, ClientError::WrongCode { .. }), "{error:?}");
}

#[tokio::test]
async fn an_appliance_with_another_key_never_gets_the_secret() {
    let site = Site::start().await;
    let code = Code::new(site.code().secret().clone(), Fingerprint::of_public_key(b"another key"));
    let error = pair(&site.endpoint(), &code).await.unwrap_err();
    assert!(
        matches!(error, ClientError::Fingerprint { found, .. } if found == site.fingerprint),
        "{error:?}"
    );
    // The secret is right, so had it been sent the identity would have been counted as handed out.
    let metrics = crate::abuse::plain_http(site.health, "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(metrics.contains("appliance_paired_total 0"), "{metrics}");
}

#[tokio::test]
async fn too_many_wrong_codes_are_refused_unread_with_the_time_to_wait() {
    let site = Site::start().await;
    let mut refused = 0;
    let wait = loop {
        match pair(&site.endpoint(), &site.wrong_code()).await.unwrap_err() {
            ClientError::WrongCode { .. } => refused += 1,
            ClientError::RateLimited { retry_after, .. } => break retry_after.unwrap(),
            other => panic!("{other:?}"),
        }
        assert!(refused < 100, "never limited");
    };
    assert!(refused >= 5, "limited after {refused}");
    assert!(wait > Duration::ZERO && wait <= Duration::from_secs(10), "{wait:?}");
    let error = pair(&site.endpoint(), &site.code()).await.unwrap_err();
    assert!(matches!(error, ClientError::RateLimited { .. }), "even the right code waits: {error:?}");
    eventually("the right code works after the wait", async || {
        pair(&site.endpoint(), &site.code()).await.ok()
    })
    .await;
}

#[tokio::test]
async fn right_codes_are_not_limited() {
    let site = Site::start().await;
    for _ in 0..20 {
        pair(&site.endpoint(), &site.code()).await.unwrap();
    }
}

#[tokio::test]
async fn without_the_files_of_pid_1_it_is_not_ready_and_says_so() {
    let site = Site::start().await;
    let code = site.code();
    for file in ["admin.json", "pairing-secret"] {
        let kept = fs::read(site.path(file)).unwrap();
        fs::write(site.path(file), "half writ").unwrap();
        let error = pair(&site.endpoint(), &code).await.unwrap_err();
        assert!(matches!(error, ClientError::Refused { status: 503, .. }), "{error:?}");
        let ready = crate::abuse::plain_http(site.health, "GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
        fs::write(site.path(file), kept).unwrap();
    }
    pair(&site.endpoint(), &code).await.unwrap();
    let ready = crate::abuse::plain_http(site.health, "GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
}

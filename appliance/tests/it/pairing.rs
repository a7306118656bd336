//! Pairing as the workstation sees it.

use std::fs;
use std::time::Duration;

use bloomery_pairing::client::{ClientError, Kubeconfig, Paired, pair};
use bloomery_pairing::local::Rights;
use bloomery_pairing::{Code, Fingerprint};

use crate::site::{SERVER_NAME, Site, eventually};

#[tokio::test]
async fn the_right_code_gets_a_certificate_of_ones_own() {
    let site = Site::start().await;
    let paired = pair(&site.endpoint(), &site.code()).await.unwrap();
    let Paired { client_key, response: identity } = &paired;
    assert_eq!(identity.certificate_authority, site.authority.pem());
    assert!(client_key.contains("PRIVATE KEY"));
    assert!(identity.user.starts_with("admin:") && identity.user.ends_with(&identity.id), "{identity:?}");
    assert_eq!(identity.api_server_port, 6443);
    assert_eq!(identity.server_names, [SERVER_NAME, "192.0.2.7"]);
    let kubeconfig = Kubeconfig::new("test", &site.endpoint(), &paired, None).to_yaml().unwrap();
    assert!(kubeconfig.contains("server: https://127.0.0.1:6443"), "{kubeconfig}");
    assert!(kubeconfig.contains("tls-server-name: bloomery.test"), "{kubeconfig}");
    let other = pair(&site.endpoint(), &site.code()).await.unwrap();
    assert_ne!(other.response.id, identity.id);
    assert_ne!(other.client_key, *client_key);
}

#[tokio::test]
async fn a_wrong_secret_is_refused() {
    let site = Site::start().await;
    let error = pair(&site.endpoint(), &site.wrong_code()).await.unwrap_err();
    assert!(matches!(error, ClientError::WrongCode { .. }), "{error:?}");
    assert_eq!(site.machine.audit_log().len(), 1);
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
    // The secret is right, so had it been sent the pairing would have been counted.
    let metrics = crate::abuse::plain_http(site.health, "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(metrics.contains("appliance_paired_total 0"), "{metrics}");
}

#[tokio::test]
async fn wrong_codes_are_slowed_down_and_right_ones_never_are() {
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
    for _ in 0..10 {
        pair(&site.endpoint(), &site.code()).await.unwrap();
        let error = pair(&site.endpoint(), &site.wrong_code()).await.unwrap_err();
        assert!(
            matches!(error, ClientError::RateLimited { .. } | ClientError::WrongCode { .. }),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_pairing_waits_until_its_rights_are_there() {
    let site = Site::start().await;
    site.machine.say(Rights::Less);
    let (endpoint, code) = (site.endpoint(), site.code());
    let pairing = tokio::spawn(async move { pair(&endpoint, &code).await });
    let list = site.path("pairings.json");
    eventually("the pairing is under way", async || {
        fs::read_to_string(&list).unwrap().contains("authority").then_some(())
    })
    .await;
    assert!(!pairing.is_finished());
    site.machine.say(Rights::Full);
    pairing.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_program_of_an_earlier_version_is_told_so() {
    let site = Site::start().await;
    let body = format!(r#"{{"secret":"{}"}}"#, site.code().secret().expose().as_str());
    let (status, answer) = crate::abuse::posted(&site, "/v1/pair", &body).await;
    assert_eq!(status, 400, "{answer}");
    assert!(answer.contains("use the `bloomery` program of its version"), "{answer}");
}

#[tokio::test]
async fn without_the_files_of_pid_1_it_is_not_ready_and_says_so() {
    let site = Site::start().await;
    let (code, (_, client)) = (site.code(), site.pair().await);
    for file in ["pairings.crt", "pairing-secret"] {
        let kept = fs::read(site.path(file)).unwrap();
        fs::remove_file(site.path(file)).unwrap();
        if file == "pairings.crt" {
            let error = client.status::<serde_json::Value>().await.unwrap_err();
            assert!(matches!(error, ClientError::NotReady { .. }), "{error:?}");
        }
        let ready = crate::abuse::plain_http(site.health, "GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
        fs::write(site.path(file), kept).unwrap();
    }
    pair(&site.endpoint(), &code).await.unwrap();
    let ready = crate::abuse::plain_http(site.health, "GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
}

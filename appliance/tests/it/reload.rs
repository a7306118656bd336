//! Certificates that change while the server runs.

use std::fs;

use bloomery_pairing::client::{AdminClient, AdminCredentials, pair};
use rcgen::KeyPair;

use crate::site::{Site, eventually};

#[tokio::test]
async fn takes_a_new_certificate_and_keeps_the_code_as_long_as_the_key_stays() {
    let site = Site::start().await;
    let key = KeyPair::from_pem(&site.server_key).unwrap();
    let server = site.authority.server(&["moved.test"], key);
    fs::write(site.path("tls.crt"), server.certificate).unwrap();
    let paired = pair(&site.endpoint(), &site.code()).await.unwrap();
    let credentials = AdminCredentials {
        certificate_authority: site.authority.pem(),
        client_certificate: paired.response.client_certificate,
        client_key: paired.client_key,
        tls_server_name: Some("moved.test".to_owned()),
    };
    let client = AdminClient::new(site.endpoint(), &credentials).unwrap();
    eventually("the new name is served", async || client.status::<serde_json::Value>().await.ok()).await;
    let paired = pair(&site.endpoint(), &site.code()).await.unwrap();
    assert_eq!(paired.response.server_names, ["moved.test"]);
}

#[tokio::test]
async fn keeps_the_former_certificate_while_the_files_are_unusable() {
    let site = Site::start().await;
    let key = fs::read(site.path("tls.key")).unwrap();
    for damaged in [b"".as_slice(), b"-----BEGIN PRIVATE KEY-----\n", &key[..key.len() / 2]] {
        let failures = reloads_failed(&site).await;
        fs::write(site.path("tls.key"), damaged).unwrap();
        eventually("the change is noticed", async || (reloads_failed(&site).await > failures).then_some(()))
            .await;
        pair(&site.endpoint(), &site.code()).await.unwrap();
    }
}

async fn reloads_failed(site: &Site) -> u64 {
    figure(site, "appliance_certificate_reloads_failed_total ").await
}

async fn figure(site: &Site, name: &str) -> u64 {
    let metrics = crate::abuse::plain_http(site.health, "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let line = metrics.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.rsplit(' ').next()).unwrap().parse().unwrap()
}

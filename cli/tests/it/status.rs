//! `bloomery status` and `bloomery pairing reissue`, with the identity that pairing gave.

use bloomery_pairing::Code;

use crate::run::bloomery;
use crate::site::Site;

/// Pairs; no Kubernetes API listens at the kubeconfig's port.
pub(crate) async fn paired(site: &Site) -> String {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let file = site.path("kubeconfig").display().to_string();
    let (endpoint, code) = (site.endpoint().to_string(), site.code().to_string());
    let run = bloomery(
        &["kubeconfig", "--endpoint", &endpoint, "--code", &code, "--output", &file, "--api-port", &closed],
        "",
    )
    .await;
    assert!(run.success, "{}", run.stderr);
    file
}

#[tokio::test]
async fn finds_the_appliance_by_the_kubeconfig_and_shows_it_while_kubernetes_is_away() {
    let site = Site::start().await;
    let kubeconfig = paired(&site).await;
    let run = bloomery(&["status", "--kubeconfig", &kubeconfig, "-o", "json"], "").await;
    assert!(run.success, "{}", run.stderr);
    let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(report["appliance"]["phase"], "running");
    assert!(report["servers"].is_null());
    assert!(report["serversError"].as_str().unwrap().starts_with("failed to list the servers: "), "{report}");
    let run = bloomery(&["status", "--kubeconfig", &kubeconfig], "").await;
    assert!(run.success, "{}", run.stderr);
    assert!(run.stdout.starts_with("Appliance:  "), "{}", run.stdout);
}

#[tokio::test]
async fn a_reissued_code_is_printed_and_works() {
    let site = Site::start().await;
    let kubeconfig = paired(&site).await;
    let former = site.code();
    let run = bloomery(&["pairing", "reissue", "--kubeconfig", &kubeconfig], "").await;
    assert!(run.success, "{}", run.stderr);
    let code: Code = run.stdout.strip_prefix("Pairing code: ").unwrap().trim().parse().unwrap();
    assert_ne!(code, former);
    assert_eq!(code, site.code());
}

#[tokio::test]
async fn without_a_kubeconfig_says_how_to_get_one() {
    let run = bloomery(&["status"], "").await;
    assert!(!run.success);
    assert!(run.stderr.contains("make one with `bloomery kubeconfig`"), "{}", run.stderr);
}

#[tokio::test]
async fn a_kubeconfig_for_something_else_is_told_apart() {
    let site = Site::start().await;
    let file = site.path("other");
    for (text, told) in [
        ("{}", "current context"),
        ("{current-context: a}", "failed to find the context"),
        (
            "{current-context: a, contexts: [{name: a, context: {cluster: c, user: u}}], \
             clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}], users: [{name: u, user: {token: t}}]}",
            "failed to find the certificate authority",
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        let run = bloomery(&["status", "--kubeconfig", &file.display().to_string()], "").await;
        assert!(!run.success);
        assert!(run.stderr.contains(told), "{text}: {}", run.stderr);
    }
}

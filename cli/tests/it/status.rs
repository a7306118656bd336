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
async fn pairings_are_listed_and_revoked_with_a_new_code() {
    let site = Site::start().await;
    let kubeconfig = paired(&site).await;
    let (other, _) = site.pair().await;
    let run = bloomery(&["pairing", "list", "--kubeconfig", &kubeconfig, "-o", "json"], "").await;
    assert!(run.success, "{}", run.stderr);
    let list: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let own = list["pairings"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!((&list["pairings"][0]["own"], &list["pairings"][1]["own"]), (&true.into(), &false.into()));
    assert_eq!(list["pairings"][1]["id"], other.as_str());

    let run = bloomery(&["pairing", "revoke", &own, "--kubeconfig", &kubeconfig], "").await;
    assert!(!run.success && run.stderr.contains("add --own if you mean it"), "{}", run.stderr);
    let run = bloomery(&["pairing", "revoke", "nobody", "--kubeconfig", &kubeconfig], "").await;
    assert!(!run.success && run.stderr.contains("`bloomery pairing list` shows the IDs"), "{}", run.stderr);

    let former = site.code();
    let run = bloomery(&["pairing", "revoke", &other, "--kubeconfig", &kubeconfig], "").await;
    assert!(run.success, "{}", run.stderr);
    assert!(run.stdout.contains(&format!("Revoked: {other} ")), "{}", run.stdout);
    assert_ne!(site.code(), former);
    assert!(run.stdout.contains(&format!("Pairing code: {}", site.code())), "{}", run.stdout);
    let run = bloomery(&["pairing", "list", "--kubeconfig", &kubeconfig], "").await;
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert!(lines[1].contains("(you)") && lines[1].contains("active"), "{lines:?}");
    assert!(lines[2].starts_with(&other) && lines[2].contains("revoked"), "{lines:?}");
}

#[tokio::test]
async fn a_kubeconfig_renews_in_place_and_keeps_everything_else() {
    let site = Site::start().await;
    let kubeconfig = paired(&site).await;
    let data = |text: &str, name: &str| -> String {
        let line = text.lines().find(|line| line.trim().starts_with(name)).unwrap();
        line.trim().to_owned()
    };
    let mut before = std::fs::read_to_string(&kubeconfig).unwrap();
    before.push_str("preferences: {colors: true}\n");
    std::fs::write(&kubeconfig, &before).unwrap();
    let run = bloomery(&["kubeconfig", "--renew", "--kubeconfig", &kubeconfig], "").await;
    assert!(run.success, "{}", run.stderr);
    assert!(run.stderr.contains("renewed context \"bloomery\""), "{}", run.stderr);
    let after = std::fs::read_to_string(&kubeconfig).unwrap();
    assert_ne!(data(&before, "client-certificate-data"), data(&after, "client-certificate-data"));
    for same in ["client-key-data", "certificate-authority-data", "server:", "endpoint:", "current-context"] {
        assert_eq!(data(&before, same), data(&after, same));
    }
    assert!(after.contains("colors: true"));
    let run = bloomery(&["status", "--kubeconfig", &kubeconfig, "-o", "json"], "").await;
    assert!(run.success, "{}", run.stderr);
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

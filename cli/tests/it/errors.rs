//! What is said when something is wrong: where it is, and what to do about it.

use bloomery_pairing::wire::{ADMIN_GROUP, SHARED_USER};
use data_encoding::BASE64;
use time::OffsetDateTime;

use crate::run::bloomery;
use crate::site::Site;
use crate::status::paired;

/// Runs a command that must fail and checks that one line says all of this.
async fn says(arguments: &[&str], wanted: &[&str]) {
    let run = bloomery(arguments, "").await;
    assert!(!run.success && run.stdout.is_empty(), "{arguments:?}: {}{}", run.stdout, run.stderr);
    println!("{arguments:?}\n  {}", run.stderr.trim());
    assert_eq!(run.stderr.trim().lines().count(), 1, "{arguments:?}: {}", run.stderr);
    for part in wanted {
        assert!(run.stderr.contains(part), "{arguments:?}: {part} in {}", run.stderr);
    }
}

#[tokio::test]
async fn a_kubeconfig_that_cannot_be_used_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    says(&["status"], &["/nonexistent/.kube/config", "make one with `bloomery kubeconfig`", "No such file"])
        .await;
    says(&["trace", "--kubeconfig", &path("none")], &[&path("none"), "--kubeconfig", "No such file"]).await;
    says(&["status", "--kubeconfig", &path("")], &[&path(""), "Is a directory"]).await;
    std::fs::write(path("bad"), "a: [\nb").unwrap();
    says(&["assets", "list", "--kubeconfig", &path("bad")], &[&path("bad"), "line 1"]).await;
    std::fs::write(path("two"), "{contexts: [{name: a}, {name: b}]}").unwrap();
    says(&["status", "--kubeconfig", &path("two")], &["current context", &path("two"), "there: a, b"]).await;
    let other = ["status", "--kubeconfig", &path("two"), "--context", "c"];
    says(&other, &["the context \"c\"", "there: a, b"]).await;
}

#[tokio::test]
async fn an_appliance_that_is_not_there_or_another_one_is_named_with_what_to_do() {
    let (site, other) = (Site::start().await, Site::start().await);
    let kubeconfig = paired(&site).await;
    let closed = ["status", "--kubeconfig", &kubeconfig, "--endpoint", "127.0.0.1:1"];
    says(&closed, &["127.0.0.1:1", "check the address", "refused"]).await;
    let unknown = ["trace", "--kubeconfig", &kubeconfig, "--endpoint", "nowhere.invalid"];
    says(&unknown, &["nowhere.invalid:8443", "check the address"]).await;
    let other = other.endpoint().to_string();
    let other = ["assets", "list", "--kubeconfig", &kubeconfig, "--endpoint", &other];
    says(&other, &["failed to list the assets", "the one that the kubeconfig was made for"]).await;
}

/// Puts another certificate and key into a kubeconfig.
fn put(kubeconfig: &str, certificate: &str, key: &str) {
    let mut lines = Vec::new();
    for line in std::fs::read_to_string(kubeconfig).unwrap().lines() {
        let (name, pem) = match line.trim().split(':').next().unwrap() {
            "client-certificate-data" => ("client-certificate-data", certificate),
            "client-key-data" => ("client-key-data", key),
            _ => {
                lines.push(line.to_owned());
                continue;
            }
        };
        lines.push(format!("    {name}: {}", BASE64.encode(pem.as_bytes())));
    }
    std::fs::write(kubeconfig, lines.join("\n")).unwrap();
}

#[tokio::test]
async fn who_is_no_administrator_is_told_how_to_become_one() {
    let site = Site::start_after(true, Vec::new()).await;
    let kubeconfig = paired(&site).await;
    let somebody = site.authority.client("somebody", "nobodies");
    put(&kubeconfig, &somebody.certificate, &somebody.key.serialize_pem());
    let endpoint = site.endpoint().to_string();
    let commands = [
        &["status"][..],
        &["trace"],
        &["assets", "list"],
        &["pairing", "list"],
        &["pairing", "revoke", "00000000"],
        &["pairing", "reissue"],
        &["kubeconfig", "--renew"],
    ];
    for command in commands {
        let wanted = ["status 403", &endpoint, "`bloomery kubeconfig` gets it for the pairing code"];
        says(&[command, &["--kubeconfig", &kubeconfig]].concat(), &wanted).await;
    }
    let everybody = site.authority.client(SHARED_USER, ADMIN_GROUP);
    put(&kubeconfig, &everybody.certificate, &everybody.key.serialize_pem());
    let upload = ["pairing", "reissue", "--kubeconfig", &kubeconfig];
    says(&upload, &["status 403", "no administrator's rights"]).await;
}

#[tokio::test]
async fn who_was_revoked_or_came_too_late_is_told_what_to_do() {
    let site = Site::start().await;
    let kubeconfig = paired(&site).await;
    let (_, other) = site.pair().await;
    let own = other.pairings().await.unwrap().pairings[0].id.clone();
    other.revoke(&own, false).await.unwrap();
    let wanted = ["was revoked", "`bloomery kubeconfig` gets a new one"];
    for command in [&["status"][..], &["pairing", "reissue"], &["kubeconfig", "--renew"]] {
        says(&[command, &["--kubeconfig", &kubeconfig]].concat(), &wanted).await;
    }
    let mut params = rcgen::CertificateParams::default();
    params.not_after = OffsetDateTime::now_utc() - time::Duration::days(1);
    let key = rcgen::KeyPair::generate().unwrap();
    put(&kubeconfig, &params.self_signed(&key).unwrap().pem(), &key.serialize_pem());
    let expired = ["kubeconfig", "--renew", "--kubeconfig", &kubeconfig];
    says(&expired, &["expired on 20", "pair anew", "--code -"]).await;
}

#[tokio::test]
async fn an_asset_that_cannot_be_taken_is_refused_with_the_reason() {
    let site = Site::start().await;
    let kubeconfig = paired(&site).await;
    let (small, large) = (site.path("small").display().to_string(), site.path("large").display().to_string());
    std::fs::write(&small, "x").unwrap();
    std::fs::File::create(&large).unwrap().set_len((4 << 30) + 1).unwrap();
    let long = "x".repeat(129);
    for (words, wanted) in [
        (&["upload", "/nonexistent/k"][..], &["failed to read /nonexistent/k", "No such file"][..]),
        (&["upload", "/dev"], &["failed to read /dev", "Is a directory"]),
        (&["upload", "/"], &["--name"]),
        (&["upload", "/dev/null"], &["/dev/null", "empty"]),
        (&["upload", &large], &[&large, "4294967297 bytes", "4294967296"]),
        (&["upload", &small, "--name", "a b"], &[&small, "\"a b\"", "want at most 128 letters"]),
        (&["upload", &small, "--name", ".."], &["a letter or digit first"]),
        (&["upload", &small, "--name", &long], &["want at most 128 letters"]),
        (&["upload", &small, "--name", ""], &["empty name"]),
        (
            &["delete", "no"],
            &["failed to delete the asset \"no\"", "bloomery assets list", "there is no asset"],
        ),
        (&["delete", ""], &["empty name"]),
    ] {
        says(&[&["assets"][..], words, &["--kubeconfig", &kubeconfig]].concat(), wanted).await;
    }
}

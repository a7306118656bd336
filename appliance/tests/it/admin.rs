//! The paths behind an administrator's certificate, and the certificates that do not open them.

use std::fs;

use bloomery_pairing::Code;
use bloomery_pairing::client::{AdminClient, ClientError, pair};
use bloomery_pairing::local::Rights;
use bloomery_pairing::wire::{ADMIN_GROUP, LogQuery, PairingState, SHARED_USER, ServiceCommand};

use crate::site::{Authority, Site};

/// Everything that an administrator may ask for, and what each was answered with.
async fn everything(client: &AdminClient, own: &str) -> Vec<(&'static str, Result<(), ClientError>)> {
    vec![
        ("status", client.status::<serde_json::Value>().await.map(drop)),
        ("list", client.pairings().await.map(drop)),
        ("assets", client.assets().await.map(drop)),
        ("log", client.log("worker", &query(1)).await.map(drop)),
        ("hold", client.tell_service("worker", ServiceCommand::Hold).await.map(drop)),
        ("restart", client.tell_service("worker", ServiceCommand::Restart).await.map(drop)),
        ("upload", client.put_asset_piece("k", 0, b"x".to_vec()).await.map(drop)),
        ("delete", client.delete_asset("none").await.map(drop)),
        ("renew", client.renew().await.map(drop)),
        ("reissue", client.reissue().await.map(drop)),
        ("revoke", client.revoke(own, true).await.map(drop)),
    ]
}

/// The last lines of a log.
pub(crate) fn query(lines: u32) -> LogQuery {
    LogQuery { lines, after: None, wait: false }
}

fn is_refused(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused { status: 403, .. } | ClientError::CertificateNotGood { .. })
}

#[tokio::test]
async fn the_admin_reads_the_status_as_pid_1_wrote_it() {
    let site = Site::start().await;
    let (_, client) = site.pair().await;
    let status: serde_json::Value = client.status().await.unwrap();
    assert_eq!(status["phase"], "running");
    fs::remove_file(site.path("status.json")).unwrap();
    let error = client.status::<serde_json::Value>().await.unwrap_err();
    assert!(matches!(error, ClientError::NotReady { .. }), "{error:?}");
}

#[tokio::test]
async fn a_reissued_code_replaces_the_former_one() {
    let site = Site::start().await;
    let former = site.code();
    let (_, client) = site.pair().await;
    let code: Code = client.reissue().await.unwrap().code.parse().unwrap();
    assert_ne!(code, former);
    assert_eq!(code, site.code(), "the file has the new secret");
    let error = pair(&site.endpoint(), &former).await.unwrap_err();
    assert!(matches!(error, ClientError::WrongCode { .. }), "{error:?}");
    pair(&site.endpoint(), &code).await.unwrap();
}

#[tokio::test]
async fn a_reissue_that_cannot_be_written_keeps_the_former_code() {
    let site = Site::start().await;
    let code = site.code();
    let (_, client) = site.pair().await;
    // A directory in the place of the file written aside: not to be removed or opened as one.
    fs::create_dir(site.path("pairing-secret.new")).unwrap();
    fs::write(site.path("pairing-secret.new").join("x"), "").unwrap();
    let error = client.reissue().await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { status: 500, .. }), "{error:?}");
    pair(&site.endpoint(), &code).await.unwrap();
}

#[tokio::test]
async fn other_certificates_are_not_the_admins() {
    let site = Site::start_after(true, Vec::new()).await;
    let (id, _) = site.pair().await;
    let elses = Authority::new();
    let admins = format!("admin:alice@laptop#{id}");
    for (user, group) in [
        ("bloomery:controllers", "x"),
        ("bloomery:apply", "system:masters"),
        (SHARED_USER, "x"),
        ("x", ADMIN_GROUP),
        // The servers' authority signs for no pairing, even while it is taken for the earlier version's certificate.
        (admins.as_str(), ADMIN_GROUP),
    ] {
        for authority in [&site.authority, &elses] {
            let client = site.client_of(&authority.client(user, group));
            for (what, outcome) in everything(&client, &id).await {
                let error = outcome.unwrap_err();
                assert!(is_refused(&error), "{user}: {what}: {error:?}");
            }
        }
    }
}

#[tokio::test]
async fn another_appliances_certificate_of_the_earlier_version_is_not_taken() {
    let site = Site::start_after(true, Vec::new()).await;
    let client = site.client_of(&Authority::new().client(SHARED_USER, ADMIN_GROUP));
    for (what, outcome) in everything(&client, "shared").await {
        assert!(is_refused(&outcome.unwrap_err()), "{what}");
    }
}

#[tokio::test]
async fn a_revoked_pairing_is_refused_everywhere_at_once_and_cannot_come_back() {
    let site = Site::start().await;
    let ((_, alice), (bobs, bob)) = (site.pair().await, site.pair().await);
    let known_code = site.code();
    bob.status::<serde_json::Value>().await.unwrap();
    let revoked = alice.revoke(&bobs, false).await.unwrap();
    assert_eq!(revoked.revoked.state, PairingState::Revoked);
    for (what, outcome) in everything(&bob, &bobs).await {
        let error = outcome.unwrap_err();
        assert!(matches!(error, ClientError::CertificateNotGood { .. }), "{what}: {error:?}");
    }
    let error = pair(&site.endpoint(), &known_code).await.unwrap_err();
    assert!(matches!(error, ClientError::WrongCode { .. }), "the code that was known: {error:?}");
    assert_eq!(revoked.code, Some(site.code().to_string()));
    alice.status::<serde_json::Value>().await.unwrap();
    let list = alice.pairings().await.unwrap().pairings;
    let states: Vec<_> = list.iter().map(|pairing| (pairing.state, pairing.own)).collect();
    assert_eq!(states, [(PairingState::Active, true), (PairingState::Revoked, false)]);
    let lines = site.machine.audit_log();
    assert!(lines.iter().any(|line| line.contains(&format!("action=\"revoke {bobs}\""))), "{lines:?}");
}

#[tokio::test]
async fn a_certificate_renews_for_its_own_key() {
    let site = Site::start().await;
    let (id, client) = site.pair().await;
    let renewed = client.renew().await.unwrap();
    assert_eq!(renewed.id, id);
    assert!(bloomery_pairing::client::expiry(&renewed.client_certificate).is_some());
    let list = client.pairings().await.unwrap().pairings;
    assert!(list[0].renewed.is_some(), "{list:?}");
}

#[tokio::test]
async fn both_ports_ask_the_same_authority() {
    let site = Site::start().await;
    let (id, client) = site.pair().await;
    site.machine.say(Rights::Less);
    for (what, outcome) in everything(&client, &id).await {
        let error = outcome.unwrap_err();
        assert!(matches!(error, ClientError::Refused { status: 403, .. }), "{what}: {error:?}");
    }
}

#[tokio::test]
async fn while_kubernetes_is_away_the_admin_reads_restarts_revokes_and_changes_nothing_else() {
    let site = Site::start().await;
    let ((_, client), (other, _)) = (site.pair().await, site.pair().await);
    site.machine.say(Rights::Unreachable);
    for (what, outcome) in everything(&client, &other).await {
        match what {
            // Taking access away does not wait for Kubernetes, nor does what may bring it back.
            "status" | "list" | "assets" | "log" | "revoke" | "restart" => outcome.unwrap(),
            _ => {
                let error = outcome.unwrap_err();
                assert!(matches!(error, ClientError::NotReady { .. }), "{what}: {error:?}");
            }
        }
    }
}

#[tokio::test]
async fn the_earlier_versions_certificate_reads_until_it_is_revoked_and_gets_no_code() {
    let site = Site::start_after(true, Vec::new()).await;
    let (id, client) = site.pair().await;
    let shared = site.client_of(&site.authority.client(SHARED_USER, ADMIN_GROUP));
    for (what, outcome) in everything(&shared, &id).await {
        match what {
            "status" | "list" | "assets" | "log" => outcome.unwrap(),
            _ => assert!(matches!(outcome, Err(ClientError::Refused { status: 403, .. })), "{what}"),
        }
    }
    client.revoke("shared", true).await.unwrap();
    for (what, outcome) in everything(&shared, &id).await {
        assert!(is_refused(&outcome.unwrap_err()), "{what}");
    }
}

#[tokio::test]
async fn what_was_uploaded_stands_in_the_audit_log() {
    let site = Site::start().await;
    let (id, client) = site.pair().await;
    client.put_asset_piece("ca.pem", 0, b"x".to_vec()).await.unwrap();
    client.complete_asset("ca.pem", "00").await.unwrap_err();
    let sha512 = "a4abd4448c49562d828115d13a1fccea927f52b4d5459297f8b43e42da89238b\
                  c13626e43dcb38ddb082488927ec904fb42057443983e88585179d50551afe62";
    client.put_asset_piece("ca.pem", 0, b"x".to_vec()).await.unwrap();
    client.complete_asset("ca.pem", sha512).await.unwrap();
    let lines: Vec<String> =
        site.machine.audit_log().into_iter().filter(|line| line.contains("upload ca.pem")).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for line in &lines {
        assert!(line.contains(&format!("#{id}\"")) && line.contains("127.0.0.1"), "{line}");
    }
    assert!(!lines[0].contains("result=\"ok\"") && lines[1].contains("result=\"ok\""), "{lines:?}");
}

//! The paths behind the admin certificate.

use std::fs;

use bloomery_pairing::Code;
use bloomery_pairing::client::{ClientError, pair};
use bloomery_pairing::wire::{ADMIN_GROUP, ADMIN_USER};

use crate::site::{Authority, Site};

#[tokio::test]
async fn the_admin_reads_the_status_as_pid_1_wrote_it() {
    let site = Site::start().await;
    let client = site.admin_client(&site.admin);
    let status: serde_json::Value = client.status().await.unwrap();
    assert_eq!(status, serde_json::json!({"phase": "running"}));
    fs::remove_file(site.path("status.json")).unwrap();
    let error = client.status::<serde_json::Value>().await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { status: 503, .. }), "{error:?}");
}

#[tokio::test]
async fn a_reissued_code_replaces_the_former_one() {
    let site = Site::start().await;
    let former = site.code();
    let reissued = site.admin_client(&site.admin).reissue().await.unwrap();
    let code: Code = reissued.code.parse().unwrap();
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
    // A directory in the place of the file written aside: not to be removed or opened as one.
    fs::create_dir(site.path("pairing-secret.new")).unwrap();
    fs::write(site.path("pairing-secret.new").join("x"), "").unwrap();
    let error = site.admin_client(&site.admin).reissue().await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { status: 500, .. }), "{error:?}");
    pair(&site.endpoint(), &code).await.unwrap();
}

#[tokio::test]
async fn other_certificates_of_the_same_authority_are_not_the_admin() {
    let site = Site::start().await;
    for (user, group) in [
        ("bloomery:controllers", "x"),
        (ADMIN_USER, "x"),
        ("x", ADMIN_GROUP),
        ("system:kube-controller-manager", "system:masters"),
    ] {
        let client = site.admin_client(&site.authority.client(user, group));
        for error in
            [client.status::<serde_json::Value>().await.unwrap_err(), client.reissue().await.unwrap_err()]
        {
            assert!(matches!(error, ClientError::Refused { status: 403, .. }), "{user}: {error:?}");
        }
    }
}

#[tokio::test]
async fn a_client_authority_that_is_named_replaces_the_identitys() {
    let other = Authority::new();
    let site = Site::start_with(Some(&other.pem())).await;
    let named = site.admin_client(&other.client(ADMIN_USER, ADMIN_GROUP));
    named.status::<serde_json::Value>().await.unwrap();
    let error = site.admin_client(&site.admin).status::<serde_json::Value>().await.unwrap_err();
    assert!(matches!(error, ClientError::Tls { .. } | ClientError::Http { .. }), "{error:?}");
}

#[tokio::test]
async fn certificates_of_another_authority_do_not_even_connect() {
    let site = Site::start().await;
    let client = site.admin_client(&Authority::new().client(ADMIN_USER, ADMIN_GROUP));
    let error = client.status::<serde_json::Value>().await.unwrap_err();
    assert!(
        matches!(error, ClientError::Tls { .. } | ClientError::Http { .. }),
        "the handshake fails, or the first read after it: {error:?}"
    );
}

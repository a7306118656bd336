//! etcd as it is declared, with a small quota: filled by writes until it refuses them, it comes back by itself; and
//! kube-apiserver as it is declared, which encrypts Secrets in it.

mod keys;
mod plane;

use bloomery_testkit::eventually;
use init::etcd::decide::{EARLY_PAUSE, Past, needs_reserve};
use init::etcd::{Told, keep_room};
use plane::Plane;
use serde_json::json;
use std::time::Duration;

/// The smallest that leaves room for etcd's own keys.
const QUOTA: u64 = 16 << 20;
/// Octets of one value.
const VALUE: usize = 1 << 20;

/// Room was made so long ago.
fn made_room(ago: Duration) -> Past {
    Past { since_room: Some(ago), ..Past::default() }
}

/// The look before saw this revision.
fn looked(revision: Option<i64>) -> Past {
    Past { revision, ..Past::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_etcd_takes_writes_again_by_itself_and_again_after_a_restart() {
    let mut plane = Plane::new(QUOTA);
    plane.start("etcd").await;
    let client = plane.etcd_client().await;
    assert!(matches!(keep_room(&client, &Past::default()).await.unwrap(), Told::Nothing(_)));
    assert_eq!(client.look().await.unwrap().quota, QUOTA);

    // One key written again and again: history fills the file.
    plane.put_until_refused("history", VALUE).await;
    assert!(client.look().await.unwrap().no_space);
    let told = keep_room(&client, &Past::default()).await.unwrap();
    let Told::MadeRoom { before, after } = told else { panic!("{told:?}") };
    assert!(before.no_space && !after.no_space, "{told:?}");
    assert!(after.size < QUOTA / 4, "{told:?}");
    plane.put("history", VALUE).await.unwrap();

    // The alarm outlives etcd (F28), and ends all the same.
    plane.put_until_refused("history", VALUE).await;
    plane.stop("etcd").await;
    plane.start("etcd").await;
    let client = plane.etcd_client().await;
    assert!(plane.put("history", VALUE).await.unwrap_err().contains("space exceeded"));
    assert!(matches!(keep_room(&client, &Past::default()).await.unwrap(), Told::MadeRoom { .. }));
    plane.put("history", VALUE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn room_is_made_before_etcd_refuses_and_full_is_said() {
    let mut plane = Plane::new(QUOTA);
    plane.start("etcd").await;
    let client = plane.etcd_client().await;
    let mut made = 0;
    // Four times the quota, with a look between: no write is ever refused.
    for number in 0..64 {
        plane.put("busy", VALUE).await.unwrap_or_else(|error| panic!("write {number}: {error}"));
        if matches!(keep_room(&client, &Past::default()).await.unwrap(), Told::MadeRoom { .. }) {
            made += 1;
        }
    }
    assert!((3..20).contains(&made), "room was made {made} times");

    // Content that is needed cannot be made smaller: it is said, and not tried all the time.
    let mut kept = 0;
    let after = loop {
        assert!(kept < 200, "never full");
        if plane.put(&format!("kept-{kept}"), VALUE / 4).await.is_ok() {
            kept += 1;
            continue;
        }
        let told = keep_room(&client, &Past::default()).await.unwrap();
        let Told::MadeRoom { after, .. } = told else { panic!("{told:?}") };
        if after.is_full() {
            break after;
        }
    };
    let again = keep_room(&client, &made_room(Duration::ZERO)).await.unwrap();
    assert!(matches!(again, Told::Waits(_)), "{again:?}");
    if after.no_space {
        // Content alone reaches the quota: the reserve makes room for the last writes of what is deleted.
        assert!(needs_reserve(&after, false, QUOTA), "{after:?}");
        plane.set_quota(QUOTA / 4 * 5);
        plane.stop("etcd").await;
        plane.start("etcd").await;
        let told = keep_room(&plane.etcd_client().await, &Past::default()).await.unwrap();
        assert!(matches!(told, Told::MadeRoom { after, .. } if !after.no_space), "{told:?}");
    }
    let client = plane.etcd_client().await;
    plane.put("kept-0", 10).await.unwrap();
    // What a person deletes is room.
    for number in 0..kept {
        plane.delete(&format!("kept-{number}")).await.unwrap();
    }
    let told = keep_room(&client, &made_room(EARLY_PAUSE)).await.unwrap();
    let Told::MadeRoom { after, .. } = told else { panic!("{told:?}") };
    assert!(!after.is_full() && !needs_reserve(&after, true, QUOTA), "{after:?}");
    plane.put("kept-0", VALUE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_burst_left_in_the_file_goes_when_nothing_is_written() {
    let mut plane = Plane::new(1 << 30);
    plane.start("etcd").await;
    let client = plane.etcd_client().await;
    for _ in 0..64 {
        plane.put("burst", VALUE).await.unwrap();
    }
    // History is in use until etcd compacts it.
    let look = client.look().await.unwrap();
    let quiet = Some(look.revision);
    assert!(matches!(keep_room(&client, &looked(quiet)).await.unwrap(), Told::Nothing(_)), "{look:?}");
    client.compact(look.revision).await.unwrap();
    // At first it is unknown whether there are writes, then there are.
    for (revision, is_made_smaller) in [(None, false), (Some(look.revision - 100), false), (quiet, true)] {
        let told = keep_room(&client, &looked(revision)).await.unwrap();
        assert_eq!(matches!(told, Told::Shrunk { .. }), is_made_smaller, "{revision:?} {told:?}");
    }
    let after = client.look().await.unwrap();
    assert!(after.size < 8 << 20, "{after:?}");
    plane.put("burst", VALUE).await.unwrap();
}

/// A Secret with this text in it.
fn secret(name: &str, text: &str) -> serde_json::Value {
    json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": { "pass": text } })
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_not_in_etcds_files_and_old_ones_are_written_again() {
    const PATH: &str = "/api/v1/namespaces/default/secrets";
    let mut plane = Plane::new(1 << 30);
    plane.start("etcd").await;
    // A plane from before Secrets were encrypted.
    plane.encrypt(false);
    plane.start("kube-apiserver").await;
    plane.api("POST", PATH, Some(&secret("old", "an-old-plain-password"))).await.unwrap();
    assert!(plane.etcd_files_hold(b"an-old-plain-password"));
    plane.stop("kube-apiserver").await;

    plane.encrypt(true);
    plane.start("kube-apiserver").await;
    plane.api("POST", PATH, Some(&secret("new", "a-new-secret-password"))).await.unwrap();
    let old = plane.api("GET", &format!("{PATH}/old"), None).await.unwrap();
    // What `controllers apply` does: the Secret is replaced by itself.
    plane.api("PUT", &format!("{PATH}/old"), Some(&old)).await.unwrap();
    for name in ["old", "new"] {
        let value = plane.etcd_value(&format!("/registry/secrets/default/{name}")).await;
        let prefix = format!("k8s:enc:secretbox:v1:{}:", plane.key_name());
        assert!(value.starts_with(prefix.as_bytes()), "{name}: {:?}", String::from_utf8_lossy(&value));
    }
    assert!(!plane.etcd_files_hold(b"a-new-secret-password"));

    // Both are there after a restart of everything.
    plane.stop("kube-apiserver").await;
    plane.stop("etcd").await;
    plane.start("etcd").await;
    plane.start("kube-apiserver").await;
    for (name, text) in [("old", "an-old-plain-password"), ("new", "a-new-secret-password")] {
        let read = plane.api("GET", &format!("{PATH}/{name}"), None).await.unwrap();
        assert_eq!(plane::decoded(&read["data"]["pass"]), text);
    }

    // The audit log names the writes, and holds nothing of what was written.
    eventually("the audit log names the writes", async || {
        let log = plane.audit_log();
        let named = log.contains("\"verb\":\"create\"") && log.contains("\"name\":\"new\"");
        if named { Ok(()) } else { Err(log) }
    })
    .await;
    let log = plane.audit_log();
    assert!(!log.contains("password") && !log.contains("\"verb\":\"get\""), "{log}");
}

//! The claim that goes on record before a bound machine is given its node system, and attempts to get the system
//! without it.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::decisions::{UUID, ask, bound, environment, kernel_of, recorded};
use super::{Lab, Setup};
use crate::tests::fake_api::{Failure, PLANE, binding, disks, metal, plane_held_by};

const REFUSED: (StatusCode, String) = (StatusCode::INTERNAL_SERVER_ERROR, String::new());
const STATES: [&str; 4] = ["neverUsed", "released", "clean", ""];

fn lab(state: &str) -> Lab {
    let lab = Lab::start(Setup::default());
    environment(&lab, "default", &[]);
    bound(&lab, None);
    recorded(&lab, state, json!({}), json!({}));
    lab
}

fn is_environment(answer: &(StatusCode, String)) -> bool {
    answer.0 == StatusCode::OK && kernel_of(&answer.1).starts_with("kernel /env/default/vmlinuz")
}

fn annotations(lab: &Lab) -> Value {
    lab.api.object(&metal("servers", UUID)).unwrap()["metadata"]["annotations"].clone()
}

fn record(lab: &Lab) -> Value {
    annotations(lab)["bloomery.dev/disks"]
        .as_str()
        .map_or(Value::Null, |text| serde_json::from_str(text).unwrap())
}

fn writes(lab: &Lab) -> usize {
    lab.api.writes().iter().filter(|(_, path)| *path == metal("servers", UUID)).count()
}

#[tokio::test]
async fn a_binding_that_nobody_recorded_is_on_record_before_its_machine_boots_and_once() {
    for state in STATES {
        let lab = lab(state);
        assert!(is_environment(&ask(&lab).await), "{state}");
        let written = record(&lab);
        let uid = format!("uid-of-{UUID}");
        assert_eq!(
            (&written["state"], &written["binding"], &written["serverUID"], &written["epoch"]),
            (&json!("bound"), &json!(uid), &json!(uid), &json!(1)),
            "{state}"
        );
        for _ in 0..3 {
            assert!(is_environment(&ask(&lab).await));
        }
        assert_eq!((writes(&lab), record(&lab)), (1, written), "{state}");
        // Made and deleted by force while no controller looked: the machine boots its disk, not the agent.
        lab.api.delete(&binding(UUID));
        assert_eq!(ask(&lab).await, (StatusCode::OK, "#!ipxe\nexit\n".to_owned()), "{state}");
    }
    let recorded = lab("bound");
    assert!(is_environment(&ask(&recorded).await));
    assert_eq!(writes(&recorded), 0, "it is as the controllers wrote it");
}

#[tokio::test]
async fn without_the_claim_on_record_nothing_is_given() {
    for failure in [Failure::Status(500), Failure::Status(403), Failure::Page(502), Failure::Hang] {
        let lab = lab("neverUsed");
        lab.api.fail_writes(&metal("servers", UUID), failure);
        assert_eq!(ask(&lab).await, REFUSED, "{failure:?}");
        assert_eq!(record(&lab)["state"], "neverUsed");
        lab.api.heal(&metal("servers", UUID));
        assert!(is_environment(&ask(&lab).await), "{failure:?}");
        assert_eq!(record(&lab)["state"], "bound");
    }
}

#[tokio::test]
async fn a_server_that_changed_meanwhile_is_decided_anew() {
    // The controllers were quicker.
    let quick = lab("neverUsed");
    quick.api.meddle(&metal("servers", UUID), |server| {
        server["metadata"]["annotations"] = disks("bound", UUID);
    });
    assert!(is_environment(&ask(&quick).await));
    assert_eq!((writes(&quick), &record(&quick)["state"]), (1, &json!("bound")));
    // It was replaced: what was read is not what is there.
    let replaced = lab("neverUsed");
    replaced.api.meddle(&metal("servers", UUID), |server| server["metadata"]["uid"] = json!("another"));
    assert!(is_environment(&ask(&replaced).await));
    assert_eq!(record(&replaced)["serverUID"], "another");
}

#[tokio::test]
async fn a_confirmation_of_a_wipe_does_not_outlive_the_boot() {
    for state in ["neverUsed", "bound", ""] {
        let lab = lab(state);
        lab.api.change(&metal("servers", UUID), |server| {
            server["metadata"]["annotations"]["bloomery.dev/confirm-wipe"] = json!(format!("uid-of-{UUID}"));
        });
        assert!(is_environment(&ask(&lab).await), "{state}");
        assert!(annotations(&lab)["bloomery.dev/confirm-wipe"].is_null(), "{state}");
        assert_eq!(record(&lab)["state"], "bound", "{state}");
    }
}

#[tokio::test]
async fn what_boots_nothing_new_puts_nothing_on_record() {
    let head = lab("neverUsed");
    let request = head.request(Method::HEAD, &format!("/ipxe?uuid={UUID}"));
    assert_eq!(head.send(request).await.0.status(), StatusCode::OK);
    assert_eq!(writes(&head), 0);

    let unready = lab("neverUsed");
    unready.api.delete(&metal("environments", "default"));
    assert_eq!(ask(&unready).await.0, StatusCode::NOT_FOUND);
    assert_eq!(writes(&unready), 0);

    let fenced = lab("neverUsed");
    fenced.api.put(PLANE, plane_held_by("another"));
    assert_eq!(ask(&fenced).await, REFUSED);
    assert_eq!(writes(&fenced), 0);
    // An installed node boots its disk even where nothing can be written (promise S9).
    let installed = lab("neverUsed");
    recorded(
        &installed,
        "neverUsed",
        json!({}),
        json!({ "conditions": [
        { "type": "PXEBooted", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" } ] }),
    );
    installed.api.fail_writes(&metal("servers", UUID), Failure::Status(500));
    assert_eq!(ask(&installed).await, (StatusCode::OK, "#!ipxe\nexit\n".to_owned()));
}

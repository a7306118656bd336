//! Machines that register with a state that was restored: it may not know whom a cluster uses.

use serde_json::{Value, json};

use super::calls::{client, request};
use super::mapping::UUID;
use super::{events, with};
use crate::http::tests::{Lab, Setup};
use crate::tests::fake_api::{FakeApi, PLANE, metal, plane_held_by};

const MARK: &str = "2026-01-01T00:00:00Z the state was restored";
const OTHER: &str = "5c5c5544-0042-3110-8051-b7c04f4e3332";

fn plane(mark: Option<&str>) -> Value {
    let mut plane = plane_held_by("own");
    if let Some(mark) = mark {
        plane["metadata"]["annotations"] = json!({ "bloomery.dev/restored": mark });
    }
    plane
}

fn lab(auto_accept: bool, mark: Option<&str>) -> Lab {
    let api = FakeApi::default();
    api.put(PLANE, plane(mark));
    Lab::start(Setup { auto_accept, api: Some(api), ..Setup::default() })
}

fn server(lab: &Lab, uuid: &str) -> Value {
    lab.api.object(&metal("servers", uuid)).unwrap()
}

#[tokio::test]
async fn a_machine_that_a_restored_state_does_not_know_waits_for_a_person() {
    // The text is for people: whatever it is, it counts.
    for mark in [MARK, "", "false"] {
        let lab = lab(true, Some(mark));
        let token = lab.boot(UUID).await;
        let mut agent = client(&lab).await;
        for _ in 0..3 {
            let told = agent.create_server(with(request(UUID), token.as_deref())).await.unwrap().into_inner();
            assert!(!told.wipe && !told.setup_bmc, "{told:?}");
        }
        let made = server(&lab, UUID);
        assert_eq!(made["spec"]["accepted"], json!(false));
        assert_eq!(made["metadata"]["annotations"]["bloomery.dev/unknown-after-restore"], mark);
        let event = &events(&lab, 1).await[0];
        assert_eq!(event["type"], "Warning");
        assert!(event["message"].as_str().unwrap().contains("A cluster may use it"), "{event}");
        // Looked at, and accepted by a person.
        lab.api.change(&metal("servers", UUID), |server| server["spec"]["accepted"] = json!(true));
        let told = agent.create_server(with(request(UUID), token.as_deref())).await.unwrap().into_inner();
        assert!(told.wipe, "{told:?}");
    }
}

#[tokio::test]
async fn without_the_mark_machines_are_accepted_as_asked_for() {
    let lab = lab(true, None);
    let token = lab.boot(UUID).await;
    let told =
        client(&lab).await.create_server(with(request(UUID), token.as_deref())).await.unwrap().into_inner();
    assert!(told.wipe, "{told:?}");
    assert!(server(&lab, UUID)["metadata"]["annotations"]["bloomery.dev/unknown-after-restore"].is_null());
    // Nobody asked for acceptance: nothing is special about it.
    let manual = self::lab(false, Some(MARK));
    client(&manual).await.create_server(request(UUID)).await.unwrap();
    assert!(server(&manual, UUID)["metadata"]["annotations"]["bloomery.dev/unknown-after-restore"].is_null());
    assert_eq!(events(&manual, 1).await[0]["message"], "Server auto-registered via API.");
}

#[tokio::test]
async fn once_the_mark_is_removed_new_machines_are_accepted_and_those_that_wait_go_on_waiting() {
    let marked = lab(true, Some(MARK));
    client(&marked).await.create_server(request(UUID)).await.unwrap();
    marked.api.put(PLANE, plane(None));
    // A second process, which remembers nothing of before.
    let lab = Lab::start(Setup { auto_accept: true, api: Some(marked.api.clone()), ..Setup::default() });
    let mut agent = client(&lab).await;
    agent.create_server(request(UUID)).await.unwrap();
    let mut other = request(OTHER);
    let hardware = other.hardware.as_mut().unwrap();
    hardware.system.as_mut().unwrap().serial_number = "SN2".to_owned();
    hardware.network.as_mut().unwrap().interfaces[0].mac = "52:54:00:77:00:02".to_owned();
    agent.create_server(other).await.unwrap();
    assert_eq!(server(&lab, UUID)["spec"]["accepted"], json!(false));
    assert_eq!(server(&lab, OTHER)["spec"]["accepted"], json!(true));
}

//! Register, accept, wipe, clean: who is told to wipe, and whose word that it is done is taken.

use bloomery_agent_api as pb;
use bloomery_agent_api::agent_client::AgentClient;
use bloomery_agent_api::disk_progress::State;
use serde_json::{Value, json};
use tonic::{Code, Status};

use super::calls::{Caller, client, request};
use super::mapping::UUID;
use super::{events, with};
use crate::http::tests::{Lab, Setup};
use crate::tests::fake_api::{Failure, PLANE, binding, disks, disks_of, metal, plane_held_by};

pub(super) fn server() -> String {
    metal("servers", UUID)
}

/// An accepted Server with this record.
pub(super) fn put(lab: &Lab, state: &str) {
    let object = json!({
        "metadata": { "annotations": disks(state, UUID), "finalizers": ["storage.finalizers.server.k8s.io"] },
        // Both disks were blank when it registered.
        "spec": { "accepted": true, "hardware": { "storage": { "devices": [
            { "deviceName": "/dev/sda", "contents": {} }, { "deviceName": "/dev/sdb", "contents": {} } ] } } },
    });
    lab.api.put(&server(), object);
}

pub(super) fn disk(device: &str, state: State, done: u64) -> pb::DiskProgress {
    pb::DiskProgress {
        device: device.to_owned(),
        size: 1000,
        done,
        state: state.into(),
        error: if state == State::Failed { "input/output error".to_owned() } else { String::new() },
        serial: "SN9".to_owned(),
        ..pb::DiskProgress::default()
    }
}

/// Both disks of the inventory, wiped.
pub(super) fn done() -> Vec<pb::DiskProgress> {
    ["sda", "sdb"].map(|name| disk(name, State::Wiped, 1000)).into()
}

pub(super) async fn register(
    agent: &mut Caller,
    token: Option<&str>,
) -> Result<pb::CreateServerResponse, Status> {
    let told = agent.create_server(with(request(UUID), token)).await.map(tonic::Response::into_inner)?;
    if told.wipe {
        agent.order.clone_from(&told.order);
    }
    Ok(told)
}

pub(super) async fn beat(
    agent: &mut Caller,
    token: Option<&str>,
    disks: Vec<pb::DiskProgress>,
) -> Result<(), Status> {
    let message = pb::HeartbeatRequest { uuid: UUID.to_owned(), disks };
    agent.heartbeat(with(message, token)).await.map(|_| ())
}

pub(super) async fn wiped(
    agent: &mut Caller,
    token: Option<&str>,
    disks: Vec<pb::DiskProgress>,
) -> Result<(), Status> {
    let message = pb::MarkServerAsWipedRequest { uuid: UUID.to_owned(), disks, order: agent.order.clone() };
    agent.mark_server_as_wiped(with(message, token)).await.map(|_| ())
}

pub(super) fn condition(lab: &Lab, type_: &str) -> Value {
    let conditions = lab.api.object(&server()).unwrap()["status"]["conditions"].clone();
    let found = conditions.as_array().into_iter().flatten().find(|condition| condition["type"] == type_);
    found.cloned().unwrap_or_default()
}

pub(super) fn state(lab: &Lab) -> String {
    let server = lab.api.object(&server()).unwrap();
    let record = server["metadata"]["annotations"]["bloomery.dev/disks"].as_str().unwrap_or("{}").to_owned();
    serde_json::from_str::<Value>(&record).unwrap()["state"].as_str().unwrap_or_default().to_owned()
}

/// A machine with this record that has called and was told to wipe: the agent of it, and its token.
pub(super) async fn told_to_wipe(state: &str) -> (Lab, Caller, Option<String>) {
    let lab = Lab::start(Setup::default());
    put(&lab, state);
    let token = lab.boot(UUID).await;
    let mut agent = client(&lab).await;
    assert!(register(&mut agent, token.as_deref()).await.unwrap().wipe);
    (lab, agent, token)
}

fn is_clean(lab: &Lab) -> bool {
    lab.api.object(&server()).unwrap()["status"]["isClean"] == json!(true)
}

#[tokio::test]
async fn a_machine_goes_from_unknown_to_clean() {
    let lab = Lab::start(Setup::default());
    let token = lab.boot(UUID).await;
    let token = token.as_deref();
    let mut agent = client(&lab).await;
    assert!(!register(&mut agent, token).await.unwrap().wipe);
    lab.api.change(&server(), |server| server["spec"]["accepted"] = json!(true));
    let orders = register(&mut agent, token).await.unwrap();
    assert!(orders.wipe && orders.insecure_wipe && orders.setup_bmc && !orders.restart, "{orders:?}");
    assert_eq!((orders.reboot_timeout, orders.message.as_str()), (1200.0, "its disks are wiped"));

    assert_eq!(condition(&lab, "DisksWiped")["message"], json!("ordered; the agent begins"));
    for done in [State::Wiping, State::Wiped] {
        let going = vec![disk("sda", State::Wiping, 455), disk("sdb", done, 1000)];
        beat(&mut agent, token, going).await.unwrap();
    }
    let cycle = condition(&lab, "PowerCycle");
    assert_eq!(
        (&cycle["status"], &cycle["reason"], &cycle["severity"], &cycle["message"]),
        (&json!("False"), &json!("InProgress"), &json!("Info"), &json!("Server wipe in progress."))
    );
    let wiping = condition(&lab, "DisksWiped");
    assert_eq!((&wiping["reason"], &wiping["message"]), (&json!("Wiping"), &json!("sda 45 %, sdb done")));

    let done = vec![disk("sda", State::Wiped, 1000), disk("sdb", State::Wiped, 1000)];
    wiped(&mut agent, token, done.clone()).await.unwrap();
    assert_eq!(state(&lab), "clean");
    assert!(is_clean(&lab));
    assert_eq!(condition(&lab, "PowerCycle")["status"], json!("True"));
    assert_eq!(condition(&lab, "DisksWiped")["reason"], json!("Wiped"));
    let events = events(&lab, 2).await;
    let wipe = events.iter().find(|event| event["reason"] == "Server Wipe").unwrap();
    assert_eq!((&wipe["message"], &wipe["type"]), (&json!("Server wiped via agent."), &json!("Normal")));

    // Once more changes nothing.
    let writes = lab.api.writes().len();
    wiped(&mut agent, token, done).await.unwrap();
    assert_eq!(lab.api.writes().len(), writes);
    let orders = register(&mut agent, token).await.unwrap();
    assert_eq!((orders.wipe, orders.message.as_str()), (false, "the disks are clean"));
}

#[tokio::test]
async fn heartbeats_are_written_when_something_changed_or_time_passed() {
    let lab = Lab::start(Setup::default());
    put(&lab, "released");
    let token = lab.boot(UUID).await;
    let token = token.as_deref();
    let mut agent = client(&lab).await;
    let before = lab.api.writes().len();
    for done in 0..20 {
        beat(&mut agent, token, vec![disk("sda", State::Wiping, done)]).await.unwrap();
    }
    assert_eq!(lab.api.writes().len(), before + 1);
    beat(&mut agent, token, vec![disk("sda", State::Wiped, 1000)]).await.unwrap();
    assert_eq!(lab.api.writes().len(), before + 2);
}

#[tokio::test]
async fn a_machine_that_is_wiped_does_not_stand_in_line_behind_a_hall_of_new_ones() {
    /// Calls of one connection; far more than are worked on at once.
    const NEW: usize = 30;
    let (lab, mut agent, token) = told_to_wipe("released").await;
    let token = token.as_deref();
    let mut hall = tokio::task::JoinSet::new();
    let servers = "/apis/metal.sidero.dev/v1alpha2/servers";
    lab.api.fail(servers, Failure::Hang);
    let uuids: Vec<String> =
        (0..4 * NEW).map(|machine| format!("0ca11000-0000-4000-8000-{machine:012}")).collect();
    for some in uuids.chunks(NEW) {
        let agent = client(&lab).await;
        for uuid in some {
            let (mut agent, uuid) = (AgentClient::clone(&agent), uuid.clone());
            let mut machine = request(&uuid);
            let hardware = machine.hardware.as_mut().unwrap();
            hardware.system.as_mut().unwrap().serial_number.clone_from(&uuid);
            let number = uuid[32..].parse::<u32>().unwrap();
            hardware.network.as_mut().unwrap().interfaces[0].mac =
                format!("52:54:00:99:{:02x}:{:02x}", number >> 8, number & 255);
            hall.spawn(async move { agent.create_server(machine).await });
        }
    }
    while !lab.api.writes().iter().any(|(_, path)| path == servers) {
        tokio::task::yield_now().await;
    }
    // Without a line of their own these would be told to call again.
    beat(&mut agent, token, vec![disk("sda", State::Wiping, 1)]).await.unwrap();
    wiped(&mut agent, token, done()).await.unwrap();
    assert!(is_clean(&lab));
    hall.abort_all();
}

#[tokio::test]
async fn a_disk_that_fails_is_named_and_the_machine_stays_unclean() {
    let (lab, mut agent, token) = told_to_wipe("neverUsed").await;
    let token = token.as_deref();
    let failed = vec![disk("sda", State::Wiped, 1000), disk("sdb", State::Failed, 3)];
    beat(&mut agent, token, failed.clone()).await.unwrap();
    let refused = wiped(&mut agent, token, failed).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("sdb"), "{refused:?}");
    let seen = condition(&lab, "DisksWiped");
    assert_eq!(
        (&seen["status"], &seen["severity"], &seen["reason"], &seen["message"]),
        (&json!("False"), &json!("Error"), &json!("WipeFailed"), &json!("sdb (SN9): input/output error"))
    );
    assert!(!is_clean(&lab));
    assert_eq!(state(&lab), "neverUsed");
    let all = events(&lab, 1).await;
    let failures: Vec<_> = all.iter().filter(|event| event["type"] == "Warning").collect();
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0]["reason"], json!("Server Wipe"));
    // One that waits is not wiped either.
    let refused = wiped(&mut agent, token, vec![disk("sda", State::Pending, 0)]).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(!is_clean(&lab));
    // A report that leaves a disk out, or all, is not believed (only upstream's agents report none).
    for left_out in [vec![disk("sda", State::Wiped, 1000)], Vec::new(), vec![disk("sdx", State::Wiped, 1); 2]]
    {
        let refused = wiped(&mut agent, token, left_out).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(refused.message().contains("sdb"), "{refused:?}");
        assert!(!is_clean(&lab));
    }
    wiped(&mut agent, token, done()).await.unwrap();
    assert!(is_clean(&lab));
}

#[tokio::test]
async fn a_half_written_end_is_finished_by_the_repeated_call() {
    let (lab, mut agent, token) = told_to_wipe("released").await;
    let token = token.as_deref();
    lab.api.fail(&format!("{}/status", server()), Failure::Status(500));
    assert_eq!(wiped(&mut agent, token, done()).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!((state(&lab).as_str(), is_clean(&lab)), ("clean", false));
    lab.api.heal(&format!("{}/status", server()));
    wiped(&mut agent, token, done()).await.unwrap();
    assert!(is_clean(&lab));
}

#[tokio::test]
async fn a_half_written_end_is_finished_after_a_restart_of_the_service_too() {
    let (lab, mut agent, token) = told_to_wipe("released").await;
    let token = token.as_deref();
    lab.api.fail(&format!("{}/status", server()), Failure::Status(500));
    wiped(&mut agent, token, done()).await.unwrap_err();
    lab.api.heal(&format!("{}/status", server()));
    let restarted = Lab::start(Setup { api: Some(lab.api.clone()), ..Setup::default() });
    let mut agent = agent.turn_to(&restarted).await;
    let unfinished = wiped(&mut agent, token, vec![disk("sda", State::Failed, 0)]).await.unwrap_err();
    assert_eq!((unfinished.code(), is_clean(&lab)), (Code::FailedPrecondition, false));
    wiped(&mut agent, token, done()).await.unwrap();
    assert!(is_clean(&lab));
}

#[tokio::test]
async fn a_writer_in_between_makes_the_call_look_again() {
    let (lab, mut agent, token) = told_to_wipe("released").await;
    let token = token.as_deref();
    lab.api.meddle(&server(), |server| server["spec"]["cordoned"] = json!(true));
    wiped(&mut agent, token, done()).await.unwrap();
    assert!(is_clean(&lab));
    assert_eq!(lab.api.object(&server()).unwrap()["spec"]["cordoned"], json!(true));
}

#[tokio::test]
async fn after_a_restart_of_the_service_the_order_counts_while_its_record_stands() {
    let (lab, agent, token) = told_to_wipe("released").await;
    let token = token.as_deref();
    let restarted = Lab::start(Setup { api: Some(lab.api.clone()), ..Setup::default() });
    let mut agent = agent.turn_to(&restarted).await;
    beat(&mut agent, token, Vec::new()).await.unwrap();
    // Released anew since: another record.
    lab.api.change(&server(), |server| {
        server["metadata"]["annotations"] =
            disks_of("released", UUID, "fedcba9876543210", "2026-01-01T00:00:00Z");
    });
    let refused = wiped(&mut agent, token, done()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("register again"), "{refused:?}");
    lab.api.change(&server(), |server| server["metadata"]["annotations"] = disks("released", UUID));
    // Without the order the token alone does not count.
    let order = std::mem::take(&mut agent.order);
    assert_eq!(wiped(&mut agent, token, done()).await.unwrap_err().code(), Code::FailedPrecondition);
    agent.order = order;
    wiped(&mut agent, token, done()).await.unwrap();
    assert!(is_clean(&lab));
}

/// A cache that is behind orders nothing and believes nothing that does not hold now.
#[tokio::test]
async fn stale_caches_lead_to_no_order_and_to_no_clean_machine() {
    type Change = fn(&Lab);
    let bound: Change = |lab| {
        lab.api.put(&binding(UUID), json!({ "spec": { "metalMachineRef": { "name": "m" } } }));
        lab.api.change(&server(), |server| server["metadata"]["annotations"] = disks("bound", UUID));
    };
    let replaced: Change = |lab| lab.api.change(&server(), |server| server["metadata"]["uid"] = json!("new"));
    let unaccepted: Change =
        |lab| lab.api.change(&server(), |server| server["spec"]["accepted"] = json!(false));
    let installed: Change = |lab| {
        lab.api.change(&server(), |server| server["metadata"]["annotations"] = disks("installed", UUID));
    };
    let deleted: Change = |lab| lab.api.delete(&server());
    for (change, what) in [
        (bound, "bound"),
        (replaced, "replaced"),
        (unaccepted, "unaccepted"),
        (installed, "installed, its binding gone"),
        (deleted, "deleted"),
    ] {
        // Before the order.
        let lab = Lab::start(Setup::default());
        put(&lab, "released");
        let token = lab.boot(UUID).await;
        let token = token.as_deref();
        let mut agent = client(&lab).await;
        lab.api.freeze_caches(true);
        change(&lab);
        let told = register(&mut agent, token).await;
        assert!(told.as_ref().is_ok_and(|told| !told.wipe) || told.is_err(), "{what}: {told:?}");
        // Between the order and its end.
        let (lab, mut agent, token) = told_to_wipe("released").await;
        let token = token.as_deref();
        lab.api.freeze_caches(true);
        change(&lab);
        let before = lab.api.object(&server()).map(|server| server["metadata"]["annotations"].clone());
        let refused = wiped(&mut agent, token, done()).await;
        assert!(refused.is_err(), "{what}");
        let after = lab.api.object(&server());
        assert_eq!(after.as_ref().map(|server| server["metadata"]["annotations"].clone()), before, "{what}");
        assert!(after.is_none_or(|server| server["status"]["isClean"] != json!(true)), "{what}");
    }
}

/// What a cache that is behind would refuse, and what holds now.
#[tokio::test]
async fn stale_caches_keep_no_agent_from_what_it_is_to_do() {
    // The cache has a binding that was released.
    let (lab, mut agent, token) = told_to_wipe("released").await;
    let token = token.as_deref();
    lab.api.put(&binding(UUID), json!({ "spec": { "metalMachineRef": { "name": "m" } } }));
    lab.api.freeze_caches(true);
    lab.api.delete(&binding(UUID));
    beat(&mut agent, token, vec![disk("sda", State::Wiping, 1)]).await.unwrap();
    wiped(&mut agent, token, done()).await.unwrap();
    assert!(is_clean(&lab));
}

#[tokio::test]
async fn no_order_without_a_token_unless_that_is_allowed() {
    for required in [true, false] {
        let lab = Lab::start(Setup { token_required: required, ..Setup::default() });
        put(&lab, "released");
        let mut agent = client(&lab).await;
        let orders = register(&mut agent, None).await.unwrap();
        assert_eq!((orders.wipe, orders.setup_bmc, orders.restart), (!required, !required, false));
        let ended = wiped(&mut agent, None, Vec::new()).await;
        assert_eq!(ended.is_ok(), !required);
        assert_eq!(is_clean(&lab), !required);
    }
}

#[tokio::test]
async fn a_bound_machine_is_told_to_leave_the_agent() {
    let lab = Lab::start(Setup::default());
    put(&lab, "clean");
    lab.api.change(&server(), |server| server["status"] = json!({ "isClean": true }));
    let token = lab.boot(UUID).await;
    let mut agent = client(&lab).await;
    assert!(!register(&mut agent, token.as_deref()).await.unwrap().restart);
    lab.api.put(&binding(UUID), json!({ "spec": { "metalMachineRef": { "name": "m" } } }));
    for token in [token.as_deref(), None] {
        let orders = register(&mut agent, token).await.unwrap();
        assert!(orders.restart && !orders.wipe && !orders.setup_bmc, "{orders:?}");
    }
}

#[tokio::test]
async fn an_agent_of_an_earlier_boot_is_told_to_start_over() {
    let lab = Lab::start(Setup::default());
    put(&lab, "released");
    let first = lab.boot(UUID).await;
    let second = lab.boot(UUID).await;
    let mut agent = client(&lab).await;
    let orders = register(&mut agent, first.as_deref()).await.unwrap();
    assert!(orders.restart && !orders.wipe, "{orders:?}");
    assert_eq!(orders.message, "the boot token is that of an earlier boot: nothing is written");
    assert!(register(&mut agent, second.as_deref()).await.unwrap().wipe);
}

#[tokio::test]
async fn a_plane_that_does_not_hold_neither_registers_nor_believes() {
    let lab = Lab::start(Setup::default());
    put(&lab, "released");
    let token = lab.boot(UUID).await;
    let token = token.as_deref();
    let fenced = Lab::start(Setup { api: Some(lab.api.clone()), ..Setup::default() });
    lab.api.put(PLANE, plane_held_by("another"));
    let mut agent = client(&fenced).await;
    assert_eq!(register(&mut agent, token).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(beat(&mut agent, token, Vec::new()).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(wiped(&mut agent, token, done()).await.unwrap_err().code(), Code::Unavailable);
    assert!(!is_clean(&lab));
}

//! Who is not the machine's agent, or comes at the wrong time, changes nothing.

use bloomery_agent_api as pb;
use serde_json::json;
use tonic::Code;

use super::calls::{client, request};
use super::mapping::UUID;
use super::wiping::{beat, done, put, register, server, state, told_to_wipe, wiped};
use super::with;
use crate::http::tests::{Lab, Setup};
use crate::neighbours::Seen;
use crate::tests::fake_api::{Failure, binding, disks_of, metal};

const OTHER: &str = "5c5c5544-0042-3110-8051-b7c04f4e3332";

fn clean(lab: &Lab) -> bool {
    lab.api.object(&server()).unwrap()["status"]["isClean"] == json!(true)
}

#[tokio::test]
async fn forged_foreign_and_outdated_tokens_are_refused_everywhere() {
    let lab = Lab::start(Setup::default());
    put(&lab, "released");
    let earlier = lab.boot(UUID).await.unwrap();
    let current = lab.boot(UUID).await.unwrap();
    let foreign = lab.get(&format!("/ipxe?uuid={OTHER}&mac=52-54-00-77-00-09")).await.1;
    let foreign = crate::http::tests::token_of(&foreign).unwrap();
    let mut forged = current.clone().into_bytes();
    forged[30] = if forged[30] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).unwrap();
    let mut agent = client(&lab).await;
    assert!(register(&mut agent, Some(&current)).await.unwrap().wipe);
    // That an agent without token called is shown once.
    register(&mut agent, None).await.unwrap();
    let writes_of = |lab: &Lab| lab.api.writes().iter().filter(|(_, path)| !path.contains("/events")).count();
    let writes = writes_of(&lab);
    let long = "A".repeat(10_000);
    for token in
        [None, Some(&*earlier), Some(&foreign), Some(&forged), Some(&current[..43]), Some(""), Some(&long)]
    {
        let orders = register(&mut agent, token).await;
        assert!(orders.is_err() || !orders.as_ref().unwrap().wipe, "{token:?} {orders:?}");
        let addresses = pb::ReconcileServerAddressesRequest {
            uuid: UUID.to_owned(),
            address: vec![pb::Address { r#type: "InternalIP".to_owned(), address: "10.0.0.66".to_owned() }],
        };
        for refused in [
            beat(&mut agent, token, Vec::new()).await,
            wiped(&mut agent, token, done()).await,
            agent.reconcile_server_addresses(with(addresses, token)).await.map(|_| ()),
        ] {
            let code = refused.unwrap_err().code();
            // A header of that size does not even arrive.
            assert!(code == Code::Unauthenticated || token == Some(&*long), "{token:?} {code:?}");
        }
    }
    assert_eq!(writes_of(&lab), writes);
    assert!(wiped(&mut agent, Some(&current), done()).await.is_ok());
}

/// Of a machine that nobody accepted, everybody can know the marks.
#[tokio::test]
async fn a_stranger_with_the_marks_of_a_machine_but_not_its_card_changes_nothing_of_it() {
    let lab = Lab::start(Setup::default());
    let mut agent = client(&lab).await;
    let mut changed = request(UUID);
    agent.create_server(changed.clone()).await.unwrap();
    let hardware = || lab.api.object(&server()).unwrap()["spec"]["hardware"].clone();
    let (before, card) = (hardware(), hardware()["network"]["interfaces"][0]["mac"].clone());
    let sent = changed.hardware.as_mut().unwrap();
    sent.memory.get_or_insert_default().total_size += 1;
    let addresses = pb::ReconcileServerAddressesRequest {
        uuid: UUID.to_owned(),
        address: vec![pb::Address { r#type: "InternalIP".to_owned(), address: "10.0.0.66".to_owned() }],
    };
    for seen in [Seen::Card("52:54:00:77:00:66".to_owned()), Seen::Unknown] {
        lab.neighbours.fix([127, 0, 0, 1].into(), seen);
        agent.create_server(changed.clone()).await.unwrap();
        let refused = agent.reconcile_server_addresses(addresses.clone()).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
        assert_eq!(hardware(), before);
    }
    lab.neighbours.fix([127, 0, 0, 1].into(), Seen::Card(card.as_str().unwrap().to_owned()));
    agent.create_server(changed).await.unwrap();
    agent.reconcile_server_addresses(addresses).await.unwrap();
    assert_ne!(hardware(), before);
}

#[tokio::test]
async fn a_machine_that_was_bound_and_released_since_the_order_is_not_clean() {
    let (lab, mut agent, token) = told_to_wipe("neverUsed").await;
    let token = token.as_deref();
    // Bound.
    lab.api.put(&binding(UUID), json!({ "spec": { "metalMachineRef": { "name": "m" } } }));
    for refused in [wiped(&mut agent, token, done()).await, beat(&mut agent, token, Vec::new()).await] {
        assert_eq!(refused.unwrap_err().code(), Code::FailedPrecondition);
    }
    // Released: another record allows the next wipe.
    lab.api.delete(&binding(UUID));
    lab.api.change(&server(), |server| {
        server["metadata"]["annotations"] =
            disks_of("released", UUID, "fedcba9876543210", "2026-01-01T00:00:00Z");
    });
    let refused = wiped(&mut agent, token, done()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!((state(&lab).as_str(), clean(&lab)), ("released", false));
    // It registers again, wipes again.
    assert!(register(&mut agent, token).await.unwrap().wipe);
    wiped(&mut agent, token, done()).await.unwrap();
    assert!(clean(&lab));
}

#[tokio::test]
async fn a_claim_that_comes_between_record_and_status_wins() {
    let (lab, mut agent, token) = told_to_wipe("released").await;
    let token = token.as_deref();
    lab.api.meddle(&server(), |server| {
        let text = server["metadata"]["annotations"]["bloomery.dev/disks"].as_str().unwrap();
        server["metadata"]["annotations"]["bloomery.dev/disks"] = json!(text.replace("released", "bound"));
    });
    let refused = wiped(&mut agent, token, done()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!((state(&lab).as_str(), clean(&lab)), ("bound", false));
}

#[tokio::test]
async fn a_restored_or_replaced_server_is_neither_wiped_nor_clean() {
    let (lab, mut agent, token) = told_to_wipe("released").await;
    let token = token.as_deref();
    // The same object under another uid.
    lab.api.change(&server(), |server| server["metadata"]["uid"] = json!("restored"));
    assert_eq!(wiped(&mut agent, token, done()).await.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(beat(&mut agent, token, Vec::new()).await.unwrap_err().code(), Code::FailedPrecondition);
    let orders = register(&mut agent, token).await.unwrap();
    assert_eq!(
        (orders.wipe, orders.message.as_str()),
        (false, "nothing on record says that the disks may be wiped")
    );
    assert!(!clean(&lab));
}

#[tokio::test]
async fn a_lost_status_makes_nothing_wiped_or_clean() {
    let lab = Lab::start(Setup::default());
    put(&lab, "clean");
    let mut agent = client(&lab).await;
    // It boots its disk, so there is no agent with a token of this boot.
    assert_eq!(lab.boot(UUID).await, None);
    assert_eq!(wiped(&mut agent, None, done()).await.unwrap_err().code(), Code::Unauthenticated);
    let stray = Lab::start(Setup { api: Some(lab.api.clone()), token_required: false, ..Setup::default() });
    let mut agent = client(&stray).await;
    assert!(!register(&mut agent, None).await.unwrap().wipe);
    assert_eq!(wiped(&mut agent, None, done()).await.unwrap_err().code(), Code::FailedPrecondition);
    assert!(!clean(&lab));
}

#[tokio::test]
async fn an_agent_that_was_left_behind_by_another_boot_has_no_say() {
    let (lab, mut agent, token) = told_to_wipe("released").await;
    let token = token.as_deref();
    // The machine is bound and asks again: it is sent elsewhere.
    lab.api.put(&binding(UUID), json!({ "spec": { "metalMachineRef": { "name": "m" } } }));
    lab.api.change(&server(), |server| {
        server["status"] = json!({ "conditions": [
        { "type": "PXEBooted", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" } ] });
    });
    assert_eq!(lab.boot(UUID).await, None);
    lab.api.delete(&binding(UUID));
    assert_eq!(wiped(&mut agent, token, done()).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn calls_of_one_machine_at_once_make_one_server() {
    let lab = Lab::start(Setup { auto_accept: true, ..Setup::default() });
    let token = lab.boot(UUID).await;
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let (address, token) = (lab.address, token.clone());
            tokio::spawn(async move {
                let mut agent =
                    pb::agent_client::AgentClient::connect(format!("http://{address}")).await.unwrap();
                agent.create_server(with(request(UUID), token.as_deref())).await.unwrap();
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(lab.metrics.registrations.get(), 1);
    assert_eq!(state(&lab), "neverUsed");
    let mut agent = client(&lab).await;
    assert!(register(&mut agent, token.as_deref()).await.unwrap().wipe);
}

#[tokio::test]
async fn a_server_that_somebody_else_made_is_never_called_unused() {
    let lab = Lab::start(Setup::default());
    lab.api.put(&server(), json!({ "spec": { "accepted": true } }));
    let token = lab.boot(UUID).await;
    let orders = register(&mut client(&lab).await, token.as_deref()).await.unwrap();
    assert!(!orders.wipe);
    assert_eq!(state(&lab), "");
}

#[tokio::test]
async fn no_machine_is_registered_under_the_name_of_a_binding_whose_server_was_lost() {
    let lab = Lab::start(Setup { auto_accept: true, ..Setup::default() });
    lab.api.put(&binding(UUID), json!({ "spec": { "metalMachineRef": { "name": "m" } } }));
    let mut agent = client(&lab).await;
    let refused = register(&mut agent, None).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert!(refused.message().contains("its Server is gone"), "{refused}");
    assert!(lab.api.object(&server()).is_none());
    lab.api.fail(&binding(UUID), Failure::Status(500));
    assert_eq!(register(&mut agent, None).await.unwrap_err().code(), Code::Unavailable);
    assert!(lab.api.object(&server()).is_none());
    // The cluster lets go.
    lab.api.heal(&binding(UUID));
    lab.api.delete(&binding(UUID));
    register(&mut agent, None).await.unwrap();
    assert_eq!(state(&lab), "neverUsed");
}

#[tokio::test]
async fn a_creation_whose_answer_was_lost_is_ours_only_if_nobody_else_wrote_it() {
    let servers = "/apis/metal.sidero.dev/v1alpha2/servers";
    let lab = Lab::start(Setup::default());
    lab.api.lose_answer(servers);
    register(&mut client(&lab).await, None).await.unwrap();
    assert_eq!(state(&lab), "neverUsed");
    assert_eq!(lab.metrics.registrations.get(), 1);

    // Somebody else created it while the API was away.
    let lab = Lab::start(Setup::default());
    lab.api.fail(servers, Failure::Status(503));
    let mut agent = client(&lab).await;
    let calling = register(&mut agent, None);
    let other = async {
        while !lab.api.writes().iter().any(|(_, path)| path == servers) {
            tokio::task::yield_now().await;
        }
        lab.api.put(&server(), json!({ "spec": { "accepted": false } }));
        lab.api.heal(servers);
    };
    let (_, ()) = tokio::join!(calling, other);
    assert_eq!(state(&lab), "");
}

#[tokio::test]
async fn a_server_that_the_api_server_dates_otherwise_gets_its_record_by_a_second_write() {
    let lab = Lab::start(Setup::default());
    lab.api.date("2020-01-01T00:00:00Z");
    register(&mut client(&lab).await, None).await.unwrap();
    let text = lab.api.object(&server()).unwrap()["metadata"]["annotations"]["bloomery.dev/disks"].clone();
    let record: serde_json::Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
    assert_eq!(
        (&record["state"], &record["serverUID"]),
        (&json!("neverUsed"), &json!(format!("uid-of-{UUID}")))
    );
}

#[tokio::test]
async fn a_second_machine_with_that_uuid_gets_neither_orders_nor_a_server() {
    let lab = Lab::start(Setup { auto_accept: true, ..Setup::default() });
    let token = lab.boot(UUID).await;
    let mut agent = client(&lab).await;
    assert!(register(&mut agent, token.as_deref()).await.unwrap().wipe);
    let mut twin = request(UUID);
    let hardware = twin.hardware.as_mut().unwrap();
    hardware.system.as_mut().unwrap().serial_number = "SN2".to_owned();
    hardware.network.as_mut().unwrap().interfaces[0].mac = "52:54:00:77:00:02".to_owned();
    // Its own boot, with its own card, is not the machine's.
    let (_, script) = lab.get(&format!("/ipxe?uuid={UUID}&mac=52-54-00-77-00-02")).await;
    assert!(!script.contains("bloomery.token"), "{script}");
    let refused = agent.create_server(twin).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    wiped(&mut agent, token.as_deref(), done()).await.unwrap();
    assert!(lab.api.object(&metal("servers", OTHER)).is_none());
}

//! Machines of which this plane's objects know less than there is to know: their Server was deleted, the stick is a new
//! one, or nobody heard of them for long.

use std::sync::Arc;

use bloomery_api::decision::age::LAST_CALL_ANNOTATION;
use bloomery_api::decision::tombstone::entry;
use bloomery_api::evidence::FORGET_ANNOTATION;
use bloomery_api::ledger::Fate;
use bloomery_plane::Ledger;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;

/// What firmware does with a machine that is left alone.
const DISK: &str = "#!ipxe\nexit\n";

fn since() -> Time {
    serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap()
}

fn authority(ledger: &Ledger) -> Authority {
    let trust = Trust::new(SigningKey::new(PLANE_KEY), "own").with_ledger(Arc::clone(&ledger.tombstones()));
    Authority::Holds { epoch: 1, trust }
}

/// Notes in the ledger what the controllers do when they see these objects.
fn note(ledger: &Ledger, server: &Server, binding: Option<&ServerBinding>) -> Fate {
    let noted = entry(server, binding, &authority(ledger), &since()).unwrap();
    let fate = noted.fate;
    assert!(ledger.note(noted).unwrap());
    fate
}

async fn annotate(servers: &Api<Server>, uuid: &str, key: &str, value: &str) -> Server {
    let patch = json!({ "metadata": { "annotations": { key: value } } });
    servers.patch(uuid, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap()
}

/// Binds the machine, records the claim as the controllers do, and forgets it as `bloomery servers forget` has them do.
async fn claimed_and_forgotten(plane: &ControlPlane, client: &Client, ledger: &Ledger) {
    let controllers: Api<Server> = Api::all(plane.client("bloomery:controllers", &["system:masters"]).await);
    let (servers, bindings): (Api<Server>, Api<ServerBinding>) =
        (Api::all(client.clone()), Api::all(client.clone()));
    bind(client, UUID).await;
    let (server, binding) = (servers.get(UUID).await.unwrap(), bindings.get(UUID).await.unwrap());
    let record = DiskRecord::new(&server, Entry::Bound(&binding), &authority(ledger), "b", &since()).unwrap();
    let claimed = annotate(&controllers, UUID, DISKS_ANNOTATION, &record.to_annotation()).await;
    assert_eq!(note(ledger, &claimed, Some(&binding)), Fate::Claimed);
    unbind(client, UUID).await;
    annotate(&servers, UUID, FORGET_ANNOTATION, claimed.metadata.uid.as_deref().unwrap()).await;
    servers.delete(UUID, &DeleteParams::default()).await.unwrap();
    let going = servers.get(UUID).await.unwrap();
    assert_eq!(note(ledger, &going, None), Fate::Forgotten);
    let freed = json!({ "metadata": { "finalizers": null } });
    servers.patch(UUID, &PatchParams::default(), &Patch::Merge(freed)).await.unwrap();
    assert!(servers.get_opt(UUID).await.unwrap().is_none());
}

/// Finding 2, the first route: a cluster's machine whose Server was deleted registers again.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_whose_claimed_server_was_deleted_is_not_new_and_not_accepted() {
    let (plane, client, address) = deciding(true).await;
    let servers: Api<Server> = Api::all(client.clone());
    let mut machine = Machine::new(address, UUID, 1).await;
    machine.boot().await;
    assert!(machine.register().await.unwrap().wipe, "a new machine with blank disks is accepted by itself");

    let ledger = Ledger::open(plane.directory()).unwrap();
    claimed_and_forgotten(&plane, &client, &ledger).await;
    // Under its own UUID and under that of a new board it is given an agent that can do no more than register.
    for uuid in [UUID, OTHER] {
        let mut again = Machine::new(address, uuid, 1).await;
        eventually("the tombstone is known", async || {
            let answer = again.ask().await;
            if answer.contains("bloomery.token=") { Err(answer) } else { Ok(()) }
        })
        .await;
        again.boot().await;
        assert!(again.token.is_none());
    }
    machine.boot().await;
    for wipe in [machine.register().await.unwrap().wipe, machine.register().await.unwrap().wipe] {
        assert!(!wipe);
    }
    let again = servers.get(UUID).await.unwrap();
    assert!(!again.spec.accepted && DiskRecord::of(&again).is_none(), "{again:?}");
    accept(&servers, UUID).await;
    eventually("the acceptance is known", async || {
        let answer = machine.ask().await;
        if answer.ends_with(DISK) { Ok(()) } else { Err(answer) }
    })
    .await;
    machine.boot().await;
    assert!(!machine.register().await.unwrap().wipe, "acceptance alone is no leave");
}

/// Finding 2, the second route: a new stick knows nothing of the machines around it. What their disks hold tells.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_stick_wipes_no_machine_whose_disks_hold_talos() {
    let (_plane, client, address) = deciding(true).await;
    let servers: Api<Server> = Api::all(client.clone());
    for (number, found, by_itself, once_accepted) in [
        (1_u16, &["gpt", "talos-meta", "talos-state", "talos-ephemeral"][..], false, false),
        (2, &["gpt", "xfs", "etcd"][..], false, false),
        (3, &["gpt", "ext4"][..], false, true),
        (4, &[][..], true, true),
    ] {
        let uuid = format!("{number:08x}-0042-3110-8051-b7c04f4e3332");
        let mut machine = Machine::new(address, &uuid, number).await;
        machine.found = found.iter().map(|word| (*word).to_owned()).collect();
        machine.boot().await;
        assert_eq!(machine.register().await.unwrap().wipe, by_itself, "{found:?}");
        let server = servers.get(&uuid).await.unwrap();
        assert_eq!(server.spec.accepted, by_itself, "{found:?}");
        accept(&servers, &uuid).await;
        eventually("the acceptance is known", async || {
            let orders = machine.register().await.map_err(|error| error.to_string())?;
            if orders.wipe == once_accepted { Ok(()) } else { Err(orders.message) }
        })
        .await;
        machine.boot().await;
        assert_eq!(machine.token.is_some(), once_accepted, "{found:?}");
        assert_eq!(machine.register().await.unwrap().wipe, once_accepted, "{found:?}");
    }
}

/// The day of the last call, on a Server that nobody accepted, once a day.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_a_machine_that_nobody_accepted_is_noted_once_a_day() {
    const LONG_AGO: &str = "2026-01-01";
    let (_plane, client, address) = deciding(false).await;
    let servers: Api<Server> = Api::all(client.clone());
    let mut machine = Machine::new(address, UUID, 1).await;
    machine.boot().await;
    machine.register().await.unwrap();
    let noted = async || {
        let server = servers.get(UUID).await.unwrap();
        let annotations = server.metadata.annotations.unwrap();
        (annotations.get(LAST_CALL_ANNOTATION).cloned(), server.metadata.resource_version)
    };
    assert_eq!(noted().await.0, None, "the day of its creation counts");
    for asks in [true, false] {
        annotate(&servers, UUID, LAST_CALL_ANNOTATION, LONG_AGO).await;
        for _ in 0..2 {
            if asks {
                machine.ask().await;
            } else {
                machine.register().await.unwrap();
            }
        }
        let (day, version) = noted().await;
        let day = day.unwrap();
        assert!(day.as_str() > LONG_AGO && day.len() == LONG_AGO.len(), "{day}");
        machine.ask().await;
        machine.register().await.unwrap();
        assert_eq!(noted().await, (Some(day), version), "once a day");
    }
    accept(&servers, UUID).await;
    annotate(&servers, UUID, LAST_CALL_ANNOTATION, LONG_AGO).await;
    machine.ask().await;
    assert_eq!(noted().await.0.as_deref(), Some(LONG_AGO), "of an accepted one nobody asks for it");
}

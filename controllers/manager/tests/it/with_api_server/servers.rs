//! The Server controller against a real API server and power APIs that remember what they were told: spec/sidero.md
//! §2.1 and §10.3, and attempts to make it switch or free a machine that it must leave alone.

use bloomery_api::condition::{self, Condition, Severity};
use bloomery_api::evidence::{CONFIRM_WIPE_ANNOTATION, DiskRecord, DiskState};
use bloomery_api::server::POWER_CYCLE;
use bloomery_api::{Plane, Server, ServerBinding};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::support::bench::{Bench, registered};
use crate::support::machines::{
    bind, canary, configured, has_event, machine, now, patch_status, reason, until, until_reason, until_told,
    wiped,
};
use crate::support::power_api::PowerApi;
use bloomery_testkit::eventually;

/// Short enough to see a second try, long enough that a slow machine does not see one too early.
const TIMEOUT: &str = "--server-reboot-timeout=6s";
const CYCLED: &str = "Server power cycled and set to PXE boot once.";

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_goes_from_acceptance_to_clean_bound_and_back() {
    const NAME: &str = "4c4c4544-0039-3010-804d-000000000001";
    let (bench, _controllers) = Bench::with_controllers_and(&[TIMEOUT]).await;
    let power = PowerApi::start(true).await;
    machine(&bench, NAME, false, &power).await;
    until_reason(&bench, NAME, "NotAccepted").await;
    assert_eq!(power.told(), [] as [&str; 0], "nothing is done before acceptance");

    // Accepted: cycled into the agent, once in a timeout, and the agent's heartbeat puts the next try off.
    bench.patch::<Server>(NAME, json!({ "spec": { "accepted": true } })).await;
    until_told(&power, "the first cycle", |power| power.count("reboot") == 1).await;
    assert_eq!(power.told(), ["pxeboot", "reboot"]);
    has_event(&bench, NAME, CYCLED).await;
    until_told(&power, "the second cycle", |power| power.count("reboot") == 2).await;

    // Wiped: switched off and ready.
    wiped(&bench, NAME).await;
    until_told(&power, "it is switched off", |power| !power.is_on()).await;
    has_event(&bench, NAME, "Server powered off.").await;
    let clean = until(&bench, NAME, "it is off and ready", |server| {
        server.status.as_ref().is_some_and(|status| status.ready && status.power == "off")
    })
    .await;
    assert_eq!(reason(&clean), "Available");

    // Bound: switched on into its environment; the claim is on record and its end has to pass by us.
    bind(&bench, NAME).await;
    until_reason(&bench, NAME, "Bound").await;
    assert!(!power.is_on(), "not before its configuration is good");
    configured(&bench, NAME).await;
    until_told(&power, "it is switched on", PowerApi::is_on).await;
    has_event(&bench, NAME, "Server powered on and set PXE boot once into the environment.").await;
    let bound = until_reason(&bench, NAME, "Bound").await;
    assert_eq!(DiskRecord::of(&bound).unwrap().state, DiskState::Bound);
    assert!(!bound.status.unwrap().is_clean);
    let installed = json!({ "status": { "conditions": [Condition::holds("TalosInstalled", now())] } });
    bench
        .all::<ServerBinding>()
        .patch_status(NAME, &PatchParams::default(), &Patch::Merge(installed))
        .await
        .unwrap();
    until_reason(&bench, NAME, "Installed").await;
    let cycles = power.count("reboot");

    // Released: announced, PXEBooted goes, and the next wipe begins.
    bench.all::<ServerBinding>().delete(NAME, &DeleteParams::default()).await.unwrap();
    has_event(&bench, NAME, "Server marked as unallocated.").await;
    until_told(&power, "it is cycled for a wipe", |power| power.count("reboot") > cycles).await;
    let released = until_reason(&bench, NAME, "NotClean").await;
    assert_eq!(DiskRecord::of(&released).unwrap().state, DiskState::Released);
    let conditions = released.status.unwrap().conditions;
    assert!(condition::find(&conditions, "PXEBooted").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_put_off_the_next_cycle_and_unaccepting_touches_no_power() {
    const BEATS: &str = "4c4c4544-0039-3010-804d-000000000002";
    const CLEAN: &str = "4c4c4544-0039-3010-804d-000000000003";
    let (bench, _controllers) = Bench::with_controllers_and(&[TIMEOUT]).await;
    let (beating, silent, left) =
        (PowerApi::start(true).await, PowerApi::start(true).await, PowerApi::start(false).await);
    machine(&bench, BEATS, true, &beating).await;
    machine(&bench, "4c4c4544-0039-3010-804d-000000000004", true, &silent).await;
    until_told(&beating, "the cycle", |power| power.count("reboot") == 1).await;
    // While the silent one is cycled again, the one whose agent beats is not.
    eventually("the silent machine is cycled twice more", async || {
        let beat =
            Condition::fails(POWER_CYCLE, Severity::Info, "InProgress", "Server wipe in progress.", now());
        patch_status(&bench, BEATS, json!({ "conditions": [beat] })).await;
        if silent.count("reboot") >= 3 { Ok(()) } else { Err(format!("{:?}", silent.told())) }
    })
    .await;
    assert_eq!(beating.count("reboot"), 1);

    machine(&bench, CLEAN, true, &left).await;
    until_told(&left, "it is switched on for its wipe", PowerApi::is_on).await;
    wiped(&bench, CLEAN).await;
    until_reason(&bench, CLEAN, "Available").await;
    until_told(&left, "it is switched off", |power| !power.is_on()).await;
    let told = left.told();
    bench.patch::<Server>(CLEAN, json!({ "spec": { "accepted": false } })).await;
    let after = until(&bench, CLEAN, "it is no longer clean", |server| {
        reason(server) == "NotAccepted" && server.status.as_ref().is_some_and(|status| !status.is_clean)
    })
    .await;
    assert_eq!(DiskRecord::of(&after).unwrap().state, DiskState::Released, "it is wiped again once accepted");
    canary(&bench, "4c4c4544-0039-3010-804d-000000000005").await;
    assert_eq!(left.told(), told);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_restored_moved_or_lost_is_left_alone_until_a_person_confirms() {
    const RESTORED: &str = "4c4c4544-0039-3010-804d-000000000011";
    const LOST: &str = "4c4c4544-0039-3010-804d-000000000012";
    const MADE: &str = "4c4c4544-0039-3010-804d-000000000013";
    let (bench, _controllers) = Bench::with_controllers_and(&[TIMEOUT]).await;
    let servers: Api<Server> = bench.all();
    let (restored, lost, made) =
        (PowerApi::start(true).await, PowerApi::start(true).await, PowerApi::start(true).await);

    is_restored(&bench, RESTORED, &restored).await;
    loses_its_binding(&bench, LOST, &lost).await;

    // Made by hand, as in a restore of objects that never had a record.
    let mut by_hand = registered(MADE);
    by_hand.spec.accepted = true;
    by_hand.spec.management_api =
        Some(bloomery_api::server::ManagementApi { endpoint: made.endpoint.clone() });
    let by_hand = servers.create(&PostParams::default(), &by_hand).await.unwrap();
    let ready = until_reason(&bench, MADE, "NotConfirmed").await;
    let conditions = ready.status.unwrap().conditions;
    let message = &condition::find(&conditions, "Ready").unwrap().message;
    let uid = by_hand.uid().unwrap();
    let command = format!("kubectl annotate --overwrite server {MADE} {CONFIRM_WIPE_ANNOTATION}={uid}");
    assert!(message.contains(&command), "{message}");

    canary(&bench, "4c4c4544-0039-3010-804d-000000000014").await;
    for power in [&restored, &lost, &made] {
        assert_eq!(power.told(), [] as [&str; 0]);
    }

    // Another object's uid confirms nothing; the right one does, once.
    let confirm = |uid: &str| json!({ "metadata": { "annotations": { CONFIRM_WIPE_ANNOTATION: uid } } });
    bench.patch::<Server>(MADE, confirm("ffffffff-0000-0000-0000-000000000000")).await;
    canary(&bench, "4c4c4544-0039-3010-804d-000000000015").await;
    assert_eq!(made.told(), [] as [&str; 0]);
    bench.patch::<Server>(MADE, confirm(&uid)).await;
    until_told(&made, "it is cycled", |power| power.count("reboot") == 1).await;
    let confirmed = until_reason(&bench, MADE, "NotClean").await;
    assert!(!confirmed.annotations().contains_key(CONFIRM_WIPE_ANNOTATION));
}

/// Restored without its status: the record of the former object comes along and counts for nothing.
async fn is_restored(bench: &Bench, name: &str, power: &PowerApi) {
    let servers: Api<Server> = bench.all();
    let original = machine(bench, name, false, power).await;
    until_reason(bench, name, "NotAccepted").await;
    servers.delete(name, &DeleteParams::default()).await.unwrap();
    eventually("it is gone", async || match servers.get_opt(name).await.unwrap() {
        None => Ok(()),
        Some(_) => Err("still there".to_owned()),
    })
    .await;
    let mut backup = original.clone();
    backup.metadata.resource_version = None;
    backup.metadata.uid = None;
    backup.status = None;
    backup.spec.accepted = true;
    servers.create(&PostParams::default(), &backup).await.unwrap();
    until_reason(bench, name, "NotConfirmed").await;
}

/// A binding that somebody strips of its finalizer and deletes, and a status that goes with it.
async fn loses_its_binding(bench: &Bench, name: &str, power: &PowerApi) {
    machine(bench, name, false, power).await;
    bind(bench, name).await;
    bench.patch::<Server>(name, json!({ "spec": { "accepted": true } })).await;
    until(bench, name, "the claim is on record", |server| {
        DiskRecord::of(server).is_some_and(|record| record.state == DiskState::Bound)
    })
    .await;
    let bindings: Api<ServerBinding> = bench.all();
    eventually("our finalizer is there", async || {
        let binding = bindings.get(name).await.map_err(|error| error.to_string())?;
        if binding.finalizers().is_empty() { Err("none".to_owned()) } else { Ok(()) }
    })
    .await;
    strip_and_delete(&bindings, name).await;
    until_reason(bench, name, "BindingLost").await;
    patch_status(bench, name, json!({ "inUse": false, "isClean": false, "conditions": [] })).await;
    until_reason(bench, name, "BindingLost").await;
}

/// What `clusterctl move` and a careless person do: finalizers off, then delete.
async fn strip_and_delete(bindings: &Api<ServerBinding>, name: &str) {
    eventually("the binding is gone", async || {
        let strip = Patch::Merge(json!({ "metadata": { "finalizers": [] } }));
        bindings.patch(name, &PatchParams::default(), &strip).await.map_err(|error| error.to_string())?;
        let delete = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        // Our finalizer may have been put back in between: such a deletion is one that we see.
        let gone = bindings.delete(name, &delete).await.map_err(|error| error.to_string())?.is_right();
        if gone { Ok(()) } else { Err("held by a finalizer".to_owned()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_controllers_one_commands_and_a_fenced_plane_does_nothing() {
    let (bench, first) = Bench::with_controllers().await;
    let second = bench.setup.run_beside(&bench.plane, &[]).await;
    let machines: Vec<_> =
        (0..12).map(|number| format!("4c4c4544-0039-3010-804d-0000000001{number:02}")).collect();
    let mut powers = Vec::new();
    for name in &machines {
        let power = PowerApi::start(true).await;
        machine(&bench, name, true, &power).await;
        powers.push(power);
    }
    for power in &powers {
        until_told(power, "it is cycled", |power| power.count("reboot") > 0).await;
    }
    canary(&bench, "4c4c4544-0039-3010-804d-000000000150").await;
    for power in &powers {
        assert_eq!(power.told(), ["pxeboot", "reboot"]);
    }

    // Another plane takes over: nothing is recorded, released or commanded any more.
    let fenced = PowerApi::start(true).await;
    bench.patch::<Plane>("plane", json!({ "spec": { "holder": "another", "epoch": 2 } })).await;
    let events: Api<Plane> = bench.all();
    let own = std::fs::read_to_string(bench.plane.directory().join("plane/id")).unwrap();
    let own: Value = serde_json::from_str(&own).unwrap();
    eventually("both are fenced", async || {
        let reports = [&first, &second].map(|controllers| controllers.process.output());
        if reports.iter().all(|text| text.contains("this plane does not act")) {
            Ok(())
        } else {
            Err("not yet".to_owned())
        }
    })
    .await;
    machine(&bench, "4c4c4544-0039-3010-804d-000000000160", true, &fenced).await;
    assert_eq!(fenced.told(), [] as [&str; 0]);

    // A person hands it back; records from before count for nothing in the new epoch.
    let takeover =
        json!({ "metadata": { "annotations": { bloomery_plane::TAKEOVER_ANNOTATION: own["id"] } } });
    bench.patch::<Plane>("plane", takeover).await;
    eventually("it is the holder again", async || {
        let plane = events.get("plane").await.map_err(|error| error.to_string())?;
        if plane.spec.holder == own["id"] && plane.spec.epoch == 3 {
            Ok(())
        } else {
            Err(format!("{:?}", plane.spec))
        }
    })
    .await;
    until_reason(&bench, "4c4c4544-0039-3010-804d-000000000160", "NotConfirmed").await;
    canary(&bench, "4c4c4544-0039-3010-804d-000000000170").await;
    assert_eq!(fenced.told(), [] as [&str; 0], "recorded by the plane that was");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_fails_says_why_and_delays_nobody() {
    const DEAD: &str = "4c4c4544-0039-3010-804d-000000000021";
    let (bench, controllers) = Bench::with_controllers().await;
    let power = PowerApi::start(true).await;
    power.break_down(true);
    machine(&bench, DEAD, true, &power).await;
    has_event(&bench, DEAD, "Failed to determine power status: ").await;
    let failing = until(&bench, DEAD, "the condition says why", |server| {
        let conditions = server.status.as_ref().map_or(&[][..], |status| &status.conditions);
        condition::find(conditions, "PowerReachable").is_some_and(|found| !found.message.is_empty())
    })
    .await;
    assert_eq!(failing.status.unwrap().power, "unknown");
    canary(&bench, "4c4c4544-0039-3010-804d-000000000022").await;
    power.break_down(false);
    until_told(&power, "it is cycled once it answers", |power| power.count("reboot") == 1).await;

    // A Secret that is missing is named.
    let mut server = registered("4c4c4544-0039-3010-804d-000000000023");
    server.spec.bmc = serde_json::from_value(json!({
        "endpoint": "127.0.0.1", "user": "admin",
        "passFrom": { "secretKeyRef": { "namespace": "default", "name": "none", "key": "pass" } },
    }))
    .unwrap();
    bench.all::<Server>().create(&PostParams::default(), &server).await.unwrap();
    let wanted = "Failed to initialize management client: error getting secret \"none\"";
    has_event(&bench, "4c4c4544-0039-3010-804d-000000000023", wanted).await;

    let (_, metrics) = controllers.get("/metrics").await.unwrap();
    for line in [
        "controllers_power_calls_total{kind=\"http\",operation=\"power_cycle\",outcome=\"success\"}",
        "controllers_servers{standing=\"NotClean\"} 2",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

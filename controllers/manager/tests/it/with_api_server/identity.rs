//! Machines that cannot be told apart and machines that never call again, against a real API server: nothing is wiped or
//! commanded until a person decides, by the changes that `bloomery servers` makes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bloomery_api::condition;
use bloomery_api::contents::ContentsClass;
use bloomery_api::decision::age::{KEEP_ANNOTATION, LAST_CALL_ANNOTATION};
use bloomery_api::decision::identity::{
    DISTINCT_FROM_ANNOTATION, IDENTITY_CONFLICT, RIVAL_ANNOTATION, SYSTEM_UUID_ANNOTATION,
};
use bloomery_api::evidence::{DiskRecord, DiskState, Entry};
use bloomery_api::plane::RESTORED_ANNOTATION;
use bloomery_api::server::{FINALIZER, ManagementApi};
use bloomery_api::{Plane, Server};
use bloomery_controllers::reconcile::{COMPONENT, Context};
use bloomery_controllers::run::Watches;
use bloomery_controllers::server::age::Sweep;
use bloomery_plane::Gate;
use bloomery_platform::client::Clients;
use bloomery_platform::events::Recorder;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::support::bench::{Bench, registered};
use crate::support::controllers::talos;
use crate::support::machines::{canary, has_event, reason, record, until, until_reason, until_told};
use crate::support::power_api::PowerApi;
use bloomery_testkit::eventually;

/// An accepted machine with this card, as the boot services register it.
async fn with_card(bench: &Bench, name: &str, card: &str, power: &PowerApi) -> Server {
    let mut server = registered(name);
    server.spec.accepted = true;
    server.spec.management_api = Some(ManagementApi { endpoint: power.endpoint.clone() });
    let mut hardware = serde_json::to_value(server.spec.hardware.take().unwrap()).unwrap();
    hardware["network"] = json!({ "interfaces": [{ "mac": card }] });
    server.spec.hardware = serde_json::from_value(hardware).unwrap();
    let made = bench.all::<Server>().create(&PostParams::default(), &server).await.unwrap();
    record(bench, &made, Entry::NeverUsed(ContentsClass::Blank)).await
}

async fn until_in_conflict(bench: &Bench, name: &str, other: &str) {
    let server = until(bench, name, "it is held", |server| reason(server) == "IdentityConflict").await;
    let conditions = server.status.unwrap().conditions;
    let conflict = condition::find(&conditions, IDENTITY_CONFLICT).unwrap();
    for command in ["merge", "split"] {
        assert!(conflict.message.contains(&format!("bloomery servers {command}")), "{}", conflict.message);
    }
    assert!(conflict.message.contains(other), "{}", conflict.message);
    has_event(bench, name, &format!("bloomery servers split {name} {other}")).await;
}

fn annotated(key: &str, value: impl Into<Value>) -> Value {
    json!({ "metadata": { "annotations": { key: value.into() } } })
}

/// Two accepted machines with one card, each with a power API that was told nothing. No power is read before both are
/// there, so that none is commanded as the only one.
async fn pair(bench: &Bench, names: [&str; 2], card: &str) -> [PowerApi; 2] {
    let powers = [PowerApi::start(true).await, PowerApi::start(true).await];
    for (name, power) in names.iter().zip(&powers) {
        power.hold(true);
        with_card(bench, name, card, power).await;
    }
    for power in &powers {
        power.hold(false);
    }
    let [one, other] = names;
    until_in_conflict(bench, one, other).await;
    until_in_conflict(bench, other, one).await;
    powers
}

async fn nothing_is_written_or_commanded(
    bench: &Bench,
    names: [&str; 2],
    powers: &[PowerApi; 2],
    canary_name: &str,
) {
    canary(bench, canary_name).await;
    for (name, power) in names.iter().zip(powers) {
        let held = bench.all::<Server>().get(name).await.unwrap();
        assert_eq!(DiskRecord::of(&held).unwrap().state, DiskState::NeverUsed);
        assert_eq!(reason(&held), "IdentityConflict");
        assert!(!held.status.unwrap().ready);
        assert_eq!(power.told(), [] as [&str; 0]);
    }
}

async fn until_without_conflict(bench: &Bench, name: &str) {
    until(bench, name, "no conflict is shown", |server| {
        let conditions = &server.status.as_ref().unwrap().conditions;
        condition::find(conditions, IDENTITY_CONFLICT).is_none() && reason(server) == "NotClean"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_with_one_card_are_held_until_a_person_splits_or_merges_them() {
    const ONE: &str = "4c4c4544-0039-3010-804d-000000000401";
    const OTHER: &str = "4c4c4544-0039-3010-804d-000000000402";
    const OLD: &str = "4c4c4544-0039-3010-804d-000000000403";
    const NEW: &str = "4c4c4544-0039-3010-804d-000000000404";
    let (bench, _controllers) = Bench::with_controllers().await;
    let powers = pair(&bench, [ONE, OTHER], "52:54:00:77:00:01").await;
    nothing_is_written_or_commanded(&bench, [ONE, OTHER], &powers, "4c4c4544-0039-3010-804d-000000000405")
        .await;
    // `bloomery servers split ONE OTHER`
    let split = json!({ DISTINCT_FROM_ANNOTATION: OTHER, RIVAL_ANNOTATION: null });
    bench.patch::<Server>(ONE, json!({ "metadata": { "annotations": split } })).await;
    for (name, power) in [ONE, OTHER].iter().zip(&powers) {
        until_told(power, "it is cycled for its wipe", |power| power.count("reboot") > 0).await;
        until_without_conflict(&bench, name).await;
    }

    let powers = pair(&bench, [OLD, NEW], "52:54:00:77:00:02").await;
    nothing_is_written_or_commanded(&bench, [OLD, NEW], &powers, "4c4c4544-0039-3010-804d-000000000406")
        .await;
    // `bloomery servers merge NEW --into OLD`
    let merge = json!({ SYSTEM_UUID_ANNOTATION: NEW, RIVAL_ANNOTATION: null });
    bench.patch::<Server>(OLD, json!({ "metadata": { "annotations": merge } })).await;
    let servers: Api<Server> = bench.all();
    servers.delete(NEW, &DeleteParams::default()).await.unwrap();
    until_gone(&bench, NEW).await;
    let [old, new] = &powers;
    until_told(old, "it is cycled for its wipe", |power| power.count("reboot") > 0).await;
    until_without_conflict(&bench, OLD).await;
    assert_eq!(new.told(), [] as [&str; 0]);
}

async fn until_gone(bench: &Bench, name: &str) {
    let servers: Api<Server> = bench.all();
    eventually(&format!("{name} is gone"), async || match servers.get_opt(name).await.unwrap() {
        None => Ok(()),
        Some(server) => Err(format!("{:?}", server.metadata)),
    })
    .await;
}

/// The sweep as the controllers run it, with their rights and caches of its own.
async fn sweep(bench: &Bench) -> (Sweep, Gate) {
    let client = bench.plane.client("bloomery:controllers", &[]).await;
    let Watches { servers, bindings, fleet, .. } = Watches::new(&client);
    let (all, bound) = (servers.feed.cache(), bindings.feed.cache());
    tokio::spawn(servers.run());
    tokio::spawn(bindings.run());
    all.until_listed().await;
    bound.until_listed().await;
    let api = client.clone();
    let gate = Gate::new(move || Some(api.clone()), &bench.plane.directory().join("plane"));
    let (told, clients) = (client.clone(), Clients { urgent: client.clone(), background: client });
    let (events, _) =
        Recorder::start(COMPONENT, bloomery_api::plane::reference(), move || Some(told.clone()));
    let context = Context::new(clients, events, Arc::default(), talos());
    (Sweep::new(context, gate.clone(), all, fleet), gate)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_nobody_accepted_and_that_never_calls_again_is_forgotten() {
    const SILENT: &str = "4c4c4544-0039-3010-804d-000000000411";
    const CALLED: &str = "4c4c4544-0039-3010-804d-000000000412";
    const KEPT: &str = "4c4c4544-0039-3010-804d-000000000413";
    const ACCEPTED: &str = "4c4c4544-0039-3010-804d-000000000414";
    let (bench, _controllers) = Bench::with_controllers().await;
    // Long after their registration, by both clocks from here on.
    let (start, wall) = (Instant::now(), Timestamp::now() + Duration::from_hours(20 * 24));
    let after = |hours| (start + Duration::from_hours(hours), wall + Duration::from_hours(hours));
    for name in [SILENT, CALLED, KEPT, ACCEPTED] {
        let mut server = registered(name);
        server.spec.accepted = name == ACCEPTED;
        let made = bench.all::<Server>().create(&PostParams::default(), &server).await.unwrap();
        record(&bench, &made, Entry::NeverUsed(ContentsClass::Blank)).await;
    }
    let today = wall.strftime("%Y-%m-%d").to_string();
    bench.patch::<Server>(CALLED, annotated(LAST_CALL_ANNOTATION, today)).await;
    bench.patch::<Server>(KEPT, annotated(KEEP_ANNOTATION, "true")).await;
    until_reason(&bench, ACCEPTED, "NotClean").await;
    for name in [SILENT, CALLED, KEPT] {
        until_reason(&bench, name, "NotAccepted").await;
    }
    // While nobody has looked at what a restore brought back, nothing goes.
    bench.patch::<Plane>("plane", annotated(RESTORED_ANNOTATION, "x")).await;
    let (mut sweep, gate) = sweep(&bench).await;
    for hours in [0, 25] {
        let (now, wall) = after(hours);
        sweep.look(now, wall).await;
    }
    bench.patch::<Plane>("plane", annotated(RESTORED_ANNOTATION, Value::Null)).await;
    eventually("the mark is gone", async || gate.look().await.restored.map_or(Ok(()), Err)).await;
    for hours in [26, 49] {
        let (now, wall) = after(hours);
        sweep.look(now, wall).await;
        let server = bench.all::<Server>().get(SILENT).await.unwrap();
        assert_eq!(server.metadata.deletion_timestamp, None, "{hours}");
        has_event(&bench, SILENT, &format!("kubectl annotate server {SILENT} {KEEP_ANNOTATION}")).await;
    }
    let (now, wall) = after(51);
    sweep.look(now, wall).await;
    until_gone(&bench, SILENT).await;
    for name in [CALLED, KEPT, ACCEPTED] {
        let server = bench.all::<Server>().get(name).await.unwrap();
        assert!(server.metadata.deletion_timestamp.is_none() && server.finalizers() == [FINALIZER], "{name}");
    }
    assert_eq!(bench.all::<Plane>().get("plane").await.unwrap().fenced(), None);
}

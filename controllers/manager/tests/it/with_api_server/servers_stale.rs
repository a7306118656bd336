//! The Server controller against what is older than it looks: a restored etcd, answers of a slow management controller,
//! a binding whose Server is gone.

use bloomery_api::evidence::{DiskRecord, DiskState, Entry};
use bloomery_api::plane::{FENCED_ANNOTATION, RESTORED_ANNOTATION};
use bloomery_api::{Plane, Server, ServerBinding};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::support::bench::Bench;
use crate::support::machines::{
    bind, canary, configured, has_event, machine, patch_status, record, until, until_reason, until_told,
};
use crate::support::power_api::PowerApi;
use bloomery_testkit::eventually;

/// Short: a machine that could be cycled again is, while the test looks.
const TIMEOUT: &str = "--server-reboot-timeout=2s";

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_etcd_voids_every_record_under_running_controllers() {
    const DIRTY: &str = "4c4c4544-0039-3010-804d-000000000201";
    const CLEAN: &str = "4c4c4544-0039-3010-804d-000000000202";
    let (mut bench, mut controllers) = Bench::with_controllers_and(&[TIMEOUT]).await;
    let (dirty, clean) = (PowerApi::start(true).await, PowerApi::start(true).await);
    machine(&bench, DIRTY, true, &dirty).await;
    until_told(&dirty, "it is cycled", |power| power.count("reboot") > 0).await;
    let made = machine(&bench, CLEAN, false, &clean).await;
    record(&bench, &made, Entry::Clean).await;
    patch_status(&bench, CLEAN, json!({ "isClean": true })).await;
    bench.patch::<Server>(CLEAN, json!({ "spec": { "accepted": true } })).await;
    until_told(&clean, "it is switched off", |power| power.count("poweroff") > 0).await;
    bench.plane.back_up().await;

    // What came after: machines that were given away, which nobody remembers.
    for name in [DIRTY, CLEAN] {
        bind(&bench, name).await;
        until(&bench, name, "the claim is on record", |server| {
            DiskRecord::of(server).is_some_and(|record| record.state == DiskState::Bound)
        })
        .await;
    }
    configured(&bench, CLEAN).await;
    canary(&bench, "4c4c4544-0039-3010-804d-000000000204").await;
    until_told(&clean, "it is switched on", |power| power.count("poweron") > 0).await;
    let told = [&dirty, &clean].map(PowerApi::told);
    bench.plane.restore().await;

    eventually("the epoch is raised", async || {
        let plane = bench.all::<Plane>().get("plane").await.map_err(|error| error.to_string())?;
        if plane.spec.epoch == 2 { Ok(()) } else { Err(format!("{:?}", plane.spec)) }
    })
    .await;
    until_marked(&bench, "restored").await;
    // What the process remembered is of a state that is no more: its supervisor starts it anew.
    assert!(!controllers.process.wait().await.success());
    let _controllers = bench.setup.run_with(&bench.plane, &[TIMEOUT]).await;
    let bindings: Api<ServerBinding> = bench.all();
    for name in [DIRTY, CLEAN] {
        assert!(bindings.get_opt(name).await.unwrap().is_none(), "its binding must be forgotten");
        until_reason(&bench, name, "NotConfirmed").await;
    }
    canary(&bench, "4c4c4544-0039-3010-804d-000000000205").await;
    assert_eq!([&dirty, &clean].map(PowerApi::told), told);
}

/// The Plane object says since when and why unknown machines wait, until a person removes that.
async fn until_marked(bench: &Bench, word: &str) {
    let planes: Api<Plane> = bench.all();
    let plane = planes.get("plane").await.unwrap();
    let mark = plane.restored().unwrap_or_default();
    assert!(mark.starts_with("20") && mark.contains(word), "{mark}");
    // `kubectl annotate plane plane bloomery.dev/restored-`
    let removed = json!({ "metadata": { "annotations": { RESTORED_ANNOTATION: null } } });
    assert_eq!(bench.patch::<Plane>("plane", removed).await.restored(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_was_decided_before_a_binding_came_is_not_given() {
    const CLEAN: &str = "4c4c4544-0039-3010-804d-000000000211";
    const DIRTY: &str = "4c4c4544-0039-3010-804d-000000000212";
    let (bench, _controllers) = Bench::with_controllers().await;
    let (clean, dirty) = (PowerApi::start(true).await, PowerApi::start(true).await);
    let made = machine(&bench, CLEAN, false, &clean).await;
    record(&bench, &made, Entry::Clean).await;
    patch_status(&bench, CLEAN, json!({ "isClean": true })).await;
    machine(&bench, DIRTY, false, &dirty).await;
    for (name, power) in [(CLEAN, &clean), (DIRTY, &dirty)] {
        until_reason(&bench, name, "NotAccepted").await;
        power.hold(true);
        let asked = power.asked();
        bench.patch::<Server>(name, json!({ "spec": { "accepted": true } })).await;
        until_told(power, "its state is asked for", |power| power.asked() > asked).await;
        // The answer takes its time, and meanwhile a cluster takes the machine.
        bind(&bench, name).await;
        power.hold(false);
        until_reason(&bench, name, "Bound").await;
    }
    canary(&bench, "4c4c4544-0039-3010-804d-000000000213").await;
    for power in [&clean, &dirty] {
        assert_eq!(power.told(), [] as [&str; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_puts_the_revision_up_is_noticed_by_what_the_plane_wrote_last() {
    const KNOWN: &str = "4c4c4544-0039-3010-804d-000000000241";
    let (mut bench, mut controllers) = Bench::with_controllers().await;
    let power = PowerApi::start(true).await;
    machine(&bench, KNOWN, false, &power).await;
    until_reason(&bench, KNOWN, "NotAccepted").await;
    bench.plane.back_up().await;
    // Every start leaves its digits; a start without a restore is no alarm.
    controllers.process.stop().await;
    let mut controllers = bench.setup.run(&bench.plane).await;
    controllers.process.stop().await;
    let plane: Plane = bench.all().get("plane").await.unwrap();
    assert_eq!((plane.spec.epoch, plane.restored()), (1, None));
    let reached: u64 = plane.metadata.resource_version.unwrap().parse().unwrap();
    bench.plane.restore().await;
    let older: Plane = bench.all().get("plane").await.unwrap();
    assert_ne!(older.metadata.annotations, plane.metadata.annotations);
    get_past(&bench, reached + 100).await;

    let _controllers = bench.setup.run(&bench.plane).await;
    let found: Plane = bench.all().get("plane").await.unwrap();
    assert_eq!(found.spec.epoch, 2);
    until_marked(&bench, "lacks what this plane wrote last").await;
    bench.patch::<Server>(KNOWN, json!({ "spec": { "accepted": true } })).await;
    until_reason(&bench, KNOWN, "NotConfirmed").await;
    assert_eq!(power.told(), [] as [&str; 0]);
}

/// Puts the revision up, as `etcdutl snapshot restore --bump-revision` does.
async fn get_past(bench: &Bench, revision: u64) {
    let maps: Api<ConfigMap> = Api::namespaced(bench.client.clone(), "default");
    let metadata = ObjectMeta { name: Some("bump".to_owned()), ..ObjectMeta::default() };
    let map = ConfigMap { metadata, ..ConfigMap::default() };
    maps.create(&PostParams::default(), &map).await.unwrap();
    for count in 0.. {
        let patch = Patch::Merge(json!({ "data": { "count": count.to_string() } }));
        let written = maps.patch("bump", &PatchParams::default(), &patch).await.unwrap();
        if written.resource_version().unwrap().parse::<u64>().unwrap() > revision {
            return;
        }
    }
}

/// Longer than any test.
const UNHURRIED: &str = "--server-reboot-timeout=10m";

#[tokio::test(flavor = "multi_thread")]
async fn a_command_whose_reason_goes_while_it_waits_is_not_sent_and_its_claim_is_taken_back() {
    const BOUND: &str = "4c4c4544-0039-3010-804d-000000000231";
    const TOUCHED: &str = "4c4c4544-0039-3010-804d-000000000232";
    let (bench, _controllers) = Bench::with_controllers_and(&[UNHURRIED]).await;
    let (bound, touched) = (PowerApi::start(true).await, PowerApi::start(true).await);
    // The cycle waits in the middle. Meanwhile a cluster takes one machine, the other is to be booted another way.
    for (name, power) in [(BOUND, &bound), (TOUCHED, &touched)] {
        power.hold_pxe(true);
        machine(&bench, name, true, power).await;
        until_told(power, "the first command came", |power| power.count("pxeboot") == 1).await;
        if name == BOUND {
            bind(&bench, name).await;
        } else {
            bench.patch::<Server>(name, json!({ "spec": { "pxeMode": "bios" } })).await;
        }
        power.hold_pxe(false);
    }
    until_reason(&bench, BOUND, "Bound").await;
    // A claim that stayed would put this off by ten minutes.
    until_told(&touched, "it is cycled as it is wanted now", |power| power.count("reboot") == 1).await;
    assert_eq!(touched.told(), ["pxeboot", "pxeboot", "reboot"]);
    canary(&bench, "4c4c4544-0039-3010-804d-000000000233").await;
    assert_eq!(bound.told(), ["pxeboot"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_whose_server_is_gone_can_still_be_deleted() {
    const NAME: &str = "4c4c4544-0039-3010-804d-000000000221";
    let (bench, controllers) = Bench::with_controllers().await;
    let power = PowerApi::start(true).await;
    machine(&bench, NAME, true, &power).await;
    bind(&bench, NAME).await;
    let (servers, bindings): (Api<Server>, Api<ServerBinding>) = (bench.all(), bench.all());
    until_reason(&bench, NAME, "Bound").await;
    eventually("our finalizer is there", async || {
        let binding = bindings.get(NAME).await.map_err(|error| error.to_string())?;
        if binding.finalizers().is_empty() { Err("none".to_owned()) } else { Ok(()) }
    })
    .await;
    servers.delete(NAME, &DeleteParams::default()).await.unwrap();
    let strip = Patch::Merge(json!({ "metadata": { "finalizers": [] } }));
    servers.patch(NAME, &PatchParams::default(), &strip).await.unwrap();
    assert!(servers.get_opt(NAME).await.unwrap().is_none());
    // Nobody released it: the plane stops itself, and lets nothing go, until a person has looked.
    let planes: Api<Plane> = bench.all();
    let fenced = eventually("the plane is fenced", async || {
        let plane = planes.get("plane").await.map_err(|error| error.to_string())?;
        plane.fenced().map(str::to_owned).ok_or_else(|| format!("{:?}", plane.metadata.annotations))
    })
    .await;
    assert!(fenced.contains(NAME) && fenced.contains("nobody released them"), "{fenced}");
    has_event(&bench, "plane", "kubectl annotate plane plane bloomery.dev/fenced-").await;
    let waiting = PowerApi::start(true).await;
    machine(&bench, "4c4c4544-0039-3010-804d-000000000222", true, &waiting).await;
    // The gate's answer is a second old at most: until then what was decided before may still be done.
    eventually("the controllers know", async || {
        let output = controllers.process.output();
        if output.contains("this plane stopped acting") { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    let told = waiting.told();
    bindings.delete(NAME, &DeleteParams::default()).await.unwrap();
    assert_eq!(waiting.told(), told);
    assert!(bindings.get_opt(NAME).await.unwrap().is_some(), "it lets nothing go");
    let looked = json!({ "metadata": { "annotations": { FENCED_ANNOTATION: null } } });
    bench.patch::<Plane>("plane", looked).await;
    until_told(&waiting, "it acts again", |power| power.count("reboot") > 0).await;
    eventually("the binding is gone", async || match bindings.get_opt(NAME).await.unwrap() {
        None => Ok(()),
        Some(binding) => Err(format!("{:?}", binding.metadata)),
    })
    .await;
    eventually("the Server is no longer counted", async || {
        let (_, metrics) = controllers.get("/metrics").await?;
        let line = metrics.lines().find(|line| line.starts_with("controllers_servers{standing=\"Bound\"}"));
        if line.is_some_and(|line| line.ends_with(" 0")) { Ok(()) } else { Err(format!("{line:?}")) }
    })
    .await;
}

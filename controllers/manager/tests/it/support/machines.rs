//! Machines with a power API of their own, and what tests of the Server controller wait for.

use bloomery_api::condition::{self, Condition};
use bloomery_api::contents::ContentsClass;
use bloomery_api::evidence::{DISKS_ANNOTATION, DiskRecord, Entry};
use bloomery_api::plane::Authority;
use bloomery_api::readiness::CONFIGURATION_READY;
use bloomery_api::trust::{SigningKey, Trust};
use bloomery_api::{Plane, Server, ServerBinding};
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::support::bench::{Bench, registered};
use crate::support::power_api::PowerApi;
use bloomery_testkit::eventually;

/// Makes a Server as the boot services do, record included, with its own power API.
pub(crate) async fn machine(bench: &Bench, name: &str, accepted: bool, power: &PowerApi) -> Server {
    let servers: Api<Server> = bench.all();
    let mut server = registered(name);
    server.spec.accepted = accepted;
    server.spec.management_api =
        Some(bloomery_api::server::ManagementApi { endpoint: power.endpoint.clone() });
    let made = servers.create(&PostParams::default(), &server).await.unwrap();
    record(bench, &made, Entry::NeverUsed(ContentsClass::Blank)).await
}

/// Puts a record on a Server as the plane's own programs do: nobody else may, and nobody else has the key.
pub(crate) async fn record(bench: &Bench, server: &Server, entry: Entry<'_>) -> Server {
    let plane = bench.all::<Plane>().get("plane").await.unwrap();
    let authority = Authority::Holds { epoch: plane.spec.epoch, trust: trust(bench) };
    let record = DiskRecord::new(server, entry, &authority, "0123456789abcdef", &now()).unwrap();
    let servers: Api<Server> = Api::all(bench.plane.client("bloomery:controllers", &[]).await);
    let patch = json!({ "metadata": { "annotations": { DISKS_ANNOTATION: record.to_annotation() } } });
    servers.patch(&server.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await.unwrap()
}

/// The key and the name of the plane under test.
fn trust(bench: &Bench) -> Trust {
    let directory = bench.plane.directory().join("plane");
    let id: Value = serde_json::from_slice(&std::fs::read(directory.join("id")).unwrap()).unwrap();
    let key = std::fs::read(directory.join(bloomery_plane::KEY_FILE)).unwrap();
    Trust::new(SigningKey::new(key.try_into().unwrap()), id["id"].as_str().unwrap())
}

pub(crate) fn now() -> Time {
    Time(Timestamp::now())
}

/// What the boot services write when the agent says that it has wiped.
pub(crate) async fn wiped(bench: &Bench, name: &str) {
    let server: Server = bench.all::<Server>().get(name).await.unwrap();
    record(bench, &server, Entry::Clean).await;
    patch_status(bench, name, json!({ "isClean": true })).await;
}

pub(crate) async fn patch_status(bench: &Bench, name: &str, status: Value) {
    let patch = Patch::Merge(json!({ "status": status }));
    bench.all::<Server>().patch_status(name, &PatchParams::default(), &patch).await.unwrap();
}

pub(crate) async fn bind(bench: &Bench, name: &str) {
    let binding: ServerBinding = serde_json::from_value(json!({
        "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha3", "kind": "ServerBinding",
        "metadata": { "name": name },
        "spec": { "metalMachineRef": { "kind": "MetalMachine", "name": "m", "namespace": "default" } },
    }))
    .unwrap();
    bench.all::<ServerBinding>().create(&PostParams::default(), &binding).await.unwrap();
}

/// Says that the machine can use its configuration, as the metadata controller does. Where Cluster API is not installed
/// that one waits.
pub(crate) async fn configured(bench: &Bench, name: &str) {
    let conditions = [Condition::holds(CONFIGURATION_READY, now())];
    let patch = Patch::Merge(json!({ "status": { "conditions": conditions } }));
    bench.all::<ServerBinding>().patch_status(name, &PatchParams::default(), &patch).await.unwrap();
}

pub(crate) async fn until(bench: &Bench, name: &str, what: &str, holds: impl Fn(&Server) -> bool) -> Server {
    let servers: Api<Server> = bench.all();
    eventually(what, async || {
        let server = servers.get(name).await.map_err(|error| error.to_string())?;
        if holds(&server) { Ok(server) } else { Err(serde_json::to_string(&server).unwrap()) }
    })
    .await
}

pub(crate) fn reason(server: &Server) -> String {
    let conditions = server.status.as_ref().map_or(&[][..], |status| &status.conditions);
    condition::find(conditions, "Ready").map(|ready| ready.reason.clone()).unwrap_or_default()
}

pub(crate) async fn until_reason(bench: &Bench, name: &str, wanted: &str) -> Server {
    until(bench, name, &format!("{name} is {wanted}"), |server| reason(server) == wanted).await
}

pub(crate) async fn until_told(power: &PowerApi, what: &str, holds: impl Fn(&PowerApi) -> bool) {
    eventually(what, async || if holds(power) { Ok(()) } else { Err(format!("{:?}", power.told())) }).await;
}

/// A machine made after everything else that must be commanded: by then the controller has looked at all others.
pub(crate) async fn canary(bench: &Bench, name: &str) {
    let power = PowerApi::start(true).await;
    machine(bench, name, true, &power).await;
    until_told(&power, "the controller acts", |power| power.count("reboot") > 0).await;
}

pub(crate) async fn has_event(bench: &Bench, name: &str, message: &str) {
    let events: Api<Event> = Api::namespaced(bench.client.clone(), "default");
    eventually(&format!("the event {message:?}"), async || {
        let list = events.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let of = |event: &Event| event.involved_object.name.as_deref() == Some(name);
        let texts: Vec<_> = list.items.into_iter().filter(of).filter_map(|event| event.message).collect();
        if texts.iter().any(|text| text.contains(message)) { Ok(()) } else { Err(format!("{texts:?}")) }
    })
    .await;
}

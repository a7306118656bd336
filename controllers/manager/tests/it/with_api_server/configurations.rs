//! Configurations of bound machines against a real API server and Talos's own library: what is kept and who may read it,
//! what is said before a machine is on (criterion C4), and that it comes up by itself once that is mended (spec/sidero.md
//! §10.2, `ServerPXEBoot`).

use bloomery_api::condition::{self, Condition};
use bloomery_api::evidence::Entry;
use bloomery_api::metadata::rendered::{Rendered, secret_name};
use bloomery_api::{MetalMachine, Plane, Server, ServerBinding, ServerClass};
use bloomery_talosconfig::{Generate, SecretsBundle};
use bloomery_testkit::{eventually, scaled};
use k8s_openapi::api::core::v1::{Event, Secret};
use k8s_openapi::api::rbac::v1::Role;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::support::bench::{Bench, registered};
use crate::support::cluster_api::{self, NAMESPACE, cluster, machine, namespaced, provisioned};
use crate::support::controllers::{Controllers, talos};
use crate::support::machines::{record, until_reason, until_told, wiped};
use crate::support::power_api::PowerApi;

const ENDPOINT: &str = "--api-endpoint=10.77.0.2";
const SYSTEM: &str = "sidero-system";
const DISK: &str = "machine: {install: {disk: /dev/vda}}";
const ID: &str = "test-installation";

fn name_of(number: usize) -> String {
    format!("4c4c4544-0039-3010-804d-{number:012}")
}

/// The controllers with Cluster API's kinds, the identity of the plane's network, a cluster and a class of all Servers.
async fn start() -> (Bench, Controllers) {
    let bench = Bench::start().await;
    bench.apply();
    cluster_api::install(&bench).await;
    bench.create_idle_defaults().await;
    let link = json!({ "metadata": { "name": "siderolink" }, "stringData": { "installation-id": ID, "private-key": "hidden" } });
    let secrets = secrets(&bench, SYSTEM);
    let patch = Patch::Apply(with_kind(link, "v1", "Secret"));
    secrets.patch("siderolink", &PatchParams::apply("test").force(), &patch).await.unwrap();
    let controllers = bench.setup.run_with(&bench.plane, &[ENDPOINT]).await;
    cluster(&bench, "10.0.0.1").await;
    provisioned(&bench).await;
    let class = json!({ "metadata": { "name": "all" }, "spec": {} });
    let class = serde_json::from_value(with_kind(class, "metal.sidero.dev/v1alpha2", "ServerClass")).unwrap();
    bench.all::<ServerClass>().create(&PostParams::default(), &class).await.unwrap();
    (bench, controllers)
}

fn with_kind(mut object: Value, api_version: &str, kind: &str) -> Value {
    object["apiVersion"] = json!(api_version);
    object["kind"] = json!(kind);
    object
}

fn secrets(bench: &Bench, namespace: &str) -> Api<Secret> {
    Api::namespaced(bench.client.clone(), namespace)
}

/// A clean Server with a power API.
async fn clean(bench: &Bench, name: &str, spec: Value) -> PowerApi {
    let power = PowerApi::start(false).await;
    let mut server = registered(name);
    server.spec.accepted = true;
    server.spec.management_api =
        Some(bloomery_api::server::ManagementApi { endpoint: power.endpoint.clone() });
    let made = bench.all::<Server>().create(&PostParams::default(), &server).await.unwrap();
    record(bench, &made, Entry::NeverUsed(bloomery_api::contents::ContentsClass::Blank)).await;
    bench.patch::<Server>(name, json!({ "spec": spec })).await;
    wiped(bench, name).await;
    until_reason(bench, name, "Available").await;
    power
}

/// Bootstrap data as the bootstrap provider makes it.
async fn data(bench: &Bench, name: &str, version: &str) {
    let talos = talos();
    let bundle = SecretsBundle::from(talos.new_secrets(version).await.unwrap());
    let params = Generate {
        talos_version: version.to_owned(),
        ..Generate::new("controlplane", "c", "https://10.0.0.1:6443", bundle)
    };
    let config = talos.generate(&params).await.unwrap();
    put_data(bench, name, config.expose()).await;
}

async fn put_data(bench: &Bench, name: &str, config: &str) {
    let secret = json!({ "metadata": { "name": name, "labels": { "cluster.x-k8s.io/cluster-name": "c" } },
        "stringData": { "value": config } });
    let patch = Patch::Apply(with_kind(secret, "v1", "Secret"));
    secrets(bench, NAMESPACE).patch(name, &PatchParams::apply("test").force(), &patch).await.unwrap();
}

fn on(server: &str) -> Value {
    json!({ "serverRef": { "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "Server", "name": server } })
}

fn of_class() -> Value {
    json!({ "serverClassRef": { "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "ServerClass", "name": "all" } })
}

fn shown(conditions: &[Condition], type_: &str) -> String {
    condition::find(conditions, type_).map_or_else(String::new, |found| {
        let Condition { status, severity, reason, .. } = found;
        format!("{} {severity} {reason}", status.as_str()).trim().to_owned()
    })
}

async fn until_binding(bench: &Bench, name: &str, type_: &str, wanted: &str) -> ServerBinding {
    eventually(&format!("{type_} of {name} is {wanted}"), async || {
        let found = bench.all::<ServerBinding>().get(name).await.map_err(|error| error.to_string())?;
        let conditions = found.status.as_ref().map_or(&[][..], |status| &status.conditions);
        if shown(conditions, type_) == wanted { Ok(found) } else { Err(format!("{conditions:?}")) }
    })
    .await
}

async fn until_machine(bench: &Bench, name: &str, type_: &str, wanted: &str) {
    eventually(&format!("{type_} of MetalMachine {name} is {wanted}"), async || {
        let found: MetalMachine =
            namespaced(bench).get(name).await.map_err(|error: kube::Error| error.to_string())?;
        let conditions = found.status.as_ref().map_or(&[][..], |status| &status.conditions);
        if shown(conditions, type_) == wanted { Ok(()) } else { Err(format!("{conditions:?}")) }
    })
    .await;
}

async fn until_event(bench: &Bench, object: &str, reason: &str) -> Event {
    let events: Api<Event> = Api::namespaced(bench.client.clone(), "default");
    eventually(&format!("event {reason} of {object}"), async || {
        let all = events.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let found = all.items.into_iter().find(|event| {
            event.reason.as_deref() == Some(reason) && event.involved_object.name.as_deref() == Some(object)
        });
        found.ok_or_else(|| "none".to_owned())
    })
    .await
}

/// The configuration that is kept for a Server, once it holds that.
async fn until_kept(bench: &Bench, name: &str, text: &str) -> (Secret, Rendered) {
    eventually(&format!("the configuration of {name} holds {text}"), async || {
        let binding = bench.all::<ServerBinding>().get(name).await.map_err(|error| error.to_string())?;
        let secret =
            secrets(bench, SYSTEM).get(&secret_name(name)).await.map_err(|error| error.to_string())?;
        let rendered = Rendered::of(&secret, &binding).map_err(|error| error.to_string())?;
        match &rendered.outcome {
            Ok((config, _)) if config.contains(text) => Ok((secret, rendered)),
            other => Err(format!("{:?}", other.as_ref().map(|(config, _)| config.len()))),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_comes_on_with_a_good_configuration_that_only_the_boot_services_may_read_besides() {
    let (bench, _controllers) = start().await;
    let (one, other) = (name_of(401), name_of(402));
    let power = clean(&bench, &one, json!({ "strategicPatches": [DISK] })).await;
    data(&bench, "b", "v1.13").await;
    machine(&bench, "m", of_class(), Some("b")).await;
    until_binding(&bench, &one, "ConfigurationReady", "True").await;
    until_told(&power, "it is switched on", PowerApi::is_on).await;
    assert_eq!(power.told(), ["pxeboot", "poweron"]);
    let (secret, rendered) = until_kept(&bench, &one, "disk: /dev/vda").await;
    let (config, _) = rendered.outcome.unwrap();
    for text in [
        format!("node-labels: metal.sidero.dev/uuid={one}"),
        "apiUrl: grpc://10.77.0.2:8081".to_owned(),
        "[fd1a:417e:7824:ca03::1]:4002".to_owned(),
        "tcp://[fd1a:417e:7824:ca03::1]:4001".to_owned(),
    ] {
        assert!(config.contains(&text), "{text}");
    }
    let told: Vec<String> = rendered.patches.iter().map(ToString::to_string).collect();
    assert_eq!(told[0], format!("strategicPatches[0] of Server {one}"));
    let owner = &secret.metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!((owner.kind.as_str(), owner.name.as_str()), ("ServerBinding", one.as_str()));
    let plane = bench.all::<Plane>().get("plane").await.unwrap();
    assert_eq!(plane.annotations()["bloomery.dev/siderolink"], "fd1a:417e:7824:ca03::1");

    // The boot services read this one Secret, and no other of the namespace: a stranger's packet goes no further.
    let services = bench.plane.client("bloomery:bootsvc", &[]).await;
    let theirs: Api<Secret> = Api::namespaced(services.clone(), SYSTEM);
    eventually("the boot services may read it", async || {
        theirs.get(&secret_name(&one)).await.map(drop).map_err(|error| error.to_string())
    })
    .await;
    let account = json!({ "metadata": { "name": "bmc" }, "stringData": { "pass": "hidden" } });
    let account: Secret = serde_json::from_value(with_kind(account, "v1", "Secret")).unwrap();
    secrets(&bench, SYSTEM).create(&PostParams::default(), &account).await.unwrap();
    let forbidden = |error: kube::Error| matches!(error, kube::Error::Api(status) if status.code == 403);
    for name in ["siderolink", "bmc", &secret_name(&other)] {
        assert!(theirs.get(name).await.is_err_and(forbidden), "{name}");
    }
    assert!(theirs.list(&ListParams::default()).await.is_err_and(forbidden));
    let bootstrap: Api<Secret> = Api::namespaced(services.clone(), NAMESPACE);
    assert!(bootstrap.get("b").await.is_err_and(forbidden));
    let change = Patch::Merge(json!({ "data": { "config": "eA==" } }));
    assert!(theirs.patch(&secret_name(&one), &PatchParams::default(), &change).await.is_err_and(forbidden));
    // The controllers make configurations and no other Secret there, and let the boot services read nothing else.
    let controllers = bench.plane.client("bloomery:controllers", &[]).await;
    let own: Api<Secret> = Api::namespaced(controllers.clone(), SYSTEM);
    let change = Patch::Merge(json!({ "data": { "pass": "eA==" } }));
    for name in ["siderolink", "bmc"] {
        let patched = own.patch(name, &PatchParams::default(), &change).await;
        assert!(patched.is_err_and(forbidden), "{name}");
    }
    let roles: Api<Role> = Api::namespaced(controllers, SYSTEM);
    for names in [json!(["bmc"]), json!([])] {
        let rule =
            json!({ "apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": names });
        let change = Patch::Merge(json!({ "rules": [rule] }));
        let patched = roles.patch("bloomery:bootsvc-configurations", &PatchParams::default(), &change).await;
        assert!(patched.is_err_and(forbidden), "{names}");
    }
    // Nor can they say that a machine may be switched on.
    let bindings: Api<ServerBinding> = Api::all(services);
    let change = Patch::Merge(json!({ "status": { "conditions": [] } }));
    assert!(bindings.patch_status(&one, &PatchParams::default(), &change).await.is_err_and(forbidden));
    let boot = Patch::Merge(json!({ "status": { "boot": { "id": "x", "epoch": 1 } } }));
    bindings.patch_status(&one, &PatchParams::default(), &boot).await.unwrap();

    // With the binding goes the right to read.
    let machines: Api<MetalMachine> = namespaced(&bench);
    machines.delete("m", &DeleteParams::default()).await.unwrap();
    eventually("the right is gone", async || {
        let roles: Api<Role> = Api::namespaced(bench.client.clone(), SYSTEM);
        let role = roles.get("bloomery:bootsvc-configurations").await.map_err(|error| error.to_string())?;
        if role.rules.iter().flatten().next().is_none() { Ok(()) } else { Err(format!("{:?}", role.rules)) }
    })
    .await;
    assert!(theirs.get(&secret_name(&one)).await.is_err_and(forbidden));
}

/// Criterion C4, and upstream's own case of a bad class.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_with_a_bad_configuration_stays_off_and_comes_on_by_itself_once_it_is_mended() {
    let (bench, _controllers) = start().await;
    let (diskless, unfit, conflict, bad) = (name_of(411), name_of(412), name_of(413), name_of(414));
    let operations = json!([{ "op": "add", "path": "/debug", "value": true }]);
    let twice = [DISK, "machine: {network: {hostname: a}}"];
    data(&bench, "b", "v1.13").await;
    let mut powers = Vec::new();
    for (number, (name, spec, reason)) in [
        (&diskless, json!({}), "NoInstallDisk"),
        (&unfit, json!({ "configPatches": operations, "strategicPatches": [DISK] }), "PatchFailed"),
        (&conflict, json!({ "strategicPatches": twice }), "DocumentsInConflict"),
    ]
    .into_iter()
    .enumerate()
    {
        let power = clean(&bench, name, spec).await;
        let machine_name = format!("m{number}");
        machine(&bench, &machine_name, on(name), Some("b")).await;
        until_binding(&bench, name, "ConfigurationReady", &format!("False Error {reason}")).await;
        until_machine(&bench, &machine_name, "TalosConfigLoaded", "False Error TalosConfigLoadFailed").await;
        until_machine(&bench, &machine_name, "Ready", &format!("False Error {reason}")).await;
        for object in [name.as_str(), &machine_name] {
            let event = until_event(&bench, object, reason).await;
            assert_eq!(event.type_.as_deref(), Some("Warning"));
        }
        powers.push((name, power));
    }
    // A label that the library takes and no node does (sfyra), on the class; the machine was allocated from it.
    let patch = json!({ "spec": { "strategicPatches": ["machine: {nodeLabels: {/1: a}}"] } });
    bench.patch::<ServerClass>("all", patch).await;
    let power = clean(&bench, &bad, json!({ "strategicPatches": [DISK] })).await;
    machine(&bench, "m9", of_class(), Some("b")).await;
    until_machine(&bench, "m9", "TalosConfigLoaded", "False Error TalosConfigLoadFailed").await;
    until_event(&bench, "m9", "ConfigurationInvalid").await;
    crate::support::machines::canary(&bench, &name_of(419)).await;
    for (name, power) in powers.iter().map(|(name, power)| (*name, power)).chain([(&bad, &power)]) {
        assert_eq!(power.told(), [] as [&str; 0], "{name}");
    }

    // Mended, each comes on without anybody's help.
    bench.patch::<ServerClass>("all", json!({ "spec": { "strategicPatches": null } })).await;
    for (name, _) in &powers {
        let mended = json!({ "spec": { "configPatches": null, "strategicPatches": [DISK] } });
        bench.patch::<Server>(name, mended).await;
    }
    powers.push((&bad, power));
    for (name, power) in &powers {
        until_binding(&bench, name, "ConfigurationReady", "True").await;
        let binding = until_binding(&bench, name, "TalosConfigLoaded", "").await;
        until_told(power, "it is switched on", PowerApi::is_on).await;
        until_event(&bench, &binding.spec.metal_machine_ref.name.unwrap(), "ConfigurationReady").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_follows_its_sources_and_nothing_is_written_at_rest() {
    let (bench, controllers) = start().await;
    let name = name_of(421);
    let _power = clean(&bench, &name, json!({ "strategicPatches": [DISK] })).await;
    data(&bench, "b", "v1.13").await;
    machine(&bench, "m", of_class(), Some("b")).await;
    until_kept(&bench, &name, "disk: /dev/vda").await;
    // The class, the Server, the data, and what somebody did to the Secret itself.
    bench
        .patch::<ServerClass>(
            "all",
            json!({ "spec": { "strategicPatches": ["machine: {time: {servers: [class]}}"] } }),
        )
        .await;
    until_kept(&bench, &name, "- class").await;
    bench
        .patch::<Server>(
            &name,
            json!({ "spec": { "strategicPatches": [DISK, "machine: {time: {servers: [server]}}"] } }),
        )
        .await;
    until_kept(&bench, &name, "- server").await;
    put_data(&bench, "b", "version: v1alpha1\nmachine: {type: worker, token: another}\n").await;
    until_kept(&bench, &name, "token: another").await;
    secrets(&bench, SYSTEM).delete(&secret_name(&name), &DeleteParams::default()).await.unwrap();
    until_kept(&bench, &name, "token: another").await;
    secrets(&bench, NAMESPACE).delete("b", &DeleteParams::default()).await.unwrap();
    until_binding(&bench, &name, "ConfigurationReady", "False Warning BootstrapDataMissing").await;
    data(&bench, "b", "v1.13").await;
    until_binding(&bench, &name, "ConfigurationReady", "True").await;

    // At rest, and after a restart of the controllers, nothing is written.
    let versions = async || {
        let secret = secrets(&bench, SYSTEM).get(&secret_name(&name)).await.unwrap();
        let binding = bench.all::<ServerBinding>().get(&name).await.unwrap();
        let roles: Api<Role> = Api::namespaced(bench.client.clone(), SYSTEM);
        let role = roles.get("bloomery:bootsvc-configurations").await.unwrap();
        [secret.resource_version(), binding.resource_version(), role.resource_version()]
    };
    eventually("the role names it", async || {
        let roles: Api<Role> = Api::namespaced(bench.client.clone(), SYSTEM);
        let role = roles.get("bloomery:bootsvc-configurations").await.unwrap();
        if role.rules.iter().flatten().count() == 1 { Ok(()) } else { Err(format!("{:?}", role.rules)) }
    })
    .await;
    until_reason(&bench, &name, "Bound").await;
    let before = versions().await;
    let rest = scaled(std::time::Duration::from_secs(5));
    // What changes of a Server without changing its configuration has nothing made anew.
    bench.patch::<Server>(&name, json!({ "metadata": { "labels": { "a": "b" } } })).await;
    tokio::time::sleep(rest).await;
    assert_eq!(versions().await, before);
    drop(controllers);
    let _controllers = bench.setup.run_beside(&bench.plane, &[ENDPOINT]).await;
    tokio::time::sleep(rest).await;
    assert_eq!(versions().await, before);
}

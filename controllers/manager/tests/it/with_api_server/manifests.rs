//! The product's manifests, controllers and webhook against a real etcd and kube-apiserver.

use bloomery_api::condition::{self, ConditionStatus};
use bloomery_api::server::FINALIZER;
use bloomery_api::{Environment, Server, ServerBinding, ServerClass, conversion};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Event, Secret};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{DeserializeGuard, GroupVersionKind};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::support::bench::{Bench, registered};
use bloomery_testkit::eventually;

fn bound(name: &str) -> ServerBinding {
    serde_json::from_value(json!({
        "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha3", "kind": "ServerBinding",
        "metadata": { "name": name },
        "spec": { "metalMachineRef": { "kind": "MetalMachine", "name": "m", "namespace": "default" } },
    }))
    .unwrap()
}

async fn until_server<T>(
    servers: &Api<Server>,
    name: &str,
    what: &str,
    seen: impl Fn(&Server) -> Option<T>,
) -> T {
    eventually(what, async || {
        let server = servers.get(name).await.map_err(|error| error.to_string())?;
        seen(&server).ok_or_else(|| serde_json::to_string(&server).unwrap())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn applies_everything_again_without_change_and_names_what_is_refused() {
    let bench = Bench::start().await;
    bench.apply();
    let crds: Api<CustomResourceDefinition> = bench.all();
    let versions = async || -> Vec<(String, Option<String>)> {
        let list = crds.list(&ListParams::default().labels("app=sidero")).await.unwrap();
        list.items.iter().map(|crd| (crd.name_any(), crd.metadata.resource_version.clone())).collect()
    };
    let first = versions().await;
    assert_eq!(first.len(), 11, "{first:?}");
    bench.apply();
    assert_eq!(versions().await, first, "a second apply must not write");

    // What somebody changed is put right again.
    let roles: Api<ClusterRole> = bench.all();
    bench.patch::<ClusterRole>("bloomery:bootsvc", json!({ "rules": [] })).await;
    bench
        .patch::<CustomResourceDefinition>(
            "servers.metal.sidero.dev",
            json!({ "metadata": { "labels": { "app": "other" } } }),
        )
        .await;
    bench.apply();
    assert!(!roles.get("bloomery:bootsvc").await.unwrap().rules.unwrap_or_default().is_empty());
    assert_eq!(crds.get("servers.metal.sidero.dev").await.unwrap().labels()["app"], "sidero");

    let broken = "apiVersion: v1\nkind: Namespace\nmetadata: {name: fine}\n---\n\
                  apiVersion: v1\nkind: ConfigMap\nmetadata: {name: Not-A-Name, namespace: fine}\n---\n\
                  apiVersion: v1\nkind: ConfigMap\nmetadata: {name: after, namespace: fine}\n---\n\
                  apiVersion: nowhere.dev/v1\nkind: Nothing\nmetadata: {name: n}\n";
    std::fs::write(bench.setup.manifests.join("90-broken.yaml"), broken).unwrap();
    let applied = bench.setup.apply(&bench.plane);
    assert!(!applied.success);
    assert!(
        applied.output.contains("ConfigMap Not-A-Name (document 2 of 90-broken.yaml)"),
        "{}",
        applied.output
    );
    assert!(applied.output.contains("failed to apply 2 of "), "{}", applied.output);
    let unknown = "failed to find kind Nothing in nowhere.dev/v1";
    assert!(applied.output.contains(unknown), "{}", applied.output);
    let maps: Api<k8s_openapi::api::core::v1::ConfigMap> = Api::namespaced(bench.client.clone(), "fine");
    assert!(maps.get_opt("after").await.unwrap().is_some(), "one refusal must not stop the rest");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_may_take_away_is_not_brought_back() {
    let bench = Bench::start().await;
    bench.apply();
    bench.apply();
    let bindings: Api<ClusterRoleBinding> = bench.all();
    for name in ["bloomery:admins", "bloomery:controllers"] {
        bindings.delete(name, &DeleteParams::default()).await.unwrap();
    }
    bench.apply();
    assert!(bindings.get_opt("bloomery:admins").await.unwrap().is_none(), "its removal is respected");
    assert!(bindings.get_opt("bloomery:controllers").await.unwrap().is_some(), "the plane needs this one");
}

#[tokio::test(flavor = "multi_thread")]
async fn registers_binds_releases_and_deletes_a_server() {
    const NAME: &str = "4c4c4544-0039-3010-804d-b7c04f4b3533";
    let (bench, _controllers) = Bench::with_controllers().await;
    let servers: Api<Server> = bench.all();
    servers.create(&PostParams::default(), &registered(NAME)).await.unwrap();
    let status = until_server(&servers, NAME, "finalizer and status are there", |server| {
        let ours = server.finalizers().iter().any(|name| name == FINALIZER);
        server.status.clone().filter(|_| ours)
    })
    .await;
    assert_eq!(
        (status.ready, status.in_use, status.is_clean, status.power.as_str()),
        (false, false, false, "on")
    );
    let ready = condition::find(&status.conditions, "Ready").unwrap();
    assert_eq!((ready.status, ready.reason.as_str()), (ConditionStatus::False, "NotAccepted"));

    // Not accepted: in no class. Accepted: in `any`, though dirty.
    let classes: Api<ServerClass> = bench.all();
    let member = async |lists: &str, expected: &[&str]| {
        eventually("the class has its members", async || {
            let class = classes.get("any").await.map_err(|error| error.to_string())?;
            let status = serde_json::to_value(class.status).unwrap();
            if status[lists] == json!(expected) { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
    };
    member("serversAvailable", &[]).await;
    bench.patch::<Server>(NAME, json!({ "spec": { "accepted": true } })).await;
    member("serversAvailable", &[NAME]).await;

    // Bound: in use, never clean, and it cannot be deleted.
    let bindings: Api<ServerBinding> = bench.all();
    bindings.create(&PostParams::default(), &bound(NAME)).await.unwrap();
    member("serversInUse", &[NAME]).await;
    servers.delete(NAME, &DeleteParams::default()).await.unwrap();
    let held = until_server(&servers, NAME, "the deletion waits", |server| {
        server.metadata.deletion_timestamp.is_some().then(|| server.clone())
    })
    .await;
    assert!(held.status.unwrap().ready);

    // Released: announced, and the deletion goes on.
    bindings.delete(NAME, &DeleteParams::default()).await.unwrap();
    eventually("the Server is gone", async || match servers.get_opt(NAME).await.unwrap() {
        None => Ok(()),
        Some(server) => Err(serde_json::to_string(&server).unwrap()),
    })
    .await;
    member("serversInUse", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn announces_a_release_and_reports_through_table_health_and_metrics() {
    const NAME: &str = "00000000-0000-0000-0000-000000000001";
    let (bench, mut controllers) = Bench::with_controllers().await;
    let servers: Api<Server> = bench.all();
    servers.create(&PostParams::default(), &registered(NAME)).await.unwrap();
    let bindings: Api<ServerBinding> = bench.all();
    bindings.create(&PostParams::default(), &bound(NAME)).await.unwrap();
    until_server(&servers, NAME, "it is in use", |server| server.status.as_ref()?.in_use.then_some(())).await;

    let table = table(&bench.client, "/apis/metal.sidero.dev/v1alpha2/servers").await;
    let columns: Vec<_> = table["columnDefinitions"].as_array().unwrap().iter().map(|c| &c["name"]).collect();
    assert_eq!(
        columns,
        [
            "Name",
            "Hostname",
            "BMC IP",
            "Accepted",
            "Cordoned",
            "Allocated",
            "Clean",
            "Disks",
            "Conflict",
            "Power",
            "Age"
        ]
    );
    let cells = table["rows"][0]["cells"].as_array().unwrap();
    assert_eq!(
        cells[..7],
        [json!(NAME), json!("host-1"), Value::Null, json!(false), Value::Null, json!(true), json!(false)]
    );
    assert!(cells[7].as_str().unwrap().starts_with("blank"), "{:?}", cells[7]);
    assert_eq!(cells[8..10], [Value::Null, json!("on")]);

    bindings.delete(NAME, &DeleteParams::default()).await.unwrap();
    let events: Api<Event> = Api::namespaced(bench.client.clone(), "default");
    eventually("the release is announced", async || {
        let list = events.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let found = list.items.iter().any(|event| {
            event.reason.as_deref() == Some("Server Allocation")
                && event.message.as_deref() == Some("Server marked as unallocated.")
                && event.reporting_component.as_deref() == Some("sidero-controller-manager")
                && event.involved_object.name.as_deref() == Some(NAME)
        });
        if found { Ok(()) } else { Err(serde_json::to_string(&list.items).unwrap()) }
    })
    .await;

    assert_eq!(controllers.get("/healthz").await.unwrap().0, 200);
    let (code, metrics) = controllers.get("/metrics").await.unwrap();
    assert_eq!(code, 200);
    assert!(metrics.contains(r#"controllers_reconciles_total{kind="Server",result="success"}"#), "{metrics}");
    let (code, table) = controllers.get("/controllers").await.unwrap();
    let table: Value = serde_json::from_str(&table).unwrap();
    let row = |name: &str| table.as_array().unwrap().iter().find(|row| row["name"] == name).cloned().unwrap();
    assert_eq!((code, table.as_array().unwrap().len()), (200, 10), "{table}");
    let servers = row("servers");
    assert!(servers["reconciles"].as_u64().unwrap() > 0 && servers["kind"] == "Server", "{servers}");
    assert!(
        servers["lastRun"]["object"].is_string() && row("environments")["lastRun"]["at"].is_string(),
        "{table}"
    );
    let id = nix::unistd::Pid::from_raw(i32::try_from(controllers.process.id()).unwrap());
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(controllers.process.wait().await.success(), "{}", controllers.process.output());
}

async fn table(client: &Client, path: &str) -> Value {
    let request = http::Request::get(path)
        .header("Accept", "application/json;as=Table;g=meta.k8s.io;v=v1")
        .body(Vec::new())
        .unwrap();
    client.request(request).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn makes_and_restores_the_reserved_objects() {
    let bench = Bench::start().await;
    bench.apply();
    let _controllers = bench.setup.run(&bench.plane).await;
    let classes: Api<ServerClass> = bench.all();
    let environments: Api<Environment> = bench.all();
    let arm64 = environments.get("default-arm64").await.unwrap();
    assert!(arm64.spec.initrd.url.ends_with("/initramfs-arm64.xz"));
    let (any, default) = (classes.get("any").await.unwrap(), environments.get("default").await.unwrap());
    assert!(default.spec.kernel.url.ends_with("/vmlinuz-amd64"));

    classes.delete("any", &DeleteParams::default()).await.unwrap();
    for name in ["default", "default-arm64"] {
        environments.delete(name, &DeleteParams::default()).await.unwrap();
    }
    eventually("all are back", async || {
        let class = classes.get("any").await.map_err(|error| error.to_string())?;
        let environment = environments.get("default").await.map_err(|error| error.to_string())?;
        let variant = environments.get("default-arm64").await.map_err(|error| error.to_string())?;
        let fresh =
            class.uid() != any.uid() && environment.uid() != default.uid() && variant.uid() != arm64.uid();
        if fresh { Ok(()) } else { Err("the old ones".to_owned()) }
    })
    .await;

    // `any` is widened again and keeps its other fields; `default` is the user's.
    let narrowed = json!({ "spec": { "bootFromDiskMethod": "http-404", "qualifiers": { "hardware": [{ "system": { "manufacturer": "X" } }] } } });
    bench.patch::<ServerClass>("any", narrowed).await;
    bench.patch::<Environment>("default", json!({ "spec": { "kernel": { "args": ["mine"] } } })).await;
    eventually("any is widened", async || {
        let class = classes.get("any").await.map_err(|error| error.to_string())?;
        let done =
            class.spec.qualifiers.hardware.is_empty() && class.spec.boot_from_disk_method == "http-404";
        if done { Ok(()) } else { Err(serde_json::to_string(&class).unwrap()) }
    })
    .await;
    assert_eq!(environments.get("default").await.unwrap().spec.kernel.args, ["mine"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn converts_both_ways_through_the_webhook_without_loss() {
    let (bench, controllers) = Bench::with_controllers().await;
    let kind = GroupVersionKind::gvk("metal.sidero.dev", "v1alpha1", "Server");
    let old: Api<DynamicObject> = Api::all_with(bench.client.clone(), &ApiResource::from_gvk(&kind));
    let new: Api<Server> = bench.all();

    // Written old, read new.
    let written: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "metal.sidero.dev/v1alpha1", "kind": "Server", "metadata": { "name": "old" },
        "spec": { "accepted": true, "system": { "manufacturer": "Sidero" }, "cpu": { "manufacturer": "C", "version": "v1" } },
    }))
    .unwrap();
    old.create(&PostParams::default(), &written).await.unwrap();
    let read = new.get("old").await.unwrap();
    let hardware = read.spec.hardware.clone().unwrap();
    assert_eq!(hardware.system.unwrap().manufacturer, "Sidero");
    assert_eq!(hardware.compute.unwrap().processors[0].product_name, "v1");
    assert_eq!(old.get("old").await.unwrap().data["spec"], written.data["spec"]);

    // Written new, changed through old: what only the new version knows survives.
    let mut created = registered("new");
    created.spec.strategic_patches = vec!["machine: {}".to_owned()];
    new.create(&PostParams::default(), &created).await.unwrap();
    let edit = json!({ "spec": { "cordoned": true, "system": { "manufacturer": "Edited" } } });
    old.patch("new", &PatchParams::default(), &Patch::Merge(edit)).await.unwrap();
    let after = new.get("new").await.unwrap();
    let mut expected = created.spec.clone();
    expected.cordoned = true;
    "Edited".clone_into(&mut expected.hardware.as_mut().unwrap().system.as_mut().unwrap().manufacturer);
    assert_eq!(after.spec, expected);
    assert!(!after.annotations().contains_key(conversion::CONVERSION_DATA));
    assert_eq!(old.list(&ListParams::default()).await.unwrap().items.len(), 2);

    // A malformed review is refused; the webhook goes on.
    let ca = std::fs::read(bench.plane.authority.file()).unwrap();
    let (code, answer) = post_review(controllers.webhook_port, &ca, b"{ not a review").await;
    assert_eq!(code, 400);
    assert_eq!(answer["response"]["result"]["status"], "Failure");
    assert!(old.get("new").await.is_ok());
}

/// POSTs to the webhook over TLS that trusts only the test's CA.
async fn post_review(port: u16, ca: &[u8], body: &[u8]) -> (u16, Value) {
    use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let mut stream = connector.connect(ServerName::try_from("127.0.0.1").unwrap(), stream).await.unwrap();
    let head = format!(
        "POST /convert HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut bytes = Vec::new();
    // The end of a TLS stream may come without a goodbye; what arrived until then counts.
    let _ = stream.read_to_end(&mut bytes).await;
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_malformed_object_does_not_stop_the_rest() {
    let bench = Bench::start().await;
    // An object from a time with a looser schema: the definition is loosened, the object written, and the
    // product's definitions applied over it.
    bench.apply();
    let crds: Api<CustomResourceDefinition> = bench.all();
    let mut loose = serde_json::to_value(crds.get("servers.metal.sidero.dev").await.unwrap()).unwrap();
    let spec = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    for version in loose["spec"]["versions"].as_array_mut().unwrap() {
        version["schema"]["openAPIV3Schema"] = spec.clone();
    }
    let loose: CustomResourceDefinition = serde_json::from_value(loose).unwrap();
    crds.replace("servers.metal.sidero.dev", &PostParams::default(), &loose).await.unwrap();
    // It is from a time before admission, too.
    let admission: Api<ValidatingWebhookConfiguration> = bench.all();
    let name = "sidero-validating-webhook-configuration";
    admission.delete(name, &DeleteParams::default()).await.unwrap();
    let malformed = json!({
        "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "Server", "metadata": { "name": "malformed" },
        "spec": { "accepted": "perhaps" },
    });
    let raw: Api<kube::api::DynamicObject> =
        Api::all_with(bench.client.clone(), &kube::api::ApiResource::erase::<Server>(&()));
    let malformed: kube::api::DynamicObject = serde_json::from_value(malformed).unwrap();
    eventually("the loosened schema is in force", async || {
        raw.create(&PostParams::default(), &malformed).await.map(drop).map_err(|error| error.to_string())
    })
    .await;
    bench.apply();
    bench.create_idle_defaults().await;

    let mut controllers = bench.setup.run(&bench.plane).await;
    let servers: Api<Server> = bench.all();
    servers.create(&PostParams::default(), &registered("fine")).await.unwrap();
    bench.patch::<Server>("fine", json!({ "spec": { "accepted": true } })).await;
    until_server(&servers, "fine", "the good one has its status", |server| {
        server.status.as_ref().filter(|status| !status.conditions.is_empty()).map(drop)
    })
    .await;
    let classes: Api<ServerClass> = bench.all();
    eventually("the good one is in its class", async || {
        let status = classes.get("any").await.map_err(|error| error.to_string())?.status.unwrap_or_default();
        if status.servers_available == ["fine"] { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
    controllers.process.assert_running();
    let guarded: Api<DeserializeGuard<Server>> = bench.all();
    assert!(guarded.get("malformed").await.unwrap().0.is_err(), "it must have been malformed");
    assert!(controllers.process.output().contains("failed to use Server malformed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_identity_may_do_its_work_and_no_more() {
    let (bench, _controllers) = Bench::with_controllers().await;
    let bootsvc = bench.plane.client("bloomery:bootsvc", &[]).await;
    let servers: Api<Server> = Api::all(bootsvc.clone());
    servers.create(&PostParams::default(), &registered("a")).await.unwrap();
    let addresses = json!({ "status": { "addresses": [{ "type": "InternalIP", "address": "10.0.0.5" }] } });
    servers.patch_status("a", &PatchParams::default(), &Patch::Merge(addresses)).await.unwrap();
    Api::<ServerBinding>::all(bootsvc.clone()).list(&ListParams::default()).await.unwrap();

    let refused = |what: &str, result: Result<(), kube::Error>| match result {
        Err(kube::Error::Api(status)) if status.code == 403 => {}
        other => panic!("{what} must be forbidden: {other:?}"),
    };
    let secrets: Api<Secret> = Api::all(bootsvc.clone());
    refused("reading secrets", secrets.list(&ListParams::default()).await.map(drop));
    refused("deleting a Server", servers.delete("a", &DeleteParams::default()).await.map(drop));
    let bindings: Api<ServerBinding> = Api::all(bootsvc.clone());
    refused("binding a Server", bindings.create(&PostParams::default(), &bound("a")).await.map(drop));
    let controllers = bench.plane.client("bloomery:controllers", &[]).await;
    let servers: Api<Server> = Api::all(controllers.clone());
    refused("creating a Server", servers.create(&PostParams::default(), &registered("b")).await.map(drop));
    bench.patch::<Server>("a", json!({ "spec": { "accepted": true } })).await;
    refused("deleting an accepted Server", servers.delete("a", &DeleteParams::default()).await.map(drop));
    // Bootstrap data is in whatever namespace a cluster is; what else is there is not theirs to write.
    Api::<Secret>::all(controllers.clone()).list(&ListParams::default()).await.unwrap();
    let secrets: Api<Secret> = Api::namespaced(controllers, "default");
    let secret: Secret = serde_json::from_value(json!({ "metadata": { "name": "a" } })).unwrap();
    refused("making a Secret", secrets.create(&PostParams::default(), &secret).await.map(drop));
    refused("deleting a Secret", secrets.delete("a", &DeleteParams::default()).await.map(drop));

    // Paired users are administrators by a binding.
    let paired = bench.plane.client("bloomery:admin", &["bloomery:admins"]).await;
    Api::<Secret>::all(paired).list(&ListParams::default()).await.unwrap();
    let stranger = bench.plane.client("bloomery:stranger", &[]).await;
    refused("a stranger", Api::<Server>::all(stranger).list(&ListParams::default()).await.map(drop));
}

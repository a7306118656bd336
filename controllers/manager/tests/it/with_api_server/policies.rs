//! What each identity may write, asked of a real API server: the policies of manifests/25-admission.yaml.
//!
//! No controllers run: only the manifests count.

use bloomery_api::Server;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::support::bench::{Bench, registered};
use bloomery_testkit::eventually;

/// Any record: whether it proves something is asked by the programs, not by the API server.
fn record(state: &str) -> String {
    format!(r#"{{"state":"{state}","serverUID":"u","epoch":1,"id":"0","since":"2026-01-01T00:00:00Z"}}"#)
}

fn annotated(key: &str, value: impl Into<Value>) -> Value {
    json!({ "metadata": { "annotations": { key: value.into() } } })
}

fn disks(state: &str) -> Value {
    annotated("bloomery.dev/disks", record(state))
}

/// One identity's way to Servers.
struct Identity {
    name: &'static str,
    servers: Api<Server>,
    client: Client,
}

impl Identity {
    async fn of(bench: &Bench, name: &'static str, groups: &[&str]) -> Self {
        let client = bench.plane.client(name, groups).await;
        Self { name, servers: Api::all(client.clone()), client }
    }

    async fn may(&self, what: &str, patch: Value) -> Server {
        self.patch(&patch).await.unwrap_or_else(|error| panic!("{}: {what}: {error}", self.name))
    }

    async fn may_not(&self, what: &str, patch: Value) -> String {
        refusal(&format!("{}: {what}", self.name), self.patch(&patch).await)
    }

    async fn patch(&self, patch: &Value) -> Result<Server, kube::Error> {
        self.servers.patch("a", &PatchParams::default(), &Patch::Merge(patch)).await
    }

    async fn status(&self, patch: Value) -> Result<Server, kube::Error> {
        let patch = Patch::Merge(json!({ "status": patch }));
        self.servers.patch_status("a", &PatchParams::default(), &patch).await
    }
}

fn refusal<T: std::fmt::Debug>(what: &str, result: Result<T, kube::Error>) -> String {
    match result {
        Err(kube::Error::Api(status)) if status.code == 403 => status.message,
        other => panic!("{what} must be forbidden: {other:?}"),
    }
}

/// With everything applied, no webhook to wait for, and the policies in force.
async fn start() -> Bench {
    let bench = Bench::start().await;
    bench.apply();
    // The storage version alone is used, so the conversion webhook is never asked; admission would be.
    for name in
        ["sidero-validating-webhook-configuration", "sidero-validating-webhook-configuration-v1alpha1"]
    {
        let webhooks: Api<k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration> =
            bench.all();
        webhooks.delete(name, &DeleteParams::default()).await.unwrap();
    }
    bench.all::<CustomResourceDefinition>().get("servers.metal.sidero.dev").await.unwrap();
    let servers: Api<Server> = bench.all();
    eventually("a Server can be made", async || {
        let made = servers.create(&PostParams::default(), &registered("probe")).await;
        made.map(drop).map_err(|error| error.to_string())
    })
    .await;
    eventually("the policies are in force", async || {
        let patch = Patch::Merge(disks("neverUsed"));
        match servers.patch("probe", &PatchParams::default(), &patch).await {
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    // The last one of the file: the API server takes them in one after the other.
    let all: Api<Secret> = Api::namespaced(bench.client.clone(), "default");
    let bootsvc = Identity::of(&bench, "bloomery:bootsvc", &[]).await;
    let ours: Api<Secret> = Api::namespaced(bootsvc.client, "default");
    eventually("the last policy is in force", async || {
        match ours.create(&PostParams::default(), &secret("probe", None, "Opaque")).await {
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(()),
            made => {
                let removed = all.delete("probe", &DeleteParams::default()).await.is_ok();
                Err(format!("{made:?}, removed: {removed}"))
            }
        }
    })
    .await;
    bench
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_is_the_planes_own() {
    let bench = start().await;
    let admin = Identity::of(&bench, "admin", &["system:masters"]).await;
    let paired = Identity::of(&bench, "bloomery:admin", &["bloomery:admins"]).await;
    let controllers = Identity::of(&bench, "bloomery:controllers", &[]).await;
    // A backup or a move creates it with all its annotations: on another object a record proves nothing.
    let mut server = registered("a");
    server.metadata.annotations = Some([("bloomery.dev/disks".to_owned(), record("neverUsed"))].into());
    let made = admin.servers.create(&PostParams::default(), &server).await.unwrap();
    let uid = made.metadata.uid.unwrap();
    controllers.may("record a claim", disks("bound")).await;

    // Monday's manifest, applied again after the cluster's binding was lost.
    for person in [&admin, &paired] {
        let message = person.may_not("bring an old record back", disks("neverUsed")).await;
        assert!(message.contains("only the plane itself writes it"), "{message}");
        assert!(message.contains("kubectl describe server a"), "{message}");
        person.may_not("take the record away", annotated("bloomery.dev/disks", Value::Null)).await;
        person.may_not("name a rival", annotated("bloomery.dev/rival", "{}")).await;
        controllers.may("note a rival", annotated("bloomery.dev/rival", "[]")).await;
        person.may_not("change a rival", annotated("bloomery.dev/rival", "{}")).await;
        person.may("decide about a rival", annotated("bloomery.dev/rival", Value::Null)).await;
        let label = json!({ "metadata": { "labels": { "bloomery.dev/plane": "another" } } });
        person.may_not("give the machine to another plane", label).await;
        // What is theirs stays theirs, with the record as it is.
        person.may("confirm a wipe", annotated("bloomery.dev/confirm-wipe", uid.clone())).await;
        person.may("accept", json!({ "spec": { "accepted": true } })).await;
        person.may("write the same record", disks("bound")).await;
    }
    // Server-side apply is a write like any other.
    let apply = json!({ "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "Server",
        "metadata": { "name": "a", "annotations": { "bloomery.dev/disks": record("clean") } },
        "spec": { "accepted": true } });
    let forced = PatchParams::apply("gitops").force();
    refusal("server-side apply", admin.servers.patch("a", &forced, &Patch::Apply(apply)).await);
    let kept = admin.servers.get("a").await.unwrap().metadata.annotations.unwrap();
    assert_eq!(kept["bloomery.dev/disks"], record("bound"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_controllers_delete_what_nobody_accepted_used_or_keeps() {
    let bench = start().await;
    let admin = Identity::of(&bench, "admin", &["system:masters"]).await;
    let controllers = Identity::of(&bench, "bloomery:controllers", &[]).await;
    admin.servers.create(&PostParams::default(), &registered("a")).await.unwrap();
    let delete = async || controllers.servers.delete("a", &DeleteParams::default()).await.map(drop);
    let accepted = |accepted: bool| json!({ "spec": { "accepted": accepted } });
    admin.may("accept", accepted(true)).await;
    refusal("deleting an accepted one", delete().await);
    admin.may("take it back", accepted(false)).await;
    admin.may("keep", annotated("bloomery.dev/keep", "")).await;
    refusal("deleting one that is kept", delete().await);
    admin.may("keep no longer", annotated("bloomery.dev/keep", Value::Null)).await;
    admin.status(json!({ "inUse": true })).await.unwrap();
    refusal("deleting one in use", delete().await);
    admin.status(json!({ "inUse": null })).await.unwrap();
    for state in ["bound", "installed", "released", "clean"] {
        controllers.may("record", disks(state)).await;
        refusal(state, delete().await);
    }
    controllers.may("record", disks("neverUsed")).await;
    delete().await.unwrap();
    assert!(admin.servers.get_opt("a").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_boot_services_write_what_agents_report_and_no_decision() {
    let bench = start().await;
    let admin = Identity::of(&bench, "admin", &["system:masters"]).await;
    let controllers = Identity::of(&bench, "bloomery:controllers", &[]).await;
    let bootsvc = Identity::of(&bench, "bloomery:bootsvc", &[]).await;
    Box::pin(refused_registrations(&bootsvc.servers)).await;
    bootsvc.servers.create(&PostParams::default(), &registered("a")).await.unwrap();

    bootsvc.may("record a new machine", disks("neverUsed")).await;
    bootsvc.status(json!({ "power": "on" })).await.unwrap();
    bootsvc.status(json!({ "power": "on", "ready": false })).await.unwrap();
    bootsvc
        .may("write the inventory", json!({ "spec": { "hardware": { "system": { "uuid": "a" } } } }))
        .await;
    let arch = json!({ "metadata": { "labels": { "bloomery.dev/arch": "arm64" } } });
    bootsvc.may("note the architecture", arch).await;
    bootsvc.may("note a rival", annotated("bloomery.dev/rival", "{}")).await;
    bootsvc.may("note the last call", annotated("bloomery.dev/last-call", "2026-01-01")).await;
    for (what, patch) in [
        ("accept", json!({ "spec": { "accepted": true } })),
        ("cordon", json!({ "spec": { "cordoned": true } })),
        ("patch the configuration", json!({ "spec": { "strategicPatches": ["a: b"] } })),
        (
            "name a BMC of a machine that nobody accepted",
            json!({ "spec": { "bmc": { "endpoint": "10.6.6.6" } } }),
        ),
        ("confirm a wipe", annotated("bloomery.dev/confirm-wipe", "u")),
        ("forget", annotated("bloomery.dev/forget", "u")),
        ("keep", annotated("bloomery.dev/keep", "true")),
        ("declare it another machine", annotated("bloomery.dev/distinct-from", "b")),
        ("take the record away", annotated("bloomery.dev/disks", Value::Null)),
        ("record a release", disks("released")),
        ("record something else", annotated("bloomery.dev/disks", " {\"state\":\"released\"}")),
        ("label", json!({ "metadata": { "labels": { "bloomery.dev/plane": "another" } } })),
        ("take the finalizer off", json!({ "metadata": { "finalizers": null } })),
    ] {
        // A finalizer must be there to be taken off.
        admin.may("hold it", json!({ "metadata": { "finalizers": ["example.com/held"] } })).await;
        bootsvc.may_not(what, patch).await;
    }

    admin.may("accept", json!({ "spec": { "accepted": true, "cordoned": true } })).await;
    let bmc = json!({ "spec": { "bmc": { "endpoint": "10.0.0.9" } } });
    bootsvc.may("name the BMC of an accepted machine", bmc).await;
    bootsvc.may_not("take the acceptance back", json!({ "spec": { "accepted": false } })).await;
    bootsvc.may_not("uncordon", json!({ "spec": { "cordoned": null } })).await;
    admin.status(json!({ "power": "unknown" })).await.unwrap();
    statuses(&bootsvc).await;

    let other = json!({ "spec": { "bmc": { "endpoint": "10.6.6.6" } } });
    for state in ["bound", "installed"] {
        controllers.may("record a claim", disks(state)).await;
        bootsvc.may_not("move the BMC of a claimed machine", other.clone()).await;
        for taken in ["clean", "neverUsed", "released"] {
            bootsvc.may_not("take a claim back", disks(taken)).await;
        }
        bootsvc.may("write the inventory", json!({ "spec": { "hostname": state } })).await;
    }
    controllers.may("record a release", disks("released")).await;
    admin.status(json!({ "inUse": true })).await.unwrap();
    bootsvc.may_not("move the BMC of a machine in use", other).await;
}

async fn statuses(bootsvc: &Identity) {
    for (what, status) in [
        ("say that it is clean without a record", json!({ "isClean": true })),
        ("say that it is in use", json!({ "inUse": true })),
        ("say that it is ready", json!({ "ready": true })),
        ("say that it is off", json!({ "power": "off" })),
        // Its controller was named before.
        ("say that it is on", json!({ "power": "on" })),
    ] {
        refusal(what, bootsvc.status(status).await);
    }
    let address = json!({ "addresses": [{ "type": "InternalIP", "address": "10.0.0.5" }] });
    bootsvc.status(address).await.unwrap();
    bootsvc.may("record the wipe", disks("clean")).await;
    bootsvc.status(json!({ "isClean": true, "ready": true })).await.unwrap();
}

fn recorded(name: &str, state: &str, uid: &str) -> Server {
    let mut server = registered(name);
    let record = format!(r#"{{"state":"{state}","serverUID":"{uid}","epoch":1}}"#);
    server.metadata.annotations = Some([("bloomery.dev/disks".to_owned(), record)].into());
    server
}

async fn refused_registrations(servers: &Api<Server>) {
    let with = |change: &dyn Fn(&mut Server)| {
        let mut server = registered("b");
        change(&mut server);
        server
    };
    let annotated = |key: &'static str| {
        with(&move |server| server.metadata.annotations = Some([(key.to_owned(), "u".to_owned())].into()))
    };
    for server in [
        with(&|server| server.spec.bmc = Some(bloomery_api::server::Bmc::default())),
        with(&|server| server.spec.strategic_patches = vec!["a: b".to_owned()]),
        annotated("bloomery.dev/confirm-wipe"),
        annotated("bloomery.dev/disks"),
        annotated("bloomery.dev/forget"),
        recorded("b", "neverUsed", "u"),
        recorded("b", "neverUsed", "made with a"),
        recorded("b", "released", "made with b"),
        recorded("b", "bound", "made with b"),
    ] {
        refusal("such a registration", servers.create(&PostParams::default(), &server).await);
    }
    let fresh = recorded("b", "neverUsed", "made with b");
    servers.create(&PostParams::default(), &fresh).await.unwrap();
}

fn secret(name: &str, owner: Option<&Server>, type_: &str) -> Secret {
    let owners = owner.map(|server| {
        json!([{ "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "Server",
            "name": server.metadata.name, "uid": server.metadata.uid, "controller": true }])
    });
    let object = json!({ "apiVersion": "v1", "kind": "Secret", "type": type_,
        "metadata": { "name": name, "namespace": "default", "ownerReferences": owners },
        "stringData": { "user": "u", "pass": "p" } });
    serde_json::from_value(object).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_written_and_read_by_their_programs_alone() {
    let bench = start().await;
    let admin = Identity::of(&bench, "admin", &["system:masters"]).await;
    let bootsvc = Identity::of(&bench, "bloomery:bootsvc", &[]).await;
    let controllers = Identity::of(&bench, "bloomery:controllers", &[]).await;
    let server = admin.servers.create(&PostParams::default(), &registered("a")).await.unwrap();
    let theirs: Api<Secret> = Api::namespaced(admin.client.clone(), "default");
    theirs.create(&PostParams::default(), &secret("foreign", None, "Opaque")).await.unwrap();
    theirs.create(&PostParams::default(), &secret("b-bmc", None, "Opaque")).await.unwrap();

    let ours: Api<Secret> = Api::namespaced(bootsvc.client.clone(), "default");
    let create = PostParams::default();
    ours.create(&create, &secret("a-bmc", Some(&server), "Opaque")).await.unwrap();
    ours.create(&create, &secret("bloomery-agent-token", None, "Opaque")).await.unwrap();
    let change = Patch::Merge(json!({ "stringData": { "pass": "q" } }));
    ours.patch("a-bmc", &PatchParams::default(), &change).await.unwrap();
    for (what, secret) in [
        ("a Secret of another name", secret("other", Some(&server), "Opaque")),
        ("an account without a Server", secret("c-bmc", None, "Opaque")),
    ] {
        refusal(what, ours.create(&create, &secret).await);
    }
    // The control plane would fill in a credential, and this name may be read.
    theirs.delete("bloomery-agent-token", &DeleteParams::default()).await.unwrap();
    let mut token = secret("bloomery-agent-token", None, "kubernetes.io/service-account-token");
    let account = ("kubernetes.io/service-account.name".to_owned(), "default".to_owned());
    token.metadata.annotations = Some([account].into());
    refusal("a service account's token under its own name", ours.create(&create, &token).await);
    let adopt = json!({ "metadata": { "ownerReferences": secret("b-bmc", Some(&server), "Opaque").metadata.owner_references } });
    for (name, patch) in [
        ("foreign", json!({ "stringData": { "pass": "q" } })),
        ("b-bmc", json!({ "stringData": { "pass": "q" } })),
        ("b-bmc", adopt),
        ("a-bmc", json!({ "metadata": { "ownerReferences": null } })),
    ] {
        let patched = ours.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        refusal(&format!("patching {name} by {patch}"), patched);
    }

    controllers_write_secrets_of_clusters(&controllers, &theirs).await;
}

/// What clusters are given, under its own name, and never over what is there.
async fn controllers_write_secrets_of_clusters(controllers: &Identity, theirs: &Api<Secret>) {
    let secrets: Api<Secret> = Api::namespaced(controllers.client.clone(), "default");
    let create = PostParams::default();
    let of_cluster = |name: &str| {
        let mut made = secret(name, None, "Opaque");
        made.metadata.labels = Some([("cluster.x-k8s.io/cluster-name".to_owned(), "c".to_owned())].into());
        made
    };
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    eventually("the policy is in force", async || match secrets.create(&dry, &of_cluster("d-ca")).await {
        Ok(_) => Err("another cluster's Secret may be made".to_owned()),
        Err(_) => Ok(()),
    })
    .await;
    for name in ["c-talos", "c-ca", "c-talosconfig", "c-kubeconfig", "m-bootstrap-data"] {
        secrets.create(&create, &of_cluster(name)).await.unwrap();
        refusal(
            "without the label of a cluster",
            secrets.create(&create, &secret("d-ca", None, "Opaque")).await,
        );
        let owned = json!({ "metadata": { "labels": { "touched": "" } } });
        secrets.patch(name, &PatchParams::default(), &Patch::Merge(&owned)).await.unwrap();
        let change = Patch::Merge(json!({ "stringData": { "pass": "q" } }));
        let changed = secrets.patch(name, &PatchParams::default(), &change).await;
        let is_renewed = ["c-talosconfig", "c-kubeconfig"].contains(&name);
        if is_renewed { drop(changed.unwrap()) } else { drop(refusal(name, changed)) }
    }
    for name in ["d-talos", "c-etcd", "c", "bmc", "bootstrap-data"] {
        refusal(name, secrets.create(&create, &of_cluster(name)).await);
    }
    // Accounts and other programs' Secrets.
    theirs.create(&create, &secret("bmc", None, "Opaque")).await.unwrap();
    let change = Patch::Merge(json!({ "stringData": { "pass": "q" } }));
    refusal("an account", secrets.patch("bmc", &PatchParams::default(), &change).await);
    refusal("deleting", secrets.delete("c-ca", &DeleteParams::default()).await);
}

//! TalosConfigs beside upstream's bootstrap provider (CABPT, the version in tests/upstream/bootstrap/go.mod): the same objects in,
//! the same Secrets and status out, but for what stands in one table.

use bloomery_api::TalosConfig;
use bloomery_testkit::eventually;
use futures::StreamExt;
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use crate::support::bootstrap::{Place, reference_to};
use crate::support::contract;
use crate::support::controllers::talos;
use crate::support::differential::{Accepted, Fresh, Pair, Plane, Table};
use crate::support::{example, upstream};

/// What is meant to differ.
const ACCEPTED: &[Accepted] = &[
    Accepted::ours(
        "* > TalosConfig * > status > v1beta2Status",
        "upstream's release has contract v1beta1 alone",
    ),
    Accepted::both(
        "* > Secret c-ca > metadata > ownerReferences > Cluster c > apiVersion",
        NEWER_CLUSTER,
        DROPPED,
    ),
    Accepted::both(
        "* > Secret c-talosconfig > metadata > ownerReferences > Cluster c > apiVersion",
        NEWER_CLUSTER,
        DROPPED,
    ),
    Accepted::both(
        "* > Secret c-talos > metadata > ownerReferences > Cluster c > apiVersion",
        NEWER_CLUSTER,
        DROPPED,
    ),
    Accepted::ours(
        "* > Secret c-talos > metadata > ownerReferences",
        "a bundle that was given moves and goes with its Cluster; upstream leaves it behind",
    ),
    Accepted::both(
        "default-kubernetes > Secret m-bootstrap-data > data > value > documents > 0 > cluster > * > image",
        ("*", "*"),
        NEWEST,
    ),
    Accepted::both(
        "default-kubernetes > Secret m-bootstrap-data > data > value > documents > 0 > machine > kubelet > image",
        ("*", "*"),
        NEWEST,
    ),
    Accepted::upstream(
        "hostname-newest > Secret m-bootstrap-data > data > value > documents > 0 > machine > network > hostname",
        PAIR,
    ),
    Accepted::both(
        "hostname-newest > Secret m-bootstrap-data > data > value > documents > 1 > auto",
        ("off", "stable"),
        PAIR,
    ),
    Accepted::ours(
        "hostname-newest > Secret m-bootstrap-data > data > value > documents > 1 > hostname",
        PAIR,
    ),
    Accepted::upstream("paused-by-annotation > TalosConfig tc > status > observedGeneration", SEEN),
    Accepted::both(
        "several > TalosConfig w0 > status > observedGeneration",
        ("an older one", "that of the spec"),
        "nothing is said of what is being deleted",
    ),
    Accepted::upstream("paused > TalosConfig tc > status > observedGeneration", SEEN),
    Accepted::trimmed(
        "strategic-patch-of-nothing > TalosConfig tc > status > conditions > * > message",
        "the library's message ends with a line break",
    ),
];
const SEEN: &str = "what is paused was not acted on; upstream counts the look";
const PAIR: &str = "upstream takes no version for an old one, and writes a pair that no node takes";
const DROPPED: &str = "Cluster API is about to drop v1beta1";
const NEWEST: &str = "the newest Kubernetes that each one's release of Talos's library knows";
/// The Cluster as owner: our version, upstream's.
const NEWER_CLUSTER: (&str, &str) = ("cluster.x-k8s.io/v1beta2", "cluster.x-k8s.io/v1beta1");

/// Namespaces that are compared at a time.
const AT_ONCE: usize = 4;

/// What becomes of a TalosConfig.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    /// The Secret is there.
    Made,
    /// It cannot be made.
    Failed,
    /// It waits for the infrastructure of the Cluster.
    Waits,
    /// Nothing is said by contract v1beta1.
    Untouched,
}

/// The objects of a namespace, and what becomes of these.
struct Case {
    name: &'static str,
    outcome: Outcome,
    config: Value,
    machine: Value,
    cluster: Value,
    has_secrets: bool,
    /// The Machine is its owner from the start: Cluster API makes none the owner of what is paused or has no Cluster.
    is_owned: bool,
}

impl Case {
    fn new(name: &'static str, spec: Value) -> Self {
        let labels = json!({ "cluster.x-k8s.io/cluster-name": "c" });
        let is_worker = !["controlplane", "init"].contains(&spec["generateType"].as_str().unwrap());
        let mut of_machine = labels.clone();
        if !is_worker {
            of_machine["cluster.x-k8s.io/control-plane"] = json!("");
        }
        let reference =
            |group: &str, kind: &str, name: &str| json!({ "apiGroup": group, "kind": kind, "name": name });
        Self {
            name,
            outcome: Outcome::Made,
            config: json!({ "apiVersion": "bootstrap.cluster.x-k8s.io/v1alpha3", "kind": "TalosConfig",
                "metadata": { "name": "tc", "labels": labels }, "spec": spec }),
            machine: json!({ "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
                "metadata": { "name": "m", "labels": of_machine },
                "spec": { "clusterName": "c", "version": "v1.34.2",
                    "bootstrap": { "configRef": reference("bootstrap.cluster.x-k8s.io", "TalosConfig", "tc") },
                    "infrastructureRef": reference("infrastructure.cluster.x-k8s.io", "ExampleMachine", "i") } }),
            cluster: json!({ "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "metadata": { "name": "c" },
                "spec": { "controlPlaneEndpoint": { "host": "192.0.2.1", "port": 6443 } },
                "status": { "initialization": { "infrastructureProvisioned": true } } }),
            has_secrets: true,
            is_owned: false,
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn becomes(self, outcome: Outcome) -> Self {
        Self { outcome, ..self }
    }

    async fn make(&self, plane: &Plane, bundle: &str) {
        let namespace = Place::new(&plane.bench, &self.name.replace('.', "-")).await;
        if self.has_secrets {
            namespace.create(given(bundle)).await;
        }
        if !self.cluster.is_null() {
            namespace.create(self.cluster.clone()).await;
        }
        let mut config = self.config.clone();
        if self.is_owned {
            let machine = namespace.create(self.machine.clone()).await;
            config["metadata"]["ownerReferences"] = json!([reference_to(&machine)]);
        }
        namespace.create(config).await;
        if self.outcome == Outcome::Failed {
            // An error leaves what an earlier look counted. Else it would be luck whether there was one before it has an owner.
            let is_seen = |config: &TalosConfig| {
                config.status.as_ref().is_some_and(|status| status.observed_generation == 1)
            };
            namespace.until("tc", "it was looked at", is_seen).await;
        }
        if !self.machine.is_null() && !self.is_owned {
            namespace.create(self.machine.clone()).await;
        }
    }

    fn is_there(&self, found: &Value) -> bool {
        let config = &found["TalosConfig tc"]["status"];
        let condition =
            |type_: &str, key: &str| config["conditions"][type_][key].as_str().unwrap_or_default();
        match self.outcome {
            Outcome::Made => {
                config["ready"] == true
                    && !condition("ClientConfigAvailable", "status").is_empty()
                    && (self.machine.is_null()
                        || found["Machine m"]["spec"]["bootstrap"]["dataSecretName"].is_string())
            }
            Outcome::Failed => condition("DataSecretAvailable", "reason") == "DataSecretGenerationFailed",
            Outcome::Waits => condition("DataSecretAvailable", "reason") == "WaitingForClusterInfrastructure",
            Outcome::Untouched => true,
        }
    }
}

/// A bundle that is there before the Cluster.
fn given(bundle: &str) -> Value {
    let labels = json!({ "cluster.x-k8s.io/cluster-name": "c" });
    json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "c-talos", "labels": labels },
        "stringData": { "bundle": bundle } })
}

fn of(type_: &str, version: &str) -> Value {
    json!({ "generateType": type_, "talosVersion": version })
}

/// A spec with more in it.
fn and(mut spec: Value, more: Value) -> Value {
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

fn of_types_and_versions() -> Vec<Case> {
    let worker = |version| of("worker", version);
    let plane = |version| of("controlplane", version);
    vec![
        Case::new("controlplane", plane("v1.13")),
        Case::new("init", of("init", "v1.13")),
        Case::new("worker", worker("v1.13")),
        Case::new("join", of("join", "v1.13")),
        Case::new("no-type", of("", "v1.13")),
        Case::new("unknown-type", of("etcd", "v1.13")).becomes(Outcome::Failed),
        Case::new("v1.0", plane("v1.0")),
        Case::new("v1.2", plane("v1.2")),
        Case::new("v1.3-worker", worker("v1.3")),
        Case::new("v1.7", plane("v1.7")),
        Case::new("v1.8-worker", worker("v1.8")),
        Case::new("v1.11", plane("v1.11")),
        Case::new("v1.12", plane("v1.12.4")),
        Case::new("newest", plane("")),
        Case::new("newest-worker", worker("")),
        Case::new("no-version", plane("nonsense")).becomes(Outcome::Failed),
        Case::new("default-kubernetes", plane("v1.13"))
            .with(|case| drop(case.machine["spec"].as_object_mut().unwrap().remove("version"))),
        Case::new("fresh-secrets", plane("v1.13")).with(|case| case.has_secrets = false),
        Case::new("fresh-secrets-v1.2", plane("v1.2")).with(|case| case.has_secrets = false),
    ]
}

fn of_patches() -> Vec<Case> {
    let add = json!({ "configPatches": [
        { "op": "add", "path": "/machine/install/disk", "value": "/dev/sda" },
        { "op": "replace", "path": "/cluster/network/dnsDomain", "value": "example.org" } ] });
    let missing = json!({ "configPatches": [{ "op": "add", "path": "/machine/sysctls/a", "value": "b" }] });
    let strategic = |patches: &[&str]| json!({ "strategicPatches": patches });
    vec![
        Case::new("json-patch", and(of("controlplane", "v1.11"), add.clone())),
        Case::new("json-patch-worker", and(of("worker", "v1.10"), add.clone())),
        Case::new("json-patch-of-two-documents", and(of("controlplane", "v1.13"), add.clone()))
            .becomes(Outcome::Failed),
        Case::new("json-patch-that-does-not-fit", and(of("controlplane", "v1.11"), missing))
            .becomes(Outcome::Failed),
        Case::new(
            "strategic-patches",
            and(
                of("controlplane", "v1.13"),
                strategic(&[
                    "machine:\n  install:\n    disk: /dev/vda\n  time:\n    servers: [192.0.2.3]\n",
                    "cluster:\n  apiServer:\n    admissionControl:\n      - name: PodSecurity\n        $patch: delete\n",
                    "apiVersion: v1alpha1\nkind: HostnameConfig\nauto: \"off\"\nhostname: given\n---\n\
                     apiVersion: v1alpha1\nkind: KmsgLogConfig\nname: remote\nurl: tcp://192.0.2.4:5/\n",
                ]),
            ),
        ),
        Case::new(
            "both-patches",
            and(and(of("worker", "v1.11"), add), strategic(&["machine: {nodeLabels: {a: b}}"])),
        ),
        Case::new(
            "strategic-patch-of-nothing",
            and(of("worker", "v1.13"), strategic(&["machine: {nonsense: 1}"])),
        )
        .becomes(Outcome::Failed),
        Case::new(
            "strategic-patch-deletes-what-is-not-there",
            and(of("worker", "v1.13"), strategic(&["machine: {sysctls: {$patch: delete}}"])),
        ),
    ]
}

fn of_host_names() -> Vec<Case> {
    let by = |source: &str| json!({ "hostname": { "source": source } });
    vec![
        Case::new("hostname-machine", and(of("controlplane", "v1.13"), by("MachineName"))),
        Case::new("hostname-machine-v1.11", and(of("controlplane", "v1.11"), by("MachineName"))),
        Case::new("hostname-infrastructure", and(of("worker", "v1.13"), by("InfrastructureName"))),
        Case::new("hostname-infrastructure-v1.11", and(of("worker", "v1.11"), by("InfrastructureName"))),
        Case::new("hostname-newest", and(of("worker", ""), by("MachineName"))),
    ]
}

fn of_clusters() -> Vec<Case> {
    let plane = || of("controlplane", "v1.13");
    vec![
        Case::new("networks", plane()).with(|case| {
            case.cluster["spec"]["clusterNetwork"] = json!({ "serviceDomain": "example.org",
                "pods": { "cidrBlocks": ["10.1.0.0/16", "fd01::/64"] }, "services": { "cidrBlocks": ["10.2.0.0/16", "fd02::/112"] } });
        }),
        Case::new("endpoint-v6", plane()).with(|case| case.cluster["spec"]["controlPlaneEndpoint"]["host"] = json!("fd00::1")),
        Case::new("packet", of("worker", "v1.13"))
            .with(|case| case.machine["spec"]["infrastructureRef"]["kind"] = json!("PacketMachine")),
        Case::new("infrastructure-not-ready", plane()).becomes(Outcome::Waits).with(|case| {
            case.cluster["spec"]["infrastructureRef"] = json!({ "apiGroup": "infrastructure.cluster.x-k8s.io",
                "kind": "ExampleCluster", "name": "c" });
            case.cluster.as_object_mut().unwrap().remove("status");
        }),
        Case::new("restored", plane()).with(|case| {
            case.machine["spec"]["bootstrap"]["dataSecretName"] = json!("restored");
        }),
        Case::new("paused", plane()).becomes(Outcome::Untouched).with(|case| {
            case.cluster["spec"]["paused"] = json!(true);
            case.is_owned = true;
        }),
        Case::new("paused-by-annotation", plane())
            .becomes(Outcome::Untouched)
            .with(|case| {
                case.config["metadata"]["annotations"] = json!({ "cluster.x-k8s.io/paused": "" });
                case.is_owned = true;
            }),
        Case::new("no-owner", plane()).becomes(Outcome::Untouched).with(|case| case.machine = Value::Null),
        Case::new("no-cluster", plane()).becomes(Outcome::Untouched).with(|case| {
            case.cluster = Value::Null;
            case.is_owned = true;
        }),
    ]
}

/// Whole configurations, as people give them.
fn of_data(control_plane: &str, worker: &str) -> Vec<Case> {
    let none = |data: &str| json!({ "generateType": "none", "data": data });
    let patch = json!({ "strategicPatches": ["machine: {install: {disk: /dev/sdb}}"] });
    let worker_only = |case: &mut Case| case.has_secrets = false;
    vec![
        Case::new("none-controlplane", none(control_plane)).with(worker_only),
        Case::new("none-worker", none(worker)).with(worker_only),
        Case::new("none-patched", and(none(worker), patch)).with(worker_only),
        Case::new("none-without-data", none("")).with(worker_only).becomes(Outcome::Failed),
        Case::new("none-unknown-key", none("version: v1alpha1\nnonsense: 1\n"))
            .with(worker_only)
            .becomes(Outcome::Failed),
        Case::new("none-no-yaml", none("{")).with(worker_only).becomes(Outcome::Failed),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_and_status_are_those_that_upstreams_bootstrap_provider_makes() {
    let pair = Box::pin(Pair::start(&[upstream::BOOTSTRAP])).await;
    // Cluster API converts no Machine to upstream's version that refers to an unknown kind, and then upstream sees none at all.
    example::define(&pair.upstream.bench, "MetalMachine").await;
    for plane in pair.both() {
        example::define(&plane.bench, "PacketMachine").await;
    }
    let bundle = talos().new_secrets("v1.13").await.unwrap();
    let table = Table::of(ACCEPTED);
    let mut cases = of_types_and_versions();
    cases.extend(of_patches());
    cases.extend(of_host_names());
    cases.extend(of_clusters());
    make(&pair, &cases, bundle.expose()).await;
    // What the provider itself made is given to it.
    let data = [made(&pair, "controlplane").await, made(&pair, "worker").await];
    let given = of_data(&data[0], &data[1]);
    make(&pair, &given, bundle.expose()).await;
    // What was made before it has been looked at when this is made.
    let canary = [Case::new("canary", of("worker", "v1.13"))];
    make(&pair, &canary, bundle.expose()).await;
    compare(&pair, &table, &canary).await;
    compare(&pair, &table, &given).await;
    compare(&pair, &table, &cases).await;
    several(&pair, &table, bundle.expose()).await;
    refused(&pair).await;
    table.assert_exact();
}

/// The client configuration names the control plane as its machines get addresses; a finalizer of old releases is taken off.
async fn several(pair: &Pair, table: &Table, bundle: &str) {
    const NAMESPACE: &str = "several";
    for plane in pair.both() {
        let place = Place::new(&plane.bench, NAMESPACE).await;
        place.create(given(bundle)).await;
        place.cluster("c").await;
        for (name, type_) in [("m0", "init"), ("m1", "controlplane"), ("w0", "worker")] {
            place.machine("c", name, of(type_, "v1.13")).await;
            place.until_ready(name).await;
        }
        place
            .addresses("m0", &[("InternalIP", "10.77.0.9"), ("ExternalIP", "192.0.2.7"), ("Hostname", "x")])
            .await;
        // Upstream loses the second of two changes that come at once: it takes a conflict for another one's success.
        eventually(&format!("{NAMESPACE}: the first addresses are named"), async || {
            let config = place.text("c-talosconfig", "talosconfig").await;
            if config.contains("192.0.2.7") { Ok(()) } else { Err("another endpoint".to_owned()) }
        })
        .await;
        place
            .addresses("m1", &[("InternalIP", "10.77.0.10"), ("InternalIP", "fd00::1"), ("InternalDNS", "y")])
            .await;
        place.addresses("w0", &[("InternalIP", "10.77.0.99")]).await;
        let finalizers = ["talosconfig.bootstrap.cluster.x-k8s.io", "example.com/mine"];
        place.patch::<TalosConfig>("w0", json!({ "metadata": { "finalizers": finalizers } })).await;
        place.api::<TalosConfig>().delete("w0", &DeleteParams::default()).await.unwrap();
    }
    let holds = |found: &Value| {
        let config = &found["Secret c-talosconfig"]["data"]["talosconfig"];
        let endpoints = config.pointer("/contexts/c/endpoints").and_then(Value::as_array);
        endpoints.is_some_and(|all| all.len() == 4)
            && found["TalosConfig w0"]["metadata"]["finalizers"] == json!(["example.com/mine"])
    };
    pair.compare(table, (NAMESPACE, NAMESPACE), Fresh::No, holds).await;
}

/// What upstream's webhooks refuse is refused in the same words.
async fn refused(pair: &Pair) {
    let mut said = Vec::new();
    for plane in pair.both() {
        let configs: Api<TalosConfig> = Api::namespaced(plane.bench.client.clone(), "worker");
        let source = and(of("worker", "v1.13"), json!({ "hostname": { "source": "Nonsense" } }));
        let unknown =
            serde_json::from_value(json!({ "metadata": { "name": "unknown" }, "spec": source })).unwrap();
        let created = configs.create(&PostParams::default(), &unknown).await.unwrap_err();
        let other = Patch::Merge(json!({ "spec": { "talosVersion": "v1.12" } }));
        let changed = configs.patch("tc", &PatchParams::default(), &other).await.unwrap_err();
        said.push([created, changed].map(|error| {
            let kube::Error::Api(status) = error else { panic!("{error}") };
            let words = status.message.split_once("denied the request: ").map(|(_, words)| words.to_owned());
            (status.code, words.unwrap_or(status.message))
        }));
    }
    assert_eq!(said[0], said[1]);
}

async fn compare(pair: &Pair, table: &Table, cases: &[Case]) {
    // Most have come by the time they are looked at, and a look at a namespace is many requests.
    futures::stream::iter(cases)
        .for_each_concurrent(AT_ONCE, async |case| {
            let fresh = if case.name.starts_with("fresh") { Fresh::Secrets } else { Fresh::No };
            let namespace = case.name.replace('.', "-");
            if pair.compare(table, (case.name, &namespace), fresh, |found| case.is_there(found)).await {
                same_by_contract(pair, case).await;
            }
        })
        .await;
}

async fn make(pair: &Pair, cases: &[Case], bundle: &str) {
    let both = pair.both();
    let all = both.iter().flat_map(|plane| cases.iter().map(|case| case.make(plane, bundle)));
    futures::future::join_all(all).await;
}

/// The configuration of a case, by upstream.
async fn made(pair: &Pair, case: &str) -> String {
    let bench = &pair.upstream.bench;
    let secrets: Api<k8s_openapi::api::core::v1::Secret> = Api::namespaced(bench.client.clone(), case);
    eventually(&format!("{case} is made"), async || {
        let found = secrets.get_opt("m-bootstrap-data").await.map_err(|error| error.to_string())?;
        let data = found.and_then(|secret| secret.data).and_then(|mut data| data.remove("value"));
        data.map(|data| String::from_utf8(data.0).unwrap()).ok_or_else(|| "it is not there".to_owned())
    })
    .await
}

fn configs(plane: &Plane, case: &Case, version: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("bootstrap.cluster.x-k8s.io", version, "TalosConfig");
    Api::namespaced_with(
        plane.bench.client.clone(),
        &case.name.replace('.', "-"),
        &ApiResource::from_gvk(&kind),
    )
}

/// Cluster API's getters find by contract v1beta1 what these find with upstream, and by v1beta2 the same again.
async fn same_by_contract(pair: &Pair, case: &Case) {
    let read = async |plane: &Plane, version: &str, contract: &str| {
        let object = configs(plane, case, version).get("tc").await.unwrap();
        contract::read("Bootstrap", contract, &object)
    };
    let upstream = read(&pair.upstream, "v1alpha3", "v1beta1").await;
    assert_eq!(read(&pair.ours, "v1alpha3", "v1beta1").await, upstream, "{}", case.name);
    assert_eq!(read(&pair.ours, "v1beta1", "v1beta2").await, upstream, "{}", case.name);
}

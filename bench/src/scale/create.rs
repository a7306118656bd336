//! The limit: how fast the same API server takes the same objects, when nothing watches them.
//!
//! The objects are the plane's own, created again as a kind of another name with the same schema, by sixteen clients with
//! connections of their own.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bloomery_lab::eventually;
use bloomery_lab::simulate::join::Running;
use bloomery_lab::simulate::{inside, operator};
use kube::api::{ListParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::inside::Inside;

/// Name of the hidden subcommand.
pub(crate) const SUBCOMMAND: &str = "__create";
/// Clients at once: more do not make a two-core API server faster.
const CLIENTS: usize = 16;
/// Objects that are created: a rate needs some seconds, not minutes.
const OBJECTS: usize = 1000;
/// Objects before those: the API server is busy for a moment with every new kind.
const WARM_UP: usize = 200;
/// A kind is served a second after it was made.
const KIND_LIMIT: Duration = Duration::from_secs(30);
/// Group of the copies.
const GROUP: &str = "bench.bloomery.dev";

/// What is created again.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Kind {
    Server,
    ServerBinding,
}

/// The names of a kind.
struct Names {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
}

impl Kind {
    const fn names(self) -> Names {
        match self {
            Self::Server => {
                Names { group: "metal.sidero.dev", version: "v1alpha2", kind: "Server", plural: "servers" }
            }
            Self::ServerBinding => Names {
                group: "infrastructure.cluster.x-k8s.io",
                version: "v1alpha3",
                kind: "ServerBinding",
                plural: "serverbindings",
            },
        }
    }
}

impl Names {
    fn resource(&self, group: &str) -> ApiResource {
        let kind = GroupVersionKind::gvk(group, self.version, self.kind);
        ApiResource::from_gvk_with_plural(&kind, self.plural)
    }

    fn copies(&self, client: &Client) -> Api<DynamicObject> {
        Api::all_with(client.clone(), &self.resource(GROUP))
    }
}

/// Where to create, and what.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    kubeconfig: String,
    server: String,
    kind: Kind,
}

/// Objects of that kind in a second.
pub(crate) async fn rate(lab: &Running, kubeconfig: &str, kind: Kind) -> anyhow::Result<f64> {
    let order = Order { kubeconfig: kubeconfig.to_owned(), server: lab.api(), kind };
    let mut clients = Inside::start(lab, SUBCOMMAND, &order).await?;
    let created: Created = clients.answer().await?;
    clients.end().await?;
    Ok(created.rate())
}

/// How it went.
#[derive(Debug, Serialize, Deserialize)]
struct Created {
    objects: u32,
    seconds: f64,
}

impl Created {
    /// Objects in a second.
    fn rate(&self) -> f64 {
        f64::from(self.objects) / self.seconds
    }
}

/// The hidden subcommand.
pub(crate) async fn run_inside() -> anyhow::Result<ExitCode> {
    let (order, parent) = inside::order::<Order>().await?;
    let created = tokio::select! {
        created = measure(&order) => created?,
        () = parent.gone() => return Ok(ExitCode::FAILURE),
    };
    println!("{}", serde_json::to_string(&created).context("failed to write the result")?);
    Ok(ExitCode::SUCCESS)
}

async fn measure(order: &Order) -> anyhow::Result<Created> {
    let client = operator::client(&order.kubeconfig, Some(&order.server)).await?;
    let names = order.kind.names();
    let parameters = ListParams::default().limit(u32::try_from(OBJECTS)?);
    let originals: Api<DynamicObject> = Api::all_with(client.clone(), &names.resource(names.group));
    let originals = originals.list(&parameters).await.context("failed to list what to create")?.items;
    ensure!(!originals.is_empty(), "failed to find a {} to create again", names.kind);
    define(&client, &names).await?;
    let all = originals.iter().cycle().take(WARM_UP + OBJECTS).enumerate();
    let mut warm_up: Vec<DynamicObject> =
        all.map(|(number, original)| copy(&names, number, original)).collect();
    let objects = warm_up.split_off(WARM_UP);
    let clients = clients(&order.kubeconfig, &order.server).await?;
    let apis: Vec<_> = clients.iter().map(|client| names.copies(client)).collect();
    // Handshakes and the start of a kind are not what is measured.
    create(&apis, warm_up).await?;
    let count = u32::try_from(objects.len())?;
    let began = Instant::now();
    create(&apis, objects).await?;
    Ok(Created { objects: count, seconds: began.elapsed().as_secs_f64() })
}

/// Clients with connections of their own.
pub(crate) async fn clients(kubeconfig: &str, server: &str) -> anyhow::Result<Vec<Client>> {
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(operator::client(kubeconfig, Some(server)).await?);
    }
    Ok(clients)
}

/// Each client creates its part, one object after the other.
pub(crate) async fn create(apis: &[Api<DynamicObject>], objects: Vec<DynamicObject>) -> anyhow::Result<()> {
    let mut parts = vec![Vec::new(); apis.len()];
    for (number, object) in objects.into_iter().enumerate() {
        parts[number % apis.len()].push(object);
    }
    let mut tasks = JoinSet::new();
    for (api, part) in apis.iter().cloned().zip(parts) {
        tasks.spawn(async move {
            for object in &part {
                api.create(&PostParams::default(), object).await.context("failed to create an object")?;
            }
            Ok::<_, anyhow::Error>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.context("failed to run a client")??;
    }
    Ok(())
}

fn copy(names: &Names, number: usize, original: &DynamicObject) -> DynamicObject {
    let mut object = DynamicObject::new(&format!("raw-{number}"), &names.resource(GROUP));
    object.data = json!({ "spec": original.data["spec"] });
    object
}

/// Makes the copy of the kind, without its old versions and their conversion.
async fn define(client: &Client, names: &Names) -> anyhow::Result<()> {
    let kind = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let definitions = Api::<DynamicObject>::all_with(
        client.clone(),
        &ApiResource::from_gvk_with_plural(&kind, "customresourcedefinitions"),
    );
    let (original, plural) = (format!("{}.{}", names.plural, names.group), names.plural);
    let original = definitions
        .get(&original)
        .await
        .with_context(|| format!("failed to read the definition {original}"))?;
    let mut definition = DynamicObject::new(&format!("{plural}.{GROUP}"), &ApiResource::from_gvk(&kind));
    definition.data = json!({ "spec": spec(names, &original.data["spec"])? });
    definitions.create(&PostParams::default(), &definition).await.context("failed to define the copy")?;
    let api = names.copies(client);
    eventually!("the copy is served", KIND_LIMIT, None, async {
        api.list(&ListParams::default()).await.map(Some)
    })?;
    Ok(())
}

fn spec(names: &Names, original: &Value) -> anyhow::Result<Value> {
    let Names { version, kind, plural, .. } = names;
    let versions = original["versions"].as_array().context("failed to find versions")?;
    let version =
        versions.iter().find(|found| found["name"] == *version).context("failed to find the version")?;
    let mut version = version.clone();
    version["storage"] = json!(true);
    Ok(json!({
        "group": GROUP,
        "scope": original["scope"],
        "names": { "kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List") },
        "versions": [version],
    }))
}

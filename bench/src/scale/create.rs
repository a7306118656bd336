//! The limit: how fast the same API server takes the same objects, when nothing watches them.
//!
//! The objects are the plane's own Servers, created again as a kind of another name with the same schema, by sixteen
//! clients with connections of their own.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bloomery_lab::eventually;
use bloomery_lab::simulate::{inside, operator};
use kube::api::{ListParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Clients at once: more do not make a two-core API server faster.
const CLIENTS: usize = 16;
/// Objects that are created: a rate needs some seconds, not minutes.
const OBJECTS: usize = 1000;
/// Objects before those: the API server is busy for a moment with every new kind.
const WARM_UP: usize = 200;
/// A kind is served a second after it was made.
const KIND_LIMIT: Duration = Duration::from_secs(30);
/// The measured kind's own definition, and the copy's.
const DEFINITION: &str = "servers.metal.sidero.dev";
const GROUP: &str = "bench.bloomery.dev";
const VERSION: &str = "v1alpha2";
const KIND: &str = "Server";
const PLURAL: &str = "servers";

/// Where to create.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) kubeconfig: String,
    pub(super) server: String,
}

/// How it went.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Created {
    objects: u32,
    seconds: f64,
}

impl Created {
    /// Objects in a second.
    pub(super) fn rate(&self) -> f64 {
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
    let parameters = ListParams::default().limit(u32::try_from(OBJECTS)?);
    let servers = operator::servers(&client).list(&parameters).await.context("failed to list servers")?.items;
    ensure!(!servers.is_empty(), "failed to find servers to create again");
    define(&client).await?;
    let all = servers.iter().cycle().take(WARM_UP + OBJECTS).enumerate();
    let mut warm_up: Vec<DynamicObject> = all.map(|(number, server)| copy(number, server)).collect();
    let objects = warm_up.split_off(WARM_UP);
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(operator::client(&order.kubeconfig, Some(&order.server)).await?);
    }
    // Handshakes and the start of a kind are not what is measured.
    create(&clients, warm_up).await?;
    let count = u32::try_from(objects.len())?;
    let began = Instant::now();
    create(&clients, objects).await?;
    Ok(Created { objects: count, seconds: began.elapsed().as_secs_f64() })
}

/// Each client creates its part, one object after the other.
async fn create(clients: &[Client], objects: Vec<DynamicObject>) -> anyhow::Result<()> {
    let mut parts = vec![Vec::new(); clients.len()];
    for (number, object) in objects.into_iter().enumerate() {
        parts[number % clients.len()].push(object);
    }
    let mut tasks = JoinSet::new();
    for (client, part) in clients.iter().cloned().zip(parts) {
        tasks.spawn(async move {
            let api = copies(&client);
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

fn copies(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk(GROUP, VERSION, KIND);
    Api::all_with(client.clone(), &ApiResource::from_gvk_with_plural(&kind, PLURAL))
}

fn copy(number: usize, server: &DynamicObject) -> DynamicObject {
    let mut object = DynamicObject::new(&format!("raw-{number}"), copies_resource());
    object.data = json!({ "spec": server.data["spec"] });
    object
}

fn copies_resource() -> &'static ApiResource {
    static RESOURCE: std::sync::OnceLock<ApiResource> = std::sync::OnceLock::new();
    RESOURCE.get_or_init(|| {
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, VERSION, KIND), PLURAL)
    })
}

/// Makes the copy of the kind, without its old versions and their conversion.
async fn define(client: &Client) -> anyhow::Result<()> {
    let kind = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let definitions = Api::<DynamicObject>::all_with(
        client.clone(),
        &ApiResource::from_gvk_with_plural(&kind, "customresourcedefinitions"),
    );
    let original = definitions.get(DEFINITION).await.context("failed to read the definition of Servers")?;
    let mut definition = DynamicObject::new(&format!("{PLURAL}.{GROUP}"), &ApiResource::from_gvk(&kind));
    definition.data = json!({ "spec": spec(&original.data["spec"])? });
    definitions.create(&PostParams::default(), &definition).await.context("failed to define the copy")?;
    let api = copies(client);
    eventually!("the copy is served", KIND_LIMIT, None, async {
        api.list(&ListParams::default()).await.map(Some)
    })?;
    Ok(())
}

fn spec(original: &Value) -> anyhow::Result<Value> {
    let versions = original["versions"].as_array().context("failed to find versions")?;
    let version =
        versions.iter().find(|version| version["name"] == VERSION).context("failed to find the version")?;
    Ok(json!({
        "group": GROUP,
        "scope": original["scope"],
        "names": { "kind": KIND, "plural": PLURAL, "singular": "server", "listKind": "ServerList" },
        "versions": [version],
    }))
}

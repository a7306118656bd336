//! The clients in the plane's network: they make the clusters, then the MetalMachines, and wait until each has its Server.
//!
//! What is bound is counted by lists of one object, whose answer says how many more there are: nothing that is measured pays
//! for the measuring.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bloomery_api::readiness::CONFIGURATION_READY;
use bloomery_lab::eventually;
use bloomery_lab::simulate::inside;
use kube::api::ListParams;
use kube::core::DynamicObject;
use kube::{Api, ResourceExt as _};
use serde::{Deserialize, Serialize};

use super::objects::{self, CLUSTERS, Kind, cluster_name, machine_name};
use super::proof::Proof;
use crate::scale::{cpu_seconds, create};

/// Name of the hidden subcommand.
pub(crate) const SUBCOMMAND: &str = "__allocate";
/// Cluster API's webhooks and the MetalCluster controller take seconds.
const CLUSTERS_LIMIT: Duration = Duration::from_mins(1);
/// Machines that have no Server by then never will.
const LIMIT: Duration = Duration::from_mins(10);
/// Between two looks at how many are bound.
const LOOK_EACH: Duration = Duration::from_millis(200);
/// Objects asked for at once.
const PAGE: u32 = 500;

/// What to do, and where.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) kubeconfig: String,
    pub(super) server: String,
    pub(super) machines: u32,
    pub(super) step: Step,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Step {
    /// Make clusters, data secrets and Machines.
    Prepare { data: String },
    /// Make the MetalMachines and wait until each has a Server.
    Allocate,
    /// Wait until the machine configuration of each is made.
    Configure,
    /// Tell which MetalMachine has which Server.
    Prove,
}

/// How it went; times in seconds from the first create of a MetalMachine.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Allocated {
    /// The last MetalMachine was ready.
    pub(super) seconds: f64,
    /// The last one was created.
    pub(super) created: f64,
    /// Half of them were bound.
    pub(super) half_bound: f64,
    /// All of them were bound.
    pub(super) bound: f64,
    /// CPU time of the clients.
    pub(super) own_cpu_seconds: f64,
    /// Requests of the clients, as the API server counts them.
    pub(super) own_requests: BTreeMap<String, f64>,
}

/// The hidden subcommand.
pub(crate) async fn run_inside() -> anyhow::Result<ExitCode> {
    let (order, parent) = inside::order::<Order>().await?;
    let answer = async {
        match &order.step {
            Step::Prepare { data } => serde_json::to_value(prepare(&order, data).await?),
            Step::Allocate => serde_json::to_value(allocate(&order).await?),
            Step::Configure => serde_json::to_value(configured(&order).await?),
            Step::Prove => serde_json::to_value(prove(&order).await?),
        }
        .context("failed to write the result")
    };
    let answer = tokio::select! {
        answer = answer => answer?,
        () = parent.gone() => return Ok(ExitCode::FAILURE),
    };
    println!("{answer}");
    Ok(ExitCode::SUCCESS)
}

async fn clients(order: &Order) -> anyhow::Result<Vec<kube::Client>> {
    create::clients(&order.kubeconfig, &order.server).await
}

fn apis(kind: Kind, clients: &[kube::Client]) -> Vec<Api<DynamicObject>> {
    clients.iter().map(|client| kind.api(client)).collect()
}

async fn prepare(order: &Order, data: &str) -> anyhow::Result<()> {
    let clients = clients(order).await?;
    let client = clients.first().context("failed to make a client")?;
    for number in 0..CLUSTERS {
        for (kind, object) in objects::cluster(number) {
            let made = kind.api(client).create(&kube::api::PostParams::default(), &object).await;
            made.with_context(|| format!("failed to create {kind:?} {}", object.name_any()))?;
        }
    }
    for number in 0..CLUSTERS {
        let (clusters, name) = (Kind::Cluster.api(client), cluster_name(number));
        eventually!("the infrastructure of a cluster", CLUSTERS_LIMIT, None, async {
            let cluster = clusters.get(&name).await?;
            let initialization = &cluster.data["status"]["initialization"];
            let is_there = initialization["infrastructureProvisioned"] == true;
            Ok::<_, kube::Error>(is_there.then_some(()))
        })?;
    }
    let secrets = (0..order.machines).map(|number| objects::secret(number, data)).collect();
    create::create(&apis(Kind::Secret, &clients), secrets).await.context("failed to make data secrets")?;
    let machines = (0..order.machines).map(objects::machine).collect();
    create::create(&apis(Kind::Machine, &clients), machines).await.context("failed to make Machines")
}

async fn allocate(order: &Order) -> anyhow::Result<Allocated> {
    let clients = clients(order).await?;
    let client = clients.first().context("failed to make a client")?;
    let (owners, _) = list(&Kind::Machine.api(client)).await?;
    let owners: BTreeMap<String, DynamicObject> =
        owners.into_iter().map(|owner| (owner.name_any(), owner)).collect();
    let mut machines = Vec::new();
    for number in 0..order.machines {
        let owner = owners.get(&machine_name(number)).context("failed to find a Machine")?;
        machines.push(objects::metal_machine(number, owner)?);
    }
    let (bindings, all) = (Kind::ServerBinding.api(client), Kind::MetalMachine.api(client));
    // Handshakes are not what is measured.
    for api in apis(Kind::ServerBinding, &clients) {
        ensure!(bound(&api).await? == 0, "failed to begin: there are ServerBindings already");
    }
    let (cpu, began) = (own_cpu()?, Instant::now());
    let since = || began.elapsed().as_secs_f64();
    let creating = async {
        create::create(&apis(Kind::MetalMachine, &clients), machines).await?;
        Ok::<_, anyhow::Error>(since())
    };
    let counting = async {
        let (mut looks, mut half) = (0.0, None);
        loop {
            let bound = bound(&bindings).await?;
            looks += 1.0;
            if 2 * bound >= i64::from(order.machines) {
                half.get_or_insert_with(since);
            }
            if bound >= i64::from(order.machines) {
                return Ok::<_, anyhow::Error>((since(), half.unwrap_or_default(), looks));
            }
            ensure!(
                began.elapsed() < LIMIT,
                "{bound} of {} are bound after {:.0} s",
                order.machines,
                since()
            );
            tokio::time::sleep(LOOK_EACH).await;
        }
    };
    let (created, (bound, half_bound, looks)) = tokio::try_join!(creating, counting)?;
    let mut pages = 0.0;
    loop {
        let (machines, asked) = list(&all).await?;
        pages += asked;
        let waiting = machines.iter().filter(|machine| machine.data["status"]["ready"] != true).count();
        if waiting == 0 {
            break;
        }
        ensure!(began.elapsed() < LIMIT, "{waiting} MetalMachines are not ready after {:.0} s", since());
        tokio::time::sleep(LOOK_EACH).await;
    }
    let own_requests = BTreeMap::from([
        ("POST metalmachines".to_owned(), f64::from(order.machines)),
        ("LIST metalmachines".to_owned(), pages),
        ("LIST serverbindings".to_owned(), looks + f64::from(u32::try_from(clients.len())?)),
        ("LIST machines".to_owned(), f64::from(order.machines.div_ceil(PAGE))),
    ]);
    let (seconds, own_cpu_seconds) = (since(), own_cpu()? - cpu);
    Ok(Allocated { seconds, created, half_bound, bound, own_cpu_seconds, own_requests })
}

async fn configured(order: &Order) -> anyhow::Result<()> {
    let client = bloomery_lab::simulate::operator::client(&order.kubeconfig, Some(&order.server)).await?;
    let bindings = Kind::ServerBinding.api(&client);
    let is_made = |binding: &DynamicObject| {
        let conditions = binding.data["status"]["conditions"].as_array();
        conditions
            .into_iter()
            .flatten()
            .any(|condition| condition["type"] == CONFIGURATION_READY && condition["status"] == "True")
    };
    eventually!("a configuration for each machine", LIMIT, None, async {
        let (all, _) = list(&bindings).await?;
        Ok::<_, anyhow::Error>(all.iter().all(is_made).then_some(()))
    })?;
    Ok(())
}

async fn prove(order: &Order) -> anyhow::Result<Proof> {
    let client = bloomery_lab::simulate::operator::client(&order.kubeconfig, Some(&order.server)).await?;
    let (machines, _) = list(&Kind::MetalMachine.api(&client)).await?;
    let (bindings, _) = list(&Kind::ServerBinding.api(&client)).await?;
    Ok(Proof::of(&machines, &bindings))
}

/// How many there are.
async fn bound(bindings: &Api<DynamicObject>) -> anyhow::Result<i64> {
    let page = bindings.list(&ListParams::default().limit(1)).await.context("failed to count bindings")?;
    let more = page.metadata.remaining_item_count.unwrap_or_default();
    Ok(i64::try_from(page.items.len())? + more)
}

/// All objects, and the requests that it took.
async fn list(api: &Api<DynamicObject>) -> anyhow::Result<(Vec<DynamicObject>, f64)> {
    let mut parameters = ListParams::default().limit(PAGE);
    let (mut objects, mut requests) = (Vec::new(), 0.0);
    loop {
        let page = api.list(&parameters).await.context("failed to list objects")?;
        requests += 1.0;
        objects.extend(page.items);
        match page.metadata.continue_ {
            Some(token) if !token.is_empty() => parameters = parameters.continue_token(&token),
            _ => return Ok((objects, requests)),
        }
    }
}

fn own_cpu() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("failed to read the own CPU time")?;
    cpu_seconds(&stat)
}

//! Many MetalMachines at once: how long until each has a Server, and what that costs the plane.
//!
//! The plane is a real one, Cluster API's core included; the servers are simulated machines that it has registered and
//! wiped, and that are off since. Clusters, Machines and their data secrets are there before; what is measured begins with the
//! first create of a MetalMachine. The limit to compare with is measured on the same plane: how fast its API server takes as
//! many ServerBindings when nothing else is done with them.
//! It must never print a time of a run in which a Server was claimed twice.

mod inside;
mod objects;
mod proof;

pub(crate) use inside::{SUBCOMMAND, run_inside};

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bloomery_talosconfig::{Client, Generate, Install, Launcher, Limits};

use crate::Options;
use crate::report::{Figure, Goal, Peer, Unit};
use crate::scale::create::{self, Kind};
use crate::scale::inside::Inside;
use crate::scale::plane::Plane;
use crate::scale::requests;
use crate::scale::usage::Usage;
use crate::scale::{self, Goalpost, Size};
use inside::{Allocated, Order, Step};
use proof::Proof;

/// Sizes that can be measured.
const SIZES: [Size; 3] = [Size::Hundred, Size::Thousand, Size::FiveThousand];
/// Those that are measured unless others are asked for.
const USUAL: [Size; 2] = [Size::Thousand, Size::FiveThousand];
/// What is promised of a thousand, seconds.
const TIME_GOAL: f64 = 30.0;
/// What is promised of one, requests.
const REQUESTS_GOAL: f64 = 6.0;
/// What is promised of the whole plane with a thousand servers and ten clusters, MiB.
const MEMORY_GOAL: f64 = 700.0;
/// What Cluster API and the controllers do about clusters and Machines alone is over by then.
const QUIET: Duration = Duration::from_secs(20);
/// The requests that the infrastructure provider makes for a MetalMachine, and no other: what the Server's own controller
/// asks of its binding before each decision is another figure's.
const OF_PROVIDER: [&str; 6] = [
    "GET metalmachines",
    "PATCH metalmachines",
    "PATCH metalmachines/status",
    "GET servers",
    "POST serverbindings",
    "DELETE serverbindings",
];
const MILLISECONDS: f64 = 1000.0;

/// What is measured of one size.
struct Run {
    size: Size,
    allocated: Allocated,
    /// Seconds from the first create of a MetalMachine until each has its configuration.
    configured: f64,
    cpu: Usage,
    requests: BTreeMap<String, f64>,
    memory: BTreeMap<String, f64>,
    /// ServerBindings that the API server takes in a second.
    raw_rate: f64,
}

/// All sizes that were asked for.
pub(crate) async fn measure(options: &Options) -> anyhow::Result<Vec<Figure>> {
    let mut runs = Vec::new();
    for size in SIZES {
        let wanted: &[Size] = if options.sizes.is_empty() { &USUAL[..] } else { &options.sizes };
        if !wanted.contains(&size) {
            continue;
        }
        let plane = Plane::start(&options.out).await?;
        let run = Box::pin(on(&plane, options, size)).await;
        plane.stop(run.is_err()).await?;
        let run = run.with_context(|| format!("failed with {} machines", size.machines()))?;
        eprintln!(
            "bench: {} MetalMachines had Servers after {:.1} s, {:.0} raw creates/s",
            size.machines(),
            run.allocated.seconds,
            run.raw_rate
        );
        runs.push(run);
    }
    Ok(runs.iter().flat_map(figures).collect())
}

async fn on(plane: &Plane, options: &Options, size: Size) -> anyhow::Result<Run> {
    let lab = plane.running()?;
    let machines = size.machines();
    let (fleet, _) = scale::bring_up(&lab, options, machines, Goalpost::Clean).await?;
    // A Server that is clean and wanted by nobody is off.
    fleet.end().await?;
    let order = |step| Order { kubeconfig: plane.kubeconfig().to_owned(), server: lab.api(), machines, step };
    let data = configuration(&options.out.join("rootfs")).await?;
    let prepare = Inside::start(&lab, SUBCOMMAND, &order(Step::Prepare { data })).await?;
    answer::<()>(prepare).await.context("failed to prepare the clusters")?;
    tokio::time::sleep(QUIET).await;
    let (cpu, before) = (plane.usage().await?, plane.requests().await?);
    let allocate = Inside::start(&lab, SUBCOMMAND, &order(Step::Allocate)).await?;
    let allocated: Allocated = answer(allocate).await.context("failed to allocate")?;
    let since = Instant::now();
    let (cpu, after) = (plane.usage().await?.since(&cpu), plane.requests().await?);
    let requests = requests::since(&requests::without(&after, &allocated.own_requests), &before);
    let configure = Inside::start(&lab, SUBCOMMAND, &order(Step::Configure)).await?;
    answer::<()>(configure).await.context("failed to wait for the configurations")?;
    let configured = allocated.seconds + since.elapsed().as_secs_f64();
    let proof = Inside::start(&lab, SUBCOMMAND, &order(Step::Prove)).await?;
    answer::<Proof>(proof).await?.check(machines)?;
    eprintln!("bench: {machines} MetalMachines have a Server each; {} s of rest", options.settle);
    tokio::time::sleep(Duration::from_secs(options.settle)).await;
    let memory = plane.memory().await?;
    let raw_rate = create::rate(&lab, plane.kubeconfig(), Kind::ServerBinding).await?;
    Ok(Run { size, allocated, configured, cpu, requests, memory, raw_rate })
}

async fn answer<T: serde::de::DeserializeOwned>(mut inside: Inside) -> anyhow::Result<T> {
    let answer = inside.answer().await;
    inside.end().await?;
    answer
}

/// A worker's configuration by Talos's own library: what a data secret holds.
async fn configuration(root: &Path) -> anyhow::Result<String> {
    let mut command = Command::new(root.join("usr/bin/controllers"));
    command.arg("talosconfig-launcher").arg(root.join("usr/bin/talosconfig"));
    let launcher = Launcher::start(command).context("failed to start Talos's library")?;
    let talos = Client::new(launcher, Limits::default());
    let secrets = talos.new_secrets("").await.context("failed to make secrets")?;
    let install = Install { disk: "/dev/sda".to_owned(), image: String::new() };
    let endpoint = bloomery_talosconfig::endpoint(objects::ENDPOINT, objects::PORT);
    let generate = Generate { install, ..Generate::new("worker", "bench", endpoint, secrets.into()) };
    let made = talos.generate(&generate).await.context("failed to make a machine configuration")?;
    Ok(made.expose().to_owned())
}

/// Names of a size's figures: time, requests of the provider, all requests, CPU, memory.
const fn names(size: Size) -> [&'static str; 5] {
    match size {
        Size::Hundred => [
            "100 MetalMachines, first create to the last one with a Server",
            "API requests of the provider per MetalMachine, of 100",
            "all API requests of the plane per MetalMachine, of 100",
            "CPU time of the plane per MetalMachine, of 100",
            "memory of the plane with 100 servers and 10 clusters, PSS",
        ],
        Size::Thousand => [
            "1,000 MetalMachines, first create to the last one with a Server",
            "API requests of the provider per MetalMachine, of 1,000",
            "all API requests of the plane per MetalMachine, of 1,000",
            "CPU time of the plane per MetalMachine, of 1,000",
            "memory of the plane with 1,000 servers and 10 clusters, PSS",
        ],
        Size::FiveThousand => [
            "5,000 MetalMachines, first create to the last one with a Server",
            "API requests of the provider per MetalMachine, of 5,000",
            "all API requests of the plane per MetalMachine, of 5,000",
            "CPU time of the plane per MetalMachine, of 5,000",
            "memory of the plane with 5,000 servers and 10 clusters, PSS",
        ],
        // Not one of SIZES.
        Size::TenThousand => ["", "", "", "", ""],
    }
}

fn figures(run: &Run) -> Vec<Figure> {
    let Run { size, allocated, configured, cpu, requests, memory, raw_rate } = run;
    let machines = f64::from(size.machines());
    let is_promised = *size == Size::Thousand;
    let promise = |goal: f64| is_promised.then_some(Goal::AtMost(goal));
    let [time, of_provider, all, per_machine, at_rest] = names(*size);
    let mut parts: BTreeMap<String, f64> =
        cpu.per(1.0).into_iter().map(|(name, seconds)| (format!("CPU {name}"), seconds)).collect();
    parts.extend([
        ("CPU clients".to_owned(), allocated.own_cpu_seconds),
        ("created, last".to_owned(), allocated.created),
        ("bound, half".to_owned(), allocated.half_bound),
        ("bound, last".to_owned(), allocated.bound),
        ("configured, last".to_owned(), *configured),
    ]);
    let peer = Peer {
        name: "plain creates of as many ServerBindings by 16 clients",
        values: vec![machines / raw_rate],
        parts: BTreeMap::new(),
    };
    let each: BTreeMap<String, f64> =
        requests.iter().map(|(name, count)| (name.clone(), count / machines)).collect();
    let is_of_provider = |name: &str| OF_PROVIDER.contains(&name);
    let ours: BTreeMap<String, f64> = each
        .iter()
        .filter(|(name, _)| is_of_provider(name))
        .map(|(name, count)| (name.clone(), *count))
        .collect();
    let mut figures = vec![
        Figure {
            peer: Some(peer),
            parts,
            ..figure(time, Unit::Seconds, allocated.seconds, promise(TIME_GOAL))
        },
        Figure {
            parts: ours.clone(),
            ..figure(of_provider, Unit::Requests, ours.values().sum(), promise(REQUESTS_GOAL))
        },
        Figure { parts: each.clone(), ..figure(all, Unit::Requests, each.values().sum(), None) },
        Figure {
            parts: cpu.per(machines / MILLISECONDS),
            ..figure(per_machine, Unit::Milliseconds, MILLISECONDS * cpu.total() / machines, None)
        },
    ];
    let (parts, sum) = (memory.clone(), memory.values().sum());
    figures.push(Figure { parts, ..figure(at_rest, Unit::Mebibytes, sum, promise(MEMORY_GOAL)) });
    figures
}

fn figure(name: &'static str, unit: Unit, value: f64, goal: Option<Goal>) -> Figure {
    Figure { name, unit, ours: vec![value], peer: None, goal, parts: BTreeMap::new() }
}

//! Many machines at once: simulated ones, from the first DHCP request to the end, against a real plane of our own.
//!
//! A fresh plane for each number of machines. The limit to compare with is measured on the same plane: how fast its API
//! server takes the same objects when nothing else is done with them.

pub(crate) mod create;
pub(crate) mod inside;
pub(crate) mod plane;
pub(crate) mod requests;
pub(crate) mod usage;

pub(crate) use create::{SUBCOMMAND as CREATE, run_inside as create_inside};
pub(crate) use usage::seconds as cpu_seconds;

use std::collections::BTreeMap;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bloomery_lab::simulate::config::{Config, Fetch, Target, Until};
use bloomery_lab::simulate::fleet::{End, Fleet};
use bloomery_lab::simulate::inside::order;
use bloomery_lab::simulate::join::Running;
use clap::ValueEnum;
use serde_json::Value;

use crate::Options;
use crate::report::{Figure, Goal, Peer, Unit};
use inside::Inside;
use plane::Plane;
use usage::Usage;

/// Name of the hidden subcommand that simulates machines in the plane's network.
pub(crate) const SIMULATE: &str = "__simulate";
/// Programs of ours whose memory and CPU time are promised.
const OURS: [&str; 2] = ["controllers", "bootsvc"];
/// From the last machine until memory is read.
const AT_REST: Duration = Duration::from_secs(20);
/// How long the plane's CPU is watched after that.
const IDLE: Duration = Duration::from_mins(1);
/// A rack that has not come up by then never will.
const LIMIT: Duration = Duration::from_mins(15);
/// What is promised for a thousand machines, seconds.
const TIME_GOAL: f64 = 20.0;
/// What is promised of our processes at a thousand servers, MiB.
const MEMORY_GOAL: f64 = 64.0;
/// Flat: a machine of many may cost this much more than one of a hundred.
const GROWTH_GOAL: f64 = 1.2;
/// What is promised of the plane for one machine from its first DHCP request to clean: CPU milliseconds, API requests.
const CPU_GOAL: f64 = 30.0;
const REQUESTS_GOAL: f64 = 5.0;
/// Most of one core that machines which wait for orders may cost, percent.
const IDLE_GOAL: f64 = 5.0;
/// What is promised of the whole plane's memory at 5,000 servers, MiB.
const PLANE_MEMORY_GOAL: f64 = 900.0;
/// Seconds between lines while nothing goes on.
const SAY_EVERY: f64 = 10.0;
const MILLISECONDS: f64 = 1000.0;

/// How far machines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Goalpost {
    /// The plane knows them
    Registered,
    /// They are accepted and wiped
    Clean,
}

/// How many machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Size {
    #[value(name = "100")]
    Hundred,
    #[value(name = "1000")]
    Thousand,
    #[value(name = "5000")]
    FiveThousand,
    #[value(name = "10000")]
    TenThousand,
}

impl Size {
    pub(crate) const fn machines(self) -> u32 {
        match self {
            Self::Hundred => 100,
            Self::Thousand => 1000,
            Self::FiveThousand => 5000,
            Self::TenThousand => 10_000,
        }
    }

    /// Names of its figures: time, memory, CPU, requests, CPU at rest.
    const fn names(self) -> [&'static str; 5] {
        match self {
            Self::Hundred => [
                "100 machines, first DHCP request to the last one done",
                "memory at 100 servers, PSS",
                "CPU time of the plane per machine, of 100",
                "API requests per machine, of 100",
                "the plane's CPU with 100 idle machines, share of a core",
            ],
            Self::Thousand => [
                "1,000 machines, first DHCP request to the last one done",
                "memory at 1,000 servers, PSS",
                "CPU time of the plane per machine, of 1,000",
                "API requests per machine, of 1,000",
                "the plane's CPU with 1,000 idle machines, share of a core",
            ],
            Self::FiveThousand => [
                "5,000 machines, first DHCP request to the last one done",
                "memory at 5,000 servers, PSS",
                "CPU time of the plane per machine, of 5,000",
                "API requests per machine, of 5,000",
                "the plane's CPU with 5,000 idle machines, share of a core",
            ],
            Self::TenThousand => [
                "10,000 machines, first DHCP request to the last one done",
                "memory at 10,000 servers, PSS",
                "CPU time of the plane per machine, of 10,000",
                "API requests per machine, of 10,000",
                "the plane's CPU with 10,000 idle machines, share of a core",
            ],
        }
    }
}

/// What is measured of one size.
struct Run {
    size: Size,
    /// First DHCP request to the last machine done.
    seconds: f64,
    simulation: Value,
    cpu: Usage,
    /// Of [`IDLE`], when all machines are done and their agents ask again now and then.
    idle: Usage,
    memory: BTreeMap<String, f64>,
    /// Most that ours had resident at once, MiB.
    peaks: BTreeMap<String, f64>,
    requests: BTreeMap<String, f64>,
    /// Objects that the API server takes in a second.
    raw_rate: f64,
}

/// All sizes that were asked for.
pub(crate) async fn measure(options: &Options) -> anyhow::Result<Vec<Figure>> {
    let mut runs = Vec::new();
    for size in Size::value_variants() {
        if !options.sizes.is_empty() && !options.sizes.contains(size) {
            continue;
        }
        let run = Box::pin(one(options, *size)).await;
        let run = run.with_context(|| format!("failed with {} machines", size.machines()))?;
        eprintln!(
            "bench: {} machines in {:.1} s, {:.0} raw creates/s",
            size.machines(),
            run.seconds,
            run.raw_rate
        );
        runs.push(run);
    }
    Ok(figures(&runs))
}

async fn one(options: &Options, size: Size) -> anyhow::Result<Run> {
    let plane = Plane::start(&options.out).await?;
    let result = Box::pin(on(&plane, options, size)).await;
    plane.stop(result.is_err()).await?;
    result
}

async fn on(plane: &Plane, options: &Options, size: Size) -> anyhow::Result<Run> {
    let lab = plane.running()?;
    let (cpu, requests) = (plane.usage().await?, plane.requests().await?);
    let (machines, simulation) = bring_up(&lab, options, size.machines(), options.until).await?;
    let (cpu, requests) =
        (plane.usage().await?.since(&cpu), requests::since(&plane.requests().await?, &requests));
    let seconds = simulation["seconds"].as_f64().context("failed to read the simulation's time")?;
    // At rest: what a burst took is given back within seconds.
    tokio::time::sleep(AT_REST).await;
    let (memory, peaks) = (plane.memory().await?, plane.peaks(&OURS).await?);
    let before = plane.usage().await?;
    tokio::time::sleep(IDLE).await;
    let idle = plane.usage().await?.since(&before);
    machines.end().await?;
    let raw_rate = create::rate(&lab, plane.kubeconfig(), create::Kind::Server).await?;
    Ok(Run { size, seconds, simulation, cpu, idle, memory, peaks, requests, raw_rate })
}

/// Switches simulated machines on and waits until they are as far as `until`. They stay until they are ended.
pub(crate) async fn bring_up(
    lab: &Running,
    options: &Options,
    machines: u32,
    until: Goalpost,
) -> anyhow::Result<(Inside, Value)> {
    let config = Config {
        fetch: Fetch::Loaders,
        at_once: options.at_once,
        until: Some(match until {
            Goalpost::Registered => Until::Registered,
            Goalpost::Clean => Until::Clean,
        }),
        limit: Some(bloomery_lab::patience::scaled(LIMIT)),
        ..Config::new(machines, Target::new(lab.plane))
    };
    let mut machines = Inside::start(lab, SIMULATE, &config).await?;
    let simulation: Value = machines.answer().await?;
    ensure!(simulation["end"] == "done", "failed to bring all machines up: {simulation:#}");
    Ok((machines, simulation))
}

/// The hidden subcommand that simulates.
pub(crate) async fn simulate_inside() -> anyhow::Result<ExitCode> {
    let (config, parent) = order::<Config>().await?;
    let (mut last, mut said) = (0, 0.0);
    let show = |now: &bloomery_lab::simulate::tally::Snapshot| {
        // A line for each tenth of the way, and when nothing goes on.
        let tenth = 10 * (now.registered + now.clean) / now.machines;
        if tenth > last || now.seconds - said > SAY_EVERY {
            (last, said) = (tenth, now.seconds);
            let errors: Vec<String> =
                now.errors.values().map(|e| format!("{} × {}", e.count, e.last)).collect();
            eprintln!(
                "bench: {:.0} s: {} registered, {} clean, now {:?}{}{}",
                now.seconds,
                now.registered,
                now.clean,
                now.phases,
                if errors.is_empty() { "" } else { "; " },
                errors.join("; ")
            );
        }
    };
    let fleet = Fleet::start(config).await?;
    let mut gone = pin!(parent.gone());
    let summary = fleet.until_done(show, gone.as_mut()).await;
    println!("{}", serde_json::to_string(&summary).context("failed to write the result")?);
    // The machines stay as they are while the plane is watched at rest.
    if summary.end == End::Done {
        gone.await;
    }
    fleet.stop().await;
    Ok(ExitCode::SUCCESS)
}

fn figures(runs: &[Run]) -> Vec<Figure> {
    let per_machine = |run: &Run| MILLISECONDS * run.cpu.total() / f64::from(run.size.machines());
    let smallest = runs.first().filter(|run| run.size == Size::Hundred);
    let mut figures = Vec::new();
    for run in runs {
        let machines = f64::from(run.size.machines());
        let [time, memory, cpu, requests, idle] = run.size.names();
        let raw = Peer {
            name: "plain creates of the same objects by 16 clients",
            values: vec![machines / run.raw_rate],
            parts: BTreeMap::new(),
        };
        let goal = (run.size == Size::Thousand).then_some(Goal::AtMost(TIME_GOAL));
        let parts = parts(run);
        figures.push(Figure { peer: Some(raw), parts, ..figure(time, Unit::Seconds, run.seconds, goal) });
        let of_hundred = smallest.filter(|_| run.size != Size::Hundred).map(|hundred| Peer {
            name: "of 100",
            values: vec![per_machine(hundred)],
            parts: hundred.cpu.per(100.0 / MILLISECONDS),
        });
        let goal = match run.size {
            Size::Thousand => Some(Goal::AtMost(CPU_GOAL)),
            _ => of_hundred.is_some().then_some(Goal::AtMostTimesPeer(GROWTH_GOAL)),
        };
        let parts = run.cpu.per(machines / MILLISECONDS);
        figures.push(Figure {
            peer: of_hundred,
            parts,
            ..figure(cpu, Unit::Milliseconds, per_machine(run), goal)
        });
        let parts: BTreeMap<String, f64> =
            run.requests.iter().map(|(name, count)| (name.clone(), count / machines)).collect();
        let goal = Some(Goal::AtMost(REQUESTS_GOAL));
        figures.push(Figure {
            parts: parts.clone(),
            ..figure(requests, Unit::Requests, parts.values().sum(), goal)
        });
        let share = 100.0 / IDLE.as_secs_f64();
        let goal = (run.size == Size::TenThousand).then_some(Goal::AtMost(IDLE_GOAL));
        figures.push(Figure {
            parts: run.idle.per(1.0 / share),
            ..figure(idle, Unit::Percent, share * run.idle.total(), goal)
        });
        if run.size == Size::Thousand {
            let ours = OURS.iter().filter_map(|name| run.memory.get(*name)).sum();
            let name = "controllers and boot services at 1,000 servers, PSS";
            let goal = Some(Goal::AtMost(MEMORY_GOAL));
            let parts = run.peaks.clone();
            figures.push(Figure { parts, ..figure(name, Unit::Mebibytes, ours, goal) });
        }
        let goal = (run.size == Size::FiveThousand).then_some(Goal::AtMost(PLANE_MEMORY_GOAL));
        let parts = run.memory.clone();
        figures.push(Figure { parts, ..figure(memory, Unit::Mebibytes, run.memory.values().sum(), goal) });
    }
    figures
}

fn figure(name: &'static str, unit: Unit, value: f64, goal: Option<Goal>) -> Figure {
    Figure { name, unit, ours: vec![value], peer: None, goal, parts: BTreeMap::new() }
}

/// When the middle machine had got there, and CPU seconds.
fn parts(run: &Run) -> BTreeMap<String, f64> {
    let mut parts: BTreeMap<String, f64> =
        run.cpu.per(1.0).into_iter().map(|(name, seconds)| (format!("CPU {name}"), seconds)).collect();
    for (name, key) in [("registered", "registeredAt"), ("clean", "cleanAt")] {
        for moment in ["first", "median", "p95", "last"] {
            if let Some(seconds) = run.simulation[key][moment].as_f64() {
                parts.insert(format!("{name}, {moment}"), seconds);
            }
        }
    }
    if let Some(seconds) = run.simulation["ownCpuSeconds"].as_f64() {
        parts.insert("CPU simulation".to_owned(), seconds);
    }
    parts
}

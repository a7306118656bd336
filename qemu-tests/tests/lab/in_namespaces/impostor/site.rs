//! The plane, and fleets of simulated machines beside it.

use anyhow::{Context, Result, ensure};
use bloomery_lab::{
    console::Console,
    container::{Container, ContainerSpec},
    contract::PAIRING_LINE,
    dhcpd::Dhcpd,
    eventually,
    forward::Forwards,
    net::{Helper, Net},
    plane, serving,
    simulate::{
        config::{Config, Target, Until},
        inside::Inside,
        join::Running,
    },
    state::LabDir,
};
use kube::Client;
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::io::AsyncReadExt;

/// A boot to the announced API, or to every service being ready: some seconds on an idle machine.
pub(crate) const BOOT_LIMIT: Duration = Duration::from_mins(4);
/// Anything that the plane answers at once.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Some machines register within seconds; under attack the limit is judged afterwards.
pub(crate) const MACHINES_LIMIT: Duration = Duration::from_mins(2);

pub(crate) fn helper(program: &str) -> Helper {
    Helper { program: program.into(), arguments: Vec::new() }
}

fn root_tree() -> PathBuf {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../out/rootfs");
    let root = std::env::var_os("BLOOMERY_ROOTFS").map_or_else(|| PathBuf::from(default), PathBuf::from);
    root.canonicalize().expect("a root tree: make it with `make image`, or name one with BLOOMERY_ROOTFS")
}

/// The network and the machine that the plane runs on, before it is switched on.
pub(crate) struct Bench {
    pub(crate) dir: Arc<LabDir>,
    pub(crate) net: Net,
    pub(crate) machine: Container,
    began: Instant,
}

impl Bench {
    pub(crate) async fn build(folder: &Path) -> Result<Self> {
        let dir = Arc::new(LabDir::open(folder, false).await?);
        let supervisor = helper(env!("CARGO_BIN_EXE_bloomery-lab-supervisor"));
        let net = Net::start(Arc::clone(&dir), &supervisor).await?;
        let spec = ContainerSpec {
            root: root_tree(),
            launcher: env!("CARGO_BIN_EXE_bloomery-lab-container").into(),
            var: dir.path("plane-var"),
            boot: dir.path("plane-boot"),
        };
        let machine = Container::build(&net, &dir, spec).await?;
        Ok(Self { dir, net, machine, began: Instant::now() })
    }

    pub(crate) fn step(&self, text: &str) {
        println!("{:>7.1} s  {text}", self.began.elapsed().as_secs_f64());
    }
}

/// A plane that serves machines.
pub(crate) struct Site {
    pub(crate) console: Console,
    pub(crate) client: Client,
    pub(crate) lab: Running,
    _dhcpd: Dhcpd,
    _forwards: Forwards,
}

impl Site {
    /// From power-on to boot services that answer machines.
    pub(crate) async fn start(bench: &mut Bench) -> Result<Self> {
        let dhcpd = Dhcpd::start(&bench.dir, &bench.net).await?;
        let forwards = Forwards::open(&bench.dir).await?;
        let console = bench.machine.power_on(&bench.net).await?;
        let line = console.wait_for(PAIRING_LINE, BOOT_LIMIT).await?;
        let kubeconfig = eventually!("pairing", ANSWER_LIMIT, Some(&console), async {
            plane::pair(&line, &forwards).await.map(Some)
        })?;
        let client = plane::client(&kubeconfig).await?;
        let appliance = plane::appliance(&kubeconfig, &forwards).await?;
        for service in ["controllers", "bootsvc"] {
            console.wait_for(&format!("{service}: ready after"), BOOT_LIMIT).await?;
        }
        eventually!("machines are answered", BOOT_LIMIT, Some(&console), async {
            serving::machines(&appliance).await.map(Some)
        })?;
        let lab = Running::find(bench.dir.root())?;
        Ok(Self { console, client, lab, _dhcpd: dhcpd, _forwards: forwards })
    }

    /// Machines that are switched on now.
    pub(crate) fn config(&self, first: u32, machines: u32) -> Config {
        Config { first, ..Config::new(machines, Target::new(self.lab.plane)) }
    }

    pub(crate) async fn fleet(&self, config: &Config) -> Result<Fleet> {
        let simulation = helper(env!("CARGO_BIN_EXE_bloomery-lab-simulation"));
        Ok(Fleet(self.lab.start(&simulation, config, Stdio::piped()).await?))
    }

    /// How long the last of some new machines takes from power-on to its registration, seconds.
    pub(crate) async fn registration(&self, first: u32, machines: u32, power_port: u16) -> Result<f64> {
        let config = Config {
            power_port,
            until: Some(Until::Registered),
            limit: Some(bloomery_lab::patience::scaled(MACHINES_LIMIT)),
            ..self.config(first, machines)
        };
        let Fleet(inside) = self.fleet(&config).await?;
        let summary = read(inside).await?;
        ensure!(summary["end"] == "done", "not all machines registered: {summary:#}");
        summary["registeredAt"]["last"].as_f64().context("no time of the last registration")
    }
}

/// Machines that live on until they are stopped.
pub(crate) struct Fleet(Inside);

impl Fleet {
    /// Switches them off; what they have to say.
    pub(crate) async fn stop(self) -> Result<Value> {
        let Inside { child, input } = self.0;
        drop(input);
        let mut child = child;
        let mut answer = String::new();
        child.stdout.take().context("no pipe")?.read_to_string(&mut answer).await?;
        serde_json::from_str(&answer).context("no summary")
    }
}

async fn read(mut inside: Inside) -> Result<Value> {
    let mut answer = String::new();
    inside.child.stdout.take().context("no pipe")?.read_to_string(&mut answer).await?;
    serde_json::from_str(&answer).context("no summary")
}

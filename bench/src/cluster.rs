//! A workload cluster of real Talos nodes: from `kubectl apply` of clusterctl's manifest, beside the same nodes brought up by
//! hand with talosctl.
//!
//! Both run on board `ns`, one after the other, with nothing else on the machine; images lie in the lab's registry.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use bloomery_lab::contract::APPLIANCE_MAC;
use bloomery_lab::dhcpd;
use bloomery_lab::native::{Native, NativeConfig};
use bloomery_lab::net::Net;
use bloomery_lab::state::LabDir;
use bloomery_lab::talos::alone::Alone;
use bloomery_lab::talos::cluster::Cluster;
use bloomery_lab::talos::manifest::{Shape, Tools};
use bloomery_lab::talos::members::Board;
use bloomery_lab::talos::site::NodeSite;

use crate::report::{Figure, Goal, Peer, Unit};
use crate::{LAUNCHER, Options, supervisor};

/// What the plane may add to what Talos takes, seconds.
const WAITING_GOAL: f64 = 10.0;
const NAME: &str = "demo";

/// The shapes that are measured, and how their figures are called.
const SHAPES: [(Shape, [&str; 2]); 2] = [
    (
        Shape { control_planes: 1, workers: 1 },
        ["1 + 1 nodes, kubectl apply → Ready", "1 + 1 nodes, what the plane adds"],
    ),
    (
        Shape { control_planes: 3, workers: 2 },
        ["3 + 2 nodes, kubectl apply → Ready", "3 + 2 nodes, what the plane adds"],
    ),
];

/// Seconds of each step since the first.
type Steps = Vec<(String, f64)>;

/// Both ways, for each shape.
pub(crate) async fn measure(options: &Options) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (shape, [whole, added]) in SHAPES {
        let by_hand = Box::pin(by_hand(options, shape)).await.context("failed by talosctl")?;
        let ours = Box::pin(by_manifest(options, shape)).await.context("failed by a manifest")?;
        let (mine, hand) = (ready(&ours)?, ready(&by_hand)?);
        figures.push(Figure {
            name: whole,
            unit: Unit::Seconds,
            ours: vec![mine],
            peer: Some(Peer { name: "by hand with talosctl", values: vec![hand], parts: parts(by_hand) }),
            goal: None,
            parts: parts(ours),
        });
        figures.push(Figure {
            name: added,
            unit: Unit::Seconds,
            ours: vec![mine - hand],
            peer: None,
            goal: Some(Goal::AtMost(WAITING_GOAL)),
            parts: BTreeMap::new(),
        });
    }
    Ok(figures)
}

async fn by_hand(options: &Options, shape: Shape) -> anyhow::Result<Steps> {
    let folder = empty(options, "talos")?;
    let dir = Arc::new(LabDir::open(&folder, false).await?);
    let net = Arc::new(Net::start(Arc::clone(&dir), &supervisor()?).await?);
    let site = NodeSite::open(Arc::clone(&dir), Arc::clone(&net)).await?;
    let mut clock = Clock::new("power on");
    let made = Alone::bring_up(&dir, &net, &site, shape, |text| clock.step(text)).await;
    site.stop().await?;
    net.stop().await?;
    made.map(|_| clock.steps)
}

/// A folder for a run: what an earlier one left has other secrets, in the plane's state and on the nodes' disks.
fn empty(options: &Options, name: &str) -> anyhow::Result<PathBuf> {
    let folder = options.out.join("bench").join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("failed to remove {}", folder.display()))?;
    }
    Ok(folder)
}

async fn by_manifest(options: &Options, shape: Shape) -> anyhow::Result<Steps> {
    let out = empty(options, "cluster")?;
    let program = std::env::current_exe().context("failed to find this program's own file")?;
    let config = NativeConfig {
        out,
        root: options.out.join("rootfs"),
        helper: supervisor()?,
        launcher: program.with_file_name(LAUNCHER),
        config: String::new(),
        dhcp: dhcpd::Dhcp::Isc,
    };
    let native = Native::start(config).await?;
    let cluster = Cluster::build(&native.site, Board::Ns, shape).await?;
    let mut clock = Clock::new("kubectl apply");
    let made = on_plane(&native, &cluster, &options.out, &mut clock).await;
    cluster.stop().await?;
    native.stop().await?;
    made.map(|()| clock.steps)
}

async fn on_plane(native: &Native, cluster: &Cluster, out: &Path, clock: &mut Clock) -> anyhow::Result<()> {
    let address = dhcpd::address_of(&native.site.dir, APPLIANCE_MAC).context("the plane has no address")?;
    cluster.become_clean(&native.client, address, |_| {}).await?;
    let tools = Tools::find(out, &native.site.dir.path("kubeconfig"))?;
    cluster.apply(&tools, NAME, |text| clock.step(text)).await?;
    cluster.run(&native.client, NAME, |text| clock.step(text)).await.map(drop)
}

/// Times of steps from the one on that is named.
struct Clock {
    first: &'static str,
    began: Option<Instant>,
    steps: Steps,
}

impl Clock {
    const fn new(first: &'static str) -> Self {
        Self { first, began: None, steps: Vec::new() }
    }

    fn step(&mut self, text: &str) {
        if text == self.first {
            self.began = Some(Instant::now());
        }
        if let Some(began) = self.began {
            self.steps.push((text.to_owned(), began.elapsed().as_secs_f64()));
        }
    }
}

/// When the last node was Ready.
fn ready(steps: &Steps) -> anyhow::Result<f64> {
    let last = steps.iter().rev().find(|(text, _)| text.ends_with("is Ready"));
    last.map(|(_, seconds)| *seconds).context("no node was Ready")
}

fn parts(steps: Steps) -> BTreeMap<String, f64> {
    steps.into_iter().collect()
}

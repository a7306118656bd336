//! A simulation from start to end: config → network → machines → summary.
//!
//! When it ends nothing of it is left: machines and their sockets live in its tasks only.

use super::{
    config::{Config, PER_SUBNET},
    dhcp::Relay,
    inventory::Identity,
    machine::{Command, Machine, World},
    network::Network,
    operator, power,
    tally::{Snapshot, Tally, Times},
};
use anyhow::{Context, Result};
use serde::Serialize;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};

/// How often progress is shown.
const SHOW_EVERY: Duration = Duration::from_secs(1);

/// How a simulation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum End {
    /// Everything that was waited for has happened.
    Done,
    /// It was stopped from outside.
    Stopped,
    /// Its time was over before.
    TimeOver,
}

/// The result.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// How it ended.
    pub end: End,
    /// Everything counted, at the end.
    #[serde(flatten)]
    pub snapshot: Snapshot,
    /// When machines became known.
    pub registered_at: Option<Times>,
    /// When machines were clean.
    pub clean_at: Option<Times>,
    /// CPU time of the simulation itself, seconds.
    pub own_cpu_seconds: f64,
}

/// Simulates until the end that `config` names, or until `stop`; `show` is told how it goes each second.
///
/// # Errors
/// The target is not allowed, or a socket cannot be opened.
pub async fn run(
    config: Config,
    show: impl FnMut(&Snapshot),
    stop: impl Future<Output = ()>,
) -> Result<Summary> {
    let fleet = Fleet::start(config).await?;
    let summary = fleet.until_done(show, stop).await;
    fleet.stop().await;
    Ok(summary)
}

/// Machines that are switched on. They live until [`Fleet::stop`].
#[derive(Debug)]
pub struct Fleet {
    world: Arc<World>,
    tasks: JoinSet<()>,
}

impl Fleet {
    /// Opens the sockets and switches the machines on.
    ///
    /// # Errors
    /// The target is not allowed, or a socket cannot be opened.
    pub async fn start(config: Config) -> Result<Self> {
        config.validate()?;
        let network = Network::prepare(&config.target, config.machines)?;
        let operate = config.operate.clone();
        let (spread, power_port) = (config.spread, config.power_port);
        let listener = power::Listener::open(power_port).with_context(|| {
            format!("failed to listen on port {power_port} for the power API: is there another simulation?")
        })?;
        let (world, registered) = world(config, network)?;
        let machines = machines(&world, network);
        let mut tasks = JoinSet::new();
        let by_index = machines.iter().map(|machine| (machine.identity.index, Arc::clone(machine))).collect();
        tasks.spawn(listener.serve(network, by_index));
        if let Some(operate) = operate {
            let client = operator::client(&operate.kubeconfig, operate.server.as_deref()).await?;
            let world = Arc::clone(&world);
            tasks.spawn(operator::run(client, operate, power_port, registered, world));
        }
        for machine in &machines {
            let machine = Arc::clone(machine);
            tasks.spawn(async move { machine.live().await });
        }
        tasks.spawn(switch_on(machines, spread));
        Ok(Self { world, tasks })
    }

    /// Waits for the end that the configuration names, its limit, or `stop`; `show` is told how it goes each second.
    pub async fn until_done(
        &self,
        mut show: impl FnMut(&Snapshot),
        stop: impl Future<Output = ()>,
    ) -> Summary {
        let Config { until, limit, ref operate, .. } = self.world.config;
        let tally = &self.world.tally;
        let done = async {
            match until {
                Some(until) => tally.reached(until, operate.is_some()).await,
                None => std::future::pending().await,
            }
        };
        let over = async {
            match limit {
                Some(limit) => sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        let shown = async {
            let mut tick = interval(SHOW_EVERY);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                show(&tally.snapshot());
            }
        };
        let end = tokio::select! {
            () = done => End::Done,
            () = stop => End::Stopped,
            () = over => End::TimeOver,
            () = shown => End::Stopped,
        };
        let (registered_at, clean_at) = tally.times();
        Summary { end, snapshot: tally.snapshot(), registered_at, clean_at, own_cpu_seconds: own_cpu() }
    }

    /// Ends all machines at once.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

/// What the machines share, and the machines that register.
fn world(config: Config, network: Network) -> Result<(Arc<World>, mpsc::UnboundedReceiver<Identity>)> {
    let last = config.first + config.machines - 1;
    let relays = (config.first / PER_SUBNET..=last / PER_SUBNET).map(|subnet| {
        let address = network.relay(subnet * PER_SUBNET);
        Relay::open(address, &config.target)
            .with_context(|| format!("failed to open the DHCP relay {address}:{}", config.target.dhcp_port))
    });
    let relays = relays.collect::<Result<_>>()?;
    let (sender, registered) = mpsc::unbounded_channel();
    let gate =
        config.at_once.map(|bound| Arc::new(Semaphore::new(usize::try_from(bound).unwrap_or(usize::MAX))));
    let tally = Tally::new(config.machines);
    Ok((Arc::new(World { config, relays, tally, gate, registered: sender }), registered))
}

fn machines(world: &Arc<World>, network: Network) -> Vec<Arc<Machine>> {
    let config = &world.config;
    let numbers = config.first..config.first + config.machines;
    let identity = |index| Identity::new(index, network.machine(index), config.mix.of(index));
    numbers.map(|index| Arc::new(Machine::new(identity(index), Arc::clone(world)))).collect()
}

/// Presses the switches, spread evenly over `spread`.
async fn switch_on(machines: Vec<Arc<Machine>>, spread: Duration) {
    let began = Instant::now();
    let count = u32::try_from(machines.len()).unwrap_or(u32::MAX).max(1);
    for (number, machine) in (0..).zip(&machines) {
        let due = spread * number / count;
        if let Some(wait) = due.checked_sub(began.elapsed()).filter(|wait| !wait.is_zero()) {
            sleep(wait).await;
        }
        machine.switch(Command::On);
    }
}

/// CPU time of this process so far, seconds.
fn own_cpu() -> f64 {
    let usage = nix::time::clock_gettime(nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID);
    usage.map_or(0.0, |time| Duration::from(time).as_secs_f64())
}

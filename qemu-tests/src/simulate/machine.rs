//! One simulated machine: firmware, loader, script, agent, again and again, as its power allows.
//!
//! What fails is counted and tried again as the real part would; nothing here ends but by the power switch.

use super::{
    agent::{Agent, Orders},
    config::{Config, Fetch, Firmware},
    dhcp::{Offer, Relay, Speaker},
    fetch::{Http, Want},
    inventory::{self, Identity},
    script::{self, AgentBoot, Order},
    tally::{Phase, Tally, add},
    tftp,
    trouble::Trouble,
};
use parking_lot::Mutex;
use std::{
    net::{SocketAddr, SocketAddrV4},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    time::{Instant, sleep},
};

/// Self-test of the firmware: seconds instead of minutes, but a reboot is never free.
const POST: Duration = Duration::from_secs(1);
/// Pause of the boot script between two passes, and how many it makes (`/boot.ipxe`).
const PASS_PAUSE: Duration = Duration::from_secs(5);
const PASSES: u32 = 11;
/// Waits of the agent after failures, growing from the first to the longest (the real agent's figures).
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// The script beside each loader.
const AUTOEXEC: &str = "autoexec.ipxe";

/// What all machines share.
#[derive(Debug)]
pub struct World {
    /// What was asked for.
    pub config: Config,
    /// The DHCP relays, by subnet.
    pub relays: Vec<Relay>,
    /// What happened.
    pub tally: Tally,
    /// Machines on their way to registration, when they are bounded.
    pub gate: Option<Arc<Semaphore>>,
    /// Who has registered, for the operator.
    pub registered: mpsc::UnboundedSender<Identity>,
}

/// The power switch: whether it is on, and how often the machine was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Power {
    /// On.
    pub on: bool,
    /// Starts so far.
    pub starts: u64,
}

/// A power command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Start, if it is off.
    On,
    /// Stop at once.
    Off,
    /// Stop and start.
    Reboot,
    /// Boot from the network next time; these machines always do.
    Pxe,
}

/// A machine.
#[derive(Debug)]
pub struct Machine {
    /// Who it is.
    pub identity: Identity,
    world: Arc<World>,
    power: watch::Sender<Power>,
    phase: Mutex<Phase>,
    was_registered: AtomicBool,
    was_clean: AtomicBool,
}

impl Machine {
    /// A machine that is off.
    pub fn new(identity: Identity, world: Arc<World>) -> Self {
        Self {
            identity,
            world,
            power: watch::Sender::new(Power::default()),
            phase: Mutex::new(Phase::Off),
            was_registered: AtomicBool::new(false),
            was_clean: AtomicBool::new(false),
        }
    }

    /// Whether it is on.
    pub fn is_on(&self) -> bool {
        self.power.borrow().on
    }

    /// Obeys a power command.
    pub fn command(&self, command: Command) {
        add(&self.world.tally.counts.power_commands, 1);
        self.switch(command);
    }

    /// Presses the switch, without a command having come.
    pub fn switch(&self, command: Command) {
        self.power.send_if_modified(|power| {
            let start = match command {
                Command::On => !power.on,
                Command::Reboot => true,
                Command::Off => {
                    let was_on = power.on;
                    power.on = false;
                    return was_on;
                }
                Command::Pxe => false,
            };
            if start {
                *power = Power { on: true, starts: power.starts + 1 };
            }
            start
        });
    }

    /// Lives for ever: runs while it is on, starts over when it is restarted.
    pub async fn live(&self) {
        let mut power = self.power.subscribe();
        loop {
            if power.borrow_and_update().on {
                tokio::select! {
                    () = self.run() => {}
                    changed = power.changed() => if changed.is_err() { return },
                }
            } else {
                self.enter(Phase::Off);
                if power.changed().await.is_err() {
                    return;
                }
            }
        }
    }

    /// From power-on: boots until there is something that stays.
    async fn run(&self) {
        let permit = match &self.world.gate {
            Some(gate) if !self.was_registered.load(Ordering::Relaxed) => {
                Arc::clone(gate).acquire_owned().await.ok()
            }
            _ => None,
        };
        let mut permit = permit;
        loop {
            match self.boot().await {
                Ok(Boot::Agent(boot)) => {
                    let agent =
                        Agent::new(&self.identity, self.http(), &boot, inventory::hardware(&self.identity));
                    match agent {
                        Ok(agent) => self.serve(&agent, &mut permit).await,
                        Err(trouble) => self.world.tally.trouble(&trouble),
                    }
                }
                Ok(Boot::Node) => return self.stay(Phase::Node).await,
                Ok(Boot::Disk) => return self.stay(Phase::Disk).await,
                Err(trouble) => self.world.tally.trouble(&trouble),
            }
            sleep(jittered(POST)).await;
        }
    }

    async fn stay(&self, phase: Phase) {
        self.enter(phase);
        std::future::pending::<()>().await;
    }

    /// Firmware, loader, script and files, once.
    async fn boot(&self) -> Result<Boot, Trouble> {
        self.enter(Phase::Firmware);
        let mut http = Http::new(self.identity.address, self.http());
        let script = self.loader(&mut http).await?;
        self.enter(Phase::Script);
        let mut passes = 1;
        let text = std::str::from_utf8(&script).map_err(|_| broken("/boot.ipxe", "it is no text"))?;
        let url = script::chain(text, &self.identity).map_err(|problem| broken("/boot.ipxe", problem))?;
        let mut path = http.path_of(&url)?;
        let order = loop {
            match self.ask(&mut http, &path).await {
                // The plane decides how long: it counts as one pass until it does not answer any more.
                Ok(Order::Wait(url)) => {
                    add(&self.world.tally.counts.waits, 1);
                    path = http.path_of(&url)?;
                    sleep(PASS_PAUSE).await;
                    continue;
                }
                Ok(order) => break order,
                Err(trouble) if passes < PASSES => self.world.tally.trouble(&trouble),
                // Its disk is tried then; a blank one starts over.
                Err(trouble) => return Err(trouble),
            }
            passes += 1;
            sleep(PASS_PAUSE).await;
        };
        let kernel = match order {
            Order::Disk | Order::Wait(_) => return Ok(Boot::Disk),
            Order::Kernel(kernel) => kernel,
        };
        self.enter(Phase::Kernel);
        let want = if self.world.config.fetch == Fetch::All { Want::All } else { Want::Head };
        for file in &kernel.files {
            let answer = http.file(file, want).await?;
            self.count_http(answer.len);
        }
        Ok(kernel.agent.map_or(Boot::Node, Boot::Agent))
    }

    /// From the first DHCP request to the boot script, by the way of the firmware.
    async fn loader(&self, http: &mut Http) -> Result<Vec<u8>, Trouble> {
        let whole = self.world.config.fetch != Fetch::Heads;
        let want = if whole { Want::All } else { Want::Head };
        match self.identity.firmware {
            Firmware::Bios => {
                let offer = self.discover(Speaker::Ipxe).await?;
                self.enter(Phase::Loader);
                self.script(http, &offer.file).await
            }
            Firmware::BiosUndionly => {
                let offer = self.discover(Speaker::Firmware).await?;
                self.enter(Phase::Loader);
                self.tftp(&offer, &offer.file, whole).await?;
                let offer = self.discover(Speaker::Ipxe).await?;
                self.script(http, &offer.file).await
            }
            Firmware::Uefi | Firmware::Arm64 => {
                let offer = self.discover(Speaker::Firmware).await?;
                self.enter(Phase::Loader);
                self.tftp(&offer, &offer.file, whole).await?;
                Ok(self.tftp(&offer, AUTOEXEC, true).await?.head)
            }
            Firmware::UefiHttp => {
                let offer = self.discover(Speaker::Firmware).await?;
                self.enter(Phase::Loader);
                let loader = http.path_of(&offer.file)?;
                let answer = http.file(&loader, want).await?;
                self.count_http(answer.len);
                let folder = offer.file.rsplit_once('/').map_or("", |(folder, _)| folder);
                self.script(http, &format!("{folder}/{AUTOEXEC}")).await
            }
        }
    }

    async fn discover(&self, speaker: Speaker) -> Result<Offer, Trouble> {
        let relay = usize::try_from(self.identity.index / super::config::PER_SUBNET).unwrap_or_default();
        let first = usize::try_from(self.world.config.first / super::config::PER_SUBNET).unwrap_or_default();
        let relay = self.world.relays.get(relay - first).ok_or(Trouble::Offer("its subnet has no relay"))?;
        let offer = relay.discover(&self.identity, speaker, || self.world.tally.discover()).await?;
        add(&self.world.tally.counts.offers, 1);
        Ok(offer)
    }

    async fn tftp(&self, offer: &Offer, file: &str, whole: bool) -> Result<tftp::File, Trouble> {
        let target = &self.world.config.target;
        if offer.server != target.address {
            return Err(Trouble::Elsewhere {
                url: format!("tftp://{}/{file}", offer.server),
                plane: self.http(),
            });
        }
        let server = SocketAddrV4::new(target.address, target.tftp_port).into();
        let file = tftp::read(self.identity.address, server, file, whole).await?;
        add(&self.world.tally.counts.tftp_bytes, file.len);
        Ok(file)
    }

    async fn script(&self, http: &mut Http, url: &str) -> Result<Vec<u8>, Trouble> {
        let path = http.path_of(url)?;
        let answer = http.file(&path, Want::All).await?;
        self.count_http(answer.len);
        Ok(answer.head)
    }

    /// `/ipxe`, as a script chains to it.
    async fn ask(&self, http: &mut Http, path: &str) -> Result<Order, Trouble> {
        let answer = http.get(path, Want::All).await?;
        self.count_http(answer.len);
        match answer.status {
            200 => {
                let text = std::str::from_utf8(&answer.head).map_err(|_| broken(path, "it is no text"))?;
                script::order(text).map_err(|problem| broken(path, problem))
            }
            // One of the three ways to be sent to the disk.
            404 => Ok(Order::Disk),
            status => Err(Trouble::HttpStatus { path: path.to_owned(), status }),
        }
    }

    /// The agent: registers, asks again, wipes when told to. Returns when told to restart.
    async fn serve<P>(&self, agent: &Agent, permit: &mut Option<P>) {
        self.enter(Phase::Registering);
        let mut retry = FIRST_RETRY;
        let mut clean = false;
        loop {
            let round = async {
                let orders = agent.register().await?;
                self.note_registered();
                permit.take();
                if let Some(order) = &orders.wipe {
                    self.enter(Phase::Wiping);
                    self.wipe(agent, &orders, order).await?;
                    self.note_clean();
                    clean = true;
                }
                Ok::<_, Trouble>(orders)
            };
            match round.await {
                Ok(Orders { restart: true, .. }) => return,
                Ok(_) => {
                    retry = FIRST_RETRY;
                    self.enter(if clean { Phase::Clean } else { Phase::Waiting });
                    sleep(self.world.config.poll).await;
                }
                Err(trouble) => {
                    self.world.tally.trouble(&trouble);
                    sleep(jittered(retry)).await;
                    retry = (2 * retry).min(LONGEST_RETRY);
                }
            }
        }
    }

    /// Heartbeats at once and then steadily, and the report at the end.
    async fn wipe(&self, agent: &Agent, orders: &Orders, order: &[u8]) -> Result<(), Trouble> {
        let Config { wipe, heartbeat, .. } = self.world.config;
        // Upstream's agent reports three times within the plane's limit.
        let limit = orders.reboot_timeout / 3;
        let every = if limit.is_zero() { heartbeat } else { heartbeat.min(limit) };
        let began = Instant::now();
        loop {
            let elapsed = began.elapsed();
            if elapsed >= wipe {
                return agent.wiped(order.to_vec()).await;
            }
            // A lost heartbeat is no reason to stop wiping.
            match agent.heartbeat(elapsed.as_secs_f64() / wipe.as_secs_f64()).await {
                Ok(()) => add(&self.world.tally.counts.heartbeats, 1),
                Err(trouble) => self.world.tally.trouble(&trouble),
            }
            sleep(every.min(wipe.saturating_sub(began.elapsed()))).await;
        }
    }

    fn note_registered(&self) {
        add(&self.world.tally.counts.rounds, 1);
        if !self.was_registered.swap(true, Ordering::Relaxed) {
            self.world.tally.registered();
            // Nobody listens when nothing is to be done at the API.
            let _ = self.world.registered.send(self.identity.clone());
        }
    }

    fn note_clean(&self) {
        if !self.was_clean.swap(true, Ordering::Relaxed) {
            self.world.tally.clean();
        }
    }

    fn enter(&self, to: Phase) {
        let mut phase = self.phase.lock();
        if *phase != to {
            self.world.tally.moved(*phase, to);
            *phase = to;
        }
    }

    fn count_http(&self, len: u64) {
        add(&self.world.tally.counts.http_requests, 1);
        add(&self.world.tally.counts.http_bytes, len);
    }

    fn http(&self) -> SocketAddr {
        let target = &self.world.config.target;
        SocketAddrV4::new(target.address, target.http_port).into()
    }
}

fn broken(path: &str, problem: &'static str) -> Trouble {
    Trouble::Script { path: path.to_owned(), problem }
}

/// What a boot came to.
enum Boot {
    Agent(AgentBoot),
    Node,
    Disk,
}

/// A wait that differs between machines, by half of it: they must not come all at once.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(rand::random_range(0.75..1.25))
}

//! Board, firmware and disk of one node while it is on: a process in the node's network that boots what the plane says.
//!
//! It ends when the machine switches itself off. Power from outside is the lab's ([`super::node`]).

mod firmware;
mod metadata;

use super::enter::{ENTER_ROLE, Entry, JOIN_ROLE};
use crate::simulate::{
    agent::{Agent, Orders},
    config::{Firmware, Target},
    inventory::{self, Identity},
    script::{AgentBoot, Kernel},
};
use anyhow::{Context, Result, bail};
use bloomery_base::chain;
use firmware::Boot;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use std::{
    net::Ipv4Addr,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
    time::sleep,
};

/// The role of the board.
pub const ROLE: &str = "talos-board";
/// Self-test of the firmware: seconds instead of minutes, but a reboot is never free.
const POST: Duration = Duration::from_secs(1);
/// How often the agent asks again; the real one's figure.
const ASK_AGAIN: Duration = Duration::from_mins(1);
/// Wait of the agent after a failure.
const RETRY: Duration = Duration::from_secs(2);
/// Wait after a crash, as the kernel's `panic=` has it.
const PANIC: Duration = Duration::from_secs(10);

/// What the board is started with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// The description of the node ([`Entry::save`]).
    pub entry: PathBuf,
    /// The process that holds the node's network.
    pub network: u32,
    /// Command line of the lab's helper program.
    pub helper: Vec<String>,
    /// Number of the machine: UUID, MAC and hardware follow.
    pub index: u32,
    /// The plane that boots it; without one it starts from its disk.
    pub plane: Option<Ipv4Addr>,
    /// Where the board notes its process id.
    pub pid_file: PathBuf,
}

impl Order {
    /// Reads the order in `file`.
    fn load(file: &Path) -> Result<Self> {
        let text = std::fs::read(file).with_context(|| format!("failed to read {}", file.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("failed to parse {}", file.display()))
    }

    /// Who the machine is.
    pub fn identity(index: u32, address: Ipv4Addr) -> Identity {
        Identity::new(index, address, Firmware::UefiHttp)
    }
}

/// `FILE` holds the order: runs until the machine is off.
///
/// # Errors
/// The order is none, or a part of the lab fails. What fails for the machine is printed, and tried again.
pub async fn run(words: &[&str]) -> Result<()> {
    let [file] = words else { bail!("failed to power on: usage: FILE") };
    let order = Order::load(Path::new(file))?;
    let entry = Entry::load(&order.entry)?;
    let mut button = signal(SignalKind::terminate()).context("failed to wait for the power button")?;
    std::fs::write(&order.pid_file, std::process::id().to_string())
        .context("failed to note the board's process")?;
    let board = Board { identity: Order::identity(order.index, entry.address), order, entry };
    loop {
        sleep(POST).await;
        let boot = tokio::select! {
            boot = board.firmware() => boot,
            _ = button.recv() => {
                say("power button: off");
                return Ok(());
            }
        };
        match boot {
            Next::Restart => {}
            Next::Talos => match board.talos(&mut button).await? {
                End::Restart => say("restart"),
                End::Off => {
                    say("power off");
                    return Ok(());
                }
                End::Crash(status) => {
                    say(&format!("machined ended: {status}"));
                    sleep(PANIC).await;
                }
            },
        }
    }
}

struct Board {
    identity: Identity,
    order: Order,
    entry: Entry,
}

/// What firmware and agent come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// From the start.
    Restart,
    /// The node's own system.
    Talos,
}

/// How machined ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Restart,
    Off,
    Crash(String),
}

impl End {
    /// A process of a PID namespace that calls reboot(2) ends its first process by a signal (`pid_namespaces(7)`).
    fn of(status: ExitStatus) -> Self {
        let signal = status.signal().or_else(|| status.code().and_then(|code| code.checked_sub(128)));
        match signal.and_then(|number| Signal::try_from(number).ok()) {
            Some(Signal::SIGHUP) => Self::Restart,
            Some(Signal::SIGINT) => Self::Off,
            _ => Self::Crash(status.to_string()),
        }
    }
}

impl Board {
    /// Up to the system that is to run.
    async fn firmware(&self) -> Next {
        let Some(plane) = self.order.plane else {
            // Without a plane there is no network boot: what the folder holds starts.
            return Next::Talos;
        };
        let target = Target::new(plane);
        let boot = match firmware::boot(&self.identity, &target).await {
            Ok(boot) => boot,
            Err(trouble) => {
                say(&format!("firmware: {}", chain(&trouble)));
                // Its disk is tried then.
                Boot::Disk
            }
        };
        match boot {
            Boot::Agent(boot) => {
                say("boots the agent");
                self.agent(&target, &boot).await;
                Next::Restart
            }
            Boot::Environment(kernel) => self.environment(&target, &kernel).await,
            Boot::Disk if self.entry.is_installed() => {
                say("boots from its disk");
                Next::Talos
            }
            Boot::Disk => {
                say("no bootable device");
                sleep(PANIC).await;
                Next::Restart
            }
        }
    }

    /// Talos's first start: its configuration comes from the URL in the kernel's arguments, unless it is installed.
    async fn environment(&self, target: &Target, kernel: &Kernel) -> Next {
        say(&format!("boots {}", kernel.files.join(" ")));
        if self.entry.is_installed() {
            return Next::Talos;
        }
        let config = match metadata::fetch(&self.identity, target, &kernel.arguments).await {
            Ok(config) => config,
            Err(problem) => {
                say(&format!("configuration: {problem}"));
                return Next::Restart;
            }
        };
        match self.entry.configure(&config) {
            Ok(()) => Next::Talos,
            Err(error) => {
                say(&format!("configuration: {error:#}"));
                Next::Restart
            }
        }
    }

    /// The agent: registers, asks again, wipes when told to. Returns when told to restart.
    async fn agent(&self, target: &Target, boot: &AgentBoot) {
        let plane = std::net::SocketAddrV4::new(target.address, target.http_port).into();
        let agent = match Agent::new(&self.identity, plane, boot, inventory::hardware(&self.identity)) {
            Ok(agent) => agent,
            Err(trouble) => return say(&format!("agent: {}", chain(&trouble))),
        };
        loop {
            let round = async {
                let orders = agent.register().await?;
                if let Some(order) = &orders.wipe {
                    say("agent: wipes");
                    agent.heartbeat(0.0).await?;
                    match self.entry.wipe() {
                        Ok(()) => agent.wiped(order.clone()).await?,
                        Err(error) => say(&format!("agent: {error:#}")),
                    }
                }
                Ok::<Orders, crate::simulate::trouble::Trouble>(orders)
            };
            match round.await {
                Ok(Orders { restart: true, .. }) => return say("agent: restarts"),
                Ok(_) => {
                    say("agent: registered");
                    sleep(ASK_AGAIN).await;
                }
                Err(trouble) => {
                    say(&format!("agent: {}", chain(&trouble)));
                    sleep(RETRY).await;
                }
            }
        }
    }

    /// Runs machined to its end; the power button is for it.
    async fn talos(&self, button: &mut tokio::signal::unix::Signal) -> Result<End> {
        say("starts machined");
        let [program, own @ ..] = self.order.helper.as_slice() else {
            bail!("failed to start machined: no helper program");
        };
        let mut child = Command::new(program)
            .args(own)
            .args([JOIN_ROLE, &self.order.entry.display().to_string(), &self.order.network.to_string()])
            .args(&self.order.helper)
            .arg(ENTER_ROLE)
            .stdin(std::process::Stdio::null())
            .spawn()
            .context("failed to start the node")?;
        loop {
            tokio::select! {
                status = child.wait() => return status.map(End::of).context("failed to wait for the node"),
                _ = button.recv() => press(&child),
            }
        }
    }
}

/// SIGTERM to the first process of the node: Talos takes it for an order to shut down.
fn press(child: &Child) {
    let first = || {
        let unshare = child.id()?;
        let children = std::fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    };
    if let Some(pid) = first() {
        say("power button: asks machined to shut down");
        // It may have ended just now.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGTERM);
    }
}

/// A line of the board on the node's console.
fn say(text: &str) {
    println!("board: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restart_power_off_and_crash_are_told_apart() {
        for (raw, want) in [
            (1, End::Restart),
            (2, End::Off),
            (129 << 8, End::Restart),
            (130 << 8, End::Off),
            (9, End::Crash("signal: 9 (SIGKILL)".to_owned())),
            (1 << 8, End::Crash("exit status: 1".to_owned())),
            (0, End::Crash("exit status: 0".to_owned())),
        ] {
            assert_eq!(End::of(ExitStatus::from_raw(raw)), want, "{raw}");
        }
    }

    #[test]
    fn an_order_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let order = Order {
            entry: "/lab/cp-1/entry.json".into(),
            network: 7,
            helper: vec!["helper".to_owned()],
            index: 1,
            plane: Some([10, 77, 0, 100].into()),
            pid_file: "/lab/run/cp-1.pid".into(),
        };
        let file = folder.path().join("order");
        std::fs::write(&file, serde_json::to_vec(&order).expect("JSON")).expect("a write");
        assert_eq!(Order::load(&file).expect("an order"), order);
    }
}

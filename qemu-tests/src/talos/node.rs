//! A node of board `ns`: its power, its console, and what can go wrong with it from outside.

use super::{
    board::{self, Order},
    cgroups::Groups,
    enter::Entry,
    host::Host,
    network::{self, Network},
};
use crate::{
    bmc::http::Switchable,
    console::Console,
    net::{Net, Process},
    simulate::inventory::Identity,
    state::LabDir,
    switch::Command,
};
use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use std::{net::Ipv4Addr, os::unix::fs::MetadataExt as _, path::PathBuf, sync::Arc};
use tokio::sync::Mutex as AsyncMutex;

/// What all nodes of a lab are built in.
#[derive(Debug, Clone)]
pub(super) struct Ground {
    /// The lab's folder.
    pub(super) dir: Arc<LabDir>,
    /// Its network.
    pub(super) net: Arc<Net>,
    /// What the host lets nodes do.
    pub(super) host: Host,
    /// The root that they share.
    pub(super) root: PathBuf,
}

/// A node.
#[derive(Debug)]
pub struct Node {
    /// Its name in the lab.
    pub name: String,
    /// Who it is as a machine.
    pub identity: Identity,
    /// Its cable.
    pub network: Network,
    entry: Entry,
    groups: Groups,
    net: Arc<Net>,
    dir: Arc<LabDir>,
    plane: Mutex<Option<Ipv4Addr>>,
    running: AsyncMutex<Option<Process>>,
}

impl Node {
    /// Builds node `number`; it is off, and blank unless the lab's folder has an earlier one.
    pub(super) async fn build(ground: &Ground, name: &str, number: u8) -> Result<Arc<Self>> {
        let (net, dir) = (Arc::clone(&ground.net), Arc::clone(&ground.dir));
        let identity = Order::identity(u32::from(number), network::address(number));
        let network = Network::build(&net, &dir, name, number, &identity.mac_text(':')).await?;
        let folder = dir.path(&format!("nodes/{name}"));
        std::fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
        let inode = std::fs::metadata(&folder).context("failed to read the node's folder")?.ino();
        let entry = Entry {
            name: name.to_owned(),
            host: ground.host.clone(),
            // Other labs have nodes of that name.
            group: format!("bloomery-{name}-{inode}"),
            root: ground.root.clone(),
            folder,
            address: identity.address,
            nameserver: crate::contract::LAB_ADDRESS,
            pods: number,
        };
        let groups = Groups::new(&ground.host, &entry.group);
        Ok(Arc::new(Self {
            name: name.to_owned(),
            identity,
            network,
            entry,
            groups,
            net,
            dir,
            plane: Mutex::new(None),
            running: AsyncMutex::default(),
        }))
    }

    /// The plane that boots it from now on.
    pub fn set_plane(&self, plane: Ipv4Addr) {
        *self.plane.lock() = Some(plane);
    }

    /// Gives a blank node its configuration by hand: it starts with it, without a plane.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn configure(&self, config: &[u8]) -> Result<()> {
        self.entry.configure(config)
    }

    /// Its number in the lab.
    pub fn number(&self) -> u8 {
        self.entry.pods
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.identity.address
    }

    /// The console of all power-ons.
    pub fn console(&self) -> Console {
        Console::whole(&self.dir.console(&self.name))
    }

    /// Whether it is on.
    pub async fn is_on(&self) -> bool {
        self.running.lock().await.as_ref().is_some_and(|process| process.exit().is_none())
    }

    /// Whether machined keeps a configuration of its own.
    pub fn is_installed(&self) -> bool {
        self.entry.is_installed()
    }

    /// A command to its power switch.
    ///
    /// # Errors
    /// It does not start or end.
    pub async fn obey(&self, command: Command) -> Result<()> {
        let mut running = self.running.lock().await;
        match command {
            Command::On => self.on(&mut running).await,
            Command::Off => self.off(&mut running).await,
            Command::Cycle => {
                self.off(&mut running).await?;
                self.on(&mut running).await
            }
            Command::Reset if running.is_some() => {
                self.off(&mut running).await?;
                self.on(&mut running).await
            }
            Command::SoftOff => self.press(running.as_ref()).await,
            // The firmware always asks the network first.
            Command::Reset | Command::BootNetwork | Command::BootDisk => Ok(()),
        }
    }

    async fn on(&self, running: &mut Option<Process>) -> Result<()> {
        if running.as_ref().is_some_and(|process| process.exit().is_none()) {
            return Ok(());
        }
        let order = Order {
            entry: self.entry.save()?,
            network: self.network.holder,
            helper: self.net.helper(&[]),
            index: self.identity.index,
            plane: *self.plane.lock(),
            pid_file: self.pid_file(),
        };
        let file = self.entry.folder.join("order.json");
        let text = serde_json::to_vec(&order).context("failed to write the board's order")?;
        std::fs::write(&file, text).context("failed to write the board's order")?;
        let console = self.dir.console(&self.name);
        let log = console.strip_prefix(self.dir.root()).unwrap_or(&console).to_string_lossy().into_owned();
        let mut argv = vec![
            "nsenter".to_owned(),
            format!("--net=/proc/{}/ns/net", self.network.holder),
            "--".to_owned(),
        ];
        argv.extend(self.net.helper(&[board::ROLE.to_owned(), file.display().to_string()]));
        *running = Some(self.net.spawn(&self.name, argv, &log).await?);
        Ok(())
    }

    /// Pulls the plug: the board first, so that it does not see the end of what it runs.
    async fn off(&self, running: &mut Option<Process>) -> Result<()> {
        if let Some(mut process) = running.take() {
            self.net.kill(&mut process).await?;
        }
        self.groups.kill().await
    }

    async fn press(&self, running: Option<&Process>) -> Result<()> {
        if running.is_none_or(|process| process.exit().is_some()) {
            return Ok(());
        }
        let pid = std::fs::read_to_string(self.pid_file()).context("failed to find the board")?;
        self.net.run(&["kill", "-TERM", pid.trim()], "").await.map(drop)
    }

    fn pid_file(&self) -> PathBuf {
        self.dir.path(&format!("run/{}.board.pid", self.name))
    }

    /// Waits until it has switched itself off.
    ///
    /// # Errors
    /// It is off already.
    pub async fn switched_off(&self) -> Result<String> {
        let process = self.running.lock().await.clone();
        let Some(mut process) = process else { bail!("failed to wait for {}: it is off", self.name) };
        Ok(process.ended().await)
    }

    /// Stops it as it is (`true`), or lets it go on.
    ///
    /// # Errors
    /// It is off.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        self.groups.freeze(frozen)
    }

    /// Pulls its network cable (`false`), or plugs it in.
    ///
    /// # Errors
    /// `ip` fails.
    pub async fn plug(&self, plugged: bool) -> Result<()> {
        self.network.plug(&self.net, plugged).await
    }

    /// Lets it do only so many disk operations a second; none lifts the limit.
    ///
    /// # Errors
    /// It is off, or the host has no controller for it.
    pub fn slow_disk(&self, operations: Option<u32>) -> Result<()> {
        let device = std::fs::metadata(&self.entry.folder).context("failed to read the node's folder")?.dev();
        let device = format!("{}:{}", nix::sys::stat::major(device), nix::sys::stat::minor(device));
        self.groups.slow_disk(&device, operations)
    }
}

impl Switchable for Node {
    async fn command(self: &Arc<Self>, command: Command) -> Result<()> {
        self.obey(command).await
    }

    async fn is_on(&self) -> bool {
        Self::is_on(self).await
    }
}

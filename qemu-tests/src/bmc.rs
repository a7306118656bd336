//! Management controllers: real programs, or the same API, that turn a machine's switch.
//!
//! Each has an address of its own on the lab's bridge. What a Server has to say of it is [`Bmc::registration`].

pub mod http;
pub mod ipmi;
mod redfish;

use crate::{
    contract::{BMC_FIRST, LAB_ADDRESS},
    control::BmcState,
    net::{BRIDGE, Net, Process},
    role::{JOIN, relay::Line},
    state::LabDir,
    switch::Switch,
};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::{fmt, net::Ipv4Addr, str::FromStr, sync::Arc};
use tokio::task::JoinHandle;

/// The administrator of every BMC.
pub const USER: &str = "admin";
/// His password.
pub const PASSWORD: &str = "secret";
/// Machines that can have a BMC: the addresses below the DHCP server's.
pub const MOST_MACHINES: u8 = 80;
/// Ports on the lab's own loopback and address, to which a machine's number is added.
const KCS_PORTS: u16 = 9000;
const API_PORTS: u16 = 9100;
const SUSHY_PORTS: u16 = 9200;
const NOTIFY_PORTS: u16 = 9300;
const IPMI_PORTS: u16 = 9400;

/// What controls a machine's power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BmcKind {
    /// `ipmi_sim` of `OpenIPMI`, with a KCS interface in the machine.
    Ipmi,
    /// The emulator of sushy-tools, over HTTPS (443) and HTTP (8000).
    Redfish,
    /// The HTTP API of Talos' QEMU provisioner.
    Http,
    /// Nothing: its power is switched by hand.
    None,
}

impl BmcKind {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Ipmi, Self::Redfish, Self::Http, Self::None];

    /// As users write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ipmi => "ipmi",
            Self::Redfish => "redfish",
            Self::Http => "http",
            Self::None => "none",
        }
    }

    /// Where the BMC of machine `number` waits for its KCS interface.
    pub(crate) fn kcs_port(self, number: u8) -> Option<u16> {
        (self == Self::Ipmi).then_some(KCS_PORTS + u16::from(number))
    }
}

impl fmt::Display for BmcKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for BmcKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
            format!("unknown BMC {text:?}; known are {}", Self::ALL.map(Self::name).join(", "))
        })
    }
}

/// A running BMC.
#[derive(Debug)]
pub struct Bmc {
    /// What it is.
    pub kind: BmcKind,
    /// Its address; that of the lab where it has none of its own.
    pub address: Ipv4Addr,
    number: u8,
    /// Its programs, which end with the network.
    processes: Vec<Process>,
    /// Its part in this process.
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Bmc {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// A BMC as the lab's status shows it.
#[derive(Debug, Clone)]
pub(crate) struct Contact {
    kind: BmcKind,
    endpoint: String,
    processes: Vec<Process>,
}

impl Contact {
    /// How it is now.
    pub(crate) fn state(&self) -> BmcState {
        BmcState {
            kind: self.kind.name().to_owned(),
            endpoint: self.endpoint.clone(),
            ended: self.processes.iter().find_map(Process::exit),
        }
    }
}

/// What a BMC is started with.
struct Start<'a> {
    dir: &'a Arc<LabDir>,
    net: &'a Arc<Net>,
    number: u8,
    address: Ipv4Addr,
    switch: &'a Arc<Switch>,
    line: Line,
}

impl Start<'_> {
    /// A port of this machine.
    fn port(&self, base: u16) -> u16 {
        base + u16::from(self.number)
    }

    /// The name of one of its files or processes.
    fn name(&self, part: &str) -> String {
        format!("{}.{part}", self.switch.spec.name)
    }

    /// Joins ports of the lab's network with sockets of the lab's folder.
    async fn join(&self, ports: &[(String, String)]) -> Result<Process> {
        let mut words = vec![JOIN.to_owned()];
        words.extend(ports.iter().flat_map(|(listen, socket)| [listen.clone(), socket.clone()]));
        let name = self.name("ports");
        self.net.spawn(&name, self.net.helper(&words), &format!("{name}.log")).await
    }
}

impl Bmc {
    pub(crate) async fn start(
        dir: &Arc<LabDir>,
        net: &Arc<Net>,
        kind: BmcKind,
        number: u8,
        switch: &Arc<Switch>,
        line: Line,
    ) -> Result<Self> {
        if !(1..=MOST_MACHINES).contains(&number) {
            bail!("failed to number a machine {number}: the lab has addresses for 1 to {MOST_MACHINES}");
        }
        let own = Ipv4Addr::from_bits(BMC_FIRST.to_bits() + u32::from(number) - 1);
        let address = match kind {
            BmcKind::Ipmi | BmcKind::Redfish => own,
            BmcKind::Http | BmcKind::None => LAB_ADDRESS,
        };
        if address == own {
            let cidr = format!("{own}/32");
            net.run(&["ip", "addr", "add", &cidr, "dev", BRIDGE], "")
                .await
                .context("failed to give the BMC its address")?;
        }
        let start = Start { dir, net, number, address, switch, line };
        let (processes, tasks) = match kind {
            BmcKind::Ipmi => (ipmi::start(&start).await?, Vec::new()),
            BmcKind::Redfish => redfish::start(&start).await?,
            BmcKind::Http => http::start(&start).await?,
            BmcKind::None => (Vec::new(), Vec::new()),
        };
        Ok(Self { kind, address, number, processes, tasks })
    }

    /// What the machine's Server needs in its `spec` so that the plane controls its power.
    pub fn registration(&self) -> Option<Value> {
        match self.kind {
            BmcKind::Ipmi => Some(json!({ "bmc": {
                "endpoint": self.address.to_string(), "port": 623,
                "user": USER, "pass": PASSWORD, "interface": "lanplus",
            }})),
            BmcKind::Redfish => Some(json!({ "bmc": {
                "endpoint": format!("https://{}", self.address),
                "user": USER, "pass": PASSWORD, "interface": "redfish",
            }})),
            BmcKind::Http => Some(json!({ "managementApi": { "endpoint": self.endpoint() } })),
            BmcKind::None => None,
        }
    }

    /// Where it answers, for people.
    pub fn endpoint(&self) -> String {
        match self.kind {
            BmcKind::Ipmi => format!("{}:623", self.address),
            BmcKind::Redfish => format!("https://{}", self.address),
            BmcKind::Http => format!("{}:{}", self.address, API_PORTS + u16::from(self.number)),
            BmcKind::None => String::new(),
        }
    }

    /// What the lab's status needs to know of it.
    pub(crate) fn contact(&self) -> Contact {
        Contact { kind: self.kind, endpoint: self.endpoint(), processes: self.processes.clone() }
    }

    /// Kills its programs: from now on it is dead, and the machine stays as it is.
    ///
    /// # Errors
    /// The lab's supervisor is gone.
    pub async fn kill(&mut self, net: &Net) -> Result<()> {
        for process in &mut self.processes {
            net.kill(process).await?;
        }
        Ok(())
    }
}

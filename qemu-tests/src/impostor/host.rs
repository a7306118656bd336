//! The hostile host: a network namespace of its own, plugged into the machines' bridge, and the program in it.

use super::{Order, Report};
use crate::{
    container,
    contract::{LAB_ADDRESS, PREFIX},
    eventually,
    net::{BRIDGE, Helper, Net, Process},
    state::LabDir,
};
use anyhow::{Context, Result, ensure};
use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

/// Its card, in its own namespace.
pub const CARD: &str = "eth0";
/// The other end of its cable.
const CABLE: &str = "impostor0";
/// The child of the supervisor that holds the namespace open.
const HOLDER: &str = "impostor-net";
/// The child of the supervisor that attacks.
const PROGRAM: &str = "impostor";
/// What it is told, and what it says.
const ORDER: &str = "run/impostor.json";
const LOG: &str = "run/impostor.log";
/// Making a namespace takes milliseconds.
const START_LIMIT: Duration = Duration::from_secs(10);
/// Hardware address of its card.
pub const MAC: &str = "02:0b:ad:00:00:01";

/// The host.
#[derive(Debug)]
pub struct Host {
    dir: Arc<LabDir>,
    network: u32,
}

impl Host {
    /// Builds it and plugs it in, with all these addresses.
    ///
    /// # Errors
    /// The namespace or its card cannot be made.
    pub async fn build(net: &Net, dir: &Arc<LabDir>, v4: &[Ipv4Addr], v6: &[Ipv6Addr]) -> Result<Self> {
        let script = format!("echo $$ > run/{HOLDER}.pid; exec unshare --net sleep infinity");
        net.spawn(HOLDER, ["sh", "-c", &script].map(str::to_owned).to_vec(), "run/impostor-net.log").await?;
        let network = eventually!("the host's network namespace", START_LIMIT, None, async {
            container::holder_of_network(net, &dir.path(&format!("run/{HOLDER}.pid"))).await
        })?;
        let pid = network.to_string();
        let card = ["ip", "link", "add", CABLE, "type", "veth", "peer", "name", CARD, "address", MAC];
        net.run(&[&card[..], &["netns", &pid]].concat(), "").await.context("failed to make its card")?;
        net.run(&["ip", "link", "set", CABLE, "master", BRIDGE, "up"], "").await?;
        let v4 = v4.iter().map(|address| format!("addr add {address}/{PREFIX} dev {CARD}\n"));
        let v6 = v6.iter().map(|address| format!("addr add {address}/64 dev {CARD} nodad\n"));
        let addresses: String = v4.chain(v6).collect();
        let batch =
            format!("link set lo up\nlink set {CARD} up\n{addresses}route add default via {LAB_ADDRESS}\n");
        let namespace = format!("--net=/proc/{network}/ns/net");
        net.run(&["nsenter", &namespace, "--", "ip", "-batch", "-"], &batch).await?;
        Ok(Self { dir: Arc::clone(dir), network })
    }

    /// Starts the program, which ends by itself when its time is over.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn attack(&self, net: &Net, helper: &Helper, order: &Order) -> Result<Attack> {
        let file = self.dir.path(ORDER);
        std::fs::write(&file, serde_json::to_vec(order)?).context("failed to write the order")?;
        let mut argv = vec!["nsenter".to_owned(), format!("--net=/proc/{}/ns/net", self.network)];
        argv.push("--".to_owned());
        argv.push(helper.program.to_string_lossy().into_owned());
        argv.push(file.to_string_lossy().into_owned());
        let process = net.spawn(PROGRAM, argv, LOG).await?;
        Ok(Attack { dir: Arc::clone(&self.dir), process })
    }
}

/// An attack that runs.
#[derive(Debug)]
pub struct Attack {
    dir: Arc<LabDir>,
    /// The program.
    pub process: Process,
}

impl Attack {
    /// Waits for its end.
    ///
    /// # Errors
    /// It failed, or goes on for longer than `limit`.
    pub async fn ended(mut self, limit: Duration) -> Result<Report> {
        let ended = tokio::time::timeout(limit, self.process.ended()).await;
        let said = std::fs::read_to_string(self.dir.path(LOG)).unwrap_or_default();
        let ended = ended.with_context(|| format!("the impostor does not end: {said}"))?;
        ensure!(ended.contains("exit status: 0"), "the impostor ended with {ended}: {said}");
        let last = said.lines().next_back().unwrap_or_default();
        serde_json::from_str(last).context("failed to read what the impostor says")
    }
}

//! A node's network: a namespace of its own, whose card is plugged into the lab's bridge and outlives power cuts.

use crate::{
    container::holder_of_network,
    contract::{LAB_ADDRESS, PREFIX},
    eventually,
    net::{BRIDGE, Net},
    state::LabDir,
};
use anyhow::{Context, Result, ensure};
use std::{net::Ipv4Addr, time::Duration};

/// Address of the first node; the others follow. Above what the site's DHCP server hands out.
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 201);
/// Most nodes of board `ns`.
pub const MOST_NODES: u8 = 40;
/// Making a namespace takes milliseconds.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Address of node `number`, from 1 on.
pub fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(FIRST.to_bits() + u32::from(number) - 1)
}

/// A node's cable.
#[derive(Debug, Clone)]
pub struct Network {
    /// The process that holds the namespace.
    pub holder: u32,
    /// The lab's end of the cable.
    cable: String,
}

impl Network {
    /// Makes the namespace of node `number` and plugs it in.
    ///
    /// # Errors
    /// `ip` fails.
    pub async fn build(net: &Net, dir: &LabDir, name: &str, number: u8, mac: &str) -> Result<Self> {
        ensure!(
            (1..=MOST_NODES).contains(&number),
            "failed to number a node {number}: the lab has addresses for 1 to {MOST_NODES}"
        );
        let pid_file = format!("run/{name}.net.pid");
        let script = format!("echo $$ > {pid_file}; exec unshare --net sleep infinity");
        let argv = ["sh", "-c", &script].map(str::to_owned).to_vec();
        net.spawn(&format!("{name}.net"), argv, &format!("run/{name}.net.log")).await?;
        let holder = eventually!("the node's network namespace", START_LIMIT, None, async {
            holder_of_network(net, &dir.path(&pid_file)).await
        })?;
        let cable = format!("node{number}");
        let batch = format!(
            "link add {cable} type veth peer name eth0 address {mac} netns {holder}\n\
             link set {cable} master {BRIDGE} up\n"
        );
        net.run(&["ip", "-batch", "-"], &batch).await.context("failed to make the node's card")?;
        let network = Self { holder, cable };
        let own = format!(
            "link set lo up\naddr add {}/{PREFIX} dev eth0\nlink set eth0 up\nroute add default via {LAB_ADDRESS}\n",
            address(number)
        );
        // Pods of other nodes, as a network plugin would have it.
        let routes = (1..=MOST_NODES).filter(|other| *other != number);
        let routes: Vec<String> =
            routes.map(|other| format!("route add {}/24 via {}\n", pods(other), address(other))).collect();
        let inside = own + &routes.concat();
        network
            .run(net, &["ip", "-batch", "-"], &inside)
            .await
            .context("failed to set up the node's network")?;
        Ok(network)
    }

    /// Runs a command in the node's network with the host's programs.
    ///
    /// # Errors
    /// It fails.
    pub async fn run(&self, net: &Net, command: &[&str], stdin: &str) -> Result<String> {
        let namespace = format!("--net=/proc/{}/ns/net", self.holder);
        net.run(&[&["nsenter", &namespace, "--"], command].concat(), stdin).await
    }

    /// Pulls the cable (`false`) or plugs it in again.
    ///
    /// # Errors
    /// `ip` fails.
    pub async fn plug(&self, net: &Net, plugged: bool) -> Result<()> {
        let state = if plugged { "up" } else { "down" };
        net.run(&["ip", "link", "set", &self.cable, state], "").await.map(drop)
    }
}

/// The network of the pods of node `number`.
fn pods(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 244, number, 0)
}

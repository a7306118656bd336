//! Where nodes are built: their shared root, the registry that they pull from, the host's own settings.

use super::{
    balance::{self, ENDPOINT},
    host::Host,
    images,
    network::address,
    node::{Ground, Node},
    parts::Parts,
    registry, root,
    sysctls::Sysctls,
};
use crate::{
    bmc::http,
    contract::LAB_ADDRESS,
    net::{Net, Process},
    role::JOIN,
    state::LabDir,
};
use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;
use std::{
    net::{SocketAddr, SocketAddrV4},
    sync::Arc,
};
use tokio::{net::UnixListener, task::JoinHandle};

/// Ports of the nodes' power APIs on the lab's address, to which a node's number is added.
const API_PORTS: u16 = 9500;

/// The place of all nodes of a lab.
#[derive(Debug)]
pub struct NodeSite {
    /// The programs.
    pub parts: Parts,
    ground: Ground,
    registry: Process,
    nodes: Mutex<Vec<Arc<Node>>>,
    apis: Mutex<Vec<JoinHandle<()>>>,
    _sysctls: Sysctls,
}

impl Drop for NodeSite {
    fn drop(&mut self) {
        self.apis.lock().iter().for_each(JoinHandle::abort);
    }
}

impl NodeSite {
    /// Makes the root and the images, and serves the images.
    ///
    /// # Errors
    /// This is not root, `make talos` has not been run, or the lab's folder cannot be written.
    pub async fn open(dir: Arc<LabDir>, net: Arc<Net>) -> Result<Self> {
        let host = Host::look()?;
        let parts = Parts::find()?;
        let sysctls = Sysctls::note(dir.root())?;
        let (root, layout) = (dir.path("nodes/root"), dir.path("nodes/images"));
        let task = {
            let (parts, root, layout, may_raise) =
                (parts.clone(), root.clone(), layout.clone(), host.may_raise);
            // Some hundred megabytes are copied and summed.
            tokio::task::spawn_blocking(move || {
                for folder in [&root, &layout] {
                    if folder.exists() {
                        std::fs::remove_dir_all(folder)
                            .with_context(|| format!("failed to remove {}", folder.display()))?;
                    }
                }
                root::build(&parts, may_raise, &root)?;
                images::write(&parts, None, &layout)
            })
        };
        task.await.context("failed to make the nodes' root")??;
        let words = [registry::ROLE.to_owned(), registry_address().to_string(), layout.display().to_string()];
        let registry = net.spawn("registry", net.helper(&words), "registry.log").await?;
        Ok(Self {
            ground: Ground { dir, net, host, root },
            parts,
            registry,
            nodes: Mutex::default(),
            apis: Mutex::default(),
            _sysctls: sysctls,
        })
    }

    /// What this host lets nodes do.
    pub fn host(&self) -> &Host {
        &self.ground.host
    }

    /// Where nodes pull from.
    pub fn registry(&self) -> SocketAddr {
        registry_address()
    }

    /// Builds node `number`, from 1 on, with a power API; it is off.
    ///
    /// # Errors
    /// The registry has ended, or a part of the node cannot be made.
    pub async fn build(&self, name: &str, number: u8) -> Result<Arc<Node>> {
        let ended = self.registry.exit();
        ensure!(ended.is_none(), "failed to build {name}: the lab's registry ended ({ended:?})");
        let node = Node::build(&self.ground, name, number).await?;
        let socket = format!("run/{name}.api");
        let listener = UnixListener::bind(self.ground.dir.socket(&socket));
        let listener = listener.context("failed to make the power API's socket")?;
        let routes = http::routes(Arc::clone(&node));
        self.apis.lock().push(tokio::spawn(async move {
            // Serving a socket of our own does not end but with this task.
            let _ = axum::serve(listener, routes).await;
        }));
        let words = [JOIN.to_owned(), Self::power_api(number).to_string(), socket];
        let ports = format!("{name}.ports");
        self.ground.net.spawn(&ports, self.ground.net.helper(&words), &format!("run/{ports}.log")).await?;
        self.nodes.lock().push(Arc::clone(&node));
        Ok(node)
    }

    /// Where the power of node `number` is switched.
    pub fn power_api(number: u8) -> SocketAddr {
        SocketAddrV4::new(LAB_ADDRESS, API_PORTS + u16::from(number)).into()
    }

    /// Starts the balancer at [`ENDPOINT`] in front of nodes 1 to `count`.
    ///
    /// # Errors
    /// The address cannot be made.
    pub async fn balance(&self, count: u8) -> Result<()> {
        let targets = (1..=count).map(|number| format!("{}:{}", address(number), ENDPOINT.port()));
        balance::start(&self.ground.net, targets).await
    }

    /// Cuts the power of all nodes; to be called before the network ends, so that no control group is left.
    ///
    /// # Errors
    /// A node does not end.
    pub async fn stop(&self) -> Result<()> {
        let nodes = self.nodes.lock().clone();
        for node in nodes {
            node.obey(crate::switch::Command::Off).await?;
        }
        Ok(())
    }
}

fn registry_address() -> SocketAddr {
    SocketAddrV4::new(LAB_ADDRESS, registry::PORT).into()
}

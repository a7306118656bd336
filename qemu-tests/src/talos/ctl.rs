//! talosctl, the real one, run in the lab's network as a user of the cluster would run it.

use super::parts::Parts;
use crate::net::Net;
use anyhow::{Context, Result};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// One question and its answer.
const USUAL_LIMIT: Duration = Duration::from_secs(20);

/// talosctl with its configuration.
#[derive(Debug, Clone)]
pub struct Talosctl {
    net: Arc<Net>,
    program: PathBuf,
    config: PathBuf,
}

impl Talosctl {
    /// For the talosconfig at `config`.
    pub fn new(net: Arc<Net>, parts: &Parts, config: &Path) -> Self {
        Self { net, program: parts.program("talosctl"), config: config.to_owned() }
    }

    /// Generates the configurations `controlplane.yaml` and `worker.yaml` and the talosconfig in `folder`.
    ///
    /// # Errors
    /// talosctl refuses a patch.
    pub async fn generate(
        net: Arc<Net>,
        parts: &Parts,
        folder: &Path,
        endpoint: Ipv4Addr,
        patches: &[(&str, String)],
    ) -> Result<Self> {
        let ctl = Self::new(net, parts, &folder.join("talosconfig"));
        let version = super::parts::kubernetes_version()?;
        let (out, endpoint) = (folder.display().to_string(), format!("https://{endpoint}:6443"));
        let program = ctl.program.display().to_string();
        let mut words = vec![program.as_str(), "gen", "config", "lab", &endpoint, "--output", &out];
        words.extend(["--kubernetes-version", version, "--with-docs=false", "--with-examples=false"]);
        for (option, patch) in patches {
            words.extend([*option, patch.as_str()]);
        }
        ctl.net.run(&words, "").await.context("failed to generate configurations")?;
        Ok(ctl)
    }

    /// Notes in its configuration where the machine API is and which nodes are asked.
    ///
    /// # Errors
    /// The file cannot be written.
    pub async fn remember(&self, endpoint: SocketAddr, nodes: &[String]) -> Result<()> {
        let (program, config) = (self.program.display().to_string(), self.config.display().to_string());
        let own = [program.as_str(), "--talosconfig", &config, "config"];
        self.net.run(&[&own[..], &["endpoint", &endpoint.to_string()]].concat(), "").await?;
        let nodes = nodes.iter().map(String::as_str);
        let words: Vec<&str> = own.into_iter().chain(["node"]).chain(nodes).collect();
        self.net.run(&words, "").await.map(drop)
    }

    /// Runs it against one node.
    ///
    /// # Errors
    /// It fails, or takes more than 20 s.
    pub async fn run(&self, node: Ipv4Addr, words: &[&str]) -> Result<String> {
        self.run_within(USUAL_LIMIT, node, words).await
    }

    /// The same for what takes its time.
    ///
    /// # Errors
    /// It fails, or takes more than `limit`.
    pub async fn run_within(&self, limit: Duration, node: Ipv4Addr, words: &[&str]) -> Result<String> {
        let (program, config) = (self.program.display().to_string(), self.config.display().to_string());
        let node = node.to_string();
        let own = [program.as_str(), "--talosconfig", &config, "--endpoints", &node, "--nodes", &node];
        self.net.run_within(limit, &[&own, words].concat(), "").await
    }
}

//! Hidden subcommands of this program, run in the measured plane's network.

use std::process::Stdio;

use anyhow::{Context as _, ensure};
use bloomery_lab::simulate;
use bloomery_lab::simulate::join::Running;
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// A hidden subcommand of this program in the lab's network. It answers with one line, and ends with its input.
pub(crate) struct Inside {
    subcommand: &'static str,
    inside: simulate::inside::Inside,
}

impl Inside {
    pub(crate) async fn start(
        lab: &Running,
        subcommand: &'static str,
        order: &impl serde::Serialize,
    ) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("failed to find this program's own file")?;
        let helper = bloomery_lab::net::Helper { program, arguments: vec![subcommand.into()] };
        Ok(Self { subcommand, inside: lab.start(&helper, order, Stdio::piped()).await? })
    }

    /// Its line.
    pub(crate) async fn answer<T: serde::de::DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let mut answer = String::new();
        let stdout = self.inside.child.stdout.as_mut().context("failed to open a pipe")?;
        let mut stdout = BufReader::new(stdout);
        stdout.read_line(&mut answer).await.context("failed to read what it measured")?;
        serde_json::from_str(&answer)
            .with_context(|| format!("failed to parse what {} measured: {answer:?}", self.subcommand))
    }

    pub(crate) async fn end(self) -> anyhow::Result<()> {
        let simulate::inside::Inside { mut child, input } = self.inside;
        drop(input);
        let status = child.wait().await.context("failed to wait for its end")?;
        ensure!(status.success(), "{} failed: {status}", self.subcommand);
        Ok(())
    }
}

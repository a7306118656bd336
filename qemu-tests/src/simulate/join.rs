//! The way into the private network of a lab that another process runs: its namespaces, entered by nsenter(1).
//!
//! Only the user and network namespaces are joined; files stay those of the host.

use crate::{
    contract::{API_PORT, APPLIANCE_MAC},
    dhcpd::leases,
    state,
};
use anyhow::{Context, Result, bail};
use std::{net::Ipv4Addr, path::Path};

/// A running lab, as seen from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// The first process of its namespaces.
    pid: u32,
    /// The plane's address.
    pub plane: Ipv4Addr,
}

impl Running {
    /// The lab that runs in the folder `dir`.
    ///
    /// # Errors
    /// None does, or its plane has no address yet.
    pub fn find(dir: &Path) -> Result<Self> {
        let shown = dir.display();
        if state::holder_of(dir).is_none() {
            bail!(
                "failed to find a lab in {shown}: none runs there (start one with `bloomery lab run --out {shown}`)"
            );
        }
        let pid = first_process(dir)
            .with_context(|| format!("failed to find the namespaces of the lab in {shown}"))?;
        let text = std::fs::read_to_string(dir.join("dhcpd.leases")).unwrap_or_default();
        let plane = leases::newest(&leases::parse(&text), APPLIANCE_MAC);
        let plane = plane
            .with_context(|| format!("failed to find the plane of the lab in {shown}: no address yet"))?;
        Ok(Self { pid, plane })
    }

    /// URL of the plane's Kubernetes API inside.
    pub fn api(&self) -> String {
        format!("https://{}:{API_PORT}", self.plane)
    }

    /// The command line that runs what follows it inside.
    pub fn enter(&self) -> Vec<String> {
        let mut words = vec!["nsenter".to_owned(), format!("--net=/proc/{}/ns/net", self.pid)];
        if !nix::unistd::geteuid().is_root() {
            // Whoever made the namespace may enter it again, as its root.
            words.push(format!("--user=/proc/{}/ns/user", self.pid));
        }
        words.push("--".to_owned());
        words
    }
}

/// The supervisor: the only child of the process on record.
fn first_process(dir: &Path) -> Result<u32> {
    let record = std::fs::read_to_string(dir.join("run/holder")).context("failed to read who holds them")?;
    let holder: u32 =
        record.split_whitespace().next().unwrap_or_default().parse().context("failed to read a number")?;
    let children = std::fs::read_to_string(format!("/proc/{holder}/task/{holder}/children"))
        .context("failed to read its children")?;
    children.split_whitespace().next().unwrap_or_default().parse().context("failed to read its child")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_a_lab_is_told_with_what_to_do() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let error = Running::find(folder.path()).expect_err("no lab");
        assert!(error.to_string().contains("bloomery lab run --out"), "{error}");
    }
}

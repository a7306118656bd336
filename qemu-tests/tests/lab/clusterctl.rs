//! The real clusterctl against a plane that has a cluster.

use anyhow::{Context, Result, ensure};
use bloomery_lab::{eventually, talos::manifest::Tools};
use std::{collections::BTreeMap, path::Path, time::Duration};

/// Conditions follow what the cluster's own API says within a resync.
const LIMIT: Duration = Duration::from_mins(5);

/// All is known and well in its tree; the kubeconfig is given; what a backup holds is all that a move would take.
pub(crate) async fn sees(tools: &Tools, cluster: &str, folder: &Path, step: impl Fn(&str)) -> Result<()> {
    let short = ["describe", "cluster", cluster];
    let long = [&short[..], &["--show-conditions", "all", "--grouping=false", "--echo"]].concat();
    let tree = eventually!("clusterctl describe shows nothing unknown or amiss", LIMIT, None, async {
        let tree = tools.ask_clusterctl(&long).await?;
        ensure!(!tree.contains("Unknown"), "{tree}");
        let summary = tools.ask_clusterctl(&short).await?;
        let line = summary.lines().find(|line| line.starts_with("Cluster ")).context("no Cluster")?;
        ensure!(line.split_whitespace().any(|word| word == "True"), "{summary}");
        Ok(Some(tree))
    })?;
    println!("{tree}");
    step("clusterctl describe shows nothing unknown");
    let kubeconfig = tools.ask_clusterctl(&["get", "kubeconfig", cluster]).await?;
    ensure!(kubeconfig.contains("client-certificate-data"), "clusterctl get kubeconfig gave {kubeconfig:?}");
    let backup = folder.join("backup");
    std::fs::create_dir_all(&backup).context("failed to make the backup's folder")?;
    tools
        .ask_clusterctl(&["move", "--namespace", "default", "--to-directory", &backup.display().to_string()])
        .await?;
    let kinds = kinds(&backup)?;
    println!("clusterctl move --to-directory: {kinds:?}");
    for kind in [
        "Cluster",
        "MetalCluster",
        "MetalMachine",
        "MetalMachineTemplate",
        "Machine",
        "MachineDeployment",
        "MachineSet",
        "TalosControlPlane",
        "TalosConfig",
        "TalosConfigTemplate",
        "ServerBinding",
        "Server",
        "ServerClass",
        "Environment",
        "Secret",
    ] {
        ensure!(kinds.contains_key(kind), "a move leaves {kind} behind: {kinds:?}");
    }
    step("clusterctl move takes every kind");
    Ok(())
}

/// How many objects of each kind the files of a backup hold.
fn kinds(backup: &Path) -> Result<BTreeMap<String, usize>> {
    let mut kinds = BTreeMap::new();
    for entry in std::fs::read_dir(backup).context("failed to list the backup")? {
        let path = entry.context("failed to list the backup")?.path();
        let text = std::fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?;
        let object: serde_json::Value =
            serde_json::from_slice(&text).with_context(|| format!("failed to parse {}", path.display()))?;
        let kind = object["kind"].as_str().with_context(|| format!("{} has no kind", path.display()))?;
        *kinds.entry(kind.to_owned()).or_default() += 1;
    }
    Ok(kinds)
}

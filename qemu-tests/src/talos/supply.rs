//! What machines of board `vm` need from a site: a registry with the installer, boot files, configurations by URL.
//!
//! It powers nothing and knows no plane.

use super::{
    balance::{self, ENDPOINT},
    host::{Hierarchy, Host},
    images::{self, INSTALLER, LAB, TOOLBOX},
    parts::{Media, Parts, talos_version},
    patches,
    plane::{CLASS, apply},
    registry,
};
use crate::{
    accel::Emulated,
    contract::LAB_ADDRESS,
    net::{Net, Process},
    state::LabDir,
    vm::spec::{BootPath, DiskBus, Kernel, VmSpec},
};
use anyhow::{Context, Result};
use kube::Client;
use serde_json::json;
use std::{
    net::{SocketAddr, SocketAddrV4},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Memory of a machine: a control plane's programs take 1.3 GiB, its root lies in memory as well.
pub const MEMORY: u32 = 2048;
/// Where the installer puts Talos: the first virtio disk.
const DISK: &str = "/dev/vda";
/// Configuration of a node's pod network, see [`pod_network`].
const CONFLIST: &str = r#"{"cniVersion": "1.0.0", "name": "lab", "plugins": [{"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.'${ADDRESS##*.}'.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}, {"type": "portmap", "capabilities": {"portMappings": true}}]}"#;

/// The running registry and its files.
#[derive(Debug)]
pub struct Supply {
    /// The programs.
    pub parts: Parts,
    /// Kernel and initramfs.
    pub media: Media,
    files: PathBuf,
    _registry: Process,
}

impl Supply {
    /// Makes the images and serves them and the boot files.
    ///
    /// # Errors
    /// `make talos talos-media` has not been run, or the lab's folder cannot be written.
    pub async fn open(dir: &Arc<LabDir>, net: &Net) -> Result<Self> {
        let (parts, media) = (Parts::find()?, Media::find()?);
        let layout = dir.path("nodes/images");
        let files = layout.join(registry::FILES);
        let task = {
            let (parts, media, layout, files) = (parts.clone(), media.clone(), layout.clone(), files.clone());
            // Some hundred megabytes are copied and summed.
            tokio::task::spawn_blocking(move || {
                if layout.exists() {
                    std::fs::remove_dir_all(&layout)
                        .with_context(|| format!("failed to remove {}", layout.display()))?;
                }
                images::write(&parts, Some(&media), &layout)?;
                std::fs::create_dir(&files).with_context(|| format!("failed to make {}", files.display()))?;
                for file in [media.kernel(), media.initramfs()] {
                    let name = file.file_name().unwrap_or_default();
                    super::root::place(&file, &files.join(name))?;
                }
                anyhow::Ok(())
            })
        };
        task.await.context("failed to make the images")??;
        let words = [registry::ROLE.to_owned(), address().to_string(), layout.display().to_string()];
        let registry = net.spawn("registry", net.helper(&words), "registry.log").await?;
        Ok(Self { parts, media, files, _registry: registry })
    }

    /// URL of a file that is or will be published.
    pub fn url(&self, name: &str) -> String {
        format!("http://{}/{}/{name}", address(), registry::FILES)
    }

    /// Publishes a file; nobody sees half of it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn publish(&self, name: &str, content: &[u8]) -> Result<()> {
        let (path, partial) = (self.files.join(name), self.files.join(format!(".{name}")));
        let written = std::fs::write(&partial, content).and_then(|()| std::fs::rename(&partial, &path));
        written.with_context(|| format!("failed to publish {}", path.display()))
    }

    /// A machine with one empty virtio disk that Talos can be installed on.
    pub fn machine(path: BootPath, number: u8) -> VmSpec {
        VmSpec {
            disks: vec![DiskBus::Virtio],
            emulated: Emulated::Plain,
            ..VmSpec::blank(path, number, MEMORY)
        }
    }

    /// Talos's kernel in the firmware's place, with the configuration at the URL of `name`.
    ///
    /// # Errors
    /// The command line cannot be read.
    pub fn kernel(&self, name: &str) -> Result<Kernel> {
        let command_line = format!("{} talos.config={}", self.media.command_line()?, self.url(name));
        Ok(Kernel { image: self.media.kernel(), initramfs: self.media.initramfs(), command_line })
    }

    /// Makes the Environment with Talos's kernel and the class that carries what the lab wants of its machines.
    ///
    /// # Errors
    /// The plane's API refuses.
    pub async fn prepare(&self, plane: &Client) -> Result<()> {
        let command_line = self.media.command_line()?;
        let arguments: Vec<&str> = command_line.split_whitespace().collect();
        let environment = json!({
            "kernel": { "url": self.url("vmlinuz"), "args": arguments },
            "initrd": { "url": self.url("initramfs.xz") },
        });
        apply(plane, "Environment", "environments", environment).await?;
        let class = json!({ "environmentRef": { "name": CLASS }, "strategicPatches": Self::patches()? });
        apply(plane, "ServerClass", "serverclasses", class).await
    }

    /// Starts the balancer of the control plane's endpoint in front of the machines with these cards.
    ///
    /// # Errors
    /// The address cannot be made.
    pub async fn balance(&self, net: &Net, cards: &[&str]) -> Result<()> {
        balance::start(net, cards.iter().map(|card| format!("{card}@{}", ENDPOINT.port()))).await
    }

    /// What the lab wants of every configuration, as strategic patches.
    ///
    /// # Errors
    /// The version of Talos cannot be read.
    pub fn patches() -> Result<Vec<String>> {
        Ok(vec![
            patches::all(&modern(), address()),
            format!(
                "machine:\n  install: {{disk: {DISK}, image: \"ghcr.io/{INSTALLER}:{}\"}}\n  \
                 # There is no time server in the lab.\n  time: {{disabled: true}}\n",
                talos_version()?
            ),
            patches::without_add_ons(),
            patient(),
            pod_network(),
        ])
    }
}

/// The host that Talos itself is: control groups of version 2 alone, and nothing forbidden.
fn modern() -> Host {
    let v2 = Hierarchy { options: String::new(), name: "unified".to_owned(), own: "/".into() };
    Host { v1: Vec::new(), v2, may_raise: true }
}

/// The lab's registry.
fn address() -> SocketAddr {
    SocketAddrV4::new(LAB_ADDRESS, registry::PORT).into()
}

/// What an emulated machine can keep up with. With the usual leases of 15 s controller manager and scheduler lose theirs, end,
/// and start again, which takes what the others need; a status each 2 s, as [`patches::all`] has it, takes more than it tells.
fn patient() -> String {
    let leader = "{leader-elect-lease-duration: 120s, leader-elect-renew-deadline: 100s, leader-elect-retry-period: 10s}";
    format!(
        "machine:\n  kubelet:\n    extraConfig: {{nodeStatusUpdateFrequency: 10s, httpCheckFrequency: 5s}}\n\
         cluster:\n  controllerManager: {{extraArgs: {leader}}}\n  scheduler: {{extraArgs: {leader}}}\n"
    )
}

/// A pod on every node that writes the configuration of the bridge plugin, with a subnet by the node's address: the
/// plugin of Talos's own choice, flannel, is not served as a module.
fn pod_network() -> String {
    let manifest = format!(
        "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {{name: lab-network, namespace: kube-system}}\nspec:\n  \
           selector: {{matchLabels: {{app: lab-network}}}}\n  \
           template:\n    \
             metadata: {{labels: {{app: lab-network}}}}\n    \
             spec:\n      \
               hostNetwork: true\n      \
               terminationGracePeriodSeconds: 1\n      \
               tolerations: [{{operator: Exists}}]\n      \
               containers:\n      \
               - name: network\n        \
                 image: {LAB}/{TOOLBOX}\n        \
                 env: [{{name: ADDRESS, valueFrom: {{fieldRef: {{fieldPath: status.hostIP}}}}}}]\n        \
                 command: [/bin/sh, -c]\n        \
                 args:\n        \
                 - |\n          \
                   echo '{CONFLIST}' > /cni/10-lab.conflist\n          \
                   exec sleep 100000000\n        \
                 volumeMounts: [{{name: cni, mountPath: /cni}}]\n      \
               volumes: [{{name: cni, hostPath: {{path: /etc/cni/net.d}}}}]\n"
    );
    let manifest = manifest.lines().collect::<Vec<_>>().join("\n        ");
    format!("cluster:\n  inlineManifests:\n    - name: lab-network\n      contents: |\n        {manifest}\n")
}

/// Writes the patches as talosctl's options.
pub fn options(patches: Vec<String>) -> Vec<(&'static str, String)> {
    patches.into_iter().map(|patch| ("--config-patch", patch)).collect()
}

/// Configurations that talosctl left in `folder`.
///
/// # Errors
/// One cannot be read.
pub fn read(folder: &Path, name: &str) -> Result<Vec<u8>> {
    std::fs::read(folder.join(name)).with_context(|| format!("failed to read {name}"))
}

//! The boot services' program, in charge of a plane of its own.
//!
//! Never outlives its test.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use super::namespace::until;
use super::services::{USER, connect, hand_over, install_kinds};
use super::wire::{Log, get};
use bloomery_testkit::ControlPlane;

/// What each loader holds.
pub(crate) const LOADER: &[u8] = &[0x5a; 3000];
/// What the agent's kernel and initramfs hold.
pub(crate) const AGENT_FILE: &str = "a kernel, or what comes with it";
/// Where health, metrics and traces are.
pub(crate) const HEALTH_PORT: u16 = 9442;
const LOADERS: [&str; 5] = ["undionly.kpxe", "snp.efi", "ipxe.efi", "snp-arm64.efi", "ipxe-arm64.efi"];

pub(crate) struct Process {
    child: Child,
    control: ControlPlane,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

impl Process {
    /// Starts it beside an etcd and a kube-apiserver, and waits until it acts on machines.
    pub(crate) fn start(options: &[&str]) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let control = runtime.block_on(async {
            let control = ControlPlane::start().await;
            let (_, admin) = connect(&control).await;
            install_kinds(&admin).await;
            hand_over(&admin, None).await;
            control
        });
        let share = control.directory().join("share");
        for folder in ["ipxe", "agent/amd64", "env"] {
            std::fs::create_dir_all(share.join(folder)).unwrap();
        }
        for loader in LOADERS {
            std::fs::write(share.join("ipxe").join(loader), LOADER).unwrap();
        }
        for file in ["vmlinuz", "initramfs.xz"] {
            std::fs::write(share.join("agent/amd64").join(file), AGENT_FILE).unwrap();
        }
        std::fs::write(control.directory().join("id"), json!({ "id": "own", "epoch": 1 }).to_string())
            .unwrap();
        let process = Self { child: spawn(&control, options), control };
        process.acts();
        process
    }

    /// Ends it and starts it anew beside the same control plane.
    pub(crate) fn restart(&mut self, options: &[&str]) {
        self.end();
        self.child = spawn(&self.control, options);
        self.acts();
    }

    /// What it is in charge of.
    pub(crate) fn control(&self) -> &ControlPlane {
        &self.control
    }

    /// Makes an Environment's files.
    pub(crate) fn write_environment(&self, name: &str) {
        let directory = self.control.directory().join("share/env").join(name);
        std::fs::create_dir_all(&directory).unwrap();
        for file in ["vmlinuz", "initramfs.xz"] {
            std::fs::write(directory.join(file), AGENT_FILE).unwrap();
        }
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until all parts are up: also the one that says that this plane is in charge.
    fn acts(&self) {
        until("the boot services act on machines", 30, || {
            let health = SocketAddrV4::new(Ipv4Addr::LOCALHOST, HEALTH_PORT);
            let report = get(health, "/readyz");
            let is_up = report.contains("[+] plane") && !report.contains("[-] ");
            is_up.then_some(()).ok_or_else(|| format!("{report}\n{}", self.log()))
        });
    }
}

impl Log for Process {
    fn log(&self) -> String {
        std::fs::read_to_string(self.control.directory().join("bootsvc.log")).unwrap_or_default()
    }
}

fn spawn(control: &ControlPlane, options: &[&str]) -> Child {
    let log =
        File::options().create(true).append(true).open(control.directory().join("bootsvc.log")).unwrap();
    let share = control.directory().join("share");
    Command::new(env!("CARGO_BIN_EXE_bootsvc"))
        .arg(format!("--kubeconfig={}", control.kubeconfig(USER, &[]).display()))
        .arg(format!("--share-dir={}", share.display()))
        .arg(format!("--env-dir={}", share.join("env").display()))
        .arg(format!("--plane-dir={}", control.directory().display()))
        .args(options)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

//! The boot services' program without a Kubernetes API.
//!
//! Never outlives its test.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::{Child, Command, Stdio};

use super::namespace::until;
use super::wire::{Log, get};

/// What each loader holds.
pub(crate) const LOADER: &[u8] = &[0x5a; 3000];
/// Where health, metrics and traces are.
pub(crate) const HEALTH_PORT: u16 = 9442;
const LOADERS: [&str; 5] = ["undionly.kpxe", "snp.efi", "ipxe.efi", "snp-arm64.efi", "ipxe-arm64.efi"];

pub(crate) struct Process {
    child: Child,
    directory: tempfile::TempDir,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Starts it with so many descriptors, and waits until it is ready.
    pub(crate) fn start(options: &[&str], descriptors: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let share = directory.path().join("share");
        std::fs::create_dir_all(share.join("ipxe")).unwrap();
        for loader in LOADERS {
            std::fs::write(share.join("ipxe").join(loader), LOADER).unwrap();
        }
        let log = File::create(directory.path().join("log")).unwrap();
        let child = Command::new("prlimit")
            .args([&format!("--nofile={descriptors}"), env!("CARGO_BIN_EXE_bootsvc")])
            .arg(format!("--kubeconfig={}", directory.path().join("none").display()))
            .arg(format!("--share-dir={}", share.display()))
            .arg(format!("--env-dir={}", share.join("env").display()))
            .arg(format!("--plane-dir={}", directory.path().display()))
            .args(options)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("prlimit (Debian package util-linux) starts");
        let process = Self { child, directory };
        until("the boot services are ready", 30, || {
            let report = get(SocketAddrV4::new(Ipv4Addr::LOCALHOST, HEALTH_PORT), "/readyz?verbose");
            let is_up = report.starts_with("HTTP/1.1 200") && report.contains("[+] dhcp lan0:4011");
            is_up.then_some(()).ok_or_else(|| format!("{report}\n{}", process.log()))
        });
        process
    }

    pub(crate) fn write_loader(&self, name: &str, content: &[u8]) {
        std::fs::write(self.directory.path().join("share/ipxe").join(name), content).unwrap();
    }

    /// Memory that it holds, MiB.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }

    /// Descriptors that it holds.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }
}

impl Log for Process {
    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

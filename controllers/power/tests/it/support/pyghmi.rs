//! A BMC that shares no code with ours: pyghmi's, installed by `scripts/setup`.

use std::path::Path;
use std::process::Command;

use bloomery_power::Lan;
use bloomery_power::ipmi::Ipmi;
use tempfile::TempDir;

use super::ipmi_sim::{driver_as, free_udp_port};
use bloomery_testkit::{Process, eventually};

/// Tries to find a free port.
const STARTS: usize = 5;

/// A running BMC with the user `admin`, password `secret`, and one cipher suite.
pub(crate) struct Pyghmi {
    pub(crate) port: u16,
    suite: &'static str,
    directory: TempDir,
    _process: Process,
}

impl Pyghmi {
    /// Starts one and waits until ipmitool, with the same cipher suite, has its answer.
    pub(crate) async fn start(suite: &'static str) -> Self {
        Self::start_as(suite, &[]).await
    }

    /// Starts one with more arguments of its script.
    pub(crate) async fn start_as(suite: &'static str, more: &[&str]) -> Self {
        for _ in 0..STARTS {
            let port = free_udp_port();
            let directory = tempfile::tempdir().unwrap();
            let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
            let mut command = Command::new(manifest.join("../../out/tools/pyghmi/bin/python"));
            command.arg(manifest.join("tests/it/support/pyghmi_bmc.py")).args([&port.to_string(), suite]);
            command.args(more);
            let mut process = Process::start("pyghmi", directory.path(), &mut command);
            let ready = eventually("ipmitool understands the BMC", async || match process.ended() {
                Some(why) => Ok(Err(why)),
                None => ipmitool(port, suite, "secret").map(Ok),
            })
            .await;
            match ready {
                Ok(state) => {
                    assert_eq!(state, "Chassis Power is off");
                    return Self { port, suite, directory, _process: process };
                }
                Err(why) => eprintln!("pyghmi ended, trying another port: {why}"),
            }
        }
        panic!("failed to start pyghmi {STARTS} times");
    }

    /// A driver with this password.
    pub(crate) fn driver(&self, pass: &str) -> Ipmi {
        driver_as(self.port, Lan::RmcpPlus, "admin", pass)
    }

    /// The power state as ipmitool sees it.
    pub(crate) fn seen_by_ipmitool(&self, pass: &str) -> Result<String, String> {
        ipmitool(self.port, self.suite, pass)
    }

    /// What the chassis was told so far.
    pub(crate) fn record(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.directory.path().join("pyghmi.log")).unwrap();
        log.lines().map(str::to_owned).collect()
    }
}

fn ipmitool(port: u16, suite: &str, pass: &str) -> Result<String, String> {
    let port = port.to_string();
    // Unpacked by `make setup`; else as installed.
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../out/tools/ipmi/usr/bin/ipmitool");
    let program = if unpacked.exists() { unpacked } else { "ipmitool".into() };
    let output = Command::new(program)
        .args(["-I", "lanplus", "-H", "127.0.0.1", "-p", &port, "-C", suite, "-U", "admin", "-P", pass])
        .args(["-N", "1", "-R", "2", "power", "status"])
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

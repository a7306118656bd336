//! A BMC: `ipmi_sim` of `OpenIPMI`, whose chassis is a script that records what it is told.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bloomery_power::ipmi::{Credentials, Ipmi, Timing};
use bloomery_power::{Bmc as _, Lan};
use tempfile::TempDir;

use bloomery_testkit::{Process, eventually, wait::patience};

/// Tries to find a free port.
const STARTS: usize = 5;

const EMULATOR: &str = "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\n\
    sel_enable 0x20 1000 0x0a\nmc_enable 0x20\n";

/// That of its documentation.
const EXAMPLE_GUID: &str = "a123456789abcdefa123456789abcdef";

const CHASSIS: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 1
case "$2 $3" in
"get power") echo "power:$(cat power)" ;;
"get boot") echo "boot:default" ;;
*) echo "$2 $3 $4" >>record; [ "$3" != power ] || echo "$4" >power ;;
esac
"#;

/// A running BMC with the user `admin`, password `secret`.
pub(crate) struct Bmc {
    directory: TempDir,
    pub(crate) port: u16,
    _process: Process,
}

/// A UDP port of the loopback that nobody uses at this moment.
pub(crate) fn free_udp_port() -> u16 {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

pub(crate) fn credentials(user: &str, pass: &str) -> Credentials {
    Credentials { user: user.into(), pass: pass.into() }
}

/// A driver with the right credentials.
pub(crate) fn driver(port: u16, lan: Lan) -> Ipmi {
    driver_as(port, lan, "admin", "secret")
}

/// A driver with other credentials.
pub(crate) fn driver_as(port: u16, lan: Lan, user: &str, pass: &str) -> Ipmi {
    let timing = Timing { first_wait: Duration::from_secs(1).mul_f64(patience()), tries: 4 };
    Ipmi::new("127.0.0.1", port, lan, credentials(user, pass), timing)
}

impl Bmc {
    /// Starts one and waits until it answers.
    pub(crate) async fn start() -> Self {
        Self::start_as(EXAMPLE_GUID).await
    }

    /// Starts one with this GUID, 32 hexadecimal digits.
    pub(crate) async fn start_as(guid: &str) -> Self {
        for _ in 0..STARTS {
            let port = free_udp_port();
            let directory = tempfile::tempdir().unwrap();
            let mut process = Self::spawn(&directory, port, guid);
            let client = driver(port, Lan::RmcpPlus);
            let ready = eventually("ipmi_sim answers", async || match process.ended() {
                Some(why) => Ok(Err(why)),
                None => client.power_state().await.map(|_| Ok(())).map_err(|error| format!("{error:?}")),
            })
            .await;
            match ready {
                Ok(()) => return Self { directory, port, _process: process },
                Err(why) => eprintln!("ipmi_sim ended, trying another port: {why}"),
            }
        }
        panic!("failed to start ipmi_sim {STARTS} times");
    }

    fn spawn(directory: &TempDir, port: u16, guid: &str) -> Process {
        let path = directory.path();
        let config = format!(
            "name \"bmc\"\nset_working_mc 0x20\n startlan 1\n  addr 127.0.0.1 {port}\n  priv_limit admin\n  \
             allowed_auths_callback none md2 md5 straight\n  allowed_auths_user none md2 md5 straight\n  \
             allowed_auths_operator none md2 md5 straight\n  allowed_auths_admin none md2 md5 straight\n  \
             guid {guid}\n endlan\n chassis_control \"{}/chassis 0x20\"\n \
             user 2 true \"admin\" \"secret\" admin 10 none md2 md5 straight\n \
             user 3 true \"guest\" \"secret\" user 10 none md2 md5 straight\n",
            path.display()
        );
        std::fs::write(path.join("lan.conf"), config).unwrap();
        std::fs::write(path.join("sim.emu"), EMULATOR).unwrap();
        std::fs::write(path.join("power"), "0").unwrap();
        std::fs::write(path.join("record"), "").unwrap();
        let chassis = path.join("chassis");
        std::fs::write(&chassis, CHASSIS).unwrap();
        std::fs::set_permissions(&chassis, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::create_dir(path.join("state")).unwrap();
        // Unpacked by `make setup`; else as installed.
        let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../out/tools/ipmi/usr/bin/ipmi_sim");
        let program = if unpacked.exists() { unpacked } else { "ipmi_sim".into() };
        let mut command = Command::new(program);
        command.args(["-n", "-c", "lan.conf", "-f", "sim.emu", "-s", "state"]);
        Process::start("ipmi_sim", path, &mut command)
    }

    /// What the chassis was told so far.
    pub(crate) fn record(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.directory.path().join("record")).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until the chassis was told all of `expected`, and nothing else since `from`.
    pub(crate) async fn recorded(&self, from: usize, expected: &[&str]) {
        eventually("the chassis is told", async || {
            let record = self.record().split_off(from);
            if record == expected { Ok(()) } else { Err(format!("{record:?} instead of {expected:?}")) }
        })
        .await;
    }
}

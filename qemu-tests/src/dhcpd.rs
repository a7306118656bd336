//! The site's DHCP server: ISC dhcpd, which hands out addresses and nothing else.
//!
//! Like the server of the Sidero tutorial it knows neither boot files nor next servers: those are the product's job.

pub mod leases;

use crate::{
    contract::{LAB_ADDRESS, NETMASK, POOL_FIRST, POOL_LAST, SUBNET},
    net::{BRIDGE, Net, Process},
    state::LabDir,
};
use anyhow::{Context, Result};
use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

/// Where the program is when Debian's package is installed.
const INSTALLED: &str = "/usr/sbin/dhcpd";
/// Where `make setup` unpacks it, beside `out/lab`: the installed package would set up a DHCP service on the host.
const UNPACKED: &str = "tools/dhcpd";
/// Private copy of the program: Debian's `AppArmor` profile goes by path and would confine it to /var/lib/dhcp.
const COPY: &str = "run/dhcpd";
const CONFIG: &str = "dhcpd.conf";
const LEASES: &str = "dhcpd.leases";
const LOG: &str = "dhcpd.log";

/// The running server.
#[derive(Debug)]
pub struct Dhcpd {
    /// Its process.
    pub process: Process,
}

impl Dhcpd {
    /// Starts the server on the lab's bridge.
    ///
    /// # Errors
    /// dhcpd is not installed or does not start.
    pub async fn start(dir: &LabDir, net: &Net) -> Result<Self> {
        let program = find(dir.root())?;
        std::fs::copy(&program, dir.path(COPY))
            .with_context(|| format!("failed to copy {}", program.display()))?;
        std::fs::write(dir.path(CONFIG), config()).context("failed to write dhcpd's configuration")?;
        std::fs::write(dir.path(LEASES), "").context("failed to make dhcpd's lease file")?;
        let copy = dir.path(COPY);
        let argv = [
            copy.to_str().context("failed to name dhcpd: the lab's folder is not UTF-8")?,
            "-4",
            "-f",
            "-d",
            "--no-pid",
            "-cf",
            CONFIG,
            "-lf",
            LEASES,
            BRIDGE,
        ];
        let process = net
            .spawn("dhcpd", argv.iter().map(|&arg| arg.to_owned()).collect(), LOG)
            .await
            .with_context(|| format!("failed to start dhcpd, see {}", dir.path(LOG).display()))?;
        Ok(Self { process })
    }
}

/// The program: unpacked beside the lab's folder or in this build's `out`, else installed.
fn find(lab: &Path) -> Result<PathBuf> {
    let executable = std::env::current_exe().ok();
    let beside = [lab.parent(), executable.as_deref().and_then(Path::parent)];
    // Cargo runs tests in the folder of their crate, which is beside `out`.
    let builds = [Path::new("out"), Path::new("../out")].map(Some);
    let unpacked = beside.into_iter().chain(builds).flatten().map(|folder| folder.join(UNPACKED));
    let mut candidates = unpacked.chain([PathBuf::from(INSTALLED)]);
    candidates
        .find(|path| path.is_file())
        .context("failed to find ISC dhcpd; run `make setup`, or install the Debian package isc-dhcp-server")
}

/// The address that the card `mac` has now, according to the lease file of the lab in `dir`.
pub fn address_of(dir: &LabDir, mac: &str) -> Option<Ipv4Addr> {
    let text = std::fs::read_to_string(dir.path(LEASES)).ok()?;
    leases::newest(&leases::parse(&text), mac)
}

/// Whether the card `mac` has asked the server of the lab in `dir` for an address.
pub fn has_asked(dir: &LabDir, mac: &str) -> bool {
    let discover = format!("DHCPDISCOVER from {mac} ");
    std::fs::read_to_string(dir.path(LOG)).is_ok_and(|log| log.contains(&discover))
}

fn config() -> String {
    format!(
        "# Addresses only, like any site's DHCP server.\n\
         authoritative;\n\
         default-lease-time 600;\n\
         max-lease-time 7200;\n\
         subnet {SUBNET} netmask {NETMASK} {{\n\
         \x20 range {POOL_FIRST} {POOL_LAST};\n\
         \x20 option routers {LAB_ADDRESS};\n\
         \x20 option subnet-mask {NETMASK};\n\
         }}\n"
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn unpacked_program_beside_the_lab_comes_first() {
        let out = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(out.path().join("tools")).expect("a folder");
        let program = out.path().join("tools/dhcpd");
        std::fs::write(&program, "").expect("a write");
        assert_eq!(super::find(&out.path().join("lab")).expect("the unpacked program"), program);
    }

    #[test]
    fn configuration_holds_no_boot_option() {
        let config = super::config();
        for option in ["next-server", "filename", "bootfile", "tftp", "vendor"] {
            assert!(!config.contains(option), "{option}");
        }
        insta::assert_snapshot!(config, @r"
        # Addresses only, like any site's DHCP server.
        authoritative;
        default-lease-time 600;
        max-lease-time 7200;
        subnet 10.77.0.0 netmask 255.255.255.0 {
          range 10.77.0.100 10.77.0.199;
          option routers 10.77.0.1;
          option subnet-mask 255.255.255.0;
        }
        ");
    }
}

//! The site's DHCP server, which hands out addresses and nothing else: ISC dhcpd, Kea or dnsmasq.
//!
//! Like the server of the Sidero tutorial it knows neither boot files nor next servers: those are the product's job.

mod dnsmasq;
mod kea;
pub mod leases;

use crate::{
    contract::{LAB_ADDRESS, NETMASK, POOL_FIRST, POOL_LAST, SUBNET},
    net::{BRIDGE, Net, Process},
    state::LabDir,
    tool,
};
use anyhow::{Context, Result};
use std::{net::Ipv4Addr, path::Path};

/// Private copy of the program: Debian's `AppArmor` profile goes by path and would confine it to /var/lib/dhcp.
const COPY: &str = "run/dhcpd";
const CONFIG: &str = "dhcpd.conf";
const LEASES: &str = "dhcpd.leases";
const LOG: &str = "dhcpd.log";

/// Which server the site has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dhcp {
    /// ISC dhcpd, as in the Sidero tutorial.
    #[default]
    Isc,
    /// ISC Kea, its successor.
    Kea,
    /// dnsmasq.
    Dnsmasq,
}

/// The running server.
#[derive(Debug)]
pub struct Dhcpd {
    /// Its process.
    pub process: Process,
}

impl Dhcpd {
    /// Starts ISC dhcpd on the lab's bridge.
    ///
    /// # Errors
    /// dhcpd is not installed or does not start.
    pub async fn start(dir: &LabDir, net: &Net) -> Result<Self> {
        Self::start_as(dir, net, Dhcp::Isc).await
    }

    /// Starts the server `dhcp` on the lab's bridge.
    ///
    /// # Errors
    /// It is not installed or does not start.
    pub async fn start_as(dir: &LabDir, net: &Net, dhcp: Dhcp) -> Result<Self> {
        let argv = match dhcp {
            Dhcp::Isc => isc(dir)?,
            Dhcp::Kea => kea::prepare(dir)?,
            Dhcp::Dnsmasq => dnsmasq::prepare(dir)?,
        };
        let process = net
            .spawn("dhcpd", argv, LOG)
            .await
            .with_context(|| format!("failed to start the DHCP server, see {}", dir.path(LOG).display()))?;
        Ok(Self { process })
    }
}

/// ISC dhcpd's command line, its files made.
fn isc(dir: &LabDir) -> Result<Vec<String>> {
    let program = tool::find(dir.root(), "dhcpd", "/usr/sbin/dhcpd", "isc-dhcp-server")?;
    std::fs::copy(&program, dir.path(COPY))
        .with_context(|| format!("failed to copy {}", program.display()))?;
    std::fs::write(dir.path(CONFIG), config()).context("failed to write dhcpd's configuration")?;
    std::fs::write(dir.path(LEASES), "").context("failed to make dhcpd's lease file")?;
    let copy = dir.path(COPY);
    let copy = copy.to_str().context("failed to name dhcpd: the lab's folder is not UTF-8")?;
    let argv = [copy, "-4", "-f", "-d", "--no-pid", "-cf", CONFIG, "-lf", LEASES, BRIDGE];
    Ok(argv.iter().map(|&arg| arg.to_owned()).collect())
}

/// The address that the card `mac` has now, according to the lease file of the lab in `dir`.
pub fn address_of(dir: &LabDir, mac: &str) -> Option<Ipv4Addr> {
    address_in(dir.root(), mac)
}

/// The same for a process in the lab's folder.
pub(crate) fn address_in(folder: &Path, mac: &str) -> Option<Ipv4Addr> {
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    leases::newest(&leases::parse(&read(LEASES)), mac)
        .or_else(|| kea::newest(&read(kea::LEASES), mac))
        .or_else(|| dnsmasq::newest(&read(dnsmasq::LEASES), mac))
}

/// Whether the card `mac` has asked the server of the lab in `dir` for an address: all three log whom they hear.
pub fn has_asked(dir: &LabDir, mac: &str) -> bool {
    std::fs::read_to_string(dir.path(LOG)).is_ok_and(|log| log.contains(mac))
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

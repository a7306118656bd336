//! ISC Kea: its configuration, and its lease file as far as the lab needs it.

use crate::{
    contract::{LAB_ADDRESS, POOL_FIRST, POOL_LAST, PREFIX, SUBNET},
    net::BRIDGE,
    state::LabDir,
    tool,
};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::{net::Ipv4Addr, path::Path};

/// A journal of comma-separated values; Kea appends.
pub(super) const LEASES: &str = "kea-leases.csv";
const CONFIG: &str = "kea.conf";
/// Where `make setup` unpacks it; its own libraries are beside it.
const UNPACKED: &str = "kea/usr/sbin/kea-dhcp4";
const INSTALLED: &str = "/usr/sbin/kea-dhcp4";

/// The command line, its files made.
pub(super) fn prepare(dir: &LabDir) -> Result<Vec<String>> {
    let program = tool::find(dir.root(), UNPACKED, INSTALLED, "kea-dhcp4-server")?;
    let run = dir.path("run");
    std::fs::write(dir.path(CONFIG), format!("{:#}\n", config(&dir.path(LEASES))))
        .context("failed to write Kea's configuration")?;
    let mut argv = vec![
        "env".to_owned(),
        format!("KEA_PIDFILE_DIR={}", run.display()),
        // It has no other instance to be protected from.
        "KEA_LOCKFILE_DIR=none".to_owned(),
    ];
    if let Some(libraries) = program.ancestors().nth(2).map(|usr| usr.join("lib/x86_64-linux-gnu")) {
        argv.push(format!("LD_LIBRARY_PATH={}", libraries.display()));
    }
    argv.extend([program.display().to_string(), "-c".to_owned(), dir.path(CONFIG).display().to_string()]);
    Ok(argv)
}

fn config(leases: &Path) -> Value {
    json!({ "Dhcp4": {
        "interfaces-config": { "interfaces": [BRIDGE], "dhcp-socket-type": "raw" },
        "lease-database": { "type": "memfile", "persist": true, "name": leases, "lfc-interval": 0 },
        "authoritative": true,
        "valid-lifetime": 600,
        "subnet4": [{
            "subnet": format!("{SUBNET}/{PREFIX}"),
            "pools": [{ "pool": format!("{POOL_FIRST} - {POOL_LAST}") }],
            "option-data": [{ "name": "routers", "data": LAB_ADDRESS }],
        }],
        "loggers": [{
            "name": "kea-dhcp4", "severity": "INFO",
            "output_options": [{ "output": "stdout" }],
        }],
    }})
}

/// The address of the newest lease in force of the card `mac`: `address,hwaddr,client_id,valid_lifetime,…`.
pub(super) fn newest(text: &str, mac: &str) -> Option<Ipv4Addr> {
    let mut found = None;
    for line in text.lines() {
        let fields: Vec<&str> = line.split(',').collect();
        let [address, card, _, lifetime, ..] = fields.as_slice() else { continue };
        let Ok(address) = address.parse::<Ipv4Addr>() else { continue };
        if *card == mac && *lifetime != "0" {
            found = Some(address);
        } else if found == Some(address) {
            // Given back, or given to another card.
            found = None;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_leases_win() {
        let head =
            "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state\n";
        let (one, two) = ("52:54:00:77:01:01", "52:54:00:77:01:02");
        let text = format!(
            "{head}10.77.0.100,{one},,600,1,1,0,0,,0\n10.77.0.101,{two},01:02,600,1,1,0,0,,0\n\
             10.77.0.102,{one},01:01,600,2,1,0,0,,0\n10.77.0.101,{two},01:02,0,2,1,0,0,,2\n10.77.0"
        );
        assert_eq!(newest(&text, one), Some(Ipv4Addr::new(10, 77, 0, 102)));
        assert_eq!(newest(&text, two), None);
        assert_eq!(newest("", one), None);
    }

    #[test]
    fn configuration_holds_no_boot_option() {
        let config = config(Path::new("leases")).to_string();
        for option in ["next-server", "boot-file", "tftp", "vendor"] {
            assert!(!config.contains(option), "{option}");
        }
    }
}

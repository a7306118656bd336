//! dnsmasq as a plain DHCP server: its command line, and its lease file as far as the lab needs it.

use crate::{
    contract::{LAB_ADDRESS, NETMASK, POOL_FIRST, POOL_LAST},
    net::BRIDGE,
    state::LabDir,
    tool,
};
use anyhow::Result;
use std::net::Ipv4Addr;

/// Rewritten whole at each change.
pub(super) const LEASES: &str = "dnsmasq.leases";
/// Where `make setup` unpacks it.
const UNPACKED: &str = "dnsmasq/usr/sbin/dnsmasq";
const INSTALLED: &str = "/usr/sbin/dnsmasq";

/// The command line: no DNS, no TFTP, no boot file.
pub(super) fn prepare(dir: &LabDir) -> Result<Vec<String>> {
    let program = tool::find(dir.root(), UNPACKED, INSTALLED, "dnsmasq-base")?;
    let options = [
        // Debug mode: in the foreground, and it changes to no other user, of whom there may be none here.
        "--no-daemon".to_owned(),
        "--conf-file=/dev/null".to_owned(),
        "--port=0".to_owned(),
        format!("--interface={BRIDGE}"),
        "--bind-interfaces".to_owned(),
        "--dhcp-authoritative".to_owned(),
        format!("--dhcp-range={POOL_FIRST},{POOL_LAST},{NETMASK},600"),
        format!("--dhcp-option=option:router,{LAB_ADDRESS}"),
        format!("--dhcp-leasefile={LEASES}"),
        "--log-facility=-".to_owned(),
    ];
    Ok([program.display().to_string()].into_iter().chain(options).collect())
}

/// The address of the card `mac`: lines of `EXPIRY MAC ADDRESS NAME CLIENT-ID`, the newest last.
pub(super) fn newest(text: &str, mac: &str) -> Option<Ipv4Addr> {
    let fields = text.lines().rev().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let mut mine = fields.filter_map(|fields| match fields.as_slice() {
        [_, card, address, ..] if *card == mac => address.parse().ok(),
        _ => None,
    });
    mine.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lease_of_the_card_is_found() {
        let text = "1764000000 52:54:00:77:01:01 10.77.0.150 * *\n1764000001 52:54:00:77:01:02 10.77.0.151 b 01:aa\n\
                    1764000002 52:54:00:77:01:01 10.77.0.152 * 01:bb\nduid 00:01";
        assert_eq!(newest(text, "52:54:00:77:01:01"), Some(Ipv4Addr::new(10, 77, 0, 152)));
        assert_eq!(newest(text, "52:54:00:77:01:03"), None);
    }
}

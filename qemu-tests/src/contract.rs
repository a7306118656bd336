//! The contract between the lab and what it drives: console lines, addresses, ports and identities.
//!
//! Everything that the lab expects of the product stands here and nowhere else; nothing here is computed.

use std::net::Ipv4Addr;

/// The first phase of the boot on the appliance's console: firmware, boot loader, kernel and initramfs are done. The
/// kernel itself is quiet there.
pub const PID1_STARTED: &str = "[ 1/";
/// First line of a machine's kernel when it is not quiet.
pub const KERNEL_STARTED: &str = "Linux version ";
/// Printed by PID 1 of the appliance once the Kubernetes API answers; the rest of the line is `ADDRESS:6443`.
pub const API_LINE: &str = "API: https://";
/// Printed by PID 1 of the appliance next to [`API_LINE`]; the rest of the line is the code.
pub const PAIRING_LINE: &str = "Pairing code: ";
/// Banner of iPXE, in every build of it: the machine runs a loader.
pub const LOADER_STARTED: &str = "iPXE";
/// In the first line of our agent on a blank machine: kernel and initramfs arrived, it looks at the hardware.
pub const AGENT_STARTED: &str = "Bloomery agent ";
/// Begins our agent's line once the plane has answered it; from then on it asks once a minute.
pub const AGENT_REGISTERED: &str = "OK     registered ";

/// Kubernetes API of the appliance.
pub const API_PORT: u16 = 6443;
/// HTTPS of the appliance: pairing, health, status.
pub const APPLIANCE_PORT: u16 = 8443;
/// Boot files, iPXE scripts and the agent's gRPC.
pub const BOOT_PORT: u16 = 8081;

/// First choice of the host ports on 127.0.0.1: the appliance's port plus ten thousand, so that they are easy
/// to tell apart and seldom taken.
pub const HOST_PORT_OFFSET: u16 = 10_000;

/// The site's network inside the lab; 10.77 is rare enough not to confuse anyone who reads a log.
pub const SUBNET: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 0);
/// Mask of [`SUBNET`].
pub const NETMASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);
/// Prefix length of [`SUBNET`].
pub const PREFIX: u8 = 24;
/// The lab's own address on the bridge; it also runs the site's DHCP server.
pub const LAB_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// Reaches every machine of [`SUBNET`]; the lab has no route for 255.255.255.255.
pub const BROADCAST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 255);
/// Address of the first machine's BMC; the others follow.
pub const BMC_FIRST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 11);
/// First address that the DHCP server hands out.
pub const POOL_FIRST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
/// Last address that the DHCP server hands out.
pub const POOL_LAST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 199);

/// Name of the appliance's virtual machine.
pub const APPLIANCE: &str = "appliance";
/// The appliance's network card, by which the lab finds its lease.
pub const APPLIANCE_MAC: &str = "52:54:00:77:00:01";
/// The appliance's SMBIOS UUID.
pub const APPLIANCE_UUID: &str = "b1000000-0000-4000-8000-000000000000";

/// Whether a console line, seen after [`PID1_STARTED`], is from PID 1 for people: not the kernel's, which carry a
/// time stamp, and not the announcement of something whose outcome gets a line of its own.
pub fn is_progress(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.ends_with('…') && !line.ends_with(": starting") && !has_kernel_stamp(line)
}

/// Whether the line begins like `[    1.234567] `.
fn has_kernel_stamp(line: &str) -> bool {
    let stamp = line.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(stamp, _)| stamp.trim());
    stamp.and_then(|stamp| stamp.split_once('.')).is_some_and(|(seconds, fraction)| {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number(seconds) && is_number(fraction)
    })
}

#[cfg(test)]
mod tests {
    use super::is_progress;

    #[test]
    fn progress_is_told_from_kernel_messages() {
        for (line, want) in [
            ("[ 3/12] network done (1.2 s)", true),
            ("[ 3/12] network FAILED (30 s): no answer", true),
            ("[ 3/12] network …", false),
            ("WARNING: the state partition is full", true),
            ("etcd: starting", false),
            ("etcd: ready after 1.8 s", true),
            ("etcd: failed to execute; restarting in 50 ms", true),
            ("[    1.234567] virtio_net virtio0: probe done", false),
            ("[12345.678901] x", false),
            ("[.] x", true),
            (" ", false),
        ] {
            assert_eq!(is_progress(line), want, "{line:?}");
        }
    }
}

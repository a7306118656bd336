//! Command line: upstream's flags under their names (spec/sidero.md §8.1), and ours.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bloomery_api::boot_method::BootFromDiskMethod;
use bloomery_api::decision::unknown::{FilterError, MachineLists, UnknownMachines};
use bloomery_api::go_duration;
use clap::{ArgAction, Parser};

use crate::advertise::Endpoint;

/// Value by which upstream's manifests say "not set".
const UNSET: &str = "-";

/// Network-boot services: proxy DHCP, TFTP, HTTP and the agent's gRPC.
// Each flag is a fact of its own; upstream has them as booleans.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Clone, Parser)]
#[command(name = "bootsvc", version, about)]
pub struct Args {
    /// Kubernetes access; without it the pod's service account is used.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Read-only files of the image: `ipxe/` and `agent/` below it.
    #[arg(long, value_name = "DIR", default_value = "/usr/share/bloomery")]
    pub share_dir: PathBuf,

    /// Environment assets, one directory for each Environment.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/bloomery/env")]
    pub env_dir: PathBuf,

    /// Directory of this plane's identity, which `controllers` writes.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/bloomery/plane")]
    pub plane_dir: PathBuf,

    /// Where /healthz, /readyz and /metrics are served.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9442")]
    pub health_addr: SocketAddr,

    /// Interfaces that machines boot on; the boot services answer there only. Default: all physical ones.
    #[arg(long, alias = "interface", value_name = "NAME,…", value_delimiter = ',')]
    pub provisioning_interfaces: Vec<String>,

    /// Interfaces on which the boot services never answer.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub management_interfaces: Vec<String>,

    /// Address machines are sent to, when it is not the one they reach us by.
    #[arg(long, value_name = "HOST", env = "API_ENDPOINT", default_value = "", hide_default_value = true)]
    pub api_endpoint: String,

    /// Port machines use for HTTP.
    #[arg(long, value_name = "PORT", default_value_t = 8081, value_parser = clap::value_parser!(u16).range(1..))]
    pub api_port: u16,

    /// Port HTTP is served on.
    #[arg(long, value_name = "PORT", default_value_t = 8081)]
    pub http_port: u16,

    /// Further kernel arguments of the agent; a key replaces all values of that key.
    #[arg(
        long,
        value_name = "ARGS",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    pub extra_agent_kernel_args: String,

    /// How machines boot from disk: ipxe-exit, http-404 or ipxe-sanboot.
    #[arg(long, value_name = "METHOD", default_value = "ipxe-exit")]
    pub boot_from_disk_method: BootFromDiskMethodArg,

    /// Accept machines when they register.
    #[arg(long, value_name = "BOOL", default_value_t = false, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub auto_accept_servers: bool,

    /// Accept machines with data on their disks too, when they register.
    #[arg(long, value_name = "BOOL", default_value_t = false, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub auto_accept_non_empty: bool,

    /// What a machine boots that nobody has accepted: agent, boot-disk or ignore.
    #[arg(long, value_name = "WHAT", default_value = "agent")]
    pub unknown_machines: UnknownMachinesArg,

    /// Machines that are served (mac:…, oui:…, subnet:…, relay:…, interface:…). Default: all.
    #[arg(long, value_name = "ENTRY,…", value_delimiter = ',')]
    pub machines_allow: Vec<String>,

    /// Machines that are not served; wins over --machines-allow.
    #[arg(long, value_name = "ENTRY,…", value_delimiter = ',')]
    pub machines_deny: Vec<String>,

    /// Wipe only the beginning and end of each disk.
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub insecure_wipe: bool,

    /// Set up access to management controllers.
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub auto_bmc_setup: bool,

    /// Time a wiping machine has before it is power cycled again.
    #[arg(long, value_name = "DURATION", default_value = "20m", value_parser = go_duration::parse)]
    pub server_reboot_timeout: Duration,

    /// Serve no proxy DHCP; the site's DHCP server names the boot file.
    #[arg(long, value_name = "BOOL", default_value_t = false, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub disable_dhcp_proxy: bool,

    /// Act only on what an agent says that this plane booted; upstream's agents have no token.
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub require_agent_token: bool,

    /// Give up all files and system calls that the boot services do not need.
    #[arg(long)]
    pub confine: bool,

    /// Log lines as JSON.
    #[arg(long)]
    pub log_json: bool,
}

/// `--boot-from-disk-method`, read strictly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootFromDiskMethodArg(pub BootFromDiskMethod);

impl std::str::FromStr for BootFromDiskMethodArg {
    type Err = bloomery_api::boot_method::UnknownMethod;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        word.parse().map(Self)
    }
}

/// `--unknown-machines`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum UnknownMachinesArg {
    /// The agent registers them.
    Agent,
    /// They go on to their own disk.
    BootDisk,
    /// They get no answer.
    Ignore,
}

impl From<UnknownMachinesArg> for UnknownMachines {
    fn from(argument: UnknownMachinesArg) -> Self {
        match argument {
            UnknownMachinesArg::Agent => Self::Agent,
            UnknownMachinesArg::BootDisk => Self::BootDisk,
            UnknownMachinesArg::Ignore => Self::Ignore,
        }
    }
}

/// Flags that cannot be used together or at all.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not a host or address.
    #[error("failed to read --api-endpoint {0:?}: must be a host name or an address")]
    Endpoint(String),
    /// Not a list of machines.
    #[error("failed to read --machines-allow or --machines-deny")]
    Machines(#[source] FilterError),
}

impl Args {
    /// `--api-endpoint` with `--api-port`, if it is set.
    pub fn endpoint(&self) -> Result<Option<Endpoint>, ConfigError> {
        let host = match self.api_endpoint.trim() {
            "" | UNSET => return Ok(None),
            host => host,
        };
        let endpoint = Endpoint::parse(host, self.api_port);
        endpoint.map(Some).ok_or_else(|| ConfigError::Endpoint(host.to_owned()))
    }

    /// The entries of a list flag: the empty flag that PID 1 gives for an empty list has none.
    pub fn entries(list: &[String]) -> impl Iterator<Item = &str> {
        list.iter().map(|entry| entry.trim()).filter(|entry| !matches!(*entry, "" | UNSET))
    }

    /// `--machines-allow` and `--machines-deny`.
    pub fn machines(&self) -> Result<MachineLists, ConfigError> {
        let list = |entries: &[String]| Self::entries(entries).map(str::parse).collect::<Result<Vec<_>, _>>();
        let (allow, deny) = (list(&self.machines_allow), list(&self.machines_deny));
        Ok(MachineLists {
            allow: allow.map_err(ConfigError::Machines)?,
            deny: deny.map_err(ConfigError::Machines)?,
        })
    }

    /// `--extra-agent-kernel-args`; upstream's manifests write `-` for none.
    pub fn extra_agent_args(&self) -> &str {
        match self.extra_agent_kernel_args.trim() {
            UNSET => "",
            args => args,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(flags: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from([&["bootsvc"], flags].concat())
    }

    #[test]
    fn defaults_are_upstreams() {
        let args = parse(&[]).unwrap();
        assert_eq!((args.api_port, args.http_port), (8081, 8081));
        assert_eq!(args.boot_from_disk_method.0, BootFromDiskMethod::IpxeExit);
        assert!(
            !args.auto_accept_servers
                && args.insecure_wipe
                && args.auto_bmc_setup
                && !args.disable_dhcp_proxy
                && args.require_agent_token
        );
        assert_eq!(args.server_reboot_timeout, Duration::from_mins(20));
        assert_eq!(args.extra_agent_args(), "");
    }

    #[test]
    fn flags_are_written_as_pflag_reads_them() {
        let args = parse(&[
            "--auto-accept-servers",
            "--insecure-wipe=false",
            "--api-endpoint=plane.example.com",
            "--api-port=80",
            "--extra-agent-kernel-args=-",
            "--server-reboot-timeout=1h30m",
            "--boot-from-disk-method=http-404",
            "--interface=eth0",
            "--interface=eth1",
        ])
        .unwrap();
        assert!(args.auto_accept_servers && !args.insecure_wipe);
        assert_eq!(args.endpoint().unwrap().unwrap().to_string(), "plane.example.com:80");
        assert_eq!(args.extra_agent_args(), "");
        assert_eq!(args.server_reboot_timeout, Duration::from_mins(90));
        assert_eq!(args.provisioning_interfaces, ["eth0", "eth1"]);
        assert_eq!(parse(&["--api-endpoint=-"]).unwrap().endpoint().unwrap(), None);
    }

    #[test]
    fn lists_are_read_as_pid_1_writes_them() {
        let args = parse(&[
            "--provisioning-interfaces=eth1,eth2",
            "--management-interfaces=",
            "--machines-allow=oui:52:54:00,relay:10.0.0.1",
            "--machines-deny=",
            "--unknown-machines=boot-disk",
            "--auto-accept-non-empty=true",
        ])
        .unwrap();
        let list = |list| Args::entries(list).collect::<Vec<_>>();
        assert_eq!(list(&args.provisioning_interfaces), ["eth1", "eth2"]);
        assert_eq!(list(&args.machines_allow), ["oui:52:54:00", "relay:10.0.0.1"]);
        assert!(list(&args.management_interfaces).is_empty() && list(&args.machines_deny).is_empty());
        assert_eq!(args.unknown_machines, UnknownMachinesArg::BootDisk);
        assert!(args.auto_accept_non_empty && !parse(&[]).unwrap().auto_accept_non_empty);
        assert_eq!(parse(&[]).unwrap().unknown_machines, UnknownMachinesArg::Agent);
    }

    #[test]
    fn bad_values_are_refused() {
        for flag in [
            "--boot-from-disk-method=explode",
            "--server-reboot-timeout=20",
            "--auto-accept-servers=maybe",
            "--api-port=0",
            "--unknown-machines=wipe",
            "--health-addr=localhost",
        ] {
            assert!(parse(&[flag]).is_err(), "{flag}");
        }
        assert!(parse(&["--api-endpoint=http://x/"]).unwrap().endpoint().is_err());
    }
}

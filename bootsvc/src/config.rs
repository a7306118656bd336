//! Command line: where files are, and the options of `bloomery_config`, whose flags have upstream's names.

use std::net::SocketAddr;
use std::path::PathBuf;

use bloomery_api::decision::unknown::{FilterError, MachineLists};
use bloomery_config::{OptionSource, ServiceOptions, SideroOptions};
use clap::Parser;

use crate::advertise::Endpoint;

/// Network-boot services: proxy DHCP, TFTP, HTTP and the agent's gRPC.
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

    /// Where SideroLink takes nodes' calls for a tunnel.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:4000")]
    pub siderolink_addr: SocketAddr,

    /// Where /healthz, /readyz and /metrics are served.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9442")]
    pub health_addr: SocketAddr,

    /// Sidero's options and ours.
    #[command(flatten)]
    pub options: OptionSource,

    /// Give up all files and system calls that the boot services do not need.
    #[arg(long)]
    pub confine: bool,

    /// Log lines as JSON.
    #[arg(long)]
    pub log_json: bool,
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
    /// The options in force.
    pub fn options(&self) -> &ServiceOptions {
        self.options.get()
    }

    /// `--api-endpoint` with `--api-port`, if it is set.
    pub fn endpoint(&self) -> Result<Option<Endpoint>, ConfigError> {
        let SideroOptions { api_endpoint, api_port, .. } = &self.options().sidero;
        if api_endpoint.is_empty() {
            return Ok(None);
        }
        let endpoint = Endpoint::parse(api_endpoint, *api_port);
        endpoint.map(Some).ok_or_else(|| ConfigError::Endpoint(api_endpoint.clone()))
    }

    /// `--machines-allow` and `--machines-deny`.
    pub fn machines(&self) -> Result<MachineLists, ConfigError> {
        let list =
            |entries: &[String]| entries.iter().map(|entry| entry.parse()).collect::<Result<Vec<_>, _>>();
        let ServiceOptions { machines_allow, machines_deny, .. } = self.options();
        Ok(MachineLists {
            allow: list(machines_allow).map_err(ConfigError::Machines)?,
            deny: list(machines_deny).map_err(ConfigError::Machines)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bloomery_config::{BootFromDiskMethod, Config};

    use super::*;

    fn parse(flags: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from([&["bootsvc"], flags].concat())
    }

    #[test]
    fn defaults_are_upstreams() {
        let args = parse(&[]).unwrap();
        let sidero = &args.options().sidero;
        assert_eq!((sidero.api_port, sidero.http_port), (8081, 8081));
        assert_eq!(sidero.boot_from_disk_method, BootFromDiskMethod::IpxeExit);
        assert!(
            !sidero.auto_accept_servers
                && sidero.insecure_wipe
                && sidero.auto_bmc_setup
                && !sidero.disable_dhcp_proxy
                && sidero.require_agent_token
        );
        assert_eq!(sidero.server_reboot_timeout.duration(), Duration::from_mins(20));
        assert_eq!((sidero.extra_agent_kernel_args.as_str(), args.endpoint().unwrap()), ("", None));
    }

    #[test]
    fn the_endpoint_goes_with_its_port_and_the_lists_are_read() {
        let args = parse(&[
            "--api-endpoint=plane.example.com",
            "--api-port=80",
            "--machines-allow=oui:52:54:00,relay:10.0.0.1",
            "--machines-deny=10.20.0.0/16",
        ])
        .unwrap();
        assert_eq!(args.endpoint().unwrap().unwrap().to_string(), "plane.example.com:80");
        assert_eq!(
            args.machines().unwrap(),
            MachineLists::parse("oui:52:54:00,relay:10.0.0.1", "10.20.0.0/16").unwrap()
        );
        assert_eq!(parse(&["--api-endpoint=-"]).unwrap().endpoint().unwrap(), None);
        assert!(parse(&["--machines-deny=52:54"]).unwrap().machines().is_err());
    }

    #[test]
    fn the_file_of_pid_1_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("options.json");
        let config = Config::parse("sidero: {httpPort: 9000}\nunknownMachines: ignore\n").unwrap();
        let written = ServiceOptions::of(&config, Some("192.0.2.7".parse().unwrap()));
        std::fs::write(&file, written.to_json()).unwrap();
        let args = parse(&[&format!("--options={}", file.display()), "--confine"]).unwrap();
        assert_eq!(*args.options(), written);
        assert_eq!(args.endpoint().unwrap().unwrap().to_string(), "192.0.2.7:8081");
    }

    #[test]
    fn bad_values_are_refused() {
        for flag in ["--health-addr=localhost", "--options=/nonexistent", "--api-endpoint=http://x/"] {
            assert!(parse(&[flag]).is_err(), "{flag}");
        }
    }
}

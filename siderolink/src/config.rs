//! Command line: where files are, and the options of `bloomery_config`, whose flags have upstream's names.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use bloomery_api::siderolink::report::Filter;
use bloomery_config::{OptionSource, SideroOptions};
use clap::{Parser, ValueEnum};
use ipnet::IpNet;

/// SideroLink: WireGuard, the nodes' events and their kernel logs.
#[derive(Debug, Clone, Parser)]
#[command(name = "siderolink", version, about)]
pub struct Args {
    /// Kubernetes access; without it the pod's service account is used.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Where nodes' calls for a tunnel come in, from the boot services.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:4000")]
    pub provision_addr: SocketAddr,

    /// Where /healthz, /readyz and /metrics are served.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9446")]
    pub health_addr: SocketAddr,

    /// Directory of the machines' kernel logs.
    #[arg(long, value_name = "DIR", default_value = "/var/log/bloomery/machines")]
    pub log_dir: PathBuf,

    /// Which WireGuard is used.
    #[arg(long, value_enum, value_name = "WHICH", default_value_t = Implementation::Auto)]
    pub wireguard: Implementation,

    /// Sidero's options and ours.
    #[command(flatten)]
    pub options: OptionSource,

    /// Give up all files and system calls that the service does not need.
    #[arg(long)]
    pub confine: bool,

    /// Log lines as JSON.
    #[arg(long)]
    pub log_json: bool,
}

/// Where WireGuard runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Implementation {
    /// In the kernel, or in this process where the kernel has none.
    Auto,
    /// In the kernel.
    Kernel,
    /// In this process, with a TUN device.
    Userspace,
}

/// Options that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not a network.
    #[error("failed to read the network {network:?} of --events-negative-address-filter")]
    Network { network: String, source: ipnet::AddrParseError },
}

/// Networks whose addresses are not recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NegativeFilter(Vec<IpNet>);

impl Filter for NegativeFilter {
    fn leaves_out(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl Args {
    /// Sidero's options.
    pub fn sidero(&self) -> &SideroOptions {
        &self.options.get().sidero
    }

    /// Name or address by which nodes reach the WireGuard port; empty if none is configured.
    pub fn endpoint_host(&self) -> &str {
        let SideroOptions { wireguard_endpoint, api_endpoint, .. } = self.sidero();
        if wireguard_endpoint.is_empty() { api_endpoint } else { wireguard_endpoint }
    }

    /// `--events-negative-address-filter`; `-` stands for none.
    pub fn negative_filter(&self) -> Result<NegativeFilter, ConfigError> {
        let networks = self.sidero().events_negative_address_filter.iter();
        let networks = networks.filter(|network| !network.is_empty() && *network != "-").map(|network| {
            let host = network.parse::<IpAddr>().map(IpNet::from);
            host.or_else(|_| network.parse())
                .map_err(|source| ConfigError::Network { network: network.clone(), source })
        });
        networks.collect::<Result<_, _>>().map(NegativeFilter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(flags: &[&str]) -> Args {
        Args::try_parse_from([&["siderolink"], flags].concat()).unwrap()
    }

    #[test]
    fn defaults_are_upstreams() {
        let args = parse(&[]);
        assert_eq!(args.sidero().wireguard_port, 51821);
        assert_eq!(args.provision_addr.to_string(), "127.0.0.1:4000");
        assert_eq!(args.endpoint_host(), "");
        assert_eq!(args.negative_filter().unwrap(), NegativeFilter::default());
    }

    #[test]
    fn the_wireguard_endpoint_wins_over_the_api_endpoint() {
        assert_eq!(parse(&["--api-endpoint=a.example"]).endpoint_host(), "a.example");
        let both = parse(&["--api-endpoint=a.example", "--wireguard-endpoint=b.example"]);
        assert_eq!(both.endpoint_host(), "b.example");
    }

    #[test]
    fn the_filter_is_a_list_of_networks() {
        let filter =
            parse(&["--events-negative-address-filter=-,10.0.0.0/8,fd00::1"]).negative_filter().unwrap();
        for (address, expected) in
            [("10.1.2.3", true), ("11.1.2.3", false), ("fd00::1", true), ("fd00::2", false)]
        {
            assert_eq!(filter.leaves_out(address.parse().unwrap()), expected, "{address}");
        }
    }
}

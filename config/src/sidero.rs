//! The `sidero` section: Sidero's own options (spec §8.1) with its defaults.
//!
//! Names are upstream's flags written in camelCase, letter for letter: `--auto-bmc-setup` is `autoBmcSetup`;
//! two options, `autoAcceptNonEmpty` and `requireAgentToken`, are ours.
//! Values and defaults are upstream's and must never drift from it.

use crate::decode::Decoder;
use crate::node::Node;
use crate::values::{self, GoDuration};

/// Sidero's HTTP and gRPC port.
const DEFAULT_API_PORT: u16 = 8081;
/// `SideroLink`'s `WireGuard` port.
const DEFAULT_WIREGUARD_PORT: u16 = 51821;

/// What a server that has an operating system is told when it network-boots (spec §3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BootFromDiskMethod {
    /// `ipxe-exit`: iPXE gives the turn back to the firmware.
    #[default]
    IpxeExit,
    /// `http-404`: the boot script is not there.
    Http404,
    /// `ipxe-sanboot`: iPXE boots the first disk itself.
    IpxeSanboot,
}

impl BootFromDiskMethod {
    /// Upstream's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IpxeExit => "ipxe-exit",
            Self::Http404 => "http-404",
            Self::IpxeSanboot => "ipxe-sanboot",
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        [Self::IpxeExit, Self::Http404, Self::IpxeSanboot]
            .into_iter()
            .find(|method| method.as_str() == text)
            .ok_or_else(|| "ipxe-exit, http-404 or ipxe-sanboot".to_owned())
    }
}

/// Which way of network boot a server is switched to over IPMI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IpmiPxeMethod {
    /// `uefi`
    #[default]
    Uefi,
    /// `bios`
    Bios,
}

impl IpmiPxeMethod {
    /// Upstream's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Uefi => "uefi",
            Self::Bios => "bios",
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        [Self::Uefi, Self::Bios]
            .into_iter()
            .find(|method| method.as_str() == text)
            .ok_or_else(|| "uefi or bios".to_owned())
    }
}

/// Sidero's options.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "they are upstream's flags, one field each")]
pub struct Sidero {
    /// `apiEndpoint`: host that servers use to reach the boot services; `None` (also `-`) means the plane's own.
    pub api_endpoint: Option<String>,
    /// `apiPort`: the port that goes with it.
    pub api_port: u16,
    /// `httpPort`: the port that the boot services listen on.
    pub http_port: u16,
    /// `extraAgentKernelArgs`: appended to the agent's kernel command line; empty means none (also `-`).
    pub extra_agent_kernel_args: String,
    /// `bootFromDiskMethod`
    pub boot_from_disk_method: BootFromDiskMethod,
    /// `autoAcceptServers`: take every machine that registers, and wipe it, without a person's word. Machines whose
    /// disks are not blank are left alone unless `auto_accept_non_empty` is set too.
    pub auto_accept_servers: bool,
    /// `insecureWipe`: wipe only the partition tables in place of the whole disks.
    pub insecure_wipe: bool,
    /// `autoBmcSetup`: make a management user on each server's BMC.
    pub auto_bmc_setup: bool,
    /// `serverRebootTimeout`: how long a server may take before it is rebooted again.
    pub server_reboot_timeout: GoDuration,
    /// `ipmiPxeMethod`
    pub ipmi_pxe_method: IpmiPxeMethod,
    /// `disableDhcpProxy`: leave DHCP options to the site's own server.
    pub disable_dhcp_proxy: bool,
    /// `testPowerSimulatedExplicitFailureProb`: 0 to 1, for tests only.
    pub test_power_simulated_explicit_failure_prob: String,
    /// `testPowerSimulatedSilentFailureProb`: 0 to 1, for tests only.
    pub test_power_simulated_silent_failure_prob: String,
    /// `wireguardEndpoint`: host of `SideroLink`; `None` (also `-`) means `apiEndpoint`.
    pub wireguard_endpoint: Option<String>,
    /// `wireguardPort`
    pub wireguard_port: u16,
    /// `eventsNegativeAddressFilter`: networks whose addresses are not recorded; empty means none.
    pub events_negative_address_filter: Vec<String>,
    /// `autoAcceptNonEmpty`, ours: automatic acceptance takes machines with data on their disks too, as upstream does.
    pub auto_accept_non_empty: bool,
    /// `requireAgentToken`, ours: act only on what an agent says that this plane booted.
    pub require_agent_token: bool,
}

impl Default for Sidero {
    fn default() -> Self {
        Self {
            api_endpoint: None,
            api_port: DEFAULT_API_PORT,
            http_port: DEFAULT_API_PORT,
            extra_agent_kernel_args: String::new(),
            boot_from_disk_method: BootFromDiskMethod::default(),
            auto_accept_servers: false,
            insecure_wipe: true,
            auto_bmc_setup: true,
            server_reboot_timeout: GoDuration::minutes(20),
            ipmi_pxe_method: IpmiPxeMethod::default(),
            disable_dhcp_proxy: false,
            test_power_simulated_explicit_failure_prob: "0".to_owned(),
            test_power_simulated_silent_failure_prob: "0".to_owned(),
            wireguard_endpoint: None,
            wireguard_port: DEFAULT_WIREGUARD_PORT,
            events_negative_address_filter: Vec::new(),
            auto_accept_non_empty: false,
            require_agent_token: true,
        }
    }
}

/// The keys, in the order of upstream's table; ours come last.
const KEYS: [&str; 18] = [
    "apiEndpoint",
    "apiPort",
    "httpPort",
    "extraAgentKernelArgs",
    "bootFromDiskMethod",
    "autoAcceptServers",
    "insecureWipe",
    "autoBmcSetup",
    "serverRebootTimeout",
    "ipmiPxeMethod",
    "disableDhcpProxy",
    "testPowerSimulatedExplicitFailureProb",
    "testPowerSimulatedSilentFailureProb",
    "wireguardEndpoint",
    "wireguardPort",
    "eventsNegativeAddressFilter",
    "autoAcceptNonEmpty",
    "requireAgentToken",
];

pub(crate) fn decode(node: &Node, decoder: &mut Decoder) -> Sidero {
    let default = Sidero::default();
    let Some(fields) = decoder.mapping(node, "`sidero`", &KEYS) else { return default };
    Sidero {
        api_endpoint: decoder.parsed(fields.get("apiEndpoint"), values::host_or_dash).flatten(),
        api_port: decoder.port(fields.get("apiPort")).unwrap_or(default.api_port),
        http_port: decoder.port(fields.get("httpPort")).unwrap_or(default.http_port),
        extra_agent_kernel_args: decoder
            .parsed(fields.get("extraAgentKernelArgs"), values::kernel_args)
            .unwrap_or(default.extra_agent_kernel_args),
        boot_from_disk_method: decoder
            .parsed(fields.get("bootFromDiskMethod"), BootFromDiskMethod::parse)
            .unwrap_or(default.boot_from_disk_method),
        auto_accept_servers: decoder
            .boolean(fields.get("autoAcceptServers"))
            .unwrap_or(default.auto_accept_servers),
        insecure_wipe: decoder.boolean(fields.get("insecureWipe")).unwrap_or(default.insecure_wipe),
        auto_bmc_setup: decoder.boolean(fields.get("autoBmcSetup")).unwrap_or(default.auto_bmc_setup),
        server_reboot_timeout: decoder
            .parsed(fields.get("serverRebootTimeout"), GoDuration::parse)
            .unwrap_or(default.server_reboot_timeout),
        ipmi_pxe_method: decoder
            .parsed(fields.get("ipmiPxeMethod"), IpmiPxeMethod::parse)
            .unwrap_or(default.ipmi_pxe_method),
        disable_dhcp_proxy: decoder
            .boolean(fields.get("disableDhcpProxy"))
            .unwrap_or(default.disable_dhcp_proxy),
        test_power_simulated_explicit_failure_prob: decoder
            .probability(fields.get("testPowerSimulatedExplicitFailureProb"))
            .unwrap_or(default.test_power_simulated_explicit_failure_prob),
        test_power_simulated_silent_failure_prob: decoder
            .probability(fields.get("testPowerSimulatedSilentFailureProb"))
            .unwrap_or(default.test_power_simulated_silent_failure_prob),
        wireguard_endpoint: decoder.parsed(fields.get("wireguardEndpoint"), values::host_or_dash).flatten(),
        wireguard_port: decoder.port(fields.get("wireguardPort")).unwrap_or(default.wireguard_port),
        events_negative_address_filter: decoder
            .list(fields.get("eventsNegativeAddressFilter"), "`eventsNegativeAddressFilter`", values::network)
            .into_iter()
            .flatten()
            .collect(),
        auto_accept_non_empty: decoder
            .boolean(fields.get("autoAcceptNonEmpty"))
            .unwrap_or(default.auto_accept_non_empty),
        require_agent_token: decoder
            .boolean(fields.get("requireAgentToken"))
            .unwrap_or(default.require_agent_token),
    }
}

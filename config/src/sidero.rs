//! Sidero's own options (spec §8.1) with its defaults: the `sidero` section, what PID 1 hands to the services, and the
//! flags of the services are this one type.
//!
//! Names are upstream's flags, letter for letter: `--auto-bmc-setup` is `autoBmcSetup`; three
//! options, `autoAcceptNonEmpty`, `requireAgentToken` and `requireConfigToken`, are ours. Values and defaults are upstream's and must never drift
//! from it.

use crate::decode::Decoder;
use crate::node::Node;
#[cfg(feature = "clap")]
use crate::values::FILE;
use crate::values::{self, GoDuration};
use crate::words::words;
use serde::{Deserialize, Serialize};

/// Sidero's HTTP and gRPC port.
const DEFAULT_API_PORT: u16 = 8081;
/// `SideroLink`'s `WireGuard` port.
const DEFAULT_WIREGUARD_PORT: u16 = 51821;

words! {
    /// What a server that has an operating system is told when it network-boots (spec §3.4). Firmware differs in which
    /// of them works.
    pub enum BootFromDiskMethod {
        /// iPXE gives the turn back to the firmware.
        #[default]
        IpxeExit = "ipxe-exit",
        /// The boot script is not there: the boot fails and the firmware goes on.
        Http404 = "http-404",
        /// iPXE boots the first disk itself.
        IpxeSanboot = "ipxe-sanboot",
    }
    "ipxe-exit, http-404 or ipxe-sanboot"
}

impl BootFromDiskMethod {
    /// The method a field names; `None` for an empty field. An unknown word is `ipxe-exit`, because a
    /// `ServerClass`'s field is not validated and a machine must boot all the same.
    pub fn from_field(field: &str) -> Option<Self> {
        (!field.is_empty()).then(|| Self::parse(field).unwrap_or_default())
    }
}

words! {
    /// Which way of network boot a server is switched to over IPMI.
    pub enum IpmiPxeMethod {
        /// UEFI.
        #[default]
        Uefi = "uefi",
        /// Legacy BIOS.
        Bios = "bios",
    }
    "uefi or bios"
}

/// Sidero's options.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "they are upstream's flags, one field each")]
pub struct SideroOptions {
    /// Host that machines use to reach the boot services; without it the address that they reach them by.
    #[cfg_attr(feature = "clap", arg(long, conflicts_with = FILE, value_name = "HOST", env = "API_ENDPOINT", value_parser = values::endpoint,
        default_value = "", hide_default_value = true))]
    pub api_endpoint: String,
    /// Port that goes with it.
    #[cfg_attr(feature = "clap", arg(long, conflicts_with = FILE, value_name = "PORT", default_value_t = DEFAULT_API_PORT,
        value_parser = clap::value_parser!(u16).range(1..)))]
    pub api_port: u16,
    /// Port that the boot services listen on.
    #[cfg_attr(feature = "clap", arg(long, conflicts_with = FILE, value_name = "PORT", default_value_t = DEFAULT_API_PORT))]
    pub http_port: u16,
    /// Further kernel arguments of the agent; a key replaces all values of that key.
    #[cfg_attr(feature = "clap", arg(long, conflicts_with = FILE, value_name = "ARGS", value_parser = values::kernel_args, default_value = "",
        hide_default_value = true, allow_hyphen_values = true))]
    pub extra_agent_kernel_args: String,
    /// How machines boot from disk: ipxe-exit, http-404 or ipxe-sanboot.
    #[cfg_attr(feature = "clap", arg(long, conflicts_with = FILE, value_name = "METHOD", value_parser = BootFromDiskMethod::parse,
        default_value_t))]
    pub boot_from_disk_method: BootFromDiskMethod,
    /// Accept machines when they register, and wipe them, without a person's word. Machines whose disks are not blank
    /// are left alone unless `autoAcceptNonEmpty` is set too.
    #[cfg_attr(feature = "clap", arg(long, conflicts_with = FILE, value_name = "BOOL", default_value_t = false, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set))]
    pub auto_accept_servers: bool,
    /// Wipe only the beginning and end of each disk.
    #[cfg_attr(feature = "clap", arg(long, conflicts_with = FILE, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set))]
    pub insecure_wipe: bool,
    /// Make a management user on each server's BMC.
    #[cfg_attr(feature = "clap", arg(long, conflicts_with = FILE, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set))]
    pub auto_bmc_setup: bool,
    /// Time a wiping machine has before it is power cycled again.
    #[cfg_attr(feature = "clap", arg(long, conflicts_with = FILE, value_name = "DURATION", value_parser = GoDuration::parse,
        default_value_t = GoDuration::minutes(20)))]
    pub server_reboot_timeout: GoDuration,
    /// How a machine that does not say it itself is told to netboot: uefi or bios.
    #[cfg_attr(feature = "clap", arg(long, conflicts_with = FILE, value_name = "METHOD", value_parser = IpmiPxeMethod::parse, default_value_t))]
    pub ipmi_pxe_method: IpmiPxeMethod,
    /// Serve no proxy DHCP; the site's DHCP server names the boot file.
    #[cfg_attr(feature = "clap", arg(long, conflicts_with = FILE, value_name = "BOOL", default_value_t = false, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set))]
    pub disable_dhcp_proxy: bool,
    /// For tests only: how often a power command fails with an error, from 0 to 1.
    #[cfg_attr(feature = "clap", arg(long, conflicts_with = FILE, value_name = "PROBABILITY", value_parser = values::probability,
        default_value_t = 0.0))]
    pub test_power_simulated_explicit_failure_prob: f64,
    /// For tests only: how often a power command does nothing and says nothing, from 0 to 1.
    #[cfg_attr(feature = "clap", arg(long, conflicts_with = FILE, value_name = "PROBABILITY", value_parser = values::probability,
        default_value_t = 0.0))]
    pub test_power_simulated_silent_failure_prob: f64,
    /// Host of `SideroLink`; without it `apiEndpoint`.
    #[cfg_attr(feature = "clap", arg(long, conflicts_with = FILE, value_name = "HOST", value_parser = values::endpoint, default_value = "",
        hide_default_value = true))]
    pub wireguard_endpoint: String,
    /// Port of `SideroLink`.
    #[cfg_attr(feature = "clap", arg(long, conflicts_with = FILE, value_name = "PORT", default_value_t = DEFAULT_WIREGUARD_PORT))]
    pub wireguard_port: u16,
    /// Networks whose addresses are not recorded.
    #[cfg_attr(feature = "clap", arg(long, conflicts_with = FILE, value_name = "NETWORK,…", value_delimiter = ','))]
    pub events_negative_address_filter: Vec<String>,
    /// Accept machines with data on their disks too, as upstream does.
    #[cfg_attr(feature = "clap", arg(long, conflicts_with = FILE, value_name = "BOOL", default_value_t = false, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set))]
    pub auto_accept_non_empty: bool,
    /// Act only on what an agent says that this plane booted; upstream's agents have no token.
    #[cfg_attr(feature = "clap", arg(long, conflicts_with = FILE, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set))]
    pub require_agent_token: bool,
    /// Give a machine configuration only to the boot that was told to fetch it; upstream gives it to every client.
    #[cfg_attr(feature = "clap", arg(long, conflicts_with = FILE, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set))]
    pub require_config_token: bool,
}

impl Default for SideroOptions {
    fn default() -> Self {
        Self {
            api_endpoint: String::new(),
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
            test_power_simulated_explicit_failure_prob: 0.0,
            test_power_simulated_silent_failure_prob: 0.0,
            wireguard_endpoint: String::new(),
            wireguard_port: DEFAULT_WIREGUARD_PORT,
            events_negative_address_filter: Vec::new(),
            auto_accept_non_empty: false,
            require_agent_token: true,
            require_config_token: true,
        }
    }
}

/// The keys, in the order of upstream's table; ours come last.
const KEYS: [&str; 19] = [
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
    "requireConfigToken",
];

pub(crate) fn decode(node: &Node, decoder: &mut Decoder) -> SideroOptions {
    let default = SideroOptions::default();
    let Some(fields) = decoder.mapping(node, "`sidero`", &KEYS) else { return default };
    SideroOptions {
        api_endpoint: decoder.parsed(fields.get("apiEndpoint"), values::endpoint).unwrap_or_default(),
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
        wireguard_endpoint: decoder
            .parsed(fields.get("wireguardEndpoint"), values::endpoint)
            .unwrap_or_default(),
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
        require_config_token: decoder
            .boolean(fields.get("requireConfigToken"))
            .unwrap_or(default.require_config_token),
    }
}

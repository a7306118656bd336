//! Every option of `bloomery.yaml` reaches the services: by the file that PID 1 writes, and by flags.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "the whole file is a test")]

use bloomery_config::{
    BootFromDiskMethod, Config, IpmiPxeMethod, OptionsError, ServiceOptions, SideroOptions, UnknownMachines,
};

/// Every option, none with its default.
const TEXT: &str = "network:
  interfaces:
  - {name: eth0, role: management}
  - {name: eth1, role: provisioning}
unknownMachines: ignore
machines: {allow: [\"52:54:00\"], deny: [\"relay:10.20.0.1\"]}
sidero:
  apiEndpoint: 10.1.2.3
  apiPort: 9091
  httpPort: 9092
  extraAgentKernelArgs: console=ttyS1 a=b
  bootFromDiskMethod: http-404
  autoAcceptServers: true
  insecureWipe: false
  autoBmcSetup: false
  serverRebootTimeout: 1h30m
  ipmiPxeMethod: bios
  disableDhcpProxy: true
  testPowerSimulatedExplicitFailureProb: 0.5
  testPowerSimulatedSilentFailureProb: 0.25
  wireguardEndpoint: vpn.example.org
  wireguardPort: 51000
  eventsNegativeAddressFilter: [10.96.0.0/12]
  autoAcceptNonEmpty: true
  requireAgentToken: false
  requireConfigToken: false
";

/// The same as flags.
#[cfg(feature = "clap")]
const FLAGS: [&str; 24] = [
    "--management-interfaces=eth0",
    "--provisioning-interfaces=eth1",
    "--unknown-machines=ignore",
    "--machines-allow=oui:52:54:00",
    "--machines-deny=relay:10.20.0.1",
    "--api-endpoint=10.1.2.3",
    "--api-port=9091",
    "--http-port=9092",
    "--extra-agent-kernel-args=console=ttyS1 a=b",
    "--boot-from-disk-method=http-404",
    "--auto-accept-servers",
    "--insecure-wipe=false",
    "--auto-bmc-setup=false",
    "--server-reboot-timeout=1h30m",
    "--ipmi-pxe-method=bios",
    "--disable-dhcp-proxy=true",
    "--test-power-simulated-explicit-failure-prob=0.5",
    "--test-power-simulated-silent-failure-prob=0.25",
    "--wireguard-endpoint=vpn.example.org",
    "--wireguard-port=51000",
    "--events-negative-address-filter=10.96.0.0/12",
    "--auto-accept-non-empty=true",
    "--require-agent-token=false",
    "--require-config-token=false",
];

fn expected() -> ServiceOptions {
    ServiceOptions {
        sidero: SideroOptions {
            api_endpoint: "10.1.2.3".to_owned(),
            api_port: 9091,
            http_port: 9092,
            extra_agent_kernel_args: "console=ttyS1 a=b".to_owned(),
            boot_from_disk_method: BootFromDiskMethod::Http404,
            auto_accept_servers: true,
            insecure_wipe: false,
            auto_bmc_setup: false,
            server_reboot_timeout: "1h30m".to_owned().try_into().expect("a span"),
            ipmi_pxe_method: IpmiPxeMethod::Bios,
            disable_dhcp_proxy: true,
            test_power_simulated_explicit_failure_prob: 0.5,
            test_power_simulated_silent_failure_prob: 0.25,
            wireguard_endpoint: "vpn.example.org".to_owned(),
            wireguard_port: 51000,
            events_negative_address_filter: vec!["10.96.0.0/12".to_owned()],
            auto_accept_non_empty: true,
            require_agent_token: false,
            require_config_token: false,
        },
        unknown_machines: UnknownMachines::Ignore,
        machines_allow: vec!["oui:52:54:00".to_owned()],
        machines_deny: vec!["relay:10.20.0.1".to_owned()],
        provisioning_interfaces: vec!["eth1".to_owned()],
        management_interfaces: vec!["eth0".to_owned()],
    }
}

#[test]
fn every_option_of_the_file_is_handed_over() {
    let options = ServiceOptions::of(&Config::parse(TEXT).expect("valid"), None);
    assert_eq!(options, expected());
    // None of them has its default: one that was lost on the way would have it.
    let default = serde_json::to_value(ServiceOptions::default()).expect("JSON");
    let (given, sidero) = (serde_json::to_value(&options).expect("JSON"), "sidero");
    for (default, given) in [(&default, &given), (&default[sidero], &given[sidero])] {
        for (name, value) in default.as_object().expect("an object") {
            assert_ne!(given[name], *value, "{name}");
        }
    }
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("options.json");
    std::fs::write(&path, options.to_json()).expect("written");
    assert_eq!(ServiceOptions::read(&path).expect("read"), options);
}

#[test]
fn the_endpoint_is_the_most_specific_one() {
    let own = Some("192.0.2.7".parse().expect("an address"));
    for (text, address, endpoint) in [
        ("", None, ""),
        ("", own, "192.0.2.7"),
        ("advertisedEndpoint: plane.example.org", own, "plane.example.org"),
        ("{advertisedEndpoint: plane.example.org, sidero: {apiEndpoint: 10.0.0.1}}", own, "10.0.0.1"),
        ("sidero: {apiEndpoint: \"-\"}", own, "192.0.2.7"),
    ] {
        let options = ServiceOptions::of(&Config::parse(text).expect("valid"), address);
        assert_eq!(options.sidero.api_endpoint, endpoint, "{text}");
    }
}

#[test]
fn a_file_of_another_version_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("options.json");
    assert!(matches!(ServiceOptions::read(&path), Err(OptionsError::Read { .. })));
    let good = expected().to_json();
    for bad in [
        String::new(),
        good.replace("\"apiPort\"", "\"port\""),
        good.replace("http-404", "explode"),
        good.replace("1h30m", "soon"),
    ] {
        std::fs::write(&path, &bad).expect("written");
        assert!(matches!(ServiceOptions::read(&path), Err(OptionsError::Decode { .. })), "{bad}");
    }
}

#[cfg(feature = "clap")]
mod flags {
    use super::*;
    use bloomery_config::OptionSource;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        source: OptionSource,
    }

    fn parse(flags: &[&str]) -> Result<ServiceOptions, clap::Error> {
        Program::try_parse_from([&["program"], flags].concat()).map(|program| program.source.get().clone())
    }

    #[test]
    fn flags_fill_the_same_type_with_the_same_defaults() {
        assert_eq!(parse(&[]).expect("no flag is needed"), ServiceOptions::default());
        assert_eq!(parse(&FLAGS).expect("valid"), expected());
        let unset =
            parse(&["--api-endpoint=-", "--extra-agent-kernel-args=-", "--interface=a", "--interface=b"]);
        let unset = unset.expect("as upstream's manifests write them");
        assert_eq!(
            (unset.sidero.api_endpoint.as_str(), unset.sidero.extra_agent_kernel_args.as_str()),
            ("", "")
        );
        assert_eq!(unset.provisioning_interfaces, ["a", "b"]);
    }

    #[test]
    fn bad_flags_are_refused() {
        for flag in [
            "--boot-from-disk-method=explode",
            "--server-reboot-timeout=20",
            "--auto-accept-servers=maybe",
            "--api-port=0",
            "--api-endpoint=http://x/",
            "--unknown-machines=wipe",
            "--ipmi-pxe-method=pxe",
            "--test-power-simulated-explicit-failure-prob=1.1",
            "--test-power-simulated-silent-failure-prob=NaN",
            "--options=/nonexistent",
        ] {
            assert!(parse(&[flag]).is_err(), "{flag}");
        }
    }

    #[test]
    fn a_file_takes_the_place_of_all_flags_and_stands_beside_none() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("options.json");
        std::fs::write(&path, expected().to_json()).expect("written");
        let file = format!("--options={}", path.display());
        assert_eq!(parse(&[&file]).expect("valid"), expected());
        for flag in FLAGS {
            assert!(parse(&[&file, flag]).is_err(), "{flag}");
        }
    }
}

//! `bloomery.yaml` as a person writes it: what is read, and what each mistake is told.

#![allow(clippy::panic)] // A test file: a panic is how its helper functions fail.

use bloomery_config::{
    Addressing, BootFromDiskMethod, Config, EXAMPLE, IpmiPxeMethod, Role, StaticAddress, UnknownMachines,
};
use proptest::prelude::*;

/// The messages for a text that must not be accepted.
fn problems(text: &str) -> Vec<String> {
    match Config::parse(text) {
        Ok(config) => panic!("accepted {text:?} as {config:?}"),
        Err(error) => error.problems().iter().map(ToString::to_string).collect(),
    }
}

/// The example with every setting's `#` taken away: prose comments start with "# ", settings with "#".
fn uncommented() -> String {
    let uncomment = |line: &str| {
        let body = line.trim_start();
        let indent = &line[..line.len() - body.len()];
        match body.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') && !setting.is_empty() => {
                format!("{indent}{setting}\n")
            }
            _ => format!("{line}\n"),
        }
    };
    EXAMPLE.lines().map(uncomment).collect()
}

#[test]
fn empty_and_commented_files_are_the_defaults() {
    for text in ["", "\n", "# nothing\n", "---\n", "null\n", "\u{feff}", "network:\nsidero:\n", EXAMPLE] {
        assert_eq!(Config::parse(text), Ok(Config::default()), "{text:?}");
    }
}

#[test]
fn the_uncommented_example_parses_and_shows_sideros_defaults() {
    let config = Config::parse(&uncommented()).expect("the uncommented example is valid");
    assert_eq!(config.sidero, Config::default().sidero);
    assert_eq!(config.hostname, "bloomery");
    assert_eq!(config.advertised_endpoint.as_deref(), Some("plane.example.org"));
    assert_eq!(config.ntp_servers, ["0.pool.ntp.org", "1.pool.ntp.org"]);
    assert_eq!(config.network.interface.as_deref(), Some("eth0"));
    assert_eq!(
        config.network.addressing,
        Addressing::Static(StaticAddress {
            address: "192.168.1.10/24".parse().expect("a network"),
            gateway: Some("192.168.1.1".parse().expect("an address")),
            nameservers: vec![
                "192.168.1.1".parse().expect("an address"),
                "1.1.1.1".parse().expect("an address")
            ],
        })
    );
}

#[test]
fn the_example_names_every_key() {
    let uncommented = uncommented();
    let keys = uncommented.lines().filter(|line| !line.trim_start().starts_with('#') && line.contains(':'));
    assert_eq!(keys.count(), 40, "keys in the example");
}

#[test]
fn reads_what_differs_from_the_defaults() {
    let config = Config::parse(
        "hostname: forge-1\nsidero:\n  apiEndpoint: 10.1.2.3\n  apiPort: 9091\n  extraAgentKernelArgs: \
         console=ttyS1 a=b\n  bootFromDiskMethod: ipxe-sanboot\n  autoAcceptServers: true\n  insecureWipe: false\n  \
         autoBmcSetup: false\n  serverRebootTimeout: 1h30m\n  ipmiPxeMethod: bios\n  disableDhcpProxy: true\n  \
         testPowerSimulatedSilentFailureProb: 0.25\n  eventsNegativeAddressFilter: [10.96.0.0/12]\n  \
         requireAgentToken: false\n  requireConfigToken: false\n",
    )
    .expect("valid");
    assert_eq!(config.hostname, "forge-1");
    let sidero = config.sidero;
    assert_eq!(sidero.api_endpoint, "10.1.2.3");
    assert_eq!((sidero.api_port, sidero.http_port), (9091, 8081));
    assert_eq!(sidero.extra_agent_kernel_args, "console=ttyS1 a=b");
    assert_eq!(sidero.boot_from_disk_method, BootFromDiskMethod::IpxeSanboot);
    assert!(sidero.auto_accept_servers && !sidero.insecure_wipe && !sidero.auto_bmc_setup);
    assert_eq!(sidero.server_reboot_timeout.duration().as_secs(), 5400);
    assert_eq!(sidero.server_reboot_timeout.to_string(), "1h30m");
    assert_eq!(sidero.ipmi_pxe_method, IpmiPxeMethod::Bios);
    assert!(sidero.disable_dhcp_proxy);
    assert!((sidero.test_power_simulated_silent_failure_prob - 0.25).abs() < f64::EPSILON);
    assert_eq!(sidero.events_negative_address_filter, ["10.96.0.0/12"]);
    assert!(!sidero.require_agent_token && Config::default().sidero.require_agent_token);
    assert!(!sidero.require_config_token && Config::default().sidero.require_config_token);
}

#[test]
fn reads_roles_of_interfaces_and_which_machines_are_served() {
    let config = Config::parse(
        "network:\n  interfaces:\n  - {name: eth0, role: management}\n  - {name: eth1, role: provisioning}\n\
         unknownMachines: boot-disk\nmachines:\n  allow: [\"52-54-00\", 10.20.3.4/16, relay:10.20.0.1, interface:eth1]\n  \
         deny: [\"52:54:00:AB:cd:ef\", \"subnet:fd00::/8\"]\nsidero: {autoAcceptNonEmpty: true}\n",
    )
    .expect("valid");
    assert_eq!(config.network.with_role(Role::Management).collect::<Vec<_>>(), ["eth0"]);
    assert_eq!(config.network.with_role(Role::Provisioning).collect::<Vec<_>>(), ["eth1"]);
    assert_eq!(config.unknown_machines, UnknownMachines::BootDisk);
    assert_eq!(
        config.machines.allow,
        ["oui:52:54:00", "subnet:10.20.0.0/16", "relay:10.20.0.1", "interface:eth1"]
    );
    assert_eq!(config.machines.deny, ["mac:52:54:00:ab:cd:ef", "subnet:fd00::/8"]);
    assert!(config.sidero.auto_accept_non_empty && !Config::default().sidero.auto_accept_non_empty);
    let many = vec!["52:54:00"; 1025].join(", ");
    assert!(problems(&format!("machines: {{allow: [{many}]}}\n"))[0].contains("at most 1024"));
}

#[test]
#[allow(clippy::too_many_lines, reason = "one table")]
fn each_mistake_is_named_with_its_place_and_what_is_allowed() {
    let cases = [
        (
            "hostnam: x\n",
            "bloomery.yaml:1:1: unknown key `hostnam` in the file; allowed: hostname, network, advertisedEndpoint, \
             ntp, unknownMachines, machines, sidero",
        ),
        ("hostname: 12\n", "bloomery.yaml:1:11: this is a number; allowed: a string; put it in quotes"),
        (
            "hostname: Forge\n",
            "bloomery.yaml:1:11: `Forge` is not allowed; allowed: a host name of at most 64 lower case letters, digits, \
             dots and inner dashes (RFC 1123)",
        ),
        ("a: 1\na: 2\n", "bloomery.yaml:2:1: key `a` is given twice (first on line 1); give it once"),
        (
            "sidero:\n  apiPort: 70000\n",
            "bloomery.yaml:2:12: `70000` is not a port; allowed: a whole number from 1 to 65535",
        ),
        (
            "sidero:\n  apiPort: \"8081\"\n",
            "bloomery.yaml:2:12: this is a string; allowed: a whole number from 1 to 65535",
        ),
        ("sidero:\n  insecureWipe: yes\n", "bloomery.yaml:2:17: this is a string; allowed: true or false"),
        (
            "sidero:\n  bootFromDiskMethod: sanboot\n",
            "bloomery.yaml:2:23: `sanboot` is not allowed; allowed: ipxe-exit, http-404 or ipxe-sanboot",
        ),
        (
            "sidero:\n  serverRebootTimeout: 20\n",
            "bloomery.yaml:2:24: this is a number; allowed: a string; put it in quotes",
        ),
        (
            "sidero:\n  serverRebootTimeout: 20 minutes\n",
            "bloomery.yaml:2:24: `20 minutes` is not allowed; allowed: a time span above zero in Go's notation, such \
             as 20m, 90s or 1h30m",
        ),
        (
            "network:\n  static:\n    gateway: 10.0.0.1\n",
            "bloomery.yaml:3:5: `network.static` without `address`; give one such as 192.168.1.10/24",
        ),
        (
            "network:\n  static:\n    address: 10.0.0.2/24\n    gateway: 10.0.1.1\n",
            "bloomery.yaml:4:14: gateway 10.0.1.1 cannot be reached from 10.0.0.2/24; allowed: another address of \
             10.0.0.0/24",
        ),
        (
            "network:\n  static: {address: 10.0.0.0/24}\n",
            "bloomery.yaml:2:21: `10.0.0.0/24` is not allowed; allowed: an IPv4 host address with its prefix length, \
             such as 192.168.1.10/24",
        ),
        (
            "network:\n  dhcp: false\n",
            "bloomery.yaml:2:9: `dhcp: false` without `static`; give `static` with an `address`",
        ),
        (
            "network:\n  dhcp: true\n  static: {address: 10.0.0.2/24}\n",
            "bloomery.yaml:3:11: `static` beside `dhcp: true`; give one of the two",
        ),
        ("ntp: pool.ntp.org\n", "bloomery.yaml:1:6: `ntp` is a string; allowed is a mapping of: servers"),
        (
            "ntp: {servers: pool.ntp.org}\n",
            "bloomery.yaml:1:16: `ntp.servers` is a string; allowed is a list of strings",
        ),
        (
            "advertisedEndpoint: https://plane:6443\n",
            "bloomery.yaml:1:21: `https://plane:6443` is not allowed; allowed: a host name in lower case or an IP \
             address, without scheme and port",
        ),
        (
            "hostname: &a forge\n",
            "bloomery.yaml:1:11: YAML anchors and aliases are not supported; write the value out",
        ),
        (
            "network:\n  interfaces: eth0\n",
            "bloomery.yaml:2:15: `network.interfaces` is a string; allowed is a list of mappings with `name` and `role`",
        ),
        (
            "network:\n  interfaces:\n  - name: eth0\n    role: both\n",
            "bloomery.yaml:4:11: `both` is not allowed; allowed: management or provisioning",
        ),
        (
            "network:\n  interfaces:\n  - name: eth0\n",
            "bloomery.yaml:3:5: an entry of `network.interfaces` without `role`; give both `name` and `role`",
        ),
        (
            "network:\n  interfaces:\n  - {name: eth0, role: management}\n  - {name: eth0, role: provisioning}\n",
            "bloomery.yaml:4:5: interface `eth0` is named twice in `network.interfaces`; give it once",
        ),
        (
            "network:\n  interfaces: [{name: \"a,b\", role: management}]\n",
            "bloomery.yaml:2:23: `a,b` is not allowed; allowed: an interface name without a comma",
        ),
        (
            "unknownMachines: wipe\n",
            "bloomery.yaml:1:18: `wipe` is not allowed; allowed: agent, boot-disk or ignore",
        ),
        (
            "machines:\n  deny: [10.0.0.0/8, 52:54]\n",
            "bloomery.yaml:2:22: `52:54` is not allowed; allowed: mac:52:54:00:12:34:56, oui:52:54:00, \
             subnet:10.20.0.0/16, relay:10.20.0.1 or interface:eth1",
        ),
        ("hostname: a\n---\nhostname: b\n", "bloomery.yaml:3:1: a second YAML document; give one only"),
    ];
    for (text, expected) in cases {
        assert!(problems(text).iter().any(|problem| problem == expected), "{text:?}: {:#?}", problems(text));
    }
}

#[test]
fn all_mistakes_are_told_in_one_go_in_the_order_of_lines() {
    let found = problems("hostname: UPPER\nnetwork:\n  iface: eth0\nsidero:\n  apiPort: 0\n  wipe: true\n");
    let places: Vec<_> = found.iter().map(|line| line.split(": ").next().unwrap_or_default()).collect();
    assert_eq!(
        places,
        ["bloomery.yaml:1:11", "bloomery.yaml:3:3", "bloomery.yaml:5:12", "bloomery.yaml:6:3"]
    );
}

#[test]
fn syntax_errors_name_their_place() {
    let found = problems("hostname: x\nnetwork: [a, b\nsidero: {}\n");
    assert!(found[0].starts_with("bloomery.yaml:3:") && found[0].contains("not valid YAML"), "{found:?}");
}

#[test]
fn bytes_that_are_not_utf8_are_placed() {
    let error = Config::parse_bytes(b"hostname: a\nntp: \xff\n").expect_err("not UTF-8");
    assert!(error.to_string().starts_with("bloomery.yaml:2:6: "), "{error}");
}

#[test]
fn endless_input_is_refused() {
    assert!(Config::parse(&"#".repeat(70_000)).is_err());
    let deep = (0..20).map(|depth| " ".repeat(depth) + "a:\n").collect::<String>();
    assert!(problems(&deep).iter().any(|problem| problem.contains("nested too deeply")));
    for flood in ["[", "{", "- ", "? ", "a: {"] {
        assert!(Config::parse(&flood.repeat(10_000)).is_err(), "{flood:?}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = Config::parse_bytes(&bytes);
    }

    #[test]
    fn arbitrary_text_never_panics(text in "[ -~\n\t\u{e9}]{0,300}") {
        let _ = Config::parse(&text);
    }

    #[test]
    fn yaml_made_of_our_own_words_never_panics(
        words in proptest::collection::vec(
            prop_oneof![
                Just("hostname"), Just("network"), Just("static"), Just("sidero"), Just("address"), Just(":"), Just(": "),
                Just("\n"), Just("\n  "), Just("\n    "), Just("- "), Just("["), Just("]"), Just("{"), Just("}"), Just(","),
                Just("\""), Just("'"), Just("&a "), Just("*a"), Just("!!str "), Just("|\n"), Just("10.0.0.1/24"), Just("-1"),
                Just("? "), Just("---\n"), Just("...\n"), Just("%YAML 1.2\n"), Just("\t"), Just("#"),
            ],
            0..40,
        )
    ) {
        let _ = Config::parse(&words.concat());
    }

    #[test]
    fn every_valid_name_comes_back(name in "[a-z]([a-z0-9-]{0,20}[a-z0-9])?") {
        prop_assume!(!matches!(name.as_str(), "null" | "true" | "false"));
        prop_assert_eq!(Config::parse(&format!("hostname: {name}")).expect("valid").hostname, name);
    }
}

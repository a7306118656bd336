//! The boot services as a process of their own on real cards, asked over the network as machines and relays do.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};

use crate::support::namespace::{Network, inside, ip, until};
use crate::support::process::{AGENT_FILE, HEALTH_PORT, LOADER, Process};
use crate::support::wire::{Client, DISCOVER, GUID, INFORM, Log as _, REQUEST, UUID, get, request, tftp};
use dhcproto::v4::MessageType;

const PLANE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 3);
const MACHINE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 50);
const MAC: [u8; 6] = [0x52, 0x54, 0, 0x77, 9, 1];

/// One cable between the plane and a machine, which has an address or none yet.
fn one_machine(address: Option<&str>) -> Network {
    let machine = Network::new();
    machine.cable(("lan0", "10.77.0.3/24"), ("eth0", address));
    machine
}

#[test]
fn a_client_that_asks_the_boot_server_port_is_answered_from_it() {
    inside("a_client_that_asks_the_boot_server_port_is_answered_from_it", || {
        let machine = one_machine(Some("10.77.0.50/24"));
        let process = Process::start(&[]);
        let client = machine.within(|| Client::bound(SocketAddrV4::new(MACHINE, 68), None));
        let server = SocketAddrV4::new(PLANE, 4011);
        for kind in [REQUEST, INFORM] {
            let (answer, source) = client.ask(&request(kind, MAC, 7, &[]), server, &process);
            assert_eq!(source, server);
            assert_eq!(answer.message_type(), Some(MessageType::Ack));
            assert_eq!((answer.server(), answer.server_id()), (PLANE, Some(PLANE)));
            assert_eq!(answer.file().as_deref(), Some("snp.efi"));
        }
        // An offer is never made there, and no acknowledgement on the other port.
        for (kind, port) in [(DISCOVER, 4011), (REQUEST, 67)] {
            client.stays_without_answer(
                &request(kind, MAC, 7, &[]),
                SocketAddrV4::new(PLANE, port),
                &process,
            );
        }
    });
}

#[test]
fn a_relay_is_answered_at_its_own_address_with_its_information_last() {
    inside("a_relay_is_answered_at_its_own_address_with_its_information_last", || {
        // The relay asks from its side of the plane's network, and is named by its side of the machines'.
        let relay = one_machine(Some("10.77.0.9/24"));
        relay.within(|| ip("addr add 10.79.0.1/24 dev lo"));
        ip("route add 10.79.0.0/24 via 10.77.0.9");
        let process = Process::start(&[]);
        let named = Ipv4Addr::new(10, 79, 0, 1);
        let listens = relay.within(|| Client::bound(SocketAddrV4::new(named, 67), None));
        let information = [1, 4, b'e', b't', b'h', b'0', 2, 2, 7, 7];
        // From port 67 as RFC 1542 wants it, and from any other.
        for port in [67, 20067] {
            let asks = relay.within(|| UdpSocket::bind((Ipv4Addr::new(10, 77, 0, 9), port))).unwrap();
            for options in [&[(82, &information[..])][..], &[]] {
                let mut datagram = request(DISCOVER, MAC, 11, options);
                datagram[24..28].copy_from_slice(&named.octets());
                let server = SocketAddrV4::new(PLANE, 67);
                let (answer, source) = listens.answer_to(&datagram, &process, || {
                    asks.send_to(&datagram, server).unwrap();
                });
                assert_eq!(source, server);
                assert_eq!(answer.message_type(), Some(MessageType::Offer));
                assert_eq!((answer.server(), answer.relay()), (PLANE, named));
                assert_eq!(answer.file().as_deref(), Some("snp-arm64.efi"));
                assert_eq!(answer.option(82).as_deref(), options.first().map(|(_, value)| *value));
                assert!(options.is_empty() || answer.last_option() == 82, "{answer:?}");
            }
        }
    });
}

#[test]
fn each_card_answers_for_itself() {
    inside("each_card_answers_for_itself", || {
        let (one, two) = (Network::new(), Network::new());
        one.cable(("lan0", "10.77.0.3/24"), ("eth0", None));
        two.cable(("lan1", "10.78.0.3/24"), ("eth0", None));
        let process = Process::start(&[]);
        // A card that comes later is served too.
        let three = Network::new();
        three.cable(("lan2", "10.79.0.3/24"), ("eth0", None));
        let wires = [(&one, [10, 77, 0, 3]), (&two, [10, 78, 0, 3]), (&three, [10, 79, 0, 3])];
        for (network, address) in wires {
            let address = Ipv4Addr::from(address);
            let anybody = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);
            let client = network.within(|| Client::bound(anybody, Some("eth0")));
            for (architecture, file) in
                [(7, "snp.efi".to_owned()), (16, format!("http://{address}:8081/tftp/snp.efi"))]
            {
                let datagram = request(DISCOVER, MAC, architecture, &[]);
                let everybody = SocketAddrV4::new(Ipv4Addr::BROADCAST, 67);
                let (answer, source) = client.ask(&datagram, everybody, &process);
                assert_eq!(source, SocketAddrV4::new(address, 67));
                assert_eq!((answer.server(), answer.server_id()), (address, Some(address)));
                assert_eq!(answer.file(), Some(file));
            }
        }
    });
}

#[test]
fn without_proxy_dhcp_its_ports_are_free_and_the_files_are_served() {
    inside("without_proxy_dhcp_its_ports_are_free_and_the_files_are_served", || {
        let machine = one_machine(Some("10.77.0.50/24"));
        let is_free = |port| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok();
        let served = |process: &Process| {
            let loader = machine.within(|| tftp(SocketAddrV4::new(PLANE, 69), "snp.efi", process));
            assert_eq!(loader, LOADER);
            let script = machine.within(|| get(SocketAddrV4::new(PLANE, 8081), "/boot.ipxe"));
            assert!(script.starts_with("HTTP/1.1 200") && script.contains("#!ipxe"), "{script}");
        };
        let mut process = Process::start(&["--disable-dhcp-proxy=true"]);
        assert!(is_free(67) && is_free(4011) && !is_free(69));
        served(&process);
        process.restart(&[]);
        assert!(!is_free(67) && !is_free(4011) && !is_free(69));
        served(&process);
    });
}

#[test]
fn the_trace_of_a_boot_is_served_as_json() {
    inside("the_trace_of_a_boot_is_served_as_json", || {
        let machine = one_machine(None);
        machine.within(|| ip("link set eth0 address 52:54:00:77:09:01"));
        let process = Process::start(&[]);
        let anybody = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);
        let firmware = machine.within(|| Client::bound(anybody, Some("eth0")));
        let everybody = SocketAddrV4::new(Ipv4Addr::BROADCAST, 67);
        firmware.ask(&request(DISCOVER, MAC, 7, &[(97, &GUID)]), everybody, &process);
        machine.within(|| ip("addr add 10.77.0.50/24 broadcast + dev eth0"));
        assert_eq!(machine.within(|| tftp(SocketAddrV4::new(PLANE, 69), "snp.efi", &process)), LOADER);
        let http = |path: &str| machine.within(|| get(SocketAddrV4::new(PLANE, 8081), path));
        assert!(http("/boot.ipxe").contains("#!ipxe"));
        let query = format!("/ipxe?uuid={UUID}&mac=52-54-00-77-09-01&arch=x86_64&platform=efi");
        let script = http(&query);
        assert!(script.contains("kernel /env/agent-amd64/vmlinuz"), "{script}");
        for file in ["vmlinuz", "initramfs.xz"] {
            assert!(http(&format!("/env/agent-amd64/{file}")).ends_with(AGENT_FILE));
        }
        // What was sent last is noted when its connection is done with.
        until("the whole boot is in the trace", 20, || {
            let answer = get(SocketAddrV4::new(Ipv4Addr::LOCALHOST, HEALTH_PORT), "/traces");
            let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
            assert!(head.starts_with("HTTP/1.1 200") && head.contains("application/json"), "{head}");
            let report: serde_json::Value = serde_json::from_str(body).unwrap();
            is_whole_boot(&report).then_some(()).ok_or_else(|| format!("{report:#}"))
        });
    });
}

/// Finding 5: the token of another machine, asked for over either family of addresses.
#[test]
fn a_neighbour_that_names_another_machines_card_gets_no_token() {
    const OWN: &str = "52-54-00-77-09-66";
    const VICTIM: &str = "52-54-00-77-09-01";
    inside("a_neighbour_that_names_another_machines_card_gets_no_token", || {
        let host = one_machine(None);
        ip("addr add fd00:77::3/64 dev lan0 nodad");
        let scope = host.within(|| {
            ip("link set eth0 address 52:54:00:77:09:66");
            ip("addr add 10.77.0.66/24 broadcast + dev eth0");
            ip("addr add fd00:77::66/64 dev eth0 nodad");
            nix::net::if_::if_nametoindex("eth0").unwrap()
        });
        let process = Process::start(&[]);
        let ours = format!("fe80::{}", link_local_of("lan0"));
        let doors: [SocketAddr; 3] = [
            SocketAddrV4::new(PLANE, 8081).into(),
            "[fd00:77::3]:8081".parse().unwrap(),
            SocketAddrV6::new(ours.parse().unwrap(), 8081, 0, scope).into(),
        ];
        for door in doors {
            let ask = |card: &str| {
                let path = format!("/ipxe?uuid={UUID}&mac={card}&arch=x86_64&platform=efi");
                host.within(|| get(door, &path))
            };
            // The address of the link takes a second to be usable.
            let script = until("the host gets the agent by its own name", 20, || {
                let script = ask(OWN);
                if script.contains("kernel /env/agent-amd64/") { Ok(script) } else { Err(script) }
            });
            assert!(script.contains("bloomery.token="), "{door}: {script}\n{}", process.log());
            for named in [VICTIM, ""] {
                let script = ask(named);
                assert!(script.contains("kernel /env/agent-amd64/"), "{door}: {script}");
                assert!(!script.contains("bloomery.token="), "{door} {named:?}: {script}");
            }
        }
    });
}

/// The interface's part of the address that the kernel made for the link.
fn link_local_of(name: &str) -> String {
    let output =
        std::process::Command::new("ip").args(["-6", "-o", "addr", "show", "dev", name]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (_, rest) = text.split_once("inet6 fe80::").unwrap_or_else(|| panic!("{text}"));
    rest.split('/').next().unwrap().to_owned()
}

/// Whether the report is of the one machine, and of all that it did. What one service notes may come before what
/// another one is about to note of a moment earlier.
fn is_whole_boot(report: &serde_json::Value) -> bool {
    let [machine] = report["machines"].as_array().unwrap().as_slice() else { return false };
    let steps: Vec<&str> =
        machine["steps"].as_array().unwrap().iter().filter_map(|step| step["step"].as_str()).collect();
    let wanted = [
        "discover",
        "offer-tftp",
        "loader-tftp-complete",
        "boot-script",
        "decision-agent",
        "kernel-complete",
        "initramfs-complete",
    ];
    machine["uuid"] == UUID
        && machine["macs"][0] == "52:54:00:77:09:01"
        && machine["addresses"][0] == "10.77.0.50"
        && wanted.iter().all(|wanted| steps.contains(wanted))
}

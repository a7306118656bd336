//! The boot services as a process of their own on real cards, asked over the network as machines and relays do.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};

use crate::support::namespace::{Network, inside, ip, until};
use crate::support::process::{AGENT_FILE, HEALTH_PORT, LOADER, Process};
use crate::support::wire::{Client, DISCOVER, GUID, INFORM, Log as _, REQUEST, UUID, get, request, tftp};
use bloomery_api::ServerBinding;
use bloomery_api::metadata::rendered::Rendered;
use bloomery_api::metadata::verdict::Verdict;
use dhcproto::v4::MessageType;
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use serde_json::json;

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

const CARD: &str = "52:54:00:77:09:01";
const CONFIG: &str = "version: v1alpha1\nmachine: {token: secret-of-the-cluster}\n";

/// Promise S5 on real cards, with the services' own rights: a machine that is told to boot its node system gets its
/// configuration, also after a power cut of the plane; a neighbour gets nothing with all that it can read off the wire.
#[test]
fn a_configuration_goes_to_the_machine_that_was_told_to_fetch_it_and_to_no_neighbour() {
    inside("a_configuration_goes_to_the_machine_that_was_told_to_fetch_it_and_to_no_neighbour", || {
        let (machine, neighbour) = (one_machine(Some("10.77.0.50/24")), Network::new());
        neighbour.cable(("lan1", "10.78.0.3/24"), ("eth0", Some("10.78.0.66/24")));
        machine.within(|| ip(&format!("link set eth0 address {CARD}")));
        let mut process = Process::start(&[]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let admin = runtime.block_on(process.control().client("admin", &["system:masters"]));
        runtime.block_on(install(&admin));
        process.write_environment("default");
        let own = |path: &str| machine.within(|| get(SocketAddrV4::new(PLANE, 8081), path));
        let other =
            |path: &str| neighbour.within(|| get(SocketAddrV4::new(Ipv4Addr::new(10, 78, 0, 3), 8081), path));
        let ask = format!("/ipxe?uuid={UUID}&mac={}", CARD.replace(':', "-"));
        let boot = || {
            until("the machine is told to boot its node system", 30, || {
                let script = own(&ask);
                let (_, rest) =
                    script.split_once("talos.config=http://10.77.0.3:8081").ok_or(script.clone())?;
                Ok(rest.split_whitespace().next().unwrap().to_owned())
            })
        };
        let path = boot();
        let is_given = |answer: &str| answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(CONFIG);
        let until_given = |path: &str| {
            until("the machine gets its configuration", 30, || {
                let answer = own(path);
                if is_given(&answer) { Ok(()) } else { Err(format!("{answer}\n{}", process.log())) }
            });
        };
        until_given(&path);
        // A neighbour asks with the very token, asks to boot as the machine, and guesses.
        let without = format!("/configdata?uuid={UUID}");
        for path in [&path, &without, &format!("{without}&token=x")] {
            let answer = other(path);
            assert!(answer.starts_with("HTTP/1.1 403 ") && !answer.contains("secret-of"), "{answer}");
        }
        assert!(!other(&ask).contains("token="));
        runtime.block_on(until_event(&admin, "10.78.0.66"));
        // The plane's power is cut: the machine may go on, the neighbour may not begin.
        process.restart(&[]);
        let until_given = |path: &str| {
            until("the machine gets it from the new process", 30, || {
                let answer = own(path);
                if is_given(&answer) { Ok(()) } else { Err(format!("{answer}\n{}", process.log())) }
            });
        };
        until_given(&path);
        assert!(other(&path).starts_with("HTTP/1.1 403 "));
        // It boots again: the token of the boot before is worth nothing, not even to itself.
        let second = boot();
        assert!(own(&path).starts_with("HTTP/1.1 403 "));
        until_given(&second);
    });
}

/// A bound machine, its configuration as the controllers keep it, and the right to read it.
async fn install(admin: &kube::Client) {
    let apply = async |object: serde_json::Value, namespace: Option<&str>| {
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        let kind = GroupVersionKind::try_from(object.types.as_ref().unwrap()).unwrap();
        let resource = ApiResource::from_gvk(&kind);
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(admin.clone(), namespace, &resource),
            None => Api::all_with(admin.clone(), &resource),
        };
        let (name, params) = (object.metadata.name.clone().unwrap(), PatchParams::apply("test").force());
        let applied = api.patch(&name, &params, &Patch::Apply(&object)).await.unwrap();
        if object.data.get("status").is_some() {
            api.patch_status(&name, &params, &Patch::Apply(&object)).await.unwrap();
        }
        applied
    };
    let metal = "metal.sidero.dev/v1alpha2";
    let hardware = json!({ "system": { "uuid": UUID }, "network": { "interfaces": [{ "mac": CARD }] } });
    apply(
        json!({ "apiVersion": metal, "kind": "Server", "metadata": { "name": UUID },
        "spec": { "accepted": true, "hardware": hardware } }),
        None,
    )
    .await;
    let ready = |url: &str| json!({ "url": url, "type": "Ready", "status": "True", "sha512": "" });
    apply(
        json!({ "apiVersion": metal, "kind": "Environment", "metadata": { "name": "default" },
        "spec": { "kernel": { "url": "http://k" }, "initrd": { "url": "http://i" } },
        "status": { "conditions": [ready("http://k"), ready("http://i")] } }),
        None,
    )
    .await;
    let made = apply(
        json!({ "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha3", "kind": "ServerBinding",
        "metadata": { "name": UUID },
        "spec": { "metalMachineRef": { "kind": "MetalMachine", "name": "m", "namespace": "default" } } }),
        None,
    )
    .await;
    let binding: ServerBinding = serde_json::from_value(serde_json::to_value(made).unwrap()).unwrap();
    let rendered = Rendered { outcome: Ok((CONFIG.to_owned(), Verdict::GOOD)), patches: Vec::new() };
    let mut secret = serde_json::to_value(rendered.secret(&binding, "digest").unwrap()).unwrap();
    secret["apiVersion"] = json!("v1");
    secret["kind"] = json!("Secret");
    apply(secret, Some("sidero-system")).await;
    let rule = json!({ "apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": [format!("{UUID}-config")] });
    apply(
        json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": { "name": "bloomery:bootsvc-configurations" }, "rules": [rule] }),
        Some("sidero-system"),
    )
    .await;
}

async fn until_event(admin: &kube::Client, words: &str) {
    let events: Api<Event> = Api::namespaced(admin.clone(), "default");
    bloomery_testkit::eventually("the attempt is an event", async || {
        let all = events.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let refused = |event: &Event| event.reason.as_deref() == Some("ConfigurationRefused");
        let texts: Vec<_> = all.into_iter().filter(refused).filter_map(|event| event.message).collect();
        if texts.iter().any(|text| text.contains(words)) { Ok(()) } else { Err(format!("{texts:?}")) }
    })
    .await;
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

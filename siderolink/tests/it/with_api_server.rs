//! Against a real etcd and kube-apiserver (see `bloomery-testkit`): `make test-apiserver` names these by this module.

use std::io::Write as _;
use std::time::Duration;

use bloomery_api::condition::{self, ConditionStatus};
use bloomery_api::server_binding::{TALOS_CONFIG_LOADED, TALOS_INSTALLED};
use bloomery_siderolink_api::machine;
use bloomery_siderolink_api::machine::sequence_event::Action;
use bloomery_testkit::namespace::{inside, ip, until};
use kube::api::{DeleteParams, Patch, PatchParams};
use prost_types::Any;
use serde_json::json;
use tonic::Code;

use crate::support::node::{Node, event, flood};
use crate::support::site::{SERVER, Site};

const FIRST: &str = "4c4c4544-0042-3110-8051-b7c04f4e3331";
const SECOND: &str = "4c4c4544-0042-3110-8051-b7c04f4e3332";

fn addresses(addresses: &[&str]) -> Any {
    let addresses = addresses.iter().map(|address| (*address).to_owned()).collect();
    event("AddressEvent", &machine::AddressEvent { hostname: "node-1".to_owned(), addresses })
}

fn sequence(name: &str, action: Action) -> Any {
    event(
        "SequenceEvent",
        &machine::SequenceEvent { sequence: name.to_owned(), action: action.into(), error: None },
    )
}

fn line(text: &str) -> Vec<u8> {
    let line = json!({ "msg": text, "talos-time": "T", "facility": "kern", "priority": "info" });
    format!("{line}\n").into_bytes()
}

fn state(site: &Site, type_: &str) -> Option<ConditionStatus> {
    let status = site.binding(FIRST).status.unwrap_or_default();
    condition::find(&status.conditions, type_).map(|condition| condition.status)
}

/// The plane's network: nodes call one address, over a cable each.
fn with_network(test: &str, body: impl FnOnce()) {
    inside(test, || {
        ip("addr add 10.77.0.3/32 dev lo");
        body();
    });
}

#[test]
fn a_bound_machine_gets_a_tunnel_and_what_it_says_is_recorded() {
    with_network("a_bound_machine_gets_a_tunnel_and_what_it_says_is_recorded", || {
        let mut site = Site::start(&["--events-negative-address-filter=10.99.0.0/16"]);
        let mut node = Node::new(FIRST, 1);
        let refused = node.provision().unwrap_err();
        let expected = format!("server binding \"{FIRST}\" not found");
        assert_eq!((refused.code(), refused.message()), (Code::NotFound, expected.as_str()));

        site.bind(FIRST);
        let refused = node.provision_with(FIRST, "AAAA").unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().starts_with("error parsing Wireguard key: "), "{refused:?}");
        assert_eq!(site.binding(FIRST).spec.siderolink, None, "nothing is stored");

        let given = node.provision().unwrap();
        assert_eq!(given.server_endpoint, ["10.77.0.3:51821"]);
        assert_eq!(given.server_address, SERVER);
        let binding = site.binding(FIRST);
        let link = binding.spec.siderolink.clone().unwrap();
        assert_eq!((&link.address, &link.public_key), (&given.node_address_prefix, &node.public_key()));
        assert_eq!(binding.metadata.annotations.unwrap()["example.com/kept"], "yes");

        // Capital letters are the same UUID, and the same key changes nothing.
        let again = node.provision_with(&FIRST.to_uppercase(), &node.public_key()).unwrap();
        assert_eq!(again, given);
        assert_eq!(site.binding(FIRST).metadata.resource_version, binding.metadata.resource_version);

        let tunnel = node.connect(&given);
        let own = site.address(FIRST).to_string();
        let unknown = Any { type_url: "type.googleapis.com/machine.TaskEvent".to_owned(), value: vec![0xff] };
        let answers = tunnel.publish(vec![
            unknown,
            addresses(&["10.77.1.50", &own, "10.99.0.1", "nonsense"]),
            event(
                "ConfigLoadErrorEvent",
                &machine::ConfigLoadErrorEvent { error: "no such host".to_owned() },
            ),
        ]);
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        let binding = site.binding(FIRST);
        assert_eq!(
            (binding.spec.addresses.as_slice(), binding.spec.hostname.as_str()),
            (&["10.77.1.50".to_owned()][..], "node-1")
        );
        assert_eq!(binding.spec.metal_machine_ref.name.as_deref(), Some("m"));
        assert_eq!(state(&site, TALOS_CONFIG_LOADED), Some(ConditionStatus::False));
        assert_eq!(state(&site, TALOS_INSTALLED), None);
        let answers = tunnel.publish(vec![sequence("boot", Action::Start), sequence("boot", Action::Stop)]);
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        assert_eq!(state(&site, TALOS_CONFIG_LOADED), Some(ConditionStatus::True));
        assert_eq!(state(&site, TALOS_INSTALLED), Some(ConditionStatus::True));
        // The same again is no news, and writes nothing.
        let before = site.binding(FIRST).metadata.resource_version;
        assert!(tunnel.publish(vec![sequence("boot", Action::Start)])[0].is_ok());
        assert_eq!(site.binding(FIRST).metadata.resource_version, before);

        let mut log = tunnel.log();
        log.write_all(&[line("one"), line("two \u{1b}[2J")].concat()).unwrap();
        until("the log is kept", 20, || {
            let kept = site.machine_log(FIRST);
            if kept == "T kern.info one\nT kern.info two \\x1b[2J\n" { Ok(()) } else { Err(kept) }
        });
        drop((log, tunnel));

        // A power cut: the address stays, and after the machine's own restart as well, with its new key.
        site.kill();
        site.start_program();
        let tunnel = node.connect(&given);
        assert!(tunnel.publish(vec![sequence("boot", Action::Start)])[0].is_ok());
        drop(tunnel);
        let former = node.public_key();
        node.restart();
        let new = node.provision().unwrap();
        assert_eq!(new.node_address_prefix, given.node_address_prefix);
        assert_ne!(node.public_key(), former);
        let tunnel = node.connect(&new);
        assert!(tunnel.publish(vec![sequence("boot", Action::Start)])[0].is_ok());
        assert!(site.get("/metrics").contains("siderolink_peers 1\n"));

        // The binding goes, and the tunnel with it.
        site.runtime.block_on(site.bindings().delete(FIRST, &DeleteParams::default())).unwrap();
        until("the tunnel is closed", 20, || {
            if tunnel.reaches() { Err("it is open".to_owned()) } else { Ok(()) }
        });
        assert_eq!(node.provision().unwrap_err().code(), Code::NotFound);
    });
}

#[test]
fn a_node_speaks_in_no_other_nodes_name() {
    with_network("a_node_speaks_in_no_other_nodes_name", || {
        let site = Site::start(&[]);
        site.bind(FIRST);
        site.bind(SECOND);
        let (good, bad) = (Node::new(FIRST, 1), Node::new(SECOND, 2));
        let given = good.provision().unwrap();
        let theirs = bad.provision().unwrap();
        assert_ne!(given.node_address_prefix, theirs.node_address_prefix);
        // With the other's key it gets nothing: that is the other's.
        let refused = bad.provision_with(SECOND, &good.public_key()).unwrap_err();
        assert_eq!(refused.code(), Code::AlreadyExists);
        assert!(good.connect(&given).reaches());
        // From the other's address its packets are dropped.
        assert!(!bad.connect_as(&theirs, &given.node_address_prefix).reaches());
        // Past the tunnel nobody is heard, though what is not bound to it would be.
        ip("-6 addr add fd00:77::3/64 dev lan2 nodad");
        bad.go_past_the_tunnel();
        let _other = std::net::TcpListener::bind(format!("[{SERVER}]:4003")).unwrap();
        bad.reach("fd00:77::50", 4003).unwrap();
        let victim = site.address(FIRST).to_string();
        for port in [4001, 4002] {
            for from in ["fd00:77::50", &victim] {
                assert!(bad.reach(from, port).is_err(), "{from} {port}");
            }
        }
        bad.come_back();
        // An address that is stolen in the API is not given to two: the first of the names keeps it.
        let patch = json!({ "spec": { "siderolink": { "address": given.node_address_prefix, "publicKey": bad.public_key() } } });
        site.runtime
            .block_on(site.bindings().patch(SECOND, &PatchParams::default(), &Patch::Merge(patch)))
            .unwrap();
        until("one peer is left", 20, || {
            let metrics = site.get("/metrics");
            if metrics.contains("siderolink_peers 1\n") { Ok(()) } else { Err(metrics) }
        });
        assert!(good.connect(&given).reaches());
        // Asked again it gets one of its own.
        let anew = bad.provision().unwrap();
        assert_ne!(anew.node_address_prefix, given.node_address_prefix);
        assert!(bad.connect(&anew).reaches());
    });
}

#[test]
fn a_flood_of_logs_is_bounded_and_others_are_heard() {
    with_network("a_flood_of_logs_is_bounded_and_others_are_heard", || {
        let site = Site::start(&[]);
        site.bind(FIRST);
        site.bind(SECOND);
        let (loud, quiet) = (Node::new(FIRST, 1), Node::new(SECOND, 2));
        let (given, theirs) = (loud.provision().unwrap(), quiet.provision().unwrap());
        let (tunnel, other) = (loud.connect(&given), quiet.connect(&theirs));
        let sent = flood(tunnel.log(), &line(&"x".repeat(900)), Duration::from_secs(10));
        let mut log = other.log();
        log.write_all(&line("still here")).unwrap();
        until("the other is heard", 20, || {
            let kept = site.machine_log(SECOND);
            if kept.contains("still here") { Ok(()) } else { Err(kept) }
        });
        let files = std::fs::read_dir(site.machine_logs()).unwrap();
        let kept: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
        // Two files of 512 KiB, and a line of the other.
        assert!(kept <= (1 << 20) + 4096, "{kept} octets kept of {sent} sent");
        // The burst, what ten seconds give, and what the buffers of two kernels hold.
        assert!(sent < 16 << 20, "{sent} octets were taken");
        // What is no log ends the connection and is counted.
        let mut nonsense = tunnel.log();
        nonsense.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        until("the connection ends", 20, || {
            let metrics = site.get("/metrics");
            if metrics.contains("siderolink_log_connections_refused_total 1\n") {
                Ok(())
            } else {
                Err(metrics)
            }
        });
    });
}

#[test]
fn the_service_may_change_nothing_else_of_a_binding() {
    with_network("the_service_may_change_nothing_else_of_a_binding", || {
        let site = Site::start(&[]);
        site.bind(FIRST);
        let own = site.as_the_service();
        let patch = |part: &str, change: serde_json::Value| {
            let (bindings, change) = (own.clone(), Patch::Merge(change));
            let params = PatchParams::default();
            site.runtime.block_on(async {
                match part {
                    "status" => bindings.patch_status(FIRST, &params, &change).await,
                    _ => bindings.patch(FIRST, &params, &change).await,
                }
            })
        };
        let condition = |kind: &str| {
            let at = "2026-11-30T08:00:00Z";
            json!({ "status": { "conditions": [{ "type": kind, "status": "True", "lastTransitionTime": at }] } })
        };
        let allowed = [
            ("", json!({ "spec": { "hostname": "n", "addresses": ["10.0.0.1"] } })),
            ("", json!({ "spec": { "siderolink": { "address": "fd00::2/64", "publicKey": "k" } } })),
            ("", json!({ "metadata": { "annotations": { "bloomery.dev/talos-version": "v1.13.9" } } })),
            ("status", condition("TalosInstalled")),
        ];
        for (part, change) in allowed {
            assert!(patch(part, change.clone()).is_ok(), "{change}");
        }
        let refused = [
            ("", json!({ "spec": { "metalMachineRef": { "name": "other" } } })),
            ("", json!({ "spec": { "serverClassRef": { "name": "other" } } })),
            ("", json!({ "metadata": { "annotations": { "example.com/kept": null } } })),
            ("", json!({ "metadata": { "annotations": { "other": "x" } } })),
            ("", json!({ "metadata": { "labels": { "other": "x" } } })),
            ("", json!({ "metadata": { "finalizers": ["example.com/x"] } })),
            ("status", json!({ "status": { "ready": true } })),
            ("status", condition("Ready")),
        ];
        for (part, change) in refused {
            let error = patch(part, change.clone()).map(drop).unwrap_err();
            let is_refused =
                matches!(&error, kube::Error::Api(status) if status.code == 403 || status.code == 422);
            assert!(is_refused && error.to_string().contains("SideroLink"), "{change}: {error}");
        }
        // What others say of the machine stays when the service adds its own, and cannot be taken away by it.
        let params = PatchParams::default();
        let all = site.bindings();
        site.runtime.block_on(all.patch_status(FIRST, &params, &Patch::Merge(condition("Other")))).unwrap();
        assert!(patch("status", condition("TalosInstalled")).is_err());
        let secrets = site.secrets_as_the_service();
        assert!(site.runtime.block_on(secrets.get("siderolink")).is_ok());
        assert!(site.runtime.block_on(secrets.get("other")).is_err());
        assert!(site.runtime.block_on(secrets.list(&kube::api::ListParams::default())).is_err());
    });
}

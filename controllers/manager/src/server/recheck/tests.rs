//! Everything that may change between a decision and its command.

use bloomery_api::ServerSpec;
use bloomery_api::condition::Severity;
use bloomery_api::contents::ContentsClass;
use bloomery_api::decision::controllers::SharedController;
use bloomery_api::decision::identity::{Conflict, Peer, SharedMark};
use bloomery_api::evidence::{DISKS_ANNOTATION, DiskRecord, Entry};
use bloomery_api::server::ManagementApi;
use bloomery_api::trust::{SigningKey, Trust};
use k8s_openapi::api::core::v1::NodeAddress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use super::*;
use bloomery_api::Condition;
use bloomery_api::server::POWER_CYCLE;

fn holds(epoch: i64) -> Authority {
    Authority::Holds { epoch, trust: Trust::new(SigningKey::new([7; 32]), "own") }
}

const ALONE: &Judgement = &Judgement { conflict: None, shared: None };

fn at(second: i64) -> Time {
    Time(Timestamp::from_second(second).unwrap())
}

fn claim(second: i64) -> Condition {
    Condition::fails(POWER_CYCLE, Severity::Info, "InProgress", format!("cycled at {second}"), at(second))
}

/// An accepted machine that was never used, with the claim of a cycle.
fn server() -> Server {
    let mut server = Server::new("a", ServerSpec { accepted: true, ..ServerSpec::default() });
    let blank = json!({ "storage": { "devices": [{ "contents": { "found": [] } }] } });
    server.spec.hardware = serde_json::from_value(blank).unwrap();
    server.metadata.uid = Some("uid-a".to_owned());
    put(&mut server, Entry::NeverUsed(ContentsClass::Blank), 3);
    set_cycle(&mut server, Some(claim(10)));
    server
}

fn put(server: &mut Server, entry: Entry<'_>, epoch: i64) {
    let record = DiskRecord::new(server, entry, &holds(epoch), "0123456789abcdef", &at(1)).unwrap();
    server.metadata.annotations = Some([(DISKS_ANNOTATION.to_owned(), record.to_annotation())].into());
}

fn set_cycle(server: &mut Server, cycle: Option<Condition>) {
    server.status.get_or_insert_default().conditions = cycle.into_iter().collect();
}

fn binding(uid: &str) -> ServerBinding {
    serde_json::from_value(json!({
        "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha3", "kind": "ServerBinding",
        "metadata": { "name": "a", "uid": uid }, "spec": { "metalMachineRef": { "name": "m" } },
    }))
    .unwrap()
}

type Change = fn(&mut Server);

#[test]
fn what_does_not_matter_for_power_stops_no_command() {
    let then = server();
    let authority = holds(3);
    let decided = Snapshot { server: &then, binding: None, authority: &authority, judged: ALONE };
    let harmless: [(&str, Change); 4] = [
        ("nothing", |_| {}),
        ("another version", |server| server.metadata.resource_version = Some("99".to_owned())),
        ("a label", |server| server.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into())),
        ("an address", |server| {
            server.status.get_or_insert_default().addresses = vec![NodeAddress::default()];
        }),
    ];
    for (case, change) in harmless {
        let mut now = then.clone();
        change(&mut now);
        assert!(still_so(&decided, &Snapshot { server: &now, ..decided }), "{case}");
    }
}

#[test]
fn whatever_power_is_decided_by_stops_a_command_when_it_changes() {
    let then = server();
    let authority = holds(3);
    let decided = Snapshot { server: &then, binding: None, authority: &authority, judged: ALONE };
    let changes: [(&str, Change); 11] = [
        ("made anew", |server| server.metadata.uid = Some("uid-b".to_owned())),
        ("on its way out", |server| server.metadata.deletion_timestamp = Some(at(20))),
        ("no longer accepted", |server| server.spec.accepted = false),
        ("another management controller", |server| {
            server.spec.management_api = Some(ManagementApi::default());
        }),
        ("another boot mode", |server| server.spec.pxe_mode = "bios".to_owned()),
        ("a heartbeat", |server| set_cycle(server, Some(claim(11)))),
        ("wiped", |server| set_cycle(server, Some(Condition::holds(POWER_CYCLE, at(10))))),
        ("the claim is gone", |server| set_cycle(server, None)),
        ("a claim of a cluster", |server| put(server, Entry::Bound(&binding("1")), 3)),
        ("no record", |server| server.metadata.annotations = None),
        ("a record of another time", |server| put(server, Entry::NeverUsed(ContentsClass::Blank), 2)),
    ];
    for (case, change) in changes {
        let mut now = then.clone();
        change(&mut now);
        assert!(!still_so(&decided, &Snapshot { server: &now, ..decided }), "{case}");
    }
}

#[test]
fn a_binding_that_comes_goes_or_is_replaced_stops_a_command() {
    let server = server();
    let (one, other) = (binding("1"), binding("2"));
    let mut leaving = one.clone();
    leaving.metadata.deletion_timestamp = Some(at(20));
    let authority = holds(3);
    let with = |binding| Snapshot { server: &server, binding, authority: &authority, judged: ALONE };
    assert!(still_so(&with(Some(&one)), &with(Some(&one))));
    for (then, now) in
        [(None, Some(&one)), (Some(&one), None), (Some(&one), Some(&other)), (Some(&one), Some(&leaving))]
    {
        assert!(!still_so(&with(then), &with(now)));
    }
    let mut installed = one.clone();
    installed.status =
        serde_json::from_value(json!({ "conditions": [Condition::holds("TalosInstalled", at(5))] })).unwrap();
    assert!(!still_so(&with(Some(&one)), &with(Some(&installed))), "installed meanwhile: it boots its disk");
}

#[test]
fn a_plane_that_does_not_act_any_more_or_acts_anew_sends_nothing() {
    fn with<'a>(server: &'a Server, authority: &'a Authority) -> Snapshot<'a> {
        Snapshot { server, binding: None, authority, judged: ALONE }
    }
    let server = server();
    let fenced = Authority::Fenced { holder: "b".to_owned() };
    let stopped = Authority::Stopped { why: "moved".to_owned() };
    for now in [Authority::Unknown, fenced.clone(), stopped, holds(4)] {
        assert!(!still_so(&with(&server, &holds(3)), &with(&server, &now)), "{now:?}");
    }
    assert!(!still_so(&with(&server, &fenced), &with(&server, &fenced)), "the same is not enough");
}

#[test]
fn what_a_machine_shares_meanwhile_stops_a_command() {
    let (server, authority) = (server(), holds(3));
    let mark = SharedMark::Card("52:54:00:00:00:01".to_owned());
    let peer = Peer { server: "b".to_owned(), mark, claimed: true, is_tombstone: false };
    let conflict = Some(Conflict { peers: vec![peer], rivals: Vec::new() });
    let controller = SharedController { endpoint: "10.0.0.5".to_owned(), others: vec!["b".to_owned()] };
    let with = |judged| Snapshot { server: &server, binding: None, authority: &authority, judged };
    let all = [Judgement { conflict, shared: None }, Judgement { conflict: None, shared: Some(controller) }];
    for judged in &all {
        assert!(!still_so(&with(ALONE), &with(judged)), "{judged:?}");
        assert!(!still_so(&with(judged), &with(ALONE)), "a person decided: decided anew");
    }
}

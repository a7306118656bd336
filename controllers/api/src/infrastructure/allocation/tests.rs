//! Who gets what: tables, and many machines that look at once, in several programs that see each other late.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::decision::fixtures::{record, server, with};
use crate::server_class::{ServerClass, ServerClassSpec};

fn clean(name: &str, rack: &str) -> Server {
    let mut server = with(server(true, false, true), &record(DiskState::Clean));
    server.metadata.name = Some(name.to_owned());
    server.metadata.labels = Some([("rack".to_owned(), rack.to_owned())].into());
    server
}

fn class(rack: Option<&str>) -> ServerClass {
    let mut class = ServerClass::new("c", ServerClassSpec::default());
    class.spec.selector.match_labels = rack.map(|rack| [("rack".to_owned(), rack.to_owned())].into());
    class
}

const ANYWHERE: Place<'static> = Place { domain: "", label: "" };

#[test]
fn only_accepted_clean_unbound_servers_that_stay_are_free() {
    type Change = fn(&mut Server);
    let cases: [(&str, Change, bool); 9] = [
        ("as it is", |_| (), true),
        ("not accepted", |server| server.spec.accepted = false, false),
        ("cordoned", |server| server.spec.cordoned = true, false),
        ("not clean", |server| server.status.as_mut().unwrap().is_clean = false, false),
        ("in use", |server| server.status.as_mut().unwrap().in_use = true, false),
        ("status lost", |server| server.status = None, false),
        ("no record", |server| server.metadata.annotations = None, false),
        (
            "being deleted",
            |server| server.metadata.deletion_timestamp = Some(crate::decision::fixtures::at(1)),
            false,
        ),
        (
            "being moved",
            |server| {
                let key = "clusterctl.cluster.x-k8s.io/delete-for-move".to_owned();
                server.metadata.annotations.as_mut().unwrap().insert(key, String::new());
            },
            false,
        ),
    ];
    for (what, change, expected) in cases {
        let mut index = Index::default();
        let mut server = clean("a", "r");
        change(&mut server);
        assert_eq!(index.see_server(&server), expected, "{what}");
        assert_eq!(index.free().count(), usize::from(expected), "{what}");
        // What was free and is no more is forgotten.
        index.see_server(&clean("a", "r"));
        index.see_server(&server);
        assert_eq!(index.free().count(), usize::from(expected), "{what} later");
    }
}

#[test]
fn a_claim_on_record_is_no_clean_server_whatever_the_status_says() {
    for state in [DiskState::Bound, DiskState::Installed, DiskState::Released, DiskState::NeverUsed] {
        let server = with(server(true, false, true), &record(state));
        assert!(!Index::default().see_server(&server), "{state:?}");
    }
}

#[test]
fn a_server_is_taken_once_and_free_again_when_its_binding_goes() {
    let mut index = Index::default();
    index.see_server(&clean("a", "r"));
    assert!(index.take("a") && !index.take("a"));
    assert_eq!(index.free().count(), 0);
    index.give_back("a");
    assert!(index.take("a"));
    index.see_binding("a");
    assert!(!index.take("a"));
    index.give_back("a");
    assert!(!index.take("a"), "bound is bound, whoever gives it back");
    assert!(index.forget_binding("a"));
    assert!(index.take("a"));
    assert!(!index.forget_binding("b"));
    // A binding that was seen before its Server.
    index.see_binding("b");
    assert!(!index.see_server(&clean("b", "r")));
    assert!(!index.take("b"));
}

#[test]
fn class_and_failure_domain_choose_and_each_machine_begins_elsewhere() {
    let mut mixed: Vec<_> = ["a", "b", "c", "d"].map(|name| clean(name, "r1")).into();
    mixed.push(clean("e", "r2"));
    let pick = |class: &ServerClass, place: Place<'_>, machine: &str| -> Vec<String> {
        let class = Membership::of(class).unwrap();
        let found = candidates(&mixed, &class, place, ("ns", machine));
        found.into_iter().map(|server| server.metadata.name.clone().unwrap()).collect()
    };
    let (r1, any) = (class(Some("r1")), class(None));
    let mut sorted = pick(&r1, ANYWHERE, "m");
    sorted.sort();
    assert_eq!(sorted, ["a", "b", "c", "d"]);
    assert_eq!(pick(&any, Place { domain: "r2", label: "rack" }, "m"), ["e"]);
    assert_eq!(pick(&any, Place { domain: "r3", label: "rack" }, "m"), [] as [&str; 0]);
    assert_eq!(pick(&any, Place { domain: "r2", label: "" }, "m"), [] as [&str; 0], "no label is named");
    assert_eq!(pick(&any, Place { domain: "", label: "rack" }, "m").len(), 5);
    let firsts: BTreeSet<String> = (0..50).map(|n| pick(&r1, ANYWHERE, &format!("m{n}")).remove(0)).collect();
    assert_eq!(firsts.len(), 4, "fifty machines begin at all four");
    assert_eq!(pick(&r1, ANYWHERE, "m7"), pick(&r1, ANYWHERE, "m7"));
}

#[test]
fn a_shortage_says_what_keeps_each_server_away() {
    let mut dirty = clean("b", "r1");
    dirty.status.as_mut().unwrap().is_clean = false;
    let mut unaccepted = clean("z", "r1");
    unaccepted.spec.accepted = false;
    let servers = [clean("a", "r1"), dirty, clean("c", "r2"), unaccepted];
    let class = class(None);
    let class = Membership::of(&class).unwrap();
    let place = Place { domain: "r1", label: "rack" };
    let message = |servers: &[Server], place| {
        Shortage::of(servers, &class, place, |name| name == "a").message("c", place)
    };
    assert_eq!(
        message(&servers, place),
        "no Server of ServerClass c is free: 1 in use, 1 not clean yet, 1 not in failure domain r1 (label rack)"
    );
    assert_eq!(message(&servers[..1], ANYWHERE), "no Server of ServerClass c is free: 1 in use");
    assert_eq!(message(&servers[3..], ANYWHERE), "ServerClass c has no accepted Server");
    let unlabelled = Place { domain: "r1", label: "" };
    assert_eq!(
        message(&servers[2..], unlabelled),
        "no Server of ServerClass c is free: 1 not in failure domain r1 (the MetalCluster names no label for failure domains)"
    );
}

/// The API server as far as bindings go: a name is created once.
#[derive(Default)]
struct Bindings(BTreeMap<String, String>);

impl Bindings {
    fn create(&mut self, server: &str, machine: &str) -> bool {
        if self.0.contains_key(server) {
            return false;
        }
        self.0.insert(server.to_owned(), machine.to_owned());
        true
    }
}

proptest! {
    /// Two programs with several workers each, whose watches tell of bindings late or never: each step one worker of one
    /// program tries the next candidate that its index shows.
    #[test]
    fn no_server_is_bound_twice_and_none_is_left_while_a_machine_waits(
        servers in 1..12_usize,
        machines in 1..16_usize,
        schedule in proptest::collection::vec((0..2_usize, any::<u8>(), any::<bool>()), 0..60),
    ) {
        let all: Vec<_> = (0..servers).map(|n| clean(&format!("s{n:02}"), "r")).collect();
        let class = class(None);
        let class = Membership::of(&class).unwrap();
        let mut bindings = Bindings::default();
        let mut programs: [Index; 2] = Default::default();
        for program in &mut programs {
            for server in &all {
                program.see_server(server);
            }
        }
        let mut has: BTreeMap<String, String> = BTreeMap::new();
        // After the schedule everybody gets a turn with all news told.
        let rest = (0..machines).map(|machine| (machine % 2, u8::try_from(machine).unwrap(), true));
        for (program, machine, told) in schedule.into_iter().chain(rest) {
            let machine = format!("m{:02}", usize::from(machine) % machines);
            if told {
                for program in &mut programs {
                    for server in bindings.0.keys() {
                        program.see_binding(server);
                    }
                }
            }
            if has.contains_key(&machine) {
                continue;
            }
            let index = &mut programs[program];
            let names: BTreeSet<String> = index.free().map(str::to_owned).collect();
            let free = all.iter().filter(|server| names.contains(server.metadata.name.as_deref().unwrap()));
            for server in candidates(free, &class, ANYWHERE, ("ns", &machine)) {
                let name = server.metadata.name.as_deref().unwrap();
                prop_assert!(index.take(name), "a free one can be taken");
                if bindings.create(name, &machine) {
                    has.insert(machine.clone(), name.to_owned());
                    break;
                }
                index.give_back(name);
            }
        }
        let distinct: BTreeSet<_> = has.values().collect();
        prop_assert_eq!(distinct.len(), has.len(), "no Server twice");
        prop_assert_eq!(has.len(), machines.min(servers), "nobody waits beside a free Server");
    }
}

//! Each step by table, rules of safety for any state of the objects, and two programs that see each other late.

// Literals are passed as they stand.
#![allow(clippy::needless_pass_by_value)]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::decision::fixtures::{record, server, with};
use crate::evidence::DiskState;

const MOVING: &str = "clusterctl.cluster.x-k8s.io/delete-for-move";

fn metal_machine(spec: Value, meta: Value) -> MetalMachine {
    let mut metadata = json!({ "namespace": "ns", "name": "m", "uid": "u", "finalizers": [FINALIZER] });
    for (key, value) in meta.as_object().unwrap() {
        metadata[key] = value.clone();
    }
    serde_json::from_value(
        json!({ "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha3", "kind": "MetalMachine",
        "metadata": metadata, "spec": spec }),
    )
    .unwrap()
}

fn binding(server: &str, machine: (&str, &str), extra: Value) -> ServerBinding {
    let mut object = json!({ "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha3", "kind": "ServerBinding",
        "metadata": { "name": server, "uid": format!("b-{server}") },
        "spec": { "metalMachineRef": { "namespace": machine.0, "name": machine.1, "uid": "u" } } });
    for (key, value) in extra.as_object().unwrap() {
        for (inner, value) in value.as_object().unwrap() {
            object[key][inner] = value.clone();
        }
    }
    serde_json::from_value(object).unwrap()
}

fn mine(server: &str) -> ServerBinding {
    binding(server, ("ns", "m"), json!({}))
}

fn leaving(server: &str) -> ServerBinding {
    binding(server, ("ns", "m"), json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } }))
}

fn owner(data: Option<&str>) -> Machine {
    serde_json::from_value(json!({ "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
        "metadata": { "name": "m" }, "spec": { "clusterName": "c", "bootstrap": { "dataSecretName": data } } }))
    .unwrap()
}

fn cluster(provisioned: bool) -> Cluster {
    serde_json::from_value(json!({ "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
        "metadata": { "name": "c" }, "spec": {},
        "status": { "initialization": { "infrastructureProvisioned": provisioned } } }))
    .unwrap()
}

/// A state, and one word for the step and the reason that follow.
#[derive(Debug)]
struct State {
    machine: MetalMachine,
    owner: Option<Machine>,
    cluster: Option<Cluster>,
    is_paused: bool,
    bindings: Vec<ServerBinding>,
    server: Option<(Server, Standing)>,
}

impl State {
    fn of(machine: MetalMachine, bindings: Vec<ServerBinding>) -> Self {
        let (owner, cluster) = (Some(owner(Some("data"))), Some(cluster(true)));
        Self { machine, owner, cluster, is_paused: false, bindings, server: None }
    }

    fn with<T>(&self, look: impl FnOnce(&View<'_>, &Decision<'_>) -> T) -> T {
        let own: Vec<_> = self.bindings.iter().filter(|binding| is_for(binding, &self.machine)).collect();
        let named = self.machine.server_name();
        let view = View {
            machine: &self.machine,
            owner: self.owner.as_ref(),
            cluster: self.cluster.as_ref(),
            is_paused: self.is_paused,
            own: &own,
            at_reference: self.bindings.iter().find(|binding| named == binding.metadata.name.as_deref()),
            server: self.server.as_ref().map(|(server, standing)| (server, *standing)),
        };
        let decision = decide(&view);
        look(&view, &decision)
    }

    fn answer(&self) -> (String, String) {
        self.with(|_, decision| (word(&decision.step), decision.ready.reason.clone()))
    }
}

fn word(step: &Step<'_>) -> String {
    match step {
        Step::HandsOff => "hands off".to_owned(),
        Step::Paused => "paused".to_owned(),
        Step::Hold => "hold".to_owned(),
        Step::Allocate => "allocate".to_owned(),
        Step::Claim => "claim".to_owned(),
        Step::Adopt(binding) => format!("adopt {}", name_of(binding)),
        Step::Provide(binding) => format!("provide {}", name_of(binding)),
        Step::Release(all) => {
            let names: Vec<_> = all.iter().map(|binding| name_of(binding)).collect();
            format!("release {}", names.join(" "))
        }
        Step::LetGo => "let go".to_owned(),
        Step::Wait => "wait".to_owned(),
    }
}

fn classed() -> Value {
    json!({ "serverClassRef": { "name": "c" } })
}

fn named() -> Value {
    json!({ "serverRef": { "name": "a" }, "serverClassRef": { "name": "c" } })
}

#[test]
fn a_living_machine_goes_its_way() {
    let live = |spec: Value, bindings| State::of(metal_machine(spec, json!({})), bindings);
    let without = |change: fn(&mut State)| {
        let mut state = live(classed(), vec![]);
        change(&mut state);
        state
    };
    let at = |standing| State {
        server: Some((with(server(true, false, true), &record(DiskState::Clean)), standing)),
        ..live(named(), vec![])
    };
    let used = json!({ "spec": { "addresses": ["10.0.0.1"] } });
    let moved = json!({ "spec": { "metalMachineRef": { "namespace": "ns", "name": "m", "uid": "before the move" } } });
    let condition = |type_: &str, reason: &str, message: &str| {
        json!({ "type": type_, "status": if reason.is_empty() { "True" } else { "False" }, "reason": reason,
            "severity": if reason.is_empty() { "" } else { "Error" }, "message": message,
            "lastTransitionTime": "2026-01-01T00:00:00Z" })
    };
    let ready = || condition("ConfigurationReady", "", "");
    let diskless = || condition("ConfigurationReady", "NoInstallDisk", "m");
    let loaded = |message: &str| condition("TalosConfigLoaded", "TalosConfigLoadFailed", message);
    let said = |conditions: &[Value]| json!({ "status": { "conditions": conditions } });
    let failed = json!({ "status": { "conditions": [{ "type": "TalosConfigLoaded", "status": "False", "severity": "Error",
        "reason": "TalosConfigLoadFailed", "message": "bad", "lastTransitionTime": "2026-01-01T00:00:00Z" }] } });
    let table = vec![
        (State::of(metal_machine(classed(), json!({ "finalizers": [] })), vec![]), "hold", "Starting"),
        (without(|state| state.owner = None), "wait", "WaitingForMachine"),
        (without(|state| state.cluster = None), "wait", "WaitingForCluster"),
        (without(|state| state.cluster = Some(cluster(false))), "wait", "WaitingForClusterInfrastructure"),
        (without(|state| state.owner = Some(owner(None))), "wait", "WaitingForBootstrapData"),
        (
            without(|state| {
                let gone = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
                state.owner.as_mut().unwrap().metadata.deletion_timestamp = Some(gone);
            }),
            "wait",
            "MachineDeleted",
        ),
        (live(json!({}), vec![]), "wait", "NoServerReference"),
        (live(json!({ "serverRef": { "name": "" } }), vec![]), "wait", "NoServerReference"),
        (live(classed(), vec![]), "allocate", "WaitingForServer"),
        // A lost serverRef comes back, by the oldest binding that stays.
        (live(classed(), vec![mine("a"), mine("b")]), "adopt a", "Binding"),
        (live(classed(), vec![leaving("a"), mine("b")]), "adopt b", "Binding"),
        (live(classed(), vec![leaving("a")]), "wait", "ServerReleased"),
        (live(classed(), vec![binding("a", ("ns", "other"), json!({}))]), "allocate", "WaitingForServer"),
        (live(classed(), vec![binding("a", ("other", "m"), json!({}))]), "allocate", "WaitingForServer"),
        (live(named(), vec![mine("a")]), "provide a", "Provisioned"),
        (live(named(), vec![binding("a", ("ns", "m"), moved)]), "provide a", "Provisioned"),
        (live(named(), vec![binding("a", ("ns", "m"), failed)]), "provide a", "TalosConfigLoadFailed"),
        (live(named(), vec![leaving("a")]), "wait", "ServerReleased"),
        (live(named(), vec![binding("a", ("ns", "other"), json!({}))]), "wait", "ServerTaken"),
        // Two programs allocated at once: the one that no node used goes.
        (live(named(), vec![mine("a"), mine("b")]), "release b", "Provisioned"),
        (live(named(), vec![mine("a"), binding("b", ("ns", "m"), used)]), "wait", "SeveralServers"),
        // What the plane said of its configuration is no word of a node.
        (
            live(named(), vec![mine("a"), binding("b", ("ns", "m"), said(&[ready()]))]),
            "release b",
            "Provisioned",
        ),
        (
            live(named(), vec![mine("a"), binding("b", ("ns", "m"), said(&[loaded("m"), diskless()]))]),
            "release b",
            "Provisioned",
        ),
        (
            live(named(), vec![mine("a"), binding("b", ("ns", "m"), said(&[loaded("n"), diskless()]))]),
            "wait",
            "SeveralServers",
        ),
        (
            live(named(), vec![binding("a", ("ns", "m"), said(&[loaded("m"), diskless()]))]),
            "provide a",
            "NoInstallDisk",
        ),
        // A person edited serverRef of a machine that has a Server.
        (live(named(), vec![mine("b")]), "wait", "SeveralServers"),
        (live(named(), vec![]), "wait", "ServerMissing"),
        (at(Standing::Clean), "claim", "Binding"),
        (at(Standing::Dirty), "wait", "ServerNotFree"),
        (at(Standing::Discovered), "wait", "ServerNotFree"),
        (at(Standing::Unconfirmed), "wait", "ServerNotFree"),
        (at(Standing::Lost), "wait", "ServerNotFree"),
    ];
    for (index, (state, step, reason)) in table.iter().enumerate() {
        assert_eq!(state.answer(), ((*step).to_owned(), (*reason).to_owned()), "row {index}");
    }
}

#[test]
fn a_machine_whose_binding_was_lost_gets_it_back() {
    let mut lost = record(DiskState::Installed);
    lost.claimant = Some("ns/m".to_owned());
    let mut state = State::of(metal_machine(named(), json!({})), vec![]);
    state.server = Some((with(server(true, true, false), &lost), Standing::Lost));
    assert_eq!(state.answer().0, "claim");
    lost.claimant = Some("ns/other".to_owned());
    state.server = Some((with(server(true, true, false), &lost), Standing::Lost));
    assert_eq!(state.answer().0, "wait");
}

#[test]
fn a_deletion_lets_its_own_bindings_go_and_waits_for_no_owner() {
    let gone = |bindings, finalizers: Value| {
        let meta = json!({ "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": finalizers });
        State::of(metal_machine(named(), meta), bindings)
    };
    let ours = json!([FINALIZER]);
    let table = vec![
        (gone(vec![mine("a")], ours.clone()), "release a"),
        (gone(vec![mine("a"), mine("b")], ours.clone()), "release a b"),
        (gone(vec![leaving("a"), mine("b")], ours.clone()), "release b"),
        (gone(vec![leaving("a")], ours.clone()), "wait"),
        (gone(vec![], ours.clone()), "let go"),
        (gone(vec![binding("a", ("ns", "other"), json!({}))], ours.clone()), "let go"),
        (gone(vec![mine("a")], json!(["other"])), "wait"),
    ];
    for (index, (mut state, step)) in table.into_iter().enumerate() {
        assert_eq!(state.answer().0, step, "row {index}");
        (state.owner, state.cluster) = (None, None);
        assert_eq!(state.answer().0, step, "row {index} without owners");
        state.is_paused = true;
        assert_eq!(state.answer().0, "paused", "row {index} paused");
    }
}

fn any_binding() -> impl Strategy<Value = ServerBinding> {
    let machine = prop_oneof![Just(("ns", "m")), Just(("ns", "other")), Just(("other", "m"))];
    (prop_oneof![Just("a"), Just("b"), Just("c")], machine, any::<[bool; 4]>()).prop_map(
        |(server, machine, [is_leaving, is_used, is_moving, is_installed])| {
            let mut extra = json!({ "metadata": {}, "spec": {} });
            if is_leaving {
                extra["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }
            if is_used {
                extra["spec"]["addresses"] = json!(["10.0.0.1"]);
            }
            if is_moving && is_leaving && is_used {
                extra["metadata"]["annotations"] = json!({ MOVING: "" });
            }
            if is_installed {
                extra["status"] = json!({ "conditions": [{ "type": "TalosInstalled", "status": "True",
                    "lastTransitionTime": "2026-01-01T00:00:00Z" }] });
            }
            binding(server, machine, extra)
        },
    )
}

prop_compose! {
    fn any_state()(flags in any::<[bool; 9]>(), server_name in prop_oneof![Just(None), Just(Some("a")), Just(Some("b"))],
        mut bindings in proptest::collection::vec(any_binding(), 0..4), standing in 0..10_usize) -> State {
        let [has_class, deletes, has_finalizer, is_paused, has_owner, has_cluster, has_data, provisioned, is_moving] = flags;
        let mut spec = json!({});
        if has_class {
            spec["serverClassRef"] = json!({ "name": "c" });
        }
        if let Some(name) = server_name {
            spec["serverRef"] = json!({ "name": name });
        }
        let mut meta = json!({});
        if deletes {
            meta["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        if !has_finalizer {
            meta["finalizers"] = json!([]);
        }
        if is_moving && is_paused {
            meta["annotations"] = json!({ MOVING: "" });
        }
        let mut names = BTreeSet::new();
        bindings.retain(|binding| names.insert(binding.metadata.name.clone()));
        State {
            machine: metal_machine(spec, meta),
            owner: has_owner.then(|| owner(has_data.then_some("data"))),
            cluster: has_cluster.then(|| cluster(provisioned)),
            is_paused,
            bindings,
            server: Some((with(server(true, false, true), &record(DiskState::Clean)), Standing::ALL[standing])),
        }
    }
}

proptest! {
    #[test]
    fn nothing_is_let_go_or_taken_that_must_not_be(state in any_state()) {
        state.with(|view, decision| {
            let deletes = view.machine.metadata.deletion_timestamp.is_some();
            let is_moving = is_moving(&view.machine.metadata) || view.own.iter().any(|own| is_moving(&own.metadata));
            let step = &decision.step;
            prop_assert!(!is_moving || *step == Step::HandsOff);
            prop_assert!(is_moving || !view.is_paused || *step == Step::Paused);
            match step {
                Step::Release(all) => {
                    prop_assert!(!all.is_empty());
                    for binding in all {
                        prop_assert!(is_for(binding, view.machine) && !is_leaving(binding));
                        let kept = view.at_reference.is_some_and(|kept| is_for(kept, view.machine) && !is_leaving(kept));
                        let is_other = binding.metadata.name.as_deref() != view.machine.server_name();
                        prop_assert!(deletes || (kept && is_other && is_unused(binding, view.machine)));
                    }
                }
                Step::LetGo => prop_assert!(deletes && view.own.is_empty()),
                Step::Allocate | Step::Claim => {
                    prop_assert!(!deletes && view.own.is_empty() && gate(view).is_none());
                    prop_assert!(view.at_reference.is_none());
                    prop_assert_eq!(*step == Step::Claim, view.machine.server_name().is_some());
                }
                Step::Adopt(binding) | Step::Provide(binding) => {
                    prop_assert!(!deletes && is_for(binding, view.machine) && !is_leaving(binding));
                }
                Step::Hold => prop_assert!(!deletes),
                Step::HandsOff | Step::Paused => {}
                Step::Wait => {
                    // A deletion waits for its own bindings or for the finalizers of others, and for nothing else.
                    let ours = view.machine.metadata.finalizers.iter().flatten().any(|name| name == FINALIZER);
                    prop_assert!(!deletes || !ours || view.own.iter().all(|own| is_leaving(own)) && !view.own.is_empty());
                    prop_assert!(!decision.ready.message.is_empty());
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn two_programs_that_see_each_other_late_give_a_machine_one_server(
        turns in proptest::collection::vec((0..2_usize, 0..3_usize, any::<bool>(), any::<bool>()), 0..80),
    ) {
        let mut world = World::new(3, 4);
        for (program, machine, sees, crashes) in turns {
            if sees {
                world.tell(program);
            }
            world.turn(program, machine, crashes);
            world.check()?;
        }
        // At rest: everybody sees everything, and nobody crashes.
        for _ in 0..8 {
            for (program, machine) in [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)] {
                world.tell(program);
                world.turn(program, machine, false);
                world.check()?;
            }
        }
        for machine in 0..3 {
            let held: Vec<_> = world.api.bindings.values().filter(|held| is_for(held, &world.api.machines[machine])).collect();
            prop_assert_eq!(held.len(), 1, "one machine, one Server");
            prop_assert_eq!(held[0].metadata.name.as_deref(), world.api.machines[machine].server_name());
        }
    }
}

/// The API server: what is written counts at once; a patch names the version that it is of.
#[derive(Clone)]
struct ApiServer {
    machines: Vec<MetalMachine>,
    bindings: BTreeMap<String, ServerBinding>,
    made: u32,
}

/// Two programs, each with what it saw last.
struct World {
    api: ApiServer,
    seen: [ApiServer; 2],
    servers: Vec<String>,
    /// What was adopted once is never taken from its machine.
    adopted: BTreeMap<usize, String>,
}

impl World {
    fn new(machines: usize, servers: usize) -> Self {
        let machine = |index: usize| {
            let meta =
                json!({ "name": format!("m{index}"), "uid": format!("u{index}"), "resourceVersion": "0" });
            metal_machine(classed(), meta)
        };
        let api =
            ApiServer { machines: (0..machines).map(machine).collect(), bindings: BTreeMap::new(), made: 0 };
        let servers = (0..servers).map(|index| format!("s{index}")).collect();
        Self { seen: [api.clone(), api.clone()], api, servers, adopted: BTreeMap::new() }
    }

    fn tell(&mut self, program: usize) {
        self.seen[program] = self.api.clone();
    }

    /// What the controller does for the step that follows from what the program saw; it may crash after the first write.
    fn turn(&mut self, program: usize, index: usize, crashes: bool) {
        let seen = self.seen[program].clone();
        let mut bindings: Vec<_> = seen.bindings.values().cloned().collect();
        bindings.sort_by_key(|binding| binding.metadata.resource_version.clone());
        let state = State::of(seen.machines[index].clone(), bindings);
        let step = state.with(|_, decision| word(&decision.step));
        let (verb, rest) = step.split_once(' ').unwrap_or((&step, ""));
        match verb {
            "allocate" => {
                let free = self.servers.iter().find(|server| !seen.bindings.contains_key(*server)).cloned();
                let Some(server) = free.filter(|server| self.create(server, index)) else { return };
                let is_adopted = !crashes && self.adopt(program, index, &server);
                let named = self.api.machines[index].server_name();
                if !crashes && !is_adopted && named.is_some_and(|named| named != server) {
                    // Another program was faster: what was made now is undone.
                    self.api.bindings.remove(&server);
                }
            }
            "adopt" => {
                self.adopt(program, index, rest);
            }
            "release" => {
                for server in rest.split(' ') {
                    // The controller reads the machine again before it deletes.
                    let fresh = State::of(
                        self.api.machines[index].clone(),
                        self.api.bindings.values().cloned().collect(),
                    );
                    if fresh.with(|_, decision| word(&decision.step)).split(' ').any(|word| word == server) {
                        self.api.bindings.remove(server);
                    }
                }
            }
            _ => {}
        }
    }

    fn create(&mut self, server: &str, index: usize) -> bool {
        if self.api.bindings.contains_key(server) {
            return false;
        }
        self.api.made += 1;
        let reference = json!({ "spec": { "metalMachineRef": { "namespace": "ns", "name": format!("m{index}"),
            "uid": format!("u{index}") } }, "metadata": { "resourceVersion": format!("{:04}", self.api.made) } });
        self.api.bindings.insert(server.to_owned(), binding(server, ("", ""), reference));
        true
    }

    /// Writes serverRef if the machine is still in the version that the program saw.
    fn adopt(&mut self, program: usize, index: usize, server: &str) -> bool {
        let machine = &mut self.api.machines[index];
        if machine.metadata.resource_version != self.seen[program].machines[index].metadata.resource_version {
            return false;
        }
        let version: u32 = machine.metadata.resource_version.as_ref().unwrap().parse().unwrap();
        machine.metadata.resource_version = Some((version + 1).to_string());
        machine.spec.server_ref = serde_json::from_value(json!({ "name": server })).unwrap();
        true
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        for (index, machine) in self.api.machines.iter().enumerate() {
            let Some(server) = machine.server_name() else { continue };
            let first = self.adopted.entry(index).or_insert_with(|| server.to_owned());
            prop_assert_eq!(first.as_str(), server, "what it has it keeps");
            let held = self.api.bindings.get(server);
            prop_assert!(held.is_some_and(|held| is_for(held, machine)), "its Server is bound to it");
        }
        Ok(())
    }
}

//! The table of `/ipxe` row by row, and what must never be answered whatever the objects say.

// Literals are passed as they stand.
#![allow(clippy::needless_pass_by_value)]

use std::collections::HashMap;
use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::fixtures::{self, HOLDS, any_authority, powerless, with_state};
use super::super::identity::{OtherWhy, Peer, Proof, SharedMark};
use super::*;
use crate::environment::{AssetCondition, EnvironmentStatus, READY};
use crate::evidence::DiskState;
use crate::{EnvironmentSpec, ServerClassSpec};

/// Objects by name; a name in `broken` cannot be looked up.
#[derive(Clone, Debug, Default)]
struct Cache {
    classes: HashMap<String, Arc<ServerClass>>,
    environments: HashMap<String, Arc<Environment>>,
    broken: Vec<String>,
}

impl Cache {
    fn find<T>(&self, map: &HashMap<String, Arc<T>>, name: &str) -> Lookup<Arc<T>> {
        if self.broken.iter().any(|broken| broken == name) {
            return Lookup::Failed;
        }
        map.get(name).cloned().into()
    }
}

impl Objects for Cache {
    fn class(&self, name: &str) -> Lookup<Arc<ServerClass>> {
        self.find(&self.classes, name)
    }

    fn environment(&self, name: &str) -> Lookup<Arc<Environment>> {
        self.find(&self.environments, name)
    }
}

fn environment(name: &str, ready: bool) -> (String, Arc<Environment>) {
    let mut environment = Environment::new(name, EnvironmentSpec::default());
    environment.spec.kernel.url = "k".to_owned();
    if ready {
        let condition = AssetCondition {
            url: "k".to_owned(),
            status: crate::ConditionStatus::True,
            type_: READY.to_owned(),
            ..AssetCondition::default()
        };
        environment.status = Some(EnvironmentStatus { conditions: vec![condition] });
    }
    (name.to_owned(), Arc::new(environment))
}

fn class(name: &str, environment: Option<&str>, method: &str) -> (String, Arc<ServerClass>) {
    let mut class = ServerClass::new(name, ServerClassSpec::default());
    class.spec.environment_ref = environment.map(reference);
    method.clone_into(&mut class.spec.boot_from_disk_method);
    (name.to_owned(), Arc::new(class))
}

fn reference(name: &str) -> ObjectReference {
    // The namespace that cluster templates put in means nothing.
    ObjectReference {
        name: Some(name.to_owned()),
        namespace: Some("default".to_owned()),
        ..ObjectReference::default()
    }
}

fn cache() -> Cache {
    Cache {
        classes: HashMap::from([
            class("plain", None, ""),
            class("special", Some("custom"), "http-404"),
            class("odd", Some("missing"), "explode"),
        ]),
        environments: HashMap::from([
            environment("default", true),
            environment("custom", true),
            environment("late", false),
        ]),
        broken: vec!["broken".to_owned()],
    }
}

fn server(spec: Value, status: Value) -> Server {
    let mut spec = spec;
    spec["hardware"] = serde_json::to_value(fixtures::disks(&[Some(&[])])).unwrap();
    let object = json!({ "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "Server", "metadata": { "name": "a", "uid": fixtures::UID },
        "spec": spec, "status": status });
    serde_json::from_value(object).unwrap()
}

fn accepted(more: Value) -> Server {
    let mut spec = json!({ "accepted": true });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    server(spec, json!({ "inUse": true }))
}

fn installed(more: Value) -> Server {
    let mut server = accepted(more);
    let condition =
        json!({ "type": "PXEBooted", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z" });
    server.status.as_mut().unwrap().conditions = vec![serde_json::from_value(condition).unwrap()];
    server
}

fn binding(class: Option<&str>) -> ServerBinding {
    let mut binding = ServerBinding::new("a", crate::ServerBindingSpec::default());
    binding.spec.server_class_ref = class.map(reference);
    binding
}

fn ask(server: Option<&Server>, binding: Option<&ServerBinding>) -> BootAnswer {
    boot(&request(server.into(), binding.into()), &cache()).answer
}

fn request<'a>(server: Lookup<&'a Server>, binding: Lookup<&'a ServerBinding>) -> BootRequest<'a> {
    let known: &'static Identity = match server {
        Lookup::Found(_) => &SAME,
        Lookup::NotFound | Lookup::Failed => &Identity::New,
    };
    BootRequest {
        identity: Lookup::Found(known),
        server,
        binding,
        conflict: None,
        unknown: UnknownMachines::Agent,
        admitted: true,
        authority: &HOLDS,
        arch: Arch::Amd64,
        default_method: BootFromDiskMethod::IpxeSanboot,
    }
}

static SAME: LazyLock<Identity> =
    LazyLock::new(|| Identity::Same { server: "a".to_owned(), by: Proof::Card });
const AGENT: BootAnswer = BootAnswer::Agent { arch: Arch::Amd64 };

fn env(name: &str) -> BootAnswer {
    BootAnswer::Environment { name: name.to_owned() }
}

fn disk(method: BootFromDiskMethod) -> BootAnswer {
    BootAnswer::BootFromDisk { method }
}

#[test]
fn row_1_a_failed_lookup_is_never_an_answer() {
    let (known, bound) = (accepted(json!({})), binding(None));
    for (server, binding) in [
        (Lookup::Failed, Lookup::NotFound),
        (Lookup::NotFound, Lookup::Failed),
        (Lookup::Found(&known), Lookup::Failed),
        (Lookup::Failed, Lookup::Found(&bound)),
    ] {
        assert_eq!(boot(&request(server, binding), &cache()).answer, BootAnswer::Unavailable);
    }
}

#[test]
fn rows_2_and_3_free_machines_get_the_agent_of_their_architecture() {
    assert_eq!(ask(None, None), AGENT);
    for (is_accepted, clean, state) in [
        (false, false, DiskState::NeverUsed),
        (false, true, DiskState::Clean),
        (true, false, DiskState::Released),
        (true, false, DiskState::NeverUsed),
        (true, true, DiskState::Clean),
    ] {
        let free = server(json!({ "accepted": is_accepted }), json!({ "isClean": clean }));
        assert_eq!(ask(Some(&with_state(free, state)), None), AGENT, "{is_accepted} {clean}");
    }
    let by_hand = server(json!({ "accepted": false }), json!({}));
    assert_eq!(ask(Some(&by_hand), None), AGENT, "not accepted, nothing is written");
    let arm = BootRequest { arch: Arch::from_query("arm64"), ..request(Lookup::NotFound, Lookup::NotFound) };
    assert_eq!(boot(&arm, &cache()).answer, BootAnswer::Agent { arch: Arch::Arm64 });
    assert_eq!(Arch::from_query("x86"), Arch::Amd64);
}

#[test]
fn row_4_an_installed_machine_boots_from_disk_by_the_nearest_method() {
    use BootFromDiskMethod::{Http404, IpxeExit, IpxeSanboot};
    let own = json!({ "bootFromDiskMethod": "ipxe-exit" });
    for (more, class, method) in [
        (json!({}), None, IpxeSanboot),
        (json!({}), Some("plain"), IpxeSanboot),
        (json!({}), Some("special"), Http404),
        (json!({}), Some("odd"), IpxeExit),
        (json!({}), Some("missing"), IpxeSanboot),
        (own.clone(), Some("special"), IpxeExit),
        (own, Some("broken"), IpxeExit),
    ] {
        assert_eq!(
            ask(Some(&installed(more.clone())), Some(&binding(class))),
            disk(method),
            "{more} {class:?}"
        );
    }
    assert_eq!(ask(Some(&installed(json!({}))), Some(&binding(Some("broken")))), BootAnswer::Unavailable);
}

#[test]
fn row_4_does_not_hold_for_pxe_boot_always() {
    assert_eq!(ask(Some(&installed(json!({ "pxeBootAlways": true }))), Some(&binding(None))), env("default"));
}

#[test]
fn row_4_holds_as_soon_as_the_binding_says_installed() {
    let mut bound = binding(None);
    let condition =
        json!({ "type": "TalosInstalled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" });
    bound.status = Some(serde_json::from_value(json!({ "ready": true, "conditions": [condition] })).unwrap());
    assert_eq!(ask(Some(&accepted(json!({}))), Some(&bound)), disk(BootFromDiskMethod::IpxeSanboot));
}

#[test]
fn rows_5_to_7_a_bound_machine_boots_the_nearest_environment() {
    let named = |name: &str| json!({ "environmentRef": { "name": name } });
    let not_ready = BootAnswer::NotReady { name: "late".to_owned() };
    for (more, class, answer) in [
        (named("custom"), None, env("custom")),
        (named("custom"), Some("odd"), env("custom")),
        (named("custom"), Some("broken"), env("custom")),
        (named("late"), None, not_ready),
        (named("missing"), None, BootAnswer::NotFound),
        (named("broken"), None, BootAnswer::Unavailable),
        (json!({}), Some("special"), env("custom")),
        (json!({}), Some("odd"), BootAnswer::NotFound),
        (json!({}), Some("missing"), BootAnswer::NotFound),
        (json!({}), Some("broken"), BootAnswer::Unavailable),
        (json!({}), Some("plain"), env("default")),
        (json!({}), None, env("default")),
    ] {
        assert_eq!(ask(Some(&accepted(more.clone())), Some(&binding(class))), answer, "{more} {class:?}");
    }
    let late =
        boot(&request(Lookup::Found(&accepted(named("late"))), Lookup::Found(&binding(None))), &cache());
    assert_eq!(late.reason, "environment \"late\" is not ready");
}

#[test]
fn a_machine_that_may_be_bound_boots_from_its_disk() {
    // The Server was lost, or the binding was: its disk may hold a node.
    assert_eq!(ask(None, Some(&binding(Some("special")))), disk(BootFromDiskMethod::Http404));
    assert_eq!(ask(Some(&accepted(json!({}))), None), disk(BootFromDiskMethod::IpxeSanboot));
    let always = accepted(json!({ "pxeBootAlways": true }));
    assert_eq!(ask(Some(&always), None), disk(BootFromDiskMethod::IpxeSanboot));
    // Restored without status, or with the record of another object or time.
    let restored = server(json!({ "accepted": true }), Value::Null);
    let foreign = fixtures::with(
        restored.clone(),
        &crate::evidence::DiskRecord {
            server_uid: "other".to_owned(),
            ..fixtures::record(DiskState::Released)
        },
    );
    let claimed = with_state(restored.clone(), DiskState::Bound);
    for seen in [restored, foreign, claimed] {
        assert_eq!(ask(Some(&seen), None), disk(BootFromDiskMethod::IpxeSanboot), "{seen:?}");
    }
}

#[test]
fn a_plane_that_may_not_act_answers_nobody() {
    let free = with_state(server(json!({ "accepted": true }), json!({})), DiskState::Released);
    let (in_use, bound) = (accepted(json!({})), binding(None));
    for authority in powerless() {
        for (server, binding) in [
            (Lookup::NotFound, Lookup::NotFound),
            (Lookup::Found(&free), Lookup::NotFound),
            (Lookup::Found(&in_use), Lookup::Found(&bound)),
        ] {
            if matches!(authority, Authority::Stopped { .. }) && matches!(server, Lookup::Found(_)) {
                continue;
            }
            let asked = BootRequest { authority: &authority, ..request(server, binding) };
            let decision = boot(&asked, &cache());
            assert_eq!(decision.answer, BootAnswer::Unavailable);
            let says = ["may act", "other does", "stopped acting"];
            assert!(says.iter().any(|text| decision.reason.contains(text)), "{}", decision.reason);
        }
    }
}

fn peer(claimed: bool) -> Identity {
    let mark = SharedMark::Card("52:54:00:00:00:01".to_owned());
    Identity::Suspect { peers: vec![Peer { server: "b".to_owned(), mark, claimed, is_tombstone: false }] }
}

fn asked<'a>(
    identity: &'a Identity,
    server: Lookup<&'a Server>,
    binding: Lookup<&'a ServerBinding>,
) -> BootRequest<'a> {
    BootRequest { identity: Lookup::Found(identity), ..request(server, binding) }
}

#[test]
fn a_machine_that_may_be_another_gets_its_disk_and_nothing_of_the_other() {
    let (bound, known) = (binding(None), accepted(json!({})));
    let other = Identity::Other { server: "a".to_owned(), why: OtherWhy::CardAndSerial };
    for identity in [&other, &peer(true)] {
        let decision = boot(&asked(identity, Lookup::NotFound, Lookup::NotFound), &cache());
        assert_eq!(decision.answer, disk(BootFromDiskMethod::IpxeSanboot), "{identity:?}");
        // Whoever looks the objects up by the UUID gets nothing out of it.
        let decision = boot(&asked(identity, Lookup::Found(&known), Lookup::Found(&bound)), &cache());
        assert_eq!(decision.answer, BootAnswer::Unavailable, "{identity:?}");
    }
    assert_eq!(boot(&asked(&peer(false), Lookup::NotFound, Lookup::NotFound), &cache()).answer, AGENT);
    assert_eq!(boot(&asked(&Identity::Unnamed, Lookup::NotFound, Lookup::NotFound), &cache()).answer, AGENT);
    for identity in [Lookup::Failed, Lookup::NotFound] {
        let asked = BootRequest { identity, ..request(Lookup::NotFound, Lookup::NotFound) };
        assert_eq!(boot(&asked, &cache()).answer, BootAnswer::Unavailable);
    }
}

#[test]
fn a_conflict_sends_free_machines_to_their_disk_and_changes_nothing_for_claimed_ones() {
    let Identity::Suspect { peers } = peer(false) else { unreachable!() };
    let conflict = Conflict { peers, rivals: Vec::new() };
    let free = with_state(server(json!({ "accepted": true }), json!({})), DiskState::Released);
    let bound = binding(None);
    let asked = BootRequest { conflict: Some(&conflict), ..request(Lookup::Found(&free), Lookup::NotFound) };
    assert_eq!(boot(&asked, &cache()).answer, disk(BootFromDiskMethod::IpxeSanboot));
    let asked = BootRequest { binding: Lookup::Found(&bound), ..asked };
    assert_eq!(boot(&asked, &cache()).answer, env("default"));
}

fn stranger_asks(server: Lookup<&Server>, unknown: UnknownMachines, admitted: bool) -> BootRequest<'_> {
    BootRequest { unknown, admitted, ..request(server, Lookup::NotFound) }
}

#[test]
fn a_machine_that_nobody_accepted_gets_back_to_its_disk() {
    let mut found = server(json!({ "accepted": false }), json!({}));
    for (unknown, admitted, answer) in [
        (UnknownMachines::Agent, true, AGENT),
        (UnknownMachines::Agent, false, BootAnswer::NotFound),
        (UnknownMachines::BootDisk, true, disk(BootFromDiskMethod::IpxeSanboot)),
        (UnknownMachines::Ignore, true, BootAnswer::NotFound),
    ] {
        for server in [Lookup::NotFound, Lookup::Found(&found)] {
            assert_eq!(boot(&stranger_asks(server, unknown, admitted), &cache()).answer, answer, "{unknown}");
        }
    }
    // Registered with a system of its own: from the next boot on it goes on with that.
    for found_on_disk in [Some(&["gpt", "ext4"][..]), Some(&["talos-state"]), None] {
        found.spec.hardware = Some(fixtures::disks(&[found_on_disk]));
        let answer =
            boot(&stranger_asks(Lookup::Found(&found), UnknownMachines::Agent, true), &cache()).answer;
        assert_eq!(answer, disk(BootFromDiskMethod::IpxeSanboot), "{found_on_disk:?}");
    }
    // Accepted machines are not strangers.
    let own = with_state(server(json!({ "accepted": true }), json!({})), DiskState::Released);
    let answer = boot(&stranger_asks(Lookup::Found(&own), UnknownMachines::Ignore, false), &cache()).answer;
    assert_eq!(answer, AGENT);
}

#[test]
fn a_plane_that_stopped_itself_sends_nodes_to_their_disks_and_gives_nothing_else() {
    let authority = Authority::Stopped { why: "moved".to_owned() };
    let bound = fixtures::binding(false);
    let claimed = with_state(server(json!({ "accepted": true }), json!({})), DiskState::Bound);
    let node = with_state(server(json!({ "accepted": true }), json!({})), DiskState::Installed);
    for (server, binding, answer) in [
        (&claimed, None, disk(BootFromDiskMethod::IpxeSanboot)),
        (&node, Some(&bound), disk(BootFromDiskMethod::IpxeSanboot)),
        (&claimed, Some(&bound), BootAnswer::Unavailable),
    ] {
        let asked = BootRequest { authority: &authority, ..request(Lookup::Found(server), binding.into()) };
        assert_eq!(boot(&asked, &cache()).answer, answer);
    }
}

prop_compose! {
    fn any_server()(accepted in any::<bool>(), always in any::<bool>(), cordoned in any::<bool>(),
        in_use in any::<bool>(), clean in any::<bool>(), pxe_booted in any::<bool>(), status in any::<bool>(),
        environment in prop_oneof![Just(None), "(default|custom|late|missing|broken)".prop_map(Some)],
        method in "(|ipxe-exit|http-404|explode)") -> Server {
        let mut spec = json!({ "accepted": accepted, "cordoned": cordoned, "pxeBootAlways": always, "bootFromDiskMethod": method });
        if let Some(name) = environment {
            spec["environmentRef"] = json!({ "name": name });
        }
        let mut made = server(spec, json!({ "inUse": in_use, "isClean": clean }));
        if pxe_booted {
            made.status = installed(json!({})).status;
        }
        if !status {
            made.status = None;
        }
        made
    }
}

fn any_binding() -> impl Strategy<Value = ServerBinding> {
    prop_oneof![Just(None), "(plain|special|odd|missing|broken)".prop_map(Some)]
        .prop_map(|class| binding(class.as_deref()))
}

proptest! {
    /// Promise S2 and S3 for boot.
    #[test]
    fn the_agent_goes_to_known_free_machines_only(
        server in proptest::option::of(fixtures::any_server()), authority in any_authority(),
        bound in proptest::option::of(fixtures::any_binding()),
    ) {
        let asked = BootRequest { authority: &authority, ..request(server.as_ref().into(), bound.as_ref().into()) };
        let answer = boot(&asked, &cache()).answer;
        let evidence = server.as_ref().map_or(Evidence::None, |server| Evidence::of(server, &authority));
        match Standing::of(server.as_ref(), bound.as_ref(), &evidence, None) {
            _ if matches!(authority, Authority::Stopped { .. }) => {
                let harmless = matches!(answer, BootAnswer::Unavailable | BootAnswer::BootFromDisk { .. });
                prop_assert!(harmless);
            }
            _ if !authority.acts() => prop_assert_eq!(answer, BootAnswer::Unavailable),
            Standing::Lost | Standing::Unconfirmed | Standing::Conflicted | Standing::BoundWithoutServer => {
                let disk = matches!(answer, BootAnswer::BootFromDisk { .. });
                prop_assert!(disk);
            }
            Standing::Bound | Standing::Installed => {
                let agent = matches!(answer, BootAnswer::Agent { .. });
                prop_assert!(!agent);
            }
            Standing::Unregistered | Standing::Discovered | Standing::Dirty | Standing::Clean => {
                prop_assert!(bound.is_none());
                prop_assert_eq!(answer, AGENT);
            }
        }
    }

    #[test]
    fn no_input_with_a_binding_yields_the_agent(
        server in proptest::option::of(any_server()), bound in any_binding(), lost in any::<bool>(),
    ) {
        let found = if lost { Lookup::Failed } else { server.as_ref().into() };
        let answer = boot(&request(found, Lookup::Found(&bound)), &cache()).answer;
        prop_assert!(!matches!(answer, BootAnswer::Agent { .. }), "{:?} {:?}", server, bound);
    }

    #[test]
    fn no_failed_lookup_yields_the_agent(server in any_server()) {
        for found in [Lookup::Found(&server), Lookup::NotFound] {
            let answer = boot(&request(found, Lookup::Failed), &cache()).answer;
            prop_assert_eq!(answer, BootAnswer::Unavailable);
        }
    }

    #[test]
    fn only_ready_environments_are_served(server in any_server(), bound in any_binding()) {
        if let BootAnswer::Environment { name } = ask(Some(&server), Some(&bound)) {
            prop_assert!(["default", "custom"].contains(&name.as_str()));
        }
    }

    #[test]
    fn every_decision_has_a_reason(server in proptest::option::of(any_server()), bound in proptest::option::of(any_binding())) {
        let decision = boot(&request(server.as_ref().into(), bound.as_ref().into()), &cache());
        prop_assert!(!decision.reason.is_empty());
    }
}

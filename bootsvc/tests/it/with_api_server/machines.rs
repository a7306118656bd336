//! Registration, wiping and the boot decision against a real etcd and kube-apiserver.

mod history;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::support::services::{Machine, PLANE_KEY, connect, hand_over, install_kinds, replica, start};
use bloomery_agent_api as pb;
use bloomery_agent_api::disk_progress::State;
use bloomery_api::condition::{self, ConditionStatus};
use bloomery_api::evidence::{DISKS_ANNOTATION, DiskRecord, DiskState, Entry};
use bloomery_api::plane::Authority;
use bloomery_api::trust::{SigningKey, Trust};
use bloomery_api::{Environment, Server, ServerBinding};
use bloomery_testkit::{ControlPlane, eventually, scaled};
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tonic::Code;

const UUID: &str = "4c4c4544-0042-3110-8051-b7c04f4e3332";
const OTHER: &str = "5c5c5544-0042-3110-8051-b7c04f4e3332";
/// For a whole hall of machines.
const LIMIT: Duration = Duration::from_mins(3);
/// Machines that register at once.
const HALL: u16 = 1000;

/// Waits until the services know all Servers and decide.
async fn decides(address: SocketAddr) {
    let machine = Machine::new(address, OTHER, u16::MAX).await;
    eventually("decisions", async || {
        let answer = machine.ask().await;
        if answer.contains("kernel /env/agent-amd64/") { Ok(()) } else { Err(answer) }
    })
    .await;
}

/// A control plane with our kinds, and the services of one process that decide on its machines.
async fn deciding(auto_accept: bool) -> (ControlPlane, Client, SocketAddr) {
    let plane = ControlPlane::start().await;
    let (kubernetes, client) = connect(&plane).await;
    install_kinds(&client).await;
    hand_over(&client, None).await;
    let address = start(&plane, &kubernetes, auto_accept);
    decides(address).await;
    (plane, client, address)
}

async fn accept(servers: &Api<Server>, uuid: &str) {
    let patch = Patch::Merge(json!({ "spec": { "accepted": true } }));
    servers.patch(uuid, &PatchParams::default(), &patch).await.unwrap();
}

/// Registers until the machine is told to wipe: its acceptance is known to the services a moment later.
async fn ordered(machine: &Machine) -> pb::CreateServerResponse {
    eventually("order to wipe", async || {
        let told = machine.register().await.map_err(|error| error.to_string())?;
        if told.wipe { Ok(told) } else { Err(format!("{told:?}")) }
    })
    .await
}

/// Registers until the machine is told to leave the agent: that it is bound is known a moment later.
async fn leaves(machine: &Machine) {
    eventually("told to leave the agent", async || {
        let told = machine.register().await.map_err(|error| error.to_string())?;
        if told.restart { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
}

async fn bind(client: &Client, uuid: &str) {
    let bindings: Api<ServerBinding> = Api::all(client.clone());
    let binding = json!({
        "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha3", "kind": "ServerBinding",
        "metadata": { "name": uuid }, "spec": { "metalMachineRef": { "kind": "MetalMachine", "name": "m" } },
    });
    bindings.patch(uuid, &PatchParams::apply("test"), &Patch::Apply(binding)).await.unwrap();
}

async fn unbind(client: &Client, uuid: &str) {
    let bindings: Api<ServerBinding> = Api::all(client.clone());
    bindings.delete(uuid, &DeleteParams::default()).await.unwrap();
}

/// Writes a record as the controllers do.
async fn record(plane: &ControlPlane, uuid: &str, state: DiskState) {
    let servers: Api<Server> = Api::all(plane.client("bloomery:controllers", &["system:masters"]).await);
    let server = servers.get(uuid).await.unwrap();
    let authority = Authority::Holds { epoch: 1, trust: Trust::new(SigningKey::new(PLANE_KEY), "own") };
    let entry = match state {
        DiskState::Released => Entry::Released,
        DiskState::Clean => Entry::Clean,
        DiskState::NeverUsed | DiskState::Bound | DiskState::Installed => unreachable!(),
    };
    let id = format!("{:016x}", rand::random::<u64>());
    let since = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    let record = DiskRecord::new(&server, entry, &authority, &id, &since).unwrap();
    let patch = json!({ "metadata": { "annotations": { DISKS_ANNOTATION: record.to_annotation() } } });
    servers.patch(uuid, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

async fn state(servers: &Api<Server>, uuid: &str) -> (Option<DiskState>, bool) {
    let server = servers.get(uuid).await.unwrap();
    let clean = server.status.as_ref().is_some_and(|status| status.is_clean);
    (DiskRecord::of(&server).map(|record| record.state), clean)
}

async fn events(client: &Client, reason: &str) -> Vec<Event> {
    let events: Api<Event> = Api::namespaced(client.clone(), "default");
    eventually("event", async || {
        let all = events.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let found: Vec<Event> =
            all.into_iter().filter(|event| event.reason.as_deref() == Some(reason)).collect();
        if found.is_empty() { Err(format!("no event {reason}")) } else { Ok(found) }
    })
    .await
}

fn disk(state: State) -> Vec<pb::DiskProgress> {
    vec![pb::DiskProgress {
        device: "sda".to_owned(),
        size: 100,
        done: 45,
        state: state.into(),
        error: "gone".to_owned(),
        ..pb::DiskProgress::default()
    }]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_goes_from_unknown_to_clean_and_a_bound_one_never_gets_the_agent() {
    let plane = ControlPlane::start().await;
    let (kubernetes, client) = connect(&plane).await;
    let address = start(&plane, &kubernetes, false);
    let mut machine = Machine::new(address, UUID, 1).await;
    // Before the kinds exist nobody can tell what the machine is; nor whether this plane may act.
    assert!(machine.ask().await.starts_with("HTTP/1.1 500 "));
    install_kinds(&client).await;
    assert!(machine.ask().await.starts_with("HTTP/1.1 500 "));
    assert_eq!(machine.register().await.unwrap_err().code(), Code::Unavailable);
    hand_over(&client, None).await;
    eventually("this plane acts", async || {
        let answer = machine.ask().await;
        if answer.contains("kernel /env/agent-amd64/vmlinuz") { Ok(()) } else { Err(answer) }
    })
    .await;
    machine.boot().await;

    for serial in ["SN1", "SN1", "SN2"] {
        machine.serial = serial.to_owned();
        let orders = machine.register().await.unwrap();
        assert!(!orders.wipe && !orders.setup_bmc && !orders.restart, "{orders:?}");
    }
    let servers: Api<Server> = Api::all(client.clone());
    check_registration(&client, &machine).await;

    accept(&servers, UUID).await;
    assert!(ordered(&machine).await.setup_bmc);
    let conditions = servers.get(UUID).await.unwrap().status.unwrap().conditions;
    assert_eq!(condition::find(&conditions, "DisksWiped").unwrap().reason, "Wiping");
    machine.beat(disk(State::Wiping)).await.unwrap();
    machine.beat(disk(State::Failed)).await.unwrap();
    let conditions = servers.get(UUID).await.unwrap().status.unwrap().conditions;
    assert_eq!(condition::find(&conditions, "DisksWiped").unwrap().message, "sda: gone");
    machine.wiped(disk(State::Wiped)).await.unwrap();
    machine.wiped(disk(State::Wiped)).await.unwrap();
    assert_eq!(state(&servers, UUID).await, (Some(DiskState::Clean), true));
    let status = servers.get(UUID).await.unwrap().status.unwrap();
    for type_ in ["PowerCycle", "DisksWiped"] {
        assert_eq!(condition::find(&status.conditions, type_).unwrap().status, ConditionStatus::True);
    }
    assert_eq!(status.addresses.len(), 1);
    events(&client, "Server Wipe").await;
    check_management(&client, &machine).await;

    bind(&client, UUID).await;
    let answer = machine.ask().await;
    assert!(!answer.contains("agent") && answer.starts_with("HTTP/1.1 404 "), "{answer}");
    leaves(&machine).await;
    check_claim(&client, &plane, &machine).await;
}

/// No controllers run here: who gives the machine its node system puts the claim on record, and a binding that is
/// then deleted by force leaves it.
async fn check_claim(client: &Client, plane: &ControlPlane, machine: &Machine) {
    let servers: Api<Server> = Api::all(client.clone());
    let environments: Api<Environment> = Api::all(client.clone());
    assert_eq!(state(&servers, UUID).await.0, Some(DiskState::Clean), "nothing was given yet");
    let environment = json!({
        "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "Environment", "metadata": { "name": "default" },
        "spec": { "kernel": { "url": "http://k" }, "initrd": { "url": "http://i" } },
    });
    environments.patch("default", &PatchParams::apply("test"), &Patch::Apply(environment)).await.unwrap();
    let ready = |url| json!({ "url": url, "type": "Ready", "status": "True", "sha512": "" });
    let status = Patch::Merge(json!({ "status": { "conditions": [ready("http://k"), ready("http://i")] } }));
    environments.patch_status("default", &PatchParams::default(), &status).await.unwrap();
    std::fs::create_dir_all(plane.directory().join("env/default")).unwrap();
    for file in ["vmlinuz", "initramfs.xz"] {
        std::fs::write(plane.directory().join("env/default").join(file), b"x").unwrap();
    }
    let answer = machine.ask().await;
    assert!(answer.contains("kernel /env/default/vmlinuz"), "{answer}");
    let record = DiskRecord::of(&servers.get(UUID).await.unwrap()).unwrap();
    let bindings: Api<ServerBinding> = Api::all(client.clone());
    assert_eq!(
        (record.state, record.binding),
        (DiskState::Bound, bindings.get(UUID).await.unwrap().metadata.uid)
    );
    unbind(client, UUID).await;
    assert!(bindings.get_opt(UUID).await.unwrap().is_none());
    assert!(!machine.register().await.unwrap().wipe);
    assert!(machine.ask().await.ends_with("#!ipxe\nexit\n"));
}

async fn check_registration(client: &Client, machine: &Machine) {
    let servers: Api<Server> = Api::all(client.clone());
    let server = servers.get(UUID).await.unwrap();
    let system = server.spec.hardware.and_then(|hardware| hardware.system).unwrap();
    assert_eq!((system.uuid.as_str(), system.serial_number.as_str()), (UUID, "SN2"));
    assert_eq!(state(&servers, UUID).await, (Some(DiskState::NeverUsed), false));
    assert_eq!(events(client, "Server Registration").await.len(), 1);
    machine.report_address("10.77.0.50").await.unwrap();
    let addresses = servers.get(UUID).await.unwrap().status.unwrap_or_default().addresses;
    assert_eq!(addresses.first().map(|address| address.address.as_str()), Some("10.77.0.50"));
}

async fn check_management(client: &Client, machine: &Machine) {
    let servers: Api<Server> = Api::all(client.clone());
    machine.report_bmc("10.77.0.11", "", "").await.unwrap();
    machine.report_bmc("", "sidero", "s3cret").await.unwrap();
    let bmc = servers.get(UUID).await.unwrap().spec.bmc.unwrap();
    assert_eq!((bmc.endpoint.as_str(), bmc.port, bmc.user.as_str()), ("10.77.0.11", 623, ""));
    assert!(bmc.user_from.is_some() && bmc.pass_from.is_some());
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "default");
    let secret = secrets.get(&format!("{UUID}-bmc")).await.unwrap();
    assert_eq!(secret.data.unwrap()["pass"].0, b"s3cret");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_way_round_makes_a_machine_wiped_or_clean() {
    let (plane, client, address) = deciding(false).await;
    let servers: Api<Server> = Api::all(client.clone());
    let mut machine = Machine::new(address, UUID, 1).await;
    machine.boot().await;
    machine.register().await.unwrap();
    accept(&servers, UUID).await;
    ordered(&machine).await;

    // Forged, of an earlier boot, of another machine, none.
    let mut stranger = machine.clone();
    let earlier = machine.token.clone();
    machine.boot().await;
    let mut other = Machine::new(address, OTHER, 2).await;
    other.boot().await;
    for token in [earlier, other.token.clone(), Some("A".repeat(44)), None] {
        stranger.token = token;
        assert!(!stranger.register().await.unwrap().wipe);
        for refused in [
            stranger.beat(Vec::new()).await,
            stranger.wiped(disk(State::Wiped)).await,
            stranger.report_bmc("10.66.6.6", "root", "evil").await,
            stranger.report_address("10.66.6.6").await,
        ] {
            assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
        }
    }

    // Bound and released between the order and its end.
    ordered(&machine).await;
    bind(&client, UUID).await;
    leaves(&machine).await;
    assert_eq!(machine.wiped(disk(State::Wiped)).await.unwrap_err().code(), Code::FailedPrecondition);
    record(&plane, UUID, DiskState::Released).await;
    unbind(&client, UUID).await;
    assert_eq!(machine.wiped(disk(State::Wiped)).await.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(state(&servers, UUID).await, (Some(DiskState::Released), false));

    // A disk that failed.
    ordered(&machine).await;
    assert_eq!(machine.wiped(disk(State::Failed)).await.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(state(&servers, UUID).await, (Some(DiskState::Released), false));

    check_fencing(&client, &machine).await;
    check_restored(&servers, &machine).await;
}

/// Another plane takes over, and gives back.
async fn check_fencing(client: &Client, machine: &Machine) {
    hand_over(client, Some("another")).await;
    eventually("fenced", async || match machine.wiped(disk(State::Failed)).await {
        Err(refused) if refused.code() == Code::Unavailable => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(machine.register().await.unwrap_err().code(), Code::Unavailable);
    assert!(machine.ask().await.starts_with("HTTP/1.1 500 "));
    hand_over(client, None).await;
    eventually("back", async || machine.register().await.map(|_| ()).map_err(|error| error.to_string()))
        .await;
}

/// The object comes back from a backup: same name, same annotations, another uid.
async fn check_restored(servers: &Api<Server>, machine: &Machine) {
    let mut copy = servers.get(UUID).await.unwrap();
    copy.metadata.finalizers = None;
    copy.metadata.resource_version = None;
    copy.metadata.uid = None;
    copy.metadata.managed_fields = None;
    let freed: Value = json!({ "metadata": { "finalizers": null } });
    servers.patch(UUID, &PatchParams::default(), &Patch::Merge(freed)).await.unwrap();
    servers.delete(UUID, &DeleteParams::default()).await.unwrap();
    servers.create(&PostParams::default(), &copy).await.unwrap();
    assert_eq!(machine.wiped(disk(State::Wiped)).await.unwrap_err().code(), Code::FailedPrecondition);
    assert!(!machine.register().await.unwrap().wipe);
    assert!(machine.ask().await.ends_with("#!ipxe\nexit\n"));
    assert!(!state(servers, UUID).await.1);
}

/// Calls until the services take the call, as the agent does: while too many call at once they refuse some.
async fn until_its_turn<T, F>(call: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T, tonic::Status>>,
{
    let started = Instant::now();
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(refused) if refused.code() == Code::Unavailable && started.elapsed() < scaled(LIMIT) => {}
            Err(refused) => panic!("{refused}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hall_of_machines_registers_at_once() {
    let (_plane, client, address) = deciding(false).await;
    let started = Instant::now();
    let mut hall = tokio::task::JoinSet::new();
    for number in 0..HALL {
        hall.spawn(async move {
            let uuid = format!("{number:08x}-0042-3110-8051-b7c04f4e3332");
            let mut machine = Machine::new(address, &uuid, number).await;
            // The boot script asks again, too.
            let mut answer = machine.boot().await;
            while answer.starts_with("HTTP/1.1 503 ") && started.elapsed() < scaled(LIMIT) {
                answer = machine.boot().await;
            }
            assert!(machine.token.is_some(), "{answer}");
            let asked = Instant::now();
            let orders = until_its_turn(|| machine.register()).await;
            assert!(!orders.wipe);
            until_its_turn(|| machine.report_address("10.77.0.50")).await;
            asked.elapsed()
        });
    }
    let done = hall.join_all().await;
    let longest = done.into_iter().max().unwrap_or_default();
    println!("{HALL} machines registered in {:?}, the slowest in {longest:?}", started.elapsed());
    assert!(started.elapsed() < scaled(LIMIT));
    let servers: Api<Server> = Api::all(client.clone());
    let all = servers.list(&ListParams::default()).await.unwrap();
    assert_eq!(all.items.len(), usize::from(HALL));
    let unused = |server: &Server| DiskRecord::of(server).map(|record| record.state);
    assert!(all.iter().all(|server| unused(server) == Some(DiskState::NeverUsed)));
}

/// A machine of the rack in the middle of its wipe: it boots by one replica and registers at the other.
async fn in_the_middle(replicas: [SocketAddr; 2], number: u16) -> Machine {
    let uuid = format!("{number:08x}-0042-3110-8051-b7c04f4e3332");
    let [one, other] = if number.is_multiple_of(2) { replicas } else { [replicas[1], replicas[0]] };
    let mut machine = Machine::new(one, &uuid, number).await;
    eventually("boot token", async || {
        let mut machine = machine.clone();
        let answer = machine.boot().await;
        machine.token.ok_or(answer)
    })
    .await;
    machine.boot().await;
    let machine = machine.turn_to(other).await;
    assert!(until_its_turn(|| machine.register()).await.wipe);
    until_its_turn(|| machine.beat(disk(State::Wiping))).await;
    machine
}

/// Promise of replicas: an order is good at each of them, and after the death of the one that gave it.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_replicas_one_dies_in_the_middle_of_wipes_and_nothing_is_lost_or_done_twice() {
    const RACK: u16 = 40;
    let plane = ControlPlane::start().await;
    let (_, client) = connect(&plane).await;
    install_kinds(&client).await;
    hand_over(&client, None).await;
    let ((doomed, first), (survivor, second)) = (replica(&plane), replica(&plane));
    for address in [first, second] {
        decides(address).await;
    }
    let mut rack = Vec::new();
    for number in 0..RACK {
        rack.push(in_the_middle([first, second], number).await);
    }
    // Half of them are about to report to the replica that dies; a few calls get through, some break off half-way.
    let mut reports = tokio::task::JoinSet::new();
    for machine in rack.iter().filter(|machine| machine.address == first) {
        let machine = machine.clone();
        reports.spawn(async move { machine.wiped(disk(State::Wiped)).await.is_ok() });
    }
    let reported = reports.join_next().await.unwrap().unwrap();
    doomed.shutdown_background();
    let through =
        usize::from(reported) + reports.join_all().await.into_iter().filter(|through| *through).count();
    println!("{through} reports got through before the replica died");
    for machine in &rack {
        let machine = machine.clone().turn_to(second).await;
        until_its_turn(|| machine.wiped(disk(State::Wiped))).await;
    }
    let servers: Api<Server> = Api::all(client.clone());
    let versions = async || {
        let all = servers.list(&ListParams::default()).await.unwrap();
        let of = |server: Server| (server.metadata.name, server.metadata.resource_version);
        all.items.into_iter().map(of).collect::<Vec<_>>()
    };
    for machine in &rack {
        assert_eq!(state(&servers, &machine.uuid).await, (Some(DiskState::Clean), true));
        let record = DiskRecord::of(&servers.get(&machine.uuid).await.unwrap()).unwrap();
        assert_eq!(record.seq, 2, "never used, then clean: once each");
    }
    // Said once more, nothing is written.
    let before = versions().await;
    for machine in &rack {
        let machine = machine.clone().turn_to(second).await;
        machine.wiped(disk(State::Wiped)).await.unwrap();
        assert!(!machine.register().await.unwrap().wipe);
    }
    assert_eq!(versions().await, before);
    // A replayed token of a boot before does not count at the replica that did not give it, once it knows a later one.
    let old = rack[0].clone().turn_to(second).await;
    let mut new = old.clone();
    new.boot().await;
    new.register().await.unwrap();
    assert_eq!(old.wiped(disk(State::Wiped)).await.unwrap_err().code(), Code::Unauthenticated);
    survivor.shutdown_background();
}

/// Impostors: a board whose identity nobody programmed (finding 1, F3), a clone of a bound machine (F2), a bound
/// machine whose board was changed (F1), firmware without a UUID (finding 10), and a stranger who says what it likes
/// (findings 5 and 6).
#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_the_machine_gets_and_changes_nothing_of_it() {
    const DISK: &str = "#!ipxe\nexit\n";
    let plane = ControlPlane::start().await;
    let (kubernetes, client) = connect(&plane).await;
    install_kinds(&client).await;
    hand_over(&client, None).await;
    let address = start(&plane, &kubernetes, false);
    let servers: Api<Server> = Api::all(client.clone());
    let mut node = Machine::new(address, UUID, 1).await;
    eventually("all Servers are known", async || {
        node.register().await.map(|_| ()).map_err(|error| error.to_string())
    })
    .await;
    node.boot().await;
    accept(&servers, UUID).await;
    ordered(&node).await;

    // The same UUID, and serial numbers that say nothing.
    let mut twin = Machine::new(address, UUID, 2).await;
    for serial in ["Default string", "", "SN2"] {
        serial.clone_into(&mut twin.serial);
        assert!(twin.boot().await.ends_with(DISK), "{serial}");
        assert_eq!(twin.register().await.unwrap_err().code(), Code::InvalidArgument, "{serial}");
    }
    let inventory = servers.get(UUID).await.unwrap().spec.hardware;
    for (serial, token) in [("SN66", None), ("SN66", Some("A".repeat(44)))] {
        let mut liar = Machine::new(address, UUID, 1).await;
        (liar.serial, liar.token) = (serial.to_owned(), token);
        assert!(!liar.register().await.unwrap().wipe);
        assert_eq!(liar.wiped(Vec::new()).await.unwrap_err().code(), Code::Unauthenticated);
        assert_eq!(servers.get(UUID).await.unwrap().spec.hardware, inventory);
    }
    // A report that leaves the disk out is not believed of the machine itself either.
    assert_eq!(node.wiped(Vec::new()).await.unwrap_err().code(), Code::FailedPrecondition);
    node.wiped(disk(State::Wiped)).await.unwrap();

    bind(&client, UUID).await;
    let claim = json!({ "status": { "inUse": true } });
    servers.patch_status(UUID, &PatchParams::default(), &Patch::Merge(claim)).await.unwrap();
    // The same card under another UUID, as after a change of the board.
    let mut renamed = Machine::new(address, OTHER, 1).await;
    eventually("the claim is known", async || {
        let answer = renamed.ask().await;
        if answer.ends_with(DISK) { Ok(()) } else { Err(answer) }
    })
    .await;
    renamed.boot().await;
    assert!(renamed.token.is_none());
    assert!(!renamed.register().await.unwrap().wipe);
    let held = servers.get(OTHER).await.unwrap();
    assert!(!held.spec.accepted && DiskRecord::of(&held).is_none());
    accept(&servers, OTHER).await;
    assert!(!renamed.register().await.unwrap().wipe);
    assert!(renamed.ask().await.ends_with(DISK));
    let rivals = servers.get(UUID).await.unwrap().metadata.annotations.unwrap();
    assert!(rivals["bloomery.dev/rival"].contains(OTHER), "{rivals:?}");
    let told = events(&client, "Identity Conflict").await;
    assert!(
        told.iter().any(|event| event.message.as_ref().is_some_and(|text| text.contains("bloomery servers")))
    );
}

//! Which machine asks: cloned UUIDs, boards that were changed, firmware without a UUID, and strangers who say a name.

use bloomery_agent_api as pb;
use bloomery_agent_api::TOKEN_METADATA;
use bloomery_agent_api::agent_client::AgentClient;
use bloomery_api::decision::unknown::UnknownMachines;
use http::StatusCode;
use serde_json::{Value, json};
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::decisions::{bound, environment, kernel_of};
use super::{Lab, Setup, token_of};
use crate::tests::fake_api::{binding, disks, metal};

const A: &str = "4c4c4544-0042-3110-8051-b7c04f4e3332";
const B: &str = "5c5c5544-0042-3110-8051-b7c04f4e3332";
const DISK: &str = "#!ipxe\nexit\n";

/// A machine as its firmware and its agent show it.
#[derive(Clone)]
struct Shown {
    uuid: &'static str,
    serial: &'static str,
    card: u8,
}

impl Shown {
    const fn new(uuid: &'static str, serial: &'static str, card: u8) -> Self {
        Self { uuid, serial, card }
    }

    async fn ask(&self, lab: &Lab) -> (StatusCode, String) {
        let Self { uuid, serial, card } = self;
        let serial = serial.replace(' ', "%20");
        lab.get(&format!("/ipxe?uuid={uuid}&mac=52-54-00-77-00-{card:02x}&serial={serial}")).await
    }

    fn inventory(&self) -> pb::CreateServerRequest {
        let system = pb::SystemInformation {
            uuid: self.uuid.to_owned(),
            serial_number: self.serial.to_owned(),
            ..Default::default()
        };
        let mac = format!("52:54:00:77:00:{:02x}", self.card);
        let interfaces = vec![pb::NetworkInterface { mac, ..Default::default() }];
        let disk = pb::StorageDevice {
            device_name: "/dev/sda".to_owned(),
            contents: Some(pb::DiskContents { read: true, ..Default::default() }),
            ..Default::default()
        };
        let hardware = pb::HardwareInformation {
            system: Some(system),
            network: Some(pb::NetworkInformation { interface_count: 1, interfaces }),
            storage: Some(pb::StorageInformation { devices: vec![disk], ..Default::default() }),
            ..Default::default()
        };
        let hostname = "(none)".to_owned();
        pb::CreateServerRequest { hardware: Some(hardware), hostname, addresses: Vec::new() }
    }

    async fn register(&self, lab: &Lab, token: Option<&str>) -> Result<pb::CreateServerResponse, Status> {
        let mut agent: AgentClient<Channel> =
            AgentClient::connect(format!("http://{}", lab.address)).await.unwrap();
        let mut request = tonic::Request::new(self.inventory());
        if let Some(token) = token {
            request.metadata_mut().insert(TOKEN_METADATA, token.parse().unwrap());
        }
        agent.create_server(request).await.map(tonic::Response::into_inner)
    }

    /// Boots the agent and lets it register.
    async fn boot_and_register(&self, lab: &Lab) -> Result<pb::CreateServerResponse, Status> {
        let token = token_of(&self.ask(lab).await.1);
        self.register(lab, token.as_deref()).await
    }
}

fn object(lab: &Lab, name: &str) -> Value {
    lab.api.object(&metal("servers", name)).unwrap_or_default()
}

fn mac_of(server: &Value) -> &Value {
    &server["spec"]["hardware"]["network"]["interfaces"][0]["mac"]
}

fn rivals(lab: &Lab, name: &str) -> Value {
    let text = object(lab, name)["metadata"]["annotations"]["bloomery.dev/rival"].clone();
    text.as_str().map_or(Value::Null, |text| serde_json::from_str(text).unwrap())
}

fn accept(lab: &Lab, name: &str) {
    lab.api.change(&metal("servers", name), |server| server["spec"]["accepted"] = json!(true));
}

/// Registered, accepted and bound.
async fn cluster_node(lab: &Lab, machine: &Shown) {
    machine.boot_and_register(lab).await.unwrap();
    accept(lab, machine.uuid);
    lab.api.put(
        &binding(machine.uuid),
        json!({ "spec": { "metalMachineRef": { "kind": "MetalMachine", "name": "m", "namespace": "default" } } }),
    );
    lab.api.change(&metal("servers", machine.uuid), |server| {
        server["metadata"]["annotations"] = disks("bound", machine.uuid);
    });
}

/// Finding 1: boards whose UUID and serial number nobody programmed.
#[tokio::test]
async fn a_second_machine_with_uuid_and_placeholder_serial_is_never_wiped() {
    for serial in
        ["Default string", "", "To be filled by O.E.M.", "0123456789", "123456789", "System Serial Number"]
    {
        let lab = Lab::start(Setup::default());
        let (first, second) = (Shown::new(A, serial, 1), Shown::new(A, serial, 2));
        first.boot_and_register(&lab).await.unwrap();
        accept(&lab, A);
        for _ in 0..2 {
            let (status, script) = second.ask(&lab).await;
            assert_eq!((status, script.as_str()), (StatusCode::OK, DISK), "{serial}");
            let refused = second.register(&lab, None).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{serial}");
            assert!(refused.message().contains("bloomery servers split"), "{refused:?}");
        }
        assert_eq!(mac_of(&object(&lab, A)), "52:54:00:77:00:01", "{serial}");
        // The first one is the machine still, and the conflict stands on its Server.
        assert!(first.boot_and_register(&lab).await.unwrap().wipe, "{serial}");
        assert_eq!(rivals(&lab, A)[0]["cards"], json!(["52:54:00:77:00:02"]), "{serial}");
    }
}

/// F2: surely another machine, by card and serial number.
#[tokio::test]
async fn a_clone_of_a_bound_machine_is_not_given_its_environment() {
    let lab = Lab::start(Setup::default());
    environment(&lab, "default", &[]);
    let (node, clone) = (Shown::new(A, "SN00001", 1), Shown::new(A, "SN00002", 2));
    cluster_node(&lab, &node).await;
    for _ in 0..2 {
        assert_eq!(clone.ask(&lab).await.1, DISK);
        assert!(kernel_of(&node.ask(&lab).await.1).starts_with("kernel /env/default/vmlinuz"));
    }
    assert_eq!(rivals(&lab, A).as_array().unwrap().len(), 1);
    // A card alone is replaced: with the serial number it is the machine.
    let repaired = Shown::new(A, "SN00001", 3);
    let (_, script) = repaired.ask(&lab).await;
    assert!(kernel_of(&script).starts_with("kernel /env/default/vmlinuz"), "{script}");
}

/// F1: the board was changed, or its firmware: another UUID, the same card and serial number.
#[tokio::test]
async fn a_bound_machine_under_a_new_uuid_is_held_back() {
    for auto_accept in [true, false] {
        let lab = Lab::start(Setup { auto_accept, ..Setup::default() });
        cluster_node(&lab, &Shown::new(A, "SN00001", 1)).await;
        for renamed in [Shown::new(B, "SN00001", 1), Shown::new(B, "", 1), Shown::new(B, "SN00001", 9)] {
            assert_eq!(renamed.ask(&lab).await.1, DISK);
        }
        // Were it in the agent already, it would be registered and held.
        let renamed = Shown::new(B, "SN00001", 1);
        let told = renamed.register(&lab, None).await.unwrap();
        assert!(!told.wipe && !told.setup_bmc, "{told:?}");
        let made = object(&lab, B);
        assert_eq!(made["spec"]["accepted"], json!(false));
        assert!(made["metadata"]["annotations"]["bloomery.dev/disks"].is_null(), "{made}");
        assert_eq!(made["spec"]["hostname"], Value::Null, "(none) is none");
        assert_eq!(made["metadata"]["labels"]["bloomery.dev/plane"], json!("own"));
        assert_eq!(rivals(&lab, A)[0]["uuids"], json!([B]));
        // A person who accepts it without looking wipes nothing.
        accept(&lab, B);
        assert_eq!(renamed.ask(&lab).await.1, DISK);
        assert!(!renamed.register(&lab, None).await.unwrap().wipe);
    }
}

/// Finding 10: iPXE without a UUID.
#[tokio::test]
async fn a_machine_that_cannot_name_itself_is_known_by_its_card() {
    let lab = Lab::start(Setup::default());
    let node = Shown::new(A, "SN00001", 1);
    cluster_node(&lab, &node).await;
    lab.api.change(&metal("servers", A), |server| {
        server["status"] = json!({ "conditions": [
            { "type": "PXEBooted", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" } ] });
    });
    assert_eq!(node.ask(&lab).await.1, DISK);
    for query in
        ["uuid=&mac=52-54-00-77-00-01", "mac=52-54-00-77-00-01", "uuid=&mac=52-54-00-77-00-01&serial=SN00001"]
    {
        assert_eq!(lab.get(&format!("/ipxe?{query}")).await.1, DISK, "{query}");
    }
    let unknown = lab.get("/ipxe?uuid=&mac=52-54-00-77-00-55").await.1;
    assert!(kernel_of(&unknown).starts_with("kernel /env/agent-amd64/") && token_of(&unknown).is_none());
}

/// Findings 5 and 6: a stranger rewrites the inventory by which tokens are given.
#[tokio::test]
async fn a_stranger_neither_rewrites_an_inventory_nor_gets_a_token_by_it() {
    let lab = Lab::start(Setup::default());
    let machine = Shown::new(A, "SN00001", 1);
    machine.boot_and_register(&lab).await.unwrap();
    let before = object(&lab, A);
    // Not accepted, accepted, bound: never.
    for state in ["waits", "accepted", "bound"] {
        if state == "accepted" {
            accept(&lab, A);
        } else if state == "bound" {
            bound(&lab, None);
        }
        for liar in [Shown::new(A, "SN00001", 6), Shown::new(A, "", 6), Shown::new(A, "SN00066", 1)] {
            let _ = liar.register(&lab, None).await;
            assert_eq!(object(&lab, A)["spec"]["hardware"], before["spec"]["hardware"], "{state}");
        }
        let script = Shown::new(A, "SN00001", 6).ask(&lab).await.1;
        assert_eq!(token_of(&script), None, "{state}");
    }
}

#[tokio::test]
async fn before_all_servers_are_known_nothing_is_handed_out_or_written() {
    let lab = Lab::start(Setup::default());
    lab.api.unlist_servers(true);
    let machine = Shown::new(A, "SN00001", 1);
    assert_eq!(machine.ask(&lab).await.0, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(machine.register(&lab, None).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(object(&lab, A), Value::Null);
    lab.api.unlist_servers(false);
    assert!(token_of(&machine.ask(&lab).await.1).is_some());
}

#[tokio::test]
async fn a_machine_with_a_system_of_its_own_gets_back_to_its_disk() {
    let lab = Lab::start(Setup::default());
    let machine = Shown::new(A, "SN00001", 1);
    assert!(token_of(&machine.ask(&lab).await.1).is_some());
    let mut inventory = machine.inventory();
    let disk = &mut inventory.hardware.as_mut().unwrap().storage.as_mut().unwrap().devices[0];
    disk.contents =
        Some(pb::DiskContents { read: true, found: vec!["ext4".to_owned()], ..Default::default() });
    let mut agent = AgentClient::connect(format!("http://{}", lab.address)).await.unwrap();
    agent.create_server(inventory).await.unwrap();
    assert_eq!(machine.ask(&lab).await.1, DISK);
    accept(&lab, A);
    assert!(kernel_of(&machine.ask(&lab).await.1).starts_with("kernel /env/agent-amd64/"));
}

#[tokio::test]
async fn unknown_machines_are_served_as_the_owner_wants() {
    let card = "mac:52:54:00:77:00:01";
    for (policy, allow, deny, status, served) in [
        (UnknownMachines::Agent, "", "", StatusCode::OK, true),
        (UnknownMachines::BootDisk, "", "", StatusCode::OK, false),
        (UnknownMachines::Ignore, "", "", StatusCode::NOT_FOUND, false),
        (UnknownMachines::Agent, card, "", StatusCode::OK, true),
        (UnknownMachines::Agent, "52:54:01", "", StatusCode::NOT_FOUND, false),
        (UnknownMachines::Agent, "", card, StatusCode::NOT_FOUND, false),
    ] {
        let mut flags = vec![format!("--unknown-machines={policy}")];
        flags.extend((!allow.is_empty()).then(|| format!("--machines-allow={allow}")));
        flags.extend((!deny.is_empty()).then(|| format!("--machines-deny={deny}")));
        let lab = Lab::start(Setup { flags, ..Setup::default() });
        let machine = Shown::new(A, "SN00001", 1);
        let (answered, script) = machine.ask(&lab).await;
        assert_eq!((answered, token_of(&script).is_some()), (status, served), "{policy} {allow} {deny}");
        assert_eq!(machine.register(&lab, None).await.is_ok(), served, "{policy} {allow} {deny}");
    }
}

/// A person declared two machines with one UUID to be two.
#[tokio::test]
async fn a_machine_that_was_split_off_gets_a_server_and_tokens_of_its_own() {
    let lab = Lab::start(Setup::default());
    let (first, second) = (Shown::new(A, "", 1), Shown::new(A, "", 2));
    first.boot_and_register(&lab).await.unwrap();
    lab.api.change(&metal("servers", A), |server| {
        server["metadata"]["annotations"]["bloomery.dev/distinct-from"] = json!("52:54:00:77:00:02");
    });
    second.boot_and_register(&lab).await.unwrap();
    let own = bloomery_api::decision::identity::split_name(A, "52:54:00:77:00:02").unwrap();
    assert_eq!(mac_of(&object(&lab, &own)), "52:54:00:77:00:02");
    assert_eq!(object(&lab, &own)["metadata"]["annotations"]["bloomery.dev/system-uuid"], json!(A));
    accept(&lab, &own);
    let told = second.boot_and_register(&lab).await.unwrap();
    assert!(told.wipe, "{told:?}");
    // Its token is not the other's.
    let token = token_of(&second.ask(&lab).await.1);
    assert!(!first.register(&lab, token.as_deref()).await.unwrap().wipe);
    let mut agent = AgentClient::connect(format!("http://{}", lab.address)).await.unwrap();
    let order = second.register(&lab, token.as_deref()).await.unwrap().order;
    let disk =
        pb::DiskProgress { device: "sda".to_owned(), state: 2, size: 1, done: 1, ..Default::default() };
    let mut ended =
        tonic::Request::new(pb::MarkServerAsWipedRequest { uuid: A.to_owned(), disks: vec![disk], order });
    ended.metadata_mut().insert(TOKEN_METADATA, token.unwrap().parse().unwrap());
    agent.mark_server_as_wiped(ended).await.unwrap();
    assert_eq!(object(&lab, &own)["status"]["isClean"], json!(true));
    assert_ne!(object(&lab, A)["status"]["isClean"], json!(true));
}

/// Finding 3: strangers are bounded in number and size, and known machines go on at the bound.
#[tokio::test]
async fn at_the_bound_strangers_are_refused_and_known_machines_go_on() {
    let lab = Lab::start(Setup::default());
    let known = Shown::new(A, "SN00001", 1);
    known.boot_and_register(&lab).await.unwrap();
    accept(&lab, A);
    for number in 0..2000 {
        let name = format!("0ca11000-0000-4000-8000-{number:012}");
        lab.api.put(&metal("servers", &name), json!({ "spec": { "accepted": false } }));
    }
    let stranger = Shown::new(B, "SN00002", 2);
    assert_eq!(stranger.register(&lab, None).await.unwrap_err().code(), Code::ResourceExhausted);
    assert_eq!((object(&lab, B), lab.metrics.registrations_refused_full.get()), (Value::Null, 1));
    assert!(known.boot_and_register(&lab).await.unwrap().wipe);
}

#[tokio::test]
async fn an_inventory_larger_than_any_machine_is_refused() {
    let lab = Lab::start(Setup::default());
    // Small on the wire, large where it is stored.
    let mut inventory = Shown::new(A, "SN00001", 1).inventory();
    let disk = pb::StorageDevice {
        r#type: 1,
        size: 1,
        device_name: "/dev/sda".to_owned(),
        model: "M".repeat(20),
        ..Default::default()
    };
    let storage = pb::StorageInformation { devices: vec![disk; 1024], ..Default::default() };
    inventory.hardware.as_mut().unwrap().storage = Some(storage);
    let mut agent = AgentClient::connect(format!("http://{}", lab.address)).await.unwrap();
    let refused = agent.create_server(inventory).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    assert_eq!(object(&lab, A), Value::Null);
}

#[tokio::test]
async fn an_agent_without_token_is_shown_on_its_server_once_and_until_it_has_one() {
    let lab = Lab::start(Setup::default());
    let machine = Shown::new(A, "SN00001", 1);
    let token = token_of(&machine.ask(&lab).await.1);
    machine.register(&lab, token.as_deref()).await.unwrap();
    accept(&lab, A);
    let shown = || {
        let conditions = object(&lab, A)["status"]["conditions"].clone();
        let all = conditions.as_array().cloned().unwrap_or_default();
        all.into_iter().find(|condition| condition["type"] == "AgentToken")
    };
    let status_writes = || lab.api.writes().iter().filter(|(_, path)| path.ends_with("/status")).count();
    for _ in 0..3 {
        assert!(!machine.register(&lab, None).await.unwrap().wipe);
    }
    assert_eq!(status_writes(), 1);
    let condition = shown().unwrap();
    assert_eq!((&condition["status"], &condition["reason"]), (&json!("False"), &json!("NoToken")));
    assert!(condition["message"].as_str().unwrap().contains("requireAgentToken"), "{condition}");
    assert!(machine.register(&lab, token.as_deref()).await.unwrap().wipe);
    assert_eq!(shown(), None);
}

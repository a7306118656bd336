//! The vectors of spec/sidero.md §10.3 for gRPC, as far as this release serves them.

use std::ops::{Deref, DerefMut};

use bloomery_agent_api as pb;
use bloomery_agent_api::agent_client::AgentClient;
use http::Method;
use serde_json::json;
use tonic::Code;
use tonic::transport::Channel;

use super::{events, with};

use super::mapping::{UUID, inventory};
use crate::http::tests::{Lab, Setup};
use crate::tests::fake_api::{Failure, binding, metal};

/// An agent, with the order that it was given last.
pub(super) struct Caller {
    agent: AgentClient<Channel>,
    pub(super) order: Vec<u8>,
}

impl Deref for Caller {
    type Target = AgentClient<Channel>;

    fn deref(&self) -> &Self::Target {
        &self.agent
    }
}

impl DerefMut for Caller {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.agent
    }
}

impl Caller {
    /// The same agent, which turns to another replica.
    pub(super) async fn turn_to(self, lab: &Lab) -> Self {
        Self { order: self.order, ..client(lab).await }
    }
}

pub(super) async fn client(lab: &Lab) -> Caller {
    let agent = AgentClient::connect(format!("http://{}", lab.address)).await.unwrap();
    Caller { agent, order: Vec::new() }
}

/// An answer that orders nothing, and says why.
fn nothing(message: &str) -> pb::CreateServerResponse {
    pb::CreateServerResponse { message: message.to_owned(), ..pb::CreateServerResponse::default() }
}

pub(super) fn request(uuid: &str) -> pb::CreateServerRequest {
    let hardware = Some(inventory(uuid));
    pb::CreateServerRequest { hardware, hostname: "node1".to_owned(), addresses: Vec::new() }
}

#[tokio::test]
async fn registers_a_machine_once_and_tells_it_to_write_nothing() {
    let lab = Lab::start(Setup::default());
    let mut agent = client(&lab).await;
    let answer = agent.create_server(request(&UUID.to_uppercase())).await.unwrap().into_inner();
    assert_eq!(answer, nothing("not accepted: nothing is written to this machine"));
    let server = lab.api.object(&metal("servers", UUID)).unwrap();
    assert_eq!(server["spec"]["accepted"], json!(false));
    assert_eq!(server["spec"]["hostname"], json!("node1"));
    assert_eq!(server["spec"]["hardware"]["system"]["uuid"], json!(UUID));
    assert_eq!(server["spec"]["hardware"]["memory"]["totalSize"], json!("31 GB"));
    assert_eq!(server["metadata"]["finalizers"], json!(["storage.finalizers.server.k8s.io"]));
    let record = server["metadata"]["annotations"]["bloomery.dev/disks"].as_str().unwrap();
    let record: serde_json::Value = serde_json::from_str(record).unwrap();
    assert_eq!(
        (&record["state"], &record["serverUID"], &record["epoch"]),
        (&json!("neverUsed"), &json!(format!("made with {UUID}")), &json!(1))
    );
    let events = events(&lab, 1).await;
    let event = &events[0];
    assert_eq!(event["reason"], json!("Server Registration"));
    assert_eq!(event["message"], json!("Server auto-registered via API."));
    assert_eq!(event["source"]["component"], json!("sidero-server"));
    assert_eq!(event["involvedObject"]["uid"], json!(format!("uid-of-{UUID}")));

    // The same again changes nothing and writes nothing.
    let writes = lab.api.writes().len();
    agent.create_server(request(UUID)).await.unwrap();
    assert_eq!(lab.api.writes().len(), writes);
    assert_eq!(lab.metrics.registrations.get(), 1);
    // The Server with its record, and beside it the event.
    assert_eq!(lab.api.writes().len(), 2);
}

#[tokio::test]
async fn a_known_machine_keeps_its_spec_and_gets_its_inventory_refreshed() {
    let lab = Lab::start(Setup { auto_accept: true, ..Setup::default() });
    lab.api.put(
        &metal("servers", UUID),
        json!({ "spec": { "accepted": false, "hostname": "old", "cordoned": true,
            "hardware": { "system": { "uuid": UUID, "serialNumber": "SN1", "skuNumber": "gone" }, "storage": { "devices": [{ "deviceName": "/dev/sda", "contents": {} }] } } } }),
    );
    // A stranger who names it changes nothing: the Server has no card that he could show.
    client(&lab).await.create_server(request(UUID)).await.unwrap();
    assert!(lab.api.object(&metal("servers", UUID)).unwrap()["spec"]["hardware"].get("compute").is_none());
    let token = lab.boot(UUID).await;
    let call = super::with(request(UUID), token.as_deref());
    let answer = client(&lab).await.create_server(call).await.unwrap().into_inner();
    assert_eq!(
        (answer.wipe, answer.message.as_str()),
        (false, "not accepted: nothing is written to this machine")
    );
    assert_eq!(answer.sealing_key.len(), 32);
    let spec = lab.api.object(&metal("servers", UUID)).unwrap()["spec"].clone();
    assert_eq!(
        (&spec["accepted"], &spec["hostname"], &spec["cordoned"]),
        (&json!(false), &json!("old"), &json!(true))
    );
    assert_eq!(spec["hardware"]["compute"]["processorCount"], json!(1));
    assert_eq!(spec["hardware"]["system"].get("skuNumber"), None);
    let writes = lab.api.writes();
    let writes: Vec<_> = writes.iter().filter(|(_, path)| path.contains("/servers")).collect();
    assert_eq!(writes, [&(Method::PATCH, metal("servers", UUID))]);
}

#[tokio::test]
async fn a_disk_that_a_known_machine_does_not_show_any_more_is_said() {
    let lab = Lab::start(Setup::default());
    let disks = json!([
        { "deviceName": "/dev/sdx", "productName": "Old", "serialNumber": "S1", "wwid": "naa.5" },
        { "deviceName": "/dev/sdy" },
    ]);
    lab.api.put(
        &metal("servers", UUID),
        json!({ "spec": { "accepted": false, "hardware": { "system": { "uuid": UUID }, "storage": { "devices": disks } } } }),
    );
    // Contents nobody read: it boots its disk, unless a token was given before.
    let lab = Lab::start(Setup { any_contents: true, api: Some(lab.api.clone()), ..Setup::default() });
    let token = lab.boot(UUID).await;
    let call = || super::with(request(UUID), token.as_deref());
    client(&lab).await.create_server(call()).await.unwrap();
    let events = super::events(&lab, 1).await;
    assert_eq!(events[0]["type"], json!("Warning"));
    let message = events[0]["message"].as_str().unwrap();
    assert!(message.contains("/dev/sdx (Old, serial S1)") && !message.contains("sdy"), "{message}");
    // Said once, when it is noticed.
    client(&lab).await.create_server(call()).await.unwrap();
    assert_eq!(super::events(&lab, 1).await.len(), 1);
}

#[tokio::test]
async fn accepts_at_registration_only_when_told_to() {
    let lab = Lab::start(Setup { auto_accept: true, ..Setup::default() });
    let answer = client(&lab).await.create_server(request(UUID)).await.unwrap().into_inner();
    assert_eq!(lab.api.object(&metal("servers", UUID)).unwrap()["spec"]["accepted"], json!(true));
    // Without a token nothing is ordered.
    assert_eq!(answer, nothing("the agent shows no boot token: nothing is written"));
}

#[tokio::test]
async fn no_order_is_given_while_the_binding_cannot_be_read() {
    let lab = Lab::start(Setup { auto_accept: true, ..Setup::default() });
    lab.api.fail(&binding(UUID), Failure::Status(500));
    let refused = client(&lab).await.create_server(request(UUID)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
}

#[tokio::test]
async fn refuses_machines_that_cannot_be_named() {
    let lab = Lab::start(Setup::default());
    let mut agent = client(&lab).await;
    for uuid in [
        "",
        "not-a-uuid",
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "03000200-0400-0500-0006-000700080009",
    ] {
        let refused = agent.create_server(request(uuid)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{uuid}");
        assert!(refused.message().contains("system UUID"), "{refused:?}");
    }
    let refused = agent.create_server(pb::CreateServerRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(lab.api.writes().is_empty());
}

#[tokio::test]
async fn refuses_a_second_machine_with_the_same_uuid() {
    let lab = Lab::start(Setup::default());
    let mut agent = client(&lab).await;
    agent.create_server(request(UUID)).await.unwrap();
    let mut other = request(UUID);
    let hardware = other.hardware.as_mut().unwrap();
    hardware.system.as_mut().unwrap().serial_number = "SN2".to_owned();
    hardware.network.as_mut().unwrap().interfaces[0].mac = "52:54:00:77:00:02".to_owned();
    let refused = agent.create_server(other).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("another machine"), "{refused:?}");
    let system = lab.api.object(&metal("servers", UUID)).unwrap()["spec"]["hardware"]["system"].clone();
    assert_eq!(system["serialNumber"], json!("SN1"));
}

#[tokio::test]
async fn addresses_of_a_type_are_replaced_and_others_stay() {
    let lab = Lab::start(Setup::default());
    lab.api.put(
        &metal("servers", UUID),
        json!({ "spec": { "accepted": false }, "status": { "inUse": true, "addresses": [
            { "type": "Hostname", "address": "h" }, { "type": "InternalIP", "address": "10.0.0.1" } ] } }),
    );
    let mut agent = client(&lab).await;
    let report = pb::ReconcileServerAddressesRequest {
        uuid: UUID.to_uppercase(),
        address: vec![pb::Address { r#type: "InternalIP".to_owned(), address: "10.77.0.50".to_owned() }],
    };
    agent.reconcile_server_addresses(report.clone()).await.unwrap();
    let status = lab.api.object(&metal("servers", UUID)).unwrap()["status"].clone();
    assert_eq!(
        status["addresses"],
        json!([{ "type": "Hostname", "address": "h" }, { "type": "InternalIP", "address": "10.77.0.50" }])
    );
    assert_eq!(status["inUse"], json!(true));
    let writes = lab.api.writes().len();
    agent.reconcile_server_addresses(report.clone()).await.unwrap();
    assert_eq!(lab.api.writes().len(), writes);
    let unknown = pb::ReconcileServerAddressesRequest { uuid: UUID.replace('4', "5"), ..report };
    assert_eq!(agent.reconcile_server_addresses(unknown).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn unknown_methods_are_unimplemented() {
    let lab = Lab::start(Setup::default());
    let channel = Channel::from_shared(format!("http://{}", lab.address)).unwrap().connect().await.unwrap();
    for path in ["/api.Agent/Explode", "/other.Service/Method"] {
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<pb::HeartbeatRequest, pb::HeartbeatResponse>::default();
        let request = tonic::Request::new(pb::HeartbeatRequest::default());
        let refused =
            client.unary(request, http::uri::PathAndQuery::from_static(path), codec).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented, "{path}");
    }
}

#[tokio::test]
async fn a_call_larger_than_any_machine_is_refused_before_it_is_in_memory() {
    let lab = Lab::start(Setup::default());
    let mut huge = request(UUID);
    huge.hostname = "x".repeat(2 << 20);
    let refused = client(&lab).await.create_server(huge).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused:?}");
    assert!(lab.api.writes().is_empty());
}

/// Finding 4: what a stranger may make the service hold.
#[tokio::test]
async fn a_long_call_needs_a_connection_that_has_shown_a_valid_token() {
    let lab = Lab::start(Setup::default());
    let token = lab.boot(UUID).await.expect("the agent's token");
    let mut agent = client(&lab).await;
    let mut long = request(UUID);
    long.hostname = "x".repeat(100 << 10);
    let address = pb::Address { r#type: "InternalIP".to_owned(), address: "10.77.0.50".to_owned() };
    let report = pb::ReconcileServerAddressesRequest { uuid: UUID.to_owned(), address: vec![address] };
    let beat = pb::HeartbeatRequest { uuid: UUID.to_owned(), disks: Vec::new() };
    for shown in [None, Some("forged"), Some(&*token)] {
        let refused = agent.create_server(with(long.clone(), shown)).await.unwrap_err();
        assert_eq!(refused.code(), Code::OutOfRange, "{refused:?}");
        // These prove nothing: they are answered whatever token is shown, or refused.
        agent.create_server(with(request(UUID), shown)).await.unwrap();
        agent.reconcile_server_addresses(with(report.clone(), shown)).await.unwrap();
        agent.heartbeat(with(beat.clone(), shown)).await.unwrap_err();
    }
    let refused = agent.create_server(with(long, Some(&token))).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused:?}");
}

#[tokio::test]
async fn an_api_that_is_away_is_worth_a_retry() {
    let lab = Lab::start(Setup { api_reachable: false, ..Setup::default() });
    let refused = client(&lab).await.create_server(request(UUID)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
}

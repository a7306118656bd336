//! Which calls for a tunnel are passed on, against a fake Kubernetes API and a far end that notes what it gets.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bloomery_siderolink_api::link::provision_service_server::ProvisionServiceServer;
use parking_lot::Mutex;
use serde_json::json;
use tonic::Code;

use super::*;
use crate::http::tests::{Lab, Setup};
use crate::neighbours::Seen;
use crate::tests::fake_api::{PLANE, metal, plane_held_by};

const UUID: &str = "4c4c4544-0042-3110-8051-b7c04f4e3332";
const OTHER: &str = "5c5c5544-0042-3110-8051-b7c04f4e3332";
const CARD: &str = "52:54:00:77:00:09";

/// SideroLink's service, as the boot services see it.
#[derive(Clone, Default)]
struct FarEnd(Arc<Mutex<Vec<Noted>>>);

/// The key of a call, and where it reached the boot services.
type Noted = (String, Option<String>);

#[tonic::async_trait]
impl ProvisionService for FarEnd {
    async fn provision(
        &self,
        request: Request<ProvisionRequest>,
    ) -> Result<Response<ProvisionResponse>, Status> {
        let reached = request.metadata().get(REACHED_AT).map(|at| at.to_str().unwrap().to_owned());
        self.0.lock().push((request.get_ref().node_uuid.clone(), reached));
        if request.get_ref().node_public_key == "bad" {
            return Err(Status::invalid_argument("error parsing Wireguard key: bad"));
        }
        Ok(Response::new(ProvisionResponse {
            server_address: "fd00::1".to_owned(),
            ..ProvisionResponse::default()
        }))
    }
}

async fn far_end() -> (FarEnd, SocketAddr) {
    let far = FarEnd::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = futures::stream::unfold(listener, async |listener| {
        Some((listener.accept().await.map(|(stream, _)| stream), listener))
    });
    let server = ProvisionServiceServer::new(far.clone());
    tokio::spawn(tonic::transport::Server::builder().add_service(server).serve_with_incoming(incoming));
    (far, address)
}

fn lab_with(address: SocketAddr) -> Lab {
    let lab = Lab::start(Setup { flags: vec![format!("--siderolink-addr={address}")], ..Setup::default() });
    let spec = json!({ "accepted": true, "hardware": { "network": { "interfaces": [{ "mac": CARD }] },
        "system": { "uuid": UUID } } });
    lab.api.put(
        &metal("servers", UUID),
        json!({ "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "Server",
            "metadata": { "name": UUID, "uid": "u" }, "spec": spec }),
    );
    lab
}

async fn call(lab: &Lab, uuid: &str, key: &str) -> Result<ProvisionResponse, Status> {
    let channel = Endpoint::from_shared(format!("http://{}", lab.address)).unwrap().connect().await.unwrap();
    let request = ProvisionRequest {
        node_uuid: uuid.to_owned(),
        node_public_key: key.to_owned(),
        ..ProvisionRequest::default()
    };
    let mut client = ProvisionServiceClient::new(channel);
    let called = client.provision(request);
    tokio::time::timeout(Duration::from_secs(20), called).await.unwrap().map(Response::into_inner)
}

#[tokio::test]
async fn only_a_caller_that_may_be_the_machine_is_passed_on() {
    let (far, address) = far_end().await;
    let lab = lab_with(address);
    let card = |card: &str| Seen::Card(card.to_owned());
    let cases = [
        (card(CARD), UUID, Ok(())),
        (card(CARD), &*UUID.to_uppercase(), Ok(())),
        // From behind a router nobody's card is seen.
        (Seen::Beyond, UUID, Ok(())),
        (card("52:54:00:77:00:66"), UUID, Err(Code::NotFound)),
        (Seen::Unknown, UUID, Err(Code::NotFound)),
        (card(CARD), OTHER, Err(Code::NotFound)),
        (card(CARD), "", Err(Code::NotFound)),
        (card(CARD), "../../x", Err(Code::NotFound)),
    ];
    for (seen, uuid, expected) in cases {
        far.0.lock().clear();
        lab.neighbours.fix(IpAddr::V4(Ipv4Addr::LOCALHOST), seen.clone());
        let answer = call(&lab, uuid, "key").await;
        assert_eq!(answer.as_ref().map(drop).map_err(Status::code), expected, "{seen:?} {uuid}");
        let noted = std::mem::take(&mut *far.0.lock());
        if expected.is_ok() {
            assert_eq!(noted, [(UUID.to_owned(), Some("127.0.0.1".to_owned()))], "{seen:?} {uuid}");
            assert_eq!(answer.unwrap().server_address, "fd00::1");
        } else {
            assert!(noted.is_empty(), "{seen:?} {uuid}: {noted:?}");
            let expected = format!("server binding {uuid:?} not found");
            assert_eq!(answer.unwrap_err().message(), expected);
        }
    }
    bloomery_testkit::eventually("the attempts are events", async || {
        let events = lab.api.objects_below("/api/v1/namespaces/default/events/");
        let refused =
            events.iter().any(|event| event["reason"] == "SideroLinkRefused" && event["type"] == "Warning");
        refused.then_some(()).ok_or_else(|| format!("{events:?}"))
    })
    .await;
}

#[tokio::test]
async fn the_far_ends_refusal_is_passed_back_and_its_absence_is_said() {
    let (_, address) = far_end().await;
    let lab = lab_with(address);
    lab.neighbours.fix(IpAddr::V4(Ipv4Addr::LOCALHOST), Seen::Beyond);
    let refused = call(&lab, UUID, "bad").await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::InvalidArgument, "error parsing Wireguard key: bad")
    );
    let [port] = bloomery_testkit::free_ports();
    let alone = lab_with(([127, 0, 0, 1], port).into());
    alone.neighbours.fix(IpAddr::V4(Ipv4Addr::LOCALHOST), Seen::Beyond);
    assert_eq!(call(&alone, UUID, "key").await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn a_plane_that_does_not_act_passes_nothing_on() {
    let (far, address) = far_end().await;
    let lab = lab_with(address);
    lab.neighbours.fix(IpAddr::V4(Ipv4Addr::LOCALHOST), Seen::Card(CARD.to_owned()));
    lab.api.put(PLANE, plane_held_by("other"));
    assert_eq!(call(&lab, UUID, "key").await.unwrap_err().code(), Code::Unavailable);
    assert!(far.0.lock().is_empty());
}

#[tokio::test]
async fn other_methods_are_unknown_and_long_messages_are_refused() {
    let (far, address) = far_end().await;
    let lab = lab_with(address);
    lab.neighbours.fix(IpAddr::V4(Ipv4Addr::LOCALHOST), Seen::Beyond);
    let refused = call(&lab, UUID, &"k".repeat(MOST_OCTETS)).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
    assert!(far.0.lock().is_empty());
    assert!(is_call("/sidero.link.ProvisionService/Provision"));
    for path in ["/sidero.link.WireGuardOverGRPCService/CreateStream", "/api.Agent/Heartbeat", "/", ""] {
        assert!(!is_call(path), "{path}");
    }
}

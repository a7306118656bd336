//! `/configdata`: upstream's answers (spec/sidero.md §4), and what an impostor on the machines' network gets: nothing.

use std::time::Duration;

use bloomery_agent_api as pb;
use bloomery_agent_api::TOKEN_METADATA;
use bloomery_agent_api::agent_client::AgentClient;
use bloomery_api::ServerBinding;
use bloomery_api::metadata::failure::{Failure as StageFailure, Stage};
use bloomery_api::metadata::rendered::Rendered;
use bloomery_api::metadata::verdict::Verdict;
use http::{Method, StatusCode};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::decisions::{bound, environment, recorded};
use super::{Lab, Setup, token_of};
use crate::neighbours::Seen;
use crate::tests::fake_api::{Failure, PLANE, binding, metal};

const UUID: &str = super::decisions::UUID;
const OTHER: &str = "5c5c5544-0042-3110-8051-b7c04f4e3332";
const CARD: &str = "52:54:00:77:00:09";
const CONFIG: &str = "version: v1alpha1\nmachine:\n    token: secret-of-the-cluster\n";
const REFUSAL: &str = "the machine configuration is for the boot that was told to fetch it\n";
/// Long enough for events to be written.
const EVENTS_WITHIN: Duration = Duration::from_secs(10);

fn secret_path(uuid: &str) -> String {
    format!("/api/v1/namespaces/sidero-system/secrets/{uuid}-config")
}

/// What the controllers keep for the binding that is there.
fn keep(lab: &Lab, uuid: &str, rendered: &Rendered) {
    let binding: ServerBinding = serde_json::from_value(lab.api.object(&binding(uuid)).unwrap()).unwrap();
    let secret = rendered.secret(&binding, "digest").unwrap();
    lab.api.put(&secret_path(uuid), serde_json::to_value(secret).unwrap());
}

fn good(config: &str) -> Rendered {
    Rendered { outcome: Ok((config.to_owned(), Verdict::GOOD)), patches: Vec::new() }
}

/// A machine that is being installed, seen with its own card.
fn installing(flags: &[&str]) -> Lab {
    let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    let lab = Lab::start(Setup { flags, ..Setup::default() });
    bound(&lab, None);
    let cards = json!({ "hardware": { "network": { "interfaces": [{ "mac": CARD }] } } });
    recorded(&lab, "bound", cards, json!({}));
    environment(&lab, "default", &[]);
    keep(&lab, UUID, &good(CONFIG));
    see(&lab, CARD);
    lab
}

fn see(lab: &Lab, card: &str) {
    lab.neighbours.fix([127, 0, 0, 1].into(), Seen::Card(card.to_owned()));
}

/// Boots the node system: the path and query from which it is to fetch its configuration.
async fn boot(lab: &Lab) -> String {
    let mac = CARD.replace(':', "-");
    let (status, script) = lab.get(&format!("/ipxe?uuid={UUID}&mac={mac}")).await;
    assert_eq!(status, StatusCode::OK, "{script}");
    let (_, url) =
        script.split_once("talos.config=http://10.77.0.3:8081").unwrap_or_else(|| panic!("{script}"));
    url.split_whitespace().next().unwrap().to_owned()
}

async fn refused(lab: &Lab, path: &str) {
    let (status, body) = lab.get(path).await;
    assert_eq!((status, body.as_str()), (StatusCode::FORBIDDEN, REFUSAL), "{path}");
}

fn at(seconds: i64) -> String {
    (Timestamp::now() + SignedDuration::from_secs(seconds)).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn recorded_boot(lab: &Lab) -> Value {
    lab.api.object(&binding(UUID)).unwrap()["status"]["boot"].clone()
}

fn set_condition(lab: &Lab, condition: &Value) {
    lab.api.change(&binding(UUID), |binding| binding["status"]["conditions"] = json!([condition]));
}

#[tokio::test]
async fn the_boot_that_was_told_to_gets_its_configuration_and_may_try_again() {
    let lab = installing(&[]);
    let path = boot(&lab).await;
    assert!(path.starts_with(&format!("/configdata?uuid={UUID}&token=")), "{path}");
    let given = recorded_boot(&lab);
    assert_eq!(
        (&given["card"], &given["epoch"], &given["deliveredAt"]),
        (&json!(CARD), &json!(1), &Value::Null)
    );
    let token = path.rsplit('=').next().unwrap();
    assert!(!given.to_string().contains(token), "whoever may read bindings has no token by that");
    for _ in 0..2 {
        assert_eq!(lab.get(&path).await, (StatusCode::OK, CONFIG.to_owned()));
        assert!(recorded_boot(&lab)["deliveredAt"].is_string());
    }
    // Talos writes the keys in alphabetical order.
    let sorted = format!("/configdata?token={token}&uuid={}", UUID.to_uppercase());
    assert_eq!(lab.get(&sorted).await.0, StatusCode::OK);
    let (head, _) = lab.send(lab.request(Method::GET, &path)).await;
    assert_eq!(head.headers()["content-type"], "text/plain; charset=utf-8");
    // Another replica, or this one after a power cut, knows as much.
    let restarted = Lab::start(Setup { api: Some(lab.api.clone()), ..Setup::default() });
    see(&restarted, CARD);
    assert_eq!(restarted.get(&path).await, (StatusCode::OK, CONFIG.to_owned()));
}

#[tokio::test]
async fn nobody_else_gets_it() {
    let lab = installing(&[]);
    let url = |token: &str| format!("/configdata?uuid={UUID}&token={token}");
    // Before the machine was told to boot.
    refused(&lab, &format!("/configdata?uuid={UUID}")).await;
    let agent = {
        recorded(&lab, "released", json!({}), json!({}));
        let kept = lab.api.object(&binding(UUID)).unwrap();
        lab.api.delete(&binding(UUID));
        let script = lab.get(&format!("/ipxe?uuid={UUID}&mac={}", CARD.replace(':', "-"))).await.1;
        let token = token_of(&script).unwrap();
        lab.api.put(&binding(UUID), kept);
        let cards = json!({ "hardware": { "network": { "interfaces": [{ "mac": CARD }] } } });
        recorded(&lab, "bound", cards, json!({}));
        token
    };
    let path = boot(&lab).await;
    let token = path.rsplit('=').next().unwrap().to_owned();
    let flipped = token.replace(&token[40..], "AAAA");
    for guess in ["", "x", &flipped, &token[..43], &format!("{token}A"), &agent] {
        refused(&lab, &url(guess)).await;
    }
    refused(&lab, &format!("/configdata?uuid={UUID}")).await;
    refused(&lab, &format!("/configdata?uuid={UUID}&Token={token}")).await;
    // A neighbour that has read the token off the wire, and one whose card nobody can tell.
    see(&lab, "52:54:00:77:00:66");
    refused(&lab, &path).await;
    lab.neighbours.fix([127, 0, 0, 1].into(), Seen::Unknown);
    assert_eq!(lab.get(&path).await.0, StatusCode::SERVICE_UNAVAILABLE);
    // Another machine's name with this one's token.
    see(&lab, CARD);
    let object = lab.api.object(&binding(UUID)).unwrap();
    lab.api.put(&binding(OTHER), json!({ "spec": object["spec"], "status": object["status"] }));
    lab.api.put(&metal("servers", OTHER), lab.api.object(&metal("servers", UUID)).unwrap());
    keep(&lab, OTHER, &good(CONFIG));
    refused(&lab, &format!("/configdata?uuid={OTHER}&token={token}")).await;
    // The machine itself is none the worse for it.
    assert_eq!(lab.get(&path).await, (StatusCode::OK, CONFIG.to_owned()));
    // It boots again: what it had before is worth nothing.
    let second = boot(&lab).await;
    refused(&lab, &path).await;
    assert_eq!(lab.get(&second).await.0, StatusCode::OK);
    assert_eq!(lab.metrics.series("bootsvc_configurations_given_total"), Some(2));
}

/// It registers the machine anew with its own card, and marks it wiped: neither makes it the machine.
#[tokio::test]
async fn an_impostor_that_registers_the_machine_anew_or_marks_it_wiped_gets_nothing() {
    const ITS_CARD: &str = "52:54:00:77:00:66";
    let lab = installing(&[]);
    let path = boot(&lab).await;
    let before = lab.api.object(&metal("servers", UUID)).unwrap();
    see(&lab, ITS_CARD);
    let mut agent = AgentClient::connect(format!("http://{}", lab.address)).await.unwrap();
    let system = pb::SystemInformation { uuid: UUID.to_owned(), ..Default::default() };
    let interfaces = vec![pb::NetworkInterface { mac: ITS_CARD.to_owned(), ..Default::default() }];
    let hardware = pb::HardwareInformation {
        system: Some(system),
        network: Some(pb::NetworkInformation { interface_count: 1, interfaces }),
        ..Default::default()
    };
    // With no token, with the one that it read off the wire, and with what it was given by its own boot script.
    let stolen = path.rsplit('=').next().unwrap().to_owned();
    let script = lab.get(&format!("/ipxe?uuid={UUID}&mac={}", ITS_CARD.replace(':', "-"))).await.1;
    assert_eq!(script, "#!ipxe\nexit\n", "it is told nothing but to go on with its disk");
    for token in [None, Some(stolen.as_str())] {
        let mut call = tonic::Request::new(pb::CreateServerRequest {
            hardware: Some(hardware.clone()),
            hostname: "node".to_owned(),
            addresses: Vec::new(),
        });
        let mut wiped = tonic::Request::new(pb::MarkServerAsWipedRequest {
            uuid: UUID.to_owned(),
            disks: Vec::new(),
            order: Vec::new(),
        });
        if let Some(token) = token {
            call.metadata_mut().insert(TOKEN_METADATA, token.parse().unwrap());
            wiped.metadata_mut().insert(TOKEN_METADATA, token.parse().unwrap());
        }
        let told = agent.create_server(call).await.map(tonic::Response::into_inner);
        assert!(told.is_err() || told.is_ok_and(|told| !told.wipe), "no order to wipe");
        assert!(agent.mark_server_as_wiped(wiped).await.is_err());
        refused(&lab, &path).await;
        refused(&lab, &format!("/configdata?uuid={UUID}")).await;
        assert!(!lab.get(&format!("/ipxe?uuid={UUID}")).await.1.contains("token="));
    }
    let after = lab.api.object(&metal("servers", UUID)).unwrap();
    assert_eq!(after["spec"], before["spec"], "the inventory is the machine's");
    see(&lab, CARD);
    assert_eq!(lab.get(&path).await, (StatusCode::OK, CONFIG.to_owned()), "the machine goes on");
}

#[tokio::test]
async fn a_token_dies_with_its_boot() {
    let lab = installing(&[]);
    let path = boot(&lab).await;
    let given = |lab: &Lab| lab.api.object(&binding(UUID)).unwrap();
    let kept = given(&lab);
    let again = |lab: &Lab| lab.api.put(&binding(UUID), kept.clone());
    let ok = async || assert_eq!(lab.get(&path).await.0, StatusCode::OK);
    ok().await;
    // The node has loaded it.
    let loaded = |time| json!({ "type": "TalosConfigLoaded", "status": "True", "lastTransitionTime": time });
    set_condition(&lab, &loaded(at(1)));
    refused(&lab, &path).await;
    // In an earlier boot: this one is another.
    set_condition(&lab, &loaded(at(-3600)));
    ok().await;
    // Ten minutes after the first full delivery.
    lab.api.change(&binding(UUID), |binding| binding["status"]["boot"]["deliveredAt"] = json!(at(-601)));
    refused(&lab, &path).await;
    lab.api.change(&binding(UUID), |binding| binding["status"]["boot"]["deliveredAt"] = json!(at(-590)));
    ok().await;
    // A restore raises the epoch.
    again(&lab);
    ok().await;
    lab.api.change(PLANE, |plane| plane["spec"]["epoch"] = json!(2));
    let restored = Lab::start(Setup { api: Some(lab.api.clone()), ..Setup::default() });
    restored.write("id", b"{\"id\":\"own\",\"epoch\":2}");
    see(&restored, CARD);
    let answer = restored.get(&path).await;
    assert!(matches!(answer.0, StatusCode::FORBIDDEN | StatusCode::SERVICE_UNAVAILABLE), "{answer:?}");
    lab.api.change(PLANE, |plane| plane["spec"]["epoch"] = json!(1));
    // A binding made anew, with the status of the old one.
    lab.api.change(&binding(UUID), |binding| binding["metadata"]["uid"] = json!("another"));
    keep(&lab, UUID, &good(CONFIG));
    refused(&lab, &path).await;
    again(&lab);
    keep(&lab, UUID, &good(CONFIG));
    // It is installed: its configuration is on its disk.
    set_condition(&lab, &json!({ "type": "TalosInstalled", "status": "True", "lastTransitionTime": at(-5) }));
    refused(&lab, &path).await;
    set_condition(&lab, &Value::Null);
    lab.api.change(PLANE, |plane| plane["spec"]["holder"] = json!("other"));
    let fenced = Lab::start(Setup { api: Some(lab.api.clone()), ..Setup::default() });
    see(&fenced, CARD);
    assert_eq!(fenced.get(&path).await.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_delivery_that_cannot_be_recorded_is_cut_and_tried_again() {
    let lab = installing(&[]);
    let path = boot(&lab).await;
    lab.api.fail_writes(&format!("{}/status", binding(UUID)), Failure::Status(500));
    let client: hyper_util::client::legacy::Client<_, axum::body::Body> =
        hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
    let response =
        client.request(lab.request(Method::GET, &path).body(axum::body::Body::empty()).unwrap()).await;
    let (head, body) = response.unwrap().into_parts();
    assert_eq!(head.headers["content-length"], CONFIG.len().to_string());
    assert!(axum::body::to_bytes(axum::body::Body::new(body), usize::MAX).await.is_err(), "it is not whole");
    lab.api.heal(&format!("{}/status", binding(UUID)));
    assert_eq!(recorded_boot(&lab)["deliveredAt"], Value::Null);
    assert_eq!(lab.get(&path).await, (StatusCode::OK, CONFIG.to_owned()));
    // The head of it is no delivery.
    let second = boot(&lab).await;
    assert_eq!(lab.send(lab.request(Method::HEAD, &second)).await.0.status(), StatusCode::OK);
    assert_eq!(recorded_boot(&lab)["deliveredAt"], Value::Null);
    // No boot script without a boot on record.
    lab.api.fail_writes(&format!("{}/status", binding(UUID)), Failure::Status(500));
    let (status, body) = lab.get(&format!("/ipxe?uuid={UUID}&mac={}", CARD.replace(':', "-"))).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{body}");
}

#[tokio::test]
async fn stages_have_upstreams_answers_and_only_the_machine_sees_them() {
    let lab = installing(&[]);
    let path = boot(&lab).await;
    let applying = "failure applying patches [{\"op\":\"remove\"}] to machine config: secret-of-the-cluster";
    for failure in [
        StageFailure::missing(Stage::DataSecret, "bootstrap secret default/b not found"),
        StageFailure::internal(Stage::Patches, applying),
    ] {
        keep(&lab, UUID, &Rendered::failed(failure.clone(), Vec::new()));
        let (head, body) = lab.send(lab.request(Method::GET, &path)).await;
        assert_eq!((head.status().as_u16(), body), (failure.code, format!("{}\n", failure.message)));
        assert_eq!(head.headers()["x-content-type-options"], "nosniff");
        assert_eq!(head.headers()["content-type"], "text/plain; charset=utf-8");
        refused(&lab, &format!("/configdata?uuid={UUID}")).await;
    }
    assert_eq!(recorded_boot(&lab)["deliveredAt"], Value::Null, "nothing was delivered");
    // One that no node takes is served, as upstream does; the node asks for the mended one in the same boot.
    let flaw = Verdict::of(false, &["no".to_owned()], "");
    keep(&lab, UUID, &Rendered { outcome: Ok((CONFIG.to_owned(), flaw)), patches: Vec::new() });
    assert_eq!(lab.get(&path).await, (StatusCode::OK, CONFIG.to_owned()));
    assert_eq!(recorded_boot(&lab)["deliveredAt"], Value::Null);
}

#[tokio::test]
async fn no_other_secret_is_ever_served() {
    let lab = installing(&[]);
    let path = boot(&lab).await;
    let good = lab.api.object(&secret_path(UUID)).unwrap();
    for (pointer, value) in [
        ("/type", json!("Opaque")),
        ("/metadata/labels", json!({})),
        ("/metadata/ownerReferences", json!([])),
        ("/metadata/ownerReferences/0/uid", json!("another")),
        ("/data", json!({ "value": "c2VjcmV0" })),
    ] {
        let mut other = good.clone();
        *other.pointer_mut(pointer).unwrap() = value;
        lab.api.put(&secret_path(UUID), other);
        let (status, body) = lab.get(&path).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{pointer} {body}");
    }
    lab.api.delete(&secret_path(UUID));
    assert_eq!(lab.get(&path).await.0, StatusCode::SERVICE_UNAVAILABLE, "not made yet");
    // Names are never paths.
    for uuid in ["..%2Fdefault%2Fbloomery-agent-token", "a%2Fb", "a%00", "A_B", &"a".repeat(300)] {
        assert_eq!(lab.get(&format!("/configdata?uuid={uuid}")).await.0, StatusCode::NOT_FOUND, "{uuid}");
    }
}

/// `provider-cases.md` C1 and C2, and what a failing API server leads to.
#[tokio::test]
async fn what_has_no_binding_is_told_as_upstream_tells_it() {
    for flags in [&[][..], &["--require-config-token=false"]] {
        let lab = installing(flags);
        for path in ["/configdata", "/configdata?uuid=", "/configdata?token=x"] {
            let answer = "received metadata request with empty uuid\n".to_owned();
            assert_eq!(lab.get(path).await, (StatusCode::INTERNAL_SERVER_ERROR, answer));
        }
        for uuid in ["xxx-yyy", OTHER, "X Y"] {
            let answer = format!(
                "server is not allocated (missing serverbinding): \
                 serverbindings.infrastructure.cluster.x-k8s.io \"{uuid}\" not found\n"
            );
            let path = format!("/configdata?uuid={}", uuid.replace(' ', "%20"));
            assert_eq!(lab.get(&path).await, (StatusCode::NOT_FOUND, answer));
        }
        lab.api.fail(&binding(UUID), Failure::Status(500));
        let (status, body) = lab.get(&format!("/configdata?uuid={UUID}")).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(body.starts_with("failure getting server binding: "), "{body}");
    }
}

#[tokio::test]
async fn the_switch_gives_what_upstream_gives() {
    let lab = installing(&["--require-config-token=false"]);
    assert_eq!(boot(&lab).await, "/configdata?uuid=");
    assert_eq!(recorded_boot(&lab), Value::Null);
    see(&lab, "52:54:00:77:00:66");
    for _ in 0..2 {
        let answer = lab.get(&format!("/configdata?uuid={UUID}")).await;
        assert_eq!(answer, (StatusCode::OK, CONFIG.to_owned()));
    }
}

#[tokio::test]
async fn attempts_become_events_and_a_flood_of_them_a_few() {
    let lab = installing(&[]);
    let path = boot(&lab).await;
    see(&lab, "52:54:00:77:00:66");
    for _ in 0..50 {
        refused(&lab, &path).await;
        refused(&lab, &format!("/configdata?uuid={UUID}")).await;
    }
    let events = async || {
        let events = lab.api.objects_below("/api/v1/namespaces/default/events/");
        events.into_iter().filter(|event| event["reason"] == "ConfigurationRefused").collect::<Vec<_>>()
    };
    bloomery_testkit::eventually("events", async || {
        let found = events().await;
        if found.is_empty() { Err("none".to_owned()) } else { Ok(()) }
    })
    .await;
    tokio::time::sleep(EVENTS_WITHIN / 5).await;
    let found = events().await;
    assert!(found.len() <= 2, "{found:?}");
    let told = serde_json::to_string(&found).unwrap();
    assert!(told.contains("52:54:00:77:00:66") && told.contains(UUID), "{told}");
    assert!(!told.contains(path.rsplit('=').next().unwrap()), "no token in an event");
    assert_eq!(lab.metrics.series("bootsvc_configurations_refused_total"), Some(100));
}

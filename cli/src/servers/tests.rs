//! Orders against Servers and bindings in memory, which know versions, uids and merge patches as the API server does.

use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bloomery_api::Server;
use bloomery_api::decision::identity::{Identity, Index, Marks, Proof, identify};
use bloomery_api::plane::Authority;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use super::carry_out::carry_out;
use super::{Order, Report};

const OLD: &str = "4c4c4544-0042-3510-8054-b4c04f565831";
const NEW: &str = "4c4c4544-0044-5a10-8054-b4c04f565831";
const OLD_CARD: &str = "52:54:00:00:00:01";
const NEW_CARD: &str = "52:54:00:00:00:02";

type Objects = Arc<Mutex<BTreeMap<String, Value>>>;

/// The API server: objects by the end of their path.
#[derive(Clone, Default)]
struct Api {
    objects: Objects,
}

impl Api {
    fn with(objects: &[(&str, Value)]) -> Self {
        let all = objects.iter().map(|(path, object)| ((*path).to_owned(), object.clone())).collect();
        Self { objects: Arc::new(Mutex::new(all)) }
    }

    fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        Client::new(service, "default")
    }

    fn server(&self, name: &str) -> Option<Server> {
        let objects = self.objects.lock().unwrap();
        objects.get(&format!("servers/{name}")).map(|object| serde_json::from_value(object.clone()).unwrap())
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let mut end = head.uri.path().rsplitn(3, '/');
        let (name, kind) = (end.next().unwrap(), end.next().unwrap());
        let mut objects = self.objects.lock().unwrap();
        if name == "servers" {
            // The watch for one object's end.
            let query = head.uri.query().unwrap_or_default();
            let is_asked_for = |object: &&Value| query.contains(object["metadata"]["name"].as_str().unwrap());
            let items: Vec<&Value> = objects.values().filter(is_asked_for).collect();
            return reply(200, &json!({ "metadata": { "resourceVersion": "9" }, "items": items }));
        }
        let path = format!("{kind}/{name}");
        let Some(object) = objects.get_mut(&path) else {
            return reply(404, &status(404, "NotFound"));
        };
        match head.method {
            Method::PATCH => {
                let change: Value = serde_json::from_slice(&body).unwrap();
                for field in ["uid", "resourceVersion"] {
                    let wanted = &change["metadata"][field];
                    if !wanted.is_null() && *wanted != object["metadata"][field] {
                        return reply(409, &status(409, "Conflict"));
                    }
                }
                merge(object, &change);
                reply(200, object)
            }
            Method::DELETE => {
                let gone = object.clone();
                objects.remove(&path);
                reply(200, &gone)
            }
            _ => reply(200, object),
        }
    }
}

fn merge(object: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    for (key, value) in fields {
        if value.is_null() {
            object.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut object[key.as_str()], value);
        }
    }
}

fn reply(code: u16, object: &Value) -> Response<Body> {
    Response::builder().status(code).body(Body::from(serde_json::to_vec(object).unwrap())).unwrap()
}

fn status(code: u16, reason: &str) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
        "message": reason })
}

fn server(name: &str, serial: &str, card: &str) -> Value {
    json!({
        "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "Server",
        "metadata": { "name": name, "uid": format!("uid-{name}"), "resourceVersion": "7" },
        "spec": { "accepted": true, "hardware": {
            "system": { "uuid": name, "serialNumber": serial },
            "network": { "interfaces": [{ "mac": card }] },
        } },
    })
}

fn rival(mut server: Value, uuid: &str, card: &str) -> Value {
    let rivals = json!([{ "uuids": [uuid], "serial": "SN-2", "cards": [card] }]).to_string();
    server["metadata"]["annotations"] = json!({ "bloomery.dev/rival": rivals });
    server
}

fn order_merge(other: &str, into: &str) -> Order {
    Order::Merge { other: other.to_owned(), into: into.to_owned() }
}

fn order_split(server: &str, other: &str) -> Order {
    Order::Split { server: server.to_owned(), other: other.to_owned() }
}

async fn run(api: &Api, order: Order) -> Result<Report, String> {
    let done = carry_out(&api.client(), &order, Duration::from_secs(5)).await;
    done.map_err(|error| format!("{error:#}"))
}

/// Which Server the plane takes a machine for that shows these marks.
fn found(api: &Api, uuid: &str, card: &str, serial: &str) -> Identity {
    let servers: Vec<Server> = [OLD, NEW].into_iter().filter_map(|name| api.server(name)).collect();
    let index = Index::build(&servers, &HashSet::default(), &Authority::Unknown);
    identify(&Marks::of_query(Some(uuid), Some(card), Some(serial)), &index)
}

#[tokio::test]
async fn a_machine_with_another_board_is_found_by_its_old_server() {
    let api = Api::with(&[
        (&format!("servers/{OLD}"), server(OLD, "SN-1", OLD_CARD)),
        (&format!("servers/{NEW}"), server(NEW, "SN-2", NEW_CARD)),
        (
            &format!("serverbindings/{OLD}"),
            json!({ "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha3",
            "kind": "ServerBinding", "metadata": { "name": OLD }, "spec": { "metalMachineRef": {} } }),
        ),
    ]);
    let report = run(&api, order_merge(NEW, OLD)).await.unwrap();
    assert_eq!((report.removed.as_slice(), report.gone), (&[NEW.to_owned()][..], true));
    assert!(report.text.contains("keeps its binding and its record"), "{}", report.text);
    assert!(api.server(NEW).is_none());
    let kept = api.server(OLD).unwrap();
    assert_eq!(
        kept.metadata.annotations.as_ref().unwrap()["bloomery.dev/system-uuid"],
        format!("{OLD},{NEW}")
    );
    for uuid in [OLD, NEW] {
        let machine = found(&api, uuid, NEW_CARD, "SN-2");
        assert_eq!(machine, Identity::Same { server: OLD.to_owned(), by: Proof::Card }, "{uuid}");
    }
}

#[tokio::test]
async fn a_machine_with_another_card_is_named_by_that_card() {
    let api = Api::with(&[(&format!("servers/{OLD}"), rival(server(OLD, "SN-1", OLD_CARD), OLD, NEW_CARD))]);
    let error = run(&api, order_merge("52:54:00:00:00:99", OLD)).await.unwrap_err();
    assert!(error.contains(NEW_CARD) && error.contains("kubectl describe server"), "{error}");
    run(&api, order_merge(&NEW_CARD.to_uppercase(), OLD)).await.unwrap();
    let machine = found(&api, OLD, NEW_CARD, "SN-2");
    assert_eq!(machine, Identity::Same { server: OLD.to_owned(), by: Proof::Card });
    assert!(!api.server(OLD).unwrap().metadata.annotations.unwrap().contains_key("bloomery.dev/rival"));
}

#[tokio::test]
async fn two_machines_with_one_uuid_get_two_servers() {
    let api = Api::with(&[(&format!("servers/{OLD}"), rival(server(OLD, "SN-1", OLD_CARD), OLD, NEW_CARD))]);
    assert!(matches!(found(&api, OLD, NEW_CARD, "SN-2"), Identity::Other { .. }));
    let report = run(&api, order_split(OLD, NEW_CARD)).await.unwrap();
    assert!(report.text.contains("when it registers next"), "{}", report.text);
    assert_eq!(found(&api, OLD, NEW_CARD, "SN-2"), Identity::New);
    let first = found(&api, OLD, OLD_CARD, "SN-1");
    assert_eq!(first, Identity::Same { server: OLD.to_owned(), by: Proof::Card });
    assert!(matches!(found(&api, OLD, "52:54:00:00:00:99", "SN-3"), Identity::Other { .. }), "no other card");
}

#[tokio::test]
async fn two_servers_that_share_a_card_are_declared_different() {
    let api = Api::with(&[
        (&format!("servers/{OLD}"), server(OLD, "SN-1", OLD_CARD)),
        (&format!("servers/{NEW}"), server(NEW, "SN-2", OLD_CARD)),
    ]);
    for _ in 0..2 {
        run(&api, order_split(OLD, NEW)).await.unwrap();
        let annotations = api.server(OLD).unwrap().metadata.annotations.unwrap();
        assert_eq!(annotations["bloomery.dev/distinct-from"], NEW, "said once");
    }
}

#[tokio::test]
async fn a_claimed_server_is_never_merged_away() {
    let mut used = server(NEW, "SN-2", NEW_CARD);
    used["status"] = json!({ "inUse": true });
    let mut recorded = server(NEW, "SN-2", NEW_CARD);
    let record =
        json!({ "state": "bound", "serverUID": "u", "epoch": 1, "id": "0", "since": "2026-01-01T00:00:00Z" });
    recorded["metadata"]["annotations"] = json!({ "bloomery.dev/disks": record.to_string() });
    let bound = (
        format!("serverbindings/{NEW}"),
        json!({
        "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha3", "kind": "ServerBinding",
        "metadata": { "name": NEW }, "spec": { "metalMachineRef": {} } }),
    );
    let path = format!("servers/{NEW}");
    for objects in [
        vec![(path.as_str(), used)],
        vec![(path.as_str(), recorded)],
        vec![(path.as_str(), server(NEW, "SN-2", NEW_CARD)), (bound.0.as_str(), bound.1.clone())],
    ] {
        let old = format!("servers/{OLD}");
        let all = [objects, vec![(old.as_str(), server(OLD, "SN-1", OLD_CARD))]].concat();
        let api = Api::with(&all);
        let before = api.server(OLD);
        let error = run(&api, order_merge(NEW, OLD)).await.unwrap_err();
        assert!(error.contains("merge the other one into it"), "{error}");
        assert_eq!((api.server(OLD), api.server(NEW).is_some()), (before, true), "nothing was changed");
    }
}

#[tokio::test]
async fn orders_that_cannot_be_meant_are_refused_with_what_to_do() {
    let path = format!("servers/{OLD}");
    let api = Api::with(&[(&path, server(OLD, "SN-1", OLD_CARD))]);
    for (order, told) in [
        (order_merge(OLD, OLD), "an order is about two machines"),
        (order_split(OLD, OLD), "an order is about two machines"),
        (order_merge(NEW, OLD), "seen: none"),
        (order_merge(OLD, NEW), "kubectl get servers"),
        (Order::Forget { server: NEW.to_owned() }, "kubectl get servers"),
    ] {
        let error = run(&api, order.clone()).await.unwrap_err();
        assert!(error.contains(told), "{order:?}: {error}");
    }
}

#[tokio::test]
async fn a_forgotten_server_names_itself_and_a_bound_one_is_not_forgotten() {
    let path = format!("servers/{OLD}");
    let binding = (
        format!("serverbindings/{OLD}"),
        json!({
        "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha3", "kind": "ServerBinding",
        "metadata": { "name": OLD }, "spec": { "metalMachineRef": {} } }),
    );
    let forget = || Order::Forget { server: OLD.to_owned() };
    let api = Api::with(&[(&path, server(OLD, "SN-1", OLD_CARD)), (&binding.0, binding.1)]);
    let error = run(&api, forget()).await.unwrap_err();
    assert!(error.contains("delete its MetalMachine"), "{error}");
    let api = Api::with(&[(&path, server(OLD, "SN-1", OLD_CARD))]);
    let report = run(&api, forget()).await.unwrap();
    assert_eq!((report.removed, report.gone), (vec![OLD.to_owned()], true));
    assert!(api.server(OLD).is_none());
}

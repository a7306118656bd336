//! A Kubernetes API of a few lines for tests: objects by path, and failures on order.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use bloomery_api::contents::ContentsClass;
use bloomery_api::evidence::{DiskRecord, Entry};
use bloomery_api::lookup::Lookup;
use bloomery_api::plane::Authority;
use bloomery_api::trust::{SigningKey, Trust};
use bloomery_api::{Server, ServerBinding, ServerSpec};
use http::{Method, Request, Response, StatusCode};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Path of a cluster-scoped object of `metal.sidero.dev/v1alpha2`.
pub(crate) fn metal(plural: &str, name: &str) -> String {
    format!("/apis/metal.sidero.dev/v1alpha2/{plural}/{name}")
}

/// Path of a `ServerBinding`.
pub(crate) fn binding(name: &str) -> String {
    format!("/apis/infrastructure.cluster.x-k8s.io/v1alpha3/serverbindings/{name}")
}

/// Path of the Plane object.
pub(crate) const PLANE: &str = "/apis/bloomery.dev/v1alpha1/planes/plane";

/// The Plane object with this holder, in epoch 1.
pub(crate) fn plane_held_by(holder: &str) -> Value {
    json!({ "spec": { "holder": holder, "epoch": 1 } })
}

/// The key of the plane under test.
pub(crate) const PLANE_KEY: [u8; 32] = [7; 32];

/// The annotation with a record of the disks of this Server, as the plane of epoch 1 writes it.
pub(crate) fn disks(state: &str, server: &str) -> Value {
    disks_of(state, server, "0123456789abcdef", "2026-01-01T00:00:00Z")
}

/// The same with another name and time.
pub(crate) fn disks_of(state: &str, server: &str, id: &str, since: &str) -> Value {
    let binding = ServerBinding::new(
        server,
        serde_json::from_value(json!({
            "metalMachineRef": { "kind": "MetalMachine", "name": "m", "namespace": "default" },
        }))
        .unwrap(),
    );
    let entry = match state {
        "neverUsed" => Entry::NeverUsed(ContentsClass::Blank),
        "bound" => Entry::Bound(&binding),
        "installed" => Entry::Installed(&binding),
        "released" => Entry::Released,
        "clean" => Entry::Clean,
        other => panic!("{other}"),
    };
    let mut object = Server::new(server, ServerSpec::default());
    object.metadata.uid = Some(format!("uid-of-{server}"));
    let authority = Authority::Holds { epoch: 1, trust: Trust::new(SigningKey::new(PLANE_KEY), "own") };
    let since = serde_json::from_value(json!(since)).unwrap();
    let record = DiskRecord::new(&object, entry, &authority, id, &since).unwrap();
    json!({ "bloomery.dev/disks": record.to_annotation() })
}

/// How a path fails.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Failure {
    /// A status of the API server's own.
    Status(u16),
    /// A page that no API server writes, as from a proxy, or for a kind it does not know.
    Page(u16),
    /// Never answers.
    Hang,
}

#[derive(Default)]
struct State {
    objects: HashMap<String, Value>,
    failures: HashMap<String, Failure>,
    write_failures: HashMap<String, Failure>,
    lost: HashSet<String>,
    writes: Vec<(Method, String)>,
    reads: HashMap<String, usize>,
    revision: u64,
    /// Whether the services do not know all Servers yet.
    unlisted: bool,
    /// What new objects are dated, where that is not now.
    date: Option<String>,
    /// What caches have, where they do not follow.
    frozen: Option<HashMap<String, Value>>,
    /// Done once before the next PATCH of a path, as another writer would.
    meddle: HashMap<String, Meddling>,
}

type Meddling = Box<dyn FnOnce(&mut Value) + Send>;

/// The API; clones share their state.
#[derive(Clone, Default)]
pub(crate) struct FakeApi(Arc<Mutex<State>>);

impl FakeApi {
    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request.map(Body::new)).await) }
        });
        Client::new(service, "default")
    }

    /// Puts an object at a path.
    pub(crate) fn put(&self, path: &str, mut object: Value) {
        let name = path.rsplit('/').next().unwrap();
        object["metadata"]["name"] = json!(name);
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("uid-of-{name}"));
        }
        let mut state = self.0.lock().unwrap();
        state.revision += 1;
        object["metadata"]["resourceVersion"] = json!(state.revision.to_string());
        state.objects.insert(path.to_owned(), object);
    }

    /// Has the services not know all Servers yet, or know them.
    pub(crate) fn unlist_servers(&self, unlisted: bool) {
        self.0.lock().unwrap().unlisted = unlisted;
    }

    pub(crate) fn servers_are_unlisted(&self) -> bool {
        self.0.lock().unwrap().unlisted
    }

    /// Dates new objects so.
    pub(crate) fn date(&self, date: &str) {
        self.0.lock().unwrap().date = Some(date.to_owned());
    }

    /// Has the caches stay as they are from now on, or follow again.
    pub(crate) fn freeze_caches(&self, frozen: bool) {
        let mut state = self.0.lock().unwrap();
        state.frozen = frozen.then(|| state.objects.clone());
    }

    /// What a cache has of the object at a path.
    pub(crate) fn cached<K: DeserializeOwned>(&self, path: &str) -> Lookup<Arc<K>> {
        let state = self.0.lock().unwrap();
        if state.failures.contains_key(path) {
            return Lookup::Failed;
        }
        match state.frozen.as_ref().unwrap_or(&state.objects).get(path) {
            Some(object) => serde_json::from_value(object.clone())
                .map_or(Lookup::Failed, |object| Lookup::Found(Arc::new(object))),
            None => Lookup::NotFound,
        }
    }

    /// Takes an object away.
    pub(crate) fn delete(&self, path: &str) {
        self.0.lock().unwrap().objects.remove(path);
    }

    /// Changes an object, as another writer would.
    pub(crate) fn change(&self, path: &str, change: impl FnOnce(&mut Value)) {
        let mut object = self.object(path).unwrap();
        change(&mut object);
        self.put(path, object);
    }

    /// Has another writer change the object just before the next PATCH of it.
    pub(crate) fn meddle(&self, path: &str, change: impl FnOnce(&mut Value) + Send + 'static) {
        self.0.lock().unwrap().meddle.insert(path.to_owned(), Box::new(change));
    }

    /// Makes every PATCH of a path fail.
    pub(crate) fn fail_writes(&self, path: &str, failure: Failure) {
        self.0.lock().unwrap().write_failures.insert(path.to_owned(), failure);
    }

    /// Does the next POST to a path, but answers as a proxy whose server went away.
    pub(crate) fn lose_answer(&self, path: &str) {
        self.0.lock().unwrap().lost.insert(path.to_owned());
    }

    /// Makes a path work again.
    pub(crate) fn heal(&self, path: &str) {
        let mut state = self.0.lock().unwrap();
        state.failures.remove(path);
        state.write_failures.remove(path);
    }

    /// How often a path was asked for, answered or not.
    pub(crate) fn reads(&self, path: &str) -> usize {
        self.0.lock().unwrap().reads.get(path).copied().unwrap_or_default()
    }

    /// The object at a path.
    pub(crate) fn object(&self, path: &str) -> Option<Value> {
        self.0.lock().unwrap().objects.get(path).cloned()
    }

    /// Objects whose path begins so, as caches have them.
    pub(crate) fn objects_below(&self, prefix: &str) -> Vec<Value> {
        let state = self.0.lock().unwrap();
        let objects = state.frozen.as_ref().unwrap_or(&state.objects);
        objects
            .iter()
            .filter(|(path, _)| path.starts_with(prefix))
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// Makes every request of a path fail.
    pub(crate) fn fail(&self, path: &str, failure: Failure) {
        self.0.lock().unwrap().failures.insert(path.to_owned(), failure);
    }

    /// All writes so far, by method and path.
    pub(crate) fn writes(&self) -> Vec<(Method, String)> {
        self.0.lock().unwrap().writes.clone()
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        // There is one Plane: whoever lists them reads it.
        let lists_planes = head.method == Method::GET && PLANE.strip_suffix("/plane") == Some(&path);
        let path = if lists_planes { PLANE.to_owned() } else { path };
        let failure = {
            let mut state = self.0.lock().unwrap();
            if head.method == Method::GET {
                *state.reads.entry(path.clone()).or_default() += 1;
            }
            let writing = (head.method == Method::PATCH).then(|| state.write_failures.get(&path)).flatten();
            state.failures.get(&path).or(writing).copied()
        };
        if failure.is_some() && head.method != Method::GET {
            self.0.lock().unwrap().writes.push((head.method.clone(), path.clone()));
        }
        match failure {
            None => {}
            Some(Failure::Status(code)) => return status(code, "InternalError", ""),
            Some(Failure::Page(code)) => return page(code),
            Some(Failure::Hang) => return std::future::pending().await,
        }
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let mut state = self.0.lock().unwrap();
        if head.method != Method::GET {
            state.writes.push((head.method.clone(), path.clone()));
        }
        state.revision += 1;
        match head.method {
            Method::GET if lists_planes => reply(&json!({
                "apiVersion": "bloomery.dev/v1alpha1", "kind": "PlaneList",
                "metadata": { "resourceVersion": state.revision.to_string() },
                "items": state.objects.get(&path).into_iter().collect::<Vec<_>>(),
            })),
            Method::GET => state.objects.get(&path).map_or_else(|| not_found(&path), reply),
            Method::POST => {
                let query = head.uri.query().unwrap_or_default();
                let manager = form_urlencoded::parse(query.as_bytes())
                    .find(|(key, _)| key == "fieldManager")
                    .map(|(_, manager)| manager.into_owned());
                let made =
                    create(&mut state, &path, serde_json::from_slice(&body).unwrap(), manager.as_deref());
                if state.lost.remove(&path) { page(504) } else { made }
            }
            Method::PATCH => {
                let kind = head.headers[http::header::CONTENT_TYPE].to_str().unwrap().to_owned();
                apply_patch(&mut state, &path, &kind, &serde_json::from_slice(&body).unwrap())
            }
            method => panic!("{method} {path}"),
        }
    }
}

fn create(state: &mut State, path: &str, mut object: Value, manager: Option<&str>) -> Response<Body> {
    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
    let path = format!("{path}/{name}");
    if state.objects.contains_key(&path) {
        return status(409, "AlreadyExists", &name);
    }
    object["metadata"]["uid"] = json!(format!("uid-of-{name}"));
    let made = state.date.clone().unwrap_or_else(|| Timestamp::now().to_string());
    object["metadata"]["creationTimestamp"] = json!(made);
    object["metadata"]["resourceVersion"] = json!(state.revision.to_string());
    object["metadata"]["managedFields"] = json!([{ "manager": manager, "operation": "Update" }]);
    state.objects.insert(path, object.clone());
    reply(&object)
}

fn apply_patch(state: &mut State, path: &str, kind: &str, change: &Value) -> Response<Body> {
    let path = path.trim_end_matches("/status");
    let Some(object) = state.objects.get_mut(path) else { return not_found(path) };
    if let Some(meddling) = state.meddle.remove(path) {
        meddling(object);
        object["metadata"]["resourceVersion"] = json!(format!("{}0", state.revision));
    }
    match kind {
        "application/json-patch+json" => {
            for step in change.as_array().unwrap() {
                let pointer = step["path"].as_str().unwrap();
                match step["op"].as_str().unwrap() {
                    "test" if object.pointer(pointer) == Some(&step["value"]) => {}
                    "test" => return status(422, "Invalid", path.rsplit('/').next().unwrap()),
                    "add" => {
                        let (parent, key) = pointer.rsplit_once('/').unwrap();
                        object.pointer_mut(parent).unwrap()[key] = step["value"].clone();
                    }
                    other => panic!("{other}"),
                }
            }
        }
        "application/merge-patch+json" => {
            for guard in ["uid", "resourceVersion"] {
                let asked = &change["metadata"][guard];
                if !asked.is_null() && *asked != object["metadata"][guard] {
                    return status(409, "Conflict", path.rsplit('/').next().unwrap());
                }
            }
            merge(object, change);
        }
        other => panic!("{other}"),
    }
    object["metadata"]["resourceVersion"] = json!(state.revision.to_string());
    reply(object)
}

fn merge(object: &mut Value, patch: &Value) {
    match patch {
        Value::Object(fields) => {
            for (key, value) in fields {
                if value.is_null() {
                    object.as_object_mut().map(|object| object.remove(key));
                } else {
                    merge(&mut object[key], value);
                }
            }
        }
        other => *object = other.clone(),
    }
}

fn reply(object: &Value) -> Response<Body> {
    Response::new(Body::from(object.to_string()))
}

fn not_found(path: &str) -> Response<Body> {
    status(404, "NotFound", path.rsplit('/').next().unwrap())
}

fn status(code: u16, reason: &str, name: &str) -> Response<Body> {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": reason, "reason": reason,
        "details": { "name": name }, "code": code,
    });
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

fn page(code: u16) -> Response<Body> {
    let mut response = Response::new(Body::from("404 page not found\n"));
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

//! A Kubernetes API of a few lines for tests: objects by path, and failures on order.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use http::{Method, Request, Response, StatusCode};
use kube::Client;
use serde_json::{Value, json};

/// Path of a cluster-scoped object of `metal.sidero.dev/v1alpha2`.
pub(crate) fn metal(plural: &str, name: &str) -> String {
    format!("/apis/metal.sidero.dev/v1alpha2/{plural}/{name}")
}

/// Path of a `ServerBinding`.
pub(crate) fn binding(name: &str) -> String {
    format!("/apis/infrastructure.cluster.x-k8s.io/v1alpha3/serverbindings/{name}")
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
    writes: Vec<(Method, String)>,
}

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
        object["metadata"]["uid"] = json!(format!("uid-of-{name}"));
        self.0.lock().unwrap().objects.insert(path.to_owned(), object);
    }

    /// The object at a path.
    pub(crate) fn object(&self, path: &str) -> Option<Value> {
        self.0.lock().unwrap().objects.get(path).cloned()
    }

    /// Objects whose path begins so.
    pub(crate) fn objects_below(&self, prefix: &str) -> Vec<Value> {
        let state = self.0.lock().unwrap();
        state
            .objects
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
        let failure = self.0.lock().unwrap().failures.get(&path).copied();
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
        match head.method {
            Method::GET => state.objects.get(&path).map_or_else(|| not_found(&path), reply),
            Method::POST => create(&mut state, &path, serde_json::from_slice(&body).unwrap()),
            Method::PATCH => {
                let kind = head.headers[http::header::CONTENT_TYPE].to_str().unwrap().to_owned();
                apply_patch(&mut state, &path, &kind, &serde_json::from_slice(&body).unwrap())
            }
            method => panic!("{method} {path}"),
        }
    }
}

fn create(state: &mut State, path: &str, mut object: Value) -> Response<Body> {
    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
    let path = format!("{path}/{name}");
    if state.objects.contains_key(&path) {
        return status(409, "AlreadyExists", &name);
    }
    object["metadata"]["uid"] = json!(format!("uid-of-{name}"));
    state.objects.insert(path, object.clone());
    reply(&object)
}

fn apply_patch(state: &mut State, path: &str, kind: &str, change: &Value) -> Response<Body> {
    let path = path.trim_end_matches("/status");
    let Some(object) = state.objects.get_mut(path) else { return not_found(path) };
    match kind {
        "application/json-patch+json" => {
            for step in change.as_array().unwrap() {
                let pointer = step["path"].as_str().unwrap();
                match step["op"].as_str().unwrap() {
                    "test" => assert_eq!(object.pointer(pointer), Some(&step["value"])),
                    "add" => {
                        let (parent, key) = pointer.rsplit_once('/').unwrap();
                        object.pointer_mut(parent).unwrap()[key] = step["value"].clone();
                    }
                    other => panic!("{other}"),
                }
            }
        }
        "application/merge-patch+json" => merge(object, change),
        other => panic!("{other}"),
    }
    reply(object)
}

fn merge(object: &mut Value, patch: &Value) {
    match patch {
        Value::Object(fields) => {
            for (key, value) in fields {
                merge(&mut object[key], value);
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

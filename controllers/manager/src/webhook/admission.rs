//! AdmissionReview v1: request bytes in, response value out.
//!
//! What upstream refuses is refused with upstream's words; what else looks wrong is a warning and no more.
//! Never lets a request through that it does not understand: the answer to it is a refusal that says why.

mod server;
mod status;
mod template;
mod warnings;

use serde_json::{Value, json};

pub use status::Refusal;

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";
/// Warnings in one answer: the API server cuts long lists anyway.
const MOST_WARNINGS: usize = 16;

/// What a path judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Servers of either version: the fields that are judged are the same.
    Server,
    /// Templates of machines, which must not change.
    MetalMachineTemplate,
    /// Classes: warnings only.
    ServerClass,
    /// Environments: warnings only.
    Environment,
}

/// The paths, as the webhook configurations name them.
pub const PATHS: [(&str, Subject); 5] = [
    ("/validate-metal-sidero-dev-v1alpha1-server", Subject::Server),
    ("/validate-metal-sidero-dev-v1alpha2-server", Subject::Server),
    (
        "/validate-infrastructure-cluster-x-k8s-io-v1alpha3-metalmachinetemplate",
        Subject::MetalMachineTemplate,
    ),
    ("/warn-metal-sidero-dev-v1alpha2-serverclass", Subject::ServerClass),
    ("/warn-metal-sidero-dev-v1alpha2-environment", Subject::Environment),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Create,
    Update,
    Delete,
}

/// The parts of a request that count.
struct Request<'a> {
    operation: Operation,
    name: &'a str,
    object: &'a Value,
    old: &'a Value,
}

/// An answer and how it is counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub review: Value,
    /// `allowed`, `denied` or `malformed`.
    pub result: &'static str,
}

/// Answers a review. Every input has an answer; without a readable `uid` it is empty.
pub fn answer(subject: Subject, body: &[u8]) -> Answer {
    let (uid, request) = match super::request(body, API_VERSION, KIND) {
        Ok(found) => found,
        Err((uid, problem)) => return refused(&uid, &Refusal::BadRequest(problem), "malformed"),
    };
    let request = match read(&request) {
        Ok(request) => request,
        Err(problem) => {
            let refusal = Refusal::BadRequest(format!("failed to use the review: {problem}"));
            return refused(&uid, &refusal, "malformed");
        }
    };
    if let Err(refusal) = judge(subject, &request) {
        return refused(&uid, &refusal, "denied");
    }
    let mut response = json!({ "uid": uid, "allowed": true });
    let warnings = warn(subject, &request);
    if !warnings.is_empty() {
        response["warnings"] = json!(warnings);
    }
    Answer { review: super::answered(API_VERSION, KIND, response), result: "allowed" }
}

fn refused(uid: &str, refusal: &Refusal, result: &'static str) -> Answer {
    let response = json!({ "uid": uid, "allowed": false, "status": refusal.status() });
    Answer { review: super::answered(API_VERSION, KIND, response), result }
}

fn read(request: &Value) -> Result<Request<'_>, String> {
    let text = |key: &str| request.get(key).and_then(Value::as_str);
    let operation = match text("operation") {
        Some("CREATE") => Operation::Create,
        Some("UPDATE") => Operation::Update,
        Some("DELETE") => Operation::Delete,
        other => return Err(format!("operation {:?} is not asked for here", other.unwrap_or_default())),
    };
    let value = |key: &str| request.get(key).unwrap_or(&Value::Null);
    let (object, old) = (value("object"), value("oldObject"));
    if operation != Operation::Delete && !object.is_object() {
        return Err("request.object is missing".to_owned());
    }
    if operation == Operation::Update && !old.is_object() {
        return Err("request.oldObject is missing".to_owned());
    }
    let named = object.pointer("/metadata/name").and_then(Value::as_str);
    let name = named.or_else(|| text("name")).unwrap_or_default();
    Ok(Request { operation, name, object, old })
}

fn judge(subject: Subject, request: &Request<'_>) -> Result<(), Refusal> {
    match (subject, request.operation) {
        (_, Operation::Delete)
        | (Subject::ServerClass | Subject::Environment, Operation::Create | Operation::Update)
        | (Subject::MetalMachineTemplate, Operation::Create) => Ok(()),
        (Subject::Server, Operation::Create | Operation::Update) => {
            server::judge(request.name, request.object)
        }
        (Subject::MetalMachineTemplate, Operation::Update) => template::judge(request.old, request.object),
    }
}

fn warn(subject: Subject, request: &Request<'_>) -> Vec<String> {
    if request.operation == Operation::Delete {
        return Vec::new();
    }
    let mut warnings = match subject {
        Subject::Server => warnings::server(request.object),
        Subject::ServerClass => warnings::server_class(request.object),
        Subject::Environment => warnings::environment(request.object),
        Subject::MetalMachineTemplate => Vec::new(),
    };
    warnings.truncate(MOST_WARNINGS);
    warnings
}

#[cfg(test)]
mod tests;

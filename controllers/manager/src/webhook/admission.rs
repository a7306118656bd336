//! AdmissionReview v1: request bytes in, response value out.
//!
//! What upstream refuses is refused with upstream's words; what else looks wrong is a warning and no more.
//! Never lets a request through that it does not understand: the answer to it is a refusal that says why.

mod server;
mod status;
mod talos;
mod template;
mod warnings;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
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
    /// Machine configurations, which change in place only.
    TalosConfig,
    /// Templates of them, which must not change.
    TalosConfigTemplate,
    /// Control planes.
    TalosControlPlane,
    /// The same, to fill in what they do not say.
    TalosControlPlaneDefaults,
    /// Templates of them, which must not change.
    TalosControlPlaneTemplate,
}

/// The paths, as the webhook configurations name them.
pub const PATHS: [(&str, Subject); 10] = [
    ("/validate-metal-sidero-dev-v1alpha1-server", Subject::Server),
    ("/validate-metal-sidero-dev-v1alpha2-server", Subject::Server),
    (
        "/validate-infrastructure-cluster-x-k8s-io-v1alpha3-metalmachinetemplate",
        Subject::MetalMachineTemplate,
    ),
    ("/warn-metal-sidero-dev-v1alpha2-serverclass", Subject::ServerClass),
    ("/warn-metal-sidero-dev-v1alpha2-environment", Subject::Environment),
    ("/validate-bootstrap-cluster-x-k8s-io-v1alpha3-talosconfig", Subject::TalosConfig),
    ("/validate-bootstrap-cluster-x-k8s-io-v1alpha3-talosconfigtemplate", Subject::TalosConfigTemplate),
    ("/validate-controlplane-cluster-x-k8s-io-v1alpha3-taloscontrolplane", Subject::TalosControlPlane),
    ("/mutate-controlplane-cluster-x-k8s-io-v1alpha3-taloscontrolplane", Subject::TalosControlPlaneDefaults),
    (
        "/validate-controlplane-cluster-x-k8s-io-v1alpha3-taloscontrolplanetemplate",
        Subject::TalosControlPlaneTemplate,
    ),
];
/// Cluster API's mark on templates that it tries to change, to see what would become of them.
const DRY_RUN_ANNOTATION: &str = "topology.cluster.x-k8s.io/dry-run";

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
    is_dry_run: bool,
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
    if let Some(patch) = fill_in(subject, &request) {
        response["patchType"] = json!("JSONPatch");
        response["patch"] = json!(STANDARD.encode(patch.to_string()));
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
    let is_dry_run = value("dryRun") == &Value::Bool(true);
    Ok(Request { operation, name, object, old, is_dry_run })
}

fn judge(subject: Subject, request: &Request<'_>) -> Result<(), Refusal> {
    let Request { operation, name, object, old, is_dry_run } = *request;
    let template = |kind: &str| {
        let annotations = object.pointer("/metadata/annotations");
        let is_tried = annotations.and_then(|all| all.get(DRY_RUN_ANNOTATION)).is_some();
        if is_dry_run && is_tried { Ok(()) } else { template::judge(kind, old, object) }
    };
    match (subject, operation) {
        (_, Operation::Delete)
        | (
            Subject::ServerClass | Subject::Environment | Subject::TalosControlPlaneDefaults,
            Operation::Create | Operation::Update,
        )
        | (
            Subject::MetalMachineTemplate | Subject::TalosConfigTemplate | Subject::TalosControlPlaneTemplate,
            Operation::Create,
        ) => Ok(()),
        (Subject::Server, Operation::Create | Operation::Update) => server::judge(name, object),
        (Subject::MetalMachineTemplate, Operation::Update) => template("MetalMachineTemplate"),
        (Subject::TalosConfigTemplate, Operation::Update) => template("TalosConfigTemplate"),
        (Subject::TalosControlPlaneTemplate, Operation::Update) => template("TalosControlPlaneTemplate"),
        (Subject::TalosConfig, Operation::Create) => talos::judge_config(name, object),
        (Subject::TalosConfig, Operation::Update) => talos::judge_config_change(name, old, object),
        (Subject::TalosControlPlane, Operation::Create | Operation::Update) => {
            talos::judge_control_plane(name, object)
        }
    }
}

/// The JSON patch with what the object does not say.
fn fill_in(subject: Subject, request: &Request<'_>) -> Option<Value> {
    if subject != Subject::TalosControlPlaneDefaults || request.operation == Operation::Delete {
        return None;
    }
    let spec = talos::default_control_plane(request.object)?;
    Some(json!([{ "op": "replace", "path": "/spec", "value": spec }]))
}

fn warn(subject: Subject, request: &Request<'_>) -> Vec<String> {
    if request.operation == Operation::Delete {
        return Vec::new();
    }
    let mut warnings = match subject {
        Subject::Server => warnings::server(request.object),
        Subject::ServerClass => warnings::server_class(request.object),
        Subject::Environment => warnings::environment(request.object),
        Subject::MetalMachineTemplate
        | Subject::TalosConfig
        | Subject::TalosConfigTemplate
        | Subject::TalosControlPlane
        | Subject::TalosControlPlaneDefaults
        | Subject::TalosControlPlaneTemplate => Vec::new(),
    };
    warnings.truncate(MOST_WARNINGS);
    warnings
}

#[cfg(test)]
mod tests;

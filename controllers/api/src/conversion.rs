//! Conversion between the served versions of a kind, on JSON.
//!
//! Works on JSON and not on the types, so that a field which this build does not know, or a value that it
//! cannot read, passes through unharmed. Going down, the whole newer object is kept in an annotation; going
//! up, what only the newer version can say is taken back from there, unless the older one was edited.
//! Never touches `metadata` but for that annotation: the API server refuses more.

pub(crate) mod contract;
mod server;
mod server_class;

use serde_json::{Map, Value};

use crate::METAL_GROUP;

/// Annotation that keeps the newer object while an older version is served.
pub const CONVERSION_DATA: &str = "cluster.x-k8s.io/conversion-data";
/// The storage version of the `metal.sidero.dev` kinds.
pub const HUB: &str = "v1alpha2";
/// The older served version.
pub const SPOKE: &str = "v1alpha1";

/// Why an object could not be converted.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what the variants and their fields are")]
pub enum Error {
    #[error("failed to convert: {0} is missing or not of the right type")]
    Malformed(&'static str),
    #[error("failed to convert {kind} from {from} to {to}: no such conversion")]
    NoSuchConversion { kind: String, from: String, to: String },
    #[error(
        "failed to read annotation {CONVERSION_DATA} of {kind} {name}; remove it to go on without the newer fields"
    )]
    BadAnnotation { kind: String, name: String, source: serde_json::Error },
    #[error("failed to keep the newer fields of {kind} {name}")]
    Keep { kind: String, name: String, source: serde_json::Error },
}

/// A kind that has an older version.
#[derive(Clone, Copy)]
enum Kind {
    Server,
    ServerClass,
    Environment,
}

/// JSON object.
type Object = Map<String, Value>;

/// Brings `object` to `desired`, which is `<group>/<version>`.
pub fn convert(object: Value, desired: &str) -> Result<Value, Error> {
    let Value::Object(mut object) = object else { return Err(Error::Malformed("the object")) };
    let from = text(&object, "apiVersion").ok_or(Error::Malformed("apiVersion"))?.to_owned();
    let name = text(&object, "kind").ok_or(Error::Malformed("kind"))?.to_owned();
    if from == desired {
        return Ok(Value::Object(object));
    }
    if let Some(converted) = contract::convert(&mut object, &name, &from, desired) {
        converted?;
        object.insert("apiVersion".to_owned(), Value::String(desired.to_owned()));
        return Ok(Value::Object(object));
    }
    let refused =
        || Error::NoSuchConversion { kind: name.clone(), from: from.clone(), to: desired.to_owned() };
    let kind = match name.as_str() {
        "Server" => Kind::Server,
        "ServerClass" => Kind::ServerClass,
        "Environment" => Kind::Environment,
        _ => return Err(refused()),
    };
    match (version_of(&from), version_of(desired)) {
        (Some(SPOKE), Some(HUB)) => up(&mut object, kind)?,
        (Some(HUB), Some(SPOKE)) => down(&mut object, kind)?,
        _ => return Err(refused()),
    }
    object.insert("apiVersion".to_owned(), Value::String(desired.to_owned()));
    Ok(Value::Object(object))
}

/// The version in an apiVersion of our group.
fn version_of(api_version: &str) -> Option<&str> {
    api_version.split_once('/').filter(|(group, _)| *group == METAL_GROUP).map(|(_, version)| version)
}

/// Older to newer.
fn up(object: &mut Object, kind: Kind) -> Result<(), Error> {
    let kept = take_kept(object)?;
    let restored = kept.as_ref().and_then(|kept| kept.get("spec")).and_then(Value::as_object);
    let Some(spec) = spec_of(object)? else { return Ok(()) };
    match kind {
        Kind::Server => server::up(spec, restored),
        Kind::ServerClass => server_class::up(spec, restored),
        Kind::Environment => {}
    }
    Ok(())
}

/// Newer to older.
fn down(object: &mut Object, kind: Kind) -> Result<(), Error> {
    keep(object)?;
    let Some(spec) = spec_of(object)? else { return Ok(()) };
    match kind {
        Kind::Server => server::down(spec),
        Kind::ServerClass => server_class::down(spec),
        Kind::Environment => {}
    }
    Ok(())
}

/// Writes the whole object but its metadata into the annotation.
fn keep(object: &mut Object) -> Result<(), Error> {
    let kept: Object =
        object.iter().filter(|(key, _)| *key != "metadata").map(|(k, v)| (k.clone(), v.clone())).collect();
    let kept = serde_json::to_string(&kept).map_err(|source| {
        let (kind, name) = identity(object);
        Error::Keep { kind, name, source }
    })?;
    let metadata = object
        .entry("metadata")
        .or_insert_with(|| Value::Object(Object::new()))
        .as_object_mut()
        .ok_or(Error::Malformed("metadata"))?;
    let annotations = metadata.entry("annotations").or_insert(Value::Null);
    if annotations.is_null() {
        *annotations = Value::Object(Object::new());
    }
    annotations
        .as_object_mut()
        .ok_or(Error::Malformed("metadata.annotations"))?
        .insert(CONVERSION_DATA.to_owned(), Value::String(kept));
    Ok(())
}

/// Takes the kept object out of the annotation.
fn take_kept(object: &mut Object) -> Result<Option<Value>, Error> {
    let (kind, name) = identity(object);
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return Ok(None) };
    let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) else {
        return Ok(None);
    };
    let kept = annotations.remove(CONVERSION_DATA);
    if annotations.is_empty() {
        metadata.remove("annotations");
    }
    match kept {
        Some(Value::String(text)) => serde_json::from_str(&text)
            .map(Some)
            .map_err(|source| Error::BadAnnotation { kind, name, source }),
        Some(_) | None => Ok(None),
    }
}

fn identity(object: &Object) -> (String, String) {
    let name = object.get("metadata").and_then(|m| m.get("name")).and_then(Value::as_str);
    (text(object, "kind").unwrap_or_default().to_owned(), name.unwrap_or_default().to_owned())
}

fn spec_of(object: &mut Object) -> Result<Option<&mut Object>, Error> {
    match object.get_mut("spec") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(spec)) => Ok(Some(spec)),
        Some(_) => Err(Error::Malformed("spec")),
    }
}

fn text<'a>(object: &'a Object, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

/// The fields that both forms of a system description have.
const SYSTEM_FIELDS: [&str; 6] =
    ["manufacturer", "productName", "version", "serialNumber", "skuNumber", "family"];
/// The older name of each field of a processor, and the newer one.
const CPU_FIELDS: [(&str, &str); 2] = [("manufacturer", "manufacturer"), ("version", "productName")];

/// The older description of the system in a hardware description.
fn system_of(hardware: &Value) -> Option<Value> {
    let system = hardware.get("system")?.as_object()?;
    let known = SYSTEM_FIELDS.iter().filter_map(|key| Some(((*key).to_owned(), system.get(*key)?.clone())));
    Some(Value::Object(known.collect()))
}

/// The older description of the first processor in a hardware description.
fn cpu_of(hardware: &Value) -> Option<Value> {
    let processor = hardware.pointer("/compute/processors/0")?.as_object()?;
    let known =
        CPU_FIELDS.iter().filter_map(|(old, new)| Some(((*old).to_owned(), processor.get(*new)?.clone())));
    Some(Value::Object(known.collect()))
}

/// A hardware description that says no more than the older ones.
fn hardware_of(system: Option<Value>, cpu: Option<&Value>) -> Option<Value> {
    let mut hardware = Object::new();
    if let Some(system) = system {
        hardware.insert("system".to_owned(), system);
    }
    if let Some(cpu) = cpu {
        let fields =
            CPU_FIELDS.iter().filter_map(|(old, new)| Some(((*new).to_owned(), cpu.get(*old)?.clone())));
        let processor = Value::Object(fields.collect());
        hardware.insert("compute".to_owned(), serde_json::json!({ "processors": [processor] }));
    }
    (!hardware.is_empty()).then_some(Value::Object(hardware))
}

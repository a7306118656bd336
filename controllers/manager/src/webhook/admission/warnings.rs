//! What looks wrong in an object but is allowed, as upstream allows it.
//!
//! Never keeps an object from being written: these are words to whoever writes it.

use bloomery_api::ServerClass;
use bloomery_api::boot_method::SERVER_METHODS;
use bloomery_api::server_class::matching::Membership;
use bloomery_platform::chain;
use serde::Deserialize;
use serde_json::Value;

use crate::download::source::{SHA512_DIGITS, Source, Unusable, is_sha512};

/// What a management controller can be spoken to through.
const INTERFACES: [&str; 3] = ["", "lan", "lanplus"];
/// Operations that are nothing without a value.
const WITH_VALUE: [&str; 3] = ["add", "replace", "test"];
/// Operations that need a member which these patches do not have.
const WITH_FROM: [&str; 2] = ["copy", "move"];
/// Longest strategic patch that is looked into.
const LARGEST_PATCH: usize = 256 << 10;

pub(super) fn server(object: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(bmc) = object.pointer("/spec/bmc").filter(|bmc| bmc.is_object()) {
        self::bmc(bmc, &mut warnings);
        if object.pointer("/spec/managementApi").is_some_and(Value::is_object) {
            warnings.push("spec.managementApi: ignored, because spec.bmc is set".to_owned());
        }
    }
    patches(object, &mut warnings);
    warnings
}

fn bmc(bmc: &Value, warnings: &mut Vec<String>) {
    let text = |key: &str| bmc.get(key).and_then(Value::as_str).unwrap_or_default();
    for (plain, reference) in [("user", "userFrom"), ("pass", "passFrom")] {
        let referred = bmc.get(reference).is_some_and(Value::is_object);
        if !text(plain).is_empty() && referred {
            warnings.push(format!(
                "spec.bmc.{reference}: used in place of spec.bmc.{plain}? only one should be set"
            ));
        } else if text(plain).is_empty() && !referred {
            warnings.push(format!(
                "spec.bmc.{plain}: not set, nor is {reference}; the machine's power is not managed"
            ));
        }
    }
    if text("endpoint").is_empty() {
        warnings.push("spec.bmc.endpoint: empty".to_owned());
    }
    if !INTERFACES.contains(&text("interface")) {
        warnings
            .push(format!("spec.bmc.interface: {:?} is not known; want lanplus or lan", text("interface")));
    }
}

pub(super) fn server_class(object: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    let method = object.pointer("/spec/bootFromDiskMethod").and_then(Value::as_str).unwrap_or_default();
    if !SERVER_METHODS.contains(&method) {
        warnings.push(format!("spec.bootFromDiskMethod: {method:?} is not known and means ipxe-exit"));
    }
    match ServerClass::deserialize(object) {
        Ok(class) => {
            if let Err(error) = Membership::of(&class) {
                warnings.push(format!("spec.selector: the class has no members: {}", chain(&error)));
            }
        }
        Err(error) => warnings.push(format!("the object cannot be read: {error}")),
    }
    patches(object, &mut warnings);
    warnings
}

pub(super) fn environment(object: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    for asset in ["kernel", "initrd"] {
        let text = |key: &str| {
            object.pointer(&format!("/spec/{asset}/{key}")).and_then(Value::as_str).unwrap_or_default()
        };
        let (url, sha512) = (text("url"), text("sha512"));
        if url.is_empty() {
            warnings.push(format!("spec.{asset}.url: missing, so that nothing is fetched"));
        } else if let Some(problem) = unusable(url) {
            warnings.push(format!("spec.{asset}.url: {problem}"));
        }
        if !sha512.is_empty() && !is_sha512(sha512) {
            warnings.push(format!("spec.{asset}.sha512: not {SHA512_DIGITS} hexadecimal digits"));
        }
    }
    warnings
}

/// Which directory `file:` URLs may name is the controller's to say.
fn unusable(url: &str) -> Option<String> {
    match Source::parse(url, std::path::Path::new("/")) {
        Ok(_) | Err(Unusable::Outside { .. }) => None,
        Err(error) => Some(chain(&error)),
    }
}

fn patches(object: &Value, warnings: &mut Vec<String>) {
    let list =
        |key: &str| object.pointer(&format!("/spec/{key}")).and_then(Value::as_array).into_iter().flatten();
    for (index, patch) in list("configPatches").enumerate() {
        let text = |key: &str| patch.get(key).and_then(Value::as_str).unwrap_or_default();
        let (operation, path) = (text("op"), text("path"));
        if !path.is_empty() && !path.starts_with('/') {
            warnings.push(format!(
                "spec.configPatches.{index}.path: {path:?} does not begin with \"/\" (RFC 6901)"
            ));
        }
        if WITH_FROM.contains(&operation) {
            warnings.push(format!(
                "spec.configPatches.{index}.op: {operation} needs a \"from\", which there is none of"
            ));
        }
        if WITH_VALUE.contains(&operation) && patch.get("value").is_none() {
            warnings.push(format!("spec.configPatches.{index}.value: missing, and {operation} needs one"));
        }
    }
    for (index, patch) in list("strategicPatches").enumerate() {
        if let Some(problem) = strategic(patch.as_str().unwrap_or_default()) {
            warnings.push(format!("spec.strategicPatches.{index}: {problem}"));
        }
    }
}

/// What is wrong with a strategic patch: each document of it has to be a mapping.
fn strategic(text: &str) -> Option<String> {
    if text.trim().is_empty() {
        return Some("empty".to_owned());
    }
    if text.len() > LARGEST_PATCH {
        return None;
    }
    for document in serde_norway::Deserializer::from_str(text) {
        match serde_norway::Value::deserialize(document) {
            Ok(serde_norway::Value::Mapping(_) | serde_norway::Value::Null) => {}
            Ok(_) => return Some("not a mapping".to_owned()),
            Err(error) => return Some(format!("not YAML: {error}")),
        }
    }
    None
}

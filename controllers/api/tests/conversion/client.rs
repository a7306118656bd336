//! A client that knows the fields of its version alone.

use std::sync::LazyLock;

use serde_json::Value;

/// What `schema` knows of a value.
fn pruned(value: &Value, schema: &Value) -> Value {
    match (value, schema.get("properties"), schema.get("items")) {
        (Value::Object(fields), Some(known), _) => fields
            .iter()
            .filter_map(|(key, field)| Some((key.clone(), pruned(field, known.get(key)?))))
            .collect(),
        (Value::Array(items), _, Some(schema)) => items.iter().map(|item| pruned(item, schema)).collect(),
        _ => value.clone(),
    }
}

/// What a client of the object's version keeps of it: the API server has no more for it.
pub(crate) fn read(mut object: Value) -> Value {
    static DEFINITIONS: LazyLock<Vec<Value>> = LazyLock::new(|| {
        let all = bloomery_api::crds::all(b"").unwrap();
        all.into_iter().map(|crd| serde_json::to_value(crd).unwrap()).collect()
    });
    let crd = DEFINITIONS.iter().find(|crd| crd["spec"]["names"]["kind"] == object["kind"]).unwrap();
    let versions = crd["spec"]["versions"].as_array().unwrap();
    let (_, version) = object["apiVersion"].as_str().unwrap().split_once('/').unwrap();
    let version = versions.iter().find(|known| known["name"] == version).unwrap();
    let schema = &version["schema"]["openAPIV3Schema"]["properties"];
    for part in ["spec", "status"] {
        if let Some(value) = object.get_mut(part) {
            *value = pruned(value, &schema[part]);
        }
    }
    object
}

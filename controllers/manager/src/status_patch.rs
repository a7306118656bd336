//! The merge patch that brings a status to what it is to be: what is left out of the new one is removed.

use serde::Serialize;
use serde_json::{Map, Value, json};

/// The patch; `None` when nothing changes.
pub(crate) fn status_patch<S: Serialize + PartialEq>(old: Option<&S>, new: &S) -> Option<Value> {
    if old == Some(new) {
        return None;
    }
    let fields = |status: &S| match serde_json::to_value(status) {
        Ok(Value::Object(fields)) => fields,
        // A struct of fields that are all representable has no other form.
        Ok(_) | Err(_) => Map::new(),
    };
    let before = old.map(fields).unwrap_or_default();
    let mut after = fields(new);
    let removed: Vec<String> = before.keys().filter(|key| !after.contains_key(*key)).cloned().collect();
    after.extend(removed.into_iter().map(|key| (key, Value::Null)));
    Some(json!({ "status": after }))
}

#[cfg(test)]
mod tests {
    use bloomery_api::MetalMachineStatus;
    use bloomery_api::contract::MachineAddress;

    use super::*;

    #[test]
    fn what_is_no_longer_said_is_removed() {
        let address = MachineAddress { type_: "Hostname".to_owned(), address: "a".to_owned() };
        let old =
            MetalMachineStatus { ready: true, addresses: vec![address], ..MetalMachineStatus::default() };
        let new = MetalMachineStatus { ready: true, ..MetalMachineStatus::default() };
        assert_eq!(
            status_patch(Some(&old), &new),
            Some(json!({ "status": { "ready": true, "addresses": null } }))
        );
        assert_eq!(status_patch(Some(&new), &new), None);
        assert_eq!(status_patch(None, &new), Some(json!({ "status": { "ready": true } })));
    }
}

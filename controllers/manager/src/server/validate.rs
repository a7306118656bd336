//! Turns what was read into what a plan can be made of.
//!
//! Never takes an unreadable binding for no binding: the machine it names stays as it is.

use bloomery_api::{Server, ServerBinding};
use kube::ResourceExt;
use kube::core::DeserializeGuard;

use crate::reconcile::Error;

/// What a plan is made of.
#[derive(Debug)]
pub(super) struct Objects {
    pub(super) server: Server,
    pub(super) binding: Option<ServerBinding>,
}

/// Fails on an object that is not what its kind should be.
pub(super) fn validate(
    server: DeserializeGuard<Server>,
    binding: Option<DeserializeGuard<ServerBinding>>,
) -> Result<Objects, Error> {
    Ok(Objects {
        server: readable("Server", server)?,
        binding: binding.map(|binding| readable("ServerBinding", binding)).transpose()?,
    })
}

/// The object, or what is wrong with it.
pub(super) fn readable<K: kube::Resource>(kind: &str, guarded: DeserializeGuard<K>) -> Result<K, Error> {
    let name = guarded.name_any();
    guarded.0.map_err(|invalid| Error::Invalid { object: format!("{kind} {name}"), problem: invalid.error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn server(spec: &Value) -> DeserializeGuard<Server> {
        let object = json!({ "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "Server", "metadata": { "name": "a" }, "spec": spec });
        serde_json::from_value(object).unwrap()
    }

    fn binding(spec: &Value) -> DeserializeGuard<ServerBinding> {
        let object = json!({
            "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha3", "kind": "ServerBinding",
            "metadata": { "name": "a" }, "spec": spec,
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn readable_objects_pass() {
        let binding = binding(&json!({ "metalMachineRef": { "name": "m" } }));
        let objects = validate(server(&json!({ "accepted": true })), Some(binding)).unwrap();
        assert!(objects.server.spec.accepted);
        assert!(objects.binding.is_some());
    }

    #[test]
    fn an_unreadable_server_is_named() {
        let error = validate(server(&json!({ "accepted": "yes" })), None).unwrap_err();
        assert!(error.to_string().starts_with("failed to use Server a: "), "{error}");
    }

    #[test]
    fn an_unreadable_binding_is_an_error_and_not_an_absence() {
        let binding = binding(&json!({ "metalMachineRef": 7 }));
        let error = validate(server(&json!({ "accepted": true })), Some(binding)).unwrap_err();
        assert!(error.to_string().starts_with("failed to use ServerBinding a: "), "{error}");
    }
}

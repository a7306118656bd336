//! Turns what was read into what a plan can be made of.
//!
//! Never lets a malformed Server keep the others out of their class.

use std::sync::Arc;

use bloomery_api::{Server, ServerClass};
use kube::ResourceExt;
use kube::core::DeserializeGuard;

use super::fetch::Fetched;
use crate::reconcile::Error;

/// What a plan is made of.
#[derive(Debug)]
pub(super) struct Objects {
    pub(super) class: ServerClass,
    servers: Vec<Arc<DeserializeGuard<Server>>>,
}

impl Objects {
    /// The Servers that can be read.
    pub(super) fn servers(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter().filter_map(|server| server.0.as_ref().ok())
    }

    #[cfg(test)]
    pub(super) fn new(class: ServerClass, servers: Vec<Server>) -> Self {
        Self {
            class,
            servers: servers.into_iter().map(|server| Arc::new(DeserializeGuard(Ok(server)))).collect(),
        }
    }
}

/// Fails on a class that is not what its kind should be. Malformed Servers are left out; their own
/// controller says what is wrong with them.
pub(super) fn validate(fetched: Fetched) -> Result<Objects, Error> {
    let Fetched { class, servers } = fetched;
    let name = class.name_any();
    let class = class.0.map_err(|invalid| Error::Invalid {
        object: format!("ServerClass {name}"),
        problem: invalid.error,
    })?;
    Ok(Objects { class, servers })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_malformed_server_is_left_out_and_the_others_stay() {
        let servers = [json!({ "accepted": true }), json!({ "accepted": 7 })]
            .map(|spec| {
                let object = json!({
                    "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "Server",
                    "metadata": { "name": "a" }, "spec": spec,
                });
                Arc::new(serde_json::from_value(object).unwrap())
            })
            .to_vec();
        let class = DeserializeGuard(Ok(ServerClass::new("c", bloomery_api::ServerClassSpec::default())));
        let objects = validate(Fetched { class, servers }).unwrap();
        assert_eq!(objects.servers().count(), 1);
    }
}

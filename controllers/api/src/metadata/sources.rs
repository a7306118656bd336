//! The objects that a configuration comes from, and what is answered when one of them is missing.

use kube::Resource;

use super::failure::{Failure, Stage};
use crate::contract::Machine;
use crate::metal_machine::MetalMachine;
use crate::server::Server;
use crate::server_binding::ServerBinding;
use crate::server_class::ServerClass;

/// Key of a Secret with bootstrap data.
pub const DATA_KEY: &str = "value";

/// The Machine that owns a MetalMachine.
#[derive(Clone, Copy, Debug)]
pub enum Owner<'a> {
    /// None is named.
    None,
    /// The one of this name does not exist.
    Missing(&'a str),
    /// It exists.
    Found(&'a Machine),
}

/// The bootstrap data.
#[derive(Clone, Copy, Debug)]
pub enum Data<'a> {
    /// There is no such Secret.
    Missing,
    /// The Secret has no such key, or no text there.
    NoValue,
    /// The text.
    Value(&'a str),
}

/// Namespace and name of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Place {
    fn of<K: Resource>(object: &K) -> Self {
        let meta = object.meta();
        Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// What the API server says of an object that does not exist.
fn not_found(resource: &str, name: &str) -> String {
    format!("{resource} \"{name}\" not found")
}

/// The answer for a machine without a binding.
pub fn unbound(name: &str) -> String {
    let missing = not_found("serverbindings.infrastructure.cluster.x-k8s.io", name);
    format!("server is not allocated (missing serverbinding): {missing}")
}

/// Where the MetalMachine of a binding is.
pub fn metal_machine(binding: &ServerBinding) -> Place {
    let reference = &binding.spec.metal_machine_ref;
    Place {
        namespace: reference.namespace.clone().unwrap_or_default(),
        name: reference.name.clone().unwrap_or_default(),
    }
}

/// Name of the class that the binding's Server was taken from.
pub fn class_name(binding: &ServerBinding) -> Option<&str> {
    binding.spec.server_class_ref.as_ref().and_then(|class| class.name.as_deref())
}

/// Where the bootstrap data is.
pub fn data_secret(
    binding: &ServerBinding,
    metal_machine: Option<&MetalMachine>,
    owner: Owner<'_>,
) -> Result<Place, Failure> {
    let Some(metal_machine) = metal_machine else {
        let missing =
            not_found("metalmachines.infrastructure.cluster.x-k8s.io", &self::metal_machine(binding).name);
        let message = format!("failure getting metalmachine: {missing}");
        return Err(Failure::internal(Stage::MetalMachine, message));
    };
    let own = Place::of(metal_machine);
    let fetching = format!("failure fetching owner machine from metal machine {own}");
    let machine = match owner {
        Owner::Found(machine) => machine,
        // Go's word for a value that is not there, in a place for a text.
        Owner::None => {
            let told = format!("no Machine owns MetalMachine {own}");
            return Err(Failure::internal(Stage::Machine, format!("{fetching}: %!s(<nil>)")).told(told));
        }
        Owner::Missing(name) => {
            let missing = not_found("machines.cluster.x-k8s.io", name);
            return Err(Failure::internal(Stage::Machine, format!("{fetching}: {missing}")));
        }
    };
    let own = Place::of(machine);
    match machine.spec.bootstrap.data_secret_name.as_deref() {
        Some(name) if !name.is_empty() => Ok(Place { namespace: own.namespace, name: name.to_owned() }),
        Some(_) | None => {
            let message = format!("no dataSecretName present for machine {own}");
            Err(Failure::missing(Stage::DataSecretName, message))
        }
    }
}

/// All that a configuration is made from, once it is known to be there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Complete<'a> {
    /// The bootstrap data.
    pub bootstrap: &'a str,
    /// The Server.
    pub server: &'a Server,
    /// Its class, if it was taken from one.
    pub class: Option<&'a ServerClass>,
}

/// All of it, or what is missing.
pub fn complete<'a>(
    binding: &ServerBinding,
    place: &Place,
    data: Data<'a>,
    server: Option<&'a Server>,
    class: Option<&'a ServerClass>,
) -> Result<Complete<'a>, Failure> {
    let bootstrap = match data {
        Data::Value(text) => text,
        Data::Missing => {
            return Err(Failure::missing(Stage::DataSecret, format!("bootstrap secret {place} not found")));
        }
        Data::NoValue => {
            let message = format!("{DATA_KEY} key not found in bootstrap data: {place}");
            return Err(Failure::missing(Stage::DataSecret, message));
        }
    };
    let Some(server) = server else {
        let name = binding.metadata.name.as_deref().unwrap_or_default();
        let missing = not_found("servers.metal.sidero.dev", name);
        return Err(Failure::internal(Stage::Server, format!("failure fetching server {name}: {missing}")));
    };
    match class_name(binding) {
        Some(name) if class.is_none() => {
            let missing = not_found("serverclasses.metal.sidero.dev", name);
            let message = format!("failure fetching serverclass {name}: {missing}");
            Err(Failure::internal(Stage::ServerClass, message))
        }
        Some(_) => Ok(Complete { bootstrap, server, class }),
        None => Ok(Complete { bootstrap, server, class: None }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object<K: serde::de::DeserializeOwned>(value: Value) -> K {
        serde_json::from_value(value).unwrap()
    }

    fn binding(class: Option<&str>) -> ServerBinding {
        let mut spec = json!({ "metalMachineRef": { "name": "mm", "namespace": "default" } });
        if let Some(class) = class {
            spec["serverClassRef"] = json!({ "name": class });
        }
        object(json!({ "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha3", "kind": "ServerBinding",
            "metadata": { "name": "u-1" }, "spec": spec }))
    }

    fn machine(data: Option<&str>) -> Machine {
        let bootstrap = data.map_or(json!({}), |name| json!({ "dataSecretName": name }));
        object(json!({ "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
            "metadata": { "name": "m", "namespace": "default" }, "spec": { "bootstrap": bootstrap } }))
    }

    #[test]
    fn each_missing_object_has_upstreams_answer() {
        let binding = binding(Some("class"));
        let metal: MetalMachine = object(json!({ "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha3",
            "kind": "MetalMachine", "metadata": { "name": "mm", "namespace": "default" }, "spec": {} }));
        let (with, without, empty) = (machine(Some("b")), machine(None), machine(Some("")));
        for (metal, owner, code, message) in [
            (
                None,
                Owner::None,
                500,
                "failure getting metalmachine: metalmachines.infrastructure.cluster.x-k8s.io \"mm\" not found",
            ),
            (
                Some(&metal),
                Owner::None,
                500,
                "failure fetching owner machine from metal machine default/mm: %!s(<nil>)",
            ),
            (
                Some(&metal),
                Owner::Missing("m"),
                500,
                "failure fetching owner machine from metal machine default/mm: machines.cluster.x-k8s.io \"m\" not found",
            ),
            (Some(&metal), Owner::Found(&without), 404, "no dataSecretName present for machine default/m"),
            (Some(&metal), Owner::Found(&empty), 404, "no dataSecretName present for machine default/m"),
        ] {
            let failure = data_secret(&binding, metal, owner).unwrap_err();
            assert_eq!((failure.code, failure.message.as_str()), (code, message));
        }
        let place = data_secret(&binding, Some(&metal), Owner::Found(&with)).unwrap();
        assert_eq!(place.to_string(), "default/b");
        let (server, class) = (Server::new("u-1", <_>::default()), ServerClass::new("class", <_>::default()));
        for (data, server, class, code, message) in [
            (Data::Missing, Some(&server), Some(&class), 404, "bootstrap secret default/b not found"),
            (Data::NoValue, None, None, 404, "value key not found in bootstrap data: default/b"),
            (
                Data::Value("x"),
                None,
                None,
                500,
                "failure fetching server u-1: servers.metal.sidero.dev \"u-1\" not found",
            ),
            (
                Data::Value("x"),
                Some(&server),
                None,
                500,
                "failure fetching serverclass class: serverclasses.metal.sidero.dev \"class\" not found",
            ),
        ] {
            let failure = complete(&binding, &place, data, server, class).unwrap_err();
            assert_eq!((failure.code, failure.message.as_str()), (code, message));
        }
        let found = complete(&binding, &place, Data::Value("x"), Some(&server), Some(&class));
        assert_eq!(found, Ok(Complete { bootstrap: "x", server: &server, class: Some(&class) }));
        // The class is the one that the binding names, and no other.
        let found = complete(&self::binding(None), &place, Data::Value("x"), Some(&server), Some(&class));
        assert_eq!(found, Ok(Complete { bootstrap: "x", server: &server, class: None }));
    }

    #[test]
    fn an_unbound_machine_is_told_what_upstream_tells() {
        assert_eq!(
            unbound("xxx-yyy"),
            "server is not allocated (missing serverbinding): \
             serverbindings.infrastructure.cluster.x-k8s.io \"xxx-yyy\" not found"
        );
    }
}

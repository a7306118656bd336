//! Small things about objects.

use std::sync::Arc;

use bloomery_api::decision::boot::Objects;
use bloomery_api::environment::{AssetCondition, Environment, EnvironmentStatus, READY};
use bloomery_api::lookup::Lookup;
use bloomery_api::{EnvironmentSpec, Server, ServerBinding, ServerClass};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

/// Nothing is decided by the time.
pub(super) fn now() -> Time {
    Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH)
}

/// When the object of this number was made: a minute after the one before, longer than a record waits for its Server.
pub(super) fn made_at(number: u32) -> Time {
    let made = k8s_openapi::jiff::Timestamp::from_second(60 * i64::from(number));
    Time(made.unwrap_or(k8s_openapi::jiff::Timestamp::MAX))
}

pub(super) fn annotate(server: &mut Server, key: &str, value: &str) {
    server.metadata.annotations.get_or_insert_default().insert(key.to_owned(), value.to_owned());
}

pub(super) fn annotation<'a>(server: &'a Server, key: &str) -> Option<&'a str> {
    server.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// The machine that claims.
pub(super) fn claimant(binding: &ServerBinding) -> String {
    binding.spec.metal_machine_ref.name.clone().unwrap_or_default()
}

pub(super) fn binding(name: &str, uid: u32, claimant: &str) -> ServerBinding {
    let json = json!({
        "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha3", "kind": "ServerBinding",
        "metadata": { "name": name, "uid": format!("b{uid}") },
        "spec": { "metalMachineRef": { "name": claimant, "namespace": "default" } },
        "status": { "ready": true, "conditions": [{ "type": "ConfigurationReady", "status": "True",
            "lastTransitionTime": "2026-01-01T00:00:00Z" }] },
    });
    serde_json::from_value(json)
        .unwrap_or_else(|_| ServerBinding::new(name, bloomery_api::ServerBindingSpec::default()))
}

/// There is the default Environment, and no class.
pub(super) struct NoObjects;

impl Objects for NoObjects {
    fn class(&self, _: &str) -> Lookup<Arc<ServerClass>> {
        Lookup::NotFound
    }

    fn environment(&self, name: &str) -> Lookup<Arc<Environment>> {
        let mut environment = Environment::new(name, EnvironmentSpec::default());
        "k".clone_into(&mut environment.spec.kernel.url);
        let condition = AssetCondition {
            url: "k".to_owned(),
            status: bloomery_api::ConditionStatus::True,
            type_: READY.to_owned(),
            ..AssetCondition::default()
        };
        environment.status = Some(EnvironmentStatus { conditions: vec![condition] });
        Lookup::Found(Arc::new(environment))
    }
}

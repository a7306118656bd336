//! What to change about a ServerClass: a pure function of it and the Servers.
//!
//! Never changes a class of the user's; of `any` only the qualifiers.

use bloomery_api::ServerClassStatus;
use bloomery_api::server_class::matching::Membership;
use bloomery_api::server_class::{ANY, Qualifiers};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::validate::Objects;
use crate::reconcile::Error;
use bloomery_platform::chain;

/// What a reconcile changes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    /// Merge patch of the spec, if it changes.
    pub(super) spec: Option<Value>,
    /// The status to write, if it changes.
    pub(super) status: Option<ServerClassStatus>,
}

/// Plans one reconcile.
pub(super) fn plan(objects: &Objects) -> Result<Plan, Error> {
    let mut class = objects.class.clone();
    let name = class.name_any();
    let restore = name == ANY && class.spec.qualifiers != Qualifiers::default();
    if restore {
        class.spec.qualifiers = Qualifiers::default();
    }
    let membership = Membership::of(&class)
        .map_err(|error| Error::Invalid { object: format!("ServerClass {name}"), problem: chain(&error) })?;
    let status = membership.status(objects.servers());
    Ok(Plan {
        // In a merge patch `null` removes: the qualifiers become empty, everything else stays.
        spec: restore.then(|| json!({ "spec": { "qualifiers": null } })),
        status: (class.status.as_ref() != Some(&status)).then_some(status),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bloomery_api::hardware::HardwareInformation;
    use bloomery_api::{Server, ServerClass, ServerClassSpec, ServerSpec, ServerStatus};

    fn server(name: &str, in_use: bool) -> Server {
        let mut server = Server::new(name, ServerSpec { accepted: true, ..ServerSpec::default() });
        server.status = Some(ServerStatus { in_use, ..ServerStatus::default() });
        server
    }

    fn class(name: &str) -> ServerClass {
        let mut spec = ServerClassSpec::default();
        spec.qualifiers.hardware = vec![HardwareInformation::default()];
        spec.boot_from_disk_method = "http-404".to_owned();
        ServerClass::new(name, spec)
    }

    #[test]
    fn members_are_sorted_and_bound_ones_apart() {
        let objects = Objects::new(
            ServerClass::new("c", ServerClassSpec::default()),
            vec![server("b", false), server("c", true), server("a", false)],
        );
        let status = plan(&objects).unwrap().status.unwrap();
        assert_eq!(status.servers_available, ["a", "b"]);
        assert_eq!(status.servers_in_use, ["c"]);
    }

    #[test]
    fn an_empty_class_gets_a_status_once() {
        let mut empty = ServerClass::new("c", ServerClassSpec::default());
        assert_eq!(
            plan(&Objects::new(empty.clone(), Vec::new())).unwrap().status,
            Some(ServerClassStatus::default())
        );
        empty.status = Some(ServerClassStatus::default());
        assert_eq!(plan(&Objects::new(empty, Vec::new())).unwrap(), Plan { spec: None, status: None });
    }

    #[test]
    fn any_is_widened_and_counted_as_widened_while_other_classes_are_left_alone() {
        // The filter needs hardware, which this server does not have.
        let any = plan(&Objects::new(class(ANY), vec![server("a", false)])).unwrap();
        assert_eq!(any.spec, Some(json!({ "spec": { "qualifiers": null } })));
        assert_eq!(any.status.unwrap().servers_available, ["a"]);
        let other = plan(&Objects::new(class("c"), vec![server("a", false)])).unwrap();
        assert_eq!(other.spec, None);
        assert!(other.status.unwrap().servers_available.is_empty());
    }

    #[test]
    fn an_invalid_selector_is_an_error_that_waits_for_a_change() {
        let mut class = ServerClass::new("c", ServerClassSpec::default());
        class.spec.selector =
            serde_json::from_value(json!({ "matchExpressions": [{ "key": "k", "operator": "In" }] }))
                .unwrap();
        let error = plan(&Objects::new(class, Vec::new())).unwrap_err();
        assert!(!error.is_retryable());
        assert!(error.to_string().contains("needs values"), "{error}");
    }
}

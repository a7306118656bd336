//! What to change about a ServerClass: a pure function of it and the Servers.
//!
//! Never changes a class of the user's; of `any` only the qualifiers.

use bloomery_api::server_class::matching::Membership;
use bloomery_api::server_class::{ANY, Qualifiers};
use bloomery_api::{Server, ServerClass, ServerClassStatus};
use bloomery_platform::chain;
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::reconcile::Error;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    /// Merge patch of the spec, if it changes.
    pub(super) spec: Option<Value>,
    /// The status to write, if it changes.
    pub(super) status: Option<ServerClassStatus>,
}

pub(super) fn plan<'a>(
    class: &ServerClass,
    servers: impl Iterator<Item = &'a Server>,
) -> Result<Plan, Error> {
    let mut class = class.clone();
    let name = class.name_any();
    let restore = name == ANY && class.spec.qualifiers != Qualifiers::default();
    if restore {
        class.spec.qualifiers = Qualifiers::default();
    }
    let membership = Membership::of(&class)
        .map_err(|error| Error::Invalid { object: format!("ServerClass {name}"), problem: chain(&error) })?;
    let status = membership.status(servers);
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
    use bloomery_api::{ServerClassSpec, ServerSpec, ServerStatus};

    fn planned(class: &ServerClass, servers: &[Server]) -> Result<Plan, Error> {
        plan(class, servers.iter())
    }

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
        let class = ServerClass::new("c", ServerClassSpec::default());
        let servers = [server("b", false), server("c", true), server("a", false)];
        let status = planned(&class, &servers).unwrap().status.unwrap();
        assert_eq!(status.servers_available, ["a", "b"]);
        assert_eq!(status.servers_in_use, ["c"]);
    }

    #[test]
    fn an_empty_class_gets_a_status_once() {
        let mut empty = ServerClass::new("c", ServerClassSpec::default());
        assert_eq!(planned(&empty, &[]).unwrap().status, Some(ServerClassStatus::default()));
        empty.status = Some(ServerClassStatus::default());
        assert_eq!(planned(&empty, &[]).unwrap(), Plan { spec: None, status: None });
    }

    #[test]
    fn any_is_widened_and_counted_as_widened_while_other_classes_are_left_alone() {
        // The filter needs hardware, which this server does not have.
        let any = planned(&class(ANY), &[server("a", false)]).unwrap();
        assert_eq!(any.spec, Some(json!({ "spec": { "qualifiers": null } })));
        assert_eq!(any.status.unwrap().servers_available, ["a"]);
        let other = planned(&class("c"), &[server("a", false)]).unwrap();
        assert_eq!(other.spec, None);
        assert!(other.status.unwrap().servers_available.is_empty());
    }

    #[test]
    fn an_invalid_selector_is_an_error_that_waits_for_a_change() {
        let mut class = ServerClass::new("c", ServerClassSpec::default());
        class.spec.selector =
            serde_json::from_value(json!({ "matchExpressions": [{ "key": "k", "operator": "In" }] }))
                .unwrap();
        let error = planned(&class, &[]).unwrap_err();
        assert!(!error.is_retryable());
        assert!(error.to_string().contains("needs values"), "{error}");
    }
}

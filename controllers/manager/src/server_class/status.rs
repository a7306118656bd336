//! Writes a plan's lists of members and its change of the spec, and says why there can be no members.
//!
//! Nobody else writes them, so the last count wins. Never repeats what was said of a class already: every
//! change of a Server has all classes counted.

use std::collections::HashMap;

use bloomery_api::ServerClass;
use bloomery_platform::chain;
use bloomery_platform::events::Notice;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use parking_lot::Mutex;
use serde_json::json;
use tracing::{debug, info};

use super::plan::Plan;
use crate::reconcile::{Context, Error};
use crate::table::{Key, key};

const REASON: &str = "Server Class";

/// What was said last of each class that has a problem.
#[derive(Debug, Default)]
pub(super) struct Said(Mutex<HashMap<Key, String>>);

impl Said {
    /// The text to say, if it is news.
    fn fresh(&self, class: &Key, problem: Option<&Error>) -> Option<String> {
        let mut said = self.0.lock();
        let Some(problem) = problem else {
            said.remove(class);
            return None;
        };
        let message = format!("{}.", chain(problem));
        let before = said.insert(class.clone(), message.clone());
        (before.as_ref() != Some(&message)).then_some(message)
    }
}

/// Records an event about a class that cannot be counted.
pub(super) fn announce(context: &Context, said: &Said, class: &ServerClass, problem: Option<&Error>) {
    if let Some(message) = said.fresh(&key(class), problem) {
        context.notify(class, Notice { warning: true, reason: REASON, action: "Count", message });
    }
}

/// Patches the spec, which only `any` ever has, and the status where they change.
pub(super) async fn write(client: &Client, name: &str, plan: &Plan) -> Result<(), Error> {
    let Plan { spec, status } = plan;
    let classes: Api<ServerClass> = Api::all(client.clone());
    if let Some(patch) = spec {
        classes
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .map_err(Error::api("patch", format!("ServerClass {name}")))?;
        info!(class = name, "qualifiers emptied again");
    }
    let Some(status) = status else { return Ok(()) };
    classes
        .patch_status(name, &PatchParams::default(), &Patch::Merge(json!({ "status": status })))
        .await
        .map_err(Error::api("patch status of", format!("ServerClass {name}")))?;
    debug!(
        class = name,
        available = status.servers_available.len(),
        in_use = status.servers_in_use.len(),
        "members counted"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_once_until_it_changes_or_ends() {
        let said = Said::default();
        let class = key(&ServerClass::new("c", bloomery_api::ServerClassSpec::default()));
        let error = |problem: &str| Error::Invalid {
            object: "ServerClass c".to_owned(),
            problem: problem.to_owned(),
        };
        assert_eq!(said.fresh(&class, Some(&error("a"))).unwrap(), "failed to use ServerClass c: a.");
        assert_eq!(said.fresh(&class, Some(&error("a"))), None);
        assert!(said.fresh(&class, Some(&error("b"))).is_some());
        assert_eq!(said.fresh(&class, None), None);
        assert!(said.fresh(&class, Some(&error("b"))).is_some());
    }
}

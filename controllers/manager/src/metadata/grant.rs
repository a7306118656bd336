//! Which Secrets of the plane's namespace the boot services may read: the configurations of machines that are bound now,
//! each by its name.
//!
//! Accounts of management controllers lie in the same namespace, and rights know no labels, so a role for all of it would
//! hand them to the process that reads whatever the network sends. Never writes a rule without names: it would allow
//! all.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bloomery_api::metadata::rendered::{NAMESPACE, is_owned_by, server_of};
use bloomery_plane::Gate;
use bloomery_platform::chain;
use bloomery_platform::patch::{self, Part};
use bloomery_platform::watch::Cache;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role};
use kube::api::PatchParams;
use kube::{Api, Resource, ResourceExt};
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::reconcile::{Context, Error};
use crate::watch::Bindings;
use crate::watch::SecretMeta;

/// The role: manifests/20-rbac.yaml makes it, without rules.
const ROLE: &str = "bloomery:bootsvc-configurations";
/// How long changes are gathered: a machine takes longer from its binding to its question.
const GATHERED_FOR: Duration = Duration::from_millis(250);
/// When the role is looked at though nothing changed, and when after a failure.
const LOOK_AGAIN: Duration = Duration::from_mins(5);
const AFTER_FAILURE: Duration = Duration::from_secs(2);
/// Names of one rule.
const MOST_NAMES: usize = 1000;

/// Keeps the role until `stop`. `touched` wakes it when a binding or a configuration comes or goes.
pub async fn keep(
    context: Context,
    gate: Gate,
    rendered: Cache<SecretMeta>,
    bindings: Bindings,
    touched: Arc<Notify>,
    stop: CancellationToken,
) {
    let mut written: Option<BTreeSet<String>> = None;
    let mut wait = GATHERED_FOR;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = touched.notified() => {}
            () = tokio::time::sleep(wait) => written = None,
        }
        tokio::time::sleep(GATHERED_FOR).await;
        wait = LOOK_AGAIN;
        if !rendered.is_listed() || !bindings.is_listed() || !gate.current().await.acts() {
            wait = AFTER_FAILURE;
            continue;
        }
        let names = names(&rendered, &bindings);
        if written.as_ref() == Some(&names) {
            continue;
        }
        match write(&context, &names).await {
            Ok(()) => written = Some(names),
            Err(error) => {
                warn!(error = chain(&error), "rights to read configurations not written");
                wait = AFTER_FAILURE;
            }
        }
    }
}

fn names(rendered: &Cache<SecretMeta>, bindings: &Bindings) -> BTreeSet<String> {
    let is_of_binding = |secret: &&Arc<SecretMeta>| {
        let name = secret.meta().name.as_deref().and_then(server_of);
        let binding = name.and_then(|name| bindings.named(name));
        binding.is_some_and(|binding| {
            binding.0.as_ref().is_ok_and(|binding| {
                binding.metadata.deletion_timestamp.is_none() && is_owned_by(secret.meta(), binding)
            })
        })
    };
    rendered.known().iter().filter(is_of_binding).map(|secret| secret.name_any()).collect()
}

async fn write(context: &Context, names: &BTreeSet<String>) -> Result<(), Error> {
    let roles: Api<Role> = Api::namespaced(context.client.clone(), NAMESPACE);
    let object = || format!("Role {NAMESPACE}/{ROLE}");
    let role = roles.get(ROLE).await.map_err(Error::api("get", object()))?;
    let wanted = rules(names);
    if role.rules.as_deref().unwrap_or_default() == wanted {
        return Ok(());
    }
    patch::merge(&roles, &role, json!({ "rules": wanted }), Part::Object, &PatchParams::default())
        .await
        .map_err(Error::api("patch", object()))?;
    Ok(())
}

fn rules(names: &BTreeSet<String>) -> Vec<PolicyRule> {
    let names: Vec<String> = names.iter().filter(|name| !name.is_empty()).cloned().collect();
    let rule = |names: &[String]| PolicyRule {
        api_groups: Some(vec![String::new()]),
        resources: Some(vec!["secrets".to_owned()]),
        resource_names: Some(names.to_vec()),
        verbs: vec!["get".to_owned()],
        ..PolicyRule::default()
    };
    names.chunks(MOST_NAMES).map(rule).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_rule_allows_what_is_not_named() {
        assert!(rules(&BTreeSet::new()).is_empty());
        assert!(rules(&[String::new()].into()).is_empty());
        let names: BTreeSet<String> = (0..2500).map(|number| format!("{number:04}-config")).collect();
        let made = rules(&names);
        assert_eq!(made.len(), 3);
        let allowed: HashSet<String> =
            made.iter().flat_map(|rule| rule.resource_names.clone().unwrap_or_default()).collect();
        assert_eq!(allowed.len(), names.len());
        for rule in made {
            assert!(rule.resource_names.is_some_and(|names| !names.is_empty()));
            assert_eq!(
                (rule.verbs, rule.resources),
                (vec!["get".to_owned()], Some(vec!["secrets".to_owned()]))
            );
        }
    }
}

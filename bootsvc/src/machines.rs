//! Which machines are served at all: `unknownMachines`, and the lists of the configuration and of a `ConfigMap`.
//!
//! It must never forget the last good lists because the `ConfigMap` cannot be read.

use std::sync::Arc;
use std::time::Duration;

use bloomery_api::decision::unknown::{FilterError, MachineLists, UnknownMachines};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use parking_lot::RwLock;

use crate::kubernetes::Kubernetes;

/// Namespace of the lists that can be changed at run time.
pub const NAMESPACE: &str = "sidero-system";
/// Their `ConfigMap`.
pub const CONFIG_MAP: &str = "bloomery-machines";
/// Its keys.
const ALLOW: &str = "allow";
const DENY: &str = "deny";
/// How soon a change counts.
const READ_EVERY: Duration = Duration::from_secs(10);

/// Who is served. Clones share it.
#[derive(Clone, Default)]
pub struct Machines(Arc<Inner>);

#[derive(Default)]
struct Inner {
    policy: UnknownMachines,
    configured: MachineLists,
    lists: RwLock<Arc<MachineLists>>,
}

impl Machines {
    /// The policy and the lists of the command line.
    pub fn new(policy: UnknownMachines, configured: MachineLists) -> Self {
        let lists = RwLock::new(Arc::new(configured.clone()));
        Self(Arc::new(Inner { policy, configured, lists }))
    }

    /// What becomes of machines that nobody accepted.
    pub fn policy(&self) -> UnknownMachines {
        self.0.policy
    }

    /// The lists as they are now.
    pub fn lists(&self) -> Arc<MachineLists> {
        self.0.lists.read().clone()
    }

    /// Reads the `ConfigMap` again and again.
    pub async fn follow(self, kubernetes: Kubernetes) {
        let mut seen = None;
        loop {
            if let Some(client) = kubernetes.client() {
                let maps: Api<ConfigMap> = Api::namespaced(client, NAMESPACE);
                match maps.get_opt(CONFIG_MAP).await {
                    Ok(map) => self.take(map.and_then(|map| map.data).unwrap_or_default(), &mut seen),
                    Err(error) => tracing::debug!(%error, "lists of machines not read"),
                }
            }
            tokio::time::sleep(READ_EVERY).await;
        }
    }

    fn take(&self, mut data: std::collections::BTreeMap<String, String>, seen: &mut Option<[String; 2]>) {
        let texts = [ALLOW, DENY].map(|key| data.remove(key).unwrap_or_default());
        if seen.as_ref() == Some(&texts) {
            return;
        }
        match self.put(&texts[0], &texts[1]) {
            Ok(()) => tracing::info!(config_map = CONFIG_MAP, "lists of machines read"),
            Err(error) => tracing::warn!(config_map = CONFIG_MAP, %error, "lists of machines not used"),
        }
        *seen = Some(texts);
    }

    /// Adds these lists to the configured ones, in place of those that were added before.
    fn put(&self, allow: &str, deny: &str) -> Result<(), FilterError> {
        let lists = self.0.configured.clone().and(MachineLists::parse(allow, deny)?);
        *self.0.lists.write() = Arc::new(lists);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_at_run_time_add_to_the_configured_ones_and_bad_ones_change_nothing() {
        let configured = MachineLists::parse("", "oui:00:00:01").unwrap();
        let machines = Machines::new(UnknownMachines::Agent, configured.clone());
        let both = MachineLists::parse("", "oui:00:00:01,oui:52:54:00").unwrap();
        machines.put("", "oui:52:54:00").unwrap();
        assert_eq!(*machines.lists(), both);
        assert!(machines.put("", "52:54").is_err());
        assert_eq!(*machines.lists(), both, "the last good ones hold");
        machines.put("", "").unwrap();
        assert_eq!(*machines.lists(), configured);
    }
}

//! Whether somebody needs the Environments that are fetched on demand: a Server that is noted as a 64-bit ARM machine.
//!
//! Never forgets while the process lives: files that were fetched stay.

use std::sync::Arc;

use bloomery_api::Environment;
use bloomery_api::arch::Arch;
use bloomery_api::server::ARCH_LABEL;
use kube::ResourceExt;
use tokio::sync::watch;
use tracing::info;

/// Whether there is such a machine. Clones share it.
#[derive(Clone, Debug)]
pub struct Demand(Arc<watch::Sender<bool>>);

impl Default for Demand {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Demand {
    /// Looks at a Server that was made or changed.
    pub fn see(&self, server: &impl ResourceExt) {
        let is_needed = server.labels().get(ARCH_LABEL).is_some_and(|arch| arch == Arch::Arm64.as_str());
        let is_new = is_needed && self.0.send_if_modified(|needed| !std::mem::replace(needed, true));
        if is_new {
            info!(server = server.name_any(), "an arm64 machine needs its Environment");
        }
    }

    /// Whether the files of this Environment are to be fetched.
    pub(super) fn is_for(&self, environment: &Environment) -> bool {
        !environment.is_fetched_on_demand() || *self.0.borrow()
    }

    /// Until there is one.
    pub(super) async fn wait(&self) {
        // The sender is `self`, so that it never ends without one.
        let _ = self.0.subscribe().wait_for(|needed| *needed).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bloomery_api::{Server, ServerSpec};

    fn server(arch: Option<&str>) -> Server {
        let mut server = Server::new("m", ServerSpec::default());
        server.metadata.labels = arch.map(|arch| [(ARCH_LABEL.to_owned(), arch.to_owned())].into());
        server
    }

    #[tokio::test]
    async fn the_first_arm64_machine_makes_the_demand_and_it_stays() {
        let demand = Demand::default();
        let on_demand = crate::environment::default::environment(Arch::Arm64);
        let always = crate::environment::default::environment(Arch::Amd64);
        for arch in [None, Some("amd64"), Some("")] {
            demand.see(&server(arch));
        }
        assert!(!demand.is_for(&on_demand));
        assert!(demand.is_for(&always));
        let waiting = demand.clone();
        let waiting = tokio::spawn(async move { waiting.wait().await });
        demand.see(&server(Some("arm64")));
        waiting.await.unwrap();
        demand.see(&server(None));
        assert!(demand.is_for(&on_demand));
    }
}

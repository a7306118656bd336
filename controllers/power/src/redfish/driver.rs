//! Power control by Redfish: find the machine's System, reset it, override its next boot.
//!
//! Never commands a System of another machine.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::error::Error;
use super::service::Service;
use super::systems::find;
use super::{boot, reset};
use crate::bmc::{Action, Bmc, Kind, Power};
use crate::endpoint::Origin;
use crate::error::PowerError;
use crate::identity::Identity;
use crate::ipmi::Credentials;
use crate::precondition::{Precondition, ask};
use crate::web::{CertificatePin, Trust};

/// A BMC reached by Redfish.
#[derive(Debug, Clone)]
pub struct Redfish {
    origin: Origin,
    peer: String,
    identity: Identity,
    credentials: Credentials,
    trust: Arc<Trust>,
}

impl Redfish {
    /// Power control of the System of `identity`'s machine at `origin`, which shows the certificate `pinned`, or the
    /// one that it shows first; connects to nothing yet.
    pub fn new(
        origin: Origin,
        identity: Identity,
        credentials: Credentials,
        pinned: Option<CertificatePin>,
    ) -> Self {
        let peer = origin.to_string();
        Self { origin, peer, identity, credentials, trust: Arc::new(Trust::new(pinned)) }
    }

    fn service(&self) -> Service<'_> {
        Service::new(self.origin.clone(), &self.credentials, Arc::clone(&self.trust))
    }

    async fn perform(
        &self,
        service: &mut Service<'_>,
        action: Action,
        wanted: &dyn Precondition,
    ) -> Result<(), PowerError> {
        let root = service.root().await?;
        let mut found = find(service, &root, &self.identity).await?;
        match action {
            Action::PxeOnce(_) => {}
            Action::On | Action::Off | Action::Cycle => {
                reset::learn_allowed(service, &root, &mut found).await;
            }
        }
        ask(wanted).await?;
        Ok(match action {
            Action::PxeOnce(mode) => boot::from_network_once(service, &root, &found, mode).await,
            Action::Cycle => reset::cycle(service, &root, &found).await,
            Action::On => reset::switch(service, &root, &found, Power::On).await,
            Action::Off => reset::switch(service, &root, &found, Power::Off).await,
        }?)
    }
}

impl Bmc for Redfish {
    fn power_state(&self) -> BoxFuture<'_, Result<Power, PowerError>> {
        async {
            let mut service = self.service();
            let read = async {
                let root = service.root().await?;
                let found = find(&mut service, &root, &self.identity).await?;
                found.system.power.map_err(|source| Error::Parse { path: found.path, source })
            };
            let read = read.await;
            service.log_out().await;
            Ok(read?)
        }
        .boxed()
    }

    fn command<'a>(
        &'a self,
        action: Action,
        wanted: &'a dyn Precondition,
    ) -> BoxFuture<'a, Result<(), PowerError>> {
        async move {
            let mut service = self.service();
            let done = self.perform(&mut service, action, wanted).await;
            service.log_out().await;
            done
        }
        .boxed()
    }

    fn kind(&self) -> Kind {
        Kind::Redfish
    }

    fn peer(&self) -> &str {
        &self.peer
    }

    fn certificate(&self) -> Option<CertificatePin> {
        self.trust.pinned()
    }
}

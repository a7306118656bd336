//! How the pool gets at a BMC; another implementation takes the network's place in tests.
//!
//! Never remembers anything.

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::bmc::Bmc;
use crate::endpoint::{Endpoint, Origin, SelectError};
use crate::http_api::{Hooks, HttpApi};
use crate::identity::Identity;
use crate::ipmi::{Credentials, Ipmi, Timing};
use crate::probe::probe;
use crate::redfish::Redfish;
use crate::select::{BmcTarget, Lan};

/// Makes drivers. They connect when they are used.
pub trait Connect: Send + Sync {
    /// IPMI at a BMC, if it is the one of `identity`'s machine.
    fn ipmi(&self, endpoint: &Endpoint, bmc: &BmcTarget, lan: Lan, identity: &Identity) -> Box<dyn Bmc>;
    /// Redfish at `origin`, for the System of `identity`'s machine.
    fn redfish(&self, origin: &Origin, bmc: &BmcTarget, identity: &Identity) -> Box<dyn Bmc>;
    /// The HTTP API at `endpoint`.
    fn api(&self, endpoint: &str) -> Result<Box<dyn Bmc>, SelectError>;
    /// Where a BMC's Redfish is, if it has one.
    fn probe<'a>(&'a self, endpoint: &'a Endpoint, bmc: &'a BmcTarget) -> BoxFuture<'a, Option<Origin>>;
}

/// The network.
#[derive(Debug, Clone, Default)]
pub struct Network {
    /// Patience of IPMI.
    pub timing: Timing,
    /// Test hooks of the HTTP API.
    pub hooks: Hooks,
}

fn credentials(bmc: &BmcTarget) -> Credentials {
    Credentials { user: bmc.user.clone(), pass: bmc.pass.clone() }
}

impl Connect for Network {
    fn ipmi(&self, endpoint: &Endpoint, bmc: &BmcTarget, lan: Lan, identity: &Identity) -> Box<dyn Bmc> {
        let port = endpoint.ipmi_port(bmc.port);
        let driver = Ipmi::new(&endpoint.host, port, lan, credentials(bmc), self.timing);
        Box::new(driver.of(identity.clone()))
    }

    fn redfish(&self, origin: &Origin, bmc: &BmcTarget, identity: &Identity) -> Box<dyn Bmc> {
        Box::new(Redfish::new(origin.clone(), identity.clone(), credentials(bmc), bmc.pinned))
    }

    fn api(&self, endpoint: &str) -> Result<Box<dyn Bmc>, SelectError> {
        Ok(Box::new(HttpApi::new(endpoint, self.hooks.clone())?))
    }

    fn probe<'a>(&'a self, endpoint: &'a Endpoint, bmc: &'a BmcTarget) -> BoxFuture<'a, Option<Origin>> {
        async move { probe(endpoint, bmc.port, &credentials(bmc), bmc.pinned).await }.boxed()
    }
}

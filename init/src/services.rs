//! What runs on the plane: one file per child, each a declaration of DESIGN.md §1's table and nothing more.
//!
//! It must never start anything; `supervise` does.

mod appliance;
mod apply;
mod bootsvc;
mod cluster_api;
mod controllers;
pub mod etcd;
pub mod kube_apiserver;
mod kube_controller_manager;

use crate::accounts::Accounts;
use crate::layout::Layout;
use crate::supervise::service::Service;
use bloomery_config::Config;
use std::net::IpAddr;

/// What the declarations depend on.
#[derive(Debug, Clone)]
pub struct Inputs<'a> {
    /// Where everything is.
    pub layout: &'a Layout,
    /// Whether services have users of their own.
    pub accounts: Accounts,
    /// `bloomery.yaml`.
    pub config: &'a Config,
    /// The plane's own address, once it has one.
    pub address: Option<IpAddr>,
    /// The name of the key that Secrets are encrypted with.
    pub encryption_key: Option<String>,
    /// Whether etcd has more than its usual quota.
    pub etcd_reserve: bool,
    /// Raised when certificates that only a restart brings in were made anew.
    pub generation: u64,
}

impl Inputs<'_> {
    /// The host that machines reach the boot services under; empty while it is not known.
    fn api_endpoint(&self) -> String {
        let sidero = self.config.sidero.api_endpoint.clone();
        let endpoint = sidero.or_else(|| self.config.advertised_endpoint.clone());
        endpoint.or_else(|| self.address.map(|address| address.to_string())).unwrap_or_default()
    }

    fn file(&self, service: &str, file: &str) -> String {
        self.layout.service_file(service, file).display().to_string()
    }
}

/// All services, dependencies first.
pub fn all(inputs: &Inputs) -> Vec<Service> {
    vec![
        etcd::service(inputs),
        kube_apiserver::service(inputs),
        apply::service(inputs),
        kube_controller_manager::service(inputs),
        cluster_api::service(inputs),
        controllers::service(inputs),
        bootsvc::service(inputs),
        appliance::service(inputs),
    ]
}

#[cfg(test)]
#[path = "services/tests.rs"]
mod tests;

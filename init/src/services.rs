//! The declarations of the services: one file for each row of the table in DESIGN.md §1.
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
mod siderolink;

use crate::accounts::Accounts;
use crate::layout::Layout;
use crate::supervise::service::{File, Service};
use bloomery_config::{Config, ServiceOptions};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The options of a service, in its run-time directory.
const OPTIONS: &str = "options.json";

/// What the declarations depend on.
#[derive(Debug, Clone)]
pub struct Inputs<'a> {
    pub layout: &'a Layout,
    /// Whether services have users of their own.
    pub accounts: Accounts,
    /// `bloomery.yaml`.
    pub config: &'a Config,
    /// The plane's own address, once it has one.
    pub address: Option<IpAddr>,
    /// The name of the key that Secrets are encrypted with.
    pub encryption_key: Option<String>,
    /// The machine's memory, octets.
    pub memory: u64,
    /// Its processors.
    pub cpus: usize,
    /// Whether etcd has more than its usual quota.
    pub etcd_reserve: bool,
    /// Raised when certificates that only a restart brings in were made anew.
    pub generation: u64,
}

impl Inputs<'_> {
    /// The file by which a service gets its options. `address` is the plane's own, for those that tell machines.
    fn options(&self, service: &str, address: Option<IpAddr>) -> File {
        let text = ServiceOptions::of(self.config, address).to_json();
        File { path: self.layout.service_file(service, OPTIONS), text }
    }

    fn file(&self, service: &str, file: &str) -> String {
        self.layout.service_file(service, file).display().to_string()
    }
}

/// The heap's growth between two collections of a Go program at rest, per cent: a fifth of Go's default. Little is allocated then, and
/// a collection a minute more costs nothing.
const RESTING_GOGC: &str = "20";

/// Environment of a Go program whose heap grows by so many per cent between two collections while it works
/// (image/controlplane/pace), and stays small at rest; to `limit` octets at most in both cases. It keeps no samples of its
/// allocations: no service offers profiles.
fn go_heap(busy: &str, limit: Option<u64>) -> BTreeMap<&'static str, String> {
    let settings = [("GOGC", RESTING_GOGC), ("BLOOMERY_BUSY_GOGC", busy), ("GODEBUG", "memprofilerate=0")];
    let limit = limit.map(|octets| ("GOMEMLIMIT", format!("{}MiB", octets >> 20)));
    settings.map(|(name, value)| (name, value.to_owned())).into_iter().chain(limit).collect()
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
        siderolink::service(inputs),
        appliance::service(inputs),
    ]
}

#[cfg(test)]
#[path = "services/tests.rs"]
mod tests;

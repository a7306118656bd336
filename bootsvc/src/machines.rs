//! Which machines are served at all: `unknownMachines`, and the lists of the configuration and of a `ConfigMap`.
//!
//! It must never leave an accepted machine without an answer where it is known to be one, nor forget the last good lists
//! because the `ConfigMap` cannot be read.

use std::net::{IpAddr, SocketAddrV4};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bloomery_api::decision::unknown::{FilterError, MachineLists, Origin, UnknownMachines};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use tokio_util::sync::CancellationToken;

use crate::dhcp::decide::{Admission, Server};
use crate::dhcp::wire::Request;
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

/// Says of a card and a system UUID whether a Server that a person accepted has them; none if nobody can tell.
pub type IsAccepted = dyn Fn(Option<&str>, Option<&str>) -> Option<bool> + Send + Sync;

/// Who is served. Clones share it.
#[derive(Clone, Default)]
pub struct Machines(Arc<Inner>);

#[derive(Default)]
struct Inner {
    policy: UnknownMachines,
    configured: MachineLists,
    lists: RwLock<Arc<MachineLists>>,
    is_accepted: RwLock<Option<Arc<IsAccepted>>>,
}

impl Machines {
    /// The policy and the lists of the command line.
    pub fn new(policy: UnknownMachines, configured: MachineLists) -> Self {
        let lists = RwLock::new(Arc::new(configured.clone()));
        Self(Arc::new(Inner { policy, configured, lists, is_accepted: RwLock::default() }))
    }

    /// From now on accepted machines are told apart from others.
    pub fn tell_by(&self, is_accepted: Arc<IsAccepted>) {
        *self.0.is_accepted.write().unwrap_or_else(PoisonError::into_inner) = Some(is_accepted);
    }

    /// What becomes of machines that nobody accepted.
    pub fn policy(&self) -> UnknownMachines {
        self.0.policy
    }

    /// The lists as they are now.
    pub fn lists(&self) -> Arc<MachineLists> {
        self.0.lists.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the machine that sent this DHCP request may be served, as far as the request tells.
    pub fn admit(&self, request: &Request<'_>, source: SocketAddrV4, server: Server<'_>) -> Admission {
        let relay = Some(request.giaddr).filter(|relay| !relay.is_unspecified());
        // A machine without an address is on the network of its relay, or on ours.
        let own = Some(*source.ip()).filter(|address| !address.is_unspecified() && relay.is_none());
        let address = request.wanted_address().or(own).or(relay).unwrap_or(server.on);
        let card = request.mac().map(|_| request.hardware_address().to_string());
        let origin = Origin {
            mac: card.as_deref(),
            address: Some(IpAddr::V4(address)),
            relay,
            interface: Some(server.interface),
        };
        let refused = match self.0.policy {
            _ if !self.lists().admit(&origin) => Admission::Denied,
            UnknownMachines::Ignore => Admission::Ignored,
            UnknownMachines::Agent | UnknownMachines::BootDisk => return Admission::Served,
        };
        // Asked last: it takes longest.
        let uuid = request.machine_uuid().ok().flatten().map(|uuid| uuid.to_string());
        let is_accepted = self.0.is_accepted.read().unwrap_or_else(PoisonError::into_inner).clone();
        let accepted = is_accepted.and_then(|is_accepted| is_accepted(card.as_deref(), uuid.as_deref()));
        // The lists say no by themselves; whether nobody accepted a machine is to be known first.
        let is_served = accepted.unwrap_or(refused == Admission::Ignored);
        if is_served { Admission::Served } else { refused }
    }

    /// Reads the `ConfigMap` again and again, until `shutdown`.
    pub async fn follow(self, kubernetes: Kubernetes, shutdown: CancellationToken) {
        let mut seen = None;
        let reading = async {
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
        };
        shutdown.run_until_cancelled(reading).await;
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
        *self.0.lists.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(lists);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const SERVER: Server<'_> = Server {
        interface: "eth1",
        on: Ipv4Addr::new(10, 77, 0, 3),
        address: Ipv4Addr::new(10, 77, 0, 3),
        http_port: 8081,
    };
    const NOBODY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);

    fn discover(relay: Option<[u8; 4]>) -> Vec<u8> {
        let mut datagram = vec![0; 236];
        datagram[..4].copy_from_slice(&[1, 1, 6, 0]);
        datagram[24..28].copy_from_slice(&relay.unwrap_or_default());
        datagram[28..34].copy_from_slice(&[0x52, 0x54, 0, 0x77, 0, 1]);
        datagram.extend_from_slice(&[99, 130, 83, 99, 53, 1, 1, 93, 2, 0, 7, 255]);
        datagram
    }

    fn admitted(machines: &Machines, relay: Option<[u8; 4]>) -> Admission {
        let datagram = discover(relay);
        machines.admit(&Request::parse(&datagram).unwrap(), NOBODY, SERVER)
    }

    fn with(allow: &str, deny: &str) -> Machines {
        Machines::new(UnknownMachines::Agent, MachineLists::parse(allow, deny).unwrap())
    }

    #[test]
    fn the_lists_hold_for_all_that_a_request_tells() {
        let relay = Some([10, 79, 0, 1]);
        for (allow, deny, relay, expected) in [
            ("", "", None, Admission::Served),
            ("oui:52:54:00", "", None, Admission::Served),
            ("oui:52:54:01", "", None, Admission::Denied),
            ("", "mac:52:54:00:77:00:01", None, Admission::Denied),
            ("subnet:10.77.0.0/24", "", None, Admission::Served),
            ("subnet:10.77.0.0/24", "", relay, Admission::Denied),
            ("subnet:10.79.0.0/24", "", relay, Admission::Served),
            ("relay:10.79.0.1", "", relay, Admission::Served),
            ("relay:10.79.0.1", "", None, Admission::Denied),
            ("interface:eth1", "", None, Admission::Served),
            ("interface:eth2", "", None, Admission::Denied),
            ("interface:eth1", "oui:52:54:00", None, Admission::Denied),
        ] {
            assert_eq!(admitted(&with(allow, deny), relay), expected, "{allow} {deny} {relay:?}");
        }
    }

    #[test]
    fn accepted_machines_are_always_served_and_ignored_ones_only_when_it_is_known() {
        let machines =
            Machines::new(UnknownMachines::Ignore, MachineLists::parse("", "oui:00:00:01").unwrap());
        assert_eq!(admitted(&machines, None), Admission::Served, "nobody can tell");
        machines.tell_by(Arc::new(|_, _| Some(false)));
        assert_eq!(admitted(&machines, None), Admission::Ignored);
        let denied = with("", "oui:52:54:00");
        assert_eq!(admitted(&denied, None), Admission::Denied);
        denied.tell_by(Arc::new(|card, _| Some(card == Some("52:54:00:77:00:01"))));
        assert_eq!(admitted(&denied, None), Admission::Served);
    }

    #[test]
    fn lists_at_run_time_add_to_the_configured_ones_and_bad_ones_change_nothing() {
        let machines = with("", "oui:00:00:01");
        machines.put("", "oui:52:54:00").unwrap();
        assert_eq!(admitted(&machines, None), Admission::Denied);
        assert!(machines.put("", "52:54").is_err());
        assert_eq!(admitted(&machines, None), Admission::Denied, "the last good ones hold");
        machines.put("", "").unwrap();
        assert_eq!(admitted(&machines, None), Admission::Served);
        assert_eq!(machines.lists().deny.len(), 1);
    }
}

//! Management controllers that more than one Server names: nobody knows which machine would obey a command.
//!
//! Never takes two spellings of one address for two controllers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::identity::DISTINCT_FROM_ANNOTATION;
use crate::server::Server;

/// UDP port of IPMI, where a Server names none.
const IPMI_PORT: i32 = 623;
/// Servers named in one message.
const MOST_NAMED: usize = 4;

/// A controller that others name too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedController {
    /// Its address and port.
    pub endpoint: String,
    /// The other Servers.
    pub others: Vec<String>,
}

impl SharedController {
    /// Reason of the condition `PowerReachable`.
    pub const REASON: &'static str = "SharedController";

    /// What is the matter, and what ends it.
    pub fn message(&self) -> String {
        let others: Vec<&str> = self.others.iter().map(String::as_str).take(MOST_NAMED).collect();
        let first = others.first().copied().unwrap_or_default();
        format!(
            "the management controller {} is also that of Server {}: no command is sent until one of them names \
             another, or a person says that it serves both (annotation {DISTINCT_FROM_ANNOTATION}={first})",
            self.endpoint,
            others.join(", ")
        )
    }
}

/// Which Servers name which controller.
#[derive(Clone, Debug, Default)]
pub struct Controllers {
    by_endpoint: BTreeMap<String, BTreeSet<String>>,
    by_server: BTreeMap<String, String>,
    distinct: BTreeMap<String, BTreeSet<String>>,
}

impl Controllers {
    /// Of all Servers.
    pub fn of<'a>(servers: impl IntoIterator<Item = &'a Server>) -> Self {
        let mut all = Self::default();
        servers.into_iter().for_each(|server| all.set(server));
        all
    }

    /// Puts a Server in, or in the place of the one of its name.
    pub fn set(&mut self, server: &Server) {
        let Some(name) = server.metadata.name.clone() else { return };
        self.remove(&name);
        let annotations = server.metadata.annotations.as_ref();
        if let Some(text) = annotations.and_then(|all| all.get(DISTINCT_FROM_ANNOTATION)) {
            let names = text.split(',').map(|one| one.trim().to_owned()).collect();
            self.distinct.insert(name.clone(), names);
        }
        if let Some(endpoint) = endpoint(server) {
            self.by_endpoint.entry(endpoint.clone()).or_default().insert(name.clone());
            self.by_server.insert(name, endpoint);
        }
    }

    /// Takes a Server out.
    pub fn remove(&mut self, name: &str) {
        self.distinct.remove(name);
        let Some(endpoint) = self.by_server.remove(name) else { return };
        if let Some(names) = self.by_endpoint.get_mut(&endpoint) {
            names.remove(name);
            if names.is_empty() {
                self.by_endpoint.remove(&endpoint);
            }
        }
    }

    /// Whether other Servers name the controller of the Server of that name. Pairs that a person declared to be two
    /// machines may share one: an enclosure's.
    pub fn shared(&self, name: &str) -> Option<SharedController> {
        let endpoint = self.by_server.get(name)?;
        let declared = |one: &str, other: &str| self.distinct.get(one).is_some_and(|all| all.contains(other));
        let others: Vec<String> = self
            .by_endpoint
            .get(endpoint)?
            .iter()
            .filter(|other| *other != name && !declared(name, other) && !declared(other, name))
            .cloned()
            .collect();
        (!others.is_empty()).then(|| SharedController { endpoint: endpoint.clone(), others })
    }
}

/// The controller that the Server names, in one spelling; `bmc` wins over `managementApi`, as for commands.
pub fn endpoint(server: &Server) -> Option<String> {
    if let Some(bmc) = &server.spec.bmc {
        let host = host(&bmc.endpoint)?;
        let port = if bmc.port == 0 { IPMI_PORT } else { bmc.port };
        return Some(format!("{host} port {port}"));
    }
    let api = server.spec.management_api.as_ref()?.endpoint.trim().to_ascii_lowercase();
    (!api.is_empty()).then_some(api)
}

fn host(text: &str) -> Option<String> {
    let text =
        text.trim().trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase();
    let address = text.parse::<IpAddr>().map(|address| address.to_canonical().to_string());
    let host = address.unwrap_or(text);
    (!host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ServerSpec;
    use crate::server::{Bmc, ManagementApi};

    fn server(name: &str, endpoint: &str, port: i32) -> Server {
        let bmc = Bmc { endpoint: endpoint.to_owned(), port, ..Bmc::default() };
        Server::new(name, ServerSpec { bmc: Some(bmc), ..ServerSpec::default() })
    }

    #[test]
    fn two_servers_with_one_controller_are_noticed_however_it_is_spelt() {
        for (one, other, is_shared) in [
            (("10.0.0.5", 0), ("10.0.0.5", 623), true),
            (("10.0.0.5", 0), (" 10.0.0.5 ", 0), true),
            (("10.0.0.5", 0), ("::ffff:10.0.0.5", 0), true),
            (("fd00::5", 0), ("[FD00:0::5]", 0), true),
            (("bmc1.example", 0), ("BMC1.example.", 0), true),
            (("10.0.0.5", 0), ("10.0.0.5", 624), false),
            (("10.0.0.5", 0), ("10.0.0.6", 0), false),
            (("", 0), ("", 0), false),
        ] {
            let all = Controllers::of(&[server("a", one.0, one.1), server("b", other.0, other.1)]);
            assert_eq!(all.shared("a").is_some(), is_shared, "{one:?} {other:?}");
            assert_eq!(all.shared("b").is_some(), is_shared);
        }
    }

    #[test]
    fn a_person_may_say_that_a_controller_serves_both() {
        let mut first = server("a", "10.0.0.5", 0);
        first.metadata.annotations = Some([(DISTINCT_FROM_ANNOTATION.to_owned(), "x, b".to_owned())].into());
        let mut all = Controllers::of(&[first, server("b", "10.0.0.5", 0)]);
        assert_eq!((all.shared("a"), all.shared("b")), (None, None));
        all.set(&server("c", "10.0.0.5", 0));
        let shared = all.shared("a").unwrap();
        assert_eq!(shared.others, ["c"]);
        assert!(shared.message().contains("bloomery.dev/distinct-from=c"), "{}", shared.message());
        all.remove("c");
        assert_eq!(all.shared("b"), None);
    }

    #[test]
    fn plain_power_apis_count_too() {
        let api = |name: &str| {
            let endpoint = "10.0.0.9:3400".to_owned();
            let management_api = Some(ManagementApi { endpoint });
            Server::new(name, ServerSpec { management_api, ..ServerSpec::default() })
        };
        assert!(Controllers::of(&[api("a"), api("b")]).shared("a").is_some());
        assert!(Controllers::of(&[api("a"), server("b", "10.0.0.9", 3400)]).shared("a").is_none());
    }
}

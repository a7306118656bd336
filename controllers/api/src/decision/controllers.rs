//! Management controllers that more than one Server names: nobody knows which machine would obey a command.
//!
//! Never takes two spellings of one address for two controllers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::identity::DISTINCT_FROM_ANNOTATION;
use crate::server::Server;

/// UDP port of IPMI, where a Server names none.
const IPMI_PORT: u16 = 623;
/// TCP ports of Redfish and of power APIs, where none is named.
const HTTPS_PORT: u16 = 443;
/// See [`HTTPS_PORT`].
const HTTP_PORT: u16 = 80;
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

/// A place at which a controller answers: address or name, and port.
pub type Contact = (String, u16);

/// Which Servers name which controller.
#[derive(Clone, Debug, Default)]
pub struct Controllers {
    by_contact: BTreeMap<Contact, BTreeSet<String>>,
    by_server: BTreeMap<String, BTreeSet<Contact>>,
    /// What the Servers name, before names became addresses.
    named: BTreeMap<String, Vec<Contact>>,
    /// Addresses of names, as they were found last.
    addresses: BTreeMap<String, BTreeSet<IpAddr>>,
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
        let named = contacts(server);
        if !named.is_empty() {
            self.named.insert(name.clone(), named);
            self.place(&name);
        }
    }

    /// Takes a Server out.
    pub fn remove(&mut self, name: &str) {
        self.distinct.remove(name);
        self.named.remove(name);
        self.displace(name);
    }

    /// Notes the addresses of a controller's name: Servers that give an address and those that give the name then meet.
    /// Gives the Servers that this concerns.
    pub fn resolve(&mut self, host: &str, addresses: impl IntoIterator<Item = IpAddr>) -> BTreeSet<String> {
        let found: BTreeSet<IpAddr> = addresses.into_iter().map(|address| address.to_canonical()).collect();
        if found.is_empty() || self.addresses.get(host) == Some(&found) {
            return BTreeSet::new();
        }
        self.addresses.insert(host.to_owned(), found);
        let concerned = self.named.iter().filter(|(_, named)| named.iter().any(|(own, _)| own == host));
        let concerned: BTreeSet<String> = concerned.map(|(name, _)| name.clone()).collect();
        let peers = |all: &Self| -> BTreeSet<String> {
            concerned.iter().flat_map(|name| all.others(name).0).collect()
        };
        let before = peers(self);
        for name in &concerned {
            self.displace(name);
            self.place(name);
        }
        let after = peers(self);
        if before == after {
            return BTreeSet::new();
        }
        concerned.into_iter().chain(before).chain(after).collect()
    }

    /// Takes over the addresses that another one knows.
    #[must_use]
    pub fn resolved_as(mut self, other: &Self) -> Self {
        for (host, addresses) in &other.addresses {
            self.resolve(host, addresses.iter().copied());
        }
        self
    }

    /// The names, and not addresses, by which Servers know their controllers.
    pub fn hosts(&self) -> BTreeSet<String> {
        let all = self.named.values().flatten().map(|(host, _)| host);
        all.filter(|host| host.parse::<IpAddr>().is_err()).cloned().collect()
    }

    /// Whether other Servers name the controller of the Server of that name. Pairs that a person declared to be two
    /// machines may share one: an enclosure's.
    pub fn shared(&self, name: &str) -> Option<SharedController> {
        let declared = |one: &str, other: &str| self.distinct.get(one).is_some_and(|all| all.contains(other));
        let (others, contact) = self.others(name);
        let others: Vec<String> =
            others.into_iter().filter(|other| !declared(name, other) && !declared(other, name)).collect();
        let (host, port) = contact.filter(|_| !others.is_empty())?;
        Some(SharedController { endpoint: format!("{host} port {port}"), others })
    }

    /// Whether others name this Server's controller, declared or not: it then has to say whose it is.
    pub fn serves_several(&self, name: &str) -> bool {
        !self.others(name).0.is_empty()
    }

    /// The others that name this Server's controller, and where they meet.
    fn others(&self, name: &str) -> (BTreeSet<String>, Option<&Contact>) {
        let (mut others, mut at) = (BTreeSet::new(), None);
        for contact in self.by_server.get(name).into_iter().flatten() {
            let here = self.by_contact.get(contact).into_iter().flatten().filter(|other| *other != name);
            let before = others.len();
            others.extend(here.cloned());
            if others.len() > before {
                at = at.or(Some(contact));
            }
        }
        (others, at)
    }

    fn place(&mut self, name: &str) {
        let named = self.named.get(name).into_iter().flatten();
        let all: BTreeSet<Contact> = named
            .flat_map(|(host, port)| {
                let addresses = self.addresses.get(host).into_iter().flatten();
                addresses.map(|address| (address.to_string(), *port)).chain([(host.clone(), *port)])
            })
            .collect();
        for contact in &all {
            self.by_contact.entry(contact.clone()).or_default().insert(name.to_owned());
        }
        self.by_server.insert(name.to_owned(), all);
    }

    fn displace(&mut self, name: &str) {
        for contact in self.by_server.remove(name).unwrap_or_default() {
            if let Some(names) = self.by_contact.get_mut(&contact) {
                names.remove(name);
                if names.is_empty() {
                    self.by_contact.remove(&contact);
                }
            }
        }
    }
}

/// Where the controller that the Server names answers, in one spelling; `bmc` wins over `managementApi`, as for
/// commands. A controller at IPMI's port that may speak Redfish as well is at HTTPS' port, too.
pub fn contacts(server: &Server) -> Vec<Contact> {
    let Some(bmc) = &server.spec.bmc else {
        let api = server.spec.management_api.as_ref().map_or("", |api| &api.endpoint);
        return place(api).map(|(host, port, _)| (host, port.unwrap_or(HTTP_PORT))).into_iter().collect();
    };
    let Some((host, own, is_url)) = place(&bmc.endpoint) else { return Vec::new() };
    let given = u16::try_from(bmc.port).ok().filter(|port| *port != 0).unwrap_or(IPMI_PORT);
    let mut ports = BTreeSet::from([own.unwrap_or(given)]);
    let only_ipmi = matches!(bmc.interface.as_str(), "lan" | "lanplus");
    if ports.contains(&IPMI_PORT) && own.is_none() && !is_url && !only_ipmi {
        ports.insert(HTTPS_PORT);
    }
    if bmc.interface == "redfish" && own.is_none() {
        ports.remove(&IPMI_PORT);
    }
    ports.into_iter().map(|port| (host.clone(), port)).collect()
}

/// Host, port if there is one, and whether it was a URL.
fn place(text: &str) -> Option<(String, Option<u16>, bool)> {
    let text = text.trim().to_ascii_lowercase();
    let (default, rest) = match text.split_once("://") {
        Some(("http", rest)) => (Some(HTTP_PORT), rest),
        Some((_, rest)) => (Some(HTTPS_PORT), rest),
        None => (None, text.as_str()),
    };
    let rest = rest.split('/').next().unwrap_or_default();
    let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None if rest.parse::<IpAddr>().is_ok() => (rest, None),
        None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
    };
    let port = port.and_then(|port| port.parse().ok()).or(default);
    let host = host.trim_end_matches('.');
    let address = host.parse::<IpAddr>().map(|address| address.to_canonical().to_string());
    let host = address.unwrap_or_else(|_| host.to_owned());
    (!host.is_empty()).then_some((host, port, default.is_some()))
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
            // Redfish by its URL, and a controller that may speak Redfish or IPMI.
            (("https://10.0.0.5", 0), ("10.0.0.5", 0), true),
            (("https://10.0.0.5/redfish/v1", 0), ("https://10.0.0.5:443", 0), true),
            (("https://[fd00::5]:8443", 0), ("fd00::5", 8443), true),
            (("10.0.0.5:6230", 0), ("10.0.0.5", 6230), true),
            // One host with a port for each machine.
            (("10.0.0.5", 6230), ("10.0.0.5", 6231), false),
            (("https://10.0.0.5:8443", 0), ("https://10.0.0.5:8444", 0), false),
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
    fn a_name_and_its_address_are_one_controller() {
        let mut all = Controllers::of(&[server("a", "bmc1.example", 0), server("b", "10.0.0.5", 0)]);
        assert_eq!(all.shared("a"), None);
        assert_eq!(all.hosts().into_iter().collect::<Vec<_>>(), ["bmc1.example"]);
        all.resolve("bmc1.example", ["10.0.0.5".parse().unwrap()]);
        assert_eq!(all.shared("a").unwrap().others, ["b"]);
        assert_eq!(all.shared("b").unwrap().others, ["a"]);
        // A new look keeps what is known; an answer without addresses takes nothing away.
        let again =
            Controllers::of(&[server("a", "BMC1.example", 0), server("b", "10.0.0.5", 0)]).resolved_as(&all);
        assert!(again.shared("a").is_some());
        all.resolve("bmc1.example", []);
        assert!(all.shared("a").is_some());
        all.resolve("bmc1.example", ["10.0.0.6".parse().unwrap()]);
        assert_eq!((all.shared("a"), all.shared("b")), (None, None));
        all.set(&server("b", "10.0.0.6", 0));
        assert!(all.shared("a").is_some());
        all.remove("b");
        assert_eq!(all.shared("a"), None);
    }

    #[test]
    fn a_declared_pair_still_has_to_be_told_apart_by_the_controller() {
        let mut first = server("a", "10.0.0.5", 0);
        first.metadata.annotations = Some([(DISTINCT_FROM_ANNOTATION.to_owned(), "b".to_owned())].into());
        let all = Controllers::of(&[first, server("b", "10.0.0.5", 0), server("c", "10.0.0.6", 0)]);
        assert_eq!(all.shared("a"), None);
        assert!(all.serves_several("a") && all.serves_several("b") && !all.serves_several("c"));
    }

    #[test]
    fn plain_power_apis_count_too() {
        let api = |name: &str| {
            let endpoint = "10.0.0.9:3400".to_owned();
            let management_api = Some(ManagementApi { endpoint });
            Server::new(name, ServerSpec { management_api, ..ServerSpec::default() })
        };
        assert!(Controllers::of(&[api("a"), api("b")]).shared("a").is_some());
        assert!(Controllers::of(&[api("a"), server("b", "10.0.0.9", 3400)]).shared("a").is_some());
    }
}

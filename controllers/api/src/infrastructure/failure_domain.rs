//! Failure domains: the values of a label of Servers that the MetalCluster names.

use std::collections::BTreeSet;

use crate::contract::FailureDomain;
use crate::metal_cluster::MOST_FAILURE_DOMAINS;
use crate::server::Server;

/// Longest name of a failure domain, in octets.
const LONGEST: usize = 256;

/// The failure domain that a Server is in; `label` is the key that the MetalCluster names, or empty.
pub fn failure_domain<'a>(server: &'a Server, label: &str) -> Option<&'a str> {
    let value = server.metadata.labels.as_ref()?.get(label)?.as_str();
    (!label.is_empty() && !value.is_empty() && value.len() <= LONGEST).then_some(value)
}

/// All failure domains of accepted Servers, sorted, and no more than the contract takes.
pub fn failure_domains<'a>(servers: impl IntoIterator<Item = &'a Server>, label: &str) -> Vec<FailureDomain> {
    let accepted = servers.into_iter().filter(|server| server.spec.accepted);
    let names: BTreeSet<&str> = accepted.filter_map(|server| failure_domain(server, label)).collect();
    let domain = |name: &str| FailureDomain {
        name: name.to_owned(),
        control_plane: Some(true),
        ..FailureDomain::default()
    };
    names.into_iter().take(MOST_FAILURE_DOMAINS as usize).map(domain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::ServerSpec;

    fn server(accepted: bool, labels: &[(&str, &str)]) -> Server {
        let mut server = Server::new("a", ServerSpec { accepted, ..ServerSpec::default() });
        server.metadata.labels =
            Some(labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect());
        server
    }

    #[test]
    fn each_value_of_the_label_on_an_accepted_server_is_one() {
        let servers = [
            server(true, &[("rack", "b")]),
            server(true, &[("rack", "a"), ("room", "z")]),
            server(true, &[("rack", "b")]),
            server(true, &[("rack", "")]),
            server(false, &[("rack", "c")]),
            server(true, &[]),
        ];
        let names = |label: &str| -> Vec<String> {
            failure_domains(&servers, label).into_iter().map(|domain| domain.name).collect()
        };
        assert_eq!(names("rack"), ["a", "b"]);
        assert_eq!(names("room"), ["z"]);
        assert_eq!((names("none").len(), names("").len()), (0, 0));
        let many: Vec<_> = (0..200).map(|n| server(true, &[("rack", &format!("r{n}"))])).collect();
        assert_eq!(failure_domains(&many, "rack").len(), 100);
    }
}

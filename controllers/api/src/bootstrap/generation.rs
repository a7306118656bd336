//! What a configuration is made from: a TalosConfig, its owner and its Cluster, as one request to Talos's library.
//!
//! What cannot be made whatever the library says is refused here, before any Secret is written.

use std::borrow::Cow;

use super::owner::Owner;
use super::secrets::data_secret_name;
use crate::contract::{Cluster, NetworkRanges};
use crate::patch::ConfigPatch;
use crate::talos_config::{HOSTNAME_SOURCES, TalosConfig};

/// A control plane node.
pub const CONTROL_PLANE: &str = "controlplane";
/// The first control plane node, in old releases.
pub const INIT: &str = "init";
/// A worker.
pub const WORKER: &str = "worker";
/// The configuration is in the spec.
pub const NONE: &str = "none";
/// A worker, in old releases.
const JOIN: &str = "join";

/// What is to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Task<'a> {
    /// Name of the Secret that it goes into.
    pub data_secret: String,
    /// What it is made from.
    pub source: Source<'a>,
    /// RFC 6902 operations, all at once, before the others.
    pub config_patches: &'a [ConfigPatch],
    /// Strategic merge patches, in this order.
    pub strategic_patches: &'a [String],
    /// Whether a line that names Talos stands before it.
    pub has_talos_line: bool,
}

/// What a configuration is made from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source<'a> {
    /// The user wrote it.
    Given(&'a str),
    /// It is generated.
    Generated(Generated<'a>),
}

/// A configuration to be generated. What is empty or absent is left to the library.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated<'a> {
    /// `init`, `controlplane` or `worker`.
    pub machine_type: &'static str,
    /// Host of the control plane's endpoint.
    pub host: &'a str,
    /// Port of the control plane's endpoint.
    pub port: u16,
    /// Version of Kubernetes.
    pub kubernetes_version: &'a str,
    /// Version of Talos.
    pub talos_version: &'a str,
    /// Domain of services.
    pub dns_domain: &'a str,
    /// In place of the default; an empty list is one.
    pub pod_subnets: Option<&'a [String]>,
    /// In place of the default; an empty list is one.
    pub service_subnets: Option<&'a [String]>,
    /// A static host name. An empty one is what upstream makes of a source that it does not know.
    pub hostname: Option<Cow<'a, str>>,
}

/// Whether client configurations of the Talos API follow from it.
pub fn is_control_plane(generate_type: &str) -> bool {
    [CONTROL_PLANE, INIT].contains(&generate_type)
}

/// What is to be made, or why it cannot be.
pub fn task<'a>(config: &'a TalosConfig, owner: Owner<'a>, cluster: &'a Cluster) -> Result<Task<'a>, String> {
    let spec = &config.spec;
    let source = match spec.generate_type.as_str() {
        NONE if spec.data.is_empty() => {
            return Err("failed to specify config data with none generate type".to_owned());
        }
        NONE => Source::Given(&spec.data),
        CONTROL_PLANE => Source::Generated(generated(CONTROL_PLANE, config, owner, cluster)?),
        INIT => Source::Generated(generated(INIT, config, owner, cluster)?),
        WORKER | JOIN | "" => Source::Generated(generated(WORKER, config, owner, cluster)?),
        other => return Err(format!("unknown generate type specified: {other:?}")),
    };
    Ok(Task {
        data_secret: data_secret_name(owner.name()),
        source,
        config_patches: &spec.config_patches,
        strategic_patches: &spec.strategic_patches,
        has_talos_line: owner.wants_talos_line(),
    })
}

fn generated<'a>(
    machine_type: &'static str,
    config: &'a TalosConfig,
    owner: Owner<'a>,
    cluster: &'a Cluster,
) -> Result<Generated<'a>, String> {
    let talos_version = config.spec.talos_version.as_str();
    if !talos_version.is_empty() && !is_version(talos_version) {
        let version = talos_version.trim_start_matches('v');
        return Err(format!("invalid talos-version: error parsing version \"v{version}\""));
    }
    let endpoint = cluster.spec.control_plane_endpoint.as_ref();
    let port = endpoint.map_or(0, |endpoint| endpoint.port);
    let port = u16::try_from(port).map_err(|_| format!("the port of the control plane, {port}, is none"))?;
    let network = cluster.spec.cluster_network.as_ref();
    let blocks = |ranges: &'a NetworkRanges| ranges.cidr_blocks.as_slice();
    Ok(Generated {
        machine_type,
        host: endpoint.map_or("", |endpoint| &endpoint.host),
        port,
        kubernetes_version: &owner.machine().version,
        talos_version,
        dns_domain: network.map_or("", |network| &network.service_domain),
        pod_subnets: network.and_then(|network| network.pods.as_ref()).map(blocks),
        service_subnets: network.and_then(|network| network.services.as_ref()).map(blocks),
        hostname: hostname(&config.spec.hostname.source, owner),
    })
}

/// Machines of a pool have names of their own, which nobody here knows.
fn hostname<'a>(source: &str, owner: Owner<'a>) -> Option<Cow<'a, str>> {
    let Owner::Machine(_) = owner else { return None };
    let [machine, infrastructure] = HOSTNAME_SOURCES;
    match source {
        "" => None,
        _ if source == machine => Some(owner.name().into()),
        _ if source == infrastructure => {
            Some(owner.infrastructure().map_or("", |reference| reference.name.as_str()).into())
        }
        _ => Some("".into()),
    }
}

/// Major and minor version, with or without `v` and whatever follows a second dot.
fn is_version(text: &str) -> bool {
    let mut parts = text.strip_prefix('v').unwrap_or(text).splitn(3, '.');
    let is_number = |part: Option<&str>| {
        part.is_some_and(|part| !part.is_empty() && part.bytes().all(|octet| octet.is_ascii_digit()))
    };
    is_number(parts.next()) && is_number(parts.next())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::bootstrap::fixtures::{cluster, config, machine, pool};

    fn usual() -> Generated<'static> {
        Generated {
            machine_type: CONTROL_PLANE,
            host: "10.77.0.50",
            port: 6443,
            kubernetes_version: "v1.34.2",
            talos_version: "v1.13",
            dns_domain: "",
            pod_subnets: None,
            service_subnets: None,
            hostname: None,
        }
    }

    fn spec(spec: Value) -> Value {
        json!({ "spec": spec })
    }

    fn none() -> Value {
        json!({})
    }

    /// Changes of TalosConfig, Machine and Cluster, and what is generated.
    type Cases<'a> = Vec<(&'a str, Value, Value, Value, Generated<'a>)>;

    /// What the library makes of it is the business of the tests of `bloomery-talosconfig`, where the tables `OTHERWISE` and
    /// `AS_LATER_RELEASES` name the defects of upstream's that it does not share (A15, A16, A29).
    fn check(cases: Cases<'_>) {
        for (name, of_config, of_machine, of_cluster, expected) in cases {
            let (config, machine, cluster) = (config(of_config), machine(of_machine), cluster(of_cluster));
            let made = task(&config, Owner::Machine(&machine), &cluster).unwrap();
            assert_eq!(made.source, Source::Generated(expected), "{name}");
            assert_eq!((made.data_secret.as_str(), made.has_talos_line), ("held-cp-0-bootstrap-data", false));
        }
    }

    /// provider-cases.md A5-A8.
    #[test]
    fn networks_and_endpoint_are_the_clusters() {
        let lists = |pods: &[&str], services: &[&str]| {
            spec(
                json!({ "clusterNetwork": { "pods": { "cidrBlocks": pods }, "services": { "cidrBlocks": services },
                "serviceDomain": "mycluster.local" } }),
            )
        };
        let (pods, services) = (
            ["10.0.0.0/16".to_owned(), "fdbb:bbbb:cccc:15::/64".to_owned()],
            ["192.168.0.0/16".to_owned(), "fdaa:bbbb:cccc:15::/64".to_owned()],
        );
        let at =
            |host: &str, port: u16| spec(json!({ "controlPlaneEndpoint": { "host": host, "port": port } }));
        let both =
            lists(&["10.0.0.0/16", "fdbb:bbbb:cccc:15::/64"], &["192.168.0.0/16", "fdaa:bbbb:cccc:15::/64"]);
        let dns_domain = "mycluster.local";
        let (of_pods, of_services) = (Some(pods.as_slice()), Some(services.as_slice()));
        let named = Generated { dns_domain, pod_subnets: of_pods, service_subnets: of_services, ..usual() };
        let empty = Generated { dns_domain, pod_subnets: Some(&[]), service_subnets: Some(&[]), ..usual() };
        let nowhere = json!({ "spec": { "controlPlaneEndpoint": null } });
        check(vec![
            ("as it is", none(), none(), none(), usual()),
            ("networks", none(), none(), both, named),
            ("empty networks", none(), none(), lists(&[], &[]), empty),
            ("IPv6", none(), none(), at("fd00::50", 6443), Generated { host: "fd00::50", ..usual() }),
            ("no endpoint", none(), none(), nowhere, Generated { host: "", port: 0, ..usual() }),
        ]);
    }

    /// provider-cases.md A9, A11-A19.
    #[test]
    fn type_versions_and_host_name_are_those_of_config_and_machine() {
        let of_type = |type_: &str| spec(json!({ "generateType": type_ }));
        let source = |source: &str| spec(json!({ "hostname": { "source": source } }));
        let typed = |machine_type| Generated { machine_type, ..usual() };
        let called = |name: &'static str| Generated { hostname: Some(name.into()), ..usual() };
        let no_talos = (spec(json!({ "talosVersion": null })), Generated { talos_version: "", ..usual() });
        let no_kubernetes =
            (spec(json!({ "version": null })), Generated { kubernetes_version: "", ..usual() });
        check(vec![
            ("init", of_type("init"), none(), none(), typed(INIT)),
            ("worker", of_type("worker"), none(), none(), typed(WORKER)),
            ("join", of_type("join"), none(), none(), typed(WORKER)),
            ("no type", of_type(""), none(), none(), typed(WORKER)),
            ("no version of Kubernetes", none(), no_kubernetes.0, none(), no_kubernetes.1),
            ("no version of Talos", no_talos.0, none(), none(), no_talos.1),
            ("name of the Machine", source("MachineName"), none(), none(), called("held-cp-0")),
            ("name of the infrastructure", source("InfrastructureName"), none(), none(), called("metal-abc")),
            ("another source", source("Other"), none(), none(), called("")),
        ]);
    }

    #[test]
    fn a_pool_has_no_host_name_and_packet_wants_a_line() {
        let (config, cluster) =
            (config(json!({ "spec": { "hostname": { "source": "MachineName" } } })), cluster(json!({})));
        let packet = json!({ "spec": { "template": { "spec": { "infrastructureRef": { "kind": "PacketMachinePool" } } } } });
        for (change, has_line) in [(packet, true), (json!({}), false)] {
            let pool = pool(change);
            let made = task(&config, Owner::Pool(&pool), &cluster).unwrap();
            assert_eq!(made.source, Source::Generated(usual()));
            assert_eq!(
                (made.data_secret.as_str(), made.has_talos_line),
                ("held-pool-bootstrap-data", has_line)
            );
        }
        let machine = machine(json!({ "spec": { "infrastructureRef": { "kind": "PacketMachine" } } }));
        assert!(task(&config, Owner::Machine(&machine), &cluster).unwrap().has_talos_line);
    }

    /// provider-cases.md A10, A11, A27, A28.
    #[test]
    fn what_cannot_be_made_is_refused_in_upstreams_words() {
        let unknown = |type_: &str| format!("unknown generate type specified: \"{type_}\"");
        let version = |text: &str| format!("invalid talos-version: error parsing version \"v{text}\"");
        for (change, expected) in [
            (json!({ "generateType": "foo" }), unknown("foo")),
            (json!({ "generateType": "Worker" }), unknown("Worker")),
            (
                json!({ "generateType": "none" }),
                "failed to specify config data with none generate type".to_owned(),
            ),
            (json!({ "talosVersion": "bad" }), version("bad")),
            (json!({ "talosVersion": "v1" }), version("1")),
            (json!({ "talosVersion": "1.x" }), version("1.x")),
            (json!({ "talosVersion": "1.13-rc.1" }), version("1.13-rc.1")),
            (json!({ "talosVersion": "v1." }), version("1.")),
        ] {
            let (config, machine, cluster) =
                (config(json!({ "spec": change })), machine(json!({})), cluster(json!({})));
            assert_eq!(task(&config, Owner::Machine(&machine), &cluster).unwrap_err(), expected);
        }
        for good in ["v1.13", "1.13", "v1.13.2", "v1.99", "v0.13", "v1.12.0-alpha.0", "v1.12.0-beta.0"] {
            assert!(is_version(good), "{good}");
        }
        let given =
            config(json!({ "spec": { "generateType": "none", "data": "a: b", "talosVersion": "bad" } }));
        let (machine, cluster) = (machine(json!({})), cluster(json!({})));
        assert_eq!(task(&given, Owner::Machine(&machine), &cluster).unwrap().source, Source::Given("a: b"));
        let far = config(json!({}));
        let strange = crate::bootstrap::fixtures::cluster(
            json!({ "spec": { "controlPlaneEndpoint": { "port": 70_000 } } }),
        );
        assert!(task(&far, Owner::Machine(&machine), &strange).unwrap_err().contains("70000"));
    }
}

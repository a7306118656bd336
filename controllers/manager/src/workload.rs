//! Clients of workload clusters, by the kubeconfig that Cluster API knows them by.
//!
//! Never follows a kubeconfig out of itself: it names no programs to run, no files and no proxies.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bloomery_api::controlplane::seen::SeenNode;
use k8s_openapi::api::core::v1::{Node, Secret};
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Api, Client, Config, ResourceExt};
use parking_lot::Mutex;

/// End of the name of the Secret with a cluster's kubeconfig.
pub const KUBECONFIG: &str = "-kubeconfig";
/// Its key.
pub const KUBECONFIG_KEY: &str = "value";
/// For a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// For a whole answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Label of the nodes of control planes.
const CONTROL_PLANE_NODES: &str = "node-role.kubernetes.io/control-plane";
/// Nodes of a control plane that are listed at most.
const MOST_NODES: u32 = 100;

/// Why a workload cluster does not answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to get the kubeconfig")]
    Read(#[source] Box<kube::Error>),
    #[error("there is no kubeconfig yet")]
    Absent,
    #[error("failed to read the kubeconfig")]
    Invalid(#[source] Box<KubeconfigError>),
    #[error("the kubeconfig names {0}, which is not followed")]
    Refused(&'static str),
    #[error("failed to make a client of the cluster")]
    Client(#[source] Box<kube::Error>),
    #[error("failed to {operation} of the cluster")]
    Call { operation: &'static str, source: Box<kube::Error> },
    #[error("failed to {operation} of the cluster within {} s", limit.as_secs())]
    Late { operation: &'static str, limit: Duration },
}

/// The clients. One is made anew when its kubeconfig changes.
#[derive(Default)]
pub struct Workloads {
    known: Mutex<HashMap<(String, String), (String, Client)>>,
}

/// One workload cluster.
#[derive(Clone)]
pub struct Workload {
    client: Client,
}

impl Workloads {
    /// The workload cluster of a Cluster.
    pub async fn cluster(
        &self,
        management: &Client,
        namespace: &str,
        cluster: &str,
    ) -> Result<Workload, Error> {
        let key = (namespace.to_owned(), cluster.to_owned());
        let secrets: Api<Secret> = Api::namespaced(management.clone(), namespace);
        let secret = secrets.get_opt(&format!("{cluster}{KUBECONFIG}")).await;
        let Some(secret) = secret.map_err(|source| Error::Read(Box::new(source)))? else {
            self.known.lock().remove(&key);
            return Err(Error::Absent);
        };
        let version = format!("{:?} {:?}", secret.metadata.uid, secret.metadata.resource_version);
        if let Some((known, client)) = self.known.lock().get(&key)
            && *known == version
        {
            return Ok(Workload { client: client.clone() });
        }
        let text = secret.data.as_ref().and_then(|data| data.get(KUBECONFIG_KEY)).ok_or(Error::Absent)?;
        let client = connect(&String::from_utf8_lossy(&text.0)).await?;
        self.known.lock().insert(key, (version, client.clone()));
        Ok(Workload { client })
    }

    /// Forgets a cluster that is gone.
    pub fn forget(&self, namespace: &str, cluster: &str) {
        self.known.lock().remove(&(namespace.to_owned(), cluster.to_owned()));
    }
}

async fn connect(text: &str) -> Result<Client, Error> {
    let invalid = |source| Error::Invalid(Box::new(source));
    let kubeconfig = Kubeconfig::from_yaml(text).map_err(invalid)?;
    if let Some(what) = leads_out(&kubeconfig) {
        return Err(Error::Refused(what));
    }
    let mut config =
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(invalid)?;
    (config.connect_timeout, config.read_timeout) = (Some(CONNECT_WITHIN), Some(ANSWER_WITHIN));
    config.write_timeout = Some(ANSWER_WITHIN);
    // That of this process is for the management cluster.
    config.proxy_url = None;
    Client::try_from(config).map_err(|source| Error::Client(Box::new(source)))
}

/// What would have this process run a program, read a file or call something that is not the cluster.
fn leads_out(kubeconfig: &Kubeconfig) -> Option<&'static str> {
    for user in kubeconfig.auth_infos.iter().filter_map(|named| named.auth_info.as_ref()) {
        let files = [&user.client_certificate, &user.client_key, &user.token_file];
        if user.exec.is_some() || user.auth_provider.is_some() {
            return Some("a program to run");
        } else if files.into_iter().any(Option::is_some) {
            return Some("a file");
        }
    }
    let mut clusters = kubeconfig.clusters.iter().filter_map(|named| named.cluster.as_ref());
    clusters.find_map(|cluster| {
        if cluster.certificate_authority.is_some() {
            Some("a file")
        } else if cluster.proxy_url.is_some() {
            Some("a proxy")
        } else {
            None
        }
    })
}

impl Workload {
    /// The client, for calls that are bounded by [`Workload::bounded`].
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// One call and its whole answer.
    pub async fn bounded<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(ANSWER_WITHIN, call).await {
            Ok(result) => result.map_err(|source| Error::Call { operation, source: Box::new(source) }),
            Err(_) => Err(Error::Late { operation, limit: ANSWER_WITHIN }),
        }
    }

    /// The control plane nodes, by name.
    pub async fn control_plane_nodes(&self) -> Result<BTreeMap<String, SeenNode>, Error> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let params = ListParams::default().labels(CONTROL_PLANE_NODES).limit(MOST_NODES);
        let list = self.bounded("list the nodes", nodes.list(&params)).await?;
        Ok(list
            .items
            .into_iter()
            .map(|node| (node.name_any(), SeenNode { is_ready: is_ready(&node) }))
            .collect())
    }
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_kubeconfig_leads_nowhere_but_to_its_cluster() {
        for (cluster, user, refused) in [
            (
                "",
                "exec: {command: sh, apiVersion: client.authentication.k8s.io/v1}",
                Some("a program to run"),
            ),
            ("", "auth-provider: {name: x, config: {}}", Some("a program to run")),
            ("", "client-key: /etc/passwd", Some("a file")),
            ("", "tokenFile: /etc/passwd", Some("a file")),
            ("certificate-authority: /etc/passwd", "token: a", Some("a file")),
            ("proxy-url: 'http://169.254.169.254'", "token: a", Some("a proxy")),
            ("", "token: a", None),
        ] {
            let text = format!(
                "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
                 clusters:\n- name: c\n  cluster:\n    server: https://127.0.0.1:1\n    {cluster}\n\
                 users:\n- name: c\n  user:\n    {user}\n\
                 contexts:\n- name: c\n  context: {{cluster: c, user: c}}\n"
            );
            let found = leads_out(&Kubeconfig::from_yaml(&text).unwrap());
            assert_eq!(found, refused, "{cluster} {user}");
        }
    }
}

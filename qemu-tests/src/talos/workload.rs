//! A workload cluster as a user of its Kubernetes API sees it.

use super::ctl::Talosctl;
use crate::{eventually, forward::Forward, plane, state::LabDir};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Node, Pod, Secret},
};
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};
use serde_json::json;
use std::{collections::BTreeSet, net::SocketAddr, path::Path, sync::Arc, time::Duration};

/// The lab's file with the kubeconfig of the cluster, good on this host while the lab runs.
pub const WORKLOAD_FILE: &str = "workload.kubeconfig";
/// A page of the web server of [`Workload::run_toolbox`].
pub const PAGE: &str = "hello";
/// Its port.
pub const PAGE_PORT: u16 = 8080;

/// A reachable workload cluster.
pub struct Workload {
    /// An administrator's client.
    pub client: Client,
    _forward: Forward,
}

impl Workload {
    /// Takes the kubeconfig from the control plane at `address` by talosctl and waits until its API is ready.
    ///
    /// # Errors
    /// It is not in time.
    pub async fn by_talosctl(
        dir: &Arc<LabDir>,
        ctl: &Talosctl,
        folder: &Path,
        endpoint: SocketAddr,
        limit: Duration,
    ) -> Result<Self> {
        let file = folder.join("kubeconfig.node");
        let path = file.display().to_string();
        let std::net::IpAddr::V4(address) = endpoint.ip() else {
            anyhow::bail!("failed to reach {endpoint}: the lab has no such addresses");
        };
        eventually!("the cluster's kubeconfig", limit, None, async {
            ctl.run(address, &["kubeconfig", "--force", &path]).await.map(Some)
        })?;
        let text = std::fs::read_to_string(&file).context("failed to read the kubeconfig")?;
        Self::reach(dir, &text, endpoint, &folder.join(WORKLOAD_FILE), limit).await
    }

    /// Takes the kubeconfig that the plane keeps for the cluster `name` and waits until its API is ready.
    ///
    /// # Errors
    /// It is not in time.
    pub async fn of_plane(
        dir: &Arc<LabDir>,
        plane: &Client,
        name: &str,
        endpoint: SocketAddr,
        limit: Duration,
    ) -> Result<Self> {
        let text = secret(plane, &format!("{name}-kubeconfig"), "value", limit).await?;
        Self::reach(dir, &text, endpoint, &dir.path(WORKLOAD_FILE), limit).await
    }

    async fn reach(
        dir: &Arc<LabDir>,
        text: &str,
        endpoint: SocketAddr,
        file: &Path,
        limit: Duration,
    ) -> Result<Self> {
        let forward = Forward::to(dir, endpoint).await?;
        let own = format!("https://{endpoint}");
        ensure!(text.contains(&own), "the kubeconfig does not name {own}");
        let text = text.replace(&own, &format!("https://{}", forward.local));
        plane::save(&text, file)?;
        let client = plane::client(&text).await?;
        eventually!("the workload's API is ready", limit, None, async {
            let request = http::Request::get("/readyz").body(Vec::new())?;
            client.request_text(request).await.map(Some).map_err(anyhow::Error::from)
        })?;
        Ok(Self { client, _forward: forward })
    }

    /// Waits until exactly `count` nodes are there and Ready; `show` is told of each.
    ///
    /// # Errors
    /// They are not in time.
    pub async fn nodes_ready(
        &self,
        count: usize,
        limit: Duration,
        mut show: impl FnMut(&str),
    ) -> Result<Vec<Node>> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let mut seen = BTreeSet::new();
        let all = eventually!(format!("{count} nodes are Ready"), limit, None, async {
            let all = nodes.list(&ListParams::default()).await?.items;
            let ready =
                all.iter().filter(|node| is_ready(node)).filter_map(|node| node.metadata.name.clone());
            for name in ready {
                if seen.insert(name.clone()) {
                    show(&name);
                }
            }
            let states: Vec<_> = all.iter().map(|node| (&node.metadata.name, is_ready(node))).collect();
            ensure!(states.len() == count && states.iter().all(|(_, ready)| *ready), "{states:?}");
            Ok(Some(all))
        })?;
        Ok(all)
    }

    /// All nodes.
    ///
    /// # Errors
    /// The API does not answer.
    pub async fn nodes(&self) -> Result<Vec<Node>> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        nodes.list(&ListParams::default()).await.map(|list| list.items).context("failed to list nodes")
    }

    /// When the node's kubelet renewed its lease.
    ///
    /// # Errors
    /// It has none yet, or the API does not answer.
    pub async fn lease(&self, node: &str) -> Result<String> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), "kube-node-lease");
        let renewed = leases.get(node).await?.spec.and_then(|spec| spec.renew_time);
        let renewed = renewed.with_context(|| format!("{node} has not renewed its lease"))?;
        serde_json::to_string(&renewed).context("failed to write a time")
    }

    /// Runs a web server from `image` and gives its address.
    ///
    /// # Errors
    /// It does not run in time.
    pub async fn run_toolbox(&self, name: &str, image: &str, limit: Duration) -> Result<String> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), "default");
        let script = format!(
            "busybox mkdir /www; echo {PAGE} > /www/index.html; exec httpd -f -p {PAGE_PORT} -h /www"
        );
        let pod = serde_json::from_value(json!({
            "metadata": { "name": name },
            "spec": {
                "containers": [{ "name": "web", "image": image, "command": ["/bin/sh", "-c", script] }],
                "terminationGracePeriodSeconds": 1,
            },
        }));
        let pod = pod.context("failed to describe a pod")?;
        // The service account of a young cluster takes a moment.
        eventually!("the pod is taken", limit, None, async {
            match pods.create(&PostParams::default(), &pod).await {
                Ok(_) => Ok(Some(())),
                Err(kube::Error::Api(status)) if status.code == 409 => Ok(Some(())),
                Err(error) => Err(error),
            }
        })?;
        let address = eventually!(format!("the pod {name} runs"), limit, None, async {
            let status = pods.get(name).await?.status.unwrap_or_default();
            let waits = status.container_statuses.unwrap_or_default();
            let waits: Vec<_> = waits.into_iter().filter_map(|state| state.state?.waiting).collect();
            ensure!(status.phase.as_deref() == Some("Running"), "{:?} {waits:?}", status.phase);
            Ok(status.pod_ip)
        })?;
        Ok(address)
    }
}

/// One field of a Secret that the plane keeps in the namespace `default`, once it is there.
///
/// # Errors
/// It is not in time.
pub async fn secret(plane: &Client, name: &str, field: &str, limit: Duration) -> Result<String> {
    let secrets: Api<Secret> = Api::default_namespaced(plane.clone());
    let value = eventually!(format!("the Secret {name}"), limit, None, async {
        let found = secrets.get(name).await?;
        Ok::<_, kube::Error>(found.data.and_then(|mut data| data.remove(field)))
    })?;
    String::from_utf8(value.0).with_context(|| format!("failed to read the Secret {name}: it is no text"))
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
}

//! A workload cluster as seen by a user of its Kubernetes API.

use anyhow::{Context, Result, ensure};
use bloomery_lab::{eventually, forward::Forward, plane, state::LabDir, talos::ctl::Talosctl};
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Node, Pod},
};
use kube::{Api, Client, api::PostParams};
use serde_json::json;
use std::{collections::BTreeSet, net::Ipv4Addr, path::Path, sync::Arc, time::Duration};

/// A reachable workload cluster.
pub(super) struct Workload {
    client: Client,
    _forward: Forward,
}

impl Workload {
    /// Takes the kubeconfig from the control plane at `address` and waits until its API is ready.
    pub(super) async fn reach(
        dir: &Arc<LabDir>,
        ctl: &Talosctl,
        folder: &Path,
        address: Ipv4Addr,
        limit: Duration,
    ) -> Result<Self> {
        let file = folder.join("kubeconfig").display().to_string();
        eventually!("the cluster's kubeconfig", limit, None, async {
            ctl.run(address, &["kubeconfig", "--force", &file]).await.map(Some)
        })?;
        let text = std::fs::read_to_string(&file).context("failed to read the kubeconfig")?;
        let forward = Forward::to(dir, (address, 6443).into()).await?;
        let own = format!("https://{address}:6443");
        ensure!(text.contains(&own), "the kubeconfig does not name {own}");
        let client = plane::client(&text.replace(&own, &format!("https://{}", forward.local))).await?;
        eventually!("the workload's API is ready", limit, None, async {
            let request = http::Request::get("/readyz").body(Vec::new())?;
            client.request_text(request).await.map(Some).map_err(anyhow::Error::from)
        })?;
        Ok(Self { client, _forward: forward })
    }

    /// Waits until `count` nodes are Ready; `show` is told of each.
    pub(super) async fn nodes_ready(
        &self,
        count: usize,
        limit: Duration,
        show: impl Fn(&str),
    ) -> Result<Vec<Node>> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let mut seen = BTreeSet::new();
        eventually!(format!("{count} nodes are Ready"), limit, None, async {
            let all = nodes.list(&Default::default()).await?.items;
            let ready =
                all.iter().filter(|node| is_ready(node)).filter_map(|node| node.metadata.name.clone());
            for name in ready {
                if seen.insert(name.clone()) {
                    show(&name);
                }
            }
            let conditions: Vec<_> = all.iter().map(|node| (&node.metadata.name, is_ready(node))).collect();
            ensure!(
                conditions.len() == count && conditions.iter().all(|(_, ready)| *ready),
                "{conditions:?}"
            );
            Ok(Some(all))
        })
        .map_err(Into::into)
    }

    /// When the last of `count` nodes renewed its lease.
    pub(super) async fn lease(&self, count: usize) -> Result<String> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), "kube-node-lease");
        let all = leases.list(&Default::default()).await?.items;
        ensure!(all.len() == count, "{} leases", all.len());
        let times = all.into_iter().filter_map(|lease| lease.spec?.renew_time);
        let oldest = times.map(|time| serde_json::to_string(&time).unwrap_or_default()).min();
        oldest.context("no lease was renewed")
    }

    /// Runs a web server from the toolbox image on a worker and gives its address.
    pub(super) async fn run_toolbox(&self, name: &str, image: &str, limit: Duration) -> Result<String> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), "default");
        let script = "busybox mkdir /www; echo hello > /www/index.html; exec httpd -f -p 8080 -h /www";
        let pod = serde_json::from_value(json!({
            "metadata": { "name": name },
            "spec": {
                "containers": [{ "name": "web", "image": image, "command": ["/bin/sh", "-c", script] }],
                "nodeSelector": { "kubernetes.io/os": "linux" },
                "terminationGracePeriodSeconds": 1,
            },
        }))?;
        eventually!("the pod is taken", limit, None, async {
            match pods.create(&PostParams::default(), &pod).await {
                Ok(_) => Ok(Some(())),
                Err(kube::Error::Api(status)) if status.code == 409 => Ok(Some(())),
                Err(error) => Err(error),
            }
        })?;
        eventually!(format!("the pod {name} runs"), limit, None, async {
            let status = pods.get(name).await?.status.unwrap_or_default();
            let running = status.phase.as_deref() == Some("Running");
            let waits = status.container_statuses.unwrap_or_default();
            let waits: Vec<_> = waits.into_iter().filter_map(|state| state.state?.waiting).collect();
            ensure!(running, "{:?} {waits:?}", status.phase);
            Ok(status.pod_ip)
        })
        .map_err(Into::into)
    }
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
}

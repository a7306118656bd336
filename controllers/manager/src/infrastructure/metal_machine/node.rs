//! Gives the node of a machine the provider ID by which Cluster API finds it: the kubelet of a Talos node sets none.

use bloomery_api::MetalMachine;
use bloomery_api::condition::{self, ConditionStatus};
use bloomery_api::infrastructure::machine_status::PROVIDER_SET;
use bloomery_api::infrastructure::verdict::Verdict;
use bloomery_api::metal_machine::provider_id;
use bloomery_platform::chain;
use k8s_openapi::api::core::v1::Node;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tracing::{debug, info};

use super::Scene;
use super::view::Known;
use crate::workload::Error;

/// Label of nodes with the name of their Server.
const SERVER_LABEL: &str = "metal.sidero.dev/uuid";
/// Reason of the condition while the node has none; upstream's.
const FAILED: &str = "ProviderUpdateFailed";

/// Why a node has no provider ID.
enum Missing {
    /// The cluster says so.
    Node(&'static str),
    /// The cluster did not answer.
    Unknown(Error),
}

impl Scene<'_> {
    /// Whether the node of a Server has its provider ID. `None` while there is no cluster to ask, or where a cluster that
    /// said so once does not answer.
    pub(super) async fn keep_provider_id(
        &self,
        machine: &MetalMachine,
        known: &Known,
        server: &str,
    ) -> Option<Verdict> {
        let cluster = known.cluster.as_ref().filter(|cluster| cluster.has_control_plane())?;
        let namespace = cluster.metadata.namespace.as_deref();
        let conditions = machine.status.as_ref().map_or(&[][..], |status| &status.conditions);
        let is_set = condition::find(conditions, PROVIDER_SET)
            .is_some_and(|known| known.status == ConditionStatus::True);
        match self.set_provider_id(namespace, &cluster.name_any(), server).await {
            Ok(()) => Some(Verdict::holds("ProviderSet")),
            Err(Missing::Unknown(error)) if is_set => {
                debug!(server, error = chain(&error), "the node's provider ID was not looked at");
                None
            }
            Err(Missing::Unknown(error)) => Some(Verdict::warns(FAILED, chain(&error))),
            Err(Missing::Node(why)) => Some(Verdict::warns(FAILED, why)),
        }
    }

    async fn set_provider_id(
        &self,
        namespace: Option<&str>,
        cluster: &str,
        server: &str,
    ) -> Result<(), Missing> {
        let (workloads, management) = (&self.shared.workloads, &self.shared.frame.client);
        let workload = workloads
            .cluster(management, namespace.unwrap_or_default(), cluster)
            .await
            .map_err(Missing::Unknown)?;
        let nodes: Api<Node> = Api::all(workload.client().clone());
        let params = ListParams::default().labels(&format!("{SERVER_LABEL}={server}")).limit(2);
        let found =
            workload.bounded("list the nodes", nodes.list(&params)).await.map_err(Missing::Unknown)?;
        let node = match &found.items[..] {
            [node] => node,
            [] => return Err(Missing::Node("no matching nodes found")),
            [_, _, ..] => return Err(Missing::Node("multiple nodes found with same uuid label")),
        };
        let wanted = provider_id(server);
        if node.spec.as_ref().and_then(|spec| spec.provider_id.as_deref()) == Some(wanted.as_str()) {
            return Ok(());
        }
        let name = node.name_any();
        let change = json!({ "metadata": { "uid": node.metadata.uid }, "spec": { "providerID": wanted } });
        let (change, params) = (Patch::Merge(change), PatchParams::default());
        let patch = nodes.patch(&name, &params, &change);
        workload.bounded("set the provider ID of a node", patch).await.map_err(Missing::Unknown)?;
        info!(node = name, server, "provider ID of the node set");
        Ok(())
    }
}

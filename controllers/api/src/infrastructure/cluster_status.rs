//! A MetalCluster's status. Its infrastructure is an endpoint that the user supplies: it is ready once it has an owner.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::verdict::{NOT_PAUSED, Verdict, set_standard};
use crate::condition::ConditionStatus;
use crate::contract::{FailureDomain, PAUSED, READY};
use crate::metal_cluster::{MetalCluster, MetalClusterStatus};

/// The status to write of a cluster that is not paused.
pub fn cluster_status(cluster: &MetalCluster, domains: Vec<FailureDomain>, now: &Time) -> MetalClusterStatus {
    let mut status = cluster.status.clone().unwrap_or_default();
    let generation = cluster.metadata.generation;
    status.ready = true;
    status.initialization.provisioned = Some(true);
    status.failure_domains = domains;
    let MetalClusterStatus { conditions, v1beta2, .. } = &mut status;
    Verdict::holds("Provisioned").set(READY, conditions, &mut v1beta2.conditions, generation, now);
    let paused = (NOT_PAUSED, "");
    set_standard(&mut v1beta2.conditions, PAUSED, ConditionStatus::False, paused, generation, now);
    status
}

/// The status to write of one that is paused: all stays, but for that.
pub fn paused_status(cluster: &MetalCluster, now: &Time) -> MetalClusterStatus {
    let mut status = cluster.status.clone().unwrap_or_default();
    let conditions = &mut status.v1beta2.conditions;
    let generation = cluster.metadata.generation;
    set_standard(conditions, PAUSED, ConditionStatus::True, ("Paused", ""), generation, now);
    status
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::metal_cluster::MetalClusterSpec;

    #[test]
    fn ready_by_both_contracts_and_at_rest_nothing_changes() {
        let at = |second| serde_json::from_value(json!(format!("2026-01-01T00:00:0{second}Z"))).unwrap();
        let mut cluster = MetalCluster::new("c", MetalClusterSpec::default());
        let domain =
            FailureDomain { name: "r1".to_owned(), control_plane: Some(true), ..FailureDomain::default() };
        let status = cluster_status(&cluster, vec![domain.clone()], &at(1));
        let value = serde_json::to_value(&status).unwrap();
        assert_eq!((&value["ready"], &value["initialization"]["provisioned"]), (&json!(true), &json!(true)));
        assert_eq!(value["failureDomains"], json!([{ "name": "r1", "controlPlane": true }]));
        cluster.status = Some(status.clone());
        assert_eq!(cluster_status(&cluster, vec![domain], &at(2)), status);
        let paused = paused_status(&cluster, &at(3));
        assert!(paused.ready && paused.conditions == status.conditions);
        cluster.status = Some(paused.clone());
        assert_eq!(paused_status(&cluster, &at(4)), paused);
    }
}

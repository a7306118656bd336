//! The provider IDs of nodes, by which Cluster API finds them, against a real API server that is the workload's, too.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bloomery_api::contract::Cluster;
use bloomery_api::{MetalMachine, ServerBinding, condition};
use k8s_openapi::api::core::v1::{Node, Secret};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::config::Kubeconfig;
use serde_json::json;

use super::metal_machines::{VIP, class, clean, name_of, of_class, start, until_machine, until_ready};
use crate::support::bench::Bench;
use crate::support::cluster_api::{cluster, machine, namespaced, provisioned};

/// A kubeconfig of the test's API server with everything in it, or of a port where nobody listens.
fn workload(bench: &Bench, answers: bool) -> String {
    let mut config = Kubeconfig::read_from(bench.plane.kubeconfig("workload", &["system:masters"])).unwrap();
    let read = |path: Option<String>| STANDARD.encode(std::fs::read(path.unwrap()).unwrap());
    let cluster = config.clusters[0].cluster.as_mut().unwrap();
    cluster.certificate_authority_data = Some(read(cluster.certificate_authority.take()));
    if !answers {
        cluster.server = Some("https://127.0.0.1:1".to_owned());
    }
    let user = config.auth_infos[0].auth_info.as_mut().unwrap();
    user.client_certificate_data = Some(read(user.client_certificate.take()));
    user.client_key_data = Some(read(user.client_key.take()).into());
    serde_norway::to_string(&config).unwrap()
}

async fn announce(bench: &Bench, server: &str, address: &str) {
    let said = Patch::Merge(json!({ "spec": { "addresses": [address] } }));
    bench.all::<ServerBinding>().patch(server, &PatchParams::default(), &said).await.unwrap();
    until_machine(bench, "m", "the address", |machine| {
        machine
            .status
            .as_ref()
            .is_some_and(|status| status.addresses.first().is_some_and(|first| first.address == address))
    })
    .await;
}

fn provider(machine: &MetalMachine) -> String {
    let conditions = machine.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let known = condition::find(conditions, "ProviderSet");
    known.map_or_else(String::new, |known| format!("{} {}", known.status.as_str(), known.message))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_gets_its_provider_id_and_a_cluster_that_does_not_answer_takes_nothing_back() {
    let (bench, _controllers) = start().await;
    let server = name_of(1);
    class(&bench, "small", &["r1"]).await;
    clean(&bench, &server, "r1").await;
    cluster(&bench, VIP).await;
    provisioned(&bench).await;
    machine(&bench, "m", of_class("small"), Some("data")).await;
    until_ready(&bench, "m", "True").await;

    let node = json!({ "metadata": { "name": "node", "labels": { "metal.sidero.dev/uuid": server } } });
    let nodes: Api<Node> = bench.all();
    nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
    let secret = json!({ "metadata": { "name": "c-kubeconfig" }, "type": "cluster.x-k8s.io/secret",
        "stringData": { "value": workload(&bench, true) } });
    let secrets = namespaced::<Secret>(&bench);
    secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    let status = json!({ "status": { "initialization": { "controlPlaneInitialized": true } } });
    let clusters = namespaced::<Cluster>(&bench);
    clusters.patch_status("c", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    until_machine(&bench, "m", "its node has the ID", |machine| provider(machine) == "True ").await;
    let id = nodes.get("node").await.unwrap().spec.unwrap().provider_id;
    assert_eq!(id, Some(format!("sidero://{server}")));

    // Nobody knows of the node now: what was said stays. Where the cluster says that it is gone, that is said.
    let reach = async |answers: bool| {
        let change = Patch::Merge(json!({ "stringData": { "value": workload(&bench, answers) } }));
        secrets.patch("c-kubeconfig", &PatchParams::default(), &change).await.unwrap();
    };
    reach(false).await;
    announce(&bench, &server, "10.0.0.7").await;
    let machines = namespaced::<MetalMachine>(&bench);
    assert_eq!(provider(&machines.get("m").await.unwrap()), "True ");
    nodes.delete("node", &DeleteParams::default()).await.unwrap();
    reach(true).await;
    announce(&bench, &server, "10.0.0.8").await;
    until_machine(&bench, "m", "its node is gone", |machine| {
        provider(machine) == "False no matching nodes found"
    })
    .await;
}

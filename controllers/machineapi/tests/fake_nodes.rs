//! The client against nodes that speak the machine API by mutual TLS.

#![allow(missing_docs, clippy::unwrap_used, reason = "a failed expectation ends a test")]

use std::time::{Duration, Instant};

use bloomery_machineapi::{Bootstrapped, Cause, Credentials, Error, Limits, Node, connect};
use bloomery_testkit::talos::{Call, TalosCluster, TalosNode};
use tonic::Code;

fn credentials(cluster: &TalosCluster) -> Credentials {
    Credentials::from_talosconfig(&cluster.talosconfig("c")).unwrap()
}

async fn reach(cluster: &TalosCluster, node: &TalosNode) -> Node {
    let addresses = [node.address.clone()];
    connect(&credentials(cluster), &node.hostname, &addresses, Limits::default()).await.unwrap()
}

#[tokio::test]
async fn a_cluster_is_bootstrapped_once_and_its_members_are_seen() {
    let cluster = TalosCluster::default();
    let node = cluster.boot("n1").await;
    let client = reach(&cluster, &node).await;
    assert_eq!(client.version().await.unwrap(), "v1.13.9");
    assert!(!client.has_etcd_data().await.unwrap());
    assert_eq!(client.members().await.unwrap_err().cause(), Cause::Unreachable);
    for (code, cause) in [(Code::FailedPrecondition, Cause::NotYet), (Code::InvalidArgument, Cause::Never)] {
        node.refuse_bootstrap(Some(code));
        assert_eq!(client.bootstrap().await.unwrap_err().cause(), cause);
    }
    node.refuse_bootstrap(None);
    assert_eq!(client.bootstrap().await.unwrap(), Bootstrapped::Begun);
    assert_eq!(client.bootstrap().await.unwrap(), Bootstrapped::Before);
    assert!(client.has_etcd_data().await.unwrap());
    let etcd = client.services().await.unwrap().into_iter().find(|service| service.id == "etcd").unwrap();
    assert_eq!((etcd.last_event.as_str(), etcd.healthy), ("Running", Some(true)));
    let members = client.members().await.unwrap();
    assert_eq!((members.len(), members[0].hostname.as_str(), members[0].is_learner), (1, "n1", false));
    assert_eq!(client.own_member().await.unwrap(), members[0].id);
    assert!(cluster.faults().is_empty());
}

#[tokio::test]
async fn members_join_leave_and_are_removed() {
    let cluster = TalosCluster::default();
    let (one, two) = (cluster.boot("n1").await, cluster.boot("n2").await);
    let client = reach(&cluster, &one).await;
    client.bootstrap().await.unwrap();
    cluster.settle();
    assert!(client.members().await.unwrap()[1].hostname.is_empty(), "a member that joins has no name");
    cluster.settle();
    cluster.settle();
    assert!(two.votes());
    let other = reach(&cluster, &two).await;
    other.forfeit_leadership().await.unwrap();
    other.leave_etcd().await.unwrap();
    let etcd = other.services().await.unwrap().into_iter().find(|service| service.id == "etcd").unwrap();
    assert_eq!(etcd.state, "Finished");
    let stray = cluster.add_stray_member("gone");
    // Two voters of which one is lost agree on nothing.
    assert_eq!(client.remove_member(stray).await.unwrap_err().cause(), Cause::Unreachable);
    assert!(cluster.calls().contains(&Call {
        node: "n1".into(),
        name: "EtcdRemoveMemberByID",
        member: stray
    }));
}

#[tokio::test]
async fn a_call_that_is_passed_on_names_its_nodes() {
    let cluster = TalosCluster::default();
    let node = cluster.boot("n1").await;
    let client = reach(&cluster, &node).await.passing_on_to(vec!["10.0.0.1".into(), "10.0.0.2".into()]);
    assert!(!client.has_etcd_data().await.unwrap());
    assert!(!client.services().await.unwrap().is_empty());
}

#[tokio::test]
async fn booting_ends_with_the_sequence() {
    let cluster = TalosCluster::default();
    let node = cluster.boot("n1").await;
    let client = reach(&cluster, &node).await;
    node.set_booting(true);
    assert!(client.is_booting().await.unwrap());
    node.set_booting(false);
    let started = Instant::now();
    assert!(!client.is_booting().await.unwrap());
    assert!(started.elapsed() < Duration::from_secs(4), "the end of the stream is not waited for");
}

#[tokio::test]
async fn the_first_address_that_proves_to_be_the_node_is_used() {
    let (cluster, other) = (TalosCluster::default(), TalosCluster::default());
    let (node, foreign) = (cluster.boot("n1").await, other.boot("x1").await);
    let limits = Limits { connect: Duration::from_secs(1), ..Limits::default() };
    let addresses = ["127.0.0.1:1".to_owned(), foreign.address.clone(), node.address.clone()];
    let found = connect(&credentials(&cluster), "n1", &addresses, limits).await.unwrap();
    assert_eq!(found.address(), node.address);
    // A name that is not in the certificate, and a client of another authority.
    let port = node.address.rsplit_once(':').unwrap().1;
    for (credentials, address) in
        [(credentials(&cluster), format!("localhost:{port}")), (credentials(&other), node.address.clone())]
    {
        let result = connect(&credentials, "n1", &[address], limits).await;
        // TLS 1.3 tells a client late that its certificate was refused: with the first call.
        let error = match result {
            Ok(client) => client.version().await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.cause(), Cause::Unreachable, "{error}");
    }
    let error = connect(&credentials(&cluster), "n1", &[], limits).await.unwrap_err();
    assert!(matches!(error, Error::NoAddress { .. }), "{error}");
    assert_eq!(error.to_string(), "no addresses were found for node \"n1\"");
}

#[tokio::test]
async fn a_silent_address_costs_no_more_than_its_limit() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let cluster = TalosCluster::default();
    let limits = Limits { connect: Duration::from_millis(300), ..Limits::default() };
    let started = Instant::now();
    let error = connect(&credentials(&cluster), "n1", &[address], limits).await.unwrap_err();
    assert_eq!(error.cause(), Cause::Unreachable);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

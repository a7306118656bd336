//! What nodes are asked by their Talos API, and what their answers mean here.

use bloomery_api::controlplane::bootstrap::Data;
use bloomery_api::controlplane::seen::{EtcdMember, NodeService, SeenMachine, Talos};
use bloomery_machineapi::{Credentials, Error, Limits, Member, Node, Service, connect};
use bloomery_platform::chain;

/// Why a node is not asked for the members of etcd.
const NO_ETCD: &str = "etcd does not run";

/// How the nodes of one cluster are reached, or why they are not.
pub(super) type Access = Result<Credentials, String>;

/// Connects to a machine's node.
pub(super) async fn reach(access: &Access, seen: &SeenMachine) -> Result<Node, String> {
    let credentials = access.as_ref().map_err(Clone::clone)?;
    connect(credentials, seen.name(), &seen.addresses(), Limits::default())
        .await
        .map_err(|error| text(&error))
}

/// Asks a machine's node for its services, and for etcd's members unless the services say that etcd does not run: Talos lets
/// the caller wait for etcd to the end of its patience, and before bootstrap that is always.
pub(super) async fn ask(access: &Access, seen: &SeenMachine) -> Talos {
    let node = match reach(access, seen).await {
        Ok(node) => node,
        Err(why) => return Talos::silent(&why),
    };
    let told = |error: Error| text(&error);
    let services: Result<Vec<_>, _> =
        node.services().await.map(|all| all.into_iter().map(service).collect()).map_err(told);
    let talos = Talos { services, members: Err(NO_ETCD.to_owned()), own_member: None };
    if talos.services.is_ok() && talos.etcd().is_none_or(|etcd| etcd.state != NodeService::RUNNING) {
        return talos;
    }
    let (members, own) = futures::join!(node.members(), node.own_member());
    Talos {
        members: members.map(|all| all.into_iter().map(member).collect()).map_err(told),
        own_member: own.ok(),
        ..talos
    }
}

/// Asks a machine's node whether it has the data of an etcd.
pub(super) async fn data(access: &Access, seen: &SeenMachine) -> Data {
    let node = match reach(access, seen).await {
        Ok(node) => node,
        Err(why) => return Data::Unknown(why),
    };
    match node.has_etcd_data().await {
        Ok(true) => Data::Some,
        Ok(false) => Data::None,
        Err(error) => Data::Unknown(text(&error)),
    }
}

/// An error as conditions have it.
pub(super) fn text(error: &Error) -> String {
    chain(error)
}

fn service(service: Service) -> NodeService {
    let Service { id, state, last_event, healthy, message } = service;
    let state = if last_event.is_empty() { state } else { last_event };
    NodeService { id, state, healthy, message }
}

fn member(member: Member) -> EtcdMember {
    let Member { id, hostname, is_learner } = member;
    EtcdMember { id, hostname, is_learner }
}

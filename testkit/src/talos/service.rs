//! The machine API of one node.

use std::pin::Pin;
use std::sync::Arc;

use bloomery_machineapi::proto::common::Metadata;
use bloomery_machineapi::proto::machine::machine_service_server::MachineService;
use bloomery_machineapi::proto::machine::sequence_event::Action;
use bloomery_machineapi::proto::machine::{
    Bootstrap, BootstrapRequest, BootstrapResponse, EtcdForfeitLeadership, EtcdForfeitLeadershipRequest,
    EtcdForfeitLeadershipResponse, EtcdLeaveCluster, EtcdLeaveClusterRequest, EtcdLeaveClusterResponse,
    EtcdMember, EtcdMemberListRequest, EtcdMemberListResponse, EtcdMemberStatus, EtcdMembers,
    EtcdRemoveMemberById, EtcdRemoveMemberByIdRequest, EtcdRemoveMemberByIdResponse, EtcdStatus,
    EtcdStatusResponse, Event, EventsRequest, FileInfo, ListRequest, SequenceEvent, ServiceEvent,
    ServiceEvents, ServiceHealth, ServiceInfo, ServiceList, ServiceListResponse, Version, VersionInfo,
    VersionResponse,
};
use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use prost::Message;
use tonic::{Request, Response, Status};

use super::table::{Etcd, Node, Table};

pub(super) struct Service {
    pub(super) table: Arc<Mutex<Table>>,
    pub(super) hostname: String,
}

type Answer<T> = Result<Response<T>, Status>;
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Service {
    /// What apid adds to answers of calls that it passes on: here always to itself.
    fn metadata<T>(&self, request: &Request<T>) -> Option<Metadata> {
        let is_passed_on = request.metadata().contains_key("nodes");
        is_passed_on.then(|| Metadata { hostname: self.hostname.clone(), ..Metadata::default() })
    }

    fn look<T>(&self, look: impl FnOnce(&Node) -> T) -> Result<T, Status> {
        self.table.lock().known(&self.hostname).map(look)
    }

    fn act<T>(&self, act: impl FnOnce(&mut Table) -> Result<T, Status>) -> Result<T, Status> {
        let mut table = self.table.lock();
        table.known(&self.hostname)?;
        act(&mut table)
    }
}

#[tonic::async_trait]
impl MachineService for Service {
    type EventsStream = Answers<Event>;
    type ListStream = Answers<FileInfo>;

    async fn bootstrap(&self, request: Request<BootstrapRequest>) -> Answer<BootstrapResponse> {
        self.act(|table| table.bootstrap(&self.hostname))?;
        let messages = vec![Bootstrap { metadata: self.metadata(&request) }];
        Ok(Response::new(BootstrapResponse { messages }))
    }

    async fn list(&self, request: Request<ListRequest>) -> Answer<Self::ListStream> {
        assert_eq!(request.get_ref().root, "/var/lib/etcd/member");
        let has_data = self.look(|node| node.has_data)?;
        let metadata = self.metadata(&request);
        let file = if has_data {
            FileInfo { metadata, name: "member".to_owned(), is_dir: true, ..FileInfo::default() }
        } else {
            let error = "lstat /var/lib/etcd/member: no such file or directory".to_owned();
            let metadata = Some(Metadata { error, ..metadata.unwrap_or_default() });
            FileInfo { metadata, ..FileInfo::default() }
        };
        Ok(Response::new(Box::pin(futures::stream::iter([Ok(file)]))))
    }

    async fn service_list(&self, request: Request<()>) -> Answer<ServiceListResponse> {
        let (etcd, is_sick) = self.look(|node| (node.etcd, node.is_sick))?;
        let (state, healthy) = match etcd {
            Etcd::Waiting => ("Preparing", None),
            Etcd::Running => ("Running", Some(!is_sick)),
            Etcd::Finished => ("Finished", None),
        };
        let service = |id: &str, state: &str, healthy: Option<bool>| {
            let event = ServiceEvent { state: state.to_owned(), ..ServiceEvent::default() };
            let health = ServiceHealth {
                unknown: healthy.is_none(),
                healthy: healthy.unwrap_or_default(),
                ..ServiceHealth::default()
            };
            ServiceInfo {
                id: id.to_owned(),
                state: state.to_owned(),
                events: Some(ServiceEvents { events: vec![event] }),
                health: Some(health),
            }
        };
        let services = vec![service("apid", "Running", Some(true)), service("etcd", state, healthy)];
        let messages = vec![ServiceList { metadata: self.metadata(&request), services }];
        Ok(Response::new(ServiceListResponse { messages }))
    }

    async fn etcd_member_list(
        &self,
        request: Request<EtcdMemberListRequest>,
    ) -> Answer<EtcdMemberListResponse> {
        let members = self.act(|table| {
            if table.known(&self.hostname)?.etcd != Etcd::Running {
                return Err(Status::unavailable("etcd is not running"));
            }
            table.agree()?;
            Ok(table.members())
        })?;
        let members = members.into_iter().map(|member| EtcdMember {
            id: member.id,
            hostname: member.hostname,
            is_learner: member.is_learner,
            ..EtcdMember::default()
        });
        let message = EtcdMembers {
            metadata: self.metadata(&request),
            members: members.collect(),
            ..EtcdMembers::default()
        };
        Ok(Response::new(EtcdMemberListResponse { messages: vec![message] }))
    }

    async fn etcd_remove_member_by_id(
        &self,
        request: Request<EtcdRemoveMemberByIdRequest>,
    ) -> Answer<EtcdRemoveMemberByIdResponse> {
        self.act(|table| table.remove(&self.hostname, request.get_ref().member_id))?;
        let messages = vec![EtcdRemoveMemberById { metadata: self.metadata(&request) }];
        Ok(Response::new(EtcdRemoveMemberByIdResponse { messages }))
    }

    async fn etcd_leave_cluster(
        &self,
        request: Request<EtcdLeaveClusterRequest>,
    ) -> Answer<EtcdLeaveClusterResponse> {
        self.act(|table| table.leave(&self.hostname))?;
        let messages = vec![EtcdLeaveCluster { metadata: self.metadata(&request) }];
        Ok(Response::new(EtcdLeaveClusterResponse { messages }))
    }

    async fn etcd_forfeit_leadership(
        &self,
        request: Request<EtcdForfeitLeadershipRequest>,
    ) -> Answer<EtcdForfeitLeadershipResponse> {
        self.act(|table| {
            table.record(&self.hostname, "EtcdForfeitLeadership", 0);
            table.agree()
        })?;
        let metadata = self.metadata(&request);
        let messages = vec![EtcdForfeitLeadership { metadata, ..EtcdForfeitLeadership::default() }];
        Ok(Response::new(EtcdForfeitLeadershipResponse { messages }))
    }

    async fn etcd_status(&self, request: Request<()>) -> Answer<EtcdStatusResponse> {
        let member_id = self.act(|table| {
            table.own_member(&self.hostname).ok_or_else(|| Status::unavailable("etcd is not running"))
        })?;
        let member_status = Some(EtcdMemberStatus { member_id, ..EtcdMemberStatus::default() });
        let messages = vec![EtcdStatus { metadata: self.metadata(&request), member_status }];
        Ok(Response::new(EtcdStatusResponse { messages }))
    }

    async fn events(&self, _: Request<EventsRequest>) -> Answer<Self::EventsStream> {
        let is_booting = self.look(|node| node.is_booting)?;
        let event = |action: Action| {
            let sequence = SequenceEvent { sequence: "boot".to_owned(), action: action.into(), error: None };
            let data = prost_types::Any {
                type_url: "talos/runtime/machine.SequenceEvent".to_owned(),
                value: sequence.encode_to_vec(),
            };
            Event { data: Some(data), ..Event::default() }
        };
        let mut events = vec![Event::default(), event(Action::Start)];
        if !is_booting {
            events.push(event(Action::Stop));
        }
        let events = futures::stream::iter(events.into_iter().map(Ok)).chain(futures::stream::pending());
        Ok(Response::new(Box::pin(events)))
    }

    async fn version(&self, request: Request<()>) -> Answer<VersionResponse> {
        self.look(|_| ())?;
        let version = VersionInfo { tag: "v1.13.9".to_owned(), ..VersionInfo::default() };
        let message =
            Version { metadata: self.metadata(&request), version: Some(version), ..Version::default() };
        Ok(Response::new(VersionResponse { messages: vec![message] }))
    }
}

//! The calls to one node.

use std::future::Future;
use std::time::Duration;

use prost::Message;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::answer::{Member, Service};
use crate::error::{Cause, Error};
use crate::limits::Limits;
use crate::proto::common::Metadata;
use crate::proto::machine::machine_service_client::MachineServiceClient;
use crate::proto::machine::sequence_event::Action;
use crate::proto::machine::{
    BootstrapRequest, EtcdForfeitLeadershipRequest, EtcdLeaveClusterRequest, EtcdMemberListRequest,
    EtcdRemoveMemberByIdRequest, Event, EventsRequest, FileInfo, ListRequest, SequenceEvent,
};

/// Octets of a message at most.
const LONGEST_MESSAGE: usize = 32 << 20;
/// What etcd has on a node that is or was a member.
const ETCD_DATA: &str = "/var/lib/etcd/member";
/// Metadata that names the nodes which a call is passed on to.
const NODES: &str = "nodes";
/// Sequence that a node goes through when it starts.
const BOOT: &str = "boot";

/// What became of a bootstrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bootstrapped {
    /// The node makes a new etcd.
    Begun,
    /// The node has the data of an etcd already.
    Before,
}

/// A connection to one node. Clones share it.
#[derive(Clone, Debug)]
pub struct Node {
    client: MachineServiceClient<Channel>,
    address: String,
    limits: Limits,
    nodes: Vec<String>,
}

impl Node {
    pub(crate) fn new(channel: Channel, address: String, limits: Limits) -> Self {
        let client = MachineServiceClient::new(channel).max_decoding_message_size(LONGEST_MESSAGE);
        Self { client, address, limits, nodes: Vec::new() }
    }

    /// The same connection, by which the node passes calls on to these nodes.
    #[must_use]
    pub fn passing_on_to(mut self, nodes: Vec<String>) -> Self {
        self.nodes = nodes;
        self
    }

    /// The address that answered.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Services and their health.
    pub async fn services(&self) -> Result<Vec<Service>, Error> {
        let (operation, mut client) = ("list the services", self.client.clone());
        let answer = self.unary(operation, client.service_list(self.request(()))).await?;
        let lists = self.heard(operation, answer.messages, |one| one.metadata.as_ref())?;
        Ok(lists.into_iter().flat_map(|list| list.services).map(Service::from).collect())
    }

    /// Members of etcd, as the node's own member knows them.
    pub async fn members(&self) -> Result<Vec<Member>, Error> {
        let (operation, mut client) = ("list the members of etcd", self.client.clone());
        let request = self.request(EtcdMemberListRequest::default());
        let answer = self.unary(operation, client.etcd_member_list(request)).await?;
        // What other nodes say may differ: nothing is mixed.
        let lists = self.heard(operation, answer.messages, |one| one.metadata.as_ref())?;
        let first = lists.into_iter().next().unwrap_or_default();
        Ok(first.members.into_iter().map(Member::from).collect())
    }

    /// Number of the node's own member, whatever its name: an address may have gone to another node.
    pub async fn own_member(&self) -> Result<u64, Error> {
        let (operation, mut client) = ("ask for the state of etcd", self.client.clone());
        let answer = self.unary(operation, client.etcd_status(self.request(()))).await?;
        let states = self.heard(operation, answer.messages, |one| one.metadata.as_ref())?;
        let first = states.into_iter().next().and_then(|one| one.member_status);
        first.map(|state| state.member_id).ok_or_else(|| self.empty(operation))
    }

    /// Removes a member that has no node any more. One that is not there is removed.
    pub async fn remove_member(&self, member_id: u64) -> Result<(), Error> {
        let (operation, mut client) = ("remove a member of etcd", self.client.clone());
        let request = self.request(EtcdRemoveMemberByIdRequest { member_id });
        let result = self.unary(operation, client.etcd_remove_member_by_id(request)).await;
        let answer = match result {
            Err(error) if error.cause() == Cause::Absent => return Ok(()),
            result => result?,
        };
        self.heard(operation, answer.messages, |one| one.metadata.as_ref()).map(drop)
    }

    /// Gives the leadership of etcd away, if the node has it.
    pub async fn forfeit_leadership(&self) -> Result<(), Error> {
        let (operation, mut client) = ("give the leadership of etcd away", self.client.clone());
        let request = self.request(EtcdForfeitLeadershipRequest::default());
        let answer = self.unary(operation, client.etcd_forfeit_leadership(request)).await?;
        self.heard(operation, answer.messages, |one| one.metadata.as_ref()).map(drop)
    }

    /// The node's own member leaves etcd, and its data is wiped.
    pub async fn leave_etcd(&self) -> Result<(), Error> {
        let (operation, mut client) = ("leave etcd", self.client.clone());
        let call = client.etcd_leave_cluster(self.request(EtcdLeaveClusterRequest::default()));
        let answer = self.bounded(operation, self.limits.leave, call).await?.into_inner();
        self.heard(operation, answer.messages, |one| one.metadata.as_ref()).map(drop)
    }

    /// The node makes the cluster's etcd. That it has one is no failure.
    pub async fn bootstrap(&self) -> Result<Bootstrapped, Error> {
        let (operation, mut client) = ("bootstrap etcd", self.client.clone());
        let result = self.unary(operation, client.bootstrap(self.request(BootstrapRequest::default()))).await;
        let answer = match result {
            Err(error) if error.cause() == Cause::Done => return Ok(Bootstrapped::Before),
            result => result?,
        };
        self.heard(operation, answer.messages, |one| one.metadata.as_ref())?;
        Ok(Bootstrapped::Begun)
    }

    /// Whether the node, or one that it passes the call on to, has the data of an etcd.
    pub async fn has_etcd_data(&self) -> Result<bool, Error> {
        let (operation, mut client) = ("look for the data of etcd", self.client.clone());
        let request = self.request(ListRequest { root: ETCD_DATA.to_owned(), ..ListRequest::default() });
        let look = async {
            let mut files = match client.list(request).await {
                Ok(answer) => answer.into_inner(),
                // From 1.14 on the stream itself ends with it.
                Err(status) => return is_absent(&status).map(|()| false),
            };
            loop {
                match files.message().await {
                    Ok(Some(file)) => {
                        if is_there(&file)? {
                            return Ok(true);
                        }
                    }
                    Ok(None) => return Ok(false),
                    Err(status) => return is_absent(&status).map(|()| false),
                }
            }
        };
        self.bounded(operation, self.limits.ask, look).await
    }

    /// Whether the node is inside of its boot sequence.
    pub async fn is_booting(&self) -> Result<bool, Error> {
        let (operation, mut client) = ("read the events", self.client.clone());
        let request = self.request(EventsRequest { tail_events: -1, ..EventsRequest::default() });
        let mut events = self.bounded(operation, self.limits.ask, client.events(request)).await?.into_inner();
        let mut is_booting = false;
        let deadline = tokio::time::Instant::now() + self.limits.ask;
        // The stream never ends: those that the node remembers come at once, one after the other.
        while let Some(event) = self.next_event(operation, &mut events, deadline).await? {
            match action(&event) {
                Some(Action::Start) => is_booting = true,
                Some(Action::Stop) => is_booting = false,
                Some(Action::Noop) | None => {}
            }
        }
        Ok(is_booting)
    }

    async fn next_event(
        &self,
        operation: &'static str,
        events: &mut Streaming<Event>,
        deadline: tokio::time::Instant,
    ) -> Result<Option<Event>, Error> {
        let silence = (tokio::time::Instant::now() + self.limits.event).min(deadline);
        match tokio::time::timeout_at(silence, events.message()).await {
            Err(_) => Ok(None),
            Ok(Ok(event)) => Ok(event),
            Ok(Err(status)) => Err(self.refused(operation, &status)),
        }
    }

    /// Talos's release, such as `v1.13.9`.
    pub async fn version(&self) -> Result<String, Error> {
        let (operation, mut client) = ("ask for the version", self.client.clone());
        let answer = self.unary(operation, client.version(self.request(()))).await?;
        let versions = self.heard(operation, answer.messages, |one| one.metadata.as_ref())?;
        let first = versions.into_iter().next().and_then(|one| one.version);
        first.map(|version| version.tag).ok_or_else(|| self.empty(operation))
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        for node in &self.nodes {
            if let Ok(value) = MetadataValue::try_from(node.as_str()) {
                request.metadata_mut().append(NODES, value);
            }
        }
        request
    }

    async fn unary<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Error> {
        self.bounded(operation, self.limits.ask, call).await.map(Response::into_inner)
    }

    async fn bounded<T>(
        &self,
        operation: &'static str,
        limit: Duration,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(limit, call).await {
            Ok(result) => result.map_err(|status| self.refused(operation, &status)),
            Err(_) => Err(Error::TimedOut { operation, address: self.address.clone(), limit }),
        }
    }

    /// The messages of nodes that answered. One that did not is an error of the call.
    fn heard<T>(
        &self,
        operation: &'static str,
        messages: Vec<T>,
        metadata: impl Fn(&T) -> Option<&Metadata>,
    ) -> Result<Vec<T>, Error> {
        if messages.is_empty() {
            return Err(self.empty(operation));
        }
        match messages.iter().filter_map(&metadata).find_map(failure) {
            Some(status) => Err(self.refused(operation, &status)),
            None => Ok(messages),
        }
    }

    fn refused(&self, operation: &'static str, status: &Status) -> Error {
        let (address, message) = (self.address.clone(), status.message().to_owned());
        Error::Refused { operation, address, code: status.code(), message }
    }

    fn empty(&self, operation: &'static str) -> Error {
        Error::Empty { operation, address: self.address.clone() }
    }
}

/// What a node that a call was passed on to said in place of an answer.
fn failure(metadata: &Metadata) -> Option<Status> {
    if metadata.error.is_empty() {
        return None;
    }
    let code = metadata.status.as_ref().map_or(Code::Unknown, |status| Code::from_i32(status.code));
    Some(Status::new(code, format!("{}: {}", metadata.hostname, metadata.error)))
}

/// Whether a file of a list is there; an error that is not its absence leaves it open.
fn is_there(file: &FileInfo) -> Result<bool, Status> {
    match file.metadata.as_ref().and_then(failure) {
        None if file.error.is_empty() => Ok(true),
        None => is_absent(&Status::unknown(file.error.clone())).map(|()| false),
        Some(status) => is_absent(&status).map(|()| false),
    }
}

/// Talos gives no code for a file that is not there, in any release: the words of the system call tell.
fn is_absent(status: &Status) -> Result<(), Status> {
    let is_absent = status.code() == Code::NotFound || status.message().contains("no such file or directory");
    if is_absent { Ok(()) } else { Err(status.clone()) }
}

/// What an event says of the boot sequence.
fn action(event: &Event) -> Option<Action> {
    let data = event.data.as_ref()?;
    if !data.type_url.ends_with("/machine.SequenceEvent") {
        return None;
    }
    let sequence = SequenceEvent::decode(data.value.as_slice()).ok()?;
    (sequence.sequence == BOOT).then(|| sequence.action())
}

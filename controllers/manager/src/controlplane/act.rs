//! Takes machines and members of etcd away.

use bloomery_api::contract::Machine;
use bloomery_api::controlplane::members::{Holder, member_of};
use bloomery_api::controlplane::pass::Step;
use bloomery_api::controlplane::seen::{LEAVING_ANNOTATION, SeenMachine};
use bloomery_machineapi::Cause;
use bloomery_platform::events::Notice;
use bloomery_platform::patch::{self, Part};
use kube::ResourceExt;
use kube::api::{DeleteParams, PatchParams, Preconditions};
use serde_json::json;
use tracing::{info, warn};

use super::node;
use super::reconcile::Scene;
use crate::reconcile::Error;

impl Scene<'_> {
    /// One step of a removal.
    pub(super) async fn take_away(&self, step: &Step, machines: &[SeenMachine]) -> Result<(), Error> {
        let named = |name: &str| machines.iter().find(|seen| seen.name() == name);
        match step {
            Step::RemoveMember { member, hostname, through } => match named(through) {
                Some(speaker) => self.remove_member(*member, hostname, speaker).await,
                None => Ok(()),
            },
            Step::Mark(name) => match named(name) {
                Some(seen) => self.mark(seen, machines).await,
                None => Ok(()),
            },
            Step::Leave(name) => match named(name) {
                Some(seen) => self.leave(seen, machines).await,
                None => Ok(()),
            },
            Step::DeleteMachine(name) => match named(name) {
                Some(seen) => self.delete_machine(&seen.machine).await,
                None => Ok(()),
            },
            Step::Create | Step::Bootstrap | Step::Wait | Step::Steady => Ok(()),
        }
    }

    /// Takes a member out of etcd that no machine has.
    async fn remove_member(&self, member: u64, hostname: &str, speaker: &SeenMachine) -> Result<(), Error> {
        let access = self.access().await;
        let node = node::reach(&access, speaker).await.map_err(|why| self.failed(why))?;
        node.remove_member(member).await.map_err(|error| self.failed(node::text(&error)))?;
        let message =
            format!("member {member:x} ({hostname:?}), which has no machine, was taken out of etcd");
        info!(control_plane = %self.object(), member, hostname, "member of etcd removed");
        self.announce("EtcdMemberRemoved", "RemoveMember", message);
        Ok(())
    }

    /// Writes down that a machine leaves, once no node is inside of its boot sequence.
    async fn mark(&self, seen: &SeenMachine, machines: &[SeenMachine]) -> Result<(), Error> {
        let access = self.access().await;
        let others = machines.iter().filter(|other| other.name() != seen.name());
        let asked = others.map(async |other| {
            let node = node::reach(&access, other).await?;
            match node.is_booting().await {
                Ok(false) => Ok(()),
                Ok(true) => Err(format!("the node of Machine {} is booting", other.name())),
                Err(error) => Err(node::text(&error)),
            }
        });
        futures::future::try_join_all(asked).await.map_err(|why| self.failed(why))?;
        let change = json!({ "metadata": { "annotations": { LEAVING_ANNOTATION: "true" } } });
        let name = seen.name();
        // On the version that was read: it may have been changed into one that stays.
        patch::merge(&self.api::<Machine>(), &seen.machine, change, Part::Object, &PatchParams::default())
            .await
            .map_err(Error::api("patch", format!("Machine {}/{name}", self.namespace)))?;
        self.announce("ScalingDown", "ScaleDown", format!("Machine {name} leaves etcd and is deleted"));
        Ok(())
    }

    /// Has the member of a marked machine leave. One whose node or etcd does not answer is taken out by another.
    async fn leave(&self, seen: &SeenMachine, machines: &[SeenMachine]) -> Result<(), Error> {
        let access = self.access().await;
        let holders: Vec<Holder> = machines.iter().map(Holder::of).collect();
        let member = member_of(&holders, seen.name());
        let why = match node::reach(&access, seen).await {
            Ok(_) if !seen.talos.has_healthy_etcd() => "etcd is not healthy on its node".to_owned(),
            Ok(node) => {
                // An address may have gone to another node of the cluster, whose member stays.
                let own = node.own_member().await.map_err(|error| self.failed(node::text(&error)))?;
                if Some(own) != member {
                    let name = seen.name();
                    return Err(self
                        .failed(format!("the address of Machine {name} is that of member {own:x} of etcd")));
                }
                // Only a leader has a leadership to give away.
                if let Err(error) = node.forfeit_leadership().await {
                    warn!(
                        machine = seen.name(),
                        error = node::text(&error),
                        "leadership of etcd not given away"
                    );
                }
                match node.leave_etcd().await {
                    Ok(()) => {
                        info!(control_plane = %self.object(), machine = seen.name(), "member left etcd");
                        return Ok(());
                    }
                    Err(error) if error.cause() != Cause::Unreachable => {
                        return Err(self.failed(node::text(&error)));
                    }
                    Err(error) => node::text(&error),
                }
            }
            Err(why) => why,
        };
        warn!(
            machine = seen.name(),
            why, "the node does not answer: its member is taken out of etcd by another"
        );
        let is_able = |other: &&SeenMachine| {
            let is_other = other.name() != seen.name() && !other.is_deleting() && !other.is_leaving();
            is_other && other.talos.has_healthy_etcd() && other.talos.members.is_ok()
        };
        match (member, machines.iter().find(is_able)) {
            (Some(member), Some(speaker)) => self.remove_member(member, seen.name(), speaker).await,
            (Some(_) | None, _) => Err(self.failed(why)),
        }
    }

    /// Deletes this very Machine.
    pub(super) async fn delete_machine(&self, machine: &Machine) -> Result<(), Error> {
        let name = machine.name_any();
        let preconditions = Preconditions { uid: machine.metadata.uid.clone(), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match self.api::<Machine>().delete(&name, &params).await {
            Ok(_) => {
                info!(control_plane = %self.object(), machine = name, "machine deleted");
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
            Err(error) => Err(Error::api("delete", format!("Machine {}/{name}", self.namespace))(error)),
        }
    }

    pub(super) fn announce(&self, reason: &'static str, action: &'static str, message: String) {
        self.shared.frame.notify(&self.control_plane, Notice { warning: false, reason, action, message });
    }

    /// An error of a node: it is tried again.
    pub(super) fn failed(&self, problem: String) -> Error {
        Error::Node { object: self.object(), problem }
    }
}

//! Has one node make the cluster's etcd.

use bloomery_api::controlplane::bootstrap::{Data, ETCD_ANNOTATION, Plan, plan};
use bloomery_api::controlplane::seen::SeenMachine;
use bloomery_api::infrastructure::verdict::Verdict;
use bloomery_machineapi::{Bootstrapped, Cause};
use bloomery_platform::events::Notice;
use serde_json::json;
use tracing::info;

use super::node::{self, Access};
use super::reconcile::Scene;
use crate::reconcile::Error;

/// Reason of the condition `MachinesBootstrapped` while it waits; upstream's.
const WAITING: &str = "WaitingForTalosBoot";
/// Reason of one that will wait for ever.
const REFUSED: &str = "BootstrapRefused";

impl Scene<'_> {
    /// Whether etcd is made, by and by.
    pub(super) async fn bootstrap(&self, machines: &[SeenMachine]) -> Result<Verdict, Error> {
        let access = self.access().await;
        let asked = machines.iter().filter(|seen| !seen.addresses().is_empty());
        let asked = asked.map(async |seen| (seen.name().to_owned(), node::data(&access, seen).await));
        let found: Vec<(String, Data)> = futures::future::join_all(asked).await;
        match plan(&self.control_plane, machines, &found, self.cluster.has_control_plane()) {
            Plan::Done => Ok(Verdict::holds("Bootstrapped")),
            Plan::Wait(why) => Ok(Verdict::waits(WAITING, why)),
            Plan::Choose(machine) => {
                // On the version that was read: of two programs that choose at once one is refused.
                self.change(json!({ "metadata": { "annotations": { ETCD_ANNOTATION: machine } } })).await?;
                info!(control_plane = %self.object(), machine, "machine chosen to make etcd");
                Ok(Verdict::waits(WAITING, format!("Machine {machine} is about to make etcd")))
            }
            Plan::Tell(machine) => Ok(self.tell(&access, machines, &machine).await),
        }
    }

    async fn tell(&self, access: &Access, machines: &[SeenMachine], machine: &str) -> Verdict {
        let Some(seen) = machines.iter().find(|seen| seen.name() == machine) else {
            return Verdict::waits(WAITING, format!("Machine {machine} is gone"));
        };
        let node = match node::reach(access, seen).await {
            Ok(node) => node,
            Err(why) => return Verdict::waits(WAITING, format!("Machine {machine}: {why}")),
        };
        match node.bootstrap().await {
            Ok(Bootstrapped::Begun) => {
                info!(control_plane = %self.object(), machine, "etcd bootstrapped");
                let message = format!("Machine {machine} makes the cluster's etcd");
                let notice = Notice { warning: false, reason: "Bootstrapped", action: "Bootstrap", message };
                self.shared.frame.notify(&self.control_plane, notice);
                Verdict::holds("Bootstrapped")
            }
            Ok(Bootstrapped::Before) => Verdict::holds("Bootstrapped"),
            Err(error) => {
                let message = format!("Machine {machine}: {}", node::text(&error));
                match error.cause() {
                    // Its configuration has no authority for etcd, or this provider has no right to call it.
                    Cause::Never => Verdict::fails(REFUSED, message),
                    Cause::Unreachable | Cause::NotYet | Cause::Done | Cause::Absent | Cause::Failed => {
                        Verdict::waits(WAITING, message)
                    }
                }
            }
        }
    }
}

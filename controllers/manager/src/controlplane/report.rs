//! Writes what is said: the status, and the condition that Machines get from their control-plane provider.

use bloomery_api::TalosControlPlane;
use bloomery_api::contract::Machine;
use bloomery_api::controlplane::objects::upkeep;
use bloomery_api::controlplane::seen::SeenMachine;
use bloomery_api::controlplane::up_to_date;
use bloomery_api::talos_control_plane::TalosControlPlaneStatus;
use bloomery_platform::patch::{self, Part};
use kube::api::{Patch, PatchParams};
use kube::{Resource, ResourceExt};
use serde_json::json;

use super::reconcile::Scene;
use crate::reconcile::Error;
use crate::status_patch::status_patch;

/// Owner of the one condition of Machines that is written here: others write others.
const FIELD_MANAGER: &str = "bloomery-taloscontrolplane";

impl Scene<'_> {
    /// Writes the status if it changes. It is of the version that was read, whatever of the object was written meanwhile.
    pub(super) async fn write_status(&self, status: &TalosControlPlaneStatus) -> Result<(), Error> {
        let known = self.control_plane.status.as_ref();
        let Some(mut change) = status_patch(known, status) else { return Ok(()) };
        change["metadata"] = json!({ "uid": self.control_plane.metadata.uid });
        let api = self.api::<TalosControlPlane>();
        api.patch_status(&self.name(), &PatchParams::default(), &Patch::Merge(change))
            .await
            .map_err(Error::api("patch status of", self.object()))?;
        Ok(())
    }

    /// Brings Machines to their owner and to what follows the spec at once, and says whether they are up to date.
    pub(super) async fn keep_machines(&self, machines: &[SeenMachine]) -> Result<(), Error> {
        let cluster = self.cluster_name().unwrap_or_default();
        for seen in machines.iter().filter(|seen| !seen.is_deleting()) {
            let object = || format!("Machine {}/{}", self.namespace, seen.name());
            if let Some(change) = upkeep(&self.control_plane, cluster, &seen.machine) {
                let api = self.api::<Machine>();
                patch::merge(&api, &seen.machine, change, Part::Object, &PatchParams::default())
                    .await
                    .map_err(Error::api("patch", object()))?;
            }
            if let Some(condition) = up_to_date::condition(seen, &self.control_plane, &self.now) {
                let status = json!({
                    "apiVersion": Machine::api_version(&()),
                    "kind": Machine::kind(&()),
                    "metadata": { "name": seen.machine.name_any(), "uid": seen.machine.metadata.uid },
                    "status": { "conditions": [condition] },
                });
                let params = PatchParams::apply(FIELD_MANAGER).force();
                self.api::<Machine>()
                    .patch_status(seen.name(), &params, &Patch::Apply(status))
                    .await
                    .map_err(Error::api("patch status of", object()))?;
            }
        }
        Ok(())
    }
}

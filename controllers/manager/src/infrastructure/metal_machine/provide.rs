//! Writes what is to be said of a MetalMachine, and tells of what a person should hear.

use bloomery_api::condition::{self, Severity};
use bloomery_api::contract::READY;
use bloomery_api::infrastructure::machine_status::{Provided, machine_status};
use bloomery_api::infrastructure::verdict::Verdict;
use bloomery_api::metal_machine::provider_id;
use bloomery_api::{MetalMachine, ServerBinding};
use bloomery_platform::events::Notice;
use bloomery_platform::patch::{self, Part};
use kube::ResourceExt;
use kube::api::PatchParams;

use super::view::Known;
use super::{Scene, place_of};
use crate::reconcile::Error;
use crate::status_patch::status_patch;
use crate::table::key;

/// Reason of events on MetalMachines.
const REASON: &str = "Metal Machine";

impl Scene<'_> {
    /// Provider ID and status of a machine with a binding; returns what is said of its node.
    pub(super) async fn provide(
        &self,
        machine: &MetalMachine,
        known: &Known,
        binding: &ServerBinding,
        ready: &Verdict,
    ) -> Result<Option<Verdict>, Error> {
        let server = binding.name_any();
        let adopted;
        let machine = if machine.spec.provider_id == provider_id(&server) {
            machine
        } else {
            adopted = self.adopt(machine, &server).await?;
            &adopted
        };
        let provider = self.keep_provider_id(machine, known, &server).await;
        let report = Provided {
            binding,
            server: known.server.as_ref().map(|(server, _)| server),
            endpoint: known.endpoint(),
            domain_label: known.domain_label(),
            provider: provider.as_ref(),
        };
        self.say(machine, ready, false, Some(report)).await?;
        Ok(provider)
    }

    /// Writes the status if it changes.
    pub(super) async fn say(
        &self,
        machine: &MetalMachine,
        ready: &Verdict,
        is_paused: bool,
        provided: Option<Provided<'_>>,
    ) -> Result<(), Error> {
        let status = machine_status(machine, ready, is_paused, provided, &self.now);
        let Some(change) = status_patch(machine.status.as_ref(), &status) else { return Ok(()) };
        let (namespace, name) = place_of(&machine.metadata);
        let machines = self.shared.machines(&namespace);
        let patched = patch::merge(&machines, machine, change, Part::Status, &PatchParams::default())
            .await
            .map_err(Error::api("patch status of", format!("MetalMachine {namespace}/{name}")))?;
        self.shared.written.note(key(&patched), &patched.metadata);
        let before = machine.status.as_ref().map_or(&[][..], |status| &status.conditions);
        let known =
            condition::find(before, READY).map(|before| (before.reason.as_str(), before.message.as_str()));
        let is_news = known != Some((ready.reason.as_str(), ready.message.as_str()));
        let is_bad = matches!(ready.severity, Some(Severity::Warning | Severity::Error));
        if is_bad && is_news && !is_paused {
            let message = format!("{}: {}", ready.reason, ready.message);
            let notice = Notice { warning: true, reason: REASON, action: "Provide", message };
            self.shared.frame.notify(machine, notice);
        }
        Ok(())
    }
}

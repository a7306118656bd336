//! Before a machine is told to boot the node system, its boot is on record: the only one that may have its configuration.
//!
//! Never gives a node system whose boot could not be put on record: it would ask for its configuration in vain.

use bloomery_api::decision::boot::BootAnswer;

use super::claim::{self, refused};
use super::lookup::{Asking, Decided};
use crate::configuration::{self, Error};

/// Times it is decided anew because the binding was made anew meanwhile.
const ATTEMPTS: u32 = 4;

/// Decides what a machine boots; for the node system also the token of its boot.
pub async fn decide(asking: &Asking<'_>) -> (Decided, Option<String>) {
    let services = asking.services;
    for _ in 0..ATTEMPTS {
        let decided = claim::decide(asking).await;
        let BootAnswer::Environment { .. } = decided.decision.answer else { return (decided, None) };
        if !services.sidero.require_config_token {
            return (decided, None);
        }
        let (Some(client), Some(binding), Some(epoch)) =
            (services.kubernetes.client(), &decided.binding, asking.authority.epoch())
        else {
            return (refused("bound, but an object is missing"), None);
        };
        let card = asking.seen.card();
        match configuration::grant(&client, &services.tokens, binding, epoch, card).await {
            Ok(token) => return (decided, Some(token)),
            // It is another binding than the one that was decided on.
            Err(Error::Api { source, .. }) if is_change(&source) => {}
            Err(error) => {
                let server = binding.metadata.name.as_deref();
                tracing::warn!(server, error = bloomery_base::chain(&error), "boot not recorded");
                return (refused("failed to record the boot"), None);
            }
        }
    }
    (refused("the ServerBinding keeps changing: the boot is not on record"), None)
}

fn is_change(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_conflict() || status.is_not_found())
}

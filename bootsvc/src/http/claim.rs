//! Before a bound machine is given its node system, the claim on its disks is on record.
//!
//! What is given here is what makes a machine used. The controllers record a binding when they see it; here it is
//! made sure of, so that a binding that comes and goes while they are down leaves its trace all the same.
//! Never gives the node system on a claim that could not be written.

use bloomery_api::Server;
use bloomery_api::decision::boot::{BootAnswer, BootDecision};
use bloomery_api::decision::claim::{BootClaim, claim};
use bloomery_api::evidence::{CONFIRM_WIPE_ANNOTATION, DISKS_ANNOTATION, DiskRecord};
use bloomery_api::plane::Authority;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};

use super::lookup::{self, Asking, Decided};
use crate::kubernetes::Kubernetes;
use crate::writes::{self, Part, WriteError, Written};

/// Times it is decided anew because the Server changed before the claim was written.
const ATTEMPTS: u32 = 4;

enum Claimed {
    OnRecord,
    /// The Server is not any more what was decided on.
    Changed,
    /// It is not on record, and why.
    Refused(&'static str),
}

/// Decides what a machine boots, and sees to the claim on its disks.
pub async fn decide(asking: &Asking<'_>) -> Decided {
    for _ in 0..ATTEMPTS {
        let decided = lookup::decide(asking).await;
        let BootAnswer::Environment { .. } = decided.decision.answer else { return decided };
        match ensure(&asking.services.kubernetes, asking.authority, &decided).await {
            Claimed::OnRecord => return decided,
            Claimed::Changed => {}
            Claimed::Refused(why) => return refused(why),
        }
    }
    refused("the Server keeps changing: the claim on its disks is not on record")
}

pub(super) fn refused(why: &str) -> Decided {
    let decision = BootDecision { answer: BootAnswer::Unavailable, reason: why.to_owned() };
    Decided { decision, identity: None, environment: None, server: None, binding: None }
}

async fn ensure(kubernetes: &Kubernetes, authority: &Authority, decided: &Decided) -> Claimed {
    // Who is given an Environment has both.
    let (Some(server), Some(binding), Some(client)) =
        (&decided.server, &decided.binding, kubernetes.client())
    else {
        return Claimed::Refused("bound, but an object is missing");
    };
    match claim(server, binding, authority, &Time(Timestamp::now()), &bloomery_plane::digits()) {
        BootClaim::OnRecord => Claimed::OnRecord,
        BootClaim::Refuse(why) => Claimed::Refused(why),
        BootClaim::Write { record, remove_confirmation } => {
            write(&client, server, &record, remove_confirmation).await
        }
    }
}

async fn write(client: &Client, server: &Server, record: &DiskRecord, remove_confirmation: bool) -> Claimed {
    let name = server.metadata.name.as_deref().unwrap_or_default();
    let mut annotations = json!({ DISKS_ANNOTATION: record.to_annotation() });
    if remove_confirmation {
        annotations[CONFIRM_WIPE_ANNOTATION] = Value::Null;
    }
    let change = json!({ "metadata": { "annotations": annotations } });
    match writes::merge(client, server, change, Part::Object).await {
        Ok(Written::Done(_)) => {
            tracing::info!(
                server = name,
                binding = record.binding,
                "claim on the disks recorded before boot"
            );
            Claimed::OnRecord
        }
        Ok(Written::Changed) => Claimed::Changed,
        Err(WriteError::Api(error)) => {
            tracing::warn!(server = name, error = bloomery_base::chain(&error), "claim not recorded");
            Claimed::Refused("failed to record the claim on the disks")
        }
        Err(WriteError::Timeout) => Claimed::Refused("failed to record the claim on the disks in time"),
    }
}

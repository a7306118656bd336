//! The condition `UpToDate` of a Machine, which Cluster API leaves to the control-plane provider.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition as StandardCondition, Time};

use super::outdated;
use super::seen::SeenMachine;
use crate::condition::ConditionStatus;
use crate::infrastructure::verdict::set_standard;
use crate::talos_control_plane::TalosControlPlane;

/// Type of the condition.
pub const UP_TO_DATE: &str = "UpToDate";
/// Reason of a machine that is as the spec wants it; Cluster API's.
const YES: &str = "UpToDate";
/// Reason of one that is not; Cluster API's.
const NO: &str = "NotUpToDate";

/// The condition to write; `None` if the Machine says it already.
pub fn condition(
    seen: &SeenMachine,
    control_plane: &TalosControlPlane,
    now: &Time,
) -> Option<StandardCondition> {
    let reasons = outdated::reasons(seen, control_plane);
    let (status, reason) =
        if reasons.is_empty() { (ConditionStatus::True, YES) } else { (ConditionStatus::False, NO) };
    let message = reasons.iter().map(|reason| format!("* {reason}")).collect::<Vec<_>>().join("\n");
    let known = seen.machine.condition(UP_TO_DATE).cloned();
    let mut conditions: Vec<_> = known.iter().cloned().collect();
    let generation = seen.machine.metadata.generation;
    set_standard(&mut conditions, UP_TO_DATE, status, (reason, &message), generation, now);
    conditions.pop().filter(|condition| known.as_ref() != Some(condition))
}

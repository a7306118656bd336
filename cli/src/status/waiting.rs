//! What each machine waits for, and what a person should do: read from its conditions.
//!
//! Never decides anything: the controllers did, and wrote it down.

use bloomery_api::condition::{self, Condition, ConditionStatus};
use bloomery_api::decision::Standing;
use bloomery_api::decision::identity::IDENTITY_CONFLICT;
use bloomery_api::decision::status::READY;
use bloomery_api::server::{DISKS_WIPED, POWER_REACHABLE};
use bloomery_api::{ServerSpec, ServerStatus, Severity};

/// One machine's line in the table, and what is said below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Waiting {
    /// A few words for the table.
    pub(super) waits_for: String,
    /// Sentences that need a person, in order of urgency.
    pub(super) notes: Vec<String>,
}

/// Reads what a machine waits for.
pub(super) fn waiting(spec: &ServerSpec, status: &ServerStatus) -> Waiting {
    let failing = |type_: &str| {
        let found = condition::find(&status.conditions, type_);
        found.filter(|condition| condition.status == ConditionStatus::False)
    };
    let ready = condition::find(&status.conditions, READY);
    let reason = ready.map_or("", |condition| condition.reason.as_str());
    let standing = Standing::ALL.into_iter().find(|standing| standing.reason() == reason);
    let mut notes = Vec::new();
    let wiping = failing(DISKS_WIPED);
    let mut waits_for = match standing {
        Some(Standing::Discovered) => "acceptance".to_owned(),
        Some(Standing::Unconfirmed | Standing::Lost | Standing::Conflicted) => {
            "confirmation (see below)".to_owned()
        }
        Some(Standing::Dirty) => wipe_in_words(wiping),
        Some(Standing::Clean) => "a cluster".to_owned(),
        Some(Standing::Bound) => "its installation".to_owned(),
        Some(Standing::Installed) => "nothing".to_owned(),
        Some(Standing::Unregistered | Standing::BoundWithoutServer) | None if reason.is_empty() => {
            "the controllers".to_owned()
        }
        Some(Standing::Unregistered | Standing::BoundWithoutServer) | None => reason.to_owned(),
    };
    if let Some(condition) = failing(POWER_REACHABLE) {
        notes.push(format!("management controller: {}", condition.message));
        if standing == Some(Standing::Dirty) && wiping.is_none() {
            "its management controller".clone_into(&mut waits_for);
        }
    }
    notes.extend(wiping.filter(|condition| needs_a_person(condition)).map(|c| c.message.clone()));
    notes.extend(
        ready
            .filter(|condition| condition.status != ConditionStatus::True && needs_a_person(condition))
            .map(|condition| condition.message.clone()),
    );
    // The command that ends it stands in the message, and a machine that is in use shows it, too.
    let conflict = condition::find(&status.conditions, IDENTITY_CONFLICT);
    notes.extend(
        conflict.filter(|condition| condition.status == ConditionStatus::True).map(|c| c.message.clone()),
    );
    if spec.cordoned && standing == Some(Standing::Clean) {
        "being uncordoned".clone_into(&mut waits_for);
    }
    Waiting { waits_for, notes }
}

fn wipe_in_words(wiping: Option<&Condition>) -> String {
    match wiping {
        Some(condition) if needs_a_person(condition) => "a disk that cannot be wiped (see below)".to_owned(),
        Some(condition) if !condition.message.is_empty() => format!("its wipe: {}", condition.message),
        Some(_) | None => "its wipe".to_owned(),
    }
}

fn needs_a_person(condition: &Condition) -> bool {
    [Severity::Error, Severity::Warning].iter().any(|severity| severity.as_str() == condition.severity)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn words(accepted: bool, conditions: &Value) -> (String, Vec<String>) {
        let status = json!({ "conditions": conditions });
        let status: ServerStatus = serde_json::from_value(status).unwrap();
        let Waiting { waits_for, notes } =
            waiting(&ServerSpec { accepted, ..ServerSpec::default() }, &status);
        (waits_for, notes)
    }

    fn condition(type_: &str, status: &str, severity: &str, reason: &str, message: &str) -> Value {
        json!({ "type": type_, "status": status, "severity": severity, "reason": reason, "message": message,
            "lastTransitionTime": "2026-01-01T00:00:00Z" })
    }

    #[test]
    fn every_standing_has_words_and_only_trouble_has_notes() {
        let table = [
            ("False", "Info", "NotAccepted", "acceptance", 0),
            ("False", "Info", "NotClean", "its wipe", 0),
            ("True", "", "Available", "a cluster", 0),
            ("True", "", "Bound", "its installation", 0),
            ("True", "", "Installed", "nothing", 0),
            ("False", "Warning", "NotConfirmed", "confirmation (see below)", 1),
            ("False", "Warning", "IdentityConflict", "confirmation (see below)", 1),
            ("False", "Warning", "BindingLost", "confirmation (see below)", 1),
            ("False", "Warning", "BoundButNotAccepted", "BoundButNotAccepted", 1),
        ];
        for (status, severity, reason, expected, notes) in table {
            let (words, said) =
                words(true, &json!([condition("Ready", status, severity, reason, "do this")]));
            assert_eq!((words.as_str(), said.len()), (expected, notes), "{reason}");
        }
        assert_eq!(words(false, &json!([])).0, "the controllers");
    }

    #[test]
    fn a_conflict_shows_the_command_that_ends_it_also_of_a_machine_in_use() {
        let conflict = condition("IdentityConflict", "True", "", "Shown", "bloomery servers split a b");
        for (status, severity, reason, notes) in
            [("True", "", "Installed", 1), ("False", "Warning", "IdentityConflict", 2)]
        {
            let ready = condition("Ready", status, severity, reason, "held");
            let (words, said) = words(true, &json!([ready, conflict]));
            assert_eq!(said.len(), notes, "{words}: {said:?}");
            assert!(said.iter().any(|note| note == "bloomery servers split a b"), "{said:?}");
        }
    }

    #[test]
    fn a_wipe_shows_how_far_it_is_and_which_disk_failed() {
        let dirty = condition("Ready", "False", "Info", "NotClean", "");
        let wiping = condition("DisksWiped", "False", "Info", "Wiping", "sda 45 %");
        assert_eq!(words(true, &json!([dirty, wiping])), ("its wipe: sda 45 %".to_owned(), vec![]));
        let failed = condition("DisksWiped", "False", "Error", "WipeFailed", "sdb: read-only");
        let (words, notes) = words(true, &json!([dirty, failed]));
        assert_eq!(
            (words.as_str(), notes),
            ("a disk that cannot be wiped (see below)", vec!["sdb: read-only".to_owned()])
        );
    }

    #[test]
    fn a_silent_controller_is_what_a_dirty_machine_waits_for() {
        let dirty = condition("Ready", "False", "Info", "NotClean", "");
        let power = condition("PowerReachable", "False", "Warning", "PowerCommandFailed", "no answer");
        let (words, notes) = words(true, &json!([dirty, power]));
        assert_eq!(words, "its management controller");
        assert_eq!(notes, ["management controller: no answer"]);
    }
}

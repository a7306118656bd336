//! One observation, written as a condition of both contracts.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition as StandardCondition, Time};

use crate::condition::{self, Condition, ConditionStatus, Severity};

/// Reason of a condition that holds.
pub const NOT_PAUSED: &str = "NotPaused";
/// Longest message that contract v1beta1 takes, in octets; that of v1beta2 is longer.
const LONGEST_MESSAGE: usize = 10_240;

/// Whether something holds, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// `None` when it holds, else how bad it is.
    pub severity: Option<Severity>,
    /// Why, as one CamelCase word.
    pub reason: String,
    /// Why, as a sentence for a person; empty if there is nothing to say.
    pub message: String,
}

impl Verdict {
    /// It holds.
    pub fn holds(reason: &str) -> Self {
        Self { severity: None, reason: reason.to_owned(), message: String::new() }
    }

    /// Work in progress.
    pub fn waits(reason: &str, message: impl Into<String>) -> Self {
        Self { severity: Some(Severity::Info), reason: reason.to_owned(), message: message.into() }
    }

    /// Something is in the way that may pass.
    pub fn warns(reason: &str, message: impl Into<String>) -> Self {
        Self { severity: Some(Severity::Warning), reason: reason.to_owned(), message: message.into() }
    }

    /// A person is needed.
    pub fn fails(reason: &str, message: impl Into<String>) -> Self {
        Self { severity: Some(Severity::Error), reason: reason.to_owned(), message: message.into() }
    }

    /// As contract v1beta1 has it.
    pub fn old(&self, type_: &str, now: &Time) -> Condition {
        let Self { severity, reason, message } = self;
        match severity {
            // There a condition that holds has neither reason nor message.
            None => Condition::holds(type_, now.clone()),
            Some(severity) => Condition::fails(type_, *severity, reason, cut(message), now.clone()),
        }
    }

    /// Puts it into the conditions of both contracts.
    pub fn set(
        &self,
        type_: &str,
        old: &mut Vec<Condition>,
        new: &mut Vec<StandardCondition>,
        generation: Option<i64>,
        now: &Time,
    ) {
        condition::set(old, self.old(type_, now));
        self.set_standard(type_, new, generation, now);
    }

    /// Puts it into the conditions of contract v1beta2.
    pub fn set_standard(
        &self,
        type_: &str,
        conditions: &mut Vec<StandardCondition>,
        generation: Option<i64>,
        now: &Time,
    ) {
        let status = if self.severity.is_none() { ConditionStatus::True } else { ConditionStatus::False };
        set_standard(conditions, type_, status, (&self.reason, cut(&self.message)), generation, now);
    }
}

/// Puts a condition of contract v1beta2 in the place of that of its type. Its time changes with its status alone.
pub fn set_standard(
    conditions: &mut Vec<StandardCondition>,
    type_: &str,
    status: ConditionStatus,
    (reason, message): (&str, &str),
    generation: Option<i64>,
    now: &Time,
) {
    let new = StandardCondition {
        type_: type_.to_owned(),
        status: status.as_str().to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: now.clone(),
        observed_generation: generation,
    };
    match conditions.iter_mut().find(|condition| condition.type_ == type_) {
        Some(old) if old.status == new.status => {
            let since = old.last_transition_time.clone();
            *old = StandardCondition { last_transition_time: since, ..new };
        }
        Some(old) => *old = new,
        None => conditions.push(new),
    }
}

/// The message up to the longest that is taken.
fn cut(message: &str) -> &str {
    let end = message.floor_char_boundary(LONGEST_MESSAGE);
    &message[..end]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Time {
        serde_json::from_value(json!(format!("2026-01-01T00:00:{second:02}Z"))).unwrap()
    }

    #[test]
    fn both_contracts_say_the_same_and_the_newer_ones_time_changes_with_the_status_alone() {
        let (mut old, mut new) = (Vec::new(), Vec::new());
        let waits = |message: &str| Verdict::waits("Waiting", message);
        waits("one").set("Ready", &mut old, &mut new, Some(1), &at(1));
        waits("two").set("Ready", &mut old, &mut new, Some(2), &at(2));
        assert_eq!((old.len(), new.len()), (1, 1));
        assert_eq!((&old[0].message, &new[0].message), (&"two".to_owned(), &"two".to_owned()));
        assert_eq!((&old[0].last_transition_time, &new[0].last_transition_time), (&at(2), &at(1)));
        assert_eq!(new[0].observed_generation, Some(2));
        Verdict::holds("Provisioned").set("Ready", &mut old, &mut new, Some(2), &at(3));
        assert_eq!((old[0].reason.as_str(), new[0].reason.as_str()), ("", "Provisioned"));
        assert_eq!((old[0].status.as_str(), new[0].status.as_str()), ("True", "True"));
        assert_eq!(new[0].last_transition_time, at(3));
    }

    #[test]
    fn a_message_is_cut_between_two_characters() {
        let long = "ä".repeat(LONGEST_MESSAGE);
        assert_eq!(cut(&long).len(), LONGEST_MESSAGE);
        assert_eq!(cut(&format!("a{long}")).len(), LONGEST_MESSAGE - 1);
    }
}

//! Conditions in the form of Cluster API's v1beta1 contract.
//!
//! Never stamps a time by itself: the caller gives `now`, so that decisions stay functions.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::zero::is_zero;

/// `True`, `False` or `Unknown`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(with = "String")]
pub enum ConditionStatus {
    /// The condition holds.
    True,
    /// The condition does not hold.
    False,
    /// Nothing is known, or a word was stored that is none of the other two.
    #[default]
    #[serde(other)]
    Unknown,
}

impl ConditionStatus {
    /// The word used on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// How bad a `False` condition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Needs a person.
    Error,
    /// Will be retried.
    Warning,
    /// Work in progress.
    Info,
}

impl Severity {
    /// The word used on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "Error",
            Self::Warning => "Warning",
            Self::Info => "Info",
        }
    }
}

/// One observation of an object's state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Name of the condition, in CamelCase.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 256))]
    pub type_: String,
    /// True, False or Unknown.
    pub status: ConditionStatus,
    /// Error, Warning or Info when the status is False, else empty.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(length(max = 32))]
    pub severity: String,
    /// When status, severity, reason or message last changed.
    pub last_transition_time: Time,
    /// Why, as one CamelCase word.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(length(min = 1, max = 256))]
    pub reason: String,
    /// Why, as a sentence for a person.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(length(min = 1, max = 10240))]
    pub message: String,
}

impl Condition {
    /// A condition that holds.
    pub fn holds(type_: &str, now: Time) -> Self {
        Self {
            type_: type_.to_owned(),
            status: ConditionStatus::True,
            severity: String::new(),
            last_transition_time: now,
            reason: String::new(),
            message: String::new(),
        }
    }

    /// A condition that does not hold, with the reason.
    pub fn fails(
        type_: &str,
        severity: Severity,
        reason: &str,
        message: impl Into<String>,
        now: Time,
    ) -> Self {
        Self {
            type_: type_.to_owned(),
            status: ConditionStatus::False,
            severity: severity.as_str().to_owned(),
            last_transition_time: now,
            reason: reason.to_owned(),
            message: message.into(),
        }
    }

    /// True when both say the same, whatever the time.
    pub fn same_state(&self, other: &Self) -> bool {
        let Self { type_, status, severity, last_transition_time: _, reason, message } = self;
        *type_ == other.type_
            && *status == other.status
            && *severity == other.severity
            && *reason == other.reason
            && *message == other.message
    }
}

/// The condition of that type.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Puts `new` in the place of the condition of its type; a state that did not change keeps its time.
pub fn set(conditions: &mut Vec<Condition>, new: Condition) {
    match conditions.iter_mut().find(|condition| condition.type_ == new.type_) {
        Some(old) if old.same_state(&new) => {}
        Some(old) => *old = new,
        None => conditions.push(new),
    }
}

/// Removes the condition of that type.
pub fn remove(conditions: &mut Vec<Condition>, type_: &str) {
    conditions.retain(|condition| condition.type_ != type_);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Time {
        serde_json::from_value(serde_json::json!(format!("2026-01-01T00:00:{second:02}Z"))).unwrap()
    }

    #[test]
    fn transition_time_moves_only_when_the_state_changes() {
        let mut conditions = Vec::new();
        set(&mut conditions, Condition::fails("Ready", Severity::Info, "Waiting", "not yet", at(1)));
        set(&mut conditions, Condition::fails("Ready", Severity::Info, "Waiting", "not yet", at(2)));
        assert_eq!(conditions[0].last_transition_time, at(1));
        set(&mut conditions, Condition::fails("Ready", Severity::Info, "Waiting", "still not", at(3)));
        assert_eq!(conditions[0].last_transition_time, at(3));
        set(&mut conditions, Condition::holds("Ready", at(4)));
        assert_eq!(conditions.len(), 1);
        assert_eq!(find(&conditions, "Ready").unwrap().status, ConditionStatus::True);
        remove(&mut conditions, "Ready");
        assert!(conditions.is_empty());
    }

    #[test]
    fn a_foreign_status_word_reads_as_unknown() {
        let status: ConditionStatus = serde_json::from_str("\"Maybe\"").unwrap();
        assert_eq!(status, ConditionStatus::Unknown);
    }
}

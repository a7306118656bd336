//! Why something was not made: what is told on the object, and whether it is tried again.
//!
//! The words of the library are upstream's, and so is what stands before them.

use bloomery_platform::chain;
use bloomery_talosconfig::{Code, Error as LibraryError, Patch};

use crate::reconcile::Error;

/// Why something was not made.
#[derive(Debug)]
pub(super) struct Failure {
    /// For a person.
    pub(super) told: String,
    /// What is tried again; nothing but a change helps without it.
    pub(super) retry: Option<Error>,
}

impl Failure {
    /// Nothing but a change helps.
    pub(super) fn told(why: impl Into<String>) -> Self {
        Self { told: why.into(), retry: None }
    }

    /// Talos's library did not make it.
    pub(super) fn of_library(object: &str, error: LibraryError, patches: &[Patch]) -> Self {
        let told = told(&error, patches);
        let is_retryable = error.is_retryable();
        let retry = is_retryable.then(|| Error::Talos { object: object.to_owned(), source: Box::new(error) });
        Self { told, retry }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { told: chain(&error), retry: Some(error) }
    }
}

fn told(error: &LibraryError, patches: &[Patch]) -> String {
    let Some(refusal) = error.refusal() else { return chain(error) };
    let text = refusal.message.trim_end();
    let number = refusal.field.strip_prefix("patches[").and_then(|rest| rest.strip_suffix(']'));
    let patch = number.and_then(|number| patches.get(number.parse::<usize>().ok()?));
    match (refusal.code, patch) {
        (Code::PatchLoad, Some(Patch::Strategic(_))) => format!("failure loading StrategicPatch: {text}"),
        (Code::PatchApply, Some(Patch::Strategic(_))) => format!("failure applying StrategicPatches: {text}"),
        (
            Code::Request | Code::Input | Code::PatchLoad | Code::PatchApply | Code::Panic | Code::TooLarge,
            Some(_) | None,
        ) => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use bloomery_talosconfig::Refusal;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_told_has_upstreams_words() {
        let patches = [Patch::Json6902(json!([])), Patch::strategic("a")];
        let cases = [
            (Code::PatchLoad, "patches[1]", "m\n", "failure loading StrategicPatch: m"),
            (Code::PatchApply, "patches[1]", "m", "failure applying StrategicPatches: m"),
            (Code::PatchApply, "patches[0]", "failure applying: m", "failure applying: m"),
            (Code::PatchLoad, "patches[0]", "m", "m"),
            (Code::PatchLoad, "patches[2]", "m", "m"),
            (Code::PatchLoad, "patches[-1]", "m", "m"),
            (Code::PatchApply, "hostname", "m", "m"),
            (Code::Input, "talosVersion", "m", "m"),
            (Code::Panic, "patches[1]", "the library failed", "the library failed"),
        ];
        for (code, field, message, expected) in cases {
            let refusal = Refusal { code, field: field.to_owned(), message: message.to_owned() };
            let failure =
                Failure::of_library("x", LibraryError::Refused { operation: "test", refusal }, &patches);
            assert_eq!(failure.told, expected, "{code:?} {field}");
            assert!(failure.retry.is_none());
        }
        let failure = Failure::of_library("x", LibraryError::Garbage { operation: "test" }, &patches);
        assert!(failure.retry.is_some());
    }
}

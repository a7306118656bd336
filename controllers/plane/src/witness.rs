//! What this plane wrote last into the Plane object, on its own side.
//!
//! A few random digits go to the object at every start and every few minutes: first the file says what will be
//! written, then the object has it, then the file says that it has. Whenever the power goes in between, the object
//! holds one of the two that the file names. A state that holds another one is not the state that this plane knew,
//! whatever its revision.
//! Pure. Never takes a state for another one because of a write that did not get through.

use serde::{Deserialize, Serialize};

/// Stands for what the object said before this plane kept such digits and that object was lost: no object says it.
const UNKNOWN: &str = "-";

/// The file's part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// What the object is known to have held.
    #[serde(rename = "witness", default, skip_serializing_if = "String::is_empty")]
    held: String,
    /// What was going to be written; empty when nothing is under way.
    #[serde(rename = "nextWitness", default, skip_serializing_if = "String::is_empty")]
    next: String,
}

impl Witness {
    /// Of an object that is going to be made with these digits.
    pub(crate) fn of_new(next: &str) -> Self {
        Self { held: String::new(), next: next.to_owned() }
    }

    /// Of an object that holds these digits.
    pub(crate) fn of_held(held: &str) -> Self {
        Self { held: held.to_owned(), next: String::new() }
    }

    /// False when an object that holds `found` is not the one this plane knew.
    pub(crate) fn knows(&self, found: &str) -> bool {
        let kept_none = self.held.is_empty() && self.next.is_empty();
        kept_none || found == self.held || (!self.next.is_empty() && found == self.next)
    }

    /// After a look at the object: what was under way got through, or did not yet.
    #[must_use]
    pub(crate) fn after(&self, found: &str) -> Self {
        if found == self.held { self.clone() } else { Self::of_held(found) }
    }

    /// Before the next write. One that did not get through is tried again, not replaced: it may be on its way.
    #[must_use]
    pub(crate) fn begun(&self, fresh: &str) -> Self {
        let next = if self.next.is_empty() { fresh } else { &self.next };
        Self { held: self.held.clone(), next: next.to_owned() }
    }

    /// Before a lost object is made anew: that it was there is not forgotten.
    #[must_use]
    pub(crate) fn begun_anew(&self, fresh: &str) -> Self {
        let held = if self.held.is_empty() && !self.was_never_made() { UNKNOWN } else { &self.held };
        Self { held: held.to_owned(), next: fresh.to_owned() }
    }

    /// What the object is known to have held.
    pub(crate) fn held(&self) -> &str {
        &self.held
    }

    pub(crate) fn next(&self) -> &str {
        &self.next
    }

    /// True when the object was going to be made and is not known to have been.
    pub(crate) fn was_never_made(&self) -> bool {
        self.held.is_empty() && !self.next.is_empty()
    }
}

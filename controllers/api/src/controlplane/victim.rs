//! Which machine goes first.

use super::seen::{DELETE_MACHINE_ANNOTATION, SeenMachine, has_annotation};

/// The machine that goes: of the outdated ones that a person marked, else of all that one marked, else of the outdated ones,
/// else of all, the oldest. One that is leaving etcd goes before any other.
pub fn choose(machines: &[SeenMachine], is_outdated: impl Fn(&SeenMachine) -> bool) -> Option<&SeenMachine> {
    let is_marked = |seen: &SeenMachine| has_annotation(&seen.machine.metadata, DELETE_MACHINE_ANNOTATION);
    let rank = |seen: &SeenMachine| match (seen.is_leaving(), is_marked(seen), is_outdated(seen)) {
        (true, _, _) => 0,
        (false, true, true) => 1,
        (false, true, false) => 2,
        (false, false, true) => 3,
        (false, false, false) => 4,
    };
    let age = |seen: &SeenMachine| {
        let created = seen.machine.metadata.creation_timestamp.as_ref();
        (created.map(|time| time.0), seen.name().to_owned())
    };
    machines.iter().filter(|seen| !seen.is_deleting()).min_by_key(|seen| (rank(seen), age(seen)))
}

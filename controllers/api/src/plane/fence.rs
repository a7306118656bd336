//! When a plane stops itself: what looks as if its machines went to another plane, or as if its state was tampered with.
//!
//! Duty: what counts, and the text of the mark. While the mark ([`super::FENCED_ANNOTATION`]) is on the Plane object the
//! plane neither powers nor wipes nor accepts machines, records nothing, and gives no Environment; nodes still get to
//! their disks. A person who has looked removes the mark; what it was set for does not set it again, except objects that
//! are still being moved.
//! Never takes the mark off, and never lets a restore do it.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::ledger::Tombstones;

/// Annotation that `clusterctl move` puts on objects at the source before it deletes them.
pub const DELETE_FOR_MOVE_ANNOTATION: &str = "clusterctl.cluster.x-k8s.io/delete-for-move";

/// Objects named in the mark.
const MOST_NAMED: usize = 4;
/// Octets of a mark beyond which nothing is added to it: the log and the ledger name the rest.
const LONGEST_MARK: usize = 1024;

/// True for an object that `clusterctl move` has taken to another cluster.
pub fn is_moving(meta: &ObjectMeta) -> bool {
    meta.annotations.as_ref().is_some_and(|all| all.contains_key(DELETE_FOR_MOVE_ANNOTATION))
}

/// What was seen in the API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Objects that are being moved away, as `Kind name`: Servers, bindings, and the machines that claim them.
    pub moving: BTreeSet<String>,
    /// Names of all Servers that exist, from a list that was complete; `None` when there is none.
    pub servers: Option<BTreeSet<String>>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// Text of the mark.
    pub why: String,
    /// Names of the tombstones that are to be noted as [`crate::ledger::Fate::Vanished`] once the mark is written, so
    /// that they do not count again.
    pub vanished: Vec<String>,
}

impl Fence {
    /// The text of a mark that is there already once what is new is in it; none if nothing is. Only what vanished is
    /// counted as new: it is seen once, while what is being moved is seen until it is gone.
    pub fn added_to(&self, mark: &str) -> Option<String> {
        let Self { why: _, vanished } = self;
        let is_news = !vanished.is_empty() && mark.len() < LONGEST_MARK;
        is_news.then(|| if mark.is_empty() { gone(vanished) } else { format!("{mark}; {}", gone(vanished)) })
    }
}

/// Decides. A plane that is marked already is looked at all the same, so that what vanished meanwhile is noted.
pub fn fence(observed: &Observed, ledger: &Tombstones) -> Option<Fence> {
    let Observed { moving, servers } = observed;
    let vanished: Vec<String> = servers
        .as_ref()
        .map(|servers| ledger.vanished(servers).map(|entry| entry.server.clone()).collect())
        .unwrap_or_default();
    let mut why = Vec::new();
    if !moving.is_empty() {
        why.push(format!("clusterctl moves {} to another cluster", in_words(moving.iter())));
    }
    if !vanished.is_empty() {
        why.push(gone(&vanished));
    }
    (!why.is_empty()).then(|| Fence { why: why.join("; "), vanished })
}

fn gone(vanished: &[String]) -> String {
    format!(
        "Servers of machines that clusters use are gone: {}; nobody released them",
        in_words(vanished.iter())
    )
}

fn in_words<'a>(names: impl ExactSizeIterator<Item = &'a String>) -> String {
    let more = names.len().saturating_sub(MOST_NAMED);
    let text = names.take(MOST_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{text} and {more} more") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::fixtures::{HOLDS, at, binding, confirmed, leaving, machine, server, with_state};
    use crate::decision::identity::Marks;
    use crate::decision::records::{Records, records};
    use crate::evidence::DiskState;
    use crate::ledger::{Fate, Tombstone};

    fn ledger(entries: &[(&str, Fate)]) -> Tombstones {
        let mut ledger = Tombstones::default();
        for (server, fate) in entries {
            ledger.note(Tombstone {
                server: (*server).to_owned(),
                uid: "u".to_owned(),
                marks: Marks::default(),
                fate: *fate,
                installed: false,
                seq: 1,
                record: "r".to_owned(),
                epoch: 1,
                revision: 1,
                time: at(1),
            });
        }
        ledger
    }

    fn names(all: &[&str]) -> BTreeSet<String> {
        all.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn vanished_servers_and_moving_objects_stop_the_plane() {
        let ledger = ledger(&[
            ("a", Fate::Claimed),
            ("b", Fate::Claimed),
            ("c", Fate::Free),
            ("d", Fate::Forgotten),
            ("e", Fate::Vanished),
        ]);
        let look = |servers: Option<&[&str]>, moving: &[&str]| {
            fence(&Observed { moving: names(moving), servers: servers.map(names) }, &ledger)
        };
        assert_eq!(look(Some(&["a", "b", "z"]), &[]), None);
        // Without a complete list nothing has vanished.
        assert_eq!(look(None, &[]), None);
        let gone = look(Some(&["a"]), &[]).unwrap();
        assert_eq!(gone.vanished, ["b"]);
        assert!(gone.why.contains("gone: b;"), "{}", gone.why);
        let moving = look(Some(&["a", "b"]), &["MetalMachine m"]).unwrap();
        assert_eq!(moving.why, "clusterctl moves MetalMachine m to another cluster");
        let many: Vec<String> = (0..9).map(|number| format!("Server {number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(look(None, &many).unwrap().why.contains("Server 3 and 5 more"));
    }

    #[test]
    fn what_vanishes_while_the_plane_stands_still_is_added_to_its_mark() {
        let seen = |vanished: &[&str]| Fence {
            why: "clusterctl moves Server m to another cluster".to_owned(),
            vanished: vanished.iter().map(|name| (*name).to_owned()).collect(),
        };
        assert_eq!(seen(&[]).added_to("2026-01-01 moved"), None, "it is told already");
        let added = seen(&["b"]).added_to("2026-01-01 moved").unwrap();
        assert_eq!(
            added,
            "2026-01-01 moved; Servers of machines that clusters use are gone: b; nobody released them"
        );
        assert!(seen(&["b"]).added_to("").unwrap().starts_with("Servers"), "any text is a mark");
        assert_eq!(seen(&["b"]).added_to(&"x".repeat(LONGEST_MARK)), None);
    }

    #[test]
    fn what_is_being_moved_is_neither_released_nor_recorded() {
        // Finding 11b: bindings that are deleted at the source are the target's clusters.
        let moving = |meta: &mut ObjectMeta| {
            meta.annotations
                .get_or_insert_default()
                .insert(DELETE_FOR_MOVE_ANNOTATION.to_owned(), String::new());
        };
        let seen = with_state(server(true, true, false), DiskState::Bound);
        let mut going = leaving(binding(true));
        assert_ne!(records(&machine(&seen, Some(&going), &HOLDS), &at(9), "r"), Records::NONE);
        moving(&mut going.metadata);
        assert_eq!(records(&machine(&seen, Some(&going), &HOLDS), &at(9), "r"), Records::NONE);
        let mut seen = confirmed(seen);
        moving(&mut seen.metadata);
        assert_eq!(records(&machine(&seen, None, &HOLDS), &at(9), "r"), Records::NONE);
    }
}

//! What becomes of this plane's identity and of the Plane object: a pure function of both and of etcd's revision.
//!
//! Never makes this plane the holder of objects that another plane holds: that takes a person ([`takeover`]).

use bloomery_api::Plane;

use crate::identity::Record;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Nothing but to note down how far the state has got.
    Keep(Record),
    /// There is no object: make one.
    Create(Record),
    /// The object is ours but older than what this plane has seen: what it and all others say was restored.
    Raise(Record),
}

/// Decides from the file, the object, and etcd's revision. `fresh` is the identity of a plane that has none.
pub(crate) fn plan(file: Option<&Record>, plane: Option<&Plane>, revision: u64, fresh: &str) -> Plan {
    match (file, plane) {
        (None, None) => Plan::Create(Record { id: fresh.to_owned(), epoch: 1, revision }),
        // The objects came from another plane.
        (None, Some(_)) => Plan::Keep(Record { id: fresh.to_owned(), epoch: 0, revision }),
        (Some(file), None) => {
            Plan::Create(Record { epoch: file.epoch.saturating_add(1), revision, ..file.clone() })
        }
        (Some(file), Some(plane)) if plane.spec.holder == file.id => {
            if plane.spec.epoch < file.epoch || revision < file.revision {
                let epoch = file.epoch.max(plane.spec.epoch).saturating_add(1);
                Plan::Raise(Record { epoch, revision, ..file.clone() })
            } else {
                Plan::Keep(Record { epoch: plane.spec.epoch, revision, ..file.clone() })
            }
        }
        (Some(file), Some(_)) => Plan::Keep(Record { revision, ..file.clone() }),
    }
}

/// The epoch that this plane takes over with, when a person asked for it on the object.
pub(crate) fn takeover(own: &Record, plane: &Plane) -> Option<i64> {
    let asked = plane.metadata.annotations.as_ref()?.get(crate::TAKEOVER_ANNOTATION)?;
    let ours = *asked == own.id && plane.spec.holder != own.id;
    ours.then(|| own.epoch.max(plane.spec.epoch).saturating_add(1))
}

#[cfg(test)]
mod tests {
    use bloomery_api::plane::{NAME, PlaneSpec};

    use super::*;

    fn plane(holder: &str, epoch: i64) -> Plane {
        Plane::new(NAME, PlaneSpec { holder: holder.to_owned(), epoch })
    }

    fn record(id: &str, epoch: i64, revision: u64) -> Record {
        Record { id: id.to_owned(), epoch, revision }
    }

    #[test]
    fn only_a_plane_with_its_own_objects_holds_them() {
        let own = record("own", 3, 100);
        let table = [
            ("first boot", None, None, 5, Plan::Create(record("new", 1, 5))),
            ("objects of another", None, Some(plane("other", 7)), 5, Plan::Keep(record("new", 0, 5))),
            ("etcd was lost", Some(&own), None, 5, Plan::Create(record("own", 4, 5))),
            ("every day", Some(&own), Some(plane("own", 3)), 101, Plan::Keep(record("own", 3, 101))),
            (
                "raised by a takeover",
                Some(&own),
                Some(plane("own", 9)),
                101,
                Plan::Keep(record("own", 9, 101)),
            ),
            ("etcd was restored", Some(&own), Some(plane("own", 3)), 99, Plan::Raise(record("own", 4, 99))),
            (
                "restored from before",
                Some(&own),
                Some(plane("own", 2)),
                500,
                Plan::Raise(record("own", 4, 500)),
            ),
            ("taken over", Some(&own), Some(plane("other", 4)), 101, Plan::Keep(record("own", 3, 101))),
            (
                "a copy went on elsewhere",
                Some(&own),
                Some(plane("other", 1)),
                1,
                Plan::Keep(record("own", 3, 1)),
            ),
        ];
        for (case, file, plane, revision, expected) in table {
            assert_eq!(plan(file, plane.as_ref(), revision, "new"), expected, "{case}");
        }
    }

    #[test]
    fn a_takeover_needs_this_planes_own_name() {
        let own = record("own", 3, 0);
        let asked = |holder: &str, epoch, name: &str| {
            let mut plane = plane(holder, epoch);
            let annotations = [(crate::TAKEOVER_ANNOTATION.to_owned(), name.to_owned())];
            plane.metadata.annotations = Some(annotations.into());
            plane
        };
        assert_eq!(takeover(&own, &asked("other", 7, "own")), Some(8));
        assert_eq!(takeover(&own, &asked("other", 1, "own")), Some(4));
        assert_eq!(takeover(&own, &asked("other", 7, "third")), None);
        assert_eq!(takeover(&own, &asked("own", 7, "own")), None);
        assert_eq!(takeover(&own, &plane("other", 7)), None);
    }
}

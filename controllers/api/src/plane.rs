//! Plane: who may act on the machines of these objects (promise S3).
//!
//! Duty: the kind with its one object [`NAME`], and what follows from it for a process of a plane. Of two planes that
//! hold the same objects at most one is the holder; a restore or a takeover raises the epoch, which voids every
//! [`crate::evidence::DiskRecord`] written before.
//! Never says that a plane may act because something could not be read.

pub mod fence;

use std::cmp::Ordering;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{CustomResource, Resource as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::lookup::Lookup;
use crate::schema::{AGE, Column, column};
use crate::server::Server;
use crate::trust::Trust;

/// Name of the one object.
pub const NAME: &str = "plane";

/// Annotation on the Plane object while nobody has looked at what came back from a restore or with a takeover: since
/// when and why. The state may not know machines that a cluster uses, so none that it does not know is accepted by
/// itself. Whoever has looked removes it. Whatever its text is, it counts.
pub const RESTORED_ANNOTATION: &str = "bloomery.dev/restored";

/// Annotation on the Plane object with what the holder wrote there last, which its file says too: a state that holds
/// something else was put in the place of the one that the holder knew.
pub const WITNESS_ANNOTATION: &str = "bloomery.dev/witness";

/// Annotation on the Plane object while the plane has stopped itself: since when and why (see [`fence`]). Whoever has
/// looked removes it. Whatever its text is, it counts.
pub const FENCED_ANNOTATION: &str = "bloomery.dev/fenced";

/// Annotation on the Plane object with the identities of other planes whose Servers this one looks after, separated by
/// commas. A takeover adds the plane that it takes over from; after a move a person adds the source.
pub const ADOPTS_ANNOTATION: &str = "bloomery.dev/adopts";

/// Annotation on the Plane object: the plane's address in its SideroLink network, for those who may not read the Secret
/// that it follows from.
pub const SIDERO_LINK_ANNOTATION: &str = "bloomery.dev/siderolink";

/// Label of each Server: identity of the plane that looks after it.
pub const PLANE_LABEL: &str = "bloomery.dev/plane";

/// Revisions that no etcd gets ahead by between two looks: `etcdutl snapshot restore --bump-revision` adds a billion
/// by default, while an API server that writes 500 objects a second takes twelve days for so many.
pub const LEAP: u64 = 500_000_000;

/// What `kubectl get` shows before the age.
pub(crate) const COLUMNS: [Column; 5] = [
    column("Holder", "string", ".spec.holder", "identity of the plane that acts"),
    column("Epoch", "integer", ".spec.epoch", "raised by every restore and takeover"),
    column(
        "Restored",
        "string",
        ".metadata.annotations.bloomery\\.dev/restored",
        "set until a person has looked at what a restore or takeover brought back",
    ),
    column(
        "Fenced",
        "string",
        ".metadata.annotations.bloomery\\.dev/fenced",
        "set while the plane has stopped itself until a person looks",
    ),
    AGE,
];

/// The plane that acts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "bloomery.dev",
    version = "v1alpha1",
    kind = "Plane",
    plural = "planes",
    doc = "Plane names the one management plane that may power, boot and wipe the machines of this cluster.",
    category = "bloomery",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct PlaneSpec {
    /// Identity of the plane that acts: what its file `id` says.
    pub holder: String,
    /// Raised by every restore and takeover; records of other epochs are no evidence.
    pub epoch: i64,
}

/// How far the state had got when this plane last looked: what is older later was restored meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The highest epoch.
    pub epoch: i64,
    /// The highest revision of etcd in that epoch.
    pub revision: u64,
}

/// Why a state is not the one that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It is older.
    Older,
    /// It is further than it can have got.
    Leapt,
}

impl From<(i64, u64)> for Seen {
    fn from((epoch, revision): (i64, u64)) -> Self {
        Self { epoch, revision }
    }
}

impl Seen {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match self.epoch.cmp(&other.epoch) {
            Ordering::Less => other,
            Ordering::Greater => self,
            Ordering::Equal => Self { revision: self.revision.max(other.revision), ..self },
        }
    }

    /// Why a state in `epoch` at `revision` is not the one that was seen, if it is not.
    pub const fn doubt(self, epoch: i64, revision: u64) -> Option<Doubt> {
        if epoch < self.epoch || (epoch == self.epoch && revision < self.revision) {
            Some(Doubt::Older)
        } else if epoch == self.epoch && self.revision > 0 && revision - self.revision >= LEAP {
            Some(Doubt::Leapt)
        } else {
            None
        }
    }

    /// What may be done after a look that found `authority` at `revision`: nothing while the state is not the one
    /// that was seen, until the holder noticed and raised the epoch.
    #[must_use]
    pub fn judge(&mut self, authority: Authority, revision: u64) -> Authority {
        // One that stopped itself is not judged: it does nothing, and its epoch is not told.
        let Some(epoch) = authority.epoch() else { return authority };
        if self.doubt(epoch, revision).is_some() {
            return Authority::Unknown;
        }
        *self = Self { epoch, revision };
        authority
    }
}

/// Whether this plane may act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authority {
    /// It is the holder.
    Holds {
        /// The current epoch.
        epoch: i64,
        /// What records are judged by.
        trust: Trust,
    },
    /// Another plane is.
    Fenced {
        /// Who.
        holder: String,
    },
    /// It is the holder, but stopped itself until a person looks.
    Stopped {
        /// Since when and why.
        why: String,
    },
    /// Nobody could tell.
    Unknown,
}

impl Authority {
    /// What the plane with this identity may do. `trust` is what it judges records by; the identities that it took over
    /// from are added here.
    pub fn of(own: &str, plane: Lookup<&Plane>, trust: Trust) -> Self {
        match plane {
            Lookup::Found(plane) if own.is_empty() || plane.spec.holder.is_empty() => Self::Unknown,
            Lookup::Found(plane) if plane.spec.holder == own => {
                if let Some(why) = plane.fenced() {
                    return Self::Stopped { why: why.to_owned() };
                }
                let planes = [own].into_iter().chain(plane.adopts()).map(str::to_owned).collect();
                Self::Holds { epoch: plane.spec.epoch, trust: Trust { planes, ..trust } }
            }
            Lookup::Found(plane) => Self::Fenced { holder: plane.spec.holder.clone() },
            Lookup::NotFound | Lookup::Failed => Self::Unknown,
        }
    }

    /// The epoch, if this plane may act.
    pub const fn epoch(&self) -> Option<i64> {
        match self {
            Self::Holds { epoch, trust: _ } => Some(*epoch),
            Self::Fenced { .. } | Self::Stopped { .. } | Self::Unknown => None,
        }
    }

    /// What records are judged by, if this plane may act.
    pub const fn trust(&self) -> Option<&Trust> {
        match self {
            Self::Holds { epoch: _, trust } => Some(trust),
            Self::Fenced { .. } | Self::Stopped { .. } | Self::Unknown => None,
        }
    }

    /// True when this plane may power, boot and wipe machines.
    pub const fn acts(&self) -> bool {
        self.epoch().is_some()
    }
}

/// The Plane object, as events refer to it that concern many machines.
pub fn reference() -> ObjectReference {
    ObjectReference {
        api_version: Some(Plane::api_version(&()).into_owned()),
        kind: Some(Plane::kind(&()).into_owned()),
        name: Some(NAME.to_owned()),
        ..ObjectReference::default()
    }
}

/// The plane that looks after a Server, by its label.
pub fn label(server: &Server) -> Option<&str> {
    server.metadata.labels.as_ref()?.get(PLANE_LABEL).map(String::as_str).filter(|plane| !plane.is_empty())
}

impl Plane {
    /// What its holder wrote last; empty if it never did.
    pub fn witness(&self) -> &str {
        let annotations = self.metadata.annotations.as_ref();
        annotations.and_then(|all| all.get(WITNESS_ANNOTATION)).map_or("", String::as_str)
    }

    /// Since when and why it stopped itself, if it did.
    pub fn fenced(&self) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(FENCED_ANNOTATION).map(String::as_str)
    }

    /// The identities of planes whose Servers it looks after.
    pub fn adopts(&self) -> impl Iterator<Item = &str> {
        let annotations = self.metadata.annotations.as_ref();
        let text = annotations.and_then(|all| all.get(ADOPTS_ANNOTATION)).map_or("", String::as_str);
        text.split(',').map(str::trim).filter(|plane| !plane.is_empty())
    }

    /// Since when and why unknown machines are not accepted by themselves, if that is so.
    pub fn restored(&self) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(RESTORED_ANNOTATION).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(epoch: i64) -> Authority {
        Authority::Holds { epoch, trust: Trust::default() }
    }

    #[test]
    fn a_state_older_than_what_was_seen_gives_no_leave_until_its_epoch_is_raised() {
        let mut seen = Seen { epoch: 3, revision: 100 };
        for (found, revision, expected) in [
            (holds(3), 100, holds(3)),
            (holds(3), 170, holds(3)),
            // Restored, and nobody noticed yet.
            (holds(3), 169, Authority::Unknown),
            (holds(2), 900, Authority::Unknown),
            (Authority::Unknown, 10, Authority::Unknown),
            (Authority::Fenced { holder: "b".to_owned() }, 10, Authority::Fenced { holder: "b".to_owned() }),
            (holds(3), 168, Authority::Unknown),
            // The holder noticed: everything counts from there.
            (holds(4), 20, holds(4)),
            (holds(4), 19, Authority::Unknown),
            (holds(4), 21, holds(4)),
            // Restored with its revision put up: no etcd gets so far between two looks.
            (holds(4), 21 + LEAP, Authority::Unknown),
            (holds(4), u64::MAX, Authority::Unknown),
            (holds(4), 20 + LEAP, holds(4)),
            (holds(5), 7, holds(5)),
        ] {
            assert_eq!(seen.judge(found.clone(), revision), expected, "{found:?} {revision}");
        }
        assert_eq!(seen, Seen { epoch: 5, revision: 7 });
    }

    #[test]
    fn what_two_saw_is_the_later_of_both() {
        let seen = |epoch, revision| Seen { epoch, revision };
        assert_eq!(seen(3, 100).and(seen(3, 120)), seen(3, 120));
        assert_eq!(seen(4, 10).and(seen(3, 120)), seen(4, 10));
        assert_eq!(seen(3, 100).and(Seen::default()), seen(3, 100));
    }
}

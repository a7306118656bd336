//! Plane: who may act on the machines of these objects (promise S3).
//!
//! Duty: the kind with its one object [`NAME`], and what follows from it for a process of a plane. Of two planes that
//! hold the same objects at most one is the holder; a restore or a takeover raises the epoch, which voids every
//! [`crate::evidence::DiskRecord`] written before.
//! Never says that a plane may act because something could not be read.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::decision::Lookup;

/// Name of the one object.
pub const NAME: &str = "plane";

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
    derive = "PartialEq",
    printcolumn(
        name = "Holder",
        type_ = "string",
        json_path = ".spec.holder",
        description = "identity of the plane that acts"
    ),
    printcolumn(
        name = "Epoch",
        type_ = "integer",
        json_path = ".spec.epoch",
        description = "raised by every restore and takeover"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct PlaneSpec {
    /// Identity of the plane that acts: what its file `id` says.
    pub holder: String,
    /// Raised by every restore and takeover; records of other epochs are no evidence.
    pub epoch: i64,
}

/// Whether this plane may act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authority {
    /// It is the holder.
    Holds {
        /// The current epoch.
        epoch: i64,
    },
    /// Another plane is.
    Fenced {
        /// Who.
        holder: String,
    },
    /// Nobody could tell.
    Unknown,
}

impl Authority {
    /// What the plane with this identity may do.
    pub fn of(own: &str, plane: Lookup<&Plane>) -> Self {
        match plane {
            Lookup::Found(plane) if own.is_empty() || plane.spec.holder.is_empty() => Self::Unknown,
            Lookup::Found(plane) if plane.spec.holder == own => Self::Holds { epoch: plane.spec.epoch },
            Lookup::Found(plane) => Self::Fenced { holder: plane.spec.holder.clone() },
            Lookup::NotFound | Lookup::Failed => Self::Unknown,
        }
    }

    /// The epoch, if this plane may act.
    pub const fn epoch(&self) -> Option<i64> {
        match self {
            Self::Holds { epoch } => Some(*epoch),
            Self::Fenced { .. } | Self::Unknown => None,
        }
    }

    /// True when this plane may power, boot and wipe machines.
    pub const fn acts(&self) -> bool {
        self.epoch().is_some()
    }
}

//! The control-plane provider of Cluster API: TalosControlPlanes.
//!
//! The decisions are `bloomery_api::controlplane`'s. A reconcile is look → decide → one step, and again from what that step led
//! to. All that a decision is made from is read for it: nothing comes from a cache.
//! Never acts for a plane that does not.

mod act;
mod bootstrap;
mod create;
mod kubeconfig;
mod look;
mod node;
mod reconcile;
mod reference;
mod report;
mod watches;

pub use watches::{Watches, controller};

use std::time::Duration;

use crate::table::Definition;

/// As many workers as upstream has. A control plane that is as it should be is looked at once a minute: nobody tells of a node
/// that falls ill.
pub const CONTROL_PLANES: Definition = Definition {
    name: "taloscontrolplanes",
    kind: "TalosControlPlane",
    workers: 10,
    resync: Duration::from_mins(1),
};

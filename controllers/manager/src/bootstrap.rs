//! The bootstrap provider of Cluster API: TalosConfigs, and the Secrets that follow from them.
//!
//! The decisions are `bloomery_api::bootstrap`'s, the configurations are Talos's own library's.

pub mod talos_config;
mod watches;

pub use watches::Watches;

use std::time::Duration;

use crate::table::Definition;

/// As many workers as upstream has. Certificates of client configurations are looked at each time, and live for a year.
pub const TALOS_CONFIGS: Definition =
    Definition { name: "talosconfigs", kind: "TalosConfig", workers: 10, resync: Duration::from_mins(5) };

//! Brings one file from where it is published to where it is served: by HTTP(S), or out of the assets directory.
//!
//! Duty: whole files only. What arrives goes to a part file beside its place, is continued after a break and
//! across restarts, is checked, synced and only then renamed; a record beside it says where it came from.
//! Never knows an Environment, and never tries again by itself: its caller decides when.

mod error;
mod fetch;
mod http;
mod local;
mod partial;
pub mod place;
mod sniff;
pub mod source;
mod transfer;
mod trust;

pub use error::Error;
pub use fetch::{Fetcher, Job, Limits, Placed, Progress, digest_of};
pub use trust::Trust;

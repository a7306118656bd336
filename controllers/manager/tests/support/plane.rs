//! Everything a test with a real API server needs, in one place.

#[path = "bench.rs"]
pub(crate) mod bench;
#[path = "child.rs"]
pub(crate) mod child;
#[path = "control_plane.rs"]
pub(crate) mod control_plane;
#[path = "controllers.rs"]
pub(crate) mod controllers;
#[path = "eventually.rs"]
pub(crate) mod eventually;
#[path = "pki.rs"]
pub(crate) mod pki;

//! Beside upstream's own Talos providers, unmodified, on a plane of their own: `make test-differential` names these by this module.

mod bootstrap;
mod control_planes;

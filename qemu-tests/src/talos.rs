//! Real Talos nodes: unmodified machined as PID 1 of its own namespaces (board `ns`), with all that it asks for.
//!
//! The programs are those of `make talos`. What container mode of Talos leaves out, the launcher does in the board's
//! place: power, firmware, boot script, wiping of disks (DESIGN.md names what therefore only virtual machines prove).

pub mod alone;
pub mod balance;
pub mod board;
pub mod cgroups;
pub mod cluster;
pub mod ctl;
pub mod enter;
pub mod host;
pub mod images;
pub mod manifest;
pub mod members;
pub mod network;
pub mod node;
pub mod parts;
pub mod patches;
pub mod plane;
pub mod registry;
pub mod root;
pub mod site;
pub mod supply;
pub mod sysctls;
pub mod workload;

//! The lab: real QEMU machines in a private network, driven from outside like a user would.
//!
//! It knows the product only by what a user sees: console lines, network ports and the Kubernetes API.
//! It must never touch the host's network configuration and never leave a process behind.

pub mod accel;
pub mod console;
pub mod container;
pub mod contract;
pub mod dhcpd;
pub mod disk;
pub mod forward;
pub mod journey;
pub mod lab;
pub mod net;
pub mod patience;
pub mod plane;
pub mod qmp;
pub mod servers;
pub mod simulate;
pub mod state;
pub mod supervise;
pub mod vm;

//! The lab: real QEMU machines in a private network, driven from outside like a user would.
//!
//! It knows the product only by what a user sees: console lines, network ports and the Kubernetes API.
//! It must never touch the host's network configuration and never leave a process behind.

#![allow(missing_docs, reason = "a program: nothing is built on it")]

pub mod accel;
pub mod bmc;
pub mod console;
pub mod container;
pub mod contract;
pub mod control;
pub mod dhcpd;
pub mod disk;
pub mod eventually;
pub mod forward;
pub mod impostor;
pub mod journey;
pub mod known_data;
pub mod lab;
pub mod machine;
pub mod native;
pub mod net;
pub mod patience;
pub mod patient;
pub mod plane;
pub mod program;
pub mod qmp;
pub mod role;
pub mod servers;
pub mod serving;
pub mod simulate;
pub mod state;
pub mod supervise;
pub mod switch;
pub mod switchboard;
pub mod talos;
pub mod tool;
pub mod vm;

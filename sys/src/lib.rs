//! The kernel's edge: every raw system call and every line of `unsafe` in the project lives in this crate.
//!
//! PID 1 (`init`) and the agent build on it. It reports what the kernel said as typed errors and decides nothing:
//! it must never exit, never panic, never retry for ever, and never touch a machine that it only runs in as a
//! container (see [`container`]).

pub mod block;
pub mod clock;
pub mod confine;
pub mod console;
pub mod container;
pub mod datagram;
pub mod dm;
pub mod host;
pub mod ipmi;
pub mod kmsg;
pub mod launcher;
pub mod md;
pub mod memory;
pub mod modules;
pub mod mount;
pub mod nvme;
pub mod power;
pub mod power_button;
pub mod process;
pub mod random;
pub mod uevent;

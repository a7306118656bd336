//! The program that an unknown machine netboots: it says what the machine is and waits to be told more.
//!
//! It must never open a block device, and as PID 1 it must never exit.

pub mod boot;
pub mod cmdline;
pub mod console;
pub mod devices;
pub mod inventory;
pub mod power;
pub mod register;
pub mod run;
pub mod uplink;

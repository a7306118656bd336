//! The program that an unknown machine netboots: it says what the machine is and does what it is told.
//!
//! It must never open a disk for writing but on the plane's order to wipe it, and as PID 1 it must never exit.

#![allow(missing_docs, reason = "a program: nothing is built on it")]

pub mod bmc;
pub mod boot;
pub mod cmdline;
pub mod console;
pub mod contents;
pub mod devices;
pub mod disks;
#[cfg(test)]
mod fake_plane;
pub mod follow;
pub mod inventory;
pub mod orders;
pub mod plane;
pub mod power;
pub mod register;
pub mod run;
pub mod token;
pub mod uplink;
pub mod wipe;

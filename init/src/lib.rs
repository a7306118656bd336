//! PID 1 of the appliance: boots the machine, keeps its services running, and takes it down again.
//!
//! It knows processes, mounts and the network, and nothing of Kubernetes' objects. It must never exit, abort or
//! block on a console, a disk or the network: what does not work is said, and the rest goes on.

#![allow(missing_docs, reason = "a program: nothing is built on it")]

pub mod accounts;
pub mod announce;
pub mod audit;
pub mod boot_partition;
pub mod certificates;
pub mod clock;
pub mod configuration;
pub mod console;
pub mod context;
pub mod disk;
pub mod disk_state;
pub mod drivers;
pub mod early;
pub mod encryption;
pub mod etcd;
pub mod files;
pub mod layout;
pub mod log;
pub mod mounts;
pub mod network;
pub mod outcome;
pub mod pki;
pub mod plane;
pub mod release;
pub mod requests;
pub mod run;
pub mod sequence;
pub mod service_requests;
pub mod services;
pub mod space;
pub mod status;
pub mod supervise;
pub mod sysctl;
pub mod words;

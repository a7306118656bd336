//! PID 1 of the appliance: boots the machine, keeps its services running, and takes it down again.
//!
//! It knows processes, mounts and the network, and nothing of Kubernetes' objects. It must never exit, abort or
//! block on a console, a disk or the network: what does not work is said, and the rest goes on.

pub mod console;
pub mod errors;
pub mod files;
pub mod layout;
pub mod pki;
pub mod services;
pub mod status;
pub mod supervise;

//! What the infrastructure provider decides: which Server a MetalMachine gets, when it is let go, and what is said of it.
//!
//! Never touches a ServerBinding while the Cluster is paused or an object is being moved, and never takes the absence of
//! an object that could not be read as leave to let a Server go.

pub mod addresses;
pub mod allocation;
pub mod capacity;
pub mod cluster_status;
pub mod failure_domain;
pub mod lease;
pub mod machine;
pub mod machine_status;
pub mod verdict;
pub mod verify;

//! What the control-plane provider decides: when machines are made, bootstrapped and taken away, when a member of etcd is
//! removed, and what is said of it.
//!
//! Never takes silence for absence: what could not be asked keeps everything as it is. Never removes a member of etcd that
//! may belong to a machine, and never one without which the others would lose their quorum.

pub mod bootstrap;
pub mod components;
pub mod members;
pub mod naming;
pub mod objects;
pub mod outdated;
pub mod pass;
pub mod seen;
pub mod status;
pub mod up_to_date;
pub mod victim;

//! What the bootstrap provider decides: when a machine configuration is made, from what, which Secrets there are, and what
//! is said of it.
//!
//! Never makes a second configuration for a machine, and never new secrets for a cluster that runs with others.

pub mod client_config;
pub mod decision;
pub mod generation;
pub mod owner;
pub mod secrets;
pub mod status;

#[cfg(test)]
mod fixtures;

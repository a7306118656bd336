//! The network-boot services: proxy DHCP, TFTP, HTTP and the agent's gRPC, in one process.
//!
//! Every service is a task of its own: one that cannot start, a packet that cannot be read, or a
//! Kubernetes API that is away never stops the others (promise S7 of the design). Nothing here
//! powers, wipes or binds a machine.

pub mod advertise;
pub mod agent;
pub mod boot_script;
pub mod config;
pub mod dhcp;
pub mod error;
pub mod go_duration;
pub mod health;
pub mod http;
pub mod interfaces;
pub mod kernel_args;
pub mod kubernetes;
pub mod loaders;
pub mod mac;
pub mod metrics;
pub mod service;
pub mod supervise;
pub mod tftp;
pub mod trace;

#[cfg(test)]
mod fake_api;

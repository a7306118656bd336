//! The network-boot services: proxy DHCP, TFTP, HTTP and the agent's gRPC, in one process.
//!
//! Every service is a task of its own: one that cannot start, a packet that cannot be read, or a
//! Kubernetes API that is away never stops the others (promise S7 of the design). Nothing here
//! powers or binds a machine, and only the agent, on an order, wipes one.

#![allow(missing_docs, reason = "a program: nothing is built on it")]

pub mod admitted;
pub mod advertise;
pub mod agent;
pub mod authority;
pub mod boot_script;
pub mod boots;
pub mod cache;
pub mod config;
pub mod configuration;
pub mod conflicts;
pub mod connection;
pub mod dhcp;
pub mod directories;
pub mod edge;
pub mod events;
pub mod health;
pub mod http;
pub mod interfaces;
pub mod kernel_args;
pub mod kubernetes;
pub mod last_call;
pub mod loaders;
pub mod mac;
pub mod machines;
pub mod metrics;
pub mod neighbours;
pub mod recent;
pub mod return_path;
pub mod servers;
pub mod service;
pub mod services;
pub mod siderolink;
pub mod sources;
pub mod supervise;
pub mod tftp;
pub mod thrift;
pub mod token;
pub mod tokens;
pub mod trace;
pub mod tunnels;
pub mod turns;
pub mod writes;

#[cfg(test)]
mod tests;

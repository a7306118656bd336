//! Machines at protocol level: thousands in one process, each from power-on to clean as firmware and agent would be.
//!
//! They speak DHCP (through relays of their own), TFTP, HTTP and gRPC to a real plane and are switched by an HTTP
//! power API. Nothing of theirs ever leaves loopback or a lab's private network: see [`network`].

pub mod agent;
pub mod config;
pub mod dhcp;
pub mod fetch;
pub mod fleet;
pub mod inside;
pub mod inventory;
pub mod join;
pub mod machine;
pub mod network;
pub mod operator;
pub mod power;
pub mod script;
pub mod tally;
pub mod tftp;
pub mod trouble;

#[cfg(test)]
mod tests;

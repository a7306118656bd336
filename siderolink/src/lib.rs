//! SideroLink: the tunnel between nodes and the plane, and what nodes tell through it.
//!
//! Everything here is reached by machines that nobody trusts: every connection, message and file is bounded, and a node
//! is told by the address that its key gives it, never by what it says of itself.

#![allow(missing_docs, reason = "a program: nothing is built on it")]

pub mod bounds;
pub mod config;
pub mod events;
pub mod installation;
pub mod listen;
pub mod logs;
pub mod nodes;
pub mod plane;
pub mod provision;
pub mod service;
pub mod tunnel;

//! The `bloomery` command line: one module per subcommand.
//!
//! Results go to standard output and nothing else does; progress and remarks go to standard error.

#![allow(missing_docs, reason = "a program: nothing is built on it")]

pub mod assets;
pub mod commands;
pub mod completion;
pub mod config;
pub mod connection;
pub mod kubeconfig;
pub mod lab;
pub mod logs;
mod machineconfig;
pub mod output;
pub mod pairing;
mod progress;
pub mod servers;
pub mod service;
pub mod status;
pub mod trace;
pub mod version;

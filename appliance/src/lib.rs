//! The appliance's HTTPS server (TCP 8443): pairing, status, health.
//!
//! It passes requests for certificates on to PID 1, which signs for whoever knows the pairing secret. It holds neither
//! that secret, nor a key that signs, nor a certificate for the Kubernetes API. No input may end it.

#![allow(missing_docs, reason = "a program: nothing is built on it")]

pub mod api;
mod asset_store;
pub mod config;
mod connections;
mod identity;
mod limit;
mod metrics;
pub mod neighbours;
mod rights;
mod serve;
mod server;
mod tls;

pub use server::{Appliance, StartError};
pub use tls::TlsError;

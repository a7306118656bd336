//! The appliance's HTTPS server (TCP 8443): pairing, status, health.
//!
//! It hands the admin identity to whoever knows the pairing secret, and to nobody else. It holds no
//! certificate authority's key: the identity it hands out was made by PID 1. No input may end it.

pub mod api;
mod asset_store;
pub mod config;
mod connections;
mod identity;
mod limit;
mod metrics;
pub mod neighbours;
mod serve;
mod server;
mod tls;

pub use server::{Appliance, StartError};
pub use tls::TlsError;

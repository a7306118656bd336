//! The webhooks: HTTPS on loopback, called by the API server.
//!
//! Duty: answer `/convert` for every version pair the CRDs serve, and the admission paths of
//! `manifests/30-webhooks.yaml`.
//! Never crashes or hangs on a request: what cannot be served gets an answer that says why.

pub mod admission;
pub mod review;
mod serve;
pub mod tls;

pub use serve::{Error, Webhook, serve};

//! The conversion webhook: HTTPS on loopback, called by the API server.
//!
//! Duty: answer `/convert` for every version pair the CRDs serve.
//! Never crashes or hangs on a request: what cannot be converted gets an answer that says why.

pub mod review;
mod serve;
pub mod tls;

pub use serve::{Error, Webhook, serve};

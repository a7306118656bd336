//! What every program of the product needs and the standard library lacks: errors on one line, files replaced whole, targets
//! that fail left alone.
//!
//! It depends on nothing, and knows nothing of machines, planes or Kubernetes.

mod breaker;
mod errors;
mod replace;

pub use breaker::{Backoff, Breaker, LeftAlone};
pub use errors::{chain, chain_by};
pub use replace::{Replace, sync_directory};
